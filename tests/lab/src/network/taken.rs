//! Whether something else on this machine uses the lab's addresses or interface names.

use serde::Deserialize;

use super::cidr::Cidr;
use super::host;
use crate::command::run;
use crate::error::{Error, Result};
use crate::topology::{Cluster, Node, Shape};

#[derive(Debug, Deserialize)]
struct Route {
    dst: String,
    #[serde(default)]
    dev: String,
}

/// Refuses if an address range or an interface name that the lab needs is taken by somebody else.
pub fn check(shape: Shape) -> Result<()> {
    let routes: Vec<Route> = parse(&run("ip", ["-4", "-j", "route", "show", "table", "all"])?)?;
    let mut taken = overlaps(shape, &routes);
    for name in shape.clusters().map(Cluster::bridge).chain(shape.nodes().map(Node::cable)) {
        if host::exists(&name) && !host::is_ours(&name) {
            taken.push(format!("the interface name {name} is taken; rename or remove that interface"));
        }
    }
    if taken.is_empty() { Ok(()) } else { Err(Error::Taken(taken)) }
}

fn parse(text: &str) -> Result<Vec<Route>> {
    serde_json::from_str(text).map_err(|e| Error::Invalid {
        what: "output of `ip -j route`",
        value: text.chars().take(80).collect(),
        why: e.to_string(),
    })
}

/// Addresses show up here too: each has a route in the table `local`.
fn overlaps(shape: Shape, routes: &[Route]) -> Vec<String> {
    let ours = shape.clusters().flat_map(|c| [c.vpc(), c.pods(), c.services()].map(|range| (c, range)));
    let mut taken = Vec::new();
    for (cluster, range) in ours {
        let other = routes.iter().find(|route| {
            !host::is_lab_name(&route.dev) && route.dst.parse::<Cidr>().is_ok_and(|dst| dst.overlaps(range))
        });
        if let Some(route) = other {
            taken.push(format!(
                "{range} (cluster {}) overlaps {} on {}; disconnect that network, or run the lab in a virtual machine",
                cluster.name(),
                route.dst,
                route.dev
            ));
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_the_same_addresses_is_named() {
        let text = r#"[{"dst":"default","gateway":"192.168.1.1","dev":"eth0"},
            {"dst":"10.3.0.0/16","dev":"tun0"},
            {"type":"local","dst":"10.2.0.1","dev":"lab-foo","table":"local"}]"#;
        let taken = overlaps(Shape::default(), &parse(text).expect("routes"));
        assert_eq!(taken.len(), 1, "{taken:?}");
        assert!(
            taken[0].starts_with("10.3.0.0/24 (cluster bar) overlaps 10.3.0.0/16 on tun0; "),
            "{taken:?}"
        );
    }
}
