//! What a rotation waits for.

use std::fmt;

use crate::spire::workload_api::Served;
use crate::trust::{TrustBundle, TrustDomain};

/// What has to be so before a rotation goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The bundle of the trust domain holds the CA with this ID.
    Holds(TrustDomain, String),
    /// It no longer does.
    Lacks(TrustDomain, String),
    /// SVIDs are signed by the CA with this ID.
    SignedBy(String),
}

impl Wanted {
    /// Tells whether a stored bundle is so. `None` stands for none at all.
    pub(super) fn is_stored(&self, bundle: Option<&TrustBundle>) -> bool {
        match self {
            Self::Holds(_, id) => bundle.is_some_and(|bundle| bundle.with_key_id(id).is_some()),
            Self::Lacks(_, id) => bundle.is_some_and(|bundle| bundle.with_key_id(id).is_none()),
            Self::SignedBy(_) => false,
        }
    }

    /// Tells whether that one of the bundles that a server holds is so which is of this trust domain.
    pub(super) fn is_among(&self, stored: &[TrustBundle], domain: &TrustDomain) -> bool {
        self.is_stored(stored.iter().find(|bundle| bundle.trust_domain() == domain))
    }

    /// Tells whether what an agent serves is so.
    pub(super) fn is_served(&self, served: &Served) -> bool {
        match self {
            Self::Holds(domain, _) | Self::Lacks(domain, _) => self.is_stored(served.bundle(domain)),
            Self::SignedBy(id) => served.issuer.as_ref() == Some(id),
        }
    }
}

impl fmt::Display for Wanted {
    /// Goes on from `2 of 3 agents`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds(domain, id) => write!(f, "serve CA {} of {domain}", short(id)),
            Self::Lacks(domain, id) => write!(f, "no longer serve CA {} of {domain}", short(id)),
            Self::SignedBy(id) => write!(f, "serve SVIDs of CA {}", short(id)),
        }
    }
}

/// Returns as much of an ID as tells CAs apart.
pub(super) fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}
