//! Asking before something is changed or deleted.

use std::io::{self, BufRead};

use owo_colors::OwoColorize;

use super::{Printer, escape};
use crate::hint::{Advice, Hint};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// There is no terminal to ask on.
    #[error("needs --yes: there is no terminal to ask \"{question}\"")]
    NeedsYes {
        /// The question.
        question: String,
    },
    /// The answer cannot be read.
    #[error("cannot read the answer from standard input")]
    Read(#[source] io::Error),
}

impl Hint for ConfirmError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::NeedsYes { .. } => Some("add --yes to answer it beforehand".into()),
            Self::Read(_) => None,
        }
    }
}

impl Printer {
    /// Asks a question that is answered with yes or no; everything but `y` and `yes` means no.
    ///
    /// Returns `true` at once when `yes` is set (`--yes`).
    ///
    /// # Errors
    ///
    /// [`ConfirmError::NeedsYes`] when standard input or standard error is not a terminal.
    pub async fn confirm(&self, question: &str, yes: bool) -> Result<bool, ConfirmError> {
        if yes {
            return Ok(true);
        }
        let Some(input) = self.input() else {
            return Err(ConfirmError::NeedsYes { question: escape(question).into_owned() });
        };
        self.prompt(&format!("{} [y/N] ", escape(question).bold()));
        // Reading blocks and cannot be cancelled; on a thread of its own it leaves Ctrl-C to the runtime.
        let answer = tokio::task::spawn_blocking(move || {
            let mut answer = String::new();
            input.lock().unwrap_or_else(std::sync::PoisonError::into_inner).read_line(&mut answer)?;
            Ok(answer)
        })
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(ConfirmError::Read)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Format;

    async fn answer(input: &str) -> bool {
        let (printer, captured) = Printer::captured_with_input(Format::Table, input);
        let answer = printer.confirm("Delete the CA volume of foo-eks-cluster?", false).await.unwrap();
        assert_eq!(captured.stderr(), "Delete the CA volume of foo-eks-cluster? [y/N] ");
        answer
    }

    #[tokio::test]
    async fn only_yes_means_yes() {
        assert!(answer("y\n").await);
        assert!(answer(" YES \n").await);
        for input in ["\n", "", "n\n", "yep\n"] {
            assert!(!answer(input).await, "{input:?}");
        }
    }

    #[tokio::test]
    async fn without_a_terminal_yes_has_to_be_given() {
        let (printer, captured) = Printer::captured(Format::Table);
        assert!(printer.confirm("Go on?", true).await.unwrap());
        let error = printer.confirm("Go on?", false).await.unwrap_err();
        insta::assert_snapshot!(error, @r#"needs --yes: there is no terminal to ask "Go on?""#);
        insta::assert_snapshot!(error.hint().unwrap(), @"add --yes to answer it beforehand");
        assert_eq!(captured.stderr(), "");
        assert_eq!(ConfirmError::Read(io::Error::other("closed")).hint(), None);
    }
}
