//! What was read of a cluster, or why it could not be.

use super::access::Need;
use super::forward::{ForwardError, ForwardProblem};
use super::request::{Cause, RequestError};
use crate::hint::{Advice, Hint};

/// Something that was read, or why it could not be.
pub type Read<T> = Result<T, Unread>;

/// Something that could not be read from a cluster.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what}")]
pub struct ReadError {
    /// Name of the cluster.
    pub cluster: String,
    /// What was to be read: kind, namespace and name.
    pub what: String,
    /// The right that it takes.
    pub need: Box<Need>,
    /// What the API server said.
    pub source: RequestError,
}

impl ReadError {
    pub(crate) fn new(cluster: &str, what: impl Into<String>, need: Need, error: &kube::Error) -> Self {
        Self {
            cluster: cluster.to_owned(),
            what: what.into(),
            need: Box::new(need),
            source: RequestError::from(error),
        }
    }
}

impl Hint for ReadError {
    fn hint(&self) -> Option<Advice> {
        matches!(self.source.cause(), Cause::Forbidden)
            .then(|| format!("ask for the right to {}", self.need).into())
    }
}

/// Why something could not be read, in a form that a status and a check can show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// What came instead, in one line.
    pub why: String,
    /// The right that is missing, where that is why.
    pub need: Option<Box<Need>>,
    /// What to do about it: a sentence, or a command that can be pasted.
    pub hint: Option<Advice>,
}

impl Unread {
    /// Says why something cannot be read that stands on something else.
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), need: None, hint: None }
    }

    /// Takes the answer of an API server to a request that needs `need`.
    pub(crate) fn request(need: &Need, error: &RequestError) -> Self {
        match error.cause() {
            Cause::Forbidden => {
                Self { why: format!("you may not {need}"), need: Some(Box::new(need.clone())), hint: None }
            }
            _ => Self::because(format!("cannot {need}: {error}")),
        }
    }

    /// Takes what reading an object ended with.
    pub(crate) fn read(error: &ReadError) -> Self {
        match error.source.cause() {
            Cause::Forbidden => Self::request(&error.need, &error.source),
            _ => Self::error(error),
        }
    }

    /// Takes what asking a pod over a forwarded port ended with.
    pub(crate) fn forward(error: &ForwardError) -> Self {
        match &error.problem {
            ForwardProblem::Request(request) if request.cause() == Cause::Forbidden => {
                Self::request(&Need::forward(Some(&error.at.namespace)), request)
            }
            _ => Self::error(error),
        }
    }

    /// Takes any other error, with its causes and its hint.
    pub(crate) fn error<E: std::error::Error + Hint>(error: &E) -> Self {
        Self { why: with_causes(error), need: None, hint: error.hint() }
    }
}

/// Returns an error's text with those of its causes that say something new.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
