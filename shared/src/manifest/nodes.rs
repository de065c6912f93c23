//! Nodes, as far as pods that have to be on every one of them care.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use kube::core::Selector;
use serde::{Serialize, Serializer};

use super::pods::pod_is_ready;
use crate::fleet::{RequestError, list_pages};

/// The label by which EKS says what kind of node one is.
const COMPUTE_TYPE: &str = "eks.amazonaws.com/compute-type";

/// Whether a node can have the pods of a `DaemonSet`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It can, and is ready.
    Ready,
    /// Its kubelet says that it can run no pods, or says nothing any more.
    NotReady {
        /// What the Node object says of that.
        said: String,
    },
    /// It is of AWS Fargate, which makes a node for each pod and runs no other pod there.
    Fargate,
}

impl NodeState {
    /// Reads it from a node.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        if node.labels().get(COMPUTE_TYPE).is_some_and(|kind| kind == "fargate") {
            return Self::Fargate;
        }
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        match conditions.into_iter().find(|condition| condition.type_ == "Ready") {
            Some(ready) if ready.status == "True" => Self::Ready,
            Some(ready) => {
                let words = [ready.reason.as_deref(), ready.message.as_deref()];
                let words: Vec<&str> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
                let said = format!("Ready is {}", ready.status);
                Self::NotReady {
                    said: if words.is_empty() { said } else { format!("{said}: {}", words.join(": ")) },
                }
            }
            None => Self::NotReady { said: "it has no condition Ready".to_owned() },
        }
    }

    /// Returns the word for it in tables and in JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady { .. } => "not-ready",
            Self::Fargate => "fargate",
        }
    }
}

impl Serialize for NodeState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Returns the node that a pod is on, or that it waits for: the pods of a `DaemonSet` are made for one each.
pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    let wanted = || {
        let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
        let terms =
            &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
        let fields = terms.first()?.match_fields.as_ref()?;
        fields.iter().find(|field| field.key == "metadata.name")?.values.as_ref()?.first()
    };
    spec.node_name.as_ref().or_else(wanted).map(String::as_str)
}

/// The pods of a workload on nodes that are not ready: nobody can make them ready.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stranded {
    /// The nodes.
    nodes: BTreeSet<String>,
    /// How many of the pods are not ready.
    pub(super) unready: i32,
    /// How many of the pods are to end, and cannot.
    pub(super) ending: i32,
}

impl Stranded {
    /// Looks for them.
    ///
    /// # Errors
    /// [`RequestError`] when nodes or pods cannot be listed.
    pub(super) async fn find(
        client: &kube::Client,
        namespace: &str,
        selector: &LabelSelector,
    ) -> Result<Self, RequestError> {
        let down = |node: Node| (NodeState::of(&node) != NodeState::Ready).then(|| node.name_any());
        let down = list_pages(&Api::<Node>::all(client.clone()), &ListParams::default(), down).await?;
        let mut stranded = Self::default();
        let Ok(selector) = Selector::try_from(selector.clone()) else { return Ok(stranded) };
        if down.is_empty() {
            return Ok(stranded);
        }
        let pods = Api::<Pod>::namespaced(client.clone(), namespace);
        for pod in pods.list(&ListParams::default().labels_from(&selector)).await?.items {
            let Some(node) = node_of(&pod).filter(|node| down.iter().any(|down| down == node)) else {
                continue;
            };
            stranded.nodes.insert(node.to_owned());
            stranded.unready += i32::from(!pod_is_ready(&pod));
            stranded.ending += i32::from(pod.metadata.deletion_timestamp.is_some());
        }
        Ok(stranded)
    }

    /// Says where they are; nothing where there are none.
    pub(super) fn told(&self) -> String {
        let names: Vec<&str> = self.nodes.iter().map(String::as_str).collect();
        if names.is_empty() { String::new() } else { format!("; not ready: node {}", names.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn state(labels: &Value, conditions: &Value) -> NodeState {
        let node = json!({"metadata": {"name": "n", "labels": labels}, "status": {"conditions": conditions}});
        NodeState::of(&serde_json::from_value(node).unwrap())
    }

    #[test]
    fn a_node_says_itself_whether_it_is_ready_and_of_fargate() {
        let ready = json!([{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": "True"}]);
        assert_eq!(state(&json!({}), &ready), NodeState::Ready);
        assert_eq!(state(&json!({COMPUTE_TYPE: "auto"}), &ready), NodeState::Ready);
        for conditions in [&ready, &json!([])] {
            assert_eq!(state(&json!({COMPUTE_TYPE: "fargate"}), conditions), NodeState::Fargate);
        }
        let said = |conditions: Value| match state(&json!({}), &conditions) {
            NodeState::NotReady { said } => said,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            said(
                json!([{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}])
            ),
            "Ready is Unknown: NodeStatusUnknown: Kubelet stopped posting node status."
        );
        assert_eq!(said(json!([{"type": "Ready", "status": "False", "message": ""}])), "Ready is False");
        assert_eq!(said(json!([{"type": "DiskPressure", "status": "True"}])), "it has no condition Ready");
    }

    #[test]
    fn a_pod_that_waits_for_a_node_names_it() {
        let of =
            |spec: Value| node_of(&serde_json::from_value(json!({"spec": spec})).unwrap()).map(str::to_owned);
        let waits = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n-2"]}]}]}}});
        assert_eq!(of(json!({"containers": [], "affinity": waits})), Some("n-2".to_owned()));
        assert_eq!(
            of(json!({"containers": [], "affinity": waits, "nodeName": "n-1"})),
            Some("n-1".to_owned())
        );
        assert_eq!(of(json!({"containers": []})), None);
    }
}
