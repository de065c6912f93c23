//! Certificates that have ended, or are not valid yet.

use crate::Case;
use crate::make::{DAY, Recipe, valid};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for count in 1..=3 {
        for place in 0..=count + 1 {
            for (name, from, to) in [
                ("ended", -20 * DAY, -10 * DAY),
                ("ended a minute ago", -DAY, -60),
                ("not valid yet", DAY, 2 * DAY),
                ("valid for an hour", -60, 3600),
                ("valid for ever", -20_000 * DAY, 200_000 * DAY),
                ("ends before it begins", DAY, -DAY),
            ] {
                let recipe = Recipe::with_cas(count).change(place, |params| valid(params, from, to));
                let name = format!("times: {name}, {place} of root (0) to leaf ({})", count + 1);
                cases.push(recipe.case(name));
            }
        }
    }
    // An ended CA that the path does not take.
    let chain = Recipe::with_cas(1).make();
    let ended = Recipe::with_cas(1).change(1, |params| valid(params, -20 * DAY, -10 * DAY)).make();
    let root = chain.root().der.clone();
    for (name, sent) in [
        ("before", [ended.between(), chain.between()].concat()),
        ("after", [chain.between(), ended.between()].concat()),
    ] {
        let name = format!("times: an ended CA with another key and the same name {name} the right one");
        cases.push(chain.case_of(name, sent, vec![root.clone()]));
    }
    cases
}
