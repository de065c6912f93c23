//! What the end-to-end tests run against: the lab, or two or more clusters that somebody else provides.

use std::env;
use std::path::PathBuf;

use crate::cluster::Kubectl;
use crate::error::{Error, Result};
use crate::faults::Faults;
use crate::proof::{Member, ServerPod};
use crate::state::{Record, StateDir};
use crate::topology::{Cluster, Shape};

/// Variable with the contexts of other clusters, separated by commas; `lab test --contexts` sets it.
pub const CONTEXTS: &str = "SPIRE_MESH_TEST_CONTEXTS";

/// A running lab.
#[derive(Debug, Clone)]
pub struct Lab {
    state: StateDir,
    shape: Shape,
}

impl Lab {
    /// The lab that runs on this machine.
    pub fn find(state: StateDir) -> Result<Self> {
        let shape = Record::require(&state)?.shape;
        Ok(Self { state, shape })
    }

    /// Its state directory.
    #[must_use]
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    /// Its clusters.
    pub fn clusters(&self) -> impl Iterator<Item = Cluster> + use<> {
        self.shape.clusters()
    }

    /// Its clusters as they are federated: `foo` has trust domain `foo.com`, and a SPIRE that `kubectl spire-federate` installs.
    pub fn members(&self) -> impl Iterator<Item = Member> + use<> {
        self.clusters().map(|cluster| Member {
            context: cluster.context(),
            trust_domain: format!("{}.com", cluster.name()),
            server: ServerPod::managed(),
        })
    }
}

/// Clusters for tests.
#[derive(Debug, Clone)]
pub enum Target {
    /// The lab: everything is possible, faults too.
    Lab(Lab),
    /// Contexts of the user's kubeconfig: whatever runs there, nobody breaks it.
    Contexts(Vec<String>),
}

impl Target {
    /// The contexts of `SPIRE_MESH_TEST_CONTEXTS` if it is set, else the lab that runs on this machine.
    pub fn from_env() -> Result<Self> {
        match env::var(CONTEXTS) {
            Ok(list) => Self::from_contexts(&list),
            Err(_) => Lab::find(StateDir::from_env()).map(Self::Lab),
        }
    }

    /// Contexts of the user's kubeconfig, separated by commas.
    pub fn from_contexts(list: &str) -> Result<Self> {
        let contexts: Vec<String> =
            list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let distinct: std::collections::BTreeSet<_> = contexts.iter().collect();
        if contexts.len() < 2 || distinct.len() < contexts.len() {
            return Err(Error::Invalid {
                what: "list of contexts",
                value: list.to_owned(),
                why: "expected two or more different ones, separated by commas".to_owned(),
            });
        }
        Ok(Self::Contexts(contexts))
    }

    /// Names of the contexts.
    #[must_use]
    pub fn contexts(&self) -> Vec<String> {
        match self {
            Self::Lab(lab) => lab.clusters().map(Cluster::context).collect(),
            Self::Contexts(contexts) => contexts.clone(),
        }
    }

    /// The kubeconfig that has them; `None` stands for the user's own (`KUBECONFIG`, `~/.kube/config`).
    #[must_use]
    pub fn kubeconfig(&self) -> Option<PathBuf> {
        match self {
            Self::Lab(lab) => Some(lab.state.kubeconfig()),
            Self::Contexts(_) => None,
        }
    }

    /// `kubectl` for a context: the lab's own, else the one on `PATH`.
    #[must_use]
    pub fn kubectl(&self, context: &str) -> Kubectl {
        let program = match self {
            Self::Lab(lab) => lab.state.kubectl(),
            Self::Contexts(_) => "kubectl".into(),
        };
        Kubectl::new(program, self.kubeconfig()).context(context)
    }

    /// Faults, where they are possible.
    pub fn faults(&self) -> Result<Faults> {
        match self {
            Self::Lab(lab) => Ok(Faults::new(lab.state.clone())),
            Self::Contexts(contexts) => Err(Error::FaultsUnsupported(contexts.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_peoples_clusters_have_no_faults() {
        let target = Target::from_contexts("kind-a, kind-b").expect("two contexts");
        assert_eq!(target.contexts(), ["kind-a", "kind-b"]);
        assert_eq!(target.kubeconfig(), None);
        let text = target.faults().expect_err("not ours").to_string();
        assert!(text.contains("kind-a, kind-b"), "{text}");
    }

    #[test]
    fn one_cluster_is_not_enough() {
        for list in ["", "kind-a", "kind-a,kind-a"] {
            assert!(Target::from_contexts(list).is_err(), "{list:?}");
        }
    }
}
