//! JSON and YAML: what a text is about, and reading it into types. No word of the text is in an error: it may be a key.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};

use super::SourceKind;
use super::error::SourceError;

/// The longest YAML that is read, in bytes: etcd takes no object of more than 1.5 MB.
pub(super) const LONGEST_YAML: usize = 4 << 20;
/// The most bytes of a text in which its first key is looked for.
const LONGEST_PREAMBLE: usize = 64 << 10;
/// The most nodes of YAML. A Secret has one for every field.
const MOST_NODES: usize = 100_000;
/// The most levels of YAML.
const MOST_LEVELS: usize = 64;

/// The most documents, Secrets or SVIDs of one file.
pub(super) const MOST_PARTS: usize = 1000;

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// As JSON.
    Json,
    /// As YAML.
    Yaml,
}

impl fmt::Display for Notation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
        })
    }
}

/// What a text is about, by its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Top {
    Kubernetes,
    ConfigDump,
    Istioctl,
    SpiffeBundle,
    SpireBundle,
    SpireBundles,
    /// Bundles in SPIFFE's JSON by trust domain.
    BundleMap,
    /// What `spire-agent api fetch x509` has got.
    AgentSvids,
    /// `{}`.
    Nothing,
    /// Envoy's answer to `/certs`.
    CertsAnswer,
    Ztunnel,
    /// A text in quotes.
    Text,
    Other,
}

/// Why a text does not parse, and where, from 1.
#[derive(Clone, Copy)]
struct Trouble {
    line: usize,
    column: usize,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// It ends too early.
    CutOff,
    /// It breaks the rules of how it is written, or has something else than what belongs there.
    Wrong,
    /// It has more than is read: anchors, too many levels.
    TooMuch,
}

/// A document of JSON or YAML, and where it begins in the file: places in errors are those of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Document<'t> {
    notation: Notation,
    text: &'t [u8],
    /// The line in which it begins, from 1.
    line: usize,
    /// How many bytes of that line stand before it.
    indent: usize,
}

impl<'t> Document<'t> {
    /// Takes a part of a file as a document.
    pub(super) fn within(notation: Notation, file: &'t [u8], part: Range<usize>) -> Self {
        let before = &file[..part.start];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let indent = before.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
        Self { notation, text: &file[part], line, indent }
    }

    /// Returns the line in which it begins, from 1.
    pub(super) fn line(self) -> usize {
        self.line
    }

    /// Tells what it is about. Keeps nothing of it.
    ///
    /// # Errors
    /// [`SourceError`] where it is not whole.
    pub(super) fn look(self) -> Result<Top, SourceError> {
        if self.notation == Notation::Yaml && self.text.len() > LONGEST_YAML {
            return Err(SourceError::YamlTooLong);
        }
        let looked: Looked = self.parse().map_err(|trouble| self.error(&trouble))?;
        Ok(looked.top())
    }

    /// Reads it as something of a known kind.
    ///
    /// # Errors
    /// [`SourceError::Unexpected`] where something else is in it.
    pub(super) fn read<T: DeserializeOwned>(self, kind: SourceKind) -> Result<T, SourceError> {
        self.parse().map_err(|Trouble { line, column, .. }| SourceError::Unexpected { kind, line, column })
    }

    fn error(self, trouble: &Trouble) -> SourceError {
        let (what, Trouble { line, column, kind }) = (self.notation, *trouble);
        match kind {
            Kind::CutOff => SourceError::CutOff { what, line },
            Kind::Wrong => SourceError::Syntax { what, line, column },
            Kind::TooMuch => SourceError::TooMuch { line, column },
        }
    }

    fn parse<T: DeserializeOwned>(self) -> Result<T, Trouble> {
        let parsed = match self.notation {
            Notation::Json => serde_json::from_slice(self.text).map_err(|error| Trouble::of_json(&error)),
            // Nobody writes anchors into a Secret, and they make small texts big.
            Notation::Yaml => {
                let options = serde_saphyr::options! {
                    budget: serde_saphyr::budget! {
                        max_anchors: 0,
                        max_aliases: 0,
                        max_depth: MOST_LEVELS,
                        max_documents: 1,
                        max_nodes: MOST_NODES,
                    },
                    duplicate_keys: DuplicateKeyPolicy::Error,
                    merge_keys: MergeKeyPolicy::Error,
                    with_snippet: false,
                };
                serde_saphyr::from_slice_with_options(self.text, options)
                    .map_err(|error| Trouble::of_yaml(&error))
            }
        };
        parsed.map_err(|trouble| trouble.below(self.line, self.indent))
    }
}

impl Trouble {
    fn of_json(error: &serde_json::Error) -> Self {
        let kind = if error.is_eof() { Kind::CutOff } else { Kind::Wrong };
        Self { line: error.line(), column: error.column(), kind }
    }

    fn of_yaml(error: &serde_saphyr::Error) -> Self {
        let place = error.location();
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            line: place.map_or(1, |place| number(place.line())),
            column: place.map_or(1, |place| number(place.column())),
            kind: Kind::of(error.without_snippet()),
        }
    }

    /// Makes a place in a document one in the file that holds it.
    fn below(self, line: usize, indent: usize) -> Self {
        let column = if self.line <= 1 { self.column + indent } else { self.column };
        Self { line: self.line + line - 1, column, ..self }
    }
}

/// Splits a file into its documents.
///
/// # Errors
/// [`SourceError`] where one of JSON is not whole, something between them may be a certificate, or there are more than anybody has.
pub(super) fn documents(notation: Notation, file: &[u8]) -> Result<Vec<Document<'_>>, SourceError> {
    let parts = match notation {
        Notation::Json => json_parts(file)?,
        Notation::Yaml => yaml_parts(file),
    };
    if parts.len() > MOST_PARTS {
        return Err(SourceError::TooManyParts);
    }
    Ok(parts.into_iter().map(|part| Document::within(notation, file, part)).collect())
}

/// Finds the documents of JSON, and passes over lines between them that are none: what kubectl and a shell say when a loop writes all
/// into one file.
fn json_parts(file: &[u8]) -> Result<Vec<Range<usize>>, SourceError> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(skipped) = file[at..].iter().position(|byte| !byte.is_ascii_whitespace()) {
        at += skipped;
        let rest = &file[at..];
        let document = || Document::within(Notation::Json, file, at..file.len());
        match rest[0] {
            _ if opens_json(rest) => {
                let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
                if let Some(Err(error)) = values.next() {
                    let document = document();
                    let trouble = Trouble::of_json(&error).below(document.line, document.indent);
                    return Err(document.error(&trouble));
                }
                let end = at + values.byte_offset();
                parts.push(at..end);
                at = end;
            }
            _ => {
                let line = rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or(rest);
                if matches!(rest[0], b'}' | b']' | b',' | b':') || super::pem::looks_like_it(line) {
                    let document = document();
                    return Err(SourceError::Syntax {
                        what: Notation::Json,
                        line: document.line,
                        column: document.indent + 1,
                    });
                }
                at += line.len();
            }
        }
        // One more than is read is enough to say so.
        if parts.len() > MOST_PARTS {
            break;
        }
    }
    Ok(parts)
}

/// Finds the documents of YAML, which a line of dashes or dots ends wherever it stands. What has only remarks is none, and lines at the
/// beginning that are neither a key nor a remark are not of it.
fn yaml_parts(file: &[u8]) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let (mut at, mut begun) = (0, None);
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let start = at;
        at += line.len();
        let ends = [b"---".as_slice(), b"..."].iter().any(|mark| {
            line.strip_prefix(*mark)
                .is_some_and(|rest| rest.trim_ascii_start().len() < rest.len() || rest.is_empty())
        });
        if ends {
            parts.extend(begun.take().map(|begin| begin..start));
        } else if begun.is_none() && is_yaml(line) {
            begun = Some(start);
        }
    }
    parts.extend(begun.map(|begin| begin..at));
    parts
}

/// Tells whether a line can be the first of a document with keys.
fn is_yaml(line: &[u8]) -> bool {
    let key = line.split(|byte| *byte == b':').next().filter(|key| key.len() < line.len());
    key.is_some_and(|key| {
        let key = key.trim_ascii_end();
        !key.is_empty() && key.iter().all(|byte| byte.is_ascii_alphanumeric() || b"\"'-_./".contains(byte))
    })
}

/// Tells whether a text begins as JSON does. In brackets, logs write a time or a level.
pub(super) fn opens_json(text: &[u8]) -> bool {
    match text {
        [b'{' | b'"', ..] => true,
        [b'[', rest @ ..] => {
            rest.trim_ascii_start().first().is_none_or(|next| matches!(next, b'{' | b'[' | b'"' | b']'))
        }
        _ => false,
    }
}

/// Returns where JSON begins behind lines that are none: what kubectl says before a program's output, for example. `None` where PEM or a key of
/// YAML comes first, or nothing looks like it.
pub(super) fn json_behind_remarks(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    for line in text[..text.len().min(LONGEST_PREAMBLE)].split_inclusive(|byte| *byte == b'\n') {
        if super::pem::looks_like_it(line) || known_key(line).is_some() {
            return None;
        }
        let start = line.trim_ascii_start();
        if !start.starts_with(b"\"") && opens_json(start) {
            return Some(at);
        }
        at += line.len();
    }
    None
}

impl Kind {
    fn of(error: &serde_saphyr::Error) -> Self {
        use serde_saphyr::Error;
        match error {
            Error::Eof { .. } => Self::CutOff,
            Error::MergeKeyNotAllowed { .. } | Error::Budget { .. } => Self::TooMuch,
            _ => Self::Wrong,
        }
    }
}

/// Tells whether a text is YAML of something that is read: one of the keys stands at the beginning of a line, before any PEM.
pub(super) fn looks_like_yaml(text: &[u8]) -> bool {
    let preamble = &text[..text.len().min(LONGEST_PREAMBLE)];
    let lines = preamble.split(|byte| *byte == b'\n');
    let mut lines = lines.take_while(|line| !line.starts_with(b"-----"));
    lines.any(|line| known_key(line).is_some())
}

/// Returns the key at the beginning of a line of YAML, where it tells what the text is about.
fn known_key(line: &[u8]) -> Option<Known> {
    let key = line.split(|byte| *byte == b':').next().filter(|key| key.len() < line.len())?;
    Known::of(std::str::from_utf8(key).ok()?)
}

/// The keys that tell what a text is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Kubernetes,
    ConfigDump,
    Istioctl,
    Keys,
    Authorities,
    Bundles,
    TrustDomains,
    Svids,
    Certificates,
    Ztunnel,
}

impl Known {
    fn of(key: &str) -> Option<Self> {
        Some(match key {
            "apiVersion" | "kind" => Self::Kubernetes,
            "configs" | "dynamic_active_secrets" | "dynamic_warming_secrets" | "static_secrets" => {
                Self::ConfigDump
            }
            "dynamicActiveSecrets" | "dynamicWarmingSecrets" | "staticSecrets" => Self::Istioctl,
            "keys" => Self::Keys,
            "x509_authorities" => Self::Authorities,
            "bundles" => Self::Bundles,
            "trust_domains" => Self::TrustDomains,
            "svids" => Self::Svids,
            "certificates" => Self::Certificates,
            "workloads" | "services" => Self::Ztunnel,
            _ => return None,
        })
    }
}

/// What is at the top of a text.
#[derive(Default)]
struct Looked {
    known: Vec<Known>,
    is_map: bool,
    is_text: bool,
    has_keys: bool,
}

impl Looked {
    fn top(&self) -> Top {
        let has = |known| self.known.contains(&known);
        match () {
            () if self.is_text => Top::Text,
            () if has(Known::Kubernetes) => Top::Kubernetes,
            () if has(Known::Istioctl) => Top::Istioctl,
            () if has(Known::ConfigDump) => Top::ConfigDump,
            () if has(Known::Keys) => Top::SpiffeBundle,
            () if has(Known::Authorities) => Top::SpireBundle,
            () if has(Known::Bundles) => Top::SpireBundles,
            () if has(Known::TrustDomains) => Top::BundleMap,
            () if has(Known::Svids) => Top::AgentSvids,
            () if has(Known::Certificates) && has(Known::Ztunnel) => Top::Ztunnel,
            () if has(Known::Certificates) => Top::CertsAnswer,
            () if self.is_map && !self.has_keys => Top::Nothing,
            () => Top::Other,
        }
    }
}

impl<'de> Deserialize<'de> for Looked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LookedVisitor)
    }
}

struct LookedVisitor;

impl<'de> Visitor<'de> for LookedVisitor {
    type Value = Looked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Looked, A::Error> {
        let mut looked = Looked { is_map: true, ..Looked::default() };
        while let Some(MaybeKnown(known)) = fields.next_key()? {
            looked.has_keys = true;
            if let Some(known) = known.filter(|known| !looked.known.contains(known)) {
                looked.known.push(known);
            }
            fields.next_value::<IgnoredAny>()?;
        }
        Ok(looked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Looked, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Looked::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Looked, E> {
        Ok(Looked { is_text: true, ..Looked::default() })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Looked, E> {
        Ok(Looked::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Looked, E> {
        Ok(Looked::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Looked, E> {
        Ok(Looked::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Looked, E> {
        Ok(Looked::default())
    }

    fn visit_unit<E>(self) -> Result<Looked, E> {
        Ok(Looked::default())
    }
}

/// A key that is read without being kept.
struct MaybeKnown(Option<Known>);

impl<'de> Deserialize<'de> for MaybeKnown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl Visitor<'_> for KeyVisitor {
            type Value = MaybeKnown;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E>(self, key: &str) -> Result<MaybeKnown, E> {
                Ok(MaybeKnown(Known::of(key)))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer as _;
    use serde::de::value::{BytesDeserializer, Error};

    use super::*;

    fn look(notation: Notation, text: &[u8]) -> Result<Top, SourceError> {
        Document::within(notation, text, 0..text.len()).look()
    }

    fn json(text: &str) -> Top {
        look(Notation::Json, text.as_bytes()).unwrap()
    }

    #[test]
    fn a_text_is_known_by_its_keys() {
        for (keys, top) in [
            (&["apiVersion", "kind"][..], Top::Kubernetes),
            (
                &["configs", "dynamic_active_secrets", "dynamic_warming_secrets", "static_secrets"],
                Top::ConfigDump,
            ),
            (&["dynamicActiveSecrets", "dynamicWarmingSecrets", "staticSecrets"], Top::Istioctl),
            (&["keys"], Top::SpiffeBundle),
            (&["x509_authorities"], Top::SpireBundle),
            (&["bundles"], Top::SpireBundles),
            (&["trust_domains"], Top::BundleMap),
            (&["svids"], Top::AgentSvids),
            (&["certificates"], Top::CertsAnswer),
            (&["workloads", "services", "other", ""], Top::Other),
        ] {
            for key in keys {
                assert_eq!(json(&format!(r#"{{"a": [], "{key}": {{}}}}"#)), top, "{key}");
                let yaml = format!("a: []\n'{key}': {{}}\n");
                assert_eq!(look(Notation::Yaml, yaml.as_bytes()).unwrap(), top, "{key}");
            }
        }
        for other in ["workloads", "services"] {
            assert_eq!(json(&format!(r#"{{"{other}": [], "certificates": []}}"#)), Top::Ztunnel);
        }
        assert_eq!(json(" {}\n"), Top::Nothing);
        assert_eq!(json(r#""keys""#), Top::Text);
        for other in [
            "[]",
            r#"["keys"]"#,
            "1",
            "-1",
            "1.5",
            "true",
            "null",
            r#"[{"keys": []}]"#,
            r#"{"a": {"keys": []}}"#,
        ] {
            assert_eq!(json(other), Top::Other, "{other}");
        }
    }

    #[test]
    fn of_several_keys_that_are_known_one_decides() {
        let keys = [
            ("kind", Top::Kubernetes),
            ("staticSecrets", Top::Istioctl),
            ("configs", Top::ConfigDump),
            ("keys", Top::SpiffeBundle),
            ("x509_authorities", Top::SpireBundle),
            ("bundles", Top::SpireBundles),
            ("trust_domains", Top::BundleMap),
            ("svids", Top::AgentSvids),
            ("certificates", Top::CertsAnswer),
        ];
        for (index, (first, top)) in keys.iter().enumerate() {
            for (second, _) in &keys[index..] {
                assert_eq!(json(&format!(r#"{{"{first}": 1, "{second}": 2}}"#)), *top);
                assert_eq!(json(&format!(r#"{{"{second}": 1, "{first}": 2}}"#)), *top);
            }
        }
    }

    #[test]
    fn only_yaml_has_a_length_of_its_own() {
        // Refused at its first bytes where its length does not do it.
        let long = vec![b'{'; LONGEST_YAML + 1];
        assert_eq!(look(Notation::Yaml, &long), Err(SourceError::YamlTooLong));
        assert!(matches!(look(Notation::Json, &long), Err(SourceError::Syntax { what: Notation::Json, .. })));
        let at_most = look(Notation::Yaml, &long[1..]).unwrap_err();
        assert_ne!(at_most, SourceError::YamlTooLong);
    }

    #[test]
    fn yaml_is_known_by_a_key_at_the_beginning_of_a_line_before_any_pem() {
        for (text, is_yaml) in [
            ("kind: Secret", true),
            ("# a remark\n---\nkeys:\n", true),
            ("kind:\n-----BEGIN A-----", true),
            ("-----BEGIN A-----\nkind: Secret", false),
            (" kind: Secret", false),
            ("kind", false),
            ("kinds: Secret", false),
            ("other: kind:", false),
            ("", false),
        ] {
            assert_eq!(looks_like_yaml(text.as_bytes()), is_yaml, "{text}");
        }
        let after = |length: usize| looks_like_yaml(("#\n".repeat(length / 2) + "kind: a").as_bytes());
        assert!(after(LONGEST_PREAMBLE - 10) && !after(LONGEST_PREAMBLE));
    }

    #[test]
    fn what_is_expected_has_words() {
        let bytes = || BytesDeserializer::<Error>::new(b"x");
        let looked = Looked::deserialize(bytes()).err().unwrap().to_string();
        assert_eq!(looked, "invalid type: byte array, expected anything");
        let number: serde::de::value::U8Deserializer<Error> = 1_u8.into_deserializer();
        let key = MaybeKnown::deserialize(number).err().unwrap().to_string();
        assert_eq!(key, "invalid type: integer `1`, expected a key");
        assert_eq!([Notation::Json, Notation::Yaml].map(|notation| notation.to_string()), ["JSON", "YAML"]);
    }
}
