//! Trust domains, SPIFFE IDs and trust bundles, as types that cannot hold a wrong value.
//!
//! Everything that comes from a mesh file, a cluster or a certificate is parsed here once; the rest of the library
//! passes these types on and never looks at the text again.

mod bundle;
pub mod svid;
mod trust_domain;

pub use bundle::{Authority, AuthorityDigest, BundleDocument, BundleError, TrustBundle};
pub(crate) use bundle::{SpiffeKeys, hex, without_its_text, words_of_json};
pub use trust_domain::{SpiffeId, SpiffeIdError, TrustDomain, TrustDomainError, WorkloadId};
