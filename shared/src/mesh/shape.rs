//! Whether a file has the shape of its schema: known keys, the right types, nothing missing.
//!
//! serde stops at the first thing it does not like, and does not know the place of a key that nobody asked for. This goes
//! on, and leaves out what it has reported.

use std::collections::{HashMap, hash_map};

use serde_json::{Map, Value as Json, json};

use super::tree::{Entry, Node, Path, Position, Step, Value};
use super::{EndpointUrl, Place, Problem};
use crate::report::{cut, escape};

/// The most characters of a message: a value that it repeats may be as long as the file.
const MOST_CHARACTERS: usize = 500;

/// What was found to be wrong so far.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

#[derive(Debug)]
struct Finding {
    message: String,
    place: Where,
    other: Option<Where>,
}

#[derive(Clone, Debug)]
pub(super) enum Where {
    Value(Path),
    Key(Path),
    At(Position),
}

impl Findings {
    /// Adds something that is wrong with the value at `path`.
    pub(super) fn add(&mut self, message: impl Into<String>, path: Path) {
        self.add_with(message, Where::Value(path), None);
    }

    /// Adds something that is wrong with two places.
    pub(super) fn add_with(&mut self, message: impl Into<String>, place: Where, other: Option<Where>) {
        let message = cut(message.into(), MOST_CHARACTERS);
        self.0.push(Finding { message, place, other });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds all that others found.
    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Returns the first `most` findings in the order of the text, with their places in it, and the number of the others.
    pub(super) fn into_problems(self, root: &Node, text: &str, most: usize) -> (Vec<Problem>, usize) {
        let position = |place: &Where| match place {
            Where::Value(path) => root.position(path, false),
            Where::Key(path) => root.position(path, true),
            Where::At(position) => *position,
        };
        let mut found: Vec<_> = self
            .0
            .into_iter()
            .map(|Finding { message, place, other }| {
                (position(&place), message, other.as_ref().map(position))
            })
            .collect();
        found.sort();
        // What is wrong with a default is found again for every cluster that it holds for.
        found.dedup();
        let more = found.len().saturating_sub(most);
        let place = |Position { line, column }| Place::new(text, line, column);
        let problems = found.into_iter().take(most).map(|(position, message, other)| Problem {
            message,
            place: place(position),
            other: other.map(place),
        });
        (problems.collect(), more)
    }
}

/// Holds a tree against a schema, and returns the part of it that fits.
pub(super) fn check(root: &Node, schema: &Json, findings: &mut Findings) -> Json {
    if matches!(root.value, Value::Null) {
        findings.add("the file is empty", Vec::new());
        return json!({});
    }
    Checker { findings }.node(root, schema, &mut Vec::new()).unwrap_or_else(|| json!({}))
}

struct Checker<'a> {
    findings: &'a mut Findings,
}

impl Checker<'_> {
    fn node(&mut self, node: &Node, schema: &Json, path: &mut Path) -> Option<Json> {
        if *schema == Json::Bool(true) {
            return Some(node.to_json());
        }
        // Texts with a description each are written as `oneOf`, which has no type of its own.
        let wanted = schema.get("type").and_then(Json::as_str).unwrap_or("string");
        match (wanted, &node.value) {
            ("object", Value::Map(entries)) => Some(self.map(node, entries, schema, path)),
            ("array", Value::List(nodes)) => {
                let items = &schema["items"];
                let mut list = Vec::with_capacity(nodes.len());
                for (index, node) in nodes.iter().enumerate() {
                    path.push(Step::Index(index));
                    // A place is kept for what is wrong, so that places after it keep their number.
                    list.push(self.node(node, items, path).unwrap_or_else(|| json!({})));
                    path.pop();
                }
                Some(Json::Array(list))
            }
            ("boolean", Value::Boolean(value)) => Some(json!(value)),
            ("integer", Value::Integer(value)) => self.integer(*value, schema, path),
            ("string", Value::Text(text)) => self.text(text, schema, path),
            (wanted, value) => {
                self.findings.add(wrong_type(&label(path), wanted, value), path.clone());
                None
            }
        }
    }

    fn map(&mut self, node: &Node, entries: &[Entry], schema: &Json, path: &mut Path) -> Json {
        let nothing = Map::new();
        let known = schema["properties"].as_object().unwrap_or(&nothing);
        // `true` takes anything.
        let free = schema.get("additionalProperties").filter(|schema| **schema != Json::Bool(false));
        let mut kept = Map::new();
        let mut seen = HashMap::with_capacity(entries.len());
        for entry in entries {
            if let Some(first) = seen.insert(&entry.key, entry.position) {
                let message = format!("key `{}` is there twice", escape(&entry.key));
                self.findings.add_with(message, Where::At(entry.position), Some(Where::At(first)));
                continue;
            }
            let Some(schema) = known.get(&entry.key).or(free) else {
                let message = unknown_key(&entry.key, &place(path), known);
                self.findings.add_with(message, Where::At(entry.position), None);
                continue;
            };
            path.push(Step::Key(entry.key.clone()));
            if let Some(value) = self.node(&entry.node, schema, path) {
                kept.insert(entry.key.clone(), value);
            }
            path.pop();
        }
        for key in
            schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
        {
            if !seen.contains_key(&key.to_owned()) {
                let message = format!("key `{key}` is missing{}", place(path));
                self.findings.add_with(message, Where::At(node.position), None);
            }
        }
        Json::Object(kept)
    }

    fn integer(&mut self, value: i64, schema: &Json, path: &Path) -> Option<Json> {
        let limit = |key| schema.get(key).and_then(Json::as_i64);
        let (least, most) = (limit("minimum").unwrap_or(i64::MIN), limit("maximum").unwrap_or(i64::MAX));
        if (least..=most).contains(&value) {
            return Some(json!(value));
        }
        self.findings
            .add(format!("{} must be from {least} to {most}, not {value}", label(path)), path.clone());
        None
    }

    fn text(&mut self, text: &str, schema: &Json, path: &Path) -> Option<Json> {
        let choices = choices(schema);
        if choices.is_empty() || choices.contains(&text) {
            return Some(json!(text));
        }
        let wanted: Vec<String> = choices.iter().map(|choice| format!("`{choice}`")).collect();
        let wanted = match wanted.as_slice() {
            [only] => only.clone(),
            several => format!("one of {}", several.join(", ")),
        };
        self.findings.add(format!("{} must be {wanted}, not `{}`", label(path), escape(text)), path.clone());
        None
    }
}

/// Returns the texts that a schema allows; none when it allows any.
fn choices(schema: &Json) -> Vec<&str> {
    let list = |key| schema.get(key).and_then(Json::as_array).into_iter().flatten();
    list("enum")
        .chain(list("oneOf").filter_map(|choice| choice.get("const")))
        .filter_map(Json::as_str)
        .collect()
}

/// Says that a key is not known, and which one was probably meant.
fn unknown_key(key: &str, place: &str, known: &Map<String, Json>) -> String {
    let shown = escape(key);
    let message = format!("unknown key `{shown}`{place}");
    let distance = |other: &str| strsim::damerau_levenshtein(&key.to_lowercase(), &other.to_lowercase());
    let nearest = known.keys().map(|other| (distance(other), other)).min();
    if let Some((distance, nearest)) = nearest
        && distance <= (nearest.chars().count() / 3).max(1)
    {
        return format!("{message}; did you mean `{nearest}`?");
    }
    // The right key in the wrong place: one level too high.
    let below = |(parent, schema): (&String, &Json)| schema["properties"].get(key).map(|_| parent.clone());
    if let Some(parent) = known.iter().find_map(below) {
        return format!("{message}; it belongs below `{parent}`");
    }
    let known: Vec<&str> = known.keys().map(String::as_str).collect();
    format!("{message}; known keys are {}", known.join(", "))
}

fn wrong_type(label: &str, wanted: &str, value: &Value) -> String {
    let found = match value {
        Value::Null => return format!("{label} has no value"),
        Value::Boolean(_) => "true or false",
        Value::Integer(_) | Value::Number(_) => "a number",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map of keys and values",
    };
    let quote = if matches!(value, Value::Boolean(_) | Value::Integer(_) | Value::Number(_)) {
        "; put it in quotes"
    } else {
        ""
    };
    match wanted {
        "integer" if matches!(value, Value::Number(_)) => format!("{label} must be a whole number"),
        "string" => format!("{label} must be text, not {found}{quote}"),
        "boolean" => format!("{label} must be true or false, not {found}"),
        "integer" => format!("{label} must be a whole number, not {found}"),
        "array" => format!("{label} must be a list, not {found}"),
        _ => format!("{label} must be a map of keys and values, not {found}"),
    }
}

/// Names a value: by its key, or by its number in a list.
fn label(path: &[Step]) -> String {
    match path {
        [] => "the file".to_owned(),
        [.., Step::Key(key)] => format!("`{}`", escape(key)),
        [..] => format!("`{}`", dotted(path)),
    }
}

/// Names the map at a place, for the end of a sentence; nothing for the file itself.
fn place(path: &[Step]) -> String {
    if path.is_empty() { String::new() } else { format!(" in `{}`", dotted(path)) }
}

/// Writes a path as `spec.clusters[1].trustDomain`.
fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Index(index) => text.extend(["[", &index.to_string(), "]"]),
            Step::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&escape(key));
            }
        }
    }
    text
}

/// What was seen: its first place, and whether it was there again.
#[derive(Default)]
pub(super) struct Unique(HashMap<String, (Path, bool)>);

impl Unique {
    pub(super) fn add(&mut self, what: &str, value: &str, path: Path, findings: &mut Findings) {
        match self.0.entry(value.to_owned()) {
            hash_map::Entry::Vacant(free) => drop(free.insert((path, false))),
            hash_map::Entry::Occupied(mut taken) => {
                let (first, is_repeated) = taken.get_mut();
                let message = format!("{what} `{value}` belongs to two clusters");
                findings.add_with(message, Where::Value(path), Some(Where::Value(first.clone())));
                *is_repeated = true;
            }
        }
    }

    pub(super) fn is_repeated(&self, value: &str) -> bool {
        self.0.get(value).is_some_and(|(_, is_repeated)| *is_repeated)
    }
}

/// Returns a value that passed its check, or adds what the check said.
pub(super) fn checked<T>(result: Result<T, String>, path: Path, findings: &mut Findings) -> Option<T> {
    result.map_err(|message| findings.add(message, path)).ok()
}

pub(super) fn keys(keys: &[&str]) -> Path {
    keys.iter().map(|&key| Step::Key(key.to_owned())).collect()
}

/// Turns "given, and wrong" into `None`, and keeps "not given" apart from it.
#[expect(
    clippy::option_option,
    reason = "the outer option says whether the key is there, the inner whether it is right"
)]
pub(super) fn transposed<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}

pub(super) fn parse_url(text: &str, path: Path, findings: &mut Findings) -> Option<EndpointUrl> {
    checked(text.parse::<EndpointUrl>().map_err(|error| error.to_string()), path, findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_meant_when_a_third_of_it_or_less_is_different() {
        let known = json!({"keyType": {}, "images": {"properties": {"server": {}}}, "id": {}});
        let told = |key: &str| unknown_key(key, " in `spec`", known.as_object().unwrap());
        assert_eq!(told("KEYTIPO"), "unknown key `KEYTIPO` in `spec`; did you mean `keyType`?");
        assert_eq!(told("ix"), "unknown key `ix` in `spec`; did you mean `id`?");
        assert_eq!(told("keyTiqx"), "unknown key `keyTiqx` in `spec`; known keys are keyType, images, id");
        assert_eq!(told("xy"), "unknown key `xy` in `spec`; known keys are keyType, images, id");
        assert_eq!(told("server"), "unknown key `server` in `spec`; it belongs below `images`");
    }

    #[test]
    fn numbers_are_taken_from_the_least_to_the_most() {
        let schema = json!({"type": "integer", "minimum": -1, "maximum": 2});
        let taken = |value: i64, schema: &Json| {
            let mut findings = Findings::default();
            let taken = Checker { findings: &mut findings }.integer(value, schema, &Vec::new());
            assert_eq!(taken.is_none(), !findings.is_empty());
            taken
        };
        let all = [-2, -1, 0, 2, 3].map(|value| taken(value, &schema));
        assert_eq!(all, [None, Some(json!(-1)), Some(json!(0)), Some(json!(2)), None]);
        assert_eq!(taken(i64::MIN, &json!({})), Some(json!(i64::MIN)));
    }

    #[test]
    fn texts_are_those_that_the_schema_lists() {
        assert_eq!(choices(&json!({"enum": ["a", "b"]})), ["a", "b"]);
        assert_eq!(
            choices(&json!({"oneOf": [{"const": "a"}, {"type": "string"}, {"const": "c"}]})),
            ["a", "c"]
        );
        assert_eq!(choices(&json!({"type": "string"})), [""; 0]);
        let refused = |schema: &Json| {
            let mut findings = Findings::default();
            assert_eq!(
                Checker { findings: &mut findings }.text("x", schema, &vec![Step::Key("k".to_owned())]),
                None
            );
            findings.0[0].message.clone()
        };
        assert_eq!(refused(&json!({"enum": ["a"]})), "`k` must be `a`, not `x`");
        assert_eq!(refused(&json!({"enum": ["a", "b"]})), "`k` must be one of `a`, `b`, not `x`");
    }

    #[test]
    fn places_are_written_as_people_write_them() {
        let path = [Step::Key("spec".to_owned()), Step::Key("clusters".to_owned()), Step::Index(1)];
        assert_eq!(dotted(&path), "spec.clusters[1]");
        assert_eq!(
            (label(&path), label(&path[..2]), label(&[])),
            ("`spec.clusters[1]`".to_owned(), "`clusters`".to_owned(), "the file".to_owned())
        );
        assert_eq!((place(&path[..1]), place(&[])), (" in `spec`".to_owned(), String::new()));
    }

    #[test]
    fn what_is_found_is_told_once_in_the_order_of_the_text_and_up_to_a_number() {
        let text = "a: 1\nb: [2, 3]\n";
        let root = Node::parse(text).unwrap();
        let at = |key: &str| vec![Step::Key(key.to_owned())];
        let found = |most: usize| {
            let mut findings = Findings::default();
            findings.add("second", [at("b"), vec![Step::Index(1)]].concat());
            findings.add("first", at("a"));
            findings.add("second", [at("b"), vec![Step::Index(1)]].concat());
            findings.add_with("key", Where::Key(at("b")), Some(Where::Key(at("a"))));
            findings.add("beyond", [at("b"), vec![Step::Index(9)]].concat());
            let (problems, more) = findings.into_problems(&root, text, most);
            let told = problems.into_iter().map(|problem| {
                let other = problem.other.map(|place| (place.line, place.column));
                (problem.message, (problem.place.line, problem.place.column), other)
            });
            (told.collect::<Vec<_>>(), more)
        };
        let expected = [
            ("first".to_owned(), (1, 4), None),
            ("key".to_owned(), (2, 1), Some((1, 1))),
            ("beyond".to_owned(), (2, 4), None),
            ("second".to_owned(), (2, 8), None),
        ];
        assert_eq!(found(9), (expected.to_vec(), 0));
        assert_eq!(found(3), (expected[..3].to_vec(), 1));
    }
}
