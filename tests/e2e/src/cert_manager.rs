//! The real cert-manager in one cluster of the lab, with the chart that its module brings, and a root of its own for SPIRE.

use std::path::Path;
use std::time::{Duration, Instant};

use spire_mesh_lab::build::{Artifacts, Options, Resource, Tool};
use spire_mesh_lab::cluster::Kubectl;
use spire_mesh_lab::{Target, command};

/// A root that signs itself, and the issuer that signs with it: for SPIRE, and for istiod.
const SPIRE_ISSUER: &str = include_str!("../../lab/manifests/spire-issuer.yaml");
const ISTIO_ISSUER: &str = include_str!("../../lab/manifests/istio-issuer.yaml");
/// Where cert-manager runs.
const NAMESPACE: &str = "cert-manager";
/// Its programs.
const DEPLOYMENTS: [&str; 3] = ["cert-manager", "cert-manager-cainjector", "cert-manager-webhook"];
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// A cert-manager at work. It stays until the lab is taken down: what costs time is to start it.
pub struct CertManager {
    kubectl: Kubectl,
}

impl CertManager {
    /// Installs it in a cluster of the lab if it is not there, and waits until it is at work. Issuers of earlier tests go. `None` where the clusters are somebody else's.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn install(target: &Target, context: &str) -> Option<Self> {
        let Target::Lab(_) = target else { return None };
        let kubectl = target.kubectl(context).limit(PATIENCE);
        let this = Self { kubectl };
        this.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n"));
        this.apply(&rendered());
        this.run(&["delete", "namespace", "pki", "--ignore-not-found"]);
        for deployment in DEPLOYMENTS {
            let name = format!("deployment/{deployment}");
            this.run(&["-n", NAMESPACE, "rollout", "status", &name, "--timeout=80s"]);
        }
        Some(this)
    }

    /// Makes the issuer that SPIRE's mesh file names, and waits until it is ready: `Issuer` `spire-ca` in namespace `pki`.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn make_issuer(&self) {
        self.make(SPIRE_ISSUER, "pki", "spire-ca");
    }

    /// Makes the issuer of istiod's CA, `istio-ca` in namespace `istio-system`, which is made, too, and `istio-next-ca` with another root;
    /// waits until both are ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn make_issuer_of_istiod(&self, network: &str) {
        self.make(&ISTIO_ISSUER.replace("NETWORK", network), "istio-system", "istio-ca");
        self.is_ready("istio-system", "istio-next-ca");
    }

    fn make(&self, manifests: &str, namespace: &str, issuer: &str) {
        let end = Instant::now() + PATIENCE;
        // The webhook's certificate reaches the API server in a moment.
        while let Err(error) = self.kubectl.apply(manifests) {
            assert!(Instant::now() < end, "{error}");
            std::thread::sleep(Duration::from_millis(500));
        }
        self.is_ready(namespace, issuer);
    }

    fn is_ready(&self, namespace: &str, issuer: &str) {
        let issuer = format!("issuer/{issuer}");
        self.run(&["-n", namespace, "wait", &issuer, "--for=condition=Ready", "--timeout=80s"]);
    }

    /// Stops what signs, and lets it go on again.
    ///
    /// # Panics
    /// When it does not.
    pub fn scale(&self, replicas: u32) {
        let replicas = format!("--replicas={replicas}");
        self.run(&["-n", NAMESPACE, "scale", "deployment/cert-manager", &replicas]);
        self.run(&["-n", NAMESPACE, "rollout", "status", "deployment/cert-manager", "--timeout=80s"]);
    }

    fn apply(&self, manifests: &str) {
        self.kubectl.apply(manifests).unwrap_or_else(|error| panic!("{error}"));
    }

    fn run(&self, arguments: &[&str]) {
        self.kubectl.run(arguments.iter().copied()).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Writes the chart's manifests for the images of the lab, which have the names of the published ones.
fn rendered() -> String {
    let options = Options::from_env().expect("the lab's cache");
    let artifacts = Artifacts::cached(&options).expect("a lab that is built: `cargo lab build`");
    let helm = artifacts.binaries.path(Tool::Helm);
    let chart = artifacts.binaries.resource(Resource::CertManagerChart);
    template(&helm, &chart)
}

fn template(helm: &Path, chart: &Path) -> String {
    let mut command = command::command(helm);
    command.arg("template").arg("cert-manager").arg(chart);
    // The check after the start has an image that the lab does not build; the rollouts are waited for instead.
    command.args(["--namespace", NAMESPACE, "--set", "startupapicheck.enabled=false"]);
    command::output(&mut command, None, PATIENCE).unwrap_or_else(|error| panic!("{error}"))
}
