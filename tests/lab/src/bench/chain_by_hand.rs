//! The other side of `kubectl trustchain`: istioctl, jq, base64 and openssl, one after the other in a pipe, once for each pod.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use super::exact;
use crate::command::{command, find};
use crate::error::{Error, Result};
use crate::plugins::Plugins;
use crate::proof::Member;
use crate::state::StateDir;
use crate::target::Target;

/// How long the pipes may take, all together.
const LIMIT: Duration = Duration::from_mins(5);
/// How many sidecars many are.
pub(super) const MANY: usize = 50;
const NAMESPACE: &str = "sleep";
/// What the documented workflow has users type, with the name of the pod as its argument.
const PIPE: &str = "istioctl proxy-config secret \"$0\" --namespace \"$1\" --context \"$2\" -o json \
     | jq -r '.dynamicActiveSecrets[] | select(.name == \"default\") | .secret.tlsCertificate.certificateChain.inlineBytes' \
     | base64 --decode | openssl x509 -noout -text";

/// The pipe, for the pods of `sleep` in one cluster.
pub(super) struct ChainByHand {
    target: Target,
    context: String,
    kubeconfig: OsString,
    path: OsString,
}

impl ChainByHand {
    pub(super) fn new(target: Target, member: &Member, plugins: &Plugins, state: &StateDir) -> Result<Self> {
        let (context, kubeconfig) = (member.context.clone(), state.kubeconfig().into_os_string());
        Ok(Self { target, context, kubeconfig, path: plugins.path(&state.bin())? })
    }

    /// Sees that the pipe's programs are there, and that there are this many pods.
    pub(super) fn prepare(&self, pods: usize) -> Result<()> {
        if find("jq").is_none() {
            return Err(Error::Unsuitable(vec![
                "the program jq is missing, which the steps by hand use; install the package jq".to_owned(),
            ]));
        }
        self.scale(pods)
    }

    /// Leaves one pod.
    pub(super) fn tidy(&self) -> Result<()> {
        self.scale(1)
    }

    fn scale(&self, pods: usize) -> Result<()> {
        let kubectl = self.target.kubectl(&self.context).limit(LIMIT);
        let replicas = format!("--replicas={pods}");
        kubectl.run(["-n", NAMESPACE, "scale", "deployment/sleep", &replicas])?;
        kubectl.run(["-n", NAMESPACE, "rollout", "status", "deployment/sleep", "--timeout=290s"]).map(drop)
    }

    /// Runs the pipe for each pod.
    pub(super) fn run(&self, pods: usize) -> Result<()> {
        for pod in self.pods()?.iter().take(pods) {
            exact::output(&mut self.pipe(pod), None, LIMIT)?;
        }
        Ok(())
    }

    /// Returns the pipe for the first pod, to be run by the caller.
    pub(super) fn first(&self) -> Result<Command> {
        Ok(self.pipe(self.pods()?.first().map_or("none", String::as_str)))
    }

    fn pods(&self) -> Result<Vec<String>> {
        let kubectl = self.target.kubectl(&self.context);
        let listed = kubectl.run(["-n", NAMESPACE, "get", "pods", "-o", "name"])?;
        Ok(listed.lines().filter_map(|name| name.strip_prefix("pod/")).map(str::to_owned).collect())
    }

    fn pipe(&self, pod: &str) -> Command {
        let mut shell = command("sh");
        shell.args(["-c", PIPE, pod, NAMESPACE, &self.context]);
        shell.env("PATH", &self.path).env("KUBECONFIG", &self.kubeconfig);
        shell
    }
}
