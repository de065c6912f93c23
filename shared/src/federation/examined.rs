//! What was read of a mesh for its checks, beside what a status shows.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::BegunRotation;
use super::observed::Observed;
use crate::fleet::Read;
use crate::manifest::NewLoadBalancer;
use crate::spire::crd::ClusterSPIFFEID;
use crate::spire::presented::Presented;
use crate::spire::server::{Entry, RefreshCause};
use crate::spire::upstream::{IssuerRef, SeenIssuer, SeenRequest, SigningLog};
use crate::trust::TrustBundle;

/// A mesh as it was found, in all detail.
#[derive(Clone, Debug)]
pub struct Examined {
    /// What a status shows.
    pub observed: Observed,
    /// The rest, by cluster. A cluster that cannot be reached has none.
    pub details: BTreeMap<String, Details>,
    /// What became of letting `from` fetch the bundle of `to`, by the names of both. A pair without a relationship has none.
    pub fetched: BTreeMap<(String, String), Read<Result<(), FailedFetch>>>,
}

impl Examined {
    /// Returns the details of a cluster that can be reached.
    #[must_use]
    pub fn details(&self, cluster: &str) -> Option<&Details> {
        self.details.get(cluster)
    }
}

/// Why a server did not fetch a peer's bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedFetch {
    /// What kind of failure it was.
    pub cause: RefreshCause,
    /// The server's words.
    pub message: String,
    /// The load balancer of the peer's bundle endpoint, where it is new.
    pub new_load_balancer: Option<NewLoadBalancer>,
}

/// What was read of one cluster for its checks.
#[derive(Clone, Debug)]
pub struct Details {
    /// The API server's clock against ours; `None` where it gave no date.
    pub clock: Read<Option<Clock>>,
    /// What the API server answered when a `ClusterSPIFFEID` was sent as a dry run: `Err` is the refusal's text.
    pub admission: Read<Result<(), String>>,
    /// All identity objects, of any class.
    pub identity_objects: Read<Vec<ClusterSPIFFEID>>,
    /// The server's registration entries.
    pub entries: Read<Vec<Entry>>,
    /// The nodes whose kubelets know the SPIFFE CSI driver.
    pub csi_nodes: Read<Vec<String>>,
    /// The bundle that agents start from; `None` where there is none, or where it is not known which.
    pub published_bundle: Read<Option<TrustBundle>>,
    /// What the server's bundle endpoint presents in its own pod.
    pub presented: Read<Presented>,
    /// All pods with an Istio proxy, or with a volume of the SPIFFE CSI driver.
    pub workloads: Read<Vec<SeenWorkload>>,
    /// `trustDomain` of Istio's mesh configuration; `None` where Istio is not installed.
    pub istio_trust_domain: Read<Option<String>>,
    /// The rotation of the server's CA that was begun and not finished; `None` where there is none.
    pub rotation: Read<Option<BegunRotation>>,
    /// The issuer of cert-manager that the server's configuration names; `None` where it names none.
    pub upstream: Option<SeenUpstream>,
    /// How many servers there are, where each has a database of its own; `None` where SPIRE is somebody else's, who may have one for all.
    pub servers: Read<Option<SeenServers>>,
}

/// The servers of a cluster, each of which has a database of its own.
#[derive(Clone, Debug)]
pub struct SeenServers {
    /// Their pods.
    pub pods: Vec<String>,
    /// The volume claims of others than the first one.
    pub left_claims: Read<Vec<String>>,
}

/// What was read of a server's upstream authority.
#[derive(Clone, Debug)]
pub struct SeenUpstream {
    /// The issuer that the server's configuration names.
    pub issuer_ref: IssuerRef,
    /// That issuer.
    pub issuer: Read<SeenIssuer>,
    /// What the server requested of it and is still there, the newest first.
    pub requests: Read<Vec<SeenRequest>>,
    /// What the server's log says of its attempts.
    pub log: Read<SigningLog>,
}

/// What an API server's clock showed against ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// How far it is ahead of this machine's clock, in seconds; negative when it is behind.
    pub ahead_seconds: i64,
    /// How long the request took: the error of the figure, beside the whole second that an HTTP date is cut to.
    pub round_trip: Duration,
}

/// A pod that needs an identity.
#[derive(Clone, Debug)]
pub struct SeenWorkload {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Its UID, which its registration entry selects.
    pub uid: String,
    /// The node that it is on.
    pub node: Option<String>,
    /// Its service account.
    pub service_account: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The labels of its namespace.
    pub namespace_labels: BTreeMap<String, String>,
    /// What it has of a workload of the mesh.
    pub parts: Parts,
}

/// What a pod has of a workload of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// An Istio proxy that gets its certificate from the SPIFFE CSI driver's volume.
    ProxyAndVolume,
    /// An Istio proxy without such a volume.
    Proxy,
    /// A volume of the SPIFFE CSI driver, without a proxy.
    Volume,
}

impl SeenWorkload {
    /// Returns how it is called in reports.
    #[must_use]
    pub fn object(&self) -> String {
        format!("Pod {}/{}", self.namespace, self.name)
    }
}
