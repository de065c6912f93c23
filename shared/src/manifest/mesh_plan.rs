//! What applying would do to all clusters of a mesh.

use serde::Serialize;

use super::object::ObjectKey;
use super::plan::{Plan, Verdict};

/// What `up` would do to a mesh.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshPlan {
    /// Name of the mesh.
    pub mesh: String,
    /// One for each cluster, in the order of the mesh file.
    pub clusters: Vec<ClusterPlan>,
}

impl MeshPlan {
    /// Tells whether nothing would be changed.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.clusters.iter().all(ClusterPlan::is_unchanged)
    }

    /// Tells whether nothing would be changed in one cluster.
    pub(crate) fn leaves_alone(&self, cluster: &str) -> bool {
        self.clusters.iter().any(|planned| planned.cluster == cluster && planned.is_unchanged())
    }
}

/// What `up` would do to one cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterPlan {
    /// Name of the cluster.
    pub cluster: String,
    /// What would become of each object.
    #[serde(flatten)]
    pub plan: Plan,
    /// Objects that are created too, and cannot be shown yet.
    pub later: Vec<Later>,
    /// Objects of this mesh that nobody needs any more. They are deleted.
    pub stale: Vec<ObjectKey>,
}

/// An object that cannot be rendered yet.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Later {
    /// Which object.
    #[serde(flatten)]
    pub key: ObjectKey,
    /// What it waits for.
    pub reason: String,
}

impl ClusterPlan {
    /// Tells whether nothing would be changed.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.plan.is_unchanged() && self.later.is_empty() && self.stale.is_empty()
    }

    /// Lists the objects that belong to somebody else and stand in the way.
    #[must_use]
    pub fn foreign(&self) -> Vec<(&ObjectKey, &str)> {
        self.plan.foreign()
    }

    /// Counts the objects with a verdict that `is` accepts.
    #[must_use]
    pub fn count(&self, is: fn(&Verdict) -> bool) -> usize {
        self.plan.objects.iter().filter(|planned| is(&planned.verdict)).count()
    }
}
