//! One object, of a kind that is known, with a name and with a namespace where its kind needs one.

use std::collections::BTreeMap;
use std::fmt;

use kube::api::DynamicObject;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::kind::Kind;

/// Which object: sorted in the order in which objects are applied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectKey {
    /// Kind and API version.
    pub kind: Kind,
    /// Namespace, where the kind has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// Makes a key.
    #[must_use]
    pub fn new(kind: Kind, namespace: Option<&str>, name: &str) -> Self {
        Self { kind, namespace: namespace.map(str::to_owned), name: name.to_owned() }
    }

    pub(super) fn api(&self, client: &kube::Client) -> kube::Api<DynamicObject> {
        self.kind.api(client, self.namespace.as_deref())
    }

    /// Returns the words that name the object to kubectl: `-n spire statefulsets.apps/spire-server`.
    #[must_use]
    pub fn kubectl(&self) -> Vec<String> {
        let mut words: Vec<String> =
            self.namespace.iter().flat_map(|namespace| ["-n".to_owned(), namespace.clone()]).collect();
        words.push(format!("{}/{}", self.kind.resource(), self.name));
        words
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)?;
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

/// An object as it is wanted, or as it was found. Debug shows its key only: its content may be secret.
#[derive(Clone, PartialEq)]
pub struct Object {
    key: ObjectKey,
    inner: DynamicObject,
}

/// Why something is not an object of these plugins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// `apiVersion`, `kind` or the metadata does not have the form of an object.
    #[error("not a Kubernetes object: {0}")]
    Malformed(String),
    /// A kind that [`Kind`] does not list.
    #[error("kind {kind} of {api_version} is not one that spire-mesh applies")]
    UnknownKind {
        /// `apiVersion`.
        api_version: String,
        /// `kind`.
        kind: String,
    },
    /// No `metadata.name`.
    #[error("a {0} has no metadata.name")]
    NoName(Kind),
    /// A namespaced kind without `metadata.namespace`: which one it lands in would depend on the context.
    #[error("{kind}/{name} has no metadata.namespace")]
    NoNamespace {
        /// Kind.
        kind: Kind,
        /// Name.
        name: String,
    },
}

impl Object {
    /// Takes an object apart from JSON. What only the server writes (`status`, `managedFields`, …) is dropped.
    ///
    /// # Errors
    /// [`ObjectError`] when it is not an object, is of an unknown kind, or lacks name or namespace.
    pub fn from_value(value: Value) -> Result<Self, ObjectError> {
        if !value.is_object() {
            return Err(ObjectError::Malformed("it is not a mapping".to_owned()));
        }
        for field in ["apiVersion", "kind"] {
            if !value[field].is_string() {
                return Err(ObjectError::Malformed(format!("it has no {field}")));
            }
        }
        // The text of serde_json may quote the value.
        let inner: DynamicObject = serde_json::from_value(value)
            .map_err(|_| ObjectError::Malformed("its metadata does not have the right types".to_owned()))?;
        Self::try_from(inner)
    }

    /// Makes an object of a typed resource.
    ///
    /// # Errors
    /// As [`Object::from_value`].
    pub fn of(resource: &impl Serialize) -> Result<Self, ObjectError> {
        let value =
            serde_json::to_value(resource).map_err(|error| ObjectError::Malformed(error.to_string()))?;
        Self::from_value(value)
    }

    /// Reads the object as its type; `None` when it does not have that type's form.
    #[must_use]
    pub fn to_typed<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_value(self.to_value()).ok()
    }

    /// Returns which object it is.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Returns the whole object as JSON.
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        reason = "the object came from JSON or YAML, so JSON can express it"
    )]
    pub fn to_value(&self) -> Value {
        serde_json::to_value(&self.inner).expect("an object's keys are strings")
    }

    /// Returns a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        label(&self.inner, name)
    }

    /// Returns the labels.
    pub fn labels_mut(&mut self) -> &mut BTreeMap<String, String> {
        self.inner.metadata.labels.get_or_insert_default()
    }

    pub(super) fn inner(&self) -> &DynamicObject {
        &self.inner
    }
}

pub(super) fn label<'o>(object: &'o DynamicObject, name: &str) -> Option<&'o str> {
    object.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

impl TryFrom<DynamicObject> for Object {
    type Error = ObjectError;

    fn try_from(mut inner: DynamicObject) -> Result<Self, Self::Error> {
        let types = inner.types.clone().unwrap_or_default();
        let Some(kind) = Kind::find(&types.api_version, &types.kind) else {
            return Err(ObjectError::UnknownKind { api_version: types.api_version, kind: types.kind });
        };
        let metadata = &mut inner.metadata;
        let Some(name) = metadata.name.clone().filter(|name| !name.is_empty()) else {
            return Err(ObjectError::NoName(kind));
        };
        if !kind.is_namespaced() {
            metadata.namespace = None;
        } else if metadata.namespace.as_ref().is_none_or(String::is_empty) {
            return Err(ObjectError::NoNamespace { kind, name });
        }
        metadata.managed_fields = None;
        metadata.creation_timestamp = None;
        metadata.resource_version = None;
        metadata.uid = None;
        metadata.generation = None;
        let key = ObjectKey { kind, namespace: metadata.namespace.clone(), name };
        if let Value::Object(fields) = &mut inner.data {
            fields.shift_remove("status");
        }
        Ok(Self { key, inner })
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.serialize(serializer)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({})", self.key)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_reads_like_a_sentence_and_like_kubectl() {
        let key = ObjectKey::new(Kind::StatefulSet, Some("spire"), "spire-server");
        assert_eq!(key.to_string(), "StatefulSet/spire-server in namespace spire");
        assert_eq!(key.kubectl(), ["-n", "spire", "statefulsets.apps/spire-server"]);
        assert_eq!(ObjectKey::new(Kind::Namespace, None, "spire").to_string(), "Namespace/spire");
    }

    #[test]
    fn what_is_no_object_is_refused_with_the_reason() {
        let refused = |value| Object::from_value(value).unwrap_err().to_string();
        insta::assert_snapshot!(refused(json!([])), @"not a Kubernetes object: it is not a mapping");
        insta::assert_snapshot!(refused(json!({"kind": "Pod"})), @"not a Kubernetes object: it has no apiVersion");
        insta::assert_snapshot!(refused(json!({"apiVersion": "v1", "kind": "Pod"})), @"kind Pod of v1 is not one that spire-mesh applies");
        insta::assert_snapshot!(refused(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})), @"ConfigMap/a has no metadata.namespace");
    }

    #[test]
    fn what_only_the_server_writes_is_dropped() {
        let object = Object::from_value(json!({
            "apiVersion": "v1", "kind": "Namespace", "status": {"phase": "Active"},
            "metadata": {"name": "a", "uid": "1", "resourceVersion": "2", "generation": 3, "managedFields": [{}],
                "creationTimestamp": "2026-01-01T00:00:00Z"},
        }));
        let expected = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
        assert_eq!(object.unwrap().to_value(), expected);
    }

    #[test]
    fn each_thing_that_an_object_lacks_is_named() {
        let object = |kind: &str, metadata: Value| {
            Object::from_value(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata}))
        };
        let refused = |kind: &str, metadata: Value| object(kind, metadata).unwrap_err().to_string();
        assert_eq!(
            Object::from_value(json!({"apiVersion": "v1"})).unwrap_err().to_string(),
            "not a Kubernetes object: it has no kind"
        );
        assert_eq!(refused("ConfigMap", json!({"namespace": "b"})), "a ConfigMap has no metadata.name");
        assert_eq!(
            refused("ConfigMap", json!({"name": "", "namespace": "b"})),
            "a ConfigMap has no metadata.name"
        );
        assert_eq!(
            refused("ConfigMap", json!({"name": "a", "namespace": ""})),
            "ConfigMap/a has no metadata.namespace"
        );
        assert_eq!(
            refused("ConfigMap", json!({"name": 1})),
            "not a Kubernetes object: its metadata does not have the right types"
        );
        let namespace = object("Namespace", json!({"name": "a", "namespace": "b"})).unwrap();
        assert_eq!(namespace.key(), &ObjectKey::new(Kind::Namespace, None, "a"));
        assert_eq!(namespace.to_value()["metadata"], json!({"name": "a"}), "it is in no namespace");
        let map = object("ConfigMap", json!({"name": "a", "namespace": "b"})).unwrap();
        assert_eq!(map.key(), &ObjectKey::new(Kind::ConfigMap, Some("b"), "a"));
    }

    #[test]
    fn an_object_is_read_as_its_type_and_only_where_it_has_the_form() {
        use k8s_openapi::api::core::v1::ConfigMap;
        let of = |data: Value| {
            let metadata = json!({"name": "a", "namespace": "b", "labels": {"c": "d"}});
            Object::from_value(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}),
            )
            .unwrap()
        };
        let map = of(json!({"k": "v"}));
        let typed = map.to_typed::<ConfigMap>().unwrap();
        assert_eq!(typed.data.as_ref().unwrap()["k"], "v");
        assert_eq!(Object::of(&typed).unwrap(), map);
        assert!(of(json!(["k"])).to_typed::<ConfigMap>().is_none());
        assert_eq!((map.label("c"), map.label("e")), (Some("d"), None));
        assert_eq!(serde_json::to_value(&map).unwrap(), map.to_value());
    }

    #[test]
    fn debug_text_does_not_show_content() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": "b"}, "data": {"k": "hidden"}});
        assert_eq!(format!("{:?}", Object::from_value(secret).unwrap()), "Object(Secret/a in namespace b)");
    }
}
