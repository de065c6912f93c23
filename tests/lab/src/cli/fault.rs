//! `lab fault`

use clap::{Args, Subcommand};

use super::say;
use crate::error::Result;
use crate::faults::{self, Action, Destination, Faults, Namespaced, Traffic};
use crate::node::holds::ContainerName;
use crate::preflight;
use crate::state::StateDir;

/// Break something on purpose, until it is cleared.
#[derive(Debug, Args)]
pub(super) struct Fault {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Drop the packets of connections: they hang until they time out
    Block(Route),
    /// Refuse new connections and reset existing ones
    Reset(Route),
    /// Let packets arrive later; this is added to each round trip once
    Delay {
        /// How much later
        #[arg(value_name = "MS")]
        milliseconds: u32,
        #[command(flatten)]
        route: Route,
    },
    /// Stop the API server of a cluster
    StopApi { cluster: String },
    /// Start the API server again
    StartApi { cluster: String },
    /// Take the power from a node
    StopNode { node: String },
    /// Give it back
    StartNode { node: String },
    /// Drop what the API server of a cluster sends to pods at a port
    ClosePort { cluster: String, port: u16 },
    /// Kill a container of a pod whenever it runs: the pod shows `CrashLoopBackOff`
    KillContainer {
        cluster: String,
        #[arg(value_name = "NAMESPACE/POD")]
        pod: Namespaced,
        container: String,
    },
    /// Empty a persistent volume and delete the pods that use it; this cannot be undone
    LoseVolume {
        cluster: String,
        #[arg(value_name = "NAMESPACE/CLAIM")]
        claim: Namespaced,
    },
    /// List the active faults
    List,
    /// Undo one fault, or all of them
    Clear {
        /// Number of the fault, as `list` shows it
        id: Option<u16>,
    },
}

/// Which connections: those between clusters, in the direction in which they are opened.
#[derive(Debug, Args)]
struct Route {
    /// Only connections from this cluster
    #[arg(long)]
    from: Option<String>,
    /// Where they go: a cluster, or ADDRESS[:PORT] of a node or load balancer
    #[arg(value_name = "TO")]
    to: Destination,
}

impl Fault {
    pub(super) fn run(self) -> Result<()> {
        let faults = Faults::new(StateDir::from_env());
        if !matches!(self.what, What::List) {
            preflight::require_root()?;
        }
        match self.what {
            What::Block(route) => traffic(&faults, Action::Block, route),
            What::Reset(route) => traffic(&faults, Action::Reset, route),
            What::Delay { milliseconds, route } => traffic(&faults, Action::Delay { milliseconds }, route),
            What::StopApi { cluster } => inject(&faults, faults::Fault::ApiStopped { cluster }),
            What::StartApi { cluster } => end(&faults, &faults::Fault::ApiStopped { cluster }),
            What::StopNode { node } => inject(&faults, faults::Fault::NodeStopped { node }),
            What::StartNode { node } => end(&faults, &faults::Fault::NodeStopped { node }),
            What::ClosePort { cluster, port } => inject(&faults, faults::Fault::PortClosed { cluster, port }),
            What::KillContainer { cluster, pod, container } => {
                let container = ContainerName { namespace: pod.namespace, pod: pod.name, container };
                inject(&faults, faults::Fault::ContainerKilled { cluster, container })
            }
            What::LoseVolume { cluster, claim } => faults.lose_volume(&cluster, &claim),
            What::List => faults.list()?.iter().try_for_each(|fault| say(&fault.to_string())),
            What::Clear { id: Some(id) } => say(&format!("cleared {}", faults.clear(id)?)),
            What::Clear { id: None } => {
                faults.clear_all()?.iter().try_for_each(|fault| say(&format!("cleared {fault}")))
            }
        }
    }
}

fn traffic(faults: &Faults, action: Action, Route { from, to }: Route) -> Result<()> {
    inject(faults, faults::Fault::Traffic(Traffic { action, from, to }))
}

fn inject(faults: &Faults, fault: faults::Fault) -> Result<()> {
    say(&faults.inject(fault)?.to_string())
}

/// Clears every fault of this kind.
fn end(faults: &Faults, fault: &faults::Fault) -> Result<()> {
    let active = faults.list()?;
    let matching: Vec<_> = active.iter().filter(|active| active.fault == *fault).collect();
    if matching.is_empty() {
        return say("it is not stopped, nothing to do");
    }
    matching.iter().try_for_each(|active| say(&format!("cleared {}", faults.clear(active.id)?)))
}
