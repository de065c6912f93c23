//! How a mesh is: every cluster's SPIRE, and every ordered pair of clusters. Derived from what was read of it.

mod derive;

use serde::Serialize;

pub(super) use derive::{digests, is_on, text};

use crate::manifest::NodeState;
use crate::trust::{AuthorityDigest, TrustDomain};

/// How a mesh is. The shape of its JSON is a promise.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshStatus {
    /// Name of the mesh.
    pub mesh: String,
    /// One for each cluster, in the order of the mesh file.
    pub clusters: Vec<ClusterStatus>,
    /// One for each ordered pair of clusters.
    pub relationships: Vec<RelationshipStatus>,
}

impl MeshStatus {
    /// Tells whether every cluster's SPIRE is at work and every pair trusts each other.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.clusters.iter().all(ClusterStatus::is_healthy)
            && self.relationships.iter().all(|relationship| relationship.state == RelationshipState::Current)
    }

    /// Tells whether both say the same, apart from the times that go on by themselves.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.without_times() == other.without_times()
    }

    fn without_times(&self) -> Self {
        let mut status = self.clone();
        for relationship in &mut status.relationships {
            relationship.refresh.not_before = None;
            relationship.refresh.known_from.clear();
        }
        for node in status
            .clusters
            .iter_mut()
            .filter_map(|cluster| cluster.spire.as_mut())
            .flat_map(|spire| &mut spire.nodes)
        {
            node.svid_expires = None;
        }
        status
    }
}

/// How one cluster's SPIRE is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Name of the cluster.
    pub cluster: String,
    /// Its kubeconfig context.
    pub context: String,
    /// Its trust domain, as the mesh file names it.
    pub trust_domain: TrustDomain,
    /// Who looks after its SPIRE.
    pub managed: bool,
    /// What was read of its SPIRE; absent when it could not be read.
    pub spire: Option<SpireStatus>,
    /// Why it is not as it should be, one sentence each.
    pub problems: Vec<String>,
}

impl ClusterStatus {
    /// Tells whether its SPIRE is at work.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.spire.is_some() && self.problems.is_empty()
    }
}

/// What a cluster's SPIRE says of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpireStatus {
    /// Version of the server.
    pub server_version: String,
    /// Namespace and name of the server's pod.
    pub server_pod: String,
    /// Agents that are ready, and that there should be; absent where the agents were not found.
    pub agents: Option<Counted>,
    /// The agent of each node; empty where the agents were not found.
    pub nodes: Vec<NodeStatus>,
    /// Registration entries.
    pub entries: u64,
    /// The CA certificate that signs; absent when the server has none.
    pub ca: Option<CaStatus>,
    /// Name of the server's plugin that has its CA certificate signed, such as `cert-manager`; absent where it signs itself.
    pub upstream_authority: Option<String>,
    /// Digests of the authorities that verify its SVIDs.
    pub authorities: Vec<AuthorityDigest>,
    /// Address of its bundle endpoint; absent while it has none.
    pub bundle_endpoint: Option<String>,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// How many are ready.
    pub ready: usize,
    /// How many there should be.
    pub desired: usize,
}

/// The agent of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Name of the node.
    pub node: String,
    /// Name of the agent's pod; absent where the node has none.
    pub agent: Option<String>,
    /// Whether the node can have an agent: `ready`, `not-ready` or `fargate`.
    pub state: NodeState,
    /// Why the node is not ready, or, where it is, the agent's pod; absent where both are, or where there is no pod.
    pub trouble: Option<String>,
    /// End of the agent's SVID, RFC 3339, UTC; absent where the server does not know the agent.
    pub svid_expires: Option<String>,
}

/// A server's CA certificate. Times are RFC 3339, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaStatus {
    /// Subject key identifier, in hexadecimal: SPIRE's ID of the authority.
    pub id: String,
    /// Start of its validity; absent where an upstream authority signed it, so that it is not in the bundle.
    pub since: Option<String>,
    /// End of its validity.
    pub expires: String,
    /// When the server goes on with the next one; absent like `since`.
    pub replaced: Option<String>,
    /// ID of the CA that is ready to follow; absent where there is none.
    pub prepared: Option<String>,
    /// ID of the upstream authority that signed it; absent where it signed itself.
    pub upstream: Option<String>,
}

/// Whether the server of one cluster can verify the SVIDs of another.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RelationshipStatus {
    /// Name of the cluster that trusts.
    pub from: String,
    /// Name of the cluster that is trusted.
    pub to: String,
    /// How it is.
    pub state: RelationshipState,
    /// Address from which `from` fetches the bundle of `to`; absent without a relationship, or where it could not be asked.
    pub url: Option<String>,
    /// Whether `to` has a relationship with `from` too; absent when it could not be asked.
    pub mutual: Option<bool>,
    /// Digests of the authorities that `from` holds for `to`'s trust domain.
    pub stored_authorities: Vec<AuthorityDigest>,
    /// Digests of the authorities that `to` itself holds; absent when it could not be asked.
    pub live_authorities: Option<Vec<AuthorityDigest>>,
    /// How `from`'s regular fetches of the bundle go.
    pub refresh: Refresh,
    /// Until when `from` can miss every fetch and still verify what `to` signs, RFC 3339, UTC; absent where it cannot be told.
    pub locked_out_after: Option<String>,
}

/// How a server's regular fetches of a peer's bundle go. SPIRE keeps no record of them: this is what its log tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refresh {
    /// How they go.
    pub state: RefreshState,
    /// The last one that succeeded was not before this, RFC 3339, UTC; absent where that is not known.
    pub not_before: Option<String>,
    /// How that is known.
    pub known_from: String,
}

/// How a server's regular fetches of a peer's bundle go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RefreshState {
    /// The last one succeeded.
    Works,
    /// The last one failed.
    Fails,
    /// The log is too short, or could not be read.
    Unknown,
}

/// How a relationship is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelationshipState {
    /// The server has a relationship, and holds exactly the peer's live authorities.
    Current,
    /// The server has a relationship and some of the peer's authorities; the next refresh brings the others.
    Behind,
    /// The server has a relationship and authorities, and none of them is what the peer signs with: it cannot recover by
    /// itself.
    LockedOut,
    /// The server has a relationship and never got a bundle.
    NoBundle,
    /// The server holds the peer's bundle, and has no relationship that would keep it up to date.
    NoRelationship,
    /// The server has neither a relationship nor a bundle.
    Absent,
    /// One of the two could not be asked.
    Unknown,
}

impl RelationshipState {
    /// Derives the state from what both sides hold. Each list of digests is sorted.
    #[must_use]
    pub fn of(has_relationship: bool, stored: &[AuthorityDigest], live: &[AuthorityDigest]) -> Self {
        match (has_relationship, stored.is_empty()) {
            (false, true) => Self::Absent,
            (false, false) => Self::NoRelationship,
            (true, true) => Self::NoBundle,
            (true, false) if stored == live => Self::Current,
            (true, false) if stored.iter().any(|digest| live.contains(digest)) => Self::Behind,
            (true, false) => Self::LockedOut,
        }
    }

    /// Returns the word for tables, which is also the word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Behind => "behind",
            Self::LockedOut => "locked-out",
            Self::NoBundle => "no-bundle",
            Self::NoRelationship => "no-relationship",
            Self::Absent => "absent",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(seeds: &[&str]) -> Vec<AuthorityDigest> {
        let mut digests: Vec<_> = seeds.iter().map(|seed| AuthorityDigest::of(seed.as_bytes())).collect();
        digests.sort_unstable();
        digests
    }

    #[test]
    fn a_relationship_is_current_only_with_exactly_the_live_authorities() {
        let state = |has, stored: &[&str], live: &[&str]| {
            RelationshipState::of(has, &digests(stored), &digests(live))
        };
        assert_eq!(state(true, &["a", "b"], &["b", "a"]), RelationshipState::Current);
        assert_eq!(state(true, &["a"], &["a", "b"]), RelationshipState::Behind);
        assert_eq!(state(true, &["a", "b"], &["b"]), RelationshipState::Behind);
        assert_eq!(state(true, &["a"], &["b"]), RelationshipState::LockedOut);
        assert_eq!(state(true, &[], &["b"]), RelationshipState::NoBundle);
        assert_eq!(state(false, &["a"], &["a"]), RelationshipState::NoRelationship);
        assert_eq!(state(false, &[], &["a"]), RelationshipState::Absent);
    }
}
