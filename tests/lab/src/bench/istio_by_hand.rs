//! The other side of `kubectl mesh-install`: `istioctl install` on each cluster, the rules of the sample for several networks, and a remote
//! secret for each ordered pair, one step after the other.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::exact;
use crate::command::command;
use crate::error::{Error, Result};
use crate::proof::Member;
use crate::state::StateDir;
use crate::target::Target;

/// How long one step may take.
const LIMIT: Duration = Duration::from_mins(5);
const OPERATOR: &str = include_str!("../../manifests/istio-by-hand.yaml");
const RULES: &str = include_str!("../../../../manifests/istio/mutual-tls.yaml");
const NAMESPACE: &str = "istio-system";

/// The script, for two clusters.
pub(super) struct IstioByHand {
    target: Target,
    members: Vec<Member>,
    work: PathBuf,
    istioctl: PathBuf,
    kubeconfig: PathBuf,
}

impl IstioByHand {
    pub(super) fn new(target: Target, members: &[Member], work: PathBuf, state: &StateDir) -> Self {
        let (istioctl, kubeconfig) = (state.bin().join("istioctl"), state.kubeconfig());
        Self { target, members: members.to_vec(), work, istioctl, kubeconfig }
    }

    /// Installs Istio on every cluster and lets every istiod read every other cluster.
    pub(super) fn up(&self) -> Result<()> {
        for (own, peer) in self.pairs() {
            let namespace = format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}, labels: {{topology.istio.io/network: {}}}}}}}",
                own.context
            );
            self.apply(own, &namespace)?;
            let operator = OPERATOR
                .replace("CLUSTER", &own.context)
                .replace("DOMAIN", &own.trust_domain)
                .replace("PEER", &peer.trust_domain);
            let file = self.work.join(format!("{}-operator.yaml", own.context));
            fs::write(&file, operator).map_err(Error::io("write", &file))?;
            let file = file.to_string_lossy();
            self.istioctl(&[
                "install",
                "--skip-confirmation",
                "--context",
                &own.context,
                "--filename",
                &file,
            ])?;
            self.apply(own, RULES)?;
        }
        for (own, peer) in self.pairs() {
            let secret = self.istioctl(&[
                "create-remote-secret",
                "--context",
                &peer.context,
                "--name",
                &peer.context,
            ])?;
            self.apply(own, &secret)?;
        }
        Ok(())
    }

    /// Takes it away again.
    pub(super) fn down(&self) -> Result<()> {
        for member in &self.members {
            self.istioctl(&["uninstall", "--purge", "--skip-confirmation", "--context", &member.context])?;
            let kubectl = self.target.kubectl(&member.context).limit(LIMIT);
            kubectl.run(["delete", "namespace", NAMESPACE, "--ignore-not-found"])?;
            // `istioctl uninstall` leaves them.
            kubectl.run(["delete", "crds", "-l", "app.kubernetes.io/part-of=istio", "--ignore-not-found"])?;
        }
        Ok(())
    }

    fn pairs(&self) -> impl Iterator<Item = (&Member, &Member)> {
        let others = |own: &Member| self.members.iter().find(|peer| peer.context != own.context);
        self.members.iter().filter_map(move |own| Some((own, others(own)?)))
    }

    fn apply(&self, member: &Member, yaml: &str) -> Result<()> {
        self.target.kubectl(&member.context).limit(LIMIT).apply(yaml).map(drop)
    }

    fn istioctl(&self, words: &[&str]) -> Result<String> {
        let mut istioctl = command(&self.istioctl);
        istioctl.args(words).env("KUBECONFIG", &self.kubeconfig);
        exact::output(&mut istioctl, None, LIMIT)
    }
}
