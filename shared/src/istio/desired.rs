//! The objects that make up Istio in one cluster: those of `istioctl`, and the few that its charts do not have.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde_json::Value;

use super::NETWORK_LABEL;
use crate::manifest::{Kind, Object, ObjectError, parse_yaml};
use crate::mesh::Cluster;

const NAMESPACE_YAML: &str = include_str!("../../../manifests/istio/namespace.yaml");
const MUTUAL_TLS: &str = include_str!("../../../manifests/istio/mutual-tls.yaml");
const REMOTE_READER: &str = include_str!("../../../manifests/istio/remote-reader.yaml");

/// Objects of Istio's charts that are left out: `remote-reader.yaml` has narrower ones.
const READER: &str = "istio-reader-";

/// Returns the objects of a cluster. `generated` are those of `istioctl`.
#[must_use]
pub fn objects(cluster: &Cluster, generated: Vec<Object>) -> Vec<Object> {
    let own = embedded(NAMESPACE_YAML).into_iter().map(|object| match object.to_typed::<Namespace>() {
        Some(namespace) => in_network(namespace, &cluster.network),
        None => object,
    });
    let budgets = budgets(&generated);
    let generated = generated.into_iter().filter(|object| !object.key().name.starts_with(READER));
    let more = embedded(REMOTE_READER).into_iter().chain(embedded(MUTUAL_TLS)).chain(budgets);
    own.chain(generated.map(without_what_istiod_writes)).chain(more).collect()
}

/// Returns a budget for every `Deployment` of several pods that has none: a drain of nodes takes one pod at a time. For a single pod there is
/// none, which would keep its node from being drained.
fn budgets(generated: &[Object]) -> Vec<Object> {
    let of_kind = |kind: Kind| generated.iter().filter(move |object| object.key().kind == kind);
    let has_one = |name: &str| of_kind(Kind::PodDisruptionBudget).any(|budget| budget.key().name == name);
    let scaled = |name: &str| {
        let mut scalers = of_kind(Kind::HorizontalPodAutoscaler);
        let scaler = scalers.find(|scaler| scaler.key().name == name)?;
        scaler.to_value()["spec"]["minReplicas"].as_i64()
    };
    let budget = |deployment: Deployment| {
        let (name, spec) = (deployment.name_any(), deployment.spec?);
        let fewest = scaled(&name).or(spec.replicas.map(i64::from)).unwrap_or(1);
        let budget = PodDisruptionBudget {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: deployment.metadata.namespace,
                ..ObjectMeta::default()
            },
            spec: Some(PodDisruptionBudgetSpec {
                max_unavailable: Some(IntOrString::Int(1)),
                selector: Some(spec.selector),
                // One that is not ready serves nobody: it may always go.
                unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
                ..PodDisruptionBudgetSpec::default()
            }),
            status: None,
        };
        (fewest > 1 && !has_one(&name)).then(|| made(Object::of(&budget)))
    };
    of_kind(Kind::Deployment).filter_map(Object::to_typed::<Deployment>).filter_map(budget).collect()
}

fn in_network(mut namespace: Namespace, network: &str) -> Object {
    let labels = namespace.metadata.labels.get_or_insert_default();
    labels.insert(NETWORK_LABEL.to_owned(), network.to_owned());
    made(Object::of(&namespace))
}

/// Leaves out a field that istiod changes when it is ready (`webhooks/validation/controller` in Istio's `pkg`): the two would take
/// turns. Without it the API server refuses what istiod has not checked from the first moment on, and not only later.
fn without_what_istiod_writes(object: Object) -> Object {
    if object.key().kind != Kind::ValidatingWebhookConfiguration {
        return object;
    }
    let mut value = object.to_value();
    for webhook in value["webhooks"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        webhook.shift_remove("failurePolicy");
    }
    made(Object::from_value(value))
}

fn embedded(yaml: &str) -> Vec<Object> {
    parse_yaml(yaml).expect("the embedded manifests are objects")
}

fn made(object: Result<Object, ObjectError>) -> Object {
    object.expect("a field more or less does not make an object invalid")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::to_yaml;

    const GENERATED: &str = "\
apiVersion: v1
kind: ServiceAccount
metadata: {name: istio-reader-service-account, namespace: istio-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: istio-reader-clusterrole-istio-system}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: istio-validator-istio-system}
webhooks: [{name: rev.validation.istio.io, failurePolicy: Ignore, sideEffects: None}]
";

    #[test]
    fn the_objects_of_istioctl_are_taken_and_completed() {
        let generated = parse_yaml(GENERATED).unwrap();
        let cluster = Cluster { network: "vpc-1".to_owned(), ..Cluster::example("foo", "foo.com") };
        insta::assert_snapshot!(to_yaml(&objects(&cluster, generated)));
    }

    #[test]
    fn several_pods_have_a_budget_of_one_and_a_single_pod_has_none() {
        let deployment = |name: &str, replicas: &str| {
            format!(
                "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: istio-system}}\n\
                 spec: {{{replicas}selector: {{matchLabels: {{app: {name}}}}}, template: {{}}}}\n"
            )
        };
        let more = "\
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: scaled, namespace: istio-system}
spec: {minReplicas: 2, maxReplicas: 5, scaleTargetRef: {kind: Deployment, name: scaled}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: scaled-from-one, namespace: istio-system}
spec: {minReplicas: 1, maxReplicas: 5, scaleTargetRef: {kind: Deployment, name: scaled-from-one}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: has-one, namespace: istio-system}
spec: {minAvailable: 1}
";
        let all = [
            deployment("two", "replicas: 2, "),
            deployment("one", "replicas: 1, "),
            deployment("default", ""),
            deployment("scaled", ""),
            deployment("scaled-from-one", "replicas: 2, "),
            deployment("has-one", "replicas: 2, "),
            more.to_owned(),
        ];
        insta::assert_snapshot!(to_yaml(&budgets(&parse_yaml(&all.concat()).unwrap())));
    }

    #[test]
    fn readers_of_other_clusters_get_no_more_than_istiod_reads() {
        let reader = embedded(REMOTE_READER);
        let rules: Vec<Value> = reader
            .iter()
            .filter(|object| matches!(object.key().kind, Kind::ClusterRole | Kind::Role))
            .flat_map(|role| role.to_value()["rules"].as_array().unwrap().clone())
            .collect();
        assert!(rules.len() > 5, "{rules:?}");
        for rule in rules {
            assert_eq!(rule["verbs"], serde_json::json!(["get", "list", "watch"]));
            assert!(!rule["resources"].to_string().contains('*'));
        }
    }
}
