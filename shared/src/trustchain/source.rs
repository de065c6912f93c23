//! What `kubectl trustchain -f FILE|-` reads: certificates and bundles from a file, without a cluster.
//!
//! A file is recognised by what is in it, never by its name. [`parse`] holds for any bytes:
//! - It never panics, and it ends: its time grows with the length of the input, and nothing that is recursive has no limit.
//! - It takes no more than about four times the memory of the input: lists have a most, and what is not looked at is not kept.
//! - No byte of a private key is kept, and none is in an error: keys are passed over while the input is read, and errors name
//!   places, never what is there.
//! - Every text in what it returns, errors and hints among them, is safe to print on one line.
//! - A [`Source`] has a chain, an issuer or a bundle; what has none of them is an error. Nothing that looks like a certificate is
//!   left out in silence: it is in the result, or there is an error.
//! - Nothing has been verified. Signers are told by names and key identifiers, which anybody can write.

mod agent;
mod der;
mod error;
mod kubernetes;
mod notation;
mod order;
mod pem;
mod spiffe;
mod spire;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

pub use error::{NotEnough, SourceError};
pub use notation::Notation;

use crate::envoy::{ProxySecrets, Received, State, Validation, WholeDump};
use crate::report::escape;
use crate::trust::svid::{Certificate, Chain};
use crate::trust::{TrustBundle, TrustDomain};
use notation::{Document, Top};
use order::Ordered;

/// The most bytes that are read of a file. The config dump of a proxy that knows 10 000 services has half of them.
///
/// Who reads a file should take one byte more than this, and hand it over: [`parse`] then says that it is too long.
pub const LONGEST: usize = 64 << 20;
/// The most certificates that are looked at; the list of roots that a system trusts has 150.
const MOST_CERTIFICATES: usize = 1000;
/// The most certificates of one chain.
const MOST_OF_A_CHAIN: usize = 100;
/// The most bytes that the certificates of a file may have, encoded as they are there.
const LONGEST_CERTIFICATES: usize = 4 << 20;
/// The most characters of a name that are repeated in a note.
const LONGEST_NAME: usize = 100;
/// What is said of a private key.
const KEY_NOTE: &str = "a private key is in it: it was not looked at, and whoever has the file has the key";
/// The most names that are listed.
const MOST_NAMES: usize = 100;

/// What a file says of a workload, or of a CA. Nothing of it has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What the file is.
    pub kind: SourceKind,
    /// The certificate of the workload, and the signers that came with it. Envoy's are in the order in which it presents them;
    /// all others are put in order, from the leaf to the last signer.
    pub chain: Option<Chain>,
    /// The certificates of a CA that no workload presents: `ca-cert.pem` of the Secret `cacerts`, for example. In order, the one that
    /// signs workloads first.
    pub issuers: Vec<Certificate>,
    /// What peers are verified with.
    pub bundles: Bundles,
    /// Whether a private key was in it. It was dropped while the file was read.
    pub key_was_shown: bool,
    /// Names of what else is in it and was not looked at: other secrets of the proxy, other fields, certificates that are not of
    /// the chain.
    pub others: Vec<String>,
    /// What is remarkable about it, one sentence each: certificates that were not in order, for example.
    pub notes: Vec<String>,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// The answer of Envoy's admin interface to `config_dump`, whole or only secrets.
    ConfigDump,
    /// What `istioctl proxy-config secret -o json` prints, or `-o yaml`.
    Istioctl,
    /// A Secret of Kubernetes.
    Secret,
    /// A `ConfigMap` of Kubernetes.
    ConfigMap,
    /// A bundle in SPIFFE's JSON (SPIFFE Trust Domain and Bundle, section 4).
    SpiffeBundle,
    /// Bundles in SPIFFE's JSON, by trust domain (gRPC, proposal A87).
    BundleMap,
    /// Bundles in SPIRE's JSON, as its server prints them.
    SpireBundle,
    /// Bundles as SPIRE's server lists them for people.
    SpireList,
    /// SVIDs and bundles as SPIRE's agent serves them to a workload.
    AgentSvids,
    /// Certificates in PEM.
    Pem,
    /// Certificates in DER, one after the other.
    Der,
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConfigDump => "Envoy's config dump",
            Self::Istioctl => "istioctl's list of secrets",
            Self::Secret => "a Secret of Kubernetes",
            Self::ConfigMap => "a ConfigMap of Kubernetes",
            Self::SpiffeBundle => "a bundle in SPIFFE's JSON",
            Self::BundleMap => "bundles in SPIFFE's JSON by trust domain",
            Self::SpireBundle => "SPIRE's JSON of bundles",
            Self::SpireList => "SPIRE's list of bundles",
            Self::AgentSvids => "what SPIRE's agent serves",
            Self::Pem => "PEM",
            Self::Der => "DER",
        })
    }
}

/// What peers are verified with, as far as a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bundles {
    /// It does not say.
    #[default]
    Unsaid,
    /// The bundle of every trust domain for itself, as SPIRE serves them.
    Separate(BTreeMap<TrustDomain, TrustBundle>),
    /// One pool of CA certificates for everybody, as Istio's own agent serves istiod's.
    Pooled(Vec<Certificate>),
    /// The authorities of one trust domain, whose name the file does not say. Each is there once.
    Unnamed(Vec<Certificate>),
}

impl Bundles {
    /// Returns what verifies SVIDs of a trust domain. Authorities that the file has no domain for are taken to be of this one: the
    /// caller has to know.
    #[must_use]
    pub fn of(&self, trust_domain: &TrustDomain) -> Option<TrustBundle> {
        match self {
            Self::Unsaid => None,
            Self::Separate(bundles) => bundles.get(trust_domain).cloned(),
            Self::Pooled(authorities) | Self::Unnamed(authorities) => {
                let ders = authorities.iter().flat_map(Certificate::der).copied().collect::<Vec<u8>>();
                // They have been read, and are no more than a bundle holds.
                TrustBundle::from_der_sequence(trust_domain.clone(), &ders).ok()
            }
        }
    }

    /// Returns the trust domain that authorities without one claim to be of: SPIRE writes its SPIFFE ID into them. `None` where they
    /// claim none, or do not agree.
    #[must_use]
    pub fn claimed(&self) -> Option<TrustDomain> {
        let Self::Unnamed(authorities) = self else { return None };
        let ids = authorities.iter().filter_map(|authority| authority.spiffe_id()?.ok());
        let mut domains: Vec<TrustDomain> = ids.map(|id| id.trust_domain().clone()).collect();
        domains.dedup();
        match domains.as_slice() {
            [domain] => Some(domain.clone()),
            _ => None,
        }
    }

    fn is_said(&self) -> bool {
        *self != Self::Unsaid
    }
}

/// One of the things that a file says something of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What tells it from the others of the file: the place of its document, the name of its Secret. `None` where it is the only one.
    pub name: Option<String>,
    /// What the file says of it, or why that cannot be used.
    pub source: Result<Source, SourceError>,
}

impl Part {
    /// Says what it is a part of.
    fn of(self, whole: &str) -> Self {
        let name = self.name.map_or_else(|| whole.to_owned(), |name| format!("{whole}, {name}"));
        Self { name: Some(name), source: self.source }
    }
}

/// Reads a file that says something of one workload, or CA. See [the room](self) for what holds for any input.
///
/// # Errors
/// [`SourceError`] naming what was recognised, where it broke, and why it is not enough.
pub fn parse(bytes: &[u8]) -> Result<Source, SourceError> {
    let mut parts = parse_all(bytes)?;
    match (parts.len(), parts.pop()) {
        (1, Some(part)) => part.source,
        (count, _) => Err(SourceError::Several(count)),
    }
}

/// Reads a file of one or several documents, each of which may say something of several workloads: there is at least one part, and one
/// that is alone can be used. See [the room](self) for what holds for any input.
///
/// # Errors
/// [`SourceError`] as for [`parse`], where no part can be used; that of the first.
pub fn parse_all(bytes: &[u8]) -> Result<Vec<Part>, SourceError> {
    if bytes.len() > LONGEST {
        return Err(SourceError::TooLong);
    }
    if der::looks_like_it(bytes) {
        return of_der(bytes).map(alone);
    }
    let bytes = &*text(bytes)?;
    let start = bytes.trim_ascii_start();
    // The places in errors are those of the whole.
    match start.first() {
        None => Err(SourceError::Empty),
        Some(_) if notation::opens_json(start) => of_documents(Notation::Json, bytes),
        Some(_) if !spire::sections(bytes).is_empty() => {
            spire::read_sections(bytes, spire::sections(bytes)).map(alone)
        }
        Some(_) if notation::json_behind_remarks(bytes).is_some() => of_documents(Notation::Json, bytes),
        Some(_) if notation::looks_like_yaml(bytes) => of_documents(Notation::Yaml, bytes),
        Some(_) if pem::looks_like_it(bytes) => of_pem(bytes).map(alone),
        Some(_) => Err(pem::named(start).map_or(SourceError::NotRecognised, SourceError::from)),
    }
}

fn alone(source: Source) -> Vec<Part> {
    vec![Part { name: None, source: Ok(source) }]
}

/// Makes UTF-8 of text in UTF-16, as PowerShell redirects it, and leaves the mark at the beginning out. Whatever else it is, it is left as
/// it is.
fn text(bytes: &[u8]) -> Result<Cow<'_, [u8]>, SourceError> {
    let is_text = |byte: u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        // Without a mark: the first letter is one of ASCII.
        [first, 0, ..] if is_text(*first) => u16::from_le_bytes,
        [0, second, ..] if is_text(*second) => u16::from_be_bytes,
        _ => return Ok(Cow::Borrowed(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))),
    };
    // One letter may take three bytes then.
    if bytes.len() > LONGEST / 2 {
        return Err(SourceError::TooLong);
    }
    let (units, rest) = bytes.as_chunks::<2>();
    let letters = char::decode_utf16(units.iter().copied().map(unit)).collect::<Result<String, _>>();
    match letters {
        Ok(letters) if rest.is_empty() => {
            let letters = letters.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(letters);
            Ok(Cow::Owned(letters.into_bytes()))
        }
        _ => Err(NotEnough::Utf16.into()),
    }
}

/// Reads JSON or YAML of one or several documents.
fn of_documents(notation: Notation, file: &[u8]) -> Result<Vec<Part>, SourceError> {
    let documents = notation::documents(notation, file)?;
    if let [document] = documents.as_slice() {
        return of_document(*document);
    }
    let mut parts: Vec<Part> = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let place = format!("document {} (line {})", index + 1, document.line());
        match of_document(*document) {
            Ok(read) => parts.extend(read.into_iter().map(|part| part.of(&place))),
            Err(error) => parts.push(Part { name: Some(place), source: Err(error) }),
        }
        if parts.len() > notation::MOST_PARTS {
            return Err(SourceError::TooManyParts);
        }
    }
    usable(parts)
}

/// Returns what cannot be used beside what can, where there is something; else why the first cannot.
fn usable(parts: Vec<Part>) -> Result<Vec<Part>, SourceError> {
    if parts.iter().any(|part| part.source.is_ok()) {
        return Ok(parts);
    }
    let first = parts.into_iter().find_map(|part| part.source.err());
    Err(first.unwrap_or(SourceError::NotRecognised))
}

/// Reads one document.
fn of_document(document: Document<'_>) -> Result<Vec<Part>, SourceError> {
    let source = match document.look()? {
        Top::Kubernetes => return kubernetes::read(document),
        Top::AgentSvids => return agent::read(document),
        Top::ConfigDump => of_dump(SourceKind::ConfigDump, document),
        Top::Istioctl => of_dump(SourceKind::Istioctl, document),
        Top::SpiffeBundle => spiffe::read(document),
        Top::BundleMap => spiffe::read_map(document),
        Top::SpireBundle => spire::read_one(document),
        Top::SpireBundles => spire::read_list(document),
        Top::Nothing => Err(NotEnough::EmptyAnswer.into()),
        Top::CertsAnswer => Err(NotEnough::CertsAnswer.into()),
        Top::Ztunnel => Err(NotEnough::Ztunnel.into()),
        Top::Text => Err(NotEnough::JsonText.into()),
        Top::Other => Err(SourceError::NotRecognised),
    };
    source.map(alone)
}

fn of_dump(kind: SourceKind, document: Document<'_>) -> Result<Source, SourceError> {
    let dump: WholeDump = document.read(kind)?;
    let secrets = dump.secrets().map_err(|source| SourceError::Secret { kind, source })?;
    if secrets.is_empty() {
        return Err(NotEnough::NoSecrets(kind).into());
    }
    let ProxySecrets { identity, validation, others, key_was_shown } = secrets;
    let is_waiting = identity.is_some() || validation.is_some();
    let mut notes = Vec::new();
    if key_was_shown {
        notes.push(KEY_NOTE.to_owned());
    }
    let chain = received(identity, "certificate", &mut notes);
    let bundles = match received(validation, "trust bundle", &mut notes) {
        None => Bundles::Unsaid,
        Some(Validation::Spiffe(bundles)) => Bundles::Separate(bundles),
        Some(Validation::Pooled(pool)) => Bundles::Pooled(once(pool, "trust bundle", &mut notes)),
    };
    let others = listed(&others);
    if chain.is_none() && !bundles.is_said() {
        return Err(if is_waiting { NotEnough::Waiting(kind) } else { NotEnough::NoIdentity(kind) }.into());
    }
    Ok(Source { kind, chain, issuers: Vec::new(), bundles, key_was_shown, others, notes })
}

/// Takes a secret; notes that the proxy waits for it.
fn received<T>(secret: Option<Received<T>>, what: &str, notes: &mut Vec<String>) -> Option<T> {
    let Received { state, value, .. } = secret?;
    if state == State::Warming {
        notes.push(format!("Envoy still waits for its {what}"));
    } else if value.is_none() {
        notes.push(format!("Envoy has an empty {what}"));
    }
    value
}

fn of_pem(text: &[u8]) -> Result<Source, SourceError> {
    let blocks = pem::read(text)?;
    let (key_was_shown, others) = (blocks.private_keys > 0, listed(&blocks.others()));
    if blocks.certificates.is_empty() {
        return Err(blocks.not_enough().into());
    }
    let with_trust = blocks.with_trust > 0;
    let mut source = of_certificates(SourceKind::Pem, blocks.certificates, key_was_shown, others)?;
    if with_trust {
        let note = "it is OpenSSL's TRUSTED CERTIFICATE, which no other program reads: openssl x509 -in FILE makes a plain one";
        source.notes.push(note.to_owned());
    }
    Ok(source)
}

fn of_der(bytes: &[u8]) -> Result<Source, SourceError> {
    of_certificates(SourceKind::Der, der::read(bytes)?, false, Vec::new())
}

/// Makes a source of certificates that nobody has sorted.
fn of_certificates(
    kind: SourceKind,
    certificates: Vec<Certificate>,
    key_was_shown: bool,
    mut others: Vec<String>,
) -> Result<Source, SourceError> {
    let mut notes = Vec::new();
    if key_was_shown {
        notes.push(KEY_NOTE.to_owned());
    }
    let Ordered { chain, rest } = order::order(certificates, &mut notes)?;
    let bundles = if chain.is_some() {
        others.extend(rest.iter().map(name));
        Bundles::Unsaid
    } else {
        notes.push("no certificate in it is a workload's: it is taken as a trust bundle".to_owned());
        Bundles::Unnamed(rest)
    };
    Ok(Source { kind, chain, issuers: Vec::new(), bundles, key_was_shown, others: listed(&others), notes })
}

/// Leaves out what is there a second time, and says so.
fn once(certificates: Vec<Certificate>, what: &str, notes: &mut Vec<String>) -> Vec<Certificate> {
    let mut kept: BTreeMap<_, usize> = BTreeMap::new();
    let mut again = Vec::new();
    let mut result = Vec::with_capacity(certificates.len());
    for (index, certificate) in certificates.into_iter().enumerate() {
        if let Some(first) = kept.get(&certificate.sha256) {
            again.push(format!("{} (as {})", index + 1, first + 1));
        } else {
            kept.insert(certificate.sha256, index);
            result.push(certificate);
        }
    }
    if !again.is_empty() {
        notes.push(format!("certificates of the {what} are there more than once: {}", enumerated(&again)));
    }
    result
}

/// Writes a list of which the end is left out where it is long.
fn enumerated(items: &[String]) -> String {
    const MOST: usize = 10;
    match items.len().checked_sub(MOST) {
        None | Some(0) => items.join(", "),
        Some(more) => format!("{}, and {more} more", items[..MOST].join(", ")),
    }
}

/// Names a certificate: by its SPIFFE ID, else by its subject, else by its serial number. Escaped, and not long.
fn name(certificate: &Certificate) -> String {
    match (certificate.uris.as_slice(), certificate.subject.as_str()) {
        ([uri], _) => short(uri),
        (_, "") => short(&format!("serial number {}", certificate.serial)),
        (_, subject) => short(subject),
    }
}

/// Escapes a text, and cuts it where it is long.
fn short(text: &str) -> String {
    let mut start: String = text.chars().take(LONGEST_NAME).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    escape(&start).into_owned()
}

/// Shortens a list of names, and the names in it.
fn listed(names: &[String]) -> Vec<String> {
    let more = names.len().saturating_sub(MOST_NAMES);
    let mut listed: Vec<String> = names.iter().take(MOST_NAMES).map(|name| short(name)).collect();
    if more > 0 {
        listed.push(format!("{more} more"));
    }
    listed
}

#[cfg(test)]
mod words {
    use super::*;

    fn numbers(count: usize) -> Vec<String> {
        (0..count).map(|number| number.to_string()).collect()
    }

    #[test]
    fn lists_and_names_are_cut_where_they_are_long() {
        assert_eq!(enumerated(&[]), "");
        assert_eq!(enumerated(&numbers(10)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9");
        assert_eq!(enumerated(&numbers(12)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 2 more");
        assert_eq!(listed(&numbers(100)), numbers(100));
        let more = listed(&numbers(103));
        assert_eq!((more.len(), more[99].as_str(), more[100].as_str()), (101, "99", "3 more"));
        assert_eq!(short(&"ä".repeat(100)), "ä".repeat(100));
        assert_eq!(short(&"ä".repeat(101)), "ä".repeat(100) + "…");
        assert_eq!(listed(&["a".repeat(200)]), ["a".repeat(100) + "…"]);
    }

    #[test]
    fn a_certificate_is_called_by_what_tells_it_from_others() {
        let mut certificate =
            Certificate::from_der(crate::trustchain::judge::tests::ca(&[]).der().to_vec()).unwrap();
        (certificate.subject, certificate.serial) = ("CN=root".to_owned(), "0a".to_owned());
        assert_eq!(name(&certificate), "CN=root");
        certificate.uris = vec!["spiffe://foo.com".to_owned()];
        assert_eq!(name(&certificate), "spiffe://foo.com");
        certificate.uris.push("spiffe://bar.com".to_owned());
        assert_eq!(name(&certificate), "CN=root");
        certificate.subject = String::new();
        assert_eq!(name(&certificate), "serial number 0a");
    }

    #[test]
    fn utf_16_is_told_by_its_mark_or_its_first_letter_whichever_byte_comes_first() {
        for empty in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}", b"{\0}\0", b"\0{\0}", b" \0{\0}\0"] {
            assert_eq!(parse(empty), Err(NotEnough::EmptyAnswer.into()), "{empty:?}");
            assert_eq!(parse(&empty[..empty.len() - 1]), Err(NotEnough::Utf16.into()), "{empty:?}");
        }
        for other in [&b"\xff-"[..], b"\0\0\0\0", b"\x01\0\x01\0"] {
            assert_eq!(parse(other), Err(SourceError::NotRecognised), "{other:?}");
        }
        assert_eq!(parse(b"\xef\xbb\xbf {}"), Err(NotEnough::EmptyAnswer.into()));
    }

    #[test]
    fn a_secret_that_is_there_and_empty_is_told_from_one_that_is_waited_for() {
        let mut notes = Vec::new();
        let secret =
            |state, value| Some(Received { state, version: String::new(), last_updated: None, value });
        assert_eq!(received(secret(State::Active, Some(1)), "certificate", &mut notes), Some(1));
        assert_eq!(received::<u8>(None, "certificate", &mut notes), None);
        assert_eq!(notes, [""; 0]);
        assert_eq!(received::<u8>(secret(State::Active, None), "certificate", &mut notes), None);
        assert_eq!(received::<u8>(secret(State::Warming, None), "trust bundle", &mut notes), None);
        assert_eq!(notes, ["Envoy has an empty certificate", "Envoy still waits for its trust bundle"]);
    }
}
