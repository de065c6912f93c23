//! How a mesh is: every cluster's SPIRE, and every ordered pair of clusters.

use serde::Serialize;

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
    /// Registration entries.
    pub entries: u64,
    /// End of the active CA certificate, RFC 3339, UTC; absent when the server has none.
    pub ca_expires: Option<String>,
    /// Digests of the authorities that verify its SVIDs.
    pub authorities: Vec<AuthorityDigest>,
    /// Address of its bundle endpoint; absent while it has none.
    pub bundle_endpoint: Option<String>,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// How many are ready.
    pub ready: i32,
    /// How many there should be.
    pub desired: i32,
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
    /// Digests of the authorities that `from` holds for `to`'s trust domain.
    pub stored_authorities: Vec<AuthorityDigest>,
    /// Digests of the authorities that `to` itself holds; absent when it could not be asked.
    pub live_authorities: Option<Vec<AuthorityDigest>>,
}

/// How a relationship is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelationshipState {
    /// The server has a relationship, and holds exactly the peer's live authorities.
    Current,
    /// The server has a relationship and some of the peer's authorities; the next refresh brings the others.
    Behind,
    /// The server has a relationship and authorities, and none of them is the peer's: it cannot recover by itself.
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
