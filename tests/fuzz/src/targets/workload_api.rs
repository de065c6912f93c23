//! What `spire-agent api fetch x509 -output json` writes.

use spire_mesh::spire::workload_api::parse_served;

use crate::invariant;

pub(crate) fn check(bytes: &[u8]) {
    if let Ok(served) = parse_served(bytes) {
        served.bundles.iter().for_each(invariant::bundle);
        served.issuer.iter().for_each(|issuer| invariant::harmless(issuer));
    }
}
