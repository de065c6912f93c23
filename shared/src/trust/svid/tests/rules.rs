use rcgen::CustomExtension;

use super::*;
use crate::trust::AuthorityDigest;
use crate::trust::svid::{Certificate, authority_of, verify_without_bundle};

#[test]
fn an_svid_as_spire_makes_it_breaks_no_rule() {
    let verdict = judge(&leaf());
    assert_eq!(verdict.broken, []);
    assert!(verdict.holds());
    assert_eq!(judge_below(ca("intermediate")).broken, []);
}

#[test]
fn an_svid_without_a_uri_is_refused() {
    let mut params = leaf();
    params.subject_alt_names = vec![SanType::DnsName("foo.com".try_into().unwrap())];
    insta::assert_snapshot!(words(&judge(&params)), @"certificate 1: it has no URI among its names (exactly-one-uri; X509-SVID, section 2)");
}

#[test]
fn an_svid_with_two_uris_is_refused_even_when_they_are_the_same() {
    for second in ["spiffe://foo.com/ns/sample/sa/sleep", "spiffe://bar.com/a", "https://foo.com"] {
        let mut params = leaf();
        params.subject_alt_names.push(uri(second));
        let verdict = judge(&params);
        assert_eq!(broken(&verdict), [Rule::ExactlyOneUri], "{second}");
        assert!(words(&verdict).contains("2 URIs"));
    }
}

#[test]
fn two_hundred_uris_are_counted() {
    let mut params = leaf();
    params.subject_alt_names = (0..200).map(|n| uri(&format!("spiffe://foo.com/{n}"))).collect();
    assert!(words(&judge(&params)).contains("200 URIs"));
}

#[test]
fn any_number_of_dns_names_is_fine() {
    let mut params = leaf();
    let names = (0..200).map(|n| SanType::DnsName(format!("n{n}.foo.com").try_into().unwrap()));
    params.subject_alt_names.extend(names);
    assert_eq!(judge(&params).broken, []);
}

#[test]
fn a_uri_that_is_no_spiffe_id_is_refused() {
    for text in
        ["https://foo.com/a", "spiffe://Foo.com/a", "spiffe://foo.com/a//b", "spiffe://foo.com/\u{1b}[2J"]
    {
        let mut params = leaf();
        params.subject_alt_names = vec![uri(text)];
        let verdict = judge(&params);
        assert_eq!(broken(&verdict), [Rule::ValidSpiffeId], "{text}");
        assert!(!words(&verdict).contains('\u{1b}'));
    }
}

#[test]
fn the_id_of_a_trust_domain_is_no_id_of_a_workload() {
    let mut params = leaf();
    params.subject_alt_names = vec![uri("spiffe://foo.com")];
    assert_eq!(broken(&judge(&params)), [Rule::LeafIdHasPath]);
}

/// Names as an extension that is not marked critical, which rcgen never does without a subject.
fn names_of(text: &str) -> CustomExtension {
    let length = u8::try_from(text.len()).unwrap();
    let content = [&[0x30, length + 2, 0x86, length], text.as_bytes()].concat();
    CustomExtension::from_oid_content(&[2, 5, 29, 17], content)
}

#[test]
fn without_a_subject_the_names_have_to_be_critical() {
    let mut params = leaf();
    params.distinguished_name = rcgen::DistinguishedName::new();
    assert_eq!(judge(&params).broken, [], "rcgen marks them");
    params.subject_alt_names.clear();
    params.custom_extensions = vec![names_of("spiffe://foo.com/a")];
    assert_eq!(broken(&judge(&params)), [Rule::NamesCriticalWithoutSubject]);
    // With a subject they need not be, and where there are none there is nothing to mark.
    params.distinguished_name.push(DnType::CommonName, "workload");
    assert_eq!(judge(&params).broken, []);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.custom_extensions.clear();
    assert_eq!(broken(&judge(&params)), [Rule::ExactlyOneUri]);
}

#[test]
fn a_ca_is_no_svid_of_a_workload() {
    let mut params = leaf();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let verdict = judge(&params);
    insta::assert_snapshot!(words(&verdict), @"certificate 1: it is a CA certificate (leaf-is-no-ca; X509-SVID, section 4.1)");
}

#[test]
fn a_workload_may_sign_neither_certificates_nor_revocation_lists() {
    for (usage, name) in
        [(KeyUsagePurpose::KeyCertSign, "keyCertSign"), (KeyUsagePurpose::CrlSign, "cRLSign")]
    {
        let mut params = leaf();
        params.key_usages.push(usage);
        let verdict = judge(&params);
        assert_eq!(broken(&verdict), [Rule::LeafSignsNoCertificates]);
        assert!(words(&verdict).contains(name));
    }
}

#[test]
fn a_workload_has_to_sign_handshakes() {
    let mut params = leaf();
    params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    assert_eq!(broken(&judge(&params)), [Rule::LeafSignsHandshakes]);
}

#[test]
fn key_usage_has_to_be_there_and_critical() {
    let mut params = leaf();
    params.key_usages.clear();
    assert_eq!(broken(&judge(&params)), [Rule::KeyUsageIsCritical]);
    // Digital signature alone, not critical.
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![3, 2, 7, 0x80])];
    assert_eq!(broken(&judge(&params)), [Rule::KeyUsageIsCritical]);
}

#[test]
fn a_workload_has_to_be_client_and_server_where_it_says_anything() {
    let mut params = leaf();
    params.extended_key_usages.clear();
    assert_eq!(judge(&params).broken, []);
    for (usage, lacking) in [
        (ExtendedKeyUsagePurpose::ServerAuth, "clientAuth"),
        (ExtendedKeyUsagePurpose::ClientAuth, "serverAuth"),
    ] {
        params.extended_key_usages = vec![usage];
        let verdict = judge(&params);
        assert_eq!(broken(&verdict), [Rule::LeafIsClientAndServer], "{lacking}");
        assert!(words(&verdict).contains(lacking));
    }
}

#[test]
fn a_signer_has_to_be_a_ca() {
    let mut params = ca("intermediate");
    params.is_ca = IsCa::ExplicitNoCa;
    let verdict = judge_below(params);
    insta::assert_snapshot!(words(&verdict), @"certificate 2: CN=intermediate is no CA certificate (signer-is-ca; X509-SVID, section 4.1)");
}

#[test]
fn a_signer_has_to_sign_certificates() {
    let mut params = ca("intermediate");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    assert_eq!(broken(&judge_below(params)), [Rule::SignerSignsCertificates]);
}

#[test]
fn the_spiffe_id_of_a_signer_has_no_path() {
    let mut params = ca("intermediate");
    params.subject_alt_names = vec![uri("spiffe://foo.com/spire/server")];
    let verdict = judge_below(params);
    insta::assert_snapshot!(words(&verdict), @"certificate 2: its SPIFFE ID has a path: spiffe://foo.com/spire/server; Envoy accepts it all the same (signer-id-has-no-path; X509-SVID, section 3.2)");
}

#[test]
fn a_signer_with_two_uris_or_a_bad_spiffe_id_is_refused() {
    let mut params = ca("intermediate");
    params.subject_alt_names.push(uri("spiffe://foo.com"));
    assert_eq!(broken(&judge_below(params)), [Rule::ExactlyOneUri]);
    let mut params = ca("intermediate");
    params.subject_alt_names = vec![uri("spiffe://FOO.com")];
    assert_eq!(broken(&judge_below(params)), [Rule::ValidSpiffeId]);
}

#[test]
fn a_signer_that_is_no_svid_needs_no_spiffe_id_and_no_key_usage() {
    let mut params = ca("intermediate");
    (params.subject_alt_names, params.key_usages) = (Vec::new(), Vec::new());
    assert_eq!(judge_below(params.clone()).broken, []);
    params.subject_alt_names = vec![uri("https://pki.example.com")];
    assert_eq!(judge_below(params.clone()).broken, []);
    // With a SPIFFE ID the rules for SVIDs hold.
    params.subject_alt_names = vec![uri("spiffe://foo.com")];
    assert_eq!(broken(&judge_below(params)), [Rule::KeyUsageIsCritical]);
}

#[test]
fn a_certificate_is_valid_from_its_first_to_its_last_second() {
    let root = root();
    let chain = Chain::from_ders([signed(&leaf(), &root)]).unwrap();
    let bundle = bundle_of("foo.com", &[&root]);
    let judged = |time: &str| verify(&chain, &bundle, time.parse().unwrap());
    for time in ["2026-06-01T00:00:00Z", "2026-06-30T23:59:59.9Z"] {
        assert_eq!(judged(time).broken, [], "{time}");
    }
    // The last second belongs to it (RFC 5280, section 4.1.2.5), and Envoy refuses it then already.
    for time in ["2026-07-01T00:00:00Z", "2026-07-01T00:00:00.9Z"] {
        assert_eq!(broken(&judged(time)), [Rule::PathToAuthority], "{time}");
    }
    for time in ["2026-05-31T23:59:59Z", "2026-07-01T00:00:01Z", "1960-01-01T00:00:00Z"] {
        assert!(judged(time).breaks(Rule::ValidNow), "{time}");
    }
}

#[test]
fn a_leaf_that_has_ended_is_named_once_and_with_its_end() {
    let mut params = leaf();
    params.not_after = date_time_ymd(2026, 6, 10);
    insta::assert_snapshot!(words(&judge(&params)), @"certificate 1: it ended at 2026-06-10T00:00:00Z (valid-now; RFC 5280, section 6.1.3)");
    params.not_before = date_time_ymd(2026, 6, 20);
    insta::assert_snapshot!(words(&judge(&params)), @"certificate 1: it ends at 2026-06-10T00:00:00Z, before it begins at 2026-06-20T00:00:00Z (valid-now; RFC 5280, section 6.1.3)");
    // A certificate of one second has ended after it.
    params.not_before = params.not_after;
    insta::assert_snapshot!(words(&judge(&params)), @"certificate 1: it ended at 2026-06-10T00:00:00Z (valid-now; RFC 5280, section 6.1.3)");
    params.not_before = date_time_ymd(2026, 6, 20);
    params.not_after = date_time_ymd(2026, 7, 1);
    insta::assert_snapshot!(words(&judge(&params)), @"certificate 1: it is valid from 2026-06-20T00:00:00Z on (valid-now; RFC 5280, section 6.1.3)");
}

#[test]
fn a_signer_that_has_ended_is_named() {
    let mut params = ca("intermediate");
    params.not_after = date_time_ymd(2026, 6, 10);
    insta::assert_snapshot!(words(&judge_below(params)), @"certificate 2: it ended at 2026-06-10T00:00:00Z (valid-now; RFC 5280, section 6.1.3)");
}

#[test]
fn an_authority_that_has_ended_verifies_nothing() {
    let mut params = ca("root");
    params.not_after = date_time_ymd(2026, 6, 10);
    let old = CertifiedIssuer::self_signed(params, key()).unwrap();
    let chain = Chain::from_ders([signed(&leaf(), &old)]).unwrap();
    let verdict = verify(&chain, &bundle_of("foo.com", &[&old, &root()]), at());
    assert_eq!(broken(&verdict), [Rule::PathToAuthority]);
    assert!(words(&verdict).contains("ended at 2026-06-10T00:00:00Z"), "{}", words(&verdict));
}

#[test]
fn a_bundle_of_another_domain_verifies_nothing_even_with_the_right_authority_in_it() {
    let root = root();
    let chain = Chain::from_ders([signed(&leaf(), &root)]).unwrap();
    let verdict = verify(&chain, &bundle_of("bar.com", &[&root]), at());
    insta::assert_snapshot!(words(&verdict), @"certificate 1: it is of trust domain foo.com, and the bundle of bar.com verifies nothing of it (own-trust-domain; SPIFFE Trust Domain and Bundle, section 3)");
}

#[test]
fn a_leaf_of_an_unknown_authority_is_refused_with_the_issuer_named() {
    let chain = Chain::from_ders([signed(&leaf(), &root())]).unwrap();
    let verdict = verify(&chain, &bundle_of("foo.com", &[&root()]), at());
    assert_eq!(broken(&verdict), [Rule::PathToAuthority]);
    assert!(
        words(&verdict)
            .starts_with("certificate 1: no authority of foo.com signed it: its issuer is CN=root (")
    );
    let verdict = verify(&chain, &bundle_of("foo.com", &[]), at());
    insta::assert_snapshot!(words(&verdict), @"certificate 1: the bundle of foo.com is empty (path-to-authority; X509-SVID, section 5.1)");
}

#[test]
fn the_place_where_a_path_ends_is_named() {
    let intermediate = below(ca("intermediate"), &root());
    let chain = Chain::from_ders([signed(&leaf(), &intermediate), intermediate.der().to_vec()]).unwrap();
    let verdict = verify(&chain, &bundle_of("foo.com", &[&root()]), at());
    assert_eq!((broken(&verdict), verdict.broken[0].position), (vec![Rule::PathToAuthority], 2));
}

#[test]
fn a_path_does_not_go_on_through_a_signer_of_another_certificate() {
    // Neither the names nor the keys lead from the leaf to what comes with it.
    let unrelated = below(ca("unrelated"), &root());
    let mut stranger = ca("stranger");
    stranger.is_ca = IsCa::NoCa;
    let stranger = below(stranger, &root());
    assert_eq!(Certificate::from_der(stranger.der().to_vec()).unwrap().subject_key_id, None);
    for with_key in [true, false] {
        let mut params = leaf();
        params.use_authority_key_identifier_extension = with_key;
        let ders = [signed(&params, &root()), unrelated.der().to_vec(), stranger.der().to_vec()];
        let verdict = verify(&Chain::from_ders(ders).unwrap(), &bundle_of("foo.com", &[&root()]), at());
        let path = verdict.broken.iter().find(|broken| broken.rule == Rule::PathToAuthority).unwrap();
        assert_eq!(path.position, 1, "{}", words(&verdict));
        // By its name alone the root may have signed it, so that its key is tried.
        let expected = if with_key {
            "no authority of foo.com signed it: its issuer is CN=root ("
        } else {
            "its signature is not that of the authority of foo.com that has the name of its issuer (CN=root)"
        };
        assert!(path.why.starts_with(expected), "{}", path.why);
    }
}

#[test]
fn the_authority_that_a_chain_leads_to_is_found_among_others() {
    let (own, other, third) = (root(), root(), root());
    let chain = Chain::from_ders([signed(&leaf(), &own)]).unwrap();
    let digest = |bundle: &TrustBundle, at| authority_of(&chain, bundle, at).map(|(digest, _)| *digest);
    let bundle = bundle_of("foo.com", &[&other, &own, &third]);
    assert_eq!(digest(&bundle, at()), Some(AuthorityDigest::of(own.der())));
    assert_eq!(digest(&bundle, "2026-07-01T00:00:01Z".parse().unwrap()), None, "it has ended");
    assert_eq!(digest(&bundle_of("foo.com", &[&other, &third]), at()), None);
}

#[test]
fn without_a_bundle_every_rule_but_those_about_one_is_looked_at_in_order() {
    let root = root();
    let mut params = ca("intermediate");
    params.subject_alt_names.push(uri("spiffe://foo.com"));
    let intermediate = below(params, &root);
    let mut params = leaf();
    params.not_after = date_time_ymd(2026, 6, 10);
    let ders = [signed(&params, &intermediate), intermediate.der().to_vec()];
    let chain = Chain::from_ders(ders).unwrap();
    let verdict = verify_without_bundle(&chain, at());
    insta::assert_snapshot!(words(&verdict), @r"
    certificate 2: it has 2 URIs among its names (exactly-one-uri; X509-SVID, section 2)
    certificate 1: it ended at 2026-06-10T00:00:00Z (valid-now; RFC 5280, section 6.1.3)
    ");
    assert!(!verdict.holds() && verdict.breaks(Rule::ValidNow) && !verdict.breaks(Rule::PathToAuthority));
    assert_eq!(verify(&chain, &bundle_of("foo.com", &[&root]), at()), verdict);
    let good = Chain::from_ders([signed(&leaf(), &root)]).unwrap();
    assert_eq!(verify_without_bundle(&good, at()).broken, []);
}

#[test]
fn a_signature_that_is_not_the_authoritys_is_refused() {
    let root = root();
    let mut der = signed(&leaf(), &root);
    *der.last_mut().unwrap() ^= 1;
    let chain = Chain::from_ders([der]).unwrap();
    let verdict = verify(&chain, &bundle_of("foo.com", &[&root]), at());
    assert_eq!(broken(&verdict), [Rule::PathToAuthority]);
    assert!(words(&verdict).contains("its signature is not that of the authority"), "{}", words(&verdict));
    // In its last second the authority has not ended.
    let last = "2026-07-01T00:00:00Z".parse().unwrap();
    let verdict = verify(&chain, &bundle_of("foo.com", &[&root]), last);
    assert!(words(&verdict).contains("its signature is not that of the authority"), "{}", words(&verdict));
}

#[test]
fn intermediates_may_come_in_any_order_and_more_than_once() {
    let root = root();
    let first = below(ca("first"), &root);
    let second = below(ca("second"), &first);
    let unrelated = below(ca("unrelated"), &root);
    let leaf = signed(&leaf(), &second);
    let [first, second, unrelated] = [&first, &second, &unrelated].map(|ca| ca.der().to_vec());
    let bundle = bundle_of("foo.com", &[&root]);
    for intermediates in [
        vec![&first, &second],
        vec![&second, &first],
        vec![&unrelated, &first, &first, &leaf, &second, &second],
    ] {
        let chain = std::iter::once(&leaf).chain(intermediates).cloned();
        assert_eq!(verify(&Chain::from_ders(chain).unwrap(), &bundle, at()).broken, []);
    }
    // One that the path does not take may be wrong. Without a path it is wrong once, however often it comes.
    let mut params = ca("wrong");
    params.subject_alt_names = vec![uri("spiffe://foo.com/path")];
    let wrong = below(params, &root).der().to_vec();
    let chain = Chain::from_ders([leaf, first, second, wrong.clone(), wrong]).unwrap();
    assert_eq!(verify(&chain, &bundle, at()).broken, []);
    let verdict = verify(&chain, &bundle_of("foo.com", &[]), at());
    assert_eq!(broken(&verdict), [Rule::SignerIdHasNoPath, Rule::PathToAuthority]);
    assert_eq!(verdict.broken.len(), 2);
}

#[test]
fn a_chain_without_its_intermediate_has_no_path() {
    let root = root();
    let intermediate = below(ca("intermediate"), &root);
    let chain = Chain::from_ders([signed(&leaf(), &intermediate)]).unwrap();
    assert_eq!(broken(&verify(&chain, &bundle_of("foo.com", &[&root]), at())), [Rule::PathToAuthority]);
    // Its CA alone ends no path: it did not sign itself.
    let only = verify(&chain, &bundle_of("foo.com", &[&intermediate]), at());
    assert_eq!(broken(&only), [Rule::PathToAuthority]);
    assert_eq!(verify(&chain, &bundle_of("foo.com", &[&intermediate, &root]), at()).broken, []);
}

#[test]
fn everything_that_is_wrong_is_named_in_one_go_and_in_order() {
    let mut params = leaf();
    params.subject_alt_names = vec![uri("spiffe://foo.com")];
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(2026, 6, 10);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    assert_eq!(
        broken(&judge(&params)),
        [
            Rule::LeafIdHasPath,
            Rule::LeafIsNoCa,
            Rule::LeafSignsHandshakes,
            Rule::LeafSignsNoCertificates,
            Rule::LeafIsClientAndServer,
            Rule::ValidNow,
        ]
    );
}

#[test]
fn every_rule_has_its_own_id_which_is_what_json_has() {
    for (index, rule) in Rule::ALL.into_iter().enumerate() {
        assert_eq!(serde_json::to_value(rule).unwrap(), rule.id());
        assert_eq!(Rule::ALL.iter().position(|other| other.id() == rule.id()), Some(index));
        assert!(Rule::ALL[..index].iter().all(|earlier| *earlier < rule), "{rule} is out of order");
    }
}
