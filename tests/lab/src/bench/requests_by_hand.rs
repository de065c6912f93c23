//! The other side of `kubectl xcluster-curl`: the documented workflow's loop, with one `kubectl exec … curl` for each request.

use std::path::PathBuf;
use std::time::Duration;

use super::exact;
use crate::command::command;
use crate::error::Result;
use crate::proof::Member;
use crate::state::StateDir;

/// How many requests are sent.
pub(super) const REQUESTS: usize = 200;
/// What is asked for: the demo helloworld, which answers in every cluster.
pub(super) const URL: &str = "http://helloworld.helloworld:5000/hello";
/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(30);

/// The loop, in the pod of `sleep` in one cluster.
pub(super) struct RequestsByHand {
    context: String,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
}

impl RequestsByHand {
    pub(super) fn new(member: &Member, state: &StateDir) -> Self {
        let (kubectl, kubeconfig) = (state.kubectl(), state.kubeconfig());
        Self { context: member.context.clone(), kubectl, kubeconfig }
    }

    /// Sends them.
    pub(super) fn run(&self) -> Result<()> {
        for _ in 0..REQUESTS {
            let mut exec = command(&self.kubectl);
            exec.args([
                "--context",
                &self.context,
                "-n",
                "sleep",
                "exec",
                "deploy/sleep",
                "-c",
                "sleep",
                "--",
            ]);
            exec.args(["curl", "-sS", URL]).env("KUBECONFIG", &self.kubeconfig);
            exact::output(&mut exec, None, LIMIT)?;
        }
        Ok(())
    }
}
