//! Checks on a healthy mesh of three in which one thing was changed: in the last of the clusters, and there in the last of what there is
//! several of.

mod mesh;

use std::collections::BTreeMap;

use serde_json::json;

use self::mesh::{HELLOWORLD, NAMES, authority, examined, pair, remote_secret, rule};
use super::*;
use crate::check::{CheckResult, Status};
use crate::envoy::{self, InboundChain, InboundRules, NameRule, OutboundRules, Protection, ProxySecrets};
use crate::fleet::{Need, Unread};
use crate::istio::ca::{self, CaLog, CaSecret, SeenCa};
use crate::istio::gateway::FoundGateway;
use crate::istio::injector::tests::labels;
use crate::istio::injector::{Asks, Labels, Target};
use crate::istio::remote::AccessProblem;
use crate::manifest::{NewLoadBalancer, ServiceAddress};
use crate::multicluster::examined::{
    AskingNamespace, SeenBarePod, SeenInjection, SeenIstiod, SeenPeerAuthentication, SeenProxy,
    SeenRemoteSecret, SeenWorkload, ServerAuthority, StuckWorkload,
};
use crate::multicluster::probe::Way;
use crate::trust::svid::Certificate;
use crate::trust::{TrustBundle, TrustDomain};
use crate::workload::{Workload, WorkloadKind};

/// Before the pods of istiod started.
const EARLY: &str = "2026-11-25T09:00:00Z";
/// After they did, and their webhook was there.
const LATE: &str = "2026-11-25T12:00:00Z";

/// Takes the checks on Istio, without those on SPIRE.
fn verified(change: impl FnOnce(&mut Examined)) -> Verification<Repair> {
    let mut examined = examined();
    change(&mut examined);
    crate::check::run(&CATALOGUE, &examined)
}

/// Takes them where something in baz was changed.
fn changed(change: impl FnOnce(&mut Seen)) -> Verification<Repair> {
    verified(|examined| change(examined.clusters.get_mut("baz").unwrap()))
}

/// Says what is wrong where something in baz was changed, and what is not looked at for that reason.
fn wrong(change: impl FnOnce(&mut Seen)) -> String {
    told(&changed(change))
}

fn told(verification: &Verification<Repair>) -> String {
    lines(verification, |result| result.status != Status::Pass)
}

/// Writes what was found, but for what other clusters know of their peers.
fn lines(verification: &Verification<Repair>, wanted: impl Fn(&CheckResult) -> bool) -> String {
    let of_baz = |result: &&CheckResult| !matches!(&result.scope, Scope::Pair { from, .. } if from != "baz");
    let results = verification.results().iter().filter(|result| wanted(result)).filter(of_baz);
    let lines = results.map(|result| format!("{} of {}: {}", result.id, result.scope, result.told()));
    lines.collect::<Vec<_>>().concat()
}

/// Returns the second pod of istiod.
fn second(seen: &mut Seen) -> &mut SeenIstiod {
    seen.istiods.as_mut().unwrap().last_mut().unwrap()
}

/// Returns the last proxy, a sidecar.
fn proxy(seen: &mut Seen) -> &mut SeenProxy {
    seen.proxies.as_mut().unwrap().last_mut().unwrap()
}

fn secrets(seen: &mut Seen) -> &mut ProxySecrets {
    proxy(seen).secrets.as_mut().unwrap()
}

fn bundles(seen: &mut Seen) -> &mut BTreeMap<TrustDomain, TrustBundle> {
    let validation = secrets(seen).validation.as_mut().unwrap().value.as_mut().unwrap();
    let envoy::Validation::Spiffe(bundles) = validation else { panic!("bundles") };
    bundles
}

fn injection(seen: &mut Seen) -> &mut SeenInjection {
    seen.injection.as_mut().unwrap()
}

fn deployment<'s>(seen: &'s mut Seen, name: &str) -> &'s mut SeenWorkload {
    seen.workloads.as_mut().unwrap().iter_mut().find(|workload| workload.name == name).unwrap()
}

fn domain(name: &str) -> TrustDomain {
    format!("{name}.com").parse().unwrap()
}

#[test]
fn nothing_is_wrong_with_a_healthy_mesh() {
    let healthy = verified(|_| ());
    assert!(healthy.is_healthy());
    assert_eq!(told(&healthy), "");
    insta::assert_snapshot!(lines(&healthy, |result| result.scope.to_string().starts_with("baz")));
    let of = |id: &str| healthy.results().iter().filter(|result| result.id.0 == id).count();
    for Check { id, .. } in &CATALOGUE {
        let wanted = match id.0 {
            "proxy-identity" | "proxy-bundles" => 9,
            "remote-secret"
            | "istiod-synced"
            | "way-open"
            | "network-known"
            | "endpoint-identities"
            | "proxy-expects"
            | "proxy-admits"
            | "sidecars" => 6,
            _ => 3,
        };
        assert_eq!(of(id.0), wanted, "{id}");
    }
}

#[test]
fn what_is_wrong_with_spire_is_found_first() {
    let verification = verify(&examined());
    let ids: Vec<&str> = verification.results().iter().map(|result| result.id.0).collect();
    let is_of_istio = |id: &&str| CATALOGUE.iter().any(|check| check.id.0 == *id);
    let (of_spire, of_istio): (Vec<_>, Vec<_>) = ids.iter().partition(|id| !is_of_istio(id));
    assert!(of_spire.contains(&"cluster-reachable") && of_istio.contains(&"mutual-tls"));
    assert_eq!(ids, [of_spire, of_istio].concat());
}

#[test]
fn of_a_cluster_that_was_not_reached_nothing_is_said() {
    let lost = verified(|examined| {
        examined.clusters.remove("bar");
        examined.ways.clear();
    });
    let of_bar = lost.results().iter().filter(|result| result.scope == Scope::cluster("bar"));
    assert!(of_bar.clone().count() > 10 && of_bar.into_iter().all(|result| result.status == Status::Skip));
    let of_pair = |from: &str| {
        let of =
            |result: &&CheckResult| matches!(&result.scope, Scope::Pair { from: own, .. } if own == from);
        lost.results().iter().filter(of).count()
    };
    assert_eq!((of_pair("foo"), of_pair("bar"), of_pair("baz")), (12, 0, 12));
}

#[test]
fn repairs_are_said_in_words() {
    let repair = Repair::RestartIstiod { cluster: "foo".to_owned() };
    insta::assert_snapshot!(repair.to_string(), @"foo: start istiod again, so that it reads the other clusters anew");
    let of_spire = federation::verify(&examined().spire).map_repairs(Repair::Spire);
    assert!(of_spire.repairs().iter().all(|repair| matches!(repair, Repair::Spire(_))));
}

fn forbidden<T>(resource: &str) -> Result<T, Unread> {
    let need = Need::new("list", "", resource, None);
    Err(Unread { why: format!("you may not {need}"), need: Some(Box::new(need)), hint: None })
}

#[test]
fn what_cannot_be_read_is_named_with_the_right_that_is_missing() {
    let rules = |seen: &mut Seen| seen.peer_authentications = forbidden("peerauthentications");
    insta::assert_snapshot!(wrong(rules));
}

#[test]
fn every_right_that_is_missing_is_named_and_what_needs_it_is_not_looked_at() {
    let all = changed(|seen| {
        *seen = Seen {
            workloads: forbidden("workloads"),
            istiods: forbidden("istiods"),
            network: forbidden("network"),
            gateway: forbidden("gateway"),
            new_load_balancer: None,
            gateway_objects: forbidden("gateway-objects"),
            remote_secrets: forbidden("remote-secrets"),
            peer_authentications: forbidden("peer-authentications"),
            injection: forbidden("injection"),
            injector: forbidden("injector"),
            sidecars: forbidden("sidecars"),
            stuck: forbidden("stuck"),
            ca: forbidden("ca"),
            proxies: forbidden("proxies"),
            outbound: forbidden("outbound"),
        };
    });
    insta::assert_snapshot!("rights_of_everything", told(&all));
    let of_proxies = changed(|seen| {
        proxy(seen).secrets = forbidden("secrets");
        proxy(seen).inbound = forbidden("inbound");
    });
    insta::assert_snapshot!("rights_of_a_proxy", told(&of_proxies));
}

#[test]
fn an_istiod_that_is_not_there_or_does_not_answer_is_told_apart_from_one_that_lacks_a_pod() {
    let missing = wrong(|seen| {
        seen.workloads.as_mut().unwrap().remove(0);
    });
    insta::assert_snapshot!("istiod_missing", missing);
    let mute = wrong(|seen| {
        let istiod = deployment(seen, "istiod");
        istiod.ready = 0;
        istiod.trouble = Some("istiod-1: CrashLoopBackOff".to_owned());
        seen.istiods = Err(Unread::because("no pod of it is ready"));
    });
    insta::assert_snapshot!("istiod_mute", mute);
    insta::assert_snapshot!("istiod_fewer", wrong(|seen| deployment(seen, "istiod").ready = 1));
}

#[test]
fn versions_of_istio_that_are_too_far_apart_are_named_on_both_sides() {
    let of = |version: &str| {
        wrong(|seen| {
            for istiod in seen.istiods.as_mut().unwrap() {
                istiod.version = version.parse().ok();
            }
        })
    };
    insta::assert_snapshot!(of("1.29.2"));
    insta::assert_snapshot!(of("1.30.1"), @"");
    insta::assert_snapshot!(of("latest"), @"istio-versions of baz: skip: istiod does not say which version it is");
}

/// Gives a cluster a CA, in which the API server trusts.
fn has_ca(seen: &mut Seen, ca: SeenCa) {
    for webhook in &mut seen.injector.as_mut().unwrap().webhooks {
        webhook.authorities.clone_from(&ca.published);
    }
    seen.ca = Ok(ca);
}

#[test]
fn the_ca_that_istiod_signs_with_is_held_against_the_one_in_its_secret() {
    let (root, other_root) = (authority("root"), authority("next"));
    let (ca, old) = (authority("ca"), authority("old"));
    let read = |der: &[u8]| Certificate::from_der(der.to_vec()).unwrap();
    let root = || read(root.der());
    let presents = |pod: &str, ca: Certificate| ca::SeenIstiod {
        pod: pod.to_owned(),
        started: Some("2026-11-25T10:00:00Z".parse().unwrap()),
        presented: vec![ca.clone(), ca, root()],
        log: CaLog::default(),
    };
    let with = |published: Vec<Certificate>, created: &str, second: Certificate| {
        let secret = CaSecret {
            ca: read(ca.der()),
            roots: published.clone(),
            created: Some(created.parse().unwrap()),
            certificate: Some("cacerts".to_owned()),
        };
        let istiods = vec![presents("istiod-1", read(ca.der())), presents("istiod-2", second)];
        wrong(|seen| has_ca(seen, SeenCa { secret: Some(secret), published, istiods }))
    };
    assert_eq!(with(vec![root()], EARLY, read(ca.der())), "");
    insta::assert_snapshot!("ca_behind", with(vec![root()], EARLY, read(old.der())));
    let both = vec![root(), read(other_root.der())];
    insta::assert_snapshot!("ca_between_roots", with(both, EARLY, read(ca.der())));
    let of_another = |created: &str| {
        let secret = CaSecret {
            ca: read(ca.der()),
            roots: vec![read(other_root.der())],
            created: Some(created.parse().unwrap()),
            certificate: Some("cacerts".to_owned()),
        };
        let istiods = vec![presents("istiod-1", read(old.der()))];
        wrong(|seen| has_ca(seen, SeenCa { secret: Some(secret), published: vec![root()], istiods }))
    };
    insta::assert_snapshot!("ca_of_another_root", of_another(EARLY));
    insta::assert_snapshot!("ca_that_came_after_istiod", of_another("2026-11-25T11:00:00Z"));
}

#[test]
fn an_istiod_that_is_too_old_is_named() {
    insta::assert_snapshot!(wrong(|seen| second(seen).version = "1.28.4".parse().ok()));
}

#[test]
fn trust_domains_that_are_wrong_missing_or_merged_are_told_apart() {
    let with = |config: serde_json::Value| wrong(|seen| second(seen).mesh_config = Ok(config));
    let admitted = json!([{"trustDomains": ["foo.com", "bar.com"]}]);
    insta::assert_snapshot!("trust_domain_default", with(json!({"caCertificates": admitted})));
    insta::assert_snapshot!("trust_domain_missing", with(json!({"trustDomain": "baz.com"})));
    let one = json!({"trustDomain": "baz.com", "caCertificates": [{"trustDomains": ["foo.com", "qux.com"]}]});
    insta::assert_snapshot!("trust_domain_of_the_last_peer_missing", with(one));
    let aliases = json!({"trustDomain": "baz.com", "trustDomainAliases": ["foo.com", "bar.com"]});
    insta::assert_snapshot!("trust_domain_aliases", with(aliases));
    let unread = wrong(|seen| second(seen).mesh_config = Err(Unread::because("istiod is busy")));
    insta::assert_snapshot!("trust_domain_unread", unread);
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
    let old_form = |injection: &mut SeenInjection| {
        injection.native = false;
        injection.template = Some("spec: {containers: []}".to_owned());
    };
    assert_eq!(with(old_form), "");
    let both = with(|injection| {
        injection.native = false;
        injection.template = Some("{{ if .NativeSidecars }}initContainers:{{ end }}".to_owned());
    });
    insta::assert_snapshot!(both, @"");
}

/// A pod without a sidecar in namespace `shop`, which was made at a time.
fn bare(kind: WorkloadKind, name: &str, created: &str) -> SeenBarePod {
    SeenBarePod {
        namespace: "shop".to_owned(),
        namespace_labels: labels(&[("istio-injection", "enabled")]),
        workload: Workload { kind, name: name.to_owned() },
        labels: Labels::new(),
        created: Some(created.parse().unwrap()),
        asks: Asks::Namespace,
    }
}

#[test]
fn a_webhook_that_is_gone_leads_nowhere_or_is_not_trusted_is_named() {
    let gone = |seen: &mut Seen| {
        seen.injector.as_mut().unwrap().webhooks.clear();
        let without = &mut seen.sidecars.as_mut().unwrap().without;
        without.extend((1..12).map(|n| bare(WorkloadKind::Deployment, &format!("cart-{n}"), LATE)));
    };
    insta::assert_snapshot!("webhook_gone", wrong(gone));
    let gone = |seen: &mut Seen| seen.injector.as_mut().unwrap().webhooks.clear();
    insta::assert_snapshot!("webhook_gone_while_all_have_sidecars", wrong(gone));
    let empty = |seen: &mut Seen| {
        for ready in seen.injector.as_mut().unwrap().ready.values_mut() {
            *ready = 0;
        }
    };
    insta::assert_snapshot!("webhook_without_pods", wrong(empty));
    let of_another = |seen: &mut Seen| {
        let injector = seen.injector.as_mut().unwrap();
        let target = Target::Service { namespace: "istio-old".to_owned(), name: "istiod-1-30".to_owned() };
        let webhook = injector.webhooks.last_mut().unwrap();
        webhook.target = target.clone();
        "istio-revision-tag-old".clone_into(&mut webhook.configuration);
        injector.ready.insert(target, 0);
    };
    insta::assert_snapshot!("webhook_of_another_istiod_without_pods", wrong(of_another));
    let distrusted = |seen: &mut Seen| {
        let other = authority("other");
        let last = seen.injector.as_mut().unwrap().webhooks.last_mut().unwrap();
        last.authorities = vec![Certificate::from_der(other.der().to_vec()).unwrap()];
    };
    insta::assert_snapshot!("webhook_distrusts", wrong(distrusted));
    let none = |seen: &mut Seen| seen.injector.as_mut().unwrap().webhooks[0].authorities.clear();
    insta::assert_snapshot!("webhook_without_a_ca", wrong(none));
    let unread = |seen: &mut Seen| seen.ca = Err(Unread::because("istiod is busy"));
    insta::assert_snapshot!("webhook_with_an_unknown_ca", wrong(unread));
}

#[test]
fn pods_that_ask_for_a_sidecar_and_have_none_are_named_with_the_reason() {
    let without = |pods: Vec<SeenBarePod>| wrong(|seen| seen.sidecars.as_mut().unwrap().without.extend(pods));
    let cart = |created: &str| bare(WorkloadKind::Deployment, "cart", created);
    insta::assert_snapshot!("sidecars_older_than_the_webhook", without(vec![cart(EARLY), cart(EARLY)]));
    let all = vec![
        cart(LATE),
        bare(WorkloadKind::StatefulSet, "store", LATE),
        bare(WorkloadKind::Pod, "by-hand", LATE),
    ];
    insta::assert_snapshot!("sidecars_older_than_the_label", without(all));
    let by_hand = vec![bare(WorkloadKind::Pod, "by-hand", LATE)];
    insta::assert_snapshot!("sidecars_of_a_pod_that_nobody_owns", without(by_hand));
    let mut asks = cart(LATE);
    asks.namespace_labels.clear();
    asks.labels = labels(&[("istio.io/rev", "1-30")]);
    asks.asks = Asks::PodRevision("1-30".to_owned());
    insta::assert_snapshot!("sidecars_of_a_revision_that_a_pod_asks_for", without(vec![asks]));

    let labelled = |all: &[(&str, &str)], asks: Asks, pods: &[SeenBarePod]| {
        wrong(|seen| {
            let sidecars = seen.sidecars.as_mut().unwrap();
            let namespace = AskingNamespace { asks: asks.clone(), labels: labels(all), with: 1 };
            sidecars.namespaces.insert("shop".to_owned(), namespace);
            sidecars.without.extend(pods.iter().cloned().map(|pod| SeenBarePod {
                namespace_labels: labels(all),
                asks: asks.clone(),
                ..pod
            }));
        })
    };
    let revision = Asks::NamespaceRevision("1-30".to_owned());
    let of_1_30 = [("istio.io/rev", "1-30")];
    insta::assert_snapshot!("sidecars_of_a_revision", labelled(&of_1_30, revision.clone(), &[cart(LATE)]));
    insta::assert_snapshot!(
        "sidecars_of_a_revision_that_nobody_lacks_yet",
        labelled(&of_1_30, revision, &[])
    );
    let both = [("istio-injection", "disabled"), ("istio.io/rev", "default")];
    let conflict = Asks::Conflict("default".to_owned());
    insta::assert_snapshot!("sidecars_in_conflict", labelled(&both, conflict, &[cart(LATE)]));
    let both = [("istio-injection", "enabled"), ("istio.io/rev", "1-30")];
    insta::assert_snapshot!("sidecars_with_a_label_too_many", labelled(&both, Asks::Namespace, &[]));
    let of_default = [("istio.io/rev", "default")];
    assert_eq!(labelled(&of_default, Asks::NamespaceRevision("default".to_owned()), &[]), "");
    let no_webhook_for_it = wrong(|seen| {
        let webhooks = &mut seen.injector.as_mut().unwrap().webhooks;
        webhooks.retain(|webhook| !webhook.takes(&labels(&[("istio-injection", "enabled")]), &Labels::new()));
    });
    insta::assert_snapshot!("sidecars_that_no_webhook_is_for", no_webhook_for_it);
}

#[test]
fn pods_that_the_api_server_refuses_are_named_in_its_words() {
    let stuck = StuckWorkload {
        namespace: "shop".to_owned(),
        workload: Workload { kind: WorkloadKind::Deployment, name: "cart".to_owned() },
        why: r#"pods "cart-1" is forbidden: violates PodSecurity "restricted:latest""#.to_owned(),
    };
    insta::assert_snapshot!("pods_refused", wrong(|seen| seen.stuck = Ok(vec![stuck.clone()])));
    let with_cause = wrong(|seen| {
        seen.stuck = Ok(vec![stuck]);
        seen.injector.as_mut().unwrap().webhooks[0].authorities.clear();
    });
    insta::assert_snapshot!("pods_refused_for_want_of_the_webhook", with_cause);
}

#[test]
fn a_network_needs_its_label_and_a_gateway_with_an_address() {
    insta::assert_snapshot!("network_no_label", wrong(|seen| seen.network = Ok(None)));
    insta::assert_snapshot!("network_other", wrong(|seen| seen.network = Ok(Some("elsewhere".to_owned()))));
    let without = |name: &'static str| {
        wrong(move |seen| seen.workloads.as_mut().unwrap().retain(|workload| workload.name != name))
    };
    insta::assert_snapshot!("gateway_missing", without("istio-eastwestgateway"));
    insta::assert_snapshot!("gateway_of_ingress_missing", without("istio-ingressgateway"));
    let scaled = |wanted: i32, ready: i32, trouble: Option<&str>| {
        wrong(|seen| {
            let gateway = deployment(seen, "istio-eastwestgateway");
            (gateway.wanted, gateway.ready) = (wanted, ready);
            gateway.trouble = trouble.map(str::to_owned);
        })
    };
    insta::assert_snapshot!("gateway_scaled_to_none", scaled(0, 0, None));
    insta::assert_snapshot!("gateway_not_ready", scaled(2, 0, Some("ImagePullBackOff")));
    insta::assert_snapshot!("gateway_with_one_of_two", scaled(2, 1, Some("ImagePullBackOff")));
    let pending = "Service istio-system/istio-eastwestgateway waits for its load balancer";
    let pending = wrong(|seen| seen.gateway = Ok(ServiceAddress::Pending(pending.to_owned())));
    insta::assert_snapshot!("gateway_without_address", pending);
    let objects = |objects: Vec<FoundGateway>| {
        told(&verified(|examined| {
            examined.clusters.get_mut("baz").unwrap().gateway_objects = Ok(objects);
            let refused = Way::Closed("the connection is refused".to_owned());
            examined.ways.insert(pair("baz", "bar"), Ok(refused));
        }))
    };
    let changed = |name: &str| FoundGateway {
        name: name.to_owned(),
        problem: Some("tls.mode of its server is not AUTO_PASSTHROUGH".to_owned()),
    };
    insta::assert_snapshot!("listener_missing", objects(Vec::new()));
    insta::assert_snapshot!("listener_of_another_name", objects(vec![changed("shop-gateway")]));
    insta::assert_snapshot!(
        "listener_changed",
        objects(vec![changed("shop-gateway"), changed("cross-network-gateway")])
    );
    let way = |way: Option<Way>| {
        let way = way.map_or_else(|| Err(Unread::because("no pod runs")), Ok);
        told(&verified(|examined| drop(examined.ways.insert(pair("baz", "bar"), way))))
    };
    insta::assert_snapshot!("way_closed", way(Some(Way::Closed("there is no route to it".to_owned()))));
    insta::assert_snapshot!("way_untried", way(None));
    let new = told(&verified(|examined| {
        examined.clusters.get_mut("bar").unwrap().new_load_balancer = Some(NewLoadBalancer::sample());
        let unknown = Way::Closed("its name does not resolve in this cluster".to_owned());
        examined.ways.insert(pair("baz", "bar"), Ok(unknown));
    }));
    insta::assert_snapshot!("way_through_a_new_load_balancer", new);
    let unknown =
        |seen: &mut Seen| second(seen).networks.as_mut().unwrap().retain(|known| known.network != "bar");
    insta::assert_snapshot!("network_unknown", wrong(unknown));
    let none = |seen: &mut Seen| second(seen).networks = Ok(Vec::new());
    insta::assert_snapshot!("network_none_known", wrong(none));
}

#[test]
fn an_ingress_gateway_that_the_mesh_file_leaves_out_is_not_missed() {
    let without = verified(|examined| {
        examined.spire.observed.mesh.clusters[2].istio.ingress_gateway = None;
        let workloads = examined.clusters.get_mut("baz").unwrap().workloads.as_mut().unwrap();
        workloads.retain(|workload| workload.name != "istio-ingressgateway");
    });
    assert_eq!(told(&without), "");
}

#[test]
fn clusters_of_one_network_need_no_way_between_them() {
    let one_network = verified(|examined| {
        let clusters = &mut examined.spire.observed.mesh.clusters;
        let network = clusters[2].network.clone();
        clusters[1].network = network;
        examined.ways.clear();
    });
    let pairs = |id: &str| {
        let of = one_network.results().iter().filter(|result| result.id.0 == id);
        of.map(|result| result.scope.to_string()).collect::<Vec<_>>()
    };
    let of_others = ["foo→bar", "foo→baz", "bar→foo", "baz→foo"];
    assert_eq!(pairs("way-open"), of_others);
    assert_eq!(pairs("network-known"), of_others);
}

#[test]
fn remote_secrets_that_do_not_work_are_told_apart() {
    let with = |of_bar: Option<SeenRemoteSecret>| {
        let secrets: Vec<_> = [remote_secret("foo", &["foo"])].into_iter().chain(of_bar).collect();
        wrong(|seen| seen.remote_secrets = Ok(secrets))
    };
    insta::assert_snapshot!("remote_none", with(None));
    insta::assert_snapshot!("remote_refused", with(Some(remote_secret("bar", &[]))));
    insta::assert_snapshot!("remote_of_another", with(Some(remote_secret("bar", &["foo"]))));
    let mut of_another_ca = remote_secret("bar", &["bar"]);
    let other =
        ServerAuthority::Other { found: vec!["CN=old".to_owned()], wanted: vec!["CN=kubernetes".to_owned()] };
    of_another_ca.authority.insert("bar".to_owned(), Ok(other));
    insta::assert_snapshot!("remote_with_another_ca", with(Some(of_another_ca)));
    let mut of_the_system = remote_secret("bar", &["bar"]);
    of_the_system.authority.insert("bar".to_owned(), Ok(ServerAuthority::System));
    assert_eq!(with(Some(of_the_system)), "", "what istiod's system trusts is not known here");
    let mut program = remote_secret("bar", &[]);
    program.found.clusters[0].1 = Err(AccessProblem::Exec);
    insta::assert_snapshot!("remote_with_a_program", with(Some(program)));
    let mut unread = remote_secret("bar", &[]);
    unread.accepted_by.insert("bar".to_owned(), Err(Unread::because("you may not ask")));
    insta::assert_snapshot!("remote_unread", with(Some(unread)));
    let mut unasked = remote_secret("bar", &[]);
    unasked.accepted_by.clear();
    insta::assert_snapshot!("remote_unasked", with(Some(unasked)));
    let and = |more: SeenRemoteSecret| wrong(|seen| seen.remote_secrets.as_mut().unwrap().push(more));
    insta::assert_snapshot!("remote_misnamed", and(remote_secret("bar-eks", &["bar"])));
    insta::assert_snapshot!("remote_of_a_stranger", and(remote_secret("qux", &[])));
    assert_eq!(with(Some(remote_secret("bar", &["foo", "bar"]))), "", "whoever else takes the token");
}

#[test]
fn a_remote_secret_says_when_it_was_made_and_for_whom() {
    let made = changed(|seen| {
        let secrets = seen.remote_secrets.as_mut().unwrap();
        // Both clusters in one Secret, as somebody may write it.
        let of_bar = secrets.pop().unwrap();
        secrets[0].found.clusters.extend(of_bar.found.clusters);
        secrets[0].accepted_by.extend(of_bar.accepted_by);
        secrets[0].found.made = Some("2026-11-25T10:00:00Z".parse().unwrap());
    });
    let of_bar =
        |result: &CheckResult| result.id == REMOTE_SECRET && result.scope == Scope::pair("baz", "bar");
    insta::assert_snapshot!(lines(&made, of_bar));
}

#[test]
fn a_cluster_that_istiod_has_closed_is_repaired_and_one_that_it_cannot_read_is_not() {
    let is = |status: &'static str| {
        changed(move |seen| {
            let known = second(seen).clusters.as_mut().unwrap();
            status.clone_into(&mut known.iter_mut().find(|known| known.id == "bar").unwrap().sync_status);
        })
    };
    let closed = is("closed");
    insta::assert_snapshot!("istiod_closed", told(&closed));
    assert_eq!(closed.repairs(), [Repair::RestartIstiod { cluster: "baz".to_owned() }]);
    let timeout = is("timeout");
    insta::assert_snapshot!("istiod_timeout", told(&timeout));
    assert_eq!(timeout.repairs(), []);
    let unknown = |seen: &mut Seen| second(seen).clusters.as_mut().unwrap().retain(|known| known.id != "bar");
    insta::assert_snapshot!("istiod_unknown", wrong(unknown));
    let none = |seen: &mut Seen| second(seen).clusters = Ok(Vec::new());
    insta::assert_snapshot!("istiod_that_knows_nobody", wrong(none));
    let unread = |seen: &mut Seen| second(seen).clusters = Err(Unread::because("istiod is busy"));
    insta::assert_snapshot!("istiod_that_does_not_say", wrong(unread));
}

#[test]
fn identities_of_the_wrong_trust_domain_and_sidecars_that_do_not_expect_them_are_named() {
    let taken = changed(|seen| {
        let identities = second(seen).identities.as_mut().unwrap();
        let of_baz = identities[HELLOWORLD]["baz"].clone();
        identities.get_mut(HELLOWORLD).unwrap().insert("bar".to_owned(), of_baz);
    });
    insta::assert_snapshot!("identities_wrong", told(&taken));
    assert_eq!(taken.repairs(), [Repair::RestartIstiod { cluster: "baz".to_owned() }]);
    let fewer = |rules: &mut OutboundRules| {
        for rule in rules.clusters.values_mut() {
            rule.names.retain(|name| !name.to_string().contains("bar.com/ns/sample"));
        }
    };
    let rules = |seen: &mut Seen| seen.outbound.clone().unwrap().unwrap().1;
    let with = |change: &dyn Fn(&mut OutboundRules)| {
        wrong(|seen| {
            let mut rules = rules(seen);
            change(&mut rules);
            seen.outbound = Ok(Some(("sample/sleep-0".to_owned(), rules)));
        })
    };
    insta::assert_snapshot!("identities_unexpected", with(&fewer));
    let every_name =
        |rules: &mut OutboundRules| rules.clusters.values_mut().for_each(|rule| rule.names.clear());
    assert_eq!(with(&every_name), "", "without a name every name is accepted");
    let without_tls = |rules: &mut OutboundRules| {
        fewer(rules);
        rules.clusters.values_mut().for_each(|rule| rule.mutual = false);
    };
    assert_eq!(with(&without_tls), "", "without mutual TLS no name is looked at");
    insta::assert_snapshot!("identities_without_a_sidecar", wrong(|seen| seen.outbound = Ok(None)));
    let silent = |seen: &mut Seen| {
        for istiod in seen.istiods.as_mut().unwrap() {
            istiod.identities = Err(Unread::because("istiod is busy"));
        }
    };
    insta::assert_snapshot!("identities_that_istiod_does_not_say", wrong(silent));
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
    let expired = verified(|examined| examined.spire.observed.at = "2026-11-26T18:00:00Z".parse().unwrap());
    let of_cart = Scope::object("baz", "Pod shop/cart-0");
    let of_cart = |result: &CheckResult| result.status != Status::Pass && result.scope == of_cart;
    insta::assert_snapshot!("proxy_expired", lines(&expired, of_cart));
}

#[test]
fn a_proxy_that_ends_again_and_again_is_a_failure_with_its_last_words() {
    let ends = |last_words: &[&str]| {
        wrong(|seen| {
            let proxy = proxy(seen);
            let ended = "container istio-proxy ended, exit code 1, 3 restarts";
            proxy.ends = Some([ended].iter().chain(last_words).map(|line| (*line).to_owned()).collect());
            proxy.secrets = Err(Unread::because("its proxy does not run yet"));
            proxy.inbound = Err(Unread::because("its proxy does not run yet"));
        })
    };
    insta::assert_snapshot!("proxy_that_ends", ends(&["Error: no socket found"]));
    insta::assert_snapshot!("proxy_that_ends_without_a_word", ends(&[]));
}

#[test]
fn the_certificate_of_a_proxy_of_another_cluster_is_not_its_own() {
    let exchanged = verified(|examined| {
        let of_foo = proxy(examined.clusters.get_mut("foo").unwrap()).secrets.clone();
        proxy(examined.clusters.get_mut("baz").unwrap()).secrets = of_foo;
    });
    insta::assert_snapshot!(told(&exchanged));
}

#[test]
fn a_proxy_has_the_bundle_of_every_trust_domain() {
    let without = |names: &'static [&'static str]| {
        wrong(move |seen| bundles(seen).retain(|held, _| !names.iter().any(|name| *held == domain(name))))
    };
    insta::assert_snapshot!("bundle_of_the_peer_missing", without(&["bar"]));
    insta::assert_snapshot!("bundle_of_all_peers_missing", without(&["foo", "bar"]));
    insta::assert_snapshot!("bundle_of_its_own_missing", without(&["baz"]));
}

#[test]
fn a_bundle_that_lacks_an_authority_of_the_server_is_an_old_one() {
    let next = authority("bar");
    let mut missing = String::new();
    let renewed = verified(|examined| {
        let bar = &mut examined.spire.observed.clusters[1];
        let bundle = &mut bar.seen.as_mut().unwrap().server.as_mut().unwrap().bundle;
        let der: Vec<u8> = bundle.authorities().values().flat_map(|held| held.der().to_vec()).collect();
        *bundle =
            TrustBundle::from_der_sequence(domain("bar"), &[&der, next.der().as_ref()].concat()).unwrap();
        missing = crate::trust::AuthorityDigest::of(next.der()).short();
        let new = bundle.clone();
        // All proxies but the last have it already.
        for name in NAMES {
            let proxies = examined.clusters.get_mut(name).unwrap().proxies.as_mut().unwrap();
            for proxy in proxies.iter_mut().filter(|proxy| name != "baz" || proxy.namespace != "shop") {
                let secrets = proxy.secrets.as_mut().unwrap();
                let value = secrets.validation.as_mut().unwrap().value.as_mut();
                let Some(envoy::Validation::Spiffe(bundles)) = value else { panic!("bundles") };
                bundles.insert(domain("bar"), new.clone());
            }
        }
    });
    insta::assert_snapshot!(told(&renewed).replace(&missing, "DIGEST"));
}

#[test]
fn a_sidecar_admits_the_mesh_and_nobody_else() {
    let with = |change: &dyn Fn(&mut InboundRules)| {
        wrong(|seen| change(proxy(seen).inbound.as_mut().unwrap().as_mut().unwrap()))
    };
    let names = |change: fn(&mut std::collections::BTreeSet<NameRule>)| {
        with(&|rules: &mut InboundRules| {
            for chain in &mut rules.chains {
                if let Protection::Mutual(names) = &mut chain.protection {
                    change(names);
                }
            }
        })
    };
    let fewer = names(|names| names.retain(|name| !name.to_string().contains("bar.com")));
    insta::assert_snapshot!("sidecar_refuses_the_peer", fewer);
    let more = names(|names| names.extend([NameRule::Prefix("spiffe://elsewhere.com/".to_owned())]));
    insta::assert_snapshot!("sidecar_admits_a_stranger", more);
    let one = names(|names| names.extend([NameRule::Exact("spiffe://foo.com/".to_owned())]));
    insta::assert_snapshot!("sidecar_admits_by_another_form", one);
    insta::assert_snapshot!("sidecar_without_rules", with(&|rules| rules.chains.clear()));
    // One chain that admits everybody, and one that admits nobody of the mesh.
    let strict = |names: &[NameRule]| InboundChain {
        name: "a".to_owned(),
        port: None,
        protection: Protection::Mutual(names.iter().cloned().collect()),
    };
    let others = NameRule::Prefix("spiffe://elsewhere.com/".to_owned());
    let mixed =
        |rules: &mut InboundRules| rules.chains = vec![strict(&[]), strict(std::slice::from_ref(&others))];
    insta::assert_snapshot!("sidecar_of_two_minds", with(&mixed));
}

#[test]
fn plaintext_is_named_where_a_rule_lets_it_in() {
    let with = |rules: Vec<SeenPeerAuthentication>| wrong(|seen| seen.peer_authentications = Ok(rules));
    let strict = || rule("istio-system", "STRICT");
    let of_some = |rule| SeenPeerAuthentication { selects: true, ..rule };
    insta::assert_snapshot!("plaintext_no_rule", with(Vec::new()));
    insta::assert_snapshot!("plaintext_permissive", with(vec![rule("istio-system", "PERMISSIVE")]));
    insta::assert_snapshot!("plaintext_of_a_namespace", with(vec![strict(), rule("shop", "DISABLE")]));
    insta::assert_snapshot!(
        "plaintext_of_some_workloads",
        with(vec![strict(), of_some(rule("shop", "PERMISSIVE"))])
    );
    insta::assert_snapshot!(
        "plaintext_with_a_strict_rule_for_some",
        with(vec![of_some(strict()), rule("shop", "STRICT")])
    );
    let gateway =
        SeenPeerAuthentication { name: "gateway".to_owned(), ..of_some(rule("istio-system", "PERMISSIVE")) };
    insta::assert_snapshot!("plaintext_at_a_gateway", with(vec![strict(), gateway]));
    let port = SeenPeerAuthentication {
        ports: [("9000", "DISABLE"), ("9001", "STRICT")]
            .map(|(port, mode)| (port.to_owned(), mode.to_owned()))
            .into(),
        ..strict()
    };
    insta::assert_snapshot!("plaintext_at_a_port_of_the_whole_mesh", with(vec![port]));
}
