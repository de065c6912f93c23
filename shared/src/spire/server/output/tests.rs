//! The samples are what SPIRE 1.15.3 wrote.

use super::*;

const AUTHORITY: &str = "MIIB5jCCAYygAwIBAgIRALsYt9ozoefsZ+OuCjGrD84wCgYIKoZIzj0EAwIwRDEQMA4GA1UEAxMHZm9vLmNvbTEwMC4GA1UEBRMnMjQ4NjkzOTc5MzA1MDYwNDY4MjQ2ODMxNTQ2MzczOTA4NDAyMTI2MB4XDTI2MTEyMzIzNDc0NloXDTI2MTEzMDIzNDc1NlowRDEQMA4GA1UEAxMHZm9vLmNvbTEwMC4GA1UEBRMnMjQ4NjkzOTc5MzA1MDYwNDY4MjQ2ODMxNTQ2MzczOTA4NDAyMTI2MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEt546Ol8VDFzDJjcBKaDn6racA9Z+WXqes1woiV+ZqxDhbvrwYP4p/fKrBvCL1w1bglkAgN+LUR4hR5VilS6eeaNfMF0wDgYDVR0PAQH/BAQDAgEGMA8GA1UdEwEB/wQFMAMBAf8wHQYDVR0OBBYEFBCqexKA89kly0ynrXZozAGtXY0jMBsGA1UdEQQUMBKGEHNwaWZmZTovL2Zvby5jb20wCgYIKoZIzj0EAwIDSAAwRQIhAPeyeYywLm7bb8qIQJVQ9nH5xw7bmxV6/DbJ1SBIW1xYAiBbhxMJ4MXtYZCgZgbSZJN33fhfTGTQoluTiml1iPn5bQ==";

fn bundle_json() -> String {
    format!(
        r#"{{"jwt_authorities":[],"refresh_hint":"300","sequence_number":"0","trust_domain":"foo.com","wit_authorities":[],"x509_authorities":[{{"asn1":"{AUTHORITY}","tainted":false}}]}}"#
    )
}

#[test]
fn a_bundle_is_read_with_its_authorities() {
    let bundle = parse_bundle(bundle_json().as_bytes()).unwrap();
    assert_eq!(bundle.trust_domain().as_str(), "foo.com");
    let authority = bundle.authorities().values().next().unwrap();
    assert_eq!((bundle.authorities().len(), authority.not_after()), (1, 1_796_082_476));
}

#[test]
fn a_list_of_bundles_may_be_empty() {
    assert_eq!(parse_bundles(br#"{"bundles":[],"next_page_token":""}"#).unwrap(), []);
    let list = format!(r#"{{"bundles":[{}],"next_page_token":""}}"#, bundle_json());
    assert_eq!(parse_bundles(list.as_bytes()).unwrap().len(), 1);
}

#[test]
fn relationships_are_read_with_their_profile() {
    let json = br#"{"federation_relationships":[{"bundle_endpoint_url":"https://127.0.0.1:28443","https_spiffe":{"endpoint_spiffe_id":"spiffe://bar.com/spire/server"},"trust_domain":"bar.com","trust_domain_bundle":{"jwt_authorities":[]}},{"bundle_endpoint_url":"https://baz.example","https_web":{},"trust_domain":"baz.com"}],"next_page_token":""}"#;
    insta::assert_json_snapshot!(parse_relationships(json).unwrap(), @r#"
    [
      {
        "trust_domain": "bar.com",
        "url": "https://127.0.0.1:28443",
        "profile": {
          "https_spiffe": "spiffe://bar.com/spire/server"
        }
      },
      {
        "trust_domain": "baz.com",
        "url": "https://baz.example",
        "profile": "https_web"
      }
    ]
    "#);
}

#[test]
fn agents_are_read() {
    let json = br#"{"agents":[{"agent_version":"1.15.3","attestation_type":"join_token","banned":false,"can_reattest":false,"id":{"path":"/spire/agent/join_token/3410e794-3b15-474d-8f6f-c80d0037c62c","trust_domain":"foo.com"},"selectors":[],"x509svid_expires_at":"1795492131","x509svid_serial_number":"158873898149126370517235004410545405864"}],"next_page_token":""}"#;
    insta::assert_json_snapshot!(parse_agents(json).unwrap(), @r#"
    [
      {
        "id": "spiffe://foo.com/spire/agent/join_token/3410e794-3b15-474d-8f6f-c80d0037c62c",
        "attestation_type": "join_token",
        "expires_at": 1795492131,
        "serial": "158873898149126370517235004410545405864",
        "banned": false,
        "version": "1.15.3"
      }
    ]
    "#);
}

#[test]
fn entries_are_read() {
    let json = br#"{"entries":[{"admin":false,"created_at":"1795477680","dns_names":[],"downstream":false,"expires_at":"0","federates_with":["bar.com"],"hint":"","id":"df0670d1-f8cf-4b3a-bc0a-c648a73b59bc","jwt_svid_ttl":0,"parent_id":{"path":"/spire/agent/k8s_psat/foo/1234","trust_domain":"foo.com"},"revision_number":"0","selectors":[{"type":"k8s","value":"pod-uid:1234"}],"spiffe_id":{"path":"/ns/a/sa/b","trust_domain":"foo.com"},"store_svid":false,"x509_svid_ttl":0}],"next_page_token":""}"#;
    insta::assert_json_snapshot!(parse_entries(json).unwrap(), @r#"
    [
      {
        "id": "df0670d1-f8cf-4b3a-bc0a-c648a73b59bc",
        "spiffe_id": "spiffe://foo.com/ns/a/sa/b",
        "parent_id": "spiffe://foo.com/spire/agent/k8s_psat/foo/1234",
        "selectors": [
          {
            "type": "k8s",
            "value": "pod-uid:1234"
          }
        ],
        "federates_with": [
          "bar.com"
        ]
      }
    ]
    "#);
}

#[test]
fn authorities_are_read_and_absent_ones_stay_absent() {
    let json = br#"{"active":{"authority_id":"10aa7b1280f3d925cb4ca7ad7668cc01ad5d8d23","expires_at":"1796082476","upstream_authority_subject_key_id":""},"prepared":{"authority_id":"6e0d40224abea9f2bc1a05ad4e38a5d59d8e3b55","expires_at":"1796082479","upstream_authority_subject_key_id":""}}"#;
    let authorities = parse_authorities(json).unwrap();
    assert_eq!(authorities.active.unwrap().expires_at, 1_796_082_476);
    assert_eq!(authorities.prepared.unwrap().id, "6e0d40224abea9f2bc1a05ad4e38a5d59d8e3b55");
    assert_eq!(authorities.old, None);
}

#[test]
fn a_refused_bundle_is_an_error_although_the_command_succeeds() {
    let refused = br#"{"results":[{"status":{"code":3,"message":"setting a federated bundle for the server's own trust domain is not allowed"}}]}"#;
    insta::assert_snapshot!(parse_set_results(refused).unwrap_err(), @"the server refused: setting a federated bundle for the server's own trust domain is not allowed (code 3)");
    assert_eq!(
        parse_set_results(br#"{"results":[{"bundle":{},"status":{"code":0,"message":"OK"}}]}"#),
        Ok(())
    );
    assert!(parse_set_results(br#"{"results":[]}"#).is_err());
}

#[test]
fn counts_are_read() {
    assert_eq!(parse_count(br#"{"count":12}"#), Ok(12));
}

#[test]
fn what_is_no_json_is_an_error_that_says_so() {
    assert!(matches!(parse_bundle(b""), Err(OutputError::Json(_))));
    assert!(matches!(parse_bundle(b"flag provided but not defined: -output"), Err(OutputError::Json(_))));
    assert!(matches!(
        parse_agents(br#"{"agents":[{"id":{"trust_domain":"Foo"},"x509svid_expires_at":"1"}]}"#),
        Err(OutputError::SpiffeId(_))
    ));
    assert!(matches!(
        parse_bundle(br#"{"trust_domain":"foo.com","x509_authorities":[{"asn1":"%"}]}"#),
        Err(OutputError::Bundle { .. })
    ));
}
