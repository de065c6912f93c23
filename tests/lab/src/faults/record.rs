//! Which faults there are, and what each does and undoes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::traffic::{Action, Destination};
use super::{container, node, port, traffic};
use crate::error::Result;
use crate::node::holds::ContainerName;
use crate::state::StateDir;
use crate::topology::Shape;

/// Something that goes wrong and stays wrong until it is cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fault {
    /// Connections between clusters suffer.
    Traffic(Traffic),
    /// The API server of a cluster does not run.
    ApiStopped {
        /// Name of the cluster.
        cluster: String,
    },
    /// A node has no power.
    NodeStopped {
        /// Name of the node.
        node: String,
    },
    /// The API server of a cluster does not reach pods at a port: packets are dropped.
    PortClosed {
        /// Name of the cluster.
        cluster: String,
        /// The port.
        port: u16,
    },
    /// A container of a pod does not live for longer than a tenth of a second.
    ContainerKilled {
        /// Name of the cluster.
        cluster: String,
        /// Which container.
        #[serde(flatten)]
        container: ContainerName,
    },
}

/// Which connections suffer, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// How.
    pub action: Action,
    /// The cluster that opens the connections; any if it is not named.
    pub from: Option<String>,
    /// Where they go.
    pub to: Destination,
}

/// A fault that is happening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// Number, for `lab fault clear`.
    pub id: u16,
    /// What it is.
    pub fault: Fault,
}

impl fmt::Display for Active {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.id)?;
        match &self.fault {
            Fault::Traffic(Traffic { action, from, to }) => {
                write!(f, "connections from {} to {to} {action}", from.as_deref().unwrap_or("every cluster"))
            }
            Fault::ApiStopped { cluster } => write!(f, "API server of {cluster} stopped"),
            Fault::NodeStopped { node } => write!(f, "node {node} stopped"),
            Fault::PortClosed { cluster, port } => {
                write!(f, "port {port} of pods in {cluster} closed to its API server")
            }
            Fault::ContainerKilled { cluster, container } => {
                let ContainerName { namespace, pod, container } = container;
                write!(f, "container {container} of pod {namespace}/{pod} in {cluster} killed for good")
            }
        }
    }
}

pub(super) fn apply(state: &StateDir, shape: Shape, active: &Active) -> Result<()> {
    match &active.fault {
        Fault::Traffic(fault) => traffic::apply(state, shape, active.id, fault),
        Fault::ApiStopped { cluster } => node::stop_api(state, shape.cluster(cluster)?),
        Fault::NodeStopped { node } => node::stop(state, shape.node(node)?),
        Fault::PortClosed { cluster, port } => port::close(state, shape.cluster(cluster)?, *port),
        Fault::ContainerKilled { cluster, container } => {
            container::kill(state, shape.cluster(cluster)?, container)
        }
    }
}

pub(super) fn undo(state: &StateDir, shape: Shape, active: &Active) -> Result<()> {
    match &active.fault {
        Fault::Traffic(fault) => traffic::undo(state, shape, active.id, fault),
        Fault::ApiStopped { cluster } => node::start_api(state, shape.cluster(cluster)?),
        Fault::NodeStopped { node } => node::start(state, shape.node(node)?),
        Fault::PortClosed { cluster, port } => port::open(state, shape.cluster(cluster)?, *port),
        Fault::ContainerKilled { cluster, container } => {
            container::release(state, shape.cluster(cluster)?, container)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_recorded_and_read_back() {
        let all = [
            Fault::Traffic(Traffic {
                action: Action::Delay { milliseconds: 200 },
                from: Some("foo".to_owned()),
                to: "10.3.0.129:15443".parse().expect("an address"),
            }),
            Fault::Traffic(Traffic {
                action: Action::Block,
                from: None,
                to: "bar".parse().expect("a cluster"),
            }),
            Fault::ApiStopped { cluster: "foo".to_owned() },
            Fault::NodeStopped { node: "bar-node-1".to_owned() },
            Fault::PortClosed { cluster: "foo".to_owned(), port: 15017 },
            Fault::ContainerKilled {
                cluster: "foo".to_owned(),
                container: ContainerName {
                    namespace: "spire".to_owned(),
                    pod: "spire-server-0".to_owned(),
                    container: "spire-server".to_owned(),
                },
            },
        ];
        let all: Vec<Active> = all.into_iter().zip(1..).map(|(fault, id)| Active { id, fault }).collect();
        let text = serde_json::to_string_pretty(&all).expect("JSON");
        assert_eq!(serde_json::from_str::<Vec<Active>>(&text).expect("the same"), all);
        let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(format!("{}\n\n{text}", lines.join("\n")));
    }
}
