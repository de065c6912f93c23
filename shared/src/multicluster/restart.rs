//! Starting istiod again.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::identities::expected_wrongly;
use super::{InstallError, Step};
use crate::fleet::{Member, RequestError};
use crate::istio::istiod::served_proxies;
use crate::istio::{ISTIOD, NAMESPACE};
use crate::manifest::wait::until;
use crate::manifest::{Deadline, Poll, Tool, workload_ready};
use crate::mesh::Cluster;
use crate::watch::Watch;

/// How often istiod is started until it has read the other clusters' trust domains in time.
const MOST_RESTARTS: usize = 3;
/// How long proxies may take to have their configuration from a new istiod. What they lack then is for checks to find.
const SERVED_WITHIN: Duration = Duration::from_secs(30);

/// Starts a cluster's istiod again, and once more where the new one assigns workloads of the clusters to the wrong trust domain.
/// Where that lasts, or cannot be asked, it is for checks to say what is wrong.
pub(super) async fn restart_istiod(
    member: &Member,
    clusters: &[Cluster],
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> Result<(), InstallError> {
    for _ in 0..MOST_RESTARTS {
        watch.step(member.name(), &Step::RestartingIstiod);
        restart(member, deadline).await?;
        if !matches!(expected_wrongly(member, clusters).await, Ok(Some(_))) {
            break;
        }
    }
    Ok(())
}

/// Starts istiod's pods again, as `kubectl rollout restart` does, and waits until they are ready and serve as many proxies as before.
async fn restart(member: &Member, deadline: Deadline<'_>) -> Result<(), InstallError> {
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
