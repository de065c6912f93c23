//! Why a Lease could not be taken, and how one is lost.

use jiff::Timestamp;

use super::object::{Holder, NAMESPACE};
use crate::fleet::{Need, RequestError, ask_for, listed};
use crate::hint::{Advice, Hint};

/// Why a Lease could not be taken. Nothing was changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another run is at work.
    #[error("{}", held(lease, holder))]
    Held {
        /// Name of the Lease.
        lease: String,
        /// Who holds it.
        holder: Holder,
    },
    /// Several others take it at the same time.
    #[error("Lease {NAMESPACE}/{lease} changed each time that it was to be taken")]
    Contended {
        /// Name of the Lease.
        lease: String,
    },
    /// You may not hold it.
    #[error(
        "rights are missing to hold Lease {NAMESPACE}/{lease}, which keeps two runs apart: {}",
        listed(needs)
    )]
    MissingRights {
        /// Name of the Lease.
        lease: String,
        /// What you may not.
        needs: Vec<Need>,
    },
    /// The API server did not do it.
    #[error("cannot take Lease {NAMESPACE}/{lease}")]
    Request {
        /// Name of the Lease.
        lease: String,
        /// Why.
        source: RequestError,
    },
}

fn held(lease: &str, holder: &Holder) -> String {
    let Holder { who, since, until } = holder;
    let since = since.map(|since| format!(" since {}", told(since))).unwrap_or_default();
    let until = match until {
        Some(until) => format!("if that run has crashed, its Lease ends at {}", told(*until)),
        None => "its Lease does not say when it ends".to_owned(),
    };
    format!("another run is at work{since}: {who}; {until} (Lease {NAMESPACE}/{lease})")
}

/// Writes a time to the second, in UTC.
pub(super) fn told(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Hint for LeaseError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::Held { .. } => Some(
                "wait until that run has ended; where you know that it is gone, take its Lease over: the same command with --break-lock"
                    .into(),
            ),
            Self::Contended { .. } => Some("run the same command again in a moment".into()),
            Self::MissingRights { needs, .. } => ask_for(needs),
            Self::Request { .. } => None,
        }
    }
}

/// How a run lost a Lease that it held. It has stopped then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Somebody else has it.
    #[error("stopped: Lease {NAMESPACE}/{lease} was taken over by {}", holder.who)]
    Taken {
        /// Name of the Lease.
        lease: String,
        /// Who.
        holder: Holder,
    },
    /// It is not there any more.
    #[error(
        "stopped: Lease {NAMESPACE}/{lease} was deleted; somebody deleted it, or took it over and has finished"
    )]
    Deleted {
        /// Name of the Lease.
        lease: String,
    },
    /// It could not be renewed before it ran out, so that somebody else may take it.
    #[error("stopped: Lease {NAMESPACE}/{lease} could not be renewed before it ran out")]
    RanOut {
        /// Name of the Lease.
        lease: String,
        /// Why it could not be renewed the last time.
        source: RequestError,
    },
}

impl Hint for Lost {
    fn hint(&self) -> Option<Advice> {
        let when = match self {
            Self::Taken { .. } => "when the other run has ended",
            Self::Deleted { .. } => "when no other run is at work",
            Self::RanOut { .. } => "when its API server can be reached again",
        };
        Some(format!("what is done stays; {when}, run the same command again to go on").into())
    }
}
