//! One thing is wrong in a path that is right otherwise: foo's sleep asks helloworld, which has pods in foo, bar and baz.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::api::core::v1::Pod;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType,
    date_time_ymd,
};
use serde_json::{Value, json};

use super::observed::{
    Observed, Question, SeenClient, SeenCluster, SeenGateway, SeenObject, SeenProxy, SeenServer,
};
use super::{Path, ServiceName, Verdict, follow};
use crate::envoy::{
    Asked, Counters, Endpoint, Host, HostAddress, HostRoutes, InboundChain, InboundRules, NameRule,
    OutboundRule, OutboundRules, Policy, Protection, ProxyHosts, ProxySecrets, Received, State, Validation,
    parse_policies, parse_routes,
};
use crate::fleet::{Read, Unread};
use crate::istio::NAMESPACE;
use crate::trust::svid::Chain;
use crate::trust::{TrustBundle, TrustDomain};

const NAMES: [&str; 3] = ["foo", "bar", "baz"];
const HOST: &str = "helloworld.shop.svc.cluster.local";
const ENVOYS: &str = "outbound|5000||helloworld.shop.svc.cluster.local";

fn domain(name: &str) -> TrustDomain {
    format!("{name}.com").parse().unwrap()
}

/// A proxy's certificate, and bundles of all trust domains. Nobody verifies anything here: whose they are is what counts.
fn secrets(id: &str) -> ProxySecrets {
    static BUNDLES: LazyLock<BTreeMap<TrustDomain, TrustBundle>> = LazyLock::new(|| {
        let bundle = |name: &str| {
            let mut params = params(&format!("spiffe://{name}.com"));
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            (domain(name), TrustBundle::from_der_sequence(domain(name), ca.der()).unwrap())
        };
        NAMES.map(bundle).into()
    });
    let leaf = params(id).self_signed(&KeyPair::generate().unwrap()).unwrap();
    ProxySecrets {
        identity: Some(received(Chain::from_ders([leaf.der().to_vec()]).unwrap())),
        validation: Some(received(Validation::Spiffe(BUNDLES.clone()))),
        ..ProxySecrets::default()
    }
}

fn params(uri: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    (params.not_before, params.not_after) = (date_time_ymd(2026, 11, 25), date_time_ymd(2026, 11, 26));
    params
}

fn received<T>(value: T) -> Received<T> {
    Received { state: State::Active, version: "1".to_owned(), last_updated: None, value: Some(value) }
}

fn pod(namespace: &str, name: &str, labels: &Value) -> Pod {
    let mut labels = labels.clone();
    labels["pod-template-hash"] = "abc".into();
    serde_json::from_value(json!({
        "metadata": {
            "namespace": namespace, "name": format!("{name}-abc-1"),
            "labels": labels,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-abc"), "uid": "u", "controller": true}],
        },
        "spec": {"containers": [{"name": "app"}, {"name": "istio-proxy"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": "istio-proxy", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}}],
        },
    }))
    .unwrap()
}

fn namespace(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"istio-injection": "enabled", "team": name}}})
}

fn from_json<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn address(name: &str) -> String {
    if name == "foo" { "10.12.0.8:5000".to_owned() } else { format!("{name}.example:15443") }
}

fn endpoints() -> Vec<Endpoint> {
    let of = |name: &str| Endpoint { address: address(name), cluster: Some(name.to_owned()), healthy: true };
    NAMES.map(of).into()
}

fn hosts() -> Vec<Host> {
    let of = |name: &str| Host {
        address: {
            let address = address(name);
            let (host, port) = address.split_once(':').unwrap();
            HostAddress::Socket { address: host.to_owned(), port: port.parse().unwrap() }
        },
        region: String::new(),
        zone: String::new(),
        health: "HEALTHY".to_owned(),
        failures: Vec::new(),
        weight: 1,
        counters: Counters::default(),
    };
    NAMES.map(of).into()
}

fn cluster(name: &str) -> SeenCluster {
    let labels = json!({"app": "helloworld", "version": if name == "foo" { "v1" } else { "v2" }});
    let server = SeenServer {
        pod: format!("helloworld-{name}"),
        labels: from_json(labels.clone()),
        port: Some(5000),
        listens: Some(Ok(true)),
        inbound: Ok(Some(InboundRules {
            chains: vec![InboundChain {
                name: "0.0.0.0_5000".to_owned(),
                port: Some(5000),
                protection: Protection::Mutual(
                    NAMES.map(|name| NameRule::Prefix(format!("spiffe://{name}.com/"))).into(),
                ),
            }],
        })),
        secrets: Ok(secrets(&format!("spiffe://{name}.com/ns/shop/sa/helloworld"))),
    };
    SeenCluster {
        name: name.to_owned(),
        context: format!("{name}-context"),
        network: name.to_owned(),
        trust_domain: domain(name),
        namespace: Ok(Some(from_json(namespace("shop")))),
        service: Ok(Some(from_json(json!({
            "metadata": {"namespace": "shop", "name": "helloworld"},
            "spec": {"clusterIP": "10.22.0.7", "selector": {"app": "helloworld"}, "ports": [{"port": 5000}]},
        })))),
        pods: Ok(vec![pod("shop", "helloworld", &labels)]),
        gateway: (name != "foo").then(|| {
            Ok(SeenGateway { pod: Some("istio-eastwestgateway-1".to_owned()), listens: true, hosts: 1 })
        }),
        server: Some(server),
        policies: Ok(Vec::new()),
    }
}

fn observed() -> Observed {
    let service = ServiceName { namespace: "shop".to_owned(), name: "helloworld".to_owned() };
    let names = NAMES.map(|name| NameRule::Exact(format!("spiffe://{name}.com/ns/shop/sa/helloworld")));
    let rule = OutboundRule { mutual: true, names: names.into(), plaintext: false };
    let proxy = SeenProxy {
        routes: Ok(None),
        policies: Ok([(ENVOYS.to_owned(), Policy::default())].into()),
        endpoints: Ok([(ENVOYS.to_owned(), endpoints())].into()),
        hosts: Ok(ProxyHosts { clusters: [(ENVOYS.to_owned(), hosts())].into() }),
        rules: Ok(OutboundRules { clusters: [(ENVOYS.to_owned(), rule)].into() }),
        secrets: Ok(secrets("spiffe://foo.com/ns/sleep/sa/sleep")),
    };
    Observed {
        question: Question {
            service: service.clone(),
            port: 5000,
            asked: Asked { method: "GET".to_owned(), path: "/hello".to_owned(), ..Asked::default() },
        },
        service,
        client: SeenClient {
            cluster: "foo".to_owned(),
            pod: Ok(pod("sleep", "sleep", &json!({"app": "sleep"}))),
            namespace: Ok(Some(from_json(namespace("sleep")))),
            sidecars: Ok(Vec::new()),
            mesh_config: Ok(json!({})),
            synced: Ok(NAMES.map(|name| (name.to_owned(), true)).into()),
            proxy: Some(proxy),
        },
        clusters: NAMES.map(cluster).into(),
    }
}

fn proxy(observed: &mut Observed) -> &mut SeenProxy {
    observed.client.proxy.as_mut().unwrap()
}

/// Changes an object as JSON.
fn patch<T: serde::Serialize + serde::de::DeserializeOwned>(object: &mut T, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::to_value(&*object).unwrap();
    change(&mut value);
    *object = from_json(value);
}

fn patch_service(observed: &mut Observed, cluster: usize, change: impl FnOnce(&mut Value)) {
    patch(observed.clusters[cluster].service.as_mut().unwrap().as_mut().unwrap(), change);
}

fn server(observed: &mut Observed) -> &mut SeenServer {
    observed.clusters[2].server.as_mut().unwrap()
}

/// Writes where requests stop, and whom they reach.
fn told(change: impl FnOnce(&mut Observed)) -> String {
    let mut observed = observed();
    change(&mut observed);
    shown(&follow(&observed))
}

fn shown(path: &Path) -> String {
    let mut lines = vec![format!("reaches {}", super::verdict::listed(path.reached()))];
    if !path.unproven().is_empty() {
        lines.push(format!("unproven {}", super::verdict::listed(path.unproven())));
    }
    for (stage, cluster, stop) in path.stops() {
        let to = cluster.map(|cluster| format!(" to {cluster}")).unwrap_or_default();
        lines.push(format!("{stage}{to}: {}", stop.cause));
        if let Some(object) = &stop.object {
            lines.push(format!("  {object} {}", stop.field.as_deref().unwrap_or("-")));
        }
        lines.extend(stop.evidence.iter().map(|seen| format!("  seen: {seen}")));
        lines.push(format!("  next: {}", stop.next));
        lines.extend(stop.check.map(|check| format!("  check: {check}")));
    }
    for leg in &path.legs {
        if let Verdict::Unknown(why) = &leg.verdict {
            lines.push(format!("unknown {} {}: {why}", leg.stage, leg.cluster.as_deref().unwrap_or("-")));
        }
    }
    lines.join("\n")
}

fn unread<T>() -> Read<T> {
    Err(Unread::because("you may not"))
}

/// Snapshots of several faults, one below the other.
macro_rules! faults {
    ($($name:literal => $change:expr;)*) => {{
        let all = [$((($name), told($change)),)*];
        all.map(|(name, told)| format!("== {name}\n{told}")).join("\n")
    }};
}

#[test]
fn nothing_stops_requests_in_a_healthy_mesh() {
    let path = follow(&observed());
    assert_eq!(path.reached().into_iter().collect::<Vec<_>>(), ["bar", "baz", "foo"]);
    let all: Vec<String> = path
        .legs
        .iter()
        .map(|leg| match &leg.verdict {
            Verdict::Passes(text) => {
                format!("{:<13} {:<4} {text}", leg.stage, leg.cluster.as_deref().unwrap_or("-"))
            }
            other => panic!("{other:?}"),
        })
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_client_without_a_sidecar_or_past_it_is_told_why() {
    let bare = |observed: &mut Observed, change: &dyn Fn(&mut Value)| {
        observed.client.proxy = None;
        patch(observed.client.pod.as_mut().unwrap(), |pod| change(pod));
    };
    let labels = |observed: &mut Observed, labels: Value| {
        bare(observed, &|_| ());
        patch(observed.client.namespace.as_mut().unwrap().as_mut().unwrap(), |namespace| {
            namespace["metadata"]["labels"] = labels;
        });
    };
    let annotated = |observed: &mut Observed, annotation: &str, value: &str| {
        patch(observed.client.pod.as_mut().unwrap(), |pod| {
            pod["metadata"]["annotations"] = json!({annotation: value});
        });
    };
    insta::assert_snapshot!(faults! {
        "the node's network" => |observed| bare(observed, &|pod| pod["spec"]["hostNetwork"] = true.into());
        "it asks for none" => |observed| bare(observed, &|pod| pod["metadata"]["labels"]["sidecar.istio.io/inject"] = "false".into());
        "the namespace does not ask" => |observed| labels(observed, json!({"a": "b"}));
        "the namespace turns it off" => |observed| labels(observed, json!({"istio-injection": "disabled", "istio.io/rev": "x"}));
        "it should have one" => |observed| labels(observed, json!({"istio.io/rev": "x"}));
        "ports past it" => |observed| annotated(observed, "traffic.sidecar.istio.io/excludeOutboundPorts", "80, 5000");
        "addresses past it" => |observed| annotated(observed, "traffic.sidecar.istio.io/excludeOutboundIPRanges", "10.22.0.0/16");
        "only others through it" => |observed| annotated(observed, "traffic.sidecar.istio.io/includeOutboundIPRanges", "10.9.0.0/16,10.8.0.1/32");
        "the pod could not be read" => |observed| observed.client.pod = unread();
    });
    for (annotation, value) in [
        ("excludeOutboundPorts", "80,15000"),
        ("excludeOutboundIPRanges", "10.23.0.0/16,x"),
        ("includeOutboundIPRanges", "*"),
        ("includeOutboundIPRanges", "10.9.0.0/16,10.22.0.0/16"),
    ] {
        let told =
            told(|observed| annotated(observed, &format!("traffic.sidecar.istio.io/{annotation}"), value));
        assert_eq!(told, "reaches bar, baz, foo", "{annotation}");
    }
}

#[test]
fn a_host_that_the_sidecar_does_not_know_is_left_out_by_somebody() {
    let forget = |observed: &mut Observed| proxy(observed).endpoints = Ok(BTreeMap::new());
    let sidecar = |hosts: Value| SeenObject {
        namespace: "sleep".to_owned(),
        name: "default".to_owned(),
        spec: json!({"egress": [{"hosts": hosts}]}),
    };
    insta::assert_snapshot!(faults! {
        "not in the client's cluster" => |observed| observed.clusters[0].service = Ok(None);
        "nowhere" => |observed| observed.clusters.iter_mut().for_each(|cluster| cluster.service = Ok(None));
        "no such port" => |observed| patch_service(observed, 0, |service| service["spec"]["ports"] = json!([{"port": 80}, {"port": 81}]));
        "kept to its namespace" => |observed| {
            forget(observed);
            patch_service(observed, 0, |service| service["metadata"]["annotations"] = json!({"networking.istio.io/exportTo": "."}));
        };
        "a Sidecar leaves it out" => |observed| {
            forget(observed);
            observed.client.sidecars = Ok(vec![sidecar(json!(["./*", "istio-system/*"]))]);
        };
        "a Sidecar has it, and selectors leave it out" => |observed| {
            forget(observed);
            observed.client.sidecars = Ok(vec![sidecar(json!(["shop/*"]))]);
            observed.client.mesh_config = Ok(json!({"discoverySelectors": [{"matchLabels": {"team": "other"}}]}));
        };
        "nobody leaves it out" => forget;
    });
}

const ROUTES: &[u8] = include_bytes!("../../../tests/fixtures/envoy/routes.json");

/// The routes that Envoy had for ratings, as if they were of helloworld.
fn routes() -> HostRoutes {
    let text = String::from_utf8(ROUTES.to_vec()).unwrap();
    let text = text.replace("ratings.bookinfo.svc.cluster.local", HOST).replace("|9080|", "|5000|");
    parse_routes(text.as_bytes(), HOST, 9080).unwrap().unwrap()
}

#[test]
fn a_route_that_leads_nowhere_names_its_object() {
    let asks = |observed: &mut Observed, path: &str, headers: &[(&str, &str)]| {
        proxy(observed).routes = Ok(Some(routes()));
        observed.question.asked.path = path.to_owned();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        observed.question.asked.headers = headers.iter().map(owned).collect();
    };
    let abort = |observed: &mut Observed, share: u32| {
        asks(observed, "/", &[("x", "yes")]);
        let routes = proxy(observed).routes.as_mut().unwrap().as_mut().unwrap();
        for route in &mut routes.routes {
            if let Some((_, of)) = route.fault.as_mut().and_then(|fault| fault.abort.as_mut()) {
                *of = share;
            }
        }
    };
    insta::assert_snapshot!(faults! {
        "redirected" => |observed| asks(observed, "/old/x", &[]);
        "answered" => |observed| asks(observed, "/direct", &[]);
        "aborted" => |observed| abort(observed, 1_000_000);
        "to a subset that nobody defines" => |observed| abort(observed, 999_999);
        "no route" => |observed| {
            asks(observed, "/", &[]);
            proxy(observed).routes.as_mut().unwrap().as_mut().unwrap().routes.truncate(1);
        };
    });
    let mut split = observed();
    asks(&mut split, "/", &[]);
    let told: Vec<String> = follow(&split).legs.iter().map(|leg| format!("{:?}", leg.verdict)).collect();
    insta::assert_snapshot!(told[2], @r#"Passes("VirtualService bookinfo/reviews-split leads to helloworld.shop.svc.cluster.local:5000 (90 of 100), details.bookinfo.svc.cluster.local:5000 (10 of 100); the answer may take 2s; unless VirtualService bookinfo/reviews-split takes it, which is not judged here")"#);
}

#[test]
fn a_policy_without_mutual_tls_is_named() {
    let bare = |observed: &mut Observed| {
        proxy(observed).rules.as_mut().unwrap().clusters.get_mut(ENVOYS).unwrap().mutual = false;
    };
    let rule = || {
        const POLICIES: &[u8] = include_bytes!("../../../tests/fixtures/envoy/policies.json");
        parse_policies(POLICIES).unwrap().into_values().next().unwrap()
    };
    insta::assert_snapshot!(faults! {
        "by a rule" => |observed| {
            bare(observed);
            proxy(observed).policies = Ok([(ENVOYS.to_owned(), rule())].into());
        };
        "by nobody's" => bare;
        "not known" => |observed| proxy(observed).policies = unread();
    });
    let mut limited = observed();
    let policy = Policy { limits: [("max_connections".to_owned(), 1)].into(), ..rule() };
    proxy(&mut limited).policies = Ok([(ENVOYS.to_owned(), policy)].into());
    insta::assert_snapshot!(format!("{:?}", follow(&limited).legs[3].verdict), @r#"Passes("DestinationRule helloworld/helloworld is in force; requests are sent with mutual TLS; it limits what is sent at the same time (max_connections 1)")"#);
}

#[test]
fn a_cluster_gives_no_endpoints_for_a_reason() {
    let drop = |observed: &mut Observed| {
        proxy(observed).endpoints.as_mut().unwrap().get_mut(ENVOYS).unwrap().pop();
    };
    let with = |observed: &mut Observed, change: &dyn Fn(&mut SeenCluster)| {
        drop(observed);
        change(&mut observed.clusters[2]);
    };
    let pods = |cluster: &mut SeenCluster, change: &dyn Fn(&mut Value)| {
        patch(&mut cluster.pods.as_mut().unwrap()[0], |pod| change(pod));
    };
    let service = |cluster: &mut SeenCluster, change: &dyn Fn(&mut Value)| {
        patch(cluster.service.as_mut().unwrap().as_mut().unwrap(), |service| change(service));
    };
    let config = |observed: &mut Observed, config: Value| {
        drop(observed);
        observed.client.mesh_config = Ok(config);
    };
    insta::assert_snapshot!(faults! {
        "no pods" => |observed| with(observed, &|baz| baz.pods = Ok(Vec::new()));
        "no pod is ready" => |observed| with(observed, &|baz| pods(baz, &|pod| pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "message": "no node"}])));
        "no sidecar" => |observed| with(observed, &|baz| pods(baz, &|pod| pod["spec"]["containers"] = json!([{"name": "app"}])));
        "no such port" => |observed| with(observed, &|baz| service(baz, &|service| service["spec"]["ports"] = json!([{"port": 5001}])));
        "no selector" => |observed| with(observed, &|baz| service(baz, &|service| service["spec"]["selector"] = json!({})));
        "pods without a service" => |observed| with(observed, &|baz| baz.service = Ok(None));
        "kept to the node, here" => |observed| {
            drop(observed);
            patch_service(observed, 0, |service| service["spec"]["internalTrafficPolicy"] = "Local".into());
        };
        "kept to the node, there" => |observed| with(observed, &|baz| service(baz, &|service| service["spec"]["internalTrafficPolicy"] = "Local".into()));
        "kept to the cluster" => |observed| config(observed, json!({"serviceSettings": [
            {"settings": {"clusterLocal": false}, "hosts": ["*"]},
            {"settings": {"clusterLocal": true}, "hosts": ["*.shop.svc.cluster.local"]},
        ]}));
        "left out there" => |observed| {
            config(observed, json!({"discoverySelectors": [{"matchLabels": {"team": "shop"}}]}));
            patch(observed.clusters[2].namespace.as_mut().unwrap().as_mut().unwrap(), |namespace| namespace["metadata"]["labels"] = json!({}));
        };
        "not read" => |observed| {
            drop(observed);
            observed.client.synced.as_mut().unwrap().insert("baz".to_owned(), false);
        };
        "no remote secret" => |observed| {
            drop(observed);
            observed.client.synced.as_mut().unwrap().remove("baz");
        };
        "nobody knows why" => drop;
        "the pods could not be read" => |observed| with(observed, &|baz| baz.pods = unread());
    });
}

#[test]
fn endpoints_that_are_not_used_are_none() {
    insta::assert_snapshot!(faults! {
        "not ready, as istiod says" => |observed| {
            proxy(observed).endpoints.as_mut().unwrap().get_mut(ENVOYS).unwrap()[2].healthy = false;
        };
        "ejected" => |observed| {
            proxy(observed).hosts.as_mut().unwrap().clusters.get_mut(ENVOYS).unwrap()[2].failures = vec!["failed_outlier_check".to_owned()];
        };
        "ejected, and why" => |observed| {
            proxy(observed).hosts.as_mut().unwrap().clusters.get_mut(ENVOYS).unwrap()[2].failures = vec!["failed_outlier_check".to_owned()];
            server(observed).listens = Some(Ok(false));
        };
    });
}

#[test]
fn a_subset_that_a_cluster_has_no_pods_of_is_why_it_answers_nothing() {
    let subset = format!("outbound|5000|v1|{HOST}");
    let told = told(|observed| {
        asks_subset(observed, &subset);
        let seen = proxy(observed);
        seen.endpoints.as_mut().unwrap().insert(subset.clone(), endpoints()[..1].to_vec());
    });
    insta::assert_snapshot!(told);
}

fn asks_subset(observed: &mut Observed, subset: &str) {
    let mut all = routes();
    let mut route = all.routes.pop().unwrap();
    route.action = crate::envoy::RouteAction::Forward(vec![(subset.to_owned(), 1)]);
    proxy(observed).routes = Ok(Some(HostRoutes { routes: vec![route] }));
}

#[test]
fn the_gateway_of_a_network_lets_in_what_it_listens_for() {
    let gateway =
        |observed: &mut Observed, gateway: SeenGateway| observed.clusters[2].gateway = Some(Ok(gateway));
    let pod = || Some("istio-eastwestgateway-1".to_owned());
    insta::assert_snapshot!(faults! {
        "no pod" => |observed| gateway(observed, SeenGateway { pod: None, listens: false, hosts: 0 });
        "no listener" => |observed| gateway(observed, SeenGateway { pod: pod(), listens: false, hosts: 1 });
        "no host" => |observed| gateway(observed, SeenGateway { pod: pod(), listens: true, hosts: 0 });
        "not known" => |observed| observed.clusters[2].gateway = Some(unread());
    });
}

#[test]
fn client_and_server_have_to_verify_each_other() {
    let forget = |secrets: &mut Read<ProxySecrets>, name: &str| {
        let validation = secrets.as_mut().unwrap().validation.as_mut().unwrap().value.as_mut().unwrap();
        let Validation::Spiffe(bundles) = validation else { panic!("{validation:?}") };
        bundles.remove(&domain(name));
    };
    let protect = |observed: &mut Observed, protection: Protection| {
        server(observed).inbound.as_mut().unwrap().as_mut().unwrap().chains[0].protection = protection;
    };
    insta::assert_snapshot!(faults! {
        "the client has no bundle" => |observed| forget(&mut proxy(observed).secrets, "baz");
        "the client expects others" => |observed| {
            let rule = proxy(observed).rules.as_mut().unwrap().clusters.get_mut(ENVOYS).unwrap();
            rule.names.retain(|name| !name.to_string().contains("baz"));
        };
        "no mutual TLS" => |observed| protect(observed, Protection::Plaintext);
        "the server has no bundle" => |observed| forget(&mut server(observed).secrets, "foo");
        "the server lets others in" => |observed| protect(observed, Protection::Mutual([NameRule::Prefix("spiffe://baz.com/".to_owned())].into()));
        "the server could not be asked" => |observed| server(observed).secrets = unread();
        "there is no server" => |observed| observed.clusters[2].server = None;
    });
}

#[test]
fn a_policy_or_nobody_at_the_port_ends_the_path() {
    let policy = |namespace: &str, name: &str, spec: Value| SeenObject {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        spec,
    };
    let only =
        json!({"rules": [{"from": [{"source": {"principals": ["cluster.local/ns/sleep/sa/sleep"]}}]}]});
    insta::assert_snapshot!(faults! {
        "not allowed" => |observed| observed.clusters[2].policies = Ok(vec![policy("shop", "only-us", only.clone())]);
        "by two" => |observed| observed.clusters[2].policies = Ok(vec![policy("shop", "one", json!({})), policy(NAMESPACE, "two", json!({}))]);
        "denied" => |observed| observed.clusters[2].policies = Ok(vec![policy(NAMESPACE, "nobody", json!({"action": "DENY", "rules": [{}]}))]);
        "perhaps" => |observed| observed.clusters[2].policies = Ok(vec![policy("shop", "ask", json!({"action": "CUSTOM"}))]);
        "the policies could not be read" => |observed| observed.clusters[2].policies = unread();
        "nobody listens" => |observed| server(observed).listens = Some(Ok(false));
        "it could not be tried" => |observed| server(observed).listens = Some(unread());
    });
}

#[test]
fn a_cluster_that_has_nothing_of_a_service_is_not_on_the_path() {
    let mut observed = observed();
    observed.clusters[1].service = Ok(None);
    observed.clusters[1].pods = Ok(Vec::new());
    let path = follow(&observed);
    assert_eq!(path.without, ["bar".to_owned()].into());
    assert_eq!(shown(&path), "reaches baz, foo");
}
