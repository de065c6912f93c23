//! Checks on a mesh of two: foo is managed, the SPIRE of bar was installed by somebody else.

mod causes;

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::*;
use crate::check::{CheckResult, Status};
use crate::federation::BegunRotation;
use crate::federation::examined::{Parts, SeenWorkload};
use crate::federation::observed::{SeenAgents, SeenServer};
use crate::fleet::{Read, Unread};
use crate::mesh::Mesh;
use crate::spire::discovery::sample::foreign;
use crate::spire::discovery::{FoundAgents, FoundSpire, SdsNames};
use crate::spire::endpoint::Endpoint;
use crate::spire::server::{Entry, LocalAuthorities, Profile, Relationship, Selector};
use crate::trust::{TrustBundle, TrustDomain};

const MESH: &str = "\
apiVersion: spire-mesh/v1alpha1
kind: Mesh
metadata: {name: example}
spec:
  clusters:
    - {name: foo, trustDomain: foo.com}
    - {name: bar, trustDomain: bar.com, spire: {managed: false}}
";

fn domain(name: &str) -> TrustDomain {
    format!("{name}.com").parse().unwrap()
}

fn bundle(name: &str) -> TrustBundle {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    TrustBundle::from_base64_der(domain(name), [STANDARD.encode(certificate.der()).as_str()]).unwrap()
}

fn url(name: &str) -> String {
    format!("https://{name}.example:8443")
}

fn unread<T>() -> Read<T> {
    Err(Unread::because("it is not part of this test"))
}

/// A server that trusts `peer`.
fn server(own: &TrustBundle, peer: &TrustBundle, peer_url: String) -> SeenServer {
    let trust_domain = peer.trust_domain().clone();
    let profile = Profile::HttpsSpiffe(trust_domain.server_id());
    SeenServer {
        pod: "spire-server/spire-server-0".to_owned(),
        version: "1.15.3".to_owned(),
        bundle: own.clone(),
        authorities: LocalAuthorities { active: None, prepared: None, old: None },
        stored: vec![peer.clone()],
        relationships: vec![Relationship { trust_domain, url: peer_url, profile }],
        agents: Vec::new(),
        entry_count: 1,
    }
}

fn agents() -> SeenAgents {
    let sds = SdsNames { bundle: "ROOTCA".to_owned(), all_bundles: "ALL".to_owned() };
    SeenAgents {
        found: FoundAgents {
            namespace: "spire-system".to_owned(),
            name: "spire-agent".to_owned(),
            desired: 0,
            selector: "app.kubernetes.io/name=agent".to_owned(),
            tolerations: Vec::new(),
            sds: Some(sds),
            container: "spire-agent".to_owned(),
            binary: "/opt/spire/bin/spire-agent".to_owned(),
            socket_path: "/run/spire/agent-sockets/spire-agent.sock".to_owned(),
        },
        pods: Vec::new(),
    }
}

fn pod(parts: Parts) -> SeenWorkload {
    SeenWorkload {
        namespace: "shop".to_owned(),
        name: "client".to_owned(),
        created: None,
        uid: "1234".to_owned(),
        node: None,
        service_account: "default".to_owned(),
        labels: BTreeMap::new(),
        namespace_labels: BTreeMap::new(),
        parts,
    }
}

fn entry(own: &str, peers: &[&str]) -> Entry {
    let id = |path: &str| format!("spiffe://{own}.com{path}").parse().unwrap();
    Entry {
        id: "1".to_owned(),
        spiffe_id: id("/ns/shop/sa/default"),
        parent_id: id("/spire/agent/k8s_psat/bar/1"),
        selectors: vec![Selector { kind: "k8s".to_owned(), value: "pod-uid:1234".to_owned() }],
        federates_with: peers.iter().map(|peer| domain(peer)).collect(),
    }
}

/// Two clusters that trust each other, each with a pod.
fn examined() -> Examined {
    let mesh = Mesh::parse(MESH, "spire-mesh.yaml").unwrap();
    let (foo, bar) = (bundle("foo"), bundle("bar"));
    let seen = |name: &str| {
        let (own, peer, to) = if name == "foo" { (&foo, &bar, "bar") } else { (&bar, &foo, "foo") };
        let found = FoundSpire { trust_domain: Some(domain(name)), ..foreign() };
        Seen {
            spire: Ok(Some(found)),
            server_trouble: Ok(None),
            server: Ok(server(own, peer, url(to))),
            endpoint: Ok(Endpoint::Ready(url(name).parse().unwrap())),
            polls: unread(),
            agents: Ok(Some(agents())),
            nodes: unread(),
            relationship_objects: unread(),
        }
    };
    let details = |name: &str| {
        let peer = if name == "foo" { "bar" } else { "foo" };
        let details = Details {
            clock: Ok(None),
            admission: unread(),
            identity_objects: Ok(Vec::new()),
            entries: Ok(vec![entry(name, &[peer])]),
            csi_nodes: unread(),
            published_bundle: unread(),
            presented: unread(),
            workloads: Ok(vec![pod(Parts::Volume)]),
            istio_trust_domain: Ok(None),
            rotation: Ok(None),
            upstream: None,
        };
        (name.to_owned(), details)
    };
    let clusters = mesh
        .clusters
        .iter()
        .map(|cluster| ObservedCluster { cluster: cluster.clone(), seen: Ok(seen(&cluster.name)) });
    Examined {
        observed: Observed { clusters: clusters.collect(), mesh: mesh.clone(), at: Timestamp::UNIX_EPOCH },
        details: mesh.clusters.iter().map(|cluster| details(&cluster.name)).collect(),
        fetched: BTreeMap::new(),
    }
}

/// What a check comes to about `scope`, where `bar` was changed.
fn of_bar(id: &str, scope: &Scope, change: impl FnOnce(&mut Seen, &mut Details)) -> CheckResult {
    changed("bar", id, scope, change)
}

/// What a check comes to about `scope`, where a cluster was changed.
fn changed(name: &str, id: &str, scope: &Scope, change: impl FnOnce(&mut Seen, &mut Details)) -> CheckResult {
    let mut examined = examined();
    let cluster = examined.observed.clusters.iter_mut().find(|cluster| cluster.name() == name).unwrap();
    change(cluster.seen.as_mut().unwrap(), examined.details.get_mut(name).unwrap());
    result(&examined, id, scope)
}

fn result(examined: &Examined, id: &str, scope: &Scope) -> CheckResult {
    let verification = verify(examined);
    let results = verification.results();
    let result = results.iter().find(|result| result.id.0 == id && result.scope == *scope);
    result.unwrap_or_else(|| panic!("{id} of {scope} is not in {results:#?}")).clone()
}

fn found(seen: &mut Seen) -> &mut FoundSpire {
    seen.spire.as_mut().unwrap().as_mut().unwrap()
}

fn asked(seen: &mut Seen) -> &mut SeenServer {
    seen.server.as_mut().unwrap()
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
    let lacks = |_: &mut Seen, details: &mut Details| details.entries = Ok(vec![entry("bar", &[])]);
    let held = of_bar("entries", &pod_of_bar(), lacks);
    assert_eq!(held.status, Status::Fail);
    let unheld = of_bar("entries", &pod_of_bar(), |seen, details| {
        asked(seen).stored.clear();
        lacks(seen, details);
    });
    insta::assert_snapshot!(unheld.told(), @"skip: bundle-stored of bar→foo comes first");
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
}

#[test]
fn how_somebody_elses_agents_call_bundles_matters_to_istio_only() {
    let with = |parts: Parts| {
        let pods = move |_: &mut Seen, details: &mut Details| details.workloads = Ok(vec![pod(parts)]);
        of_bar("agent-bundle-names", &Scope::cluster("bar"), pods).status
    };
    assert_eq!(with(Parts::Volume), Status::Skip);
    assert_eq!(with(Parts::ProxyAndVolume), Status::Fail);
    // Ours are as this mesh needs them, or have been changed.
    let foo = of_bar("agent-bundle-names", &Scope::cluster("foo"), |_, _| ());
    assert_eq!(foo.status, Status::Fail);
}
