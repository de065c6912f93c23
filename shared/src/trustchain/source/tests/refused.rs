use std::fmt::Write as _;

use super::*;

/// The errors of several inputs, each with its name.
fn all(inputs: &[(&str, Vec<u8>)]) -> String {
    inputs.iter().fold(String::new(), |mut text, (name, bytes)| {
        assert!(parse(bytes).is_err(), "{name}");
        write!(text, "[{name}]\n{}\n", words(bytes)).unwrap();
        text
    })
}

fn request() -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri(SLEEP)];
    params.serialize_request(&key()).unwrap().der().to_vec()
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[test]
fn what_is_not_enough_is_named_for_what_it_is() {
    let key = key();
    let inputs = [
        ("key in PEM", text(&key.serialize_pem())),
        ("key in DER", key.serialize_der()),
        ("request in PEM", text(&block("CERTIFICATE REQUEST", &request()))),
        ("request in DER", request()),
        ("public key in PEM", text(&key.public_key_pem())),
        ("public key in DER", ::pem::parse(key.public_key_pem()).unwrap().into_contents()),
        ("revocation list", text(&block("X509 CRL", b"x"))),
        ("PKCS #7", text(&block("PKCS7", b"x"))),
        ("PKCS #7 in DER", b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x00".to_vec()),
        ("PKCS #12", b"\x30\x05\x02\x01\x03\x30\x00".to_vec()),
        ("other PEM", text(&block("DH PARAMETERS", b"x"))),
        ("/certs", text(r#"{"certificates": [{"ca_cert": [], "cert_chain": [{"serial_number": "1"}]}]}"#)),
        ("ztunnel", text(r#"{"certificates": [], "workloads": []}"#)),
        ("no such secrets", text("{}\n")),
        (
            "other part of the dump",
            text(r#"{"configs": [{"@type": "x/DynamicListener", "name": "virtualInbound"}]}"#),
        ),
        ("gateway", text(r#"{"dynamicActiveSecrets": [{"name": "kubernetes://a"}]}"#)),
        ("ConfigMap", text("apiVersion: v1\nkind: ConfigMap\ndata: {root-cert.pem: x}\n")),
        ("Pod", text("apiVersion: v1\nkind: Pod\n")),
        (
            "list",
            text(r#"{"apiVersion": "v1", "kind": "List", "items": [{"kind": "Pod"}, {"kind": "Secret"}]}"#),
        ),
        ("no kind", text("apiVersion: v1\n")),
        ("other Secret", bytes(&secret(&[("token", "x"), ("tls.crt", "")]))),
        ("Secret with a key", bytes(&secret(&[("odd", &key.serialize_pem())]))),
        ("keys for tokens", text(r#"{"keys": [{"use": "jwt-svid", "kid": "a"}, {"kty": "EC"}]}"#)),
        (
            "our report",
            text(r#"{"bundles": [{"holder": "foo", "trustDomain": "foo.com", "authorities": []}]}"#),
        ),
        ("no bundle", text(r#"{"bundles": [], "next_page_token": ""}"#)),
        ("no authority", text(r#"{"trust_domain": "foo.com", "x509_authorities": []}"#)),
        ("PEM in base64", text(&STANDARD.encode(certificate(b"x")))),
        ("PEM in quotes", bytes(&Value::from(certificate(b"x")))),
        ("UTF-16 cut off", b"\xff\xfe-\0-".to_vec()),
        ("no UTF-16", b"\xff\xfe\0\xd8-\0".to_vec()),
        ("other dashes", text("\u{2014}BEGIN CERTIFICATE\u{2014}\nMII\n\u{2014}END CERTIFICATE\u{2014}\n")),
        ("base64 alone", text(&STANDARD.encode(root().der()))),
        ("agent's text", text("Received 1 svid after 8.5ms\n\nSPIFFE ID:\t\tspiffe://foo.com/a\n")),
        ("no SVID", text(r#"{"svids": [], "federated_bundles": {}, "crl": []}"#)),
        ("JWT-SVID", text(r#"{"svids": [{"spiffe_id": "spiffe://foo.com/a", "svid": "hunter2"}]}"#)),
        ("table", text("RESOURCE NAME     TYPE           STATUS\ndefault           Cert Chain     ACTIVE\n")),
        ("OpenSSL's text", text("Certificate:\n    Data:\n        Version: 3 (0x2)\n")),
        ("end of PEM", text("AAAA\n-----END CERTIFICATE-----\n")),
    ];
    insta::assert_snapshot!(all(&inputs));
}

#[test]
fn what_is_broken_is_named_with_the_place() {
    // Signatures are not all of one length; places are the same with these.
    let dump = parse(ISTIOCTL).unwrap();
    let Bundles::Separate(bundles) = &dump.bundles else { panic!("{dump:?}") };
    let authorities = bundles.values().flat_map(|bundle| bundle.authorities().values());
    let ders: Vec<Vec<u8>> = authorities.map(|authority| authority.der().to_vec()).collect();
    let [leaf, lower] = ders.as_slice() else { panic!("{dump:?}") };
    let pem = pem_of(&[leaf, lower]);
    let mut json: Value = serde_json::from_slice(ISTIOCTL).unwrap();
    json["dynamicActiveSecrets"][0]["secret"]["tlsCertificate"]["certificateChain"]["inlineBytes"] =
        "%".into();
    let key = r#"{"keys": [{"use": "x509-svid", "x5c": ["#;
    let spire = r#"{"trust_domain": "foo.com", "x509_authorities": [{"asn1": "#;
    let inputs = [
        ("nothing", Vec::new()),
        ("white space", text(" \n\t\n")),
        ("letters", text("hello\n")),
        ("bytes", (0..=255).collect()),
        ("a number", text("0123\n")),
        ("a list", text("[1, 2]")),
        ("JSON of something else", text(r#"{"hunter2": "hunter2"}"#)),
        ("JSON cut off", ISTIOCTL[..ISTIOCTL.len() / 2].to_vec()),
        ("no JSON", text("{\"configs\": [}\n")),
        ("JSON and more of it", [ISTIOCTL, b"}"].concat()),
        ("JSON and PEM", [ISTIOCTL, pem.as_bytes()].concat()),
        ("remarks and half of JSON", [b"Defaulted container\n", &ISTIOCTL[..ISTIOCTL.len() / 2]].concat()),
        ("two of them, the second cut off", [ISTIOCTL, &ISTIOCTL[..ISTIOCTL.len() / 2]].concat()),
        ("other JSON", text(r#"{"configs": "hunter2"}"#)),
        ("broken secret", bytes(&json)),
        ("broken YAML", text("kind: Secret\ndata: [hunter2\n")),
        ("several documents without anything", text("kind: Secret\n---\nkind: Secret\n")),
        ("several documents, the second broken", text("kind: [\n---\nkind: Secret\n")),
        ("anchors", text("kind: Secret\ndata: &a {tls.crt: x}\nstringData: *a\n")),
        ("PEM cut off", text(&pem[..pem.len() - 30])),
        ("PEM in PEM", text(&pem.replacen("-----END CERTIFICATE-----", "", 1))),
        ("other end", text(&pem.replacen("END CERTIFICATE", "END PRIVATE KEY", 1))),
        ("end without beginning", text(&format!("-----END CERTIFICATE-----\n{pem}"))),
        ("no base64", text(&pem.replacen("MII", "M!!", 1))),
        ("half of base64", text(&pem.replacen("MII", "=II", 1))),
        ("certificate before any trust domain", text(&format!("{pem}{}", heading("foo.com")))),
        ("certificate of no trust domain", text(&format!("{}{pem}", heading("Foo.com")))),
        ("list cut off", text(&format!("{}{pem}{}{}", heading("a"), heading("b"), &pem[..pem.len() - 30]))),
        ("list without an authority", text(&heading("foo.com"))),
        ("the same domain twice", text(&format!("{}{pem}{}{pem}", heading("a"), heading("a")))),
        ("no DER", text(&(certificate(leaf) + &certificate(&lower[..100])))),
        ("empty certificate", text(&certificate(b""))),
        ("label without end", text("-----BEGIN hunter2\n")),
        ("DER cut off", [leaf, &lower[..100]].concat()),
        ("DER and more", [leaf.as_slice(), b"\n"].concat()),
        ("DER of a length that nobody has", b"\x30\x84\x7f\xff\xff\xff\x30".to_vec()),
        ("DER of no length", b"\x30\x80\x30\x80".to_vec()),
        ("field that is no base64", text("kind: Secret\ndata: {tls.crt: '%'}\n")),
        ("field that is no text", text("kind: Secret\ndata: {tls.crt: [hunter2]}\n")),
        ("field cut off", bytes(&secret(&[("ca.crt", &pem[..pem.len() - 30])]))),
        ("authority without certificate", text(&format!("{key}]}}]}}"))),
        ("authority that is no base64", text(&format!("{key}\"%\"]}}]}}"))),
        ("authority that is none", text(&format!("{key}\"AAAA\"]}}]}}"))),
        ("bundle of nobody", text(r#"{"x509_authorities": [{"asn1": "AAAA"}]}"#)),
        ("bundle of Foo", text(r#"{"trust_domain": "Foo", "x509_authorities": []}"#)),
        ("two bundles", text(r#"{"bundles": [{"trust_domain": "a"}, {"trust_domain": "a"}]}"#)),
        ("two certificates of an authority", text(&format!("{key}\"AAAA\", \"AAAA\"]}}]}}"))),
        ("map of nobody", text(&format!("{{\"trust_domains\": {{\"Foo\": {key}]}}]}}}}}}"))),
        (
            "map with two certificates",
            text(&format!("{{\"trust_domains\": {{\"foo.com\": {key}\"AAAA\", \"AAAA\"]}}]}}}}}}")),
        ),
        ("map without an authority", text(r#"{"trust_domains": {"foo.com": {"keys": []}}}"#)),
        ("SVID of nobody", text(r#"{"svids": [{"x509_svid": "AAAA"}]}"#)),
        (
            "SVID that is no base64",
            text(r#"{"svids": [{"spiffe_id": "spiffe://foo.com/a", "x509_svid": "%"}]}"#),
        ),
        (
            "SVID that is none",
            text(r#"{"svids": [{"spiffe_id": "spiffe://foo.com/a", "x509_svid": "AAAA"}]}"#),
        ),
        ("SPIRE's authority that is none", text(&format!("{spire}\"AAAA\"}}]}}"))),
        ("SPIRE's authority that is no base64", text(&format!("{spire}\"%\"}}]}}"))),
        ("SPIRE's authority that is no text", text(&format!("{spire}[\"hunter2\"]}}]}}"))),
    ];
    insta::assert_snapshot!(all(&inputs));
}

#[test]
fn what_is_cut_off_anywhere_is_an_error() {
    let [leaf, lower, ..] = chain_of_four();
    let pem = pem_of(&[&leaf, &lower]);
    let secret = bytes(&secret(&[("tls.crt", &pem), ("ca.crt", &certificate(&lower))]));
    let der = [leaf.as_slice(), &lower].concat();
    let first = certificate(&leaf).trim_end().len();
    for (whole, fine) in [
        (ISTIOCTL, None),
        (CONFIG_DUMP, None),
        (BUNDLE, None),
        (secret.as_slice(), None),
        // The end of a certificate is no place at which it shows; dashes alone may be anything.
        (pem.as_bytes(), Some(first..=first + 6)),
        (der.as_slice(), Some(leaf.len()..=leaf.len())),
    ] {
        for length in (0..whole.trim_ascii_end().len()).step_by(13) {
            if !fine.as_ref().is_some_and(|fine| fine.contains(&length)) {
                assert!(parse(&whole[..length]).is_err(), "{length}");
            }
        }
    }
}

#[test]
fn errors_never_repeat_what_they_stumbled_over() {
    const KEY: &str = "hunter2hunter2hunter2";
    let broken = [
        text(&format!("-----BEGIN {KEY}-----\n")),
        text(&format!("-----BEGIN PRIVATE KEY-----\n{KEY}\n")),
        text(&format!("-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END {KEY}-----\n")),
        text(&format!("-----END {KEY}-----\n")),
        text(&format!("{{\"{KEY}\": \"{KEY}\"}}")),
        text(&format!("{{\"configs\": {{\"{KEY}\": \"{KEY}\"}}}}")),
        text(&format!("{{\"keys\": \"{KEY}\"}}")),
        text(&format!("kind: Secret\ndata: {KEY}\n")),
        text(&format!("kind: Secret\n{KEY}: [\n")),
        text(&format!("kind: Secret\ndata: {{tls.crt: {KEY}}}\n")),
        text(&format!("kind: Secret\ndata: {{tls.key: {KEY}}}\n")),
        text(KEY),
    ];
    for broken in broken {
        let error = parse(&broken).unwrap_err();
        assert!(!format!("{error:?} {}", words(&broken)).contains("hunter2"), "{error:?}");
    }
}

#[test]
fn an_input_of_more_than_64_mib_is_refused_before_it_is_looked_at() {
    let long = vec![b'{'; LONGEST + 1];
    insta::assert_snapshot!(words(&long), @"
    error: it is longer than 64 MiB, which is the most that is read
    hint: only the secrets are needed: istioctl --context CONTEXT proxy-config secret POD -n NAMESPACE -o json
    ");
    assert_ne!(parse(&long[1..]), Err(SourceError::TooLong));
}
