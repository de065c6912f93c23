//! Comparing CA certificates.

use crate::trust::svid::Certificate;

/// Reads all certificates of a PEM text, and leaves out what is none.
pub(crate) fn certificates(text: &[u8]) -> Vec<Certificate> {
    let blocks = pem::parse_many(text).unwrap_or_default();
    let ders = blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE");
    ders.filter_map(|block| Certificate::from_der(block.into_contents()).ok()).collect()
}

/// Tells whether a certificate claims that `ca` signed it: by the identifiers of the keys where both have one, else by name.
pub(crate) fn is_signed_by(certificate: &Certificate, ca: &Certificate) -> bool {
    match (&certificate.authority_key_id, &ca.subject_key_id) {
        (Some(signer), Some(key)) => signer == key,
        _ => certificate.issuer == ca.subject,
    }
}

/// Tells whether two CA certificates are of the same authority: the same certificate, or another one of the same key and name.
pub(crate) fn is_same_authority(one: &Certificate, other: &Certificate) -> bool {
    let same_key = one.subject_key_id.is_some() && one.subject_key_id == other.subject_key_id;
    one == other || same_key && one.subject == other.subject
}

/// Tells whether all of the first list are in the second.
pub(crate) fn within(some: &[Certificate], all: &[Certificate]) -> bool {
    some.iter().all(|held| all.contains(held))
}

/// Tells whether two lists hold the same certificates, in whatever order.
pub(crate) fn same(one: &[Certificate], other: &[Certificate]) -> bool {
    within(one, other) && within(other, one)
}
