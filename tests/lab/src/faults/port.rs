//! Closing a port of a cluster's pods to its API server, as the security group of EKS nodes does.

use crate::command::run;
use crate::error::Result;
use crate::node::process;
use crate::state::StateDir;
use crate::topology::Cluster;

pub(super) fn close(state: &StateDir, cluster: Cluster, port: u16) -> Result<()> {
    change(state, cluster, "-I", port)
}

/// Opens it again. A rule that is not there any more, or a node that has gone, is as good as that.
pub(super) fn open(state: &StateDir, cluster: Cluster, port: u16) -> Result<()> {
    if change(state, cluster, "-C", port).is_ok() {
        change(state, cluster, "-D", port)?;
    }
    Ok(())
}

/// The API server is a process of the node, so its packets leave through `OUTPUT`, with the pod's port already: kube-proxy has put it there.
fn change(state: &StateDir, cluster: Cluster, verb: &str, port: u16) -> Result<()> {
    let Some(init) = process::init(state, &state.node(cluster.first_node()).spec())? else { return Ok(()) };
    let (pid, port) = (init.pid.to_string(), port.to_string());
    let enter = ["--target", &pid, "--net", "--", "iptables", "-w", "10", verb, "OUTPUT"];
    run("nsenter", enter.into_iter().chain(["-p", "tcp", "--dport", &port, "-j", "DROP"])).map(drop)
}
