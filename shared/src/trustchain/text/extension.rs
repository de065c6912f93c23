//! Extensions of a certificate, as OpenSSL names and shows them.

use std::net::Ipv4Addr;

use x509_parser::asn1_rs::{Any, FromDer as _, Oid};
use x509_parser::extensions::{
    AuthorityKeyIdentifier, BasicConstraints, CRLDistributionPoints, DistributionPointName, GeneralName,
    GeneralSubtree, KeyUsage, NameConstraints, ParsedExtension, PolicyInformation, X509Extension,
};

use super::{Lines, name, pairs};

/// How far what an extension says is indented.
const VALUE: usize = 16;

/// Writes an extension.
pub(super) fn write(lines: &mut Lines, extension: &X509Extension<'_>) {
    let oid = extension.oid.to_id_string();
    let critical = if extension.critical { "critical" } else { "" };
    lines.add(12, &format!("{}: {critical}", name_of(&oid).unwrap_or(&oid)));
    match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => lines.add(VALUE, &pairs(id.0).to_uppercase()),
        ParsedExtension::AuthorityKeyIdentifier(id) => authority_key(lines, id),
        ParsedExtension::KeyUsage(usage) => lines.add(VALUE, &key_usage(*usage)),
        ParsedExtension::ExtendedKeyUsage(_) => match Vec::<Oid<'_>>::from_der(extension.value) {
            // What is parsed already has lost the order.
            Ok((_, purposes)) => lines.add(VALUE, &joined(purposes.iter().map(purpose))),
            Err(_) => raw(lines, extension.value),
        },
        ParsedExtension::BasicConstraints(constraints) => lines.add(VALUE, &basic_constraints(constraints)),
        ParsedExtension::SubjectAlternativeName(names) => {
            lines.add(VALUE, &joined(names.general_names.iter().map(|name| general_name(name, true))));
        }
        ParsedExtension::IssuerAlternativeName(names) => {
            lines.add(VALUE, &joined(names.general_names.iter().map(|name| general_name(name, true))));
        }
        ParsedExtension::NameConstraints(constraints) => name_constraints(lines, constraints),
        ParsedExtension::CRLDistributionPoints(points) => distribution_points(lines, points),
        ParsedExtension::AuthorityInfoAccess(access) => {
            for description in access.iter() {
                let method = match description.access_method.to_id_string().as_str() {
                    "1.3.6.1.5.5.7.48.1" => "OCSP".to_owned(),
                    "1.3.6.1.5.5.7.48.2" => "CA Issuers".to_owned(),
                    other => other.to_owned(),
                };
                lines.add(VALUE, &format!("{method} - {}", general_name(&description.access_location, true)));
            }
        }
        ParsedExtension::CertificatePolicies(policies) => policies.iter().for_each(|one| policy(lines, one)),
        _ => raw(lines, extension.value),
    }
}

/// Returns OpenSSL's name of an extension.
fn name_of(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.29.9" => "X509v3 Subject Directory Attributes",
        "2.5.29.14" => "X509v3 Subject Key Identifier",
        "2.5.29.15" => "X509v3 Key Usage",
        "2.5.29.16" => "X509v3 Private Key Usage Period",
        "2.5.29.17" => "X509v3 Subject Alternative Name",
        "2.5.29.18" => "X509v3 Issuer Alternative Name",
        "2.5.29.19" => "X509v3 Basic Constraints",
        "2.5.29.30" => "X509v3 Name Constraints",
        "2.5.29.31" => "X509v3 CRL Distribution Points",
        "2.5.29.32" => "X509v3 Certificate Policies",
        "2.5.29.33" => "X509v3 Policy Mappings",
        "2.5.29.35" => "X509v3 Authority Key Identifier",
        "2.5.29.36" => "X509v3 Policy Constraints",
        "2.5.29.37" => "X509v3 Extended Key Usage",
        "2.5.29.46" => "X509v3 Freshest CRL",
        "2.5.29.54" => "X509v3 Inhibit Any Policy",
        "1.3.6.1.5.5.7.1.1" => "Authority Information Access",
        "1.3.6.1.5.5.7.1.11" => "Subject Information Access",
        "1.3.6.1.5.5.7.1.24" => "TLS Feature",
        "1.3.6.1.4.1.11129.2.4.2" => "CT Precertificate SCTs",
        "2.16.840.1.113730.1.1" => "Netscape Cert Type",
        "2.16.840.1.113730.1.13" => "Netscape Comment",
        _ => return None,
    })
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// Shows what is not known: what is no letter is a dot.
fn raw(lines: &mut Lines, value: &[u8]) {
    let shown = value.iter().map(|byte| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '.' });
    lines.add(VALUE, &shown.collect::<String>());
}

fn authority_key(lines: &mut Lines, id: &AuthorityKeyIdentifier<'_>) {
    let has_more = id.authority_cert_issuer.is_some() || id.authority_cert_serial.is_some();
    if let Some(key) = &id.key_identifier {
        let label = if has_more { "keyid:" } else { "" };
        lines.add(VALUE, &format!("{label}{}", pairs(key.0).to_uppercase()));
    }
    for name in id.authority_cert_issuer.iter().flatten() {
        lines.add(VALUE, &general_name(name, true));
    }
    if let Some(serial) = id.authority_cert_serial {
        lines.add(VALUE, &format!("serial:{}", pairs(&super::magnitude(serial).1).to_uppercase()));
    }
}

fn key_usage(usage: KeyUsage) -> String {
    let uses = [
        (usage.digital_signature(), "Digital Signature"),
        (usage.non_repudiation(), "Non Repudiation"),
        (usage.key_encipherment(), "Key Encipherment"),
        (usage.data_encipherment(), "Data Encipherment"),
        (usage.key_agreement(), "Key Agreement"),
        (usage.key_cert_sign(), "Certificate Sign"),
        (usage.crl_sign(), "CRL Sign"),
        (usage.encipher_only(), "Encipher Only"),
        (usage.decipher_only(), "Decipher Only"),
    ];
    joined(uses.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name.to_owned()))
}

fn purpose(oid: &Oid<'_>) -> String {
    let oid = oid.to_id_string();
    let name = match oid.as_str() {
        "1.3.6.1.5.5.7.3.1" => "TLS Web Server Authentication",
        "1.3.6.1.5.5.7.3.2" => "TLS Web Client Authentication",
        "1.3.6.1.5.5.7.3.3" => "Code Signing",
        "1.3.6.1.5.5.7.3.4" => "E-mail Protection",
        "1.3.6.1.5.5.7.3.8" => "Time Stamping",
        "1.3.6.1.5.5.7.3.9" => "OCSP Signing",
        "2.5.29.37.0" => "Any Extended Key Usage",
        _ => return oid,
    };
    name.to_owned()
}

fn basic_constraints(constraints: &BasicConstraints) -> String {
    let ca = if constraints.ca { "CA:TRUE" } else { "CA:FALSE" };
    match constraints.path_len_constraint {
        Some(length) => format!("{ca}, pathlen:{length}"),
        None => ca.to_owned(),
    }
}

fn name_constraints(lines: &mut Lines, constraints: &NameConstraints<'_>) {
    let kinds =
        [("Permitted:", &constraints.permitted_subtrees), ("Excluded:", &constraints.excluded_subtrees)];
    for (label, subtrees) in kinds {
        let Some(subtrees) = subtrees else { continue };
        lines.add(VALUE, label);
        for GeneralSubtree { base } in subtrees {
            let shown = match base {
                // An address, and its mask.
                GeneralName::IPAddress(bytes) if matches!(bytes.len(), 8 | 32) => {
                    let (address, mask) = bytes.split_at(bytes.len() / 2);
                    format!("IP:{}/{}", ip_address(address), ip_address(mask))
                }
                base => general_name(base, false),
            };
            lines.add(VALUE + 2, &shown);
        }
    }
}

fn distribution_points(lines: &mut Lines, points: &CRLDistributionPoints<'_>) {
    for point in points.iter() {
        match &point.distribution_point {
            Some(DistributionPointName::FullName(names)) => {
                lines.add(VALUE, "Full Name:");
                general_names(lines, names);
            }
            Some(DistributionPointName::NameRelativeToCRLIssuer(_)) => lines.add(VALUE, "Relative Name:"),
            None => (),
        }
        if let Some(issuers) = &point.crl_issuer {
            lines.add(VALUE, "CRL Issuer:");
            general_names(lines, issuers);
        }
    }
}

fn general_names(lines: &mut Lines, names: &[GeneralName<'_>]) {
    for name in names {
        lines.add(VALUE + 2, &general_name(name, false));
    }
}

fn policy(lines: &mut Lines, policy: &PolicyInformation<'_>) {
    let oid = policy.policy_id.to_id_string();
    let name = if oid == "2.5.29.32.0" { "X509v3 Any Policy" } else { &oid };
    lines.add(VALUE, &format!("Policy: {name}"));
    for qualifier in policy.policy_qualifiers.iter().flatten() {
        let oid = qualifier.policy_qualifier_id.to_id_string();
        // A place, or a notice for users, which is not taken apart.
        match (oid.as_str(), Any::from_der(qualifier.qualifier)) {
            ("1.3.6.1.5.5.7.2.1", Ok((_, place))) => {
                lines.add(VALUE + 2, &format!("CPS: {}", String::from_utf8_lossy(place.data)));
            }
            ("1.3.6.1.5.5.7.2.2", _) => lines.add(VALUE + 2, "User Notice:"),
            (other, _) => lines.add(VALUE + 2, &format!("Unknown Qualifier: {other}")),
        }
    }
}

/// Writes a name with its kind. Directory names have another form in lists.
fn general_name(name: &GeneralName<'_>, in_list: bool) -> String {
    match name {
        GeneralName::OtherName(..) => "othername:<unsupported>".to_owned(),
        GeneralName::X400Address(_) => "X400Name:<unsupported>".to_owned(),
        GeneralName::EDIPartyName(_) => "EdiPartyName:<unsupported>".to_owned(),
        GeneralName::RFC822Name(text) => format!("email:{text}"),
        GeneralName::DNSName(text) => format!("DNS:{text}"),
        GeneralName::URI(text) => format!("URI:{text}"),
        GeneralName::DirectoryName(name) if in_list => format!("DirName:{}", name::slashed(name)),
        GeneralName::DirectoryName(name) => format!("DirName:{}", name::one_line(name)),
        GeneralName::IPAddress(bytes) => format!("IP Address:{}", ip_address(bytes)),
        GeneralName::RegisteredID(oid) => format!("Registered ID:{}", oid.to_id_string()),
        GeneralName::Invalid(tag, bytes) => {
            let kind = match tag.0 {
                1 => "email",
                2 => "DNS",
                4 => "DirName",
                6 => "URI",
                _ => "unknown",
            };
            format!("{kind}:{}", String::from_utf8_lossy(bytes))
        }
    }
}

/// Writes an address; one of version 6 with all its zeros.
fn ip_address(bytes: &[u8]) -> String {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Ipv4Addr::from(bytes).to_string();
    }
    if bytes.len() != 16 {
        return format!("<invalid length={}>", bytes.len());
    }
    let groups = bytes.chunks(2).map(|group| format!("{:X}", u16::from(group[0]) << 8 | u16::from(group[1])));
    groups.collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use x509_parser::asn1_rs::Tag;
    use x509_parser::extensions::PolicyQualifierInfo;

    use super::*;

    #[test]
    fn extensions_have_the_names_of_openssl() {
        let names = [
            ("2.5.29.9", "X509v3 Subject Directory Attributes"),
            ("2.5.29.14", "X509v3 Subject Key Identifier"),
            ("2.5.29.15", "X509v3 Key Usage"),
            ("2.5.29.16", "X509v3 Private Key Usage Period"),
            ("2.5.29.17", "X509v3 Subject Alternative Name"),
            ("2.5.29.18", "X509v3 Issuer Alternative Name"),
            ("2.5.29.19", "X509v3 Basic Constraints"),
            ("2.5.29.30", "X509v3 Name Constraints"),
            ("2.5.29.31", "X509v3 CRL Distribution Points"),
            ("2.5.29.32", "X509v3 Certificate Policies"),
            ("2.5.29.33", "X509v3 Policy Mappings"),
            ("2.5.29.35", "X509v3 Authority Key Identifier"),
            ("2.5.29.36", "X509v3 Policy Constraints"),
            ("2.5.29.37", "X509v3 Extended Key Usage"),
            ("2.5.29.46", "X509v3 Freshest CRL"),
            ("2.5.29.54", "X509v3 Inhibit Any Policy"),
            ("1.3.6.1.5.5.7.1.1", "Authority Information Access"),
            ("1.3.6.1.5.5.7.1.11", "Subject Information Access"),
            ("1.3.6.1.5.5.7.1.24", "TLS Feature"),
            ("1.3.6.1.4.1.11129.2.4.2", "CT Precertificate SCTs"),
            ("2.16.840.1.113730.1.1", "Netscape Cert Type"),
            ("2.16.840.1.113730.1.13", "Netscape Comment"),
        ];
        assert_eq!(names.map(|(oid, _)| name_of(oid)), names.map(|(_, name)| Some(name)));
        assert_eq!(name_of("1.2.3"), None);
    }

    #[test]
    fn a_name_that_is_no_text_has_its_kind_all_the_same() {
        let kinds = [(1, "email"), (2, "DNS"), (4, "DirName"), (6, "URI"), (9, "unknown")];
        for (tag, kind) in kinds {
            let name = GeneralName::Invalid(Tag(tag), b"a\xff");
            assert_eq!(general_name(&name, true), format!("{kind}:a\u{fffd}"));
        }
    }

    #[test]
    fn addresses_are_told_by_their_length() {
        assert_eq!(ip_address(&[10, 0, 0, 7]), "10.0.0.7");
        let mut bytes = [0; 16];
        (bytes[0], bytes[1], bytes[15]) = (0xfd, 1, 7);
        assert_eq!(ip_address(&bytes), "FD01:0:0:0:0:0:0:7");
        assert_eq!([ip_address(&[]), ip_address(&[1; 5])], ["<invalid length=0>", "<invalid length=5>"]);
    }

    #[test]
    fn policies_are_shown_with_what_qualifies_them() {
        let oid = |parts: &[u64]| Oid::from(parts).unwrap();
        let qualifier = |last: u64, qualifier: &'static [u8]| PolicyQualifierInfo {
            policy_qualifier_id: oid(&[1, 3, 6, 1, 5, 5, 7, 2, last]),
            qualifier,
        };
        let mut lines = Lines::default();
        let qualifiers =
            vec![qualifier(1, b"\x16\x01a"), qualifier(2, b"\x30\x00"), qualifier(3, b"\x30\x00")];
        let one = PolicyInformation { policy_id: oid(&[1, 2, 3]), policy_qualifiers: Some(qualifiers) };
        policy(&mut lines, &one);
        policy(
            &mut lines,
            &PolicyInformation { policy_id: oid(&[2, 5, 29, 32, 0]), policy_qualifiers: None },
        );
        let indented: Vec<&str> = lines.text.lines().collect();
        assert_eq!(
            indented,
            [
                "                Policy: 1.2.3",
                "                  CPS: a",
                "                  User Notice:",
                "                  Unknown Qualifier: 1.3.6.1.5.5.7.2.3",
                "                Policy: X509v3 Any Policy",
            ]
        );
    }
}
