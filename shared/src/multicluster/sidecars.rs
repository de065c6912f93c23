//! Reading what gives pods their sidecar, and who asks for one and has none.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join, try_join_all};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, PostParams};

use super::examined::{AskingNamespace, SeenBarePod, SeenInjector, SeenSidecars, StuckWorkload};
use super::proxies::Pods;
use crate::fleet::{Cause, Connection, Member, Need, Read, RequestError, Unread, list_pages};
use crate::istio::NAMESPACE;
use crate::istio::injector::{Asks, Labels, REVISION_LABEL, Target, Webhook};
use crate::manifest::{Kind, UncalledWebhook};
use crate::report::{cut, one_line};
use crate::workload::{self, Workload, WorkloadKind};

/// Name of the object that is sent as a dry run, and never made.
const PROBE: &str = "spire-mesh-probe";

/// The longest text of an API server that is repeated, in characters.
const LONGEST: usize = 400;

/// Reads istiod's webhooks, and whether somebody is behind the Services that they lead to.
pub(super) async fn injector(member: &Member) -> Read<SeenInjector> {
    let need = Need::new("list", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", None);
    let api: Api<MutatingWebhookConfiguration> = Api::all(member.client().clone());
    let of_istiod = |configuration| Some(Webhook::of(&configuration));
    let listed = list_pages(&api, &ListParams::default(), of_istiod).await;
    let listed = listed.map_err(|error| Unread::request(&need, &RequestError::from(error)))?;
    let webhooks: Vec<Webhook> = listed.into_iter().flatten().collect();
    let targets: BTreeSet<&Target> = webhooks.iter().map(|webhook| &webhook.target).collect();
    let ready = try_join_all(targets.into_iter().filter_map(|target| {
        let Target::Service { namespace, name } = target else { return None };
        Some(async { Ok::<_, Unread>((target.clone(), ready_behind(member, namespace, name).await?)) })
    }));
    let (ready, asked) = join(ready, asked(member)).await;
    Ok(SeenInjector { ready: ready?.into_iter().collect(), webhooks, asked })
}

/// Sends a rule as a dry run: the API server asks istiod about it on the way that it asks about new pods, and nothing is made. istiod's own
/// configuration is for objects with the label of its revision.
async fn asked(member: &Member) -> Read<Result<(), UncalledWebhook>> {
    let kind = Kind::PeerAuthentication;
    let need = Need::new("create", kind.group(), kind.plural(), Some(NAMESPACE));
    let mut probe = DynamicObject::new(PROBE, &kind.api_resource());
    probe.labels_mut().insert(REVISION_LABEL.to_owned(), "default".to_owned());
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    // Not server-side apply, which is sent again where a server fails: a webhook that gives no answer takes ten seconds each time.
    let sent = kind.api(member.client(), Some(NAMESPACE)).create(&dry, &probe).await;
    match sent.map_err(RequestError::from) {
        Err(error) if error.cause() == Cause::Forbidden => Err(Unread::request(&need, &error)),
        Err(error) => Ok(UncalledWebhook::of(&error.to_string()).map_or(Ok(()), Err)),
        Ok(_) => Ok(Ok(())),
    }
}

async fn ready_behind(connection: &Connection, namespace: &str, service: &str) -> Read<usize> {
    let need = Need::new("list", "", "pods", Some(namespace));
    let behind = workload::behind(connection, namespace, service).await;
    let behind = behind.map_err(|error| Unread::request(&need, &error))?;
    Ok(behind.iter().filter(|pod| pod.trouble.is_none()).count())
}

/// Lists the namespaces with their labels.
pub(super) async fn namespaces(connection: &Connection) -> Read<BTreeMap<String, Labels>> {
    let need = Need::new("list", "", "namespaces", None);
    let api: Api<Namespace> = Api::all(connection.client().clone());
    let labelled = |namespace: Namespace| Some((namespace.name_any(), namespace.labels().clone()));
    let listed = list_pages(&api, &ListParams::default(), labelled).await;
    let listed = listed.map_err(|error| Unread::request(&need, &RequestError::from(error)))?;
    Ok(listed.into_iter().collect())
}

/// Finds out who asks for a sidecar, and has none.
pub(super) fn sidecars(namespaces: &BTreeMap<String, Labels>, pods: Pods) -> SeenSidecars {
    let mut asking: BTreeMap<String, AskingNamespace> = namespaces
        .iter()
        .filter_map(|(name, labels)| {
            let asks = Asks::of_namespace(name, labels)?;
            Some((name.clone(), AskingNamespace { asks, labels: labels.clone(), with: 0 }))
        })
        .collect();
    for meshed in pods.meshed {
        if let Some(namespace) = asking.get_mut(&meshed.pod.namespace) {
            namespace.with += 1;
        }
    }
    let without = pods.bare.into_iter().filter_map(|pod| {
        let namespace_labels = namespaces.get(&pod.namespace)?;
        let asks = Asks::of_pod(&pod.namespace, namespace_labels, &pod.labels)?;
        Some(SeenBarePod {
            namespace_labels: namespace_labels.clone(),
            namespace: pod.namespace,
            workload: pod.workload,
            labels: pod.labels,
            created: pod.created,
            asks,
        })
    });
    SeenSidecars { without: without.collect(), namespaces: asking }
}

/// A `Deployment` that cannot make its pods.
#[derive(Debug)]
pub(super) struct FailingDeployment {
    namespace: String,
    name: String,
    labels: Labels,
    why: String,
}

/// Lists the `Deployment`s whose pods the API server refuses to make. That stands in their conditions as long as it lasts, in the words of
/// the event.
pub(super) async fn failing_deployments(connection: &Connection) -> Read<Vec<FailingDeployment>> {
    let need = Need::new("list", "apps", "deployments", None);
    let api: Api<Deployment> = Api::all(connection.client().clone());
    let listed = list_pages(&api, &ListParams::default(), |deployment| failing(&deployment)).await;
    listed.map_err(|error| Unread::request(&need, &RequestError::from(error)))
}

fn failing(deployment: &Deployment) -> Option<FailingDeployment> {
    let conditions = deployment.status.as_ref()?.conditions.iter().flatten();
    let mut refused =
        conditions.filter(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True");
    let refused = refused.next()?;
    let words = refused.message.as_deref().or(refused.reason.as_deref()).unwrap_or_default();
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.clone());
    Some(FailingDeployment {
        namespace: deployment.namespace().unwrap_or_default(),
        name: deployment.name_any(),
        labels: template.and_then(|template| template.labels).unwrap_or_default(),
        why: cut(one_line(words), LONGEST),
    })
}

/// Takes those whose pods ask for sidecars.
pub(super) fn stuck(
    namespaces: &BTreeMap<String, Labels>,
    deployments: Vec<FailingDeployment>,
) -> Vec<StuckWorkload> {
    let asks = |one: &FailingDeployment| {
        let labels = namespaces.get(&one.namespace)?;
        Asks::of_pod(&one.namespace, labels, &one.labels)
    };
    let asking = deployments.into_iter().filter(|one| asks(one).is_some());
    asking
        .map(|one| StuckWorkload {
            namespace: one.namespace,
            workload: Workload { kind: WorkloadKind::Deployment, name: one.name },
            why: one.why,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::proxies::pods;
    use super::*;
    use crate::fleet::fake::FakeServer;
    use crate::istio::injector::WEBHOOK_SUFFIX;

    fn pod(owner: &str, labels: &Value, spec: Value) -> Value {
        let owner = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": owner, "uid": "1", "controller": true});
        let mut spec = spec;
        spec["containers"] = json!([{"name": "app"}]);
        json!({
            "metadata": {"labels": labels, "ownerReferences": [owner], "creationTimestamp": "2026-11-25T10:00:00Z"},
            "spec": spec, "status": {"phase": "Running"},
        })
    }

    fn cluster() -> FakeServer {
        let server = FakeServer::default();
        let namespace = |name: &str, labels: Value| {
            server.put(&format!("/api/v1/namespaces/{name}"), json!({"metadata": {"labels": labels}}));
        };
        namespace("shop", json!({"istio-injection": "enabled"}));
        namespace("bank", json!({"istio.io/rev": "1-30"}));
        namespace("plain", json!({}));
        server
    }

    #[tokio::test]
    async fn who_asks_for_a_sidecar_and_has_none_is_found_with_its_workload() {
        let server = cluster();
        let put = |path: &str, pod: Value| {
            let (namespace, name) = path.split_once('/').unwrap();
            server.put(&format!("/api/v1/namespaces/{namespace}/pods/{name}"), pod);
        };
        put("shop/cart-0", pod("cart", &json!({}), json!({})));
        put("shop/batch-0", pod("batch", &json!({"sidecar.istio.io/inject": "false"}), json!({})));
        put("shop/probe-0", pod("probe", &json!({}), json!({"hostNetwork": true})));
        let mut old = pod("old", &json!({}), json!({}));
        old["metadata"]["annotations"] = json!({"sidecar.istio.io/inject": "false"});
        put("shop/old-0", old);
        let mut ended = pod("ended", &json!({}), json!({}));
        ended["status"]["phase"] = json!("Succeeded");
        put("shop/ended-0", ended);
        let mut meshed = pod("meshed", &json!({}), json!({}));
        meshed["spec"]["containers"] = json!([{"name": "app"}, {"name": "istio-proxy"}]);
        put("shop/meshed-0", meshed);
        put("plain/web-0", pod("web", &json!({}), json!({})));
        put("plain/asks-0", pod("asks", &json!({"sidecar.istio.io/inject": "true"}), json!({})));
        let member = server.member("baz");
        let pods = pods(&member).await.unwrap();
        let seen = sidecars(&namespaces(&member).await.unwrap(), pods);
        let told = |pod: &SeenBarePod| format!("{} in {}: {}", pod.workload, pod.namespace, pod.asks);
        let without: Vec<String> = seen.without.iter().map(told).collect();
        assert_eq!(
            without,
            [
                "statefulset/asks in plain: sidecar.istio.io/inject=true",
                "statefulset/cart in shop: istio-injection=enabled"
            ]
        );
        let asking = |(name, namespace): (&String, &AskingNamespace)| {
            format!("{name}: {}, {}", namespace.asks, namespace.with)
        };
        let asking: Vec<String> = seen.namespaces.iter().map(asking).collect();
        assert_eq!(asking, ["bank: istio.io/rev=1-30, 0", "shop: istio-injection=enabled, 1"]);
    }

    #[tokio::test]
    async fn deployments_whose_pods_are_refused_are_told_in_the_words_of_the_api_server() {
        let server = cluster();
        let deployment = |path: &str, kind: &str, status: &str| {
            let (namespace, name) = path.split_once('/').unwrap();
            let refused = json!({
                "type": kind, "status": status, "reason": "FailedCreate",
                "message": format!("pods \"{name}-1\" is forbidden:\u{1b} exceeded quota{}", "!".repeat(500)),
            });
            server.put(
                &format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}"),
                json!({"spec": {"selector": {}, "template": {}}, "status": {"conditions": [
                    {"type": "Available", "status": "False"}, refused]}}),
            );
        };
        deployment("shop/cart", "ReplicaFailure", "True");
        deployment("shop/was", "ReplicaFailure", "False");
        deployment("shop/slow", "Progressing", "True");
        deployment("plain/web", "ReplicaFailure", "True");
        let member = server.member("baz");
        let failing = failing_deployments(&member).await.unwrap();
        let stuck = stuck(&namespaces(&member).await.unwrap(), failing);
        assert_eq!(stuck.len(), 1, "{stuck:?}");
        assert_eq!(
            (stuck[0].namespace.as_str(), stuck[0].workload.to_string().as_str()),
            ("shop", "deployment/cart")
        );
        let why = &stuck[0].why;
        assert!(why.starts_with(r#"pods "cart-1" is forbidden:\u{1b} exceeded quota!"#), "{why}");
        assert!(why.chars().count() <= LONGEST + 1, "{why}");
    }

    #[tokio::test]
    async fn webhooks_are_read_with_who_is_behind_them() {
        let server = FakeServer::default();
        let member = server.member("baz");
        assert_eq!(
            injector(&member).await.unwrap(),
            SeenInjector { webhooks: Vec::new(), ready: BTreeMap::new(), asked: Ok(Ok(())) }
        );
        let service = |name: &str| json!({"service": {"namespace": "istio-system", "name": name}});
        let webhook = |name: &str, client: Value| json!({"name": format!("{name}.{WEBHOOK_SUFFIX}"), "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": client});
        server.put(
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/injector",
            json!({"webhooks": [webhook("a", service("istiod")), webhook("b", service("gone")), webhook("c", json!({"url": "https://x"}))]}),
        );
        server.put(
            "/api/v1/namespaces/istio-system/services/istiod",
            json!({"spec": {"selector": {"app": "istiod"}}}),
        );
        let istiod = |name: &str, ready: &str| {
            server.put(
                &format!("/api/v1/namespaces/istio-system/pods/{name}"),
                json!({"metadata": {"labels": {"app": "istiod"}}, "spec": {"containers": []},
                    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}}),
            );
        };
        istiod("istiod-1", "True");
        istiod("istiod-2", "False");
        let seen = injector(&member).await.unwrap();
        let ready: Vec<(String, usize)> = seen
            .ready
            .iter()
            .map(|(target, ready)| match target {
                Target::Service { namespace, name } => (format!("{namespace}/{name}"), *ready),
                Target::Url => ("elsewhere".to_owned(), *ready),
            })
            .collect();
        assert_eq!(ready, [("istio-system/gone".to_owned(), 0), ("istio-system/istiod".to_owned(), 1)]);
        assert_eq!(seen.webhooks.len(), 3);
        server.refuse("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", 403);
        let why = injector(&member).await.unwrap_err().why;
        assert_eq!(why, "you may not list mutatingwebhookconfigurations.admissionregistration.k8s.io");
    }
}
