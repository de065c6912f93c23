use super::{OutputError, RefreshCause};
use crate::fleet::ExecError;
use crate::hint::{Advice, Command, Hint};
use crate::trust::TrustDomain;

/// Why a command of the SPIRE server gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It could not be run.
    #[error("cannot run `spire-server {command}`")]
    Exec {
        /// Name of the cluster.
        cluster: String,
        /// Name of the command.
        command: &'static str,
        /// What went wrong.
        source: Box<ExecError>,
    },
    /// It ran and failed.
    #[error(
        "cluster {cluster}: `spire-server {command}` in pod {namespace}/{pod} ended with {exit}: {stderr}"
    )]
    Failed {
        /// Name of the cluster.
        cluster: String,
        /// The kubeconfig context.
        context: String,
        /// Namespace of the server's pod.
        namespace: String,
        /// Name of the server's pod.
        pod: String,
        /// Name of the command.
        command: &'static str,
        /// Its exit code.
        exit: i32,
        /// The first line that it wrote to stderr.
        stderr: String,
    },
    /// It ran, and what it wrote is not what this command writes.
    #[error("`spire-server {command}` in pod {namespace}/{pod} gave no usable answer")]
    Output {
        /// Name of the cluster.
        cluster: String,
        /// Namespace of the server's pod.
        namespace: String,
        /// Name of the server's pod.
        pod: String,
        /// Name of the command.
        command: &'static str,
        /// What is wrong with it.
        source: OutputError,
    },
}

impl ServerError {
    /// Tells whether waiting can help: the pod, the connection to it or the server in it may still be starting.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Exec { source, .. } => source.problem.is_transient(),
            Self::Failed { stderr, .. } => {
                stderr.contains("dial unix") || stderr.contains("code = Unavailable")
            }
            Self::Output { .. } => false,
        }
    }
}

impl Hint for ServerError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::Exec { source, .. } => source.hint(),
            Self::Failed { context, namespace, pod, stderr, .. } => {
                let why = if stderr.contains("dial unix") {
                    "the server does not answer on its socket; see why: "
                } else {
                    "see the server's log: "
                };
                let logs = Command::kubectl(["-n", namespace, "logs", pod, "--all-containers"]);
                Some(Advice::from(why).then(logs.at(context)))
            }
            Self::Output { .. } => Some(
                "a SPIRE server from version 1.13 to 1.15 is expected; its version may be another".into(),
            ),
        }
    }
}

/// Why a server did not get a peer's bundle.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The server tried, and could not.
    #[error("cannot fetch the bundle of {peer}: {cause}: {message}")]
    Failed {
        /// Name of the cluster whose server tried.
        cluster: String,
        /// The trust domain whose bundle it wanted.
        peer: TrustDomain,
        /// What kind of failure it was.
        cause: RefreshCause,
        /// The server's words.
        message: String,
    },
    /// The server could not be asked.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl RefreshError {
    /// Tells whether waiting can help: see [`RefreshCause::may_pass`].
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Failed { cause, .. } => cause.may_pass(),
            Self::Server(error) => error.may_pass(),
        }
    }
}

impl Hint for RefreshError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::Failed { cause, peer, .. } => cause.hint(peer),
            Self::Server(error) => error.hint(),
        }
    }
}
