use rcgen::SignatureAlgorithm;

use super::*;

#[test]
fn absurd_dates_are_read_and_left_to_the_judge() {
    let dates =
        [((9999, 12, 31), (9999, 12, 31)), ((1901, 1, 1), (1950, 1, 1)), ((2026, 7, 1), (2026, 6, 1))];
    let lines = dates.map(|(from, to)| {
        let mut params = leaf();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        let pem = certificate(&signed(&params, &root()));
        let leaf = parse(pem.as_bytes()).unwrap().chain.unwrap().leaf;
        format!("{} until {}", leaf.not_before, leaf.not_after)
    });
    insta::assert_snapshot!(lines.join("\n"), @"
    9999-12-30T22:00:00Z until 9999-12-30T22:00:00Z
    1901-01-01T00:00:00Z until 1950-01-01T00:00:00Z
    2026-07-01T00:00:00Z until 2026-06-01T00:00:00Z
    ");
}

#[test]
fn many_names_and_several_ids_are_read() {
    let root = root();
    let mut params = leaf();
    params.subject_alt_names.push(uri("spiffe://bar.com/ns/other/sa/other"));
    insta::assert_snapshot!(words(certificate(&signed(&params, &root)).as_bytes()), @"
    PEM
    chain: CN=workload
    ");
    params.subject_alt_names = (0..200).map(|number| uri(&format!("spiffe://foo.com/{number}"))).collect();
    let source = parse(certificate(&signed(&params, &root)).as_bytes()).unwrap();
    assert_eq!(source.chain.unwrap().leaf.uris.len(), 200);
}

#[test]
fn keys_of_every_kind_are_read() {
    let algorithms: [&SignatureAlgorithm; 3] =
        [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ECDSA_P521_SHA512, &rcgen::PKCS_ED25519];
    let made = algorithms.map(|algorithm| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let root = CertifiedIssuer::self_signed(ca("root"), key).unwrap();
        pem_of(&[root.der(), &signed(&leaf(), &root)])
    });
    // Not made here: a key of RSA takes a second.
    let rsa = include_str!("../../../../../tests/fixtures/trustchain/rsa-4096.pem");
    let lines: Vec<String> = made
        .iter()
        .map(String::as_str)
        .chain([rsa])
        .map(|pem| {
            let source = parse(pem.as_bytes()).unwrap();
            let root = &source.chain.unwrap().intermediates[0];
            format!("{} {:?} {}", root.public_key.algorithm, root.public_key.bits, root.signature_algorithm)
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    EC Some(384) ecdsa-with-SHA384
    EC Some(521) ecdsa-with-SHA512
    Ed25519 None ED25519
    RSA Some(4096) sha512WithRSAEncryption
    ");
}

#[test]
fn what_a_terminal_acts_on_is_escaped_wherever_it_stands() {
    const NASTY: &str = "\u{1b}]0;x\u{7}\u{202e}\n\r\u{9b}2J";
    let mut signer = ca(NASTY);
    signer.subject_alt_names = vec![uri("spiffe://foo.com")];
    let root = CertifiedIssuer::self_signed(signer, key()).unwrap();
    let mut params = leaf();
    params.subject_alt_names = vec![uri("spiffe://foo.com/\u{1b}[2J\u{7}")];
    let one = signed(&params, &root);
    params.subject_alt_names = Vec::new();
    params.distinguished_name.push(DnType::CommonName, NASTY);
    let other = signed(&params, &root);
    // `words` looks at every line.
    insta::assert_snapshot!(words(pem_of(&[root.der(), &one, &other]).as_bytes()), @r"
    PEM
    chain: spiffe://foo.com/\u{1b}[2J\u{7} < spiffe://foo.com < CN=\u{1b}]0;x\u{7}\u{202e}\n\r\u{9b}2J
    note: the certificates were not in order, the leaf first and every signer after what it signed: here they are (2, 1, 3)
    note: signers go round in a circle: spiffe://foo.com, CN=\u{1b}]0;x\u{7}\u{202e}\n\r\u{9b}2J
    note: a root comes with the chain (spiffe://foo.com, CN=\u{1b}]0;x\u{7}\u{202e}\n\r\u{9b}2J): that it fits proves nothing, peers go by their own bundle
    ");
    let nasty = json!({
        "kind": "Secret",
        "data": {NASTY: "", "tls.crt": STANDARD.encode(certificate(&other)), "ca.crt": STANDARD.encode(certificate(root.der()))},
    });
    words(&bytes(&nasty));
    words(&bytes(&json!({"kind": NASTY})));
    words(&bytes(&json!({"dynamicActiveSecrets": [{"name": NASTY}]})));
    let domain = json!([{"name": NASTY, "trustBundle": {"inlineBytes": ""}}]);
    words(&bytes(&json!({"dynamicActiveSecrets": [{"name": "ROOTCA", "secret": {"validationContext": {
        "customValidatorConfig": {"name": "envoy.tls.cert_validator.spiffe", "typedConfig": {"trustDomains": domain}}}}}]})));
    words(format!("-----BEGIN {NASTY}-----\n-----END {NASTY}-----\n").as_bytes());
    words(format!("-----BEGIN {NASTY}\n").as_bytes());
    words(NASTY.as_bytes());
}

#[test]
fn a_private_key_among_certificates_is_dropped_remembered_and_never_shown() {
    let [leaf, lower, ..] = chain_of_four();
    let key = key();
    for label in ["PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
        let encoded = block(label, &key.serialize_der());
        let pem = certificate(&leaf) + &encoded + &certificate(&lower);
        let source = parse(pem.as_bytes()).unwrap();
        assert!(source.key_was_shown);
        assert_eq!(source.chain.as_ref().unwrap().certificates().count(), 2);
        let shown = format!("{source:?} {}", words(pem.as_bytes()));
        assert!(encoded.lines().filter(|line| !line.starts_with('-')).all(|line| !shown.contains(line)));
    }
    // What is no key for a decoder is one for whoever wrote it.
    let pem = certificate(&leaf) + "-----BEGIN PRIVATE KEY-----\nhunter2!\n-----END PRIVATE KEY-----\n";
    insta::assert_snapshot!(words(pem.as_bytes()), @"
    PEM
    chain: spiffe://foo.com/ns/sample/sa/sleep
    key was shown
    note: a private key is in it: it was not looked at, and whoever has the file has the key
    ");
}

#[test]
fn a_key_in_a_dump_is_remembered_in_both_spellings() {
    for (file, place) in [
        (ISTIOCTL, "/dynamicActiveSecrets/0/secret/tlsCertificate/privateKey"),
        (CONFIG_DUMP, "/configs/3/dynamic_active_secrets/0/secret/tls_certificate/private_key"),
    ] {
        let mut dump: Value = serde_json::from_slice(file).unwrap();
        for (name, shown) in [("inlineBytes", true), ("filename", false), ("environmentVariable", false)] {
            *dump.pointer_mut(place).unwrap() = json!({name: "hunter2"});
            let source = parse(&bytes(&dump)).unwrap();
            assert_eq!(source.key_was_shown, shown);
            assert!(!format!("{source:?}").contains("hunter2"));
        }
    }
}

#[test]
fn a_changed_byte_never_panics() {
    let [leaf, lower, ..] = chain_of_four();
    let yaml = serde_saphyr::to_string(&secret(&[("tls.crt", &certificate(&lower))])).unwrap();
    for whole in
        [pem_of(&[&leaf, &lower]).as_bytes(), &[leaf.as_slice(), &lower].concat(), BUNDLE, yaml.as_bytes()]
    {
        for index in (0..whole.len()).step_by(7) {
            for bit in [1, 0x20, 0x80] {
                let mut changed = whole.to_vec();
                changed[index] ^= bit;
                words(&changed);
            }
        }
    }
}

#[test]
fn nesting_without_end_is_refused() {
    for (open, close) in
        [("[", "]"), ("{\"keys\":", "}"), ("{\"configs\":[{\"secret\":{\"generic_secret\":{\"a\":", "}}}]}")]
    {
        let deep = format!("{{\"configs\": {}{}}}", open.repeat(100_000), close.repeat(100_000));
        assert!(parse(deep.as_bytes()).is_err());
    }
    let deep = format!("kind: Secret\ndata: {}\n", "[".repeat(100_000));
    assert!(parse(deep.as_bytes()).is_err());
}
