use std::fmt;

use serde::Serialize;
use x509_parser::der_parser::oid::Oid;
use x509_parser::public_key::PublicKey as ParsedKey;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// The public key of a certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicKey {
    /// `RSA`, `EC`, `Ed25519`, or a dotted OID.
    pub algorithm: String,
    /// Its size in bits, where that says something: RSA and EC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits: Option<usize>,
    /// The curve of an EC key: `P-256`, `P-384`, `P-521`, or a dotted OID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curve: Option<String>,
}

impl fmt::Display for PublicKey {
    /// Writes `EC P-256`, `RSA 4096`, `Ed25519`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.algorithm)?;
        match (&self.curve, self.bits) {
            (Some(curve), _) => write!(f, " {curve}"),
            (None, Some(bits)) => write!(f, " {bits}"),
            (None, None) => Ok(()),
        }
    }
}

impl PublicKey {
    pub(super) fn of(info: &SubjectPublicKeyInfo<'_>) -> Self {
        let oid = info.algorithm.algorithm.to_id_string();
        match oid.as_str() {
            // RFC 8017 and RFC 4055: RSA, and RSA for PSS only.
            "1.2.840.113549.1.1.1" | "1.2.840.113549.1.1.10" => {
                let bits = match info.parsed() {
                    Ok(ParsedKey::RSA(key)) => Some(significant_bits(key.modulus)),
                    _ => None,
                };
                Self { algorithm: "RSA".to_owned(), bits, curve: None }
            }
            // RFC 5480.
            "1.2.840.10045.2.1" => {
                let curve = info.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
                let (curve, bits) = curve.as_ref().map(named_curve).unzip();
                Self { algorithm: "EC".to_owned(), bits: bits.flatten(), curve }
            }
            // RFC 8410.
            "1.3.101.112" => Self { algorithm: "Ed25519".to_owned(), bits: None, curve: None },
            _ => Self { algorithm: oid, bits: None, curve: None },
        }
    }
}

/// Counts the bits of a positive number, most significant byte first.
fn significant_bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    match &number[zeros..] {
        [] => 0,
        [first, rest @ ..] => 8 * rest.len() + 8 - first.leading_zeros() as usize,
    }
}

/// Names a curve (RFC 5480, section 2.1.1.1) and gives the size of its field in bits.
fn named_curve(oid: &Oid<'_>) -> (String, Option<usize>) {
    let oid = oid.to_id_string();
    match oid.as_str() {
        "1.2.840.10045.3.1.7" => ("P-256".to_owned(), Some(256)),
        "1.3.132.0.34" => ("P-384".to_owned(), Some(384)),
        "1.3.132.0.35" => ("P-521".to_owned(), Some(521)),
        _ => (oid, None),
    }
}

/// Names a signature algorithm as OpenSSL does; a dotted OID where it is none of those that a CA uses today.
pub(crate) fn signature_algorithm(algorithm: &AlgorithmIdentifier<'_>) -> String {
    let oid = algorithm.algorithm.to_id_string();
    let name = match oid.as_str() {
        "1.2.840.10045.4.1" => "ecdsa-with-SHA1",
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384",
        "1.2.840.10045.4.3.4" => "ecdsa-with-SHA512",
        "1.2.840.113549.1.1.4" => "md5WithRSAEncryption",
        "1.2.840.113549.1.1.5" => "sha1WithRSAEncryption",
        "1.2.840.113549.1.1.10" => "rsassaPss",
        "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption",
        "1.2.840.113549.1.1.12" => "sha384WithRSAEncryption",
        "1.2.840.113549.1.1.13" => "sha512WithRSAEncryption",
        "1.3.101.112" => "ED25519",
        _ => return oid,
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(text: &str) -> Oid<'static> {
        let parts: Vec<u64> = text.split('.').map(|part| part.parse().unwrap()).collect();
        Oid::from(&parts).unwrap()
    }

    #[test]
    fn a_key_is_named_by_its_curve_or_its_size() {
        let named = |algorithm: &str, bits, curve: Option<&str>| {
            PublicKey { algorithm: algorithm.to_owned(), bits, curve: curve.map(str::to_owned) }.to_string()
        };
        assert_eq!(named("EC", Some(256), Some("P-256")), "EC P-256");
        assert_eq!(named("RSA", Some(4096), None), "RSA 4096");
        assert_eq!(named("Ed25519", None, None), "Ed25519");
    }

    #[test]
    fn the_bits_of_a_number_are_counted_from_its_first_one() {
        let numbers: [(&[u8], usize); 6] =
            [(&[], 0), (&[0, 0], 0), (&[1], 1), (&[0, 0x80, 0], 16), (&[3, 0, 0], 18), (&[0xff; 256], 2048)];
        for (number, bits) in numbers {
            assert_eq!(significant_bits(number), bits, "{number:?}");
        }
    }

    #[test]
    fn a_curve_that_has_no_name_here_is_its_oid() {
        assert_eq!(named_curve(&oid("1.2.840.10045.3.1.7")), ("P-256".to_owned(), Some(256)));
        assert_eq!(named_curve(&oid("1.3.132.0.34")), ("P-384".to_owned(), Some(384)));
        assert_eq!(named_curve(&oid("1.3.132.0.35")), ("P-521".to_owned(), Some(521)));
        assert_eq!(named_curve(&oid("1.3.132.0.10")), ("1.3.132.0.10".to_owned(), None));
    }

    #[test]
    fn signature_algorithms_have_the_names_of_openssl() {
        let names = [
            ("1.2.840.10045.4.1", "ecdsa-with-SHA1"),
            ("1.2.840.10045.4.3.2", "ecdsa-with-SHA256"),
            ("1.2.840.10045.4.3.3", "ecdsa-with-SHA384"),
            ("1.2.840.10045.4.3.4", "ecdsa-with-SHA512"),
            ("1.2.840.113549.1.1.4", "md5WithRSAEncryption"),
            ("1.2.840.113549.1.1.5", "sha1WithRSAEncryption"),
            ("1.2.840.113549.1.1.10", "rsassaPss"),
            ("1.2.840.113549.1.1.11", "sha256WithRSAEncryption"),
            ("1.2.840.113549.1.1.12", "sha384WithRSAEncryption"),
            ("1.2.840.113549.1.1.13", "sha512WithRSAEncryption"),
            ("1.3.101.112", "ED25519"),
            ("1.3.101.113", "1.3.101.113"),
        ];
        for (algorithm, name) in names {
            let algorithm = AlgorithmIdentifier { algorithm: oid(algorithm), parameters: None };
            assert_eq!(signature_algorithm(&algorithm), name);
        }
    }

    #[test]
    fn keys_of_kinds_that_no_ca_has_are_told_by_what_can_be_read_of_them() {
        let of = |algorithm: &str, parameters| {
            let algorithm = AlgorithmIdentifier { algorithm: oid(algorithm), parameters };
            let key = x509_parser::asn1_rs::BitString::new(0, b"no key");
            PublicKey::of(&SubjectPublicKeyInfo { algorithm, subject_public_key: key, raw: &[] }).to_string()
        };
        assert_eq!(of("1.2.840.113549.1.1.1", None), "RSA");
        assert_eq!(of("1.2.840.113549.1.1.10", None), "RSA");
        assert_eq!(of("1.2.840.10045.2.1", None), "EC");
        assert_eq!(of("1.3.101.112", None), "Ed25519");
        assert_eq!(of("1.3.101.113", None), "1.3.101.113");
    }
}
