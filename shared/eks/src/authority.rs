//! The CA of an API server, as AWS gives it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pem::{EncodeConfig, LineEnding};
use x509_parser::parse_x509_certificate;

/// The CA that signed an API server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateAuthority {
    /// One or more certificates in PEM, and nothing else.
    Pem(String),
    /// The answer has none.
    Absent,
    /// The answer has something that is no CA; the text says what is wrong with it.
    Unusable(String),
}

impl CertificateAuthority {
    /// Reads `certificateAuthority.data` of an answer: PEM in base64.
    #[must_use]
    pub fn from_base64(data: Option<&str>) -> Self {
        let Some(data) = data.filter(|data| !data.trim().is_empty()) else { return Self::Absent };
        match certificates(data) {
            Ok(pem) => Self::Pem(pem),
            Err(reason) => Self::Unusable(reason.to_owned()),
        }
    }

    /// Returns the certificates in PEM, if there are any.
    #[must_use]
    pub fn pem(&self) -> Option<&str> {
        match self {
            Self::Pem(pem) => Some(pem),
            Self::Absent | Self::Unusable(_) => None,
        }
    }
}

/// Writes the certificates anew, because they go into secrets that others read: no text around them comes along.
fn certificates(data: &str) -> Result<String, &'static str> {
    let bytes = STANDARD.decode(data.trim()).map_err(|_| "not base64")?;
    let blocks = pem::parse_many(&bytes).map_err(|_| "not PEM")?;
    if blocks.is_empty() {
        return Err("not PEM");
    }
    let is_certificate = |block: &pem::Pem| {
        block.tag() == "CERTIFICATE"
            && parse_x509_certificate(block.contents()).is_ok_and(|(rest, _)| rest.is_empty())
    };
    if !blocks.iter().all(is_certificate) {
        return Err("PEM of something else than X.509 certificates");
    }
    Ok(pem::encode_many_config(&blocks, EncodeConfig::new().set_line_ending(LineEnding::LF)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> CertificateAuthority {
        CertificateAuthority::from_base64(Some(&STANDARD.encode(text)))
    }

    fn certificate() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(Vec::new())
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .pem()
            .replace("\r\n", "\n")
    }

    #[test]
    fn certificates_are_taken_without_what_stands_around_them() {
        let (one, two) = (certificate(), certificate());
        assert_eq!(read(&one).pem(), Some(one.as_str()));
        let both = read(&format!("a comment\u{1b}[2J\n{one}\r\n{two}"));
        assert_eq!(both.pem().unwrap().matches("BEGIN CERTIFICATE").count(), 2);
        assert!(!both.pem().unwrap().contains("comment"));
    }

    #[test]
    fn what_is_no_ca_is_named_and_never_taken() {
        let unusable = |reason: &str| CertificateAuthority::Unusable(reason.to_owned());
        assert_eq!(CertificateAuthority::from_base64(None), CertificateAuthority::Absent);
        assert_eq!(CertificateAuthority::from_base64(Some(" ")), CertificateAuthority::Absent);
        assert_eq!(CertificateAuthority::from_base64(Some("%")), unusable("not base64"));
        assert_eq!(read("something"), unusable("not PEM"));
        let other = "PEM of something else than X.509 certificates";
        assert_eq!(read(&rcgen::KeyPair::generate().unwrap().serialize_pem()), unusable(other));
        assert_eq!(read("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), unusable(other));
    }
}
