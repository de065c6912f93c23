//! Istio in one cluster: its configuration and manifests, what lets other clusters' istiods in, and what istiod knows.
//!
//! `istioctl` turns the configuration into manifests, and these plugins apply them: so that a plan can be shown, a second run changes
//! nothing, and everything can be found and taken away again.

pub mod ca;
pub mod config;
pub mod demo;
pub mod desired;
pub mod gateway;
pub mod injector;
pub mod istioctl;
pub mod istiod;
pub mod remote;
pub mod version;

/// Namespace of istiod, the gateways and everything else of Istio.
pub const NAMESPACE: &str = crate::mesh::ISTIO_NAMESPACE;
/// Name of istiod's `Deployment` and service.
pub const ISTIOD: &str = "istiod";
/// Name of the gateway through which other networks come in.
pub const EAST_WEST_GATEWAY: &str = "istio-eastwestgateway";
/// Name of the gateway through which requests from outside the mesh come in.
pub const INGRESS_GATEWAY: &str = "istio-ingressgateway";
/// Port of the east-west gateway at which other networks come in.
pub const EAST_WEST_PORT: i32 = 15443;
/// File name of the socket that SPIRE's agents serve.
pub const WORKLOAD_SOCKET: &str = "spire-agent.sock";
/// The label of a namespace that says which network its pods are in.
pub const NETWORK_LABEL: &str = "topology.istio.io/network";
/// The variable of istiod's environment with which it takes further roots into its CA while it runs, and lets old ones go
/// (Istio 1.31, `pilot/pkg/features/pilot.go`).
pub const MULTIROOT: &str = "ISTIO_MULTIROOT_MESH";
