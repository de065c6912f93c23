//! The hosts that Envoy knows.

use spire_mesh::envoy::{ClusterName, parse_hosts};

use crate::invariant;

pub(crate) fn check(bytes: &[u8]) {
    let hosts = match parse_hosts(bytes) {
        Ok(hosts) => hosts,
        Err(error) => return invariant::harmless_error(&error),
    };
    invariant::harmless_report(&hosts);
    for (name, of_cluster) in &hosts.clusters {
        for host in of_cluster {
            invariant::harmless(&host.address.to_string());
        }
        if let Some(name) = ClusterName::parse(name).filter(|name| name.direction == "outbound") {
            assert!(hosts.of_service(name.host).any(|(found, _)| found == name));
        }
    }
}
