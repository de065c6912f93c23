//! The images of the lab. Names and shapes are those of the published images, so that manifests work unchanged.

use std::path::Path;

use super::super::artifacts::{Binaries, Resource};
use super::super::versions::{self, Versions, plain};
use super::oci::Start;
use super::tree::Tree;

/// What lies under an image's own files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing at all.
    Empty,
    /// Certificates, users and `/tmp`, without any program.
    Minimal,
    /// A small Debian with a shell.
    Full,
}

/// One image.
#[derive(Debug, Clone)]
pub(super) struct Image {
    /// Full name with tag.
    pub(super) name: String,
    pub(super) base: Base,
    /// Layers above the base.
    pub(super) layers: Vec<Tree>,
    entrypoint: Vec<&'static str>,
    command: Vec<&'static str>,
    user: &'static str,
    directory: &'static str,
}

impl Image {
    fn new(name: String, base: Base) -> Self {
        let (entrypoint, command) = (Vec::new(), Vec::new());
        Self { name, base, layers: Vec::new(), entrypoint, command, user: "", directory: "/" }
    }

    /// An image that runs one program.
    fn program(name: String, base: Base, program: &Path, path: &'static str) -> Self {
        Self { entrypoint: vec![path], ..Self::new(name, base) }.with(program, path, 0o755)
    }

    /// Adds a layer with one file.
    fn with(mut self, source: &Path, path: &str, mode: u32) -> Self {
        let mut tree = Tree::default();
        tree.file(path, source, mode, 0);
        self.layers.push(tree);
        self
    }

    fn user(self, user: &'static str) -> Self {
        Self { user, ..self }
    }

    /// How its containers start.
    pub(super) fn start(&self) -> Start<'_> {
        Start {
            entrypoint: &self.entrypoint,
            command: &self.command,
            user: self.user,
            directory: self.directory,
        }
    }
}

/// All images.
pub(super) fn all(versions: &Versions, binaries: &Binaries) -> Vec<Image> {
    let program = |component, output| binaries.file(component, output);
    let mut images = vec![
        Image::program(
            format!("registry.k8s.io/pause:{}", versions::PAUSE),
            Base::Empty,
            &program("pause", "pause"),
            "/pause",
        )
        .user("65535:65535"),
        // As root: the published image needs a file capability for port 53 instead.
        Image::program(
            format!("docker.io/coredns/coredns:{}", plain(&versions.coredns)),
            Base::Minimal,
            &program("coredns", "coredns"),
            "/coredns",
        ),
        Image { command: vec!["/bin/sh"], ..Image::new("lab.local/tools:1".to_owned(), Base::Full) },
        Image::program(
            "lab.local/helloworld:1".to_owned(),
            Base::Full,
            &program("helloworld", "helloworld"),
            "/usr/local/bin/helloworld",
        ),
        Image::program(
            "lab.local/mtls:1".to_owned(),
            Base::Minimal,
            &program("mtls", "mtls"),
            "/usr/local/bin/mtls",
        ),
    ];
    images.extend(bookinfo(binaries));
    images.extend(spire(versions, binaries));
    images.extend(istio(binaries));
    images.extend(cert_manager(versions, binaries));
    images
}

/// The services of Istio's sample: one program, and an image for each, as the sample has. The user is a number, or the kubelet
/// cannot tell that it is not root.
fn bookinfo(binaries: &Binaries) -> Vec<Image> {
    let path = "/usr/local/bin/bookinfo";
    let services = [
        ("productpage", vec!["productpage"]),
        ("details", vec!["details"]),
        ("ratings", vec!["ratings"]),
        ("reviews-v1", vec!["reviews", "v1"]),
        ("reviews-v2", vec!["reviews", "v2"]),
        ("reviews-v3", vec!["reviews", "v3"]),
    ];
    services
        .map(|(name, arguments)| {
            let name = format!("lab.local/bookinfo-{name}:1");
            let image = Image::program(name, Base::Minimal, &binaries.file("bookinfo", "bookinfo"), path);
            Image { entrypoint: [vec![path], arguments].concat(), ..image.user("1000:1000") }
        })
        .into()
}

/// SPIRE as its project ships it: server and agent without any other program, the server not as root.
fn spire(versions: &Versions, binaries: &Binaries) -> Vec<Image> {
    let part = |name: &str, executable: &'static str, path: &'static str, owner, dirs: &[&str]| {
        let mut tree = Tree::default();
        // Stated again, or the layer's own /tmp would hide the one of the base.
        tree.directory("tmp", 0o1777, 0);
        for dir in dirs {
            own(&mut tree, dir, owner);
        }
        tree.file(path, &binaries.file("spire", executable), 0o755, owner);
        Image {
            layers: vec![tree],
            entrypoint: vec![path, "run"],
            directory: "/opt/spire",
            ..Image::new(format!("ghcr.io/spiffe/{name}:{}", plain(&versions.spire)), Base::Minimal)
        }
    };
    let server_dirs = [
        "opt/spire/bin",
        "etc/spire/server",
        "run/spire/server/private",
        "tmp/spire-server/private",
        "var/lib/spire/server",
    ];
    let agent_dirs =
        ["etc/spire/agent", "run/spire/agent/public", "tmp/spire-agent/public", "var/lib/spire/agent"];
    let helper = |name: &str, version: &str, component, output, path| {
        let name = format!("ghcr.io/spiffe/{name}:{}", plain(version));
        Image::program(name, Base::Minimal, &binaries.file(component, output), path)
    };
    vec![
        part("spire-server", "spire-server", "/opt/spire/bin/spire-server", 1000, &server_dirs)
            .user("1000:1000"),
        part("spire-agent", "spire-agent", "/opt/spire/bin/spire-agent", 0, &agent_dirs),
        helper(
            "spire-controller-manager",
            &versions.spire_controller_manager,
            "spire-controller-manager",
            "spire-controller-manager",
            "/spire-controller-manager",
        ),
        helper(
            "spiffe-csi-driver",
            &versions.spiffe_csi,
            "spiffe-csi",
            "spiffe-csi-driver",
            "/spiffe-csi-driver",
        ),
        Image::program(
            format!(
                "registry.k8s.io/sig-storage/csi-node-driver-registrar:{}",
                versions::NODE_DRIVER_REGISTRAR
            ),
            Base::Minimal,
            &binaries.file("node-driver-registrar", "csi-node-driver-registrar"),
            "/csi-node-driver-registrar",
        ),
    ]
}

/// Adds a directory that belongs to `owner`, like all directories on the way to it except the first.
fn own(tree: &mut Tree, path: &str, owner: u64) {
    let parents = path.match_indices('/').skip(1).map(|(end, _)| &path[..end]);
    for dir in parents.chain([path]) {
        tree.directory(dir, 0o755, owner);
    }
}

/// Istio's control plane, and its proxy around an Envoy without Istio's extensions.
fn istio(binaries: &Binaries) -> Vec<Image> {
    let name = |name: &str| format!("{}/{name}:{}", versions::ISTIO_HUB, versions::ISTIO_TAG);
    let agent = "/usr/local/bin/pilot-agent";
    let proxy = Image { entrypoint: vec![agent], ..Image::new(name("proxyv2"), Base::Full) }
        .with(&binaries.file("envoy", "envoy"), "/usr/local/bin/envoy", 0o755)
        .with(&binaries.file("istio", "pilot-agent"), agent, 0o755)
        .with(
            &binaries.resource(Resource::EnvoyBootstrap),
            "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json",
            0o644,
        );
    let pilot = Image::program(
        name("pilot"),
        Base::Full,
        &binaries.file("istio", "pilot-discovery"),
        "/usr/local/bin/pilot-discovery",
    );
    vec![pilot.user("1337:1337"), proxy]
}

/// cert-manager. The user is a number, or the kubelet cannot tell that it is not root.
fn cert_manager(versions: &Versions, binaries: &Binaries) -> Vec<Image> {
    let parts = [
        ("cert-manager-controller", "/cert-manager-controller"),
        ("cert-manager-cainjector", "/cert-manager-cainjector"),
        ("cert-manager-webhook", "/cert-manager-webhook"),
    ];
    parts
        .map(|(part, path)| {
            let name = format!("quay.io/jetstack/{part}:{}", versions.cert_manager);
            Image::program(name, Base::Minimal, &binaries.file("cert-manager", part), path).user("1000:1000")
        })
        .into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::super::super::components;
    use super::*;

    fn images() -> Vec<Image> {
        let versions =
            Versions::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("components"), versions::ISTIO[0])
                .unwrap();
        let entries =
            components::all(&versions).into_iter().map(|c| (c.name, PathBuf::from("/cache").join(c.name)));
        all(&versions, &Binaries { entries: entries.collect() })
    }

    #[test]
    fn names_are_those_of_the_published_images() {
        let names: BTreeSet<String> = images().into_iter().map(|image| image.name).collect();
        for name in [
            "ghcr.io/spiffe/spire-server:1.15.3",
            "ghcr.io/spiffe/spire-agent:1.15.3",
            "ghcr.io/spiffe/spire-controller-manager:0.6.3",
            "ghcr.io/spiffe/spiffe-csi-driver:0.2.3",
            "registry.k8s.io/sig-storage/csi-node-driver-registrar:v2.15.0",
            "registry.k8s.io/pause:3.10",
            "docker.io/coredns/coredns:1.14.1",
            "lab.local/istio/pilot:lab",
            "lab.local/istio/proxyv2:lab",
            "quay.io/jetstack/cert-manager-controller:v1.11.5",
            "quay.io/jetstack/cert-manager-cainjector:v1.11.5",
            "quay.io/jetstack/cert-manager-webhook:v1.11.5",
            "lab.local/helloworld:1",
            "lab.local/bookinfo-productpage:1",
            "lab.local/bookinfo-details:1",
            "lab.local/bookinfo-ratings:1",
            "lab.local/bookinfo-reviews-v1:1",
            "lab.local/bookinfo-reviews-v2:1",
            "lab.local/bookinfo-reviews-v3:1",
            "lab.local/mtls:1",
            "lab.local/tools:1",
        ] {
            assert!(names.contains(name), "no image {name}");
        }
    }

    #[test]
    fn spire_has_no_shell_and_starts_with_run() {
        let images = images();
        let server = images.iter().find(|image| image.name.contains("/spire-server:")).unwrap();
        assert_eq!(server.base, Base::Minimal);
        assert_eq!(server.start().entrypoint, ["/opt/spire/bin/spire-server", "run"]);
        assert_eq!(server.start().user, "1000:1000");
        let full: Vec<_> = images.iter().filter(|image| image.base == Base::Full).collect();
        assert!(!full.is_empty() && full.iter().all(|image| image.name.starts_with("lab.local/")));
    }

    #[test]
    fn every_file_comes_from_a_component() {
        for image in images() {
            for source in image.layers.iter().flat_map(Tree::sources) {
                assert!(source.starts_with("/cache"), "{} in {}", source.display(), image.name);
            }
        }
    }

    #[test]
    fn owned_directories() {
        let mut tree = Tree::default();
        own(&mut tree, "var/lib/spire", 1000);
        let mut expected = Tree::default();
        expected.directory("var", 0o755, 0);
        expected.directory("var/lib", 0o755, 1000);
        expected.directory("var/lib/spire", 0o755, 1000);
        assert_eq!(tree, expected);
    }
}
