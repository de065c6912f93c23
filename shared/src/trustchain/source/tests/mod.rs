mod chains;
mod forms;
mod hostile;
mod mangled;
mod memory;
mod refused;
mod several;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::{Value, json};

use super::*;
use crate::hint::Hint;

type Issuer = CertifiedIssuer<'static, KeyPair>;

const SLEEP: &str = "spiffe://foo.com/ns/sample/sa/sleep";
const ISTIOCTL: &[u8] = include_bytes!("../../../../../tests/fixtures/trustchain/istioctl.json");
const CONFIG_DUMP: &[u8] = include_bytes!("../../../../../tests/fixtures/trustchain/config-dump.json");
const BUNDLE: &[u8] = include_bytes!("../../../../../tests/fixtures/trustchain/bundle.json");
const SECRETS: &[u8] = include_bytes!("../../../../../tests/fixtures/envoy/secrets.json");

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (date_time_ymd(2026, 6, 1), date_time_ymd(2026, 7, 1));
    params
}

/// An SVID of a workload as SPIRE makes it.
fn leaf() -> CertificateParams {
    let mut params = named("workload");
    params.subject_alt_names = vec![uri(SLEEP)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn ca(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn root() -> Issuer {
    CertifiedIssuer::self_signed(ca("root"), key()).unwrap()
}

fn below(name: &str, issuer: &Issuer) -> Issuer {
    CertifiedIssuer::signed_by(ca(name), key(), issuer).unwrap()
}

fn signed(params: &CertificateParams, issuer: &Issuer) -> Vec<u8> {
    params.signed_by(&key(), issuer).unwrap().der().to_vec()
}

fn block(label: &str, content: &[u8]) -> String {
    let config = ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF);
    ::pem::encode_config(&::pem::Pem::new(label, content.to_vec()), config)
}

fn certificate(der: &[u8]) -> String {
    block("CERTIFICATE", der)
}

fn pem_of(ders: &[&[u8]]) -> String {
    ders.iter().map(|der| certificate(der)).collect()
}

/// What SPIRE's server writes above a bundle that it lists for people.
fn heading(domain: &str) -> String {
    let rule = "*".repeat(40);
    format!("{rule}\n* {domain}\n{rule}\n")
}

/// A leaf, its two signers, and the root that signed the second.
fn chain_of_four() -> [Vec<u8>; 4] {
    let root = root();
    let upper = below("upper", &root);
    let lower = below("lower", &upper);
    [signed(&leaf(), &lower), lower.der().to_vec(), upper.der().to_vec(), root.der().to_vec()]
}

/// A Secret of Kubernetes.
fn secret(fields: &[(&str, &str)]) -> Value {
    let data = fields.iter().map(|(name, text)| ((*name).to_owned(), STANDARD.encode(text).into()));
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "workload", "namespace": "sample"},
        "type": "kubernetes.io/tls",
        "data": data.collect::<serde_json::Map<String, Value>>(),
    })
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec_pretty(value).unwrap()
}

/// Reads bytes, and says in words what came of it; what is on a terminal is on one line, and has nothing that the terminal acts on.
fn words(bytes: &[u8]) -> String {
    let result = parse(bytes);
    let lines = match &result {
        Ok(source) => of_source(source),
        Err(error) => of_error(error),
    };
    for line in &lines {
        assert!(!line.contains(char::is_control) && *line == crate::report::escape(line), "{line:?}");
    }
    lines.join("\n")
}

fn of_source(source: &Source) -> Vec<String> {
    let names = |certificates: &mut dyn Iterator<Item = &Certificate>| {
        certificates.map(name).collect::<Vec<_>>().join(" < ")
    };
    let mut lines = vec![source.kind.to_string()];
    if let Some(chain) = &source.chain {
        lines.push(format!("chain: {}", names(&mut chain.certificates())));
    }
    if !source.issuers.is_empty() {
        lines.push(format!("issuers: {}", names(&mut source.issuers.iter())));
    }
    match &source.bundles {
        Bundles::Unsaid => (),
        Bundles::Separate(bundles) => lines.extend(bundles.iter().map(|(domain, bundle)| {
            assert_eq!(domain, bundle.trust_domain());
            format!("bundle of {domain}: {}", bundle.authorities().len())
        })),
        Bundles::Pooled(pool) => lines.push(format!("pool: {}", names(&mut pool.iter()))),
        Bundles::Unnamed(authorities) => lines.push(format!("bundle: {}", names(&mut authorities.iter()))),
    }
    if source.key_was_shown {
        lines.push("key was shown".to_owned());
    }
    lines.extend(source.others.iter().map(|other| format!("other: {other}")));
    lines.extend(source.notes.iter().map(|note| format!("note: {note}")));
    lines
}

fn of_error(error: &SourceError) -> Vec<String> {
    let mut lines = vec![format!("error: {error}")];
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        lines.push(format!("  because {cause}"));
        source = cause.source();
    }
    lines.push(format!("hint: {}", error.hint().unwrap()));
    lines
}
