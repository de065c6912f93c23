//! How a completer answers kubectl: a word on each line, with a tab and what it means behind it, and a last line that tells the shell
//! what to do with them. It is the protocol of cobra, which kubectl is made with.

use std::fmt;

use crate::report::one_line;

/// A word that could stand where the cursor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    word: String,
    meaning: String,
}

impl Candidate {
    /// Makes a candidate, if it can stand in a command line as it is.
    ///
    /// Not every shell's script quotes what it inserts, and some once ran what they were given. A name with a character that means
    /// something to a shell or to the protocol is therefore none: no name of Kubernetes has one.
    pub(super) fn new(word: impl Into<String>, meaning: &str) -> Option<Self> {
        let word = word.into();
        let is_plain = |character: char| character.is_alphanumeric() || "-_./:@%+,=".contains(character);
        let meaning = one_line(meaning.lines().next().unwrap_or_default());
        (!word.is_empty() && word.chars().all(is_plain)).then_some(Self { word, meaning })
    }

    /// Makes a candidate of a name from elsewhere. One that looks like a flag is none.
    pub(super) fn foreign(word: impl Into<String>, meaning: &str) -> Option<Self> {
        Self::new(word, meaning).filter(|candidate| !candidate.word.starts_with('-'))
    }

    pub(super) fn word(&self) -> &str {
        &self.word
    }

    pub(super) fn meaning(&self) -> &str {
        &self.meaning
    }

    /// Tells whether something has to follow it without a space.
    fn is_open(&self) -> bool {
        self.word.ends_with(['/', '='])
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.meaning.is_empty() {
            f.write_str(&self.word)
        } else {
            write!(f, "{}\t{}", self.word, self.meaning)
        }
    }
}

/// What the shell itself can complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Files {
    /// No files.
    #[default]
    None,
    /// Files of any kind.
    Any,
    /// Folders.
    Folders,
}

/// What could stand where the cursor is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(super) candidates: Vec<Candidate>,
    pub(super) files: Files,
}

impl Answer {
    /// Returns cobra's `ShellCompDirective`, a sum of bits.
    fn directive(&self) -> u8 {
        const NO_SPACE: u8 = 2;
        const NO_FILES: u8 = 4;
        const FOLDERS: u8 = 16;
        match self.files {
            Files::Any => 0,
            Files::Folders => FOLDERS,
            Files::None if self.candidates.iter().any(Candidate::is_open) => NO_SPACE | NO_FILES,
            Files::None => NO_FILES,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.candidates.iter().try_for_each(|candidate| writeln!(f, "{candidate}"))?;
        writeln!(f, ":{}", self.directive())
    }
}
