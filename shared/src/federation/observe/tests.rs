//! Reading from an API server in memory. What only the SPIRE server itself can tell cannot be read there, and says so.

use serde_json::{Value, json};

use super::*;
use crate::federation::sample::mesh;
use crate::fleet::fake::FakeServer;

const SETS: &str = "/apis/apps/v1/statefulsets";
const DAEMON_SETS: &str = "/apis/apps/v1/daemonsets";
const OWN_DAEMON_SETS: &str = "/apis/apps/v1/namespaces/spire-system/daemonsets";
const OWN_SETS: &str = "/apis/apps/v1/namespaces/spire-server/statefulsets";
const PODS: &str = "/api/v1/pods";
const NODES: &str = "/api/v1/nodes";

/// The server of a mesh of this name, as these plugins install it.
fn server_of(mesh: &str) -> Value {
    let labels = json!({"app.kubernetes.io/managed-by": "spire-federate", "spire-mesh.dev/mesh": mesh});
    json!({
        "metadata": {"name": "spire-server", "namespace": "spire-server", "labels": labels},
        "spec": {
            "serviceName": "spire-server",
            "selector": {"matchLabels": {"app": "server"}},
            "template": {
                "metadata": {"labels": {"app": "server"}},
                "spec": {"containers": [{"name": "spire-server", "image": "ghcr.io/spiffe/spire-server:1.15.3"}]},
            },
        },
    })
}

fn pod(namespace: &str, name: &str, node: &str, app: &str, conditions: &Value) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": namespace, "labels": {"app": app},
            "creationTimestamp": "2026-06-01T10:00:00Z",
        },
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": "Running", "conditions": conditions},
    })
}

fn agent_set(namespace: &str, name: &str, labels: &Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {"spec": {"containers": [{"name": "agent", "image": "ghcr.io/spiffe/spire-agent:1.15.3"}]}},
        },
        "status": {
            "currentNumberScheduled": 2, "desiredNumberScheduled": 3, "numberMisscheduled": 0, "numberReady": 2,
        },
    })
}

fn ready() -> Value {
    json!([{"type": "Ready", "status": "True"}])
}

fn node_object(name: &str, conditions: &Value) -> Value {
    json!({
        "metadata": {"name": name, "uid": format!("uid-of-{name}")},
        "spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]},
        "status": {"conditions": conditions},
    })
}

#[test]
fn a_pod_is_unready_since_its_condition_says_so() {
    let since = |conditions: Value| {
        let pod = serde_json::from_value(pod("a", "b", "c", "d", &conditions)).unwrap();
        unready_since(&pod).map(|time| time.to_string())
    };
    let condition = |kind: &str, status: &str, hour: u8| json!({"type": kind, "status": status, "lastTransitionTime": format!("2026-06-01T{hour}:00:00Z")});
    let other = || condition("PodScheduled", "False", 10);
    assert_eq!(
        since(json!([other(), condition("Ready", "False", 11)])).as_deref(),
        Some("2026-06-01T11:00:00Z")
    );
    assert_eq!(since(json!([other(), condition("Ready", "True", 11)])), None);
    assert_eq!(since(json!([other()])), None);
}

#[test]
fn a_node_is_ready_when_it_says_so_itself() {
    let node = |conditions: Value| node(serde_json::from_value(node_object("n", &conditions)).unwrap());
    let pressure = |status: &str| json!({"type": "MemoryPressure", "status": status});
    let seen = node(json!([pressure("False"), {"type": "Ready", "status": "True"}]));
    assert_eq!(seen.state, NodeState::Ready);
    assert_eq!((seen.name.as_str(), seen.uid.as_str(), seen.taints.len()), ("n", "uid-of-n", 1));
    assert!(node(json!([pressure("True"), {"type": "Ready", "status": "Unknown"}])).is_passed_over());
    assert!(node(json!([])).is_passed_over());
}

#[tokio::test]
async fn nodes_and_agents_are_read_in_order() {
    let ours = json!({"app.kubernetes.io/managed-by": "spire-federate"});
    let server = FakeServer::default()
        .with(NODES, ["c", "a", "b"].map(|name| node_object(name, &ready())))
        .with(
            DAEMON_SETS,
            [agent_set("a-foreign", "spire-agent", &ours), agent_set("spire-system", "spire-agent", &ours)],
        )
        .with(
            PODS,
            [
                pod("spire-system", "z", "a", "agent", &ready()),
                pod("spire-system", "y", "b", "agent", &json!([])),
                pod("spire-system", "x", "b", "agent", &ready()),
                pod("spire-system", "other", "a", "driver", &ready()),
                pod("a-foreign", "w", "a", "agent", &ready()),
            ],
        );
    let member = server.member_of(&mesh().clusters[2]);
    let names: Vec<String> = nodes(&member).await.unwrap().into_iter().map(|node| node.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let agents = agents(&member).await.unwrap().unwrap();
    assert_eq!(
        (agents.found.namespace.as_str(), agents.found.name.as_str()),
        ("spire-system", "spire-agent")
    );
    assert_eq!((agents.found.desired, agents.found.selector.as_str()), (3, "app=agent"));
    assert_eq!(agents.found.container, "agent");
    let pods: Vec<(&str, bool)> =
        agents.pods.iter().map(|pod| (pod.name.as_str(), pod.trouble.is_none())).collect();
    assert_eq!(pods, [("z", true), ("x", true), ("y", false)]);
    assert_eq!(agents.pods[0].node.as_deref(), Some("a"));
    assert_eq!(agents.pods[0].created, Some("2026-06-01T10:00:00Z".parse().unwrap()));
}

#[tokio::test]
async fn what_may_not_be_listed_names_the_right_and_what_does_not_exist_is_empty() {
    let server = FakeServer::default().refusing(NODES, 403).refusing(OWN_DAEMON_SETS, 403);
    let member = server.member_of(&mesh().clusters[2]);
    assert_eq!(nodes(&member).await.unwrap_err().why, "you may not list nodes");
    assert_eq!(
        agents(&member).await.unwrap_err().why,
        "you may not list daemonsets.apps in namespace spire-system"
    );
    assert_eq!(relationship_objects(&member).await.unwrap().len(), 0);
    let nobody = FakeServer::default().member_of(&mesh().clusters[2]);
    assert!(agents(&nobody).await.unwrap().is_none());
    let path = "/apis/spire.spiffe.io/v1alpha1/clusterfederatedtrustdomains";
    let objects = ["foo", "bar"].map(|peer| {
        serde_json::to_value(crate::federation::sample::relationship_object(peer, "spire-mesh")).unwrap()
    });
    let member = FakeServer::default().with(path, objects).member_of(&mesh().clusters[2]);
    assert_eq!(relationship_objects(&member).await.unwrap().len(), 2);
    let member = FakeServer::default().refusing(path, 500).member_of(&mesh().clusters[2]);
    let why = relationship_objects(&member).await.unwrap_err().why;
    assert_eq!(
        why,
        "cannot list clusterfederatedtrustdomains.spire.spiffe.io: the server answered with status 500"
    );
}

#[tokio::test]
async fn a_cluster_without_spire_says_so_in_everything_that_stands_on_it() {
    let seen = see(&FakeServer::default().member_of(&mesh().clusters[2])).await;
    assert_eq!(seen.spire.unwrap(), None);
    assert_eq!(seen.server_trouble.unwrap(), None);
    assert_eq!(seen.server.unwrap_err().why, "there is no SPIRE server");
    assert_eq!(seen.endpoint.unwrap_err().why, "there is no SPIRE server");
    assert_eq!(seen.polls.unwrap_err().why, "there is no SPIRE server");
    assert!(seen.agents.unwrap().is_none());

    let seen = see(&FakeServer::default().refusing(OWN_SETS, 403).member_of(&mesh().clusters[2])).await;
    let why = "you may not list statefulsets.apps in namespace spire-server";
    assert_eq!(seen.spire.unwrap_err().why, why);
    assert_eq!(seen.server_trouble.unwrap_err().why, why);
    assert_eq!(seen.server.unwrap_err().why, why);
    assert_eq!(seen.endpoint.unwrap_err().why, why);
    assert_eq!(seen.polls.unwrap_err().why, why);
}

#[tokio::test]
async fn a_server_whose_pod_does_not_run_is_in_trouble() {
    let waiting = json!({
        "metadata": {"name": "spire-server-0", "namespace": "spire-server", "labels": {"app": "server"}},
        "spec": {"containers": []},
        "status": {"phase": "Pending", "containerStatuses": [{
            "name": "spire-server", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}},
        }]},
    });
    let server = FakeServer::default().with(SETS, [server_of("example")]).with(PODS, [waiting]);
    let seen = see(&server.member_of(&mesh().clusters[2])).await;
    assert_eq!(seen.spire.unwrap().unwrap().mesh.as_deref(), Some("example"));
    let trouble = seen.server_trouble.unwrap().unwrap();
    assert!(trouble.why.contains("ErrImagePull: not found"), "{}", trouble.why);
    assert_eq!(
        seen.server.unwrap_err().why,
        "no pod of StatefulSet/spire-server in namespace spire-server runs"
    );
    assert_eq!(
        seen.endpoint.unwrap(),
        Endpoint::Pending("Service spire-server/spire-server-bundle does not exist yet".to_owned())
    );
    assert_eq!(seen.polls.unwrap(), crate::spire::polls::Polls::default());
}

#[tokio::test]
async fn a_server_that_has_no_pod_or_one_that_is_not_ready_says_since_when() {
    let server = FakeServer::default().with(SETS, [server_of("example")]);
    let seen = see(&server.member_of(&mesh().clusters[2])).await;
    let trouble = seen.server_trouble.unwrap().unwrap();
    assert_eq!(trouble.why, "StatefulSet/spire-server in namespace spire-server has no pod");
    assert_eq!(trouble.since, None);

    let since = json!([{"type": "Ready", "status": "False", "lastTransitionTime": "2026-06-01T11:00:00Z"}]);
    let exec = "/api/v1/namespaces/spire-server/pods/spire-server-0/exec";
    let log = "/api/v1/namespaces/spire-server/pods/spire-server-0/log";
    let server = server
        .with(PODS, [pod("spire-server", "spire-server-0", "a", "server", &since)])
        .refusing(exec, 403)
        .refusing(log, 403);
    let seen = see(&server.member_of(&mesh().clusters[2])).await;
    let trouble = seen.server_trouble.unwrap().unwrap();
    assert_eq!(trouble.since, Some("2026-06-01T11:00:00Z".parse().unwrap()));
    assert_eq!(seen.server.unwrap_err().why, "you may not get pods/exec in namespace spire-server");
    assert_eq!(seen.polls.unwrap_err().why, "you may not get pods/log in namespace spire-server");

    let ready = FakeServer::default()
        .with(SETS, [server_of("example")])
        .with(PODS, [pod("spire-server", "spire-server-0", "a", "server", &ready())]);
    assert_eq!(see(&ready.member_of(&mesh().clusters[2])).await.server_trouble.unwrap(), None);
}

#[tokio::test]
async fn an_address_that_the_mesh_file_gives_is_believed() {
    let mut cluster = mesh().clusters.swap_remove(1);
    let found = crate::spire::discovery::sample::foreign();
    let asked = endpoint(&FakeServer::default().member_of(&cluster), &found).await;
    assert!(asked.is_err(), "there is no such service");
    let Spire::Existing(existing) = &mut cluster.spire else { panic!("bar is somebody else's") };
    existing.bundle_endpoint_url = Some("https://bar.example:8443".parse().unwrap());
    let given = endpoint(&FakeServer::default().member_of(&cluster), &found).await.unwrap();
    assert_eq!(given, Endpoint::Ready("https://bar.example:8443".parse().unwrap()));
}

#[tokio::test]
async fn every_cluster_of_the_mesh_is_observed_or_says_why_not() {
    let mesh = mesh();
    let members = [FakeServer::default().member_of(&mesh.clusters[2])];
    let unreachable = [("foo".to_owned(), "connection refused".to_owned())].into();
    let observed = observe(&mesh, &members, &unreachable).await;
    let told: Vec<(&str, String)> = observed
        .clusters
        .iter()
        .map(|cluster| {
            (
                cluster.name(),
                cluster.seen.as_ref().map_or_else(|unread| unread.why.clone(), |_| "seen".to_owned()),
            )
        })
        .collect();
    let told: Vec<(&str, &str)> = told.iter().map(|(name, why)| (*name, why.as_str())).collect();
    assert_eq!(told, [("foo", "connection refused"), ("bar", "it was not asked"), ("baz", "seen")]);
}
