//! Losing the content of a persistent volume.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::Namespaced;
use crate::cluster::bootstrap;
use crate::cluster::kubectl::Kubectl;
use crate::error::{Error, Result};
use crate::state::{StateDir, create};
use crate::topology::Cluster;

#[derive(Debug, Deserialize)]
struct List {
    items: Vec<Pod>,
}

#[derive(Debug, Deserialize)]
struct Pod {
    metadata: Metadata,
    spec: PodSpec,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Debug, Deserialize)]
struct PodSpec {
    #[serde(default)]
    volumes: Vec<Volume>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    persistent_volume_claim: Option<Claim>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claim {
    claim_name: String,
}

/// Moves everything away, ends the pods, then removes it: what a program still has open is written into files that
/// nobody finds any more, so a new pod starts with an empty volume.
pub(super) fn lose(state: &StateDir, cluster: Cluster, claim: &Namespaced) -> Result<()> {
    let kubectl = bootstrap::kubectl(state, cluster).limit(Duration::from_secs(90));
    let dir = directory(state, cluster, &kubectl, claim)?;
    let away = dir.with_added_extension("lost");
    if away.exists() {
        // From a loss that was interrupted.
        fs::remove_dir_all(&away).map_err(Error::io("remove", &away))?;
    }
    create(&away)?;
    for entry in fs::read_dir(&dir).map_err(Error::io("read", &dir))?.flatten() {
        let to = away.join(entry.file_name());
        fs::rename(entry.path(), &to).map_err(Error::io("move away", entry.path()))?;
    }
    for pod in users(&kubectl, claim)? {
        kubectl.run([
            "-n",
            &claim.namespace,
            "delete",
            "pod",
            &pod,
            "--grace-period=1",
            "--ignore-not-found",
        ])?;
    }
    fs::remove_dir_all(&away).map_err(Error::io("remove", &away))
}

fn directory(state: &StateDir, cluster: Cluster, kubectl: &Kubectl, claim: &Namespaced) -> Result<PathBuf> {
    let name = |path: &str, args: [&str; 4]| kubectl.run(["get", "-o", path].into_iter().chain(args));
    let volume = name("jsonpath={.spec.volumeName}", ["-n", &claim.namespace, "pvc", &claim.name])?;
    let invalid = |why: &str| Error::Invalid {
        what: "claim",
        value: format!("{}/{}", claim.namespace, claim.name),
        why: why.to_owned(),
    };
    if volume.is_empty() {
        return Err(invalid("it has no volume yet: no pod has used it"));
    }
    let place = "jsonpath={.spec.local.path}";
    let local = kubectl.run(["get", "-o", place, "pv", &volume])?;
    let name = Path::new(&local).file_name().ok_or_else(|| invalid("its volume was not made by the lab"))?;
    cluster
        .nodes()
        .map(|node| state.cluster(cluster).volumes().join(node.name()).join(name))
        .find(|dir| dir.is_dir())
        .ok_or_else(|| invalid("its volume has no directory in the lab"))
}

fn users(kubectl: &Kubectl, claim: &Namespaced) -> Result<Vec<String>> {
    let pods: List = kubectl.get(["-n", &claim.namespace, "pods"])?;
    let uses = |pod: &Pod| {
        let claims = pod.spec.volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
        claims.into_iter().any(|used| used.claim_name == claim.name)
    };
    Ok(pods.items.into_iter().filter(uses).map(|pod| pod.metadata.name).collect())
}
