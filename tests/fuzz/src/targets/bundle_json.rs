//! A trust bundle in SPIFFE's JSON.

use spire_mesh::trust::TrustBundle;

use crate::invariant;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match TrustBundle::from_spiffe_json(invariant::domain(), text) {
        Ok(bundle) => invariant::bundle(&bundle),
        Err(error) => invariant::harmless_error(&error),
    }
}
