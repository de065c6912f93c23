//! Calling `kubectl` for one context; every call has an end.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::command;
use crate::error::{Error, Result};

/// `kubectl` with a kubeconfig and a context.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    limit: Duration,
}

impl Kubectl {
    /// This program with this kubeconfig (else the one of the environment) and its current context.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, kubeconfig: Option<PathBuf>) -> Self {
        Self { program: program.into(), kubeconfig, context: None, limit: Duration::from_secs(30) }
    }

    /// For another context.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// With another limit of time.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The command with these arguments, to be run by the caller.
    pub fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = command::command(&self.program);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.arg("--kubeconfig").arg(kubeconfig);
        }
        if let Some(context) = &self.context {
            command.arg("--context").arg(context);
        }
        command.args(args);
        command
    }

    /// Runs it and returns what it printed.
    pub fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<String> {
        command::output(&mut self.command(args), None, self.limit)
    }

    /// Runs it with something to read.
    pub fn run_with<'a>(&self, args: impl IntoIterator<Item = &'a str>, input: &str) -> Result<String> {
        command::output(&mut self.command(args), Some(input), self.limit)
    }

    /// Gets objects as JSON.
    pub fn get<'a, T: DeserializeOwned>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<T> {
        let args: Vec<&str> = ["get", "-o", "json"].into_iter().chain(args).collect();
        let text = self.run(args.iter().copied())?;
        serde_json::from_str(&text).map_err(|e| Error::Invalid {
            what: "answer of kubectl",
            value: args.join(" "),
            why: e.to_string(),
        })
    }

    /// Applies manifests; this owner of the fields wins.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        let args =
            "apply --server-side --force-conflicts --validate=false --field-manager=spire-mesh-lab -f -";
        self.run_with(args.split(' '), manifests)
    }
}
