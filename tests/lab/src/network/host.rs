//! Bridges, cables and routes on the host.

use std::fs;
use std::path::Path;

use crate::command::run;
use crate::error::Result;
use crate::topology::{Cluster, NAMES, Node};

/// The interface group by which an interface is known to be ours; unlike an alias it is there from the first moment.
const GROUP: &str = "7561";

/// Makes a cluster's bridge, with the host's address on it and the way to its load balancers.
///
/// The route for the load balancers is only there while the first node is: `ip route replace` needs the bridge alone.
pub fn bridge(cluster: Cluster) -> Result<()> {
    let name = cluster.bridge();
    if !exists(&name) {
        run("ip", ["link", "add", &name, "group", GROUP, "type", "bridge"])?;
    }
    run("ip", ["link", "set", &name, "up"])?;
    let address = format!("{}/{}", cluster.gateway(), cluster.vpc().length());
    run("ip", ["address", "replace", &address, "dev", &name])?;
    let (range, first) = (cluster.load_balancers().to_string(), cluster.first_node().address().to_string());
    run("ip", ["route", "replace", &range, "via", &first, "dev", &name])?;
    Ok(())
}

/// Connects a node, known by its process 1, to its cluster's bridge.
pub fn plug(node: Node, pid: u32) -> Result<()> {
    let (cable, bridge, pid) = (node.cable(), node.cluster().bridge(), pid.to_string());
    // The cable of a node that died goes away by itself, but not at once.
    remove(&cable)?;
    run(
        "ip",
        ["link", "add", &cable, "group", GROUP, "type", "veth", "peer", "name", "eth0", "netns", &pid],
    )?;
    run("ip", ["link", "set", &cable, "master", &bridge, "up"])?;
    Ok(())
}

/// Connects the cable of a running node to its bridge again. Without the cable, the node has no network and needs a
/// restart: then the answer is no.
pub fn replug(node: Node) -> Result<bool> {
    let (cable, bridge) = (node.cable(), node.cluster().bridge());
    if !exists(&cable) {
        return Ok(false);
    }
    run("ip", ["link", "set", &cable, "master", &bridge, "up"])?;
    Ok(true)
}

/// Removes an interface; none is fine.
fn remove(name: &str) -> Result<()> {
    match run("ip", ["link", "delete", name]) {
        Err(e) if exists(name) => Err(e),
        _ => Ok(()),
    }
}

/// Whether an interface exists.
#[must_use]
pub fn exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

/// Interfaces of a lab that are on this host.
#[must_use]
pub fn leftovers() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/class/net") else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_lab_name(name) && is_ours(name))
        .collect();
    names.sort();
    names
}

/// Removes all bridges and cables of the lab; routes and addresses go with them.
pub fn remove_all() -> Result<()> {
    leftovers().iter().try_for_each(|name| remove(name))
}

/// Whether the name is one that the lab gives.
#[must_use]
pub fn is_lab_name(name: &str) -> bool {
    let rest = name.strip_prefix("lab-").unwrap_or_default();
    NAMES.contains(&rest.split_once('-').map_or(rest, |(cluster, _)| cluster))
}

/// Whether the lab made this interface.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    fs::read_to_string(format!("/sys/class/net/{name}/netdev_group")).is_ok_and(|group| group.trim() == GROUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_bridges_and_cables_are_the_labs() {
        assert!(is_lab_name("lab-foo") && is_lab_name("lab-corge-16"));
        assert!(!is_lab_name("lab-something") && !is_lab_name("eth0") && !is_lab_name("foo"));
    }
}
