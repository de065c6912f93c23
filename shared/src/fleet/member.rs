//! A connection to a cluster, and a cluster of the mesh with its connection.

use std::fmt;
use std::ops::Deref;

use crate::hint::Place;
use crate::mesh;

/// The connection to one API server, which is shared by all requests; cloning it is cheap.
#[derive(Clone)]
pub struct Connection {
    pub(super) name: String,
    pub(super) context: String,
    pub(super) kube: kube::Client,
    pub(super) server: String,
    pub(super) version: String,
    pub(super) peer: Peer,
}

/// Whether it is known who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The certificate that it presented was checked.
    Proven,
    /// Nobody looked: with `--insecure-skip-tls-verify`, or the same in the kubeconfig.
    Unchecked,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("name", &self.name)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Makes a connection of a client that exists already, for tests.
    #[cfg(test)]
    pub(crate) fn of(name: &str, kube: kube::Client) -> Self {
        let (name, context) = (name.to_owned(), name.to_owned());
        Self { name, context, kube, server: String::new(), version: String::new(), peer: Peer::Proven }
    }

    /// Returns the cluster's name: that of the mesh file, or the context where there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the kubeconfig's context.
    #[must_use]
    pub fn context(&self) -> &str {
        &self.context
    }

    /// Returns its name and context.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::new(&self.name, &self.context)
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

    /// Tells whether it is known who answers.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The same connection, to somebody whose certificate nobody has looked at.
    #[cfg(test)]
    pub(crate) fn unchecked(self) -> Self {
        Self { peer: Peer::Unchecked, ..self }
    }

    /// Returns the version of the API server, `v1.34.1`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// One cluster of the mesh and the connection to its API server.
#[derive(Clone, Debug)]
pub struct Member {
    /// What the mesh file says about the cluster.
    pub cluster: mesh::Cluster,
    pub(crate) connection: Connection,
}

impl Member {
    /// Joins a cluster with a connection to it.
    #[must_use]
    pub fn new(cluster: mesh::Cluster, connection: Connection) -> Self {
        Self { cluster, connection }
    }

    /// Finds the cluster of a name that was typed: its own, else that of its context.
    #[must_use]
    pub fn named<'m>(members: &'m [Self], name: &str) -> Option<&'m Self> {
        let own = members.iter().find(|member| member.name() == name);
        own.or_else(|| members.iter().find(|member| member.context() == name))
    }
}

/// A member is a connection of which more is known: whatever asks one cluster takes a [`Connection`].
impl Deref for Member {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}
