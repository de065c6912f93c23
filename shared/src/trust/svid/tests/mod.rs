mod envoy;
mod reading;
mod rules;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use super::{Chain, Rule, Verdict, verify};
use crate::trust::TrustBundle;

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A moment at which everything here is valid that is not made otherwise.
fn at() -> Timestamp {
    "2026-06-15T12:00:00Z".parse().unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (date_time_ymd(2026, 6, 1), date_time_ymd(2026, 7, 1));
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

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn root() -> Issuer {
    CertifiedIssuer::self_signed(ca("root"), key()).unwrap()
}

fn below(params: CertificateParams, issuer: &Issuer) -> Issuer {
    CertifiedIssuer::signed_by(params, key(), issuer).unwrap()
}

fn bundle_of(domain: &str, authorities: &[&Issuer]) -> TrustBundle {
    let der: Vec<u8> = authorities.iter().flat_map(|authority| authority.der().to_vec()).collect();
    TrustBundle::from_der_sequence(domain.parse().unwrap(), &der).unwrap()
}

fn signed(params: &CertificateParams, issuer: &Issuer) -> Vec<u8> {
    params.signed_by(&key(), issuer).unwrap().der().to_vec()
}

/// Judges a leaf that the bundle's only authority signed.
fn judge(params: &CertificateParams) -> Verdict {
    let root = root();
    let chain = Chain::from_ders([signed(params, &root)]).unwrap();
    verify(&chain, &bundle_of("foo.com", &[&root]), at())
}

/// Judges a good leaf below an intermediate CA.
fn judge_below(intermediate: CertificateParams) -> Verdict {
    let root = root();
    let intermediate = below(intermediate, &root);
    let chain = Chain::from_ders([signed(&leaf(), &intermediate), intermediate.der().to_vec()]).unwrap();
    verify(&chain, &bundle_of("foo.com", &[&root]), at())
}

fn broken(verdict: &Verdict) -> Vec<Rule> {
    let mut rules: Vec<Rule> = verdict.broken.iter().map(|broken| broken.rule).collect();
    rules.dedup();
    rules
}

fn words(verdict: &Verdict) -> String {
    let lines: Vec<String> = verdict.broken.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
