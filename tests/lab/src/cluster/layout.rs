//! Writing everything that a node's init and its services read.

use std::path::{Path, PathBuf};

use super::{config, services};
use crate::build::{Artifacts, Tool};
use crate::cgroups;
use crate::error::{Error, Result};
use crate::node::NodeSpec;
use crate::node::spec::{Bind, NodeNetwork, Route};
use crate::state::{StateDir, create, write, write_json};
use crate::topology::{Node, Shape};

/// The image of every pod's first container.
pub const PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.10";

/// Where a node sees its persistent volumes.
pub(super) const VOLUMES: &str = "/var/lib/lab-volumes";

/// Directories that a node has of its own: where it sees them, and what they are called in the lab's state.
const OWN: [(&str, &str); 4] = [
    ("/var/lib/kubelet", "kubelet"),
    ("/var/lib/cni", "cni"),
    ("/var/log/pods", "pods"),
    ("/var/log/containers", "containers"),
];

/// Tools that people and tests call; they are put on the `PATH` of `lab shell`.
const TOOLS: [(&str, Tool); 7] = [
    ("kubectl", Tool::Kubectl),
    ("istioctl", Tool::Istioctl),
    ("helm", Tool::Helm),
    ("spire-server", Tool::SpireServer),
    ("spire-agent", Tool::SpireAgent),
    ("etcd", Tool::Etcd),
    ("envoy", Tool::Envoy),
];

/// Names of the Kubernetes programs that nodes run.
const KUBERNETES: [(&str, Tool); 7] = [
    ("kube-apiserver", Tool::KubeApiserver),
    ("kube-controller-manager", Tool::KubeControllerManager),
    ("kube-scheduler", Tool::KubeScheduler),
    ("kubelet", Tool::Kubelet),
    ("kube-proxy", Tool::KubeProxy),
    ("cloud-controller-manager", Tool::CloudControllerManager),
    ("volume-provisioner", Tool::VolumeProvisioner),
];

/// The programs of a lab, by name, as links in its `bin` directory.
#[derive(Debug, Clone)]
pub struct Programs(PathBuf);

impl Programs {
    /// Programs in a directory.
    #[must_use]
    pub fn in_dir(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Links what was built into the lab's `bin` directory, and copies this program there.
    pub fn install(state: &StateDir, artifacts: &Artifacts) -> Result<Self> {
        let bin = state.bin();
        create(&bin)?;
        for (name, tool) in TOOLS.into_iter().chain(KUBERNETES) {
            link(&artifacts.binaries.path(tool), &bin.join(name))?;
        }
        let this = std::env::current_exe().map_err(Error::system("find this program"))?;
        let draft = bin.join("lab.new");
        // A running node keeps the old file; this is a new one under the same name.
        std::fs::copy(&this, &draft).map_err(Error::io("copy this program to", &draft))?;
        std::fs::rename(&draft, state.program()).map_err(Error::io("write", state.program()))?;
        Ok(Self(bin))
    }

    /// Path of a program; what the lab does not build comes from the system.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        let built = self.0.join(name);
        if built.exists() { built } else { crate::command::find(name).unwrap_or(built) }
    }
}

/// Links a program. A hard link where that is possible: it stays when the cache drops what it was built from.
fn link(from: &Path, to: &Path) -> Result<()> {
    let draft = to.with_added_extension("new");
    match std::fs::remove_file(&draft) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", &draft)(e)),
        _ => {}
    }
    let program = from.canonicalize().map_err(Error::io("find", from))?;
    if std::fs::hard_link(&program, &draft).is_err() {
        std::os::unix::fs::symlink(&program, &draft).map_err(Error::io("create", &draft))?;
    }
    std::fs::rename(&draft, to).map_err(Error::io("create", to))?;
    // Renaming one link to a file over another link to it does nothing, and leaves both.
    match std::fs::remove_file(&draft) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &draft)(e)),
        _ => Ok(()),
    }
}

/// Directories of the host on which a node mounts its own, and that are not there.
#[must_use]
pub fn missing_mount_points() -> Vec<PathBuf> {
    let own = OWN.iter().map(|(place, _)| *place).chain([VOLUMES]);
    let missing = own.map(PathBuf::from).filter(|place| !place.exists());
    // Parents first, so that removal in the opposite order works.
    missing.flat_map(|place| ancestors_to_create(&place)).collect()
}

fn ancestors_to_create(place: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        place.ancestors().take_while(|path| !path.exists()).map(Path::to_path_buf).collect();
    all.reverse();
    all
}

/// Writes the files of a node, and its spec.
pub fn write_node(state: &StateDir, programs: &Programs, shape: Shape, node: Node) -> Result<()> {
    let dir = state.node(node);
    let cluster = node.cluster();
    let volumes = state.cluster(cluster).volumes().join(node.name());
    for path in [&dir.stash(), &dir.logs(), &volumes].into_iter().chain(&own(state, node)) {
        create(path)?;
    }
    write(&dir.config("containerd.toml"), config::containerd(state, node))?;
    write_json(&dir.cni().join("10-lab.conflist"), &config::cni(node))?;
    write_json(&dir.config("kubelet.json"), &config::kubelet(state, node))?;
    write_json(&dir.config("kube-proxy.json"), &config::kube_proxy(state, node))?;
    write(&state.cluster(cluster).cloud_config(), config::cloud(cluster))?;
    let hosts: Vec<String> = config::hosts(shape.clusters()).collect();
    write(&dir.config("hosts"), format!("127.0.0.1 localhost\n{}\n", hosts.join("\n")))?;
    write(&dir.config("resolv.conf"), "# Names are resolved in pods only, by the cluster's DNS.\n")?;
    spec(state, programs, shape, node).write(&dir)
}

fn own(state: &StateDir, node: Node) -> Vec<PathBuf> {
    OWN.iter().map(|(_, name)| state.node(node).var(name)).collect()
}

fn spec(state: &StateDir, programs: &Programs, shape: Shape, node: Node) -> NodeSpec {
    let dir = state.node(node);
    let cluster = node.cluster();
    let mut binds: Vec<Bind> =
        OWN.iter().map(|(place, name)| Bind { from: dir.var(name), to: place.into() }).collect();
    binds.push(Bind { from: state.cluster(cluster).volumes().join(node.name()), to: VOLUMES.into() });
    binds.push(Bind { from: dir.config("hosts"), to: "/etc/hosts".into() });
    binds.push(Bind { from: dir.config("resolv.conf"), to: "/etc/resolv.conf".into() });
    NodeSpec {
        name: node.name(),
        cgroup: cgroups::of_node(state, &node.name()),
        stash: dir.stash(),
        binds,
        network: NodeNetwork {
            address: format!("{}/{}", node.address(), cluster.vpc().length()),
            routes: routes(shape, node),
            services: cluster.services().to_string(),
            pods: cluster.pods().to_string(),
        },
        services: services::of(state, programs, node),
        logs: dir.logs(),
        holds: dir.holds(),
    }
}

/// Ways out of a node: other clusters through the host, pods of the same cluster through their nodes, load balancers
/// of its own cluster through the first node. Pods of other clusters are not among them.
fn routes(shape: Shape, node: Node) -> Vec<Route> {
    let cluster = node.cluster();
    let peers = shape.clusters().filter(|other| *other != cluster);
    let peers = peers.map(|other| Route { to: other.vpc().to_string(), via: cluster.gateway() });
    let others = cluster.nodes().filter(|other| *other != node);
    let pods = others.map(|other| Route { to: other.pods().to_string(), via: other.address() });
    let balancers = (!node.is_first())
        .then(|| Route { to: cluster.load_balancers().to_string(), via: cluster.first_node().address() });
    peers.chain(pods).chain(balancers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_reach_peers_and_the_pods_of_their_own_cluster() {
        let shape = Shape { clusters: 2, nodes: 2 };
        let lines: Vec<String> = shape
            .nodes()
            .flat_map(|node| {
                routes(shape, node)
                    .into_iter()
                    .map(move |r| format!("{}: {} via {}", node.name(), r.to, r.via))
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn parents_of_a_missing_directory_are_named_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let wanted = dir.path().join("a/b");
        assert_eq!(ancestors_to_create(&wanted), [dir.path().join("a"), wanted]);
    }
}
