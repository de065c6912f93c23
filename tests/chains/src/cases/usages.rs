//! What keys and certificates may be used for, and extensions that nobody knows.

use rcgen::{ExtendedKeyUsagePurpose as Extended, KeyUsagePurpose as Usage};

use crate::Case;
use crate::der::{Critical, EXTENDED_KEY_USAGE, KEY_USAGE, UNKNOWN, extension, oid, sequence, tlv};
use crate::make::Recipe;

const PLACES: [(usize, &str); 3] = [(0, "the root"), (1, "the CA"), (2, "the leaf")];
/// Netscape's certificate type, which was there before key usages.
const CERTIFICATE_TYPE: [u64; 7] = [2, 16, 840, 1, 113_730, 1, 1];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (place, at) in PLACES {
        for (name, usages) in [
            ("none", vec![]),
            ("digitalSignature", vec![Usage::DigitalSignature]),
            ("keyEncipherment", vec![Usage::KeyEncipherment]),
            ("keyAgreement", vec![Usage::KeyAgreement]),
            ("keyCertSign", vec![Usage::KeyCertSign]),
            ("cRLSign", vec![Usage::CrlSign]),
            ("digitalSignature and keyCertSign", vec![Usage::DigitalSignature, Usage::KeyCertSign]),
            ("digitalSignature and cRLSign", vec![Usage::DigitalSignature, Usage::CrlSign]),
        ] {
            let recipe = Recipe::with_cas(1).change(place, |params| params.key_usages = usages);
            cases.push(recipe.case(format!("key usage: {name} at {at}")));
        }
        for (name, usages) in [
            ("none", vec![]),
            ("server", vec![Extended::ServerAuth]),
            ("client", vec![Extended::ClientAuth]),
            ("server and client", vec![Extended::ServerAuth, Extended::ClientAuth]),
            ("any", vec![Extended::Any]),
            ("code signing", vec![Extended::CodeSigning]),
            ("OCSP signing", vec![Extended::OcspSigning]),
            ("client and code signing", vec![Extended::ClientAuth, Extended::CodeSigning]),
        ] {
            let recipe = Recipe::with_cas(1).change(place, |params| params.extended_key_usages = usages);
            cases.push(recipe.case(format!("extended key usage: {name} at {at}")));
        }
        let bare = Recipe::with_cas(1).change(place, |params| params.key_usages.clear());
        for (name, critical, content) in [
            ("digitalSignature and keyCertSign, not critical", Critical::No, tlv(3, &[2, 0x84])),
            ("digitalSignature, not critical", Critical::No, tlv(3, &[7, 0x80])),
            ("no bit at all", Critical::Yes, tlv(3, &[0])),
            ("no DER", Critical::Yes, vec![3, 9]),
        ] {
            let recipe = bare.clone().extended(place, extension(&KEY_USAGE, critical, content));
            cases.push(recipe.case(format!("key usage: {name} at {at}")));
        }
        let server = oid(&[1, 3, 6, 1, 5, 5, 7, 3, 1]);
        let bare = Recipe::with_cas(1).change(place, |params| params.extended_key_usages.clear());
        for (name, critical, content) in [
            ("server, critical", Critical::Yes, sequence(&[server])),
            ("an empty list", Critical::No, sequence(&[])),
            ("Microsoft's server gated crypto", Critical::No, {
                sequence(&[oid(&[1, 3, 6, 1, 4, 1, 311, 10, 3, 3])])
            }),
        ] {
            let recipe = bare.clone().extended(place, extension(&EXTENDED_KEY_USAGE, critical, content));
            cases.push(recipe.case(format!("extended key usage: {name} at {at}")));
        }
        for (name, critical) in [("critical", Critical::Yes), ("not critical", Critical::No)] {
            let unknown = extension(&UNKNOWN, critical, vec![5, 0]);
            cases.push(Recipe::with_cas(1).extended(place, unknown).case(format!("unknown: {name} at {at}")));
        }
        let twice = |critical| extension(&UNKNOWN, critical, vec![5, 0]);
        let recipe =
            Recipe::with_cas(1).extended(place, twice(Critical::No)).extended(place, twice(Critical::No));
        cases.push(recipe.case(format!("unknown: twice at {at}")));
        for (name, bits) in
            [("client", 0x80), ("server", 0x40), ("both", 0xc0), ("a CA for TLS", 0x04), ("mail", 0x20)]
        {
            let kind = extension(&CERTIFICATE_TYPE, Critical::No, tlv(3, &[0, bits]));
            cases.push(
                Recipe::with_cas(1).extended(place, kind).case(format!("certificate type: {name} at {at}")),
            );
        }
    }
    cases
}
