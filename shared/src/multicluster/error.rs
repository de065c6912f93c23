use super::preflight::PreflightError;
use crate::fleet::{ExecError, ReadError, RequestError};
use crate::hint::{Advice, Command, Hint, Place, Plugin};
use crate::istio::istiod::IstiodError;
use crate::istio::{EAST_WEST_GATEWAY, NAMESPACE};
use crate::manifest::{ApplyError, DeleteError, PlanError, WaitError};

/// Why a cluster got no further on its way into, or out of, the mesh.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// What there is could not be held against what there has to be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Rights are missing.
    #[error(transparent)]
    Rights(#[from] Box<PreflightError>),
    /// Objects could not be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Objects could not be deleted.
    #[error(transparent)]
    Delete(#[from] DeleteError),
    /// Something did not become ready.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// istiod could not be asked.
    #[error(transparent)]
    Istiod(#[from] IstiodError),
    /// A service or its nodes could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A command did not run.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// Something could not be read from the API server.
    #[error("cannot read {what}")]
    Request {
        /// What was to be read.
        what: String,
        /// What the API server said.
        source: RequestError,
    },
    /// The gateway has an address that cannot be used.
    #[error("other networks cannot come in: {reason}")]
    Unexposed {
        /// Why.
        reason: String,
    },
    /// There is no Istio yet.
    #[error("there is no Istio of mesh {mesh}, so pods would start without a sidecar")]
    NoIstio {
        /// Name of the mesh.
        mesh: String,
    },
    /// It happened in another cluster than the one that is worked on.
    #[error("in {}: {source}", place.cluster)]
    In {
        /// That cluster.
        place: Place,
        /// What happened.
        source: Box<Self>,
    },
    /// Another cluster did not get far enough to be part of the mesh.
    #[error("not connected with {peer}: that cluster did not come up")]
    PeerMissing {
        /// The other cluster.
        peer: String,
    },
}

impl InstallError {
    /// Makes the error of a request to the API server that failed.
    pub(super) fn request(what: &str, error: &kube::Error) -> Self {
        Self::Request { what: what.to_owned(), source: RequestError::from(error) }
    }

    /// Tells whether time ran out, which has an exit code of its own.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Wait(error) | Self::Apply(ApplyError::Wait(error)) => error.is_timeout(),
            Self::In { source, .. } => source.is_timeout(),
            _ => false,
        }
    }
}

impl Hint for InstallError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::Plan(error) => error.hint(),
            Self::Rights(error) => error.hint(),
            Self::Apply(error) => error.hint(),
            Self::Delete(error) => error.hint(),
            Self::Wait(error) => error.hint(),
            Self::Istiod(error) => error.hint(),
            Self::Read(error) => error.hint(),
            Self::Exec(error) => error.hint(),
            Self::Request { .. } => None,
            Self::Unexposed { .. } => {
                Some(Command::kubectl(["-n", NAMESPACE, "describe", "service", EAST_WEST_GATEWAY]).into())
            }
            Self::In { place, source } => Some(source.hint()?.at(&place.context)),
            Self::NoIstio { .. } => Some(Plugin::MeshInstall.up().into()),
            Self::PeerMissing { .. } => {
                Some("see to that cluster first, then run the same command again".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_what_to_do() {
        let text = str::to_owned;
        let timed_out = || WaitError::TimedOut {
            what: text("istiod"),
            last_seen: text("nothing"),
            waited: std::time::Duration::from_secs(1),
        };
        let never = WaitError::Never { what: text("istiod"), reason: text("it is gone") };
        let (wait, apply, never) = (
            InstallError::Wait(timed_out()),
            InstallError::Apply(timed_out().into()),
            InstallError::Wait(never),
        );
        let there = InstallError::In {
            place: Place::new("bar", "bar-context"),
            source: Box::new(InstallError::Wait(timed_out())),
        };
        assert_eq!((wait.is_timeout(), apply.is_timeout(), never.is_timeout()), (true, true, false));
        assert!(there.is_timeout());
        let errors = [
            wait,
            InstallError::Istiod(IstiodError::NotReady { context: text("baz") }),
            InstallError::Unexposed { reason: text("it has none") },
            InstallError::In {
                place: Place::new("bar", "bar-context"),
                source: Box::new(InstallError::Unexposed { reason: text("it has none") }),
            },
            InstallError::NoIstio { mesh: text("devup") },
            InstallError::PeerMissing { peer: text("foo") },
        ];
        let told =
            errors.each_ref().map(|error| format!("{error}\n  hint: {}", error.hint().unwrap_or_default()));
        insta::assert_snapshot!(told.join("\n"));
    }
}
