//! What was read of a request's path, before anybody judges it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use serde_json::Value;

use super::service::ServiceName;
use crate::envoy::{
    Asked, ClusterName, Endpoint, HostRoutes, InboundRules, OutboundRules, Policy, ProxyHosts, ProxySecrets,
    RouteAction,
};
use crate::fleet::{Read, Unread};
use crate::trust::TrustDomain;

/// Which request is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The service that it is for.
    pub service: ServiceName,
    /// The port of the service.
    pub port: u16,
    /// What else routes look at.
    pub asked: Asked,
}

/// A request's path as it was found.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The request.
    pub question: Question,
    /// The service that the route leads to: that of the question, where no route leads elsewhere.
    pub service: ServiceName,
    /// Who sends it.
    pub client: SeenClient,
    /// Every cluster of the mesh that can be reached, the client's own among them.
    pub clusters: Vec<SeenCluster>,
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub struct SeenClient {
    /// Name of its cluster.
    pub cluster: String,
    /// The pod.
    pub pod: Read<Pod>,
    /// Its namespace.
    pub namespace: Read<Option<Namespace>>,
    /// `Sidecar` objects of its namespace and of Istio's.
    pub sidecars: Read<Vec<SeenObject>>,
    /// The mesh configuration of its istiod.
    pub mesh_config: Read<Value>,
    /// The clusters that its istiod has read, and whether it has read all of each.
    pub synced: Read<BTreeMap<String, bool>>,
    /// What its proxy has; `None` where it has no proxy.
    pub proxy: Option<SeenProxy>,
}

/// What the proxy of the client has.
#[derive(Clone, Debug)]
pub struct SeenProxy {
    /// Routes for the host; `None` where it has none.
    pub routes: Read<Option<HostRoutes>>,
    /// Policies, by name of Envoy's cluster.
    pub policies: Read<BTreeMap<String, Policy>>,
    /// Endpoints, by name of Envoy's cluster.
    pub endpoints: Read<BTreeMap<String, Vec<Endpoint>>>,
    /// What it holds against each of them.
    pub hosts: Read<ProxyHosts>,
    /// Whom it accepts as servers.
    pub rules: Read<OutboundRules>,
    /// Its certificate and bundles.
    pub secrets: Read<ProxySecrets>,
}

/// An object of Istio's API, with what is needed of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenObject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its `spec`.
    pub spec: Value,
}

/// What a cluster has of the service.
#[derive(Clone, Debug)]
pub struct SeenCluster {
    /// Its name.
    pub name: String,
    /// Its context of the kubeconfig.
    pub context: String,
    /// Its network.
    pub network: String,
    /// Its trust domain.
    pub trust_domain: TrustDomain,
    /// The namespace of the service.
    pub namespace: Read<Option<Namespace>>,
    /// The service.
    pub service: Read<Option<Service>>,
    /// The pods that it selects.
    pub pods: Read<Vec<Pod>>,
    /// The gateway of its network, where the client is in another one.
    pub gateway: Option<Read<SeenGateway>>,
    /// What one pod behind the service has, where one is ready and has a sidecar.
    pub server: Option<SeenServer>,
    /// `AuthorizationPolicy` objects of the service's namespace and of Istio's.
    pub policies: Read<Vec<SeenObject>>,
}

/// The gateway of a network, by one of its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenGateway {
    /// The pod; `None` where none is ready.
    pub pod: Option<String>,
    /// Whether it listens for other networks.
    pub listens: bool,
    /// How many hosts of the service's port it leads to.
    pub hosts: usize,
}

/// A pod behind the service.
#[derive(Clone, Debug)]
pub struct SeenServer {
    /// Its name.
    pub pod: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The port that the service sends to.
    pub port: Option<u16>,
    /// Whether somebody in the pod listens there; `None` where the port is not known.
    pub listens: Option<Read<bool>>,
    /// Whom its sidecar lets in.
    pub inbound: Read<Option<InboundRules>>,
    /// Its certificate and bundles.
    pub secrets: Read<ProxySecrets>,
}

impl SeenCluster {
    /// Tells whether there is neither a service nor a pod of it here.
    pub(super) fn has_nothing(&self) -> bool {
        matches!(self.service, Ok(None)) && self.pods.as_ref().is_ok_and(Vec::is_empty)
    }
}

impl Observed {
    /// Returns what the client's own cluster has.
    pub(super) fn own(&self) -> Option<&SeenCluster> {
        self.clusters.iter().find(|cluster| cluster.name == self.client.cluster)
    }

    /// Returns the context of the client's cluster.
    pub(super) fn context(&self) -> &str {
        self.own().map_or("", |own| own.context.as_str())
    }

    /// Returns what the client's proxy has.
    pub(super) fn proxy(&self) -> Result<&SeenProxy, Unread> {
        self.client.proxy.as_ref().ok_or_else(|| Unread::because("the client has no sidecar"))
    }

    /// Returns the clusters of Envoy that requests are sent to, each with its share.
    pub(super) fn destinations(&self) -> Vec<(String, u32)> {
        let own = || vec![(format!("outbound|{}||{}", self.question.port, self.question.service.host()), 1)];
        let Some(proxy) = &self.client.proxy else { return own() };
        match proxy.routes.as_ref().ok().and_then(Option::as_ref) {
            Some(routes) => match routes.of(&self.question.asked).0.map(|route| &route.action) {
                Some(RouteAction::Forward(clusters)) => clusters.clone(),
                _ => own(),
            },
            None => own(),
        }
    }

    /// Returns the destinations that belong to the service that is followed.
    pub(super) fn followed(&self) -> Vec<String> {
        let host = self.service.host();
        let of_service = |name: &String| ClusterName::parse(name).is_some_and(|name| name.host == host);
        self.destinations().into_iter().map(|(name, _)| name).filter(of_service).collect()
    }

    /// Returns the port of the service that requests are sent to.
    pub(super) fn port(&self) -> u16 {
        let first = self.followed().into_iter().next();
        first.and_then(|name| ClusterName::parse(&name).map(|name| name.port)).unwrap_or(self.question.port)
    }
}
