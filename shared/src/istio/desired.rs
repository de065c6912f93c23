//! The objects that make up Istio in one cluster: those of `istioctl`, and the few that its charts do not have.

use k8s_openapi::api::core::v1::Namespace;
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
    let generated = generated.into_iter().filter(|object| !object.key().name.starts_with(READER));
    let more = embedded(REMOTE_READER).into_iter().chain(embedded(MUTUAL_TLS));
    own.chain(generated.map(without_what_istiod_writes)).chain(more).collect()
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
