use serde_json::{Value, json};

use super::*;
use crate::federation::sample::mesh;
use crate::fleet::fake::FakeServer;

/// A server of SPIRE in namespace `spire-server`, with these labels, and with a pod that runs or without.
fn spire(labels: &Value, has_pod: bool) -> FakeServer {
    let metadata =
        |name: &str, labels: &Value| json!({"name": name, "namespace": "spire-server", "labels": labels});
    let server = FakeServer::default().with(
        "/apis/apps/v1/statefulsets",
        [json!({
            "metadata": metadata("spire-server", labels),
            "spec": {
                "serviceName": "spire-server",
                "selector": {"matchLabels": {"app": "server"}},
                "template": {"spec": {"containers": [{"name": "spire-server", "image": "spire-server:1.15.3"}]}},
            },
        })],
    );
    if !has_pod {
        return server;
    }
    let pod = json!({
        "metadata": metadata("spire-server-0", &json!({"app": "server"})),
        "spec": {"containers": []},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    server.with("/api/v1/pods", [pod])
}

fn ours() -> Value {
    json!({"app.kubernetes.io/managed-by": "spire-federate", "spire-mesh.dev/mesh": "example"})
}

#[tokio::test]
async fn a_server_of_somebody_else_is_meant_only_where_the_mesh_file_says_so() {
    let mesh = mesh();
    let is_meant = async |server: FakeServer, index: usize| {
        meant(&server.member_of(&mesh.clusters[index])).await.unwrap().is_some()
    };
    let theirs = || spire(&json!({}), true);
    assert!(is_meant(theirs(), 1).await);
    assert!(!is_meant(theirs(), 2).await);
    assert!(is_meant(spire(&ours(), true), 2).await);
    assert!(!is_meant(FakeServer::default(), 1).await);
    assert!(!is_meant(FakeServer::default(), 2).await);
}

#[tokio::test]
async fn a_server_that_can_be_asked_is_called_by_its_pod_and_one_without_a_pod_is_not_running() {
    let mesh = mesh();
    let member = spire(&ours(), true).member_of(&mesh.clusters[0]);
    assert_eq!(locate(&member).await.unwrap().pod(), "spire-server/spire-server-0");
    let member = spire(&ours(), false).member_of(&mesh.clusters[0]);
    let error = locate(&member).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "no pod of the SPIRE server StatefulSet/spire-server in namespace spire-server is running"
    );
    let member = FakeServer::default().member_of(&mesh.clusters[0]);
    let error = locate(&member).await.unwrap_err().to_string();
    assert_eq!(error, "no SPIRE server was found in namespace spire-server");
}
