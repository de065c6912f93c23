//! What the end-to-end tests share: a mesh file for the clusters under test, and kubectl with the plugins.
//!
//! Nothing on the path is a mock: kubectl finds the plugin as a user's does, and what answers are real clusters. The tests use
//! the same clusters one after the other (`--test-threads=1`), and each begins from a known state.

#![expect(
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "what a test asserts on the way is often all that it wants of a value"
)]

pub mod documented;
pub mod krew;

#[path = "../../left_out.rs"]
mod left_out_note;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use spire_mesh_lab::cert_manager::CertManager;
use spire_mesh_lab::plugins::{Plugins, Profile};
use spire_mesh_lab::proof::{self, Member, ServerPod};
use spire_mesh_lab::{Lab, Target, with_mesh_keys};
use tempfile::TempDir;

/// Says that the test that runs here is left out, and why.
pub fn left_out(why: &str) {
    left_out_note::left_out(why);
}

/// Returns the elements of a list: what is said of each of none would be said of nothing.
///
/// # Panics
/// When it has none, or is no list.
#[track_caller]
pub fn each(list: &Value) -> &[Value] {
    let list = list.as_array().expect("a list");
    assert!(!list.is_empty(), "the list is empty");
    list
}

/// The plugins of this checkout, built once for all tests of a program.
pub fn built() -> Plugins {
    static BUILT: LazyLock<Plugins> =
        LazyLock::new(|| Plugins::build(Profile::Debug).expect("the plugins build"));
    BUILT.clone()
}

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
    /// Finds the first two clusters under test and writes a mesh file for them with `kubectl spire-federate init`.
    ///
    /// # Panics
    /// When there are no clusters, or the plugins do not build.
    pub fn new() -> Self {
        Self::of(2)
    }

    /// Finds the first `count` clusters under test and writes a mesh file for them. Other clusters are left alone.
    ///
    /// # Panics
    /// When there are fewer clusters, or the plugins do not build.
    pub fn of(count: usize) -> Self {
        let target = Target::from_env().expect("clusters to test on: `cargo lab up`");
        let before = match &target {
            Target::Lab(lab) => lab.state().bin(),
            Target::Contexts(_) => PathBuf::from("/usr/local/bin"),
        };
        let plugins = built();
        let path = plugins.path(&before).expect("a PATH");
        let contexts = target.contexts();
        assert!(contexts.len() >= count, "{count} clusters are needed: `cargo lab up --clusters {count}`");
        let domains = ["foo.com", "bar.com", "baz.com", "qux.com", "quux.com", "corge.com"];
        let members = contexts
            .into_iter()
            .zip(domains)
            .take(count)
            .map(|(context, domain)| Member {
                context,
                trust_domain: domain.to_owned(),
                server: ServerPod::managed(),
            })
            .collect();
        let kubeconfig = target.kubeconfig();
        let bench = Self { target, members, work: tempfile::tempdir().expect("a folder"), path, kubeconfig };
        bench.init(&bench.members);
        bench
    }

    /// Writes the mesh file anew, for these clusters.
    ///
    /// # Panics
    /// When that fails.
    pub fn init(&self, members: &[Member]) {
        let pairs = members.iter().map(|member| format!("{}={}", member.context, member.trust_domain));
        let init: Vec<String> = ["init", "--force"].map(str::to_owned).into_iter().chain(pairs).collect();
        self.plugin(&init.iter().map(String::as_str).collect::<Vec<_>>()).succeeded();
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

    /// Returns the lab. Where the clusters are somebody else's there is none, and the test that asks is left out and says so.
    pub fn lab(&self) -> Option<&Lab> {
        match &self.target {
            Target::Lab(lab) => Some(lab),
            Target::Contexts(_) => {
                left_out("it needs the lab");
                None
            }
        }
    }

    /// Has cert-manager at work in a cluster. `None` where the clusters are somebody else's.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn cert_manager(&self, context: &str) -> Option<CertManager> {
        self.lab()?;
        Some(CertManager::install(&self.target, context).unwrap_or_else(|error| panic!("{error}")))
    }

    /// Has the mesh file name the images of the lab, where the clusters are the lab's.
    ///
    /// # Panics
    /// When the mesh file cannot be read or written.
    pub fn take_images_of_the_lab(&self) {
        if matches!(self.target, Target::Lab(_)) {
            let text = fs::read_to_string(self.mesh_file()).expect("a mesh file");
            fs::write(self.mesh_file(), with_mesh_keys(&text)).expect("the mesh file can be written");
        }
    }

    /// Returns `kubectl spire-federate` with these arguments, to be run by the caller.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of("spire-federate", arguments)
    }

    /// Returns `kubectl` with a plugin and these arguments, to be run by the caller.
    pub fn command_of(&self, plugin: &str, arguments: &[&str]) -> Command {
        let mut command = self.program("kubectl");
        command.arg(plugin).args(arguments);
        command
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.current_dir(self.work.path()).env("PATH", &self.path);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        command.env_remove("SPIRE_MESH_FILE").stdin(Stdio::null());
        command
    }

    /// Runs a command as whoever pastes it into a shell does: no context is added, so that it reaches the cluster that it names.
    ///
    /// # Panics
    /// When there is no shell.
    pub fn paste(&self, command: &str) -> Ran {
        Ran::of(&self.program("sh").args(["-c", command]).output().expect("a shell runs"))
    }

    /// Runs `kubectl spire-federate` with these arguments.
    ///
    /// # Panics
    /// When kubectl cannot be started.
    pub fn plugin(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().expect("kubectl runs"))
    }

    /// Runs `kubectl mesh-install` with these arguments.
    ///
    /// # Panics
    /// When kubectl cannot be started.
    pub fn mesh_install(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command_of("mesh-install", arguments).output().expect("kubectl runs"))
    }

    /// Runs a plugin's `verify` and returns everything that is wrong.
    ///
    /// # Panics
    /// When its exit code says something else.
    #[track_caller]
    pub fn findings(&self, plugin: &str) -> Vec<Value> {
        let output = self.command_of(plugin, &["verify", "-o", "json"]).output().expect("kubectl runs");
        let ran = Ran::of(&output);
        let report = ran.json();
        let is_finding = |check: &&Value| check["status"] == "fail" || check["status"] == "warn";
        let checks = report["checks"].as_array().expect("checks");
        let findings: Vec<Value> = checks.iter().filter(is_finding).cloned().collect();
        assert_eq!(ran.code, Some(if findings.is_empty() { 0 } else { 3 }), "{}", ran.stderr);
        findings
    }

    /// Looks until these checks, with causes that say this, are all that is found: what was broken takes effect in a moment.
    ///
    /// # Panics
    /// When something else is found for two minutes.
    #[track_caller]
    pub fn finds(&self, plugin: &str, expected: &[(&str, &str)]) -> Vec<Value> {
        let end = Instant::now() + Duration::from_mins(2);
        let is = |check: &Value, (id, text): &(&str, &str)| {
            check["id"] == *id && check["cause"].as_str().is_some_and(|cause| cause.contains(text))
        };
        loop {
            let findings = self.findings(plugin);
            let all = findings.len() == expected.len();
            if all && findings.iter().zip(expected).all(|(check, expected)| is(check, expected)) {
                return findings;
            }
            assert!(Instant::now() < end, "expected {expected:?}, found {findings:#?}");
        }
    }

    /// Runs `kubectl spire-federate` with these arguments, and ends it after this time, without a chance to tidy up.
    ///
    /// # Panics
    /// When kubectl cannot be started, or not be ended.
    pub fn run_killed(&self, arguments: &[&str], after: Duration) {
        use std::os::unix::process::CommandExt;
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut running = command.spawn().expect("kubectl runs");
        thread::sleep(after);
        // kubectl and its plugin are one process group.
        let group = format!("-{}", running.id());
        let killed = Command::new("kill").args(["-9", "--", &group]).status().expect("kill runs");
        let ended = running.wait().expect("it ends");
        assert!(killed.success() || ended.code().is_some(), "{ended}");
    }

    /// Runs kubectl for one context.
    ///
    /// # Panics
    /// When it fails.
    pub fn kubectl(&self, context: &str, arguments: &[&str]) -> String {
        self.target.kubectl(context).run(arguments.iter().copied()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs SPIRE's own command line in the server in a namespace of a cluster.
    ///
    /// # Panics
    /// When it fails.
    pub fn server(&self, context: &str, namespace: &str, command: &[&str]) -> String {
        let exec = ["-n", namespace, "exec", "spire-server-0", "-c", "spire-server", "--"];
        let binary = ["/opt/spire/bin/spire-server"];
        let words: Vec<&str> = exec.into_iter().chain(binary).chain(command.iter().copied()).collect();
        self.kubectl(context, &words)
    }

    /// Renders SPIRE for the cluster of a member, with its server in this namespace and its agents in another one whose name ends with `-agents`.
    fn rendered_into(&self, member: &Member, namespace: &str) -> String {
        let elsewhere =
            format!("spire: {{serverNamespace: {namespace}, agentNamespace: {namespace}-agents}}\n  ");
        self.edit("clusters:", &format!("{elsewhere}clusters:"));
        self.plugin(&["render", "--to", "rendered"]).succeeded();
        self.edit(&elsewhere, "");
        let file = self.folder().join("rendered").join(format!("{}.yaml", member.context));
        fs::read_to_string(&file).expect("a rendered file")
    }

    /// Takes away everything, the CA volumes too.
    ///
    /// # Panics
    /// When that fails.
    pub fn clean(&self) {
        self.mesh_install(&["down", "--yes", "--force"]).succeeded();
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

/// A SPIRE that somebody else installed: the same software in namespaces of its own, without our labels, applied by kubectl.
pub struct TheirSpire<'b> {
    bench: &'b Bench,
    context: String,
    /// Namespaces and kinds, which have to be there first.
    first: String,
    rest: String,
}

impl<'b> TheirSpire<'b> {
    /// Installs it in the cluster of a member, and waits until it is ready. None is there before.
    ///
    /// # Panics
    /// When that fails.
    pub fn install(bench: &'b Bench, member: &Member) -> Self {
        let yaml = bench.rendered_into(member, "identity");
        let ours = ["app.kubernetes.io/managed-by: spire-federate", "spire-mesh.dev/mesh:"];
        let theirs = yaml.lines().filter(|line| !ours.iter().any(|label| line.contains(label)));
        let yaml = theirs.collect::<Vec<_>>().join("\n");
        let is_first = |object: &&str| {
            object.contains("kind: Namespace\n") || object.contains("kind: CustomResourceDefinition\n")
        };
        let (first, rest): (Vec<&str>, Vec<&str>) = yaml.split("\n---\n").partition(is_first);
        // It has no workloads of its own that federate with anybody.
        let rest = rest.into_iter().filter(|object| !object.contains("kind: ClusterSPIFFEID\n"));
        let (first, rest) = (first.join("\n---\n"), rest.collect::<Vec<_>>().join("\n---\n"));
        let kubectl = bench.target.kubectl(&member.context);
        kubectl.apply(&first).expect("namespaces and kinds");
        kubectl.apply(&rest).expect("their SPIRE");
        let rollout = ["-n", "identity", "rollout", "status", "statefulset/spire-server", "--timeout=28s"];
        bench.kubectl(&member.context, &rollout);
        Self { bench, context: member.context.clone(), first, rest }
    }

    /// Runs SPIRE's own command line in its server.
    ///
    /// # Panics
    /// When it fails.
    pub fn server(&self, command: &[&str]) -> String {
        self.bench.server(&self.context, "identity", command)
    }

    /// Returns the names of the stateful sets of its namespace.
    ///
    /// # Panics
    /// When they cannot be read.
    pub fn stateful_sets(&self) -> String {
        self.bench.kubectl(&self.context, &["-n", "identity", "get", "statefulset", "-o", "name"])
    }

    /// Takes it away again.
    ///
    /// # Panics
    /// When that fails.
    pub fn remove(self) {
        for object in ["namespace/identity", "namespace/identity-agents"] {
            self.bench.kubectl(&self.context, &["delete", object, "--wait=false"]);
        }
        let delete = ["delete", "--ignore-not-found", "--wait=true", "-f", "-"];
        let kubectl = self.bench.target.kubectl(&self.context).limit(Duration::from_mins(1));
        for objects in [&self.rest, &self.first] {
            kubectl.run_with(delete, objects).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// A copy of our own SPIRE, labels and all, that somebody made who may make objects in one namespace only: its server runs and answers.
/// Its agents run nowhere, for they would take the places of the real ones on their nodes.
pub struct Impostor<'b> {
    bench: &'b Bench,
    context: String,
    objects: String,
}

impl<'b> Impostor<'b> {
    /// The namespace.
    pub const NAMESPACE: &'static str = "apps";

    /// Renders the copy for the cluster of a member, and makes its namespace.
    ///
    /// # Panics
    /// When that fails.
    pub fn of(bench: &'b Bench, member: &Member) -> Self {
        let yaml = bench.rendered_into(member, Self::NAMESPACE);
        // Everything that is in a namespace, in the one that somebody else has. What binds roles of the whole cluster is not theirs to make.
        let is_theirs =
            |object: &&str| object.contains("\n  namespace: apps") && !object.contains("kind: Cluster");
        let is_driver = |object: &&str| object.contains("name: spiffe-csi-driver");
        let objects = yaml.split("\n---\n").filter(is_theirs).filter(|object| !is_driver(object));
        let objects = objects
            .collect::<Vec<_>>()
            .join("\n---\n")
            .replace("apps-agents", Self::NAMESPACE)
            .replace("hostNetwork: true", "nodeSelector: {no-node: has-this}");
        assert!(objects.contains("kind: StatefulSet") && objects.contains("kind: DaemonSet"), "{objects}");
        let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {}}}\n", Self::NAMESPACE);
        bench.target.kubectl(&member.context).apply(&namespace).expect("a namespace");
        Self { bench, context: member.context.clone(), objects }
    }

    /// Installs it.
    ///
    /// # Panics
    /// When that fails.
    pub fn install(&self) {
        self.bench.target.kubectl(&self.context).apply(&self.objects).expect("the copy");
    }

    /// Waits until its server answers, and returns the bundle of its own that it gives.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn bundle(&self) -> String {
        let server = ["-n", Self::NAMESPACE, "exec", "spire-server-0", "-c", "spire-server", "--"];
        let show = ["/opt/spire/bin/spire-server", "bundle", "show"];
        let end = Instant::now() + Duration::from_mins(2);
        loop {
            match self.bench.target.kubectl(&self.context).run(server.into_iter().chain(show)) {
                Ok(bundle) => return bundle,
                Err(error) => assert!(Instant::now() < end, "the copy's server does not answer: {error}"),
            }
            thread::sleep(Duration::from_secs(1));
        }
    }
}

impl Drop for Impostor<'_> {
    fn drop(&mut self) {
        let delete = ["delete", "namespace", Self::NAMESPACE, "--ignore-not-found"];
        let _ = self.bench.target.kubectl(&self.context).limit(Duration::from_mins(2)).run(delete);
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
