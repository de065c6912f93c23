//! What applying would do to all clusters of a mesh.

use serde::Serialize;

use super::declared::Declared;
use super::object::ObjectKey;
use super::plan::{Plan, Verdict};

/// Which objects of a mesh a run looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them: `up`.
    Everything,
    /// Those that depend on what is in other clusters: `connect`. The rest was applied by somebody else from what `render` writes, and is left
    /// as it is.
    Live,
}

/// What `up` or `connect` would do to a mesh.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshPlan {
    /// Name of the mesh.
    pub mesh: String,
    /// Which objects were looked at. Whoever does what was planned does it to no others.
    #[serde(skip)]
    pub scope: Scope,
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
    /// Objects of this mesh that are no longer wanted. They are deleted.
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

    /// Lists the objects of which somebody else declares fields with other values.
    #[must_use]
    pub fn declared(&self) -> Vec<(&ObjectKey, &[Declared])> {
        self.plan.declared()
    }

    /// Counts the objects with a verdict that `is` accepts.
    #[must_use]
    pub fn count(&self, is: fn(&Verdict) -> bool) -> usize {
        self.plan.objects.iter().filter(|planned| is(&planned.verdict)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::Kind;
    use super::super::plan::Planned;
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::Namespace, None, name)
    }

    fn planned(cluster: &str, verdicts: Vec<Verdict>) -> ClusterPlan {
        let objects = verdicts.into_iter().map(|verdict| Planned { key: key("n"), verdict }).collect();
        let (later, stale) = (Vec::new(), Vec::new());
        ClusterPlan { cluster: cluster.to_owned(), plan: Plan { objects }, later, stale }
    }

    fn unchanged(cluster: &str) -> ClusterPlan {
        planned(cluster, vec![Verdict::Unchanged, Verdict::Kept])
    }

    #[test]
    fn a_cluster_is_unchanged_when_nothing_is_made_changed_deleted_or_yet_to_come() {
        assert!(unchanged("foo").is_unchanged());
        assert!(planned("foo", Vec::new()).is_unchanged());
        let of = |verdict| planned("foo", vec![Verdict::Unchanged, verdict]);
        assert!(!of(Verdict::Create).is_unchanged());
        assert!(!of(Verdict::Change { fields: Vec::new() }).is_unchanged());
        assert!(!of(Verdict::Foreign { owner: "Helm".to_owned() }).is_unchanged());
        let later = Later { key: key("l"), reason: "an address".to_owned() };
        assert!(!ClusterPlan { later: vec![later], ..unchanged("foo") }.is_unchanged());
        assert!(!ClusterPlan { stale: vec![key("s")], ..unchanged("foo") }.is_unchanged());
    }

    #[test]
    fn a_mesh_is_unchanged_when_every_cluster_is_and_each_is_asked_by_its_name() {
        let third = planned("baz", vec![Verdict::Unchanged, Verdict::Create, Verdict::Create]);
        assert_eq!(third.count(|verdict| *verdict == Verdict::Create), 2);
        let mesh = |clusters| MeshPlan { mesh: "shop".to_owned(), scope: Scope::Everything, clusters };
        assert!(mesh(vec![unchanged("foo"), unchanged("bar"), unchanged("baz")]).is_unchanged());
        let changed = mesh(vec![unchanged("foo"), unchanged("bar"), third]);
        assert!(!changed.is_unchanged());
        assert!(changed.leaves_alone("foo") && changed.leaves_alone("bar"));
        assert!(!changed.leaves_alone("baz") && !changed.leaves_alone("qux"));
    }

    #[test]
    fn what_is_in_the_way_is_named_with_whose_it_is() {
        let foreign = |owner: &str| Verdict::Foreign { owner: owner.to_owned() };
        let plan = planned("foo", vec![Verdict::Create, foreign("Helm"), Verdict::Kept, foreign("kubectl")]);
        let owners: Vec<&str> = plan.foreign().into_iter().map(|(_, owner)| owner).collect();
        assert_eq!(owners, ["Helm", "kubectl"]);
    }
}
