//! Certificates in DER that follow each other, as a chain and as a bundle.

use std::collections::BTreeSet;

use spire_mesh::trust::TrustBundle;
use spire_mesh::trust::svid::{Certificate, Chain};

use crate::invariant;

pub(crate) fn check(bytes: &[u8]) {
    let bundle = TrustBundle::from_der_sequence(invariant::domain(), bytes);
    match &bundle {
        Ok(bundle) => invariant::bundle(bundle),
        Err(error) => invariant::harmless_error(error),
    }
    match Chain::from_der_sequence(bytes) {
        Ok(chain) => {
            let ders: Vec<&[u8]> = chain.certificates().map(Certificate::der).collect();
            assert_eq!(ders.concat(), bytes);
            invariant::chain(&chain);
            let digests: BTreeSet<_> = chain.certificates().map(|certificate| certificate.sha256).collect();
            let bundle = bundle.expect("what is a chain can be a bundle");
            assert!(bundle.authorities().keys().eq(&digests));
        }
        Err(error) => invariant::harmless_error(&error),
    }
}
