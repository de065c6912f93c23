//! From what was read of a mesh to how it is.

use std::time::Duration;

use jiff::{Timestamp, Unit};

use super::{
    CaStatus, ClusterStatus, Counted, MeshStatus, NodeStatus, Refresh, RefreshState, RelationshipState,
    RelationshipStatus, SpireStatus,
};
use crate::federation::examined::Examined;
use crate::federation::observed::{Observed, ObservedCluster, Seen, SeenAgents, SeenNode, SeenServer};
use crate::manifest::NodeState;
use crate::mesh::Spire;
use crate::spire::endpoint::Endpoint;
use crate::spire::polls::{Polled, Polls};
use crate::spire::schedule::{locked_out_after, replaced_at};
use crate::spire::server::Agent;
use crate::trust::{AuthorityDigest, TrustBundle};

impl MeshStatus {
    /// Derives the status of a mesh whose servers were made to fetch each other's bundles: what came of that is newer than their logs.
    #[must_use]
    pub fn examined(examined: &Examined) -> Self {
        let mut status = Self::of(&examined.observed);
        for pair in &mut status.relationships {
            if let Some(Ok(Ok(()))) = examined.fetched.get(&(pair.from.clone(), pair.to.clone())) {
                pair.refresh = Refresh {
                    state: RefreshState::Works,
                    not_before: Some(text(examined.observed.at)),
                    known_from: "the server was made to fetch it just now".to_owned(),
                };
            }
        }
        status
    }

    /// Derives the status of a mesh from what was read of it.
    #[must_use]
    pub fn of(observed: &Observed) -> Self {
        Self {
            mesh: observed.mesh.name.clone(),
            clusters: observed.clusters.iter().map(cluster).collect(),
            relationships: observed.pairs().map(|(from, to)| relationship(observed, from, to)).collect(),
        }
    }
}

fn cluster(observed: &ObservedCluster) -> ClusterStatus {
    let (spire, problems) = match &observed.seen {
        Err(unread) => (None, vec![unread.why.clone()]),
        Ok(seen) => {
            let spire = seen.server.as_ref().ok().map(|server| spire(seen, server));
            let problems = problems(observed, seen, spire.as_ref());
            (spire, problems)
        }
    };
    ClusterStatus {
        cluster: observed.name().to_owned(),
        context: observed.cluster.context.clone(),
        trust_domain: observed.trust_domain().clone(),
        managed: matches!(observed.cluster.spire, Spire::Managed(_)),
        spire,
        problems,
    }
}

fn spire(seen: &Seen, server: &SeenServer) -> SpireStatus {
    let agents = seen.agents.as_ref().ok().and_then(Option::as_ref);
    let nodes = seen.nodes.as_deref().unwrap_or_default();
    SpireStatus {
        server_version: server.version.clone(),
        server_pod: server.pod.clone(),
        agents: agents.map(|agents| counted(agents, nodes)),
        nodes: agents
            .map(|agents| nodes.iter().map(|node| of_node(node, agents, server)).collect())
            .unwrap_or_default(),
        entries: server.entry_count,
        ca: ca(server),
        upstream_authority: match &seen.spire {
            Ok(Some(found)) => found.upstream.as_ref().map(|upstream| upstream.plugin.clone()),
            Ok(None) | Err(_) => None,
        },
        authorities: digests(&server.bundle),
        bundle_endpoint: match &seen.endpoint {
            Ok(Endpoint::Ready(url)) => Some(url.as_str().to_owned()),
            Ok(Endpoint::Pending(_) | Endpoint::Unexposed(_)) | Err(_) => None,
        },
    }
}

/// Counts agents. One that is not ready does not count on a node that is not, or that can have none; but one is wanted in any case.
fn counted(agents: &SeenAgents, nodes: &[SeenNode]) -> Counted {
    let ready = agents.pods.iter().filter(|pod| pod.trouble.is_none()).count();
    let is_passed_over = |name: &String| nodes.iter().any(|node| node.name == *name && node.is_passed_over());
    let unready = agents.pods.iter().filter(|pod| pod.trouble.is_some());
    let left_out = unready.filter(|pod| pod.node.as_ref().is_some_and(is_passed_over)).count();
    let wanted = agents.wanted();
    Counted { ready, desired: wanted.saturating_sub(left_out).max(wanted.min(1)) }
}

fn of_node(node: &SeenNode, agents: &SeenAgents, server: &SeenServer) -> NodeStatus {
    let pod = agents.pods.iter().find(|pod| pod.node.as_ref() == Some(&node.name));
    let attested =
        server.agents.iter().filter(|agent| is_on(agent, node)).max_by_key(|agent| agent.expires_at);
    NodeStatus {
        node: node.name.clone(),
        agent: pod.map(|pod| pod.name.clone()),
        state: node.state.clone(),
        trouble: match &node.state {
            NodeState::NotReady { said } => Some(format!("the node is not ready: {said}")),
            NodeState::Ready | NodeState::Fargate => pod.and_then(|pod| pod.trouble.clone()),
        },
        svid_expires: attested.and_then(|agent| Timestamp::from_second(agent.expires_at).ok()).map(text),
    }
}

/// Tells whether an agent is that of a node: its SPIFFE ID ends with the node's UID (SPIRE, `doc/plugin_server_nodeattestor_k8s_psat.md`).
pub(in super::super) fn is_on(agent: &Agent, node: &SeenNode) -> bool {
    agent.id.path().rsplit('/').next() == Some(node.uid.as_str())
}

fn ca(server: &SeenServer) -> Option<CaStatus> {
    let active = server.authorities.active.as_ref()?;
    let own = server.bundle.with_key_id(&active.id).map(|(_, authority)| authority);
    let time = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    Some(CaStatus {
        id: active.id.clone(),
        since: own.map(|authority| text(time(authority.not_before()))),
        expires: text(time(active.expires_at)),
        replaced: own.map(|authority| text(replaced_at(authority))),
        prepared: server.authorities.prepared.as_ref().map(|prepared| prepared.id.clone()),
        upstream: Some(active.upstream_id.clone()).filter(|id| !id.is_empty()),
    })
}

/// Names what is not as it should be in a cluster.
fn problems(observed: &ObservedCluster, seen: &Seen, spire: Option<&SpireStatus>) -> Vec<String> {
    let mut problems = Vec::new();
    match (&seen.spire, &seen.server_trouble, &seen.server) {
        (Ok(None), ..) => problems.push("no SPIRE server was found".to_owned()),
        (_, Ok(Some(trouble)), _) => problems.push(format!("the SPIRE server is not ready: {}", trouble.why)),
        (_, _, Err(unread)) => problems.push(unread.why.clone()),
        (_, _, Ok(server)) if server.bundle.trust_domain() != observed.trust_domain() => {
            problems.push(format!(
                "its SPIRE server is of trust domain {}, the mesh file says {}",
                server.bundle.trust_domain(),
                observed.trust_domain()
            ));
        }
        _ => {}
    }
    for unread in [seen.agents.as_ref().err(), seen.nodes.as_ref().err()].into_iter().flatten() {
        problems.push(unread.why.clone());
    }
    match &seen.endpoint {
        Ok(Endpoint::Pending(why) | Endpoint::Unexposed(why)) => {
            problems.push(format!("the bundle endpoint has no address that other clusters can reach: {why}"));
        }
        Err(_) if problems.is_empty() => {
            problems.push("the bundle endpoint's address could not be read".to_owned());
        }
        Ok(Endpoint::Ready(_)) | Err(_) => {}
    }
    if let Some(spire) = spire {
        if let Some(agents) = spire.agents.filter(|agents| agents.ready < agents.desired) {
            problems.push(format!("{} of {} agents are ready", agents.ready, agents.desired));
        }
        if spire.ca.is_none() {
            problems.push("the server has no active CA certificate".to_owned());
        }
    }
    problems
}

fn relationship(observed: &Observed, from: &ObservedCluster, to: &ObservedCluster) -> RelationshipStatus {
    let (own, peer) = (from.server(), to.server());
    let bundle = own.and_then(|own| own.stored_bundle(to.trust_domain()));
    let stored = bundle.map(digests).unwrap_or_default();
    let live = peer.map(|peer| digests(&peer.bundle));
    let known = own.and_then(|own| own.relationship(to.trust_domain()));
    let safe_until = match (bundle, peer) {
        (Some(bundle), Some(peer)) => locked_out_after(bundle, &peer.bundle, &peer.authorities),
        _ => None,
    };
    let state = match (own, &live) {
        (Some(_), Some(live)) => RelationshipState::of(known.is_some(), &stored, live),
        _ => RelationshipState::Unknown,
    };
    let state = match state {
        // What it has in common with the peer is not what the peer signs with now.
        RelationshipState::Behind if safe_until.is_some_and(|until| until <= observed.at) => {
            RelationshipState::LockedOut
        }
        state => state,
    };
    RelationshipStatus {
        from: from.name().to_owned(),
        to: to.name().to_owned(),
        state,
        url: known.map(|known| known.url.clone()),
        mutual: peer.map(|peer| peer.relationship(from.trust_domain()).is_some()),
        stored_authorities: stored,
        live_authorities: live,
        refresh: refresh(observed, from, to),
        locked_out_after: safe_until.map(text),
    }
}

fn refresh(observed: &Observed, from: &ObservedCluster, to: &ObservedCluster) -> Refresh {
    let unknown =
        |why: &str| Refresh { state: RefreshState::Unknown, not_before: None, known_from: why.to_owned() };
    let polls = match &from.seen {
        Ok(Seen { polls: Ok(polls), .. }) => polls,
        Ok(Seen { polls: Err(unread), .. }) | Err(unread) => return unknown(&unread.why),
    };
    if from.server().is_some_and(|own| own.relationship(to.trust_domain()).is_none()) {
        return unknown("there is no relationship, so nothing is fetched");
    }
    let polled = polls.of.get(to.trust_domain()).cloned().unwrap_or_default();
    of_log(polls, &polled, to.poll_interval(), observed.at)
}

/// Reads from a server's log how the fetches of one bundle go. A failure is logged each time; so without one in the last two
/// rounds the last round succeeded.
fn of_log(polls: &Polls, polled: &Polled, interval: Duration, now: Timestamp) -> Refresh {
    let rounds = |count: u32| now.checked_sub(interval * count).unwrap_or(Timestamp::MIN);
    let every = format!("the server fetches every {} s", interval.as_secs());
    match (&polled.failed, polled.changed) {
        (Some((at, why)), changed) if *at >= rounds(2) && changed.is_none_or(|changed| changed < *at) => {
            Refresh {
                state: RefreshState::Fails,
                not_before: changed.map(text),
                known_from: format!("the server's log: at {} a fetch failed: {why}", text(*at)),
            }
        }
        (_, Some(changed)) if changed >= rounds(2) => Refresh {
            state: RefreshState::Works,
            not_before: Some(text(changed)),
            known_from: "the server's log: then a fetch brought a new bundle".to_owned(),
        },
        _ if polls.from.is_some_and(|from| from <= rounds(2)) => Refresh {
            state: RefreshState::Works,
            not_before: Some(text(rounds(1))),
            known_from: format!("the server's log: no fetch failed since {}, and {every}", text(rounds(2))),
        },
        _ => Refresh {
            state: RefreshState::Unknown,
            not_before: polled.changed.map(text),
            known_from: format!("the server's log is too short to tell: {every}"),
        },
    }
}

pub(in super::super) fn digests(bundle: &TrustBundle) -> Vec<AuthorityDigest> {
    bundle.authorities().keys().copied().collect()
}

/// Writes a time to the second.
pub(in super::super) fn text(time: Timestamp) -> String {
    time.round(Unit::Second).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests;
