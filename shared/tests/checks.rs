//! The catalogues of checks against `docs/checks.md`: users look for a check's section by its id.

use std::collections::BTreeSet;

use spire_mesh::{federation, multicluster};

const DOCS: &str = include_str!("../../docs/checks.md");

/// Sections that are of no check.
const GENERAL: [&str; 1] = ["What verify does"];

#[test]
fn every_check_has_its_section_in_the_order_of_the_catalogue() {
    let spire = federation::checks::CATALOGUE.iter().map(|check| check.id.0);
    let istio = multicluster::checks::CATALOGUE.iter().map(|check| check.id.0);
    let checks: Vec<&str> = spire.chain(istio).collect();
    let sections = DOCS.lines().filter_map(|line| line.strip_prefix("## "));
    let sections: Vec<&str> = sections.filter(|section| !GENERAL.contains(section)).collect();
    assert_eq!(sections, checks);
}

/// Returns what a section says that its check needs: what is in backticks in the sentence that begins with `Needs`.
fn needed(section: &str) -> BTreeSet<&str> {
    let (_, after) = section.split_once("Needs").unwrap_or_else(|| panic!("no needs in {section}"));
    let sentence = after.split('.').next().unwrap_or_default();
    sentence.split('`').skip(1).step_by(2).collect()
}

#[test]
fn sections_name_the_checks_that_come_first_and_no_others() {
    let spire = federation::checks::CATALOGUE.iter().map(|check| (check.id, check.needs));
    let istio = multicluster::checks::CATALOGUE.iter().map(|check| (check.id, check.needs));
    let mut count = 0;
    for (id, needs) in spire.chain(istio) {
        let section = DOCS.split("\n## ").find(|section| section.lines().next() == Some(id.0));
        let section = section.unwrap_or_else(|| panic!("no section of {}", id.0));
        let needs: BTreeSet<&str> = needs.iter().map(|need| need.0).collect();
        assert_eq!(needed(section), needs, "{}", id.0);
        count += needs.len();
    }
    assert!(count > 40, "{count}: most checks need another");
}
