//! `lab test`

use std::time::{Duration, Instant};

use clap::Args;

use super::{build, down, lanes, progress, say, up};
use crate::build::Options;
use crate::error::Result;
use crate::plugins::{Plugins, Profile, cargo, run};
use crate::preflight;
use crate::state::{Record, StateDir};
use crate::steps::{Steps, seconds};
use crate::target::{CONTEXTS, Target};

/// Clusters of the lab that the end-to-end tests run in. Most of them use the first two.
pub(super) const CLUSTERS: u8 = 3;
/// The module of the end-to-end tests that need all of them.
const LARGE: &str = "three_clusters::";

/// Run every test: format, lints, unit and snapshot tests, those against an emulator of AWS, then the end-to-end tests on
/// real clusters.
///
/// Starts a fresh lab for the end-to-end tests and takes it down afterwards, unless other clusters are named.
#[derive(Debug, Args)]
pub(super) struct Test {
    /// Run the end-to-end tests on these contexts of your kubeconfig instead of the lab (two or more, with commas)
    #[arg(long, value_name = "CONTEXT,CONTEXT")]
    contexts: Option<String>,
    /// Leave the lab running afterwards
    #[arg(long)]
    keep: bool,
    /// Labs at the same time, which share the end-to-end tests; with --only, --keep and --contexts there is one
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=6))]
    lanes: u8,
    /// Only the end-to-end tests whose name holds this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

impl Test {
    pub(super) fn run(self) -> Result<()> {
        // Said now, not after the tests that need none of it.
        match &self.contexts {
            Some(contexts) => Target::from_contexts(contexts).map(drop)?,
            None => preflight::require_root()?,
        }
        let steps = Steps::new(&progress);
        let mut times = Times::default();
        if self.only.is_none() {
            times.time("format", || run(cargo().args(["fmt", "--all", "--", "--check"])))?;
            let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"];
            times.time("lints", || run(cargo().args(lints)))?;
            times.time("unit and snapshot tests", || run(cargo().args(["test", "--locked"])))?;
        }
        times.time("plugins built", || Plugins::build(Profile::Debug))?;
        if let Some(contexts) = &self.contexts {
            self.emulated_aws(&mut times)?;
            times.time("end-to-end tests", || self.end_to_end(Some(contexts)))?;
        } else if self.keep || self.only.is_some() {
            self.in_the_lab(&mut times)?;
        } else {
            self.in_lanes(&mut times)?;
        }
        times.print()?;
        say(&format!("all tests passed in {}", seconds(steps.total())))
    }

    /// Runs the end-to-end tests in fresh labs that end with them.
    fn in_lanes(&self, times: &mut Times) -> Result<()> {
        times.time("components built", || build::all(&Options::from_env()?))?;
        self.emulated_aws(times)?;
        // Once, and where the network is; in the lanes cargo finds it done.
        let tests = ["test", "--locked", "--no-run", "--package", "spire-mesh-e2e"];
        times.time("end-to-end tests built", || run(cargo().args(tests)))?;
        let groups = times.time("end-to-end tests", || lanes::run_all(self.lanes.into()))?;
        times.0.extend(groups);
        Ok(())
    }

    fn in_the_lab(&self, times: &mut Times) -> Result<()> {
        times.time("components built", || build::all(&Options::from_env()?))?;
        self.emulated_aws(times)?;
        if self.only.is_none() {
            down::Down::default().run()?;
        }
        // One that runs is used as it is.
        let lab = match Record::read(&StateDir::from_env())? {
            Some(_) => up::Up::default(),
            None => up::Up::of(CLUSTERS),
        };
        times.time("lab started", || lab.run())?;
        let tested = times.time("end-to-end tests", || self.end_to_end(None));
        if tested.is_err() {
            as_it_was_left()?;
        }
        if !self.keep {
            times.time("lab taken down", || down::Down::default().run())?;
        }
        tested
    }

    /// Runs the tests that need pip, which comes with the components' packages where it is not there yet.
    fn emulated_aws(&self, times: &mut Times) -> Result<()> {
        if self.only.is_some() {
            return Ok(());
        }
        let tests = ["test", "--locked", "--package", "spire-mesh-eks"];
        times.time("tests against an emulator of AWS", || run(cargo().args(tests)))
    }

    fn end_to_end(&self, contexts: Option<&String>) -> Result<()> {
        let mut tests = cargo();
        tests.args(["test", "--locked", "--package", "spire-mesh-e2e", "--", "--test-threads=1"]);
        tests.args(self.only.as_ref());
        if let Some(contexts) = contexts {
            tests.env(CONTEXTS, contexts);
            if Target::from_contexts(contexts)?.contexts().len() < usize::from(CLUSTERS) {
                say(&format!("left out with fewer than {CLUSTERS} contexts: tests in {LARGE}"))?;
                tests.args(["--skip", LARGE]);
            }
        }
        run(&mut tests)
    }
}

/// Shows the clusters as a failed test left them, before they are taken down: what nobody can ask any more afterwards.
pub(super) fn as_it_was_left() -> Result<()> {
    const QUESTIONS: [&str; 3] = [
        "get nodes -o custom-columns=NODE:.metadata.name,TAINTS:.spec.taints[*].key,READY:.status.conditions[?(@.type==\"Ready\")].status",
        "get pods -A -o wide",
        "get events -A --field-selector=type=Warning --sort-by=.lastTimestamp",
    ];
    say("\n== clusters as they were left")?;
    let target = Target::from_env()?;
    for context in target.contexts() {
        let kubectl = target.kubectl(&context);
        for question in QUESTIONS {
            say(&format!("-- {context}: kubectl {question}"))?;
            match kubectl.run(question.split(' ')) {
                Ok(answer) => say(answer.trim_end())?,
                Err(error) => say(&error.to_string())?,
            }
        }
    }
    Ok(())
}

/// Where the time went.
#[derive(Default)]
struct Times(Vec<(String, Duration)>);

impl Times {
    fn time<T>(&mut self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        say(&format!("\n== {what}"))?;
        let since = Instant::now();
        let result = work();
        self.0.push((what.to_owned(), since.elapsed()));
        result
    }

    fn print(&self) -> Result<()> {
        say("")?;
        self.0.iter().try_for_each(|(what, took)| say(&format!("{:>9}  {what}", seconds(*took))))
    }
}
