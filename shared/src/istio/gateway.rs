//! The `Gateway` object that lets the east-west gateway take in what comes from other networks.

use serde_json::Value;

use super::EAST_WEST_PORT;

/// Name of the `Gateway` object that makes the east-west gateway listen.
pub const CROSS_NETWORK_GATEWAY: &str = "cross-network-gateway";
/// What the pods of the east-west gateway are selected by.
const LABELS: [(&str, &str); 2] = [("istio", "eastwestgateway"), ("app", super::EAST_WEST_GATEWAY)];
/// The mode in which TLS is passed on by its server name to the cluster that the name says.
const MODE: &str = "AUTO_PASSTHROUGH";
/// The names of all services of all clusters.
const HOSTS: &str = "*.local";

/// What one `Gateway` object does for the east-west gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundGateway {
    /// Its name.
    pub name: String,
    /// What keeps it from letting other networks in; `None` where it does.
    pub problem: Option<String>,
}

impl FoundGateway {
    /// Judges an object by its `spec`.
    #[must_use]
    pub fn of(name: &str, spec: &Value) -> Self {
        Self { name: name.to_owned(), problem: problem(spec) }
    }
}

/// Returns the first field that is not as it has to be.
fn problem(spec: &Value) -> Option<String> {
    let selector = spec["selector"].as_object();
    let foreign = selector
        .into_iter()
        .flatten()
        .find(|(key, value)| !LABELS.iter().any(|(label, wanted)| key == label && *value == wanted));
    if let Some((key, _)) = foreign {
        return Some(format!(
            "its selector asks for the label {key}, with a value that the gateway's pods do not have"
        ));
    }
    let servers = spec["servers"].as_array().into_iter().flatten();
    let at_port = |server: &&Value| server["port"]["number"].as_i64() == Some(EAST_WEST_PORT.into());
    let Some(server) = servers.clone().find(at_port) else {
        return Some(format!("it has no server with port.number {EAST_WEST_PORT}"));
    };
    if server["port"]["protocol"] != "TLS" {
        return Some("port.protocol of its server is not TLS".to_owned());
    }
    if server["tls"]["mode"] != MODE {
        return Some(format!("tls.mode of its server is not {MODE}"));
    }
    let mut hosts = server["hosts"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let all = |host: &str| {
        let (namespace, host) = host.split_once('/').unwrap_or(("*", host));
        namespace == "*" && (host == HOSTS || host == "*")
    };
    (!hosts.any(all)).then(|| format!("hosts of its server does not have {HOSTS}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::parse_yaml;

    fn ours() -> Value {
        let objects = parse_yaml(include_str!("../../../manifests/istio/mutual-tls.yaml")).unwrap();
        let gateway = objects.iter().find(|object| object.key().name == CROSS_NETWORK_GATEWAY);
        gateway.expect("the object of the manifests").to_value()["spec"].clone()
    }

    #[test]
    fn the_object_that_is_installed_lets_other_networks_in() {
        assert_eq!(problem(&ours()), None);
        for hosts in [json!(["a.local", "*/*.local"]), json!(["*"])] {
            let mut spec = ours();
            spec["servers"][0]["hosts"] = hosts;
            assert_eq!(problem(&spec), None);
        }
        let mut spec = ours();
        spec["selector"] = json!(null);
        assert_eq!(problem(&spec), None, "without a selector it is for all gateways");
    }

    #[test]
    fn whatever_was_changed_is_named() {
        let with = |path: &str, value: Value| {
            let mut spec = ours();
            *spec.pointer_mut(path).unwrap() = value;
            problem(&spec).unwrap_or_default()
        };
        let told = [
            with("/selector", json!({"istio": "ingressgateway"})),
            with("/selector", json!({"istio": "eastwestgateway", "team": "a"})),
            with("/servers", json!([])),
            with("/servers/0/port/number", json!(15444)),
            with("/servers/0/port/protocol", json!("HTTPS")),
            with("/servers/0/tls", json!(null)),
            with("/servers/0/tls/mode", json!("PASSTHROUGH")),
            with("/servers/0/hosts", json!(["*.global", "shop/*.local"])),
        ];
        insta::assert_snapshot!(told.join("\n"), @"
        its selector asks for the label istio, with a value that the gateway's pods do not have
        its selector asks for the label team, with a value that the gateway's pods do not have
        it has no server with port.number 15443
        it has no server with port.number 15443
        port.protocol of its server is not TLS
        tls.mode of its server is not AUTO_PASSTHROUGH
        tls.mode of its server is not AUTO_PASSTHROUGH
        hosts of its server does not have *.local
        ");
    }
}
