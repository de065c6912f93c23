use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::trust::svid::ChainError;
use crate::trust::{BundleError, TrustDomainError};

/// The longest answer that is parsed, in bytes. One with the hosts of 10 000 services has half of it.
const LONGEST_ANSWER: usize = 48 << 20;

/// Why an answer of Envoy's admin interface cannot be used.
///
/// Holds no word of the answer but names: it may be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Longer than anything that Envoy should have to say.
    #[error("it has {0} bytes, which is too many")]
    TooLong(usize),
    /// A list in it is longer than anything that Envoy should have to say.
    #[error("a list in it has {0} items, which is too many")]
    TooMany(usize),
    /// Not the JSON that is expected. The words of the parser would repeat what it stumbled over.
    #[error("it is not the expected JSON (line {line}, column {column})")]
    Json {
        /// Line of the answer.
        line: usize,
        /// Column in that line, in bytes.
        column: usize,
    },
    /// Envoy has no such page, or does not take the query.
    #[error("it is an explanation instead of JSON: {0}")]
    Refused(String),
    /// A secret holds something else than certificates in PEM.
    #[error("secret {secret} cannot be used")]
    Chain {
        /// Name of the secret.
        secret: String,
        /// What is wrong with it.
        source: ChainError,
    },
    /// Something else where base64 of text is expected.
    #[error("secret {secret} is not base64 of text")]
    Base64 {
        /// Name of the secret.
        secret: String,
    },
    /// The secret is a file in the proxy's container, which Envoy names instead of showing it.
    #[error("secret {secret} is a file of the proxy")]
    Elsewhere {
        /// Name of the secret.
        secret: String,
    },
    /// A trust domain has an impossible name.
    #[error("secret {secret} is for a trust domain that is none")]
    TrustDomain {
        /// Name of the secret.
        secret: String,
        /// What is wrong with the name.
        source: TrustDomainError,
    },
    /// The bundle of a trust domain is not valid.
    #[error("secret {secret} holds no valid bundle of {trust_domain}")]
    Bundle {
        /// Name of the secret.
        secret: String,
        /// Whose bundle.
        trust_domain: String,
        /// What is wrong with it.
        source: BundleError,
    },
}

/// Parses an answer. What the type does not name is passed over without being kept.
pub(super) fn parse<T: DeserializeOwned>(answer: &[u8]) -> Result<T, AnswerError> {
    if answer.len() > LONGEST_ANSWER {
        return Err(AnswerError::TooLong(answer.len()));
    }
    // A page that Envoy does not have it explains in words, and `pilot-agent` ends with 0 (seen).
    if answer.first().is_some_and(u8::is_ascii_alphabetic) {
        let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(&line[..line.len().min(200)]);
        return Err(AnswerError::Refused(crate::report::escape(&line).into_owned()));
    }
    serde_json::from_slice(answer)
        .map_err(|error| AnswerError::Json { line: error.line(), column: error.column() })
}

/// A list of which no more than `MOST` items are kept, so that a text cannot become many times as big in memory.
pub(crate) struct AtMost<T, const MOST: usize> {
    items: Vec<T>,
    /// How many items the text has.
    count: usize,
}

impl<T, const MOST: usize> AtMost<T, MOST> {
    /// Returns the items, or how many there are where they are too many.
    pub(crate) fn all(self) -> Result<Vec<T>, usize> {
        if self.count > MOST { Err(self.count) } else { Ok(self.items) }
    }
}

impl<T, const MOST: usize> Default for AtMost<T, MOST> {
    fn default() -> Self {
        Self { items: Vec::new(), count: 0 }
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for AtMost<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor(PhantomData))
    }
}

struct ItemsVisitor<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for ItemsVisitor<T, MOST> {
    type Value = AtMost<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut kept = AtMost::default();
        while kept.count < MOST {
            let Some(item) = items.next_element()? else { return Ok(kept) };
            kept.items.push(item);
            kept.count += 1;
        }
        while items.next_element::<IgnoredAny>()?.is_some() {
            kept.count += 1;
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_most(text: &str) -> Result<AtMost<u8, 3>, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn of_a_list_that_is_too_long_the_items_are_counted_and_not_kept() {
        let read = |text| {
            let list = at_most(text).unwrap();
            (list.items.len(), list.count, list.all())
        };
        assert_eq!(read("[]"), (0, 0, Ok(vec![])));
        assert_eq!(read("[1, 2]"), (2, 2, Ok(vec![1, 2])));
        assert_eq!(read("[1, 2, 3]"), (3, 3, Ok(vec![1, 2, 3])));
        assert_eq!(read("[1, 2, 3, 4]"), (3, 4, Err(4)));
        // What is not kept may be anything.
        assert_eq!(read(r#"[1, 2, 3, "x", {}, 6]"#), (3, 6, Err(6)));
        assert_eq!(AtMost::<u8, 3>::default().all(), Ok(vec![]));
        let error = at_most("1").err().unwrap().to_string();
        insta::assert_snapshot!(error, @"invalid type: integer `1`, expected a list at line 1 column 1");
        assert!(at_most(r#"[1, "x"]"#).is_err());
    }

    #[test]
    fn an_answer_is_refused_by_its_length_before_anything_else() {
        let mut long = vec![0; LONGEST_ANSWER + 1];
        long[..4].copy_from_slice(b"no\n ");
        assert_eq!(parse::<u8>(&long), Err(AnswerError::TooLong(LONGEST_ANSWER + 1)));
        assert_eq!(parse::<u8>(&long[..LONGEST_ANSWER]), Err(AnswerError::Refused("no".to_owned())));
    }

    #[test]
    fn an_explanation_is_repeated_up_to_the_end_of_its_first_line_or_200_bytes() {
        let said = |text: &str| match parse::<u8>(text.as_bytes()) {
            Err(AnswerError::Refused(said)) => said,
            other => panic!("{other:?}"),
        };
        assert_eq!(said("invalid\u{1b} path\nmore"), r"invalid\u{1b} path");
        assert_eq!(said(&"a".repeat(300)), "a".repeat(200));
        assert_eq!(parse::<u8>(b"1"), Ok(1));
        assert_eq!(parse::<u8>(b"1\n x"), Err(AnswerError::Json { line: 2, column: 2 }));
        assert_eq!(parse::<u8>(b""), Err(AnswerError::Json { line: 1, column: 0 }));
    }
}
