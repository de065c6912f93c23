//! What the words before the cursor say about where to look.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgMatches, Command, FromArgMatches};

use super::live::Cluster;
use crate::cli::KubeArgs;
use crate::fleet::{KubeSettings, Kubeconfig};
use crate::mesh::{self, DEFAULT_FILE, Mesh};

/// The words before the cursor, and the flags among them that say where to look.
#[derive(Debug, Default)]
pub(super) struct Around {
    pub(super) words: Vec<OsString>,
    settings: KubeSettings,
    pub(super) namespace: Option<String>,
    context: Option<String>,
    mesh: Option<PathBuf>,
    patience: Duration,
}

impl Around {
    /// Reads what it can of a command line that is not finished. A cluster has `patience` to answer.
    pub(super) fn read(command: &Command, words: &[OsString], patience: Duration) -> Self {
        let program = OsString::from(command.get_name());
        let arguments = std::iter::once(program).chain(words.iter().cloned());
        let mut around = Self { words: words.to_vec(), patience, ..Self::default() };
        let Ok(matches) = command.clone().ignore_errors(true).try_get_matches_from(arguments) else {
            return around;
        };
        let mut innermost = &matches;
        while let Some((_, inner)) = innermost.subcommand() {
            innermost = inner;
        }
        around.settings = KubeArgs::from_arg_matches(innermost).unwrap_or_default().settings();
        around.namespace = given(innermost, "namespace");
        around.context = given(innermost, "context");
        around.mesh = given(innermost, "mesh");
        around
    }

    /// Reads the kubeconfig. Its credential commands ask nothing: nobody could see the question.
    pub(super) fn kubeconfig(&self) -> Option<Kubeconfig> {
        if self.settings.kubeconfig.as_deref().is_some_and(|path| !is_file(path)) {
            return None;
        }
        Kubeconfig::read(&self.settings).ok().map(Kubeconfig::unattended)
    }

    /// Reads the mesh file, where there is one.
    pub(super) fn mesh(&self) -> Option<Mesh> {
        let path = self.mesh.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
        is_file(path).then(|| mesh::load(Some(path)).ok()).flatten().map(|(mesh, _)| mesh)
    }

    /// Returns the cluster of a context, to be asked.
    pub(super) fn cluster<'a>(&'a self, kubeconfig: &'a Kubeconfig, context: &'a str) -> Cluster<'a> {
        Cluster { kubeconfig, context, settings: &self.settings, patience: self.patience }
    }

    /// Returns the context that is looked at: the one that was named, or the current one.
    pub(super) fn context(&self, kubeconfig: &Kubeconfig) -> Option<String> {
        self.context.clone().or_else(|| kubeconfig.current_context().map(str::to_owned))
    }
}

fn given<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Option<T> {
    matches.try_get_one::<T>(name).ok().flatten().cloned()
}

/// Tells whether something is a file: whoever reads a pipe, or standard input, takes from a command what is meant for it.
fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}
