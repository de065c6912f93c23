//! Whether a lab is well.

use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::bootstrap;
use crate::error::Result;
use crate::network::{firewall, host};
use crate::node::process;
use crate::state::StateDir;
use crate::topology::{Cluster, Shape};

/// The part of Kubernetes' objects that tells how they are.
#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NodeObject {
    pub(super) metadata: Metadata,
    status: NodeStatus,
}

#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
struct NodeStatus {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
struct Condition {
    r#type: String,
    status: String,
}

impl NodeObject {
    pub(super) fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True")
    }
}

/// Everything that is wrong with a lab of this shape; nothing if it is well.
pub fn problems(state: &StateDir, shape: Shape) -> Result<Vec<String>> {
    let mut found = Vec::new();
    if !firewall::is_in_place() {
        found.push("the firewall rules are gone".to_owned());
    }
    for cluster in shape.clusters().filter(|cluster| !host::exists(&cluster.bridge())) {
        found.push(format!("the bridge {} is gone", cluster.bridge()));
    }
    let dead: Vec<_> = shape
        .nodes()
        .filter_map(|node| match process::init(state, &state.node(node).spec()) {
            Ok(Some(_)) => None,
            Ok(None) => Some(Ok(node)),
            Err(e) => Some(Err(e)),
        })
        .collect::<Result<_>>()?;
    found.extend(dead.iter().map(|node| format!("node {} is dead", node.name())));
    let asked = shape.clusters().filter(|cluster| !dead.contains(&cluster.first_node()));
    thread::scope(|scope| {
        let threads: Vec<_> = asked.map(|cluster| scope.spawn(move || of_cluster(state, cluster))).collect();
        for thread in threads {
            found.extend(thread.join().unwrap_or_else(|_| vec!["the health check itself broke".to_owned()]));
        }
    });
    Ok(found)
}

fn of_cluster(state: &StateDir, cluster: Cluster) -> Vec<String> {
    let kubectl = bootstrap::kubectl(state, cluster).limit(Duration::from_secs(10));
    let nodes: List<NodeObject> = match kubectl.get(["nodes"]) {
        Ok(nodes) => nodes,
        Err(e) => return vec![format!("the API server of {} does not answer: {e}", cluster.name())],
    };
    let ready = |name: String| nodes.items.iter().any(|n| n.metadata.name == name && n.is_ready());
    let mut found: Vec<String> = cluster
        .nodes()
        .filter(|node| !ready(node.name()))
        .map(|node| format!("node {} is not ready", node.name()))
        .collect();
    let init = process::init(state, &state.node(cluster.first_node()).spec()).ok().flatten();
    if !init.is_some_and(|init| bootstrap::answers(init.pid, cluster)) {
        found.push(format!("DNS of {} does not answer", cluster.name()));
    }
    found
}
