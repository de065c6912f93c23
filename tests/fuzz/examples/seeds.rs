//! Writes the seeds that hold certificates into the corpus: of every kind of key, and of kinds that no CA makes.
//!
//! `cargo run --package spire-mesh-fuzz --example seeds`. The keys are thrown away, so each run makes others. Seeds that are text were
//! written by hand.

use std::error::Error;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pem::{Pem, encode_many};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SanType,
    SerialNumber, date_time_ymd,
};
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Issuer = CertifiedIssuer<'static, KeyPair>;

fn main() -> Result<()> {
    let root = CertifiedIssuer::self_signed(ca("root"), key()?)?;
    let certificates = certificates(&root)?;
    for (name, der) in &certificates {
        seed("certificate", &format!("{name}.der"), der)?;
        seed("chain_pem", &format!("{name}.pem"), in_pem(&[der]).as_bytes())?;
    }
    let plain = &certificates[0].1;
    bundles(&root, plain)?;
    envoy(plain)?;
    workload_api(&root, plain)?;
    // Another root, which signed none of these.
    let root = CertifiedIssuer::self_signed(ca("root"), key()?)?;
    verify(&root, certificates.iter().map(|(_, der)| der.as_slice()))
}

/// Certificates of the kinds that there are, and of some that there should not be, by name.
fn certificates(root: &Issuer) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096)?;
    let signed = |change: &dyn Fn(&mut CertificateParams)| -> Result<Vec<u8>> {
        let mut params = leaf();
        change(&mut params);
        Ok(params.signed_by(&key()?, root)?.der().to_vec())
    };
    let of_key = |key: &KeyPair| -> Result<Vec<u8>> { Ok(leaf().self_signed(key)?.der().to_vec()) };
    // Subject alternative name, with one DNS name: `a`.
    let names = || CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0x03, 0x82, 0x01, 0x61]);
    Ok(vec![
        ("leaf", signed(&|_| ())?),
        ("ca", root.der().to_vec()),
        ("rsa-4096", of_key(&rsa)?),
        ("p-384", of_key(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?)?),
        ("p-521", of_key(&KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512)?)?),
        ("ed25519", of_key(&KeyPair::generate_for(&PKCS_ED25519)?)?),
        ("two-uris", signed(&|params| params.subject_alt_names.push(uri("spiffe://bar.com/a")))?),
        ("no-uri", signed(&|params| params.subject_alt_names.clear())?),
        (
            "200-names",
            signed(&|params| {
                let name = |index| SanType::DnsName(format!("a{index}.example").try_into().expect("ASCII"));
                params.subject_alt_names.extend((0..200).map(name));
            })?,
        ),
        (
            "absurd-dates",
            signed(&|params| {
                (params.not_before, params.not_after) = (date_time_ymd(9999, 12, 31), date_time_ymd(1, 1, 1));
            })?,
        ),
        (
            "control-characters",
            signed(&|params| {
                params.distinguished_name.push(DnType::CommonName, "\u{1b}[2J\u{202e}\r\n");
                params.distinguished_name.push(DnType::CustomDnType(vec![1, 2, 3]), "\0");
                params.subject_alt_names = vec![uri("spiffe://foo.com/\u{1b}[2J")];
            })?,
        ),
        (
            "twice-the-same-extension",
            signed(&|params| {
                params.subject_alt_names.clear();
                params.custom_extensions = vec![names(), names()];
            })?,
        ),
        (
            "extension-that-does-not-parse",
            signed(&|params| {
                params.subject_alt_names.clear();
                params.custom_extensions =
                    vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30])];
            })?,
        ),
        (
            "unusual",
            signed(&|params| {
                params.serial_number = Some(SerialNumber::from(vec![0xff; 20]));
                params.is_ca = IsCa::Ca(BasicConstraints::Constrained(3));
                params.name_constraints = Some(NameConstraints {
                    permitted_subtrees: vec![GeneralSubtree::DnsName("example".to_owned())],
                    excluded_subtrees: Vec::new(),
                });
                params.extended_key_usages.push(ExtendedKeyUsagePurpose::Other(vec![1, 2, 3, 4]));
            })?,
        ),
    ])
}

fn bundles(root: &Issuer, leaf: &[u8]) -> Result<()> {
    let other = CertifiedIssuer::self_signed(ca("other"), key()?)?;
    let (root, other): (&[u8], &[u8]) = (root.der(), other.der());
    seed("bundle_pem", "one.pem", in_pem(&[root]).as_bytes())?;
    seed("bundle_pem", "two.pem", format!("# comment\n{}", in_pem(&[root, other])).as_bytes())?;
    let key = |purpose, der| json!({"use": purpose, "kty": "EC", "x5c": [STANDARD.encode(der)]});
    let json = json!({"keys": [key("x509-svid", root), key("jwt-svid", other)], "spiffe_sequence": 1});
    seed("bundle_json", "bundle.json", json.to_string().as_bytes())?;
    seed("der_sequence", "two.der", &[root, other].concat())?;
    seed("der_sequence", "chain.der", &[leaf, root].concat())?;
    seed("chain_pem", "two.pem", in_pem(&[leaf, root]).as_bytes())?;
    let bundle = json!({"trust_domain": "foo.com", "x509_authorities": [{"asn1": STANDARD.encode(root)}]});
    seed("spire_server", "bundle.json", bundle.to_string().as_bytes())?;
    seed("spire_server", "bundles.json", json!({"bundles": [bundle]}).to_string().as_bytes())
}

/// What a proxy of a real lab said, and what one without SPIRE would say.
fn envoy(leaf: &[u8]) -> Result<()> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/envoy");
    let fixture = |name: &str| fs::read(fixtures.join(name));
    seed("envoy_secrets", "spire.json", &[fixture("secrets.json")?, fixture("nothing.json")?].join(&0))?;
    seed("envoy_inbound", "lab.json", &fixture("virtual-inbound.json")?)?;
    seed("envoy_outbound", "lab.json", &fixture("outbound.json")?)?;
    seed("envoy_hosts", "lab.json", &fixture("clusters.json")?)?;
    let chain = json!({"inline_string": in_pem(&[leaf])});
    let secrets = json!({"configs": [
        {"name": "default", "secret": {"tls_certificate": {
            "certificate_chain": chain, "private_key": {"inline_string": "[redacted]"}}}},
        {"name": "ROOTCA", "version_info": "1", "last_updated": "2026-11-25T17:46:54.739Z",
            "secret": {"validation_context": {"trusted_ca": chain}}},
        {"name": "other", "secret": {"generic_secret": {"secret": {"inline_bytes": "AAAA"}}}},
    ]});
    let warming = json!({"configs": [{"name": "default", "version_info": "uninitialized"}]});
    seed("envoy_secrets", "istiod.json", format!("{secrets}\0{warming}").as_bytes())
}

fn workload_api(root: &Issuer, leaf: &[u8]) -> Result<()> {
    let bundle = STANDARD.encode(root.der());
    let answer = json!({
        "svids": [{"spiffe_id": "spiffe://foo.com/a", "x509_svid": STANDARD.encode(leaf), "bundle": bundle}],
        "federated_bundles": {"spiffe://bar.com": bundle},
    });
    seed("workload_api", "answer.json", answer.to_string().as_bytes())
}

/// What the target `verify` knows: a bundle, and the only chains that hold. And some that do not.
fn verify<'a>(root: &Issuer, others: impl Iterator<Item = &'a [u8]>) -> Result<()> {
    let below = CertifiedIssuer::signed_by(ca("below"), key()?, root)?;
    let direct = leaf().signed_by(&key()?, root)?.der().to_vec();
    let leaf = leaf().signed_by(&key()?, &below)?.der().to_vec();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("verify");
    fs::write(folder.join("bundle.pem"), in_pem(&[root.der()]))?;
    fs::write(folder.join("direct.pem"), in_pem(&[&direct]))?;
    fs::write(folder.join("below.pem"), in_pem(&[&leaf, below.der()]))?;
    seed("verify", "direct.der", &direct)?;
    seed("verify", "below.der", &[leaf.as_slice(), below.der()].concat())?;
    seed("verify", "without-its-signer.der", &leaf)?;
    for (index, other) in others.enumerate().skip(1) {
        seed("verify", &format!("other-{index}.der"), &[other, below.der()].concat())?;
    }
    Ok(())
}

/// Writes one file of the corpus.
fn seed(target: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(name), bytes)?)
}

fn in_pem(ders: &[&[u8]]) -> String {
    encode_many(&ders.iter().map(|der| Pem::new("CERTIFICATE", *der)).collect::<Vec<_>>())
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

fn key() -> Result<KeyPair> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(4000, 1, 1));
    params
}

/// An SVID of a workload as SPIRE makes it.
fn leaf() -> CertificateParams {
    let mut params = named("workload");
    params.subject_alt_names = vec![uri("spiffe://foo.com/ns/sample/sa/sleep")];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A CA certificate as SPIRE makes it.
fn ca(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![uri("spiffe://foo.com")];
    params
}
