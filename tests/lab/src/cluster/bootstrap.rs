//! Waiting for a cluster, and what it gets from the lab before anybody uses it.

use std::time::{Duration, SystemTime};

use super::Kubectl;
use super::config;
use crate::command::wait_until;
use crate::error::Result;
use crate::network::{dns, https};
use crate::node::process;
use crate::pki::ADMIN;
use crate::state::StateDir;
use crate::topology::{Cluster, Node, Shape};

const POLL: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_mins(2);
const MANIFEST: &str = include_str!("../../manifests/cluster.yaml");

/// `kubectl` for a cluster of the lab, as its administrator.
#[must_use]
pub fn kubectl(state: &StateDir, cluster: Cluster) -> Kubectl {
    Kubectl::new(state.kubectl(), Some(state.cluster(cluster).kubeconfig(ADMIN)))
}

fn logs(cluster: Cluster, service: &str) -> String {
    format!("see `cargo lab logs {} {service}`", cluster.name())
}

/// Waits until the API server is ready.
pub fn wait_for_api(state: &StateDir, cluster: Cluster) -> Result<()> {
    let (address, authority) = (cluster.first_node().address(), state.cluster(cluster).pki().join("ca.crt"));
    wait_until("the start of the API server", &logs(cluster, "kube-apiserver"), LIMIT, POLL, || {
        Ok(https::is_ready(address, &authority))
    })
}

/// Gives the cluster access rules, a storage class and DNS.
pub fn apply(state: &StateDir, shape: Shape, cluster: Cluster) -> Result<()> {
    let kubectl = kubectl(state, cluster);
    let manifest = manifest(shape, cluster);
    let mut last = None;
    // The first seconds of an API server: it may be ready and still refuse for a moment.
    let applied = wait_until("the first manifests", &logs(cluster, "kube-apiserver"), LIMIT, POLL, || {
        last = kubectl.apply(&manifest).err();
        Ok(last.is_none())
    });
    applied.map_err(|timeout| last.unwrap_or(timeout))
}

fn manifest(shape: Shape, cluster: Cluster) -> String {
    let hosts: Vec<String> = config::hosts(shape.clusters()).collect();
    MANIFEST
        .replace("<hosts>", &hosts.join("\n            "))
        .replace("<dns>", &cluster.dns_service().to_string())
}

/// Waits until a node says that it is ready; if it was started just now, says so after that.
pub fn wait_for_node(state: &StateDir, node: Node, started: Option<SystemTime>) -> Result<()> {
    let kubectl = kubectl(state, node.cluster()).limit(LIMIT);
    let (name, object) = (node.name(), format!("node/{}", node.name()));
    for condition in ["--for=create", "--for=condition=Ready"] {
        kubectl.run(["wait", condition, "--timeout=110s", &object])?;
    }
    let Some(started) = started else { return Ok(()) };
    // What Kubernetes knows may be from before a sudden end: a heartbeat of a later second is from after it.
    let started = humantime::format_rfc3339_seconds(started).to_string();
    let ready =
        r#"jsonpath={range .status.conditions[?(@.type=="Ready")]}{.status} {.lastHeartbeatTime}{end}"#;
    wait_until(&format!("the kubelet of {name}"), &logs(node.cluster(), "kubelet"), LIMIT, POLL, || {
        let state = kubectl.run(["get", &object, "-o", ready]).unwrap_or_default();
        Ok(state
            .split_once(' ')
            .is_some_and(|(ready, heartbeat)| ready == "True" && heartbeat > started.as_str()))
    })
}

/// Waits until the DNS server runs, and asks it from every node.
pub fn wait_for_dns(state: &StateDir, cluster: Cluster) -> Result<()> {
    let kubectl = kubectl(state, cluster).limit(LIMIT);
    kubectl.run(["-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=110s"])?;
    cluster.nodes().try_for_each(|node| {
        let init = process::init(state, &state.node(node).spec())?;
        wait_until(
            &format!("an answer of the cluster's DNS on {}", node.name()),
            &logs(cluster, "kube-proxy"),
            Duration::from_secs(30),
            POLL,
            || Ok(init.as_ref().is_some_and(|init| answers(init.pid, cluster))),
        )
    })
}

/// Whether the service address of DNS answers, as seen by a process, with the right address of the API server.
#[must_use]
pub fn answers(pid: u32, cluster: Cluster) -> bool {
    dns::lookup(pid, cluster.dns_service(), "kubernetes.default.svc.cluster.local")
        .is_ok_and(|address| address == Some(cluster.api_service()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_manifest_stays_open() {
        let shape = Shape::default();
        let text = manifest(shape, shape.cluster("bar").expect("it exists"));
        assert!(!text.contains(": <") && !text.contains("<hosts>"), "{text}");
        assert!(text.contains("            10.2.0.10 foo-node-1\n            10.3.0.10 bar-node-1\n"));
        assert!(text.contains("clusterIP: 10.23.0.10\n"));
    }
}
