//! Taking the pods of a workload away for a while, in a way that anybody can undo: what there has to be again is recorded in the
//! workload itself, by the very write that scales it.

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::TrafficError;
use crate::fleet::{Cause, Member, Need, RequestError, list_pages};
use crate::hint::{Advice, Command};
use crate::manifest::{RecordError, read_record, write_record};

/// The annotation of a workload whose pods were taken away: how many it had.
pub const RECORD: &str = "spire-mesh.dev/replicas-before-failover";
/// The version of what is written there. One that is read has this one, or says none.
const VERSION: u64 = 1;
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
    /// How many pods it had; null where the record is not understood.
    pub replicas: Option<i32>,
}

/// What is recorded.
#[derive(Serialize, Deserialize)]
struct Before {
    replicas: Replicas,
}

/// A number of replicas that can be believed.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "i32")]
struct Replicas(i32);

impl TryFrom<i32> for Replicas {
    type Error = &'static str;

    fn try_from(replicas: i32) -> Result<Self, Self::Error> {
        if (1..=MOST_REPLICAS).contains(&replicas) {
            Ok(Self(replicas))
        } else {
            Err("not a number of replicas")
        }
    }
}

/// Reads how many replicas a workload of a cluster had before; `None` where nothing is recorded.
///
/// # Errors
/// [`RecordError`] where what is recorded is not understood.
pub fn recorded(member: &Member, deployment: &Deployment) -> Result<Option<i32>, RecordError> {
    let Some(text) = deployment.annotations().get(RECORD) else { return Ok(None) };
    // Earlier releases wrote the number alone.
    let bare = text.parse::<i32>().ok().map(|replicas| format!(r#"{{"replicas":{replicas}}}"#));
    let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
    let kubectl = |words: [&str; 4]| Command::kubectl(["-n", &namespace]).and(words).at(member.context());
    let scale = kubectl(["scale", "deployment", &name, "--replicas=1"]);
    let remove = Advice::from(scale).then("; ").then(kubectl([
        "annotate",
        "deployment",
        &name,
        &format!("{RECORD}-"),
    ]));
    let place = format!("annotation {RECORD} of Deployment {namespace}/{name}");
    let before: Before = read_record(VERSION, bare.as_ref().unwrap_or(text), &place, remove)?;
    Ok(Some(before.replicas.0))
}

/// Lists the workloads of a cluster whose pods were taken away and not brought back.
///
/// # Errors
/// [`TrafficError`] when they cannot be listed.
pub async fn taken_away(member: &Member) -> Result<Vec<TakenAway>, TrafficError> {
    let api: Api<Deployment> = Api::all(member.client().clone());
    let marked = |deployment: Deployment| {
        deployment.annotations().contains_key(RECORD).then(|| TakenAway {
            cluster: member.name().to_owned(),
            namespace: deployment.namespace().unwrap_or_default(),
            name: deployment.name_any(),
            // Shown all the same; who brings it back is told why that is not known.
            replicas: recorded(member, &deployment).ok().flatten(),
        })
    };
    list_pages(&api, &ListParams::default(), marked).await.map_err(|error| {
        TrafficError::request(member.name(), Need::new("list", "apps", "deployments", None), error)
    })
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
        "metadata": {"resourceVersion": resource_version, "annotations": {RECORD: record(replicas)}},
        "spec": {"replicas": 0},
    });
    let api: Api<Deployment> = Api::namespaced(member.client().clone(), namespace);
    patched(&api, name, &patch).await.map_err(|error| unwritten(member, namespace, error))
}

fn record(replicas: i32) -> String {
    write_record(VERSION, &Before { replicas: Replicas(replicas) })
}

/// Scales a workload to what is recorded, and takes the record away. `None` where nothing is recorded: then nothing is changed. Where the
/// workload has changed since it was read, it is read again.
///
/// # Errors
/// [`TrafficError`] when it cannot be read or written, or what is recorded is not understood.
pub async fn bring_back(member: &Member, namespace: &str, name: &str) -> Result<Option<i32>, TrafficError> {
    let api: Api<Deployment> = Api::namespaced(member.client().clone(), namespace);
    let mut attempts = 1..=ATTEMPTS;
    loop {
        let deployment = api.get(name).await.map_err(|error| {
            let need = Need::new("get", "apps", "deployments", Some(namespace));
            TrafficError::request(member.name(), need, error)
        })?;
        let Some(replicas) = recorded(member, &deployment)? else { return Ok(None) };
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
    use crate::hint::Hint;

    #[tokio::test]
    async fn only_a_sensible_record_is_believed_and_the_number_alone_is_one_of_an_earlier_release() {
        let member = FakeServer::default().member("baz");
        let of = |text: &str| {
            let metadata = json!({"name": "cart", "namespace": "shop", "annotations": {RECORD: text}});
            recorded(&member, &serde_json::from_value(json!({"metadata": metadata})).unwrap())
        };
        assert_eq!(of("3"), Ok(Some(3)));
        assert_eq!(of(&record(4)), Ok(Some(4)));
        for text in ["", "0", "-1", "many", "99999999", "1.5", r#"{"version":1,"replicas":0}"#] {
            assert!(of(text).is_err(), "{text}");
        }
        let refused = of(r#"{"version":2,"pods":3}"#).unwrap_err();
        insta::assert_snapshot!(format!("{refused}\nhint: {}", refused.hint().unwrap()), @r#"
        annotation spire-mesh.dev/replicas-before-failover of Deployment shop/cart holds a record of version 2, and this plugin understands version 1: `{"version":2,"pods":3}`
        hint: go on with the version of the plugin that wrote it; to start without the record: kubectl --context baz -n shop scale deployment cart --replicas=1; kubectl --context baz -n shop annotate deployment cart spire-mesh.dev/replicas-before-failover-
        "#);
        assert_eq!(recorded(&member, &Deployment::default()), Ok(None));
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
            let brought = bring_back(&server.member("baz"), "shop", "cart").await.ok();
            let now = server.object(PATH).unwrap();
            let recorded = now["metadata"]["annotations"].get(RECORD).cloned();
            (brought, now["spec"]["replicas"].as_i64().unwrap(), recorded.is_some(), server.writes().len())
        };
        assert_eq!(back(0, Some("3")).await, (Some(Some(3)), 3, false, 1));
        assert_eq!(back(5, Some("3")).await, (Some(Some(5)), 5, false, 1));
        assert_eq!(back(1, Some("3")).await, (Some(Some(1)), 1, false, 1));
        // Nothing is recorded, or nothing that could be believed: then nothing is changed.
        assert_eq!(back(0, None).await, (Some(None), 0, false, 0));
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
            (&json!(0), &json!(r#"{"version":1,"replicas":3}"#))
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
