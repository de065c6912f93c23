use std::collections::BTreeSet;

use jiff::Timestamp;

use super::certificate::Certificate;
use super::chain::Chain;
use super::envoy::{self, Fault, Place, Refusal, signs_handshakes};
use super::rule::{Broken, Rule, Verdict};
use crate::trust::{Authority, SpiffeId, TrustBundle};

/// What is said of a broken rule that Envoy does not know.
const ACCEPTED: &str = "; Envoy accepts it all the same";

/// Judges a chain by the rules for X.509-SVIDs and by what Envoy says, with the bundle of its own trust domain, at a time.
///
/// Every rule is looked at, so that one run names everything that is wrong. Certificates that the path does not take are none of the
/// chain's business where there is a path. Names of the peer (which SPIFFE ID was wanted) are none of its business.
#[must_use]
pub fn verify(chain: &Chain, bundle: &TrustBundle, at: Timestamp) -> Verdict {
    let path = envoy::path(chain, bundle, at);
    let (id, mut verdict) = rules_of_certificates(chain, at, path.as_deref().ok());
    match id {
        Some(id) if id.trust_domain() != bundle.trust_domain() => {
            verdict = verify_without_bundle(chain, at);
            let why = format!(
                "it is of trust domain {}, and the bundle of {} verifies nothing of it",
                id.trust_domain(),
                bundle.trust_domain()
            );
            verdict.add(Rule::OwnTrustDomain, 1, why);
        }
        // Without an ID nobody knows which bundle it takes; the path is still worth a word.
        _ => match path {
            Ok(_) if envoy::takes_leaf(&chain.leaf, bundle).is_ok() => {
                verdict.broken.iter_mut().for_each(|broken| broken.why.push_str(ACCEPTED));
            }
            Ok(_) => {}
            Err(refusal) => no_path(chain, bundle, at, &refusal, &mut verdict),
        },
    }
    verdict.broken.sort_by_key(|broken| (broken.rule, broken.position));
    verdict
}

/// Judges a chain by those rules that need no bundle, at a time.
#[must_use]
pub fn verify_without_bundle(chain: &Chain, at: Timestamp) -> Verdict {
    let (_, mut verdict) = rules_of_certificates(chain, at, None);
    verdict.broken.sort_by_key(|broken| (broken.rule, broken.position));
    verdict
}

/// Looks at the leaf and at what came with it: at those that the path takes, or at all.
fn rules_of_certificates(
    chain: &Chain,
    at: Timestamp,
    path: Option<&[Place]>,
) -> (Option<SpiffeId>, Verdict) {
    let mut verdict = Verdict::default();
    let id = leaf(&chain.leaf, &mut verdict);
    validity(&chain.leaf, 1, at, &mut verdict);
    let mut seen = BTreeSet::from([chain.leaf.sha256]);
    for (index, signer) in chain.intermediates.iter().enumerate() {
        let is_taken = path.is_none_or(|path| path.contains(&Place::Sent(index)));
        // One that is sent twice is not wrong twice.
        if is_taken && seen.insert(signer.sha256) {
            signing(signer, index + 2, &mut verdict);
            validity(signer, index + 2, at, &mut verdict);
        }
    }
    (id, verdict)
}

fn leaf(leaf: &Certificate, verdict: &mut Verdict) -> Option<SpiffeId> {
    let id = match (leaf.uris.len(), leaf.spiffe_id()) {
        (_, Some(id)) => spiffe_id(id, 1, verdict),
        (0, None) => {
            verdict.add(Rule::ExactlyOneUri, 1, "it has no URI among its names");
            None
        }
        (count, None) => {
            verdict.add(Rule::ExactlyOneUri, 1, format!("it has {count} URIs among its names"));
            None
        }
    };
    if let Some(id) = id.as_ref().filter(|id| id.path().is_empty()) {
        verdict.add(Rule::LeafIdHasPath, 1, format!("its SPIFFE ID is that of a trust domain, {id}"));
    }
    if leaf.subject.is_empty() && !leaf.uris.is_empty() && !leaf.names_are_critical {
        let why = "it has no subject, and its names are not marked critical";
        verdict.add(Rule::NamesCriticalWithoutSubject, 1, why);
    }
    if leaf.is_ca {
        verdict.add(Rule::LeafIsNoCa, 1, "it is a CA certificate");
    }
    if !signs_handshakes(&leaf.public_key) {
        let why = format!(
            "its key is {}, and Envoy takes handshakes of RSA, P-256 and P-384 keys only",
            leaf.public_key
        );
        verdict.add(Rule::LeafKeyIsTaken, 1, why);
    }
    key_usage_is_critical(leaf, 1, verdict);
    if let Some(usage) = leaf.key_usage {
        if !usage.digital_signature {
            verdict.add(Rule::LeafSignsHandshakes, 1, "its key usage lacks digitalSignature");
        }
        for (set, name) in [(usage.key_cert_sign, "keyCertSign"), (usage.crl_sign, "cRLSign")] {
            if set {
                verdict.add(Rule::LeafSignsNoCertificates, 1, format!("its key usage has {name}"));
            }
        }
    }
    if let Some(usage) = leaf.extended_key_usage {
        for (set, name) in [(usage.server, "serverAuth"), (usage.client, "clientAuth")] {
            if !set {
                verdict.add(Rule::LeafIsClientAndServer, 1, format!("its extended key usage lacks {name}"));
            }
        }
    }
    id
}

fn signing(signer: &Certificate, position: usize, verdict: &mut Verdict) {
    if !signer.is_ca {
        verdict.add(Rule::SignerIsCa, position, format!("{} is no CA certificate", name_of(signer)));
    }
    if signer.key_usage.is_some_and(|usage| !usage.key_cert_sign) {
        verdict.add(Rule::SignerSignsCertificates, position, "its key usage lacks keyCertSign");
    }
    match (signer.uris.len(), signer.spiffe_id()) {
        (0, _) => (),
        // The CA of a corporation above SPIRE's may have a URI that has nothing to do with SPIFFE.
        (_, Some(id)) if signer.uris[0].starts_with("spiffe://") => {
            // An SVID of its own, so that the rules for all SVIDs hold for it too.
            key_usage_is_critical(signer, position, verdict);
            let id = spiffe_id(id, position, verdict);
            if let Some(id) = id.filter(|id| !id.path().is_empty()) {
                verdict.add(Rule::SignerIdHasNoPath, position, format!("its SPIFFE ID has a path: {id}"));
            }
        }
        (_, Some(_)) => (),
        (count, None) => {
            verdict.add(Rule::ExactlyOneUri, position, format!("it has {count} URIs among its names"));
        }
    }
}

fn spiffe_id(
    id: Result<SpiffeId, crate::trust::SpiffeIdError>,
    position: usize,
    verdict: &mut Verdict,
) -> Option<SpiffeId> {
    id.map_err(|error| verdict.add(Rule::ValidSpiffeId, position, error.to_string())).ok()
}

fn key_usage_is_critical(certificate: &Certificate, position: usize, verdict: &mut Verdict) {
    match certificate.key_usage {
        None => verdict.add(Rule::KeyUsageIsCritical, position, "it has no key usage extension"),
        Some(usage) if !usage.critical => {
            verdict.add(Rule::KeyUsageIsCritical, position, "its key usage is not marked critical");
        }
        Some(_) => (),
    }
}

fn validity(certificate: &Certificate, position: usize, at: Timestamp, verdict: &mut Verdict) {
    if certificate.is_valid_at(at) {
        return;
    }
    let Certificate { not_before, not_after, .. } = certificate;
    let why = if not_after < not_before {
        format!("it ends at {not_after}, before it begins at {not_before}")
    } else if at < *not_before {
        format!("it is valid from {not_before} on")
    } else {
        format!("it ended at {not_after}")
    };
    verdict.add(Rule::ValidNow, position, why);
}

/// Says why there is no path, where that was not said in better words.
fn no_path(chain: &Chain, bundle: &TrustBundle, at: Timestamp, refusal: &Refusal, verdict: &mut Verdict) {
    let Refusal { fault, place, path } = refusal;
    let position = match place {
        Place::Authority(_) => path.iter().rev().find_map(|place| position(*place)).unwrap_or(1),
        place => position(*place).unwrap_or(1),
    };
    let said = match (fault, place) {
        (_, Place::Authority(_)) => None,
        (Fault::Ended | Fault::NotYet, _) => Some(Rule::ValidNow),
        (Fault::NoCa, _) => Some(Rule::SignerIsCa),
        // Nobody has signed it who may.
        (Fault::NoIssuer, _) => Some(Rule::SignerSignsCertificates),
        _ => None,
    };
    let is_it = |broken: &&mut Broken| {
        Some(broken.rule) == said && (*fault == Fault::NoIssuer || broken.position == position)
    };
    let order = order_of_sent(chain, bundle, at, refusal);
    if let Some(broken) = verdict.broken.iter_mut().find(is_it) {
        broken.why.push_str(&order);
    } else {
        let why = why_no_path(chain, bundle, at, refusal) + &order;
        verdict.add(Rule::PathToAuthority, position, why);
    }
}

/// The position in the chain that a certificate has, the leaf being 1. An authority has none.
fn position(place: Place) -> Option<usize> {
    match place {
        Place::Leaf => Some(1),
        Place::Sent(index) => Some(index + 2),
        Place::Authority(_) => None,
    }
}

fn why_no_path(chain: &Chain, bundle: &TrustBundle, at: Timestamp, refusal: &Refusal) -> String {
    let domain = bundle.trust_domain();
    let certificate = match refusal.place {
        Place::Sent(index) => chain.intermediates.get(index).unwrap_or(&chain.leaf),
        Place::Leaf => &chain.leaf,
        Place::Authority(index) => {
            let Some((_, authority)) = bundle.in_order().nth(index) else { return refusal.fault.to_string() };
            return of_authority(bundle, index, authority, at, refusal.fault);
        }
    };
    match refusal.fault {
        Fault::NoIssuer if bundle.authorities().is_empty() => format!("the bundle of {domain} is empty"),
        Fault::NoIssuer => {
            let key_id = certificate.authority_key_id.as_deref().unwrap_or("no key identifier");
            format!("no authority of {domain} signed it: its issuer is {} ({key_id})", certificate.issuer)
        }
        Fault::SelfSigned => format!("it signed itself, and is no authority of {domain}"),
        Fault::Signature => {
            let above = refusal.path.iter().skip_while(|place| **place != refusal.place).nth(1);
            let by = match above.and_then(|place| position(*place)) {
                Some(position) => format!("certificate {position}, which has the name of its issuer"),
                None => format!("the authority of {domain} that has the name of its issuer"),
            };
            format!(
                "its signature is not that of {by} ({}), or of an algorithm that is not known",
                certificate.issuer
            )
        }
        fault => fault.to_string(),
    }
}

/// Says what is wrong with the authority that a path ends at.
fn of_authority(
    bundle: &TrustBundle,
    index: usize,
    authority: &Authority,
    at: Timestamp,
    fault: Fault,
) -> String {
    let domain = bundle.trust_domain();
    let certificate = Certificate::from_der(authority.der().to_vec()).ok();
    let name = certificate.as_ref().map_or("it", name_of);
    let key_id = authority.key_id().unwrap_or("no key identifier");
    let signer = format!("the authority of {domain} that signed it, {name} ({key_id}),");
    match fault {
        Fault::Ended | Fault::NotYet => {
            let (verb, second) = match fault {
                Fault::Ended => ("ended at", authority.not_after()),
                _ => ("is valid from", authority.not_before()),
            };
            let time =
                Timestamp::from_second(second).map_or_else(|_| second.to_string(), |time| time.to_string());
            let is_valid = |other: &Authority| {
                (other.not_before()..other.not_after()).contains(&at.as_second())
                    && other.key_id().is_some()
                    && other.key_id() == authority.key_id()
            };
            let renewed = bundle.in_order().skip(index + 1).any(|(_, other)| is_valid(other));
            let order = if renewed {
                "; the bundle holds it renewed, too, but behind it: Envoy takes the first and looks no further"
            } else {
                ""
            };
            format!("{signer} {verb} {time}{order}")
        }
        Fault::NotARoot => {
            let issuer = certificate.as_ref().map_or("another CA", |certificate| certificate.issuer.as_str());
            format!(
                "{signer} did not sign itself, and the bundle lacks {issuer}, which signed it: Envoy accepts a chain only up to an authority that signed itself"
            )
        }
        fault => format!("{signer} is refused: {fault}"),
    }
}

/// Says that another order would help: a certificate that comes after one of the path has its name and key, and in its place there is a path.
fn order_of_sent(chain: &Chain, bundle: &TrustBundle, at: Timestamp, refusal: &Refusal) -> String {
    let is_twin = |one: &Certificate, other: &Certificate| {
        one.subject == other.subject
            && one.subject_key_id.is_some()
            && one.subject_key_id == other.subject_key_id
    };
    let leads = |first: usize, later: usize| {
        let mut reordered = chain.clone();
        reordered.intermediates[first..=later].rotate_right(1);
        envoy::path(&reordered, bundle, at).is_ok()
    };
    for place in &refusal.path {
        let Place::Sent(first) = *place else { continue };
        let twin = (first + 1..chain.intermediates.len()).find(|later| {
            is_twin(&chain.intermediates[first], &chain.intermediates[*later]) && leads(first, *later)
        });
        if let Some(later) = twin {
            return format!(
                "; certificate {} has the name and key of certificate {}, comes after it and would be accepted: Envoy takes the first and looks no further",
                later + 2,
                first + 2
            );
        }
    }
    String::new()
}

fn name_of(certificate: &Certificate) -> &str {
    if certificate.subject.is_empty() { "it" } else { &certificate.subject }
}
