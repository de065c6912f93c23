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
fn a_cluster_without_tls_is_called_in_plaintext() {
    let clusters = json!({"configs": [{"cluster": {"name": "PassthroughCluster"}}, {"error_state": {}}]});
    let rules = parse_outbound(&serde_json::to_vec(&clusters).unwrap()).unwrap();
    let plain = OutboundRule { plaintext: true, ..OutboundRule::default() };
    assert_eq!(rules.clusters.into_iter().collect::<Vec<_>>(), [("PassthroughCluster".to_owned(), plain)]);
}
