//! Why a command did not do what it was asked to, and how that is said.

use std::error::Error;
use std::process::ExitCode;

use crate::hint::{Advice, Hint, Place};
use crate::mesh::MeshFileError;
use crate::report::{ConfirmError, Printer, one_line};

/// How a process ends. The same for all plugins, and a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done and healthy: 0.
    Done,
    /// The operation failed: 1.
    Failed,
    /// Wrong usage or mesh file; nothing was changed: 2.
    Usage,
    /// It ran and found problems: 3.
    Findings,
    /// Timed out: 124, as `timeout` does.
    TimedOut,
    /// Interrupted: 130, as shells do.
    Interrupted,
}

impl Exit {
    /// Returns the exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Findings => 3,
            Self::TimedOut => 124,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why a command did not do what it was asked to: the errors, what to do about them, and how to exit.
///
/// Every error that implements [`Hint`] becomes one with `?`, and brings its hint along.
#[derive(Debug)]
pub struct Failure {
    what: What,
    hints: Vec<Advice>,
    exit: Exit,
}

#[derive(Debug)]
enum What {
    Error(anyhow::Error),
    Clusters { total: usize, failed: Vec<(Place, Failure)> },
    Interrupted,
}

impl Failure {
    /// Makes a failure of wrong usage: exit code 2.
    pub fn usage(error: impl Into<Self>) -> Self {
        Self { exit: Exit::Usage, ..error.into() }
    }

    /// Makes a failure of time that ran out: exit code 124.
    pub fn timed_out(error: impl Into<Self>) -> Self {
        Self { exit: Exit::TimedOut, ..error.into() }
    }

    /// Makes the failure of a command that was interrupted: exit code 130.
    #[must_use]
    pub fn interrupted() -> Self {
        Self { what: What::Interrupted, hints: Vec::new(), exit: Exit::Interrupted }
    }

    /// Makes one failure of those of several clusters, out of `total` clusters. What each advises is for its cluster.
    ///
    /// The exit code is theirs where they agree, else 1.
    #[must_use]
    pub fn clusters(total: usize, failed: Vec<(Place, Self)>) -> Self {
        let hints_of = |(place, failure): &(Place, Self)| {
            failure.hints.iter().map(|hint| hint.clone().at(&place.context)).collect::<Vec<_>>()
        };
        let hints = failed.iter().flat_map(hints_of).collect();
        let mut exits = failed.iter().map(|(_, failure)| failure.exit);
        let first = exits.next().unwrap_or(Exit::Failed);
        let exit = if exits.all(|exit| exit == first) { first } else { Exit::Failed };
        Self { what: What::Clusters { total, failed }, hints, exit }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Advice>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says in which cluster it happened: what it advises so far is for that one.
    #[must_use]
    pub fn at(self, place: &Place) -> Self {
        let hints = self.hints.into_iter().map(|hint| hint.at(&place.context)).collect();
        Self { hints, ..self }
    }

    /// Returns how to exit.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Returns every error in it, causes included.
    pub(super) fn causes(&self) -> Box<dyn Iterator<Item = &(dyn Error + 'static)> + '_> {
        match &self.what {
            What::Error(error) => Box::new(error.chain()),
            What::Clusters { failed, .. } => {
                Box::new(failed.iter().flat_map(|(_, failure)| failure.causes()))
            }
            What::Interrupted => Box::new(std::iter::empty()),
        }
    }

    /// Prints it on standard error: the error, its causes, and each hint once.
    pub fn print(&self, printer: &Printer) {
        match &self.what {
            What::Error(error) => {
                let mut texts = texts(error).into_iter();
                let mut message = texts.next().unwrap_or_else(|| "unknown error".to_owned());
                for cause in texts {
                    message.extend(["\ncaused by: ", &cause.replace('\n', "\n  ")]);
                }
                printer.error(&message);
            }
            What::Clusters { total, failed } => {
                let mut message = format!("{} of {total} clusters failed", failed.len());
                for (Place { cluster, .. }, failure) in failed {
                    message.extend(["\n", &one_line(cluster), ": ", &failure.one_line()]);
                }
                printer.error(&message);
            }
            What::Interrupted => printer.note("interrupted; run the same command again to go on"),
        }
        for (index, hint) in self.hints.iter().enumerate() {
            if !self.hints[..index].contains(hint) {
                printer.hint(hint.clone());
            }
        }
    }

    /// Returns it as one line, without hints.
    #[must_use]
    pub fn one_line(&self) -> String {
        match &self.what {
            What::Error(error) => one_line(&texts(error).join(": ")),
            What::Clusters { failed, .. } => {
                let failed: Vec<_> = failed
                    .iter()
                    .map(|(place, failure)| format!("{}: {}", one_line(&place.cluster), failure.one_line()))
                    .collect();
                failed.join("; ")
            }
            What::Interrupted => "interrupted".to_owned(),
        }
    }
}

impl<E: Error + Hint + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let hint = error.hint();
        let failure = Self::from(anyhow::Error::from(error));
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let usage = error.chain().any(|cause| cause.is::<MeshFileError>() || cause.is::<ConfirmError>());
        let exit = if usage { Exit::Usage } else { Exit::Failed };
        Self { what: What::Error(error), hints: Vec::new(), exit }
    }
}

/// Returns an error's text and those of its causes that say something new. Several libraries repeat their source.
fn texts(error: &anyhow::Error) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for text in error.chain().map(ToString::to_string) {
        if !text.trim().is_empty() && !texts.iter().any(|said| said.contains(text.trim())) {
            texts.push(text);
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Command;
    use crate::report::Format;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Example {
        text: String,
        hint: Option<Advice>,
        source: Option<Box<Example>>,
    }

    impl Hint for Example {
        fn hint(&self) -> Option<Advice> {
            self.hint.clone()
        }
    }

    fn chain(texts: &[&str]) -> Example {
        let (text, rest) = texts.split_first().unwrap();
        let source = (!rest.is_empty()).then(|| Box::new(chain(rest)));
        Example { text: (*text).to_owned(), hint: None, source }
    }

    fn hinted(text: &str, hint: impl Into<Advice>) -> Example {
        Example { text: text.to_owned(), hint: Some(hint.into()), source: None }
    }

    fn place(name: &str) -> Place {
        Place::new(name, format!("{name}-context"))
    }

    fn printed(failure: impl Into<Failure>) -> String {
        let (printer, captured) = Printer::captured(Format::Table);
        failure.into().print(&printer);
        captured.stderr()
    }

    #[test]
    fn causes_that_say_nothing_new_are_left_out() {
        insta::assert_snapshot!(printed(chain(&[
            "cannot reach foo-eks-cluster at https://10.0.0.1:6443",
            "service error: client error (Connect): tcp connect error",
            "client error (Connect)",
            "tcp connect error",
            "connection refused (os error 111)",
        ])), @r"
        error: cannot reach foo-eks-cluster at https://10.0.0.1:6443
          caused by: service error: client error (Connect): tcp connect error
          caused by: connection refused (os error 111)
        ");
    }

    #[test]
    fn hints_come_last() {
        insta::assert_snapshot!(printed(hinted("context `foo` is not in the kubeconfig", "kubectl config get-contexts")), @r"
        error: context `foo` is not in the kubeconfig
        hint: kubectl config get-contexts
        ");
    }

    #[test]
    fn each_failed_cluster_is_one_line_and_each_hint_is_said_once() {
        let failed = ["foo-eks-cluster", "bar-eks-cluster"].map(|name| {
            let error =
                hinted("may not create namespaces:\n forbidden", "ask for cluster-admin, or use --as");
            (place(name), Failure::from(error))
        });
        insta::assert_snapshot!(printed(Failure::clusters(3, failed.into())), @r"
        error: 2 of 3 clusters failed
          foo-eks-cluster: may not create namespaces: forbidden
          bar-eks-cluster: may not create namespaces: forbidden
        hint: ask for cluster-admin, or use --as
        ");
    }

    #[test]
    fn a_command_is_for_the_cluster_that_failed_and_not_for_whichever_is_the_current_one() {
        let error = || hinted("it does not start", Command::kubectl(["get", "pods"]));
        let failed = ["foo", "bar"].map(|name| (place(name), Failure::from(error())));
        insta::assert_snapshot!(printed(Failure::clusters(2, failed.into())), @r"
        error: 2 of 2 clusters failed
          foo: it does not start
          bar: it does not start
        hint: kubectl --context foo-context get pods
        hint: kubectl --context bar-context get pods
        ");
        insta::assert_snapshot!(printed(error()), @r"
        error: it does not start
        hint: kubectl --context CONTEXT get pods
        ");
    }

    #[test]
    fn foreign_text_cannot_draw_on_the_terminal() {
        insta::assert_snapshot!(printed(chain(&["answer: \u{1b}[2J", "x\r\nerror: nothing is wrong"])), @r"
        error: answer: \u{1b}[2J
          caused by: x
            error: nothing is wrong
        ");
    }

    #[test]
    fn clusters_share_an_exit_code_only_when_they_agree() {
        let failure = |exits: [fn(Example) -> Failure; 2]| {
            Failure::clusters(2, exits.map(|make| (place("foo"), make(chain(&["x"])))).into()).exit()
        };
        assert_eq!(failure([Failure::timed_out, Failure::timed_out]), Exit::TimedOut);
        assert_eq!(failure([Failure::timed_out, Failure::from]), Exit::Failed);
    }

    #[test]
    fn needing_yes_is_wrong_usage() {
        let error = ConfirmError::NeedsYes { question: "Go on?".to_owned() };
        assert_eq!(Failure::from(error).exit(), Exit::Usage);
        let error = anyhow::Error::from(ConfirmError::NeedsYes { question: "Go on?".to_owned() })
            .context("cannot ask");
        assert_eq!(Failure::from(error).exit(), Exit::Usage);
    }

    #[test]
    fn exit_codes_are_a_promise() {
        let all = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Findings, Exit::TimedOut, Exit::Interrupted];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 124, 130]);
        for exit in all {
            assert_eq!(format!("{:?}", ExitCode::from(exit)), format!("{:?}", ExitCode::from(exit.code())));
        }
    }

    #[test]
    fn a_mesh_file_that_is_wrong_is_wrong_usage_and_other_errors_are_not() {
        let missing = || MeshFileError::Missing { path: "spire-mesh.yaml".into() };
        assert_eq!(Failure::from(missing()).exit(), Exit::Usage);
        assert_eq!(Failure::from(anyhow::Error::from(missing()).context("x")).exit(), Exit::Usage);
        assert_eq!(Failure::from(anyhow::anyhow!("x")).exit(), Exit::Failed);
        assert_eq!(Failure::interrupted().exit(), Exit::Interrupted);
    }

    #[test]
    fn a_failure_is_one_line_where_there_is_room_for_one() {
        assert_eq!(Failure::from(chain(&["a\nb", "", "b", "c"])).one_line(), "a b: c");
        let failed = ["foo", "b\nar"].map(|name| (place(name), Failure::from(chain(&["x", "y"]))));
        let clusters = Failure::clusters(3, failed.into()).with_hint("h");
        assert_eq!(clusters.one_line(), "foo: x: y; b ar: x: y");
        assert_eq!(clusters.causes().count(), 4);
        assert_eq!(Failure::interrupted().one_line(), "interrupted");
        assert_eq!(Failure::clusters(3, Vec::new()).exit(), Exit::Failed);
    }
}
