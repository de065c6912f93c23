//! `lab demo`

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::Args;

use super::{say, up};
use crate::command::describe;
use crate::error::{Error, Result};
use crate::plugins::{Plugins, Profile};
use crate::proof::{self, Member, ServerPod};
use crate::state::StateDir;
use crate::target::{Lab, Target};

/// Show the whole way on two clusters: start them, federate SPIRE, and prove it with SPIRE's own client.
///
/// Each step is printed as the command that a user types, with its real output. The lab keeps running; `cargo lab down` ends it.
#[derive(Debug, Args)]
pub(super) struct Demo {}

impl Demo {
    pub(super) fn run() -> Result<()> {
        up::Up::default().run()?;
        let plugins = Plugins::build(Profile::Debug)?;
        let state = StateDir::from_env();
        let lab = Lab::find(state.clone())?;
        let work = state.path().join("demo");
        fs::create_dir_all(&work).map_err(Error::io("make", &work))?;
        let members: Vec<Member> = lab
            .clusters()
            .map(|cluster| Member {
                context: cluster.context(),
                trust_domain: format!("{}.com", cluster.name()),
                server: ServerPod::managed(),
            })
            .collect();
        let pairs = members.iter().map(|member| format!("{}={}", member.context, member.trust_domain));
        let shell = Shell { work: &work, path: plugins.path(&state.bin())?, kubeconfig: state.kubeconfig() };
        let init = ["spire-federate", "init", "--force"].map(str::to_owned).into_iter().chain(pairs);
        shell.kubectl(&init.collect::<Vec<_>>())?;
        shell.kubectl(&["spire-federate", "--yes"].map(str::to_owned))?;
        say("\n# Proof, without a line of ours: SPIRE's own client in a pod of each cluster")?;
        proof::prove(&Target::Lab(lab), &members, &|text| drop(say(text)))?;
        say(&format!("\nThe lab keeps running: export KUBECONFIG={}", shell.kubeconfig.display()))?;
        say("cargo lab down ends it and removes everything")
    }
}

/// Runs commands as a user would, and shows them.
struct Shell<'w> {
    work: &'w Path,
    path: std::ffi::OsString,
    kubeconfig: std::path::PathBuf,
}

impl Shell<'_> {
    fn kubectl(&self, arguments: &[String]) -> Result<()> {
        say(&format!("\n$ kubectl {}", arguments.join(" ")))?;
        let mut kubectl = Command::new("kubectl");
        kubectl
            .args(arguments)
            .current_dir(self.work)
            .env("PATH", &self.path)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null());
        let status =
            kubectl.status().map_err(|source| Error::Start { program: describe(&kubectl), source })?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Command {
            command: describe(&kubectl),
            status: status.to_string(),
            output: "see above".to_owned(),
        })
    }
}
