//! One certificate in DER.

use spire_mesh::spire::presented::Presented;
use spire_mesh::trust::svid::Certificate;

use crate::invariant;

pub(crate) fn check(bytes: &[u8]) {
    match Certificate::from_der(bytes.to_vec()) {
        Ok(certificate) => {
            assert_eq!(certificate.der(), bytes);
            invariant::certificate(&certificate);
        }
        Err(error) => invariant::harmless_error(&error),
    }
    if let Ok(presented) = Presented::of(vec![bytes.to_vec()]) {
        invariant::harmless(&presented.names);
        presented.signers().iter().for_each(|signer| invariant::harmless(signer));
        presented.id.iter().for_each(invariant::spiffe_id);
    }
}
