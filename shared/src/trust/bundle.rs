use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TrustDomain;

/// The most authorities that a bundle may hold before it is refused as absurd.
const MOST_AUTHORITIES: usize = 1000;

/// The SHA-256 of one authority's certificate (DER), the way in which bundles are compared: SPIRE does not store the
/// sequence numbers of bundles that it fetched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityDigest([u8; 32]);

impl AuthorityDigest {
    /// Computes the digest of a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Returns the first eight bytes as hex, enough to tell authorities apart in a table.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..16].to_owned()
    }
}

impl fmt::Display for AuthorityDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuthorityDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for AuthorityDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One X.509 authority (CA certificate) of a bundle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authority {
    der: Vec<u8>,
    /// End of validity, in seconds since 1970 (UTC).
    not_after: i64,
}

impl Authority {
    /// Parses one certificate.
    fn from_der(der: Vec<u8>) -> Result<Self, BundleError> {
        let (rest, certificate) =
            X509Certificate::from_der(&der).map_err(|error| BundleError::Certificate(error.to_string()))?;
        if !rest.is_empty() {
            return Err(BundleError::Certificate(format!("{} bytes follow the certificate", rest.len())));
        }
        let not_after = certificate.validity().not_after.timestamp();
        Ok(Self { der, not_after })
    }

    /// Returns the certificate in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the end of validity, in seconds since 1970 (UTC).
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }
}

/// The X.509 authorities of one trust domain. Never holds those of two domains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    authorities: BTreeMap<AuthorityDigest, Authority>,
}

/// Why something is not a trust bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The certificate does not parse.
    #[error("an authority is not a certificate: {0}")]
    Certificate(String),
    /// Not base64 where base64 is expected.
    #[error("an authority is not base64: {0}")]
    Base64(String),
    /// More authorities than a bundle can sensibly hold.
    #[error("the bundle holds more than {MOST_AUTHORITIES} authorities")]
    TooMany,
}

impl TrustBundle {
    /// Builds a bundle from certificates in DER, as `asn1` of SPIRE's JSON carries them in base64.
    ///
    /// # Errors
    /// [`BundleError`] when one of them is not a certificate.
    pub fn from_base64_der<'a>(
        trust_domain: TrustDomain,
        certificates: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, BundleError> {
        let mut authorities = BTreeMap::new();
        for text in certificates {
            let der = STANDARD.decode(text).map_err(|error| BundleError::Base64(error.to_string()))?;
            authorities.insert(AuthorityDigest::of(&der), Authority::from_der(der)?);
            if authorities.len() > MOST_AUTHORITIES {
                return Err(BundleError::TooMany);
            }
        }
        Ok(Self { trust_domain, authorities })
    }

    /// Returns the trust domain whose SVIDs this bundle verifies.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Returns the authorities by digest.
    #[must_use]
    pub fn authorities(&self) -> &BTreeMap<AuthorityDigest, Authority> {
        &self.authorities
    }

    /// Tells whether both bundles are of the same trust domain and hold the same authorities.
    #[must_use]
    pub fn same_authorities(&self, other: &Self) -> bool {
        self.trust_domain == other.trust_domain && self.authorities.keys().eq(other.authorities.keys())
    }
}

/// A trust bundle in SPIFFE's JSON form (SPIFFE Trust Domain and Bundle, section 4), exactly as one server printed it
/// and the other reads it. Public data: it holds no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleDocument {
    trust_domain: TrustDomain,
    json: String,
}

impl BundleDocument {
    /// Takes the text that the server of `trust_domain` printed.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, json: String) -> Self {
        Self { trust_domain, json }
    }

    /// Returns the trust domain whose server printed it.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Returns the JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        STANDARD.encode(certificate.der())
    }

    fn bundle(certificates: &[&String]) -> TrustBundle {
        TrustBundle::from_base64_der("foo.com".parse().unwrap(), certificates.iter().map(|c| c.as_str()))
            .unwrap()
    }

    #[test]
    fn bundles_are_compared_as_sets_of_authorities() {
        let (a, b) = (authority(), authority());
        assert!(bundle(&[&a, &b]).same_authorities(&bundle(&[&b, &a, &a])));
        assert!(!bundle(&[&a, &b]).same_authorities(&bundle(&[&a])));
    }

    #[test]
    fn bundles_of_different_trust_domains_are_never_the_same() {
        let a = authority();
        let other = TrustBundle::from_base64_der("bar.com".parse().unwrap(), [a.as_str()]).unwrap();
        assert!(!bundle(&[&a]).same_authorities(&other));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let parse = |text: &str| TrustBundle::from_base64_der("foo.com".parse().unwrap(), [text]);
        assert!(matches!(parse("%"), Err(BundleError::Base64(_))));
        assert!(matches!(parse("AAAA"), Err(BundleError::Certificate(_))));
        let mut trailing = STANDARD.decode(authority()).unwrap();
        trailing.push(0);
        assert!(matches!(parse(&STANDARD.encode(trailing)), Err(BundleError::Certificate(_))));
    }
}
