//! A cluster of the mesh with a connection to it.

use std::fmt;

use crate::mesh;

/// One cluster of the mesh and the connection to its API server, which is shared by all requests.
#[derive(Clone)]
pub struct Member {
    /// What the mesh file says about the cluster.
    pub cluster: mesh::Cluster,
    pub(super) kube: kube::Client,
    pub(super) server: String,
    pub(super) version: String,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("name", &self.cluster.name)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Member {
    /// Joins a cluster with a client that exists already, for tests and for other ways of connecting.
    #[must_use]
    pub fn new(cluster: mesh::Cluster, kube: kube::Client, server: String, version: String) -> Self {
        Self { cluster, kube, server, version }
    }

    /// Returns the cluster's name in the mesh.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.cluster.name
    }

    /// Returns the client; cloning it is cheap and keeps the connections.
    #[must_use]
    pub fn client(&self) -> &kube::Client {
        &self.kube
    }

    /// Returns the address of the API server as the kubeconfig names it.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Returns the version of the API server, `v1.34.1`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}
