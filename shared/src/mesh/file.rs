//! The mesh file as it is written. Doc comments here are the descriptions in its JSON schema.
//!
//! Every field is optional for serde: `super::shape` has reported what is missing before, and the rest of the file is
//! still worth checking.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};

use super::demo::DemoFile;
use super::endpoint::EndpointFile;
use super::istio::IstioFile;
use super::pods::{NodePodsFile, PodsFile};
use super::shape::{self, Findings};
use super::tree::Node;
use super::{KeyType, defaults};
use crate::trust::TrustDomain;

/// A set of Kubernetes clusters that trust each other.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MeshFile {
    /// Version of this format.
    #[schemars(required)]
    pub(super) api_version: Option<ApiVersion>,
    /// Kind of this file.
    #[schemars(required)]
    pub(super) kind: Option<Kind>,
    /// What the mesh is called.
    #[schemars(required)]
    pub(super) metadata: Option<Metadata>,
    /// The clusters, and what holds for all of them.
    #[schemars(required)]
    pub(super) spec: Option<Spec>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) enum ApiVersion {
    #[serde(rename = "spire-mesh/v1alpha1")]
    V1Alpha1,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) enum Kind {
    Mesh,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Metadata {
    /// Name of the mesh, a DNS label. Marks what belongs to it in the clusters.
    #[schemars(required, length(max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub(super) name: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    /// Defaults for every cluster. A cluster's own `spire` wins key by key.
    pub(super) spire: Option<SpireFile>,
    /// Defaults for every cluster. A cluster's own `istio` wins key by key.
    pub(super) istio: Option<IstioFile>,
    /// The demo applications.
    pub(super) demo: Option<DemoFile>,
    /// The clusters, at least two.
    #[schemars(required, length(min = 2))]
    pub(super) clusters: Option<Vec<ClusterFile>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClusterFile {
    /// Name of the cluster in the mesh, a DNS label.
    #[schemars(required, length(max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub(super) name: Option<String>,
    /// Trust domain of the cluster's SPIRE, such as `foo.com`.
    #[schemars(required, with = "TrustDomain")]
    pub(super) trust_domain: Option<String>,
    /// Kubeconfig context of the cluster. Default: its name.
    #[schemars(length(min = 1))]
    pub(super) context: Option<String>,
    /// How the other clusters reach the cluster's API server. Default: where the kubeconfig does.
    pub(super) endpoint: Option<EndpointFile>,
    /// Name of the cluster's network, a DNS label; clusters whose pods reach each other directly share one. Default: its name.
    #[schemars(length(max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub(super) network: Option<String>,
    /// The cluster's SPIRE.
    pub(super) spire: Option<SpireFile>,
    /// The cluster's Istio.
    pub(super) istio: Option<IstioFile>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SpireFile {
    /// Whether these plugins install it. With `false` somebody else did, it is only federated, and no other key than
    /// `serverNamespace`, `agentNamespace` and `bundleEndpoint.url` is used.
    #[schemars(extend("default" = true))]
    pub(super) managed: Option<bool>,
    /// Namespace of the server. Of a SPIRE that somebody else installed: where to look for it (default: everywhere).
    #[schemars(extend("default" = defaults::SERVER_NAMESPACE))]
    pub(super) server_namespace: Option<String>,
    /// Namespace of agents and CSI driver; its pods are privileged. Of a SPIRE that somebody else installed: where to look for the agents
    /// (default: everywhere).
    #[schemars(extend("default" = defaults::AGENT_NAMESPACE))]
    pub(super) agent_namespace: Option<String>,
    /// Container images.
    pub(super) images: Option<ImagesFile>,
    /// Life of the server's CA certificate, at least 3h.
    #[serde(rename = "caTTL")]
    #[schemars(regex(pattern = "^([0-9]+[dhms])+$"), extend("default" = defaults::CA_TTL))]
    pub(super) ca_ttl: Option<String>,
    /// Life of an X.509-SVID: at most a sixth of `caTTL`, and 7d. Default: 4h, or that limit.
    #[serde(rename = "svidTTL")]
    #[schemars(regex(pattern = "^([0-9]+[dhms])+$"), extend("default" = defaults::SVID_TTL))]
    pub(super) svid_ttl: Option<String>,
    /// How often each agent asks the server for new entries, 1s to 1m: how long a new pod waits for its identity.
    #[schemars(regex(pattern = "^([0-9]+[dhms])+$"), extend("default" = defaults::AGENT_SYNC_INTERVAL))]
    pub(super) agent_sync_interval: Option<String>,
    /// Key type of CA and SVIDs.
    #[schemars(extend("default" = "ec-p256"))]
    pub(super) key_type: Option<KeyType>,
    /// How the other clusters reach the server's bundle endpoint.
    pub(super) bundle_endpoint: Option<BundleEndpointFile>,
    /// Where the server keeps its data.
    pub(super) storage: Option<StorageFile>,
    /// Who signs the server's CA certificate. Default: the server itself.
    pub(super) upstream_authority: Option<UpstreamAuthorityFile>,
    /// The pod of the server and its controller-manager.
    pub(super) server: Option<PodsFile>,
    /// The pods of agents and CSI driver, on every node that can have them.
    pub(super) agent: Option<NodePodsFile>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ImagesFile {
    /// SPIRE server.
    #[schemars(extend("default" = defaults::SERVER_IMAGE))]
    pub(super) server: Option<String>,
    /// SPIRE agent.
    #[schemars(extend("default" = defaults::AGENT_IMAGE))]
    pub(super) agent: Option<String>,
    /// spire-controller-manager.
    #[schemars(extend("default" = defaults::CONTROLLER_MANAGER_IMAGE))]
    pub(super) controller_manager: Option<String>,
    /// SPIFFE CSI driver.
    #[schemars(extend("default" = defaults::CSI_DRIVER_IMAGE))]
    pub(super) csi_driver: Option<String>,
    /// Kubernetes' CSI node driver registrar.
    #[schemars(extend("default" = defaults::NODE_DRIVER_REGISTRAR_IMAGE))]
    pub(super) node_driver_registrar: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BundleEndpointFile {
    /// The kind of service in front of it; `URL` for an address that is looked after elsewhere.
    #[schemars(extend("default" = "LoadBalancer"))]
    pub(super) expose: Option<Expose>,
    /// With `expose: URL`: the address, `https://host:port`.
    #[schemars(regex(pattern = "^https://"))]
    pub(super) url: Option<String>,
    /// With `expose: NodePort`: the port. Default: Kubernetes picks one.
    #[schemars(range(min = 1))]
    pub(super) node_port: Option<u16>,
    /// With `expose: LoadBalancer`: the service's `loadBalancerClass`.
    pub(super) load_balancer_class: Option<String>,
    /// With `expose: LoadBalancer`: the service's annotations. Default: those for an internal AWS network load balancer;
    /// what is given here replaces them all.
    pub(super) annotations: Option<BTreeMap<String, String>>,
    /// How often peers should ask for the bundle; they do so four times as often.
    #[schemars(regex(pattern = "^([0-9]+[dhms])+$"), extend("default" = defaults::REFRESH_HINT))]
    pub(super) refresh_hint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(super) enum Expose {
    LoadBalancer,
    NodePort,
    #[serde(rename = "URL")]
    Url,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StorageFile {
    /// Storage class. Default: the cluster's default class.
    pub(super) class: Option<String>,
    /// Size of the volume, a Kubernetes quantity.
    #[schemars(extend("default" = defaults::STORAGE_SIZE))]
    pub(super) size: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UpstreamAuthorityFile {
    /// An issuer of cert-manager in the server's own cluster.
    pub(super) cert_manager: Option<CertManagerFile>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CertManagerFile {
    /// Name of the issuer. Needed for every cluster that has an upstream authority.
    pub(super) issuer: Option<String>,
    /// Kind of the issuer: `Issuer` or `ClusterIssuer`, or that of another group.
    #[schemars(extend("default" = "Issuer"))]
    pub(super) kind: Option<String>,
    /// API group of the issuer.
    #[schemars(extend("default" = defaults::ISSUER_GROUP))]
    pub(super) group: Option<String>,
    /// Namespace in which certificates are requested, and of an `Issuer` its own. Default: `serverNamespace`.
    pub(super) namespace: Option<String>,
}

impl MeshFile {
    /// Takes from a tree what has the right shape, and reports the rest.
    pub(super) fn read(root: &Node, findings: &mut Findings) -> Self {
        static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(schema);
        let value = shape::check(root, &SCHEMA, findings);
        serde_json::from_value(value).unwrap_or_else(|error| {
            findings.add(format!("not a mesh: {error}"), Vec::new());
            Self::default()
        })
    }
}

/// Returns the JSON schema of the mesh file, for documentation and editors.
#[must_use]
pub fn schema() -> serde_json::Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(WithoutNull);
    let mut schema = settings.into_generator().into_root_schema_for::<MeshFile>();
    schema.insert("title".to_owned(), "spire-mesh mesh file".into());
    schema.to_value()
}

/// Takes `null` out of a schema. A key that may be left out is left out, not written without a value.
#[derive(Clone)]
struct WithoutNull;

impl Transform for WithoutNull {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        let null = serde_json::json!("null");
        if let Some(serde_json::Value::Array(types)) = object.get_mut("type") {
            types.retain(|kind| *kind != null);
            if let [only] = types.as_slice() {
                let only = only.clone();
                object.insert("type".to_owned(), only);
            }
        }
        if let Some(serde_json::Value::Array(values)) = object.get_mut("enum") {
            values.retain(|value| !value.is_null());
        }
        if let Some(serde_json::Value::Array(choices)) = object.get_mut("anyOf") {
            choices.retain(|choice| choice.get("type") != Some(&null));
            if let [serde_json::Value::Object(only)] = choices.as_slice() {
                let only = only.clone();
                object.remove("anyOf");
                for (key, value) in only {
                    object.entry(key).or_insert(value);
                }
            }
        }
    }
}
