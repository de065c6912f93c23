use crate::fleet::{Cause, Need, RequestError};
use crate::hint::Hint;

/// Something of SPIRE that could not be read from a cluster.
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
    fn hint(&self) -> Option<String> {
        matches!(self.source.cause(), Cause::Forbidden).then(|| format!("ask for the right to {}", self.need))
    }
}
