//! The mesh as the rest of the library sees it: validated, with every default filled in.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ApiEndpoint;
use super::DemoImages;
use super::EndpointUrl;
use super::IssuerKind;
use super::Istio;
use super::{NodePods, Pods};
use crate::hint::Place;
use crate::trust::TrustDomain;

/// A set of clusters that trust each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    /// `metadata.name`: marks what belongs to this mesh in the clusters. A DNS label.
    pub name: String,
    /// At least two, with different names, contexts and trust domains, in the order of the file.
    pub clusters: Vec<Cluster>,
    /// Images of the demo applications.
    pub demo: DemoImages,
}

/// One cluster of the mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Unique in the mesh. A DNS label.
    pub name: String,
    /// Name of the kubeconfig context.
    pub context: String,
    /// Trust domain of the cluster's SPIRE.
    pub trust_domain: TrustDomain,
    /// How the other clusters reach its API server.
    pub endpoint: ApiEndpoint,
    /// Name of its network: clusters whose pods reach each other directly share one.
    pub network: String,
    /// The cluster's SPIRE.
    pub spire: Spire,
    /// The cluster's Istio.
    pub istio: Istio,
}

/// Who looks after a cluster's SPIRE.
#[derive(Clone, Debug, PartialEq)]
pub enum Spire {
    /// These plugins install it.
    Managed(Box<ManagedSpire>),
    /// Somebody else installed it (`managed: false`); it is found by looking and only federated.
    Existing(ExistingSpire),
}

/// SPIRE as these plugins install it.
#[derive(Clone, Debug, PartialEq)]
pub struct ManagedSpire {
    /// Namespace of server and controller-manager.
    pub server_namespace: String,
    /// Namespace of agents and CSI driver; its pods are privileged.
    pub agent_namespace: String,
    /// Container images.
    pub images: SpireImages,
    /// Life of the server's own CA certificate. A peer that misses every refresh for a third of it is locked out.
    pub ca_ttl: Duration,
    /// Life of an X.509-SVID.
    pub svid_ttl: Duration,
    /// How often each agent asks the server for new entries: how long a new pod waits for its identity.
    pub agent_sync_interval: Duration,
    /// Key type of CA and SVIDs.
    pub key_type: KeyType,
    /// How other clusters reach the bundle endpoint.
    pub bundle_endpoint: BundleEndpoint,
    /// Where the server keeps its data.
    pub storage: Storage,
    /// Who signs the server's CA certificate.
    pub upstream_authority: UpstreamAuthority,
    /// How the server's pod is made.
    pub server: Pods,
    /// How the pods of agents and CSI driver are made.
    pub agent: NodePods,
}

/// SPIRE that somebody else installed.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ExistingSpire {
    /// Namespace of the server; all namespaces are searched when it is absent.
    pub server_namespace: Option<String>,
    /// Namespace of the agents; all namespaces are searched when it is absent.
    pub agent_namespace: Option<String>,
    /// Address of its bundle endpoint; found from its services when it is absent.
    pub bundle_endpoint_url: Option<EndpointUrl>,
}

/// Container images of a managed SPIRE.
#[derive(Clone, Debug, PartialEq)]
pub struct SpireImages {
    /// SPIRE server.
    pub server: String,
    /// SPIRE agent.
    pub agent: String,
    /// spire-controller-manager.
    pub controller_manager: String,
    /// SPIFFE CSI driver.
    pub csi_driver: String,
    /// Kubernetes' CSI node driver registrar.
    pub node_driver_registrar: String,
}

/// Key types that SPIRE knows (`ca_key_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum KeyType {
    /// ECDSA on P-256.
    #[default]
    #[serde(rename = "ec-p256")]
    EcP256,
    /// ECDSA on P-384.
    #[serde(rename = "ec-p384")]
    EcP384,
    /// RSA with 2048 bits.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA with 4096 bits.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
}

/// How other clusters reach a server's bundle endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct BundleEndpoint {
    /// The kind of exposure.
    pub exposure: Exposure,
    /// How often peers should ask; they poll at a quarter of it, and never more often than every 15 seconds.
    pub refresh_hint: Duration,
}

/// The way in which the bundle endpoint's service is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Exposure {
    /// A service of type `LoadBalancer`.
    LoadBalancer {
        /// `loadBalancerClass` of the service.
        class: Option<String>,
        /// Annotations of the service.
        annotations: BTreeMap<String, String>,
    },
    /// A service of type `NodePort`, reached at a node's address.
    NodePort {
        /// The port, or one that Kubernetes picks.
        port: Option<u16>,
    },
    /// An address that is looked after elsewhere; the service is of type `ClusterIP`.
    Url(EndpointUrl),
}

/// Where the server keeps its data store and keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// Storage class; the cluster's default when it is absent.
    pub class: Option<String>,
    /// Size of the volume, a Kubernetes quantity.
    pub size: String,
}

/// Who signs a server's CA certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAuthority {
    /// The server itself.
    SelfSigned,
    /// An issuer of cert-manager in the server's own cluster.
    CertManager(CertManagerIssuer),
}

/// An issuer of cert-manager, and where certificates are requested of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertManagerIssuer {
    /// Its name, a DNS name.
    pub name: String,
    /// Its kind.
    pub kind: IssuerKind,
    /// Its API group: `cert-manager.io`, or that of another project whose issuers cert-manager works with.
    pub group: String,
    /// Namespace in which the server makes its `CertificateRequest` objects. cert-manager looks for an `Issuer` there too.
    pub namespace: String,
}

impl Cluster {
    /// Returns its name and context.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::new(&self.name, &self.context)
    }
}

#[cfg(test)]
impl Cluster {
    /// A cluster with every default, for tests.
    pub(crate) fn example(name: &str, trust_domain: &str) -> Self {
        let text = format!(
            "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {{name: example}}\nspec:\n  clusters:\n  - {{name: {name}, trustDomain: {trust_domain}}}\n  \
             - {{name: other, trustDomain: other.example}}\n"
        );
        Mesh::parse(&text, "example").expect("a valid mesh file").clusters.swap_remove(0)
    }
}
