use std::collections::BTreeSet;

use jiff::Timestamp;

use super::certificate::Certificate;
use super::chain::Chain;
use super::path;
use super::rule::{Rule, Verdict};
use crate::trust::{Authority, AuthorityDigest, SpiffeId, TrustBundle};

/// Judges a chain by the rules for X.509-SVIDs, with the bundle of its own trust domain, at a time.
///
/// Every rule is looked at, so that one run names everything that is wrong. Names of the peer (which SPIFFE ID was
/// wanted) are none of its business.
#[must_use]
pub fn verify(chain: &Chain, bundle: &TrustBundle, at: Timestamp) -> Verdict {
    let (id, mut verdict) = rules_of_certificates(chain, at);
    match id {
        Some(id) if id.trust_domain() != bundle.trust_domain() => verdict.add(
            Rule::OwnTrustDomain,
            1,
            format!(
                "it is of trust domain {}, and the bundle of {} verifies nothing of it",
                id.trust_domain(),
                bundle.trust_domain()
            ),
        ),
        // Without an ID nobody knows which bundle it takes; the path is still worth a word.
        _ => path_to_authority(chain, bundle, at, &mut verdict),
    }
    verdict.broken.sort_by_key(|broken| (broken.rule, broken.position));
    verdict
}

/// Judges a chain by those rules that need no bundle, at a time.
#[must_use]
pub fn verify_without_bundle(chain: &Chain, at: Timestamp) -> Verdict {
    let (_, mut verdict) = rules_of_certificates(chain, at);
    verdict.broken.sort_by_key(|broken| (broken.rule, broken.position));
    verdict
}

fn rules_of_certificates(chain: &Chain, at: Timestamp) -> (Option<SpiffeId>, Verdict) {
    let mut verdict = Verdict::default();
    let id = leaf(&chain.leaf, &mut verdict);
    validity(&chain.leaf, 1, at, &mut verdict);
    let mut seen = BTreeSet::from([chain.leaf.sha256]);
    for (index, signer) in chain.intermediates.iter().enumerate() {
        // One that is sent twice is not wrong twice.
        if seen.insert(signer.sha256) {
            signing(signer, index + 2, &mut verdict);
            validity(signer, index + 2, at, &mut verdict);
        }
    }
    (id, verdict)
}

/// Finds the authority of a bundle that a chain's signatures lead to, at a time.
#[must_use]
pub fn authority_of<'b>(
    chain: &Chain,
    bundle: &'b TrustBundle,
    at: Timestamp,
) -> Option<(&'b AuthorityDigest, &'b Authority)> {
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    bundle.authorities().iter().find(|(_, authority)| {
        let intermediates = chain.intermediates.iter().map(Certificate::der);
        path::find_among(chain.leaf.der(), intermediates, [*authority], seconds).is_ok()
    })
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

fn path_to_authority(chain: &Chain, bundle: &TrustBundle, at: Timestamp, verdict: &mut Verdict) {
    let intermediates = chain.intermediates.iter().map(Certificate::der);
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    let Err(error) = path::find(chain.leaf.der(), intermediates, bundle, seconds) else { return };
    // Said already, in better words.
    let said = match &error {
        webpki::Error::CertExpired { .. }
        | webpki::Error::CertNotValidYet { .. }
        | webpki::Error::InvalidCertValidity => verdict.breaks(Rule::ValidNow),
        webpki::Error::CaUsedAsEndEntity => verdict.breaks(Rule::LeafIsNoCa),
        webpki::Error::EndEntityUsedAsCa => verdict.breaks(Rule::SignerIsCa),
        webpki::Error::RequiredEkuNotFoundContext(_) => verdict.breaks(Rule::LeafIsClientAndServer),
        _ => false,
    };
    if said {
        return;
    }
    let (position, why) = match error {
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            missing_link(chain, bundle, at)
        }
        error => (1, format!("no path to an authority of {}: {}", bundle.trust_domain(), in_words(&error))),
    };
    verdict.add(Rule::PathToAuthority, position, why);
}

/// Says what webpki has only names for.
fn in_words(error: &webpki::Error) -> String {
    use webpki::Error;
    let words = match error {
        Error::PathLenConstraintViolated => "a CA has more CAs below it than it may have",
        Error::NameConstraintViolation => "a CA may not sign for this name",
        Error::MaximumSignatureChecksExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded => "there are too many ways to look at",
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "a signature is of an algorithm that is not known"
        }
        Error::UnsupportedCriticalExtension => "a critical extension is not known",
        other => {
            let name = format!("{other:?}");
            let name: String = name.chars().take_while(char::is_ascii_alphanumeric).collect();
            return format!("it breaks a rule of X.509 ({name})");
        }
    };
    words.to_owned()
}

/// Explains where the path ends, which webpki does not: follows the key identifiers from the leaf on.
fn missing_link(chain: &Chain, bundle: &TrustBundle, at: Timestamp) -> (usize, String) {
    let domain = bundle.trust_domain();
    let (mut position, mut last) = (1, &chain.leaf);
    let mut visited = BTreeSet::from([last.sha256]);
    while let Some((index, next)) = chain.intermediates.iter().enumerate().find(|(_, signer)| {
        last.authority_key_id.is_some()
            && signer.subject_key_id == last.authority_key_id
            && !visited.contains(&signer.sha256)
    }) {
        (position, last) = (index + 2, next);
        visited.insert(last.sha256);
    }
    let signer = last.authority_key_id.as_deref();
    let why = match signer.and_then(|key_id| Some((key_id, bundle.end_of(key_id)?))) {
        Some((key_id, end)) if end < at.as_second() => {
            let end = Timestamp::from_second(end).map_or_else(|_| end.to_string(), |end| end.to_string());
            format!("the authority of {domain} that signed it, {key_id}, ended at {end}")
        }
        Some((key_id, _)) => {
            format!("its signature is not that of the authority of {domain} that it names, {key_id}")
        }
        None if bundle.authorities().is_empty() => format!("the bundle of {domain} is empty"),
        None => {
            let key_id = signer.unwrap_or("no key identifier");
            format!("no authority of {domain} signed it: its issuer is {} ({key_id})", last.issuer)
        }
    };
    (position, why)
}

fn name_of(certificate: &Certificate) -> &str {
    if certificate.subject.is_empty() { "it" } else { &certificate.subject }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_verifier_has_names_for_is_said_without_their_fields() {
        let path_length = webpki::Error::PathLenConstraintViolated;
        assert_eq!(in_words(&path_length), "a CA has more CAs below it than it may have");
        let time = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::ZERO);
        let expired = webpki::Error::CertExpired { time, not_after: time };
        assert_eq!(in_words(&expired), "it breaks a rule of X.509 (CertExpired)");
    }
}
