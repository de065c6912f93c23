use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::name::{Workload, WorkloadKind};
use crate::envoy::CONTAINER;
use crate::fleet::{Connection, RequestError, list_pages};
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
    let mut found = list_pages(&pods, &parameters, |pod| WorkloadPod::of(&pod)).await?;
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

    use super::super::served;
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
        assert_eq!(owned_by("DaemonSet", "agent"), "daemonset/agent");
        assert_eq!(owned_by("Job", "once"), "job/once");
        assert_eq!(owned_by("Rollout", "canary"), "pod/p-0");
    }

    #[test]
    fn a_pod_is_of_what_controls_it_among_all_that_own_it() {
        let owner = |kind: &str, controller: Value| {
            let name = kind.to_lowercase();
            json!({"apiVersion": "x/v1", "kind": kind, "name": name, "uid": "1", "controller": controller})
        };
        let workload_of = |owners: &[Value]| {
            let pod = pod(&json!({"metadata": {"name": "p-0", "ownerReferences": owners}}));
            WorkloadPod::of(&pod).expect("it is not at its end").workload.to_string()
        };
        let others = [owner("Job", json!(false)), owner("DaemonSet", Value::Null)];
        assert_eq!(workload_of(&others), "pod/p-0");
        let [job, daemon_set] = others;
        assert_eq!(
            workload_of(&[job, daemon_set, owner("StatefulSet", json!(true))]),
            "statefulset/statefulset"
        );
        assert_eq!(workload_of(&[]), "pod/p-0");
        // Without the hash as a label nobody knows where a deployment's name ends.
        assert_eq!(workload_of(&[owner("ReplicaSet", json!(true))]), "replicaset/replicaset");
    }

    #[test]
    fn a_gateway_is_known_by_its_labels() {
        let is_gateway = |labels: Value| {
            let pod = pod(&json!({"metadata": {"name": "p", "labels": labels}}));
            WorkloadPod::of(&pod).expect("it is not at its end").is_gateway
        };
        assert!(is_gateway(json!({"istio": "eastwestgateway"})));
        assert!(is_gateway(json!({"istio": "ingressgateway", "app": "a"})));
        assert!(is_gateway(json!({"gateway.istio.io/managed": "istio.io-gateway-controller"})));
        assert!(!is_gateway(json!({"istio": "pilot"})));
        assert!(!is_gateway(json!({"istio": "gateway-controller", "app": "gateway"})));
        assert!(!is_gateway(json!({})));
    }

    #[test]
    fn a_proxy_runs_when_its_own_container_does() {
        let container = |name: &str| json!({"name": name, "image": "i"});
        let status = |name: &str, state: Value| json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        let state = |containers: &[&str], statuses: &[Value]| {
            let containers: Vec<Value> = containers.iter().map(|name| container(name)).collect();
            let value = json!({"metadata": {"name": "p"}, "spec": {"containers": containers}, "status": {"containerStatuses": statuses}});
            WorkloadPod::of(&pod(&value)).expect("it is not at its end").proxy
        };
        let running = |name| status(name, json!({"running": {}}));
        let waiting = |name| status(name, json!({"waiting": {"reason": "CrashLoopBackOff"}}));
        let both = ["app", "istio-proxy"];
        assert_eq!(state(&both, &[running("app"), running("istio-proxy")]), ProxyState::Runs);
        assert_eq!(state(&both, &[waiting("app"), running("istio-proxy")]), ProxyState::Runs);
        assert_eq!(state(&both, &[running("app"), waiting("istio-proxy")]), ProxyState::NotRunning);
        assert_eq!(state(&both, &[running("app")]), ProxyState::NotRunning);
        assert_eq!(state(&["app"], &[running("app")]), ProxyState::Absent);
        assert_eq!(state(&["app"], &[running("istio-proxy")]), ProxyState::Absent);
    }

    #[test]
    fn a_pod_is_expected_to_have_the_identity_of_its_service_account() {
        let account = |spec: Value| {
            let pod = pod(&json!({"metadata": {"name": "p", "namespace": "sample"}, "spec": spec}));
            let pod = WorkloadPod::of(&pod).expect("it is not at its end");
            let id = pod.expected_id(&"foo.com".parse().expect("a trust domain")).expect("an ID");
            (pod.service_account, id.to_string())
        };
        let (account_name, id) = account(json!({"containers": [], "serviceAccountName": "sleep"}));
        assert_eq!((account_name.as_str(), id.as_str()), ("sleep", "spiffe://foo.com/ns/sample/sa/sleep"));
        assert_eq!(account(json!({"containers": []})).1, "spiffe://foo.com/ns/sample/sa/default");
    }

    #[tokio::test]
    async fn pods_are_listed_in_order_and_without_those_at_their_end() {
        let listed = |namespace: &str, name: &str, phase: &str| json!({"metadata": {"name": name, "namespace": namespace}, "status": {"phase": phase}});
        let all = [
            listed("b", "a", "Running"),
            listed("a", "c", "Pending"),
            listed("a", "done", "Succeeded"),
            listed("a", "b", "Running"),
            listed("c", "gone", "Failed"),
        ];
        let service = |selector: Value| json!({"metadata": {"name": "s"}, "spec": {"selector": selector}});
        let connection = served::connection(&[
            ("/api/v1/pods", served::list(&all)),
            (
                "/api/v1/namespaces/a/pods?labelSelector=app%3Dsleep%2Cversion%3Dv1&limit=500",
                served::list(&all[3..4]),
            ),
            ("/api/v1/namespaces/a/pods", served::list(&all[1..4])),
            ("/api/v1/namespaces/a/services/sleep", service(json!({"app": "sleep", "version": "v1"}))),
            ("/api/v1/namespaces/a/services/headless", service(json!({}))),
            ("/api/v1/namespaces/a/services/outside", service(Value::Null)),
            ("/api/v1/namespaces/b/services/sleep", json!(403)),
        ]);
        let names = |pods: Result<Vec<WorkloadPod>, RequestError>| {
            let pods = pods.expect("pods").into_iter();
            pods.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect::<Vec<_>>()
        };
        let namespace = || Some("a".to_owned());
        assert_eq!(names(list(&connection, &Scope::default()).await), ["a/b", "a/c", "b/a"]);
        let scope = Scope { namespace: namespace(), selector: None };
        assert_eq!(names(list(&connection, &scope).await), ["a/b", "a/c"]);
        let scope = Scope { namespace: namespace(), selector: Some("app=sleep,version=v1".to_owned()) };
        assert_eq!(names(list(&connection, &scope).await), ["a/b"]);
        assert_eq!(names(behind(&connection, "a", "sleep").await), ["a/b"]);
        for none in ["headless", "outside", "unknown"] {
            assert_eq!(names(behind(&connection, "a", none).await), [""; 0], "{none}");
        }
        assert!(behind(&connection, "b", "sleep").await.is_err());
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
        let of = |phase: &str, deleted: Value| {
            WorkloadPod::of(&pod(&json!({
                "metadata": {"name": "p", "deletionTimestamp": deleted},
                "status": {"phase": phase},
            })))
        };
        assert_eq!(of("Succeeded", Value::Null), None);
        assert_eq!(of("Failed", Value::Null), None);
        assert_eq!(of("Running", json!("2026-11-25T18:00:00Z")), None);
        assert!(of("Running", Value::Null).is_some() && of("Pending", Value::Null).is_some());
    }
}
