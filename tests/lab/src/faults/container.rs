//! Keeping one container of one pod dead.
//!
//! Kubernetes starts a container again that ends, so that "dead for good" needs somebody who kills it each time: the
//! init of its node does, within a tenth of a second. The pod shows what a container shows that ends at once:
//! `CrashLoopBackOff`. When the fault is cleared, the kubelet starts it after its back-off, 10 s at most.

use serde::Deserialize;

use crate::cluster::bootstrap;
use crate::error::{Error, Result};
use crate::node::Holds;
use crate::node::holds::ContainerName;
use crate::state::StateDir;
use crate::topology::Cluster;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pod {
    spec: PodSpec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    node_name: String,
    #[serde(default)]
    init_containers: Vec<Container>,
    containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
struct Container {
    name: String,
}

pub(super) fn kill(state: &StateDir, cluster: Cluster, name: &ContainerName) -> Result<()> {
    let kubectl = bootstrap::kubectl(state, cluster);
    let pod: Pod = kubectl.get(["-n", &name.namespace, "pod", &name.pod])?;
    // Sidecars are among the init containers.
    let known: Vec<String> =
        pod.spec.containers.into_iter().chain(pod.spec.init_containers).map(|c| c.name).collect();
    if !known.contains(&name.container) {
        let known = known.join(", ");
        return Err(Error::Unknown { kind: "container", name: name.container.clone(), known });
    }
    let node =
        cluster.nodes().find(|node| node.name() == pod.spec.node_name).ok_or_else(|| Error::Invalid {
            what: "pod",
            value: format!("{}/{}", name.namespace, name.pod),
            why: "it is not on a node yet".to_owned(),
        })?;
    Holds::update(&state.node(node).holds(), |holds| holds.containers.push(name.clone()))
}

/// Whichever node it is on: the pod may be gone by now.
pub(super) fn release(state: &StateDir, cluster: Cluster, name: &ContainerName) -> Result<()> {
    cluster.nodes().map(|node| state.node(node).holds()).filter(|file| file.exists()).try_for_each(|file| {
        Holds::update(&file, |holds| {
            if let Some(index) = holds.containers.iter().position(|held| held == name) {
                holds.containers.remove(index);
            }
        })
    })
}
