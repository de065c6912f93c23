//! What Envoy says of a chain: what its SPIFFE validator looks at, and the path that `BoringSSL` finds.

use jiff::Timestamp;
use spire_mesh_x509 as x509;

pub use x509::{Fault, Place, Refusal};

use super::certificate::Certificate;
use super::chain::Chain;
use super::key::PublicKey;
use crate::trust::{Authority, AuthorityDigest, TrustBundle};

/// Why Envoy refuses a chain in a handshake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The first URI of the leaf names no trust domain, or another one.
    #[error("the first URI of the leaf leads to no bundle")]
    NoBundle,
    /// The leaf is a CA, or may sign certificates or revocation lists; so it may where it has no key usage.
    #[error("the leaf is a CA, or its key usage does not forbid to sign certificates")]
    LeafSigns,
    /// Its key usage forbids to sign the handshake.
    #[error("the key usage of the leaf lacks digitalSignature")]
    NoHandshakes,
    /// Envoy knows no signature of such a key in a handshake.
    #[error("the key of the leaf is of a kind that Envoy does not take in a handshake")]
    Key,
    /// There is no path.
    #[error(transparent)]
    Path(#[from] Refusal),
}

/// Asks what an Envoy with a bundle says in a handshake with a client or a server that presents a chain, at a time.
///
/// # Errors
/// [`Refused`] where it refuses.
pub fn accepts(chain: &Chain, bundle: &TrustBundle, at: Timestamp) -> Result<(), Refused> {
    takes_leaf(&chain.leaf, bundle)?;
    path(chain, bundle, at)?;
    Ok(())
}

/// Looks at a leaf as Envoy does before it asks for a path.
pub(super) fn takes_leaf(leaf: &Certificate, bundle: &TrustBundle) -> Result<(), Refused> {
    if leaf.uris.first().and_then(|uri| trust_domain(uri)) != Some(bundle.trust_domain().as_str()) {
        return Err(Refused::NoBundle);
    }
    if leaf.is_ca || leaf.key_usage.is_none_or(|usage| usage.key_cert_sign || usage.crl_sign) {
        return Err(Refused::LeafSigns);
    }
    if leaf.key_usage.is_some_and(|usage| !usage.digital_signature) {
        return Err(Refused::NoHandshakes);
    }
    if !signs_handshakes(&leaf.public_key) {
        return Err(Refused::Key);
    }
    Ok(())
}

/// Tells whether Envoy takes a signature of such a key in a handshake: the algorithms that `BoringSSL` offers by itself, which neither Envoy
/// nor Istio adds to.
pub(super) fn signs_handshakes(key: &PublicKey) -> bool {
    key.algorithm == "RSA" || matches!(key.curve.as_deref(), Some("P-256" | "P-384"))
}

/// Takes the trust domain out of a URI as Envoy does: what is between the scheme and the path, whatever it is.
fn trust_domain(uri: &str) -> Option<&str> {
    uri.strip_prefix("spiffe://")?.split_once('/').map(|(domain, _)| domain)
}

/// Finds the path that Envoy takes from a leaf to an authority of a bundle, at a time.
pub(super) fn path(chain: &Chain, bundle: &TrustBundle, at: Timestamp) -> Result<Vec<Place>, Refusal> {
    let sent: Vec<&[u8]> = chain.intermediates.iter().map(Certificate::der).collect();
    let authorities: Vec<&[u8]> = bundle.in_order().map(|(_, authority)| authority.der()).collect();
    let question =
        x509::Question { leaf: chain.leaf.der(), sent: &sent, authorities: &authorities, at: at.as_second() };
    x509::path(&question)
}

/// Finds the authority of a bundle at which the path of a chain ends, at a time.
#[must_use]
pub fn authority_of<'b>(
    chain: &Chain,
    bundle: &'b TrustBundle,
    at: Timestamp,
) -> Option<(&'b AuthorityDigest, &'b Authority)> {
    match path(chain, bundle, at).ok()?.last()? {
        Place::Authority(index) => bundle.in_order().nth(*index),
        Place::Leaf | Place::Sent(_) => None,
    }
}

/// Tells whether a path that comes to an authority of a bundle ends: it signed itself, or the one is in the bundle that did and signed it.
#[must_use]
pub fn ends_paths(authority: &Authority, bundle: &TrustBundle) -> bool {
    let authorities: Vec<&[u8]> = bundle.in_order().map(|(_, authority)| authority.der()).collect();
    let at = authority.not_before();
    let question = x509::Question { leaf: authority.der(), sent: &[], authorities: &authorities, at };
    // Other faults are those of a certain time or use.
    !matches!(x509::path(&question), Err(Refusal { fault: Fault::NoIssuer | Fault::NotARoot, .. }))
}
