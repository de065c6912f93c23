//! What `spire-server … -output json` writes.

use spire_mesh::spire::server::{
    Profile, RefreshCause, parse_agents, parse_authorities, parse_bundle, parse_bundles, parse_count,
    parse_entries, parse_prepared, parse_relationships, parse_set_results,
};

use crate::invariant;

pub(crate) fn check(bytes: &[u8]) {
    parse_bundle(bytes).iter().for_each(invariant::bundle);
    parse_bundles(bytes).iter().flatten().for_each(invariant::bundle);
    for relationship in parse_relationships(bytes).iter().flatten() {
        invariant::trust_domain(&relationship.trust_domain);
        if let Profile::HttpsSpiffe(id) = &relationship.profile {
            invariant::spiffe_id(id);
        }
    }
    parse_agents(bytes).iter().flatten().for_each(|agent| invariant::spiffe_id(&agent.id));
    for entry in parse_entries(bytes).iter().flatten() {
        [&entry.spiffe_id, &entry.parent_id].into_iter().for_each(invariant::spiffe_id);
        entry.federates_with.iter().for_each(invariant::trust_domain);
        assert!(
            entry.pod_uid().is_none_or(|uid| entry.selectors.iter().any(|held| held.value.ends_with(uid)))
        );
    }
    if let Ok(prepared) = parse_prepared(bytes) {
        let again = serde_json::json!({ "prepared_authority": prepared }).to_string();
        assert_eq!(parse_prepared(again.as_bytes()), Ok(prepared));
    }
    if let Ok(authorities) = parse_authorities(bytes) {
        let again = serde_json::to_vec(&authorities).expect("reports are JSON");
        assert_eq!(parse_authorities(&again), Ok(authorities));
    }
    let _ = (parse_count(bytes), parse_set_results(bytes));
    let _ = RefreshCause::from_stderr(&String::from_utf8_lossy(bytes));
}
