use std::collections::BTreeMap;

use futures::future::{join_all, try_join5};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;

use super::FederationError;
use super::locate::locate;
use super::status::{ClusterStatus, Counted, MeshStatus, RelationshipState, RelationshipStatus, SpireStatus};
use crate::fleet::{Member, RequestError};
use crate::mesh::{ExistingSpire, ManagedSpire, Mesh, Spire};
use crate::spire::desired::AGENT_NAME;
use crate::spire::endpoint::{Endpoint, bundle_endpoint};
use crate::spire::server::Relationship;
use crate::trust::{AuthorityDigest, TrustBundle, TrustDomain};

/// What was read of one cluster.
struct Observed {
    status: SpireStatus,
    stored: Vec<TrustBundle>,
    relationships: Vec<Relationship>,
}

/// Reads how the mesh is, from all clusters at the same time. `unreachable` are the clusters of the mesh that have no
/// member, with the reason.
pub async fn observe(mesh: &Mesh, members: &[Member], unreachable: &BTreeMap<String, String>) -> MeshStatus {
    let read = join_all(members.iter().map(|member| async { (member.name(), read(member).await) })).await;
    let mut read: BTreeMap<&str, Result<Observed, FederationError>> = read.into_iter().collect();
    let mut observed: BTreeMap<&str, Observed> = BTreeMap::new();
    let mut clusters = Vec::new();
    for cluster in &mesh.clusters {
        let mut problems: Vec<String> = unreachable.get(&cluster.name).cloned().into_iter().collect();
        match read.remove(cluster.name.as_str()) {
            Some(Ok(seen)) => {
                problems.extend(trouble(&seen.status));
                observed.insert(&cluster.name, seen);
            }
            Some(Err(error)) => problems.push(chain(&error)),
            None => {}
        }
        clusters.push(ClusterStatus {
            cluster: cluster.name.clone(),
            context: cluster.context.clone(),
            trust_domain: cluster.trust_domain.clone(),
            managed: matches!(cluster.spire, Spire::Managed(_)),
            spire: observed.get(cluster.name.as_str()).map(|seen| seen.status.clone()),
            problems,
        });
    }
    let relationships = pairs(mesh).map(|(from, to)| relationship(from, to, &observed)).collect();
    MeshStatus { mesh: mesh.name.clone(), clusters, relationships }
}

/// Goes through every ordered pair of clusters.
fn pairs(mesh: &Mesh) -> impl Iterator<Item = (Named<'_>, Named<'_>)> {
    let named =
        || mesh.clusters.iter().map(|cluster| Named { name: &cluster.name, domain: &cluster.trust_domain });
    named().flat_map(move |from| named().filter(move |to| to.name != from.name).map(move |to| (from, to)))
}

#[derive(Clone, Copy)]
struct Named<'m> {
    name: &'m str,
    domain: &'m TrustDomain,
}

fn relationship(from: Named<'_>, to: Named<'_>, observed: &BTreeMap<&str, Observed>) -> RelationshipStatus {
    let (own, peer) = (observed.get(from.name), observed.get(to.name));
    let stored = own.and_then(|own| own.stored.iter().find(|bundle| bundle.trust_domain() == to.domain));
    let stored: Vec<AuthorityDigest> = stored.map(digests).unwrap_or_default();
    let live = peer.map(|peer| peer.status.authorities.clone());
    let state = match (own, &live) {
        (Some(own), Some(live)) => {
            let known = own.relationships.iter().any(|known| &known.trust_domain == to.domain);
            RelationshipState::of(known, &stored, live)
        }
        _ => RelationshipState::Unknown,
    };
    RelationshipStatus {
        from: from.name.to_owned(),
        to: to.name.to_owned(),
        state,
        stored_authorities: stored,
        live_authorities: live,
    }
}

async fn read(member: &Member) -> Result<Observed, FederationError> {
    let located = locate(member).await?;
    let server = &located.server;
    let (bundle, stored, relationships, entries, authorities) = try_join5(
        server.bundle(),
        server.stored_bundles(),
        server.relationships(),
        server.entry_count(),
        server.authorities(),
    )
    .await?;
    if bundle.trust_domain() != &member.cluster.trust_domain {
        return Err(FederationError::OtherTrustDomain {
            pod: located.pod(),
            found: bundle.trust_domain().clone(),
            expected: member.cluster.trust_domain.clone(),
        });
    }
    let server_version = match &located.found.version {
        Some(version) => version.clone(),
        None => server.version().await?,
    };
    let endpoint = match &member.cluster.spire {
        Spire::Managed(spire) => bundle_endpoint(member, spire).await?,
        Spire::Existing(ExistingSpire { bundle_endpoint_url: Some(url), .. }) => Endpoint::Ready(url.clone()),
        Spire::Existing(_) => located.found.endpoint(member).await?,
    };
    let agents = match &member.cluster.spire {
        Spire::Managed(spire) => agents(member, spire).await?,
        Spire::Existing(_) => None,
    };
    let status = SpireStatus {
        server_version,
        server_pod: located.pod(),
        agents,
        entries,
        ca_expires: authorities
            .active
            .and_then(|active| Timestamp::from_second(active.expires_at).ok())
            .map(|time| time.to_string()),
        authorities: digests(&bundle),
        bundle_endpoint: match endpoint {
            Endpoint::Ready(url) => Some(url.as_str().to_owned()),
            Endpoint::Pending(_) | Endpoint::Unexposed(_) => None,
        },
    };
    Ok(Observed { status, stored, relationships })
}

async fn agents(member: &Member, spire: &ManagedSpire) -> Result<Option<Counted>, FederationError> {
    let sets: Api<DaemonSet> = Api::namespaced(member.client().clone(), &spire.agent_namespace);
    let set = sets.get_opt(AGENT_NAME).await.map_err(|error| FederationError::Request {
        what: format!("DaemonSet {AGENT_NAME} in namespace {}", spire.agent_namespace),
        source: RequestError::from(&error),
    })?;
    Ok(set
        .and_then(|set| set.status)
        .map(|status| Counted { ready: status.number_ready, desired: status.desired_number_scheduled }))
}

fn digests(bundle: &TrustBundle) -> Vec<AuthorityDigest> {
    bundle.authorities().keys().copied().collect()
}

/// Names what is not as it should be in a cluster whose server answers.
fn trouble(status: &SpireStatus) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(agents) = status.agents
        && agents.ready < agents.desired
    {
        problems.push(format!("{} of {} agents are ready", agents.ready, agents.desired));
    }
    if status.ca_expires.is_none() {
        problems.push("the server has no active CA certificate".to_owned());
    }
    if status.bundle_endpoint.is_none() {
        problems.push("the bundle endpoint has no address that other clusters can reach".to_owned());
    }
    problems
}

fn chain(error: &FederationError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
