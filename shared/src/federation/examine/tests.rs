//! Reading from an API server in memory.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::federation::sample::{bundle, mesh, observed};
use crate::fleet::fake::FakeServer;
use crate::spire::discovery::sample::foreign;
use crate::spire::upstream::{IssuerRef, IssuerState, RequestState};

const MAPS: &str = "/api/v1/configmaps";

fn member(server: &FakeServer) -> Member {
    server.member_of(&mesh().clusters[2])
}

fn pod(change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({
        "metadata": {
            "name": "cart", "namespace": "shop", "uid": "u", "labels": {"app": "cart"},
            "creationTimestamp": "2026-06-01T10:00:00Z",
        },
        "spec": {
            "nodeName": "node-2",
            "containers": [{"name": "cart"}, {"name": "istio-proxy"}],
            "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "id", "csi": {"driver": "csi.spiffe.io"}}],
        },
        "status": {"phase": "Running"},
    });
    change(&mut pod);
    pod
}

fn seen(change: impl FnOnce(&mut Value)) -> Option<SeenWorkload> {
    let labels = [("shop".to_owned(), [("team".to_owned(), "a".to_owned())].into())].into();
    workload(&serde_json::from_value(pod(change)).unwrap(), &labels)
}

#[test]
fn a_pod_is_a_workload_by_its_proxy_or_its_volume() {
    let parts = |change: fn(&mut Value)| seen(change).map(|workload| workload.parts);
    let without_proxy = |pod: &mut Value| pod["spec"]["containers"] = json!([{"name": "cart"}]);
    let other_driver =
        |pod: &mut Value| pod["spec"]["volumes"][1]["csi"]["driver"] = json!("ebs.csi.aws.com");
    assert_eq!(parts(|_| ()), Some(Parts::ProxyAndVolume));
    assert_eq!(parts(other_driver), Some(Parts::Proxy));
    assert_eq!(parts(without_proxy), Some(Parts::Volume));
    let neither = seen(|pod| {
        without_proxy(pod);
        other_driver(pod);
    });
    assert!(neither.is_none());
    let as_sidecar = |pod: &mut Value| {
        pod["spec"]["containers"] = json!([{"name": "cart"}]);
        pod["spec"]["initContainers"] = json!([{"name": "istio-init"}, {"name": "istio-proxy"}]);
    };
    assert_eq!(parts(as_sidecar), Some(Parts::ProxyAndVolume));
}

#[tokio::test]
async fn servers_are_counted_with_the_volumes_that_are_left_of_others() {
    let server = FakeServer::default();
    let put =
        |path: &str, value: Value| server.put(&format!("/api/v1/namespaces/spire-server/{path}"), value);
    let labels = json!({"app.kubernetes.io/name": "server"});
    put("pods/spire-server-0", json!({"metadata": {"labels": labels}}));
    put("pods/spire-server-1", json!({"metadata": {"labels": labels}}));
    put(
        "pods/spire-server-2",
        json!({"metadata": {"labels": labels, "deletionTimestamp": "2026-06-01T10:00:00Z"}}),
    );
    put("pods/other", json!({"metadata": {"labels": {"app": "other"}}}));
    for claim in ["data-spire-server-0", "data-spire-server-1", "data-spire-server-old", "data-other-1"] {
        put(&format!("persistentvolumeclaims/{claim}"), json!({}));
    }
    let found = servers(&member(&server), &foreign()).await.unwrap().unwrap();
    assert_eq!(found.pods, ["spire-server-0", "spire-server-1"]);
    assert_eq!(found.left_claims.unwrap(), ["data-spire-server-1"]);
    let existing = server.member_of(&mesh().clusters[1]);
    assert!(
        servers(&existing, &foreign()).await.unwrap().is_none(),
        "how many there may be is not ours to say"
    );
    server.refuse("/api/v1/namespaces/spire-server/persistentvolumeclaims", 403);
    let found = servers(&member(&server), &foreign()).await.unwrap().unwrap();
    let why = found.left_claims.unwrap_err().why;
    assert_eq!(why, "you may not list persistentvolumeclaims in namespace spire-server");
}

#[test]
fn a_pod_on_its_way_out_is_no_workload() {
    for phase in ["Succeeded", "Failed"] {
        assert!(seen(|pod| pod["status"]["phase"] = json!(phase)).is_none(), "{phase}");
    }
    assert!(seen(|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-06-01T10:00:00Z")).is_none());
    assert!(seen(|pod| pod["status"]["phase"] = json!("Pending")).is_some());
}

#[test]
fn what_an_entry_is_held_against_is_taken_from_the_pod_and_its_namespace() {
    let workload = seen(|_| ()).unwrap();
    assert_eq!(workload.object(), "Pod shop/cart");
    assert_eq!((workload.uid.as_str(), workload.node.as_deref()), ("u", Some("node-2")));
    assert_eq!(workload.service_account, "default");
    assert_eq!((workload.labels["app"].as_str(), workload.namespace_labels["team"].as_str()), ("cart", "a"));
    assert_eq!(workload.created, Some("2026-06-01T10:00:00Z".parse().unwrap()));
    let named = seen(|pod| pod["spec"]["serviceAccountName"] = json!("cart")).unwrap();
    assert_eq!(named.service_account, "cart");
}

#[tokio::test]
async fn workloads_of_all_namespaces_are_read_with_the_labels_of_theirs() {
    let other = pod(|pod| {
        pod["metadata"]["namespace"] = json!("bank");
        pod["metadata"]["name"] = json!("ledger");
    });
    let failed = pod(|pod| {
        pod["metadata"]["name"] = json!("job");
        pod["status"]["phase"] = json!("Failed");
    });
    let namespaces =
        ["bank", "shop"].map(|name| json!({"metadata": {"name": name, "labels": {"name": name}}}));
    let server = FakeServer::default()
        .with("/api/v1/pods", [pod(|_| ()), other, failed])
        .with("/api/v1/namespaces", namespaces);
    let all = workloads(&member(&server)).await.unwrap();
    let told: Vec<(String, &str)> =
        all.iter().map(|workload| (workload.object(), workload.namespace_labels["name"].as_str())).collect();
    assert_eq!(told, [("Pod bank/ledger".to_owned(), "bank"), ("Pod shop/cart".to_owned(), "shop")]);
    let server = server.refusing("/api/v1/namespaces", 403);
    assert_eq!(workloads(&member(&server)).await.unwrap_err().why, "you may not list namespaces");
}

#[tokio::test]
async fn nodes_are_listed_whose_kubelets_know_the_driver() {
    let node = |name: &str, drivers: &[&str]| {
        let drivers: Vec<Value> =
            drivers.iter().map(|driver| json!({"name": driver, "nodeID": name})).collect();
        json!({"metadata": {"name": name}, "spec": {"drivers": drivers}})
    };
    let nodes = [
        node("node-1", &["ebs.csi.aws.com", "csi.spiffe.io"]),
        node("node-2", &["ebs.csi.aws.com"]),
        node("node-3", &["csi.spiffe.io"]),
    ];
    let server = FakeServer::default().with("/apis/storage.k8s.io/v1/csinodes", nodes);
    assert_eq!(csi_nodes(&member(&server)).await.unwrap(), ["node-1", "node-3"]);
}

#[tokio::test]
async fn the_bundle_that_agents_start_from_is_that_of_a_managed_server() {
    let published = bundle("baz");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let map = |key: &str, text: &str| json!({"metadata": {"name": "spire-bundle", "namespace": "spire-system"}, "data": {key: text}});
    let read = async |map: Value| published_bundle(&member(&FakeServer::default().with(MAPS, [map]))).await;
    assert_eq!(read(map("bundle.crt", &published.to_pem())).await.unwrap(), Some(published.clone()));
    assert_eq!(read(map("other", &published.to_pem())).await.unwrap(), None);
    assert_eq!(published_bundle(&member(&FakeServer::default())).await.unwrap(), None);
    let why = read(map("bundle.crt", garbage)).await.unwrap_err().why;
    assert!(why.starts_with("ConfigMap spire-system/spire-bundle: "), "{why}");
    let theirs = FakeServer::default().with(MAPS, [map("bundle.crt", &published.to_pem())]);
    assert_eq!(published_bundle(&theirs.member_of(&mesh().clusters[1])).await.unwrap(), None);
    let refused =
        FakeServer::default().refusing("/api/v1/namespaces/spire-system/configmaps/spire-bundle", 403);
    assert_eq!(
        published_bundle(&member(&refused)).await.unwrap_err().why,
        "you may not get configmaps in namespace spire-system"
    );
}

#[tokio::test]
async fn istio_has_a_trust_domain_also_where_its_configuration_names_none() {
    let map = |data: Value| json!({"metadata": {"name": "istio", "namespace": "istio-system"}, "data": data});
    let read = async |map: Value| istio_trust_domain(&member(&FakeServer::default().with(MAPS, [map]))).await;
    let domain = async |text: &str| read(map(json!({"mesh": text}))).await.unwrap();
    assert_eq!(domain("trustDomain: baz.com\naccessLogFile: x\n").await.as_deref(), Some("baz.com"));
    assert_eq!(domain("accessLogFile: x\n").await.as_deref(), Some("cluster.local"));
    assert_eq!(read(map(json!({"other": "trustDomain: baz.com"}))).await.unwrap(), None);
    assert_eq!(istio_trust_domain(&member(&FakeServer::default())).await.unwrap(), None);
    let why = read(map(json!({"mesh": "["}))).await.unwrap_err().why;
    assert!(why.starts_with("ConfigMap istio-system/istio holds no mesh configuration: "), "{why}");
}

#[tokio::test]
async fn a_clock_is_compared_by_the_date_of_an_answer() {
    let version = || {
        let server = FakeServer::default();
        server.put_raw("/version", json!({}));
        server
    };
    let ahead = Timestamp::now().checked_add(Duration::from_secs(100)).unwrap();
    let date = jiff::fmt::rfc2822::to_string(&ahead.to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
    let seen = clock(&member(&version().dated(&date))).await.unwrap().unwrap();
    assert!((98..=101).contains(&seen.ahead_seconds), "{seen:?}");
    assert!(seen.round_trip < Duration::from_secs(10));
    assert_eq!(clock(&member(&version())).await.unwrap(), None);
    assert_eq!(clock(&member(&version().dated("yesterday"))).await.unwrap(), None);
}

#[tokio::test]
async fn a_webhook_is_tried_with_an_object_that_is_never_made() {
    let path = "/apis/spire.spiffe.io/v1alpha1/clusterspiffeids";
    let server = FakeServer::default();
    assert_eq!(admission(&member(&server), &foreign()).await.unwrap(), Ok(()));
    assert_eq!(server.writes(), [""; 0]);
    let sent = serde_json::to_value(probe(&foreign())).unwrap();
    assert_eq!(sent["metadata"]["name"], PROBE);
    assert_eq!(sent["spec"]["className"], "spire-mgmt-spire");
    assert_eq!(sent["spec"]["spiffeIDTemplate"], "spiffe://{{ .TrustDomain }}/spire-mesh-probe");
    let refused = FakeServer::default().refusing(path, 422);
    assert!(admission(&member(&refused), &foreign()).await.unwrap().is_err(), "the webhook does not answer");
    let forbidden = FakeServer::default().refusing(path, 403);
    assert_eq!(
        admission(&member(&forbidden), &foreign()).await.unwrap_err().why,
        "you may not create clusterspiffeids.spire.spiffe.io"
    );
}

#[tokio::test]
async fn what_only_the_server_can_tell_names_the_right_that_is_missing() {
    let of_pod = |what: &str| format!("/api/v1/namespaces/spire-server/pods/spire-server-0/{what}");
    let server = FakeServer::default().refusing(&of_pod("exec"), 403).refusing(&of_pod("portforward"), 403);
    let exec = "you may not get pods/exec in namespace spire-server";
    assert_eq!(entries(&member(&server), &foreign()).await.unwrap_err().why, exec);
    assert_eq!(
        presented(&member(&server), &foreign()).await.unwrap_err().why,
        "you may not get pods/portforward in namespace spire-server"
    );
    let stopped = FoundSpire { pod: None, ..foreign() };
    assert_eq!(entries(&member(&server), &stopped).await.unwrap_err().why, "no pod of the SPIRE server runs");
    let without = FoundSpire { bundle_endpoint: None, ..foreign() };
    for found in [stopped, without] {
        assert_eq!(
            presented(&member(&server), &found).await.unwrap_err().why,
            "no pod of the SPIRE server runs with a bundle endpoint"
        );
    }
    // Every peer with which there is a relationship, and only from clusters that can be asked.
    let mut observed = observed();
    observed.clusters[2].seen.as_mut().unwrap().server.as_mut().unwrap().relationships.pop();
    let fetched = fetch_all(&[member(&server)], &observed).await;
    let told: Vec<(&str, &str, &str)> = fetched
        .iter()
        .map(|((from, to), fetched)| (from.as_str(), to.as_str(), fetched.as_ref().unwrap_err().why.as_str()))
        .collect();
    assert_eq!(told, [("baz", "foo", exec)]);
}

#[tokio::test]
async fn an_upstream_authority_is_looked_at_where_the_configuration_names_an_issuer() {
    let issuer = IssuerRef {
        name: "spire-ca".to_owned(),
        kind: "Issuer".to_owned(),
        group: "cert-manager.io".to_owned(),
        namespace: "pki".to_owned(),
    };
    let with = |issuer: Option<IssuerRef>| FoundSpire {
        upstream: Some(crate::spire::discovery::FoundUpstream { plugin: "cert-manager".to_owned(), issuer }),
        ..foreign()
    };
    let request = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest",
        "metadata": {
            "name": "spiffe-ca-x", "namespace": "pki",
            "labels": {"cert-manager.spiffe.io/trust-domain": "bar.com"},
        },
        "spec": {"issuerRef": {"name": "spire-ca"}},
    });
    let log = "2026-11-24T10:00:00Z level=error msg=\"Unable to rotate X509 CA\" error=\"no\"\n";
    let server = FakeServer::default().with("/apis/cert-manager.io/v1/certificaterequests", [request]);
    server.put_raw("/apis", json!({"groups": []}));
    server.put_raw("/api/v1/namespaces/spire-server/pods/spire-server-0/log", json!(log));
    let seen = upstream(&member(&server), &with(Some(issuer.clone()))).await.unwrap();
    assert_eq!(seen.issuer_ref, issuer);
    assert_eq!(seen.issuer.unwrap().state, IssuerState::UnknownKind);
    let requests = seen.requests.unwrap();
    assert_eq!((requests.len(), requests[0].state), (1, RequestState::Pending));
    assert_eq!(seen.log.unwrap().failed.unwrap().1, "no");
    assert!(upstream(&member(&server), &with(None)).await.is_none());
    assert!(upstream(&member(&server), &foreign()).await.is_none());
}

#[tokio::test]
async fn a_rotation_that_was_begun_is_read_beside_the_server() {
    let record = json!({"from": "0a", "to": "0b"}).to_string();
    let map = json!({
        "metadata": {"name": "spire-mesh-rotation", "namespace": "spire-server"}, "data": {"rotation.json": record},
    });
    let server = FakeServer::default().with(MAPS, [map]);
    let begun = rotation(&member(&server), &foreign()).await.unwrap();
    assert_eq!(begun, Some(BegunRotation { from: "0a".to_owned(), to: "0b".to_owned() }));
    assert_eq!(rotation(&member(&FakeServer::default()), &foreign()).await.unwrap(), None);
    let path = "/api/v1/namespaces/spire-server/configmaps/spire-mesh-rotation";
    server.put(path, json!({"data": {"rotation.json": r#"{"version": 2}"#}}));
    let newer = rotation(&member(&server), &foreign()).await.unwrap_err();
    assert!(newer.why.contains("of version 2") && newer.hint.is_some() && newer.need.is_none(), "{newer:?}");
    assert_eq!(
        rotation(&member(&FakeServer::default().refusing(path, 403)), &foreign()).await.unwrap_err().why,
        "you may not get configmaps in namespace spire-server"
    );
}

#[tokio::test]
async fn details_are_read_of_every_cluster_that_was_seen() {
    let identity = serde_json::to_value(crate::federation::sample::identity_object(
        "web",
        &json!({}),
        &json!({"podsSelected": 1}),
    ))
    .unwrap();
    let server = FakeServer::default()
        .with("/apis/spire.spiffe.io/v1alpha1/clusterspiffeids", [identity])
        .with("/api/v1/pods", [pod(|_| ())])
        .with("/apis/storage.k8s.io/v1/csinodes", [json!({
            "metadata": {"name": "node-2"}, "spec": {"drivers": [{"name": "csi.spiffe.io", "nodeID": "node-2"}]},
        })]);
    let mesh = mesh();
    let members = [server.member_of(&mesh.clusters[2])];
    let examined = examine(&mesh, &members, &BTreeMap::new()).await;
    assert_eq!(examined.details.keys().collect::<Vec<_>>(), ["baz"]);
    let details = examined.details("baz").unwrap();
    assert_eq!(details.identity_objects.as_ref().unwrap().len(), 1);
    assert_eq!(details.workloads.as_ref().unwrap().len(), 1);
    assert_eq!(details.csi_nodes.as_ref().unwrap(), &["node-2"]);
    let nothing = "there is no SPIRE server";
    assert_eq!(details.entries.as_ref().unwrap_err().why, nothing);
    assert_eq!(details.presented.as_ref().unwrap_err().why, nothing);
    assert_eq!(details.admission.as_ref().unwrap_err().why, nothing);
    assert_eq!(details.rotation.as_ref().unwrap_err().why, nothing);
    assert!(details.upstream.is_none());
    assert_eq!(examined.fetched.len(), 0);
}
