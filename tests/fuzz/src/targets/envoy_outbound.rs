//! Whom Envoy accepts as servers.

use spire_mesh::envoy::parse_outbound;

use crate::invariant;

pub(crate) fn check(bytes: &[u8]) {
    match parse_outbound(bytes) {
        Ok(rules) => invariant::harmless_report(&rules),
        Err(error) => invariant::harmless_error(&error),
    }
}
