use super::*;

#[test]
fn every_form_of_envoys_secrets_says_the_same() {
    let dump = parse(CONFIG_DUMP).unwrap();
    insta::assert_snapshot!(words(CONFIG_DUMP), @"
    Envoy's config dump
    chain: spiffe://foo.com/ns/sample/sa/sleep
    bundle of bar.com: 1
    bundle of foo.com: 1
    ");
    for (file, kind) in [(SECRETS, SourceKind::ConfigDump), (ISTIOCTL, SourceKind::Istioctl)] {
        assert_eq!(parse(file).unwrap(), Source { kind, ..dump.clone() });
    }
    let yaml = serde_saphyr::to_string(&serde_json::from_slice::<Value>(ISTIOCTL).unwrap()).unwrap();
    assert_eq!(parse(yaml.as_bytes()).unwrap(), parse(ISTIOCTL).unwrap());
    // The section alone, as jq takes it out.
    let whole: Value = serde_json::from_slice(CONFIG_DUMP).unwrap();
    assert_eq!(parse(&bytes(&whole["configs"][3])).unwrap(), dump);
    // And what a live proxy is asked for.
    let live = crate::envoy::parse_secrets(SECRETS, b"{}").unwrap();
    assert_eq!(live.chain(), dump.chain.as_ref());
    let domain: TrustDomain = "bar.com".parse().unwrap();
    assert_eq!(dump.bundles.of(&domain).as_ref(), live.bundle(&domain));
}

#[test]
fn a_proxy_on_istiods_ca_has_one_pool_for_everybody() {
    let [leaf, lower, upper, root] = chain_of_four();
    let encoded = |ders: &[&[u8]]| json!({"inlineBytes": STANDARD.encode(pem_of(ders))});
    let dump = json!({
        "dynamicActiveSecrets": [
            {"name": "default", "secret": {"tlsCertificate": {
                "certificateChain": encoded(&[&leaf, &upper, &lower]), "privateKey": {"inlineBytes": "W3JlZGFjdGVkXQ=="}}}},
            {"name": "ROOTCA", "secret": {"validationContext": {"trustedCa": encoded(&[&root, &root])}}},
            {"name": "kubernetes://bookinfo-cert"},
        ],
    });
    // The order is Envoy's: peers get the chain so.
    insta::assert_snapshot!(words(&bytes(&dump)), @"
    istioctl's list of secrets
    chain: spiffe://foo.com/ns/sample/sa/sleep < CN=upper < CN=lower
    pool: CN=root
    other: kubernetes://bookinfo-cert
    note: certificates of the trust bundle are there more than once: 2 (as 1)
    ");
    let domain = "cluster.local".parse().unwrap();
    assert_eq!(parse(&bytes(&dump)).unwrap().bundles.of(&domain).unwrap().authorities().len(), 1);
}

#[test]
fn secrets_that_have_not_come_are_said_to_be_waited_for() {
    let mut dump: Value = serde_json::from_slice(ISTIOCTL).unwrap();
    let own = dump["dynamicActiveSecrets"].as_array_mut().unwrap().remove(0);
    dump["dynamicWarmingSecrets"] = json!([{"name": own["name"], "versionInfo": "uninitialized"}]);
    insta::assert_snapshot!(words(&bytes(&dump)), @"
    istioctl's list of secrets
    bundle of bar.com: 1
    bundle of foo.com: 1
    note: Envoy still waits for its certificate
    ");
    dump["dynamicActiveSecrets"] = json!([]);
    insta::assert_snapshot!(words(&bytes(&dump)), @"
    error: it is istioctl's list of secrets, and the proxy had not got its certificate nor its trust bundle when it was made
    hint: see why the proxy waits: kubectl --context CONTEXT -n NAMESPACE logs POD -c istio-proxy
    ");
    let answer = json!({"configs": [{
        "@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump.DynamicSecret",
        "name": "default", "version_info": "uninitialized",
    }]});
    insta::assert_snapshot!(words(&bytes(&answer)), @"
    error: it is Envoy's config dump, and the proxy had not got its certificate nor its trust bundle when it was made
    hint: see why the proxy waits: kubectl --context CONTEXT -n NAMESPACE logs POD -c istio-proxy
    ");
}

#[test]
fn static_secrets_count_as_those_in_use() {
    let mut dump: Value = serde_json::from_slice(ISTIOCTL).unwrap();
    let secrets = dump["dynamicActiveSecrets"].take();
    assert_eq!(parse(&bytes(&json!({"staticSecrets": secrets}))).unwrap(), parse(ISTIOCTL).unwrap(),);
}

#[test]
fn a_secret_of_a_workload_has_its_chain_and_its_bundle_in_json_and_in_yaml() {
    let [leaf, lower, upper, root] = chain_of_four();
    let secret = secret(&[
        ("tls.crt", &pem_of(&[&leaf, &lower, &upper])),
        ("tls.key", &block("PRIVATE KEY", b"hunter2")),
        ("ca.crt", &certificate(&root)),
        ("keystore.p12", "hunter2"),
    ]);
    let json = bytes(&secret);
    insta::assert_snapshot!(words(&json), @"
    a Secret of Kubernetes
    chain: spiffe://foo.com/ns/sample/sa/sleep < CN=lower < CN=upper
    bundle: CN=root
    key was shown
    other: keystore.p12
    note: a private key is in it: it was not looked at, and whoever has the file has the key
    ");
    let yaml = serde_saphyr::to_string(&secret).unwrap();
    assert_eq!(parse(yaml.as_bytes()).unwrap(), parse(&json).unwrap());
    assert_eq!(
        parse(format!("---\n# printed by kubectl\n{yaml}").as_bytes()).unwrap(),
        parse(&json).unwrap()
    );
}

#[test]
fn a_secret_as_it_is_written_by_hand_is_read_too() {
    let [leaf, lower, ..] = chain_of_four();
    let indented = pem_of(&[&leaf, &lower]).replace('\n', "\n    ");
    let yaml = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\ndata: null\nstringData:\n  tls.crt: |\n    {}\n",
        indented.trim_end()
    );
    insta::assert_snapshot!(words(yaml.as_bytes()), @"
    a Secret of Kubernetes
    chain: spiffe://foo.com/ns/sample/sa/sleep < CN=lower
    ");
    // Base64 in lines, as `base64` prints it.
    let encoded = STANDARD.encode(certificate(&leaf));
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let yaml = format!("kind: Secret\ndata:\n  tls.crt: |\n    {}\n", lines.join("\n    "));
    assert_eq!(parse(yaml.as_bytes()).unwrap().chain.unwrap().leaf.der(), leaf);
}

#[test]
fn the_secret_of_istiods_ca_has_issuers_and_no_workload() {
    let [_, lower, upper, root] = chain_of_four();
    let secret = secret(&[
        ("ca-cert.pem", &certificate(&lower)),
        ("ca-key.pem", &block("EC PRIVATE KEY", b"hunter2")),
        ("cert-chain.pem", &pem_of(&[&lower, &upper, &root])),
        ("root-cert.pem", &certificate(&root)),
    ]);
    insta::assert_snapshot!(words(&bytes(&secret)), @"
    a Secret of Kubernetes
    issuers: CN=lower < CN=upper < CN=root
    bundle: CN=root
    key was shown
    note: a private key is in it: it was not looked at, and whoever has the file has the key
    ");
}

#[test]
fn a_bundle_of_spiffe_has_its_authorities_and_claims_a_trust_domain() {
    insta::assert_snapshot!(words(BUNDLE), @"
    a bundle in SPIFFE's JSON
    bundle: spiffe://foo.com
    other: 1 key for JWT-SVIDs
    ");
    let bundles = parse(BUNDLE).unwrap().bundles;
    let claimed = bundles.claimed().unwrap();
    assert_eq!(claimed.as_str(), "foo.com");
    let same = TrustBundle::from_spiffe_json(claimed.clone(), std::str::from_utf8(BUNDLE).unwrap()).unwrap();
    assert_eq!(bundles.of(&claimed), Some(same));
}

/// An authority as SPIRE's server prints it.
fn authority(name: &str) -> Value {
    json!({"asn1": STANDARD.encode(CertifiedIssuer::self_signed(ca(name), key()).unwrap().der()), "tainted": false})
}

#[test]
fn bundles_of_spire_are_of_their_trust_domains() {
    let bundle = |domain: &str, authorities: Value| {
        json!({
            "trust_domain": domain, "x509_authorities": authorities, "jwt_authorities": [],
            "refresh_hint": "60", "sequence_number": "2",
        })
    };
    let (old, new) = (authority("old"), authority("new"));
    let mut tainted = old.clone();
    tainted["tainted"] = true.into();
    let own = bundle("foo.com", json!([tainted, new, new]));
    insta::assert_snapshot!(words(&bytes(&own)), @"
    SPIRE's JSON of bundles
    bundle of foo.com: 2
    note: authority 1 of foo.com is tainted: SPIRE takes what it signed out of use
    note: certificates of the bundle of foo.com are there more than once: 3 (as 2)
    ");
    let listed = json!({"bundles": [bundle("bar.com", json!([old])), bundle("baz.com", json!([new]))], "next_page_token": ""});
    insta::assert_snapshot!(words(&bytes(&listed)), @"
    SPIRE's JSON of bundles
    bundle of bar.com: 1
    bundle of baz.com: 1
    ");
    let same = crate::spire::server::parse_bundles(&bytes(&listed)).unwrap();
    let Bundles::Separate(read) = parse(&bytes(&listed)).unwrap().bundles else { panic!("separate ones") };
    assert!(read.values().eq(&same));
}

#[test]
fn a_private_key_in_a_bundle_is_remembered_and_not_kept() {
    let mut bundle: Value = serde_json::from_slice(BUNDLE).unwrap();
    bundle["keys"][0]["d"] = "hunter2".into();
    let source = parse(&bytes(&bundle)).unwrap();
    assert!(source.key_was_shown && !format!("{source:?}").contains("hunter2"));
}

#[test]
fn pem_and_der_say_the_same() {
    let chain = chain_of_four();
    let [leaf, lower, upper, _] = &chain;
    let pem = pem_of(&[leaf, lower, upper]);
    insta::assert_snapshot!(words(pem.as_bytes()), @"
    PEM
    chain: spiffe://foo.com/ns/sample/sa/sleep < CN=lower < CN=upper
    ");
    let same = parse(pem.as_bytes()).unwrap();
    let remarked = format!("\u{feff}subject=CN = workload\r\n{}", pem.replace('\n', "\r\n"));
    assert_eq!(parse(remarked.as_bytes()).unwrap(), same);
    assert_eq!(parse(pem.replace("-----BEGIN", "  -----BEGIN").as_bytes()).unwrap(), same);
    let der = Source { kind: SourceKind::Der, ..same };
    assert_eq!(parse(&[leaf.as_slice(), lower, upper].concat()).unwrap(), der);
}

#[test]
fn authorities_alone_are_a_bundle() {
    let (one, other) = (root(), root());
    let pem = pem_of(&[one.der(), other.der(), one.der()]);
    insta::assert_snapshot!(words(pem.as_bytes()), @"
    PEM
    bundle: CN=root < CN=root
    note: certificates of the chain are there more than once: 3 (as 1)
    note: no certificate in it is a workload's: it is taken as a trust bundle
    ");
}

#[test]
fn a_bundle_whose_authorities_do_not_agree_claims_nothing() {
    let of = |domain: &str| {
        let mut params = ca("root");
        params.subject_alt_names = vec![uri(domain)];
        params.self_signed(&key()).unwrap().der().to_vec()
    };
    let claimed = |ders: &[&[u8]]| parse(pem_of(ders).as_bytes()).unwrap().bundles.claimed();
    let (foo, bar) = (of("spiffe://foo.com"), of("spiffe://bar.com"));
    assert_eq!(claimed(&[&foo]).unwrap().as_str(), "foo.com");
    assert_eq!(claimed(&[&foo, &of("spiffe://foo.com")]).unwrap().as_str(), "foo.com");
    assert_eq!(claimed(&[&foo, &bar]), None);
    assert_eq!(claimed(&[&foo, &bar, &foo]), None);
    assert_eq!(claimed(&[root().der()]), None);
}
