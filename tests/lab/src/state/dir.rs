//! The state directory and where everything in it is.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::topology::{Cluster, Node};

/// Variable that names the state directory.
pub const VARIABLE: &str = "SPIRE_MESH_LAB_STATE";

/// Where a lab keeps everything that it forgets on `down`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir(PathBuf);

impl Default for StateDir {
    fn default() -> Self {
        Self::new("/var/lib/spire-mesh-lab")
    }
}

impl StateDir {
    /// A lab's state in this directory.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// `$SPIRE_MESH_LAB_STATE`, else `/var/lib/spire-mesh-lab`.
    #[must_use]
    pub fn from_env() -> Self {
        env::var_os(VARIABLE).map_or_else(Self::default, Self::new)
    }

    /// The state of another lab beside this one, known by a number: `/var/lib/spire-mesh-lab-2`.
    #[must_use]
    pub fn beside(&self, number: usize) -> Self {
        let mut path = self.0.clone().into_os_string();
        path.push(format!("-{number}"));
        Self::new(path)
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Programs of this lab, for `PATH`.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.0.join("bin")
    }

    /// The copy of this program that the nodes run, so that a rebuild does not touch a running lab.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.bin().join("lab")
    }

    /// `kubectl` of the lab's Kubernetes version.
    #[must_use]
    pub fn kubectl(&self) -> PathBuf {
        self.bin().join("kubectl")
    }

    /// The kubeconfig with the contexts of all clusters.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    /// The active faults.
    #[must_use]
    pub fn faults(&self) -> PathBuf {
        self.0.join("faults.json")
    }

    /// What belongs to a cluster.
    #[must_use]
    pub fn cluster(&self, cluster: Cluster) -> ClusterDir {
        ClusterDir(self.0.join("clusters").join(cluster.name()))
    }

    /// What belongs to a node.
    #[must_use]
    pub fn node(&self, node: Node) -> NodeDir {
        NodeDir(self.0.join("nodes").join(node.name()))
    }
}

/// The part of the state that belongs to one cluster.
#[derive(Debug, Clone)]
pub struct ClusterDir(PathBuf);

impl ClusterDir {
    /// Certificates and keys.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.0.join("pki")
    }

    /// The kubeconfig of one of its users: `admin`, `kubelet-foo-node-1`…
    #[must_use]
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.0.join("kubeconfigs").join(user)
    }

    /// Data of etcd.
    #[must_use]
    pub fn etcd(&self) -> PathBuf {
        self.0.join("etcd")
    }

    /// Disks of the nodes: one directory for each, with its persistent volumes.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.0.join("volumes")
    }

    /// Configuration of the cloud controller manager.
    #[must_use]
    pub fn cloud_config(&self) -> PathBuf {
        self.0.join("cloud.conf")
    }
}

/// The part of the state that belongs to one node.
#[derive(Debug, Clone)]
pub struct NodeDir(PathBuf);

impl NodeDir {
    /// What the node's init reads.
    #[must_use]
    pub fn spec(&self) -> PathBuf {
        self.0.join("spec.json")
    }

    /// A configuration file of one of its services.
    #[must_use]
    pub fn config(&self, name: &str) -> PathBuf {
        self.0.join("etc").join(name)
    }

    /// Network configuration for containerd.
    #[must_use]
    pub fn cni(&self) -> PathBuf {
        self.0.join("etc/cni")
    }

    /// Root directory of containerd.
    #[must_use]
    pub fn containerd(&self) -> PathBuf {
        self.0.join("containerd")
    }

    /// What the node sees under `/var` instead of the host's.
    #[must_use]
    pub fn var(&self, name: &str) -> PathBuf {
        self.0.join("var").join(name)
    }

    /// An empty directory for the short time in which init rearranges `/sys`.
    #[must_use]
    pub fn stash(&self) -> PathBuf {
        self.0.join("stash")
    }

    /// Logs of the services.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.join("log")
    }

    /// What init keeps from running: see [`crate::node::Holds`].
    #[must_use]
    pub fn holds(&self) -> PathBuf {
        self.0.join("holds.json")
    }
}

/// Creates a directory with its parents.
pub(crate) fn create(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io("create", path))
}

/// Writes a file in one step, with its parent directories: readers see the old content or the new one.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    write_with_mode(path, content, 0o644)
}

/// As [`write`], for secrets.
pub(crate) fn write_secret(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    write_with_mode(path, content, 0o600)
}

fn write_with_mode(path: &Path, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    if let Some(parent) = path.parent() {
        create(parent)?;
    }
    let draft = path.with_added_extension("new");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(mode)
        .open(&draft)
        .map_err(Error::io("write", &draft))?;
    file.write_all(content.as_ref()).map_err(Error::io("write", &draft))?;
    fs::rename(&draft, path).map_err(Error::io("write", path))
}

/// Writes a value as JSON.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(damaged(path))?;
    write(path, text)
}

/// Reads a JSON file; `None` if there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(damaged(path)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", path)(e)),
    }
}

fn damaged(path: &Path) -> impl FnOnce(serde_json::Error) -> Error {
    move |e| Error::Damaged { path: path.to_path_buf(), why: e.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_nothing_and_a_damaged_one_an_error_with_advice() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("a/state.json");
        assert_eq!(read_json::<u32>(&file).expect("no error"), None);
        write_json(&file, &7).expect("writable");
        assert_eq!(read_json::<u32>(&file).expect("readable"), Some(7));
        write(&file, "{").expect("writable");
        let text = read_json::<u32>(&file).expect_err("damaged").to_string();
        assert!(text.contains("cargo lab down"), "{text}");
    }
}
