use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec, Service};
use kube::ResourceExt;
use semver::Version;
use serde::Deserialize;

use super::settings::Settings;
use super::{FoundControllerManager, FoundEndpoint, FoundSpire, FoundUpstream};
use crate::manifest::{MANAGED_BY_LABEL, MESH_LABEL, Tool, port_to};
use crate::spire::server::BINARY;
use crate::spire::upstream::{CERT_MANAGER_PLUGIN, IssuerRef};

const SERVER: &str = "spire-server";
const CONTROLLER_MANAGER: &str = "spire-controller-manager";
/// Port of a bundle endpoint whose configuration gives none (SPIRE, `doc/spire_server.md`).
const DEFAULT_BUNDLE_PORT: u16 = 443;

/// Something that runs a SPIRE server.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) namespace: String,
    kind: &'static str,
    name: String,
    labels: BTreeMap<String, String>,
    selector: BTreeMap<String, String>,
    pod_labels: BTreeMap<String, String>,
    pod: PodSpec,
}

impl Workload {
    /// Takes a `StatefulSet`, if it runs a SPIRE server.
    pub(super) fn of_stateful_set(set: StatefulSet) -> Option<Self> {
        let (namespace, name, labels) = (set.namespace()?, set.name_any(), set.labels().clone());
        let spec = set.spec?;
        let pod_labels = spec.template.metadata.and_then(|metadata| metadata.labels).unwrap_or_default();
        let selector = spec.selector.match_labels.unwrap_or_default();
        let pod = spec.template.spec?;
        Self { namespace, kind: "StatefulSet", name, labels, selector, pod_labels, pod }.if_server()
    }

    /// Takes a `Deployment`, if it runs a SPIRE server.
    pub(super) fn of_deployment(deployment: Deployment) -> Option<Self> {
        let (namespace, name, labels) =
            (deployment.namespace()?, deployment.name_any(), deployment.labels().clone());
        let spec = deployment.spec?;
        let pod_labels = spec.template.metadata.and_then(|metadata| metadata.labels).unwrap_or_default();
        let selector = spec.selector.match_labels.unwrap_or_default();
        let pod = spec.template.spec?;
        Self { namespace, kind: "Deployment", name, labels, selector, pod_labels, pod }.if_server()
    }

    /// Returns kind and name.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    /// Returns the names of the config maps that its pods mount.
    pub(super) fn config_maps(&self) -> BTreeSet<String> {
        let volumes = self.pod.volumes.iter().flatten();
        volumes.filter_map(|volume| Some(volume.config_map.as_ref()?.name.clone())).collect()
    }

    /// Puts together what is known of the server.
    pub(super) fn describe(&self, pods: &[Pod], services: &[Service], maps: &[ConfigMap]) -> FoundSpire {
        let server = self.container(SERVER).cloned().unwrap_or_default();
        let settings = server_settings(maps);
        let pod = self.best_pod(pods);
        let image = server.image.clone().unwrap_or_default();
        let command = server.command.as_ref().and_then(|command| command.first());
        FoundSpire {
            namespace: self.namespace.clone(),
            workload: self.name(),
            mesh: self.mesh(),
            selector: self.selector.clone(),
            ready: pod.is_some_and(is_ready),
            pod: pod.map(ResourceExt::name_any),
            binary: command
                .filter(|path| is_program(path, SERVER))
                .map_or_else(|| BINARY.to_owned(), Clone::clone),
            version: tag(&image)
                .filter(|tag| is_version(tag))
                .map(|tag| tag.trim_start_matches('v').to_owned()),
            image,
            socket_path: settings
                .get("server.socket_path")
                .filter(|path| !path.is_empty())
                .map(str::to_owned),
            trust_domain: settings.get("server.trust_domain").and_then(|name| name.parse().ok()),
            agent_ttl: ["server.agent_ttl", "server.default_x509_svid_ttl"]
                .into_iter()
                .find_map(|key| settings.get(key)?.parse().ok()),
            upstream: upstream(&settings),
            bundle_endpoint: self.bundle_endpoint(&server, &settings, services),
            static_federation: settings
                .names("server.federation.federates_with")
                .into_iter()
                .map(str::to_owned)
                .collect(),
            controller_manager: self.container(CONTROLLER_MANAGER).map(|_| controller_manager(maps)),
            container: server.name,
        }
    }

    fn if_server(self) -> Option<Self> {
        self.container(SERVER).is_some().then_some(self)
    }

    /// Returns the name of the mesh, where these plugins put their marks on it.
    fn mesh(&self) -> Option<String> {
        let ours = self.labels.get(MANAGED_BY_LABEL).is_some_and(|by| by == Tool::SpireFederate.name());
        ours.then(|| self.labels.get(MESH_LABEL).cloned().unwrap_or_default())
    }

    /// Finds the container that runs a program. Sidecars may be among the init containers.
    fn container(&self, program: &str) -> Option<&Container> {
        let sidecars = self.pod.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        self.pod.containers.iter().chain(sidecars).find(|container| runs(container, program))
    }

    fn best_pod<'p>(&self, pods: &'p [Pod]) -> Option<&'p Pod> {
        let mine = pods.iter().filter(|pod| {
            !self.selector.is_empty()
                && self.selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
                && pod.metadata.deletion_timestamp.is_none()
                && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
        });
        mine.min_by_key(|pod| (!is_ready(pod), pod.name_any()))
    }

    fn bundle_endpoint(
        &self,
        server: &Container,
        settings: &Settings,
        services: &[Service],
    ) -> Option<FoundEndpoint> {
        let at = "server.federation.bundle_endpoint";
        if !settings.has(at) {
            return None;
        }
        let port = settings.get(&format!("{at}.port")).and_then(|port| port.parse().ok());
        let container_port = port.unwrap_or(DEFAULT_BUNDLE_PORT);
        let port_name = server
            .ports
            .iter()
            .flatten()
            .find(|port| port.container_port == i32::from(container_port))
            .and_then(|port| port.name.as_deref());
        let mut leading: Vec<(bool, String, i32)> = services
            .iter()
            .filter(|service| self.is_selected_by(service))
            .filter_map(|service| {
                let port = port_to(service, i32::from(container_port), port_name)?;
                let kind = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
                Some((!matches!(kind, Some("LoadBalancer" | "NodePort")), service.name_any(), port))
            })
            .collect();
        leading.sort();
        Some(FoundEndpoint {
            container_port,
            https_web: settings.has(&format!("{at}.profile.https_web"))
                || settings.has(&format!("{at}.acme")),
            service: leading.into_iter().next().map(|(_, name, port)| (name, port)),
        })
    }

    fn is_selected_by(&self, service: &Service) -> bool {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| {
            !selector.is_empty()
                && selector.iter().all(|(key, value)| self.pod_labels.get(key) == Some(value))
        })
    }
}

fn server_settings(maps: &[ConfigMap]) -> Settings {
    files(maps)
        .map(|text| Settings::parse(text))
        .find(|settings| settings.get("server.trust_domain").is_some())
        .unwrap_or_default()
}

/// Reads which plugin has the CA certificate signed; SPIRE takes one at most. The defaults are those of SPIRE
/// (`doc/plugin_server_upstreamauthority_cert_manager.md`).
fn upstream(settings: &Settings) -> Option<FoundUpstream> {
    let at = "plugins.UpstreamAuthority";
    let plugin = settings.names(at).into_iter().next()?;
    let data = |key: &str| {
        let value = settings.get(&format!("{at}.{plugin}.plugin_data.{key}"))?;
        Some(value.to_owned()).filter(|value| !value.is_empty())
    };
    let issuer = || {
        Some(IssuerRef {
            name: data("issuer_name")?,
            kind: data("issuer_kind").unwrap_or_else(|| "Issuer".to_owned()),
            group: data("issuer_group").unwrap_or_else(|| "cert-manager.io".to_owned()),
            namespace: data("namespace")?,
        })
    };
    // With a kubeconfig the issuer is in whatever cluster that names.
    let is_here = plugin == CERT_MANAGER_PLUGIN && data("kube_config_file").is_none();
    Some(FoundUpstream { plugin: plugin.to_owned(), issuer: if is_here { issuer() } else { None } })
}

fn controller_manager(maps: &[ConfigMap]) -> FoundControllerManager {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Config {
        kind: String,
        #[serde(default)]
        class_name: String,
        #[serde(default)]
        watch_classless: bool,
        #[serde(default)]
        cluster_name: String,
        #[serde(default)]
        trust_domain: String,
        #[serde(default)]
        ignore_namespaces: Vec<String>,
        reconcile: Option<Reconcile>,
        static_manifest_path: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Reconcile {
        // What Go takes for a flag that is left out.
        #[serde(default)]
        cluster_federated_trust_domains: bool,
    }
    let passed_over = |config: &Config| match (&config.static_manifest_path, &config.reconcile) {
        (Some(path), _) => Some(format!("`staticManifestPath: {path}`")),
        (None, Some(Reconcile { cluster_federated_trust_domains: false })) => {
            Some("`reconcile` without `clusterFederatedTrustDomains: true`".to_owned())
        }
        _ => None,
    };
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    files(maps)
        .filter_map(|text| serde_saphyr::from_str::<Config>(text).ok())
        .find(|config| config.kind == "ControllerManagerConfig")
        .map(|config| FoundControllerManager {
            passes_over_relationships: passed_over(&config),
            class_name: some(config.class_name),
            watch_classless: config.watch_classless,
            cluster_name: some(config.cluster_name),
            trust_domain: config.trust_domain.parse().ok(),
            ignore_namespaces: config.ignore_namespaces,
        })
        .unwrap_or_default()
}

pub(super) fn files(maps: &[ConfigMap]) -> impl Iterator<Item = &String> {
    maps.iter().flat_map(|map| map.data.iter().flat_map(BTreeMap::values))
}

pub(super) fn runs(container: &Container, program: &str) -> bool {
    let repository = container.image.as_deref().map(repository);
    let words = container.command.iter().flatten().take(1);
    repository.is_some_and(|repository| is_program(repository, program))
        || words.into_iter().any(|word| is_program(word, program))
}

pub(super) fn is_program(path: &str, program: &str) -> bool {
    path.rsplit('/').next() == Some(program)
}

/// Returns an image's name without tag and digest. A colon before the last slash belongs to a port.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let name = image.rfind('/').map_or(0, |slash| slash + 1);
    image[name..].find(':').map_or(image, |colon| &image[..name + colon])
}

fn tag(image: &str) -> Option<&str> {
    let image = image.split('@').next().unwrap_or(image);
    image.strip_prefix(repository(image))?.strip_prefix(':')
}

/// Returns the version that an image's tag tells, if it tells one.
pub(crate) fn image_version(image: &str) -> Option<Version> {
    Version::parse(tag(image)?.trim_start_matches('v')).ok()
}

fn is_version(tag: &str) -> bool {
    let digits = tag.trim_start_matches('v');
    digits.split('.').count() >= 2 && digits.starts_with(|c: char| c.is_ascii_digit())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == "Ready").any(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests;
