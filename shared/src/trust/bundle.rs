use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use super::TrustDomain;
use crate::report::{cut, one_line};

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
    /// Start of validity, in seconds since 1970 (UTC).
    not_before: i64,
    /// End of validity, in seconds since 1970 (UTC).
    not_after: i64,
    key_id: Option<String>,
}

impl Authority {
    /// Parses one certificate.
    pub(crate) fn from_der(der: Vec<u8>) -> Result<Self, BundleError> {
        let (rest, certificate) =
            X509Certificate::from_der(&der).map_err(|error| BundleError::Certificate(error.to_string()))?;
        if !rest.is_empty() {
            return Err(BundleError::Certificate(format!("{} bytes follow the certificate", rest.len())));
        }
        let not_before = certificate.validity().not_before.timestamp();
        let not_after = certificate.validity().not_after.timestamp();
        let key_id =
            certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(hex(id.0)),
                _ => None,
            });
        Ok(Self { der, not_before, not_after, key_id })
    }

    /// Returns the certificate in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the start of validity, in seconds since 1970 (UTC).
    #[must_use]
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Returns the end of validity, in seconds since 1970 (UTC).
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Returns the subject key identifier in hexadecimal, which SPIRE calls the authority's ID. `None` where the certificate has
    /// none (RFC 5280, section 4.2.1.2, asks for one in every CA certificate).
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }
}

/// Says what is wrong with PEM without a word of it: the words of `pem` repeat lines that it takes for headers, and a key may have such.
pub(crate) fn without_its_text(error: &pem::PemError) -> String {
    match error {
        pem::PemError::InvalidHeader(_) => "a header of a block is not valid".to_owned(),
        pem::PemError::MismatchedTags(..) => "a block does not end as what it begins as".to_owned(),
        error => error.to_string(),
    }
}

/// Says what is wrong with JSON. The words of serde repeat what it stumbled over, however long that is.
pub(crate) fn words_of_json(error: &serde_json::Error) -> String {
    cut(one_line(&error.to_string()), 300)
}

/// Writes bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The X.509 authorities of one trust domain. Never holds those of two domains. Two are equal that hold the same ones, in whatever order.
#[derive(Clone, Debug)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    authorities: BTreeMap<AuthorityDigest, Authority>,
    /// Their order where the bundle was read: Envoy takes the first authority that can have signed.
    order: Vec<AuthorityDigest>,
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        self.trust_domain == other.trust_domain && self.authorities == other.authorities
    }
}

impl Eq for TrustBundle {}

/// Why something is not a trust bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The certificate does not parse.
    #[error("an authority is not a certificate: {0}")]
    Certificate(String),
    /// Not base64 where base64 is expected.
    #[error("an authority is not base64: {0}")]
    Base64(String),
    /// Not the JSON that is expected.
    #[error("the bundle is not SPIFFE's JSON: {0}")]
    Json(String),
    /// Not PEM where PEM is expected.
    #[error("the bundle is not PEM: {0}")]
    Pem(String),
    /// An authority with none or several certificates in SPIFFE's JSON. SPIRE refuses such a bundle.
    #[error(
        "key {position} of those for x509-svid has {certificates} certificates (`x5c`) instead of a single one"
    )]
    NotSingle {
        /// Which of the keys for X.509-SVIDs, from 1.
        position: usize,
        /// How many certificates it has.
        certificates: usize,
    },
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
        let decoded = |text| STANDARD.decode(text).map_err(|error| BundleError::Base64(error.to_string()));
        Self::of_ders(trust_domain, certificates.into_iter().map(decoded))
    }

    /// Builds a bundle from certificates in PEM, as agents start from. Blocks of other kinds are left out.
    ///
    /// # Errors
    /// [`BundleError`] when the text is no PEM, or one of them is not a certificate.
    pub fn from_pem(trust_domain: TrustDomain, text: &str) -> Result<Self, BundleError> {
        let blocks = pem::parse_many(text).map_err(|error| BundleError::Pem(without_its_text(&error)))?;
        let certificates = blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE");
        Self::of_ders(trust_domain, certificates.map(|block| Ok(block.into_contents())))
    }

    /// Builds a bundle from certificates in DER that follow each other, as the Workload API gives them (SPIFFE Workload API,
    /// section 5.2.1).
    ///
    /// # Errors
    /// [`BundleError`] when something in it is not a certificate.
    pub fn from_der_sequence(trust_domain: TrustDomain, mut bytes: &[u8]) -> Result<Self, BundleError> {
        let next = || {
            if bytes.is_empty() {
                return None;
            }
            let parsed = X509Certificate::from_der(bytes);
            Some(parsed.map_err(|error| BundleError::Certificate(error.to_string())).map(|(rest, _)| {
                let der = bytes[..bytes.len() - rest.len()].to_vec();
                bytes = rest;
                der
            }))
        };
        Self::of_ders(trust_domain, std::iter::from_fn(next))
    }

    /// Builds a bundle from certificates one by one, and stops at the first that is none, or is one too many.
    fn of_ders(
        trust_domain: TrustDomain,
        ders: impl Iterator<Item = Result<Vec<u8>, BundleError>>,
    ) -> Result<Self, BundleError> {
        let (mut authorities, mut order) = (BTreeMap::new(), Vec::new());
        for der in ders {
            let der = der?;
            let digest = AuthorityDigest::of(&der);
            if authorities.insert(digest, Authority::from_der(der)?).is_none() {
                order.push(digest);
            }
            if authorities.len() > MOST_AUTHORITIES {
                return Err(BundleError::TooMany);
            }
        }
        Ok(Self { trust_domain, authorities, order })
    }

    /// Writes the authorities in PEM, one after the other.
    #[must_use]
    pub fn to_pem(&self) -> String {
        // OpenSSL and Go read both line endings; every other tool here writes this one.
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        let block = |authority: &Authority| pem::Pem::new("CERTIFICATE", authority.der.clone());
        pem::encode_many_config(&self.authorities.values().map(block).collect::<Vec<_>>(), config)
    }

    /// Builds a bundle from SPIFFE's JSON (SPIFFE Trust Domain and Bundle, section 4). Keys of JWTs are left out.
    ///
    /// # Errors
    /// [`BundleError`] when the text is no such JSON, or one of the authorities is not a certificate.
    pub fn from_spiffe_json(trust_domain: TrustDomain, text: &str) -> Result<Self, BundleError> {
        let keys: SpiffeKeys =
            serde_json::from_str(text).map_err(|error| BundleError::Json(words_of_json(&error)))?;
        keys.bundle_of(trust_domain)
    }

    /// Returns the authority with this subject key identifier (hexadecimal).
    #[must_use]
    pub fn with_key_id(&self, key_id: &str) -> Option<(&AuthorityDigest, &Authority)> {
        self.authorities.iter().find(|(_, authority)| authority.key_id() == Some(key_id))
    }

    /// Returns the end of validity of the authority with this subject key identifier, in seconds since 1970 (UTC). One that was
    /// renewed with the same key is there twice; the later end counts.
    #[must_use]
    pub fn end_of(&self, key_id: &str) -> Option<i64> {
        let of_key = self.authorities.values().filter(|authority| authority.key_id() == Some(key_id));
        of_key.map(Authority::not_after).max()
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

    /// Returns the authorities in the order in which the bundle has them.
    pub fn in_order(&self) -> impl Iterator<Item = (&AuthorityDigest, &Authority)> {
        self.order.iter().filter_map(|digest| self.authorities.get_key_value(digest))
    }

    /// Tells whether both bundles are of the same trust domain and hold the same authorities.
    #[must_use]
    pub fn same_authorities(&self, other: &Self) -> bool {
        self.trust_domain == other.trust_domain && self.authorities.keys().eq(other.authorities.keys())
    }
}

/// What SPIFFE's JSON holds of a bundle, which does not say of which trust domain it is.
#[derive(Deserialize)]
pub(crate) struct SpiffeKeys {
    keys: Vec<SpiffeKey>,
}

#[derive(Deserialize)]
struct SpiffeKey {
    #[serde(rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    x5c: Vec<String>,
}

impl SpiffeKeys {
    /// Builds the bundle of a trust domain. Keys of JWTs are left out.
    pub(crate) fn bundle_of(&self, trust_domain: TrustDomain) -> Result<TrustBundle, BundleError> {
        let keys = self.keys.iter().filter(|key| key.purpose.as_deref() == Some("x509-svid"));
        TrustBundle::from_base64_der(trust_domain, single(keys.map(|key| key.x5c.as_slice()))?)
    }
}

/// Takes the one certificate of each authority (SPIFFE Trust Domain and Bundle, section 4.2.2).
fn single<'k>(keys: impl Iterator<Item = &'k [String]>) -> Result<Vec<&'k str>, BundleError> {
    let one = |(index, x5c): (usize, &'k [String])| match x5c {
        [certificate] => Ok(certificate.as_str()),
        _ => Err(BundleError::NotSingle { position: index + 1, certificates: x5c.len() }),
    };
    keys.enumerate().map(one).collect()
}

/// A trust bundle in SPIFFE's JSON form (SPIFFE Trust Domain and Bundle, section 4), as one server gives it and the other takes it: what was read
/// and understood of it, and nothing else. Public data: it holds no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleDocument {
    bundle: TrustBundle,
    keys: Document,
}

/// The members of the document, all of them public.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Document {
    keys: Vec<PublicKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_refresh_hint: Option<u64>,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Purpose {
    X509Svid,
    JwtSvid,
    /// Not known here. Such a key is passed over (SPIFFE Trust Domain and Bundle, section 4.2.2).
    #[serde(other)]
    #[default]
    Unknown,
}

/// A public key (RFC 7517 and 7518): the members that SPIRE writes. Those of a private key are not among them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct PublicKey {
    #[serde(rename = "use", default)]
    purpose: Purpose,
    kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    x5c: Vec<String>,
}

impl BundleDocument {
    /// Reads what a server printed as the bundle of `trust_domain`, which the document itself does not name.
    ///
    /// # Errors
    /// [`BundleError`] when it is no such document, or holds an authority that is no certificate.
    pub fn parse(trust_domain: TrustDomain, text: &str) -> Result<Self, BundleError> {
        let mut keys: Document =
            serde_json::from_str(text).map_err(|error| BundleError::Json(words_of_json(&error)))?;
        if keys.keys.len() > MOST_AUTHORITIES {
            return Err(BundleError::TooMany);
        }
        keys.keys.retain(|key| key.purpose != Purpose::Unknown);
        let authorities = keys.keys.iter().filter(|key| key.purpose == Purpose::X509Svid);
        let certificates = single(authorities.map(|key| key.x5c.as_slice()))?;
        let bundle = TrustBundle::from_base64_der(trust_domain, certificates)?;
        Ok(Self { bundle, keys })
    }

    /// Returns the trust domain whose bundle it is.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.bundle.trust_domain
    }

    /// Returns its X.509 authorities.
    #[must_use]
    pub fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// Writes it as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Nothing in it can fail to be written.
        serde_json::to_string_pretty(&self.keys).unwrap_or_default()
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

    /// Certificates of one key, each of which ends in another year.
    fn renewed(years: &[i32]) -> Vec<Vec<u8>> {
        let key = rcgen::KeyPair::generate().unwrap();
        let of_year = |year: &i32| {
            let mut params = rcgen::CertificateParams::default();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(vec![0, 0xab, 1]);
            (params.not_before, params.not_after) =
                (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(*year, 1, 1));
            params.self_signed(&key).unwrap().der().to_vec()
        };
        years.iter().map(of_year).collect()
    }

    fn of_ders(ders: &[Vec<u8>]) -> Result<TrustBundle, BundleError> {
        TrustBundle::from_der_sequence("foo.com".parse().unwrap(), &ders.concat())
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
    fn the_order_of_the_authorities_is_kept_and_each_is_there_once() {
        let (a, b) = (authority(), authority());
        let ders = |bundle: TrustBundle| {
            let ders: Vec<String> =
                bundle.in_order().map(|(_, authority)| STANDARD.encode(authority.der())).collect();
            ders
        };
        assert_eq!(ders(bundle(&[&a, &b, &a])), [a.clone(), b.clone()]);
        assert_eq!(ders(bundle(&[&b, &a])), [b.clone(), a.clone()]);
        assert_eq!(bundle(&[&a, &b]), bundle(&[&b, &a]));
        assert_ne!(bundle(&[&a, &b]), bundle(&[&b]));
    }

    #[test]
    fn bundles_of_different_trust_domains_are_never_the_same() {
        let a = authority();
        let other = TrustBundle::from_base64_der("bar.com".parse().unwrap(), [a.as_str()]).unwrap();
        assert!(!bundle(&[&a]).same_authorities(&other));
    }

    #[test]
    fn a_bundle_is_the_same_in_every_form() {
        let (a, b) = (authority(), authority());
        let both = bundle(&[&a, &b]);
        let name = || "foo.com".parse().unwrap();
        let der: Vec<u8> = [&a, &b].iter().flat_map(|text| STANDARD.decode(text).unwrap()).collect();
        assert_eq!(TrustBundle::from_der_sequence(name(), &der).unwrap(), both);
        assert_eq!(TrustBundle::from_pem(name(), &both.to_pem()).unwrap(), both);
        assert!(TrustBundle::from_der_sequence(name(), &der[..der.len() - 1]).is_err());
        // What is no certificate is passed over in PEM, wherever it stands.
        let key = pem::encode(&pem::Pem::new("PRIVATE KEY", b"hunter2".to_vec()));
        assert_eq!(TrustBundle::from_pem(name(), &format!("{key}{}{key}", both.to_pem())).unwrap(), both);
    }

    #[test]
    fn an_authority_is_known_by_its_digest_and_by_its_key() {
        let ders = renewed(&[2027]);
        let bundle = of_ders(&ders).unwrap();
        let (digest, authority) = bundle.with_key_id("00ab01").unwrap();
        assert_eq!((*digest, authority.der()), (AuthorityDigest::of(&ders[0]), ders[0].as_slice()));
        assert_eq!(authority.key_id(), Some("00ab01"));
        assert_eq!((authority.not_before(), authority.not_after()), (1_577_836_800, 1_798_761_600));
        assert_eq!(bundle.with_key_id("00ab02"), None);
        assert_eq!(bundle.trust_domain().as_str(), "foo.com");
        let empty = AuthorityDigest::of(b"");
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!((empty.to_string(), format!("{empty:?}")), (text.to_owned(), text.to_owned()));
        assert_eq!(empty.short(), text[..16]);
        assert_eq!(serde_json::to_value(empty).unwrap(), text);
    }

    #[test]
    fn of_a_key_that_was_renewed_the_later_end_counts_whatever_the_order() {
        let end = |year: i32| Authority::from_der(renewed(&[year]).remove(0)).unwrap().not_after();
        let mut ders = renewed(&[2027, 2029, 2028]);
        // Another key, which ends later than all of them.
        let other = rcgen::KeyPair::generate().unwrap();
        ders.push(rcgen::CertificateParams::default().self_signed(&other).unwrap().der().to_vec());
        let bundle = of_ders(&ders).unwrap();
        assert_eq!(bundle.authorities().len(), 4);
        assert_eq!(bundle.end_of("00ab01"), Some(end(2029)));
        assert_eq!(bundle.end_of("00ab02"), None);
    }

    #[test]
    fn of_spiffes_json_only_what_is_for_x509_is_an_authority() {
        let ders = renewed(&[2027, 2028, 2029]);
        let encoded: Vec<String> = ders.iter().map(|der| STANDARD.encode(der)).collect();
        let json = serde_json::json!({"keys": [
            {"use": "jwt-svid", "x5c": [encoded[0]]},
            {"use": "x509-svid", "x5c": [encoded[1]]},
            {"x5c": [encoded[2]]},
        ]});
        let read = TrustBundle::from_spiffe_json("foo.com".parse().unwrap(), &json.to_string()).unwrap();
        assert_eq!(read, of_ders(&ders[1..2]).unwrap());
    }

    #[test]
    fn an_authority_has_a_single_certificate_or_the_bundle_is_refused() {
        let der = STANDARD.encode(&renewed(&[2027])[0]);
        for certificates in [0, 2] {
            let x5c = vec![der.clone(); certificates];
            let keys = [vec![der.clone()], x5c]
                .map(|x5c| serde_json::json!({"use": "x509-svid", "kty": "EC", "x5c": x5c}));
            let text = serde_json::json!({"keys": keys}).to_string();
            let refused = BundleError::NotSingle { position: 2, certificates };
            let name = || "foo.com".parse().unwrap();
            assert_eq!(TrustBundle::from_spiffe_json(name(), &text), Err(refused.clone()));
            assert_eq!(BundleDocument::parse(name(), &text), Err(refused));
        }
    }

    #[test]
    fn a_document_that_is_carried_holds_what_was_understood_and_nothing_else() {
        let ders = renewed(&[2027, 2028, 2029]);
        let encoded: Vec<String> = ders.iter().map(|der| STANDARD.encode(der)).collect();
        let x509 = |der: &str| serde_json::json!({"use": "x509-svid", "kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ", "x5c": [der]});
        let jwt = serde_json::json!({"use": "jwt-svid", "kty": "RSA", "kid": "k1", "n": "bg", "e": "AQAB"});
        let public = serde_json::json!({
            "keys": [x509(&encoded[0]), jwt, x509(&encoded[2])],
            "spiffe_sequence": 7,
            "spiffe_refresh_hint": 300,
        });
        let mut printed = public.clone();
        printed["keys"][1]["d"] = "a private exponent".into();
        printed["keys"][0]["oth"] = serde_json::json!([1]);
        printed["trust_domain"] = "bar.com".into();
        for unknown in [serde_json::json!({"use": "wit-svid", "kty": "EC"}), serde_json::json!({"kty": "EC"})]
        {
            printed["keys"].as_array_mut().unwrap().push(unknown);
        }
        let read = BundleDocument::parse("foo.com".parse().unwrap(), &printed.to_string()).unwrap();
        assert_eq!(read.trust_domain().as_str(), "foo.com");
        assert_eq!(read.bundle(), &of_ders(&[ders[0].clone(), ders[2].clone()]).unwrap());
        let written: serde_json::Value = serde_json::from_str(&read.to_json()).unwrap();
        assert_eq!(written, public);
    }

    #[test]
    fn a_document_whose_authorities_are_not_understood_is_not_carried() {
        let refused = |json: &serde_json::Value| {
            BundleDocument::parse("foo.com".parse().unwrap(), &json.to_string()).unwrap_err().to_string()
        };
        let key = serde_json::json!({"use": "x509-svid", "kty": "EC", "x5c": ["AAAA"]});
        assert!(refused(&serde_json::json!({"keys": [key]})).contains("certificate"));
        assert!(refused(&serde_json::json!({"jwks": []})).contains("keys"));
        let keys: Vec<_> = (0..1001).map(|_| serde_json::json!({"use": "jwt-svid", "kty": "EC"})).collect();
        assert!(refused(&serde_json::json!({"keys": keys})).contains("more than 1000"));
    }

    #[test]
    fn a_bundle_has_a_thousand_authorities_at_most() {
        // The end of a certificate is its signature, which nobody verifies here: a change makes it another one.
        let der = STANDARD.decode(authority()).unwrap();
        let ders = |count: u16| {
            let other = |number: u16| {
                let mut der = der.clone();
                let end = der.len() - 2;
                der[end..].copy_from_slice(&number.to_be_bytes());
                der
            };
            (0..count).map(other).collect::<Vec<_>>()
        };
        assert_eq!(of_ders(&ders(1000)).unwrap().authorities().len(), 1000);
        assert_eq!(of_ders(&ders(1001)), Err(BundleError::TooMany));
    }

    #[test]
    fn what_is_wrong_with_pem_is_said_without_its_text() {
        for text in [
            "-----BEGIN PRIVATE KEY-----\nsecret\u{1b}[2J\n\nAAAA\n-----END PRIVATE KEY-----\n",
            "-----BEGIN secret\u{1b}[2J-----\nAAAA\n-----END other-----\n",
        ] {
            let Err(BundleError::Pem(why)) = TrustBundle::from_pem("foo.com".parse().unwrap(), text) else {
                panic!("{text:?} is PEM")
            };
            assert!(why.starts_with("a block ") || why.starts_with("a header "), "{why:?}");
        }
    }

    #[test]
    fn json_that_is_no_bundle_is_not_repeated_as_a_whole() {
        let text = format!(r#""{}""#, "long".repeat(100_000));
        let error = TrustBundle::from_spiffe_json("foo.com".parse().unwrap(), &text).unwrap_err();
        assert!(error.to_string().chars().count() < 400);
        let start = r#"the bundle is not SPIFFE's JSON: invalid type: string "longlong"#;
        assert!(error.to_string().starts_with(start), "{error}");
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
