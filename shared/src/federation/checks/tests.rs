//! Checks on a mesh of three: foo and baz are managed, the SPIRE of bar was installed by somebody else.

mod catalogue;
mod causes;
mod third;

use super::*;
use crate::check::{CheckResult, Status};
use crate::federation::BegunRotation;
use crate::federation::examined::{Parts, SeenWorkload};
use crate::federation::observed::{SeenAgentPod, SeenAgents, SeenNode, SeenServer};
use crate::federation::sample::{
    self, CLASS, attested, bundle, domain, examined, identity_object, relationship_object, unread, url,
};
use crate::fleet::{Read, Unread};
use crate::manifest::NodeState;
use crate::spire::discovery::{FoundSpire, SdsNames};
use crate::spire::endpoint::Endpoint;
use crate::spire::server::{Entry, Profile, Relationship};
use crate::trust::TrustBundle;

/// A node that says nothing any more.
fn not_ready() -> NodeState {
    NodeState::NotReady { said: "Ready is Unknown: Kubelet stopped posting node status.".to_owned() }
}

/// The last of the pods of a cluster, with these parts.
fn pod(parts: Parts) -> SeenWorkload {
    let details = sample::examined().details.remove("bar").unwrap();
    SeenWorkload { parts, ..details.workloads.unwrap().pop().unwrap() }
}

/// Its entry, with the bundles of these peers.
fn entry(own: &str, peers: &[&str]) -> Entry {
    sample::entry(own, &pod(Parts::Volume), peers)
}

/// Puts another pod in the place of the last one.
fn set_pod(details: &mut Details, pod: SeenWorkload) {
    *details.workloads.as_mut().unwrap().last_mut().unwrap() = pod;
}

/// Puts these entries in the place of that of the last pod.
fn set_entries(details: &mut Details, entries: Vec<Entry>) {
    let of_cluster = details.entries.as_mut().unwrap();
    of_cluster.pop();
    of_cluster.extend(entries);
}

/// Renames the bundles that agents serve.
fn set_names(seen: &mut Seen, bundle: &str, all_bundles: &str) {
    let names = SdsNames { bundle: bundle.to_owned(), all_bundles: all_bundles.to_owned() };
    seen.agents.as_mut().unwrap().as_mut().unwrap().found.sds = Some(names);
}

/// What a check comes to about `scope`, where `bar` was changed.
fn of_bar(id: &str, scope: &Scope, change: impl FnOnce(&mut Seen, &mut Details)) -> CheckResult {
    changed("bar", id, scope, change)
}

/// What a check comes to about `scope`, where a cluster was changed.
fn changed(name: &str, id: &str, scope: &Scope, change: impl FnOnce(&mut Seen, &mut Details)) -> CheckResult {
    let mut examined = examined();
    change_in(&mut examined, name, change);
    result(&examined, id, scope)
}

fn change_in(examined: &mut Examined, name: &str, change: impl FnOnce(&mut Seen, &mut Details)) {
    let cluster = examined.observed.clusters.iter_mut().find(|cluster| cluster.name() == name).unwrap();
    change(cluster.seen.as_mut().unwrap(), examined.details.get_mut(name).unwrap());
}

fn result(examined: &Examined, id: &str, scope: &Scope) -> CheckResult {
    let verification = verify(examined);
    let results = verification.results();
    let result = results.iter().find(|result| result.id.0 == id && result.scope == *scope);
    result.unwrap_or_else(|| panic!("{id} of {scope} is not in {results:#?}")).clone()
}

/// What one check comes to, whatever became of those that it stands on.
fn alone(examined: &Examined, id: &str) -> Vec<CheckResult> {
    let check = CATALOGUE.iter().find(|check| check.id.0 == id).unwrap();
    crate::check::run(std::slice::from_ref(check), examined).results().to_vec()
}

fn found(seen: &mut Seen) -> &mut FoundSpire {
    seen.spire.as_mut().unwrap().as_mut().unwrap()
}

fn asked(seen: &mut Seen) -> &mut SeenServer {
    seen.server.as_mut().unwrap()
}

fn agents(seen: &mut Seen) -> &mut SeenAgents {
    seen.agents.as_mut().unwrap().as_mut().unwrap()
}

fn bar_to_foo() -> Scope {
    Scope::pair("bar", "foo")
}

fn pod_of_bar() -> Scope {
    Scope::object("bar", "Pod shop/client")
}

#[test]
fn a_web_certificate_at_the_bundle_endpoint_is_named_as_such() {
    let web = |seen: &mut Seen, _: &mut Details| {
        found(seen).bundle_endpoint.as_mut().unwrap().https_web = true;
    };
    insta::assert_snapshot!(of_bar("bundle-endpoint", &Scope::cluster("bar"), web).told());
}

#[test]
fn a_static_relationship_is_a_warning_whatever_else_there_is() {
    let is_static = |seen: &mut Seen, _: &mut Details| {
        seen.relationship_objects = Ok(Vec::new());
        found(seen).static_federation = vec!["foo.com".to_owned()];
    };
    insta::assert_snapshot!(of_bar("relationship", &bar_to_foo(), is_static).told());
}

#[test]
fn what_passes_no_relationship_on_is_named_where_one_is_missing() {
    let without = |change: fn(&mut FoundSpire)| {
        let missing = move |seen: &mut Seen, _: &mut Details| {
            seen.relationship_objects = Ok(Vec::new());
            asked(seen).relationships.clear();
            change(found(seen));
        };
        of_bar("relationship", &bar_to_foo(), missing).told()
    };
    insta::assert_snapshot!("no_controller_manager", without(|found| found.controller_manager = None));
    insta::assert_snapshot!(
        "relationships_passed_over",
        without(|found| {
            found.controller_manager.as_mut().unwrap().passes_over_relationships =
                Some("`staticManifestPath: /manifests`".to_owned());
        })
    );
}

#[test]
fn an_entry_that_lacks_a_peer_waits_for_the_bundle_of_that_peer() {
    let with = |stored: &[&str], entry: Entry| {
        of_bar("entries", &pod_of_bar(), |seen, details| {
            asked(seen)
                .stored
                .retain(|bundle| stored.iter().any(|name| bundle.trust_domain() == &domain(name)));
            set_entries(details, vec![entry]);
        })
        .told()
    };
    insta::assert_snapshot!(with(&[], entry("bar", &[])), @"skip: bundle-stored of bar→foo comes first");
    insta::assert_snapshot!(with(&["foo"], entry("bar", &["foo"])), @"skip: bundle-stored of bar→baz comes first");
    let one_of_each = with(&["baz"], entry("bar", &[]));
    assert!(one_of_each.starts_with("fail: its entry does not federate with baz.com, so"), "{one_of_each}");
}

#[test]
fn a_rotation_that_was_not_finished_is_a_warning_with_the_command_that_goes_on() {
    let begun = |_: &mut Seen, details: &mut Details| {
        let rotation = BegunRotation { from: "0a".to_owned(), to: "0b".to_owned() };
        details.rotation = Ok(Some(rotation));
    };
    insta::assert_snapshot!(of_bar("rotation", &Scope::cluster("bar"), begun).told(), @r"
    warn: the rotation of its CA was begun and not finished, so that the old one is still trusted
    seen: CA 0b is to follow 0a
    next: kubectl spire-federate rotate bar
    ");
    let newer = |_: &mut Seen, details: &mut Details| {
        let hint = Some("kubectl delete configmap".into());
        details.rotation = Err(Unread { hint, ..Unread::because("a record of version 2") });
    };
    insta::assert_snapshot!(of_bar("rotation", &Scope::cluster("bar"), newer).told(), @r"
    warn: the record of a rotation of its CA is not understood
    seen: a record of version 2
    next: kubectl delete configmap
    ");
}

#[test]
fn how_somebody_elses_agents_call_bundles_matters_to_istio_only() {
    let with = |name: &str, parts: &[Parts]| {
        let pods = |seen: &mut Seen, details: &mut Details| {
            set_names(seen, "ROOTCA", "ALL");
            details.workloads = Ok(parts.iter().map(|parts| pod(*parts)).collect());
        };
        changed(name, "agent-bundle-names", &Scope::cluster(name), pods).status
    };
    assert_eq!(with("bar", &[Parts::Volume, Parts::Volume]), Status::Skip);
    assert_eq!(with("bar", &[Parts::Volume, Parts::ProxyAndVolume]), Status::Fail);
    assert_eq!(with("bar", &[Parts::Volume, Parts::Proxy]), Status::Fail);
    // Ours are as this mesh needs them, or have been changed.
    assert_eq!(with("baz", &[Parts::Volume]), Status::Fail);
    let unknown = of_bar("agent-bundle-names", &Scope::cluster("bar"), |seen, details| {
        set_names(seen, "ROOTCA", "ALL");
        details.workloads = unread();
    });
    assert_eq!(unknown.status, Status::Fail, "somebody may ask");
}

#[test]
fn all_bundles_are_served_only_where_the_own_one_has_another_name() {
    let with = |bundle: &str, all: &str| {
        changed("baz", "agent-bundle-names", &Scope::cluster("baz"), |seen, _| set_names(seen, bundle, all))
            .status
    };
    assert_eq!(with("null", "ROOTCA"), Status::Pass);
    assert_eq!(with("ROOTCA", "ROOTCA"), Status::Fail);
    assert_eq!(with("null", "ALL"), Status::Fail);
}
