//! Objects from YAML and back.

use serde_json::Value;

use super::object::{Object, ObjectError};

/// Why a text is not a list of objects.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// Not YAML.
    #[error("not valid YAML")]
    Syntax(#[source] Box<serde_saphyr::Error>),
    /// One of the documents is not an object.
    #[error("document {position} of the YAML is not usable")]
    Object {
        /// Which document, counted from 1.
        position: usize,
        /// What is wrong with it.
        source: ObjectError,
    },
}

/// Reads all of the documents of a text; empty ones are skipped. Numbers like `0644` are octal, as kubectl reads them.
///
/// # Errors
/// [`YamlError`] naming the place, or the document and what is wrong with it.
pub fn parse_yaml(text: &str) -> Result<Vec<Object>, YamlError> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| YamlError::Syntax(Box::new(error)))?;
    let objects = documents.into_iter().enumerate().filter(|(_, document)| !document.is_null());
    objects
        .map(|(index, document)| {
            Object::from_value(document).map_err(|source| YamlError::Object { position: index + 1, source })
        })
        .collect()
}

/// Writes objects as one YAML text that `kubectl apply -f` takes, in the order given; the same objects give the same
/// text.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "what JSON can express, YAML can")]
pub fn to_yaml(objects: &[Object]) -> String {
    let mut text = String::new();
    for object in objects {
        let value = object.to_value();
        // kubectl's parser takes a tab at the start of a block for bad indentation.
        let options = serde_saphyr::ser_options! { prefer_block_scalars: !starts_with_tab(&value) };
        let document = serde_saphyr::to_string_with_options(&value, options)
            .expect("JSON is YAML, and text takes all of it");
        text.push_str("---\n");
        text.push_str(document.strip_prefix("---\n").unwrap_or(&document));
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}

/// Tells whether a text anywhere in the value begins with a tab.
fn starts_with_tab(value: &Value) -> bool {
    match value {
        Value::String(text) => text.trim_start_matches([' ', '\n']).starts_with('\t'),
        Value::Array(items) => items.iter().any(starts_with_tab),
        Value::Object(fields) => fields.values().any(starts_with_tab),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"---
apiVersion: v1
kind: Namespace
metadata:
  name: spire
  labels: {on: "yes", version: "1.10", mode: "0644", none: "null"}
---
# nothing here
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf, namespace: spire}
data:
  server.conf: |
    server {
      trust_domain = "foo.com"
    }

    # end
  trailing: "a: b # c \t"
  empty: ""
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: spire}
spec:
  template: {spec: {volumes: [{name: v, configMap: {name: conf, defaultMode: 0644}}], containers: []}}
"#;

    #[test]
    fn objects_survive_the_way_through_yaml() {
        let objects = parse_yaml(TEXT).unwrap();
        assert_eq!(objects.len(), 3);
        assert_eq!(objects[0].label("version"), Some("1.10"));
        let text = to_yaml(&objects);
        assert_eq!(parse_yaml(&text).unwrap(), objects);
        assert_eq!(to_yaml(&parse_yaml(&text).unwrap()), text);
        let mode =
            objects[2].to_value().pointer("/spec/template/spec/volumes/0/configMap/defaultMode").cloned();
        assert_eq!(mode, Some(serde_json::json!(0o644)));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_text_that_begins_with_a_tab_is_not_written_as_a_block() {
        let text =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\ndata: {c: \"\\t\\nx\"}\n";
        let objects = parse_yaml(text).unwrap();
        assert!(to_yaml(&objects).contains(r#"c: "\t\nx""#));
        assert_eq!(parse_yaml(&to_yaml(&objects)).unwrap(), objects);
    }

    #[test]
    fn the_document_that_is_no_object_is_named() {
        let error = parse_yaml(
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\nkind: Pod\napiVersion: v1\n",
        );
        insta::assert_snapshot!(error.unwrap_err().to_string(), @"document 2 of the YAML is not usable");
    }
}
