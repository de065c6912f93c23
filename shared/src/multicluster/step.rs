use std::fmt;
use std::time::Duration;

use super::InstallError;
use crate::istio::demo::Demo;
use crate::manifest::Counts;
use crate::watch::{Ended, Stage};

/// What a cluster is busy with, or has just come through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Applying Istio's objects.
    Applying,
    /// Waiting for istiod's CA.
    WaitingForCa,
    /// Applying a demo's objects.
    ApplyingDemo(Demo),
    /// Waiting for the token with which other clusters read this one.
    WaitingForToken,
    /// Waiting for the other clusters.
    WaitingForPeers,
    /// Giving istiod the access to the other clusters.
    GivingAccess,
    /// Waiting for a workload to be ready.
    WaitingFor(&'static str),
    /// Waiting for the address of the east-west gateway.
    WaitingForAddress,
    /// Taking the checks that `verify` takes; with the cause of the first one that does not pass yet.
    Verifying(Option<String>),
    /// Making a new token for those who read the cluster.
    MakingToken,
    /// Waiting until the other clusters read the cluster with the new token.
    WaitingForReaders,
    /// Deleting the old token.
    DeletingToken,
    /// Starting istiod again.
    RestartingIstiod,
    /// Reading the certificates and trust bundles of proxies.
    ReadingProxies,
    /// Reading istiod's CA.
    ReadingCa,
    /// Giving the next root of istiod's CA to proxies, beside the one that they have.
    AddingRoot,
    /// Waiting until every namespace has the next root.
    WaitingForNamespaces {
        /// Namespaces that have.
        done: usize,
        /// All namespaces with a root.
        of: usize,
    },
    /// Waiting as long as kubelets may take to pass the roots on to proxies.
    WaitingForKubelets(Duration),
    /// Having cert-manager issue istiod's next CA.
    IssuingCa,
    /// Waiting until istiod has taken its next CA, or the roots beside it.
    WaitingForReload {
        /// Pods of istiod that have.
        done: usize,
        /// All pods of istiod.
        of: usize,
    },
    /// Deleting objects.
    Deleting,
    /// Nothing is left to do; the text is the outcome in a few words.
    Done(String),
    /// It did not work; the text is the cause in a few words.
    Failed(String),
}

impl Step {
    /// Says how applying ended.
    pub(super) fn ended(result: &Result<Counts, InstallError>) -> Self {
        match result {
            Ok(counts) => Self::Done(counts.to_string()),
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applying => f.write_str("applying Istio"),
            Self::WaitingForCa => f.write_str("waiting for cert-manager to issue istiod's CA"),
            Self::ApplyingDemo(demo) => write!(f, "applying {demo}"),
            Self::WaitingForToken => {
                f.write_str("waiting for the tokens that the other clusters read it with")
            }
            Self::WaitingForPeers => f.write_str("waiting for the other clusters"),
            Self::GivingAccess => f.write_str("writing remote secrets"),
            Self::WaitingFor(workload) => write!(f, "waiting for {workload}"),
            Self::WaitingForAddress => f.write_str("waiting for the east-west gateway's address"),
            Self::Verifying(None) => f.write_str("verifying"),
            Self::Verifying(Some(cause)) => write!(f, "verifying; not yet: {cause}"),
            Self::MakingToken => f.write_str("making a new token"),
            Self::WaitingForReaders => {
                f.write_str("waiting until the other clusters read it with the new token")
            }
            Self::DeletingToken => f.write_str("deleting the old token"),
            Self::ReadingProxies => f.write_str("reading the proxies' certificates and trust bundles"),
            Self::ReadingCa => f.write_str("reading istiod's CA"),
            Self::AddingRoot => f.write_str("adding the next root to Secret cacerts"),
            Self::WaitingForNamespaces { done, of } => {
                write!(f, "waiting until istiod has given the next root to every namespace: {done} of {of}")
            }
            Self::WaitingForKubelets(delay) => write!(
                f,
                "giving the kubelets {} to pass both roots on to the proxies",
                humantime::format_duration(*delay)
            ),
            Self::IssuingCa => f.write_str("having istiod's next CA issued"),
            Self::WaitingForReload { done, of } => {
                write!(f, "waiting until istiod has taken what is in Secret cacerts: {done} of {of} pods")
            }
            Self::RestartingIstiod => f.write_str("starting istiod again"),
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

    #[test]
    fn every_step_is_said_in_words_and_only_the_last_ones_end() {
        let steps = [
            Step::Applying,
            Step::WaitingForCa,
            Step::ApplyingDemo(Demo::Sleep),
            Step::WaitingForToken,
            Step::WaitingForPeers,
            Step::GivingAccess,
            Step::WaitingFor("istiod"),
            Step::WaitingForAddress,
            Step::Verifying(None),
            Step::Verifying(Some("istiod has not read foo".to_owned())),
            Step::MakingToken,
            Step::WaitingForReaders,
            Step::DeletingToken,
            Step::RestartingIstiod,
            Step::ReadingProxies,
            Step::ReadingCa,
            Step::AddingRoot,
            Step::WaitingForNamespaces { done: 1, of: 3 },
            Step::WaitingForKubelets(Duration::from_secs(90)),
            Step::IssuingCa,
            Step::WaitingForReload { done: 1, of: 2 },
            Step::Deleting,
            Step::ended(&Ok(Counts { created: 2, ..Counts::default() })),
            Step::ended(&Err(InstallError::NoIstio { mesh: "devup".to_owned() })),
        ];
        let told = steps.each_ref().map(|step| format!("{step} | {:?}", step.ended()));
        insta::assert_snapshot!(told.join("\n"));
    }
}
