//! Making repairs that a check has found.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::{InstallError, Repair, Step};
use crate::federation::{self, FederationError};
use crate::fleet::{Member, RequestError};
use crate::istio::istiod::served_proxies;
use crate::istio::{ISTIOD, NAMESPACE};
use crate::manifest::wait::until;
use crate::manifest::{Deadline, Poll, Tool, workload_ready};
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
        watch.step(member.name(), &Step::RestartingIstiod);
        (member.name().to_owned(), restart_istiod(member, deadline).await)
    }));
    failed
        .extend(done.await.into_iter().filter_map(|(cluster, result)| Some((cluster, result.err()?.into()))));
    failed
}

/// How long proxies may take to have their configuration from a new istiod. What they lack then is for checks to find.
const SERVED_WITHIN: Duration = Duration::from_secs(30);

/// Starts istiod's pods again, as `kubectl rollout restart` does, and waits until they are ready and serve as many proxies as before.
pub(super) async fn restart_istiod(member: &Member, deadline: Deadline<'_>) -> Result<(), InstallError> {
    let before = served_proxies(member).await.unwrap_or_default().len();
    let deployments: Api<Deployment> = Api::namespaced(member.client().clone(), NAMESPACE);
    let at = Timestamp::now().to_string();
    let again = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": at}}}}});
    let parameters = PatchParams {
        field_manager: Some(format!("{}-restart", Tool::MeshInstall.name())),
        ..PatchParams::default()
    };
    deployments.patch(ISTIOD, &parameters, &Patch::Strategic(again)).await.map_err(|error| {
        InstallError::Request {
            what: format!("Deployment {NAMESPACE}/{ISTIOD}"),
            source: RequestError::from(error),
        }
    })?;
    workload_ready::<Deployment>(member.client(), NAMESPACE, ISTIOD, deadline).await?;
    let served =
        until(deadline.at_most(SERVED_WITHIN), "proxies to have their configuration from it", || async {
            match served_proxies(member).await {
                Ok(now) if now.len() >= before => Poll::Ready(()),
                Ok(now) => Poll::Pending(format!("{} of {before} have", now.len())),
                Err(error) => Poll::Pending(error.to_string()),
            }
        });
    drop(served.await);
    Ok(())
}
