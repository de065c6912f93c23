//! How a mesh is, in short: every cluster's Istio, and every ordered pair of clusters.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde::Serialize;

use super::examine;
use super::examined::{Counted, Examined, Looked, SeenWorkload};
use crate::fleet::Member;
use crate::istio::ISTIOD;
use crate::istio::istiod::KnownCluster;
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

/// How far istiod is with reading another cluster: of several pods the one that is the least far. Worse is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
        // A proxy has what one of the pods knows: the one that is the least far counts.
        (Some(istiods), _, _) => {
            istiods.iter().map(|known| reading(known, to)).max().unwrap_or(PairState::Unknown)
        }
        _ => PairState::Unknown,
    };
    PairStatus {
        from: from.name.clone(),
        to: to.name.clone(),
        state,
        remote_secret_made: secret.and_then(|secret| secret.made).map(|made| format!("{made:.0}")),
    }
}

/// Tells how far an istiod that knows these clusters is with one of them.
fn reading(known: &[KnownCluster], to: &Cluster) -> PairState {
    match known.iter().find(|known| known.id == to.name) {
        Some(known) if known.is_synced() => PairState::Synced,
        Some(known) if known.sync_status == "syncing" => PairState::Syncing,
        _ => PairState::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Read, Unread};
    use crate::istio::remote::AccessProblem;
    use crate::istio::remote::FoundRemoteSecret;
    use crate::manifest::HostPort;

    fn workload(name: &str, ready: i32, wanted: i32, trouble: Option<&str>) -> SeenWorkload {
        SeenWorkload {
            name: name.to_owned(),
            wanted,
            ready,
            trouble: trouble.map(str::to_owned),
            version: None,
        }
    }

    fn known(id: &str, status: &str) -> KnownCluster {
        KnownCluster { id: id.to_owned(), secret_name: String::new(), sync_status: status.to_owned() }
    }

    fn secret(clusters: &[&str], made: Option<&str>) -> FoundRemoteSecret {
        let entry = |cluster: &&str| ((*cluster).to_owned(), Err(AccessProblem::NoToken));
        FoundRemoteSecret {
            name: "x".to_owned(),
            made: made.map(|made| made.parse().unwrap()),
            clusters: clusters.iter().map(entry).collect(),
        }
    }

    fn looked() -> Looked {
        Looked {
            workloads: Ok(vec![
                workload("istio-eastwestgateway", 2, 2, None),
                workload("istio-ingressgateway", 3, 3, None),
                workload("istiod", 1, 1, None),
            ]),
            version: Some("1.31.0".to_owned()),
            known: Ok(vec![vec![known("foo", "synced"), known("bar", "synced"), known("baz", "synced")]; 2]),
            gateway: Ok(ServiceAddress::Ready(HostPort::new("baz.example", 15443).unwrap())),
            remote_secrets: Ok(vec![
                secret(&["foo"], None),
                secret(&["qux", "bar"], Some("2026-11-25T10:00:00.5Z")),
            ]),
            proxies: Ok(Counted { ready: 9, total: 9 }),
        }
    }

    fn of(change: impl FnOnce(&mut Looked)) -> ClusterStatus {
        let mut looked = looked();
        change(&mut looked);
        cluster_status(&Cluster::example("baz", "baz.com"), &looked)
    }

    fn unread<T>() -> Read<T> {
        Err(Unread::because("you may not list that"))
    }

    #[test]
    fn a_cluster_is_shown_with_all_of_its_gateways() {
        insta::assert_json_snapshot!(of(|_| ()));
    }

    #[test]
    fn what_is_not_as_it_should_be_is_a_problem_in_words() {
        let problems = |change: fn(&mut Looked)| of(change).problems;
        let gateway = |ready, wanted, trouble| {
            of(|looked| {
                looked.workloads.as_mut().unwrap()[1] =
                    workload("istio-ingressgateway", ready, wanted, trouble);
            })
            .problems
        };
        assert_eq!(
            gateway(2, 3, Some("ImagePullBackOff")),
            ["2 of 3 pods of istio-ingressgateway are ready: ImagePullBackOff"]
        );
        assert_eq!(gateway(0, 0, None), ["0 of 0 pods of istio-ingressgateway are ready"]);
        assert_eq!(gateway(-1, 1, None), ["0 of 1 pods of istio-ingressgateway are ready"]);
        assert_eq!(
            problems(|looked| looked.gateway = Ok(ServiceAddress::Pending("it waits".to_owned()))),
            ["it waits"]
        );
        assert_eq!(
            problems(|looked| looked.gateway = Ok(ServiceAddress::Unreachable("none".to_owned()))),
            ["none"]
        );
        assert_eq!(problems(|looked| looked.gateway = unread()), ["you may not list that"]);
        assert_eq!(problems(|looked| looked.proxies = unread()), ["you may not list that"]);
        let fewer = |looked: &mut Looked| looked.proxies = Ok(Counted { ready: 8, total: 9 });
        assert_eq!(problems(fewer), ["8/9 pods with a proxy are ready"]);
        assert!(of(|looked| looked.gateway = unread()).istio.unwrap().east_west_address.is_none());
    }

    #[test]
    fn without_istiod_there_is_no_istio() {
        let without =
            of(|looked| looked.workloads.as_mut().unwrap().retain(|workload| workload.name != "istiod"));
        assert_eq!((without.istio, without.problems), (None, vec!["there is no istiod".to_owned()]));
        let unread = of(|looked| looked.workloads = unread());
        assert_eq!((unread.istio, unread.problems), (None, vec!["you may not list that".to_owned()]));
    }

    #[test]
    fn how_far_istiod_is_with_another_cluster_is_told_from_what_it_knows_and_was_given() {
        let (baz, bar) = (Cluster::example("baz", "baz.com"), Cluster::example("bar", "bar.com"));
        let pair = |change: &dyn Fn(&mut Looked)| {
            let mut looked = looked();
            change(&mut looked);
            pair_status(&baz, &bar, Some(&looked))
        };
        let is = |status: &'static str| {
            pair(&|looked| looked.known.as_mut().unwrap()[1][1] = known("bar", status)).state
        };
        let synced = pair(&|_| ());
        assert_eq!(
            (synced.from.as_str(), synced.to.as_str(), synced.state),
            ("baz", "bar", PairState::Synced)
        );
        assert_eq!(synced.remote_secret_made.as_deref(), Some("2026-11-25T10:00:00Z"));
        assert_eq!(is("syncing"), PairState::Syncing);
        assert_eq!((is("timeout"), is("closed")), (PairState::Failed, PairState::Failed));
        let first = pair(&|looked| looked.known.as_mut().unwrap()[0][1] = known("bar", "syncing"));
        assert_eq!(first.state, PairState::Syncing, "one of two is not both");
        let both = pair(&|looked| {
            looked.known.as_mut().unwrap()[0][1] = known("bar", "timeout");
            looked.known.as_mut().unwrap()[1][1] = known("bar", "syncing");
        });
        assert_eq!(both.state, PairState::Failed);
        let unknown = pair(&|looked| drop(looked.known.as_mut().unwrap()[1].remove(1)));
        assert_eq!(unknown.state, PairState::Failed);
        let without = pair(&|looked| drop(looked.remote_secrets.as_mut().unwrap().pop()));
        assert_eq!((without.state, without.remote_secret_made), (PairState::NoRemoteSecret, None));
        assert_eq!(pair(&|looked| looked.known = unread()).state, PairState::Unknown);
        assert_eq!(
            pair(&|looked| looked.remote_secrets = unread()).state,
            PairState::Synced,
            "who may not read Secrets"
        );
        assert_eq!(pair_status(&baz, &bar, None).state, PairState::Unknown);
    }

    #[test]
    fn a_mesh_is_healthy_where_every_cluster_and_every_pair_is() {
        let cluster = || of(|_| ());
        let pair = |state| PairStatus {
            from: "foo".to_owned(),
            to: "baz".to_owned(),
            state,
            remote_secret_made: None,
        };
        let healthy = |last: ClusterStatus, state| {
            let clusters = vec![cluster(), cluster(), last];
            MeshStatus { mesh: "m".to_owned(), clusters, pairs: vec![pair(PairState::Synced), pair(state)] }
                .is_healthy()
        };
        assert!(healthy(cluster(), PairState::Synced));
        assert!(!healthy(ClusterStatus { istio: None, ..cluster() }, PairState::Synced));
        assert!(!healthy(ClusterStatus { problems: vec!["x".to_owned()], ..cluster() }, PairState::Synced));
        let states = [PairState::Syncing, PairState::Failed, PairState::NoRemoteSecret, PairState::Unknown];
        for state in states {
            assert!(!healthy(cluster(), state), "{state:?}");
        }
        assert_eq!(states.map(PairState::as_str), ["syncing", "failed", "no remote secret", "unknown"]);
        assert_eq!(PairState::Synced.as_str(), "synced");
    }

    #[tokio::test]
    async fn of_a_cluster_that_was_not_reached_the_reason_is_shown() {
        let text = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: devup}\nspec:\n  clusters:\n  \
             - {name: foo, trustDomain: foo.com}\n  - {name: bar, trustDomain: bar.com}\n  - {name: baz, trustDomain: baz.com}\n";
        let mesh = Mesh::parse(text, "test").unwrap();
        let foo = crate::fleet::fake::FakeServer::default().member("foo");
        let unreachable = [("bar".to_owned(), "no route".to_owned())].into();
        let status = status(&mesh, &[foo], &unreachable).await;
        let problems: Vec<_> = status.clusters.iter().map(|cluster| cluster.problems.join("; ")).collect();
        assert_eq!(problems, ["there is no istiod", "no route", "it was not asked"]);
        let pairs: Vec<_> = status
            .pairs
            .iter()
            .map(|pair| format!("{}→{} {}", pair.from, pair.to, pair.state.as_str()))
            .collect();
        insta::assert_snapshot!(pairs.join("\n"), @r"
        foo→bar no remote secret
        foo→baz no remote secret
        bar→foo unknown
        bar→baz unknown
        baz→foo unknown
        baz→bar unknown
        ");
    }
}
