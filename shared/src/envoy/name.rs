//! Which names of certificates a proxy admits.

use std::fmt;

use serde::Serialize;

use crate::trust::SpiffeId;

/// A rule that a name of the peer's certificate has to meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NameRule {
    /// It is this.
    Exact(String),
    /// It starts with this.
    Prefix(String),
    /// Anything else that Envoy knows, in words. Istio writes none of these for SPIFFE IDs.
    Other(String),
}

impl NameRule {
    /// Tells whether a SPIFFE ID meets the rule. What is not understood admits nobody.
    #[must_use]
    pub fn admits(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Exact(name) => id.to_string() == *name,
            Self::Prefix(prefix) => id.to_string().starts_with(prefix),
            Self::Other(_) => false,
        }
    }
}

impl fmt::Display for NameRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Other(words) => f.write_str(words),
        }
    }
}
