//! Two (or more) real Kubernetes clusters on one Linux machine, without Docker and without a registry.

pub mod bench;
pub mod build;
pub mod cert_manager;
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

pub use target::{Lab, Target};

/// Adds to the `spec` of a mesh file what the lab's clusters need for Istio: images that were built here, sizes that fit on one machine,
/// and no filters that are part of Istio's own Envoy only.
#[must_use]
pub fn with_mesh_keys(mesh_file: &str) -> String {
    const KEYS: &str = include_str!("../manifests/mesh-keys.yaml");
    mesh_file.replacen("spec:\n", &format!("spec:\n{KEYS}"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labs_keys_go_into_the_spec_of_a_mesh_file() {
        let text = with_mesh_keys("kind: Mesh\nspec:\n  clusters: []\n");
        assert!(
            text.starts_with("kind: Mesh\nspec:\n  istio:\n") && text.ends_with("  clusters: []\n"),
            "{text}"
        );
    }
}
