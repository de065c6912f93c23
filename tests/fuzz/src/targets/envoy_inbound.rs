//! Whom Envoy lets in.

use spire_mesh::envoy::parse_inbound;

use crate::invariant;

pub(crate) fn check(bytes: &[u8]) {
    match parse_inbound(bytes) {
        Ok(Some(rules)) => {
            invariant::harmless_report(&rules);
            let id = invariant::domain().server_id();
            if rules.admits(&id) && rules.without_names().next().is_none() {
                assert!(rules.names().into_iter().any(|rule| rule.admits(&id)));
            }
            assert!(rules.without_names().all(|chain| rules.chains.contains(chain)));
        }
        Ok(None) => (),
        Err(error) => invariant::harmless_error(&error),
    }
}
