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

/// A config map that this field manager has made, in this way.
fn made_by(manager: &str, operation: &str, text: &str) -> Value {
    let mut live = config_map(text).to_value();
    let fields = json!({"f:data": {"f:server.conf": {}}});
    live["metadata"]["managedFields"] =
        json!([{"manager": manager, "operation": operation, "fieldsV1": fields}]);
    live
}

const DECLARING: [(&str, &str); 5] = [
    ("argocd-controller", "Update"),
    ("argocd-controller", "Apply"),
    ("kustomize-controller", "Apply"),
    ("kubectl-client-side-apply", "Update"),
    ("kubectl", "Apply"),
];

#[tokio::test]
async fn what_others_have_applied_as_it_is_wanted_is_left_to_them() {
    for (manager, operation) in DECLARING {
        let server = Server::default();
        server.put(CONFIG_MAP, made_by(manager, operation, "a"));
        let applied = apply(&server.client(), &[config_map("a")], soon(), &|_, _| {}).await.unwrap();
        assert!(applied.is_unchanged(), "{manager}");
        assert_eq!(server.writes(), [""; 0], "{manager}");
        expect_applied(&server.client(), &[config_map("b")]).await.unwrap();
    }
}

#[tokio::test]
async fn what_others_declare_with_another_value_is_refused_with_manager_and_field() {
    for (manager, operation) in DECLARING {
        let server = Server::default();
        server.put(CONFIG_MAP, made_by(manager, operation, "a"));
        let Verdict::Declared { by } = verdict(&server, config_map("b")).await else { panic!("{manager}") };
        let fields = vec!["data.server.conf".to_owned()];
        assert_eq!(by, [Declared { manager: manager.to_owned(), fields }]);
        // Nothing else is applied either.
        let objects = [namespace(), config_map("b")];
        let error = apply(&server.client(), &objects, soon(), &|_, _| {}).await.unwrap_err();
        assert!(error.to_string().contains(manager), "{error}");
        assert_eq!(server.writes(), [""; 0], "{manager}");
    }
    let server = Server::default();
    server.put(CONFIG_MAP, made_by("argocd-controller", "Update", "a"));
    let error = apply(&server.client(), &[config_map("b")], soon(), &|_, _| {}).await.unwrap_err();
    insta::assert_snapshot!(format!("{error}\nhint: {}", error.hint().unwrap()));
}

#[tokio::test]
async fn what_was_changed_by_hand_is_set_back() {
    for manager in ["kubectl-edit", "kubectl-patch", "spire-federate-by-update"] {
        let server = Server::default();
        server.put(CONFIG_MAP, made_by(manager, "Update", "a"));
        let Verdict::Change { fields } = verdict(&server, config_map("b")).await else { panic!("{manager}") };
        assert_eq!(fields.len(), 1);
        let applied = apply(&server.client(), &[config_map("b")], soon(), &|_, _| {}).await.unwrap();
        assert_eq!(applied.count(Change::Changed), 1);
        assert_eq!(server.writes(), [format!("PATCH {CONFIG_MAP}")]);
    }
}

#[tokio::test]
async fn what_others_are_to_have_applied_has_to_be_there_and_to_be_marked_as_ours() {
    let server = Server::default();
    let objects = [namespace(), config_map("a"), secret("a"), definition()];
    let told = async || {
        let error = expect_applied(&server.client(), &objects).await.unwrap_err();
        format!("{error}\nhint: {}\n", error.hint().unwrap())
    };
    let nothing = told().await;
    // A namespace of somebody else's will do.
    server.put(NAMESPACE, json!({"metadata": {"name": "spire"}}));
    server.put(SECRET, secret("b").to_value());
    server.put(DEFINITION, definition().to_value());
    let mut ending = config_map("a").to_value();
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    server.put(CONFIG_MAP, ending);
    let on_its_way_out = told().await;
    server.put(CONFIG_MAP, json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}}));
    let foreign = told().await;
    insta::assert_snapshot!([nothing, on_its_way_out, foreign].join("\n"));
    server.put(CONFIG_MAP, config_map("b").to_value());
    expect_applied(&server.client(), &objects).await.unwrap();
    server.script("GET", SECRET, vec![message(403, "no")]);
    let error = expect_applied(&server.client(), &objects).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot read Secret/key in namespace spire");
    assert_eq!(server.writes(), [""; 0]);
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
    insta::assert_snapshot!(error.hint().unwrap(), @"to hand an object over to the mesh demo: kubectl --context CONTEXT label --overwrite -n spire configmaps/conf app.kubernetes.io/managed-by=spire-federate spire-mesh.dev/mesh=demo");
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
    insta::assert_snapshot!(error.hint().unwrap(), @"this field cannot be changed; to have it made anew: kubectl --context CONTEXT delete -n spire configmaps/conf");
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
    assert_eq!(error.hint().unwrap(), "kubectl --context CONTEXT -n spire auth can-i patch secrets");
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

#[tokio::test]
async fn what_is_on_its_way_out_is_to_be_created_again_unless_it_is_somebody_elses() {
    let server = Server::default();
    let ending = |mut live: Value| {
        live["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        live
    };
    server.put(CONFIG_MAP, ending(config_map("a").to_value()));
    assert_eq!(verdict(&server, config_map("a")).await, Verdict::Create);
    let mut theirs = config_map("a").to_value();
    theirs["metadata"]["labels"] = json!({});
    server.put(CONFIG_MAP, ending(theirs));
    let foreign = Verdict::Foreign { owner: "somebody else".to_owned() };
    assert_eq!(verdict(&server, config_map("a")).await, foreign);
    // What is in a namespace goes with it, whoever made it.
    let theirs = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "spire"}});
    server.put(NAMESPACE, ending(theirs));
    assert_eq!(verdict(&server, namespace()).await, Verdict::Create);
    server.put(NAMESPACE, ending(namespace().to_value()));
    assert_eq!(verdict(&server, namespace()).await, Verdict::Create);
}

#[tokio::test]
async fn what_does_not_exist_and_would_be_refused_stops_the_plan_unless_a_webhook_is_to_come() {
    let server = Server::default();
    let planned = async |answer| {
        server.script("PATCH", CONFIG_MAP, vec![answer]);
        plan(&server.client(), &[config_map("a")]).await.map(|plan| plan.objects[0].verdict.clone())
    };
    let refused = |result: Result<Verdict, PlanError>| matches!(result, Err(PlanError::Refused { .. }));
    assert!(refused(planned(message(422, "spec: required")).await));
    assert!(refused(planned(message(403, "you may not")).await));
    assert_eq!(planned(message(403, "failed calling webhook \"x\"")).await, Ok(Verdict::Create));
    assert_eq!(planned(message(400, "webhook \"x\" does not support dry run")).await, Ok(Verdict::Create));
    assert_eq!(planned(message(503, "busy")).await, Ok(Verdict::Create));
}

#[tokio::test]
async fn what_cannot_be_read_stops_the_plan_and_names_the_right() {
    let server = Server::default();
    server.script("GET", CONFIG_MAP, vec![message(403, "no")]);
    let error = plan(&server.client(), &[namespace(), config_map("a")]).await.unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"cannot read ConfigMap/conf in namespace spire");
    insta::assert_snapshot!(error.hint().unwrap(), @"kubectl --context CONTEXT -n spire auth can-i patch configmaps");
}

#[test]
fn a_refusal_says_what_to_do_where_there_is_something() {
    let hint = |code: u16, text: &str, key: &ObjectKey| {
        let status = kube::core::Status::failure(text, "").with_code(code).boxed();
        super::plan::refusal_hint(key, &kube::Error::Api(status).into())
    };
    let cluster_wide = ObjectKey::new(Kind::ClusterRole, None, "reader");
    let right = "kubectl --context CONTEXT auth can-i patch clusterroles.rbac.authorization.k8s.io";
    assert_eq!(hint(403, "no", &cluster_wide).unwrap(), right);
    let key = ObjectKey::new(Kind::StatefulSet, Some("spire"), "spire-server");
    let anew = "this field cannot be changed; to have it made anew: kubectl --context CONTEXT delete -n spire statefulsets.apps/spire-server";
    assert_eq!(hint(422, "field is immutable", &key).unwrap(), anew);
    assert_eq!(hint(422, "Forbidden: updates to statefulset spec", &key).unwrap(), anew);
    assert_eq!(hint(422, "spec: required", &key), None);
    assert_eq!(hint(500, "immutable", &key), None);
}

#[tokio::test]
async fn objects_stand_in_a_plan_as_they_were_given_and_are_all_looked_at() {
    let server = Server::default();
    server.put(SECRET, secret("a").to_value());
    let objects = [secret("a"), config_map("a"), namespace()];
    let plan = plan(&server.client(), &objects).await.unwrap();
    let planned: Vec<_> = plan.objects.iter().map(|planned| (planned.key.kind, &planned.verdict)).collect();
    let expected = [
        (Kind::Secret, &Verdict::Unchanged),
        (Kind::ConfigMap, &Verdict::Create),
        (Kind::Namespace, &Verdict::Create),
    ];
    assert_eq!(planned, expected);
    let applied = apply(&server.client(), &objects, soon(), &|_, _| {}).await.unwrap();
    let done: Vec<_> = applied.objects.iter().map(|(key, change)| (key.kind, *change)).collect();
    let expected = [
        (Kind::Secret, Change::Unchanged),
        (Kind::ConfigMap, Change::Created),
        (Kind::Namespace, Change::Created),
    ];
    assert_eq!(done, expected);
    assert!(!applied.is_unchanged());
}

#[tokio::test]
async fn what_is_changed_or_kept_is_told_so() {
    let server = Server::default();
    server.put(NAMESPACE, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "spire"}}));
    server.put(CONFIG_MAP, config_map("a").to_value());
    let objects = [namespace(), config_map("b")];
    let applied = apply(&server.client(), &objects, soon(), &|_, _| {}).await.unwrap();
    let changes: Vec<String> = applied.objects.iter().map(|(_, change)| change.to_string()).collect();
    assert_eq!(changes, ["kept", "changed"]);
    assert!(!applied.is_unchanged());
    assert_eq!(server.writes(), [format!("PATCH {CONFIG_MAP}")]);
    let again = apply(&server.client(), &objects, soon(), &|_, _| {}).await.unwrap();
    let changes: Vec<String> = again.objects.iter().map(|(_, change)| change.to_string()).collect();
    assert_eq!(changes, ["kept", "unchanged"]);
    assert!(again.is_unchanged());
}

#[tokio::test(start_paused = true)]
async fn what_somebody_has_made_since_the_plan_is_not_overwritten() {
    let conflict = || message(409, "Apply failed with 1 conflict: conflict with \"helm\": .data.a");
    let meanwhile = |labels: Value| {
        let server = Server::default();
        // The plan finds nothing, and what is there when it is applied has another owner of its fields.
        server.script("GET", CONFIG_MAP, vec![failure(404)]);
        server.script("PATCH", CONFIG_MAP, vec![failure(404), conflict()]);
        let mut there = config_map("b").to_value();
        there["metadata"]["labels"] = labels;
        server.put(CONFIG_MAP, there);
        server
    };
    let server = meanwhile(json!({"app.kubernetes.io/managed-by": "Helm"}));
    let error = apply(&server.client(), &[config_map("a")], soon(), &|_, _| {}).await.unwrap_err();
    assert!(matches!(&error, ApplyError::Foreign { objects, .. } if objects.len() == 1), "{error:?}");
    assert_eq!(server.writes().len(), 1, "{:?}", server.writes());

    // Somebody who comes back to it has made it for us.
    let server = meanwhile(json!({}));
    server.put(CONFIG_MAP, made_by("kustomize-controller", "Apply", "b"));
    let error = apply(&server.client(), &[config_map("a")], soon(), &|_, _| {}).await.unwrap_err();
    assert!(matches!(&error, ApplyError::Declared { objects, .. } if objects.len() == 1), "{error:?}");
    assert_eq!(server.writes().len(), 1, "{:?}", server.writes());

    // Another run of ours was faster.
    let server = meanwhile(config_map("b").to_value()["metadata"]["labels"].clone());
    apply(&server.client(), &[config_map("a")], soon(), &|_, _| {}).await.unwrap();
    assert_eq!(server.writes().len(), 2, "{:?}", server.writes());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_does_not_appear_and_a_refusal_end_the_wait() {
    let server = Server::default();
    let absent = vec![message(404, "namespaces \"spire\" not found"); 60];
    server.script("PATCH", CONFIG_MAP, absent);
    let start = tokio::time::Instant::now();
    let error = apply(&server.client(), &[config_map("a")], soon(), &|_, _| {}).await.unwrap_err();
    assert!(matches!(error, ApplyError::Refused { .. }), "{error:?}");
    let seconds = start.elapsed().as_secs();
    assert!((15..18).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn an_object_is_not_laid_over_one_that_is_being_deleted() {
    let server = Server::default();
    let mut ending = config_map("a").to_value();
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    server.put(CONFIG_MAP, ending.clone());
    let ok = |value: &Value| (http::StatusCode::OK, value.clone());
    let answers = vec![ok(&ending), ok(&ending), ok(&ending), ok(&config_map("a").to_value())];
    server.script("PATCH", CONFIG_MAP, answers);
    let applied = apply(&server.client(), &[config_map("a")], soon(), &|_, _| {}).await.unwrap();
    assert_eq!(applied.count(Change::Created), 1);
    assert_eq!(server.writes().len(), 3, "until the old one is gone");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_found_to_be_held_only_after_the_plan_is_not_waited_for() {
    let server = Server::default();
    let mut ending = json!({"metadata": {"name": "spire", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Terminating"}});
    let begins = (http::StatusCode::OK, ending.clone());
    let message =
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances";
    ending["status"]["conditions"] =
        json!([{"type": "NamespaceFinalizersRemaining", "status": "True", "message": message}]);
    server.put(NAMESPACE, ending);
    server.script("GET", NAMESPACE, vec![begins.clone(), begins]);
    let (status, mut refused) = self::message(403, "the namespace is being terminated");
    refused["details"] = json!({"causes": [{"reason": "NamespaceTerminating"}]});
    server.script("PATCH", CONFIG_MAP, vec![failure(404), (status, refused.clone()), (status, refused)]);
    let error = apply(&server.client(), &[config_map("a")], soon(), &|_, _| {}).await.unwrap_err();
    assert!(matches!(error, ApplyError::Plan(PlanError::Ending(_))), "{error:?}");
    assert_eq!(server.writes().len(), 2, "the second was tried while it could still end");
}

const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.example.com";

fn definition() -> Object {
    let metadata = json!({"name": "things.example.com"});
    let spec = json!({"group": "example.com", "scope": "Cluster", "versions": [], "names": {"kind": "Thing", "plural": "things"}});
    object(
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata, "spec": spec}),
    )
}

/// The definition as the server has it, with these conditions.
fn defined(conditions: &Value) -> (http::StatusCode, Value) {
    let mut live = definition().to_value();
    live["status"] = json!({"conditions": conditions, "acceptedNames": {"kind": "Thing", "plural": "things"}, "storedVersions": []});
    (http::StatusCode::OK, live)
}

#[tokio::test(start_paused = true)]
async fn a_new_kind_is_waited_for_before_its_objects_and_one_that_cannot_come_is_not() {
    let server = Server::default();
    let condition =
        |kind: &str, status: &str| json!({"type": kind, "status": status, "message": "taken by others"});
    let not_yet = defined(&json!([condition("NamesAccepted", "True"), condition("Established", "False")]));
    let there = defined(&json!([condition("NamesAccepted", "True"), condition("Established", "True")]));
    let objects = [definition(), config_map("a")];
    server.script("GET", DEFINITION, vec![failure(404), not_yet.clone(), not_yet, there]);
    let start = tokio::time::Instant::now();
    apply(&server.client(), &objects, soon(), &|_, _| {}).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(250), "two looks before the one that saw it");
    assert_eq!(server.writes(), [format!("PATCH {DEFINITION}"), format!("PATCH {CONFIG_MAP}")]);

    let server = Server::default();
    let taken = defined(&json!([condition("NamesAccepted", "False"), condition("Established", "False")]));
    server.script("GET", DEFINITION, vec![failure(404), taken]);
    let error = apply(&server.client(), &objects, soon(), &|_, _| {}).await.unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"cannot wait for CustomResourceDefinition/things.example.com to be established: taken by others");
    assert_eq!(server.writes(), [format!("PATCH {DEFINITION}")]);
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_is_waited_for_and_told_what_holds_it() {
    let server = Server::default();
    let mut ending = config_map("a").to_value();
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    ending["metadata"]["finalizers"] = json!(["example.com/f"]);
    let ok = (http::StatusCode::OK, ending);
    let key = config_map("a").key().clone();
    let told = Mutex::new(Vec::new());
    let listen = |_: &ObjectKey, deletion: Deletion| told.lock().unwrap().push(deletion);
    // It goes away by itself in the end.
    server.script("DELETE", CONFIG_MAP, vec![message(503, "busy"), ok.clone()]);
    server.script("GET", CONFIG_MAP, vec![ok.clone(), message(503, "busy"), ok.clone(), failure(404)]);
    delete(&server.client(), std::slice::from_ref(&key), soon(), &listen).await.unwrap();
    // A new one is somebody's, and not waited for.
    server.script("DELETE", CONFIG_MAP, vec![message(409, "being deleted already")]);
    server.put(CONFIG_MAP, config_map("a").to_value());
    delete(&server.client(), std::slice::from_ref(&key), soon(), &listen).await.unwrap();
    assert_eq!(*told.lock().unwrap(), [Deletion::Deleted; 2]);

    server.script("DELETE", CONFIG_MAP, vec![ok.clone()]);
    server.script("GET", CONFIG_MAP, vec![ok; 90]);
    let error = delete(&server.client(), std::slice::from_ref(&key), soon(), &listen).await.unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"timed out after 1m waiting for ConfigMap/conf in namespace spire to be gone; last seen: being deleted, held by finalizers example.com/f");
    assert!(error.hint().unwrap().to_string().contains("--timeout"));
}

#[tokio::test]
async fn rights_that_are_missing_for_deleting_are_named() {
    let server = Server::default();
    let owner = Owner::new(Tool::SpireFederate, "demo");
    server.script("GET", "/api/v1/secrets", vec![message(403, "no")]);
    let error = owned(&server.client(), &owner).await.unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"cannot list secrets");
    insta::assert_snapshot!(error.hint().unwrap(), @"kubectl --context CONTEXT auth can-i list secrets -A");
    server.script("DELETE", CONFIG_MAP, vec![message(403, "no")]);
    let keys = [config_map("a").key().clone(), namespace().key().clone()];
    let told = |_: &ObjectKey, _: Deletion| panic!("nothing was deleted");
    let error = delete(&server.client(), &keys, soon(), &told).await.unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"the API server refuses to delete ConfigMap/conf in namespace spire");
    insta::assert_snapshot!(error.hint().unwrap(), @"kubectl --context CONTEXT -n spire auth can-i delete configmaps");
    assert_eq!(server.writes(), [format!("DELETE {CONFIG_MAP}")], "later waves are not touched");
    server.script("DELETE", CONFIG_MAP, vec![message(422, "no")]);
    let error = delete(&server.client(), &keys, soon(), &told).await.unwrap_err();
    assert_eq!(error.hint(), None);
}

const PODS: &str = "/api/v1/namespaces/spire/pods";
const EVENTS: &str = "/api/v1/namespaces/spire/events";
const CLAIM: &str = "/api/v1/namespaces/spire/persistentvolumeclaims/data";

fn list(items: &[Value]) -> (http::StatusCode, Value) {
    (http::StatusCode::OK, json!({"metadata": {}, "items": items}))
}

fn event(kind: &str, reason: &str) -> Value {
    json!({"metadata": {}, "involvedObject": {}, "type": kind, "reason": reason, "message": "why"})
}

/// Finds out what is wrong with these pods; `events` are the answers to each question for events.
async fn trouble_of(
    server: &Server,
    pods: &[Value],
    events: Vec<(http::StatusCode, Value)>,
) -> Option<String> {
    server.script("GET", PODS, vec![list(pods)]);
    server.script("GET", EVENTS, events);
    let selector = serde_json::from_value(json!({"matchLabels": {"app": "server"}})).unwrap();
    trouble(&server.client(), "spire", &selector, ("StatefulSet", "spire-server")).await.unwrap()
}

fn pod(name: &str, node: Option<&str>, status: &Value) -> Value {
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    let spec = json!({"nodeName": node, "containers": [], "volumes": volumes});
    json!({"metadata": {"name": name}, "spec": spec, "status": status})
}

#[tokio::test]
async fn the_pod_that_tells_most_is_named_with_how_many_more_there_are() {
    let server = Server::default();
    let ready = pod("p-ready", Some("n"), &json!({"conditions": [{"type": "Ready", "status": "True"}]}));
    let settling = pod("p-starting", Some("n"), &json!({}));
    let unplaced = pod("p-pending", None, &json!({}));
    let failing = pod("p-evicted", Some("n"), &json!({"phase": "Failed", "reason": "Evicted"}));
    let told = async |pods: &[&Value], events| {
        let pods: Vec<Value> = pods.iter().map(|pod| (*pod).clone()).collect();
        trouble_of(&server, &pods, events).await
    };
    assert_eq!(told(&[&ready], vec![]).await, None);
    let all = told(&[&ready, &settling, &unplaced, &failing], vec![]).await;
    assert_eq!(all.as_deref(), Some("pod p-evicted: Evicted (and 2 more)"));
    assert_eq!(told(&[&failing], vec![]).await.as_deref(), Some("pod p-evicted: Evicted"));
    let events = vec![list(&[event("Normal", "Pulling"), event("Warning", "FailedMount")])];
    let starting = told(&[&ready, &settling], events).await;
    assert_eq!(starting.as_deref(), Some("pod p-starting: starting; FailedMount: why"));
    let starting = told(&[&settling], vec![list(&[event("Normal", "Pulling")])]).await;
    assert_eq!(starting.as_deref(), Some("pod p-starting: starting"));
    let none = told(&[], vec![list(&[event("Warning", "FailedCreate")])]).await;
    assert_eq!(none.as_deref(), Some("no pods: FailedCreate: why"));
    let none = told(&[], vec![list(&[event("Normal", "SuccessfulCreate")])]).await;
    assert_eq!(none.as_deref(), Some("no pods: SuccessfulCreate: why"));
    assert_eq!(told(&[], vec![list(&[])]).await, None);
}

#[tokio::test]
async fn a_pod_without_a_node_is_told_by_the_claim_that_it_waits_for() {
    let server = Server::default();
    let unplaced = [pod("p", None, &json!({})), pod("q", Some("n"), &json!({}))];
    let claim = |phase: &str| json!({"metadata": {"name": "data"}, "status": {"phase": phase}});
    let own = Some("pod p: no scheduler has looked at it yet (and 1 more)");
    server.put(CLAIM, claim("Bound"));
    assert_eq!(trouble_of(&server, &unplaced, vec![]).await.as_deref(), own);
    server.put(CLAIM, claim("Pending"));
    let waits = vec![list(&[event("Normal", "WaitForFirstConsumer")])];
    assert_eq!(trouble_of(&server, &unplaced, waits).await.as_deref(), own);
    let failed = vec![list(&[event("Warning", "ProvisioningFailed")])];
    assert_eq!(
        trouble_of(&server, &unplaced, failed).await.as_deref(),
        Some("pod p: PersistentVolumeClaim data is pending: ProvisioningFailed: why (and 1 more)")
    );
    assert_eq!(
        trouble_of(&server, &unplaced, vec![list(&[])]).await.as_deref(),
        Some(
            "pod p: PersistentVolumeClaim data is pending: no provisioner has taken notice of it (and 1 more)"
        )
    );
}
