//! Extensions that rcgen does not make, in DER.

use rcgen::CustomExtension;

const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

pub(crate) const BASIC_CONSTRAINTS: [u64; 4] = [2, 5, 29, 19];
pub(crate) const KEY_USAGE: [u64; 4] = [2, 5, 29, 15];
pub(crate) const EXTENDED_KEY_USAGE: [u64; 4] = [2, 5, 29, 37];
pub(crate) const NAMES: [u64; 4] = [2, 5, 29, 17];
pub(crate) const AUTHORITY_KEY: [u64; 4] = [2, 5, 29, 35];
pub(crate) const NAME_CONSTRAINTS: [u64; 4] = [2, 5, 29, 30];
pub(crate) const POLICIES: [u64; 4] = [2, 5, 29, 32];
pub(crate) const POLICY_MAPPINGS: [u64; 4] = [2, 5, 29, 33];
pub(crate) const POLICY_CONSTRAINTS: [u64; 4] = [2, 5, 29, 36];
pub(crate) const INHIBIT_ANY_POLICY: [u64; 4] = [2, 5, 29, 54];
pub(crate) const UNKNOWN: [u64; 5] = [1, 2, 3, 4, 5];

/// Whether who does not know an extension has to refuse the certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Critical {
    Yes,
    No,
}

pub(crate) fn extension(oid: &[u64], critical: Critical, content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(critical == Critical::Yes);
    extension
}

pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        length @ 0..128 => vec![u8::try_from(length).expect("it is below 128")],
        length => {
            let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            [vec![0x80 | u8::try_from(bytes.len()).expect("it is at most eight")], bytes].concat()
        }
    };
    [vec![tag], length, content.to_vec()].concat()
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

/// An OID whose arcs after the second are all below 16384.
pub(crate) fn oid(arcs: &[u64]) -> Vec<u8> {
    let [first, second, rest @ ..] = arcs else { panic!("an OID has two arcs at least") };
    let byte = |arc: u64| u8::try_from(arc).expect("an arc is small");
    let mut content = vec![byte(first * 40 + second)];
    for arc in rest {
        if *arc >= 128 {
            content.push(byte(0x80 | (arc >> 7)));
        }
        content.push(byte(arc & 0x7f));
    }
    tlv(OID, &content)
}

/// A general name (RFC 5280, section 4.2.1.6).
#[derive(Clone)]
pub(crate) enum Name {
    Uri(&'static str),
    Dns(&'static str),
    Email(&'static str),
    /// Organization of a directory name.
    Directory(&'static str),
    /// Address, and in constraints the mask after it.
    Ip(&'static [u8]),
    /// A registered ID, which nothing compares.
    Registered(&'static [u64]),
}

impl Name {
    pub(crate) fn der(&self) -> Vec<u8> {
        match self {
            Self::Email(text) => tlv(0x81, text.as_bytes()),
            Self::Dns(text) => tlv(0x82, text.as_bytes()),
            Self::Directory(organization) => {
                let value = tlv(0x0c, organization.as_bytes());
                let attribute = sequence(&[oid(&[2, 5, 4, 10]), value]);
                tlv(0xa4, &sequence(&[tlv(0x31, &attribute)]))
            }
            Self::Uri(text) => tlv(0x86, text.as_bytes()),
            Self::Ip(bytes) => tlv(0x87, bytes),
            Self::Registered(arcs) => {
                let mut der = oid(arcs);
                der[0] = 0x88;
                der
            }
        }
    }
}

pub(crate) fn names(names: &[Name]) -> Vec<u8> {
    sequence(&names.iter().map(Name::der).collect::<Vec<_>>())
}

/// Name constraints (RFC 5280, section 4.2.1.10).
pub(crate) fn name_constraints(permitted: &[Name], excluded: &[Name]) -> Vec<u8> {
    let subtrees = |tag: u8, names: &[Name]| match names {
        [] => Vec::new(),
        names => tlv(tag, &names.iter().flat_map(|name| sequence(&[name.der()])).collect::<Vec<_>>()),
    };
    sequence(&[subtrees(0xa0, permitted), subtrees(0xa1, excluded)])
}

/// Certificate policies (RFC 5280, section 4.2.1.4), without qualifiers.
pub(crate) fn policies(policies: &[&[u64]]) -> Vec<u8> {
    sequence(&policies.iter().map(|policy| sequence(&[oid(policy)])).collect::<Vec<_>>())
}

/// Policy mappings (RFC 5280, section 4.2.1.5).
pub(crate) fn policy_mapping(from: &[u64], to: &[u64]) -> Vec<u8> {
    sequence(&[sequence(&[oid(from), oid(to)])])
}

/// Policy constraints (RFC 5280, section 4.2.1.11): after how many certificates a policy is demanded, and none is mapped.
pub(crate) fn policy_constraints(explicit: Option<u8>, no_mapping: Option<u8>) -> Vec<u8> {
    let skip = |tag: u8, value: Option<u8>| value.map_or_else(Vec::new, |value| tlv(tag, &[value]));
    sequence(&[skip(0x80, explicit), skip(0x81, no_mapping)])
}

/// A small number.
pub(crate) fn integer(value: u8) -> Vec<u8> {
    tlv(0x02, &[value])
}
