//! The marks that say which objects belong to a mesh, and which plugin looks after them.

use kube::api::DynamicObject;

use super::kind::Kind;
use super::object::{Object, label};
use super::tool::Tool;

/// The label that tells what looks after an object; its value is [`Tool::name`].
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The label that tells which mesh an object belongs to.
pub const MESH_LABEL: &str = "spire-mesh.dev/mesh";

impl Tool {
    /// Goes through the kinds of objects that the plugin may have made.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::all().filter(move |kind| kind.only_of().is_none_or(|tool| tool == self))
    }

    /// Returns who looks after an object that is wanted.
    pub(super) fn of(object: &Object) -> Self {
        object.label(MANAGED_BY_LABEL).and_then(Self::find).unwrap_or(Self::SpireFederate)
    }
}

/// A plugin's part of a mesh as the owner of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The plugin.
    pub tool: Tool,
    /// The mesh's name.
    pub mesh: String,
}

impl Owner {
    /// Makes the owner of what a plugin makes for a mesh.
    #[must_use]
    pub fn new(tool: Tool, mesh: impl Into<String>) -> Self {
        Self { tool, mesh: mesh.into() }
    }

    /// Reads who an object is marked for.
    #[must_use]
    pub fn of(object: &Object) -> Option<Self> {
        Some(Self::new(Tool::of(object), object.label(MESH_LABEL)?))
    }

    /// Marks an object as this owner's.
    pub fn stamp(&self, object: &mut Object) {
        let labels = object.labels_mut();
        labels.insert(MANAGED_BY_LABEL.to_owned(), self.tool.name().to_owned());
        labels.insert(MESH_LABEL.to_owned(), self.mesh.clone());
    }

    /// Marks all of the objects as this owner's.
    #[must_use]
    pub fn stamped(&self, mut objects: Vec<Object>) -> Vec<Object> {
        for object in &mut objects {
            self.stamp(object);
        }
        objects
    }

    /// Tells whether a live object is this owner's.
    #[must_use]
    pub fn owns(&self, live: &DynamicObject) -> bool {
        label(live, MANAGED_BY_LABEL) == Some(self.tool.name()) && label(live, MESH_LABEL) == Some(&self.mesh)
    }

    /// Returns the label selector that finds this owner's objects.
    #[must_use]
    pub fn selector(&self) -> String {
        format!("{MANAGED_BY_LABEL}={},{MESH_LABEL}={}", self.tool.name(), self.mesh)
    }
}

/// Tells who a live object belongs to, when that is not the owner of the wanted one: `None` when it is the same.
pub(super) fn stranger(wanted: &Object, live: &DynamicObject) -> Option<String> {
    let (manager, mesh) = (label(live, MANAGED_BY_LABEL), label(live, MESH_LABEL));
    match (manager, manager.and_then(Tool::find), mesh) {
        (_, Some(tool), mesh) if tool == Tool::of(wanted) && mesh == wanted.label(MESH_LABEL) => None,
        (_, Some(tool), Some(mesh)) if tool == Tool::of(wanted) => Some(format!("mesh {mesh}")),
        (_, Some(tool), Some(mesh)) => Some(format!("{} of mesh {mesh}", tool.name())),
        (Some(manager), None, _) => Some(manager.to_owned()),
        _ => Some("somebody else".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted(owner: &Owner) -> Object {
        let metadata = json!({"name": "a", "namespace": "b"});
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        owner.stamped(vec![Object::from_value(object).unwrap()]).remove(0)
    }

    fn live(labels: &serde_json::Value) -> DynamicObject {
        serde_json::from_value(json!({"metadata": {"name": "a", "labels": labels}})).unwrap()
    }

    fn labels(manager: &str, mesh: &str) -> DynamicObject {
        live(&json!({MANAGED_BY_LABEL: manager, MESH_LABEL: mesh}))
    }

    #[test]
    fn only_what_carries_both_labels_of_an_owner_is_its_own() {
        let owner = Owner::new(Tool::MeshInstall, "shop");
        assert!(owner.owns(&labels("mesh-install", "shop")));
        assert!(!owner.owns(&labels("mesh-install", "other")));
        assert!(!owner.owns(&labels("spire-federate", "shop")));
        assert!(!owner.owns(&live(&json!({MANAGED_BY_LABEL: "mesh-install"}))));
        assert!(!owner.owns(&live(&json!({MESH_LABEL: "shop"}))));
        assert_eq!(owner.selector(), "app.kubernetes.io/managed-by=mesh-install,spire-mesh.dev/mesh=shop");
        assert_eq!(Owner::of(&wanted(&owner)), Some(owner));
    }

    #[test]
    fn a_stranger_is_named_as_well_as_the_labels_allow() {
        let wanted = wanted(&Owner::new(Tool::MeshInstall, "shop"));
        let stranger = |live: DynamicObject| stranger(&wanted, &live);
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(stranger(labels("mesh-install", "shop")), None);
        assert_eq!(stranger(labels("mesh-install", "other")), named("mesh other"));
        assert_eq!(stranger(labels("spire-federate", "shop")), named("spire-federate of mesh shop"));
        assert_eq!(stranger(labels("Helm", "shop")), named("Helm"));
        assert_eq!(stranger(live(&json!({MANAGED_BY_LABEL: "Helm"}))), named("Helm"));
        assert_eq!(stranger(live(&json!({MANAGED_BY_LABEL: "mesh-install"}))), named("somebody else"));
        assert_eq!(stranger(live(&json!({MESH_LABEL: "shop"}))), named("somebody else"));
        assert_eq!(stranger(live(&json!({}))), named("somebody else"));
    }
}
