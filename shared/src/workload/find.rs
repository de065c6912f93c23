use std::collections::BTreeMap;
use std::fmt;

use super::name::{Workload, WorkloadKind, WorkloadName};
use super::pod::WorkloadPod;
use crate::hint::nearest;

/// A workload that a name may mean.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Its namespace.
    pub namespace: String,
    /// What it is.
    pub workload: Workload,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.workload)
    }
}

/// Why a name means no workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindError {
    /// Nothing is called so. The one that was probably meant, where there is one.
    None {
        /// What is called nearly so.
        nearest: Option<Candidate>,
    },
    /// Several are, or begin so.
    Several(Vec<Candidate>),
}

/// Finds the pods of the one workload that a name means: an exact name first, then a pod's, then the beginning of a workload's
/// name, of a pod's at last.
///
/// # Errors
/// [`FindError`] when nothing or more than one workload fits.
pub fn find<'p>(pods: &'p [WorkloadPod], name: &WorkloadName) -> Result<Vec<&'p WorkloadPod>, FindError> {
    let of_kind = |pod: &&WorkloadPod| name.kind.is_none_or(|kind| pod.workload.kind == kind);
    // A pod is a pod, whatever owns it.
    let pods_asked = name.kind.is_none_or(|kind| kind == WorkloadKind::Pod);
    let ways: [&dyn Fn(&&WorkloadPod) -> bool; 4] = [
        &|pod| of_kind(pod) && pod.workload.name == name.name,
        &|pod| pods_asked && pod.name == name.name,
        &|pod| of_kind(pod) && pod.workload.name.starts_with(&name.name),
        &|pod| pods_asked && pod.name.starts_with(&name.name),
    ];
    for (index, fits) in ways.iter().enumerate() {
        let mut by_workload: BTreeMap<Candidate, Vec<&WorkloadPod>> = BTreeMap::new();
        for pod in pods.iter().filter(|pod| fits(pod)) {
            // Where a pod was meant, each is one.
            let workload = if index % 2 == 0 {
                pod.workload.clone()
            } else {
                Workload { kind: WorkloadKind::Pod, name: pod.name.clone() }
            };
            by_workload
                .entry(Candidate { namespace: pod.namespace.clone(), workload })
                .or_default()
                .push(pod);
        }
        match by_workload.len() {
            0 => {}
            1 => return Ok(by_workload.into_values().flatten().collect()),
            _ => return Err(FindError::Several(by_workload.into_keys().collect())),
        }
    }
    Err(FindError::None { nearest: nearest_to(pods, &name.name) })
}

fn nearest_to(pods: &[WorkloadPod], name: &str) -> Option<Candidate> {
    // A pod where a workload of another kind was asked for.
    let pod = pods.iter().find(|pod| pod.name == name).or_else(|| {
        let meant = nearest(name, pods.iter().map(|pod| pod.workload.name.as_str()))?;
        pods.iter().find(|pod| pod.workload.name == meant)
    })?;
    Some(Candidate { namespace: pod.namespace.clone(), workload: pod.workload.clone() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::pod::ProxyState;
    use super::WorkloadKind::{Deployment, StatefulSet};
    use super::*;

    fn pods() -> Vec<WorkloadPod> {
        let pod = |namespace: &str, kind, workload: &str, name: &str| WorkloadPod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            workload: Workload { kind, name: workload.to_owned() },
            service_account: "default".to_owned(),
            labels: BTreeMap::new(),
            proxy: ProxyState::Runs,
            is_gateway: false,
            trouble: None,
        };
        vec![
            pod("bookinfo", Deployment, "productpage-v1", "productpage-v1-7f9-a"),
            pod("bookinfo", Deployment, "reviews-v1", "reviews-v1-7f9-a"),
            pod("bookinfo", Deployment, "reviews-v1", "reviews-v1-7f9-b"),
            pod("bookinfo", Deployment, "reviews-v2", "reviews-v2-7f9-a"),
            pod("data", StatefulSet, "reviews-v1", "reviews-v1-0"),
            pod("bookinfo", Deployment, "ratings-v1", "ratings-v1-7f9-a"),
            pod("bookinfo", Deployment, "ratings-v1", "ratings-v1-7f9-b"),
            pod("bookinfo", StatefulSet, "db", "db-0"),
            pod("data", StatefulSet, "db2", "db-0"),
        ]
    }

    fn found(text: &str) -> Result<Vec<String>, String> {
        let name = text.parse::<super::super::WorkloadRef>().expect("a name").name;
        match find(&pods(), &name) {
            Ok(pods) => Ok(pods.iter().map(|pod| pod.name.clone()).collect()),
            Err(FindError::None { nearest }) => Err(format!("none, {nearest:?}")),
            Err(FindError::Several(several)) => {
                Err(several.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn a_name_means_a_workload_a_pod_or_how_one_of_them_begins() {
        assert_eq!(found("productpage-v1").unwrap(), ["productpage-v1-7f9-a"]);
        assert_eq!(found("product").unwrap(), ["productpage-v1-7f9-a"]);
        assert_eq!(found("deploy/reviews-v1").unwrap(), ["reviews-v1-7f9-a", "reviews-v1-7f9-b"]);
        assert_eq!(found("reviews-v1-7f9-b").unwrap(), ["reviews-v1-7f9-b"]);
        assert_eq!(found("pod/reviews-v1-0").unwrap(), ["reviews-v1-0"]);
        assert_eq!(found("sts/reviews-v1").unwrap(), ["reviews-v1-0"]);
        // All pods of the one workload that begins so, and the one pod that does.
        assert_eq!(found("rat").unwrap(), ["ratings-v1-7f9-a", "ratings-v1-7f9-b"]);
        assert_eq!(found("reviews-v2-7").unwrap(), ["reviews-v2-7f9-a"]);
        assert_eq!(found("pod/product").unwrap(), ["productpage-v1-7f9-a"]);
        // An exact name is no beginning: `db` is not `db2`.
        assert_eq!(found("db").unwrap(), ["db-0"]);
    }

    #[test]
    fn pods_that_are_meant_stand_for_themselves_and_only_where_no_other_kind_is_asked_for() {
        insta::assert_snapshot!(found("db-0").unwrap_err(), @"bookinfo/pod/db-0 data/pod/db-0");
        insta::assert_snapshot!(found("pod/ratings").unwrap_err(), @"bookinfo/pod/ratings-v1-7f9-a bookinfo/pod/ratings-v1-7f9-b");
        assert!(found("deploy/reviews-v1-7f9-b").unwrap_err().starts_with("none, Some("));
        assert!(found("sts/ratings-v1").unwrap_err().starts_with("none, Some("));
    }

    #[test]
    fn several_are_all_named_and_none_has_a_neighbour() {
        insta::assert_snapshot!(found("reviews-v1").unwrap_err(), @"bookinfo/deployment/reviews-v1 data/statefulset/reviews-v1");
        insta::assert_snapshot!(found("deploy/reviews").unwrap_err(), @"bookinfo/deployment/reviews-v1 bookinfo/deployment/reviews-v2");
        assert!(found("prodcutpage-v1").unwrap_err().contains("productpage-v1"));
        assert_eq!(found("gateway").unwrap_err(), "none, None");
    }
}
