//! Secrets and `ConfigMap`s as kubectl prints them, one or a list of them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::envoy::AtMost;
use crate::trust::svid::Certificate;

use super::error::{NotEnough, SourceError};
use super::notation::{Document, MOST_PARTS};
use super::order::{self, Ordered};
use super::{
    Bundles, KEY_NOTE, LONGEST_CERTIFICATES, MOST_NAMES, Part, Source, SourceKind, alone, listed, name, once,
    pem, short, usable,
};

/// The fields with what is presented, and those with what peers are verified with (Kubernetes, `kubernetes.io/tls`; cert-manager;
/// Istio, `pkg/security`, `security/pkg/pki/ca` and `pilot/pkg/credentials/kube`), in the order in which they are looked at.
const PRESENTED: [&str; 4] = ["tls.crt", "cert", "ca-cert.pem", "cert-chain.pem"];
const ROOTS: [&str; 3] = ["ca.crt", "cacert", "root-cert.pem"];
/// The field with which a gateway of Istio verifies its clients, whose CA need not be the one of its own certificate.
const OF_CLIENTS: &str = "cacert";
/// The words in the name of another field that holds what peers are verified with: `ca-bundle.crt`, `rootCA.pem`.
const WORDS_OF_ROOTS: [&str; 7] = ["ca", "cas", "cacert", "cacerts", "root", "roots", "rootca"];
/// How many characters of base64 are decoded to see what a field holds: the longest label of PEM is in them.
const START: usize = 88;
/// How PEM begins, in base64.
const BEGIN_IN_BASE64: &str = "LS0tLS1CRUdJTi";
/// How PEM begins.
const BEGIN: &str = "-----BEGIN ";

/// Reads an object, or every one of a list that has certificates.
///
/// # Errors
/// [`SourceError`] where it is of another kind, or a field of it holds something else than certificates.
pub(super) fn read(document: Document<'_>) -> Result<Vec<Part>, SourceError> {
    let object: Result<Object, SourceError> = document.read(SourceKind::Secret);
    // What does not fit may be of another kind.
    let kind = match &object {
        Ok(object) => object.kind.clone(),
        Err(_) => document.read::<Kind>(SourceKind::Secret)?.kind,
    };
    let Some(kind) = kind else { return Err(NotEnough::NoKind.into()) };
    if let Some(of) = kind.strip_suffix("List") {
        return of_list(of, document.read::<List>(SourceKind::Secret)?);
    }
    let Some(kind) = ObjectKind::of(&kind) else { return Err(NotEnough::OtherObject(short(&kind)).into()) };
    of_object(kind, object?)
}

/// Reads the objects of a list: those without certificates are named with the first that has some.
fn of_list(of: &str, list: List) -> Result<Vec<Part>, SourceError> {
    let items = list.items.all().map_err(|_| SourceError::TooManyParts)?;
    let (mut parts, mut without) = (Vec::new(), Vec::new());
    for item in items {
        let kind = item.kind.as_deref().unwrap_or(of);
        let name = short(&format!("{kind} {}", item.metadata));
        let Some(kind) = ObjectKind::of(kind) else {
            without.push(name);
            continue;
        };
        match of_object(kind, item) {
            Err(SourceError::NotEnough(NotEnough::WithoutCertificates { .. })) => without.push(name),
            Err(error) => parts.push(Part { name: Some(name), source: Err(error) }),
            Ok(of_object) => parts.extend(of_object.into_iter().map(|part| part.of(&name))),
        }
    }
    if parts.is_empty() {
        return Err(NotEnough::ListWithout { objects: without.len() }.into());
    }
    let mut parts = usable(parts)?;
    if let Some(first) = parts.iter_mut().find_map(|part| part.source.as_mut().ok()) {
        first.others = listed(&[first.others.as_slice(), &without].concat());
    }
    Ok(parts)
}

/// What an object is, where it is one that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ObjectKind {
    /// Its fields are in base64, and in the clear where they are written by hand.
    Secret,
    /// Its fields are in the clear.
    ConfigMap,
}

impl ObjectKind {
    fn of(kind: &str) -> Option<Self> {
        match kind {
            "Secret" => Some(Self::Secret),
            "ConfigMap" => Some(Self::ConfigMap),
            _ => None,
        }
    }
}

fn of_object(kind: ObjectKind, object: Object) -> Result<Vec<Part>, SourceError> {
    let (data, written) = (object.data.unwrap_or_default(), object.string_data.unwrap_or_default());
    let mut key_was_shown = data.key_was_shown || written.key_was_shown;
    let mut others = [data.others.as_slice(), &written.others].concat();
    let more = data.more + written.more;
    // What is written in the clear wins, as it does in the API server.
    let encoded = data.certificates.into_iter().filter(|(name, _)| written.get(name).is_none());
    let encoded = encoded.map(|(name, text)| {
        let bytes = match kind {
            ObjectKind::Secret => decoded(&name, &text)?,
            ObjectKind::ConfigMap => text.into_bytes(),
        };
        Ok((name, bytes))
    });
    let mut fields = encoded.collect::<Result<Vec<(String, Vec<u8>)>, SourceError>>()?;
    fields.extend(written.certificates.into_iter().map(|(name, text)| (name, text.into_bytes())));
    fields.sort_by_key(|(name, _)| place(name));

    let (mut presented, mut roots) = (Vec::new(), Vec::new());
    for (field, found) in fields.into_iter().filter(|(_, found)| !found.is_empty()) {
        let blocks = pem::read(&found)
            .map_err(|source| SourceError::Field { field: short(&field), source: Box::new(source) })?;
        key_was_shown |= blocks.private_keys > 0;
        others.extend(blocks.others().into_iter().map(|other| format!("{field}: {other}")));
        let into = if is_of_roots(&field, &blocks.certificates) { &mut roots } else { &mut presented };
        into.push((field, blocks.certificates));
    }
    let mut notes = Vec::new();
    if key_was_shown {
        notes.push(KEY_NOTE.to_owned());
    }
    let has_clients = roots.iter().any(|(field, _)| field == OF_CLIENTS);
    let presented = joined(presented, &mut notes);
    let roots = joined(roots, &mut notes);
    if presented.is_empty() && roots.is_empty() {
        return Err(NotEnough::WithoutCertificates { fields: listed(&others), key_was_shown }.into());
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
    let kind = match kind {
        ObjectKind::Secret => SourceKind::Secret,
        ObjectKind::ConfigMap => SourceKind::ConfigMap,
    };
    let source = Source { kind, chain, issuers, bundles, key_was_shown, others: listed(&others), notes };
    Ok(if has_clients && is_signed_by_another(&source) { apart(source) } else { alone(source) })
}

/// Tells whether a chain that is no SVID leads to none of the authorities beside it, by what it says.
fn is_signed_by_another(source: &Source) -> bool {
    let (Some(chain), Bundles::Unnamed(roots)) = (&source.chain, &source.bundles) else { return false };
    let fits = |certificate: &Certificate| roots.iter().any(|root| order::claims(certificate, root));
    chain.leaf.uris.is_empty() && !chain.certificates().any(fits)
}

/// Divides a gateway's Secret into what the gateway presents, and what it verifies its clients with, who have another CA.
fn apart(source: Source) -> Vec<Part> {
    let Source { kind, bundles, .. } = source;
    let presented = Source { bundles: Bundles::Unsaid, ..source };
    let of_clients = Source {
        kind,
        chain: None,
        issuers: Vec::new(),
        bundles,
        key_was_shown: false,
        others: Vec::new(),
        notes: Vec::new(),
    };
    let part = |name: &str, source| Part { name: Some(name.to_owned()), source: Ok(source) };
    vec![part("presented", presented), part("for clients", of_clients)]
}

/// Returns where a field is in the order in which fields are looked at.
fn place(field: &str) -> usize {
    let known = PRESENTED.iter().chain(&ROOTS).position(|known| *known == field);
    known.unwrap_or(PRESENTED.len() + ROOTS.len())
}

/// Tells whether a field holds what peers are verified with. Of a name that says nothing, certificates of CAs alone are no chain.
fn is_of_roots(field: &str, certificates: &[Certificate]) -> bool {
    if PRESENTED.contains(&field) {
        return false;
    }
    let field = field.to_ascii_lowercase();
    let mut words = field.split(|c: char| !c.is_ascii_alphanumeric());
    ROOTS.contains(&field.as_str())
        || words.any(|word| WORDS_OF_ROOTS.contains(&word))
        || certificates.iter().all(|certificate| certificate.is_ca)
}

/// Joins the certificates of several fields. What is twice in one field is remarkable; that a CA is in two of them is how Istio's
/// Secrets are.
fn joined(fields: Vec<(String, Vec<Certificate>)>, notes: &mut Vec<String>) -> Vec<Certificate> {
    let mut joined: Vec<Certificate> = Vec::new();
    for (field, certificates) in fields {
        let new = once(certificates, &short(&field), notes);
        let (known, new): (Vec<_>, Vec<_>) =
            new.into_iter().partition(|new| joined.iter().any(|known| known.sha256 == new.sha256));
        drop(known);
        joined.extend(new);
    }
    joined
}

fn decoded(field: &str, encoded: &str) -> Result<Vec<u8>, SourceError> {
    if encoded.len() > 2 * LONGEST_CERTIFICATES {
        let source = Box::new(SourceError::CertificatesTooLong);
        return Err(SourceError::Field { field: short(field), source });
    }
    // YAML breaks lines, and Kubernetes does not mind.
    let encoded: String = encoded.split_ascii_whitespace().collect();
    STANDARD.decode(encoded).map_err(|_| SourceError::FieldNotBase64 { field: short(field) })
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: AtMost<Object, MOST_PARTS>,
}

#[derive(Deserialize)]
struct Object {
    kind: Option<String>,
    #[serde(default)]
    metadata: Metadata,
    data: Option<Fields>,
    #[serde(rename = "stringData")]
    string_data: Option<Fields>,
}

#[derive(Deserialize, Default)]
struct Metadata {
    namespace: Option<String>,
    name: Option<String>,
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(self.name.as_deref().unwrap_or("without a name"))
    }
}

/// The fields of an object: certificates, and of all others the names only.
#[derive(Default)]
struct Fields {
    certificates: Vec<(String, String)>,
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
            let text = fields.next_value::<Option<String>>()?.unwrap_or_default();
            let is_known = PRESENTED.contains(&field.as_str()) || ROOTS.contains(&field.as_str());
            match Held::of(&text) {
                Held::Certificates => read.certificates.push((field, text)),
                _ if is_known => read.certificates.push((field, text)),
                Held::Key => read.key_was_shown = true,
                // Whatever it is, it is not kept.
                Held::Other if is_key(&field) => read.key_was_shown |= !text.is_empty(),
                Held::Other if read.others.len() < MOST_NAMES => read.others.push(short(&field)),
                Held::Other => read.more += 1,
            }
        }
        Ok(read)
    }
}

/// What a field holds, by how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// PEM that begins with a certificate.
    Certificates,
    /// PEM that begins with a private key.
    Key,
    /// Something else.
    Other,
}

impl Held {
    fn of(text: &str) -> Self {
        let text = text.trim_start();
        let mut start: Vec<u8> = text.bytes().take(START).collect();
        if text.starts_with(BEGIN_IN_BASE64) {
            let encoded = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).take(START);
            let mut encoded: Vec<u8> = encoded.collect();
            encoded.truncate(encoded.len() / 4 * 4);
            start = STANDARD.decode(encoded).unwrap_or_default();
        }
        let label = start.strip_prefix(BEGIN.as_bytes()).unwrap_or_default();
        let label = label.split(|byte| *byte == b'-').next().unwrap_or_default();
        match label {
            label if label.ends_with(b"CERTIFICATE") => Self::Certificates,
            label if label.ends_with(b"PRIVATE KEY") => Self::Key,
            _ => Self::Other,
        }
    }
}

/// Tells whether a field is one that holds a private key: `key`, `tls.key`, `key.pem`, `ca-key.pem`.
fn is_key(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    field == "key" || [".key", "key.pem", "-key"].iter().any(|end| field.ends_with(end))
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
        for name in ["key", "tls.key", "TLS.KEY", "key.pem", "ca-key.pem", "ssh-key", "svid.0.key"] {
            assert!(is_key(name), "{name}");
            let (shown, empty) = (format!(r#"{{"{name}": "x"}}"#), format!(r#"{{"{name}": ""}}"#));
            assert!(fields(&shown).key_was_shown && !fields(&empty).key_was_shown, "{name}");
            assert_eq!(fields(&shown).others, [""; 0]);
        }
        for name in ["tls.keys", "keystore.p12", "key.pem.bak", ""] {
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
        assert_eq!(
            long(2 * LONGEST_CERTIFICATES + 1),
            SourceError::Field { field: "tls.crt".to_owned(), source }
        );
        assert_eq!(
            long(2 * LONGEST_CERTIFICATES),
            SourceError::FieldNotBase64 { field: "tls.crt".to_owned() }
        );
        assert_eq!(decoded("tls.crt", "aGVs\n  bG8="), Ok(b"hello".to_vec()));
    }

    #[test]
    fn what_a_field_holds_is_told_by_how_it_begins() {
        let pem = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        for (label, held) in [
            ("CERTIFICATE", Held::Certificates),
            ("TRUSTED CERTIFICATE", Held::Certificates),
            ("PRIVATE KEY", Held::Key),
            ("ENCRYPTED PRIVATE KEY", Held::Key),
            ("CERTIFICATE REQUEST", Held::Other),
            ("DH PARAMETERS", Held::Other),
        ] {
            let clear = pem(label);
            let encoded = STANDARD.encode(&clear);
            let (lines, spaced) = (encoded.replacen("LS0t", "LS0t\n", 1), format!("\n  {encoded}\n"));
            assert_eq!([Held::of(&clear), Held::of(&encoded), Held::of(&spaced)], [held; 3], "{label}");
            assert_eq!(Held::of(&lines), Held::Other, "{label}");
        }
        assert_eq!([Held::of(""), Held::of("LS0tLS1CRUdJTi"), Held::of("é-----BEGIN")], [Held::Other; 3]);
    }

    #[test]
    fn a_field_of_another_name_is_of_roots_by_a_word_in_it() {
        let workload = || {
            let params = rcgen::CertificateParams::default();
            let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec();
            [Certificate::from_der(der).unwrap()]
        };
        for name in ["ca.pem", "ca-bundle.crt", "rootCA.pem", "root.crt", "mesh_cacerts", "CA"] {
            assert!(is_of_roots(name, &workload()), "{name}");
        }
        for name in ["tls.pem", "certificate", "cabbage.crt", "server.crt"] {
            assert!(!is_of_roots(name, &workload()), "{name}");
        }
        assert!(!is_of_roots("tls.crt", &[]) && is_of_roots("server.crt", &[]));
    }
}
