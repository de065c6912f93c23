use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, CrlDistributionPoint, CustomExtension,
    DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, NameConstraints, SanType, SerialNumber, date_time_ymd,
};

use super::*;
use crate::trust::svid::Chain;

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "workload");
    (params.not_before, params.not_after) = (date_time_ymd(2026, 6, 1), date_time_ymd(2026, 11, 27));
    params
}

fn made_with(params: &CertificateParams, key: &KeyPair) -> Certificate {
    Certificate::from_der(params.self_signed(key).unwrap().der().to_vec()).unwrap()
}

fn made(change: impl FnOnce(&mut CertificateParams)) -> Certificate {
    let mut params = params();
    change(&mut params);
    made_with(&params, &KeyPair::generate().unwrap())
}

/// What OpenSSL says of a certificate.
fn openssl(certificate: &Certificate) -> String {
    let mut command = Command::new("openssl");
    command.args(["x509", "-inform", "DER", "-noout", "-text", "-fingerprint", "-sha256"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().expect("this test compares with OpenSSL, which is not installed");
    process.stdin.take().unwrap().write_all(certificate.der()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of a text without what differs between the releases of OpenSSL: spaces around what belongs to a name.
fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim_end().replace(" = ", "="));
    // The fingerprint comes first or last, and its label has had capitals.
    let (fingerprint, mut rest): (Vec<String>, Vec<String>) =
        lines.partition(|line| line.to_lowercase().starts_with("sha256 fingerprint"));
    assert_eq!(fingerprint.len(), 1);
    rest.push(fingerprint[0].split_once('=').unwrap().1.to_owned());
    rest
}

#[track_caller]
fn assert_like_openssl(certificate: &Certificate) {
    let (ours, theirs) = (lines(&text(certificate)), lines(&openssl(certificate)));
    let other = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
    let from = other.unwrap_or(ours.len().min(theirs.len())).saturating_sub(2);
    assert!(
        ours == theirs,
        "ours:\n{}\n\nOpenSSL's:\n{}",
        ours[from..].join("\n"),
        theirs[from..].join("\n")
    );
}

#[test]
fn a_certificate_of_spire_looks_as_it_does_with_openssl() {
    let secrets = include_bytes!("../../../../tests/fixtures/envoy/secrets.json");
    let secrets = crate::envoy::parse_secrets(secrets, b"{}").unwrap();
    let leaf = &secrets.chain().unwrap().leaf;
    assert_like_openssl(leaf);
    for domain in ["foo.com", "bar.com"] {
        let bundle = secrets.bundle(&domain.parse().unwrap()).unwrap();
        let ders = bundle.authorities().values().map(|authority| authority.der().to_vec());
        Chain::from_ders(ders).unwrap().certificates().for_each(assert_like_openssl);
    }
    insta::assert_snapshot!(text(leaf));
}

#[test]
fn keys_of_every_kind_look_as_they_do_with_openssl() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_ED25519,
    ] {
        assert_like_openssl(&made_with(&params(), &KeyPair::generate_for(algorithm).unwrap()));
    }
    // Not made here: a key of RSA takes a second.
    for pem in [
        include_str!("../../../../tests/fixtures/trustchain/rsa-2048.pem"),
        include_str!("../../../../tests/fixtures/trustchain/rsa-3072.pem"),
        include_str!("../../../../tests/fixtures/trustchain/rsa-4096.pem"),
    ] {
        let chain = Chain::from_pem(pem).unwrap();
        assert_eq!(chain.certificates().count(), 2);
        chain.certificates().for_each(assert_like_openssl);
    }
}

#[test]
fn curves_have_the_names_of_openssl_and_of_nist() {
    let curves = [
        ("1.3.132.0.33", ("secp224r1", Some("P-224"), 224)),
        ("1.2.840.10045.3.1.7", ("prime256v1", Some("P-256"), 256)),
        ("1.3.132.0.10", ("secp256k1", None, 256)),
        ("1.3.132.0.34", ("secp384r1", Some("P-384"), 384)),
        ("1.3.132.0.35", ("secp521r1", Some("P-521"), 521)),
    ];
    assert_eq!(curves.map(|(oid, _)| curve_of(oid)), curves.map(|(_, curve)| Some(curve)));
    assert_eq!(curve_of("1.3.132.0.1"), None);
}

#[test]
fn a_version_that_nobody_knows_looks_as_it_does_with_openssl() {
    let certificate = made(|_| ());
    let version = [0xa0, 3, 2, 1, 2];
    let at = certificate.der().windows(5).position(|bytes| bytes == version).unwrap();
    for number in [0, 1, 3] {
        let mut der = certificate.der().to_vec();
        der[at + 4] = number;
        assert_like_openssl(&Certificate::from_der(der).unwrap());
    }
}

#[test]
fn serial_numbers_look_as_they_do_with_openssl() {
    let serials: [&[u8]; 9] = [
        &[0],
        &[1],
        &[0x10, 0],
        &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x80, 0, 0, 0, 0, 0, 0, 0],
        &[0xff; 8],
        &[1, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xd3; 16],
        &[0x7a; 20],
    ];
    for serial in serials {
        assert_like_openssl(&made(|params| params.serial_number = Some(SerialNumber::from_slice(serial))));
    }
}

/// Numbers that RFC 5280 does not allow, and that certificates have: the number is changed after signing.
#[test]
fn negative_serial_numbers_look_as_they_do_with_openssl() {
    let positive = [0x11, 0x22, 0x33, 0x44];
    let certificate = made(|params| params.serial_number = Some(SerialNumber::from_slice(&positive)));
    let at = certificate.der().windows(4).position(|bytes| bytes == positive).unwrap();
    for number in [[0xff, 0x01, 0x02, 0x03], [0x80, 0, 0, 0], [0xfe, 0xff, 0, 0]] {
        let mut der = certificate.der().to_vec();
        der[at..at + 4].copy_from_slice(&number);
        assert_like_openssl(&Certificate::from_der(der).unwrap());
    }
}

#[test]
fn absurd_dates_look_as_they_do_with_openssl() {
    for (from, to) in [
        ((1950, 1, 1), (9999, 12, 31)),
        ((2049, 12, 31), (2050, 1, 1)),
        ((1969, 12, 31), (1970, 1, 1)),
        ((2026, 12, 1), (2026, 2, 28)),
        ((1601, 1, 1), (1899, 10, 9)),
    ] {
        assert_like_openssl(&made(|params| {
            params.not_before = date_time_ymd(from.0, from.1, from.2);
            params.not_after = date_time_ymd(to.0, to.1, to.2);
        }));
    }
}

#[test]
fn names_of_every_kind_look_as_they_do_with_openssl() {
    let texts = [
        "plain",
        "Foo, Inc.",
        "a+b",
        "<a>;b",
        "#a",
        " a ",
        " a",
        "a ",
        "a;",
        "a \"quoted\" word",
        r"back\slash",
        r#"all, "of\it+"#,
        "größer",
        "東京 🙂",
        "a = b",
        "a\u{1b}[31m\nb\u{7f}\u{202e}",
    ];
    for text in texts {
        assert_like_openssl(&made(|params| {
            params.distinguished_name.push(DnType::OrganizationName, text);
        }));
    }
    assert_like_openssl(&made(|params| params.distinguished_name = DistinguishedName::new()));
    assert_like_openssl(&made(|params| {
        let names = &mut params.distinguished_name;
        for kind in [
            DnType::CountryName,
            DnType::LocalityName,
            DnType::StateOrProvinceName,
            DnType::OrganizationalUnitName,
            DnType::CustomDnType(vec![2, 5, 4, 4]),
            DnType::CustomDnType(vec![2, 5, 4, 5]),
            DnType::CustomDnType(vec![2, 5, 4, 9]),
            DnType::CustomDnType(vec![2, 5, 4, 12]),
            DnType::CustomDnType(vec![2, 5, 4, 13]),
            DnType::CustomDnType(vec![2, 5, 4, 15]),
            DnType::CustomDnType(vec![2, 5, 4, 17]),
            DnType::CustomDnType(vec![2, 5, 4, 41]),
            DnType::CustomDnType(vec![2, 5, 4, 42]),
            DnType::CustomDnType(vec![2, 5, 4, 43]),
            DnType::CustomDnType(vec![2, 5, 4, 44]),
            DnType::CustomDnType(vec![2, 5, 4, 45]),
            DnType::CustomDnType(vec![2, 5, 4, 46]),
            DnType::CustomDnType(vec![2, 5, 4, 65]),
            DnType::CustomDnType(vec![2, 5, 4, 97]),
            DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]),
            DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 25]),
            DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]),
            DnType::CustomDnType(vec![1, 2, 3, 4, 5]),
        ] {
            names.push(kind, "a value");
        }
        names.push(DnType::OrganizationName, DnValue::PrintableString("printable".try_into().unwrap()));
    }));
    for value in [
        DnValue::Ia5String("ia5".try_into().unwrap()),
        DnValue::TeletexString("teletex".try_into().unwrap()),
        DnValue::BmpString("größer 東".try_into().unwrap()),
        DnValue::UniversalString("größer 🙂".try_into().unwrap()),
    ] {
        assert_like_openssl(&made(|params| params.distinguished_name.push(DnType::OrganizationName, value)));
    }
}

#[test]
fn extensions_of_every_kind_look_as_they_do_with_openssl() {
    assert_like_openssl(&made(|params| {
        params.subject_alt_names = vec![
            SanType::URI("spiffe://foo.com/ns/sample/sa/sleep".try_into().unwrap()),
            SanType::DnsName("sleep.sample.svc".try_into().unwrap()),
            SanType::IpAddress("10.0.0.7".parse::<IpAddr>().unwrap()),
            SanType::IpAddress("fd00::7:0".parse::<IpAddr>().unwrap()),
            SanType::Rfc822Name("a@foo.com".try_into().unwrap()),
        ];
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::ContentCommitment,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::DataEncipherment,
            KeyUsagePurpose::KeyAgreement,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::EncipherOnly,
            KeyUsagePurpose::DecipherOnly,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::OcspSigning,
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::CodeSigning,
            ExtendedKeyUsagePurpose::EmailProtection,
            ExtendedKeyUsagePurpose::TimeStamping,
            ExtendedKeyUsagePurpose::Any,
            ExtendedKeyUsagePurpose::Other(vec![1, 2, 3, 4]),
        ];
        params.crl_distribution_points = vec![
            CrlDistributionPoint {
                uris: vec!["http://foo.com/a.crl".to_owned(), "ldap://foo.com/a".to_owned()],
            },
            CrlDistributionPoint { uris: vec!["http://bar.com/b.crl".to_owned()] },
        ];
    }));
    for is_ca in [
        IsCa::NoCa,
        IsCa::ExplicitNoCa,
        IsCa::Ca(BasicConstraints::Unconstrained),
        IsCa::Ca(BasicConstraints::Constrained(0)),
        IsCa::Ca(BasicConstraints::Constrained(7)),
    ] {
        assert_like_openssl(&made(|params| params.is_ca = is_ca));
    }
    assert_like_openssl(&made(|params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_identifier_method = KeyIdMethod::PreSpecified(vec![0, 1, 0xab]);
        let mut directory = DistinguishedName::new();
        directory.push(DnType::CountryName, "US");
        directory.push(DnType::OrganizationName, "Foo, Inc.");
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![
                GeneralSubtree::DnsName("foo.com".to_owned()),
                GeneralSubtree::Rfc822Name("foo.com".to_owned()),
                GeneralSubtree::DirectoryName(directory),
            ],
            excluded_subtrees: vec![
                GeneralSubtree::IpAddress(CidrSubnet::V4([10, 0, 0, 0], [255, 0, 0, 0])),
                GeneralSubtree::IpAddress(CidrSubnet::V6([0xfd; 16], [0xff; 16])),
            ],
        });
    }));
}

/// Extensions that `rcgen` does not make: their OIDs and what they say.
#[test]
fn extensions_of_other_cas_look_as_they_do_with_openssl() {
    // Authority information access: OCSP and the issuer's certificate.
    let access = b"\x30\x2a\x30\x13\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x01\x86\x07http://\x30\x13\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x02\x86\x07ldap://";
    // Policies: any, and one with the place of its text.
    let policies = b"\x30\x25\x30\x06\x06\x04\x55\x1d\x20\x00\x30\x1b\x06\x03\x2a\x03\x04\x30\x14\x30\x12\x06\x08\x2b\x06\x01\x05\x05\x07\x02\x01\x16\x06http:/";
    // An authority's key by key, name and serial number.
    let authority = b"\x30\x1f\x80\x03\x01\x02\xab\xa1\x15\xa4\x13\x30\x11\x31\x0f\x30\x0d\x06\x03\x55\x04\x03\x0c\x06the ca\x82\x01\x07";
    // Names: directory, registered ID, address of a wrong length.
    let names = b"\x30\x1c\xa4\x11\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x03\x0c\x04leaf\x88\x02\x2a\x03\x87\x03\x01\x02\x03";
    let all: [(&[u64], &[u8]); 6] = [
        (&[1, 3, 6, 1, 5, 5, 7, 1, 1], access),
        (&[2, 5, 29, 32], policies),
        (&[2, 5, 29, 35], authority),
        (&[2, 5, 29, 17], names),
        (&[2, 5, 29, 18], names),
        (&[1, 2, 3, 4, 5, 6], b"\x0c\x05\x01\xffa~ "),
    ];
    for (oid, content) in all {
        for critical in [false, true] {
            assert_like_openssl(&made(|params| {
                let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
                extension.set_criticality(critical);
                params.custom_extensions = vec![extension];
            }));
        }
    }
}

#[test]
fn two_hundred_names_look_as_they_do_with_openssl() {
    assert_like_openssl(&made(|params| {
        let name = |number| SanType::DnsName(format!("{number}.foo.com").try_into().unwrap());
        params.subject_alt_names = (0..200).map(name).collect();
    }));
}

#[test]
fn what_a_terminal_acts_on_is_escaped_in_every_line() {
    const NASTY: &str = "\u{1b}]0;x\u{7}\r\nCertificate:\u{7f}";
    let certificate = made(|params| {
        for value in [DnValue::from(NASTY), DnValue::BmpString("\u{1b}\u{202e}\u{9b}".try_into().unwrap())] {
            params.distinguished_name.push(DnType::OrganizationName, value);
            params.distinguished_name.push(DnType::OrganizationalUnitName, NASTY);
        }
        params.subject_alt_names = vec![
            SanType::URI(NASTY.try_into().unwrap()),
            SanType::DnsName(NASTY.try_into().unwrap()),
            SanType::Rfc822Name(NASTY.try_into().unwrap()),
        ];
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![NASTY.to_owned()] }];
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(&[1, 2, 3], NASTY.as_bytes().to_vec())];
    });
    let text = text(&certificate);
    for line in text.lines() {
        assert!(!line.contains(char::is_control) && *line == escape(line), "{line:?}");
    }
    // No name has made a line of its own.
    assert_eq!(text.lines().filter(|line| line.trim_start().starts_with("Certificate:")).count(), 1);
    let names = text.lines().find(|line| line.contains("URI:")).unwrap();
    insta::assert_snapshot!(names.trim(), @r"URI:\u{1b}]0;x\u{7}\r\nCertificate:\u{7f}, DNS:\u{1b}]0;x\u{7}\r\nCertificate:\u{7f}, email:\u{1b}]0;x\u{7}\r\nCertificate:\u{7f}");
}

#[test]
fn a_changed_byte_never_panics() {
    let certificate = made(|params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.subject_alt_names = vec![SanType::URI("spiffe://foo.com".try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec!["http://a".to_owned()] }];
    });
    for index in 0..certificate.der().len() {
        for bit in [1, 2, 0x10, 0x80] {
            let mut der = certificate.der().to_vec();
            der[index] ^= bit;
            if let Ok(changed) = Certificate::from_der(der) {
                let text = text(&changed);
                assert!(text.lines().all(|line| line == escape(line)), "{index}");
            }
        }
    }
}
