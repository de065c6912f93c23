//! Kinds of issuers that work with cert-manager.

use super::defaults;
use crate::report::escape;

/// Kinds of issuers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IssuerKind {
    /// Signs what is requested in its own namespace.
    #[default]
    Issuer,
    /// Signs what is requested in any namespace.
    ClusterIssuer,
    /// One that another project adds to cert-manager: `AWSPCAClusterIssuer`.
    Other(String),
}

impl IssuerKind {
    /// Returns the kind as Kubernetes knows it, which is also the word in a mesh file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Issuer => "Issuer",
            Self::ClusterIssuer => "ClusterIssuer",
            Self::Other(kind) => kind,
        }
    }
}

/// Reads the kind of an issuer. Those of cert-manager itself are known; other projects have their own.
pub(super) fn issuer_kind(text: &str, group: &str) -> Result<IssuerKind, String> {
    let is_kind =
        text.starts_with(|c: char| c.is_ascii_uppercase()) && text.chars().all(|c| c.is_ascii_alphanumeric());
    match text {
        "Issuer" => Ok(IssuerKind::Issuer),
        "ClusterIssuer" => Ok(IssuerKind::ClusterIssuer),
        _ if group == defaults::ISSUER_GROUP => Err(format!(
            "`kind` of {group} must be one of `Issuer`, `ClusterIssuer`, not `{}`; for another one give its `group`, too",
            escape(text)
        )),
        _ if is_kind && text.len() <= 63 => Ok(IssuerKind::Other(text.to_owned())),
        _ => Err(format!(
            "`{}` is not the kind of an issuer: letters and digits, such as `AWSPCAIssuer`",
            escape(text)
        )),
    }
}
