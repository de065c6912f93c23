//! When workloads, definitions and load balancers are ready, and what is missing while they are not.

use std::fmt;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Resource;
use kube::api::Api;
use serde::de::DeserializeOwned;

use super::nodes::Stranded;
use super::pods;
use super::wait::{self, Deadline, Poll, WaitError};
use crate::fleet::RequestError;

/// How far a workload is.
#[derive(Debug, PartialEq)]
pub struct Rollout {
    /// The controller has seen the newest version of the object.
    observed: bool,
    wanted: i32,
    updated: i32,
    ready: i32,
    /// Pods of an older version that still run.
    outdated: i32,
    selector: LabelSelector,
}

impl Rollout {
    fn is_done(&self) -> bool {
        self.observed && self.updated >= self.wanted && self.ready >= self.wanted && self.outdated <= 0
    }

    /// Tells whether all is done but what cannot be: on nodes that are not ready.
    fn is_done_without(&self, stranded: &Stranded) -> bool {
        self.observed
            && self.ready > 0
            && self.updated + stranded.ending >= self.wanted
            && self.ready + stranded.unready >= self.wanted
    }

    fn text(&self) -> String {
        let Self { wanted, updated, ready, outdated, .. } = self;
        if !self.observed {
            "its controller has not seen it yet".to_owned()
        } else if updated < wanted {
            format!("{updated} of {wanted} pods updated, {ready} ready")
        } else if *outdated > 0 {
            format!("{outdated} pods of the version before still run")
        } else {
            format!("{ready} of {wanted} pods ready")
        }
    }

    /// Gives the result of one look, with the reason from the pods when it is not done.
    async fn poll(self, client: &kube::Client, namespace: &str, workload: (&str, &str)) -> Poll<()> {
        if self.is_done() {
            return Poll::Ready(());
        }
        let text = self.text();
        // What cannot be found out about the pods does not stop the wait.
        match pods::trouble(client, namespace, &self.selector, workload).await {
            Ok(Some(reason)) => Poll::Pending(format!("{text}; {reason}")),
            Ok(None) | Err(_) => Poll::Pending(text),
        }
    }
}

/// A workload whose rollout can be followed.
pub trait Workload:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + fmt::Debug + DeserializeOwned
{
    /// Tells how far it is, or what has to come before it can be told.
    #[doc(hidden)]
    fn rollout(self) -> Result<Rollout, &'static str>;
}

/// What is waited for where the API server has answered without a specification.
const NO_SPEC: &str = "it has no spec";

impl Workload for StatefulSet {
    fn rollout(self) -> Result<Rollout, &'static str> {
        let (spec, status) = (self.spec.ok_or(NO_SPEC)?, self.status.unwrap_or_default());
        let on_delete =
            spec.update_strategy.and_then(|strategy| strategy.type_).as_deref() == Some("OnDelete");
        let current = on_delete || status.current_revision == status.update_revision;
        Ok(Rollout {
            observed: status.observed_generation >= self.metadata.generation,
            wanted: spec.replicas.unwrap_or(1),
            updated: if current { status.replicas } else { status.updated_replicas.unwrap_or(0) },
            ready: status.ready_replicas.unwrap_or(0),
            outdated: 0,
            selector: spec.selector,
        })
    }
}

impl Workload for Deployment {
    fn rollout(self) -> Result<Rollout, &'static str> {
        let (spec, status) = (self.spec.ok_or(NO_SPEC)?, self.status.unwrap_or_default());
        Ok(Rollout {
            observed: status.observed_generation >= self.metadata.generation,
            wanted: spec.replicas.unwrap_or(1),
            updated: status.updated_replicas.unwrap_or(0),
            ready: status.available_replicas.unwrap_or(0),
            // Those that are ready are counted together, old and new.
            outdated: status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0),
            selector: spec.selector,
        })
    }
}

impl Workload for DaemonSet {
    fn rollout(self) -> Result<Rollout, &'static str> {
        let (spec, status) = (self.spec.ok_or(NO_SPEC)?, self.status.unwrap_or_default());
        let observed = status.observed_generation >= self.metadata.generation;
        if observed && status.desired_number_scheduled == 0 {
            return Err("no node matches its node selector and tolerations");
        }
        Ok(Rollout {
            observed,
            wanted: status.desired_number_scheduled,
            updated: status.updated_number_scheduled.unwrap_or(0),
            ready: status.number_ready,
            outdated: 0,
            selector: spec.selector,
        })
    }
}

/// Waits until all pods of a workload are of its newest version and ready.
///
/// # Errors
/// [`WaitError`], whose last state holds the reason from the pods.
pub async fn workload_ready<W: Workload>(
    client: &kube::Client,
    namespace: &str,
    name: &str,
    deadline: Deadline<'_>,
) -> Result<(), WaitError> {
    let api = Api::<W>::namespaced(client.clone(), namespace);
    let kind = W::kind(&());
    let what = format!("{kind}/{name} in namespace {namespace} to be ready");
    wait::until(deadline, &what, || async {
        match look(&api, name).await.map(Workload::rollout) {
            Ok(Ok(rollout)) => rollout.poll(client, namespace, (&kind, name)).await,
            Ok(Err(reason)) => Poll::Pending(reason.to_owned()),
            Err(poll) => poll,
        }
    })
    .await
}

/// Waits until the pods of a `DaemonSet` are of its newest version and ready: on one node at least, and on all that are ready themselves. A node
/// that is not would be waited for until somebody mends it.
///
/// # Errors
/// [`WaitError`], whose last state holds the reason from the pods, and names the nodes that are not ready.
pub async fn ready_on_nodes(
    client: &kube::Client,
    namespace: &str,
    name: &str,
    deadline: Deadline<'_>,
) -> Result<(), WaitError> {
    let api = Api::<DaemonSet>::namespaced(client.clone(), namespace);
    let kind = DaemonSet::kind(&());
    let what = format!("{kind}/{name} in namespace {namespace} to be ready");
    wait::until(deadline, &what, || async {
        let rollout = match look(&api, name).await.map(Workload::rollout) {
            Ok(Ok(rollout)) => rollout,
            Ok(Err(reason)) => return Poll::Pending(reason.to_owned()),
            Err(poll) => return poll,
        };
        if rollout.is_done() {
            return Poll::Ready(());
        }
        // Where nodes cannot be listed, all of them are waited for.
        let stranded = Stranded::find(client, namespace, &rollout.selector).await.unwrap_or_default();
        if rollout.is_done_without(&stranded) {
            return Poll::Ready(());
        }
        match rollout.poll(client, namespace, (&kind, name)).await {
            Poll::Pending(state) => Poll::Pending(format!("{state}{}", stranded.told())),
            other => other,
        }
    })
    .await
}

/// Waits until the API server serves the kind that a custom resource definition defines.
///
/// # Errors
/// [`WaitError`], also at once when the names are taken by another definition.
pub async fn custom_resource_established(
    client: &kube::Client,
    name: &str,
    deadline: Deadline<'_>,
) -> Result<(), WaitError> {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let what = format!("CustomResourceDefinition/{name} to be established");
    wait::until(deadline, &what, || async {
        let definition = match look(&api, name).await {
            Ok(definition) => definition,
            Err(poll) => return poll,
        };
        let conditions = definition.status.and_then(|status| status.conditions).unwrap_or_default();
        let find = |kind: &str, value: &str| {
            conditions.iter().find(|condition| condition.type_ == kind && condition.status == value)
        };
        if find("Established", "True").is_some() {
            return Poll::Ready(());
        }
        match find("NamesAccepted", "False") {
            Some(refused) => {
                Poll::Never(refused.message.clone().unwrap_or_else(|| "its names are taken".to_owned()))
            }
            None => Poll::Pending("not established yet".to_owned()),
        }
    })
    .await
}

/// Reads an object; one that is not there may still come.
async fn look<K, T>(api: &Api<K>, name: &str) -> Result<K, Poll<T>>
where
    K: Clone + fmt::Debug + DeserializeOwned,
{
    match api.get_opt(name).await.map_err(RequestError::from) {
        Ok(Some(object)) => Ok(object),
        Ok(None) => Err(Poll::Pending("it does not exist yet".to_owned())),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fleet::fake::FakeServer;

    fn rollout<W: Workload>(spec: &Value, status: &Value) -> Result<Rollout, &'static str> {
        let mut object = json!({"metadata": {"name": "w", "generation": 3}, "status": status});
        if !spec.is_null() {
            let common =
                json!({"serviceName": "s", "selector": {"matchLabels": {"app": "w"}}, "template": {}});
            object["spec"] = common;
            for (key, value) in spec.as_object().unwrap() {
                object["spec"][key] = value.clone();
            }
        }
        serde_json::from_value::<W>(object).unwrap().rollout()
    }

    /// What is told of a workload; `done` where its rollout is.
    fn told<W: Workload>(spec: &Value, status: &Value) -> String {
        match rollout::<W>(spec, status) {
            Ok(rollout) if rollout.is_done() => "done".to_owned(),
            Ok(rollout) => rollout.text(),
            Err(reason) => reason.to_owned(),
        }
    }

    /// How a wait for the agents of three nodes ends, of which the third is in a state. `status` is how many pods are up to date and ready, `third`
    /// the pod there.
    async fn agents(labels: Value, conditions: Value, [updated, ready]: [i32; 2], third: Value) -> String {
        let server = FakeServer::default();
        let set = json!({
            "metadata": {"generation": 1}, "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": {}},
            "status": {"observedGeneration": 1, "desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberMisscheduled": 0,
                "updatedNumberScheduled": updated, "numberReady": ready},
        });
        server.put("/apis/apps/v1/namespaces/spire/daemonsets/agent", set);
        let is_ready = json!([{"type": "Ready", "status": "True"}]);
        for node in ["n1", "n2"] {
            server.put(&format!("/api/v1/nodes/{node}"), json!({"status": {"conditions": is_ready}}));
        }
        server.put(
            "/api/v1/nodes/n3",
            json!({"metadata": {"labels": labels}, "status": {"conditions": conditions}}),
        );
        for (name, mut pod) in [("a1", json!({})), ("a2", json!({})), ("a3", third)] {
            pod["metadata"]["labels"] = json!({"app": "agent"});
            let node = name.replace('a', "n");
            pod["spec"] = json!({"nodeName": node, "containers": []});
            server.put(&format!("/api/v1/namespaces/spire/pods/{name}"), pod);
        }
        let deadline = Deadline::after(std::time::Duration::from_secs(2));
        let ended = ready_on_nodes(&server.member("foo").client().clone(), "spire", "agent", deadline).await;
        ended.map_or_else(|error| error.to_string(), |()| "done".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_third_node_that_is_not_ready_or_of_fargate_is_not_waited_for() {
        let (ready, down) =
            (json!([{"type": "Ready", "status": "True"}]), json!([{"type": "Ready", "status": "Unknown"}]));
        let fargate = json!({"eks.amazonaws.com/compute-type": "fargate"});
        let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
        let mut ending = unready.clone();
        ending["metadata"] = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let none = || json!({});
        assert_eq!(agents(none(), down.clone(), [3, 2], unready.clone()).await, "done");
        assert_eq!(agents(fargate, ready.clone(), [3, 2], unready.clone()).await, "done");
        assert_eq!(agents(none(), down.clone(), [2, 2], ending.clone()).await, "done");
        let waits =
            "timed out after 2s waiting for DaemonSet/agent in namespace spire to be ready; last seen: ";
        // Its pod is up to date, so that it is another one that is not.
        let not_updated = agents(none(), down.clone(), [2, 2], unready.clone()).await;
        let not_ready = agents(none(), ready, [3, 2], unready.clone()).await;
        let nowhere = agents(none(), down, [3, 0], unready).await;
        insta::assert_snapshot!([not_updated, not_ready, nowhere].join("\n").replace(waits, ""));
    }

    #[test]
    fn a_deployment_is_done_when_only_new_pods_run_and_are_available() {
        let told = |replicas: i32, status: Value| told::<Deployment>(&json!({"replicas": replicas}), &status);
        let status = |observed: i32, all: i32, updated: i32, available: i32| json!({"observedGeneration": observed, "replicas": all, "updatedReplicas": updated, "availableReplicas": available});
        assert_eq!(told(3, status(3, 3, 3, 3)), "done");
        assert_eq!(told(0, status(4, 0, 0, 0)), "done");
        assert_eq!(told(3, status(2, 3, 3, 3)), "its controller has not seen it yet");
        assert_eq!(told(3, status(3, 3, 2, 3)), "2 of 3 pods updated, 3 ready");
        assert_eq!(told(3, status(3, 5, 3, 3)), "2 pods of the version before still run");
        assert_eq!(told(3, status(3, 3, 3, 2)), "2 of 3 pods ready");
        assert_eq!(told(3, json!({})), "its controller has not seen it yet");
        assert_eq!(told(2, json!({"observedGeneration": 3})), "0 of 2 pods updated, 0 ready");
        let one = json!({"observedGeneration": 3, "replicas": 1, "updatedReplicas": 1});
        assert_eq!(super::tests::told::<Deployment>(&json!({}), &one), "0 of 1 pods ready");
        assert_eq!(super::tests::told::<Deployment>(&Value::Null, &one), NO_SPEC);
    }

    #[test]
    fn a_stateful_set_is_done_when_its_pods_are_of_the_newest_revision_and_ready() {
        let status = |current: &str, updated: i32, ready: i32| {
            json!({"observedGeneration": 3, "replicas": 2, "currentRevision": current, "updateRevision": "b",
                "updatedReplicas": updated, "readyReplicas": ready})
        };
        let two = json!({"replicas": 2});
        let told = |status: &Value| told::<StatefulSet>(&two, status);
        assert_eq!(told(&status("b", 0, 2)), "done");
        assert_eq!(told(&status("a", 2, 2)), "done");
        assert_eq!(told(&status("a", 1, 2)), "1 of 2 pods updated, 2 ready");
        assert_eq!(told(&status("b", 0, 1)), "1 of 2 pods ready");
        let mut unseen = status("b", 0, 2);
        unseen["observedGeneration"] = json!(2);
        assert_eq!(told(&unseen), "its controller has not seen it yet");
        let by_hand = json!({"replicas": 2, "updateStrategy": {"type": "OnDelete"}});
        assert_eq!(super::tests::told::<StatefulSet>(&by_hand, &status("a", 0, 2)), "done");
        let rolling = json!({"replicas": 2, "updateStrategy": {"type": "RollingUpdate"}});
        assert_eq!(
            super::tests::told::<StatefulSet>(&rolling, &status("a", 0, 2)),
            "0 of 2 pods updated, 2 ready"
        );
        let one = rollout::<StatefulSet>(&json!({}), &status("b", 0, 0)).unwrap();
        assert_eq!((one.wanted, one.outdated), (1, 0));
        let labels = one.selector.match_labels.unwrap();
        assert_eq!(labels.into_iter().collect::<Vec<_>>(), [("app".to_owned(), "w".to_owned())]);
    }

    #[test]
    fn a_daemon_set_is_done_when_it_is_on_some_node_and_ready_on_all() {
        let told = |observed: i32, wanted: i32, updated: i32, ready: i32| {
            let status = json!({"observedGeneration": observed, "desiredNumberScheduled": wanted,
                "currentNumberScheduled": 0, "numberMisscheduled": 0, "updatedNumberScheduled": updated,
                "numberReady": ready});
            told::<DaemonSet>(&json!({}), &status)
        };
        assert_eq!(told(3, 2, 2, 2), "done");
        assert_eq!(told(3, 2, 1, 2), "1 of 2 pods updated, 2 ready");
        assert_eq!(told(3, 2, 2, 1), "1 of 2 pods ready");
        assert_eq!(told(2, 2, 2, 2), "its controller has not seen it yet");
        assert_eq!(told(3, 0, 0, 0), "no node matches its node selector and tolerations");
        assert_eq!(told(2, 0, 0, 0), "its controller has not seen it yet");
    }
}
