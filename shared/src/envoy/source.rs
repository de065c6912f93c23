use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::json::AnswerError;

/// The most bytes of base64 of one secret that are decoded.
const LONGEST_SECRET: usize = 8 << 20;
/// What Envoy shows in the place of a key, as text and in base64 (Envoy, `MessageUtil::redact`).
const REDACTED: [&str; 2] = ["[redacted]", "W3JlZGFjdGVkXQ=="];

/// Public data in one of the forms that Envoy prints (Envoy, `config.core.v3.DataSource`).
#[derive(Deserialize)]
pub(super) struct DataSource {
    #[serde(alias = "inlineBytes")]
    inline_bytes: Option<String>,
    #[serde(alias = "inlineString")]
    inline_string: Option<String>,
}

impl DataSource {
    /// Returns the text that the data is.
    pub(super) fn text(&self, secret: &str) -> Result<String, AnswerError> {
        match (&self.inline_bytes, &self.inline_string) {
            (Some(bytes), _) if bytes.len() > LONGEST_SECRET => Err(AnswerError::TooLong(bytes.len())),
            (Some(bytes), _) => {
                let bytes = STANDARD.decode(bytes).ok();
                let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                text.ok_or_else(|| AnswerError::Base64 { secret: secret.to_owned() })
            }
            (None, Some(text)) => Ok(text.clone()),
            (None, None) => Err(AnswerError::Elsewhere { secret: secret.to_owned() }),
        }
    }
}

/// Something that holds keys, read without keeping any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Envoy shows that there is one, and no more.
    Redacted,
    /// There is something else.
    Shown,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

/// Tells whether a field says where a key is.
fn is_a_place(field: &str) -> bool {
    matches!(
        field,
        "filename"
            | "environment_variable"
            | "watched_directory"
            | "environmentVariable"
            | "watchedDirectory"
    )
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Key, E> {
        Ok(if text.is_empty() || REDACTED.contains(&text) { Key::Redacted } else { Key::Shown })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Key, E> {
        Ok(Key::Redacted)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Key, E> {
        Ok(Key::Shown)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Key, E> {
        Ok(Key::Shown)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Key, E> {
        Ok(Key::Shown)
    }

    fn visit_unit<E>(self) -> Result<Key, E> {
        Ok(Key::Redacted)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Key, A::Error> {
        let mut key = Key::Redacted;
        while let Some(item) = items.next_element::<Key>()? {
            if item == Key::Shown {
                key = Key::Shown;
            }
        }
        Ok(key)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Key, A::Error> {
        let mut key = Key::Redacted;
        while let Some(name) = fields.next_key::<String>()? {
            // Where a key is, not the key.
            if is_a_place(&name) {
                fields.next_value::<IgnoredAny>()?;
            } else if fields.next_value::<Key>()? == Key::Shown {
                key = Key::Shown;
            }
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn text(source: Value) -> Result<String, AnswerError> {
        serde_json::from_value::<DataSource>(source).unwrap().text("ROOTCA")
    }

    #[test]
    fn data_is_text_in_the_forms_that_envoy_prints() {
        let secret = || "ROOTCA".to_owned();
        assert_eq!(text(json!({"inline_bytes": "YQ=="})), Ok("a".to_owned()));
        assert_eq!(text(json!({"inlineBytes": "YQ=="})), Ok("a".to_owned()));
        assert_eq!(text(json!({"inlineString": "a"})), Ok("a".to_owned()));
        assert_eq!(text(json!({"inline_bytes": "%"})), Err(AnswerError::Base64 { secret: secret() }));
        assert_eq!(text(json!({"inline_bytes": "/w=="})), Err(AnswerError::Base64 { secret: secret() }));
        assert_eq!(text(json!({"filename": "/ca.pem"})), Err(AnswerError::Elsewhere { secret: secret() }));
    }

    #[test]
    fn what_is_longer_than_any_secret_is_not_decoded() {
        // Not base64 from its first byte on, so that decoding it is refused at once.
        let long = |length: usize| text(json!({"inline_bytes": "%".repeat(length)})).unwrap_err();
        assert_eq!(long(LONGEST_SECRET + 1), AnswerError::TooLong(LONGEST_SECRET + 1));
        assert!(matches!(long(LONGEST_SECRET), AnswerError::Base64 { .. }));
    }

    #[test]
    fn what_may_be_a_key_is_one_in_whatever_form_it_is() {
        let read = |value: &Value| serde_json::from_value::<Key>(value.clone()).unwrap();
        let shown = [
            json!("x"),
            json!(" "),
            json!(1),
            json!(-1),
            json!(1.5),
            json!(["", "x", ""]),
            json!([[], ["x"], []]),
            json!({"inline_bytes": "x"}),
            json!({"a": "", "inline_bytes": "x", "z": ""}),
            json!({"a": {"filename": "x", "b": "x"}}),
            json!({"filename": "x", "z": 1}),
        ];
        for value in shown {
            assert_eq!(read(&value), Key::Shown, "{value}");
        }
        let redacted = [
            json!(""),
            json!("[redacted]"),
            json!("W3JlZGFjdGVkXQ=="),
            json!(true),
            json!(null),
            json!([]),
            json!(["", null, {}]),
            json!({}),
            json!({"inline_string": "[redacted]", "a": [""]}),
            json!({"filename": "x"}),
            json!({"environment_variable": "x", "watched_directory": {"path": "x"}}),
            json!({"environmentVariable": "x", "watchedDirectory": {"path": "x"}}),
        ];
        for value in redacted {
            assert_eq!(read(&value), Key::Redacted, "{value}");
        }
    }
}
