use jiff::Timestamp;
use serde::Serialize;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate, X509Extension};

use super::key::{PublicKey, signature_algorithm};
use crate::report::escape;
use crate::trust::{AuthorityDigest, SpiffeId, SpiffeIdError, hex};

/// The most bytes of DER that are looked at. A certificate with 200 names has 10 kB.
const LONGEST_CERTIFICATE: usize = 256 << 10;
/// Tag of a URI in a subject alternative name (RFC 5280, section 4.2.1.6).
const URI_TAG: u32 = 6;

/// What one X.509 certificate says. Nothing of it has been verified; all texts are escaped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    #[serde(skip)]
    der: Vec<u8>,
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Serial number in lower-case hexadecimal, without the octet that only carries the sign.
    pub serial: String,
    /// Start of validity. Times past the end of the year 9999 are given as the last one that there is.
    pub not_before: Timestamp,
    /// End of validity, inclusive.
    pub not_after: Timestamp,
    /// Whether it may sign certificates (`cA` of its basic constraints).
    pub is_ca: bool,
    /// How many more CA certificates may follow it, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_length: Option<u32>,
    /// Its key.
    pub public_key: PublicKey,
    /// How it is signed, as OpenSSL names it; a dotted OID where the algorithm is not known.
    pub signature_algorithm: String,
    /// SHA-256 of the whole certificate (DER).
    pub sha256: AuthorityDigest,
    /// Every URI among its subject alternative names, in its order.
    pub uris: Vec<String>,
    /// Every DNS name among its subject alternative names, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// Subject key identifier in hexadecimal, which SPIRE calls an authority's ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_key_id: Option<String>,
    /// Subject key identifier of the certificate that signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority_key_id: Option<String>,
    /// What its key may be used for, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_usage: Option<KeyUsage>,
    /// What a TLS connection may use it for, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended_key_usage: Option<ExtendedKeyUsage>,
    #[serde(skip)]
    pub(super) names_are_critical: bool,
}

/// The key usage extension, as far as SPIFFE rules on it (X509-SVID, section 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "they are the bits of the extension")]
pub struct KeyUsage {
    /// Whether who does not know the extension has to refuse the certificate.
    pub critical: bool,
    /// May sign handshakes.
    pub digital_signature: bool,
    /// May sign certificates.
    pub key_cert_sign: bool,
    /// May sign revocation lists.
    pub crl_sign: bool,
}

/// The extended key usage extension, as far as SPIFFE rules on it (X509-SVID, section 4.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtendedKeyUsage {
    /// May be a TLS server.
    pub server: bool,
    /// May be a TLS client.
    pub client: bool,
}

/// Why bytes are not a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Longer than any certificate.
    #[error("{0} bytes are too many for a certificate")]
    TooLong(usize),
    /// Not DER, or not X.509.
    #[error("it does not parse: {0}")]
    Malformed(String),
    /// Something follows it.
    #[error("{0} bytes follow the certificate")]
    Trailing(usize),
    /// An extension that matters here does not parse, or is there twice.
    #[error("its extension {0} does not parse, or is there twice")]
    Extension(String),
    /// A time that is none.
    #[error("its validity is no time: {0}")]
    Time(String),
}

impl Certificate {
    /// Reads one certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError`] when the bytes are no certificate, or more than one.
    pub fn from_der(der: Vec<u8>) -> Result<Self, CertificateError> {
        if der.len() > LONGEST_CERTIFICATE {
            return Err(CertificateError::TooLong(der.len()));
        }
        let (rest, parsed) = X509Certificate::from_der(&der)
            .map_err(|error| CertificateError::Malformed(escape(&error.to_string()).into_owned()))?;
        if !rest.is_empty() {
            return Err(CertificateError::Trailing(rest.len()));
        }
        let mut certificate = Self {
            subject: escape(&parsed.subject().to_string()).into_owned(),
            issuer: escape(&parsed.issuer().to_string()).into_owned(),
            serial: serial(parsed.raw_serial()),
            not_before: time(parsed.validity().not_before.timestamp())?,
            not_after: time(parsed.validity().not_after.timestamp())?,
            is_ca: false,
            path_length: None,
            public_key: PublicKey::of(parsed.public_key()),
            signature_algorithm: signature_algorithm(&parsed.signature_algorithm),
            sha256: AuthorityDigest::of(&der),
            uris: Vec::new(),
            dns_names: Vec::new(),
            subject_key_id: None,
            authority_key_id: None,
            key_usage: None,
            extended_key_usage: None,
            names_are_critical: false,
            der: Vec::new(),
        };
        let mut seen = Vec::new();
        for extension in parsed.extensions() {
            let known = certificate.read(extension)?;
            if known && seen.contains(&&extension.oid) {
                return Err(CertificateError::Extension(extension.oid.to_id_string()));
            }
            seen.push(&extension.oid);
        }
        certificate.der = der;
        Ok(certificate)
    }

    /// Takes over what an extension says; tells whether it is one of those that are looked at.
    fn read(&mut self, extension: &X509Extension<'_>) -> Result<bool, CertificateError> {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => {
                self.is_ca = constraints.ca;
                self.path_length = constraints.path_len_constraint;
            }
            ParsedExtension::KeyUsage(usage) => {
                self.key_usage = Some(KeyUsage {
                    critical: extension.critical,
                    digital_signature: usage.digital_signature(),
                    key_cert_sign: usage.key_cert_sign(),
                    crl_sign: usage.crl_sign(),
                });
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.extended_key_usage =
                    Some(ExtendedKeyUsage { server: usage.server_auth, client: usage.client_auth });
            }
            ParsedExtension::SubjectKeyIdentifier(id) => self.subject_key_id = Some(hex(id.0)),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key_id = id.key_identifier.as_ref().map(|id| hex(id.0));
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                self.names_are_critical = extension.critical;
                names.general_names.iter().for_each(|name| self.read_name(name));
            }
            ParsedExtension::ParseError { .. } => {
                return Err(CertificateError::Extension(extension.oid.to_id_string()));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn read_name(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::URI(uri) => self.uris.push(escape(uri).into_owned()),
            GeneralName::DNSName(name) => self.dns_names.push(escape(name).into_owned()),
            // It counts as a URI: there must be exactly one, whatever it says.
            GeneralName::Invalid(tag, bytes) if tag.0 == URI_TAG => {
                self.uris.push(escape(&String::from_utf8_lossy(bytes)).into_owned());
            }
            _ => (),
        }
    }

    /// Returns the certificate in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Writes the certificate in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(&pem::Pem::new("CERTIFICATE", self.der.clone()), config)
    }

    /// Returns its SPIFFE ID. `None` where it has no URI, or several (X509-SVID, section 2).
    ///
    /// # Errors
    /// [`SpiffeIdError`] when its only URI is no SPIFFE ID.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<Result<SpiffeId, SpiffeIdError>> {
        // An escaped text holds a backslash, and no SPIFFE ID does.
        match self.uris.as_slice() {
            [uri] => Some(uri.parse()),
            _ => None,
        }
    }

    /// Tells whether a time is within its validity, both ends included.
    #[must_use]
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        // Whole seconds: that is all a certificate can say.
        (self.not_before.as_second()..=self.not_after.as_second()).contains(&at.as_second())
    }
}

/// Writes a serial number as OpenSSL does, in lower case.
fn serial(bytes: &[u8]) -> String {
    match bytes {
        [0, rest @ ..] if !rest.is_empty() => hex(rest),
        _ => hex(bytes),
    }
}

/// Takes a time from a certificate. RFC 5280 (section 4.1.2.5) has 9999-12-31T23:59:59Z for "no end", which is after the last
/// instant that a [`Timestamp`] can hold.
fn time(seconds: i64) -> Result<Timestamp, CertificateError> {
    let seconds = seconds.min(Timestamp::MAX.as_second());
    Timestamp::from_second(seconds).map_err(|error| CertificateError::Time(error.to_string()))
}
