//! Reading how the SPIRE of every cluster is, with a handful of requests for each.

use std::collections::BTreeMap;

use futures::future::{join, join_all, join3, join4};
use futures::try_join;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};

use super::locate::{self, meant};
use super::observed::{
    Observed, ObservedCluster, Seen, SeenAgentPod, SeenAgents, SeenNode, SeenServer, Trouble, server_unread,
};
use crate::fleet::{Member, Need, Read, RequestError, Unread, list_pages};
use crate::manifest::{self, NodeState};
use crate::mesh::{ExistingSpire, Mesh, Spire};
use crate::spire::crd::ClusterFederatedTrustDomain;
use crate::spire::discovery::{DiscoveryError, FoundSpire};
use crate::spire::endpoint::{Endpoint, bundle_endpoint};
use crate::spire::polls::polls;
use crate::spire::server::{Server, ServerError};

/// Reads how the mesh is, from all clusters at the same time. `unreachable` are the clusters of the mesh that have no
/// member, with the reason.
pub async fn observe(mesh: &Mesh, members: &[Member], unreachable: &BTreeMap<String, String>) -> Observed {
    let seen =
        join_all(members.iter().map(|member| async { (member.name(), Box::pin(see(member)).await) })).await;
    let mut seen: BTreeMap<&str, Seen> = seen.into_iter().collect();
    let clusters = mesh.clusters.iter().map(|cluster| {
        let seen = seen.remove(cluster.name.as_str()).ok_or_else(|| {
            let why = unreachable.get(&cluster.name).cloned();
            Unread::because(why.unwrap_or_else(|| "it was not asked".to_owned()))
        });
        ObservedCluster { cluster: cluster.clone(), seen }
    });
    Observed { mesh: mesh.clone(), clusters: clusters.collect(), at: Timestamp::now() }
}

async fn see(member: &Member) -> Seen {
    let beside = join3(relationship_objects(member), agents(member), nodes(member));
    let (of_spire, (relationship_objects, agents, nodes)) = join(Box::pin(see_spire(member)), beside).await;
    let OfSpire { spire, server_trouble, server, endpoint, polls } = of_spire;
    Seen { spire, server_trouble, server, endpoint, polls, agents, nodes, relationship_objects }
}

/// What is read of the server, which has to be found first.
struct OfSpire {
    spire: Read<Option<FoundSpire>>,
    server_trouble: Read<Option<Trouble>>,
    server: Read<SeenServer>,
    endpoint: Read<Endpoint>,
    polls: Read<crate::spire::polls::Polls>,
}

async fn see_spire(member: &Member) -> OfSpire {
    let spire = meant(member).await.map_err(|error| unread_of(&error));
    let found = match &spire {
        Ok(Some(found)) => found,
        Ok(None) => {
            let none = || Unread::because("there is no SPIRE server");
            return OfSpire {
                server_trouble: Ok(None),
                server: Err(none()),
                endpoint: Err(none()),
                polls: Err(none()),
                spire,
            };
        }
        Err(unread) => {
            let unread = || unread.clone();
            return OfSpire {
                server_trouble: Err(unread()),
                server: Err(unread()),
                endpoint: Err(unread()),
                polls: Err(unread()),
                spire,
            };
        }
    };
    let log = Need::new("get", "", "pods/log", Some(&found.namespace));
    let polls = async { polls(member, found).await.map_err(|error| Unread::request(&log, &error)) };
    let (server_trouble, server, endpoint, polls) =
        Box::pin(join4(trouble(member, found), server(member, found), endpoint(member, found), polls)).await;
    OfSpire { spire, server_trouble, server, endpoint, polls }
}

fn unread_of(error: &DiscoveryError) -> Unread {
    match error {
        DiscoveryError::Read(error) => Unread::read(error),
        DiscoveryError::SeveralServers { .. } | DiscoveryError::SeveralAgents { .. } => Unread::error(error),
    }
}

/// Finds out why the server's pod is not ready, and since when.
async fn trouble(member: &Member, found: &FoundSpire) -> Read<Option<Trouble>> {
    if found.ready {
        return Ok(None);
    }
    let selector = LabelSelector { match_labels: Some(found.selector.clone()), ..LabelSelector::default() };
    let need = Need::new("list", "", "pods", Some(&found.namespace));
    let (kind, name) = found.workload.split_once('/').unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(member.client().clone(), &found.namespace);
    let (why, pod) =
        join(manifest::trouble(member.client(), &found.namespace, &selector, (kind, name)), async {
            match &found.pod {
                Some(pod) => pods.get_opt(pod).await.ok().flatten(),
                None => None,
            }
        })
        .await;
    let why = why.map_err(|error| Unread::request(&need, &error))?;
    Ok(Some(Trouble {
        why: why.unwrap_or_else(|| match &found.pod {
            Some(pod) => format!("pod {pod} is not ready"),
            None => format!("{} in namespace {} has no pod", found.workload, found.namespace),
        }),
        since: pod.as_ref().and_then(unready_since),
    }))
}

fn unready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.filter(|condition| condition.type_ == "Ready" && condition.status != "True");
    ready.filter_map(|condition| condition.last_transition_time.as_ref()).map(|time| time.0).next()
}

async fn server(member: &Member, found: &FoundSpire) -> Read<SeenServer> {
    let Some(server) = found.server(member) else {
        return Err(Unread::because(format!(
            "no pod of {} in namespace {} runs",
            found.workload, found.namespace
        )));
    };
    let ask = Box::pin(ask(&server, found.version.as_deref())).await;
    ask.map_err(|error| server_unread(&found.namespace, &error))
}

async fn ask(server: &Server<'_>, version: Option<&str>) -> Result<SeenServer, ServerError> {
    let version = async {
        match version {
            Some(version) => Ok(version.to_owned()),
            None => server.version().await,
        }
    };
    let (version, bundle, stored, relationships, entry_count, authorities, agents) = try_join!(
        version,
        server.bundle(),
        server.stored_bundles(),
        server.relationships(),
        server.entry_count(),
        server.authorities(),
        server.agents(),
    )?;
    let pod = format!("{}/{}", server.target.namespace, server.target.pod);
    Ok(SeenServer { pod, version, bundle, authorities, stored, relationships, agents, entry_count })
}

async fn endpoint(member: &Member, found: &FoundSpire) -> Read<Endpoint> {
    let endpoint = match &member.cluster.spire {
        Spire::Managed(spire) => bundle_endpoint(member, spire).await,
        Spire::Existing(ExistingSpire { bundle_endpoint_url: Some(url), .. }) => {
            Ok(Endpoint::Ready(url.clone()))
        }
        Spire::Existing(_) => found.endpoint(member).await,
    };
    endpoint.map_err(|error| Unread::read(&error))
}

async fn relationship_objects(member: &Member) -> Read<Vec<ClusterFederatedTrustDomain>> {
    list(member, Api::all(member.client().clone())).await
}

/// Reads a cluster's agents: where they are found, and how each of their pods is.
pub(super) async fn agents(member: &Member) -> Read<Option<SeenAgents>> {
    let Some(found) = locate::agents(member).await.map_err(|error| unread_of(&error))? else {
        return Ok(None);
    };
    let need = Need::new("list", "", "pods", Some(&found.namespace));
    let pods: Api<Pod> = Api::namespaced(member.client().clone(), &found.namespace);
    let params = ListParams::default().labels(&found.selector);
    let pods =
        pods.list(&params).await.map_err(|error| Unread::request(&need, &RequestError::from(error)))?;
    let mut pods: Vec<SeenAgentPod> = pods.items.iter().map(agent_pod).collect();
    pods.sort_by(|a, b| (&a.node, &a.name).cmp(&(&b.node, &b.name)));
    Ok(Some(SeenAgents { found, pods }))
}

fn agent_pod(pod: &Pod) -> SeenAgentPod {
    SeenAgentPod {
        name: pod.name_any(),
        node: manifest::node_of(pod).map(str::to_owned),
        created: pod.meta().creation_timestamp.as_ref().map(|time| time.0),
        trouble: manifest::pod_trouble(pod),
    }
}

pub(super) async fn nodes(member: &Member) -> Read<Vec<SeenNode>> {
    let nodes: Vec<Node> = list(member, Api::all(member.client().clone())).await?;
    let mut nodes: Vec<SeenNode> = nodes.into_iter().map(node).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}

fn node(node: Node) -> SeenNode {
    SeenNode {
        name: node.name_any(),
        uid: node.uid().unwrap_or_default(),
        created: node.metadata.creation_timestamp.as_ref().map(|time| time.0),
        state: NodeState::of(&node),
        taints: node.spec.and_then(|spec| spec.taints).unwrap_or_default(),
    }
}

/// Lists all objects of a kind. A kind that does not exist has none.
pub(super) async fn list<K>(member: &Member, api: Api<K>) -> Read<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    reduced(member, api, Some).await
}

/// Lists all objects of a kind, and keeps of each what is needed. A kind that does not exist has none.
pub(super) async fn reduced<K, T>(
    member: &Member,
    api: Api<K>,
    keep: impl FnMut(K) -> Option<T>,
) -> Read<Vec<T>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let need = Need::new("list", &K::group(&()), &K::plural(&()), None);
    match list_pages(&api, &ListParams::default(), keep).await.map_err(RequestError::from) {
        Ok(items) => Ok(items),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(Unread::request(&need, &error)),
    }
    .inspect_err(|unread| tracing::debug!(cluster = member.name(), why = unread.why, "cannot list"))
}

#[cfg(test)]
mod tests;
