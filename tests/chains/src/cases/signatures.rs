//! Signatures that are wrong, and key identifiers that lead nowhere.

use std::sync::Arc;

use rcgen::KeyIdMethod;

use crate::Case;
use crate::der::{AUTHORITY_KEY, Critical, extension, sequence, tlv};
use crate::make::{Chain, Made, Recipe, case, key, leaf, signed, spire_ca};

const PLACES: [(usize, &str); 4] = [(0, "the root"), (1, "the CA above"), (2, "SPIRE's CA"), (3, "the leaf")];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (place, at) in PLACES {
        let chain = Recipe::with_cas(2).make();
        for (name, change) in [
            ("the last bit of the signature", last_bit as fn(&mut [u8])),
            ("a bit of the serial number", serial_bit),
        ] {
            let mut chain = chain.clone();
            change(&mut chain.0[place].der);
            cases.push(chain.case(format!("signatures: {name} changed, {at}")));
        }
        // A bundle with an authority that is no certificate is no bundle: Envoy goes on with the one that it has.
        if place == 0 {
            continue;
        }
        let mut longer = chain.clone();
        longer.0[place].der.push(0);
        cases.push(longer.case(format!("signatures: one byte more, {at}")));
        let mut cut = chain.clone();
        cut.0[place].der.truncate(200);
        cases.push(cut.case(format!("signatures: cut off, {at}")));
    }
    for (place, at) in &PLACES[1..] {
        // Somebody who has the name of the signer, and not its key.
        for (name, identifiers) in
            [("its key identifier", Identifiers::Copied), ("a key identifier of its own", Identifiers::Own)]
        {
            let mut made = Recipe::with_cas(2).make().0;
            let real = made[place - 1].clone();
            let mut params = real.params.clone();
            let false_key = key();
            if identifiers == Identifiers::Copied {
                let id = real.params.key_identifier(&*real.key);
                params.key_identifier_method = KeyIdMethod::PreSpecified(id);
            }
            let impostor = Made { params, key: false_key, der: Vec::new() };
            made[*place] = signed(made[*place].params.clone(), Arc::clone(&made[*place].key), &impostor);
            cases.push(Chain(made).case(format!("signatures: by a namesake with {name}, {at}")));
        }
        for (name, issuer_key) in [
            ("absent", None),
            ("empty", Some(sequence(&[]))),
            ("of nobody", Some(sequence(&[tlv(0x80, &[1, 2, 3, 4])]))),
            ("with a serial number of nobody", Some(serial_of_nobody())),
            ("no DER", Some(vec![0x30, 0x07, 0x80])),
        ] {
            let recipe = Recipe::with_cas(2).change(*place, |params| {
                params.use_authority_key_identifier_extension = false;
                params
                    .custom_extensions
                    .extend(issuer_key.map(|content| extension(&AUTHORITY_KEY, Critical::No, content)));
            });
            cases.push(recipe.case(format!("signatures: key identifier of the issuer {name}, {at}")));
        }
    }
    // A CA with the name of the right one is sent before it.
    let chain = Recipe::with_cas(1).make();
    let namesake = signed(spire_ca(), key(), chain.root());
    let mut copied = spire_ca();
    copied.key_identifier_method =
        KeyIdMethod::PreSpecified(chain.issuer().params.key_identifier(&*chain.issuer().key));
    let twin = signed(copied, key(), chain.root());
    let anonymous = {
        let mut params = leaf();
        params.use_authority_key_identifier_extension = false;
        signed(params, key(), chain.issuer())
    };
    let (right, root) = (chain.issuer().der.clone(), vec![chain.root().der.clone()]);
    for (name, other) in [("another key identifier", &namesake), ("the same key identifier", &twin)] {
        for (order, sent) in
            [("before", [other.der.clone(), right.clone()]), ("after", [right.clone(), other.der.clone()])]
        {
            let sent = sent.to_vec();
            let name = format!("signatures: a namesake of the CA with {name} {order} it");
            cases.push(case(
                format!("{name}, the leaf names the key"),
                chain.leaf(),
                sent.clone(),
                root.clone(),
            ));
            cases.push(case(format!("{name}, the leaf names no key"), &anonymous, sent, root.clone()));
        }
    }
    cases
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Identifiers {
    Copied,
    Own,
}

/// The last byte of a certificate belongs to its signature.
fn last_bit(der: &mut [u8]) {
    if let Some(last) = der.last_mut() {
        *last ^= 1;
    }
}

/// The serial number stands after version and headers; one bit in its middle.
fn serial_bit(der: &mut [u8]) {
    der[20] ^= 1;
}

/// Issuer (a directory name) and serial number that no CA has.
fn serial_of_nobody() -> Vec<u8> {
    let name = crate::der::Name::Directory("nobody").der();
    sequence(&[tlv(0xa1, &name), tlv(0x82, &[1])])
}
