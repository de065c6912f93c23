use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{SignatureAlgorithm, SigningKey};

use super::*;
use crate::trust::svid::{Certificate, CertificateError, ChainError};

fn read(params: &CertificateParams, key: &impl SigningKey) -> Certificate {
    Certificate::from_der(params.self_signed(key).unwrap().der().to_vec()).unwrap()
}

#[test]
fn keys_and_signatures_of_every_kind_are_named_and_verified() {
    type Names<'a> = (&'a str, Option<usize>, Option<&'a str>);
    let algorithms: [(&SignatureAlgorithm, Names<'_>, &str); 4] = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, ("EC", Some(256), Some("P-256")), "ecdsa-with-SHA256"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, ("EC", Some(384), Some("P-384")), "ecdsa-with-SHA384"),
        (&rcgen::PKCS_ECDSA_P521_SHA512, ("EC", Some(521), Some("P-521")), "ecdsa-with-SHA512"),
        (&rcgen::PKCS_ED25519, ("Ed25519", None, None), "ED25519"),
    ];
    for (algorithm, names, signature) in algorithms {
        let key = || KeyPair::generate_for(algorithm).unwrap();
        let root = CertifiedIssuer::self_signed(ca("root"), key()).unwrap();
        let der = leaf().signed_by(&key(), &root).unwrap().der().to_vec();
        let chain = Chain::from_ders([der]).unwrap();
        let public = &chain.leaf.public_key;
        assert_eq!((public.algorithm.as_str(), public.bits, public.curve.as_deref()), names);
        assert_eq!(chain.leaf.signature_algorithm, signature);
        let verdict = verify(&chain, &bundle_of("foo.com", &[&root]), at());
        // As a CA's all of them are good; in a handshake Envoy takes two of them.
        let taken = matches!(names.2, Some("P-256" | "P-384"));
        assert_eq!(broken(&verdict), if taken { vec![] } else { vec![Rule::LeafKeyIsTaken] }, "{signature}");
    }
}

#[test]
fn rsa_keys_have_their_size() {
    // Not made here: a key of RSA takes a second.
    for (pem, key, signature) in [
        (
            include_str!("../../../../../tests/fixtures/trustchain/rsa-2048.pem"),
            "RSA 2048",
            "sha256WithRSAEncryption",
        ),
        (
            include_str!("../../../../../tests/fixtures/trustchain/rsa-3072.pem"),
            "RSA 3072",
            "sha384WithRSAEncryption",
        ),
        (
            include_str!("../../../../../tests/fixtures/trustchain/rsa-4096.pem"),
            "RSA 4096",
            "sha512WithRSAEncryption",
        ),
    ] {
        let chain = Chain::from_pem(pem).unwrap();
        let root = &chain.intermediates[0];
        assert_eq!(root.public_key.to_string(), key);
        assert_eq!(root.signature_algorithm, signature);
        let bundle = TrustBundle::from_der_sequence("foo.com".parse().unwrap(), root.der()).unwrap();
        let leaf = Chain::from_ders([chain.leaf.der().to_vec()]).unwrap();
        assert_eq!(verify(&leaf, &bundle, at()).broken, [], "{key}");
        assert_eq!(verify(&chain, &bundle, at()).broken, [], "{key}");
    }
}

#[test]
fn absurd_dates_are_read() {
    let mut params = leaf();
    params.not_before = date_time_ymd(1950, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    let certificate = read(&params, &key());
    assert_eq!(certificate.not_before.to_string(), "1950-01-01T00:00:00Z");
    // The last instant that a timestamp can be, a day before.
    assert_eq!(certificate.not_after.as_second(), Timestamp::MAX.as_second());
    assert!(certificate.is_valid_at(at()) && certificate.is_valid_at(Timestamp::MAX));
    (params.not_before, params.not_after) = (date_time_ymd(1, 1, 1), date_time_ymd(2, 1, 1));
    assert_eq!(read(&params, &key()).not_before.to_string(), "0001-01-01T00:00:00Z");
}

#[test]
fn what_a_terminal_acts_on_is_escaped_in_every_text() {
    let mut params = leaf();
    params.distinguished_name.push(DnType::OrganizationName, "a\u{1b}[31m\nb\u{202e}");
    params.subject_alt_names =
        vec![uri("spiffe://foo.com/\u{1b}]0;x\u{7}"), SanType::DnsName("\u{1b}x".try_into().unwrap())];
    let certificate = read(&params, &key());
    let Certificate { subject, issuer, uris, dns_names, .. } = &certificate;
    for text in [subject, issuer, &uris[0], &dns_names[0]] {
        assert!(text.contains(r"\u{1b}"), "{text}");
        assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
    let root = root();
    let chain = Chain::from_ders([signed(&params, &root)]).unwrap();
    let verdict = verify(&chain, &bundle_of("foo.com", &[]), at());
    assert!(!words(&verdict).contains('\u{1b}'));
}

#[test]
fn a_certificate_is_the_same_in_every_form() {
    let root = root();
    let ders = [signed(&leaf(), &root), root.der().to_vec()];
    let chain = Chain::from_ders(ders.clone()).unwrap();
    let pem = ders.clone().map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", der))).concat();
    assert_eq!(Chain::from_pem(&pem).unwrap(), chain);
    assert_eq!(Chain::from_pem(&format!("# a remark\r\n{}", pem.replace('\n', "\r\n"))).unwrap(), chain);
    assert_eq!(Chain::from_der_sequence(&ders.concat()).unwrap(), chain);
    assert_eq!(chain.certificates().count(), 2);
    assert_eq!(chain.leaf.authority_key_id, chain.intermediates[0].subject_key_id);
    assert!(!chain.leaf.is_ca && chain.intermediates[0].is_ca);
}

#[test]
fn what_is_no_chain_is_refused() {
    assert_eq!(Chain::from_ders([]), Err(ChainError::Empty));
    assert_eq!(Chain::from_pem(""), Err(ChainError::Empty));
    assert_eq!(Chain::from_pem(" \n"), Err(ChainError::Empty));
    assert!(matches!(Chain::from_pem("no PEM"), Err(ChainError::Pem(_))));
    let der = signed(&leaf(), &root());
    let second = |der: Vec<u8>| Chain::from_ders([signed(&leaf(), &root()), der]).unwrap_err();
    let mut trailing = der.clone();
    trailing.push(0);
    assert_eq!(
        second(trailing),
        ChainError::Certificate { position: 2, source: CertificateError::Trailing(1) }
    );
    for length in 0..der.len() {
        assert!(Certificate::from_der(der[..length].to_vec()).is_err());
        if length > 0 {
            assert!(Chain::from_der_sequence(&der[..length]).is_err());
        }
    }
    assert!(matches!(Certificate::from_der(vec![0x30; 1 << 20]), Err(CertificateError::TooLong(_))));
    let (first, mut half) = (signed(&leaf(), &root()), der.clone());
    half.truncate(100);
    assert!(matches!(
        Chain::from_der_sequence(&[first, half].concat()),
        Err(ChainError::Certificate { position: 2, source: CertificateError::Malformed(_) })
    ));
    assert_eq!(Chain::from_ders(vec![der.clone(); 100]).unwrap().certificates().count(), 100);
    assert_eq!(Chain::from_ders(vec![der.clone(); 101]), Err(ChainError::TooMany));
    assert_eq!(Chain::from_der_sequence(&der.repeat(100)).unwrap().certificates().count(), 100);
    assert_eq!(Chain::from_der_sequence(&der.repeat(101)), Err(ChainError::TooMany));
}

#[test]
fn what_is_longer_than_anybodys_is_not_looked_at() {
    let longest = 256 << 10;
    let read = |length| Certificate::from_der(vec![0x30; length]).unwrap_err();
    assert_eq!(read(longest + 1), CertificateError::TooLong(longest + 1));
    assert!(matches!(read(longest), CertificateError::Malformed(_)));
    let pem = |length| Chain::from_pem(&" ".repeat(length)).unwrap_err();
    assert_eq!(pem((4 << 20) + 1), ChainError::Pem("it is longer than 4 MiB".to_owned()));
    assert_eq!(pem(4 << 20), ChainError::Empty);
}

#[test]
fn a_key_among_certificates_is_refused_and_not_named() {
    let pem = read(&leaf(), &key()).to_pem();
    let key = pem::encode(&pem::Pem::new("PRIVATE KEY", b"hunter2".to_vec()));
    assert!(Chain::from_pem(&pem).is_ok());
    let why = ChainError::Pem("a block in it is not a certificate".to_owned());
    assert_eq!(Chain::from_pem(&(pem + &key)), Err(why));
}

#[test]
fn serial_numbers_are_written_as_openssl_writes_them() {
    let serials: [(&[u8], &str); 4] =
        [(&[0], "00"), (&[0x80], "80"), (&[1, 0], "0100"), (&[0x7f, 0xff], "7fff")];
    for (number, text) in serials {
        let mut params = leaf();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(number));
        assert_eq!(read(&params, &key()).serial, text);
    }
}

/// A leaf with an extension as it is given, in the place of its names.
fn with_extension(oid: &[u64], content: &[u8]) -> Result<Certificate, CertificateError> {
    let mut params = leaf();
    params.subject_alt_names.clear();
    params.key_usages.clear();
    params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(oid, content.to_vec())];
    Certificate::from_der(params.self_signed(&key()).unwrap().der().to_vec())
}

#[test]
fn an_extension_that_matters_and_does_not_parse_is_refused_and_any_other_is_passed_over() {
    let key_usage = with_extension(&[2, 5, 29, 15], b"\x0c\x01x");
    assert_eq!(key_usage, Err(CertificateError::Extension("2.5.29.15".to_owned())));
    assert!(with_extension(&[1, 2, 3, 4], b"\x0c\x01x").is_ok());
}

#[test]
fn a_uri_that_is_no_text_counts_as_one_and_nothing_else_does() {
    // A URI, a DNS name and an address of mail, each of one byte that is no text.
    let certificate = with_extension(&[2, 5, 29, 17], b"\x30\x09\x86\x01\xff\x82\x01\xff\x81\x01\xff");
    let certificate = certificate.unwrap();
    assert_eq!(certificate.uris, ["\u{fffd}"]);
    assert_eq!(certificate.dns_names, [""; 0]);
    let mut params = leaf();
    params.subject_alt_names.push(SanType::DnsName("sleep.sample".try_into().unwrap()));
    let certificate = read(&params, &key());
    assert_eq!(certificate.uris, ["spiffe://foo.com/ns/sample/sa/sleep"]);
    assert_eq!(certificate.dns_names, ["sleep.sample"]);
}

#[test]
fn a_ca_says_how_many_may_follow_it() {
    let mut params = ca("root");
    assert_eq!(read(&params, &key()).path_length, None);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(3));
    let certificate = read(&params, &key());
    assert_eq!((certificate.is_ca, certificate.path_length), (true, Some(3)));
    let usage = certificate.key_usage.unwrap();
    assert_eq!((usage.digital_signature, usage.key_cert_sign, usage.crl_sign), (false, true, true));
}

#[test]
fn an_extension_that_is_there_twice_is_refused() {
    let mut params = leaf();
    // The second names a CA.
    let content = vec![0x30, 3, 1, 1, 0xff];
    params.is_ca = IsCa::ExplicitNoCa;
    params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 19], content)];
    let der = params.self_signed(&key()).unwrap().der().to_vec();
    let error = Certificate::from_der(der).unwrap_err();
    assert!(matches!(error, CertificateError::Extension(_) | CertificateError::Malformed(_)), "{error:?}");
}

#[test]
fn a_changed_byte_never_panics() {
    let root = root();
    let bundle = bundle_of("foo.com", &[&root]);
    let der = signed(&leaf(), &root);
    for index in 0..der.len() {
        for bit in [1, 0x80] {
            let mut changed = der.clone();
            changed[index] ^= bit;
            if let Ok(chain) = Chain::from_ders([changed]) {
                assert!(!verify(&chain, &bundle, at()).holds(), "byte {index}");
            }
        }
    }
}

#[test]
fn json_has_words_and_no_certificate() {
    let chain = Chain::from_ders([signed(&leaf(), &root())]).unwrap();
    let json = serde_json::to_value(&chain).unwrap();
    let fields: Vec<&String> = json["leaf"].as_object().unwrap().keys().collect();
    insta::assert_snapshot!(format!("{fields:?}"), @r#"["subject", "issuer", "serial", "notBefore", "notAfter", "isCa", "publicKey", "signatureAlgorithm", "sha256", "uris", "authorityKeyId", "keyUsage", "extendedKeyUsage"]"#);
    assert_eq!(json["leaf"]["notAfter"], "2026-07-01T00:00:00Z");
    assert_eq!(json["leaf"]["sha256"], chain.leaf.sha256.to_string());
}

/// The certificates of a proxy in the lab, which SPIRE made.
fn from_spire() -> Vec<Vec<u8>> {
    let text = include_str!("../../../../../tests/fixtures/envoy/secrets.json");
    let encoded = text.split('"').filter(|part| part.starts_with("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS"));
    let pems = encoded.map(|part| String::from_utf8(STANDARD.decode(part).unwrap()).unwrap());
    pems.flat_map(|pem| super::super::certificates_of_pem(&pem).unwrap()).collect()
}

/// Asks OpenSSL about a certificate; `None` where there is no OpenSSL.
fn openssl(pem: &str, arguments: &[&str]) -> Option<String> {
    use std::io::Write as _;
    let mut command = Command::new("openssl");
    command.arg("x509").arg("-noout").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut process) = command.spawn() else {
        crate::left_out::left_out("there is no openssl on the PATH");
        return None;
    };
    process.stdin.take().unwrap().write_all(pem.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn openssl_reads_the_same() {
    let made = [
        read(&leaf(), &KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap()).der().to_vec(),
        root().der().to_vec(),
    ];
    let certificates: Vec<Vec<u8>> = from_spire().into_iter().chain(made).collect();
    assert_eq!(certificates.len(), 5);
    for der in certificates {
        let certificate = Certificate::from_der(der.clone()).unwrap();
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE", der));
        let Some(text) = openssl(&pem, &["-serial", "-dates", "-fingerprint", "-sha256", "-text"]) else {
            return;
        };
        let after = |start: &str| {
            let line = text.lines().map(str::trim).find(|line| line.starts_with(start));
            line.unwrap_or_else(|| panic!("no {start} in {text}"))[start.len()..].to_owned()
        };
        let bytes = |text: String| text.replace(':', "").to_lowercase();
        assert_eq!(certificate.serial, after("serial=").to_lowercase());
        let date = |time: Timestamp| time.strftime("%b %e %H:%M:%S %Y GMT").to_string();
        assert_eq!(date(certificate.not_before), after("notBefore="));
        assert_eq!(date(certificate.not_after), after("notAfter="));
        assert_eq!(certificate.sha256.to_string(), bytes(after("sha256 Fingerprint=")));
        assert_eq!(certificate.signature_algorithm, after("Signature Algorithm: "));
        assert_eq!(
            format!("URI:{}", certificate.uris[0]),
            after("URI:").split(',').next().map(|uri| format!("URI:{uri}")).unwrap()
        );
        assert_eq!(certificate.is_ca, text.contains("CA:TRUE"));
        assert_eq!(format!("({} bit)", certificate.public_key.bits.unwrap()), after("Public-Key: "));
        assert_eq!(certificate.public_key.curve.unwrap(), after("NIST CURVE: "));
        for key_id in [certificate.subject_key_id, certificate.authority_key_id].into_iter().flatten() {
            assert!(bytes(text.clone()).contains(&key_id), "{key_id} is not in {text}");
        }
        let usage = certificate.key_usage.unwrap();
        assert_eq!(usage.critical, text.contains("X509v3 Key Usage: critical"));
        assert_eq!(usage.digital_signature, text.contains("Digital Signature"));
        assert_eq!(usage.key_cert_sign, text.contains("Certificate Sign"));
    }
}
