//! What the end-to-end tests share: a mesh file for the clusters under test, and kubectl with the plugins.
//!
//! Nothing on the path is a mock: kubectl finds the plugin as a user's does, and what answers are real clusters. The tests use
//! the same clusters one after the other (`--test-threads=1`), and each begins from a known state.

#![expect(
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "what a test asserts on the way is often all that it wants of a value"
)]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use spire_mesh_lab::Target;
use spire_mesh_lab::plugins::{Plugins, Profile};
use spire_mesh_lab::proof::{self, Member, ServerPod};
use tempfile::TempDir;

/// Clusters under test, a working directory with a mesh file, and the plugins.
pub struct Bench {
    /// The clusters.
    pub target: Target,
    /// One for each cluster.
    pub members: Vec<Member>,
    work: TempDir,
    path: OsString,
    kubeconfig: Option<PathBuf>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; absent when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Bench {
    /// Finds the clusters under test and writes a mesh file for them with `kubectl spire-federate init`.
    ///
    /// # Panics
    /// When there are no clusters, or the plugins do not build.
    pub fn new() -> Self {
        let target = Target::from_env().expect("clusters to test on: `cargo lab up`");
        let before = match &target {
            Target::Lab(lab) => lab.state().bin(),
            Target::Contexts(_) => PathBuf::from("/usr/local/bin"),
        };
        let plugins = Plugins::build(Profile::Debug).expect("the plugins build");
        let path = plugins.path(&before).expect("a PATH");
        let domains = ["foo.com", "bar.com", "baz.com", "qux.com", "quux.com", "corge.com"];
        let members = target
            .contexts()
            .into_iter()
            .zip(domains)
            .map(|(context, domain)| Member {
                context,
                trust_domain: domain.to_owned(),
                server: ServerPod::managed(),
            })
            .collect();
        let kubeconfig = target.kubeconfig();
        let bench = Self { target, members, work: tempfile::tempdir().expect("a folder"), path, kubeconfig };
        let pairs = bench.members.iter().map(|member| format!("{}={}", member.context, member.trust_domain));
        let init: Vec<String> = ["init".to_owned()].into_iter().chain(pairs).collect();
        bench.plugin(&init.iter().map(String::as_str).collect::<Vec<_>>()).succeeded();
        bench
    }

    /// Returns the path of the mesh file.
    pub fn mesh_file(&self) -> PathBuf {
        self.work.path().join("spire-mesh.yaml")
    }

    /// Returns the working directory.
    pub fn folder(&self) -> &Path {
        self.work.path()
    }

    /// Replaces text in the mesh file.
    ///
    /// # Panics
    /// When the text is not there.
    pub fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.mesh_file()).expect("a mesh file");
        assert!(text.contains(from), "{from:?} is not in the mesh file:\n{text}");
        fs::write(self.mesh_file(), text.replacen(from, to, 1)).expect("the mesh file can be written");
    }

    /// Returns `kubectl spire-federate` with these arguments, to be run by the caller.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("spire-federate").args(arguments).current_dir(self.work.path()).env("PATH", &self.path);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        command.env_remove("SPIRE_MESH_FILE").stdin(Stdio::null());
        command
    }

    /// Runs `kubectl spire-federate` with these arguments.
    ///
    /// # Panics
    /// When kubectl cannot be started.
    pub fn plugin(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().expect("kubectl runs"))
    }

    /// Starts `kubectl spire-federate` with these arguments, in a process group of its own.
    ///
    /// # Panics
    /// When kubectl cannot be started.
    pub fn start(&self, arguments: &[&str]) -> Child {
        use std::os::unix::process::CommandExt;
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        command.spawn().expect("kubectl runs")
    }

    /// Runs kubectl for one context.
    ///
    /// # Panics
    /// When it fails.
    pub fn kubectl(&self, context: &str, arguments: &[&str]) -> String {
        self.target.kubectl(context).run(arguments.iter().copied()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Takes away everything, the CA volumes too.
    ///
    /// # Panics
    /// When that fails.
    pub fn clean(&self) {
        self.plugin(&["down", "--yes", "--force", "--ca-volume", "delete"]).succeeded();
    }

    /// Installs and federates.
    ///
    /// # Panics
    /// When that fails.
    pub fn up(&self) -> Ran {
        self.plugin(&["up", "--yes"]).succeeded()
    }

    /// Proves with SPIRE's own client that every cluster trusts every other.
    ///
    /// # Panics
    /// When it is not so.
    pub fn prove(&self) {
        proof::prove(&self.target, &self.members, &|_| ()).unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Ran {
    /// Takes what a process left.
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts that it ended with this code.
    ///
    /// # Panics
    /// When it did not, with all that it said.
    pub fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that it ended with 0.
    ///
    /// # Panics
    /// When it did not, with all that it said.
    pub fn succeeded(self) -> Self {
        self.ended_with(0)
    }

    /// Asserts that it said this on standard error.
    ///
    /// # Panics
    /// When it did not.
    pub fn said(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in:\n{}", self.stderr);
        self
    }

    /// Parses what it printed as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", self.stdout))
    }
}
