//! YAML as a tree that knows where everything stands.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value as Json};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Error, Location, Spanned};

use super::{Place, Problem};
use crate::report::{cut, one_line};

/// The most characters of the library's words that are repeated.
const MOST_CHARACTERS: usize = 300;

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A value and where it starts.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    Boolean(bool),
    /// A whole number that a key of a mesh file could take.
    Integer(i64),
    /// Any other number: no key of ours takes one.
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; a key can be there twice.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) position: Position,
    pub(super) node: Node,
}

/// One step from a node to one below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The way from the root of a file to a place in it.
pub(super) type Path = Vec<Step>;

impl Node {
    /// Parses a text with one YAML document.
    ///
    /// Anchors, aliases and merge keys are refused: nobody needs them in so small a file, and they make small texts big.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_anchors: 0,
                max_aliases: 0,
                max_depth: 32,
                max_documents: 1,
                max_nodes: 20_000,
            },
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            merge_keys: MergeKeyPolicy::Error,
            strict_booleans: true,
            with_snippet: false,
        };
        match serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options) {
            Ok(root) => Ok(root.into()),
            Err(error) => {
                let position = error.location().map_or(Position { line: 1, column: 1 }, Position::from);
                let place = Place::new(text, position.line, position.column);
                Err(Problem { message: explain(&error), place, other: None })
            }
        }
    }

    /// Returns the keys of a map with their values; of anything else there are none.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the value without its places; of a key that is there twice the last one counts.
    pub(super) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Boolean(value) => Json::from(*value),
            Value::Integer(value) => Json::from(*value),
            Value::Number(value) => Json::from(value.clone()),
            Value::Text(text) => Json::from(text.as_str()),
            Value::List(nodes) => nodes.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                Json::Object(entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect())
            }
        }
    }

    /// Returns the first entry of a map with this key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Returns where a place is, or the nearest thing above it that is there.
    pub(super) fn position(&self, path: &[Step], of_key: bool) -> Position {
        let (mut node, mut position) = (self, self.position);
        for step in path {
            match (step, &node.value) {
                (Step::Index(index), Value::List(nodes)) if let Some(next) = nodes.get(*index) => {
                    (node, position) = (next, next.position);
                }
                (Step::Key(key), Value::Map(entries))
                    if let Some(entry) = entries.iter().find(|e| e.key == *key) =>
                {
                    node = &entry.node;
                    position = if of_key { entry.position } else { node.position };
                }
                _ => break,
            }
        }
        position
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self { position: spanned.referenced.into(), value: spanned.value }
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
        Self { line: number(location.line()), column: number(location.column()) }
    }
}

/// Says what is wrong with the YAML in our words where the library's would puzzle.
fn explain(error: &Error) -> String {
    match error.without_snippet() {
        Error::Budget { breach: BudgetBreach::Anchors { .. } | BudgetBreach::Aliases { .. }, .. }
        | Error::MergeKeyNotAllowed { .. } => {
            "anchors, aliases and merge keys are not allowed in a mesh file".to_owned()
        }
        Error::MultipleDocuments { .. } | Error::Budget { breach: BudgetBreach::Documents { .. }, .. } => {
            "a mesh file holds one YAML document only".to_owned()
        }
        Error::Budget { .. } => "too big or too deeply nested for a mesh file".to_owned(),
        other => format!("not valid YAML: {}", cut(one_line(&message(other)), MOST_CHARACTERS)),
    }
}

/// Returns the library's message without the place, which we say ourselves.
fn message(error: &Error) -> String {
    let text = error.to_string();
    match text.find(" at line ").or_else(|| text.find(" (line ")) {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// Returns a number that is not whole; infinity and the like can only be text.
fn number(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| Value::Text(value.to_string()), Value::Number)
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Number(Number::from(value)), Value::Integer))
    }

    #[expect(clippy::cast_precision_loss, reason = "no key takes so large a number; it is named, not used")]
    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "no key takes so large a number; it is named, not used")]
    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(number(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element::<Spanned<Value>>()? {
            nodes.push(node.into());
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let node = map.next_value::<Spanned<Value>>()?.into();
            entries.push(Entry { key: key.value, position: key.referenced.into(), node });
        }
        Ok(Value::Map(entries))
    }
}
