//! What a stage does with a request.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::check::CheckId;
use crate::fleet::Unread;
use crate::hint::{Advice, Command};
use crate::report::cut;

/// How much of what was read is repeated, in characters.
const LONGEST: usize = 500;

/// A part of the path of a request, in the order in which it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The client's pod sends through its sidecar.
    Client,
    /// The sidecar knows the host and port.
    Name,
    /// A route takes the request, and leads to the service.
    Route,
    /// The policy in force for the service sends with mutual TLS.
    Policy,
    /// The sidecar has endpoints in a cluster.
    Endpoints,
    /// The gateway of the cluster's network lets the connection in.
    Gateway,
    /// The server's sidecar and the client's verify each other.
    Server,
    /// No authorization policy refuses the client.
    Authorization,
    /// The application listens.
    Application,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Client => "client",
            Self::Name => "name",
            Self::Route => "route",
            Self::Policy => "policy",
            Self::Endpoints => "endpoints",
            Self::Gateway => "gateway",
            Self::Server => "server",
            Self::Authorization => "authorization",
            Self::Application => "application",
        })
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a stage does with the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It lets it through; what was seen.
    Passes(String),
    /// It stops it.
    Stops(Box<Stop>),
    /// It could not be found out.
    Unknown(String),
}

/// Why a request goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The cause, in words.
    pub cause: String,
    /// The object that is to be changed, `VirtualService shop/cart`; `None` where it is no object.
    pub object: Option<String>,
    /// The field of it.
    pub field: Option<String>,
    /// What was read.
    pub evidence: Vec<String>,
    /// What changes it.
    pub next: Advice,
    /// The check of `kubectl mesh-install verify` that finds it, too; `None` where there is none.
    pub check: Option<CheckId>,
}

impl Verdict {
    pub(super) fn stops(cause: impl Into<String>, next: impl Into<Advice>) -> Self {
        let (object, field, evidence, check) = Default::default();
        let stop = Stop { cause: cause.into(), object, field, evidence, next: next.into(), check };
        Self::Stops(Box::new(stop))
    }

    /// Names the check that finds it, too.
    pub(super) fn found_by(mut self, check: &'static str) -> Self {
        if let Self::Stops(stop) = &mut self {
            stop.check = Some(CheckId(check));
        }
        self
    }

    pub(super) fn at(mut self, object: impl Into<String>, field: impl Into<String>) -> Self {
        if let Self::Stops(stop) = &mut self {
            stop.object = Some(object.into());
            stop.field = Some(field.into()).filter(|field| !field.is_empty());
        }
        self
    }

    pub(super) fn seen(mut self, evidence: impl Into<String>) -> Self {
        if let Self::Stops(stop) = &mut self {
            stop.evidence.push(cut(evidence.into(), LONGEST));
        }
        self
    }

    pub(super) fn unread(unread: &Unread) -> Self {
        Self::Unknown(unread.why.clone())
    }
}

/// Writes the command that opens an object in an editor.
pub(super) fn edit(context: &str, namespace: &str, kind: &str, name: &str) -> Command {
    Command::kubectl(["-n", namespace, "edit", kind, name]).at(context)
}

/// Joins names for a sentence.
pub(super) fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}
