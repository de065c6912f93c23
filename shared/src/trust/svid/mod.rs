//! X.509-SVIDs: what a chain of certificates says, and whether it obeys the rules (SPIFFE, `standards/X509-SVID.md`).
//!
//! There is one judge for everybody: a chain obeys the rules of SPIFFE, and Envoy accepts it. Envoy takes some that SPIFFE forbids; both is said
//! then.

mod certificate;
mod chain;
mod envoy;
mod key;
mod rule;
#[cfg(test)]
mod tests;
mod verify;

pub use certificate::{Certificate, CertificateError, ExtendedKeyUsage, KeyUsage};
pub(crate) use chain::certificates_of_pem;
pub use chain::{Chain, ChainError};
pub use envoy::{Fault, Place, Refusal, Refused, accepts, authority_of, ends_paths};
pub use key::PublicKey;
pub(crate) use key::signature_algorithm;
pub use rule::{Broken, Rule, Verdict};
pub use verify::{verify, verify_without_bundle};
