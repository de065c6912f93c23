//! What Envoy was seen to say of some hundred chains; `tests/envoy` asks it again.

use spire_mesh_chains::{ANSWERS, Case, Says, TRUST_DOMAIN, cases, recorded, why_it_differs};

use super::*;
use crate::trust::svid::{accepts, ends_paths};

fn read(case: &Case) -> Option<(Chain, TrustBundle)> {
    let chain = Chain::from_ders([case.leaf.clone()].into_iter().chain(case.sent.clone())).ok()?;
    let bundle = TrustBundle::from_der_sequence(TRUST_DOMAIN.parse().unwrap(), &case.authorities.concat());
    Some((chain, bundle.ok()?))
}

#[test]
fn a_verdict_is_what_envoy_says_and_tells_what_it_accepts_though_spiffe_forbids_it() {
    let (recorded, cases) = (recorded(ANSWERS), cases());
    assert_eq!(recorded.len(), cases.len(), "ask Envoy again");
    for case in &cases {
        let name = &case.name;
        let envoy = recorded.get(name).unwrap_or_else(|| panic!("nothing is recorded of {name}"));
        let read = read(case);
        let ours = read.as_ref().map(|(chain, bundle)| accepts(chain, bundle, Timestamp::now()));
        let says = if matches!(ours, Some(Ok(()))) { Says::Accepts } else { Says::Refuses };
        let same = envoy.of_client == says && envoy.of_server == says;
        assert_eq!(!same, why_it_differs(name).is_some(), "{name}: Envoy {envoy:?}, here {ours:?}");
        let Some(((chain, bundle), ours)) = read.zip(ours) else { continue };
        let verdict = verify(&chain, &bundle, Timestamp::now());
        assert!(!verdict.holds() || ours.is_ok(), "{name}: good, and {ours:?}");
        for broken in &verdict.broken {
            let says_so = broken.why.ends_with("; Envoy accepts it all the same");
            assert_eq!(says_so, ours.is_ok(), "{name}: {broken}");
            assert!(ours.is_err() || broken.rule != Rule::PathToAuthority, "{name}: {broken}");
        }
    }
}

/// The words for the case with this name.
fn said_of(name: &str) -> String {
    let case = cases().into_iter().find(|case| case.name == name).unwrap();
    let (chain, bundle) = read(&case).unwrap();
    let dates = regex_lite::Regex::new(r"\d{4}-\d\d-\d\dT[0-9:]+Z").unwrap();
    let keys = regex_lite::Regex::new(r"\b[0-9a-f]{40}\b").unwrap();
    let words = words(&verify(&chain, &bundle, Timestamp::now()));
    keys.replace_all(&dates.replace_all(&words, "TIME"), "KEY").into_owned()
}

#[test]
fn what_envoy_refuses_is_said_with_the_certificate_and_the_reason() {
    let names = [
        "authorities: 1 of root (0) to CA 1, all CAs sent",
        "authorities: 1 of root (0) to CA 2, all CAs sent",
        "twins: sent, ended, then valid",
        "twins: sent, valid, then ended",
        "twins: cross-signed, the new root; sent is the CA by the old one first",
        "twins: cross-signed, the new root; sent is the CA by the old one only",
        "twins: authorities with one key, ended, then valid",
        "twins: the authority is ended, a twin that is sent is valid",
        "authorities: only a foreign one",
        "alone: signed itself",
        "path length: 0 at CA 1 of root (0) to CA 2",
        "limits: permitted URI bar.com at the root",
        "limits: excluded URI foo.com at SPIRE's CA",
        "policies: none, demanded after 0 by the root",
        "policies: of SPIRE's CA only, demanded after 0 by SPIRE's CA",
        "signatures: the last bit of the signature changed, the leaf",
        "signatures: the last bit of the signature changed, SPIRE's CA",
        "algorithms: leaf P-521, CA P-256",
        "unknown: critical at the CA",
        "names: two SPIFFE IDs",
        "extended key usage: server at the leaf",
        "key usage: none at the leaf",
    ];
    let said: Vec<String> = names.iter().map(|name| format!("{name}\n{}\n", said_of(name))).collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn an_authority_that_did_not_sign_itself_ends_no_path_without_the_one_that_signed_it() {
    let root = root();
    let intermediate = below(ca("intermediate"), &root);
    let all_end =
        |bundle: &TrustBundle| bundle.in_order().all(|(_, authority)| ends_paths(authority, bundle));
    assert!(all_end(&bundle_of("foo.com", &[&root])));
    assert!(all_end(&bundle_of("foo.com", &[&intermediate, &root])));
    assert!(!all_end(&bundle_of("foo.com", &[&intermediate])));
}
