//! Planning, applying and deleting against an API server in memory.

mod server;

use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::{Value, json};

use self::server::{Server, failure, message};
use super::*;
use crate::hint::Hint;

const NAMESPACE: &str = "/api/v1/namespaces/spire";
const CONFIG_MAP: &str = "/api/v1/namespaces/spire/configmaps/conf";
const SECRET: &str = "/api/v1/namespaces/spire/secrets/key";

fn object(value: Value) -> Object {
    let mut object = Object::from_value(value).unwrap();
    Owner::new(Tool::SpireFederate, "demo").stamp(&mut object);
    object
}

fn namespace() -> Object {
    object(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "spire"}}))
}

fn config_map(text: &str) -> Object {
    let metadata = json!({"name": "conf", "namespace": "spire"});
    object(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"server.conf": text}}),
    )
}

fn secret(data: &str) -> Object {
    let metadata = json!({"name": "key", "namespace": "spire"});
    object(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"tls.key": data}}))
}

fn soon() -> Deadline<'static> {
    Deadline::after(Duration::from_mins(1))
}

async fn verdict(server: &Server, object: Object) -> Verdict {
    plan(&server.client(), &[object]).await.unwrap().objects.remove(0).verdict
}

#[tokio::test]
async fn what_does_not_exist_is_to_be_created() {
    let server = Server::default();
    assert_eq!(verdict(&server, namespace()).await, Verdict::Create);
    server.script("PATCH", CONFIG_MAP, vec![message(404, "namespaces \"spire\" not found")]);
    assert_eq!(verdict(&server, config_map("a")).await, Verdict::Create);
    assert_eq!(server.writes(), [""; 0], "a plan changes nothing");
}

#[tokio::test]
async fn what_is_as_wanted_is_unchanged_whatever_the_server_adds() {
    let server = Server::default();
    let mut live = config_map("a").to_value();
    live["metadata"]["resourceVersion"] = json!("7");
    live["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
    live["data"]["other"] = json!("somebody else's field");
    server.put(CONFIG_MAP, live);
    assert_eq!(verdict(&server, config_map("a")).await, Verdict::Unchanged);
}

#[tokio::test]
async fn what_differs_names_the_fields() {
    let server = Server::default();
    server.put(CONFIG_MAP, config_map("a").to_value());
    let Verdict::Change { fields } = verdict(&server, config_map("b")).await else { panic!() };
    let expected = json!([{"path": "data[\"server.conf\"]", "before": "a", "after": "b"}]);
    assert_eq!(serde_json::to_value(fields).unwrap(), expected);
}

#[tokio::test]
async fn a_secrets_values_are_in_no_plan() {
    let server = Server::default();
    server.put(SECRET, secret("b2xk").to_value());
    let text = serde_json::to_string(&plan(&server.client(), &[secret("bmV3")]).await.unwrap()).unwrap();
    insta::assert_snapshot!(text, @r#"{"objects":[{"kind":"Secret","namespace":"spire","name":"key","action":"change","fields":[{"path":"data[\"tls.key\"]"}]}]}"#);
}

#[tokio::test]
async fn objects_of_others_are_foreign_and_their_namespaces_are_kept() {
    let server = Server::default();
    server.put(NAMESPACE, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "spire"}}));
    let mut live = config_map("a").to_value();
    live["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
    server.put(CONFIG_MAP, live);
    assert_eq!(verdict(&server, namespace()).await, Verdict::Kept);
    assert_eq!(verdict(&server, config_map("a")).await, Verdict::Foreign { owner: "Helm".to_owned() });

    let error =
        apply(&server.client(), &[namespace(), config_map("b")], soon(), &|_, _| {}).await.unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"not ours and in the way: ConfigMap/conf in namespace spire (of Helm)");
    insta::assert_snapshot!(error.hint().unwrap(), @"to hand an object over to the mesh demo: kubectl label --overwrite -n spire configmaps/conf app.kubernetes.io/managed-by=spire-federate spire-mesh.dev/mesh=demo");
    assert_eq!(server.writes(), [""; 0]);
}

#[tokio::test]
async fn objects_of_another_mesh_are_foreign() {
    let server = Server::default();
    let mut other = config_map("a");
    Owner::new(Tool::SpireFederate, "other").stamp(&mut other);
    server.put(CONFIG_MAP, other.to_value());
    assert_eq!(verdict(&server, config_map("a")).await, Verdict::Foreign { owner: "mesh other".to_owned() });
}

#[tokio::test]
async fn where_a_webhook_does_not_answer_the_fields_are_compared() {
    let server = Server::default();
    server.put(CONFIG_MAP, config_map("a").to_value());
    let down = || vec![message(500, "Internal error: failed calling webhook \"x\": connection refused")];
    server.script("PATCH", CONFIG_MAP, down());
    assert_eq!(verdict(&server, config_map("a")).await, Verdict::Unchanged);
    server.script("PATCH", CONFIG_MAP, down());
    assert!(matches!(verdict(&server, config_map("b")).await, Verdict::Change { .. }));
}

#[tokio::test]
async fn what_the_server_would_refuse_stops_the_plan() {
    let server = Server::default();
    server.put(CONFIG_MAP, config_map("a").to_value());
    server.script(
        "PATCH",
        CONFIG_MAP,
        vec![message(422, "data: field is immutable when `immutable` is set")],
    );
    let error = plan(&server.client(), &[config_map("b")]).await.unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"the API server refuses ConfigMap/conf in namespace spire");
    insta::assert_snapshot!(error.hint().unwrap(), @"this field cannot be changed; to have it made anew: kubectl delete -n spire configmaps/conf");
}

#[tokio::test]
async fn applying_goes_in_waves_and_a_second_run_changes_nothing() {
    let server = Server::default();
    let objects = [config_map("a"), namespace()];
    let told = Mutex::new(Vec::new());
    let listen = |key: &ObjectKey, change: Change| told.lock().unwrap().push(format!("{key} {change}"));
    let applied = apply(&server.client(), &objects, soon(), &listen).await.unwrap();
    assert_eq!(applied.count(Change::Created), 2);
    assert_eq!(server.writes(), [format!("PATCH {NAMESPACE}"), format!("PATCH {CONFIG_MAP}")]);
    assert_eq!(
        *told.lock().unwrap(),
        ["Namespace/spire created", "ConfigMap/conf in namespace spire created"]
    );

    let applied = apply(&server.client(), &objects, soon(), &|_, _| {}).await.unwrap();
    assert!(applied.is_unchanged());
    assert_eq!(server.writes().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_tried_again_and_what_does_not_is_refused() {
    let server = Server::default();
    let passing = vec![
        failure(404), // the dry run of the plan
        message(404, "namespaces \"spire\" not found"),
        message(409, "the object has been modified"),
        message(503, "etcdserver: leader changed"),
    ];
    server.script("PATCH", CONFIG_MAP, passing);
    let applied = apply(&server.client(), &[config_map("a")], soon(), &|_, _| {}).await.unwrap();
    assert_eq!(applied.count(Change::Created), 1);

    server.script("PATCH", SECRET, vec![failure(404), message(403, "no")]);
    let error = apply(&server.client(), &[secret("a")], soon(), &|_, _| {}).await.unwrap_err();
    assert!(matches!(error, ApplyError::Refused { .. }));
    assert_eq!(error.hint().as_deref(), Some("kubectl -n spire auth can-i patch secrets"));
}

#[tokio::test]
async fn deleting_takes_what_is_owned_in_the_opposite_order() {
    let server = Server::default();
    server.put(NAMESPACE, namespace().to_value());
    server.put(CONFIG_MAP, config_map("a").to_value());
    server.put("/api/v1/namespaces/spire/configmaps/foreign", json!({"metadata": {"name": "foreign"}}));
    let keys = owned(&server.client(), &Owner::new(Tool::SpireFederate, "demo")).await.unwrap();
    assert_eq!(keys, [namespace().key().clone(), config_map("a").key().clone()]);

    let told = Mutex::new(Vec::new());
    let listen = |key: &ObjectKey, deletion: Deletion| told.lock().unwrap().push((key.kind, deletion));
    delete(&server.client(), &keys, soon(), &listen).await.unwrap();
    assert_eq!(
        *told.lock().unwrap(),
        [(Kind::ConfigMap, Deletion::Deleted), (Kind::Namespace, Deletion::Deleted)]
    );
    assert_eq!(server.writes(), [format!("DELETE {CONFIG_MAP}"), format!("DELETE {NAMESPACE}")]);

    delete(&server.client(), &keys[..1], soon(), &|_, deletion| assert_eq!(deletion, Deletion::Absent))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_part_of_what_is_owned_is_found_by_a_label_of_its_own() {
    let server = Server::default();
    server.put(NAMESPACE, namespace().to_value());
    let mut part = config_map("a");
    part.labels_mut().insert("example.com/part".to_owned(), "one".to_owned());
    server.put(CONFIG_MAP, part.to_value());
    let found = async |mesh: &str, value: &str| {
        let owner = Owner::new(Tool::SpireFederate, mesh);
        owned_with(&server.client(), &owner, "example.com/part", value).await.unwrap()
    };
    assert_eq!(found("demo", "one").await, [part.key().clone()]);
    assert_eq!(found("demo", "two").await, []);
    assert_eq!(found("other", "one").await, []);
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_does_not_come_up_tells_why() {
    let server = Server::default();
    server.put(
        "/apis/apps/v1/namespaces/spire/statefulsets/spire-server",
        json!({
            "metadata": {"name": "spire-server", "generation": 1},
            "spec": {"replicas": 1, "serviceName": "s", "selector": {"matchLabels": {"app": "s"}}, "template": {}},
            "status": {"observedGeneration": 1, "replicas": 1, "readyReplicas": 0},
        }),
    );
    let pod = json!({
        "metadata": {"name": "spire-server-0"}, "spec": {"containers": []},
        "status": {"containerStatuses": [{
            "name": "server", "image": "", "imageID": "", "ready": false, "restartCount": 1,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}},
        }]},
    });
    let list = json!({"metadata": {}, "items": [pod]});
    server.script("GET", "/api/v1/namespaces/spire/pods", vec![(http::StatusCode::OK, list); 20]);
    let deadline = Deadline::after(Duration::from_secs(5));
    let error =
        workload_ready::<StatefulSet>(&server.client(), "spire", "spire-server", deadline).await.unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"timed out after 5s waiting for StatefulSet/spire-server in namespace spire to be ready; last seen: 0 of 1 pods ready; pod spire-server-0: container server: ErrImagePull: not found");
}
