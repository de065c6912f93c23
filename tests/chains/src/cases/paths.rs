//! Lengths, what is sent and in which order, which authorities there are, path lengths, and CAs that are none.

use rcgen::{BasicConstraints, IsCa};

use crate::Case;
use crate::der::{BASIC_CONSTRAINTS, Critical, extension, integer, sequence, tlv};
use crate::make::{Recipe, ca, case, key, leaf, self_signed, signed, spire_ca};

pub(super) fn cases() -> Vec<Case> {
    [lengths(), authorities(), path_lengths(), basic_constraints(), alone()].into_iter().flatten().collect()
}

fn lengths() -> Vec<Case> {
    let mut cases = Vec::new();
    for count in 0..=8 {
        let chain = Recipe::with_cas(count).make();
        cases.push(chain.case(format!("length: {count} CAs below the root")));
        let (sent, root) = (chain.between(), chain.root().der.clone());
        let mut of = |name: &str, sent: Vec<Vec<u8>>| {
            cases.push(chain.case_of(
                format!("sent: {name}, {count} CAs below the root"),
                sent,
                vec![root.clone()],
            ));
        };
        of("the root too", [sent.clone(), vec![root.clone()]].concat());
        of("the root first", [vec![root.clone()], sent.clone()].concat());
        of("the leaf again", [vec![chain.leaf().der.clone()], sent.clone()].concat());
        if count > 0 {
            of("everything twice", [sent.clone(), sent.clone()].concat());
            of("nothing", Vec::new());
        }
        if count > 1 {
            of("from the top", sent.iter().rev().cloned().collect());
            of("the odd ones first", {
                let (even, odd): (Vec<_>, Vec<_>) = sent.iter().enumerate().partition(|(n, _)| n % 2 == 0);
                odd.into_iter().chain(even).map(|(_, der)| der.clone()).collect()
            });
        }
        if (2..=4).contains(&count) {
            for missing in 0..count {
                let mut rest = sent.clone();
                rest.remove(missing);
                of(&format!("without number {missing}"), rest);
            }
        }
    }
    for count in [20, 50] {
        cases.push(Recipe::with_cas(count).case(format!("length: {count} CAs below the root")));
    }
    let foreign = || Recipe::with_cas(1).make();
    let (chain, other) = (Recipe::with_cas(1).make(), foreign());
    let (own, others) = (chain.root().der.clone(), other.root().der.clone());
    for (name, authorities) in [
        ("only a foreign one", vec![others.clone()]),
        ("a foreign one first", vec![others.clone(), own.clone()]),
        ("a foreign one last", vec![own.clone(), others.clone()]),
        ("the same twice", vec![own.clone(), own.clone()]),
    ] {
        cases.push(chain.case_of(format!("authorities: {name}"), chain.between(), authorities));
    }
    let junk = [other.between(), chain.between(), vec![others]].concat();
    cases.push(chain.case_of("sent: CAs of somebody else around", junk, vec![own]));
    cases
}

/// Every set of a chain's CAs as the bundle, with all CAs sent, and with the others only.
fn authorities() -> Vec<Case> {
    let mut cases = Vec::new();
    for count in 1..=3 {
        let chain = Recipe::with_cas(count).make();
        let cas = &chain.0[..=count];
        for set in 1_usize..1 << cas.len() {
            let is_authority = |place: usize| set >> place & 1 == 1;
            let pick = |wanted: bool| -> Vec<Vec<u8>> {
                let picked = cas.iter().enumerate().rev().filter(|(place, _)| is_authority(*place) == wanted);
                picked.map(|(_, made)| made.der.clone()).collect()
            };
            let places: Vec<String> =
                (0..cas.len()).filter(|place| is_authority(*place)).map(|place| place.to_string()).collect();
            let places = places.join(" and ");
            let name = format!("authorities: {places} of root (0) to CA {count}");
            cases.push(chain.case_of(format!("{name}, all CAs sent"), chain.between(), pick(true)));
            cases.push(chain.case_of(format!("{name}, the others sent"), pick(false), pick(true)));
        }
    }
    cases
}

fn path_lengths() -> Vec<Case> {
    let mut cases = Vec::new();
    for count in 1..=3 {
        for place in 0..=count {
            for allowed in 0..=2 {
                let recipe = Recipe::with_cas(count).change(place, |params| {
                    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(allowed));
                });
                let name = format!("path length: {allowed} at CA {place} of root (0) to CA {count}");
                cases.push(recipe.case(name));
            }
        }
    }
    // CAs that have the name of the one above them count for nothing.
    for allowed in 0..=1 {
        let root = self_signed(ca("root"), key());
        let mut limited = ca("self-issued");
        limited.is_ca = IsCa::Ca(BasicConstraints::Constrained(allowed));
        let upper = signed(limited, key(), &root);
        let lower = signed(ca("self-issued"), key(), &upper);
        let server = signed(spire_ca(), key(), &lower);
        let workload = signed(leaf(), key(), &server);
        let sent = [&server, &lower, &upper].map(|made| made.der.clone()).to_vec();
        let name = format!("path length: {allowed} above a CA of the same name");
        cases.push(case(name, &workload, sent, vec![root.der.clone()]));
    }
    cases
}

fn basic_constraints() -> Vec<Case> {
    let mut cases = Vec::new();
    let truth = || tlv(0x01, &[0xff]);
    for place in 0..=2 {
        for (name, is_ca) in [("none", IsCa::NoCa), ("not a CA", IsCa::ExplicitNoCa)] {
            let recipe = Recipe::with_cas(2).change(place, |params| params.is_ca = is_ca);
            cases.push(recipe.case(format!("basic constraints: {name} at CA {place}")));
        }
        let recipe = Recipe::with_cas(2).change(place, |params| params.is_ca = IsCa::NoCa);
        for (name, critical, content) in [
            ("a CA, not critical", Critical::No, sequence(&[truth()])),
            ("empty", Critical::Yes, sequence(&[])),
            ("a path length and not a CA", Critical::Yes, sequence(&[integer(1)])),
            ("a negative path length", Critical::Yes, sequence(&[truth(), integer(0xff)])),
            ("no DER", Critical::Yes, vec![0x30, 0x05, 0x01]),
        ] {
            let recipe = recipe.clone().extended(place, extension(&BASIC_CONSTRAINTS, critical, content));
            cases.push(recipe.case(format!("basic constraints: {name} at CA {place}")));
        }
    }
    for (name, is_ca) in [
        ("not a CA", IsCa::ExplicitNoCa),
        ("a CA", IsCa::Ca(BasicConstraints::Unconstrained)),
        ("a CA above none", IsCa::Ca(BasicConstraints::Constrained(0))),
    ] {
        let recipe = Recipe::with_cas(1).change(2, |params| params.is_ca = is_ca);
        cases.push(recipe.case(format!("basic constraints: {name} at the leaf")));
    }
    cases
}

/// Leaves that signed themselves, or are authorities themselves.
fn alone() -> Vec<Case> {
    let own = self_signed(leaf(), key());
    let chain = Recipe::with_cas(1).make();
    let (sent, root) = (chain.between(), chain.root().der.clone());
    let itself = chain.leaf().der.clone();
    vec![
        case("alone: signed itself", &own, Vec::new(), vec![root.clone()]),
        case("alone: signed itself, with a CA of somebody else", &own, sent.clone(), vec![root.clone()]),
        case("alone: signed itself, and is the authority", &own, Vec::new(), vec![own.der.clone()]),
        case("alone: is the authority, signed by another", chain.leaf(), Vec::new(), vec![itself.clone()]),
        case("alone: is an authority beside the root", chain.leaf(), sent, vec![itself, root]),
    ]
}
