//! `lab test`

use std::time::Instant;

use clap::Args;

use super::{build, down, progress, say, up};
use crate::build::Options;
use crate::error::Result;
use crate::plugins::{Plugins, Profile, cargo, run};
use crate::preflight;
use crate::steps::{Steps, seconds};
use crate::target::{CONTEXTS, Target};

/// Run every test: format, lints, unit and snapshot tests, then the end-to-end tests on real clusters.
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
            times.time("end-to-end tests", || self.end_to_end(Some(contexts)))?;
        } else {
            self.in_the_lab(&mut times)?;
        }
        times.print()?;
        say(&format!("all tests passed in {}", seconds(steps.total())))
    }

    fn in_the_lab(&self, times: &mut Times) -> Result<()> {
        times.time("components built", || build::all(&Options::from_env()?))?;
        if self.only.is_none() {
            down::Down::default().run()?;
        }
        times.time("lab started", || up::Up::default().run())?;
        let tested = times.time("end-to-end tests", || self.end_to_end(None));
        if !self.keep {
            times.time("lab taken down", || down::Down::default().run())?;
        }
        tested
    }

    fn end_to_end(&self, contexts: Option<&String>) -> Result<()> {
        let mut tests = cargo();
        tests.args(["test", "--locked", "--package", "spire-mesh-e2e", "--", "--test-threads=1"]);
        tests.args(self.only.as_ref());
        if let Some(contexts) = contexts {
            tests.env(CONTEXTS, contexts);
        }
        run(&mut tests)
    }
}

/// Where the time went.
#[derive(Default)]
struct Times(Vec<(&'static str, std::time::Duration)>);

impl Times {
    fn time<T>(&mut self, what: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        say(&format!("\n== {what}"))?;
        let since = Instant::now();
        let result = work();
        self.0.push((what, since.elapsed()));
        result
    }

    fn print(&self) -> Result<()> {
        say("")?;
        self.0.iter().try_for_each(|(what, took)| say(&format!("{:>9}  {what}", seconds(*took))))
    }
}
