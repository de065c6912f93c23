//! Finds the SPIRE servers of a cluster, ours and those that somebody else installed.
//!
//! Ours is known by where it stands: the `StatefulSet` with the one name, in the namespace that the mesh file gives. Whoever may make objects
//! in some other namespace could put our labels on them, and would be trusted as the server of the cluster.
//!
//! Somebody else's is known by what it runs: a container whose image or command is `spire-server`, in a `StatefulSet` or a `Deployment`.
//! Where several do, none of them is taken.

mod agents;
#[cfg(test)]
pub(crate) mod sample;
mod settings;
mod workload;

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::Serialize;

pub use agents::{FoundAgents, SdsNames, find_agents, installed_agents};
pub use settings::Settings;

use super::desired::SERVER_NAME;
use super::endpoint::Endpoint;
use super::server::Server;
use super::upstream::IssuerRef;
use crate::fleet::{ExecTarget, Member, Need, ReadError, list_pages};
use crate::hint::{Advice, Hint};
use crate::manifest::service_address;
use crate::trust::TrustDomain;
use workload::Workload;
pub(crate) use workload::image_version;

/// A SPIRE server as it was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FoundSpire {
    /// Its namespace.
    pub namespace: String,
    /// Kind and name of what runs it: `StatefulSet/spire-server`.
    pub workload: String,
    /// Name of the mesh whose labels it has. They prove nothing: anybody can write them.
    pub mesh: Option<String>,
    /// The labels that its pods have.
    pub selector: BTreeMap<String, String>,
    /// The pod to talk to: a ready one before a running one. `None` while there is none that runs.
    pub pod: Option<String>,
    /// Whether that pod is ready.
    pub ready: bool,
    /// Name of the server's container.
    pub container: String,
    /// Path of the server's binary in it.
    pub binary: String,
    /// Its image.
    pub image: String,
    /// Its version, where the image's tag is one; otherwise `Server::version` tells.
    pub version: Option<String>,
    /// Path of its socket, where its configuration gives one.
    pub socket_path: Option<String>,
    /// Its trust domain, where its configuration gives a valid one.
    pub trust_domain: Option<TrustDomain>,
    /// How long the SVIDs of its agents live, where its configuration says it.
    #[serde(skip)]
    pub agent_ttl: Option<SignedDuration>,
    /// The plugin that has its CA certificate signed. `None` where it signs itself.
    pub upstream: Option<FoundUpstream>,
    /// Its bundle endpoint. `None` where its configuration has none: no other domain can federate with it then.
    pub bundle_endpoint: Option<FoundEndpoint>,
    /// The trust domains with which its configuration has static relationships (`federates_with`). One of these wins over the
    /// dynamic one with the same trust domain (SPIRE 1.15.3, `MergeTrustDomainConfigSources` in
    /// `pkg/server/bundle/client/sources.go`), and `federation list` does not show it.
    pub static_federation: Vec<String>,
    /// The controller-manager in its pod. Without one, relationships and entries have to be made in another way.
    pub controller_manager: Option<FoundControllerManager>,
}

/// An upstream authority as a server's configuration has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundUpstream {
    /// Name of SPIRE's plugin: `cert-manager`, `aws_pca`, `disk`…
    pub plugin: String,
    /// The issuer that the plugin for cert-manager asks. `None` for other plugins, and where it is in another cluster.
    pub issuer: Option<IssuerRef>,
}

/// A bundle endpoint as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundEndpoint {
    /// The port that the server listens on.
    pub container_port: u16,
    /// It proves itself by a web certificate (profile `https_web`) instead of its SVID.
    pub https_web: bool,
    /// The service that leads there, and its port. One that other clusters can reach before one that they cannot.
    pub service: Option<(String, i32)>,
}

/// A controller-manager as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FoundControllerManager {
    /// It acts on objects of this class only, and on those without a class if it has none.
    pub class_name: Option<String>,
    /// It acts on objects without a class too.
    pub watch_classless: bool,
    /// Name of the cluster, part of the agents' SPIFFE IDs.
    pub cluster_name: Option<String>,
    /// Its trust domain, where its configuration gives a valid one.
    pub trust_domain: Option<TrustDomain>,
    /// Regular expressions of namespaces whose pods it leaves alone.
    pub ignore_namespaces: Vec<String>,
    /// What its configuration has by which it passes over relationship objects, where it does (`parseConfig` in spire-controller-manager 0.6.3,
    /// `cmd/main.go`).
    pub passes_over_relationships: Option<String>,
}

impl FoundControllerManager {
    /// Tells whether it acts on objects of a class, or on those without one (`reconcileClass` in spire-controller-manager 0.6.3,
    /// `pkg/spireentry/reconciler.go`).
    #[must_use]
    pub fn acts_on(&self, class_name: Option<&str>) -> bool {
        match class_name.filter(|class| !class.is_empty()) {
            Some(class) => self.class_name.as_deref() == Some(class),
            None => self.class_name.is_none() || self.watch_classless,
        }
    }
}

/// Why SPIRE could not be looked for, or not be told apart.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// Something could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There are several, and nothing says which is meant.
    #[error("found several SPIRE servers, and nothing says which is the cluster's: {}", servers.join(", "))]
    SeveralServers {
        /// Namespace, kind and name of each.
        servers: Vec<String>,
    },
    /// There are agents of several, and nothing says which are meant.
    #[error("found several sets of SPIRE agents, and nothing says which are the cluster's: {}", sets.join(", "))]
    SeveralAgents {
        /// Namespace, kind and name of each.
        sets: Vec<String>,
    },
}

impl Hint for DiscoveryError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::Read(error) => error.hint(),
            Self::SeveralServers { .. } => Some(
                "name the namespace of the right one in the mesh file, in spire.serverNamespace of this cluster".into(),
            ),
            Self::SeveralAgents { .. } => Some(
                "name the namespace of the right ones in the mesh file, in spire.agentNamespace of this cluster".into(),
            ),
        }
    }
}

impl FoundSpire {
    /// Returns where it stands: `spire-server/StatefulSet/spire-server`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.namespace, self.workload)
    }

    /// Tells whether it stands where these plugins install one: only those who may make objects in that namespace can have put it there.
    #[must_use]
    pub fn is_installed_in(&self, namespace: &str) -> bool {
        self.namespace == namespace && self.workload == format!("StatefulSet/{SERVER_NAME}")
    }

    /// Returns the class that objects for its controller-manager need: its own, or none.
    #[must_use]
    pub fn class_name(&self) -> Option<&str> {
        self.controller_manager.as_ref().and_then(|manager| manager.class_name.as_deref())
    }

    /// Tells whether its configuration has a static relationship with a trust domain.
    #[must_use]
    pub fn is_static(&self, peer: &TrustDomain) -> bool {
        self.static_federation.iter().any(|name| name == peer.as_str())
    }

    /// Returns the server to talk to, if a pod of it runs.
    #[must_use]
    pub fn server<'a>(&self, member: &'a Member) -> Option<Server<'a>> {
        let target = ExecTarget {
            namespace: self.namespace.clone(),
            pod: self.pod.clone()?,
            container: self.container.clone(),
        };
        Some(Server { member, target, binary: self.binary.clone(), socket_path: self.socket_path.clone() })
    }

    /// Returns the address of its bundle endpoint.
    ///
    /// # Errors
    /// [`ReadError`] when its service or the nodes cannot be read.
    pub async fn endpoint(&self, member: &Member) -> Result<Endpoint, ReadError> {
        let Some(endpoint) = &self.bundle_endpoint else {
            return Ok(Endpoint::Unexposed(format!(
                "the configuration of {} in namespace {} has no bundle endpoint",
                self.workload, self.namespace
            )));
        };
        let Some((name, port)) = &endpoint.service else {
            return Ok(Endpoint::Unexposed(format!(
                "no service in namespace {} leads to port {} of {}",
                self.namespace, endpoint.container_port, self.workload
            )));
        };
        let services: Api<Service> = Api::namespaced(member.client().clone(), &self.namespace);
        let service = services.get(name).await.map_err(|error| {
            let need = Need::new("get", "", "services", Some(&self.namespace));
            ReadError::new(member.name(), format!("Service {}/{name}", self.namespace), need, &error)
        })?;
        Ok(service_address(member, &service, Some(*port)).await?.into())
    }
}

/// Looks for the one SPIRE server of a cluster, or of one namespace of it.
///
/// # Errors
/// [`DiscoveryError`] when something cannot be read, or there are several.
pub async fn find(member: &Member, namespace: Option<&str>) -> Result<Option<FoundSpire>, DiscoveryError> {
    only_one(servers(member, namespace).await?)
}

/// Returns the server that these plugins install in this namespace, if there is one of that name, whoever made it.
///
/// # Errors
/// [`ReadError`] when something cannot be read.
pub async fn installed(member: &Member, namespace: &str) -> Result<Option<FoundSpire>, ReadError> {
    let sets = list::<StatefulSet>(member, Some(namespace)).await?;
    let own =
        sets.into_iter().filter(|set| set.name_any() == SERVER_NAME).find_map(Workload::of_stateful_set);
    match own {
        Some(workload) => look_closer(member, &workload).await.map(Some),
        None => Ok(None),
    }
}

/// Returns every SPIRE server of a cluster, or of one namespace of it, sorted by namespace and name.
///
/// # Errors
/// [`ReadError`] when something cannot be read.
pub async fn servers(member: &Member, namespace: Option<&str>) -> Result<Vec<FoundSpire>, ReadError> {
    let (sets, deployments) =
        futures::try_join!(list::<StatefulSet>(member, namespace), list::<Deployment>(member, namespace))?;
    let mut workloads: Vec<Workload> = sets
        .into_iter()
        .filter_map(Workload::of_stateful_set)
        .chain(deployments.into_iter().filter_map(Workload::of_deployment))
        .collect();
    workloads.sort_by_cached_key(|workload| (workload.namespace.clone(), workload.name()));
    futures::future::try_join_all(workloads.iter().map(|workload| look_closer(member, workload))).await
}

/// Takes the one that there is.
fn only_one(mut servers: Vec<FoundSpire>) -> Result<Option<FoundSpire>, DiscoveryError> {
    if servers.len() > 1 {
        return Err(DiscoveryError::SeveralServers {
            servers: servers.iter().map(FoundSpire::place).collect(),
        });
    }
    Ok(servers.pop())
}

async fn look_closer(member: &Member, workload: &Workload) -> Result<FoundSpire, ReadError> {
    let namespace = Some(workload.namespace.as_str());
    let (pods, services, maps) = futures::try_join!(
        list::<Pod>(member, namespace),
        list::<Service>(member, namespace),
        config_maps(member, &workload.namespace, workload.config_maps())
    )?;
    Ok(workload.describe(&pods, &services, &maps))
}

async fn config_maps(
    member: &Member,
    namespace: &str,
    names: BTreeSet<String>,
) -> Result<Vec<ConfigMap>, ReadError> {
    let api: Api<ConfigMap> = Api::namespaced(member.client().clone(), namespace);
    let maps = names.iter().map(|name| {
        let api = &api;
        async move {
            api.get_opt(name).await.map_err(|error| {
                let need = Need::new("get", "", "configmaps", Some(namespace));
                ReadError::new(member.name(), format!("ConfigMap {namespace}/{name}"), need, &error)
            })
        }
    });
    Ok(futures::future::try_join_all(maps).await?.into_iter().flatten().collect())
}

async fn list<K>(member: &Member, namespace: Option<&str>) -> Result<Vec<K>, ReadError>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let client = member.client().clone();
    let api: Api<K> =
        namespace.map_or_else(|| Api::all(client.clone()), |name| Api::namespaced(client.clone(), name));
    list_pages(&api, &ListParams::default(), Some).await.map_err(|error| {
        let place =
            namespace.map_or_else(|| "in all namespaces".to_owned(), |name| format!("in namespace {name}"));
        let need = Need::new("list", &K::group(&()), &K::plural(&()), namespace);
        ReadError::new(member.name(), format!("{} {place}", K::plural(&())), need, &error)
    })
}
