//! The real cert-manager in a cluster of the lab, with the chart that its module brings, and roots for SPIRE and for istiod.

use std::path::Path;
use std::time::Duration;

use crate::build::{Artifacts, Options, Resource, Tool};
use crate::cluster::Kubectl;
use crate::command::{command, output, wait_until};
use crate::error::{Error, Result};
use crate::target::Target;

/// A root that signs itself, and the issuer that signs with it: for SPIRE, and for istiod.
const SPIRE_ISSUER: &str = include_str!("../manifests/spire-issuer.yaml");
const ISTIO_ISSUER: &str = include_str!("../manifests/istio-issuer.yaml");
/// Where cert-manager runs.
const NAMESPACE: &str = "cert-manager";
/// Its programs.
const DEPLOYMENTS: [&str; 3] = ["cert-manager", "cert-manager-cainjector", "cert-manager-webhook"];
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// A cert-manager at work. It stays until the lab is taken down: what costs time is to start it.
#[derive(Debug)]
pub struct CertManager {
    kubectl: Kubectl,
}

impl CertManager {
    /// Installs it in a cluster if it is not there, and waits until it is at work. An issuer of SPIRE's from earlier goes.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn install(target: &Target, context: &str) -> Result<Self> {
        let kubectl = target.kubectl(context).limit(PATIENCE);
        let this = Self { kubectl };
        this.kubectl.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n"))?;
        this.kubectl.apply(&rendered()?)?;
        this.run(&["delete", "namespace", "pki", "--ignore-not-found"])?;
        for deployment in DEPLOYMENTS {
            let name = format!("deployment/{deployment}");
            this.run(&["-n", NAMESPACE, "rollout", "status", &name, "--timeout=80s"])?;
        }
        Ok(this)
    }

    /// Makes the issuer that SPIRE's mesh file names, and waits until it is ready: `Issuer` `spire-ca` in namespace `pki`.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn make_issuer(&self) -> Result<()> {
        self.make(SPIRE_ISSUER)?;
        self.is_ready("pki", "spire-ca")
    }

    /// Makes the issuer of istiod's CA, `istio-ca` in namespace `istio-system`, which is made, too, and `istio-next-ca` with another root;
    /// waits until both are ready.
    ///
    /// # Errors
    /// When one does not become ready.
    pub fn make_issuer_of_istiod(&self, network: &str) -> Result<()> {
        self.make(&ISTIO_ISSUER.replace("NETWORK", network))?;
        self.is_ready("istio-system", "istio-ca")?;
        self.is_ready("istio-system", "istio-next-ca")
    }

    fn make(&self, manifests: &str) -> Result<()> {
        let mut refused = None;
        // The webhook's certificate reaches the API server in a moment.
        let made = wait_until(
            "an issuer to be taken by cert-manager's webhook",
            "kubectl -n cert-manager logs deployment/cert-manager-webhook",
            PATIENCE,
            Duration::from_millis(500),
            || {
                refused = self.kubectl.apply(manifests).err();
                Ok(refused.is_none())
            },
        );
        refused.map_or(made, Err)
    }

    fn is_ready(&self, namespace: &str, issuer: &str) -> Result<()> {
        let issuer = format!("issuer/{issuer}");
        self.run(&["-n", namespace, "wait", &issuer, "--for=condition=Ready", "--timeout=80s"])
    }

    /// Stops what signs, and lets it go on again.
    ///
    /// # Errors
    /// When it does not.
    pub fn scale(&self, replicas: u32) -> Result<()> {
        let replicas = format!("--replicas={replicas}");
        self.run(&["-n", NAMESPACE, "scale", "deployment/cert-manager", &replicas])?;
        self.run(&["-n", NAMESPACE, "rollout", "status", "deployment/cert-manager", "--timeout=80s"])
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        self.kubectl.run(arguments.iter().copied()).map(drop)
    }
}

/// Writes the chart's manifests for the images of the lab, which have the names of the published ones.
fn rendered() -> Result<String> {
    let artifacts = Artifacts::cached(&Options::from_env()?).ok_or_else(|| {
        Error::Unsuitable(vec!["the components are not built; `cargo lab build` builds them".to_owned()])
    })?;
    let helm = artifacts.binaries.path(Tool::Helm);
    let chart = artifacts.binaries.resource(Resource::CertManagerChart);
    template(&helm, &chart)
}

fn template(helm: &Path, chart: &Path) -> Result<String> {
    let mut command = command(helm);
    command.arg("template").arg("cert-manager").arg(chart);
    // The check after the start has an image that the lab does not build; the rollouts are waited for instead.
    command.args(["--namespace", NAMESPACE, "--set", "startupapicheck.enabled=false"]);
    output(&mut command, None, PATIENCE)
}
