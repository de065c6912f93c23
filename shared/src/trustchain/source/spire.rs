//! Bundles as SPIRE's server prints them: `spire-server bundle show -output json`, and `bundle list` for those of other trust domains, for
//! programs and for people. Each says of which trust domain it is.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::envoy::AtMost;
use crate::trust::svid::Certificate;
use crate::trust::{TrustBundle, TrustDomain};

use super::error::{NotEnough, SourceError};
use super::notation::{Document, Notation};
use super::{
    Bundles, KEY_NOTE, LONGEST_CERTIFICATES, MOST_CERTIFICATES, Source, SourceKind, der, once, pem, spiffe,
};

/// The most bundles that are looked at: one for each trust domain that a server federates with.
pub(super) const MOST_BUNDLES: usize = 1000;
/// The shortest line of asterisks that is part of a heading; SPIRE's have 40.
const SHORTEST_RULE: usize = 8;
/// The longest name in a heading, in bytes: a SPIFFE ID of a trust domain is shorter.
const LONGEST_HEADING: usize = 300;

/// Reads the one bundle that the server shows as its own.
///
/// # Errors
/// [`SourceError`] where it is not whole, or has no authority.
pub(super) fn read_one(document: Document<'_>) -> Result<Source, SourceError> {
    let bundle: Bundle = document.read(SourceKind::SpireBundle)?;
    of_bundles(vec![bundle])
}

/// Reads the bundles that the server lists.
///
/// # Errors
/// [`SourceError`] where one is not whole, or there is none.
pub(super) fn read_list(document: Document<'_>) -> Result<Source, SourceError> {
    #[derive(Deserialize)]
    struct Listed {
        bundles: AtMost<Bundle, MOST_BUNDLES>,
    }
    let listed: Listed = document.read(SourceKind::SpireBundle)?;
    let too_many = |_| SourceError::TooManyCertificates { most: MOST_BUNDLES };
    of_bundles(listed.bundles.all().map_err(too_many)?)
}

fn of_bundles(listed: Vec<Bundle>) -> Result<Source, SourceError> {
    if listed.iter().any(|bundle| bundle.of_our_report.is_some()) {
        return Err(NotEnough::DigestsOnly.into());
    }
    let mut collected = Collected::default();
    for (index, bundle) in listed.into_iter().enumerate() {
        bundle.read(index + 1, &mut collected)?;
    }
    collected.source(SourceKind::SpireBundle)
}

/// Finds the headings with which the server divides bundles that it lists for people, `* foo.com` between two lines of asterisks: the name of
/// each, and where its bundle stands.
pub(super) fn sections(text: &[u8]) -> Vec<(String, Range<usize>)> {
    let mut sections: Vec<(String, Range<usize>)> = Vec::new();
    let is_rule = |line: &[u8]| line.len() >= SHORTEST_RULE && line.iter().all(|byte| *byte == b'*');
    // Where the line before last began, and whether it was a rule; and the name in the last one.
    let mut rule = None;
    let mut name: Option<(usize, String)> = None;
    let mut at = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let (start, said) = (at, line.trim_ascii());
        at += line.len();
        if is_rule(said) {
            if let Some((begun, name)) = name.take() {
                if let Some((_, last)) = sections.last_mut() {
                    last.end = begun;
                }
                sections.push((name, at..text.len()));
                rule = None;
                // One more than is read is enough to say so.
                if sections.len() > MOST_BUNDLES {
                    break;
                }
            } else {
                rule = Some(start);
            }
            continue;
        }
        let heading = said.strip_prefix(b"* ").filter(|name| name.len() <= LONGEST_HEADING);
        name = rule.take().zip(heading.map(|name| String::from_utf8_lossy(name).into_owned()));
    }
    sections
}

/// Reads the bundles that the server lists for people, as PEM or in SPIFFE's JSON.
///
/// # Errors
/// [`SourceError`] where one is not whole, a certificate stands before the first heading, or there is none.
pub(super) fn read_sections(
    text: &[u8],
    sections: Vec<(String, Range<usize>)>,
) -> Result<Source, SourceError> {
    if sections.len() > MOST_BUNDLES {
        return Err(SourceError::TooManyCertificates { most: MOST_BUNDLES });
    }
    let first = text.len().min(sections.first().map_or(0, |(_, part)| part.start));
    let before = pem::read_within(text, 0..first)?;
    if let Some(line) = before.first_line {
        let problem = "a certificate begins there, before the name of any trust domain".to_owned();
        return Err(SourceError::Pem { line, problem });
    }
    let mut collected = Collected { key_was_shown: before.private_keys > 0, ..Collected::default() };
    for (index, (name, part)) in sections.into_iter().enumerate() {
        let trust_domain = domain(&name, index + 1)?;
        let certificates = if text[part.clone()].trim_ascii_start().starts_with(b"{") {
            let read = spiffe::authorities(Document::within(Notation::Json, text, part));
            let read = read.map_err(|source| source.of_bundle(&trust_domain))?;
            collected.key_was_shown |= read.key_was_shown;
            read.certificates
        } else {
            let blocks = pem::read_within(text, part).map_err(|source| source.of_bundle(&trust_domain))?;
            collected.key_was_shown |= blocks.private_keys > 0;
            blocks.certificates
        };
        collected.add(trust_domain, certificates)?;
    }
    collected.source(SourceKind::SpireList)
}

/// Reads the name of a trust domain, also where it is written as its SPIFFE ID. `position` says which bundle it is of, from 1.
///
/// # Errors
/// [`SourceError::BundleOfNobody`].
pub(super) fn domain(name: &str, position: usize) -> Result<TrustDomain, SourceError> {
    let name = name.strip_prefix("spiffe://").unwrap_or(name);
    name.parse().map_err(|source| SourceError::BundleOfNobody { position, source })
}

/// Bundles of several trust domains, as they are read one after the other. Together they have no more than is read of one file.
#[derive(Default)]
pub(super) struct Collected {
    bundles: BTreeMap<TrustDomain, TrustBundle>,
    notes: Vec<String>,
    /// Whether a private key was in it. It was dropped.
    pub(super) key_was_shown: bool,
    spent: Spent,
}

impl Collected {
    /// Adds the bundle of a trust domain.
    ///
    /// # Errors
    /// [`SourceError`] where it has one already, or there are more certificates than are read.
    pub(super) fn add(
        &mut self,
        trust_domain: TrustDomain,
        certificates: Vec<Certificate>,
    ) -> Result<(), SourceError> {
        certificates.iter().try_for_each(|certificate| self.spent.add(certificate.der().len()))?;
        let certificates = once(certificates, &format!("bundle of {trust_domain}"), &mut self.notes);
        let ders: Vec<u8> = certificates.iter().flat_map(Certificate::der).copied().collect();
        // They have been read, and are no more than a bundle holds.
        let bundle = TrustBundle::from_der_sequence(trust_domain.clone(), &ders)
            .map_err(|source| SourceError::Bundle { trust_domain: trust_domain.clone(), source })?;
        if self.bundles.insert(trust_domain.clone(), bundle).is_some() {
            return Err(SourceError::BundleTwice { trust_domain });
        }
        Ok(())
    }

    /// Returns an empty one that counts on: for the next thing in the same file.
    pub(super) fn another(self) -> Self {
        Self { spent: self.spent, ..Self::default() }
    }

    /// Makes a source of them.
    ///
    /// # Errors
    /// [`NotEnough::NoBundle`] where no authority is in it.
    pub(super) fn source(mut self, kind: SourceKind) -> Result<Source, SourceError> {
        if self.bundles.values().all(|bundle| bundle.authorities().is_empty()) {
            return Err(NotEnough::NoBundle(kind).into());
        }
        Ok(self.take(kind))
    }

    /// Makes a source of those that there are, and leaves none.
    pub(super) fn take(&mut self, kind: SourceKind) -> Source {
        let (bundles, mut notes) = (mem::take(&mut self.bundles), mem::take(&mut self.notes));
        if self.key_was_shown {
            notes.insert(0, KEY_NOTE.to_owned());
        }
        Source {
            kind,
            chain: None,
            issuers: Vec::new(),
            bundles: Bundles::Separate(bundles),
            key_was_shown: self.key_was_shown,
            others: Vec::new(),
            notes,
        }
    }
}

/// Something for each of several trust domains, by name; each name as often as it is there.
pub(super) struct ByName<T> {
    items: Vec<(String, T)>,
    count: usize,
}

impl<T> ByName<T> {
    /// Returns them in the order in which they are there.
    ///
    /// # Errors
    /// [`SourceError::TooManyCertificates`] where they are more than anybody has.
    pub(super) fn all(self) -> Result<Vec<(String, T)>, SourceError> {
        if self.count > MOST_BUNDLES {
            return Err(SourceError::TooManyCertificates { most: MOST_BUNDLES });
        }
        Ok(self.items)
    }
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { items: Vec::new(), count: 0 }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByName<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByNameVisitor(PhantomData))
    }
}

struct ByNameVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ByNameVisitor<T> {
    type Value = ByName<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bundles by trust domain")
    }

    fn visit_unit<E>(self) -> Result<ByName<T>, E> {
        Ok(ByName::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<ByName<T>, A::Error> {
        let mut read = ByName::default();
        while let Some(name) = fields.next_key::<String>()? {
            read.count += 1;
            if read.count > MOST_BUNDLES {
                fields.next_value::<IgnoredAny>()?;
            } else {
                read.items.push((name, fields.next_value()?));
            }
        }
        Ok(read)
    }
}

/// How much was read.
#[derive(Default)]
struct Spent {
    certificates: usize,
    bytes: usize,
}

impl Spent {
    fn add(&mut self, bytes: usize) -> Result<(), SourceError> {
        self.certificates += 1;
        self.bytes += bytes;
        if self.certificates > MOST_CERTIFICATES {
            Err(SourceError::TooManyCertificates { most: MOST_CERTIFICATES })
        } else if self.bytes > LONGEST_CERTIFICATES {
            Err(SourceError::CertificatesTooLong)
        } else {
            Ok(())
        }
    }
}

/// `types.Bundle` of SPIRE's API, in protobuf's JSON.
#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    trust_domain: String,
    #[serde(default)]
    x509_authorities: AtMost<Authority, MOST_CERTIFICATES>,
    /// A field that SPIRE does not have, and `kubectl spire-federate bundle show -o json` does.
    #[serde(rename = "trustDomain")]
    of_our_report: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Authority {
    asn1: String,
    #[serde(default)]
    tainted: bool,
}

impl Bundle {
    fn read(self, position: usize, collected: &mut Collected) -> Result<(), SourceError> {
        let trust_domain = domain(&self.trust_domain, position)?;
        let authorities = self.x509_authorities.all();
        let authorities =
            authorities.map_err(|_| SourceError::TooManyCertificates { most: MOST_CERTIFICATES })?;
        let mut certificates = Vec::new();
        for (index, authority) in authorities.into_iter().enumerate() {
            let place = || format!("authority {} of {}", index + 1, trust_domain);
            let certificate = der::of_base64(&authority.asn1, index + 1, place)?;
            if authority.tainted {
                let note = format!("{} is tainted: SPIRE takes what it signed out of use", place());
                collected.notes.push(note);
            }
            certificates.push(certificate);
        }
        collected.add(trust_domain, certificates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_read_up_to_a_number_and_a_length() {
        let mut spent = Spent { certificates: MOST_CERTIFICATES - 2, bytes: LONGEST_CERTIFICATES - 10 };
        assert_eq!([spent.add(4), spent.add(6)], [Ok(()), Ok(())]);
        assert_eq!(spent.add(0), Err(SourceError::TooManyCertificates { most: MOST_CERTIFICATES }));
        let mut spent = Spent { certificates: 0, bytes: LONGEST_CERTIFICATES };
        assert_eq!(spent.add(0), Ok(()));
        assert_eq!(spent.add(1), Err(SourceError::CertificatesTooLong));
    }

    #[test]
    fn a_heading_is_a_name_between_two_lines_of_asterisks() {
        let found = |text: &str| {
            let sections = sections(text.as_bytes());
            sections.into_iter().map(|(name, part)| format!("{name}:{}", &text[part])).collect::<Vec<_>>()
        };
        let rule = "*".repeat(40);
        let heading = |name: &str| format!("{rule}\n* {name}\n{rule}\n");
        assert_eq!(
            found(&format!("{}a\n{}b", heading("foo.com"), heading("bar.com"))),
            ["foo.com:a\n", "bar.com:b"]
        );
        assert_eq!(found(&format!("x\n  {}", heading("foo.com").replace('\n', "\r\n"))), ["foo.com:"]);
        for none in [
            format!("{rule}\n* foo.com\n"),
            format!("* foo.com\n{rule}\n"),
            format!("{rule}\n\n* foo.com\n{rule}\n"),
            format!("{rule}\nfoo.com\n{rule}\n"),
            heading("foo.com").replace(&rule, "****"),
            heading(&"x".repeat(LONGEST_HEADING + 1)),
        ] {
            assert_eq!(found(&none), [""; 0], "{none}");
        }
    }
}
