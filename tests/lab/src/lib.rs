//! Two (or more) real Kubernetes clusters on one Linux machine, without Docker and without a registry.

pub mod bench;
pub mod build;
pub mod cgroups;
pub mod cli;
pub mod cluster;
pub mod command;
pub mod error;
pub mod faults;
pub mod fuzz;
pub mod images;
pub mod network;
pub mod node;
pub mod package;
pub mod pki;
pub mod plugins;
pub mod preflight;
pub mod proof;
pub mod state;
pub mod steps;
mod sys;
pub mod target;
pub mod topology;

pub use error::{Error, Result};

/// Keys below `spec` of a mesh file that the lab's clusters need for Istio: images that were built here, and no filters that are part
/// of Istio's own Envoy only.
pub const MESH_KEYS: &str = include_str!("../manifests/mesh-keys.yaml");
pub use target::{Lab, Target};
