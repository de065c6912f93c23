//! The node's own network: address, routes, and the settings that kube-proxy and pods need.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::command::{self, wait_until};
use crate::error::{Error, Result};
use crate::node::spec::NodeNetwork;

/// Settings of the node's network namespace.
const SETTINGS: [(&str, &str); 5] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/ip_local_port_range", "32768 60999"),
    // Without it a pod that calls a service of its own node gets the answer past kube-proxy.
    ("net/bridge/bridge-nf-call-iptables", "1"),
];

/// Configures the network, as soon as the host has plugged the cable in.
pub(super) fn configure(network: &NodeNetwork) -> Result<()> {
    wait_until(
        "the network cable of the node",
        "the host did not plug it in",
        Duration::from_mins(1),
        Duration::from_millis(10),
        || Ok(Path::new("/sys/class/net/eth0").exists()),
    )?;
    for (name, value) in SETTINGS {
        let file = Path::new("/proc/sys").join(name);
        fs::write(&file, value).map_err(Error::io("write", &file))?;
    }
    let mut ip = command::command("ip");
    ip.args(["-batch", "-"]);
    command::output(&mut ip, Some(&batch(network)), Duration::from_secs(10))?;
    let mut masquerade: Vec<&str> = "-w -t nat -A POSTROUTING -s".split(' ').collect();
    masquerade.extend([network.pods.as_str(), "!", "-d", network.pods.as_str(), "-j", "MASQUERADE"]);
    command::run("iptables", masquerade).map(drop)
}

/// Input for `ip -batch`. There is no default route: what is not named here is not reachable.
fn batch(network: &NodeNetwork) -> String {
    let mut lines = format!(
        "link set lo up\naddress add {} dev eth0\nlink set eth0 up\nroute add {} dev eth0\n",
        network.address, network.services
    );
    for route in &network.routes {
        // Writing to a string does not fail.
        let _ = writeln!(lines, "route add {} via {}", route.to, route.via);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::spec::Route;

    #[test]
    fn the_only_routes_are_services_and_peers() {
        let network = NodeNetwork {
            address: "10.2.0.10/24".to_owned(),
            routes: vec![Route { to: "10.3.0.0/24".to_owned(), via: [10, 2, 0, 1].into() }],
            services: "10.22.0.0/16".to_owned(),
            pods: "10.12.0.0/16".to_owned(),
        };
        insta::assert_snapshot!(batch(&network), @r"
        link set lo up
        address add 10.2.0.10/24 dev eth0
        link set eth0 up
        route add 10.22.0.0/16 dev eth0
        route add 10.3.0.0/24 via 10.2.0.1
        ");
    }
}
