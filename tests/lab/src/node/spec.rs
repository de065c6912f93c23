//! What a node's init has to know: mounts, network and services, as data.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::state::NodeDir;

/// A node, as its init sees it. Written by `up`, read by `lab node-init`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Host name.
    pub name: String,
    /// Control group of the node.
    pub cgroup: String,
    /// An empty directory for the rearrangement of `/sys`.
    pub stash: PathBuf,
    /// What the node sees instead of the host's.
    pub binds: Vec<Bind>,
    /// Addresses and routes.
    pub network: NodeNetwork,
    /// What runs on it.
    pub services: Vec<Service>,
    /// Directory of the services' logs.
    pub logs: PathBuf,
    /// File with what must not run.
    pub holds: PathBuf,
}

impl NodeSpec {
    /// Reads the file that [`NodeSpec::write`] wrote.
    pub fn read(path: &Path) -> Result<Self> {
        crate::state::read_json(path)?
            .ok_or_else(|| Error::Damaged { path: path.to_path_buf(), why: "it does not exist".to_owned() })
    }

    /// Writes it where the node's init reads it.
    pub fn write(&self, dir: &NodeDir) -> Result<()> {
        crate::state::write_json(&dir.spec(), self)
    }
}

/// A file or directory of the lab's state, shown at a place where programs look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// What is shown.
    pub from: PathBuf,
    /// Where.
    pub to: PathBuf,
}

/// The network of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeNetwork {
    /// Address with prefix length.
    pub address: String,
    /// Ranges behind another machine, and the address of that machine.
    pub routes: Vec<Route>,
    /// Services: a range that needs a route, or a process of the node cannot connect to it; kube-proxy does the rest.
    pub services: String,
    /// Pods of the cluster: outside of this range they have the node's address.
    pub pods: String,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// To where.
    pub to: String,
    /// Through whom.
    pub via: Ipv4Addr,
}

/// A program that init keeps running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Name; the log is `<name>.log`.
    pub name: String,
    /// Absolute path.
    pub program: PathBuf,
    /// Arguments.
    pub args: Vec<String>,
    /// What must be there before it starts.
    pub after: Option<Gate>,
}

/// Something that a service waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// A Unix socket that accepts connections.
    Socket(PathBuf),
    /// A TCP port that accepts connections.
    Port(SocketAddr),
    /// An API server that says it is ready. It accepts connections seconds before.
    Api {
        /// Its address.
        address: Ipv4Addr,
        /// File with the certificate of its authority.
        authority: PathBuf,
    },
}
