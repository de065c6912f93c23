use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::dump::{Configs, SocketAddress};
use super::json::{self, AnswerError};
use crate::report::escape;

/// The most endpoints of one cluster of Envoy that are kept.
const MOST_ENDPOINTS: usize = 100_000;

/// An endpoint as istiod gave it to a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is reached: `10.12.0.8:5000`; for a workload of another network that is its east-west gateway.
    pub address: String,
    /// The cluster of the mesh that it is in, as istiod calls it; `None` where it does not say.
    pub cluster: Option<String>,
    /// Whether istiod takes it for healthy.
    pub healthy: bool,
}

/// Parses the answer to `config_dump?include_eds&resource=dynamic_endpoint_configs…`: endpoints by name of Envoy's cluster. One without
/// endpoints is there with none.
///
/// # Errors
/// [`AnswerError`] when it is no such answer.
pub fn parse_endpoints(answer: &[u8]) -> Result<BTreeMap<String, Vec<Endpoint>>, AnswerError> {
    let dump: Configs<RawConfig> = json::parse(answer)?;
    let mut clusters = BTreeMap::new();
    for assignment in dump.configs.into_iter().filter_map(|config| config.endpoint_config) {
        let endpoints: Vec<Endpoint> = assignment
            .endpoints
            .into_iter()
            .flat_map(|locality| locality.lb_endpoints)
            .map(Endpoint::from)
            .collect();
        if endpoints.len() > MOST_ENDPOINTS {
            return Err(AnswerError::TooMany(endpoints.len()));
        }
        clusters.insert(escape(&assignment.cluster_name).into_owned(), endpoints);
    }
    Ok(clusters)
}

impl From<RawEndpoint> for Endpoint {
    fn from(raw: RawEndpoint) -> Self {
        let address = raw.endpoint.and_then(|endpoint| endpoint.address?.socket_address);
        let address = address.map_or_else(String::new, |socket| {
            format!("{}:{}", escape(&socket.address), socket.port_value.unwrap_or_default())
        });
        // `workload;namespace;service;version;cluster`: only the cluster is there for those of other networks.
        let workload = raw.metadata["filter_metadata"]["istio"]["workload"].as_str();
        let cluster =
            workload.and_then(|workload| workload.split(';').nth(4)).filter(|cluster| !cluster.is_empty());
        Self {
            address,
            cluster: cluster.map(|cluster| escape(cluster).into_owned()),
            healthy: matches!(raw.health_status.as_deref(), None | Some("HEALTHY" | "UNKNOWN")),
        }
    }
}

#[derive(Deserialize)]
struct RawConfig {
    endpoint_config: Option<RawAssignment>,
}

#[derive(Deserialize)]
struct RawAssignment {
    #[serde(default)]
    cluster_name: String,
    #[serde(default)]
    endpoints: Vec<RawLocality>,
}

#[derive(Deserialize)]
struct RawLocality {
    #[serde(default)]
    lb_endpoints: Vec<RawEndpoint>,
}

#[derive(Deserialize)]
struct RawEndpoint {
    endpoint: Option<RawAt>,
    health_status: Option<String>,
    #[serde(default)]
    metadata: Value,
}

#[derive(Deserialize)]
struct RawAt {
    address: Option<RawAddress>,
}

#[derive(Deserialize)]
struct RawAddress {
    socket_address: Option<SocketAddress>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINTS: &[u8] = include_bytes!("../../../tests/fixtures/envoy/endpoints.json");

    #[test]
    fn endpoints_are_read_with_the_cluster_that_they_are_in() {
        insta::assert_debug_snapshot!(parse_endpoints(ENDPOINTS).unwrap());
    }

    #[test]
    fn an_endpoint_without_anything_is_one() {
        let answer = br#"{"configs": [{"endpoint_config": {"cluster_name": "a", "endpoints": [{"lb_endpoints": [
            {}, {"health_status": "UNHEALTHY", "metadata": {"filter_metadata": {"istio": {"workload": "w;n;s;v;"}}}}
        ]}, {}]}}, {}]}"#;
        let read = parse_endpoints(answer).unwrap();
        let healthy: Vec<bool> = read["a"].iter().map(|endpoint| endpoint.healthy).collect();
        assert_eq!(healthy, [true, false]);
        assert!(read["a"].iter().all(|endpoint| endpoint.cluster.is_none()));
        assert!(parse_endpoints(b"1").is_err());
    }
}
