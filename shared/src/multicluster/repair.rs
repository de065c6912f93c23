//! Making repairs that a check has found.

use futures::future::join_all;

use super::restart::restart_istiod;
use super::{InstallError, Repair, Step};
use crate::federation::{self, FederationError};
use crate::fleet::Member;
use crate::manifest::Deadline;
use crate::mesh::Mesh;
use crate::watch::Watch;

/// Why a repair did not work.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Of SPIRE.
    #[error(transparent)]
    Spire(#[from] FederationError),
    /// Of Istio.
    #[error(transparent)]
    Istio(#[from] InstallError),
}

/// Makes every repair once: first those of SPIRE. Returns what did not work, by cluster.
pub async fn repair(
    mesh: &Mesh,
    members: &[Member],
    repairs: &[Repair],
    deadline: Deadline<'_>,
    watch: &(impl Watch<Step> + Watch<federation::Step>),
) -> Vec<(String, RepairError)> {
    let of_spire: Vec<federation::Repair> = repairs
        .iter()
        .filter_map(|repair| match repair {
            Repair::Spire(repair) => Some(repair.clone()),
            Repair::RestartIstiod { .. } => None,
        })
        .collect();
    let of_spire = federation::merged(&of_spire);
    let mut failed: Vec<(String, RepairError)> = federation::repair(members, &of_spire, deadline, watch)
        .await
        .into_iter()
        .map(|(cluster, error)| (cluster, error.into()))
        .collect();
    let restarted = members.iter().filter(|member| {
        repairs
            .iter()
            .any(|repair| matches!(repair, Repair::RestartIstiod { cluster } if cluster == member.name()))
    });
    let done = join_all(restarted.map(|member| async {
        (member.name().to_owned(), restart_istiod(member, &mesh.clusters, deadline, watch).await)
    }));
    failed
        .extend(done.await.into_iter().filter_map(|(cluster, result)| Some((cluster, result.err()?.into()))));
    failed
}
