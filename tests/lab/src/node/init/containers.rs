//! Keeping a container dead: it is killed within a tenth of a second whenever the kubelet starts it again.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use crate::node::Holds;
use crate::node::holds::ContainerName;
use crate::sys;

/// One directory per container, with its process id and its OCI configuration.
const TASKS: &str = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";
const TICK: Duration = Duration::from_millis(100);

/// Watches in the background.
pub(super) fn watch(holds: PathBuf) {
    thread::spawn(move || {
        loop {
            let held = Holds::read(&holds).map(|holds| holds.containers).unwrap_or_default();
            if !held.is_empty() {
                kill_all(Path::new(TASKS), &held);
            }
            thread::sleep(TICK);
        }
    });
}

fn kill_all(tasks: &Path, held: &[ContainerName]) {
    for pid in matching(tasks, held) {
        // It has ended by itself, or the next round tries again.
        let _ = sys::kill(pid);
    }
}

fn matching(tasks: &Path, held: &[ContainerName]) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(tasks) else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let dir = entry.ok()?.path();
            let name = name(&dir)?;
            held.contains(&name)
                .then(|| fs::read_to_string(dir.join("init.pid")).ok()?.trim().parse().ok())?
        })
        .collect()
}

#[derive(Deserialize)]
struct OciConfig {
    annotations: HashMap<String, String>,
}

fn name(dir: &Path) -> Option<ContainerName> {
    let config: OciConfig = serde_json::from_slice(&fs::read(dir.join("config.json")).ok()?).ok()?;
    let mut annotations = config.annotations;
    let mut take = |key: &str| annotations.remove(&format!("io.kubernetes.cri.{key}"));
    Some(ContainerName {
        namespace: take("sandbox-namespace")?,
        pod: take("sandbox-name")?,
        container: take("container-name")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_container_matches() {
        let tasks = tempfile::tempdir().expect("a directory");
        for (id, container, pid) in [("a", "server", 41), ("b", "proxy", 42)] {
            let dir = tasks.path().join(id);
            fs::create_dir(&dir).expect("created");
            let annotations = serde_json::json!({"annotations": {
                "io.kubernetes.cri.sandbox-namespace": "spire",
                "io.kubernetes.cri.sandbox-name": "spire-server-0",
                "io.kubernetes.cri.container-name": container,
            }});
            fs::write(dir.join("config.json"), annotations.to_string()).expect("written");
            fs::write(dir.join("init.pid"), pid.to_string()).expect("written");
        }
        let held = ContainerName {
            namespace: "spire".to_owned(),
            pod: "spire-server-0".to_owned(),
            container: "server".to_owned(),
        };
        assert_eq!(matching(tasks.path(), &[held]), [41]);
    }
}
