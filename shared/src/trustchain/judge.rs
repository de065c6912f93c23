use std::collections::BTreeMap;

use jiff::Timestamp;

use super::inspected::{
    AuthorityFound, BundleShown, Inspected, Listed, Origin, Reason, Standing, Subject, Verdict,
};
use crate::envoy::{Issuer, ProxySecrets, State, Validation};
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

/// What was read, and of what.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What it was read of.
    pub subject: Subject,
    /// Which SPIFFE ID it has to present.
    pub expected: Expected,
    /// The certificates and bundles.
    pub secrets: ProxySecrets,
}

/// Judges a chain by the rules for X.509-SVIDs, with the bundle of its own trust domain, and by who it has to be, at a time.
#[must_use]
pub fn judge(evidence: Evidence, at: Timestamp) -> Inspected {
    let Evidence { subject, expected, secrets } = evidence;
    let issued_by = secrets.issuer();
    let mut reasons = Vec::new();
    if secrets.key_was_shown {
        reasons.push(Reason {
            id: "key-shown",
            message: "a private key was in what was read, which Envoy never shows; it was dropped and is shown to nobody".to_owned(),
            source: None,
            fix: Some("take this to be stolen: find out who else reads it, and have a new certificate issued".to_owned()),
        });
    }
    let chain = secrets.chain();
    let domain = chain.and_then(|chain| chain.leaf.spiffe_id()?.ok());
    let domain = domain.as_ref().map(SpiffeId::trust_domain);
    let own = domain.and_then(|domain| own_bundle(&secrets, domain));
    let mut authority = None;
    match chain {
        None => reasons.push(nothing_presented(&secrets)),
        Some(chain) => {
            if issued_by == Issuer::Istiod && expected != Expected::Anything {
                reasons.push(by_istiod());
            }
            reasons.extend(another_identity(chain, &expected));
            match &own {
                Some(bundle) => {
                    reasons.extend(svid::verify(chain, bundle, at).broken.into_iter().map(broken));
                    authority = svid::authority_of(chain, bundle, at)
                        .and_then(|(_, authority)| found(authority, domain));
                }
                None => {
                    // The rules that need no bundle are looked at all the same.
                    let broken_rules = svid::verify_without_bundle(chain, at).broken.into_iter();
                    reasons.extend(broken_rules.map(broken));
                    reasons.extend(no_own_bundle(&secrets, domain));
                }
            }
        }
    }
    let status = match (reasons.is_empty(), own.is_some()) {
        (true, true) => Standing::Good,
        (true, false) => {
            reasons.push(Reason {
                id: "no-bundle",
                message: "there is no bundle to verify it with; no other rule is broken".to_owned(),
                source: None,
                fix: None,
            });
            Standing::Unknown
        }
        (false, _) => Standing::Bad,
    };
    Inspected {
        subject,
        identity: chain.and_then(|chain| chain.leaf.uris.first().cloned()),
        issued_by,
        chain: chain.into_iter().flat_map(Chain::certificates).cloned().map(Listed).collect(),
        authority,
        trust_bundles: bundles(&secrets),
        verdict: Verdict { status, reasons },
    }
}

/// Returns what the chain has to lead to: the bundle of its own trust domain, or istiod's one pool.
fn own_bundle(secrets: &ProxySecrets, domain: &TrustDomain) -> Option<TrustBundle> {
    match secrets.validation.as_ref()?.value.as_ref()? {
        Validation::Spiffe(bundles) => bundles.get(domain).cloned(),
        Validation::Pooled(pool) => {
            let ders: Vec<u8> = pool.iter().flat_map(Certificate::der).copied().collect();
            TrustBundle::from_der_sequence(domain.clone(), &ders).ok()
        }
    }
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

fn broken(broken: svid::Broken) -> Reason {
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
        fix: Some("kubectl spire-federate verify".to_owned()),
    }
}

fn by_istiod() -> Reason {
    Reason {
        id: "issued-by-istiod",
        message: "istiod signed it, not SPIRE: the proxy verifies everybody with one pool of authorities".to_owned(),
        source: None,
        fix: Some("have the pod injected with the template spire, and start it again: kubectl mesh-install verify".to_owned()),
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
        message: format!("it presents {presented}, and namespace and service account of the pod make {wanted}"),
        source: Some("Istio, SPIFFE IDs of workloads"),
        fix: Some("kubectl get clusterspiffeids; kubectl spire-federate verify".to_owned()),
    })
}

fn no_own_bundle(secrets: &ProxySecrets, domain: Option<&TrustDomain>) -> Option<Reason> {
    let domain = domain?;
    let Some(Validation::Spiffe(bundles)) =
        secrets.validation.as_ref().and_then(|received| received.value.as_ref())
    else {
        return None;
    };
    let others: Vec<&str> = bundles.keys().map(TrustDomain::as_str).collect();
    let has = if others.is_empty() { "none at all".to_owned() } else { others.join(", ") };
    Some(Reason {
        id: "own-bundle",
        message: format!("there is no bundle of its own trust domain {domain}, only of {has}"),
        source: None,
        fix: Some("kubectl spire-federate verify".to_owned()),
    })
}

fn bundles(secrets: &ProxySecrets) -> Vec<BundleShown> {
    match secrets.validation.as_ref().and_then(|received| received.value.as_ref()) {
        None => Vec::new(),
        Some(Validation::Pooled(pool)) => vec![BundleShown::new(None, pool.clone())],
        Some(Validation::Spiffe(bundles)) => shown(bundles),
    }
}

fn shown(bundles: &BTreeMap<TrustDomain, TrustBundle>) -> Vec<BundleShown> {
    let certificates = |bundle: &TrustBundle| {
        let ders = bundle.authorities().values().map(|authority| authority.der().to_vec());
        ders.filter_map(|der| Certificate::from_der(der).ok()).collect()
    };
    bundles
        .iter()
        .map(|(domain, bundle)| BundleShown::new(Some(domain.to_string()), certificates(bundle)))
        .collect()
}
