//! The objects that make up SPIRE in one cluster, from the plain YAML in `manifests/spire` with a cluster's values laid
//! over it. The same cluster always gives the same objects.
//!
//! Four groups, because each needs the one before it to be at work:
//!
//! 1. [`server_objects`]: namespaces, API, rights, server with controller-manager, CSI driver.
//! 2. [`agent_objects`]: agents. Their pods mount the bundle that a ready server has published; applied earlier, they
//!    start too, but only after the kubelet's growing pauses between attempts.
//! 3. [`relationship`], once the peer's bundle has been set by hand (see there).
//! 4. [`workload_ids`], once the bundle of every peer is stored: SPIRE refuses an entry that federates with a trust domain
//!    whose bundle it does not hold, and the pod is left with no identity at all (`makeFederatesWith` in SPIRE's
//!    `pkg/server/datastore/sqlstore/sqlstore.go`).

mod config;
mod overlay;

use crate::manifest::{Object, parse_yaml};
use crate::mesh::{Cluster, EndpointUrl, ManagedSpire, UpstreamAuthority};
use crate::trust::TrustDomain;
use overlay::{Overlay, into_object};

use super::crd::{
    BundleEndpointProfile, ClusterFederatedTrustDomain, ClusterFederatedTrustDomainSpec, ClusterSPIFFEID,
};

/// `className` of the controller-manager that these plugins install, and of every object for it.
///
/// With a class it leaves alone what is meant for another controller-manager, and the other way round
/// (`reconcileClass` in spire-controller-manager 0.6.3, `pkg/spireentry/reconciler.go`). Objects without a class are left
/// alone too: a second entry for a pod would make its identity a matter of chance.
pub const CLASS_NAME: &str = "spire-mesh";
/// Name of the `StatefulSet` of server and controller-manager, and of its service.
pub const SERVER_NAME: &str = "spire-server";
/// Name of the agents' `DaemonSet`.
pub const AGENT_NAME: &str = "spire-agent";
/// Name of the CSI driver's `DaemonSet`.
pub const CSI_DRIVER_NAME: &str = "spiffe-csi-driver";
/// Name of the CSI driver as volumes refer to it.
pub const CSI_DRIVER: &str = "csi.spiffe.io";
/// Name of the service of the bundle endpoint.
pub const BUNDLE_SERVICE_NAME: &str = "spire-server-bundle";
/// Name of the `ClusterSPIFFEID` that gives agents' pods an identity.
pub const AGENT_IDS_NAME: &str = "agents";
/// Name of the volume claim of the server's data, as the `StatefulSet` controller makes it.
pub const DATA_CLAIM_NAME: &str = "data-spire-server-0";
/// Name of the `Role` that lets a server ask an issuer of cert-manager for its CA certificate, and of its binding. Another name
/// than the other roles have: it may be in any namespace.
pub const UPSTREAM_ACCESS_NAME: &str = "spire-server-upstream-authority";
/// The label and value on every pod and selector of a managed SPIRE.
pub const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "spire-mesh");
/// The label that every namespace has; its value is the namespace's name.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The oldest Kubernetes (major, minor) on which the agents' rights suffice: from here on the kubelet lets `nodes/pods` read
/// its list of pods (`KubeletFineGrainedAuthz`, on by default since 1.33).
pub const OLDEST_KUBERNETES: (u32, u32) = (1, 33);

const FOUNDATION_FILES: [&str; 3] = [
    include_str!("../../../../manifests/spire/namespaces.yaml"),
    include_str!("../../../../manifests/spire/crds.yaml"),
    include_str!("../../../../manifests/spire/server-access.yaml"),
];
const UPSTREAM_ACCESS_FILE: &str =
    include_str!("../../../../manifests/spire/server-upstream-cert-manager.yaml");
const SERVER_FILES: [&str; 3] = [
    include_str!("../../../../manifests/spire/server.yaml"),
    include_str!("../../../../manifests/spire/webhook.yaml"),
    include_str!("../../../../manifests/spire/csi-driver.yaml"),
];
const AGENT_FILES: [&str; 1] = [include_str!("../../../../manifests/spire/agent.yaml")];
const WORKLOAD_IDS: &str = include_str!("../../../../manifests/spire/federation/workload-ids.yaml");

/// Returns everything of a managed SPIRE that needs no peer, except its agents, in the order in which to apply it.
#[must_use]
pub fn server_objects(cluster: &Cluster, spire: &ManagedSpire) -> Vec<Object> {
    let mut files = FOUNDATION_FILES.to_vec();
    // Before the server, which asks for its CA certificate as it starts.
    files.extend(match &spire.upstream_authority {
        UpstreamAuthority::SelfSigned => None,
        UpstreamAuthority::CertManager(_) => Some(UPSTREAM_ACCESS_FILE),
    });
    files.extend(SERVER_FILES);
    render(&files, cluster, spire)
}

/// Returns the agents and what they need, in the order in which to apply it.
#[must_use]
pub fn agent_objects(cluster: &Cluster, spire: &ManagedSpire) -> Vec<Object> {
    render(&AGENT_FILES, cluster, spire)
}

fn render(files: &[&str], cluster: &Cluster, spire: &ManagedSpire) -> Vec<Object> {
    let overlay = Overlay::new(cluster, spire);
    files.iter().flat_map(|file| embedded(file)).filter_map(|object| overlay.apply(&object)).collect()
}

/// Returns the object with which a cluster's server trusts `peer`, whose bundle endpoint is at `url`. `class_name` is
/// [`CLASS_NAME`], or that of the controller-manager that somebody else installed.
///
/// It never holds a bundle. The first one has to be set beforehand (`Server::set_bundle`), and it stays:
///
/// - a relationship that is created without a bundle writes none (`createFederationRelationship` in SPIRE 1.15.3,
///   `pkg/server/datastore/sqlstore/sqlstore.go`; the server only warns if it holds none, `validateEndpointBundle` in
///   `pkg/server/api/trustdomain/v1/service.go`), and so does one that is updated (`updateFederationRelationship`);
/// - the controller-manager compares trust domain, URL and profile only (`FederationRelationship.Equal` in
///   spire-controller-manager 0.6.3, `pkg/spireapi/types.go`), so it neither minds nor deletes the bundle; it has no code
///   that deletes bundles.
///
/// With a bundle inside, the next change of the URL would set that one again, however old it had become.
#[must_use]
pub fn relationship(class_name: Option<&str>, peer: &TrustDomain, url: &EndpointUrl) -> Object {
    let spec = ClusterFederatedTrustDomainSpec {
        trust_domain: peer.to_string(),
        bundle_endpoint_url: url.as_str().to_owned(),
        bundle_endpoint_profile: BundleEndpointProfile {
            kind: "https_spiffe".to_owned(),
            endpoint_spiffe_id: Some(peer.server_id().to_string()),
        },
        trust_domain_bundle: None,
        class_name: class_name.map(str::to_owned),
    };
    into_object(&ClusterFederatedTrustDomain::new(&relationship_name(peer), spec))
}

/// Returns the name of the object for a peer: the trust domain, or, where that is no valid object name, a digest.
#[must_use]
pub fn relationship_name(peer: &TrustDomain) -> String {
    let name = peer.as_str();
    let valid = name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && !label.contains('_')
        });
    if valid { name.to_owned() } else { format!("trust-domain-{}", &config::digest(&[name])[..16]) }
}

/// Returns the objects that give pods their SPIFFE IDs and the bundles of `peers`. Their selections exclude each other, so that each
/// pod has exactly one registration entry.
#[must_use]
pub fn workload_ids(spire: &ManagedSpire, peers: &[TrustDomain]) -> Vec<Object> {
    let mut federates_with: Vec<String> = peers.iter().map(ToString::to_string).collect();
    federates_with.sort_unstable();
    federates_with.dedup();
    embedded(WORKLOAD_IDS)
        .iter()
        .map(|object| {
            let mut id: ClusterSPIFFEID = overlay::typed(object);
            id.spec.federates_with.clone_from(&federates_with);
            if let Some(labels) = id.spec.namespace_selector.as_mut().and_then(|s| s.match_labels.as_mut()) {
                labels.insert(NAMESPACE_NAME_LABEL.to_owned(), spire.agent_namespace.clone());
            }
            into_object(&id)
        })
        .collect()
}

fn embedded(file: &str) -> Vec<Object> {
    parse_yaml(file).expect("the embedded manifests are valid YAML")
}

#[cfg(test)]
mod tests;
