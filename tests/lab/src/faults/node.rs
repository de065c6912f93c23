//! Stopping API servers and nodes.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::cluster::bootstrap;
use crate::command::wait_until;
use crate::error::Result;
use crate::node::{Holds, start};
use crate::state::StateDir;
use crate::topology::{Cluster, Node};

const SERVICE: &str = "kube-apiserver";

/// Stops a cluster's API server and waits until nobody answers at its address.
pub(super) fn stop_api(state: &StateDir, cluster: Cluster) -> Result<()> {
    hold_api(state, cluster, true)?;
    let address = SocketAddr::from((cluster.first_node().address(), 6443));
    let limit = Duration::from_secs(10);
    wait_until("the end of the API server", "is the node alive?", limit, Duration::from_millis(50), || {
        Ok(TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err())
    })
}

/// Lets the API server run again and waits until it is ready.
pub(super) fn start_api(state: &StateDir, cluster: Cluster) -> Result<()> {
    hold_api(state, cluster, false)?;
    // On a dead node there is nothing to wait for.
    if crate::node::process::init(state, &state.node(cluster.first_node()).spec())?.is_none() {
        return Ok(());
    }
    bootstrap::wait_for_api(state, cluster)
}

fn hold_api(state: &StateDir, cluster: Cluster, hold: bool) -> Result<()> {
    Holds::update(&state.node(cluster.first_node()).holds(), |holds| {
        holds.services.retain(|name| name != SERVICE);
        if hold {
            holds.services.push(SERVICE.to_owned());
        }
    })
}

/// Takes the power from a node.
pub(super) fn stop(state: &StateDir, node: Node) -> Result<()> {
    start::stop(state, node).map(drop)
}

/// Gives it back. The node's pods come up by themselves; how long that takes is Kubernetes' affair.
pub(super) fn start(state: &StateDir, node: Node) -> Result<()> {
    start::start(state, node).map(drop)
}
