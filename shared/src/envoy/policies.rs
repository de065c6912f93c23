use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::dump::Configs;
use super::json::{self, AnswerError};
use super::object::IstioObject;
use crate::report::escape;

/// How a proxy treats one of Envoy's clusters, apart from TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The `DestinationRule` that is in force for it; `None` where none is.
    pub object: Option<IstioObject>,
    /// What limits how much is sent at the same time (`connectionPool`), by Envoy's name of it; what has no limit is absent.
    pub limits: BTreeMap<String, u64>,
}

/// What Istio writes where there is no limit.
const UNLIMITED: u64 = u32::MAX as u64;

/// Parses the answer to `config_dump?resource=dynamic_active_clusters…`, by name of Envoy's cluster.
///
/// # Errors
/// [`AnswerError`] when it is no such answer.
pub fn parse_policies(answer: &[u8]) -> Result<BTreeMap<String, Policy>, AnswerError> {
    let dump: Configs<RawDynamic> = json::parse(answer)?;
    let clusters = dump.configs.into_iter().filter_map(|entry| entry.cluster);
    Ok(clusters.map(|cluster| (escape(&cluster.name).into_owned(), Policy::from(cluster))).collect())
}

impl From<RawCluster> for Policy {
    fn from(raw: RawCluster) -> Self {
        let thresholds = raw.circuit_breakers["thresholds"].as_array().into_iter().flatten();
        let limits = thresholds.flat_map(|threshold| threshold.as_object().into_iter().flatten());
        Self {
            object: IstioObject::of_metadata(&raw.metadata),
            limits: limits
                .filter_map(|(name, limit)| Some((escape(name).into_owned(), limit.as_u64()?)))
                .filter(|(_, limit)| *limit < UNLIMITED)
                .collect(),
        }
    }
}

#[derive(Deserialize)]
struct RawDynamic {
    cluster: Option<RawCluster>,
}

#[derive(Deserialize)]
struct RawCluster {
    #[serde(default)]
    name: String,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    circuit_breakers: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICIES: &[u8] = include_bytes!("../../../tests/fixtures/envoy/policies.json");

    #[test]
    fn the_rule_in_force_is_named_and_what_is_unlimited_is_no_limit() {
        insta::assert_debug_snapshot!(parse_policies(POLICIES).unwrap());
        let limited = br#"{"configs": [{"cluster": {"name": "a", "circuit_breakers": {"thresholds": [
            {"max_connections": 1, "max_requests": 4294967295, "max_pending_requests": 2, "track_remaining": true}
        ]}}}, {}]}"#;
        let read = parse_policies(limited).unwrap();
        let limits: Vec<_> = read["a"].limits.iter().map(|(name, limit)| (name.as_str(), *limit)).collect();
        assert_eq!(limits, [("max_connections", 1), ("max_pending_requests", 2)]);
        assert!(read["a"].object.is_none());
        assert!(parse_policies(b"1").is_err());
    }
}
