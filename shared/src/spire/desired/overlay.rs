use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, Namespace, PodSpec, PodTemplateSpec, Service, ServiceSpec,
};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, Subject};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::config;
use crate::manifest::{Kind, Object};
use crate::mesh::{Amounts, Cluster, Exposure, ManagedSpire, NodePods, Pods, Resources, UpstreamAuthority};

/// Namespace of the server in the plain manifests.
const SERVER_NAMESPACE: &str = "spire-server";
/// Namespace of the agents in the plain manifests.
const AGENT_NAMESPACE: &str = "spire-system";
/// The server's container, beside that of the controller-manager.
const SERVER_CONTAINER: &str = "spire-server";
/// The agent's container.
const AGENT_CONTAINER: &str = "spire-agent";
const DIGEST_ANNOTATION: &str = "spire-mesh.dev/config-sha256";

/// The values of one cluster, to be laid over the plain manifests.
pub(super) struct Overlay<'a> {
    spire: &'a ManagedSpire,
    server_conf: String,
    agent_conf: String,
    manager_conf: String,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(cluster: &Cluster, spire: &'a ManagedSpire) -> Self {
        Self {
            spire,
            server_conf: config::server(cluster, spire),
            agent_conf: config::agent(cluster, spire),
            manager_conf: config::controller_manager(cluster, spire),
        }
    }

    /// Returns the object with this cluster's values. `None` for the server's namespace where both namespaces are the same:
    /// the agents need the weaker rules.
    pub(super) fn apply(&self, object: &Object) -> Option<Object> {
        let object = match object.key().kind {
            Kind::Namespace => return self.namespace(typed(object)),
            Kind::ConfigMap => into_object(&self.config_map(typed(object))),
            Kind::Service => into_object(&self.service(typed(object))),
            Kind::StatefulSet => into_object(&self.stateful_set(typed(object))),
            Kind::DaemonSet => into_object(&self.daemon_set(typed(object))),
            Kind::RoleBinding => {
                let mut binding: RoleBinding = typed(object);
                self.subjects(binding.subjects.as_mut());
                into_object(&binding)
            }
            Kind::ClusterRoleBinding => {
                let mut binding: ClusterRoleBinding = typed(object);
                self.subjects(binding.subjects.as_mut());
                into_object(&binding)
            }
            Kind::ValidatingWebhookConfiguration => into_object(&self.webhooks(typed(object))),
            _ => object.clone(),
        };
        Some(self.in_namespace(&object))
    }

    fn rename(&self, namespace: &str) -> String {
        match namespace {
            SERVER_NAMESPACE => &self.spire.server_namespace,
            AGENT_NAMESPACE => &self.spire.agent_namespace,
            other => other,
        }
        .to_owned()
    }

    fn in_namespace(&self, object: &Object) -> Object {
        let mut value = object.to_value();
        if let Some(Value::String(namespace)) = value.pointer_mut("/metadata/namespace") {
            *namespace = match &self.spire.upstream_authority {
                UpstreamAuthority::CertManager(issuer)
                    if object.key().name == super::UPSTREAM_ACCESS_NAME =>
                {
                    issuer.namespace.clone()
                }
                _ => self.rename(namespace),
            };
        }
        Object::from_value(value).expect("another namespace does not make an object invalid")
    }

    fn namespace(&self, mut namespace: Namespace) -> Option<Object> {
        let is_server = namespace.name_any() == SERVER_NAMESPACE;
        if is_server && self.spire.server_namespace == self.spire.agent_namespace {
            return None;
        }
        namespace.metadata.name = Some(self.rename(&namespace.name_any()));
        Some(into_object(&namespace))
    }

    fn config_map(&self, mut map: ConfigMap) -> ConfigMap {
        let files = [
            ("server.conf", &self.server_conf),
            ("config.yaml", &self.manager_conf),
            ("agent.conf", &self.agent_conf),
        ];
        for (key, content) in files {
            if let Some(text) = map.data.as_mut().and_then(|data| data.get_mut(key)) {
                text.clone_from(content);
            }
        }
        map
    }

    fn service(&self, mut service: Service) -> Service {
        if service.name_any() != super::BUNDLE_SERVICE_NAME {
            return service;
        }
        let spec = service.spec.get_or_insert_with(ServiceSpec::default);
        match &self.spire.bundle_endpoint.exposure {
            Exposure::LoadBalancer { class, annotations } => {
                spec.type_ = Some("LoadBalancer".to_owned());
                spec.load_balancer_class.clone_from(class);
                if !annotations.is_empty() {
                    service.metadata.annotations = Some(annotations.clone());
                }
            }
            Exposure::NodePort { port } => {
                spec.type_ = Some("NodePort".to_owned());
                for service_port in spec.ports.iter_mut().flatten() {
                    service_port.node_port = port.map(i32::from);
                }
            }
            Exposure::Url(_) => spec.type_ = Some("ClusterIP".to_owned()),
        }
        service
    }

    fn stateful_set(&self, mut set: StatefulSet) -> StatefulSet {
        let Some(spec) = set.spec.as_mut() else { return set };
        self.images(&mut spec.template);
        stamp(&mut spec.template, &[&self.server_conf, &self.manager_conf]);
        let Pods { placement, resources, annotations } = &self.spire.server;
        annotate(&mut spec.template, annotations);
        take(&mut spec.template, SERVER_CONTAINER, resources);
        if let Some(pod) = spec.template.spec.as_mut() {
            select(pod, &placement.node_selector);
            pod.tolerations.clone_from(&placement.tolerations);
            pod.affinity.clone_from(&placement.affinity);
            if let Some(class) = &placement.priority_class {
                pod.priority_class_name = Some(class.clone());
            }
        }
        for claim in spec.volume_claim_templates.iter_mut().flatten() {
            let Some(claim) = claim.spec.as_mut() else { continue };
            claim.storage_class_name.clone_from(&self.spire.storage.class);
            if let Some(requests) = claim.resources.as_mut().and_then(|resources| resources.requests.as_mut())
            {
                requests.insert("storage".to_owned(), Quantity(self.spire.storage.size.clone()));
            }
        }
        set
    }

    fn daemon_set(&self, mut set: DaemonSet) -> DaemonSet {
        let is_agent = set.name_any() == super::AGENT_NAME;
        let Some(spec) = set.spec.as_mut() else { return set };
        self.images(&mut spec.template);
        if is_agent {
            stamp(&mut spec.template, &[&self.agent_conf]);
        }
        let NodePods { node_selector, tolerations, resources, annotations } = &self.spire.agent;
        annotate(&mut spec.template, annotations);
        take(&mut spec.template, AGENT_CONTAINER, resources);
        if let Some(pod) = spec.template.spec.as_mut() {
            select(pod, node_selector);
            if tolerations.is_some() {
                pod.tolerations.clone_from(tolerations);
            }
        }
        set
    }

    fn images(&self, template: &mut PodTemplateSpec) {
        for container in containers(template) {
            let images = &self.spire.images;
            let image = match container.name.as_str() {
                SERVER_CONTAINER => &images.server,
                "spire-controller-manager" => &images.controller_manager,
                AGENT_CONTAINER => &images.agent,
                "spiffe-csi-driver" => &images.csi_driver,
                "node-driver-registrar" => &images.node_driver_registrar,
                _ => continue,
            };
            container.image = Some(image.clone());
        }
    }

    fn subjects(&self, subjects: Option<&mut Vec<Subject>>) {
        for namespace in subjects.into_iter().flatten().filter_map(|subject| subject.namespace.as_mut()) {
            *namespace = self.rename(namespace);
        }
    }

    fn webhooks(&self, mut configuration: ValidatingWebhookConfiguration) -> ValidatingWebhookConfiguration {
        for webhook in configuration.webhooks.iter_mut().flatten() {
            if let Some(service) = webhook.client_config.service.as_mut() {
                service.namespace = self.rename(&service.namespace);
            }
        }
        configuration
    }
}

fn containers(template: &mut PodTemplateSpec) -> impl Iterator<Item = &mut Container> {
    template.spec.iter_mut().flat_map(|spec| &mut spec.containers)
}

/// Makes the pods of a template roll when one of the files changes.
fn stamp(template: &mut PodTemplateSpec, files: &[&str]) {
    template
        .metadata
        .get_or_insert_default()
        .annotations
        .get_or_insert_default()
        .insert(DIGEST_ANNOTATION.to_owned(), config::digest(files));
}

/// Adds annotations to the pods of a template.
fn annotate(template: &mut PodTemplateSpec, annotations: &BTreeMap<String, String>) {
    if !annotations.is_empty() {
        let all = template.metadata.get_or_insert_default().annotations.get_or_insert_default();
        all.extend(annotations.clone());
    }
}

/// Sets what a container takes.
fn take(template: &mut PodTemplateSpec, container: &str, resources: &Resources) {
    let amounts = |amounts: &Amounts| {
        Some(amounts.given().map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).collect())
    };
    if let Some(container) = containers(template).find(|found| found.name == container) {
        let all = container.resources.get_or_insert_default();
        all.requests = amounts(&resources.requests);
        all.limits = amounts(&resources.limits);
    }
}

/// Adds labels that a node has to have.
fn select(pod: &mut PodSpec, labels: &BTreeMap<String, String>) {
    pod.node_selector.get_or_insert_default().extend(labels.clone());
}

/// Reads an embedded object as its type.
pub(super) fn typed<T: DeserializeOwned>(object: &Object) -> T {
    object.to_typed().expect("the embedded manifests have the form of their types")
}

/// Turns a typed object into one that can be applied.
pub(super) fn into_object(object: &impl Serialize) -> Object {
    Object::of(object).expect("objects made here have a kind, a name and a namespace")
}
