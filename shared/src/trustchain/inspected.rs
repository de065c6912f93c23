use std::fmt;

use jiff::Timestamp;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::envoy::Issuer;
use crate::hint::Advice;
use crate::trust::svid::Certificate;
use crate::workload::Workload;

/// The name of the reason that something could not be read.
const NOT_READ: &str = "not-read";

/// What a chain and its bundles belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// The cluster's name.
    pub cluster: Option<String>,
    /// The namespace.
    pub namespace: Option<String>,
    /// The workload.
    pub workload: Option<Workload>,
    /// The pod.
    pub pod: Option<String>,
    /// What it is instead of a pod's proxy: a Secret, a file, a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Subject {
    /// Makes a subject that is no proxy.
    #[must_use]
    pub fn source(source: impl Into<String>) -> Self {
        Self { source: Some(source.into()), ..Self::default() }
    }
}

impl fmt::Display for Subject {
    /// Writes `foo-eks-cluster/bookinfo/pod/productpage-v1-…`, or the source.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = [&self.cluster, &self.namespace, &self.pod].into_iter().flatten();
        let parts: Vec<&str> = known.chain(&self.source).map(String::as_str).collect();
        f.write_str(&parts.join("/"))
    }
}

/// A chain and bundles, judged. Its JSON is documented in `docs/trustchain.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspected {
    /// What they belong to.
    #[serde(flatten)]
    pub subject: Subject,
    /// The URI that the leaf presents, whatever it is.
    pub identity: Option<String>,
    /// Who serves the proxy's secrets.
    pub issued_by: Issuer,
    /// The certificates as they are presented, the leaf first.
    pub chain: Vec<Listed>,
    /// The authority that the signatures lead to.
    pub authority: Option<AuthorityFound>,
    /// What peers are verified with.
    pub trust_bundles: Vec<BundleShown>,
    /// What is to be said of it.
    pub verdict: Verdict,
}

impl Inspected {
    /// Makes the row of something that could not be read.
    #[must_use]
    pub fn unread(subject: Subject, why: impl Into<String>, fix: Option<Advice>) -> Self {
        let reason = Reason { id: NOT_READ, message: why.into(), source: None, fix };
        Self {
            subject,
            identity: None,
            issued_by: Issuer::Unknown,
            chain: Vec::new(),
            authority: None,
            trust_bundles: Vec::new(),
            verdict: Verdict { status: Standing::Unknown, reasons: vec![reason] },
        }
    }

    /// Tells whether it could be read.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.verdict.reasons.iter().all(|reason| reason.id != NOT_READ)
    }

    /// Says in which cluster it was found: what to do about it is for that one.
    #[must_use]
    pub fn in_context(mut self, context: &str) -> Self {
        for reason in &mut self.verdict.reasons {
            reason.fix = reason.fix.take().map(|fix| fix.at(context));
        }
        self
    }

    /// Returns what its identity stands on: the chain, and the authority at its end.
    pub fn path(&self) -> impl Iterator<Item = &Certificate> {
        let authority = self.authority.as_ref().map(|authority| &authority.certificate);
        self.chain.iter().chain(authority).map(|listed| &listed.0)
    }

    /// Returns when the first certificate of its path ends.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.path().map(|certificate| certificate.not_after).min()
    }
}

/// A certificate as reports list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed(pub Certificate);

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(certificate) = self;
        let mut fields = serializer.serialize_struct("Certificate", 10)?;
        fields.serialize_field("subject", &certificate.subject)?;
        fields.serialize_field("issuer", &certificate.issuer)?;
        let id = certificate.spiffe_id().and_then(Result::ok).map(|id| id.to_string());
        fields.serialize_field("spiffeId", &id)?;
        fields.serialize_field("serial", &certificate.serial)?;
        fields.serialize_field("notBefore", &certificate.not_before)?;
        fields.serialize_field("notAfter", &certificate.not_after)?;
        fields.serialize_field("isCa", &certificate.is_ca)?;
        fields.serialize_field("keyAlgorithm", &certificate.public_key.to_string())?;
        fields.serialize_field("signatureAlgorithm", &certificate.signature_algorithm)?;
        fields.serialize_field("sha256", &certificate.sha256)?;
        fields.end()
    }
}

/// The authority at the end of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityFound {
    /// Its certificate.
    #[serde(flatten)]
    pub certificate: Listed,
    /// Who made it.
    pub origin: Origin,
}

/// Who made an authority, as far as something was read that proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// The SPIRE server of the trust domain: the certificate carries the domain's own SPIFFE ID.
    SpireServer,
    /// An issuer of cert-manager, which answered SPIRE's or istiod's request with it: kind and name.
    CertManager(String),
    /// istiod: it is the root that istiod publishes, and no issuer of cert-manager is behind it.
    Istiod,
    /// Nothing that was read tells.
    Unknown,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpireServer => f.write_str("the SPIRE server"),
            Self::CertManager(issuer) => write!(f, "cert-manager, {issuer}"),
            Self::Istiod => f.write_str("istiod"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// What peers of a trust domain are verified with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleShown {
    /// The trust domain; `None` where one pool is used for everybody, or nobody says whose it is.
    pub trust_domain: Option<String>,
    /// Its authorities, those that end first first.
    pub authorities: Vec<Listed>,
}

impl BundleShown {
    /// Makes a bundle of certificates, in the order in which they end.
    #[must_use]
    pub fn new(trust_domain: Option<String>, mut certificates: Vec<Certificate>) -> Self {
        certificates.sort_by_key(|certificate| (certificate.not_after, certificate.sha256));
        Self { trust_domain, authorities: certificates.into_iter().map(Listed).collect() }
    }
}

/// How a chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// It breaks no rule.
    Good,
    /// It breaks some.
    Bad,
    /// It could not be read, or there is nothing to judge it by.
    Unknown,
}

impl Standing {
    /// Returns the word that reports print.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
    }
}

/// What is to be said of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// How it is.
    pub status: Standing,
    /// Why it is not good.
    pub reasons: Vec<Reason>,
}

/// One reason why a chain is not good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// Its name: that of a rule (docs/trustchain.md), or of what else was found.
    pub id: &'static str,
    /// What was found, in words.
    pub message: String,
    /// Where the rule is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'static str>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Advice>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::WorkloadKind;

    #[test]
    fn a_subject_is_named_by_what_is_known_of_it() {
        let text = |text: &str| Some(text.to_owned());
        let mut subject = Subject {
            cluster: text("foo"),
            namespace: text("sample"),
            workload: Some(Workload { kind: WorkloadKind::Deployment, name: "sleep".to_owned() }),
            pod: text("sleep-0"),
            source: None,
        };
        assert_eq!(subject.to_string(), "foo/sample/sleep-0");
        (subject.pod, subject.source) = (None, text("secret/cacerts"));
        assert_eq!(subject.to_string(), "foo/sample/secret/cacerts");
        assert_eq!(Subject::source("a file").to_string(), "a file");
        assert_eq!(Subject::source("a file"), Subject { source: text("a file"), ..Subject::default() });
    }

    #[test]
    fn what_could_not_be_read_is_unknown_and_says_why() {
        let unread = Inspected::unread(Subject::source("a file"), "it is gone", Some("look for it".into()));
        insta::assert_json_snapshot!(unread, @r#"
        {
          "cluster": null,
          "namespace": null,
          "workload": null,
          "pod": null,
          "source": "a file",
          "identity": null,
          "issuedBy": "unknown",
          "chain": [],
          "authority": null,
          "trustBundles": [],
          "verdict": {
            "status": "unknown",
            "reasons": [
              {
                "id": "not-read",
                "message": "it is gone",
                "fix": "look for it"
              }
            ]
          }
        }
        "#);
        assert_eq!((unread.path().count(), unread.expires()), (0, None));
    }

    #[test]
    fn standings_and_origins_have_words() {
        assert_eq!(
            [Standing::Good, Standing::Bad, Standing::Unknown].map(Standing::as_str),
            ["good", "bad", "unknown"]
        );
        let issuer = Origin::CertManager("ClusterIssuer root".to_owned());
        let origins = [Origin::SpireServer, issuer, Origin::Istiod, Origin::Unknown];
        assert_eq!(
            origins.map(|origin| origin.to_string()),
            ["the SPIRE server", "cert-manager, ClusterIssuer root", "istiod", "unknown"]
        );
    }

    #[test]
    fn authorities_are_shown_in_the_order_in_which_they_end() {
        let certificate = |end: &str| {
            let ca = crate::trustchain::judge::tests::ca(&[]);
            let mut certificate = Certificate::from_der(ca.der().to_vec()).unwrap();
            certificate.not_after = end.parse().unwrap();
            certificate
        };
        let ends = ["2027-03-01T00:00:00Z", "2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"];
        let shown = BundleShown::new(None, ends.map(certificate).to_vec());
        let shown: Vec<String> = shown.authorities.iter().map(|one| one.0.not_after.to_string()).collect();
        assert_eq!(shown, [ends[1], ends[2], ends[0]]);
    }
}
