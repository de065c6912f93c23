//! The marks that say which objects belong to a mesh.

use kube::api::DynamicObject;

use super::object::{Object, label};

/// The field manager of everything that is applied.
pub const FIELD_MANAGER: &str = "spire-federate";
/// The label that tells what looks after an object; its value is [`FIELD_MANAGER`].
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The label that tells which mesh an object belongs to.
pub const MESH_LABEL: &str = "spire-mesh.dev/mesh";

/// A mesh as the owner of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The mesh's name.
    pub mesh: String,
}

impl Owner {
    /// Makes the owner of a mesh's objects.
    #[must_use]
    pub fn new(mesh: impl Into<String>) -> Self {
        Self { mesh: mesh.into() }
    }

    /// Marks an object as this mesh's.
    pub fn stamp(&self, object: &mut Object) {
        let labels = object.labels_mut();
        labels.insert(MANAGED_BY_LABEL.to_owned(), FIELD_MANAGER.to_owned());
        labels.insert(MESH_LABEL.to_owned(), self.mesh.clone());
    }

    /// Marks all of the objects as this mesh's.
    #[must_use]
    pub fn stamped(&self, mut objects: Vec<Object>) -> Vec<Object> {
        for object in &mut objects {
            self.stamp(object);
        }
        objects
    }

    /// Tells whether a live object is this mesh's.
    #[must_use]
    pub fn owns(&self, live: &DynamicObject) -> bool {
        label(live, MANAGED_BY_LABEL) == Some(FIELD_MANAGER) && label(live, MESH_LABEL) == Some(&self.mesh)
    }

    /// Returns the label selector that finds this mesh's objects.
    #[must_use]
    pub fn selector(&self) -> String {
        format!("{MANAGED_BY_LABEL}={FIELD_MANAGER},{MESH_LABEL}={}", self.mesh)
    }
}

/// Tells who a live object belongs to, when that is not the owner of the wanted one: `None` when it is the same.
pub(super) fn stranger(wanted: &Object, live: &DynamicObject) -> Option<String> {
    match (label(live, MANAGED_BY_LABEL), label(live, MESH_LABEL)) {
        (Some(FIELD_MANAGER), mesh) if mesh == wanted.label(MESH_LABEL) => None,
        (Some(FIELD_MANAGER), Some(mesh)) => Some(format!("mesh {mesh}")),
        (Some(manager), _) if manager != FIELD_MANAGER => Some(manager.to_owned()),
        _ => Some("somebody else".to_owned()),
    }
}
