//! The plugins' side: as a user runs them, built for release.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
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

/// kubectl that finds the plugins.
pub(super) struct Plugin {
    path: OsString,
    kubeconfig: PathBuf,
}

/// A mesh file, and the clusters that it names.
pub(super) struct Mesh {
    file: PathBuf,
    pub(super) members: Vec<Member>,
}

impl Plugin {
    pub(super) fn new(plugins: &Plugins, state: &StateDir) -> Result<Self> {
        Ok(Self { path: plugins.path(&state.bin())?, kubeconfig: state.kubeconfig() })
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
            Verb::Chain => self.chains(mesh, &["sleep", "-o", "text"]),
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
        let place = ["--namespace", "sleep", "--context", &mesh.members[0].context];
        self.run_plugin("trustchain", mesh, &words.iter().copied().chain(place).collect::<Vec<_>>())
    }

    fn run_plugin(&self, plugin: &str, mesh: &Mesh, words: &[&str]) -> Result<()> {
        let mut kubectl = command("kubectl");
        kubectl.arg(plugin).args(words).arg("--mesh").arg(&mesh.file);
        kubectl.env("PATH", &self.path).env("KUBECONFIG", &self.kubeconfig).env_remove("SPIRE_MESH_FILE");
        exact::output(&mut kubectl, None, LIMIT).map(drop)
    }
}
