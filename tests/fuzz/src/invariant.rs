//! What holds of everything that was parsed.

use std::error::Error;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use spire_mesh::report::escape;
use spire_mesh::trust::svid::{self, Certificate, Chain};
use spire_mesh::trust::{SpiffeId, TrustBundle, TrustDomain};

/// A trust domain for what has to have one.
pub(crate) fn domain() -> TrustDomain {
    "foo.com".parse().expect("a trust domain")
}

/// A terminal acts on nothing in the text.
pub(crate) fn harmless(text: &str) {
    assert_eq!(escape(text), text);
}

/// A terminal acts on no text of a report.
pub(crate) fn harmless_report(report: &impl Serialize) {
    walk(&serde_json::to_value(report).expect("reports are JSON"), &mut harmless);
}

fn walk(value: &Value, check: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => check(text),
        Value::Array(items) => items.iter().for_each(|item| walk(item, check)),
        Value::Object(fields) => {
            for (name, field) in fields {
                check(name);
                walk(field, check);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => (),
    }
}

/// The most bytes of one message. Nobody reads more, and more would be the input.
const LONGEST_MESSAGE: usize = 64 << 10;

/// An error and its causes have lines on which a terminal does not act, and do not repeat a whole input.
pub(crate) fn harmless_error(error: &(dyn Error + 'static)) {
    let mut causes = Some(error);
    while let Some(error) = causes {
        let text = error.to_string();
        assert!(text.len() <= LONGEST_MESSAGE, "{} bytes", text.len());
        text.lines().for_each(harmless);
        causes = error.source();
    }
}

/// A certificate is known by the digest of its bytes, and its only URI is its SPIFFE ID.
pub(crate) fn certificate(certificate: &Certificate) {
    harmless_report(certificate);
    assert_eq!(certificate.sha256.to_string(), digest(certificate.der()));
    if let Some(Ok(id)) = certificate.spiffe_id() {
        assert_eq!([id.to_string()], certificate.uris[..]);
        spiffe_id(&id);
    }
    let Certificate { not_before, not_after, .. } = certificate;
    assert_eq!(certificate.is_valid_at(*not_before), not_before <= not_after);
    assert_eq!(certificate.is_valid_at(*not_after), not_before <= not_after);
}

/// A chain is the certificates in it.
pub(crate) fn chain(chain: &Chain) {
    chain.certificates().for_each(certificate);
    let ders: Vec<&[u8]> = chain.certificates().map(Certificate::der).collect();
    assert_eq!(Chain::from_der_sequence(&ders.concat()).as_ref(), Ok(chain));
    judged(chain, &ders.concat());
}

/// What a verdict calls good, Envoy accepts: AWS-LC is asked, with the chain's own certificates as the bundle.
fn judged(chain: &Chain, ders: &[u8]) {
    let bundle = TrustBundle::from_der_sequence(domain(), ders).expect("what is a chain can be a bundle");
    let verdict = svid::verify(chain, &bundle, chain.leaf.not_before);
    let accepted = svid::accepts(chain, &bundle, chain.leaf.not_before);
    assert!(!verdict.holds() || accepted.is_ok(), "{accepted:?}");
    verdict.broken.iter().for_each(|broken| harmless(&broken.to_string()));
}

/// A bundle knows its authorities by the digests of their bytes, and is the same in every form.
pub(crate) fn bundle(bundle: &TrustBundle) {
    let mut ders = Vec::new();
    for (known, authority) in bundle.authorities() {
        assert_eq!(known.to_string(), digest(authority.der()));
        if let Some(key_id) = authority.key_id() {
            harmless(key_id);
            assert!(bundle.with_key_id(key_id).is_some());
            assert!(bundle.end_of(key_id) >= Some(authority.not_after()));
        }
        ders.extend_from_slice(authority.der());
    }
    assert_eq!(TrustBundle::from_pem(bundle.trust_domain().clone(), &bundle.to_pem()).as_ref(), Ok(bundle));
    assert_eq!(TrustBundle::from_der_sequence(bundle.trust_domain().clone(), &ders).as_ref(), Ok(bundle));
}

/// A SPIFFE ID is what it is written as, and written in ASCII.
pub(crate) fn spiffe_id(id: &SpiffeId) {
    let text = id.to_string();
    assert!(text.len() <= 2048 && text.bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(text, format!("{}{}", id.trust_domain().id(), id.path()));
    assert_eq!(text.parse().as_ref(), Ok(id));
    assert!(id.path().is_empty() || id.path().starts_with('/'));
    if let Some(workload) = id.workload() {
        assert_eq!(id.path(), format!("/ns/{}/sa/{}", workload.namespace, workload.service_account));
    }
    trust_domain(id.trust_domain());
}

/// A trust domain is what it is written as.
pub(crate) fn trust_domain(trust_domain: &TrustDomain) {
    let name = trust_domain.as_str();
    assert!((1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!name.contains('/'));
    assert_eq!(name.parse().as_ref(), Ok(trust_domain));
}

/// SHA-256 in hexadecimal, by the library itself.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}
