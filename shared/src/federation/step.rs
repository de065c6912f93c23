use std::fmt;
use std::time::Duration;

use super::rotate::Wanted;
use crate::trust::TrustDomain;
use crate::watch::{Ended, Stage};

/// What a cluster is busy with, or has just come through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Applying SPIRE's objects.
    Applying,
    /// Taking the checks that `verify` takes; with the cause of the first one that does not pass yet.
    Verifying(Option<String>),
    /// Waiting for the SPIRE server to answer.
    WaitingForServer,
    /// Waiting for the bundle endpoint's address.
    WaitingForAddress,
    /// Waiting for the other clusters' servers.
    WaitingForPeers,
    /// Carrying the peer's bundle over the Kubernetes API.
    CarryingBundle(TrustDomain),
    /// Waiting until the server has fetched the peer's bundle itself.
    Refreshing(TrustDomain),
    /// Registering workloads.
    Registering,
    /// Waiting for agents and CSI driver.
    WaitingForAgents,
    /// Deleting agents' pods, so that they start again.
    RestartingAgents,
    /// Registering workloads without a peer that leaves.
    Unregistering(TrustDomain),
    /// Waiting until no registration entry federates with a peer that leaves.
    WaitingForEntries(TrustDomain),
    /// Deleting the relationship with a peer that leaves.
    DeletingRelationship(TrustDomain),
    /// Making the server forget the bundle of a peer that leaves.
    ForgettingBundle(TrustDomain),
    /// Making the next CA of a server.
    PreparingCa,
    /// Making the prepared CA sign.
    ActivatingCa,
    /// Making everything be replaced that the old CA has signed.
    TaintingCa,
    /// Taking the old CA out of the bundle.
    RevokingCa,
    /// Asking a cluster's agents what they serve.
    AskingAgents {
        /// How many serve what is wanted.
        done: usize,
        /// How many there are.
        of: usize,
        /// What they have to serve.
        wanted: Wanted,
    },
    /// Waiting for a time in which agents do what cannot be seen.
    Waiting {
        /// How long.
        time: Duration,
        /// What for.
        what: &'static str,
    },
    /// Starting the server's pod again.
    RestartingServer,
    /// Deleting objects.
    Deleting,
    /// Nothing is left to do; the text is the outcome in a few words.
    Done(String),
    /// It did not work; the text is the cause in a few words.
    Failed(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applying => f.write_str("applying SPIRE"),
            Self::Verifying(None) => f.write_str("verifying"),
            Self::Verifying(Some(cause)) => write!(f, "verifying; not yet: {cause}"),
            Self::WaitingForServer => f.write_str("waiting for the SPIRE server"),
            Self::WaitingForAddress => f.write_str("waiting for the bundle endpoint's address"),
            Self::WaitingForPeers => f.write_str("waiting for the other clusters' servers"),
            Self::CarryingBundle(peer) => write!(f, "carrying the bundle of {peer} over the Kubernetes API"),
            Self::Refreshing(peer) => write!(f, "fetching the bundle of {peer} from its endpoint"),
            Self::Registering => f.write_str("registering workloads"),
            Self::WaitingForAgents => f.write_str("waiting for agents and CSI driver"),
            Self::RestartingAgents => f.write_str("starting the agents again"),
            Self::Unregistering(peer) => write!(f, "registering workloads without {peer}"),
            Self::WaitingForEntries(peer) => {
                write!(f, "waiting until no registration entry federates with {peer}")
            }
            Self::DeletingRelationship(peer) => write!(f, "deleting the relationship with {peer}"),
            Self::ForgettingBundle(peer) => write!(f, "deleting the bundle of {peer} in the SPIRE server"),
            Self::PreparingCa => f.write_str("preparing a new CA"),
            Self::ActivatingCa => f.write_str("activating the new CA"),
            Self::TaintingCa => f.write_str("tainting the old CA"),
            Self::RevokingCa => f.write_str("revoking the old CA"),
            Self::AskingAgents { done, of, wanted } => write!(f, "{done} of {of} agents {wanted}"),
            Self::Waiting { time, what } => {
                write!(f, "waiting {} for {what}", humantime::format_duration(*time))
            }
            Self::RestartingServer => f.write_str("starting the SPIRE server again"),
            Self::Deleting => f.write_str("deleting"),
            Self::Done(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl Stage for Step {
    fn ended(&self) -> Option<Ended> {
        match self {
            Self::Done(_) => Some(Ended::Done),
            Self::Failed(_) => Some(Ended::Failed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::sample::domain;

    #[test]
    fn every_step_says_what_is_being_done_and_only_the_last_ends() {
        let wanted = Wanted::SignedBy("0123456789ab".to_owned());
        let all = [
            Step::Applying,
            Step::Verifying(None),
            Step::Verifying(Some("node-1 has no agent".to_owned())),
            Step::WaitingForServer,
            Step::WaitingForAddress,
            Step::WaitingForPeers,
            Step::CarryingBundle(domain("baz")),
            Step::Refreshing(domain("baz")),
            Step::Registering,
            Step::WaitingForAgents,
            Step::RestartingAgents,
            Step::Unregistering(domain("baz")),
            Step::WaitingForEntries(domain("baz")),
            Step::DeletingRelationship(domain("baz")),
            Step::ForgettingBundle(domain("baz")),
            Step::PreparingCa,
            Step::ActivatingCa,
            Step::TaintingCa,
            Step::RevokingCa,
            Step::AskingAgents { done: 1, of: 2, wanted },
            Step::Waiting { time: Duration::from_secs(65), what: "agents to replace SVIDs" },
            Step::RestartingServer,
            Step::Deleting,
        ];
        assert!(all.iter().all(|step| step.ended().is_none()));
        insta::assert_snapshot!(all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"), @r"
        applying SPIRE
        verifying
        verifying; not yet: node-1 has no agent
        waiting for the SPIRE server
        waiting for the bundle endpoint's address
        waiting for the other clusters' servers
        carrying the bundle of baz.com over the Kubernetes API
        fetching the bundle of baz.com from its endpoint
        registering workloads
        waiting for agents and CSI driver
        starting the agents again
        registering workloads without baz.com
        waiting until no registration entry federates with baz.com
        deleting the relationship with baz.com
        deleting the bundle of baz.com in the SPIRE server
        preparing a new CA
        activating the new CA
        tainting the old CA
        revoking the old CA
        1 of 2 agents serve SVIDs of CA 01234567
        waiting 1m 5s for agents to replace SVIDs
        starting the SPIRE server again
        deleting
        ");
        let (done, failed) = (Step::Done("3 created".to_owned()), Step::Failed("no answer".to_owned()));
        assert!(matches!((done.ended(), failed.ended()), (Some(Ended::Done), Some(Ended::Failed))));
        assert_eq!((done.to_string(), failed.to_string()), ("3 created".to_owned(), "no answer".to_owned()));
    }
}
