//! Names as OpenSSL writes them on one line: RFC 2253 with quotes instead of most backslashes, in ASCII.

use std::fmt::Write as _;

use x509_parser::asn1_rs::{Any, Tag, ToDer};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Writes a name for a line of its own: `C=US, O="Foo, Inc."`.
pub(super) fn one_line(name: &X509Name<'_>) -> String {
    let names = name.iter().map(|relative| {
        let attributes = relative.iter().map(|attribute| {
            let value = match characters(attribute.attr_value()) {
                Some(characters) => quoted(&characters),
                None => dumped(attribute.attr_value()),
            };
            format!("{}={value}", kind(attribute))
        });
        attributes.collect::<Vec<_>>().join(" + ")
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Writes a name within a list: `/C=US/O=Foo, Inc.`.
pub(super) fn slashed(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    for attribute in name.iter_attributes() {
        let _ = write!(text, "/{}=", kind(attribute));
        // OpenSSL goes by the bytes here, whatever the type is.
        for byte in attribute.attr_value().data {
            let _ = match byte {
                b' '..=b'~' => write!(text, "{}", char::from(*byte)),
                byte => write!(text, "\\x{byte:02X}"),
            };
        }
    }
    text
}

/// Returns the short name of an attribute; the dotted OID where it has none here.
fn kind(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let name = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.13" => "description",
        "2.5.4.15" => "businessCategory",
        "2.5.4.17" => "postalCode",
        "2.5.4.41" => "name",
        "2.5.4.42" => "GN",
        "2.5.4.43" => "initials",
        "2.5.4.44" => "generationQualifier",
        "2.5.4.45" => "x500UniqueIdentifier",
        "2.5.4.46" => "dnQualifier",
        "2.5.4.65" => "pseudonym",
        "2.5.4.97" => "organizationIdentifier",
        "1.2.840.113549.1.9.1" => "emailAddress",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        _ => return oid,
    };
    name.to_owned()
}

/// Returns what a text says; `None` for what is no text.
fn characters(value: &Any<'_>) -> Option<String> {
    let of_bytes = |size: usize| {
        value.data.chunks(size).map(|bytes| bytes.iter().fold(0, |c, b| c << 8 | u32::from(*b)))
    };
    let character = |number: u32| char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
    match value.tag() {
        Tag::Utf8String => Some(String::from_utf8_lossy(value.data).into_owned()),
        Tag::BmpString => Some(of_bytes(2).map(character).collect()),
        Tag::UniversalString => Some(of_bytes(4).map(character).collect()),
        Tag::NumericString
        | Tag::PrintableString
        | Tag::T61String
        | Tag::Ia5String
        | Tag::VisibleString
        | Tag::UtcTime
        | Tag::GeneralizedTime => Some(of_bytes(1).map(character).collect()),
        _ => None,
    }
}

/// Escapes a text, so that it is in ASCII.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    for byte in text.bytes() {
        let _ = match byte {
            b'"' | b'\\' => write!(quoted, "\\{}", char::from(byte)),
            b' '..=b'~' => write!(quoted, "{}", char::from(byte)),
            byte => write!(quoted, "\\{byte:02X}"),
        };
    }
    let needs_quotes =
        text.contains([',', '+', '<', '>', ';']) || text.starts_with(['#', ' ']) || text.ends_with(' ');
    if needs_quotes { format!("\"{quoted}\"") } else { quoted }
}

/// Writes what is no text as the bytes that it is.
fn dumped(value: &Any<'_>) -> String {
    let der = value.to_der_vec_raw().unwrap_or_default();
    der.iter().fold("#".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}
