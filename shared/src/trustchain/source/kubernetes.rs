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
