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
