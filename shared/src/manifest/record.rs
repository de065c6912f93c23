//! Records that a run leaves in a cluster for the next one: they carry a version, and one that is not understood is refused.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::hint::{Advice, Hint};
use crate::report::{cut, one_line};

/// The version of a record that says none: earlier releases wrote none.
const UNSAID: u64 = 1;
/// How much of a record is told that is not understood.
const MOST_TOLD: usize = 200;

/// A record with its version.
#[derive(Serialize)]
struct Stamped<'r, T> {
    version: u64,
    #[serde(flatten)]
    record: &'r T,
}

/// The version of a record, whatever else it holds.
#[derive(Deserialize)]
struct Version {
    #[serde(default = "unsaid")]
    version: u64,
}

fn unsaid() -> u64 {
    UNSAID
}

/// Writes a record as JSON, with its version.
pub(crate) fn write_record<T: Serialize>(version: u64, record: &T) -> String {
    serde_json::to_string(&Stamped { version, record }).unwrap_or_default()
}

/// Reads a record of the one version that is known. `place` is where it was found, `remove` the command that takes it away.
///
/// # Errors
/// [`RecordError`] where it is of another version, or not understood.
pub(crate) fn read_record<T: DeserializeOwned>(
    version: u64,
    text: &str,
    place: &str,
    remove: impl Into<Advice>,
) -> Result<T, RecordError> {
    let remove = remove.into();
    let refused = |problem| RecordError {
        place: place.to_owned(),
        problem,
        read: cut(one_line(text), MOST_TOLD),
        remove,
    };
    match serde_json::from_str(text) {
        Ok(Version { version: found }) if found != version => {
            Err(refused(Problem::Version { found, known: version }))
        }
        Ok(_) => serde_json::from_str(text).map_err(|_| refused(Problem::Content)),
        Err(_) => Err(refused(Problem::Content)),
    }
}

/// A record that an earlier run left, and that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} holds a record {problem}: `{read}`")]
pub struct RecordError {
    place: String,
    problem: Problem,
    /// What was read, made harmless.
    read: String,
    remove: Advice,
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    Version { found: u64, known: u64 },
    Content,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version { found, known } => {
                write!(f, "of version {found}, and this plugin understands version {known}")
            }
            Self::Content => f.write_str("that is not understood"),
        }
    }
}

impl Hint for RecordError {
    fn hint(&self) -> Option<Advice> {
        let begin = match self.problem {
            Problem::Version { .. } => "go on with the version of the plugin that wrote it; ",
            Problem::Content => "",
        };
        Some(Advice::from(begin).then("to start without the record: ").then(self.remove.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Command;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Example {
        pods: u32,
    }

    fn read(text: &str) -> Result<Example, RecordError> {
        read_record(
            1,
            text,
            "ConfigMap a/b in foo",
            Command::kubectl(["-n", "a", "delete", "configmap", "b"]).at("foo"),
        )
    }

    #[test]
    fn what_is_written_is_read_again_and_what_says_no_version_is_of_the_first() {
        let text = write_record(1, &Example { pods: 3 });
        assert_eq!(text, r#"{"version":1,"pods":3}"#);
        assert_eq!(read(&text), Ok(Example { pods: 3 }));
        assert_eq!(read(r#"{"pods":3}"#), Ok(Example { pods: 3 }));
    }

    #[test]
    fn another_version_and_what_is_not_understood_are_refused_with_what_was_read_and_the_next_step() {
        let told = |text: &str| {
            let error = read(text).unwrap_err();
            format!("{error}\nhint: {}", error.hint().unwrap_or_default())
        };
        insta::assert_snapshot!(told(r#"{"version":2,"pods":{"foo":3}}"#), @r#"
        ConfigMap a/b in foo holds a record of version 2, and this plugin understands version 1: `{"version":2,"pods":{"foo":3}}`
        hint: go on with the version of the plugin that wrote it; to start without the record: kubectl --context foo -n a delete configmap b
        "#);
        insta::assert_snapshot!(told("{\u{1b}[2J\n"), @r"
        ConfigMap a/b in foo holds a record that is not understood: `{\u{1b}[2J`
        hint: to start without the record: kubectl --context foo -n a delete configmap b
        ");
        for text in
            ["", "null", "7", r#"{"version":"1","pods":3}"#, r#"{"version":-1,"pods":3}"#, r#"{"version":1}"#]
        {
            assert!(told(text).contains("a record that is not understood"), "{text}");
        }
        let long = told(&"x".repeat(5000));
        assert!(long.len() < 500, "{long}");
    }
}
