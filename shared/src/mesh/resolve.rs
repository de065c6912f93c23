//! From the file to the mesh: the clusters, each checked on its own and against the others.

use super::endpoint::{self, SeenEndpoints};
use super::file::{ClusterFile, MeshFile, Spec};
use super::istio;
use super::shape::{Findings, Unique, checked, keys};
use super::spire::{self, Layer};
use super::tree::{Path, Step};
use super::{Cluster, Mesh, Spire, UpstreamAuthority, demo, values};
use crate::trust::TrustDomain;

/// Checks what the file says and fills in what it leaves out. `None` when something needed is missing or wrong, which has
/// been added to the findings then.
pub(super) fn resolve(file: MeshFile, findings: &mut Findings) -> Option<Mesh> {
    let name = file
        .metadata
        .and_then(|metadata| metadata.name)
        .and_then(|name| checked(values::dns_label(&name), keys(&["metadata", "name"]), findings));
    let Spec { spire, istio, demo, clusters } = file.spec?;
    let demo = demo::resolve(demo, findings);
    let clusters = clusters?;
    if clusters.len() < 2 {
        let count = if clusters.is_empty() { "no cluster" } else { "one cluster only" };
        findings.add(
            format!("{count}: a mesh has at least two, to trust each other"),
            keys(&["spec", "clusters"]),
        );
    }
    let defaults = spire.unwrap_or_default();
    let path = keys(&["spec", "spire"]);
    let managed = |cluster: &ClusterFile| spire::is_managed(cluster.spire.as_ref(), &defaults);
    spire::check_defaults(
        &Layer { file: &defaults, path: path.clone() },
        clusters.iter().any(managed),
        findings,
    );

    let istio = istio.unwrap_or_default();
    let istio = istio::Layer { file: &istio, path: keys(&["spec", "istio"]) };
    istio.refuse_reserved(findings);
    let mut resolved = Vec::with_capacity(clusters.len());
    let mut seen = Seen::default();
    for (index, cluster) in clusters.into_iter().enumerate() {
        let defaults = Layer { file: &defaults, path: path.clone() };
        resolved.push(resolve_cluster(index, cluster, (&defaults, &istio), &mut seen, findings));
    }
    // Their only values are the ones that this code is for.
    let _ = (file.api_version?, file.kind?);
    Some(Mesh { name: name?, clusters: resolved.into_iter().collect::<Option<_>>()?, demo: demo? })
}

fn resolve_cluster(
    index: usize,
    cluster: ClusterFile,
    (defaults, istio_defaults): (&Layer<'_>, &istio::Layer<'_>),
    seen: &mut Seen,
    findings: &mut Findings,
) -> Option<Cluster> {
    let at = |key: &str| [&below(index)[..], &[Step::Key(key.to_owned())]].concat();
    let ClusterFile { name, trust_domain, context, endpoint, network, spire, istio } = cluster;

    let name = name.and_then(|name| checked(values::dns_label(&name), at("name"), findings));
    let trust_domain = trust_domain.and_then(|text| {
        checked(text.parse::<TrustDomain>().map_err(|e| e.to_string()), at("trustDomain"), findings)
    });
    let context_path = at(if context.is_some() { "context" } else { "name" });
    let context = match context {
        Some(context) => checked(values::context(&context), context_path.clone(), findings),
        None => name.clone(),
    };
    if let Some(name) = &name {
        seen.names.add("cluster name", name, at("name"), findings);
    }
    if let Some(trust_domain) = &trust_domain {
        seen.trust_domains.add("trust domain", trust_domain.as_str(), at("trustDomain"), findings);
    }
    // A name that is there twice makes the context that it stands for be there twice; once is enough to say so.
    if let Some(context) = &context
        && (context_path != at("name") || !seen.names.is_repeated(context))
    {
        seen.contexts.add("context", context, context_path, findings);
    }
    let endpoint =
        endpoint::resolve(endpoint, name.as_deref(), &at("endpoint"), &mut seen.endpoints, findings);
    let network = match network {
        Some(network) => checked(values::dns_label(&network), at("network"), findings),
        None => name.clone(),
    };
    let istio = istio.unwrap_or_default();
    let istio = istio::Layer { file: &istio, path: at("istio") };
    let istio = istio::resolve(&istio, istio_defaults, findings);
    let own = spire.unwrap_or_default();
    let own = Layer { file: &own, path: at("spire") };
    let spire = spire::resolve(&own, defaults, findings);
    if let Some(Spire::Existing(existing)) = &spire
        && let Some(url) = &existing.bundle_endpoint_url
    {
        seen.urls.add("address", url.as_str(), own.at(&["bundleEndpoint", "url"]), findings);
    }
    if let (Some(trust_domain), Some(Spire::Managed(managed))) = (&trust_domain, &spire)
        && matches!(managed.upstream_authority, UpstreamAuthority::CertManager(_))
    {
        checked(values::label_value(trust_domain.as_str()), at("trustDomain"), findings);
    }
    Some(Cluster {
        name: name?,
        context: context?,
        trust_domain: trust_domain?,
        endpoint: endpoint?,
        network: network?,
        spire: spire?,
        istio: istio?,
    })
}

/// What only one cluster may have.
#[derive(Default)]
struct Seen {
    names: Unique,
    contexts: Unique,
    trust_domains: Unique,
    urls: Unique,
    endpoints: SeenEndpoints,
}

fn below(index: usize) -> Path {
    let mut path = keys(&["spec", "clusters"]);
    path.push(Step::Index(index));
    path
}
