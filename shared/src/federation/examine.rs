//! Reading for the checks: what a status needs not.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::CSINode;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};
use kube::client::Body;

use super::FederationError;
use super::examined::{
    Clock, Details, Examined, FailedFetch, Parts, SeenServers, SeenUpstream, SeenWorkload,
};
use super::observe::{list, observe, reduced};
use super::observed::{Observed, Seen, server_unread};
use super::rotate::{BegunRotation, begun_rotation};
use crate::fleet::{Member, Need, Read, RequestError, Unread};
use crate::mesh::{Mesh, Spire};
use crate::spire::crd::{ClusterSPIFFEID, ClusterSpiffeIdSpec};
use crate::spire::desired::CSI_DRIVER;
use crate::spire::discovery::FoundSpire;
use crate::spire::endpoint::new_load_balancer;
use crate::spire::presented::{Presented, of_pod};
use crate::spire::server::{Entry, RefreshError, Server};
use crate::spire::upstream::{issuer, requests, signing_log};
use crate::trust::{TrustBundle, TrustDomain};

/// Name of the object that is sent as a dry run, and never made.
const PROBE: &str = "spire-mesh-probe";
/// Name of the `ConfigMap` that a managed server publishes its bundle in, and of its key.
const PUBLISHED_BUNDLE: (&str, &str) = ("spire-bundle", "bundle.crt");

/// Reads all that the checks need, from all clusters at the same time, and lets every server fetch its peers' bundles.
pub async fn examine(mesh: &Mesh, members: &[Member], unreachable: &BTreeMap<String, String>) -> Examined {
    let observed = observe(mesh, members, unreachable).await;
    let details = join_all(members.iter().filter_map(|member| {
        let seen = observed.cluster(member.name())?.seen.as_ref().ok()?;
        Some(async { (member.name().to_owned(), Box::pin(details(member, seen)).await) })
    }));
    let (details, fetched) = futures::join!(details, fetch_all(members, &observed));
    Examined { details: details.into_iter().collect(), fetched, observed }
}

/// Lets every server fetch the bundle of every peer with which it has a relationship.
async fn fetch_all(
    members: &[Member],
    observed: &Observed,
) -> BTreeMap<(String, String), Read<Result<(), FailedFetch>>> {
    let fetches = observed.pairs().filter_map(|(from, to)| {
        from.server()?.relationship(to.trust_domain())?;
        let member = members.iter().find(|member| member.name() == from.name())?;
        let server = from.spire()?.server(member)?;
        let key = (from.name().to_owned(), to.name().to_owned());
        let peer = members.iter().find(|member| member.name() == to.name());
        Some(async move { (key, fetch(&server, peer, to.trust_domain()).await) })
    });
    join_all(fetches).await.into_iter().collect()
}

async fn fetch(
    server: &Server<'_>,
    peer: Option<&Member>,
    domain: &TrustDomain,
) -> Read<Result<(), FailedFetch>> {
    match server.refresh(domain).await {
        Ok(()) => Ok(Ok(())),
        Err(RefreshError::Failed { cause, message, .. }) => {
            let new_load_balancer = match peer {
                Some(peer) => new_load_balancer(peer).await,
                None => None,
            };
            Ok(Err(FailedFetch { cause, message, new_load_balancer }))
        }
        Err(RefreshError::Server(error)) => Err(server_unread(&server.target.namespace, &error)),
    }
}

async fn details(member: &Member, seen: &Seen) -> Details {
    let found = || match &seen.spire {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(Unread::because("there is no SPIRE server")),
        Err(unread) => Err(unread.clone()),
    };
    let entries = async { entries(member, found()?).await };
    let presented = async { presented(member, found()?).await };
    let admission = async { admission(member, found()?).await };
    let upstream = async { upstream(member, found().ok()?).await };
    let rotation = async { rotation(member, found()?).await };
    let servers = async { servers(member, found()?).await };
    let (
        clock,
        admission,
        entries,
        presented,
        csi_nodes,
        identity_objects,
        published_bundle,
        workloads,
        istio,
        upstream,
        rotation,
        servers,
    ) = futures::join!(
        clock(member),
        admission,
        entries,
        presented,
        csi_nodes(member),
        list(member, Api::<ClusterSPIFFEID>::all(member.client().clone())),
        published_bundle(member),
        workloads(member),
        istio_trust_domain(member),
        upstream,
        rotation,
        servers,
    );
    Details {
        clock,
        admission,
        identity_objects,
        entries,
        csi_nodes,
        published_bundle,
        presented,
        workloads,
        istio_trust_domain: istio,
        rotation,
        upstream,
        servers,
    }
}

/// Counts the servers of a managed SPIRE: each has `SQLite` on its own volume, so that two of them are two SPIREs.
async fn servers(member: &Member, found: &FoundSpire) -> Read<Option<SeenServers>> {
    let Spire::Managed(_) = &member.cluster.spire else { return Ok(None) };
    let namespace = &found.namespace;
    let pods: Api<Pod> = Api::namespaced(member.client().clone(), namespace);
    let labels: Vec<String> = found.selector.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let need = Need::new("list", "", "pods", Some(namespace));
    let pods = pods.list(&ListParams::default().labels(&labels.join(","))).await;
    let pods = pods.map_err(|error| Unread::request(&need, &RequestError::from(error)))?.items;
    let stays = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
    let pods = pods.iter().filter(stays).map(ResourceExt::name_any).collect();
    Ok(Some(SeenServers { pods, left_claims: left_claims(member, found).await }))
}

/// Lists the volume claims that the server's `StatefulSet` has made for others than its first pod (`CLAIM-STATEFULSET-NUMBER`).
async fn left_claims(member: &Member, found: &FoundSpire) -> Read<Vec<String>> {
    let need = Need::new("list", "", "persistentvolumeclaims", Some(&found.namespace));
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(member.client().clone(), &found.namespace);
    let list = claims.list(&ListParams::default()).await;
    let list = list.map_err(|error| Unread::request(&need, &RequestError::from(error)))?.items;
    let (_, set) = found.workload.split_once('/').unwrap_or_default();
    let is_left = |name: &String| {
        let of_set = name.rsplit_once('-').filter(|(claim, _)| claim.ends_with(&format!("-{set}")));
        of_set.is_some_and(|(_, number)| number.parse::<u32>().is_ok_and(|number| number > 0))
    };
    Ok(list.iter().map(ResourceExt::name_any).filter(is_left).collect())
}

/// Looks at the issuer of cert-manager that the server's configuration names, and at what the server got from it.
async fn upstream(member: &Member, found: &FoundSpire) -> Option<SeenUpstream> {
    let issuer_ref = found.upstream.as_ref()?.issuer.clone()?;
    let trust_domain = found.trust_domain.as_ref().unwrap_or(&member.cluster.trust_domain);
    let (issuer, requests, log) = futures::join!(
        issuer(member, &issuer_ref),
        requests(member, &issuer_ref, trust_domain),
        signing_log(member, found)
    );
    let need = Need::new("get", "", "pods/log", Some(&found.namespace));
    Some(SeenUpstream {
        issuer: issuer.map_err(|error| Unread::read(&error)),
        requests: requests.map_err(|error| Unread::read(&error)),
        log: log.map_err(|error| Unread::request(&need, &error)),
        issuer_ref,
    })
}

async fn rotation(member: &Member, found: &FoundSpire) -> Read<Option<BegunRotation>> {
    let need = Need::new("get", "", "configmaps", Some(&found.namespace));
    begun_rotation(member, &found.namespace).await.map_err(|error| match error {
        FederationError::Request { source, .. } => Unread::request(&need, &source),
        other => Unread::error(&other),
    })
}

async fn entries(member: &Member, found: &FoundSpire) -> Read<Vec<Entry>> {
    let Some(server) = found.server(member) else {
        return Err(Unread::because("no pod of the SPIRE server runs"));
    };
    server.entries().await.map_err(|error| server_unread(&found.namespace, &error))
}

/// Looks at what the bundle endpoint presents in the server's own pod, without anything in between.
async fn presented(member: &Member, found: &FoundSpire) -> Read<Presented> {
    let (Some(pod), Some(endpoint)) = (&found.pod, &found.bundle_endpoint) else {
        return Err(Unread::because("no pod of the SPIRE server runs with a bundle endpoint"));
    };
    let need = Need::forward(Some(&found.namespace));
    of_pod(member, &found.namespace, pod, endpoint.container_port).await.map_err(|error| match error {
        crate::spire::presented::PresentedError::Request(error) => Unread::request(&need, &error),
        other => Unread::because(format!("the bundle endpoint: {other}")),
    })
}

/// Compares an API server's clock with ours by the `Date` of its answer.
async fn clock(member: &Member) -> Read<Option<Clock>> {
    let need = Need::new("get", "", "/version", None);
    let request = http::Request::get("/version").body(Body::empty());
    let request = request.map_err(|error| Unread::because(error.to_string()))?;
    let (begun, sent) = (Instant::now(), Timestamp::now());
    let answer = member.client().send(request).await;
    let answer = answer.map_err(|error| Unread::request(&need, &RequestError::from(error)))?;
    let round_trip = begun.elapsed();
    let date = answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else { return Ok(None) };
    let middle = sent.checked_add(round_trip / 2).unwrap_or(sent);
    Ok(Some(Clock { ahead_seconds: theirs.timestamp().as_second() - middle.as_second(), round_trip }))
}

/// Sends an identity object as a dry run: the controller-manager's webhook has to answer, and nothing is made.
async fn admission(member: &Member, found: &FoundSpire) -> Read<Result<(), String>> {
    let need = Need::new("create", "spire.spiffe.io", "clusterspiffeids", None);
    let api: Api<ClusterSPIFFEID> = Api::all(member.client().clone());
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&dry, &probe(found)).await.map_err(RequestError::from) {
        Ok(_) => Ok(Ok(())),
        Err(error) if matches!(error.cause(), crate::fleet::Cause::Forbidden) => {
            Err(Unread::request(&need, &error))
        }
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Makes the object that is sent as a dry run, of the class that the controller-manager looks at.
fn probe(found: &FoundSpire) -> ClusterSPIFFEID {
    let spec = ClusterSpiffeIdSpec {
        spiffe_id_template: "spiffe://{{ .TrustDomain }}/spire-mesh-probe".to_owned(),
        class_name: found.class_name().map(str::to_owned),
        ..ClusterSpiffeIdSpec::default()
    };
    ClusterSPIFFEID::new(PROBE, spec)
}

async fn csi_nodes(member: &Member) -> Read<Vec<String>> {
    let nodes: Vec<CSINode> = list(member, Api::all(member.client().clone())).await?;
    let has_driver = |node: &CSINode| node.spec.drivers.iter().any(|driver| driver.name == CSI_DRIVER);
    Ok(nodes.iter().filter(|node| has_driver(node)).map(ResourceExt::name_any).collect())
}

/// Reads the bundle that a managed server publishes for its agents to start from.
async fn published_bundle(member: &Member) -> Read<Option<TrustBundle>> {
    let Spire::Managed(spire) = &member.cluster.spire else { return Ok(None) };
    let (name, key) = PUBLISHED_BUNDLE;
    let Some(map) = config_map(member, &spire.agent_namespace, name).await? else { return Ok(None) };
    let Some(text) = map.data.as_ref().and_then(|data| data.get(key)) else { return Ok(None) };
    let bundle = TrustBundle::from_pem(member.cluster.trust_domain.clone(), text);
    let what = format!("ConfigMap {}/{name}", spire.agent_namespace);
    bundle.map(Some).map_err(|error| Unread::because(format!("{what}: {error}")))
}

/// Reads the trust domain from Istio's mesh configuration.
async fn istio_trust_domain(member: &Member) -> Read<Option<String>> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct MeshConfig {
        // What Istio takes without one (`pkg/config/constants`).
        #[serde(default = "cluster_local")]
        trust_domain: String,
    }
    fn cluster_local() -> String {
        "cluster.local".to_owned()
    }
    let Some(map) = config_map(member, "istio-system", "istio").await? else { return Ok(None) };
    let Some(text) = map.data.as_ref().and_then(|data| data.get("mesh")) else { return Ok(None) };
    match serde_saphyr::from_str::<MeshConfig>(text) {
        Ok(config) => Ok(Some(config.trust_domain)),
        Err(error) => {
            Err(Unread::because(format!("ConfigMap istio-system/istio holds no mesh configuration: {error}")))
        }
    }
}

async fn config_map(member: &Member, namespace: &str, name: &str) -> Read<Option<ConfigMap>> {
    let need = Need::new("get", "", "configmaps", Some(namespace));
    let maps: Api<ConfigMap> = Api::namespaced(member.client().clone(), namespace);
    maps.get_opt(name).await.map_err(|error| Unread::request(&need, &RequestError::from(error)))
}

/// Lists the pods that need an identity, and are not on their way out.
async fn workloads(member: &Member) -> Read<Vec<SeenWorkload>> {
    let client = || member.client().clone();
    let labelled = |namespace: Namespace| Some((namespace.name_any(), namespace.labels().clone()));
    let labels = reduced(member, Api::<Namespace>::all(client()), labelled).await?.into_iter().collect();
    reduced(member, Api::<Pod>::all(client()), |pod| workload(&pod, &labels)).await
}

fn workload(pod: &Pod, labels: &BTreeMap<String, BTreeMap<String, String>>) -> Option<SeenWorkload> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let namespace = pod.namespace()?;
    let spec = pod.spec.as_ref()?;
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let has_proxy = containers.any(|container| container.name == "istio-proxy");
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.csi.as_ref());
    let mut of_driver = volumes.filter(|csi| csi.driver == CSI_DRIVER);
    let parts = match (has_proxy, of_driver.next().is_some()) {
        (true, true) => Parts::ProxyAndVolume,
        (true, false) => Parts::Proxy,
        (false, true) => Parts::Volume,
        (false, false) => return None,
    };
    Some(SeenWorkload {
        name: pod.name_any(),
        created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
        uid: pod.uid().unwrap_or_default(),
        node: spec.node_name.clone(),
        service_account: spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
        labels: pod.labels().clone(),
        namespace_labels: labels.get(&namespace).cloned().unwrap_or_default(),
        namespace,
        parts,
    })
}

#[cfg(test)]
mod tests;
