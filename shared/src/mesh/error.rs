//! What can be wrong with a mesh file, said with the place.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::hint::{Advice, Hint, Plugin};
use crate::report::escape;

/// Why there is no mesh.
#[derive(Debug, thiserror::Error)]
pub enum MeshFileError {
    /// There is no such file.
    #[error("there is no mesh file `{}`", escape(&path.to_string_lossy()))]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is there and cannot be read.
    #[error("cannot read mesh file `{}`", escape(&path.to_string_lossy()))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is longer than any mesh file.
    #[error("mesh file `{}` is larger than {} KiB", escape(&path.to_string_lossy()), limit / 1024)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest size that is read, in bytes.
        limit: u64,
    },
    /// The file is not UTF-8 text.
    #[error("{file}:{line}: not UTF-8 text")]
    NotUtf8 {
        /// Name of the file, safe to print.
        file: String,
        /// The line of the first byte that is not text.
        line: usize,
    },
    /// The file is not a valid mesh.
    #[error("{}", Listed { file, problems, more: *more })]
    Invalid {
        /// Name of the file, safe to print.
        file: String,
        /// What is wrong with it, in the order of the file; at least one.
        problems: Vec<Problem>,
        /// How many problems are not shown.
        more: usize,
    },
}

impl Hint for MeshFileError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::Missing { .. } => {
                let words = ["init", "CONTEXT=TRUST_DOMAIN", "CONTEXT=TRUST_DOMAIN"];
                Some(Advice::from("write one with: ").then(Plugin::SpireFederate.command(words)))
            }
            _ => None,
        }
    }
}

/// One thing that is wrong with a mesh file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in one line.
    pub message: String,
    /// Where.
    pub place: Place,
    /// The other place that is involved, such as the first of two equal names.
    pub other: Option<Place>,
}

/// A place in a mesh file, with the line that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line's text around the column, safe to print.
    excerpt: String,
    /// Where the column is in `excerpt`, in columns of a terminal.
    caret: usize,
}

/// Characters of a line that are shown on either side of its problem.
const EXCERPT: usize = 60;

impl Place {
    /// Makes a place in `text`. Line and column are counted from 1; beyond the text means its end.
    pub(super) fn new(text: &str, line: usize, column: usize) -> Self {
        let (line, column) = (line.max(1), column.max(1));
        let characters: Vec<char> = text.lines().nth(line - 1).unwrap_or_default().chars().collect();
        let at = (column - 1).min(characters.len());
        let start = at.saturating_sub(EXCERPT);
        let end = (at + EXCERPT).min(characters.len());
        let safe = |part: &[char]| escape(&part.iter().collect::<String>()).into_owned();
        let before = format!("{}{}", if start > 0 { "…" } else { "" }, safe(&characters[start..at]));
        let after =
            format!("{}{}", safe(&characters[at..end]), if end < characters.len() { "…" } else { "" });
        let caret = unicode_width::UnicodeWidthStr::width(before.as_str());
        Self { line, column, excerpt: before + &after, caret }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, note: &str) -> fmt::Result {
        let gutter = self.line.to_string();
        write!(f, "\n  {gutter} |{}{}", if self.excerpt.is_empty() { "" } else { " " }, self.excerpt)?;
        write!(f, "\n  {:width$} | {:caret$}^{note}", "", "", width = gutter.len(), caret = self.caret)
    }
}

/// The problems of a file as text.
struct Listed<'a> {
    file: &'a str,
    problems: &'a [Problem],
    more: usize,
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len() + self.more;
        if count > 1 {
            writeln!(f, "mesh file `{}` has {count} problems", self.file)?;
        }
        for (index, Problem { message, place, other }) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{}:{}: {message}", self.file, place.line, place.column)?;
            place.write(f, "")?;
            if let Some(other) = other {
                other.write(f, " and this")?;
            }
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, line: usize, column: usize) -> String {
        let problems =
            vec![Problem { message: "wrong".to_owned(), place: Place::new(text, line, column), other: None }];
        MeshFileError::Invalid { file: "spire-mesh.yaml".to_owned(), problems, more: 0 }.to_string()
    }

    #[test]
    fn the_caret_stands_below_the_column_as_a_terminal_shows_it() {
        insta::assert_snapshot!(shown("a: 1\nb: 東京 x", 2, 7), @r"
        spire-mesh.yaml:2:7: wrong
          2 | b: 東京 x
            |         ^
        ");
        insta::assert_snapshot!(shown("\u{1b}[2J\tx", 1, 6), @r"
        spire-mesh.yaml:1:6: wrong
          1 | \u{1b}[2J\tx
            |            ^
        ");
    }

    #[test]
    fn long_lines_are_shown_around_the_column() {
        insta::assert_snapshot!(shown(&format!("{}X{}", "a".repeat(500), "b".repeat(500)), 1, 501), @r"
        spire-mesh.yaml:1:501: wrong
          1 | …aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaXbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb…
            |                                                              ^
        ");
    }

    #[test]
    fn places_beyond_the_text_are_its_end() {
        insta::assert_snapshot!(shown("a: 1\n", 9, 9), @r"
        spire-mesh.yaml:9:9: wrong
          9 |
            | ^
        ");
        insta::assert_snapshot!(shown("", 0, 0), @r"
        spire-mesh.yaml:1:1: wrong
          1 |
            | ^
        ");
    }

    #[test]
    fn a_missing_file_says_how_to_write_one() {
        let error = MeshFileError::Missing { path: "spire-mesh.yaml".into() };
        insta::assert_snapshot!(error, @"there is no mesh file `spire-mesh.yaml`");
        insta::assert_snapshot!(error.hint().unwrap(), @"write one with: kubectl spire-federate init CONTEXT=TRUST_DOMAIN CONTEXT=TRUST_DOMAIN");
    }
}
