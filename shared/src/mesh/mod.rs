//! The mesh file: which clusters trust each other.
//!
//! The text becomes a `tree` that knows its places, the tree is held against the `shape` of the types in `file`, and
//! what has the right shape is checked and completed in `resolve`. Every problem of a file is reported, with its place.
//! `edit` adds a cluster to the text or takes one out, and leaves the rest as somebody wrote it.

mod defaults;
mod demo;
mod edit;
mod endpoint;
mod error;
mod file;
mod init;
mod issuer;
mod istio;
mod istio_ca;
mod model;
mod pods;
mod resolve;
mod shape;
mod spire;
mod text;
mod tree;
mod values;

use std::path::{Path, PathBuf};

pub use defaults::{DEFAULT_FILE, ISTIO_NAMESPACE};
pub use demo::DemoImages;
pub use edit::{EditError, with_cluster, without_cluster};
pub use endpoint::{ApiEndpoint, EksCluster};
pub use error::{MeshFileError, Place, Problem};
pub use file::schema;
pub use init::{NewCluster, NewClusterError, NewFileError, new_file};
pub use issuer::IssuerKind;
pub(crate) use istio::lay;
pub use istio::{Gateway, GatewayService, Istio, Replicated};
pub use istio_ca::{CaCertificate, IstioCa};
pub use model::{
    BundleEndpoint, CertManagerIssuer, Cluster, ExistingSpire, Exposure, KeyType, ManagedSpire, Mesh, Spire,
    SpireImages, Storage, UpstreamAuthority,
};
pub use pods::{Amounts, NodePods, Placement, Pods, Resources};
pub use text::{MeshText, ReplaceError};
pub(crate) use values::short as duration_text;
pub use values::{EndpointUrl, EndpointUrlError};

use crate::report::one_line;
use tree::Node;

/// The most problems of a file that are shown.
const MOST_PROBLEMS: usize = 20;

/// Reads the mesh file at `path`, or `spire-mesh.yaml` in the working directory, and returns it with the path it had.
///
/// # Errors
///
/// When the file is not there, cannot be read, or is not a valid mesh.
pub fn load(path: Option<&Path>) -> Result<(Mesh, PathBuf), MeshFileError> {
    let text = MeshText::read(path)?;
    Ok((text.mesh()?, text.path().to_owned()))
}

/// Reads the mesh file at `path`; without one `spire-mesh.yaml` in the working directory, `None` where there is none.
///
/// # Errors
/// [`MeshFileError`] when a file that was named is not there, or one that is there is no mesh file.
pub fn load_if_any(path: Option<&Path>) -> Result<Option<Mesh>, MeshFileError> {
    match (load(path), path) {
        (Ok((mesh, _)), _) => Ok(Some(mesh)),
        (Err(MeshFileError::Missing { .. }), None) => Ok(None),
        (Err(error), _) => Err(error),
    }
}

impl Mesh {
    /// Parses the text of a mesh file. `file_name` is used in messages only.
    ///
    /// # Errors
    ///
    /// [`MeshFileError::Invalid`] with every problem of the text.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, MeshFileError> {
        let invalid = |(problems, more)| MeshFileError::Invalid { file: one_line(file_name), problems, more };
        // An editor on Windows writes a byte order mark; YAML allows it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let root = Node::parse(text).map_err(|problem| invalid((vec![problem], 0)))?;
        let mut findings = shape::Findings::default();
        let file = file::MeshFile::read(&root, &mut findings);
        let mesh = resolve::resolve(file, &mut findings);
        match mesh {
            Some(mesh) if findings.is_empty() => Ok(mesh),
            _ => Err(invalid(findings.into_problems(&root, text, MOST_PROBLEMS))),
        }
    }
}

#[cfg(test)]
mod tests;
