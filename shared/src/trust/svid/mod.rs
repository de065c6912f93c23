//! X.509-SVIDs: what a chain of certificates says, and whether it obeys the rules (SPIFFE, `standards/X509-SVID.md`).
//!
//! rustls-webpki finds the path; it knows nothing of SPIFFE, refuses without saying where, and does not look at the
//! dates of authorities, so the rest is done here.

mod certificate;
mod chain;
mod key;
mod path;
mod rule;
#[cfg(test)]
mod tests;
mod verify;

pub use certificate::{Certificate, CertificateError, ExtendedKeyUsage, KeyUsage};
pub(crate) use chain::certificates_of_pem;
pub use chain::{Chain, ChainError};
pub use key::PublicKey;
pub(crate) use key::signature_algorithm;
pub use rule::{Broken, Rule, Verdict};
pub use verify::{authority_of, verify, verify_without_bundle};
