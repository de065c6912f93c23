//! How the clusters are doing, for people and for programs.

use std::thread;
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

use super::bootstrap;
use super::health::{List, NodeObject};
use crate::cgroups::{self, Cgroups};
use crate::error::Result;
use crate::faults::Faults;
use crate::node::process;
use crate::state::{Phase, Record, StateDir};
use crate::steps::mebibytes;
use crate::topology::Cluster;

/// How a lab is doing.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Whether `up` has ended well.
    pub phase: Phase,
    /// The kubeconfig with all contexts.
    pub kubeconfig: String,
    /// Memory of all nodes and pods, in bytes.
    pub memory: Option<u64>,
    /// Its clusters.
    pub clusters: Vec<ClusterStatus>,
    /// Active faults, as text.
    pub faults: Vec<String>,
}

/// How a cluster is doing.
#[derive(Debug, Serialize)]
pub struct ClusterStatus {
    /// Name.
    pub name: String,
    /// Context in the kubeconfig.
    pub context: String,
    /// URL of its API server.
    pub server: String,
    /// Whether that answers.
    pub api: bool,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
    /// Addresses of its load balancers.
    pub load_balancers: String,
}

/// How a node is doing.
#[derive(Debug, Serialize)]
pub struct NodeStatus {
    /// Name.
    pub name: String,
    /// Address.
    pub address: String,
    /// Whether its init runs.
    pub running: bool,
    /// Whether Kubernetes says that it is ready.
    pub ready: bool,
    /// Memory of its services and pods, in bytes.
    pub memory: Option<u64>,
}

/// Asks everything.
pub fn status(state: &StateDir) -> Result<Status> {
    let record = Record::require(state)?;
    let cgroups = Cgroups::detect()?;
    let clusters = thread::scope(|scope| {
        let cgroups = &cgroups;
        let threads: Vec<_> =
            record.shape.clusters().map(|c| scope.spawn(move || of_cluster(state, cgroups, c))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Result<Vec<_>>>()
    })?;
    Ok(Status {
        phase: record.phase,
        kubeconfig: state.kubeconfig().display().to_string(),
        memory: cgroups.memory(&cgroups::of_lab(state)),
        clusters,
        faults: Faults::new(state.clone()).list()?.iter().map(ToString::to_string).collect(),
    })
}

fn of_cluster(state: &StateDir, cgroups: &Cgroups, cluster: Cluster) -> Result<ClusterStatus> {
    let kubectl = bootstrap::kubectl(state, cluster).limit(Duration::from_secs(5));
    let objects: Option<List<NodeObject>> = kubectl.get(["nodes"]).ok();
    let ready = |name: &str| {
        objects.iter().flat_map(|list| &list.items).any(|node| node.metadata.name == name && node.is_ready())
    };
    let nodes = cluster.nodes().map(|node| {
        Ok(NodeStatus {
            running: process::init(state, &state.node(node).spec())?.is_some(),
            ready: ready(&node.name()),
            memory: cgroups.memory(&cgroups::of_node(state, &node.name())),
            address: node.address().to_string(),
            name: node.name(),
        })
    });
    let (first, last) = cluster.load_balancer_range();
    Ok(ClusterStatus {
        nodes: nodes.collect::<Result<_>>()?,
        name: cluster.name().to_owned(),
        context: cluster.context(),
        server: cluster.server(),
        api: objects.is_some(),
        load_balancers: format!("{first}-{last}"),
    })
}

impl Status {
    /// A table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header([
            "CONTEXT",
            "API",
            "NODE",
            "ADDRESS",
            "STATE",
            "MEMORY",
            "BALANCERS",
        ]);
        for cluster in &self.clusters {
            for (index, node) in cluster.nodes.iter().enumerate() {
                let once = |text: &str| if index == 0 { text.to_owned() } else { String::new() };
                table.add_row([
                    once(&cluster.context),
                    once(if cluster.api { "ready" } else { "silent" }),
                    node.name.clone(),
                    node.address.clone(),
                    node.state().to_owned(),
                    node.memory.map_or_else(|| "-".to_owned(), mebibytes),
                    once(&cluster.load_balancers),
                ]);
            }
        }
        let table = table.to_string();
        let lines =
            table.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned() + "\n");
        let faults = self.faults.iter().map(|fault| format!("fault: {fault}\n"));
        lines.chain(faults).collect()
    }
}

impl NodeStatus {
    fn state(&self) -> &'static str {
        match (self.running, self.ready) {
            (false, _) => "dead",
            (true, false) => "not ready",
            (true, true) => "ready",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_what_is_wrong() {
        let node = |name: &str, running| NodeStatus {
            name: name.to_owned(),
            address: "10.2.0.10".to_owned(),
            running,
            ready: running,
            memory: running.then_some(512 << 20),
        };
        let status = Status {
            phase: Phase::Running,
            kubeconfig: "/lab/kubeconfig".to_owned(),
            memory: None,
            clusters: vec![ClusterStatus {
                name: "foo".to_owned(),
                context: "foo-eks-cluster".to_owned(),
                server: "https://10.2.0.10:6443".to_owned(),
                api: true,
                nodes: vec![node("foo-node-1", true), node("foo-node-2", false)],
                load_balancers: "10.2.0.128-10.2.0.254".to_owned(),
            }],
            faults: vec!["1: node foo-node-2 stopped".to_owned()],
        };
        insta::assert_snapshot!(status.table());
    }
}
