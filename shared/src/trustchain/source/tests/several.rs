//! Files that say something of more than one workload, or of more than one trust domain.

use super::*;

/// Says of every part what it is called, and what came of it.
fn parts(bytes: &[u8]) -> String {
    let read = match parse_all(bytes) {
        Ok(read) => read,
        Err(error) => return of_error(&error).join("\n"),
    };
    assert!(read.len() > 1 || read[0].source.is_ok());
    let of_part = |part: &Part| {
        let mut lines = vec![format!("[{}]", part.name.as_deref().unwrap_or("alone"))];
        lines.extend(part.source.as_ref().map_or_else(of_error, of_source));
        lines.join("\n")
    };
    read.iter().map(of_part).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_document_is_of_a_proxy_of_its_own() {
    let two = parts(&[ISTIOCTL, b"\nDefaulted container \"istio-proxy\"\n", ISTIOCTL, b"{}\n"].concat());
    insta::assert_snapshot!(two, @"
    [document 1 (line 1)]
    istioctl's list of secrets
    chain: spiffe://foo.com/ns/sample/sa/sleep
    bundle of bar.com: 1
    bundle of foo.com: 1
    [document 2 (line 55)]
    istioctl's list of secrets
    chain: spiffe://foo.com/ns/sample/sa/sleep
    bundle of bar.com: 1
    bundle of foo.com: 1
    [document 3 (line 107)]
    error: it is an empty answer (`{}`), which is what Envoy says when it has nothing of what it was asked for
    hint: istioctl --context CONTEXT proxy-config secret POD -n NAMESPACE -o json
    ");
    assert_eq!(parse(&[ISTIOCTL, ISTIOCTL].concat()), Err(SourceError::Several(2)));
    // Without a line between them, and as one line each.
    let value: Value = serde_json::from_slice(ISTIOCTL).unwrap();
    assert_eq!(parse_all(format!("{value}{value}\n{value}").as_bytes()).unwrap().len(), 3);
}

#[test]
fn documents_of_yaml_are_read_one_by_one_with_the_lines_of_the_file() {
    let secret = |name: &str| {
        format!(
            "# {name}\nkind: Secret\ndata:\n  tls.crt: {}\n",
            STANDARD.encode(certificate(&chain_of_four()[0]))
        )
    };
    let broken = "kind: Secret\ndata: [\n";
    let yaml = format!("---\n{}---\n{broken}...\n--- \n# nothing\n---\n{}", secret("a"), secret("b"));
    insta::assert_snapshot!(parts(yaml.as_bytes()), @"
    [document 1 (line 3)]
    a Secret of Kubernetes
    chain: spiffe://foo.com/ns/sample/sa/sleep
    [document 2 (line 7)]
    error: it begins as YAML, and is none from line 8, column 7 on
    hint: get it again, as JSON: kubectl --context CONTEXT -n NAMESPACE get secret NAME -o json
    [document 3 (line 14)]
    a Secret of Kubernetes
    chain: spiffe://foo.com/ns/sample/sa/sleep
    ");
}

#[test]
fn more_documents_than_anybody_has_are_refused() {
    let many = |count: usize| parse_all("{} ".repeat(count).as_bytes());
    assert_eq!(many(notation::MOST_PARTS), Err(NotEnough::EmptyAnswer.into()));
    assert_eq!(many(notation::MOST_PARTS + 1), Err(SourceError::TooManyParts));
}

#[test]
fn a_list_of_objects_has_a_part_for_each_with_certificates() {
    let [leaf, _, _, root] = chain_of_four();
    let mut one = secret(&[("tls.crt", &certificate(&leaf))]);
    one["metadata"]["name"] = "one".into();
    let map = json!({"kind": "ConfigMap", "metadata": {"name": "roots"}, "data": {"root-cert.pem": certificate(&root)}});
    let broken = secret(&[("ca.crt", "-----BEGIN CERTIFICATE-----\n")]);
    let items = json!([{"kind": "Pod"}, secret(&[("token", "x")]), one, map, broken]);
    let list = |kind: &str| bytes(&json!({"apiVersion": "v1", "kind": kind, "items": items}));
    insta::assert_snapshot!(parts(&list("List")), @"
    [Secret sample/one]
    a Secret of Kubernetes
    chain: spiffe://foo.com/ns/sample/sa/sleep
    other: Pod without a name
    other: Secret sample/workload
    [ConfigMap roots]
    a ConfigMap of Kubernetes
    bundle: CN=root
    [Secret sample/workload]
    error: field ca.crt cannot be used
      because it is PEM, and not whole: see line 1: a certificate begins there and has no end, so it is not whole
    hint: get the file again; it was probably cut off when it was copied
    ");
    assert_eq!(parse_all(&list("SecretList")).unwrap().len(), 3);
}

#[test]
fn secrets_of_gateways_are_read_by_the_names_of_istio_and_by_others() {
    let [leaf, lower, _, root] = chain_of_four();
    let key = block("PRIVATE KEY", b"hunter2");
    let gateway =
        secret(&[("cert", &pem_of(&[&leaf, &lower])), ("key", &key), ("cacert", &certificate(&root))]);
    insta::assert_snapshot!(parts(&bytes(&gateway)), @"
    [alone]
    a Secret of Kubernetes
    chain: spiffe://foo.com/ns/sample/sa/sleep < CN=lower
    bundle: CN=root
    key was shown
    note: a private key is in it: it was not looked at, and whoever has the file has the key
    ");
    let others = secret(&[
        ("server.pem", &(certificate(&leaf) + &key)),
        ("ca-bundle.pem", &certificate(&root)),
        ("authority", &certificate(&lower)),
        ("odd", &key),
        ("readme", "x"),
    ]);
    insta::assert_snapshot!(parts(&bytes(&others)), @"
    [alone]
    a Secret of Kubernetes
    chain: spiffe://foo.com/ns/sample/sa/sleep
    bundle: CN=root < CN=lower
    key was shown
    other: readme
    note: a private key is in it: it was not looked at, and whoever has the file has the key
    ");
    let shown = format!("{:?} {:?}", parse_all(&bytes(&gateway)), parse_all(&bytes(&others)));
    assert!(!shown.contains(&STANDARD.encode("hunter2")) && !shown.contains("hunter2"));
}

#[test]
fn what_a_gateway_verifies_its_clients_with_does_not_judge_its_own_certificate() {
    let (own, of_clients) = (below("public", &root()), root());
    let mut params = named("shop.example.com");
    let secret = |leaf: &[u8], ca: &[u8]| {
        bytes(&secret(&[("cert", &certificate(leaf)), ("key", "x"), ("cacert", &certificate(ca))]))
    };
    insta::assert_snapshot!(parts(&secret(&signed(&params, &own), of_clients.der())), @"
    [presented]
    a Secret of Kubernetes
    chain: CN=shop.example.com
    key was shown
    note: a private key is in it: it was not looked at, and whoever has the file has the key
    [for clients]
    a Secret of Kubernetes
    bundle: CN=root
    ");
    // Where it is one CA, it does; and an SVID is always judged.
    assert_eq!(parse_all(&secret(&signed(&params, &own), own.der())).unwrap().len(), 1);
    params.subject_alt_names = vec![uri(SLEEP)];
    assert_eq!(parse_all(&secret(&signed(&params, &own), of_clients.der())).unwrap().len(), 1);
}

/// An authority of a trust domain, as SPIRE makes it.
fn authority_of(domain: &str) -> Issuer {
    let mut params = ca(domain);
    params.subject_alt_names = vec![uri(&format!("spiffe://{domain}"))];
    CertifiedIssuer::self_signed(params, key()).unwrap()
}

#[test]
fn an_agents_answer_has_each_svid_with_the_bundles_of_all_trust_domains() {
    let (foo, bar) = (authority_of("foo.com"), authority_of("bar.com"));
    let encoded = |ders: &[&[u8]]| STANDARD.encode(ders.concat());
    let svid = |hint: &str| {
        json!({
            "bundle": encoded(&[foo.der()]), "hint": hint, "spiffe_id": SLEEP,
            "x509_svid": encoded(&[&signed(&leaf(), &foo), foo.der()]), "x509_svid_key": STANDARD.encode("hunter2"),
        })
    };
    let answer = |svids: Vec<Value>| {
        let federated = json!({"spiffe://bar.com": encoded(&[bar.der(), foo.der()]), "baz.com": ""});
        bytes(&json!({"crl": [], "federated_bundles": federated, "svids": svids}))
    };
    insta::assert_snapshot!(parts(&answer(vec![svid("")])), @"
    [alone]
    what SPIRE's agent serves
    chain: spiffe://foo.com/ns/sample/sa/sleep < spiffe://foo.com
    bundle of bar.com: 2
    bundle of baz.com: 0
    bundle of foo.com: 1
    key was shown
    note: a private key is in it: it was not looked at, and whoever has the file has the key
    ");
    let two = answer(vec![svid(""), svid("inner\u{1b}")]);
    let names: Vec<_> = parse_all(&two).unwrap().into_iter().map(|part| part.name.unwrap()).collect();
    assert_eq!(names, ["SVID 1", r"SVID 2 (inner\u{1b})"]);
    let shown = format!("{:?} {}", parse_all(&two), parts(&two));
    assert!(!shown.contains(&STANDARD.encode("hunter2")));
    // All of them together have no more than one may have.
    let many = answer(vec![svid(""); 400]);
    assert_eq!(parse_all(&many), Err(SourceError::TooManyCertificates { most: MOST_CERTIFICATES }));
}

#[test]
fn bundles_that_are_listed_for_people_are_of_the_trust_domain_above_them() {
    let (foo, bar) = (authority_of("foo.com"), authority_of("bar.com"));
    let pem = |authority: &Issuer| certificate(authority.der());
    let listed = format!(
        "{}{}\n{}{}{}",
        heading("foo.com"),
        pem(&foo),
        heading("spiffe://bar.com"),
        pem(&bar),
        pem(&foo)
    );
    insta::assert_snapshot!(parts(listed.as_bytes()), @"
    [alone]
    SPIRE's list of bundles
    bundle of bar.com: 2
    bundle of foo.com: 1
    ");
    let windows = format!("Defaulted container\r\n{}", listed.replace('\n', "\r\n"));
    assert_eq!(parse(windows.as_bytes()), parse(listed.as_bytes()));
    let jwks = |authority: &Issuer| json!({"keys": [{"use": "x509-svid", "x5c": [STANDARD.encode(authority.der())]}]});
    let spiffe =
        format!("{}{:#}\n\n{}{:#}\n", heading("foo.com"), jwks(&foo), heading("bar.com"), jwks(&bar));
    insta::assert_snapshot!(parts(spiffe.as_bytes()), @"
    [alone]
    SPIRE's list of bundles
    bundle of bar.com: 1
    bundle of foo.com: 1
    ");
    let key = block("PRIVATE KEY", b"hunter2");
    assert!(parse(format!("{listed}{key}").as_bytes()).unwrap().key_was_shown);
}

#[test]
fn a_map_of_bundles_is_read_domain_by_domain() {
    let jwks = |domain: &str| json!({"keys": [{"use": "x509-svid", "x5c": [STANDARD.encode(authority_of(domain).der())]}, {"use": "jwt-svid"}], "spiffe_sequence": 7});
    let map = json!({"trust_domains": {"spiffe://foo.com": jwks("foo.com"), "bar.com": jwks("bar.com")}});
    insta::assert_snapshot!(parts(&bytes(&map)), @"
    [alone]
    bundles in SPIFFE's JSON by trust domain
    bundle of bar.com: 1
    bundle of foo.com: 1
    ");
    // As often as it is there: no authority is left out in silence.
    let twice = format!(r#"{{"trust_domains": {{"a": {0}, "a": {0}}}}}"#, jwks("a"));
    assert_eq!(parse(twice.as_bytes()), Err(SourceError::BundleTwice { trust_domain: "a".parse().unwrap() }));
}
