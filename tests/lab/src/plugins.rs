//! The plugins, built from this checkout and found by kubectl.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command::{command, describe};
use crate::error::{Error, Result};

/// One of the plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plugin {
    package: &'static str,
    program: &'static str,
}

impl Plugin {
    /// Returns every plugin.
    pub fn all() -> impl Iterator<Item = Self> {
        let of = |(package, program)| Self { package, program };
        let plugins = [
            ("kubectl-mesh-install", "kubectl-mesh_install"),
            ("kubectl-spire-federate", "kubectl-spire_federate"),
            ("kubectl-trustchain", "kubectl-trustchain"),
            ("kubectl-xcluster-curl", "kubectl-xcluster_curl"),
        ];
        plugins.into_iter().map(of)
    }

    /// Returns what its users and krew call it: `spire-federate`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.package.strip_prefix("kubectl-").unwrap_or(self.package)
    }

    /// Returns its package, which is also the name of the program as cargo builds it: `kubectl-spire-federate`.
    #[must_use]
    pub fn package(self) -> &'static str {
        self.package
    }

    /// Returns the name of the program that kubectl looks for: a dash of the plugin's own name is an underscore there, `kubectl-spire_federate`.
    #[must_use]
    pub fn program(self) -> &'static str {
        self.program
    }
}

/// How the plugins are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quickly, for tests.
    Debug,
    /// As they are given to users, for measurements.
    Release,
}

impl Profile {
    /// The folder below the target folder in which cargo puts them.
    fn folder(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }

    /// What is said to cargo.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Debug => &[],
            Self::Release => &["--release"],
        }
    }

    /// The folder below the target folder with the names that kubectl looks for.
    fn links(self) -> &'static str {
        match self {
            Self::Debug => "kubectl-plugins",
            Self::Release => "kubectl-plugins-release",
        }
    }
}

/// A folder with every plugin under the name that kubectl looks for.
#[derive(Debug, Clone)]
pub struct Plugins {
    folder: PathBuf,
}

impl Plugins {
    /// Builds the plugins and puts links to them into a folder of the workspace's target folder.
    ///
    /// # Errors
    /// When they do not build.
    pub fn build(profile: Profile) -> Result<Self> {
        let mut build = cargo();
        build.args(["build", "--quiet"]).args(profile.flags());
        for plugin in Plugin::all() {
            build.args(["--package", plugin.package]);
        }
        run(&mut build)?;
        let target = target_folder()?;
        let folder = target.join(profile.links());
        fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
        for plugin in Plugin::all() {
            let (link, to) =
                (folder.join(plugin.program), target.join(profile.folder()).join(plugin.package));
            // Other tests may be running through it.
            if fs::read_link(&link).is_ok_and(|there| there == to) {
                continue;
            }
            let draft = folder.join(format!("{}.{}", plugin.program, std::process::id()));
            std::os::unix::fs::symlink(&to, &draft).map_err(Error::io("make", &draft))?;
            fs::rename(&draft, &link).map_err(Error::io("replace", &link))?;
        }
        Ok(Self { folder })
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns a `PATH` on which kubectl finds the plugins, and, first, everything in `before`.
    ///
    /// # Errors
    /// When a folder cannot be part of a `PATH`.
    pub fn path(&self, before: &Path) -> Result<OsString> {
        let old = env::var_os("PATH").unwrap_or_default();
        let folders = [before.to_path_buf(), self.folder.clone()].into_iter().chain(env::split_paths(&old));
        env::join_paths(folders).map_err(|error| Error::Invalid {
            what: "variable",
            value: "PATH".to_owned(),
            why: error.to_string(),
        })
    }
}

/// Returns cargo, run in the workspace.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    cargo
}

/// Runs a command whose output belongs to the person who runs the lab.
///
/// # Errors
/// When it cannot be started, or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|source| Error::Start { program: describe(command), source })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: describe(command),
        status: status.to_string(),
        output: "see above".to_owned(),
    })
}

/// Returns the folder of the workspace that this was built from.
#[must_use]
pub fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_path_buf()
}

/// Asks cargo where it puts what it builds.
pub(crate) fn target_folder() -> Result<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let mut metadata = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    metadata.current_dir(workspace()).args(["metadata", "--no-deps", "--format-version", "1", "--offline"]);
    let text = crate::command::output(&mut metadata, None, std::time::Duration::from_mins(1))?;
    let metadata: Metadata = serde_json::from_str(&text).map_err(|error| Error::Invalid {
        what: "answer of cargo",
        value: "metadata".to_owned(),
        why: error.to_string(),
    })?;
    Ok(metadata.target_directory)
}
