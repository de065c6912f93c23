//! Proof that clusters are one mesh: read from what istiod knows and what the way between the networks lets through, not from what
//! was configured.

use std::time::Duration;

use futures::future::{join, join_all};

use super::access::SETTLES_WITHIN;
use super::identities::expected_wrongly;
use super::probe::{Way, way};
use super::proxies::proxy_secrets;
use super::restart::restart_istiod;
use super::up::{Ready, Run};
use super::{InstallError, Step};
use crate::envoy::{Issuer, ProxySecrets};
use crate::fleet::{Member, Read};
use crate::istio::istiod::{Istiod, IstiodError, KnownCluster};
use crate::manifest::wait::until;
use crate::manifest::{Poll, WaitError};
use crate::mesh::Mesh;
use crate::trust::TrustDomain;
use crate::workload::WorkloadPod;

/// How long a new way through a load balancer may take to let something through.
const WAY_WITHIN: Duration = Duration::from_mins(2);
/// How long SPIRE may take to serve a new proxy: its agents look every five seconds.
const PROXIES_WITHIN: Duration = Duration::from_secs(40);

/// Proves one cluster's part of the mesh, and returns what is not so.
pub(super) async fn prove(run: &Run<'_>, own: &Ready<'_>, ready: &[Ready<'_>]) -> Vec<InstallError> {
    let mut errors = Vec::new();
    let peers: Vec<&Ready<'_>> =
        ready.iter().filter(|peer| peer.member.name() != own.member.name()).collect();
    for cluster in run.mesh.clusters.iter().filter(|cluster| cluster.name != own.member.name()) {
        if !peers.iter().any(|peer| peer.member.name() == cluster.name) {
            errors.push(InstallError::PeerMissing { peer: cluster.name.clone() });
        }
    }
    run.step(own.member, &Step::WaitingForSync);
    if let Err(error) = synced(run, own, &peers).await {
        errors.push(error);
        return errors;
    }
    let other_networks =
        peers.iter().filter(|peer| peer.member.cluster.network != own.member.cluster.network);
    // A way takes a second: that is how long the program in the gateway tries.
    let ways = join_all(other_networks.map(|peer| reached(run, own, peer)));
    let expected = async {
        run.step(own.member, &Step::ComparingIdentities);
        let compared = identities(run, own, &peers).await;
        run.step(own.member, &Step::ReadingProxies);
        [compared, proxies(run, own).await]
    };
    let (tried, expected) = join(ways, expected).await;
    errors.extend(tried.into_iter().chain(expected).filter_map(Result::err));
    errors
}

/// Waits until every proxy of the cluster, gateways and sidecars, presents an SVID of its own and holds the bundle of every trust domain.
async fn proxies(run: &Run<'_>, own: &Ready<'_>) -> Result<(), InstallError> {
    let proven =
        until(run.deadline.at_most(PROXIES_WITHIN), "the proxies' certificates and bundles", || async {
            match proxy_secrets(own.member).await {
                Ok(proxies) => match proxies.iter().find_map(|proxy| lack(run.mesh, own.member, proxy)) {
                    Some((pod, problem)) => Poll::Pending(format!("{pod}: {problem}")),
                    None => Poll::Ready(()),
                },
                Err(unread) => Poll::Pending(unread.why),
            }
        });
    let Err(error) = proven.await else { return Ok(()) };
    // The last look may have ended in the middle of something else.
    let proxies = proxy_secrets(own.member).await.unwrap_or_default();
    match proxies.iter().find_map(|proxy| lack(run.mesh, own.member, proxy)) {
        Some((pod, problem)) => {
            let context = own.member.cluster.context.clone();
            Err(InstallError::Proxy { pod, problem, context })
        }
        None => Err(error.into()),
    }
}

/// Says what a proxy lacks, with namespace and name of its pod.
fn lack(
    mesh: &Mesh,
    member: &Member,
    (pod, secrets): &(WorkloadPod, Read<ProxySecrets>),
) -> Option<(String, String)> {
    let problem = match secrets {
        Err(unread) => unread.why.clone(),
        Ok(secrets) => {
            let wanted =
                pod.expected_id(&member.cluster.trust_domain).map(|id| id.to_string()).unwrap_or_default();
            let domains = mesh.clusters.iter().map(|cluster| &cluster.trust_domain);
            let missing: Vec<&str> =
                domains.filter(|domain| secrets.bundle(domain).is_none()).map(TrustDomain::as_str).collect();
            match (secrets.issuer(), secrets.chain()) {
                (Issuer::Istiod, _) => "its certificate is from istiod, not from SPIRE".to_owned(),
                (_, None) => "it has no certificate yet".to_owned(),
                (_, Some(chain)) if chain.leaf.uris.as_slice() != [wanted.as_str()] => {
                    format!("it presents {} instead of {wanted}", chain.leaf.uris.join(", "))
                }
                _ if !missing.is_empty() => format!("it has no bundle of {}", missing.join(", ")),
                _ => return None,
            }
        }
    };
    Some((format!("{}/{}", pod.namespace, pod.name), problem))
}

/// Waits until every istiod has read every other cluster, and knows a way into every other network. One that has given a cluster up is
/// started again.
async fn synced(run: &Run<'_>, own: &Ready<'_>, peers: &[&Ready<'_>]) -> Result<(), InstallError> {
    let wait = |deadline| {
        until(deadline, "istiod to have read the other clusters", || async {
            match missing(own, peers).await {
                Ok(None) => Poll::Ready(()),
                Ok(Some(missing)) => Poll::Pending(missing),
                Err(error) => Poll::Pending(error.to_string()),
            }
        })
    };
    if wait(run.deadline.at_most(SETTLES_WITHIN)).await.is_ok() {
        return Ok(());
    }
    if has_given_up(own, peers).await {
        restart_istiod(own.member, &run.mesh.clusters, run.deadline, run.watch).await?;
    }
    Ok(wait(run.deadline).await?)
}

/// Tells whether a pod of istiod has closed another cluster, or has not taken notice of it.
async fn has_given_up(own: &Ready<'_>, peers: &[&Ready<'_>]) -> bool {
    let given_up = async {
        for istiod in Istiod::find(own.member).await? {
            let clusters = istiod.clusters().await?;
            let known = |peer: &&Ready<'_>| clusters.iter().find(|known| known.id == peer.member.name());
            if peers.iter().any(|peer| known(peer).is_none_or(KnownCluster::is_closed)) {
                return Ok(true);
            }
        }
        Ok::<_, IstiodError>(false)
    };
    given_up.await.unwrap_or(false)
}

async fn missing(own: &Ready<'_>, peers: &[&Ready<'_>]) -> Result<Option<String>, IstiodError> {
    for istiod in Istiod::find(own.member).await? {
        let (clusters, networks) = (istiod.clusters().await?, istiod.networks().await?);
        for peer in peers {
            let name = peer.member.name();
            match clusters.iter().find(|known| known.id == name) {
                None => return Ok(Some(format!("{} does not know {name} yet", istiod.pod()))),
                Some(known) if !known.is_synced() => {
                    return Ok(Some(format!("{}: {name} is {}", istiod.pod(), known.sync_status)));
                }
                Some(_) => {}
            }
            let network = &peer.member.cluster.network;
            if *network != own.member.cluster.network
                && !networks.iter().any(|known| known.network == *network)
            {
                return Ok(Some(format!("{} knows no gateway of network {network} yet", istiod.pod())));
            }
        }
    }
    Ok(None)
}

/// Waits until another network's gateway can be reached from a pod of this cluster.
async fn reached(run: &Run<'_>, own: &Ready<'_>, peer: &Ready<'_>) -> Result<(), InstallError> {
    run.step(own.member, &Step::TryingWay(peer.member.cluster.network.clone()));
    let deadline = run.deadline.at_most(WAY_WITHIN);
    let what = format!("the way to {}", peer.gateway);
    let open = until(deadline, &what, || async {
        match way(own.member, &peer.gateway).await {
            Ok(Way::Open) => Poll::Ready(Ok(())),
            Ok(Way::Closed(reason)) => Poll::Pending(reason),
            Err(error) if error.problem.is_transient() => Poll::Pending(error.to_string()),
            Err(error) => Poll::Ready(Err(error)),
        }
    });
    match open.await {
        Ok(result) => Ok(result?),
        Err(WaitError::TimedOut { last_seen, .. }) => Err(InstallError::NoWay {
            peer: peer.member.name().to_owned(),
            address: peer.gateway.clone(),
            reason: last_seen,
            context: peer.member.cluster.context.clone(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Compares the identities that istiod expects with the trust domains of the clusters that the workloads are in.
async fn identities(run: &Run<'_>, own: &Ready<'_>, peers: &[&Ready<'_>]) -> Result<(), InstallError> {
    let clusters = &run.mesh.clusters;
    if expected_wrongly(own.member, clusters).await?.is_none() {
        return Ok(());
    }
    restart_istiod(own.member, clusters, run.deadline, run.watch).await?;
    synced(run, own, peers).await?;
    match expected_wrongly(own.member, clusters).await? {
        None => Ok(()),
        Some(wrong) => Err(InstallError::WrongIdentities {
            peer: wrong.cluster,
            service: wrong.service,
            found: wrong.found,
            context: own.member.cluster.context.clone(),
        }),
    }
}
