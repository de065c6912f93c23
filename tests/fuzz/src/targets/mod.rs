//! One file for each target: a function `check` that takes the bytes.

pub(crate) mod bundle_json;
pub(crate) mod bundle_pem;
pub(crate) mod certificate;
pub(crate) mod chain_pem;
pub(crate) mod der_sequence;
pub(crate) mod envoy_hosts;
pub(crate) mod envoy_inbound;
pub(crate) mod envoy_outbound;
pub(crate) mod envoy_secrets;
pub(crate) mod istioctl;
pub(crate) mod istiod;
pub(crate) mod kubeconfig;
pub(crate) mod logs;
pub(crate) mod manifests;
pub(crate) mod mesh_file;
pub(crate) mod spiffe_id;
pub(crate) mod spire_config;
pub(crate) mod spire_server;
pub(crate) mod trustchain;
pub(crate) mod verify;
pub(crate) mod workload_api;
