//! The access that clusters give each other: remote secrets, how old their tokens are, and replacing them.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join_all};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::Api;
use serde::Serialize;

use super::identities::wrong_identity;
use super::plan::owner;
use super::restart::restart_istiod;
use super::{ApiServers, InstallError, Step};
use crate::fleet::{Member, RequestError};
use crate::istio::NAMESPACE;
use crate::istio::istiod::{Istiod, IstiodError, ServiceIdentities};
use crate::istio::remote::{ReaderToken, Slot, found_remote_secrets, reader_tokens, remote_secret};
use crate::manifest::wait::until;
use crate::manifest::{self, Deadline, Poll};
use crate::mesh::{Cluster, Mesh};
use crate::watch::Watch;

/// What the API server writes on a token's Secret when the token is used (Kubernetes, `LegacyServiceAccountTokenTracking`, 1.28).
const LAST_USED_LABEL: &str = "kubernetes.io/legacy-token-last-used";

/// A remote secret as it is shown. The shape of its JSON is a promise.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteSecretStatus {
    /// The cluster whose istiod reads with it.
    pub from: String,
    /// The cluster that is read.
    pub to: String,
    /// Name of the Secret.
    pub secret: String,
    /// The address of the API server in it.
    pub server: Option<String>,
    /// When the token was made, RFC 3339; absent where it is not the one that this tool has made.
    pub token_made: Option<String>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// Lists the remote secrets of all clusters.
///
/// # Errors
/// Every cluster that cannot be read.
pub async fn remote_secret_list(
    members: &[Member],
) -> Result<Vec<RemoteSecretStatus>, crate::fleet::ClusterErrors<InstallError>> {
    let tokens = super::plan::tokens(members).await?;
    let listed = crate::fleet::each(members, |member| async {
        let found = found_remote_secrets(member)
            .await
            .map_err(|source| InstallError::Request { what: "remote secrets".to_owned(), source })?;
        let entries =
            found.iter().flat_map(|secret| secret.clusters.iter().map(move |entry| (secret, entry)));
        let shown = entries.map(|(secret, (to, access))| {
            let token = access.as_ref().ok().and_then(|access| {
                tokens.get(to)?.iter().find(|token| access.is_with(token)).and_then(|token| token.made)
            });
            let of_ours = tokens.get(to).is_some_and(|tokens| !tokens.is_empty());
            let problem = match access {
                Err(problem) => Some(problem.to_string()),
                Ok(_) if of_ours && token.is_none() => {
                    Some("its token is none of those that the cluster has".to_owned())
                }
                Ok(_) if !members.iter().any(|member| member.name() == to) => {
                    Some("the mesh file has no such cluster".to_owned())
                }
                Ok(_) => None,
            };
            RemoteSecretStatus {
                from: member.name().to_owned(),
                to: to.clone(),
                secret: secret.name.clone(),
                server: access.as_ref().ok().map(|access| access.server.clone()),
                token_made: token.map(|made| format!("{made:.0}")),
                problem,
            }
        });
        Ok::<_, InstallError>(shown.collect::<Vec<_>>())
    });
    Ok(listed.await.into_all()?.into_iter().flatten().collect())
}

/// What replacing a token came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RotatedToken {
    /// The cluster that is read with it.
    pub cluster: String,
    /// When the new token was made, RFC 3339.
    pub made: Option<String>,
    /// The clusters whose istiod reads with it now.
    pub readers: Vec<String>,
    /// Those of them whose istiod had lost endpoints, and was started again.
    pub restarted: Vec<String>,
}

/// Replaces the token with which the other clusters read `member`: the new one is in use everywhere before the old one goes.
///
/// Safe to drop at any await and to run again: it goes on with the newest token that there is.
///
/// # Errors
/// [`InstallError`] for the first thing that does not work. The old token then still works.
pub async fn rotate_token(
    mesh: &Mesh,
    members: &[Member],
    member: &Member,
    servers: &ApiServers,
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> Result<RotatedToken, InstallError> {
    watch.step(member.name(), &Step::MakingToken);
    let token = newest(mesh, member, deadline).await?;
    let peers: Vec<&Member> = members.iter().filter(|peer| peer.name() != member.name()).collect();
    let Some(server) = servers.get(member.name()) else {
        return Err(InstallError::PeerMissing { peer: member.name().to_owned() });
    };
    watch.step(member.name(), &Step::GivingAccess);
    let before = join_all(peers.iter().map(|peer| identities(peer))).await;
    try_join_all(peers.iter().map(|peer| async {
        let secret = owner(mesh).stamped(vec![remote_secret(member.name(), server, &token)]);
        manifest::apply(peer.client(), &secret, deadline, &|_, _| {}).await
    }))
    .await?;
    watch.step(member.name(), &Step::WaitingForReaders);
    let was_used = used(member, &token, deadline.at_most(SETTLES_WITHIN)).await.is_ok();
    let read = peers.iter().zip(&before).map(|(peer, before)| {
        read_again(member, peer, before.as_ref().ok(), &mesh.clusters, (deadline, watch))
    });
    let restarted = try_join_all(read).await?;
    if !was_used {
        // Only now: an istiod that has closed the cluster with its old secret (seen with 1.29.2) asks nothing before it is started again.
        used(member, &token, deadline).await?;
    }
    watch.step(member.name(), &Step::DeletingToken);
    let old = token.slot.other().key();
    manifest::delete(member.client(), &[old], deadline, &|_, _| {}).await?;
    let names = |wanted: bool| {
        let chosen = peers.iter().zip(&restarted).filter(move |(_, restarted)| !wanted || **restarted);
        chosen.map(|(peer, _)| peer.name().to_owned()).collect::<Vec<_>>()
    };
    let rotated = RotatedToken {
        cluster: member.name().to_owned(),
        made: token.made.map(|made| format!("{made:.0}")),
        readers: names(false),
        restarted: names(true),
    };
    watch
        .step(member.name(), &Step::Done(format!("read with a new token by {}", rotated.readers.join(", "))));
    Ok(rotated)
}

/// Returns the token to go on with: a new one, or the newer one of two.
async fn newest(mesh: &Mesh, member: &Member, deadline: Deadline<'_>) -> Result<ReaderToken, InstallError> {
    let tokens = || async {
        reader_tokens(member)
            .await
            .map_err(|source| InstallError::Request { what: "the tokens of its readers".to_owned(), source })
    };
    let there = tokens().await?;
    let slot = match there.as_slice() {
        [] => Slot::A,
        [only] => only.slot.other(),
        [.., newest] => return Ok(newest.clone()),
    };
    manifest::apply(member.client(), &owner(mesh).stamped(vec![slot.object()]), deadline, &|_, _| {}).await?;
    let made = until(deadline, "the new token", || async {
        match reader_tokens(member).await {
            Ok(tokens) => match tokens.into_iter().find(|token| token.slot == slot) {
                Some(token) => Poll::Ready(token),
                None => Poll::Pending(format!("{} has no token yet", slot.key())),
            },
            Err(error) => error.into(),
        }
    });
    Ok(made.await?)
}

/// Waits until somebody has read the cluster with the token.
async fn used(member: &Member, token: &ReaderToken, deadline: Deadline<'_>) -> Result<(), InstallError> {
    let secrets: Api<Secret> = Api::namespaced(member.client().clone(), NAMESPACE);
    until(deadline, "another cluster to read it with the new token", || async {
        match secrets.get_metadata(token.slot.secret_name()).await {
            Ok(secret) if secret.labels().contains_key(LAST_USED_LABEL) => Poll::Ready(()),
            Ok(_) => Poll::Pending("nobody has used it yet".to_owned()),
            Err(error) => RequestError::from(error).into(),
        }
    })
    .await?;
    Ok(())
}

/// Returns the services with endpoints in each cluster that the peer's istiod knows.
async fn identities(peer: &Member) -> Result<ServiceIdentities, IstiodError> {
    let mut all = ServiceIdentities::new();
    for istiod in Istiod::find(peer).await? {
        all.extend(istiod.identities().await?);
    }
    Ok(all)
}

/// Waits until the peer's istiods have read `member`, with every service that they knew before. An istiod that has lost endpoints is started
/// again: before Istio's fix of issue 61043, replacing a remote secret could wipe them for good. So is one that has read the trust domain of
/// `member` too late, and takes its workloads for its own. Tells whether that was needed.
async fn read_again(
    member: &Member,
    peer: &Member,
    before: Option<&ServiceIdentities>,
    clusters: &[Cluster],
    (deadline, watch): (Deadline<'_>, &dyn Watch<Step>),
) -> Result<bool, InstallError> {
    let wait = |deadline| async move {
        let what = format!("{} to have read {}", peer.name(), member.name());
        until(deadline, &what, || async {
            match lacking(member, peer, before).await {
                Ok(None) => Poll::Ready(()),
                Ok(Some(lacking)) => Poll::Pending(lacking),
                Err(error) => Poll::Pending(error.to_string()),
            }
        })
        .await
    };
    if wait(deadline.at_most(SETTLES_WITHIN)).await.is_ok() {
        return Ok(false);
    }
    restart_istiod(peer, clusters, deadline, watch).await?;
    wait(deadline).await?;
    Ok(true)
}

/// How long istiod may take to read a cluster anew.
pub(super) const SETTLES_WITHIN: std::time::Duration = std::time::Duration::from_secs(40);

async fn lacking(
    member: &Member,
    peer: &Member,
    before: Option<&ServiceIdentities>,
) -> Result<Option<String>, IstiodError> {
    for istiod in Istiod::find(peer).await? {
        let clusters = istiod.clusters().await?;
        match clusters.iter().find(|known| known.id == member.name()) {
            Some(known) if known.is_synced() => {}
            Some(known) => {
                return Ok(Some(format!("{}: {} is {}", istiod.pod(), member.name(), known.sync_status)));
            }
            None => return Ok(Some(format!("{} does not know {}", istiod.pod(), member.name()))),
        }
        let now = istiod.identities().await?;
        if let Some(wrong) = wrong_identity(std::slice::from_ref(&member.cluster), &now) {
            return Ok(Some(format!(
                "{} takes the workloads of {} for those of another trust domain",
                istiod.pod(),
                wrong.cluster
            )));
        }
        let has = |all: &ServiceIdentities, service: &str| {
            all.get(service)
                .is_some_and(|clusters: &BTreeMap<String, _>| clusters.contains_key(member.name()))
        };
        let lost = before.and_then(|before| {
            before.keys().find(|service| has(before, service.as_str()) && !has(&now, service.as_str()))
        });
        if let Some(lost) = lost {
            return Ok(Some(format!(
                "{} has lost the endpoints of {lost} in {}",
                istiod.pod(),
                member.name()
            )));
        }
    }
    Ok(None)
}

/// Tells how old something is, for people: `3d`, `5h`, `12m`.
#[must_use]
pub fn age(made: Option<&str>, now: Timestamp) -> Option<String> {
    let made: Timestamp = made?.parse().ok()?;
    let seconds = now.as_second().saturating_sub(made.as_second()).max(0);
    Some(match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    })
}

/// Returns the Secrets of tokens that are there beside the one in use, by cluster: of a rotation that was interrupted.
///
/// # Errors
/// Every cluster that cannot be read.
pub async fn half_rotated(
    members: &[Member],
) -> Result<Vec<String>, crate::fleet::ClusterErrors<InstallError>> {
    let tokens = super::plan::tokens(members).await?;
    Ok(tokens.into_iter().filter(|(_, tokens)| tokens.len() > 1).map(|(cluster, _)| cluster).collect())
}
