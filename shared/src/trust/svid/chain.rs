use serde::Serialize;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::{Certificate, CertificateError};
use crate::report::escape;
use crate::trust::without_its_text;

/// The most certificates that a chain may hold before it is refused as absurd.
const MOST_CERTIFICATES: usize = 100;
/// The most bytes of PEM that are looked at.
const LONGEST_PEM: usize = 4 << 20;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// An X.509-SVID as it is presented: the leaf, and the signing certificates that come with it.
///
/// Nothing of it has been verified ([`verify`](fn@super::verify) does that), and it may be no SVID at all.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Chain {
    /// The certificate of the workload.
    pub leaf: Certificate,
    /// What came with it, in the order in which it came.
    pub intermediates: Vec<Certificate>,
}

/// Why something is not a chain of certificates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// There is no certificate in it.
    #[error("there is no certificate")]
    Empty,
    /// More certificates than a chain can sensibly hold.
    #[error("there are more than {MOST_CERTIFICATES} certificates")]
    TooMany,
    /// Not PEM where PEM is expected.
    #[error("it is not PEM: {0}")]
    Pem(String),
    /// One of them is no certificate.
    #[error("certificate {position} is not valid")]
    Certificate {
        /// Which one, the leaf being 1.
        position: usize,
        /// What is wrong with it.
        source: CertificateError,
    },
}

impl Chain {
    /// Builds a chain from certificates in DER, the leaf first.
    ///
    /// # Errors
    /// [`ChainError`] when there is none, or one of them is no certificate.
    pub fn from_ders(ders: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, ChainError> {
        let mut certificates = Vec::new();
        for (index, der) in ders.into_iter().enumerate() {
            if index == MOST_CERTIFICATES {
                return Err(ChainError::TooMany);
            }
            let certificate = Certificate::from_der(der)
                .map_err(|source| ChainError::Certificate { position: index + 1, source })?;
            certificates.push(certificate);
        }
        let mut certificates = certificates.into_iter();
        let leaf = certificates.next().ok_or(ChainError::Empty)?;
        Ok(Self { leaf, intermediates: certificates.collect() })
    }

    /// Builds a chain from certificates in DER that follow each other, as the Workload API gives them (SPIFFE Workload API,
    /// section 5.2.1).
    ///
    /// # Errors
    /// [`ChainError`] when there is none, or something in it is no certificate.
    pub fn from_der_sequence(mut bytes: &[u8]) -> Result<Self, ChainError> {
        let mut ders = Vec::new();
        while !bytes.is_empty() {
            if ders.len() == MOST_CERTIFICATES {
                return Err(ChainError::TooMany);
            }
            let (rest, _) = X509Certificate::from_der(bytes).map_err(|error| ChainError::Certificate {
                position: ders.len() + 1,
                source: CertificateError::Malformed(escape(&error.to_string()).into_owned()),
            })?;
            ders.push(bytes[..bytes.len() - rest.len()].to_vec());
            bytes = rest;
        }
        Self::from_ders(ders)
    }

    /// Builds a chain from certificates in PEM, the leaf first.
    ///
    /// # Errors
    /// [`ChainError`] when the text is no PEM, holds anything but certificates, or one of them is none.
    pub fn from_pem(text: &str) -> Result<Self, ChainError> {
        Self::from_ders(certificates_of_pem(text)?)
    }

    /// Returns all its certificates, the leaf first.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.leaf).chain(&self.intermediates)
    }
}

/// Takes the certificates out of PEM, in their order, and lets nothing be passed over in silence: `pem` ends without an error
/// at a block that has no end.
pub(crate) fn certificates_of_pem(text: &str) -> Result<Vec<Vec<u8>>, ChainError> {
    if text.len() > LONGEST_PEM {
        return Err(ChainError::Pem(format!("it is longer than {} MiB", LONGEST_PEM >> 20)));
    }
    let blocks = pem::parse_many(text).map_err(|error| ChainError::Pem(without_its_text(&error)))?;
    let begun = text.matches(BEGIN).count();
    if blocks.iter().any(|block| block.tag() != "CERTIFICATE") {
        // Not named: it may be a key.
        return Err(ChainError::Pem("a block in it is not a certificate".to_owned()));
    }
    if begun != blocks.len() || (begun == 0 && !text.trim().is_empty()) {
        return Err(ChainError::Pem(format!("{} of {begun} certificates are whole", blocks.len())));
    }
    Ok(blocks.into_iter().map(pem::Pem::into_contents).collect())
}
