//! DER: certificates one after the other, and what else may be met in that form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::asn1_rs::{FromDer as _, Header, Tag};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::trust::svid::{Certificate, CertificateError};

use super::error::{NotEnough, SourceError};
use super::{LONGEST_CERTIFICATES, MOST_CERTIFICATES};

/// The most bytes of something else than certificates that are looked at to name it.
const LONGEST_OTHER: usize = 64 << 10;
/// The tag of a sequence, with which all of it begins; as text, it is the digit zero.
const SEQUENCE: u8 = 0x30;
/// The object identifier of signed data, with which PKCS #7 begins (RFC 5652, section 5.1).
const SIGNED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
/// The object identifier with which an encrypted key says how (RFC 8018, section 6.2).
const PBES2: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";

/// Tells whether bytes begin as DER does, and as no text would.
pub(super) fn looks_like_it(bytes: &[u8]) -> bool {
    match bytes {
        // A length of more than 127 bytes has the highest bit set; what is shorter has a tag after it that is no letter.
        [SEQUENCE, length, rest @ ..] => {
            *length >= 0x80 || rest.first().is_some_and(|tag| matches!(tag, 0x02 | 0x06 | 0x30))
        }
        _ => false,
    }
}

/// Reads a certificate from base64, as JSON carries it. `place` says where it is.
///
/// # Errors
/// [`SourceError::Certificate`] when it is none.
pub(super) fn of_base64(
    text: &str,
    position: usize,
    place: impl Fn() -> String,
) -> Result<Certificate, SourceError> {
    let decoded = STANDARD.decode(text);
    let decoded = decoded.map_err(|_| CertificateError::Malformed("it is not base64".to_owned()));
    let read = decoded.and_then(Certificate::from_der);
    read.map_err(|source| SourceError::Certificate { position, place: place(), source })
}

/// Reads certificates that follow each other.
///
/// # Errors
/// [`SourceError`] when something in it is no certificate, or it is cut off.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Certificate>, SourceError> {
    let mut certificates = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let position = certificates.len() + 1;
        let (rest, place) = (&bytes[at..], format!("byte {}", at + 1));
        // The length comes first, so that nothing long is parsed.
        let Some(length) = whole_length(rest) else {
            let source = CertificateError::Malformed("no sequence of a known length begins there".to_owned());
            return Err(SourceError::Certificate { position, place, source });
        };
        if length > LONGEST_CERTIFICATES {
            let source = CertificateError::TooLong(length);
            return Err(SourceError::Certificate { position, place, source });
        }
        if length > rest.len() {
            return Err(SourceError::DerCutOff { position, has: rest.len(), of: length });
        }
        if position > MOST_CERTIFICATES {
            return Err(SourceError::TooManyCertificates { most: MOST_CERTIFICATES });
        }
        at += length;
        if at > LONGEST_CERTIFICATES {
            return Err(SourceError::CertificatesTooLong);
        }
        let certificate = Certificate::from_der(rest[..length].to_vec());
        certificates.push(certificate.map_err(|source| match named(&rest[..length]) {
            Some(named) if position == 1 => named.into(),
            _ => SourceError::Certificate { position, place, source },
        })?);
    }
    Ok(certificates)
}

/// Returns how long the sequence at the beginning is, header included.
pub(super) fn whole_length(bytes: &[u8]) -> Option<usize> {
    let (rest, header) = Header::from_der(bytes).ok()?;
    let content = header.length().definite().ok()?;
    (header.tag() == Tag::Sequence).then(|| (bytes.len() - rest.len()).checked_add(content))?
}

/// Names what is no certificate.
fn named(bytes: &[u8]) -> Option<NotEnough> {
    if bytes.len() > LONGEST_OTHER {
        return None;
    }
    let (content, _) = Header::from_der(bytes).ok()?;
    let start = &content[..content.len().min(16)];
    match content {
        // PKCS #12 has version 3, and a sequence after it (RFC 7292, section 4).
        [0x02, 0x01, 0x03, SEQUENCE, ..] => Some(NotEnough::Pkcs12),
        // PKCS #8 has version 0 or 1 and the algorithm; RSA's own form version 0 and a number; that of elliptic curves version 1 and
        // the key (RFC 5958, RFC 8017, RFC 5915).
        [0x02, 0x01, 0x00 | 0x01, SEQUENCE, ..]
        | [0x02, 0x01, 0x00, 0x02, ..]
        | [0x02, 0x01, 0x01, 0x04, ..] => Some(NotEnough::PrivateKey),
        _ if start.windows(PBES2.len()).any(|part| part == PBES2) => Some(NotEnough::PrivateKey),
        _ if content.starts_with(SIGNED_DATA) => Some(NotEnough::Pkcs7),
        _ if SubjectPublicKeyInfo::from_der(bytes).is_ok() => Some(NotEnough::PublicKey),
        _ if X509CertificationRequest::from_der(bytes).is_ok() => Some(NotEnough::Request),
        _ if CertificateRevocationList::from_der(bytes).is_ok() => Some(NotEnough::RevocationList),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    use super::*;

    /// A sequence, with its length in as many bytes as it takes to have three.
    fn sequence(content: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[SEQUENCE, 0x83], length.as_slice(), content].concat()
    }

    fn certificate(extension: usize) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3], vec![b'x'; extension])];
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn der_is_known_by_its_first_bytes() {
        let cases: [(&[u8], bool); 10] = [
            (&[0x30, 0x80], true),
            (&[0x30, 0x82, 1], true),
            (&[0x30, 0x7f, 0x02], true),
            (&[0x30, 0x7f, 0x06], true),
            (&[0x30, 0x7f, 0x30], true),
            (&[0x30, 0x7f, 0x31], false),
            (&[0x30, 0x7f], false),
            (&[0x31, 0x82, 0x02], false),
            (b"0123", false),
            (&[], false),
        ];
        for (bytes, is_der) in cases {
            assert_eq!(looks_like_it(bytes), is_der, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_too_long_or_cut_off_is_told_by_its_header() {
        let header = |length: usize| {
            let [_, bytes @ ..] = u32::try_from(length - 5).unwrap().to_be_bytes();
            [&[SEQUENCE, 0x83], bytes.as_slice()].concat()
        };
        let cut_off = |of| SourceError::DerCutOff { position: 1, has: 5, of };
        assert_eq!(read(&header(LONGEST_CERTIFICATES)).unwrap_err(), cut_off(LONGEST_CERTIFICATES));
        let too_long = read(&header(LONGEST_CERTIFICATES + 1)).unwrap_err();
        let source = CertificateError::TooLong(LONGEST_CERTIFICATES + 1);
        assert_eq!(too_long, SourceError::Certificate { position: 1, place: "byte 1".to_owned(), source });
        // A tag that is no sequence has no length here.
        assert_eq!((whole_length(&[0x31, 1, 0]), whole_length(&[0x30, 1, 0])), (None, Some(3)));
        assert_eq!(whole_length(&[0x30, 0x80]), None);
    }

    #[test]
    fn all_certificates_together_have_a_most() {
        let large = certificate(100 << 10);
        assert_eq!(read(&large.repeat(30)).unwrap().len(), 30);
        assert_eq!(read(&large.repeat(50)).unwrap_err(), SourceError::CertificatesTooLong);
    }

    #[test]
    fn what_follows_a_certificate_is_no_certificate_whatever_else_it_is() {
        let (certificate, key) = (certificate(1), KeyPair::generate().unwrap().serialize_der());
        assert_eq!(read(&key).unwrap_err(), NotEnough::PrivateKey.into());
        let error = read(&[certificate.as_slice(), &key].concat()).unwrap_err();
        let SourceError::Certificate { position: 2, place, .. } = error else { panic!("{error:?}") };
        assert_eq!(place, format!("byte {}", certificate.len() + 1));
    }

    #[test]
    fn what_is_no_certificate_is_named_by_its_first_fields() {
        let cases: [(&[u8], Option<NotEnough>); 10] = [
            (&[2, 1, 3, 0x30, 0], Some(NotEnough::Pkcs12)),
            (&[2, 1, 0, 0x30, 0], Some(NotEnough::PrivateKey)),
            (&[2, 1, 1, 0x30, 0], Some(NotEnough::PrivateKey)),
            (&[2, 1, 0, 2, 1, 0], Some(NotEnough::PrivateKey)),
            (&[2, 1, 1, 4, 0], Some(NotEnough::PrivateKey)),
            (&[&[0x30, 0x0b], PBES2].concat(), Some(NotEnough::PrivateKey)),
            (&[&[0_u8; 16], PBES2].concat(), None),
            (SIGNED_DATA, Some(NotEnough::Pkcs7)),
            (&[2, 1, 2, 0x30, 0], None),
            (b"x", None),
        ];
        for (content, what) in cases {
            assert_eq!(named(&sequence(content)), what, "{content:?}");
        }
        let long = |length: usize| {
            let mut content = vec![0; length - 5];
            content[..4].copy_from_slice(&[2, 1, 3, 0x30]);
            named(&sequence(&content))
        };
        assert_eq!((long(LONGEST_OTHER), long(LONGEST_OTHER + 1)), (Some(NotEnough::Pkcs12), None));
    }
}
