//! Bundles as SPIRE's server prints them: `spire-server bundle show -output json`, and `bundle list -output json` for those of other
//! trust domains. Each says of which trust domain it is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::envoy::AtMost;
use crate::trust::svid::Certificate;
use crate::trust::{TrustBundle, TrustDomain};

use super::error::{NotEnough, SourceError};
use super::notation::Notation;
use super::{Bundles, LONGEST_CERTIFICATES, MOST_CERTIFICATES, Source, SourceKind, der, once};

/// The most bundles that are looked at: one for each trust domain that a server federates with.
const MOST_BUNDLES: usize = 1000;

/// Reads the one bundle that the server shows as its own.
///
/// # Errors
/// [`SourceError`] where it is not whole, or has no authority.
pub(super) fn read_one(notation: Notation, text: &[u8]) -> Result<Source, SourceError> {
    let bundle: Bundle = notation.read(text, SourceKind::SpireBundle)?;
    of_bundles(vec![bundle])
}

/// Reads the bundles that the server lists.
///
/// # Errors
/// [`SourceError`] where one is not whole, or there is none.
pub(super) fn read_list(notation: Notation, text: &[u8]) -> Result<Source, SourceError> {
    #[derive(Deserialize)]
    struct Document {
        bundles: AtMost<Bundle, MOST_BUNDLES>,
    }
    let document: Document = notation.read(text, SourceKind::SpireBundle)?;
    let too_many = |_| SourceError::TooManyCertificates { most: MOST_BUNDLES };
    of_bundles(document.bundles.all().map_err(too_many)?)
}

fn of_bundles(listed: Vec<Bundle>) -> Result<Source, SourceError> {
    if listed.iter().any(|bundle| bundle.of_our_report.is_some()) {
        return Err(NotEnough::DigestsOnly.into());
    }
    let mut notes = Vec::new();
    let mut bundles = BTreeMap::new();
    let mut budget = Budget { certificates: MOST_CERTIFICATES, bytes: LONGEST_CERTIFICATES };
    for (index, bundle) in listed.into_iter().enumerate() {
        let (trust_domain, bundle) = bundle.read(index + 1, &mut budget, &mut notes)?;
        if bundles.insert(trust_domain.clone(), bundle).is_some() {
            return Err(SourceError::BundleTwice { trust_domain });
        }
    }
    if bundles.values().all(|bundle| bundle.authorities().is_empty()) {
        return Err(NotEnough::NoBundle.into());
    }
    Ok(Source {
        kind: SourceKind::SpireBundle,
        chain: None,
        issuers: Vec::new(),
        bundles: Bundles::Separate(bundles),
        key_was_shown: false,
        others: Vec::new(),
        notes,
    })
}

/// How much may still be read.
struct Budget {
    certificates: usize,
    bytes: usize,
}

impl Budget {
    fn spend(&mut self, bytes: usize) -> Result<(), SourceError> {
        let too_many = SourceError::TooManyCertificates { most: MOST_CERTIFICATES };
        self.certificates = self.certificates.checked_sub(1).ok_or(too_many)?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or(SourceError::CertificatesTooLong)?;
        Ok(())
    }
}

/// `types.Bundle` of SPIRE's API, in protobuf's JSON.
#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    trust_domain: String,
    #[serde(default)]
    x509_authorities: AtMost<Authority, MOST_CERTIFICATES>,
    /// A field that SPIRE does not have, and `kubectl spire-federate bundle show -o json` does.
    #[serde(rename = "trustDomain")]
    of_our_report: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Authority {
    asn1: String,
    #[serde(default)]
    tainted: bool,
}

impl Bundle {
    fn read(
        self,
        position: usize,
        budget: &mut Budget,
        notes: &mut Vec<String>,
    ) -> Result<(TrustDomain, TrustBundle), SourceError> {
        let parsed = self.trust_domain.parse();
        let trust_domain: TrustDomain =
            parsed.map_err(|source| SourceError::BundleOfNobody { position, source })?;
        let authorities = self.x509_authorities.all();
        let authorities =
            authorities.map_err(|_| SourceError::TooManyCertificates { most: MOST_CERTIFICATES })?;
        let mut certificates = Vec::new();
        for (index, authority) in authorities.into_iter().enumerate() {
            budget.spend(authority.asn1.len())?;
            let place = || format!("authority {} of {}", index + 1, trust_domain);
            let certificate = der::of_base64(&authority.asn1, index + 1, place)?;
            if authority.tainted {
                notes.push(format!("{} is tainted: SPIRE takes what it signed out of use", place()));
            }
            certificates.push(certificate);
        }
        let certificates = once(certificates, &format!("bundle of {trust_domain}"), notes);
        let ders: Vec<u8> = certificates.iter().flat_map(Certificate::der).copied().collect();
        // They have been read, and are no more than a bundle holds.
        let bundle = TrustBundle::from_der_sequence(trust_domain.clone(), &ders)
            .map_err(|source| SourceError::Bundle { trust_domain: trust_domain.clone(), source })?;
        Ok((trust_domain, bundle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_read_as_long_as_there_is_something_left_to_spend() {
        let mut budget = Budget { certificates: 3, bytes: 10 };
        assert_eq!([budget.spend(4), budget.spend(6)], [Ok(()), Ok(())]);
        assert_eq!((budget.certificates, budget.bytes), (1, 0));
        assert_eq!(budget.spend(1), Err(SourceError::CertificatesTooLong));
        assert_eq!(budget.spend(0), Err(SourceError::TooManyCertificates { most: MOST_CERTIFICATES }));
    }
}
