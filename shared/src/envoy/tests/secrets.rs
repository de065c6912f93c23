use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::trust::svid::verify;

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

/// The answer with one map of all bundles in SPIFFE's JSON, as another server of secrets than SPIRE may give it.
fn mapped(secrets: &mut Value, change: impl FnOnce(&mut Value)) {
    let validator = VALIDATION_CONTEXT.to_owned() + "/custom_validator_config/typed_config";
    let validator = secrets.pointer_mut(&validator).unwrap();
    let bundle: Value =
        serde_json::from_str(include_str!("../../../../tests/fixtures/trustchain/bundle.json")).unwrap();
    let mut map = json!({"trust_domains": {"foo.com": bundle}});
    change(&mut map);
    validator["trust_bundles"] = json!({"inline_string": map.to_string()});
}

#[test]
fn bundles_in_spiffes_json_are_used_in_place_of_those_in_pem() {
    let pem = parse_secrets(SECRETS, NOTHING).unwrap();
    let map = secrets_with(|secrets| mapped(secrets, |_| ())).unwrap();
    assert_eq!(map.issuer(), Issuer::Spire);
    assert_eq!(map.bundle(&domain("foo.com")), pem.bundle(&domain("foo.com")));
    assert!(map.bundle(&domain("bar.com")).is_none(), "Envoy leaves those in PEM alone then");
    let changes: [&dyn Fn(&mut Value); 3] = [
        &|map| map["trust_domains"]["Foo"] = json!({"keys": []}),
        &|map| map["trust_domains"]["foo.com"]["keys"][0]["x5c"] = json!(["AAAA"]),
        &|map| map["trust_domains"] = json!([]),
    ];
    for change in changes {
        assert!(secrets_with(|secrets| mapped(secrets, change)).is_err());
    }
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
fn a_key_is_seen_in_every_place_that_can_hold_one() {
    let certificate = "/configs/0/secret/tls_certificate";
    let shown = json!({"inline_bytes": "bm90IGEga2V5"});
    for (place, field) in [
        (certificate, "private_key"),
        (certificate, "pkcs12"),
        (certificate, "password"),
        ("/configs/0/secret", "generic_secret"),
        ("/configs/0/secret", "session_ticket_keys"),
        ("/configs/1/secret", "session_ticket_keys"),
    ] {
        let with = |key: &Value| {
            secrets_with(|secrets| {
                secrets.pointer_mut(KEY).unwrap().take();
                secrets.pointer_mut(place).unwrap()[field] = key.clone();
            })
        };
        let secrets = with(&shown).unwrap();
        assert!(secrets.key_was_shown, "{field}");
        assert!(!format!("{secrets:?}").contains("bm90IGEga2V5"), "{field}");
        assert!(!with(&json!({"inline_string": "[redacted]"})).unwrap().key_was_shown, "{field}");
    }
}

#[test]
fn a_proxy_has_secrets_when_it_has_asked_for_any() {
    let parsed = |configs: Value| {
        parse_secrets(&serde_json::to_vec(&json!({"configs": configs})).unwrap(), NOTHING).unwrap()
    };
    assert!(parsed(json!([])).is_empty());
    for name in ["default", "ROOTCA", "kubernetes://a"] {
        let secrets = parsed(json!([{"name": name}]));
        assert!(!secrets.is_empty(), "{name}");
        assert_eq!(secrets.others.is_empty(), name != "kubernetes://a");
    }
    let names = ["c", "a", "b", "a"].map(|name| json!({"name": name}));
    assert_eq!(parsed(json!(names)).others, ["a", "b", "c"]);
}

#[test]
fn a_validator_of_another_name_is_not_spiffes() {
    let other = secrets_with(|secrets| {
        let validator =
            secrets.pointer_mut(&format!("{VALIDATION_CONTEXT}/custom_validator_config")).unwrap();
        validator["name"] = json!("another.validator");
    });
    let other = other.unwrap();
    assert_eq!((other.issuer(), other.validation.unwrap().value), (Issuer::Unknown, None));
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
    // Written by hand: serde writes a long text letter by letter, and tests are not optimised.
    let with = |length: usize| {
        let certificate =
            r#"{"configs": [{"name": "default", "secret": {"tls_certificate": {"certificate_chain": "#;
        format!("{certificate}{{\"inline_bytes\": \"{}\"}}}}}}}}]}}", "A".repeat(length)).into_bytes()
    };
    let long = with(50 << 20);
    assert_eq!(parse_secrets(&long, NOTHING), Err(AnswerError::TooLong(long.len())));
    // Within what is parsed, and still nothing that is decoded.
    assert_eq!(parse_secrets(&with(9 << 20), NOTHING), Err(AnswerError::TooLong(9 << 20)));
    let deep = [vec![b'['; 1 << 20], vec![b']'; 1 << 20]].concat();
    assert!(matches!(parse_hosts(&deep), Err(AnswerError::Json { .. })));
}
