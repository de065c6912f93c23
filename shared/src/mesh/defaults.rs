//! What holds where a mesh file says nothing. They work on EKS without a line of configuration.

use std::collections::BTreeMap;
use std::num::NonZeroU8;

/// The mesh file that is read when none is named.
pub const DEFAULT_FILE: &str = "spire-mesh.yaml";

/// The namespace of istiod, and of everything else of Istio.
pub const ISTIO_NAMESPACE: &str = "istio-system";

pub(super) const SERVER_NAMESPACE: &str = "spire-server";
pub(super) const AGENT_NAMESPACE: &str = "spire-system";

pub(super) const SERVER_IMAGE: &str = "ghcr.io/spiffe/spire-server:1.15.3";
pub(super) const AGENT_IMAGE: &str = "ghcr.io/spiffe/spire-agent:1.15.3";
pub(super) const CONTROLLER_MANAGER_IMAGE: &str = "ghcr.io/spiffe/spire-controller-manager:0.6.3";
pub(super) const CSI_DRIVER_IMAGE: &str = "ghcr.io/spiffe/spiffe-csi-driver:0.2.3";
pub(super) const NODE_DRIVER_REGISTRAR_IMAGE: &str =
    "registry.k8s.io/sig-storage/csi-node-driver-registrar:v2.15.0";

/// Long enough that a peer can miss two days of refreshes.
pub(super) const CA_TTL: &str = "168h";
pub(super) const SVID_TTL: &str = "4h";
/// SPIRE's own default is 5s. A proxy whose identity is late by that asks again ever less often, and starts after 20 to 30 seconds.
pub(super) const AGENT_SYNC_INTERVAL: &str = "1s";
pub(super) const REFRESH_HINT: &str = "5m";
pub(super) const STORAGE_SIZE: &str = "1Gi";
pub(super) const ISSUER_GROUP: &str = "cert-manager.io";

/// What the server's container takes: requests and limits of processors and memory, as in `manifests/spire/server.yaml`.
pub(super) const SERVER_RESOURCES: [[Option<&str>; 2]; 2] =
    [[Some("50m"), Some("128Mi")], [None, Some("1Gi")]];
/// The same of an agent's, as in `manifests/spire/agent.yaml`.
pub(super) const AGENT_RESOURCES: [[Option<&str>; 2]; 2] =
    [[Some("25m"), Some("64Mi")], [None, Some("512Mi")]];

/// Pods of istiod and of each gateway: one can go with its node, and the other is still there.
pub(super) const REPLICAS: NonZeroU8 = NonZeroU8::new(2).unwrap();

pub(super) const ISTIOCTL: &str = "istioctl";
pub(super) const ISTIO_PROFILE: &str = "default";
/// Sixty days: renewed after 45.
pub(super) const ISTIO_CA_DURATION: &str = "1440h";

/// An internal AWS network load balancer that sends to the pods, of every zone from every zone: a zone without a healthy pod would answer
/// nothing otherwise.
const LOAD_BALANCER_ANNOTATIONS: [(&str, &str); 4] = [
    ("service.beta.kubernetes.io/aws-load-balancer-type", "external"),
    ("service.beta.kubernetes.io/aws-load-balancer-nlb-target-type", "ip"),
    ("service.beta.kubernetes.io/aws-load-balancer-scheme", "internal"),
    ("service.beta.kubernetes.io/aws-load-balancer-attributes", "load_balancing.cross_zone.enabled=true"),
];

/// A gateway is asked whether it is ready. Its traffic ports have no listener before there is a `Gateway` object for them, and a port without
/// a healthy target takes the load balancer's name out of DNS.
const HEALTH_ANNOTATIONS: [(&str, &str); 3] = [
    ("service.beta.kubernetes.io/aws-load-balancer-healthcheck-protocol", "http"),
    ("service.beta.kubernetes.io/aws-load-balancer-healthcheck-port", "15021"),
    ("service.beta.kubernetes.io/aws-load-balancer-healthcheck-path", "/healthz/ready"),
];

/// Returns the annotations of the Service of a bundle endpoint.
pub(super) fn bundle_endpoint_annotations() -> BTreeMap<String, String> {
    LOAD_BALANCER_ANNOTATIONS.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Returns the annotations of the Service of a gateway.
pub(super) fn gateway_annotations() -> BTreeMap<String, String> {
    let mut annotations = bundle_endpoint_annotations();
    annotations.extend(HEALTH_ANNOTATIONS.map(|(key, value)| (key.to_owned(), value.to_owned())));
    annotations
}
