use std::collections::BTreeMap;

use serde::Serialize;

use crate::istio::ca::CertificateV1;
use crate::mesh::duration_text;
use crate::trust::svid::Certificate;

/// What rotating a cluster's CA would begin with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaRotationPlan {
    /// Name of the cluster.
    pub cluster: String,
    /// Kind and name of the issuer.
    pub issuer: String,
    /// The issuer of the next one, where that is to be another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_issuer: Option<String>,
    /// The root that proxies trust: its subject.
    pub root: String,
    /// The root that they are to trust, where it is to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_root: Option<String>,
    /// The CA that is to go.
    pub ca: CaIssue,
    /// How long the next one is to be valid, where that is to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_duration: Option<String>,
    /// What is next.
    pub next: NextCaStep,
}

/// Where a rotation begins, or goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NextCaStep {
    /// The CA is what it is to be.
    Nothing,
    /// The new root is to be given to proxies beside the old one.
    TrustBoth,
    /// Both roots are in the Secret, and istiod has not taken them yet.
    AwaitTrust,
    /// cert-manager is to be asked for a new CA.
    Issue,
    /// cert-manager is issuing one already.
    AwaitIssue,
    /// A new CA is there, and istiod has not taken it yet.
    AwaitReload,
}

/// A CA certificate of istiod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaIssue {
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// End of its validity, RFC 3339, UTC.
    pub not_after: String,
    /// How often cert-manager had issued one by then; absent for one that was replaced before the rotation was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// How long it was to be valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
}

impl CaIssue {
    pub(super) fn of(ca: &Certificate, certificate: &CertificateV1) -> Self {
        let text = certificate.spec.duration.clone();
        Self {
            serial: ca.serial.clone(),
            not_after: ca.not_after.to_string(),
            revision: Some(certificate.revision()),
            duration: certificate.duration().map(duration_text).or(text),
        }
    }
}

/// A CA that was replaced, and what it was to the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RotatedCa {
    /// Name of the cluster.
    pub cluster: String,
    /// The CA before.
    pub before: CaIssue,
    /// The CA that istiod signs with now.
    pub after: CaIssue,
    /// Subject of the root before, where it was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_before: Option<String>,
    /// Subject of the root.
    pub root: String,
    /// How many pods of istiod present a certificate of the new CA; all of them do.
    pub istiods: usize,
    /// Proxies that are connected to istiod.
    pub proxies: Connected,
    /// The certificates in the proxies.
    pub svids: Svids,
    /// Requests during the rotation, by the cluster that they came from. Empty where none were sent.
    pub load: Vec<Load>,
}

impl RotatedCa {
    /// Tells whether nobody has noticed.
    #[must_use]
    pub fn is_unnoticed(&self) -> bool {
        self.load.iter().all(|load| load.failed == 0) && self.svids.of_istiod == 0 && self.svids.unread == 0
    }
}

/// How many proxies are connected to istiod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connected {
    /// Before.
    pub before: usize,
    /// After.
    pub after: usize,
}

/// What became of the certificates in the proxies of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Svids {
    /// Proxies that were there before and after.
    pub proxies: usize,
    /// They have the same certificate as before.
    pub unchanged: usize,
    /// They have a new one, which istiod's CA did not sign: SPIRE renewed it meanwhile, as it does in the middle of an SVID's life.
    pub renewed: usize,
    /// They have one that istiod's CA signed: they have no identity from SPIRE.
    pub of_istiod: usize,
    /// They could not be read.
    pub unread: usize,
}

/// Requests from one cluster during a rotation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Name of the cluster that they came from.
    pub cluster: String,
    /// How many were sent.
    pub sent: usize,
    /// How many had no answer, or one with another status than 200.
    pub failed: usize,
    /// How many of those, by status; `000` is none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, usize>,
    /// How many times the command that sends them could not be run to its end, and an unknown number of requests is not counted.
    pub interruptions: usize,
}
