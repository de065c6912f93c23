use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::name::{Workload, WorkloadKind};
use crate::envoy::CONTAINER;
use crate::fleet::{Connection, RequestError};
use crate::manifest::pod_trouble;
use crate::trust::{SpiffeId, TrustDomain};

/// Which pods are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Of one namespace only.
    pub namespace: Option<String>,
    /// A label selector, as kubectl's `-l` takes it.
    pub selector: Option<String>,
}

/// Whether a pod has a proxy, and whether that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyState {
    /// It runs, ready or not: without an identity it never gets ready, and that is what is asked about.
    Runs,
    /// It is there and does not run yet.
    NotRunning,
    /// The pod has none: no sidecar, and no gateway.
    Absent,
}

/// A pod that is not at its end, as far as identities and traffic are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What owns it.
    pub workload: Workload,
    /// Its service account.
    pub service_account: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its proxy.
    pub proxy: ProxyState,
    /// Whether its proxy is a gateway's.
    pub is_gateway: bool,
    /// Why it is not ready; `None` where it is.
    pub trouble: Option<String>,
}

impl WorkloadPod {
    /// Reads a pod; `None` for one that has ended, or is about to.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let spec = pod.spec.as_ref();
        let account = spec.and_then(|spec| spec.service_account_name.clone());
        Some(Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            workload: owner(pod),
            service_account: account.unwrap_or_else(|| "default".to_owned()),
            labels: pod.labels().clone(),
            proxy: proxy_state(pod),
            is_gateway: is_gateway(pod),
            trouble: pod_trouble(pod),
        })
    }

    /// Returns the SPIFFE ID that a workload of this pod's service account has in Istio.
    #[must_use]
    pub fn expected_id(&self, trust_domain: &TrustDomain) -> Option<SpiffeId> {
        // A service account's name is always a valid part of a path: RFC 1123 is narrower than SPIFFE.
        format!("spiffe://{trust_domain}/ns/{}/sa/{}", self.namespace, self.service_account).parse().ok()
    }
}

/// Lists pods that are not at their end, sorted by namespace and name.
///
/// # Errors
/// [`RequestError`] when they cannot be listed.
pub async fn list(connection: &Connection, scope: &Scope) -> Result<Vec<WorkloadPod>, RequestError> {
    let client = connection.client().clone();
    let pods: Api<Pod> = match &scope.namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let mut parameters = ListParams::default();
    if let Some(selector) = &scope.selector {
        parameters = parameters.labels(selector);
    }
    let listed = pods.list(&parameters).await?;
    let mut found: Vec<WorkloadPod> = listed.items.iter().filter_map(WorkloadPod::of).collect();
    found.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(found)
}

/// Lists the pods behind a service: those that its selector selects. None where there is no such service, or it selects none.
///
/// # Errors
/// [`RequestError`] when service or pods cannot be read.
pub async fn behind(
    connection: &Connection,
    namespace: &str,
    service: &str,
) -> Result<Vec<WorkloadPod>, RequestError> {
    let services: Api<Service> = Api::namespaced(connection.client().clone(), namespace);
    let selector = services.get_opt(service).await?.and_then(|service| service.spec?.selector);
    let Some(selector) = selector.filter(|selector| !selector.is_empty()) else { return Ok(Vec::new()) };
    let labels: Vec<String> = selector.iter().map(|(name, value)| format!("{name}={value}")).collect();
    list(connection, &Scope { namespace: Some(namespace.to_owned()), selector: Some(labels.join(",")) }).await
}

/// Names what owns a pod. A deployment is known by its replica set's name, which ends in the hash that the pod has as a label.
fn owner(pod: &Pod) -> Workload {
    let controller =
        pod.owner_references().iter().find(|owner| owner.controller == Some(true)).map(|owner| {
            let name = owner.name.clone();
            let kind = match owner.kind.as_str() {
                "ReplicaSet" => {
                    let hash = pod.labels().get("pod-template-hash");
                    let suffix = hash.map(|hash| format!("-{hash}"));
                    if let Some(deployment) = suffix.and_then(|suffix| name.strip_suffix(&suffix)) {
                        return Workload { kind: WorkloadKind::Deployment, name: deployment.to_owned() };
                    }
                    WorkloadKind::ReplicaSet
                }
                "StatefulSet" => WorkloadKind::StatefulSet,
                "DaemonSet" => WorkloadKind::DaemonSet,
                "Job" => WorkloadKind::Job,
                // Of a kind that only an operator knows: the pod stands for itself.
                _ => return Workload { kind: WorkloadKind::Pod, name: pod.name_any() },
            };
            Workload { kind, name }
        });
    controller.unwrap_or_else(|| Workload { kind: WorkloadKind::Pod, name: pod.name_any() })
}

fn is_gateway(pod: &Pod) -> bool {
    let labels = pod.labels();
    labels.contains_key("gateway.istio.io/managed")
        || labels.get("istio").is_some_and(|value| value.ends_with("gateway"))
}

fn proxy_state(pod: &Pod) -> ProxyState {
    let spec = pod.spec.as_ref();
    let mut containers =
        spec.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    if !containers.any(|container| container.name == CONTAINER) {
        return ProxyState::Absent;
    }
    let status = pod.status.as_ref();
    let mut statuses = status.into_iter().flat_map(|status| {
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
    });
    let runs = statuses.any(|status| {
        status.name == CONTAINER && status.state.as_ref().is_some_and(|state| state.running.is_some())
    });
    if runs { ProxyState::Runs } else { ProxyState::NotRunning }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn pod(value: &Value) -> Pod {
        serde_json::from_value(value.clone()).expect("a pod")
    }

    fn owned_by(kind: &str, name: &str) -> String {
        let owner = json!({"apiVersion": "x/v1", "kind": kind, "name": name, "uid": "1", "controller": true});
        let labels = json!({"pod-template-hash": "7f9"});
        let pod = pod(&json!({"metadata": {"name": "p-0", "labels": labels, "ownerReferences": [owner]}}));
        WorkloadPod::of(&pod).expect("it is not at its end").workload.to_string()
    }

    #[test]
    fn a_pod_is_of_the_workload_that_its_user_knows() {
        assert_eq!(owned_by("ReplicaSet", "productpage-v1-7f9"), "deployment/productpage-v1");
        assert_eq!(owned_by("ReplicaSet", "by-hand"), "replicaset/by-hand");
        assert_eq!(owned_by("StatefulSet", "db"), "statefulset/db");
        assert_eq!(owned_by("Rollout", "canary"), "pod/p-0");
    }

    #[test]
    fn a_proxy_is_found_as_a_container_and_as_a_native_sidecar() {
        let state = |specified: &str, seen: &str| {
            let container = json!([{"name": "istio-proxy", "image": "i"}]);
            let status = json!([{"name": "istio-proxy", "image": "i", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"running": {}}}]);
            let mut spec = json!({"containers": []});
            spec[specified] = container;
            let mut value = json!({"metadata": {"name": "p"}, "spec": spec, "status": {}});
            value["status"][seen] = status;
            WorkloadPod::of(&pod(&value)).expect("it is not at its end").proxy
        };
        assert_eq!(state("containers", "containerStatuses"), ProxyState::Runs);
        assert_eq!(state("initContainers", "initContainerStatuses"), ProxyState::Runs);
        assert_eq!(state("containers", "ephemeralContainerStatuses"), ProxyState::NotRunning);
        assert_eq!(state("ephemeralContainers", "containerStatuses"), ProxyState::Absent);
    }

    #[test]
    fn what_has_ended_is_not_looked_at() {
        let ended = pod(&json!({"metadata": {"name": "p"}, "status": {"phase": "Succeeded"}}));
        assert_eq!(WorkloadPod::of(&ended), None);
    }
}
