use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::trust::svid::verify;
use crate::trust::{SpiffeId, TrustDomain};

const SECRETS: &[u8] = include_bytes!("../../../tests/fixtures/envoy/secrets.json");
const NOTHING: &[u8] = include_bytes!("../../../tests/fixtures/envoy/nothing.json");
const VIRTUAL_INBOUND: &[u8] = include_bytes!("../../../tests/fixtures/envoy/virtual-inbound.json");
const OUTBOUND_CLUSTERS: &[u8] = include_bytes!("../../../tests/fixtures/envoy/outbound.json");
const CLUSTERS: &[u8] = include_bytes!("../../../tests/fixtures/envoy/clusters.json");

fn domain(name: &str) -> TrustDomain {
    name.parse().unwrap()
}

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

/// A fixture, changed.
fn changed(fixture: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::from_slice(fixture).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

fn secrets_with(change: impl FnOnce(&mut Value)) -> Result<ProxySecrets, AnswerError> {
    parse_secrets(&changed(SECRETS, change), NOTHING)
}

const IDENTITY_CHAIN: &str = "/configs/0/secret/tls_certificate/certificate_chain";
const KEY: &str = "/configs/0/secret/tls_certificate/private_key";
const VALIDATION_CONTEXT: &str = "/configs/1/secret/validation_context";
const DOMAINS: &str =
    "/configs/1/secret/validation_context/custom_validator_config/typed_config/trust_domains";

/// The answer with a pool of certificates instead of bundles, as Istio's agent serves it.
fn pooled(secrets: &mut Value) {
    let bytes = secrets.pointer(&format!("{DOMAINS}/0/trust_bundle/inline_bytes")).unwrap().clone();
    *secrets.pointer_mut(VALIDATION_CONTEXT).unwrap() = json!({"trusted_ca": {"inline_bytes": bytes}});
}

#[test]
fn a_proxy_on_spire_has_its_chain_and_the_bundle_of_every_domain() {
    let secrets = parse_secrets(SECRETS, NOTHING).unwrap();
    assert_eq!((secrets.issuer(), secrets.key_was_shown), (Issuer::Spire, false));
    let identity = secrets.identity.as_ref().unwrap();
    assert_eq!((identity.state, identity.version.as_str()), (State::Active, "1"));
    assert_eq!(identity.last_updated.unwrap().to_string(), "2026-11-25T17:46:54.739Z");
    let chain = secrets.chain().unwrap();
    assert_eq!(chain.leaf.spiffe_id().unwrap().unwrap(), id("spiffe://foo.com/ns/sample/sa/sleep"));
    let own = secrets.bundle(&domain("foo.com")).unwrap();
    let at = "2026-11-25T18:00:00Z".parse().unwrap();
    assert_eq!(verify(chain, own, at).broken, []);
    // The other domain's bundle is there, and is not its own.
    assert!(!verify(chain, secrets.bundle(&domain("bar.com")).unwrap(), at).holds());
    assert!(secrets.bundle(&domain("baz.com")).is_none());
}

#[test]
fn a_bundle_of_several_authorities_is_read_to_its_end() {
    let secrets = secrets_with(|secrets| {
        let domains = secrets.pointer_mut(DOMAINS).unwrap();
        let pem =
            |value: &Value| STANDARD.decode(value["trust_bundle"]["inline_bytes"].as_str().unwrap()).unwrap();
        let both = [pem(&domains[0]), b"\n".to_vec(), pem(&domains[1])].concat();
        domains[0]["trust_bundle"]["inline_bytes"] = STANDARD.encode(both).into();
    });
    assert_eq!(secrets.unwrap().bundle(&domain("bar.com")).unwrap().authorities().len(), 2);
}

#[test]
fn a_proxy_on_istiods_ca_is_told_from_one_on_spire() {
    let secrets = secrets_with(pooled).unwrap();
    assert_eq!(secrets.issuer(), Issuer::Istiod);
    assert!(secrets.bundle(&domain("foo.com")).is_none());
    let json = serde_json::to_value(&secrets).unwrap();
    assert_eq!(json["validation"]["value"]["pooled"].as_array().unwrap().len(), 1);
}

#[test]
fn secrets_that_have_not_come_are_warming() {
    let warming = json!({"configs": [
        {"name": "default", "version_info": "uninitialized", "secret": {"name": "default"}},
        {"name": "ROOTCA", "version_info": "uninitialized"},
        {"name": "kubernetes://gateway\u{1b}"},
    ]});
    let warming = serde_json::to_vec(&warming).unwrap();
    let secrets = parse_secrets(NOTHING, &warming).unwrap();
    let identity = secrets.identity.as_ref().unwrap();
    assert_eq!((identity.state, &identity.value), (State::Warming, &None));
    assert_eq!(
        (secrets.issuer(), secrets.others),
        (Issuer::Unknown, vec![r"kubernetes://gateway\u{1b}".to_owned()])
    );
    // What is in use is not hidden by what is to replace it.
    let both = parse_secrets(SECRETS, &warming).unwrap();
    assert_eq!((both.identity.as_ref().unwrap().state, both.issuer()), (State::Active, Issuer::Spire));
}

#[test]
fn no_secret_at_all_is_no_error() {
    let secrets = parse_secrets(b"{}", b"{}\n").unwrap();
    assert_eq!((secrets.identity, secrets.validation), (None, None));
}

#[test]
fn a_key_that_is_shown_is_recorded_and_not_kept() {
    const SECRET: &str = "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCnNlY3JldA==";
    for key in [
        json!({"inline_bytes": SECRET}),
        json!({"inline_string": SECRET}),
        json!(SECRET),
        json!([{"key": {"inline_bytes": SECRET}}]),
    ] {
        let secrets = secrets_with(|secrets| *secrets.pointer_mut(KEY).unwrap() = key).unwrap();
        assert!(secrets.key_was_shown);
        for text in [format!("{secrets:?}"), serde_json::to_string(&secrets).unwrap()] {
            assert!(!text.contains(SECRET) && !text.contains("secret\""), "{text}");
        }
    }
    for key in [json!({"inline_string": "[redacted]"}), json!({"filename": "/etc/key.pem"}), json!(null)] {
        assert!(!secrets_with(|secrets| *secrets.pointer_mut(KEY).unwrap() = key).unwrap().key_was_shown);
    }
}

#[test]
fn errors_never_repeat_what_they_stumbled_over() {
    let broken: [(&str, Value); 4] = [
        (IDENTITY_CHAIN, json!("hunter2")),
        (IDENTITY_CHAIN, json!({"inline_bytes": {"hunter2": "hunter2"}})),
        (VALIDATION_CONTEXT, json!(["hunter2"])),
        ("/configs/0/last_updated", json!("hunter2")),
    ];
    for (place, value) in broken {
        let error = secrets_with(|secrets| *secrets.pointer_mut(place).unwrap() = value).unwrap_err();
        assert!(matches!(error, AnswerError::Json { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    // A key where a certificate belongs.
    let key = pem::encode(&pem::Pem::new("PRIVATE KEY", b"hunter2".to_vec()));
    let error = secrets_with(|secrets| {
        *secrets.pointer_mut(IDENTITY_CHAIN).unwrap() = json!({"inline_string": key});
    });
    let error = error.unwrap_err();
    assert!(matches!(error, AnswerError::Chain { .. }), "{error}");
    assert!(!format!("{error:?}").contains(key.lines().nth(1).unwrap()));
}

#[test]
fn garbage_where_certificates_belong_is_an_error_and_never_a_shorter_list() {
    let text = |text: String| json!({"inline_bytes": STANDARD.encode(text)});
    let whole = |secrets: &Value| {
        let bytes = secrets.pointer(&format!("{IDENTITY_CHAIN}/inline_bytes")).unwrap().as_str().unwrap();
        String::from_utf8(STANDARD.decode(bytes).unwrap()).unwrap()
    };
    let changes: [&dyn Fn(&str) -> String; 6] = [
        &|_| String::new(),
        &|_| "no PEM".to_owned(),
        &|pem| pem[..pem.len() / 2].to_owned(),
        // The second is cut off: the `pem` crate says nothing.
        &|pem| format!("{pem}{}", &pem[..pem.len() / 2]),
        &|pem| pem.replace("MII", "!!!"),
        &|pem| pem.replace("MII", "AAA"),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let broken = secrets_with(|secrets| {
            let value = text(change(&whole(secrets)));
            *secrets.pointer_mut(IDENTITY_CHAIN).unwrap() = value;
        });
        assert!(matches!(broken, Err(AnswerError::Chain { .. })), "{index}: {broken:?}");
    }
    let domains: [(Value, Value); 4] = [
        (json!("Foo.com"), text(String::new())),
        (json!("foo.com"), text("no PEM".to_owned())),
        (json!("foo.com"), json!({"inline_bytes": "%"})),
        (json!("foo.com"), json!({"filename": "/etc/ca.pem"})),
    ];
    for (name, bundle) in domains {
        let broken = secrets_with(|secrets| {
            *secrets.pointer_mut(DOMAINS).unwrap() = json!([{"name": name, "trust_bundle": bundle}]);
        });
        assert!(broken.is_err(), "{name}");
    }
}

#[test]
fn an_answer_that_is_cut_off_anywhere_is_an_error() {
    for fixture in [SECRETS, VIRTUAL_INBOUND, OUTBOUND_CLUSTERS, CLUSTERS] {
        let end = fixture.trim_ascii_end().len();
        for length in (0..end).step_by(97) {
            let part = &fixture[..length];
            assert!(parse_secrets(part, NOTHING).is_err());
            assert!(parse_inbound(part).is_err());
            assert!(parse_outbound(part).is_err());
            assert!(parse_hosts(part).is_err());
        }
    }
}

#[test]
fn an_explanation_instead_of_json_is_named_as_one() {
    let error = parse_hosts(b"invalid path. admin commands are:\n  /: Admin home page\n").unwrap_err();
    insta::assert_snapshot!(error, @"it is an explanation instead of JSON: invalid path. admin commands are:");
}

#[test]
fn absurd_lengths_are_refused() {
    let long = "A".repeat(50 << 20);
    let broken = secrets_with(|secrets| {
        *secrets.pointer_mut(IDENTITY_CHAIN).unwrap() = json!({"inline_bytes": long});
    });
    assert!(matches!(broken, Err(AnswerError::TooLong(_))));
    // Within what is parsed, and still nothing that is decoded.
    let broken = secrets_with(|secrets| {
        *secrets.pointer_mut(IDENTITY_CHAIN).unwrap() = json!({"inline_bytes": &long[..9 << 20]});
    });
    assert!(matches!(broken, Err(AnswerError::TooLong(_))));
    let deep = [vec![b'['; 1 << 20], vec![b']'; 1 << 20]].concat();
    assert!(parse_hosts(&deep).is_err());
}

#[test]
fn a_sidecar_lets_in_the_trust_domains_of_the_mesh() {
    let rules = parse_inbound(VIRTUAL_INBOUND).unwrap().unwrap();
    let names: Vec<String> = rules.names().into_iter().map(ToString::to_string).collect();
    assert_eq!(names, ["spiffe://bar.com/*", "spiffe://foo.com/*"]);
    assert!(rules.agree() && !rules.accepts_plaintext());
    assert_eq!((rules.chains.len(), rules.without_names().count()), (2, 0));
    assert!(rules.admits(&id("spiffe://bar.com/ns/sample/sa/sleep")));
    assert!(!rules.admits(&id("spiffe://bar.com.evil/ns/sample/sa/sleep")));
    assert!(!rules.admits(&id("spiffe://bar.com")));
}

const CHAINS: &str = "/configs/0/active_state/listener/filter_chains";

#[test]
fn a_permissive_sidecar_accepts_plaintext() {
    let permissive = changed(VIRTUAL_INBOUND, |listeners| {
        let chains = listeners.pointer_mut(CHAINS).unwrap().as_array_mut().unwrap();
        chains.push(
            json!({"name": "virtualInbound", "filter_chain_match": {"transport_protocol": "raw_buffer"}}),
        );
        // TLS of the application itself is no plaintext.
        chains.push(json!({"name": "virtualInbound", "filter_chain_match": {"transport_protocol": "tls"}}));
    });
    let rules = parse_inbound(&permissive).unwrap().unwrap();
    assert!(rules.accepts_plaintext());
    let kinds: Vec<_> = rules.chains.iter().skip(2).map(|chain| chain.protection.clone()).collect();
    assert_eq!(kinds, [Protection::Plaintext, Protection::PassedOn]);
}

#[test]
fn a_port_without_tls_is_seen_in_an_otherwise_strict_sidecar() {
    let weak = changed(VIRTUAL_INBOUND, |listeners| {
        let chains = listeners.pointer_mut(CHAINS).unwrap().as_array_mut().unwrap();
        chains.push(json!({
            "name": "0.0.0.0_8080",
            "filter_chain_match": {"destination_port": 8080},
            "transport_socket": {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
            }},
        }));
    });
    let rules = parse_inbound(&weak).unwrap().unwrap();
    let plain: Vec<_> =
        rules.chains.iter().filter(|chain| chain.protection == Protection::Plaintext).collect();
    assert_eq!((plain.len(), plain[0].port), (1, Some(8080)));
}

#[test]
fn chains_that_check_no_name_or_no_client_are_seen() {
    let context = |chain: usize| format!("{CHAINS}/{chain}/transport_socket/typed_config");
    let weak = changed(VIRTUAL_INBOUND, |listeners| {
        let names = "/common_tls_context/combined_validation_context/default_validation_context";
        *listeners.pointer_mut(&format!("{}{names}", context(1))).unwrap() = json!({});
        *listeners.pointer_mut(&format!("{}/require_client_certificate", context(2))).unwrap() = json!(false);
    });
    let rules = parse_inbound(&weak).unwrap().unwrap();
    assert_eq!(rules.without_names().count(), 1);
    assert_eq!(rules.chains[1].protection, Protection::ServerOnly);
    assert!(rules.admits(&id("spiffe://anybody/at/all")));
}

#[test]
fn a_gateway_has_no_inbound_rules() {
    assert_eq!(parse_inbound(NOTHING).unwrap(), None);
}

#[test]
fn matchers_of_every_form_are_read() {
    let forms = changed(VIRTUAL_INBOUND, |listeners| {
        let context = listeners
            .pointer_mut(&format!(
                "{CHAINS}/1/transport_socket/typed_config/common_tls_context/combined_validation_context/default_validation_context"
            ))
            .unwrap();
        *context = json!({
            "match_subject_alt_names": [{"suffix": "/sa/x"}, {"contains": "y"}, {"safe_regex": {"regex": ".*\u{1b}"}}, {"new": 1}],
            "match_typed_subject_alt_names": [
                {"san_type": "URI", "matcher": {"exact": "spiffe://foo.com/a"}},
                {"san_type": "DNS", "matcher": {"exact": "spiffe://foo.com/b"}},
            ],
        });
    });
    let rules = parse_inbound(&forms).unwrap().unwrap();
    let Protection::Mutual(names) = &rules.chains[0].protection else { panic!("{rules:?}") };
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "spiffe://foo.com/a",
            "*/sa/x",
            "*y*",
            "DNS spiffe://foo.com/b",
            r"regular expression .*\u{1b}",
            "unknown"
        ]
    );
    assert!(!rules.agree());
    // A rule for DNS names admits no SPIFFE ID, and the other chains do not make up for it.
    assert!(!rules.admits(&id("spiffe://foo.com/b")) && !rules.admits(&id("spiffe://foo.com/c")));
}

#[test]
fn a_client_accepts_the_identities_of_a_service_in_every_cluster() {
    let rules = parse_outbound(OUTBOUND_CLUSTERS).unwrap();
    let rule = &rules.clusters["outbound|5000||helloworld.sample.svc.cluster.local"];
    let names: Vec<String> = rule.names.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        ["spiffe://bar.com/ns/sample/sa/helloworld", "spiffe://foo.com/ns/sample/sa/helloworld"]
    );
    assert!(rule.mutual && rule.plaintext);
    let outside = &rules.clusters["outbound|443||kubernetes.default.svc.cluster.local"];
    assert!(outside.names.is_empty());
}

#[test]
fn a_cluster_without_tls_is_called_in_plaintext() {
    let clusters = json!({"configs": [{"cluster": {"name": "PassthroughCluster"}}, {"error_state": {}}]});
    let rules = parse_outbound(&serde_json::to_vec(&clusters).unwrap()).unwrap();
    let plain = OutboundRule { plaintext: true, ..OutboundRule::default() };
    assert_eq!(rules.clusters.into_iter().collect::<Vec<_>>(), [("PassthroughCluster".to_owned(), plain)]);
}

#[test]
fn hosts_have_their_region_and_counters() {
    let hosts = parse_hosts(CLUSTERS).unwrap();
    let (name, of_helloworld) = hosts.of_service("helloworld.sample.svc.cluster.local").next().unwrap();
    assert_eq!((name.port, name.subset), (5000, ""));
    let lines: Vec<String> = of_helloworld
        .iter()
        .map(|host| format!("{} {} {} {}", host.address, host.region, host.health, host.counters.requests))
        .collect();
    assert_eq!(lines, ["10.3.0.129:15443 bar HEALTHY 5", "10.12.0.10:5000 foo HEALTHY 3"]);
    assert_eq!(of_helloworld[0].counters.connect_failures, 0);
    let agent = &hosts.clusters["sds-grpc"][0];
    assert_eq!(agent.address.to_string(), "./var/run/secrets/workload-spiffe-uds/spire-agent.sock");
    assert_eq!(hosts.clusters["PassthroughCluster"], []);
    assert_eq!(hosts.of_service("world.sample.svc.cluster.local").count(), 0);
}

#[test]
fn what_envoy_holds_against_a_host_is_listed() {
    let answer = json!({"cluster_statuses": [{"name": "a", "host_statuses": [{
        "health_status": {"failed_outlier_check": true, "failed_active_health_check": true, "pending_dynamic_removal": false, "new": {}},
        "stats": [{"name": "rq_total", "value": 7}, {"name": "rq_error", "value": "18446744073709551615"}],
    }]}]});
    let hosts = parse_hosts(&serde_json::to_vec(&answer).unwrap()).unwrap();
    let host = &hosts.clusters["a"][0];
    assert_eq!(host.failures, ["failed_active_health_check", "failed_outlier_check"]);
    assert_eq!((host.health.as_str(), &host.address), ("UNKNOWN", &HostAddress::Internal));
    assert_eq!((host.counters.requests, host.counters.errors), (7, u64::MAX));
}

#[test]
fn numbers_that_are_none_are_an_error() {
    for value in [json!("-1"), json!("x"), json!(-1), json!(1.5), json!("18446744073709551616"), json!([])] {
        let answer = json!({"cluster_statuses": [{"name": "a", "host_statuses": [{"stats": [{"name": "rq_total", "value": value}]}]}]});
        assert!(parse_hosts(&serde_json::to_vec(&answer).unwrap()).is_err(), "{value}");
    }
}

#[test]
fn names_of_clusters_are_taken_apart() {
    let name = ClusterName::parse("outbound|5000|v1|helloworld.sample.svc.cluster.local").unwrap();
    assert_eq!(
        (name.direction, name.port, name.subset, name.host),
        ("outbound", 5000, "v1", "helloworld.sample.svc.cluster.local")
    );
    let gateway = ClusterName::parse("outbound_.5000_._.helloworld.sample.svc.cluster.local").unwrap();
    assert_eq!(
        (gateway.direction, gateway.port, gateway.subset, gateway.host),
        ("outbound", 5000, "", "helloworld.sample.svc.cluster.local")
    );
    for other in ["", "PassthroughCluster", "outbound|x||y", "outbound|70000||y", "sds-grpc"] {
        assert_eq!(ClusterName::parse(other), None, "{other}");
    }
}

#[test]
fn hosts_are_written_into_queries_literally() {
    assert_eq!(literally("|a-b.svc"), "%5C%7Ca-b%5C%2Esvc");
    assert_eq!(literally("&mask=*"), "%5C%26mask%5C%3D%5C%2A");
}

#[test]
fn the_remark_on_the_memory_limit_is_no_complaint() {
    let stderr =
        b"2026/11/25 INFO GOMEMLIMIT is already set\nError: received unsuccessful status code 400:\n x\n";
    assert_eq!(complaint(stderr), "received unsuccessful status code 400: x");
    assert_eq!(complaint(b"other\n"), "other");
}
