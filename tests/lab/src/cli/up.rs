//! `lab up`

use clap::Args;

use super::{build, progress, say};
use crate::build::Options;
use crate::cgroups::{Cgroups, of_lab};
use crate::cluster::up::{Inputs, Outcome, up};
use crate::error::Result;
use crate::preflight;
use crate::state::{Record, StateDir};
use crate::steps::{Steps, mebibytes, seconds};
use crate::topology::{MAX_NODES, NAMES, Shape};

/// Build what is missing and start the clusters; repair a lab that is half dead.
#[derive(Debug, Default, Args)]
pub(super) struct Up {
    /// Number of clusters: foo, bar, baz… [default: 2, or as they run]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=i64::try_from(NAMES.len()).unwrap_or(6)))]
    clusters: Option<u8>,
    /// Nodes in each cluster; the first one runs the control plane too [default: 1, or as they run]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES)))]
    nodes: Option<u8>,
}

impl Up {
    /// Starts this many clusters.
    pub(super) fn of(clusters: u8) -> Self {
        Self { clusters: Some(clusters), nodes: None }
    }

    pub(super) fn run(self) -> Result<()> {
        preflight::require_root()?;
        let state = StateDir::from_env();
        let options = Options::from_env()?;
        let steps = Steps::new(&progress);
        let asked = self.shape(&state)?;
        let inputs = Inputs { state: &state, cache: &options.cache };
        let outcome = up(&inputs, asked, &steps, || steps.time("components built", || build::all(&options)))?;
        match outcome {
            Outcome::AlreadyRunning(shape) => say(&format!("already running with {shape}, nothing to do")),
            Outcome::Started(shape) => report(&state, &steps, "started", shape),
            Outcome::Repaired(shape) => report(&state, &steps, "repaired", shape),
        }
    }

    /// What is not named stays as it is.
    fn shape(&self, state: &StateDir) -> Result<Option<Shape>> {
        if self.clusters.is_none() && self.nodes.is_none() {
            return Ok(None);
        }
        let base = Record::read(state)?.map(|record| record.shape).unwrap_or_default();
        Ok(Some(Shape {
            clusters: self.clusters.unwrap_or(base.clusters),
            nodes: self.nodes.unwrap_or(base.nodes),
        }))
    }
}

fn report(state: &StateDir, steps: &Steps<'_>, done: &str, shape: Shape) -> Result<()> {
    let memory = Cgroups::detect()?
        .memory(&of_lab(state))
        .map_or_else(String::new, |m| format!(", {} used", mebibytes(m)));
    say(&format!("{done} {shape} in {}{memory}", seconds(steps.total())))?;
    say(&format!("export KUBECONFIG={}", state.kubeconfig().display()))
}
