//! A SPIRE server for tests.

use super::{FoundControllerManager, FoundEndpoint, FoundSpire};

/// A server of somebody else's with trust domain bar.com that can be federated as it is.
pub(crate) fn foreign() -> FoundSpire {
    FoundSpire {
        namespace: "spire-server".to_owned(),
        workload: "StatefulSet/spire-server".to_owned(),
        mesh: None,
        selector: [("app.kubernetes.io/name".to_owned(), "server".to_owned())].into(),
        pod: Some("spire-server-0".to_owned()),
        ready: true,
        container: "spire-server".to_owned(),
        binary: "/opt/spire/bin/spire-server".to_owned(),
        image: "ghcr.io/spiffe/spire-server:1.15.3".to_owned(),
        version: Some("1.15.3".to_owned()),
        socket_path: None,
        trust_domain: Some("bar.com".parse().unwrap()),
        agent_ttl: Some(jiff::SignedDuration::from_hours(1)),
        upstream: None,
        bundle_endpoint: Some(FoundEndpoint {
            container_port: 8443,
            https_web: false,
            service: Some(("spire-server".to_owned(), 8443)),
        }),
        static_federation: Vec::new(),
        controller_manager: Some(FoundControllerManager {
            class_name: Some("spire-mgmt-spire".to_owned()),
            ..FoundControllerManager::default()
        }),
    }
}
