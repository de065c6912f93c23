//! What would change in an object, field by field.

use serde::Serialize;
use serde_json::{Map, Value};

use super::kind::Kind;

/// One field that would change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldChange {
    /// Where: `spec.template.spec.containers[0].image`.
    pub path: String,
    /// The value now; absent when the field is new or secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The value that is wanted; absent when the field goes away or is secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// The metadata that the server writes by itself.
const SERVER_METADATA: [&str; 6] =
    ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"];

/// Lists the fields in which two states of an object differ, apart from those that the server writes. The values of
/// a Secret are left out.
pub(super) fn compare(kind: Kind, before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    walk(&without_server_fields(before), &without_server_fields(after), "", &mut changes);
    hide(kind, &mut changes);
    changes
}

/// Lists the fields of `wanted` that `live` does not have. Knows no defaults and no merging of lists by key, so that it may
/// name too many; used where the server cannot be asked.
pub(super) fn missing(kind: Kind, wanted: &Value, live: &Value) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    subset(wanted, live, "", &mut changes);
    hide(kind, &mut changes);
    changes
}

fn hide(kind: Kind, changes: &mut [FieldChange]) {
    if kind == Kind::Secret {
        for change in changes {
            (change.before, change.after) = (None, None);
        }
    }
}

fn without_server_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove("status");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in SERVER_METADATA {
                metadata.shift_remove(field);
            }
        }
    }
    object
}

fn walk(before: &Value, after: &Value, path: &str, changes: &mut Vec<FieldChange>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Value::Object(before), Value::Object(after)) => {
            let mut keys: Vec<_> =
                before.keys().chain(after.keys().filter(|key| !before.contains_key(*key))).collect();
            keys.sort_unstable();
            for key in keys {
                let child = join(path, key);
                match (before.get(key), after.get(key)) {
                    (Some(before), Some(after)) => walk(before, after, &child, changes),
                    (before, after) => push(child, before, after, changes),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                walk(before, after, &format!("{path}[{index}]"), changes);
            }
        }
        (before, after) => push(path.to_owned(), Some(before), Some(after), changes),
    }
}

fn subset(wanted: &Value, live: &Value, path: &str, changes: &mut Vec<FieldChange>) {
    match (wanted, live) {
        (Value::Object(wanted), live) => {
            let nothing = Map::new();
            let live = live.as_object().unwrap_or(&nothing);
            for (key, wanted) in wanted {
                subset(wanted, live.get(key).unwrap_or(&Value::Null), &join(path, key), changes);
            }
        }
        (Value::Array(wanted), Value::Array(live)) if wanted.len() == live.len() => {
            for (index, (wanted, live)) in wanted.iter().zip(live).enumerate() {
                subset(wanted, live, &format!("{path}[{index}]"), changes);
            }
        }
        (wanted, live) if wanted == live => {}
        (wanted, live) => {
            push(path.to_owned(), Some(live).filter(|live| !live.is_null()), Some(wanted), changes);
        }
    }
}

fn push(path: String, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<FieldChange>) {
    changes.push(FieldChange { path, before: before.cloned(), after: after.cloned() });
}

/// Appends a key to a path; keys that hold a dot or a slash are put in quotes.
fn join(path: &str, key: &str) -> String {
    if key.contains(['.', '/', '[']) {
        format!("{path}[\"{key}\"]")
    } else if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changed_fields_are_named_by_their_path() {
        let before = json!({"spec": {"containers": [{"image": "a:1", "args": ["x"]}], "old": 1}, "status": {"ready": 1}});
        let after = json!({"spec": {"containers": [{"image": "a:2", "args": ["x", "y"]}]},
            "metadata": {"annotations": {"a.b/c": "d"}, "uid": "9"}});
        let mut before = before;
        before["metadata"] = json!({"annotations": {}, "uid": "8", "resourceVersion": "4"});
        let paths: Vec<_> =
            compare(Kind::DaemonSet, &before, &after).into_iter().map(|change| change.path).collect();
        assert_eq!(
            paths,
            [
                "metadata.annotations[\"a.b/c\"]",
                "spec.containers[0].args",
                "spec.containers[0].image",
                "spec.old"
            ]
        );
    }

    #[test]
    fn the_values_of_a_secret_never_appear() {
        let (before, after) =
            (json!({"data": {"key": "b2xk"}}), json!({"data": {"key": "bmV3", "other": "eA=="}}));
        let changes = compare(Kind::Secret, &before, &after);
        assert_eq!(
            serde_json::to_value(&changes).unwrap(),
            json!([{"path": "data.key"}, {"path": "data.other"}])
        );
        assert!(missing(Kind::Secret, &after, &before).iter().all(|change| change.after.is_none()));
    }

    #[test]
    fn fields_that_only_the_server_knows_do_not_count_as_missing() {
        let live = json!({"spec": {"replicas": 1, "strategy": "x"}});
        assert_eq!(missing(Kind::Deployment, &json!({"spec": {"replicas": 1}}), &live), []);
        assert_eq!(
            missing(Kind::Deployment, &json!({"spec": {"replicas": 2}}), &live)[0].path,
            "spec.replicas"
        );
    }

    /// Returns what is missing as `path: before -> after`.
    fn told(wanted: &Value, live: &Value) -> Vec<String> {
        let shown = |value: Option<Value>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
        let changes = missing(Kind::Deployment, wanted, live).into_iter();
        changes
            .map(|change| format!("{}: {} -> {}", change.path, shown(change.before), shown(change.after)))
            .collect()
    }

    #[test]
    fn lists_are_compared_item_by_item_and_differ_as_a_whole_when_one_is_longer() {
        let live = json!({"args": ["a", {"b": 1, "default": true}]});
        assert_eq!(told(&json!({"args": ["a", {"b": 1}]}), &live), [""; 0]);
        assert_eq!(told(&json!({"args": ["a", {"b": 2}]}), &live), ["args[1].b: 1 -> 2"]);
        let whole = r#"["a",{"b":1,"default":true}]"#;
        assert_eq!(told(&json!({"args": ["a"]}), &live), [format!(r#"args: {whole} -> ["a"]"#)]);
        assert_eq!(
            told(&json!({"args": ["a", {"b": 1}, "c"]}), &live),
            [format!(r#"args: {whole} -> ["a",{{"b":1}},"c"]"#)]
        );
    }

    #[test]
    fn what_is_wanted_and_not_there_at_all_is_missing_leaf_by_leaf() {
        let wanted = json!({"spec": {"replicas": 1, "args": ["a"], "template": {"name": "x"}}});
        let all =
            ["spec.replicas: none -> 1", "spec.args: none -> [\"a\"]", "spec.template.name: none -> \"x\""];
        assert_eq!(told(&wanted, &json!({})), all);
        assert_eq!(told(&json!({"a": {"b": 1}}), &json!({"a": "text"})), ["a.b: none -> 1"]);
        assert_eq!(told(&json!({"a": {}}), &json!({"a": "text"})), [""; 0], "nothing of it is wanted");
    }

    #[test]
    fn lists_of_one_length_are_compared_item_by_item() {
        let of = |args: Value| json!({"args": args});
        let paths = |before: Value, after: Value| -> Vec<String> {
            let changes = compare(Kind::Deployment, &of(before), &of(after));
            changes.into_iter().map(|change| change.path).collect()
        };
        assert_eq!(paths(json!(["a", "b"]), json!(["a", "c"])), ["args[1]"]);
        assert_eq!(paths(json!(["a", "b"]), json!(["a"])), ["args"]);
        assert_eq!(paths(json!(["a"]), json!(["a", "b"])), ["args"]);
        assert_eq!(paths(json!(["a"]), json!("a")), ["args"]);
    }

    #[test]
    fn keys_that_would_be_read_as_a_path_are_quoted() {
        assert_eq!(join("", "a"), "a");
        assert_eq!(join("a", "b"), "a.b");
        for odd in ["b.c", "b/c", "b[0]"] {
            assert_eq!(join("a", odd), format!("a[\"{odd}\"]"));
        }
    }
}
