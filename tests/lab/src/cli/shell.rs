//! `lab shell`

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use clap::Args;

use crate::command::{command, describe};
use crate::error::{Error, Result};
use crate::node::process;
use crate::pki::ADMIN;
use crate::preflight;
use crate::state::{Record, StateDir};

/// Enter a node: its processes, network, mounts; with kubectl for its cluster and the lab's other tools.
#[derive(Debug, Args)]
pub(super) struct Shell {
    /// Cluster (its first node) or node
    cluster: String,
    /// Run this instead of a shell
    #[arg(last = true)]
    command: Vec<OsString>,
}

impl Shell {
    pub(super) fn run(self) -> Result<()> {
        preflight::require_root()?;
        let state = StateDir::from_env();
        let shape = Record::require(&state)?.shape;
        let node = match shape.node(&self.cluster) {
            Ok(node) => node,
            Err(_) => shape.cluster(&self.cluster)?.first_node(),
        };
        let init = process::init(&state, &state.node(node).spec())?.ok_or_else(|| Error::Unknown {
            kind: "running node",
            name: node.name(),
            known: "nothing to enter: `cargo lab up` starts it again".to_owned(),
        })?;
        let path = env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(state.bin()).chain(env::split_paths(&path));
        let path = env::join_paths(dirs).map_err(|e| Error::Invalid {
            what: "variable",
            value: "PATH".to_owned(),
            why: e.to_string(),
        })?;
        let shell = || vec![env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into())];
        let words = if self.command.is_empty() { shell() } else { self.command };
        let mut nsenter = command("nsenter");
        nsenter
            .args(["--target", &init.pid.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid", "--"])
            .args(words)
            .env("PATH", path)
            .env("KUBECONFIG", state.cluster(node.cluster()).kubeconfig(ADMIN));
        // Comes back only if it could not be started.
        let source = nsenter.exec();
        Err(Error::Start { program: describe(&nsenter), source })
    }
}
