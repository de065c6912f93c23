//! Control groups: the one place that knows whether the machine has version 1 or version 2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::state::StateDir;

const ROOT: &str = "/sys/fs/cgroup";

/// Controllers without which a kubelet does not start.
const NEEDED: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// The group of everything that belongs to a lab; one below for each node. Labs with different states never share one.
#[must_use]
pub fn of_lab(state: &StateDir) -> String {
    const LAB: &str = "/spire-mesh-lab";
    if *state == StateDir::default() {
        return LAB.to_owned();
    }
    let place = state.path().to_string_lossy().replace('/', "-");
    format!("{LAB}{place}")
}

/// The group of a node; its pods are in `kubepods` below, its own services in `system`.
#[must_use]
pub fn of_node(state: &StateDir, name: &str) -> String {
    format!("{}/{name}", of_lab(state))
}

/// How this machine has its control groups mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroups {
    /// Version 1: one tree per controller.
    V1 {
        /// Trees with a controller, and systemd's.
        trees: Vec<PathBuf>,
        /// A tree of version 2 without controllers beside them; runc makes groups in it too.
        unified: Option<PathBuf>,
    },
    /// Version 2: one tree.
    V2(PathBuf),
}

impl Cgroups {
    /// Looks at what is mounted.
    pub fn detect() -> Result<Self> {
        let mounts =
            fs::read_to_string("/proc/self/mounts").map_err(Error::io("read", "/proc/self/mounts"))?;
        Ok(Self::from_mounts(&mounts))
    }

    fn from_mounts(mounts: &str) -> Self {
        let mounts = || mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        if mounts().any(|m| m.get(1) == Some(&ROOT) && m.get(2) == Some(&"cgroup2")) {
            return Self::V2(ROOT.into());
        }
        let of_kind = |kind: &'static str| {
            mounts().filter(move |m| m.get(2) == Some(&kind)).filter_map(|m| m.get(1).map(PathBuf::from))
        };
        let mut trees: Vec<PathBuf> = of_kind("cgroup").collect();
        trees.sort();
        trees.dedup();
        Self::V1 { trees, unified: of_kind("cgroup2").find(|path| path.starts_with(ROOT)) }
    }

    /// Controllers that a kubelet needs and that are not there.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        match self {
            Self::V1 { trees, .. } => {
                let has = |name: &str| {
                    trees
                        .iter()
                        .filter_map(|t| t.file_name()?.to_str())
                        .any(|t| t.split(',').any(|c| c == name))
                };
                NEEDED.into_iter().filter(|name| !has(name)).collect()
            }
            Self::V2(root) => {
                let there = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
                NEEDED.into_iter().filter(|name| !there.split_whitespace().any(|c| c == *name)).collect()
            }
        }
    }

    fn trees(&self) -> &[PathBuf] {
        match self {
            Self::V1 { trees, .. } => trees,
            Self::V2(root) => std::slice::from_ref(root),
        }
    }

    /// The trees in which there can be something of ours.
    fn all_trees(&self) -> impl Iterator<Item = &PathBuf> {
        let unified = match self {
            Self::V1 { unified, .. } => unified.as_ref(),
            Self::V2(_) => None,
        };
        self.trees().iter().chain(unified)
    }

    /// Creates a group with its parents, so that processes and groups can be put into it.
    pub fn create(&self, group: &str) -> Result<()> {
        for tree in self.trees() {
            let mut parent = tree.clone();
            for part in group.split('/').filter(|part| !part.is_empty()) {
                let child = parent.join(part);
                self.hand_down(&parent)?;
                fs::create_dir_all(&child).map_err(Error::io("create the control group", &child))?;
                self.inherit_cpus(&parent, &child)?;
                parent = child;
            }
        }
        Ok(())
    }

    /// Version 2: children get a controller only if the parent hands it down.
    fn hand_down(&self, parent: &Path) -> Result<()> {
        if matches!(self, Self::V1 { .. }) {
            return Ok(());
        }
        let file = parent.join("cgroup.subtree_control");
        let there = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
        let all: Vec<String> = there.split_whitespace().map(|c| format!("+{c}")).collect();
        fs::write(&file, all.join(" ")).map_err(Error::io("write", &file))
    }

    /// Version 1: a new cpuset is empty, and nothing can run in an empty one.
    fn inherit_cpus(&self, parent: &Path, child: &Path) -> Result<()> {
        for name in ["cpuset.cpus", "cpuset.mems"] {
            let (from, to) = (parent.join(name), child.join(name));
            if matches!(self, Self::V2(_)) || !to.exists() {
                return Ok(());
            }
            let value = fs::read_to_string(&from).map_err(Error::io("read", &from))?;
            fs::write(&to, value.trim()).map_err(Error::io("write", &to))?;
        }
        Ok(())
    }

    /// Puts the calling process into a group.
    pub fn join(&self, group: &str) -> Result<()> {
        for tree in self.trees() {
            let file = below(tree, group).join("cgroup.procs");
            fs::write(&file, "0").map_err(Error::io("write", &file))?;
        }
        Ok(())
    }

    /// Removes a group with everything below, deepest first. The last processes may still be on their way out.
    pub fn remove(&self, group: &str) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(10);
        for tree in self.all_trees() {
            let top = below(tree, group);
            while let Err(e) = remove_tree(&top) {
                if Instant::now() > end {
                    return Err(Error::io("remove the control group", &top)(e));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// Directories of a group that exist.
    #[must_use]
    pub fn existing(&self, group: &str) -> Vec<PathBuf> {
        self.all_trees().map(|tree| below(tree, group)).filter(|dir| dir.exists()).collect()
    }

    /// Memory that a group uses and that could not be dropped at once, in bytes.
    #[must_use]
    pub fn memory(&self, group: &str) -> Option<u64> {
        let (tree, usage, inactive) = match self {
            Self::V1 { trees, .. } => (
                trees.iter().find(|t| t.file_name().is_some_and(|name| name == "memory"))?,
                "memory.usage_in_bytes",
                "total_inactive_file",
            ),
            Self::V2(root) => (root, "memory.current", "inactive_file"),
        };
        let dir = below(tree, group);
        let used: u64 = fs::read_to_string(dir.join(usage)).ok()?.trim().parse().ok()?;
        let stat = fs::read_to_string(dir.join("memory.stat")).ok()?;
        let cache: u64 =
            stat.lines().filter_map(|l| l.split_once(' ')).find(|(k, _)| *k == inactive)?.1.parse().ok()?;
        Some(used.saturating_sub(cache))
    }
}

fn below(tree: &Path, group: &str) -> PathBuf {
    tree.join(group.trim_start_matches('/'))
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labs_with_different_states_have_different_groups() {
        assert_eq!(of_node(&StateDir::default(), "foo-node-1"), "/spire-mesh-lab/foo-node-1");
        assert_eq!(of_lab(&StateDir::new("/srv/second")), "/spire-mesh-lab-srv-second");
    }

    #[test]
    fn version_1_is_one_tree_per_controller() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
            cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu 0 0\n\
            cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = Cgroups::from_mounts(mounts);
        let trees = ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory"].map(PathBuf::from).to_vec();
        assert_eq!(found, Cgroups::V1 { trees, unified: Some("/sys/fs/cgroup/unified".into()) });
        assert_eq!(found.missing(), ["cpuset", "pids"]);
    }

    #[test]
    fn version_2_is_one_tree() {
        let found = Cgroups::from_mounts("cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n");
        assert_eq!(found, Cgroups::V2(ROOT.into()));
    }

    #[test]
    fn a_tree_is_removed_with_everything_below() {
        let dir = tempfile::tempdir().expect("a directory");
        let trees = vec![dir.path().join("pids"), dir.path().join("cpu")];
        let cgroups = Cgroups::V1 { trees, unified: None };
        cgroups.create("/lab/a/kubepods").expect("created");
        assert_eq!(cgroups.existing("/lab/a").len(), 2);
        cgroups.remove("/lab").expect("removed");
        assert!(cgroups.existing("/lab").is_empty());
    }
}
