//! The catalogues of checks against `docs/checks.md`: users look for a check's section by its id.

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

#[test]
fn sections_name_the_checks_that_come_first() {
    let spire = federation::checks::CATALOGUE.iter().map(|check| (check.id, check.needs));
    let istio = multicluster::checks::CATALOGUE.iter().map(|check| (check.id, check.needs));
    for (id, needs) in spire.chain(istio) {
        let section = DOCS.split("\n## ").find(|section| section.lines().next() == Some(id.0));
        // What comes after the first cause may name any check.
        let said = section.unwrap_or_default().split("\n- **").next().unwrap_or_default();
        for need in needs {
            assert!(
                said.contains(&format!("`{}`", need.0)),
                "{} does not say that it needs {}",
                id.0,
                need.0
            );
        }
    }
}
