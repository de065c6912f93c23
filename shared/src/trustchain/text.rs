//! A certificate as `openssl x509 -noout -text` shows it.
//!
//! The lines are those of OpenSSL 3, but for names, which are written as from OpenSSL 3.2 on (`CN=a`, not `CN = a`), and for what a
//! terminal would act on, which is escaped. Extensions that OpenSSL knows and that no mesh uses are shown as it shows unknown ones.

mod extension;
mod name;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::Write as _;

use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::report::escape;
use crate::trust::svid::{Certificate, signature_algorithm};

/// How many bytes of a key are on a line, and of a signature.
const OF_A_KEY: usize = 15;
const OF_A_SIGNATURE: usize = 18;

/// Writes a certificate as text for people who know OpenSSL's, and its SHA-256 fingerprint.
///
/// Holds for any certificate: it never panics, every line is safe for a terminal, and its length grows with that of the certificate.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "the same bytes parse again")]
pub fn text(certificate: &Certificate) -> String {
    let (_, parsed) =
        X509Certificate::from_der(certificate.der()).expect("a Certificate has been parsed from its bytes");
    let mut lines = Lines::default();
    lines.add(0, "Certificate:");
    lines.add(4, "Data:");
    let version = parsed.version().0;
    // Only three versions are known.
    lines.add(
        8,
        &match version {
            0..=2 => format!("Version: {} ({version:#x})", version + 1),
            _ => format!("Version: Unknown ({version})"),
        },
    );
    serial(&mut lines, parsed.raw_serial());
    lines.add(8, &format!("Signature Algorithm: {}", signature_algorithm(&parsed.signature)));
    lines.add(8, &format!("Issuer: {}", name::one_line(parsed.issuer())));
    lines.add(8, "Validity");
    lines.add(12, &format!("Not Before: {}", date(&parsed.validity().not_before)));
    lines.add(12, &format!("Not After : {}", date(&parsed.validity().not_after)));
    lines.add(8, &format!("Subject: {}", name::one_line(parsed.subject())));
    public_key(&mut lines, parsed.public_key());
    if !parsed.extensions().is_empty() {
        lines.add(8, "X509v3 extensions:");
        for extension in parsed.extensions() {
            extension::write(&mut lines, extension);
        }
    }
    lines.add(4, &format!("Signature Algorithm: {}", certificate.signature_algorithm));
    lines.add(4, "Signature Value:");
    lines.bytes(8, &parsed.signature_value.data, OF_A_SIGNATURE);
    let digest = certificate.sha256.to_string();
    let pairs: Vec<&str> = (0..digest.len()).step_by(2).map(|at| &digest[at..at + 2]).collect();
    lines.add(0, &format!("sha256 Fingerprint={}", pairs.join(":").to_uppercase()));
    lines.text
}

/// Text that is safe for a terminal, line by line.
#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    /// Adds one line, whatever is in the text.
    fn add(&mut self, indent: usize, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}{}", "", escape(text));
    }

    /// Adds bytes in lower-case hexadecimal, a colon after each but the last.
    fn bytes(&mut self, indent: usize, bytes: &[u8], of_a_line: usize) {
        let mut lines = bytes.chunks(of_a_line).peekable();
        while let Some(line) = lines.next() {
            let end = if lines.peek().is_some() { ":" } else { "" };
            self.add(indent, &format!("{}{end}", pairs(line)));
        }
    }
}

/// Writes bytes in lower-case hexadecimal, colons between them.
fn pairs(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for (index, byte) in bytes.iter().enumerate() {
        let colon = if index > 0 { ":" } else { "" };
        let _ = write!(text, "{colon}{byte:02x}");
    }
    text
}

/// Writes a time as OpenSSL does, `Nov 27 21:00:00 2026 GMT`.
fn date(time: &ASN1Time) -> String {
    // All are in UTC once they are parsed. Not taken from `Certificate`, which cannot hold the last hours of the year 9999.
    let text = time.to_string();
    format!("{} GMT", text.strip_suffix(" +00:00").unwrap_or(&text))
}

/// Writes a serial number: in decimal where it is short.
fn serial(lines: &mut Lines, raw: &[u8]) {
    let (is_negative, magnitude) = magnitude(raw);
    let short = magnitude
        .iter()
        .try_fold(0_i64, |number, byte| number.checked_mul(256)?.checked_add(i64::from(*byte)));
    match short {
        // OpenSSL takes minus one for an error, and writes it as a long one.
        Some(number) if !(is_negative && number == 1) => {
            let sign = if is_negative { "-" } else { "" };
            lines.add(8, &format!("Serial Number: {sign}{number} ({sign}{number:#x})"));
        }
        _ => {
            lines.add(8, "Serial Number:");
            let sign = if is_negative { " (Negative)" } else { "" };
            lines.add(12, &format!("{sign}{}", pairs(&magnitude)));
        }
    }
}

/// Takes the sign off a number in two's complement, and the zeros it begins with.
fn magnitude(raw: &[u8]) -> (bool, Cow<'_, [u8]>) {
    let is_negative = raw.first().is_some_and(|first| first & 0x80 != 0);
    let mut bytes = Cow::Borrowed(raw);
    if is_negative {
        let bytes = bytes.to_mut();
        for byte in bytes.iter_mut() {
            *byte = !*byte;
        }
        // One more, carried from the last byte on.
        for byte in bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len().saturating_sub(1));
    match bytes {
        Cow::Borrowed(bytes) => (is_negative, Cow::Borrowed(&bytes[zeros..])),
        Cow::Owned(bytes) => (is_negative, Cow::Owned(bytes[zeros..].to_vec())),
    }
}

fn public_key(lines: &mut Lines, info: &SubjectPublicKeyInfo<'_>) {
    lines.add(8, "Subject Public Key Info:");
    let oid = info.algorithm.algorithm.to_id_string();
    let algorithm = |lines: &mut Lines, name: &str| lines.add(12, &format!("Public Key Algorithm: {name}"));
    match (oid.as_str(), info.parsed()) {
        ("1.2.840.113549.1.1.1", Ok(PublicKey::RSA(key))) => {
            algorithm(lines, "rsaEncryption");
            let (_, modulus) = magnitude(key.modulus);
            let bits = 8 * modulus.len() - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
            lines.add(16, &format!("Public-Key: ({bits} bit)"));
            lines.add(16, "Modulus:");
            let is_high = modulus.first().is_some_and(|first| first & 0x80 != 0);
            let zero: &[u8] = if is_high { &[0] } else { &[] };
            lines.bytes(20, &[zero, &modulus].concat(), OF_A_KEY);
            if let Ok(exponent) = key.try_exponent() {
                lines.add(16, &format!("Exponent: {exponent} ({exponent:#x})"));
            } else {
                lines.add(16, "Exponent:");
                lines.bytes(20, key.exponent, OF_A_KEY);
            }
        }
        ("1.2.840.10045.2.1", _) => {
            algorithm(lines, "id-ecPublicKey");
            let parameters = info.algorithm.parameters.as_ref();
            let curve = parameters.and_then(|any| any.as_oid().ok()).map(|oid| oid.to_id_string());
            let Some((name, of_nist, bits)) = curve.as_deref().and_then(curve_of) else {
                lines.add(16, "Unable to load Public Key");
                return;
            };
            lines.add(16, &format!("Public-Key: ({bits} bit)"));
            lines.add(16, "pub:");
            lines.bytes(20, &info.subject_public_key.data, OF_A_KEY);
            lines.add(16, &format!("ASN1 OID: {name}"));
            if let Some(of_nist) = of_nist {
                lines.add(16, &format!("NIST CURVE: {of_nist}"));
            }
        }
        ("1.3.101.112", _) => {
            algorithm(lines, "ED25519");
            lines.add(16, "ED25519 Public-Key:");
            lines.add(16, "pub:");
            lines.bytes(20, &info.subject_public_key.data, OF_A_KEY);
        }
        _ => {
            algorithm(lines, &oid);
            lines.add(16, "Unable to load Public Key");
        }
    }
}

/// Returns OpenSSL's name of a curve, NIST's, and the size of a key in bits.
fn curve_of(oid: &str) -> Option<(&'static str, Option<&'static str>, usize)> {
    Some(match oid {
        "1.3.132.0.33" => ("secp224r1", Some("P-224"), 224),
        "1.2.840.10045.3.1.7" => ("prime256v1", Some("P-256"), 256),
        "1.3.132.0.10" => ("secp256k1", None, 256),
        "1.3.132.0.34" => ("secp384r1", Some("P-384"), 384),
        "1.3.132.0.35" => ("secp521r1", Some("P-521"), 521),
        _ => return None,
    })
}
