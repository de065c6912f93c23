//! What the changelog says about a version.

use semver::Version;

/// Returns the text below the heading of a version: `## 0.1.0`, `## [0.1.0] - 2026-12-01`. `None` where there is no such heading, or
/// nothing below it.
pub(super) fn section<'t>(changelog: &'t str, version: &Version) -> Option<&'t str> {
    let is_heading = |line: &str| {
        let word = line.strip_prefix("## ").and_then(|title| title.split_whitespace().next());
        word.is_some_and(|word| word.trim_matches(['[', ']']) == version.to_string())
    };
    let mut place = 0;
    let mut begin = None;
    for line in changelog.split_inclusive('\n') {
        if begin.is_some() && line.starts_with("## ") {
            break;
        }
        place += line.len();
        if begin.is_none() && is_heading(line) {
            begin = Some(place);
        }
    }
    let text = changelog.get(begin?..place)?.trim();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changelog\n\nAll.\n\n## Unreleased\n\n## [0.2.0] - 2026-12-24\n\n### Added\n- x\n  y\n\n## 0.1.0\n- z\n";

    fn of(version: &str) -> Option<&'static str> {
        section(CHANGELOG, &version.parse().unwrap())
    }

    #[test]
    fn a_section_ends_where_the_next_version_begins() {
        assert_eq!(of("0.2.0"), Some("### Added\n- x\n  y"));
        assert_eq!(of("0.1.0"), Some("- z"));
    }

    #[test]
    fn there_is_no_section_of_an_unknown_or_empty_version() {
        for version in ["0.2.0-rc.1", "0.2.1", "1.0.0"] {
            assert_eq!(of(version), None, "{version}");
        }
        assert_eq!(section("## 0.1.0\n\n## 0.0.1\n- a\n", &"0.1.0".parse().unwrap()), None);
    }
}
