use serde_json::{Value, json};

use super::*;
use crate::federation::sample::{bundle, domain, mesh};
use crate::fleet::ExecTarget;
use crate::fleet::fake::FakeServer;
use crate::mesh::ExistingSpire;

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
async fn a_server_is_asked_who_it_is_and_one_without_a_pod_is_not_running() {
    let mesh = mesh();
    // Commands in pods are not answered out of memory.
    let member = spire(&ours(), true).member_of(&mesh.clusters[0]);
    let error = locate(&member).await.unwrap_err();
    assert!(matches!(error, FederationError::Server(_)), "{error}");
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

/// Puts something there that runs a program of SPIRE, with the labels of a mesh.
fn put(server: &FakeServer, kind: &str, (namespace, name): (&str, &str), mesh: Option<&str>) {
    let labels = mesh.map_or_else(
        || json!({}),
        |mesh| json!({"app.kubernetes.io/managed-by": "spire-federate", "spire-mesh.dev/mesh": mesh}),
    );
    let program = if kind == "daemonsets" { "spire-agent" } else { "spire-server" };
    let container = json!({"name": "any", "image": format!("registry.example/{program}:1.15.3")});
    let object: Value = json!({
        "metadata": {"labels": labels},
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "template": {"spec": {"containers": [container]}},
        },
    });
    server.put(&format!("/apis/apps/v1/namespaces/{namespace}/{kind}/{name}"), object);
}

fn existing(server: &FakeServer, servers: Option<&str>, agents: Option<&str>) -> Member {
    let mut member = server.member("baz");
    member.cluster.spire = Spire::Existing(ExistingSpire {
        server_namespace: servers.map(str::to_owned),
        agent_namespace: agents.map(str::to_owned),
        bundle_endpoint_url: None,
    });
    member
}

async fn meant_in(member: &Member) -> Result<Option<String>, String> {
    meant(member).await.map(|found| found.map(|found| found.place())).map_err(|error| error.to_string())
}

async fn agents_in(member: &Member) -> Result<Option<String>, String> {
    let place = |found: FoundAgents| format!("{}/{}", found.namespace, found.name);
    agents(member).await.map(|found| found.map(place)).map_err(|error| error.to_string())
}

#[tokio::test]
async fn labels_make_nobody_the_server_or_the_agents_of_a_cluster() {
    let server = FakeServer::default();
    let member = server.member("baz");
    put(&server, "statefulsets", ("apps", "spire-server"), Some("example"));
    put(&server, "deployments", ("spire-server", "spire-server"), Some("example"));
    put(&server, "statefulsets", ("spire-server", "a-server"), Some("example"));
    put(&server, "daemonsets", ("apps", "spire-agent"), Some("example"));
    put(&server, "daemonsets", ("spire-system", "an-agent"), Some("example"));
    assert_eq!(meant_in(&member).await, Ok(None));
    assert_eq!(agents_in(&member).await, Ok(None));

    put(&server, "statefulsets", ("spire-server", "spire-server"), Some("example"));
    put(&server, "daemonsets", ("spire-system", "spire-agent"), Some("example"));
    let place = "spire-server/StatefulSet/spire-server";
    assert_eq!(meant_in(&member).await, Ok(Some(place.to_owned())));
    assert_eq!(agents_in(&member).await, Ok(Some("spire-system/spire-agent".to_owned())));
}

#[tokio::test]
async fn a_server_of_somebody_else_in_the_place_of_ours_is_not_meant() {
    let server = FakeServer::default();
    put(&server, "statefulsets", ("spire-server", "spire-server"), None);
    assert_eq!(meant_in(&server.member("baz")).await, Ok(None));
}

#[tokio::test]
async fn of_several_spires_of_somebody_else_the_mesh_file_names_the_one_that_is_meant() {
    let server = FakeServer::default();
    put(&server, "statefulsets", ("theirs", "spire-server"), None);
    put(&server, "daemonsets", ("nodes", "spire-agent"), None);
    let anywhere = existing(&server, None, None);
    assert_eq!(meant_in(&anywhere).await, Ok(Some("theirs/StatefulSet/spire-server".to_owned())));
    assert_eq!(agents_in(&anywhere).await, Ok(Some("nodes/spire-agent".to_owned())));

    // Our labels do not put it first.
    put(&server, "deployments", ("apps", "server"), Some("example"));
    put(&server, "daemonsets", ("apps", "agent"), Some("example"));
    insta::assert_snapshot!(meant_in(&anywhere).await.unwrap_err(), @"found several SPIRE servers, and nothing says which is the cluster's: apps/Deployment/server, theirs/StatefulSet/spire-server");
    insta::assert_snapshot!(agents_in(&anywhere).await.unwrap_err(), @"found several sets of SPIRE agents, and nothing says which are the cluster's: apps/DaemonSet/agent, nodes/DaemonSet/spire-agent");
    let named = existing(&server, Some("theirs"), Some("nodes"));
    assert_eq!(meant_in(&named).await, Ok(Some("theirs/StatefulSet/spire-server".to_owned())));
    assert_eq!(agents_in(&named).await, Ok(Some("nodes/spire-agent".to_owned())));
}

#[tokio::test]
async fn a_server_of_another_trust_domain_is_refused() {
    let member = FakeServer::default().member("baz");
    let target = ExecTarget {
        namespace: "spire-server".to_owned(),
        pod: "spire-server-0".to_owned(),
        container: "spire-server".to_owned(),
    };
    let server = Server::new(&member, target);
    assert!(other_domain(&server, &bundle("baz"), &domain("baz")).is_none());
    let refused = other_domain(&server, &bundle("foo"), &domain("baz")).unwrap();
    insta::assert_snapshot!(refused, @"the SPIRE server in spire-server/spire-server-0 is of trust domain foo.com, the mesh file says baz.com");
}

#[test]
fn a_bundle_in_which_no_authority_signed_itself_is_refused() {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    let params = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let root = CertifiedIssuer::self_signed(params("root"), KeyPair::generate().unwrap()).unwrap();
    let issuing = CertifiedIssuer::signed_by(params("issuing"), KeyPair::generate().unwrap(), &root).unwrap();
    let refused = |ders: &[&[u8]]| {
        let bundle = TrustBundle::from_der_sequence(domain("foo"), &ders.concat()).unwrap();
        without_a_root(&bundle)
    };
    assert_eq!(refused(&[issuing.der()]).as_deref(), Some("CN=issuing, signed by CN=root"));
    assert_eq!(refused(&[issuing.der(), root.der()]), None);
    assert_eq!(refused(&[root.der()]), None);
    // Nothing is known of it yet.
    assert_eq!(refused(&[]), None);
}
