//! An issuer of cert-manager that signs a SPIRE server's CA certificate: is it there, and does it answer?
//!
//! SPIRE's plugin makes a `CertificateRequest`, gets it four times a second for 75 seconds at most, and after each attempt deletes
//! all requests of its trust domain that are settled: signed, denied or failed (SPIRE 1.15.3,
//! `pkg/server/plugin/upstreamauthority/certmanager`). So only those that nobody has answered are left in the cluster, and what
//! became of the others stands in the server's log.

mod issuer;
mod log;
mod request;

use std::fmt;

use serde::Serialize;

pub use issuer::{IssuerState, SeenIssuer, issuer};
pub use log::{SigningLog, parse_signing_log, signing_log};
pub use request::{RequestState, SeenRequest, requests};

use crate::fleet::Need;
use crate::hint::Command;
use crate::mesh::CertManagerIssuer;

/// Name of SPIRE's plugin for cert-manager.
pub const CERT_MANAGER_PLUGIN: &str = "cert-manager";

/// The issuer that a server's configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IssuerRef {
    /// Name of the issuer.
    pub name: String,
    /// Its kind: `Issuer`, `ClusterIssuer`, or one of another project.
    pub kind: String,
    /// Its API group.
    pub group: String,
    /// Namespace in which certificates are requested, which is that of the issuer too if its kind has one.
    pub namespace: String,
}

impl From<&CertManagerIssuer> for IssuerRef {
    fn from(issuer: &CertManagerIssuer) -> Self {
        Self {
            name: issuer.name.clone(),
            kind: issuer.kind.as_str().to_owned(),
            group: issuer.group.clone(),
            namespace: issuer.namespace.clone(),
        }
    }
}

impl fmt::Display for IssuerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, namespace, .. } = self;
        if self.is_cluster_wide() {
            return write!(f, "{kind} {name}");
        }
        write!(f, "{kind} {name} in namespace {namespace}")
    }
}

impl IssuerRef {
    /// Tells whether it is in no namespace, by its name: cert-manager and those who extend it call all such kinds so.
    fn is_cluster_wide(&self) -> bool {
        self.kind.ends_with("ClusterIssuer")
    }

    /// Returns the name in addresses and RBAC rules: `issuers`. Every kind of issuer that cert-manager's documentation lists has
    /// the plural that its name suggests.
    #[must_use]
    pub fn plural(&self) -> String {
        format!("{}s", self.kind.to_lowercase())
    }

    /// Returns the right that it takes to look at it.
    #[must_use]
    pub fn need(&self) -> Need {
        let namespace = (!self.is_cluster_wide()).then_some(self.namespace.as_str());
        Need::new("get", &self.group, &self.plural(), namespace)
    }

    /// Returns the command that lists the kinds of its group.
    #[must_use]
    pub fn resources(&self) -> Command {
        Command::kubectl(["api-resources", &format!("--api-group={}", self.group)])
    }

    /// Returns the command that lists all of its kind where it is looked for.
    #[must_use]
    pub fn list(&self) -> Command {
        let kind = format!("{}.{}", self.plural(), self.group);
        Command::kubectl(["-n", &self.namespace, "get", &kind])
    }

    /// Returns the command that describes it.
    #[must_use]
    pub fn describe(&self) -> Command {
        let kind = format!("{}.{}", self.plural(), self.group);
        Command::kubectl(["-n", &self.namespace, "describe", &kind, &self.name])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_named_with_their_namespace_where_they_have_one() {
        let issuer = |kind: &str| IssuerRef {
            name: "spire-ca".to_owned(),
            kind: kind.to_owned(),
            group: "cert-manager.io".to_owned(),
            namespace: "pki".to_owned(),
        };
        assert_eq!(issuer("Issuer").to_string(), "Issuer spire-ca in namespace pki");
        assert_eq!(issuer("ClusterIssuer").to_string(), "ClusterIssuer spire-ca");
        assert_eq!(
            issuer("Issuer").describe().at("baz").to_string(),
            "kubectl --context baz -n pki describe issuers.cert-manager.io spire-ca"
        );
    }
}
