use jiff::Timestamp;

use super::inspected::{
    AuthorityFound, BundleShown, Inspected, Listed, Origin, Reason, Standing, Subject, Verdict,
};
use super::source::{Bundles, Source, SourceKind};
use crate::envoy::{Issuer, ProxySecrets, State, Validation};
use crate::hint::{Advice, Command, Plugin};
use crate::trust::svid::{self, Certificate, Chain};
use crate::trust::{Authority, SpiffeId, TrustBundle, TrustDomain};

/// Which SPIFFE ID a chain has to present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This one.
    Id(SpiffeId),
    /// One with this path, of whichever trust domain: without a mesh file nobody knows which.
    Path(String),
    /// Any: it is a file, or a server.
    Anything,
}

/// What is presented.
#[derive(Clone, Debug)]
pub enum Presented {
    /// A chain that has to be an X.509-SVID.
    Svid(Chain),
    /// A chain that makes no claim to be one: it has no URI among its names. It is judged by dates, signers and signatures.
    Other(Chain),
    /// The certificates of a CA, the one that signs first. They are judged by their dates.
    Ca(Vec<Certificate>),
    /// Nothing, for this reason; without one, nothing was expected.
    Nothing(Option<Reason>),
}

/// What was read, and of what.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What it was read of.
    pub subject: Subject,
    /// Which SPIFFE ID it has to present.
    pub expected: Expected,
    /// Who serves the proxy's secrets.
    pub issued_by: Issuer,
    /// What it presents.
    pub presented: Presented,
    /// What peers are verified with.
    pub bundles: Bundles,
    /// Whether a private key was in it.
    pub key_was_shown: bool,
}

impl Evidence {
    /// Takes what a proxy has.
    #[must_use]
    pub fn of_proxy(subject: Subject, expected: Expected, secrets: ProxySecrets) -> Self {
        let presented = match secrets.chain() {
            Some(chain) => Presented::Svid(chain.clone()),
            None => Presented::Nothing(Some(nothing_presented(&secrets))),
        };
        let (issued_by, key_was_shown) = (secrets.issuer(), secrets.key_was_shown);
        let bundles = match secrets.validation.and_then(|received| received.value) {
            Some(Validation::Spiffe(bundles)) => Bundles::Separate(bundles),
            Some(Validation::Pooled(pool)) => Bundles::Pooled(pool),
            None => Bundles::Unsaid,
        };
        Self { subject, expected, issued_by, presented, bundles, key_was_shown }
    }

    /// Takes what a file says.
    #[must_use]
    pub fn of_source(subject: Subject, source: Source) -> Self {
        let Source { chain, issuers, bundles, key_was_shown, kind, .. } = source;
        let issued_by = match (kind, &bundles) {
            (SourceKind::ConfigDump | SourceKind::Istioctl, Bundles::Separate(_)) => Issuer::Spire,
            (SourceKind::ConfigDump | SourceKind::Istioctl, Bundles::Pooled(_)) => Issuer::Istiod,
            _ => Issuer::Unknown,
        };
        let presented = match chain {
            Some(chain) if chain.leaf.uris.is_empty() => Presented::Other(chain),
            Some(chain) => Presented::Svid(chain),
            None if issuers.is_empty() => Presented::Nothing(None),
            None => Presented::Ca(issuers),
        };
        // Keys belong into a file that somebody keeps; Envoy's answer is another matter.
        let key_was_shown = key_was_shown && matches!(kind, SourceKind::ConfigDump | SourceKind::Istioctl);
        Self { subject, expected: Expected::Anything, issued_by, presented, bundles, key_was_shown }
    }
}

/// Judges a chain by the rules for X.509-SVIDs, with the bundle of its own trust domain, and by who it has to be, at a time.
#[must_use]
pub fn judge(evidence: Evidence, at: Timestamp) -> Inspected {
    let Evidence { subject, expected, issued_by, presented, bundles, key_was_shown } = evidence;
    let mut reasons: Vec<Reason> = key_was_shown.then(key_shown).into_iter().collect();
    let mut judged = Judged::default();
    let certificates = match presented {
        Presented::Nothing(reason) => {
            reasons.extend(reason);
            Vec::new()
        }
        Presented::Ca(issuers) => {
            judged.is_verified = true;
            reasons.extend(
                issuers.iter().enumerate().filter_map(|(index, issuer)| ended(issuer, index + 1, at)),
            );
            issuers
        }
        Presented::Other(chain) => {
            judged = other(&chain, &bundles, at);
            chain.certificates().cloned().collect()
        }
        Presented::Svid(chain) => {
            if issued_by == Issuer::Istiod && expected != Expected::Anything {
                reasons.push(by_istiod());
            }
            reasons.extend(another_identity(&chain, &expected));
            judged = svid(&chain, &bundles, at);
            chain.certificates().cloned().collect()
        }
    };
    reasons.extend(judged.reasons);
    let status = match (reasons.is_empty(), judged.is_verified) {
        (true, true) => Standing::Good,
        (true, false) => {
            let (id, message) = if certificates.is_empty() {
                (
                    "no-certificate",
                    "no certificate of a workload is in it, only authorities that others are verified with",
                )
            } else {
                ("no-bundle", "there is no bundle to verify it with; no other rule is broken")
            };
            reasons.push(Reason { id, message: message.to_owned(), source: None, fix: None });
            Standing::Unknown
        }
        (false, _) => Standing::Bad,
    };
    Inspected {
        subject,
        identity: certificates.first().and_then(|leaf| leaf.uris.first().cloned()),
        issued_by,
        chain: certificates.into_iter().map(Listed).collect(),
        authority: judged.authority,
        trust_bundles: shown(&bundles),
        verdict: Verdict { status, reasons },
    }
}

/// What the rules came to for a chain.
#[derive(Default)]
struct Judged {
    reasons: Vec<Reason>,
    /// Whether there was something to verify it with.
    is_verified: bool,
    authority: Option<AuthorityFound>,
}

fn svid(chain: &Chain, bundles: &Bundles, at: Timestamp) -> Judged {
    let id = chain.leaf.spiffe_id().and_then(Result::ok);
    let domain = id.as_ref().map(SpiffeId::trust_domain);
    if let Some(bundle) = domain.and_then(|domain| bundles.of(domain)) {
        return Judged {
            reasons: svid::verify(chain, &bundle, at).broken.iter().map(broken).collect(),
            is_verified: true,
            authority: svid::authority_of(chain, &bundle, at)
                .and_then(|(_, authority)| found(authority, domain)),
        };
    }
    // The rules that need no bundle are looked at all the same.
    let mut reasons: Vec<Reason> = svid::verify_without_bundle(chain, at).broken.iter().map(broken).collect();
    reasons.extend(no_own_bundle(bundles, domain));
    Judged { reasons, is_verified: false, authority: None }
}

/// Judges a chain that is no SVID by what holds for every certificate. Whose bundle it takes is nobody's claim: what the source says
/// is taken.
fn other(chain: &Chain, bundles: &Bundles, at: Timestamp) -> Judged {
    let general = |broken: &svid::Broken| {
        matches!(
            broken.rule,
            svid::Rule::ValidNow
                | svid::Rule::SignerIsCa
                | svid::Rule::SignerSignsCertificates
                | svid::Rule::PathToAuthority
        )
    };
    let domain = bundles.claimed().or_else(|| NOBODY.parse().ok());
    let bundle = domain.as_ref().and_then(|domain| bundles.of(domain));
    let verdict = match &bundle {
        Some(bundle) => svid::verify(chain, bundle, at),
        None => svid::verify_without_bundle(chain, at),
    };
    Judged {
        reasons: verdict.broken.iter().filter(|broken| general(broken)).map(broken).collect(),
        is_verified: bundle.is_some(),
        authority: bundle
            .as_ref()
            .and_then(|bundle| svid::authority_of(chain, bundle, at))
            .and_then(|(_, authority)| found(authority, None)),
    }
}

/// Stands for the trust domain of authorities that have none.
const NOBODY: &str = "nobody.invalid";

fn ended(certificate: &Certificate, position: usize, at: Timestamp) -> Option<Reason> {
    (!certificate.is_valid_at(at)).then(|| {
        let Certificate { not_before, not_after, .. } = certificate;
        Reason {
            id: svid::Rule::ValidNow.id(),
            message: format!("certificate {position}: it is valid from {not_before} to {not_after}"),
            source: Some(svid::Rule::ValidNow.source()),
            fix: None,
        }
    })
}

fn key_shown() -> Reason {
    let message =
        "a private key was in what was read, which Envoy never shows; it was dropped and is shown to nobody";
    let fix = "take it to be known: find out who else can read it, and have a new certificate issued";
    Reason { id: "key-shown", message: message.to_owned(), source: None, fix: Some(fix.into()) }
}

fn found(authority: &Authority, domain: Option<&TrustDomain>) -> Option<AuthorityFound> {
    let certificate = Certificate::from_der(authority.der().to_vec()).ok()?;
    let id = domain.map(TrustDomain::id);
    let origin = match certificate.uris.as_slice() {
        [uri] if Some(uri) == id.as_ref() => Origin::SpireServer,
        _ => Origin::Unknown,
    };
    Some(AuthorityFound { certificate: Listed(certificate), origin })
}

fn broken(broken: &svid::Broken) -> Reason {
    let message = match broken.position {
        1 => format!("the leaf: {}", broken.why),
        position => format!("certificate {position}: {}", broken.why),
    };
    Reason { id: broken.rule.id(), message, source: Some(broken.source), fix: None }
}

fn nothing_presented(secrets: &ProxySecrets) -> Reason {
    let message = match &secrets.identity {
        None => "the proxy has not asked for a certificate",
        Some(received) if received.state == State::Warming => {
            "the proxy asked for a certificate and none came: whoever serves it knows no identity for this pod, or does not run"
        }
        Some(_) => "the proxy has no certificate",
    };
    Reason {
        id: "no-certificate",
        message: message.to_owned(),
        source: None,
        fix: Some(Plugin::SpireFederate.command(["verify"]).into()),
    }
}

fn by_istiod() -> Reason {
    Reason {
        id: "issued-by-istiod",
        message: "istiod signed it, not SPIRE: the proxy verifies everybody with one pool of authorities"
            .to_owned(),
        source: None,
        fix: Some(
            Advice::from("have the pod injected with the template spire, and start it again: ")
                .then(Plugin::MeshInstall.command(["verify"])),
        ),
    }
}

fn another_identity(chain: &Chain, expected: &Expected) -> Option<Reason> {
    let presented = chain.leaf.uris.first().map_or("no SPIFFE ID", String::as_str);
    let wanted = match expected {
        Expected::Anything => return None,
        Expected::Id(id) if id.to_string() == presented => return None,
        Expected::Id(id) => id.to_string(),
        Expected::Path(path) => match chain.leaf.spiffe_id() {
            Some(Ok(id)) if id.path() == path => return None,
            _ => format!("spiffe://TRUST-DOMAIN{path}"),
        },
    };
    Some(Reason {
        id: "expected-identity",
        message: format!(
            "it presents {presented}, and namespace and service account of the pod make {wanted}"
        ),
        source: Some("Istio, SPIFFE IDs of workloads"),
        fix: Some(
            Advice::from(Command::kubectl(["get", "clusterspiffeids"]))
                .then("; ")
                .then(Plugin::SpireFederate.command(["verify"])),
        ),
    })
}

fn no_own_bundle(bundles: &Bundles, domain: Option<&TrustDomain>) -> Option<Reason> {
    let (domain, Bundles::Separate(bundles)) = (domain?, bundles) else { return None };
    let others: Vec<&str> = bundles.keys().map(TrustDomain::as_str).collect();
    let has =
        if others.is_empty() { "none at all".to_owned() } else { format!("only of {}", others.join(", ")) };
    Some(Reason {
        id: "own-bundle",
        message: format!("there is no bundle of its own trust domain {domain}, {has}"),
        source: None,
        fix: Some(Plugin::SpireFederate.command(["verify"]).into()),
    })
}

fn shown(bundles: &Bundles) -> Vec<BundleShown> {
    let certificates = |bundle: &TrustBundle| {
        let ders = bundle.authorities().values().map(|authority| authority.der().to_vec());
        ders.filter_map(|der| Certificate::from_der(der).ok()).collect()
    };
    match bundles {
        Bundles::Unsaid => Vec::new(),
        Bundles::Pooled(pool) => vec![BundleShown::new(None, pool.clone())],
        Bundles::Unnamed(authorities) => {
            let domain = bundles.claimed().map(|domain| domain.to_string());
            vec![BundleShown::new(domain, authorities.clone())]
        }
        Bundles::Separate(bundles) => bundles
            .iter()
            .map(|(domain, bundle)| BundleShown::new(Some(domain.to_string()), certificates(bundle)))
            .collect(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
        SanType, date_time_ymd,
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::envoy::{Received, parse_secrets};

    type Signer = CertifiedIssuer<'static, KeyPair>;

    const SECRETS: &[u8] = include_bytes!("../../../tests/fixtures/envoy/secrets.json");
    const NOTHING: &[u8] = include_bytes!("../../../tests/fixtures/envoy/nothing.json");
    const DOMAINS: &str =
        "/configs/1/secret/validation_context/custom_validator_config/typed_config/trust_domains";

    /// A moment at which the fixture's certificates are valid.
    pub(in crate::trustchain) fn at() -> Timestamp {
        "2026-11-25T18:00:00Z".parse().expect("a time")
    }

    fn secrets(change: impl FnOnce(&mut Value)) -> ProxySecrets {
        let mut value: Value = serde_json::from_slice(SECRETS).expect("a fixture");
        change(&mut value);
        parse_secrets(&serde_json::to_vec(&value).expect("JSON"), NOTHING).expect("secrets")
    }

    /// What the proxy of a pod of `sleep` in cluster foo has, changed.
    pub(in crate::trustchain) fn inspected(
        expected: Expected,
        at: Timestamp,
        change: impl FnOnce(&mut Value),
    ) -> Inspected {
        let subject = Subject {
            cluster: Some("foo".to_owned()),
            namespace: Some("sample".to_owned()),
            workload: None,
            pod: Some("sleep-0".to_owned()),
            source: None,
        };
        judge(Evidence::of_proxy(subject, expected, secrets(change)), at)
    }

    fn params(name: &str, uris: &[&str]) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names =
            uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("a URI"))).collect();
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
        params
    }

    fn key() -> KeyPair {
        KeyPair::generate().expect("a key")
    }

    /// A CA with these URIs among its names.
    pub(in crate::trustchain) fn ca(uris: &[&str]) -> Signer {
        let mut params = params("root", uris);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        CertifiedIssuer::self_signed(params, key()).expect("a CA")
    }

    /// The certificate of a server that is no workload: it has no URI, and obeys few of SPIFFE's rules.
    fn server(signer: &Signer, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = params("server", &[]);
        change(&mut params);
        params.signed_by(&key(), signer).expect("a certificate").der().to_vec()
    }

    fn certificate(signer: &Signer) -> Certificate {
        Certificate::from_der(signer.der().to_vec()).expect("a certificate")
    }

    fn evidence(presented: Presented, bundles: Bundles) -> Evidence {
        Evidence {
            subject: Subject::source("a file"),
            expected: Expected::Anything,
            issued_by: Issuer::Unknown,
            presented,
            bundles,
            key_was_shown: false,
        }
    }

    fn judged(presented: Presented, bundles: Bundles) -> Inspected {
        judge(evidence(presented, bundles), at())
    }

    /// The chain of the fixture's proxy.
    fn sleeps() -> Chain {
        secrets(|_| ()).chain().expect("a chain").clone()
    }

    fn said(inspected: &Inspected) -> String {
        let reasons = inspected.verdict.reasons.iter();
        let reasons: Vec<String> =
            reasons.map(|reason| format!("{}: {}", reason.id, reason.message)).collect();
        format!("{} {}", inspected.verdict.status.as_str(), reasons.join("; "))
    }

    fn id(text: &str) -> Expected {
        Expected::Id(text.parse().expect("an ID"))
    }

    fn reasons(inspected: &Inspected) -> Vec<&'static str> {
        inspected.verdict.reasons.iter().map(|reason| reason.id).collect()
    }

    #[test]
    fn a_proxy_with_what_spire_gives_it_is_good() {
        let one = inspected(id("spiffe://foo.com/ns/sample/sa/sleep"), at(), |_| ());
        assert_eq!((one.verdict.status, reasons(&one)), (Standing::Good, vec![]));
        assert_eq!(one.identity.as_deref(), Some("spiffe://foo.com/ns/sample/sa/sleep"));
        let authority = one.authority.as_ref().expect("an authority");
        assert_eq!(authority.origin, Origin::SpireServer);
        let domains: Vec<_> = one.trust_bundles.iter().map(|bundle| bundle.trust_domain.as_deref()).collect();
        assert_eq!(domains, [Some("bar.com"), Some("foo.com")]);
        let own = inspected(Expected::Path("/ns/sample/sa/sleep".to_owned()), at(), |_| ());
        assert_eq!(own.verdict.status, Standing::Good);
    }

    #[test]
    fn another_identity_than_that_of_the_pod_is_bad_however_well_it_is_signed() {
        let one = inspected(id("spiffe://foo.com/ns/sample/sa/other"), at(), |_| ());
        assert_eq!((one.verdict.status, reasons(&one)), (Standing::Bad, vec!["expected-identity"]));
        let one = inspected(id("spiffe://bar.com/ns/sample/sa/sleep"), at(), |_| ());
        assert_eq!(reasons(&one), ["expected-identity"]);
        // The path as a whole: a name that begins like another is another.
        for path in [
            "/ns/other/sa/sleep",
            "/ns/sample/sa/slee",
            "/ns/sample/sa/sleep2",
            "/ns/sample/sa/sleep/",
            "/ns/sample/sa",
            "sleep",
            "",
        ] {
            let one = inspected(Expected::Path(path.to_owned()), at(), |_| ());
            assert_eq!(
                (one.verdict.status, reasons(&one)),
                (Standing::Bad, vec!["expected-identity"]),
                "{path}"
            );
        }
        let one = inspected(Expected::Path("/ns/sample/sa/sleep2".to_owned()), at(), |_| ());
        insta::assert_snapshot!(said(&one), @"bad expected-identity: it presents spiffe://foo.com/ns/sample/sa/sleep, and namespace and service account of the pod make spiffe://TRUST-DOMAIN/ns/sample/sa/sleep2");
    }

    #[test]
    fn a_chain_without_an_id_is_not_the_one_that_is_expected() {
        let chain = Chain::from_ders([server(&ca(&[]), |_| ())]).expect("a chain");
        for expected in [id("spiffe://foo.com/ns/sample/sa/sleep"), Expected::Path("/a".to_owned())] {
            let reason = another_identity(&chain, &expected).expect("a reason");
            assert!(reason.message.starts_with("it presents no SPIFFE ID, and "), "{}", reason.message);
        }
        assert_eq!(another_identity(&chain, &Expected::Anything), None);
    }

    #[test]
    fn what_cannot_be_verified_is_unknown_and_never_good() {
        let one = judged(Presented::Svid(sleeps()), Bundles::Unsaid);
        insta::assert_snapshot!(said(&one), @"unknown no-bundle: there is no bundle to verify it with; no other rule is broken");
        assert_eq!((one.chain.len(), one.authority, one.trust_bundles), (1, None, vec![]));
        let server = || Chain::from_ders([server(&ca(&[]), |_| ())]).expect("a chain");
        let one = judged(Presented::Other(server()), Bundles::Unsaid);
        assert_eq!((one.verdict.status, reasons(&one)), (Standing::Unknown, vec!["no-bundle"]));
        // Bundles of trust domains say nothing of a chain that is of none.
        let one = judged(Presented::Other(server()), Bundles::Separate(std::collections::BTreeMap::new()));
        assert_eq!((one.verdict.status, reasons(&one)), (Standing::Unknown, vec!["no-bundle"]));
        let one = judged(Presented::Nothing(None), Bundles::Unnamed(vec![certificate(&ca(&[]))]));
        insta::assert_snapshot!(said(&one), @"unknown no-certificate: no certificate of a workload is in it, only authorities that others are verified with");
        // What is wrong without a bundle is wrong.
        let later = "2027-11-25T18:00:00Z".parse().expect("a time");
        let one = judge(evidence(Presented::Svid(sleeps()), Bundles::Unsaid), later);
        assert_eq!((one.verdict.status, reasons(&one)), (Standing::Bad, vec!["valid-now"]));
    }

    #[test]
    fn an_authority_is_spires_only_with_the_id_of_its_trust_domain() {
        let domain: TrustDomain = "foo.com".parse().expect("a trust domain");
        let origin = |uris: &[&str], domain: Option<&TrustDomain>| {
            let authority = Authority::from_der(ca(uris).der().to_vec()).expect("an authority");
            let found = found(&authority, domain).expect("it is a certificate");
            assert_eq!(found.certificate.0.der(), authority.der());
            found.origin
        };
        assert_eq!(origin(&["spiffe://foo.com"], Some(&domain)), Origin::SpireServer);
        assert_eq!(origin(&["spiffe://foo.com"], None), Origin::Unknown);
        let others: [&[&str]; 5] = [
            &["spiffe://bar.com"],
            &["spiffe://foo.com/spire/server"],
            &["https://foo.com"],
            &["spiffe://foo.com", "spiffe://foo.com"],
            &[],
        ];
        for uris in others {
            assert_eq!(origin(uris, Some(&domain)), Origin::Unknown, "{uris:?}");
        }
    }

    #[test]
    fn a_chain_that_is_no_svid_is_judged_by_what_holds_for_every_certificate() {
        let (own, other) = (ca(&[]), ca(&["spiffe://foo.com"]));
        let chain = |signer: &Signer, change: fn(&mut CertificateParams)| {
            Presented::Other(Chain::from_ders([server(signer, change)]).expect("a chain"))
        };
        let pools: [fn(Vec<Certificate>) -> Bundles; 2] = [Bundles::Unnamed, Bundles::Pooled];
        for of in pools {
            let bundles = || of(vec![certificate(&other), certificate(&own)]);
            let one = judged(chain(&own, |_| ()), bundles());
            assert_eq!((one.verdict.status, reasons(&one)), (Standing::Good, vec![]));
            let authority = one.authority.expect("an authority");
            assert_eq!(authority.certificate.0, certificate(&own));
            assert_eq!(authority.origin, Origin::Unknown);
            let one = judged(chain(&other, |_| ()), bundles());
            assert_eq!(one.authority.expect("an authority").origin, Origin::Unknown);
            let one = judged(chain(&ca(&[]), |_| ()), bundles());
            assert_eq!((one.verdict.status, reasons(&one)), (Standing::Bad, vec!["path-to-authority"]));
            let one = judged(chain(&own, |params| params.not_after = date_time_ymd(2026, 2, 1)), bundles());
            assert_eq!((one.verdict.status, reasons(&one)), (Standing::Bad, vec!["valid-now"]));
        }
        // A signer has to be one, and to be allowed to.
        let signer = |usage, is_ca: IsCa| {
            let mut params = params("signer", &[]);
            (params.key_usages, params.is_ca) = (vec![usage], is_ca);
            CertifiedIssuer::signed_by(params, key(), &own).expect("a signer")
        };
        for (signer, broken) in [
            (signer(KeyUsagePurpose::KeyCertSign, IsCa::ExplicitNoCa), "signer-is-ca"),
            (
                signer(KeyUsagePurpose::DigitalSignature, IsCa::Ca(BasicConstraints::Unconstrained)),
                "signer-signs-certificates",
            ),
        ] {
            let ders = [server(&signer, |_| ()), signer.der().to_vec()];
            let presented = Presented::Other(Chain::from_ders(ders).expect("a chain"));
            let one = judged(presented, Bundles::Unnamed(vec![certificate(&own)]));
            assert_eq!((one.verdict.status, reasons(&one)), (Standing::Bad, vec![broken]));
        }
    }

    #[test]
    fn the_certificates_of_a_ca_are_judged_by_their_dates() {
        let own = certificate(&ca(&[]));
        let mut ended = own.clone();
        ended.not_after = "2026-02-01T00:00:00Z".parse().expect("a time");
        let one = judged(Presented::Ca(vec![own.clone(), own.clone()]), Bundles::Unsaid);
        assert_eq!((one.verdict.status, reasons(&one)), (Standing::Good, vec![]));
        let one = judged(Presented::Ca(vec![own.clone(), own, ended]), Bundles::Unsaid);
        insta::assert_snapshot!(said(&one), @"bad valid-now: certificate 3: it is valid from 2026-01-01T00:00:00Z to 2026-02-01T00:00:00Z");
        assert_eq!(one.chain.len(), 3);
    }

    #[test]
    fn a_file_says_what_it_presents_and_who_may_have_issued_it() {
        let authority = certificate(&ca(&[]));
        let other = || Chain::from_ders([server(&ca(&[]), |_| ())]).expect("a chain");
        let separate = || Bundles::Separate(std::collections::BTreeMap::new());
        let pooled = || Bundles::Pooled(vec![authority.clone()]);
        let taken = |kind, chain, issuers: &[Certificate], bundles| {
            let source = Source {
                kind,
                chain,
                issuers: issuers.to_vec(),
                bundles,
                key_was_shown: true,
                others: Vec::new(),
                notes: Vec::new(),
            };
            let evidence = Evidence::of_source(Subject::source("a file"), source);
            assert_eq!(evidence.expected, Expected::Anything);
            let presented = match evidence.presented {
                Presented::Svid(_) => "svid",
                Presented::Other(_) => "other",
                Presented::Ca(_) => "ca",
                Presented::Nothing(_) => "nothing",
            };
            (presented, evidence.issued_by, evidence.key_was_shown)
        };
        for kind in [SourceKind::ConfigDump, SourceKind::Istioctl] {
            assert_eq!(taken(kind, Some(sleeps()), &[], separate()), ("svid", Issuer::Spire, true));
            assert_eq!(taken(kind, Some(sleeps()), &[], pooled()), ("svid", Issuer::Istiod, true));
            assert_eq!(taken(kind, None, &[], Bundles::Unsaid), ("nothing", Issuer::Unknown, true));
        }
        // A key in a file that somebody keeps is where it belongs.
        let issuers = std::slice::from_ref(&authority);
        for kind in [SourceKind::Secret, SourceKind::Pem, SourceKind::SpireBundle] {
            assert_eq!(taken(kind, Some(sleeps()), &[], separate()), ("svid", Issuer::Unknown, false));
            assert_eq!(taken(kind, Some(other()), issuers, pooled()), ("other", Issuer::Unknown, false));
            assert_eq!(taken(kind, None, issuers, Bundles::Unsaid), ("ca", Issuer::Unknown, false));
            assert_eq!(taken(kind, None, &[], Bundles::Unsaid), ("nothing", Issuer::Unknown, false));
        }
    }

    #[test]
    fn what_peers_are_verified_with_is_shown_whatever_form_it_has() {
        let (own, other) = (certificate(&ca(&["spiffe://foo.com"])), certificate(&ca(&[])));
        let shown = |bundles: &Bundles| {
            let shown = super::shown(bundles).into_iter();
            shown.map(|bundle| (bundle.trust_domain, bundle.authorities.len())).collect::<Vec<_>>()
        };
        assert_eq!(shown(&Bundles::Unsaid), []);
        assert_eq!(shown(&Bundles::Pooled(vec![own.clone(), other.clone()])), [(None, 2)]);
        assert_eq!(shown(&Bundles::Unnamed(vec![own, other.clone()])), [(Some("foo.com".to_owned()), 2)]);
        assert_eq!(shown(&Bundles::Unnamed(vec![other])), [(None, 1)]);
    }

    #[test]
    fn why_there_is_no_certificate_is_told_apart() {
        let why = |identity| {
            let secrets = ProxySecrets { identity, ..ProxySecrets::default() };
            let one = judge(Evidence::of_proxy(Subject::default(), Expected::Anything, secrets), at());
            assert_eq!((one.verdict.status, reasons(&one)), (Standing::Bad, vec!["no-certificate"]));
            assert_eq!(one.issued_by, Issuer::Unknown);
            one.verdict.reasons[0].message.clone()
        };
        let received =
            |state| Some(Received { state, version: String::new(), last_updated: None, value: None });
        assert_eq!(why(None), "the proxy has not asked for a certificate");
        assert_eq!(why(received(State::Active)), "the proxy has no certificate");
        assert!(why(received(State::Warming)).starts_with("the proxy asked for a certificate and none came"));
    }

    #[test]
    fn what_the_bundles_are_decides_and_never_that_of_another_domain() {
        let anything = || Expected::Anything;
        let swapped = inspected(anything(), at(), |secrets| {
            let domains = secrets.pointer_mut(DOMAINS).expect("domains");
            let (bar, foo) = (domains[0]["name"].clone(), domains[1]["name"].clone());
            (domains[0]["name"], domains[1]["name"]) = (foo, bar);
        });
        assert_eq!((swapped.verdict.status, reasons(&swapped)), (Standing::Bad, vec!["path-to-authority"]));
        assert_eq!(swapped.authority, None);
        let without = inspected(anything(), at(), |secrets| {
            let domains = secrets.pointer_mut(DOMAINS).and_then(Value::as_array_mut).expect("domains");
            domains.retain(|domain| domain["name"] == "bar.com");
        });
        assert_eq!(reasons(&without), ["own-bundle"]);
        insta::assert_snapshot!(without.verdict.reasons[0].message, @"there is no bundle of its own trust domain foo.com, only of bar.com");
        let none = inspected(anything(), at(), |secrets| {
            *secrets.pointer_mut(DOMAINS).expect("domains") = json!([]);
        });
        insta::assert_snapshot!(said(&none), @"bad own-bundle: there is no bundle of its own trust domain foo.com, none at all");
    }

    #[test]
    fn a_certificate_of_istiods_is_not_one_of_spires() {
        let pooled = |secrets: &mut Value| {
            let own = secrets.pointer(DOMAINS).expect("domains").as_array().expect("a list").iter();
            let own =
                own.filter(|domain| domain["name"] == "foo.com").map(|domain| domain["trust_bundle"].clone());
            let own: Vec<Value> = own.collect();
            let context = "/configs/1/secret/validation_context";
            *secrets.pointer_mut(context).expect("a context") = json!({"trusted_ca": own[0]});
        };
        let one = inspected(id("spiffe://foo.com/ns/sample/sa/sleep"), at(), pooled);
        assert_eq!((one.issued_by, reasons(&one)), (Issuer::Istiod, vec!["issued-by-istiod"]));
        // Where nobody says that it has to be SPIRE's, it may be anybody's.
        let one = inspected(Expected::Anything, at(), pooled);
        assert_eq!((one.issued_by, reasons(&one)), (Issuer::Istiod, vec![]));
    }

    #[test]
    fn time_and_keys_and_nothing_at_all_have_reasons_of_their_own() {
        let later = "2027-11-25T18:00:00Z".parse().expect("a time");
        let one = inspected(Expected::Anything, later, |_| ());
        assert!(reasons(&one).contains(&"valid-now"), "{:?}", one.verdict);
        let one = inspected(Expected::Anything, at(), |secrets| {
            let key = "/configs/0/secret/tls_certificate/private_key";
            *secrets.pointer_mut(key).expect("a key") = json!({"inline_bytes": "bm90IGEga2V5"});
        });
        assert_eq!(reasons(&one), ["key-shown"]);
        assert!(!serde_json::to_string(&one).expect("JSON").contains("bm90IGEga2V5"));
        let one = inspected(Expected::Anything, at(), |secrets| {
            secrets["configs"].as_array_mut().expect("configs").remove(0);
        });
        assert_eq!((one.verdict.status, reasons(&one)), (Standing::Bad, vec!["no-certificate"]));
    }

    #[test]
    fn the_json_is_a_promise() {
        let one = inspected(Expected::Anything, at(), |_| ());
        insta::assert_json_snapshot!("inspected", one);
    }
}
