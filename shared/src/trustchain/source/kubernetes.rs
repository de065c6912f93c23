//! A Secret as kubectl prints it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::envoy::Key;
use crate::trust::svid::Certificate;

use super::error::{NotEnough, SourceError};
use super::notation::Notation;
use super::order::{self, Ordered};
use super::{
    Bundles, KEY_NOTE, LONGEST_CERTIFICATES, MOST_NAMES, Source, SourceKind, listed, name, once, pem, short,
};

/// The fields with what is presented, and those with what peers are verified with (Kubernetes, `kubernetes.io/tls`; cert-manager;
/// Istio, `pkg/security` and `security/pkg/pki/ca`), in the order in which they are looked at.
const PRESENTED: [&str; 3] = ["tls.crt", "ca-cert.pem", "cert-chain.pem"];
const ROOTS: [&str; 2] = ["ca.crt", "root-cert.pem"];

/// Reads a Secret.
///
/// # Errors
/// [`SourceError`] where it is another object, or a field of it holds something else than certificates.
pub(super) fn read(notation: Notation, text: &[u8]) -> Result<Source, SourceError> {
    let object: Result<Object, SourceError> = notation.read(text, SourceKind::Secret);
    // What does not fit may be of another kind.
    let kind = match &object {
        Ok(object) => object.kind.clone(),
        Err(_) => notation.read::<Kind>(text, SourceKind::Secret)?.kind,
    };
    match kind.as_deref() {
        Some("Secret") => (),
        Some(kind) => return Err(NotEnough::OtherObject(short(kind)).into()),
        None => return Err(NotEnough::NoKind.into()),
    }
    let object = object?;
    let data = object.data.unwrap_or_default();
    let written = object.string_data.unwrap_or_default();
    let mut key_was_shown = data.key_was_shown || written.key_was_shown;
    let mut others = [data.others.as_slice(), &written.others].concat();
    let more = data.more + written.more;

    let mut of = |fields: &[&'static str]| -> Result<Vec<(&'static str, Vec<Certificate>)>, SourceError> {
        let mut all = Vec::new();
        for field in fields {
            // What is written in the clear wins, as it does in the API server.
            let found = match (written.get(field), data.get(field)) {
                (Some(text), _) => text.as_bytes().to_vec(),
                (None, Some(encoded)) => decoded(field, encoded)?,
                (None, None) => continue,
            };
            let blocks =
                pem::read(&found).map_err(|source| SourceError::Field { field, source: Box::new(source) })?;
            key_was_shown |= blocks.private_keys > 0;
            others.extend(blocks.others().into_iter().map(|other| format!("{field}: {other}")));
            all.push((*field, blocks.certificates));
        }
        Ok(all)
    };
    let (presented, roots) = (of(&PRESENTED)?, of(&ROOTS)?);
    let mut notes = Vec::new();
    if key_was_shown {
        notes.push(KEY_NOTE.to_owned());
    }
    let presented = joined(presented, &mut notes);
    let roots = joined(roots, &mut notes);
    if presented.is_empty() && roots.is_empty() {
        return Err(NotEnough::SecretWithout.into());
    }
    let Ordered { chain, rest } = order::order(presented, &mut notes)?;
    let issuers = if chain.is_some() {
        others.extend(rest.iter().map(name));
        Vec::new()
    } else {
        order::issuers(rest)
    };
    if more > 0 {
        others.push(format!("{more} more fields"));
    }
    let bundles = if roots.is_empty() { Bundles::Unsaid } else { Bundles::Unnamed(roots) };
    Ok(Source {
        kind: SourceKind::Secret,
        chain,
        issuers,
        bundles,
        key_was_shown,
        others: listed(&others),
        notes,
    })
}

/// Joins the certificates of several fields. What is twice in one field is remarkable; that a CA is in two of them is how Istio's
/// Secrets are.
fn joined(fields: Vec<(&'static str, Vec<Certificate>)>, notes: &mut Vec<String>) -> Vec<Certificate> {
    let mut joined: Vec<Certificate> = Vec::new();
    for (field, certificates) in fields {
        let new = once(certificates, field, notes);
        let (known, new): (Vec<_>, Vec<_>) =
            new.into_iter().partition(|new| joined.iter().any(|known| known.sha256 == new.sha256));
        drop(known);
        joined.extend(new);
    }
    joined
}

fn decoded(field: &'static str, encoded: &str) -> Result<Vec<u8>, SourceError> {
    if encoded.len() > 2 * LONGEST_CERTIFICATES {
        return Err(SourceError::Field { field, source: Box::new(SourceError::CertificatesTooLong) });
    }
    // YAML breaks lines, and Kubernetes does not mind.
    let encoded: String = encoded.split_ascii_whitespace().collect();
    STANDARD.decode(encoded).map_err(|_| SourceError::FieldNotBase64 { field })
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Object {
    kind: Option<String>,
    data: Option<Fields>,
    #[serde(rename = "stringData")]
    string_data: Option<Fields>,
}

/// The fields of a Secret: certificates, and of all others the names only.
#[derive(Default)]
struct Fields {
    certificates: Vec<(&'static str, String)>,
    others: Vec<String>,
    /// How many more others there are.
    more: usize,
    key_was_shown: bool,
}

impl Fields {
    fn get(&self, field: &str) -> Option<&str> {
        let found = self.certificates.iter().find(|(name, text)| *name == field && !text.is_empty());
        found.map(|(_, text)| text.as_str())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields of a Secret")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Fields, A::Error> {
        let mut read = Fields::default();
        while let Some(field) = fields.next_key::<String>()? {
            let known = PRESENTED.iter().chain(&ROOTS).find(|known| **known == field);
            if let Some(known) = known {
                let text = fields.next_value::<Option<String>>()?;
                read.certificates.push((known, text.unwrap_or_default()));
                continue;
            }
            // Whatever it is, it is not kept.
            let shown = fields.next_value::<Key>()? == Key::Shown;
            if is_key(&field) {
                read.key_was_shown |= shown;
            } else if read.others.len() < MOST_NAMES {
                read.others.push(short(&field));
            } else {
                read.more += 1;
            }
        }
        Ok(read)
    }
}

/// Tells whether a field is one that holds a private key: `tls.key`, `key.pem`, `ca-key.pem`.
fn is_key(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    [".key", "key.pem", "-key"].iter().any(|end| field.ends_with(end))
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer as _;
    use serde::de::value::{Error, U8Deserializer};

    use super::*;

    fn fields(text: &str) -> Fields {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_field_with_a_key_is_known_by_its_name() {
        for name in ["tls.key", "TLS.KEY", "key.pem", "ca-key.pem", "ssh-key", "svid.0.key"] {
            assert!(is_key(name), "{name}");
            let (shown, empty) = (format!(r#"{{"{name}": "x"}}"#), format!(r#"{{"{name}": ""}}"#));
            assert!(fields(&shown).key_was_shown && !fields(&empty).key_was_shown, "{name}");
            assert_eq!(fields(&shown).others, [""; 0]);
        }
        for name in ["key", "tls.keys", "keystore.p12", "key.pem.bak", ""] {
            assert!(!is_key(name), "{name}");
        }
        // One that is empty takes nothing back, and a name alone makes no key of another field.
        assert!(fields(r#"{"a.key": "", "b.key": "x", "c.key": ""}"#).key_was_shown);
        assert!(!fields(r#"{"token": "x", "tls.crt": "x"}"#).key_was_shown);
    }

    #[test]
    fn a_field_is_found_by_its_name_where_it_is_not_empty() {
        let read = fields(r#"{"tls.crt": "a", "ca.crt": "", "root-cert.pem": null, "cert-chain.pem": "b"}"#);
        let found = ["tls.crt", "ca.crt", "root-cert.pem", "cert-chain.pem", "ca-cert.pem"]
            .map(|name| read.get(name));
        assert_eq!(found, [Some("a"), None, None, Some("b"), None]);
        let expected = Fields::deserialize::<U8Deserializer<Error>>(1_u8.into_deserializer());
        let error = expected.err().unwrap().to_string();
        assert_eq!(error, "invalid type: integer `1`, expected the fields of a Secret");
    }

    #[test]
    fn of_many_other_fields_a_hundred_are_named_and_the_rest_is_counted() {
        let many = |count: usize| {
            let all: Vec<String> = (0..count).map(|number| format!(r#""f{number}": "x""#)).collect();
            let read = fields(&format!("{{{}}}", all.join(",")));
            (read.others.len(), read.more)
        };
        assert_eq!([many(0), many(100), many(101), many(103)], [(0, 0), (100, 0), (100, 1), (100, 3)]);
    }

    #[test]
    fn what_is_longer_than_its_certificates_can_be_is_not_decoded() {
        let long = |length: usize| decoded("tls.crt", &"%".repeat(length)).unwrap_err();
        let source = Box::new(SourceError::CertificatesTooLong);
        assert_eq!(long(2 * LONGEST_CERTIFICATES + 1), SourceError::Field { field: "tls.crt", source });
        assert_eq!(long(2 * LONGEST_CERTIFICATES), SourceError::FieldNotBase64 { field: "tls.crt" });
        assert_eq!(decoded("tls.crt", "aGVs\n  bG8="), Ok(b"hello".to_vec()));
    }
}
