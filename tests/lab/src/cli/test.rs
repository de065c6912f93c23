//! `lab test`

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use clap::Args;
use tempfile::TempDir;

use super::{build, down, lanes, progress, say, up};
use crate::build::{Artifacts, Options, Tool};
use crate::error::{Error, Result};
use crate::plugins::{Plugins, Profile, cargo, run};
use crate::preflight;
use crate::state::{Record, StateDir};
use crate::steps::{Steps, seconds};
use crate::target::{CONTEXTS, Target};

/// Clusters of the lab that the end-to-end tests run in. Most of them use the first two.
pub(super) const CLUSTERS: u8 = 3;
/// The variable that tells `tests/envoy` where Envoy is.
const ENVOY: &str = "SPIRE_MESH_ENVOY";
/// The module of the end-to-end tests that need all of them.
const LARGE: &str = "three_clusters::";

/// Run every test: format, lints, unit and snapshot tests, those against an emulator of AWS and a real Envoy, then the end-to-end tests on
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
    /// Labs at the same time, which share the end-to-end tests [default: one for every four processors]; with --only, --keep and
    /// --contexts there is one
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=6))]
    lanes: Option<u8>,
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
        let left_out = LeftOut::new()?;
        let tested = self.all(&mut times, &left_out);
        // Said where one failed, too: what was left out before may be why.
        let lines = left_out.read()?;
        if !lines.is_empty() {
            say("")?;
        }
        lines.iter().try_for_each(|line| say(&format!("left out: {line}")))?;
        times.print()?;
        tested?;
        let but = if lines.is_empty() { String::new() } else { format!(" but {} left out", lines.len()) };
        say(&format!("all tests{but} passed in {}", seconds(steps.total())))
    }

    fn all(&self, times: &mut Times, left_out: &LeftOut) -> Result<()> {
        if self.only.is_none() {
            times.time("format", || run(cargo().args(["fmt", "--all", "--", "--check"])))?;
            let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"];
            times.time("lints", || run(cargo().args(lints)))?;
            times.time("unit and snapshot tests", || {
                run(left_out.noted(&mut cargo()).args(["test", "--locked"]))
            })?;
        }
        times.time("plugins built", || Plugins::build(Profile::Debug))?;
        if let Some(contexts) = &self.contexts {
            self.emulated_aws(times, left_out)?;
            self.real_envoy(None, times, left_out)?;
            times.time("end-to-end tests", || self.end_to_end(Some(contexts), left_out))
        } else {
            match self.lanes() {
                1 => self.in_the_lab(times, left_out),
                lanes => self.in_lanes(lanes, times, left_out),
            }
        }
    }

    /// How many labs share the end-to-end tests. A lab of three clusters keeps two processors busy by itself.
    fn lanes(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        match self.lanes {
            _ if self.keep || self.only.is_some() => 1,
            Some(lanes) => lanes.into(),
            None => (processors / 4).clamp(1, 3),
        }
    }

    /// Runs the end-to-end tests in fresh labs that end with them.
    fn in_lanes(&self, count: usize, times: &mut Times, left_out: &LeftOut) -> Result<()> {
        let built = times.time("components built", || build::all(&Options::from_env()?))?;
        self.emulated_aws(times, left_out)?;
        self.real_envoy(Some(&built), times, left_out)?;
        // Once, and where the network is; in the lanes cargo finds it done.
        let tests = ["test", "--locked", "--no-run", "--package", "spire-mesh-e2e"];
        times.time("end-to-end tests built", || run(cargo().args(tests)))?;
        let lanes = lanes::Lanes::new(count)?;
        let tested = times.time("end-to-end tests", || lanes.run(left_out));
        times.0.extend(lanes.times()?);
        tested
    }

    fn in_the_lab(&self, times: &mut Times, left_out: &LeftOut) -> Result<()> {
        let built = times.time("components built", || build::all(&Options::from_env()?))?;
        self.emulated_aws(times, left_out)?;
        self.real_envoy(Some(&built), times, left_out)?;
        if self.only.is_none() {
            down::Down::default().run()?;
        }
        // One that runs is used as it is.
        let lab = match Record::read(&StateDir::from_env())? {
            Some(_) => up::Up::default(),
            None => up::Up::of(CLUSTERS),
        };
        times.time("lab started", || lab.run())?;
        let tested = times.time("end-to-end tests", || self.end_to_end(None, left_out));
        if tested.is_err() {
            as_it_was_left()?;
        }
        if !self.keep {
            times.time("lab taken down", || down::Down::default().run())?;
        }
        tested
    }

    /// Runs the tests that need pip, which comes with the components' packages where it is not there yet.
    fn emulated_aws(&self, times: &mut Times, left_out: &LeftOut) -> Result<()> {
        if self.only.is_some() {
            return Ok(());
        }
        let tests = ["test", "--locked", "--package", "spire-mesh-eks"];
        times.time("tests against an emulator of AWS", || run(left_out.noted(&mut cargo()).args(tests)))
    }

    /// Runs the tests that ask a real Envoy about chains of certificates. Without one they note that they are left out.
    fn real_envoy(&self, built: Option<&Artifacts>, times: &mut Times, left_out: &LeftOut) -> Result<()> {
        if self.only.is_some() {
            return Ok(());
        }
        let mut tests = cargo();
        left_out.noted(&mut tests).args(["test", "--locked", "--package", "spire-mesh-envoy"]);
        tests.envs(built.map(|built| (ENVOY, built.binaries.path(Tool::Envoy))));
        times.time("chains shown to a real Envoy", || run(&mut tests))
    }

    fn end_to_end(&self, contexts: Option<&String>, left_out: &LeftOut) -> Result<()> {
        let mut tests = cargo();
        left_out.noted(&mut tests).args([
            "test",
            "--locked",
            "--package",
            "spire-mesh-e2e",
            "--",
            "--test-threads=1",
        ]);
        tests.args(self.only.as_ref());
        if let Some(contexts) = contexts {
            tests.env(CONTEXTS, contexts);
            if Target::from_contexts(contexts)?.contexts().len() < usize::from(CLUSTERS) {
                left_out.add(&format!("tests in {LARGE}: there are fewer than {CLUSTERS} contexts"))?;
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

/// What was left out because something was missing: tests note it in a folder.
pub(super) struct LeftOut(TempDir);

impl LeftOut {
    /// The variable that names the folder, of `tests/left_out.rs`.
    const FOLDER: &str = "SPIRE_MESH_LEFT_OUT";

    fn new() -> Result<Self> {
        tempfile::tempdir().map(Self).map_err(Error::io("make a folder in", env::temp_dir()))
    }

    /// Has the tests that a command runs note what they leave out.
    pub(super) fn noted<'a>(&self, tests: &'a mut Command) -> &'a mut Command {
        tests.env(Self::FOLDER, self.0.path())
    }

    fn add(&self, line: &str) -> Result<()> {
        let file = self.0.path().join("lab");
        fs::write(&file, line).map_err(Error::io("write", &file))
    }

    /// Returns what was noted, each once.
    fn read(&self) -> Result<BTreeSet<String>> {
        let folder = self.0.path();
        let mut lines = BTreeSet::new();
        for file in fs::read_dir(folder).map_err(Error::io("read", folder))? {
            let file = file.map_err(Error::io("read", folder))?.path();
            let text = fs::read_to_string(&file).map_err(Error::io("read", &file))?;
            lines.extend(text.lines().map(str::to_owned));
        }
        Ok(lines)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tests_of_several_programs_leave_out_is_read_once_each() {
        let left_out = LeftOut::new().unwrap();
        assert_eq!(left_out.read().unwrap(), BTreeSet::new());
        left_out.add("tests in large::: too few").unwrap();
        for (program, text) in
            [("1", "a one: no curl\na one: no curl\n"), ("2", "a two: no curl\nb three: no lab\n")]
        {
            fs::write(left_out.0.path().join(program), text).unwrap();
        }
        let lines: Vec<String> = left_out.read().unwrap().into_iter().collect();
        let expected = ["a one: no curl", "a two: no curl", "b three: no lab", "tests in large::: too few"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn tests_are_told_the_folder_by_the_variable_that_they_read() {
        assert!(include_str!("../../../left_out.rs").contains(&format!("{:?}", LeftOut::FOLDER)));
        let left_out = LeftOut::new().unwrap();
        let mut command = cargo();
        left_out.noted(&mut command);
        let folder = left_out.0.path().as_os_str();
        assert!(command.get_envs().any(|told| told == (LeftOut::FOLDER.as_ref(), Some(folder))));
    }
}
