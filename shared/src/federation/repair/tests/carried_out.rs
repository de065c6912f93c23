//! Repairs that need the API server only, on one in memory.

use std::time::Duration;

use serde_json::json;

use super::super::*;
use super::{carry, restarted};
use crate::federation::sample::{domain, mesh, relationship_object};
use crate::fleet::fake::FakeServer;

const RELATIONSHIPS: &str = "/apis/spire.spiffe.io/v1alpha1/clusterfederatedtrustdomains";
const PODS: &str = "/api/v1/namespaces/spire-system/pods";

struct Nobody;

impl Watch<Step> for Nobody {
    fn step(&self, _: &str, _: &Step) {}
}

fn soon<'d>() -> Deadline<'d> {
    Deadline::after(Duration::from_secs(5))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn agents() -> FakeServer {
    let pod = |name: &str| json!({"metadata": {"name": name, "namespace": "spire-system"}});
    FakeServer::default().with("/api/v1/pods", ["agent-1", "agent-2", "agent-3"].map(pod))
}

#[tokio::test]
async fn only_the_objects_of_the_trust_domain_lose_their_bundle() {
    let carrying = |peer: &str, name: &str, bundle: Option<&str>| {
        let mut object = relationship_object(peer, "spire-mesh");
        object.metadata.name = Some(name.to_owned());
        object.spec.trust_domain_bundle = bundle.map(str::to_owned);
        serde_json::to_value(object).unwrap()
    };
    let objects =
        [carrying("foo", "a", Some("{}")), carrying("bar", "b", None), carrying("bar", "c", Some("{}"))];
    let server = FakeServer::default().with(RELATIONSHIPS, objects);
    let member = server.member_of(&mesh().clusters[2]);
    drop_carried_bundle(&member, &domain("bar")).await.unwrap();
    assert_eq!(server.writes(), [format!("PATCH {RELATIONSHIPS}/c")]);
    assert!(server.object(&format!("{RELATIONSHIPS}/c")).unwrap()["spec"]["trustDomainBundle"].is_null());
    drop_carried_bundle(&member, &domain("bar")).await.unwrap();
    assert_eq!(server.writes().len(), 1, "there is none any more");
}

#[tokio::test(start_paused = true)]
async fn agents_are_deleted_by_name_and_one_that_is_gone_already_is_no_failure() {
    let server = agents();
    let member = server.member_of(&mesh().clusters[2]);
    restart(&member, "spire-system", &names(&["agent-1", "gone", "agent-3"]), soon()).await.unwrap();
    assert_eq!(server.writes(), ["agent-1", "gone", "agent-3"].map(|name| format!("DELETE {PODS}/{name}")));
    assert!(server.object(&format!("{PODS}/agent-2")).is_some());
    server.refuse(&format!("{PODS}/agent-2"), 403);
    let error = restart(&member, "spire-system", &names(&["agent-2"]), soon()).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot read Pod spire-system/agent-2");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_repaired_is_said_of_its_cluster_and_one_that_is_not_asked_is_left_out() {
    let mesh = mesh();
    let refused = agents().refusing(&format!("{PODS}/agent-2"), 403);
    let members = [FakeServer::default().member_of(&mesh.clusters[0]), refused.member_of(&mesh.clusters[2])];
    let repairs = [
        restarted("baz", "spire-system", &["agent-2"]),
        restarted("foo", "spire-system", &["agent-2"]),
        restarted("qux", "spire-system", &["agent-2"]),
        carry("foo", "baz"),
        carry("foo", "qux"),
    ];
    let failed = repair(&members, &repairs, soon(), &Nobody).await;
    let told: Vec<String> = failed.iter().map(|(cluster, error)| format!("{cluster}: {error}")).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    baz: cannot read Pod spire-system/agent-2
    foo: no SPIRE server was found in namespace spire-server
    ");
}
