//! Taking the pods of a workload away for a while, in a way that anybody can undo: what there has to be again is recorded in the
//! workload itself, by the very write that scales it.

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde::Serialize;
use serde_json::json;

use super::error::TrafficError;
use crate::fleet::{Cause, Member, Need, RequestError};

/// The annotation of a workload whose pods were taken away: how many it had.
pub const RECORD: &str = "spire-mesh.dev/replicas-before-failover";
/// The most replicas that are believed.
const MOST_REPLICAS: i32 = 10_000;
/// How often a workload is read again that somebody else changes at the same time, as its controller does with its status.
const ATTEMPTS: u32 = 5;
/// Who writes.
const FIELD_MANAGER: &str = "kubectl-xcluster-curl";

/// A workload whose pods were taken away. The shape of its JSON is a promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TakenAway {
    /// Name of its cluster.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How many pods it had; null where the record is none.
    pub replicas: Option<i32>,
}

/// Reads how many replicas a workload had before; `None` where nothing, or nothing that could be, is recorded.
#[must_use]
pub fn recorded(deployment: &Deployment) -> Option<i32> {
    let text = deployment.annotations().get(RECORD)?;
    text.parse().ok().filter(|replicas| (1..=MOST_REPLICAS).contains(replicas))
}

/// Lists the workloads of a cluster whose pods were taken away and not brought back.
///
/// # Errors
/// [`TrafficError`] when they cannot be listed.
pub async fn taken_away(member: &Member) -> Result<Vec<TakenAway>, TrafficError> {
    let api: Api<Deployment> = Api::all(member.client().clone());
    let list = api.list(&ListParams::default()).await.map_err(|error| {
        TrafficError::request(member.name(), Need::new("list", "apps", "deployments", None), error)
    })?;
    let marked = list.items.iter().filter(|deployment| deployment.annotations().contains_key(RECORD));
    let found = marked.map(|deployment| TakenAway {
        cluster: member.name().to_owned(),
        namespace: deployment.namespace().unwrap_or_default(),
        name: deployment.name_any(),
        replicas: recorded(deployment),
    });
    Ok(found.collect())
}

/// Scales a workload to none, and records in the same write how many pods it had. Refused by the API server where it has changed since it
/// was read.
///
/// # Errors
/// [`TrafficError`] when it cannot be written.
pub async fn take_away(
    member: &Member,
    namespace: &str,
    name: &str,
    replicas: i32,
    resource_version: &str,
) -> Result<(), TrafficError> {
    let patch = json!({
        "metadata": {"resourceVersion": resource_version, "annotations": {RECORD: replicas.to_string()}},
        "spec": {"replicas": 0},
    });
    let api: Api<Deployment> = Api::namespaced(member.client().clone(), namespace);
    patched(&api, name, &patch).await.map_err(|error| unwritten(member, namespace, error))
}

/// Scales a workload to what is recorded, and takes the record away. `None` where nothing is recorded: then nothing is changed. Where the
/// workload has changed since it was read, it is read again.
///
/// # Errors
/// [`TrafficError`] when it cannot be read or written.
pub async fn bring_back(member: &Member, namespace: &str, name: &str) -> Result<Option<i32>, TrafficError> {
    let api: Api<Deployment> = Api::namespaced(member.client().clone(), namespace);
    let mut attempts = 1..=ATTEMPTS;
    loop {
        let deployment = api.get(name).await.map_err(|error| {
            let need = Need::new("get", "apps", "deployments", Some(namespace));
            TrafficError::request(member.name(), need, error)
        })?;
        let Some(replicas) = recorded(&deployment) else { return Ok(None) };
        // Whoever has scaled it meanwhile knows better.
        let now = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let wanted = if now == 0 { replicas } else { now };
        let patch = json!({
            "metadata": {"resourceVersion": deployment.resource_version(), "annotations": {RECORD: null}},
            "spec": {"replicas": wanted},
        });
        attempts.next();
        match patched(&api, name, &patch).await {
            Ok(()) => return Ok(Some(wanted)),
            Err(error) if is_conflict(&error) && !attempts.is_empty() => {}
            Err(error) => return Err(unwritten(member, namespace, error)),
        }
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    RequestError::from(error).cause() == Cause::Conflict
}

async fn patched(api: &Api<Deployment>, name: &str, patch: &serde_json::Value) -> Result<(), kube::Error> {
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(name, &params, &Patch::Merge(patch)).await.map(drop)
}

fn unwritten(member: &Member, namespace: &str, error: kube::Error) -> TrafficError {
    let need = Need::new("patch", "apps", "deployments", Some(namespace));
    TrafficError::request(member.name(), need, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fake::FakeServer;

    #[test]
    fn only_a_sensible_record_is_believed() {
        let of = |text: &str| {
            recorded(
                &serde_json::from_value(json!({"metadata": {"name": "a", "annotations": {RECORD: text}}}))
                    .unwrap(),
            )
        };
        assert_eq!(of("3"), Some(3));
        for text in ["", "0", "-1", "many", "99999999", "1.5"] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(recorded(&Deployment::default()), None);
    }

    const PATH: &str = "/apis/apps/v1/namespaces/shop/deployments/cart";

    fn deployment(replicas: i32, record: Option<&str>) -> serde_json::Value {
        let annotations = record.map(|record| json!({RECORD: record, "a": "b"}));
        json!({"metadata": {"annotations": annotations, "resourceVersion": "7"}, "spec": {"replicas": replicas}})
    }

    #[tokio::test]
    async fn who_scaled_meanwhile_keeps_their_number() {
        let back = |replicas: i32, record: Option<&'static str>| async move {
            let server = FakeServer::default();
            server.put(PATH, deployment(replicas, record));
            let brought = bring_back(&server.member("baz"), "shop", "cart").await.unwrap();
            let now = server.object(PATH).unwrap();
            let recorded = now["metadata"]["annotations"].get(RECORD).cloned();
            (brought, now["spec"]["replicas"].as_i64().unwrap(), recorded.is_some(), server.writes().len())
        };
        assert_eq!(back(0, Some("3")).await, (Some(3), 3, false, 1));
        assert_eq!(back(5, Some("3")).await, (Some(5), 5, false, 1));
        assert_eq!(back(1, Some("3")).await, (Some(1), 1, false, 1));
        // Nothing that could be believed is recorded: then nothing is changed.
        assert_eq!(back(0, None).await, (None, 0, false, 0));
        assert_eq!(back(0, Some("many")).await, (None, 0, true, 0));
    }

    #[tokio::test]
    async fn a_workload_that_changed_since_it_was_read_is_read_again() {
        let back = |changes: u32| async move {
            let server = FakeServer::default();
            server.put(PATH, deployment(0, Some("3")));
            server.changes_before_writes(PATH, changes);
            let brought = bring_back(&server.member("baz"), "shop", "cart").await;
            (brought, server.object(PATH).unwrap()["spec"]["replicas"].clone())
        };
        let (brought, replicas) = back(4).await;
        assert_eq!((brought.unwrap(), replicas), (Some(3), json!(3)));
        let (brought, replicas) = back(5).await;
        assert_eq!(replicas, json!(0), "nothing is written over what was not read");
        assert!(brought.is_err());
    }

    #[tokio::test]
    async fn pods_go_away_in_the_write_that_records_how_many_there_were() {
        let server = FakeServer::default();
        server.put(PATH, deployment(3, None));
        let member = server.member("baz");
        take_away(&member, "shop", "cart", 3, "7").await.unwrap();
        let taken = server.object(PATH).unwrap();
        assert_eq!(
            (&taken["spec"]["replicas"], &taken["metadata"]["annotations"][RECORD]),
            (&json!(0), &json!("3"))
        );
        assert_eq!(taken["metadata"]["resourceVersion"], json!("7"));
        assert_eq!(server.writes().len(), 1);
        let error = take_away(&member, "shop", "gone", 3, "7").await.unwrap_err();
        insta::assert_snapshot!(error.to_string(), @"cannot patch deployments.apps in namespace shop in baz");
    }

    #[tokio::test]
    async fn every_workload_with_a_record_is_found() {
        let server = FakeServer::default();
        let path =
            |namespace: &str, name: &str| format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
        server.put(&path("sample", "helloworld-v1"), deployment(0, Some("2")));
        server.put(&path("shop", "cart"), deployment(0, Some("many")));
        server.put(&path("shop", "other"), deployment(0, None));
        let found = taken_away(&server.member("baz")).await.unwrap();
        insta::assert_json_snapshot!(found);
    }
}
