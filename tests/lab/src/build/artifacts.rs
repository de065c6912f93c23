//! What a build leaves behind, and how the rest of the lab finds it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::plan::Plan;
use super::progress::StepTime;
use super::{Options, images};

/// A program of the lab that something calls on the host or inside a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tool {
    /// `kube-apiserver` (a link to the multi-call binary, like all Kubernetes programs).
    KubeApiserver,
    /// `kube-controller-manager`
    KubeControllerManager,
    /// `kube-scheduler`
    KubeScheduler,
    /// `kubelet`
    Kubelet,
    /// `kube-proxy`
    KubeProxy,
    /// `kubectl`
    Kubectl,
    /// The lab's own cloud controller manager: addresses for services of type `LoadBalancer`.
    CloudControllerManager,
    /// The lab's own provisioner of persistent volumes.
    VolumeProvisioner,
    /// `etcd`
    Etcd,
    /// `spire-server`
    SpireServer,
    /// `spire-agent`
    SpireAgent,
    /// `istioctl`
    Istioctl,
    /// `helm`
    Helm,
    /// `krew`, the plugin manager of kubectl
    Krew,
    /// What krew's own index checks a manifest with
    ValidateKrewManifest,
    /// `envoy`
    Envoy,
}

/// Files that the lab takes over from the sources of a component, as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// Directory with the custom resource definitions of the SPIRE controller manager (`*.yaml`).
    SpireCrds,
    /// Directory with the Helm chart of cert-manager, its CRDs among the templates, image names as published.
    CertManagerChart,
    /// Istio's Envoy bootstrap template (one JSON file).
    EnvoyBootstrap,
}

impl Tool {
    /// The component that a program belongs to, and its name there.
    pub(super) fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::KubeApiserver => ("kubernetes", "kube-apiserver"),
            Self::KubeControllerManager => ("kubernetes", "kube-controller-manager"),
            Self::KubeScheduler => ("kubernetes", "kube-scheduler"),
            Self::Kubelet => ("kubernetes", "kubelet"),
            Self::KubeProxy => ("kubernetes", "kube-proxy"),
            Self::Kubectl => ("kubernetes", "kubectl"),
            Self::CloudControllerManager => ("kubernetes", "cloud-controller-manager"),
            Self::VolumeProvisioner => ("kubernetes", "volume-provisioner"),
            Self::Etcd => ("etcd", "etcd"),
            Self::SpireServer => ("spire", "spire-server"),
            Self::SpireAgent => ("spire", "spire-agent"),
            Self::Istioctl => ("istio", "istioctl"),
            Self::Helm => ("helm", "helm"),
            Self::Krew => ("krew", "krew"),
            Self::ValidateKrewManifest => ("krew", "validate-krew-manifest"),
            Self::Envoy => ("envoy", "envoy"),
        }
    }
}

impl Resource {
    fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::SpireCrds => ("spire-controller-manager", "crds"),
            Self::CertManagerChart => ("cert-manager", "chart"),
            Self::EnvoyBootstrap => ("istio", "envoy_bootstrap.json"),
        }
    }
}

/// Where the programs of one build are.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// Cache entry of every component, by the component's name.
    pub(super) entries: BTreeMap<&'static str, PathBuf>,
}

impl Binaries {
    /// Absolute path of a program.
    #[must_use]
    pub fn path(&self, tool: Tool) -> PathBuf {
        let (component, name) = tool.place();
        self.file(component, name)
    }

    /// Absolute path of a file or directory taken over from a component's sources.
    #[must_use]
    pub fn resource(&self, resource: Resource) -> PathBuf {
        let (component, name) = resource.place();
        self.file(component, name)
    }

    /// Directory with links for all Kubernetes programs, for a node's `PATH`.
    #[must_use]
    pub fn kubernetes_dir(&self) -> PathBuf {
        self.file("kubernetes", "")
    }

    /// Path of something in a component's cache entry.
    pub(super) fn file(&self, component: &str, name: &str) -> PathBuf {
        self.entries.get(component).map(|entry| entry.join(name)).unwrap_or_default()
    }
}

/// Everything that a cluster needs in order to start.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// The programs, and files taken over from sources.
    pub binaries: Binaries,
    /// One OCI layout as a tar file with every image, for `ctr images import`.
    pub images: PathBuf,
    /// Full names of the images in it, for instance `registry.k8s.io/pause:3.10`, sorted.
    pub image_names: Vec<String>,
    /// How long each step of the build took; empty for [`Artifacts::cached`].
    pub steps: Vec<StepTime>,
}

impl Artifacts {
    /// The artifacts if every one of them is in the cache and up to date; starts no build and takes milliseconds.
    #[must_use]
    pub fn cached(options: &Options) -> Option<Self> {
        let plan = Plan::new(options).ok()?;
        if !plan.steps.iter().all(|step| step.entry.is_dir()) {
            return None;
        }
        let image_names = images::cached(&plan.cache, &plan.images)?;
        let images = plan.cache.images(&plan.images);
        Some(Self { binaries: plan.binaries(), images, image_names, steps: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::components;
    use super::super::versions::{ISTIO, Versions};
    use super::*;

    #[test]
    fn tools_and_resources_exist_in_the_table() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("components");
        let table = components::all(&Versions::read(&dir, ISTIO[0]).unwrap());
        let component = |name: &str| table.iter().find(|c| c.name == name).unwrap();
        for tool in [
            Tool::KubeApiserver,
            Tool::KubeControllerManager,
            Tool::KubeScheduler,
            Tool::Kubelet,
            Tool::KubeProxy,
            Tool::Kubectl,
            Tool::CloudControllerManager,
            Tool::VolumeProvisioner,
            Tool::Etcd,
            Tool::SpireServer,
            Tool::SpireAgent,
            Tool::Istioctl,
            Tool::Helm,
            Tool::Krew,
            Tool::ValidateKrewManifest,
            Tool::Envoy,
        ] {
            let (name, program) = tool.place();
            let component = component(name);
            let link = component.links.iter().any(|(link, _)| *link == program);
            assert!(link || component.outputs().contains(&program), "{tool:?}");
        }
        for resource in [Resource::SpireCrds, Resource::CertManagerChart, Resource::EnvoyBootstrap] {
            let (name, file) = resource.place();
            let taken = component(name).takeovers.iter().any(|t| Path::new(t.to).starts_with(file));
            assert!(taken, "{resource:?}");
        }
    }
}
