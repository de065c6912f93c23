use super::*;

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
fn a_rule_admits_a_name_as_a_whole_or_by_how_it_begins() {
    let admits = |rule: NameRule, name: &str| rule.admits(&id(name));
    let exact = || NameRule::Exact("spiffe://foo.com/a".to_owned());
    assert!(admits(exact(), "spiffe://foo.com/a"));
    assert!(!admits(exact(), "spiffe://foo.com/a/b") && !admits(exact(), "spiffe://foo.com"));
    let prefix = || NameRule::Prefix("spiffe://foo.com/a".to_owned());
    assert!(admits(prefix(), "spiffe://foo.com/a") && admits(prefix(), "spiffe://foo.com/ab"));
    assert!(!admits(prefix(), "spiffe://foo.com/b") && !admits(prefix(), "spiffe://foo.com"));
    assert!(!admits(NameRule::Other("spiffe://foo.com/a".to_owned()), "spiffe://foo.com/a"));
}

#[test]
fn every_chain_with_mutual_tls_counts_and_no_other() {
    let chain = |protection| InboundChain { name: "a".to_owned(), port: None, protection };
    let mutual = |rules: &[&str]| {
        let rules = rules.iter().map(|rule| NameRule::Prefix((*rule).to_owned()));
        chain(Protection::Mutual(rules.collect()))
    };
    let of = |chains: &[InboundChain]| InboundRules { chains: chains.to_vec() };
    let (foo, both) = (mutual(&["spiffe://foo.com/"]), mutual(&["spiffe://bar.com/", "spiffe://foo.com/"]));
    let bar = id("spiffe://bar.com/a");
    let others = [Protection::Plaintext, Protection::PassedOn, Protection::ServerOnly].map(chain);
    assert!(of(&[both.clone(), both.clone(), both.clone()]).agree());
    assert!(!of(&[both.clone(), both.clone(), foo.clone()]).agree());
    assert!(of(&[both.clone(), both.clone()]).admits(&bar));
    assert!(!of(&[both.clone(), both.clone(), foo.clone()]).admits(&bar), "the third lets it not in");
    assert_eq!(of(&[foo.clone(), both.clone(), foo.clone()]).names().len(), 2);
    // Who speaks no mutual TLS admits no name, and names none.
    let none = of(&others);
    assert!(!none.admits(&bar) && none.agree() && none.names().is_empty());
    assert_eq!(none.without_names().count(), 0);
    assert!(none.accepts_plaintext() && !of(&others[1..]).accepts_plaintext());
    let every = of(&[mutual(&[]), both]);
    assert!(every.admits(&bar) && !every.admits(&id("spiffe://baz.com/a")) && !every.agree());
    assert_eq!(every.without_names().count(), 1);
}

/// TLS towards a host: with what a certificate is shown, and the name that is expected.
fn tls(own: Option<&str>, name: &str) -> Value {
    let mut common = json!({"combined_validation_context": {
        "default_validation_context": {"match_subject_alt_names": [{"exact": name}]},
    }});
    if let Some(own) = own {
        common[own] = json!([{}]);
    }
    json!({"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": common,
    }})
}

/// The rule of a cluster that calls its hosts in these ways.
fn rule_of(matches: &[Value], last: Option<&Value>) -> OutboundRule {
    let matches: Vec<Value> = matches.iter().map(|socket| json!({"transport_socket": socket})).collect();
    let cluster = json!({"name": "a", "transport_socket_matches": matches, "transport_socket": last});
    let clusters = json!({"configs": [{"cluster": cluster}]});
    parse_outbound(&serde_json::to_vec(&clusters).unwrap()).unwrap().clusters.remove("a").unwrap()
}

#[test]
fn what_holds_for_some_hosts_of_a_cluster_is_seen_wherever_it_stands() {
    let names = |names: &[&str]| names.iter().map(|name| NameRule::Exact((*name).to_owned())).collect();
    let raw = json!({"name": "envoy.transport_sockets.raw_buffer"});
    let (own, none) = (tls(Some("tls_certificate_sds_secret_configs"), "a"), tls(None, "b"));
    let both = OutboundRule { mutual: true, names: names(&["a", "b"]), plaintext: false };
    assert_eq!(rule_of(&[own.clone(), none.clone()], None), both);
    assert_eq!(rule_of(&[none.clone(), own.clone()], None), both);
    assert_eq!(rule_of(std::slice::from_ref(&none), Some(&own)), both);
    assert_eq!(rule_of(std::slice::from_ref(&own), Some(&none)), both);
    let with_raw = OutboundRule { plaintext: true, ..both };
    assert_eq!(rule_of(&[own.clone(), raw.clone(), none.clone()], None), with_raw);
    assert_eq!(rule_of(&[own.clone(), none.clone()], Some(&raw)), with_raw);
    let server_only = OutboundRule { mutual: false, names: names(&["b"]), plaintext: false };
    assert_eq!(rule_of(&[none], None), server_only);
    let fixed = OutboundRule { mutual: true, names: names(&["c"]), plaintext: false };
    assert_eq!(rule_of(&[tls(Some("tls_certificates"), "c")], None), fixed);
}

#[test]
fn tls_is_known_by_its_type_or_by_its_name() {
    let socket = |name: &str, kind: &str| json!({"name": name, "typed_config": {"@type": kind}});
    for (name, kind, is_tls) in [
        ("envoy.transport_sockets.tls", "x.UpstreamTlsContext", true),
        ("tlsMode-istio", "x.UpstreamTlsContext", true),
        ("envoy.transport_sockets.tls", "", true),
        ("envoy.transport_sockets.raw_buffer", "x.RawBuffer", false),
    ] {
        assert_eq!(rule_of(&[socket(name, kind)], None).plaintext, !is_tls, "{name} {kind}");
    }
    assert!(rule_of(&[json!({"name": "envoy.transport_sockets.tls"})], None).plaintext);
    assert!(rule_of(&[Value::Null], None).plaintext);
}

#[test]
fn only_what_is_sent_to_the_port_of_the_listener_itself_is_left_out() {
    let chains = |address: Value| {
        let chain = |port: Value| json!({"name": "a", "filter_chain_match": {"destination_port": port}});
        let listener = json!({
            "address": address,
            "filter_chains": [chain(json!(15006)), chain(json!(8080)), chain(Value::Null)],
            "default_filter_chain": {"name": "last"},
        });
        let answer = json!({"configs": [{"active_state": {"listener": listener}}]});
        let rules = parse_inbound(&serde_json::to_vec(&answer).unwrap()).unwrap().unwrap();
        rules.chains.iter().map(|chain| chain.port).collect::<Vec<_>>()
    };
    let own = json!({"socket_address": {"port_value": 15006}});
    assert_eq!(chains(own), [Some(8080), None, None]);
    assert_eq!(chains(Value::Null), [Some(15006), Some(8080), None, None]);
}

#[test]
fn a_cluster_without_tls_is_called_in_plaintext() {
    let clusters = json!({"configs": [{"cluster": {"name": "PassthroughCluster"}}, {"error_state": {}}]});
    let rules = parse_outbound(&serde_json::to_vec(&clusters).unwrap()).unwrap();
    let plain = OutboundRule { plaintext: true, ..OutboundRule::default() };
    assert_eq!(rules.clusters.into_iter().collect::<Vec<_>>(), [("PassthroughCluster".to_owned(), plain)]);
}
