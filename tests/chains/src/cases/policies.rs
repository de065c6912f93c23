//! Policies: named, demanded, mapped, inhibited.

use crate::Case;
use crate::der::{
    Critical, INHIBIT_ANY_POLICY, POLICIES, POLICY_CONSTRAINTS, POLICY_MAPPINGS, extension, integer,
    policies, policy_constraints, policy_mapping,
};
use crate::make::Recipe;

const ONE: &[u64] = &[2, 23, 140, 1, 2, 1];
const TWO: &[u64] = &[2, 23, 140, 1, 2, 2];
const ANY: &[u64] = &[2, 5, 29, 32, 0];

/// Policies of root, CA above, SPIRE's CA and leaf.
type Set = [&'static [&'static [u64]]; 4];

const SETS: [(&str, Set); 8] = [
    ("none", [&[], &[], &[], &[]]),
    ("of all", [&[ONE], &[ONE], &[ONE], &[ONE]]),
    ("of all but the root", [&[], &[ONE], &[ONE], &[ONE]]),
    ("of all but the leaf", [&[ONE], &[ONE], &[ONE], &[]]),
    ("of SPIRE's CA only", [&[], &[], &[ONE], &[]]),
    ("of all, not the same", [&[ONE], &[ONE], &[TWO], &[TWO]]),
    ("any of the CAs, one of the leaf", [&[ANY], &[ANY], &[ANY], &[ONE]]),
    ("any of all", [&[ANY], &[ANY], &[ANY], &[ANY]]),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (set_name, set) in SETS {
        for (name, critical) in [("critical", Critical::Yes), ("not critical", Critical::No)] {
            cases.push(recipe(set, critical).case(format!("policies: {set_name}, {name}")));
        }
        for (place, at) in [(0, "the root"), (1, "the CA above"), (2, "SPIRE's CA"), (3, "the leaf")] {
            for skip in [0, 1, 3] {
                let demand =
                    extension(&POLICY_CONSTRAINTS, Critical::Yes, policy_constraints(Some(skip), None));
                let recipe = recipe(set, Critical::No).extended(place, demand);
                let name = format!("policies: {set_name}, demanded after {skip} by {at}");
                cases.push(recipe.case(name));
            }
        }
    }
    let demand = extension(&POLICY_CONSTRAINTS, Critical::Yes, policy_constraints(Some(0), None));
    for (name, set) in SETS {
        for skip in [0, 1] {
            let inhibit = extension(&INHIBIT_ANY_POLICY, Critical::Yes, integer(skip));
            let recipe = recipe(set, Critical::No).extended(1, inhibit).extended(1, demand.clone());
            cases.push(recipe.case(format!(
                "policies: {name}, any inhibited after {skip}, one demanded, by the CA above"
            )));
        }
        let no_mapping = extension(&POLICY_CONSTRAINTS, Critical::Yes, policy_constraints(None, Some(0)));
        for (mapping_name, more) in [("", None), (", and mappings inhibited", Some(no_mapping))] {
            let mapping = extension(&POLICY_MAPPINGS, Critical::Yes, policy_mapping(ONE, TWO));
            let mut recipe = recipe(set, Critical::No).extended(1, mapping).extended(2, demand.clone());
            if let Some(more) = more {
                recipe = recipe.extended(0, more);
            }
            cases.push(recipe.case(format!("policies: {name}, mapped by the CA above{mapping_name}")));
        }
    }
    for (place, at) in [(0, "the root"), (2, "SPIRE's CA"), (3, "the leaf")] {
        for (name, content) in [
            ("twice the same", policies(&[ONE, ONE])),
            ("an empty list", policies(&[])),
            ("no DER", vec![0x30, 0x05, 0x01]),
        ] {
            let recipe = Recipe::with_cas(2).extended(place, extension(&POLICIES, Critical::No, content));
            cases.push(recipe.case(format!("policies: {name} at {at}")));
        }
        let empty = extension(&POLICY_CONSTRAINTS, Critical::Yes, policy_constraints(None, None));
        cases.push(
            Recipe::with_cas(2).extended(place, empty).case(format!("policies: empty constraints at {at}")),
        );
    }
    cases
}

fn recipe(set: Set, critical: Critical) -> Recipe {
    set.into_iter()
        .enumerate()
        .filter(|(_, named)| !named.is_empty())
        .fold(Recipe::with_cas(2), |recipe, (place, named)| {
            recipe.extended(place, extension(&POLICIES, critical, policies(named)))
        })
}
