//! What was read of a mesh's Istio, before anybody judges it: plain data, so that a status and a check are pure functions of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::probe::Way;
use crate::envoy::{InboundRules, OutboundRules, ProxySecrets};
use crate::federation::examined as spire;
use crate::fleet::{Read, Unread};
use crate::istio::ca::SeenCa;
use crate::istio::gateway::FoundGateway;
use crate::istio::injector::{Asks, Labels, Target, Webhook};
use crate::istio::istiod::{KnownCluster, NetworkGateway, ServiceIdentities};
use crate::istio::remote::FoundRemoteSecret;
use crate::istio::version::IstioVersion;
use crate::manifest::{NewLoadBalancer, ServiceAddress, UncalledWebhook};
use crate::workload::Workload;

/// A mesh as it was found, in all detail.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Its SPIRE.
    pub spire: spire::Examined,
    /// Its Istio, by cluster. A cluster that cannot be reached has none.
    pub clusters: BTreeMap<String, Seen>,
    /// Whether the gateway of the second cluster's network is reached from the first, by the names of both.
    pub ways: BTreeMap<(String, String), Read<Way>>,
}

/// One cluster's Istio as it was found.
#[derive(Clone, Debug)]
pub struct Seen {
    /// istiod and the gateways.
    pub workloads: Read<Vec<SeenWorkload>>,
    /// Every pod of istiod that is ready, with what it knows.
    pub istiods: Read<Vec<SeenIstiod>>,
    /// The network that the label of istio-system says.
    pub network: Read<Option<String>>,
    /// Where other networks come in.
    pub gateway: Read<ServiceAddress>,
    /// The load balancer there, where it is new.
    pub new_load_balancer: Option<NewLoadBalancer>,
    /// The `Gateway` objects of Istio's namespace.
    pub gateway_objects: Read<Vec<FoundGateway>>,
    /// The remote secrets.
    pub remote_secrets: Read<Vec<SeenRemoteSecret>>,
    /// Rules on mutual TLS.
    pub peer_authentications: Read<Vec<SeenPeerAuthentication>>,
    /// How sidecars get SPIRE's socket.
    pub injection: Read<SeenInjection>,
    /// What gives new pods their sidecar.
    pub injector: Read<SeenInjector>,
    /// Who asks for a sidecar, and has none.
    pub sidecars: Read<SeenSidecars>,
    /// `Deployment`s of namespaces that ask for sidecars which cannot make their pods.
    pub stuck: Read<Vec<StuckWorkload>>,
    /// istiod's CA.
    pub ca: Read<SeenCa>,
    /// All pods with a proxy.
    pub proxies: Read<Vec<SeenProxy>>,
    /// Whom one of the sidecars accepts as servers, with the pod's name; `None` where there is no sidecar.
    pub outbound: Read<Option<(String, OutboundRules)>>,
}

/// A `Deployment` of Istio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenWorkload {
    /// Its name.
    pub name: String,
    /// How many pods it has to have.
    pub wanted: i32,
    /// How many are ready.
    pub ready: i32,
    /// What keeps the others, where that is known.
    pub trouble: Option<String>,
    /// The version of its image, where the tag is one.
    pub version: Option<IstioVersion>,
}

/// A pod of istiod, and what it knows.
#[derive(Clone, Debug)]
pub struct SeenIstiod {
    /// Its name.
    pub pod: String,
    /// The version that it says it is of, where that is one.
    pub version: Option<IstioVersion>,
    /// The clusters that it knows.
    pub clusters: Read<Vec<KnownCluster>>,
    /// The ways into networks that it knows.
    pub networks: Read<Vec<NetworkGateway>>,
    /// The identities that it expects.
    pub identities: Read<ServiceIdentities>,
    /// The mesh configuration in force.
    pub mesh_config: Read<Value>,
}

/// A remote secret, and who takes its token.
#[derive(Clone, Debug)]
pub struct SeenRemoteSecret {
    /// What it says.
    pub found: FoundRemoteSecret,
    /// The clusters of the mesh that take the token, by the cluster that the secret names.
    pub accepted_by: BTreeMap<String, Read<Vec<String>>>,
    /// Whose CA it has for each cluster that it names, as far as that is a cluster of the mesh.
    pub authority: BTreeMap<String, Read<ServerAuthority>>,
}

/// Whose CA a remote secret has for an API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAuthority {
    /// That of the API server.
    Own,
    /// None: istiod verifies the API server with the authorities of its own system.
    System,
    /// Another one.
    Other {
        /// The subjects of the certificates in the remote secret.
        found: Vec<String>,
        /// Those of the API server's.
        wanted: Vec<String>,
    },
}

/// A rule on mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenPeerAuthentication {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether it is for some workloads of its namespace only.
    pub selects: bool,
    /// The mode for all ports: `STRICT`, `PERMISSIVE`, `DISABLE` or `UNSET`.
    pub mode: String,
    /// Modes of single ports.
    pub ports: BTreeMap<String, String>,
}

/// How sidecars are injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenInjection {
    /// The injection template for SPIRE's socket; `None` where istiod has none.
    pub template: Option<String>,
    /// The templates that every pod gets.
    pub default_templates: Vec<String>,
    /// Whether istiod makes sidecars init containers here.
    pub native: bool,
    /// Why it does, or does not.
    pub why: String,
}

/// What gives new pods their sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenInjector {
    /// istiod's webhooks.
    pub webhooks: Vec<Webhook>,
    /// How many ready pods are behind each Service that they lead to.
    pub ready: BTreeMap<Target, usize>,
    /// What the API server says of an object about which it has to ask istiod, sent as a dry run: `Err` where it could not ask.
    pub asked: Read<Result<(), UncalledWebhook>>,
}

/// Who asks for a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenSidecars {
    /// The namespaces that ask for sidecars, by their names.
    pub namespaces: BTreeMap<String, AskingNamespace>,
    /// The pods that ask for one, and have none.
    pub without: Vec<SeenBarePod>,
}

/// A namespace that asks for sidecars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskingNamespace {
    /// How it asks.
    pub asks: Asks,
    /// Its labels.
    pub labels: Labels,
    /// How many of its pods have one.
    pub with: usize,
}

/// A pod that asks for a sidecar, and has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenBarePod {
    /// Its namespace.
    pub namespace: String,
    /// The labels of that.
    pub namespace_labels: Labels,
    /// What owns it.
    pub workload: Workload,
    /// Its labels.
    pub labels: Labels,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// How it asks.
    pub asks: Asks,
}

/// A workload that cannot make its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckWorkload {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub workload: Workload,
    /// The API server's words.
    pub why: String,
}

/// A pod with a proxy, and what the proxy has.
#[derive(Clone, Debug)]
pub struct SeenProxy {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Its service account.
    pub service_account: String,
    /// Whether it is a gateway.
    pub is_gateway: bool,
    /// Whether the pod is ready; the reason where it is not.
    pub trouble: Option<String>,
    /// How its proxy ended and what it wrote last, where it ends again and again; `None` where it does not.
    pub ends: Option<Vec<String>>,
    /// Its certificates and bundles.
    pub secrets: Read<ProxySecrets>,
    /// Whom it lets in; `None` for gateways.
    pub inbound: Read<Option<InboundRules>>,
}

impl SeenProxy {
    /// Returns how it is called in reports.
    #[must_use]
    pub fn object(&self) -> String {
        format!("Pod {}/{}", self.namespace, self.pod)
    }
}

/// How many of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// How many are ready.
    pub ready: usize,
    /// How many there are, or have to be.
    pub total: usize,
}

impl Counted {
    /// Tells whether all are ready.
    #[must_use]
    pub fn is_complete(self) -> bool {
        self.ready >= self.total
    }
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ready, self.total)
    }
}

/// What is read of one cluster for a status.
pub(super) struct Looked {
    pub(super) workloads: Read<Vec<SeenWorkload>>,
    pub(super) version: Option<String>,
    /// The clusters that each pod of istiod knows.
    pub(super) known: Read<Vec<Vec<KnownCluster>>>,
    pub(super) gateway: Read<ServiceAddress>,
    pub(super) remote_secrets: Read<Vec<FoundRemoteSecret>>,
    pub(super) proxies: Read<Counted>,
}

/// Why nothing is known of istiod where it has no pod that could be asked.
pub(super) const NO_ISTIOD: &str = "no pod of istiod is ready";

impl Looked {
    /// Takes from what was read for checks what a status shows.
    pub(super) fn of(seen: &Seen) -> Self {
        let (version, known) = match &seen.istiods {
            Ok(istiods) if istiods.is_empty() => (None, Err(Unread::because(NO_ISTIOD))),
            Ok(istiods) => (
                istiods.iter().find_map(|istiod| istiod.version),
                istiods.iter().map(|istiod| istiod.clusters.clone()).collect(),
            ),
            Err(unread) => (None, Err(unread.clone())),
        };
        let found =
            |secrets: &Vec<SeenRemoteSecret>| secrets.iter().map(|secret| secret.found.clone()).collect();
        let counted = |proxies: &Vec<SeenProxy>| Counted {
            ready: proxies.iter().filter(|proxy| proxy.trouble.is_none()).count(),
            total: proxies.len(),
        };
        Self {
            workloads: seen.workloads.clone(),
            version: version.map(|version| version.to_string()),
            known,
            gateway: seen.gateway.clone(),
            remote_secrets: seen.remote_secrets.as_ref().map(found).map_err(Clone::clone),
            proxies: seen.proxies.as_ref().map(counted).map_err(Clone::clone),
        }
    }
}
