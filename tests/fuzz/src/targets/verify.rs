//! The judgement of a chain, with a bundle whose keys nobody has.
//!
//! So only the two leaves that were signed before the keys were thrown away can hold. Any other that does was accepted without a path
//! to the bundle.

use std::sync::LazyLock;

use spire_mesh::trust::TrustBundle;
use spire_mesh::trust::svid::{Certificate, Chain, Rule, verify};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::invariant;

/// A root that is valid from 2000 to 4000.
const BUNDLE: &str = include_str!("../../verify/bundle.pem");
/// A leaf that the root signed, and one that an intermediate CA signed, with the certificate of that CA.
const CHAINS: [&str; 2] = [include_str!("../../verify/direct.pem"), include_str!("../../verify/below.pem")];

static FIXED: LazyLock<(TrustBundle, [Vec<u8>; 2])> = LazyLock::new(|| {
    let leaf = |text| signed(&Chain::from_pem(text).expect("a chain").leaf);
    (TrustBundle::from_pem(invariant::domain(), BUNDLE).expect("a bundle"), CHAINS.map(leaf))
});

pub(crate) fn check(bytes: &[u8]) {
    let Ok(chain) = Chain::from_der_sequence(bytes) else { return };
    let (bundle, leaves) = &*FIXED;
    let verdict = verify(&chain, bundle, "2026-06-15T12:00:00Z".parse().expect("a time"));
    invariant::harmless_report(&verdict);
    assert!(verdict.broken.is_sorted_by_key(|broken| (broken.rule, broken.position)));
    for broken in &verdict.broken {
        assert!((1..=chain.certificates().count()).contains(&broken.position), "{broken}");
        assert!(Rule::ALL.contains(&broken.rule));
    }
    if verdict.holds() {
        assert!(leaves.contains(&signed(&chain.leaf)), "it holds, and nobody signed it");
    }
}

/// The bytes of a certificate that are signed: the signature of an elliptic curve can be written in two ways.
fn signed(certificate: &Certificate) -> Vec<u8> {
    let (_, parsed) = X509Certificate::from_der(certificate.der()).expect("it was parsed before");
    parsed.tbs_certificate.as_ref().to_vec()
}
