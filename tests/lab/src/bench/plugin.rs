//! The plugins' side: as a user runs them, built for release.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::requests_by_hand::{REQUESTS, URL};
use super::{Verb, exact};
use crate::command::command;
use crate::error::{Error, Result};
use crate::plugins::Plugins;
use crate::proof::Member;
use crate::state::StateDir;
use crate::with_mesh_keys;

/// How long one run may take. It is there for runs that hang, not for slow ones.
const LIMIT: Duration = Duration::from_mins(10);

/// What `kubectl trustchain` is asked for where it is measured with one workload.
const CHAIN: [&str; 3] = ["sleep", "-o", "text"];

/// kubectl that finds the plugins.
pub(super) struct Plugin {
    path: OsString,
    kubeconfig: PathBuf,
    programs: PathBuf,
}

/// A mesh file, and the clusters that it names.
pub(super) struct Mesh {
    file: PathBuf,
    pub(super) members: Vec<Member>,
}

impl Plugin {
    pub(super) fn new(plugins: &Plugins, state: &StateDir) -> Result<Self> {
        let (path, programs) = (plugins.path(&state.bin())?, plugins.folder().to_path_buf());
        Ok(Self { path, kubeconfig: state.kubeconfig(), programs })
    }

    /// Writes a mesh file.
    pub(super) fn mesh(&self, file: PathBuf, members: Vec<Member>) -> Result<Mesh> {
        let mesh = Mesh { file, members };
        let pairs = mesh.members.iter().map(|member| format!("{}={}", member.context, member.trust_domain));
        let words: Vec<String> = ["init", "--force"].map(str::to_owned).into_iter().chain(pairs).collect();
        self.run(&mesh, &words.iter().map(String::as_str).collect::<Vec<_>>())?;
        let text = fs::read_to_string(&mesh.file).map_err(Error::io("read", &mesh.file))?;
        fs::write(&mesh.file, with_mesh_keys(&text)).map_err(Error::io("write", &mesh.file))?;
        Ok(mesh)
    }

    /// What is measured.
    pub(super) fn verb(&self, verb: Verb, mesh: &Mesh) -> Result<()> {
        match verb {
            Verb::Up => self.up(mesh),
            Verb::Status => self.run(mesh, &["status"]),
            Verb::Verify => self.run(mesh, &["verify"]),
            Verb::Install => self.mesh_install(mesh, &["up", "--yes"]),
            Verb::Chain => self.chains(mesh, &CHAIN),
            Verb::Chains => self.chains(mesh, &["-l", "app=sleep"]),
            Verb::Requests => {
                self.run_plugin("xcluster-curl", mesh, &[URL, "--requests", &REQUESTS.to_string()])
            }
        }
    }

    /// Starts a plugin for nothing: what that takes is kubectl's.
    pub(super) fn nothing(&self, mesh: &Mesh) -> Result<()> {
        self.run(mesh, &["--version"])
    }

    pub(super) fn up(&self, mesh: &Mesh) -> Result<()> {
        self.run(mesh, &["up", "--yes"])
    }

    /// Takes everything away, the volumes too.
    pub(super) fn down(&self, mesh: &Mesh) -> Result<()> {
        self.run(mesh, &["down", "--yes", "--force", "--ca-volume", "delete"])
    }

    /// Writes the manifests of each cluster into a folder, as `CONTEXT.yaml`.
    pub(super) fn render(&self, mesh: &Mesh, folder: &Path) -> Result<()> {
        self.run(mesh, &["render", "--to", &folder.to_string_lossy()])
    }

    fn run(&self, mesh: &Mesh, words: &[&str]) -> Result<()> {
        self.run_plugin("spire-federate", mesh, words)
    }

    /// Runs `kubectl mesh-install`.
    pub(super) fn mesh_install(&self, mesh: &Mesh, words: &[&str]) -> Result<()> {
        self.run_plugin("mesh-install", mesh, words)
    }

    /// Runs `kubectl trustchain` in the namespace of the demo sleep of the first cluster.
    fn chains(&self, mesh: &Mesh, words: &[&str]) -> Result<()> {
        self.run_plugin("trustchain", mesh, &[words, &in_sleep(mesh)].concat())
    }

    /// Returns the plugin that shows one chain, without kubectl, to be run by the caller.
    pub(super) fn chain(&self, mesh: &Mesh) -> Command {
        self.prepared(
            command(self.programs.join("kubectl-trustchain")),
            mesh,
            &[&CHAIN[..], &in_sleep(mesh)].concat(),
        )
    }

    fn run_plugin(&self, plugin: &str, mesh: &Mesh, words: &[&str]) -> Result<()> {
        let mut kubectl = self.prepared(command("kubectl"), mesh, &[&[plugin], words].concat());
        exact::output(&mut kubectl, None, LIMIT).map(drop)
    }

    fn prepared(&self, mut program: Command, mesh: &Mesh, words: &[&str]) -> Command {
        program.args(words).arg("--mesh").arg(&mesh.file);
        program.env("PATH", &self.path).env("KUBECONFIG", &self.kubeconfig).env_remove("SPIRE_MESH_FILE");
        program
    }
}

/// Flags for the namespace of the demo sleep in the first cluster.
fn in_sleep(mesh: &Mesh) -> [&str; 4] {
    ["--namespace", "sleep", "--context", &mesh.members[0].context]
}
