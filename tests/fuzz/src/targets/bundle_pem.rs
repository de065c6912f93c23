//! A trust bundle in PEM.

use spire_mesh::trust::TrustBundle;

use crate::invariant;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match TrustBundle::from_pem(invariant::domain(), text) {
        Ok(bundle) => invariant::bundle(&bundle),
        Err(error) => {
            // Nothing of the text, which may be a key.
            assert!(error.to_string().len() < 200, "{error}");
            invariant::harmless_error(&error);
        }
    }
}
