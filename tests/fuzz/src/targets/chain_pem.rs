//! A chain of certificates in PEM.

use pem::{Pem, encode_many};
use spire_mesh::trust::svid::{Certificate, Chain};

use crate::invariant;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match Chain::from_pem(text) {
        Ok(chain) => {
            invariant::chain(&chain);
            // No certificate was passed over.
            assert_eq!(text.matches("-----BEGIN CERTIFICATE-----").count(), chain.certificates().count());
            let block = |certificate: &Certificate| Pem::new("CERTIFICATE", certificate.der());
            let blocks: Vec<Pem> = chain.certificates().map(block).collect();
            assert_eq!(Chain::from_pem(&encode_many(&blocks)), Ok(chain));
        }
        Err(error) => {
            // Nothing of the text, which may be a key.
            assert!(error.to_string().len() < 200, "{error}");
            invariant::harmless_error(&error);
        }
    }
}
