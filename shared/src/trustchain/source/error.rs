use super::notation::{LONGEST_YAML, MOST_PARTS, Notation};
use super::{LONGEST, LONGEST_CERTIFICATES, SourceKind};
use crate::envoy::AnswerError;
use crate::hint::{Advice, Command, Hint, Plugin};
use crate::trust::svid::CertificateError;
use crate::trust::{BundleError, SpiffeIdError, TrustDomain, TrustDomainError};

/// How to get a file that is enough.
fn get_one() -> Command {
    Command::istioctl(["proxy-config", "secret", "POD", "-n", "NAMESPACE", "-o", "json"])
}

fn get_secret() -> Command {
    Command::kubectl(["-n", "NAMESPACE", "get", "secret", "NAME", "-o", "json"])
}

const GET_BUNDLE: &str = "spire-server bundle show -format spiffe";
const GET_SVIDS: &str = "spire-agent api fetch x509 -output json";
const GET_SPIRE_BUNDLE: &str = "spire-server bundle show -output json";

/// Returns how to get a file of a kind.
fn get(kind: SourceKind) -> Advice {
    match kind {
        SourceKind::Secret | SourceKind::ConfigMap => get_secret().into(),
        SourceKind::SpiffeBundle | SourceKind::BundleMap => GET_BUNDLE.into(),
        SourceKind::SpireBundle | SourceKind::SpireList => GET_SPIRE_BUNDLE.into(),
        SourceKind::AgentSvids => GET_SVIDS.into(),
        _ => get_one().into(),
    }
}

/// Why a file cannot be used. Holds no word of it but names of secrets and what certificates say, escaped: the rest may be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Not a byte.
    #[error("there is nothing in it")]
    Empty,
    /// Longer than what is read.
    #[error("it is longer than {} MiB, which is the most that is read", LONGEST >> 20)]
    TooLong,
    /// YAML, and longer than any object in Kubernetes.
    #[error("it is YAML of more than {} MiB, which is the most that is read of YAML", LONGEST_YAML >> 20)]
    YamlTooLong,
    /// None of what is known.
    #[error("it is neither certificates in PEM or DER, nor a list of secrets, a Secret or a bundle")]
    NotRecognised,
    /// Recognised, and of no use.
    #[error(transparent)]
    NotEnough(#[from] NotEnough),
    /// The text ends too early.
    #[error("it begins as {what} and ends in the middle, in line {line}: it is cut off")]
    CutOff {
        /// How it is written.
        what: Notation,
        /// The line, from 1.
        line: usize,
    },
    /// The text breaks the rules of how it is written.
    #[error("it begins as {what}, and is none from line {line}, column {column} on")]
    Syntax {
        /// How it is written.
        what: Notation,
        /// The line, from 1.
        line: usize,
        /// Column in that line, in bytes, from 1.
        column: usize,
    },
    /// More documents than anybody has.
    #[error("it has more than {MOST_PARTS} documents, Secrets or SVIDs, which is the most that is looked at")]
    TooManyParts,
    /// More than one, where there can be one only.
    #[error("it says something of {0} workloads, and not of one")]
    Several(usize),
    /// YAML that could become big.
    #[error(
        "it is YAML with what is not read in it (anchors, too many nodes or levels) in line {line}, column {column}"
    )]
    TooMuch {
        /// The line, from 1.
        line: usize,
        /// Column in that line, from 1.
        column: usize,
    },
    /// Something else than what belongs there.
    #[error("it looks like {kind}, and has something else than expected in line {line}, column {column}")]
    Unexpected {
        /// What it looks like.
        kind: SourceKind,
        /// The line, from 1.
        line: usize,
        /// Column in that line, in bytes, from 1.
        column: usize,
    },
    /// A secret of a proxy is not whole.
    #[error("it is {kind}, and cannot be used")]
    Secret {
        /// What it is.
        kind: SourceKind,
        /// What is wrong.
        source: AnswerError,
    },
    /// A block of PEM is not whole.
    #[error("it is PEM, and not whole: see line {line}: {problem}")]
    Pem {
        /// The line, from 1.
        line: usize,
        /// What is wrong, in words of ours and of the decoder.
        problem: String,
    },
    /// Something that stands where a certificate belongs.
    #[error("certificate {position} ({place}) is not valid")]
    Certificate {
        /// Which one, from 1.
        position: usize,
        /// Where it begins.
        place: String,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// DER that ends too early.
    #[error("it is DER and cut off: certificate {position} has {has} of its {of} bytes")]
    DerCutOff {
        /// Which one, from 1.
        position: usize,
        /// How many bytes are there.
        has: usize,
        /// How many there should be.
        of: usize,
    },
    /// More certificates than anybody has.
    #[error("it has more than {most} certificates, which is the most that is looked at")]
    TooManyCertificates {
        /// The most.
        most: usize,
    },
    /// Certificates that are longer than anybody's.
    #[error("its certificates have more than {} MiB, which is the most that is looked at", LONGEST_CERTIFICATES >> 20)]
    CertificatesTooLong,
    /// A field of a Secret holds something else than certificates.
    #[error("field {field} cannot be used")]
    Field {
        /// Name of the field, escaped.
        field: String,
        /// What is wrong with it.
        source: Box<SourceError>,
    },
    /// A field of a Secret is not encoded.
    #[error("field {field} of the Secret is not base64")]
    FieldNotBase64 {
        /// Name of the field, escaped.
        field: String,
    },
    /// Something of SPIRE's is not encoded.
    #[error("{place} is not base64")]
    NotBase64 {
        /// What it is.
        place: String,
    },
    /// Something of SPIRE's holds something else than certificates.
    #[error("{place} cannot be used")]
    Within {
        /// What it is.
        place: String,
        /// What is wrong with it.
        source: Box<SourceError>,
    },
    /// An SVID whose SPIFFE ID is none.
    #[error("SVID {position} is of nobody")]
    SvidOfNobody {
        /// Which one, from 1.
        position: usize,
        /// What is wrong with the SPIFFE ID.
        source: SpiffeIdError,
    },
    /// A bundle of a list does not say of which trust domain it is.
    #[error("bundle {position} is of no trust domain")]
    BundleOfNobody {
        /// Which one, from 1.
        position: usize,
        /// What is wrong with the name.
        source: TrustDomainError,
    },
    /// Two bundles of one trust domain.
    #[error("it has two bundles of {trust_domain}")]
    BundleTwice {
        /// The trust domain.
        trust_domain: TrustDomain,
    },
    /// What a bundle holds is none.
    #[error("the bundle of {trust_domain} is not valid")]
    Bundle {
        /// The trust domain.
        trust_domain: TrustDomain,
        /// What is wrong with it.
        source: BundleError,
    },
    /// An authority of a bundle without a certificate.
    #[error("{place} has no certificate (`x5c`)")]
    KeyWithoutCertificate {
        /// Which one.
        place: String,
    },
    /// An authority of a bundle with the certificates of its signers.
    #[error(
        "{place} has more than one certificate (`x5c`): SPIRE expects a single one, and refuses the bundle"
    )]
    SeveralCertificates {
        /// Which one.
        place: String,
    },
}

/// What a file is, where that is not enough to judge anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEnough {
    /// A key without its certificate.
    #[error("it is a private key without its certificate (the key was not looked at)")]
    PrivateKey,
    /// A key without its certificate.
    #[error("it is a public key; what it is the key of is in a certificate")]
    PublicKey,
    /// What a certificate is asked for with.
    #[error("it is a certificate request; nobody has signed it")]
    Request,
    /// What takes certificates back.
    #[error("it is a list of revoked certificates, of which it has the serial numbers only")]
    RevocationList,
    /// A store of PKCS #7.
    #[error("it is PKCS #7, which is not read")]
    Pkcs7,
    /// A store of PKCS #12.
    #[error("it is a store (PKCS #12) of a key and its certificate, and is encrypted")]
    Pkcs12,
    /// PEM without a certificate.
    #[error("it is PEM without a certificate")]
    NoCertificate,
    /// The end of PEM only.
    #[error("it is the end of a block of PEM, and the beginning is missing")]
    OnlyTheEnd,
    /// Words of PEM without its dashes.
    #[error(
        "it has the words of PEM without the five dashes on both sides of them: a program for texts made others of them"
    )]
    OtherDashes,
    /// Certificates or keys in base64, without the lines of PEM.
    #[error("it is base64 without the lines with which PEM begins and ends")]
    NoMarks,
    /// What SPIRE's agent prints for people.
    #[error("it is what `spire-agent api fetch` prints for people, which has no certificates in it")]
    AgentText,
    /// An agent's answer without an SVID.
    #[error("it is {}, and no SVID is in it", SourceKind::AgentSvids)]
    NoSvid,
    /// An agent's answer with tokens.
    #[error("it is {}, and an SVID in it has no X.509 certificate", SourceKind::AgentSvids)]
    NoX509Svid,
    /// PEM that is encoded once more.
    #[error("it is PEM in base64")]
    Base64,
    /// A text of JSON.
    #[error("it is a text in quotes, as jq prints it")]
    JsonText,
    /// Text of two bytes per letter that is none.
    #[error("it begins as text in UTF-16, and is none")]
    Utf16,
    /// What istioctl prints for people.
    #[error("it is a table for people, which has no certificates in it")]
    Table,
    /// What OpenSSL prints for people.
    #[error("it is OpenSSL's description of a certificate, without the certificate")]
    OpensslText,
    /// `{}`.
    #[error(
        "it is an empty answer (`{{}}`), which is what Envoy says when it has nothing of what it was asked for"
    )]
    EmptyAnswer,
    /// Envoy's `/certs`.
    #[error("it is Envoy's answer to /certs, which has serial numbers and dates, and not the certificates")]
    CertsAnswer,
    /// The config dump of Istio's node proxy.
    #[error("it is the config dump of a ztunnel, which is not read")]
    Ztunnel,
    /// A dump without secrets.
    #[error("it is {0}, and no secrets are in it")]
    NoSecrets(SourceKind),
    /// A dump with secrets of a gateway only.
    #[error("it is {0}, and neither the secret `default` nor `ROOTCA` is in it")]
    NoIdentity(SourceKind),
    /// A dump of a proxy that has not got its secrets.
    #[error("it is {0}, and the proxy had not got its certificate nor its trust bundle when it was made")]
    Waiting(SourceKind),
    /// Another object of Kubernetes; holds its kind.
    #[error("it is an object of Kubernetes of kind {0}, and neither a Secret nor a ConfigMap")]
    OtherObject(String),
    /// An object that does not say what it is.
    #[error("it looks like an object of Kubernetes, and does not say of which kind it is")]
    NoKind,
    /// A Secret or `ConfigMap` with other things.
    #[error("{}", without_certificates(fields, *key_was_shown))]
    WithoutCertificates {
        /// Names of its fields, those with keys left out. Escaped.
        fields: Vec<String>,
        /// Whether a private key is in it.
        key_was_shown: bool,
    },
    /// A list of objects, none of which has certificates.
    #[error(
        "it is a list of {objects} objects of Kubernetes, and none of them is a Secret or ConfigMap with certificates"
    )]
    ListWithout {
        /// How many there are.
        objects: usize,
    },
    /// What `kubectl spire-federate bundle show -o json` prints.
    #[error("it is the report of `bundle show`, which has digests of authorities, and not the certificates")]
    DigestsOnly,
    /// A server's list without a bundle, or bundles without an authority.
    #[error("it is {0}, and no authority is in it")]
    NoBundle(SourceKind),
    /// A set of keys without authorities.
    #[error(
        "it is a set of {keys} keys, and none of them is that of an X.509 authority (`\"use\": \"x509-svid\"`)"
    )]
    NoAuthority {
        /// How many keys there are.
        keys: usize,
    },
}

/// Says what an object has instead of certificates.
fn without_certificates(fields: &[String], key_was_shown: bool) -> String {
    let key = if key_was_shown { "; a private key is in it, which was not looked at" } else { "" };
    let fields = if fields.is_empty() {
        "no field of it has any".to_owned()
    } else {
        format!("its fields are {}", fields.join(", "))
    };
    format!("it has no certificates: {fields}{key}")
}

impl SourceError {
    /// Says of the bundle of which trust domain it is.
    pub(super) fn of_bundle(self, trust_domain: &TrustDomain) -> Self {
        Self::Within { place: format!("the bundle of {trust_domain}"), source: Box::new(self) }
    }
}

impl Hint for SourceError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::NotEnough(what) => what.hint(),
            Self::Field { source, .. } | Self::Within { source, .. } => source.hint(),
            Self::Empty | Self::NotRecognised => Some(
                Advice::from("what is read: `")
                    .then(get_one())
                    .then("`; Envoy's config_dump; a Secret (`")
                    .then(get_secret())
                    .then("`); a bundle (`spire-server bundle show`, as JSON); certificates in PEM or DER"),
            ),
            Self::TooLong => Some(Advice::from("only the secrets are needed: ").then(get_one())),
            Self::YamlTooLong => Some(Advice::from("JSON may be longer: ").then(get_secret())),
            Self::TooManyCertificates { .. }
            | Self::CertificatesTooLong
            | Self::TooManyParts
            | Self::Several(_) => {
                Some("give the chain of one workload, or the bundle of one trust domain".into())
            }
            Self::CutOff { what: Notation::Json, .. } | Self::Syntax { what: Notation::Json, .. } => {
                Some(Advice::from("get it again, as it is printed: ").then(get_one()))
            }
            Self::CutOff { .. } | Self::Syntax { .. } | Self::TooMuch { .. } => {
                Some(Advice::from("get it again, as JSON: ").then(get_secret()))
            }
            Self::Unexpected { kind, .. } | Self::Secret { kind, .. } => {
                Some(Advice::from("get it again, as it is printed: ").then(get(*kind)))
            }
            Self::Pem { .. } | Self::DerCutOff { .. } => {
                Some("get the file again; it was probably cut off when it was copied".into())
            }
            Self::Certificate { .. } => {
                Some("see what OpenSSL says of it: openssl storeutl -noout -text -certs FILE".into())
            }
            Self::FieldNotBase64 { .. } => Some(Advice::from("kubectl prints it so: ").then(get_secret())),
            Self::NotBase64 { .. } | Self::SvidOfNobody { .. } => {
                Some(format!("the agent prints it so: {GET_SVIDS}").into())
            }
            Self::KeyWithoutCertificate { .. } | Self::SeveralCertificates { .. } => {
                Some(format!("the server prints it so: {GET_BUNDLE}").into())
            }
            Self::BundleOfNobody { .. } | Self::BundleTwice { .. } | Self::Bundle { .. } => {
                Some(format!("the server prints it so: {GET_SPIRE_BUNDLE}").into())
            }
        }
    }
}

impl Hint for NotEnough {
    fn hint(&self) -> Option<Advice> {
        Some(match self {
            Self::PrivateKey
            | Self::PublicKey
            | Self::Request
            | Self::RevocationList
            | Self::NoCertificate => {
                Advice::from("give the certificate (svid.0.pem stands beside svid.0.key), or a proxy's: ")
                    .then(get_one())
            }
            Self::Pkcs7 => {
                "take the certificates out: openssl pkcs7 -print_certs -in FILE (-inform der)".into()
            }
            Self::Pkcs12 => "take the certificates out: openssl pkcs12 -nokeys -in FILE".into(),
            Self::OtherDashes => {
                "write these lines as -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----".into()
            }
            Self::AgentText | Self::NoSvid | Self::NoX509Svid => {
                Advice::from(format!("the SVIDs and bundles of a workload, with its keys: {GET_SVIDS}"))
            }
            Self::OnlyTheEnd => "get the file again; it was probably cut off when it was copied".into(),
            Self::Base64 | Self::NoMarks => {
                Advice::from("decode it: base64 -d FILE | ").then(Plugin::Trustchain.command(["-f", "-"]))
            }
            Self::JsonText => "let jq print the text itself: jq -r".into(),
            Self::Utf16 => {
                Advice::from("write it as UTF-8: ").then(get_one()).then(" | Out-File -Encoding utf8 FILE")
            }
            Self::OpensslText => "give the certificate itself: openssl x509 -in FILE".into(),
            Self::Table
            | Self::EmptyAnswer
            | Self::CertsAnswer
            | Self::NoSecrets(_)
            | Self::NoIdentity(_) => get_one().into(),
            Self::Ztunnel => {
                Advice::from("see it with: ").then(Command::istioctl(["ztunnel-config", "certificates"]))
            }
            Self::Waiting(_) => {
                let logs = Command::kubectl(["-n", "NAMESPACE", "logs", "POD", "-c", "istio-proxy"]);
                Advice::from("see why the proxy waits: ").then(logs)
            }
            Self::OtherObject(_) | Self::NoKind => {
                let map = ["-n", "NAMESPACE", "get", "configmap", "istio-ca-root-cert", "-o", "json"];
                Advice::from("a Secret is: ")
                    .then(get_secret())
                    .then("; a ConfigMap: ")
                    .then(Command::kubectl(map))
            }
            Self::WithoutCertificates { .. } | Self::ListWithout { .. } => {
                Advice::from("which fields it has: ").then(Command::kubectl([
                    "-n",
                    "NAMESPACE",
                    "describe",
                    "secret",
                    "NAME",
                ]))
            }
            Self::NoAuthority { .. } => format!("the server prints its bundle so: {GET_BUNDLE}").into(),
            Self::NoBundle(_) => format!("the server prints its own bundle so: {GET_SPIRE_BUNDLE}").into(),
            Self::DigestsOnly => {
                Plugin::SpireFederate.command(["bundle", "show", "CLUSTER", "--encoding", "pem"]).into()
            }
        })
    }
}
