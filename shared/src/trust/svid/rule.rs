use std::fmt;

use serde::Serialize;

/// A rule that an X.509-SVID has to obey. Its ID is stable: scripts and documents may name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A certificate has exactly one URI among its names; a signing certificate may have none.
    ExactlyOneUri,
    /// That URI is a SPIFFE ID.
    ValidSpiffeId,
    /// The SPIFFE ID of a leaf has a path.
    LeafIdHasPath,
    /// The names are critical where there is no subject.
    NamesCriticalWithoutSubject,
    /// The leaf is no CA.
    LeafIsNoCa,
    /// An SVID has a critical key usage extension.
    KeyUsageIsCritical,
    /// The key of the leaf may sign handshakes.
    LeafSignsHandshakes,
    /// The key of the leaf may sign neither certificates nor revocation lists.
    LeafSignsNoCertificates,
    /// The key of the leaf is of a kind that Envoy takes in a handshake.
    LeafKeyIsTaken,
    /// A leaf that limits its use in TLS allows both sides.
    LeafIsClientAndServer,
    /// Every other certificate of the chain is a CA.
    SignerIsCa,
    /// The key of a CA may sign certificates.
    SignerSignsCertificates,
    /// The SPIFFE ID of a CA has no path.
    SignerIdHasNoPath,
    /// Every certificate is valid at the time.
    ValidNow,
    /// A bundle is used for its own trust domain only.
    OwnTrustDomain,
    /// The signatures lead to an authority of the bundle.
    PathToAuthority,
}

impl Rule {
    /// Every rule, in the order in which they are reported.
    pub const ALL: [Self; 16] = [
        Self::ExactlyOneUri,
        Self::ValidSpiffeId,
        Self::LeafIdHasPath,
        Self::NamesCriticalWithoutSubject,
        Self::LeafIsNoCa,
        Self::KeyUsageIsCritical,
        Self::LeafSignsHandshakes,
        Self::LeafSignsNoCertificates,
        Self::LeafKeyIsTaken,
        Self::LeafIsClientAndServer,
        Self::SignerIsCa,
        Self::SignerSignsCertificates,
        Self::SignerIdHasNoPath,
        Self::ValidNow,
        Self::OwnTrustDomain,
        Self::PathToAuthority,
    ];

    /// Returns the ID of the rule, in kebab case.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::ExactlyOneUri => "exactly-one-uri",
            Self::ValidSpiffeId => "valid-spiffe-id",
            Self::LeafIdHasPath => "leaf-id-has-path",
            Self::NamesCriticalWithoutSubject => "names-critical-without-subject",
            Self::LeafIsNoCa => "leaf-is-no-ca",
            Self::KeyUsageIsCritical => "key-usage-is-critical",
            Self::LeafSignsHandshakes => "leaf-signs-handshakes",
            Self::LeafSignsNoCertificates => "leaf-signs-no-certificates",
            Self::LeafKeyIsTaken => "leaf-key-is-taken",
            Self::LeafIsClientAndServer => "leaf-is-client-and-server",
            Self::SignerIsCa => "signer-is-ca",
            Self::SignerSignsCertificates => "signer-signs-certificates",
            Self::SignerIdHasNoPath => "signer-id-has-no-path",
            Self::ValidNow => "valid-now",
            Self::OwnTrustDomain => "own-trust-domain",
            Self::PathToAuthority => "path-to-authority",
        }
    }

    /// Returns where the rule is written: a standard of SPIFFE, or an RFC, and its section.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Self::ExactlyOneUri => "X509-SVID, section 2",
            Self::ValidSpiffeId => "SPIFFE-ID, section 2",
            Self::LeafIdHasPath | Self::NamesCriticalWithoutSubject => "X509-SVID, section 3.1",
            Self::SignerIdHasNoPath => "X509-SVID, section 3.2",
            Self::LeafIsNoCa | Self::SignerIsCa => "X509-SVID, section 4.1",
            Self::KeyUsageIsCritical
            | Self::LeafSignsHandshakes
            | Self::LeafSignsNoCertificates
            | Self::SignerSignsCertificates => "X509-SVID, section 4.3",
            Self::LeafKeyIsTaken => "Envoy, signatures of handshakes",
            Self::LeafIsClientAndServer => "X509-SVID, section 4.4",
            Self::PathToAuthority => "X509-SVID, section 5.1",
            Self::ValidNow => "RFC 5280, section 6.1.3",
            Self::OwnTrustDomain => "SPIFFE Trust Domain and Bundle, section 3",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// A rule that a chain breaks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Broken {
    /// Which rule.
    pub rule: Rule,
    /// Where it is written.
    pub source: &'static str,
    /// Which certificate of the chain breaks it, the leaf being 1.
    pub position: usize,
    /// What was found instead; control characters are escaped.
    pub why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate {}: {} ({}; {})", self.position, self.why, self.rule, self.source)
    }
}

/// What is wrong with a chain, if anything.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Every rule that it breaks, and how, in the order of [`Rule::ALL`].
    pub broken: Vec<Broken>,
}

impl Verdict {
    /// Tells whether every rule is obeyed.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.broken.is_empty()
    }

    /// Tells whether a rule is broken.
    #[must_use]
    pub fn breaks(&self, rule: Rule) -> bool {
        self.broken.iter().any(|broken| broken.rule == rule)
    }

    pub(super) fn add(&mut self, rule: Rule, position: usize, why: impl Into<String>) {
        self.broken.push(Broken { rule, source: rule.source(), position, why: why.into() });
    }
}
