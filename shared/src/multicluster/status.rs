//! How a mesh is, in short: every cluster's Istio, and every ordered pair of clusters.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde::Serialize;

use super::examine;
use super::examined::{Counted, Examined, Looked, SeenWorkload};
use crate::fleet::Member;
use crate::istio::ISTIOD;
use crate::manifest::ServiceAddress;
use crate::mesh::{Cluster, Mesh};
use crate::trust::TrustDomain;

/// How a mesh is. The shape of its JSON is a promise.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshStatus {
    /// Name of the mesh.
    pub mesh: String,
    /// One for each cluster, in the order of the mesh file.
    pub clusters: Vec<ClusterStatus>,
    /// One for each ordered pair of clusters.
    pub pairs: Vec<PairStatus>,
}

/// How one cluster's Istio is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Name of the cluster.
    pub cluster: String,
    /// Its kubeconfig context.
    pub context: String,
    /// Its trust domain.
    pub trust_domain: TrustDomain,
    /// Its network.
    pub network: String,
    /// What was read of its Istio; absent when it could not be read, or is not there.
    pub istio: Option<IstioStatus>,
    /// Why it is not as it should be, one sentence each.
    pub problems: Vec<String>,
}

/// One cluster's Istio.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IstioStatus {
    /// Version of istiod, where it says one.
    pub version: Option<String>,
    /// Pods of istiod.
    pub istiod: Counted,
    /// Pods of all gateways.
    pub gateways: Counted,
    /// Host and port at which other networks come in.
    pub east_west_address: Option<String>,
    /// Pods with a proxy, gateways among them.
    pub proxies: Counted,
}

/// What one cluster's istiod knows of another cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PairStatus {
    /// The cluster of istiod.
    pub from: String,
    /// The other cluster.
    pub to: String,
    /// How far it is.
    pub state: PairState,
    /// When the remote secret was made, RFC 3339.
    pub remote_secret_made: Option<String>,
}

/// How far istiod is with reading another cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PairState {
    /// It has read it and goes on watching it.
    Synced,
    /// It is reading it.
    Syncing,
    /// It cannot read it.
    Failed,
    /// There is no remote secret for it.
    NoRemoteSecret,
    /// It could not be found out.
    Unknown,
}

impl PairState {
    /// Returns the word for tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Syncing => "syncing",
            Self::Failed => "failed",
            Self::NoRemoteSecret => "no remote secret",
            Self::Unknown => "unknown",
        }
    }
}

impl MeshStatus {
    /// Tells whether everything is as it should be.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.clusters.iter().all(|cluster| cluster.istio.is_some() && cluster.problems.is_empty())
            && self.pairs.iter().all(|pair| pair.state == PairState::Synced)
    }
}

/// Reads how the mesh is, from all clusters at the same time. `unreachable` are the clusters of the mesh that have no member, with the
/// reason.
pub async fn status(mesh: &Mesh, members: &[Member], unreachable: &BTreeMap<String, String>) -> MeshStatus {
    let looked =
        join_all(members.iter().map(|member| async { (member.name(), examine::look(member).await) })).await;
    of_looked(mesh, &looked.into_iter().collect(), unreachable)
}

/// Tells how the mesh was when it was examined.
pub(super) fn status_of(mesh: &Mesh, examined: &Examined) -> MeshStatus {
    let looked = examined.clusters.iter().map(|(name, seen)| (name.as_str(), Looked::of(seen)));
    of_looked(mesh, &looked.collect(), &BTreeMap::new())
}

fn of_looked(
    mesh: &Mesh,
    looked: &BTreeMap<&str, Looked>,
    unreachable: &BTreeMap<String, String>,
) -> MeshStatus {
    let clusters = mesh.clusters.iter().map(|cluster| {
        if let Some(looked) = looked.get(cluster.name.as_str()) {
            return cluster_status(cluster, looked);
        }
        let why = unreachable.get(&cluster.name).cloned().unwrap_or_else(|| "it was not asked".to_owned());
        blank(cluster, None, vec![why])
    });
    let pairs = mesh.clusters.iter().flat_map(|from| {
        let others = mesh.clusters.iter().filter(move |to| to.name != from.name);
        others.map(|to| pair_status(from, to, looked.get(from.name.as_str())))
    });
    MeshStatus { mesh: mesh.name.clone(), clusters: clusters.collect(), pairs: pairs.collect() }
}

fn blank(cluster: &Cluster, istio: Option<IstioStatus>, problems: Vec<String>) -> ClusterStatus {
    ClusterStatus {
        cluster: cluster.name.clone(),
        context: cluster.context.clone(),
        trust_domain: cluster.trust_domain.clone(),
        network: cluster.network.clone(),
        istio,
        problems,
    }
}

fn cluster_status(cluster: &Cluster, looked: &Looked) -> ClusterStatus {
    let workloads = match &looked.workloads {
        Ok(workloads) => workloads,
        Err(unread) => return blank(cluster, None, vec![unread.why.clone()]),
    };
    let Some(istiod) = workloads.iter().find(|workload| workload.name == ISTIOD) else {
        return blank(cluster, None, vec!["there is no istiod".to_owned()]);
    };
    let mut problems = Vec::new();
    let mut gateways = Counted::default();
    for workload in workloads {
        let of = counted(workload);
        if workload.name != ISTIOD {
            gateways = Counted { ready: gateways.ready + of.ready, total: gateways.total + of.total };
        }
        if !of.is_complete() || of.total == 0 {
            let trouble = workload.trouble.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
            problems
                .push(format!("{} of {} pods of {} are ready{trouble}", of.ready, of.total, workload.name));
        }
    }
    let east_west_address = match &looked.gateway {
        Ok(ServiceAddress::Ready(address)) => Some(address.to_string()),
        Ok(ServiceAddress::Pending(reason) | ServiceAddress::Unreachable(reason)) => {
            problems.push(reason.clone());
            None
        }
        Err(unread) => {
            problems.push(unread.why.clone());
            None
        }
    };
    let proxies = match &looked.proxies {
        Ok(proxies) => *proxies,
        Err(unread) => {
            problems.push(unread.why.clone());
            Counted::default()
        }
    };
    if !proxies.is_complete() {
        problems.push(format!("{proxies} pods with a proxy are ready"));
    }
    let version = looked.version.clone();
    let istio = IstioStatus { version, istiod: counted(istiod), gateways, east_west_address, proxies };
    blank(cluster, Some(istio), problems)
}

fn counted(workload: &SeenWorkload) -> Counted {
    let number = |number: i32| usize::try_from(number).unwrap_or(0);
    Counted { ready: number(workload.ready), total: number(workload.wanted) }
}

fn pair_status(from: &Cluster, to: &Cluster, looked: Option<&Looked>) -> PairStatus {
    let secrets = looked.and_then(|looked| looked.remote_secrets.as_ref().ok());
    let secret = secrets.and_then(|secrets| {
        secrets.iter().find(|secret| secret.clusters.iter().any(|(cluster, _)| *cluster == to.name))
    });
    let known = looked.and_then(|looked| looked.known.as_ref().ok());
    let state = match (known, secrets, secret) {
        (_, Some(_), None) => PairState::NoRemoteSecret,
        (Some(known), _, _) => match known.iter().find(|known| known.id == to.name) {
            Some(known) if known.is_synced() => PairState::Synced,
            Some(known) if known.sync_status == "syncing" => PairState::Syncing,
            _ => PairState::Failed,
        },
        _ => PairState::Unknown,
    };
    PairStatus {
        from: from.name.clone(),
        to: to.name.clone(),
        state,
        remote_secret_made: secret.and_then(|secret| secret.made).map(|made| format!("{made:.0}")),
    }
}
