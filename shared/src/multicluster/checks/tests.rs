//! Checks on a healthy mesh of two in which one thing was changed. What foo's sidecar has is what Envoy said in the lab.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::check::{CheckResult, Status};
use crate::envoy::{self, InboundRules, NameRule, OutboundRules, Protection, ProxySecrets};
use crate::federation::examined as spire;
use crate::federation::observed::Observed;
use crate::fleet::Unread;
use crate::istio::ca::SeenCa;
use crate::istio::istiod::{KnownCluster, NetworkGateway};
use crate::istio::remote::{Access, AccessProblem, FoundRemoteSecret};
use crate::manifest::{HostPort, ServiceAddress};
use crate::multicluster::examined::{
    SeenInjection, SeenIstiod, SeenPeerAuthentication, SeenProxy, SeenRemoteSecret, SeenWorkload,
};
use crate::multicluster::probe::Way;

const MESH: &str = "\
apiVersion: spire-mesh/v1alpha1
kind: Mesh
metadata: {name: example}
spec:
  clusters:
    - {name: foo, trustDomain: foo.com}
    - {name: bar, trustDomain: bar.com}
";
const SECRETS: &[u8] = include_bytes!("../../../../tests/fixtures/envoy/secrets.json");
const NOTHING: &[u8] = include_bytes!("../../../../tests/fixtures/envoy/nothing.json");
const INBOUND: &[u8] = include_bytes!("../../../../tests/fixtures/envoy/virtual-inbound.json");
const OUTBOUND: &[u8] = include_bytes!("../../../../tests/fixtures/envoy/outbound.json");

/// A moment at which the fixture's certificates are valid.
const AT: &str = "2026-11-25T18:00:00Z";
const HELLOWORLD: &str = "helloworld.sample.svc.cluster.local";

fn peer_of(name: &str) -> &'static str {
    if name == "foo" { "bar" } else { "foo" }
}

fn workload(name: &str) -> SeenWorkload {
    SeenWorkload { name: name.to_owned(), wanted: 1, ready: 1, trouble: None, version: None }
}

fn istiod(own: &str) -> SeenIstiod {
    let known = |id: &str| KnownCluster {
        id: id.to_owned(),
        secret_name: String::new(),
        sync_status: "synced".to_owned(),
    };
    let gateway = |network: &str| NetworkGateway {
        network: network.to_owned(),
        cluster: network.to_owned(),
        addr: "10.0.0.1".to_owned(),
        port: 15443,
    };
    let identity =
        |name: &str| (name.to_owned(), [format!("spiffe://{name}.com/ns/sample/sa/helloworld")].into());
    SeenIstiod {
        pod: "istiod-1".to_owned(),
        version: "1.31.0".parse().ok(),
        clusters: Ok(vec![known("foo"), known("bar")]),
        networks: Ok(vec![gateway("foo"), gateway("bar")]),
        identities: Ok([(HELLOWORLD.to_owned(), ["foo", "bar"].map(identity).into())].into()),
        mesh_config: Ok(json!({
            "trustDomain": format!("{own}.com"),
            "caCertificates": [{"trustDomains": ["foo.com", "bar.com"]}],
        })),
    }
}

fn access(server: &str) -> Access {
    let kubeconfig = json!({
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    });
    Access::parse(kubeconfig.to_string().as_bytes()).unwrap()
}

/// A remote secret for a cluster, whose token some clusters take.
fn remote_secret(cluster: &str, taken_by: &[&str]) -> SeenRemoteSecret {
    let found = FoundRemoteSecret {
        name: format!("istio-remote-secret-{cluster}"),
        made: None,
        clusters: vec![(cluster.to_owned(), Ok(access("https://api.example:6443")))],
    };
    let taken_by = taken_by.iter().map(|name| (*name).to_owned()).collect();
    SeenRemoteSecret { found, accepted_by: [(cluster.to_owned(), Ok(taken_by))].into() }
}

fn rule(namespace: &str, mode: &str) -> SeenPeerAuthentication {
    SeenPeerAuthentication {
        namespace: namespace.to_owned(),
        name: "default".to_owned(),
        selects: false,
        mode: mode.to_owned(),
        ports: BTreeMap::new(),
    }
}

/// The sidecar that the fixtures are of.
fn sidecar() -> SeenProxy {
    SeenProxy {
        namespace: "sample".to_owned(),
        pod: "sleep-0".to_owned(),
        service_account: "sleep".to_owned(),
        is_gateway: false,
        trouble: None,
        secrets: Ok(envoy::parse_secrets(SECRETS, NOTHING).unwrap()),
        inbound: Ok(envoy::parse_inbound(INBOUND).unwrap()),
    }
}

fn seen(own: &str) -> Seen {
    let has_proxy = own == "foo";
    let outbound = || ("sample/sleep-0".to_owned(), envoy::parse_outbound(OUTBOUND).unwrap());
    Seen {
        workloads: Ok(["istiod", "istio-eastwestgateway", "istio-ingressgateway"].map(workload).into()),
        istiods: Ok(vec![istiod(own)]),
        network: Ok(Some(own.to_owned())),
        gateway: Ok(ServiceAddress::Ready(HostPort::new(&format!("{own}.example"), 15443).unwrap())),
        remote_secrets: Ok(vec![remote_secret(peer_of(own), &[peer_of(own)])]),
        token_made: Ok(None),
        peer_authentications: Ok(vec![rule("istio-system", "STRICT")]),
        injection: Ok(SeenInjection {
            template: Some("spec: {initContainers: []}".to_owned()),
            default_templates: vec!["sidecar".to_owned(), "spire".to_owned()],
            native: true,
            why: "istiod is 1.31.0 and every kubelet is 1.36".to_owned(),
        }),
        ca: Ok(SeenCa { secret: None, published: Vec::new(), istiods: Vec::new() }),
        proxies: Ok(if has_proxy { vec![sidecar()] } else { Vec::new() }),
        outbound: Ok(has_proxy.then(outbound)),
    }
}

fn examined() -> Examined {
    let mesh = Mesh::parse(MESH, "spire-mesh.yaml").unwrap();
    let observed = Observed { clusters: Vec::new(), mesh, at: AT.parse().unwrap() };
    let pair = |own: &str| (own.to_owned(), peer_of(own).to_owned());
    Examined {
        spire: spire::Examined { observed, details: BTreeMap::new(), fetched: BTreeMap::new() },
        clusters: ["foo", "bar"].map(|name| (name.to_owned(), seen(name))).into(),
        ways: ["foo", "bar"].map(|own| (pair(own), Ok(Way::Open))).into(),
    }
}

/// Takes the checks on Istio, without those on SPIRE.
fn verified(change: impl FnOnce(&mut Examined)) -> Verification<Repair> {
    let mut examined = examined();
    change(&mut examined);
    crate::check::run(&CATALOGUE, &examined)
}

/// Says what is wrong where something in foo was changed, and what is not looked at for that reason.
fn wrong(change: impl FnOnce(&mut Seen)) -> String {
    told(&verified(|examined| change(examined.clusters.get_mut("foo").unwrap())))
}

fn told(verification: &Verification<Repair>) -> String {
    let is_wrong = |result: &&CheckResult| result.status != Status::Pass;
    let about_foo =
        |result: &&CheckResult| !matches!(&result.scope, Scope::Pair { from, .. } if from == "bar");
    let results = verification.results().iter().filter(is_wrong).filter(about_foo);
    let lines = results.map(|result| format!("{} of {}: {}", result.id, result.scope, result.told()));
    lines.collect::<Vec<_>>().concat()
}

fn only(seen: &mut Seen) -> &mut SeenIstiod {
    &mut seen.istiods.as_mut().unwrap()[0]
}

fn proxy(seen: &mut Seen) -> &mut SeenProxy {
    &mut seen.proxies.as_mut().unwrap()[0]
}

fn secrets(seen: &mut Seen) -> &mut ProxySecrets {
    proxy(seen).secrets.as_mut().unwrap()
}

fn injection(seen: &mut Seen) -> &mut SeenInjection {
    seen.injection.as_mut().unwrap()
}

#[test]
fn nothing_is_wrong_with_a_healthy_mesh() {
    let healthy = verified(|_| ());
    assert!(healthy.is_healthy());
    insta::assert_snapshot!(told(&healthy), @"");
    let passed = healthy.results().iter().filter(|result| result.status == Status::Pass);
    let passed: std::collections::BTreeSet<&str> = passed.map(|result| result.id.0).collect();
    assert_eq!(passed.len(), CATALOGUE.len(), "each check passes somewhere: {passed:?}");
}

#[test]
fn of_a_cluster_that_was_not_reached_nothing_is_said() {
    let lost = verified(|examined| {
        examined.clusters.remove("bar");
        examined.ways.clear();
    });
    let of_bar = lost.results().iter().filter(|result| result.scope == Scope::cluster("bar"));
    assert!(of_bar.clone().count() > 10 && of_bar.into_iter().all(|result| result.status == Status::Skip));
}

#[test]
fn what_cannot_be_read_is_named_with_the_right_that_is_missing() {
    let forbidden = |seen: &mut Seen| {
        let need = crate::fleet::Need::new("list", "security.istio.io", "peerauthentications", None);
        let why = format!("you may not {need}");
        seen.peer_authentications = Err(Unread { why, need: Some(Box::new(need)), hint: None });
    };
    insta::assert_snapshot!(wrong(forbidden));
}

#[test]
fn an_istiod_that_is_not_there_or_does_not_answer_is_told_apart_from_one_that_lacks_a_pod() {
    let workloads = |seen: &mut Seen| seen.workloads.as_mut().unwrap()[0].clone();
    let missing = wrong(|seen| {
        seen.workloads.as_mut().unwrap().remove(0);
    });
    insta::assert_snapshot!("istiod_missing", missing);
    let mute = wrong(|seen| {
        let trouble = Some("istiod-1: CrashLoopBackOff".to_owned());
        let ready = SeenWorkload { ready: 0, trouble, ..workloads(seen) };
        seen.workloads.as_mut().unwrap()[0] = ready;
        seen.istiods = Err(Unread::because("no pod of it is ready"));
    });
    insta::assert_snapshot!("istiod_mute", mute);
    let fewer = wrong(|seen| {
        let two = SeenWorkload { wanted: 2, ..workloads(seen) };
        seen.workloads.as_mut().unwrap()[0] = two;
    });
    insta::assert_snapshot!("istiod_fewer", fewer);
}

#[test]
fn versions_of_istio_that_are_too_far_apart_are_named_on_both_sides() {
    let old = |seen: &mut Seen| only(seen).version = "1.29.2".parse().ok();
    insta::assert_snapshot!(wrong(old));
    let near = |seen: &mut Seen| only(seen).version = "1.30.1".parse().ok();
    insta::assert_snapshot!(wrong(near), @"");
}

#[test]
fn an_istiod_that_is_too_old_is_named() {
    insta::assert_snapshot!(wrong(|seen| only(seen).version = "1.28.4".parse().ok()));
}

#[test]
fn trust_domains_that_are_wrong_missing_or_merged_are_told_apart() {
    let with = |config: serde_json::Value| wrong(|seen| only(seen).mesh_config = Ok(config));
    let admitted = json!([{"trustDomains": ["foo.com", "bar.com"]}]);
    insta::assert_snapshot!("trust_domain_default", with(json!({"caCertificates": admitted})));
    insta::assert_snapshot!("trust_domain_missing", with(json!({"trustDomain": "foo.com"})));
    let aliases = json!({"trustDomain": "foo.com", "trustDomainAliases": ["bar.com"]});
    insta::assert_snapshot!("trust_domain_aliases", with(aliases));
}

#[test]
fn an_injection_template_has_to_be_there_be_a_default_and_fit() {
    let with = |change: fn(&mut SeenInjection)| wrong(|seen| change(injection(seen)));
    insta::assert_snapshot!("injection_none", with(|injection| injection.template = None));
    insta::assert_snapshot!(
        "injection_no_default",
        with(|injection| drop(injection.default_templates.pop()))
    );
    insta::assert_snapshot!("injection_other_form", with(|injection| injection.native = false));
    let both = with(|injection| {
        injection.native = false;
        injection.template = Some("{{ if .NativeSidecars }}initContainers:{{ end }}".to_owned());
    });
    insta::assert_snapshot!(both, @"");
}

#[test]
fn a_network_needs_its_label_and_a_gateway_with_an_address() {
    insta::assert_snapshot!("network_no_label", wrong(|seen| seen.network = Ok(None)));
    insta::assert_snapshot!("network_other", wrong(|seen| seen.network = Ok(Some("elsewhere".to_owned()))));
    let gone = |seen: &mut Seen| drop(seen.workloads.as_mut().unwrap().remove(1));
    insta::assert_snapshot!("gateway_missing", wrong(gone));
    let scaled = |seen: &mut Seen| {
        let gateway = &mut seen.workloads.as_mut().unwrap()[1];
        (gateway.wanted, gateway.ready) = (0, 0);
    };
    insta::assert_snapshot!("gateway_scaled_to_none", wrong(scaled));
    let pending = "Service istio-system/istio-eastwestgateway waits for its load balancer";
    let pending = wrong(|seen| seen.gateway = Ok(ServiceAddress::Pending(pending.to_owned())));
    insta::assert_snapshot!("gateway_without_address", pending);
    let way = |way: Way| {
        told(&verified(|examined| drop(examined.ways.insert(("foo".to_owned(), "bar".to_owned()), Ok(way)))))
    };
    insta::assert_snapshot!("way_closed", way(Way::Closed("there is no route to it".to_owned())));
    let unknown =
        |seen: &mut Seen| only(seen).networks.as_mut().unwrap().retain(|known| known.network == "foo");
    insta::assert_snapshot!("network_unknown", wrong(unknown));
}

#[test]
fn remote_secrets_that_do_not_work_are_told_apart() {
    let with = |secrets: Vec<SeenRemoteSecret>| wrong(|seen| seen.remote_secrets = Ok(secrets));
    insta::assert_snapshot!("remote_none", with(Vec::new()));
    insta::assert_snapshot!("remote_refused", with(vec![remote_secret("bar", &[])]));
    insta::assert_snapshot!("remote_of_another", with(vec![remote_secret("bar", &["foo"])]));
    let mut program = remote_secret("bar", &[]);
    program.found.clusters[0].1 = Err(AccessProblem::Exec);
    insta::assert_snapshot!("remote_with_a_program", with(vec![program]));
    let own = || remote_secret("bar", &["bar"]);
    insta::assert_snapshot!("remote_misnamed", with(vec![own(), remote_secret("bar-eks", &["bar"])]));
    insta::assert_snapshot!("remote_of_a_stranger", with(vec![own(), remote_secret("qux", &[])]));
}

#[test]
fn a_cluster_that_istiod_has_closed_is_repaired_and_one_that_it_cannot_read_is_not() {
    let is = |status: &'static str| {
        verified(move |examined| {
            let known = only(examined.clusters.get_mut("foo").unwrap()).clusters.as_mut().unwrap();
            status.clone_into(&mut known[1].sync_status);
        })
    };
    let closed = is("closed");
    insta::assert_snapshot!("istiod_closed", told(&closed));
    assert_eq!(closed.repairs(), [Repair::RestartIstiod { cluster: "foo".to_owned() }]);
    let timeout = is("timeout");
    insta::assert_snapshot!("istiod_timeout", told(&timeout));
    assert_eq!(timeout.repairs(), []);
    let unknown = |seen: &mut Seen| drop(only(seen).clusters.as_mut().unwrap().pop());
    insta::assert_snapshot!("istiod_unknown", wrong(unknown));
}

#[test]
fn identities_of_the_wrong_trust_domain_and_sidecars_that_do_not_expect_them_are_named() {
    let taken = verified(|examined| {
        let identities = only(examined.clusters.get_mut("foo").unwrap()).identities.as_mut().unwrap();
        let of_foo = identities[HELLOWORLD]["foo"].clone();
        identities.get_mut(HELLOWORLD).unwrap().insert("bar".to_owned(), of_foo);
    });
    insta::assert_snapshot!("identities_wrong", told(&taken));
    assert_eq!(taken.repairs(), [Repair::RestartIstiod { cluster: "foo".to_owned() }]);
    let fewer = |rules: &mut OutboundRules| {
        for rule in rules.clusters.values_mut() {
            rule.names.retain(|name| !name.to_string().contains("bar.com"));
        }
    };
    let unexpected = wrong(|seen| fewer(&mut seen.outbound.as_mut().unwrap().as_mut().unwrap().1));
    insta::assert_snapshot!("identities_unexpected", unexpected);
}

#[test]
fn what_a_proxy_presents_is_its_own_svid_of_spire() {
    let pooled = |seen: &mut Seen| {
        let pool = envoy::Validation::Pooled(Vec::new());
        secrets(seen).validation.as_mut().unwrap().value = Some(pool);
    };
    insta::assert_snapshot!("proxy_of_istiod", wrong(pooled));
    let none = |seen: &mut Seen| {
        secrets(seen).identity = None;
        proxy(seen).trouble = Some("containers with unready status: [istio-proxy]".to_owned());
    };
    insta::assert_snapshot!("proxy_without_certificate", wrong(none));
    let other = |seen: &mut Seen| "other".clone_into(&mut proxy(seen).service_account);
    insta::assert_snapshot!("proxy_of_another_account", wrong(other));
    let expired = verified(|examined| examined.spire.observed.at = "2027-11-25T18:00:00Z".parse().unwrap());
    insta::assert_snapshot!("proxy_expired", told(&expired));
}

#[test]
fn a_proxy_has_the_bundle_of_every_trust_domain() {
    let without = |domain: &'static str| {
        wrong(move |seen| {
            let validation = secrets(seen).validation.as_mut().unwrap().value.as_mut().unwrap();
            let envoy::Validation::Spiffe(bundles) = validation else { panic!("bundles") };
            bundles.remove(&domain.parse().unwrap());
        })
    };
    insta::assert_snapshot!("bundle_of_the_peer_missing", without("bar.com"));
    insta::assert_snapshot!("bundle_of_its_own_missing", without("foo.com"));
}

#[test]
fn a_sidecar_admits_the_mesh_and_nobody_else() {
    let with = |change: fn(&mut InboundRules)| {
        wrong(|seen| change(proxy(seen).inbound.as_mut().unwrap().as_mut().unwrap()))
    };
    let fewer = with(|rules| {
        for chain in &mut rules.chains {
            if let Protection::Mutual(names) = &mut chain.protection {
                names.retain(|name| !name.to_string().contains("bar.com"));
            }
        }
    });
    insta::assert_snapshot!("sidecar_refuses_the_peer", fewer);
    let more = with(|rules| {
        for chain in &mut rules.chains {
            if let Protection::Mutual(names) = &mut chain.protection {
                names.insert(NameRule::Prefix("spiffe://elsewhere.com/".to_owned()));
            }
        }
    });
    insta::assert_snapshot!("sidecar_admits_a_stranger", more);
    insta::assert_snapshot!("sidecar_without_rules", with(|rules| rules.chains.clear()));
}

#[test]
fn plaintext_is_named_where_a_rule_lets_it_in() {
    let with = |rules: Vec<SeenPeerAuthentication>| wrong(|seen| seen.peer_authentications = Ok(rules));
    let strict = || rule("istio-system", "STRICT");
    insta::assert_snapshot!("plaintext_no_rule", with(Vec::new()));
    insta::assert_snapshot!("plaintext_permissive", with(vec![rule("istio-system", "PERMISSIVE")]));
    insta::assert_snapshot!("plaintext_of_a_namespace", with(vec![strict(), rule("shop", "DISABLE")]));
    let of_some = SeenPeerAuthentication { selects: true, ..rule("shop", "PERMISSIVE") };
    insta::assert_snapshot!("plaintext_of_some_workloads", with(vec![strict(), of_some]));
}
