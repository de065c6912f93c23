//! What was read of a mesh, before anybody judges it: plain data, so that a status and a check are pure functions of it.
//!
//! Every part that is read on its own is a [`Read`]: what could not be read says why, and the rest goes on.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Taint;

use crate::fleet::{Cause, ExecProblem, Need, Read, Unread};
use crate::manifest::NodeState;
use crate::mesh::{Cluster, Mesh};
use crate::spire::crd::ClusterFederatedTrustDomain;
use crate::spire::discovery::{FoundAgents, FoundSpire};
use crate::spire::endpoint::Endpoint;
use crate::spire::polls::Polls;
use crate::spire::server::{Agent, LocalAuthorities, Relationship, ServerError};
use crate::trust::{TrustBundle, TrustDomain};

/// Takes what asking a server in `namespace` ended with.
pub(super) fn server_unread(namespace: &str, error: &ServerError) -> Unread {
    if let ServerError::Exec { source, .. } = error
        && let ExecProblem::Request(request) = &source.problem
        && request.cause() == Cause::Forbidden
    {
        return Unread::request(&Need::exec(Some(namespace)), request);
    }
    Unread::error(error)
}

/// A mesh as it was found.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What the mesh file says.
    pub mesh: Mesh,
    /// One for each cluster, in the order of the mesh file.
    pub clusters: Vec<ObservedCluster>,
    /// When it was read.
    pub at: Timestamp,
}

/// One cluster as it was found.
#[derive(Clone, Debug)]
pub struct ObservedCluster {
    /// What the mesh file says about it.
    pub cluster: Cluster,
    /// What was read from it; the reason where it could not be reached.
    pub seen: Read<Seen>,
}

/// What was read from a cluster that can be reached.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The SPIRE server that the mesh file means; `None` where there is none.
    pub spire: Read<Option<FoundSpire>>,
    /// Why the server's pod is not ready, and since when. `None` where it is.
    pub server_trouble: Read<Option<Trouble>>,
    /// What the server itself says.
    pub server: Read<SeenServer>,
    /// Where other clusters reach its bundle endpoint.
    pub endpoint: Read<Endpoint>,
    /// How its server's regular fetches of its peers' bundles went, from the server's log.
    pub polls: Read<Polls>,
    /// The agents; `None` where they are not found.
    pub agents: Read<Option<SeenAgents>>,
    /// All nodes.
    pub nodes: Read<Vec<SeenNode>>,
    /// All relationship objects, of any class.
    pub relationship_objects: Read<Vec<ClusterFederatedTrustDomain>>,
}

/// Why a pod is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What its containers, events and volumes say.
    pub why: String,
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
}

/// What a SPIRE server says of itself.
#[derive(Clone, Debug)]
pub struct SeenServer {
    /// Namespace and name of its pod.
    pub pod: String,
    /// Its version.
    pub version: String,
    /// The bundle of its own trust domain.
    pub bundle: TrustBundle,
    /// Its own CA certificates.
    pub authorities: LocalAuthorities,
    /// The bundles of other trust domains that it holds.
    pub stored: Vec<TrustBundle>,
    /// Its dynamic relationships.
    pub relationships: Vec<Relationship>,
    /// The agents that attested.
    pub agents: Vec<Agent>,
    /// How many registration entries it has.
    pub entry_count: u64,
}

/// A cluster's agents.
#[derive(Clone, Debug)]
pub struct SeenAgents {
    /// Where they were found, and how they are configured.
    pub found: FoundAgents,
    /// Their pods, by node.
    pub pods: Vec<SeenAgentPod>,
}

/// An agent's pod.
#[derive(Clone, Debug)]
pub struct SeenAgentPod {
    /// Its name.
    pub name: String,
    /// The node that it is on, or waits for.
    pub node: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Why it is not ready; `None` where it is.
    pub trouble: Option<String>,
}

/// A node, as far as SPIRE cares.
#[derive(Clone, Debug)]
pub struct SeenNode {
    /// Its name.
    pub name: String,
    /// Its UID, which is the last part of its agent's SPIFFE ID.
    pub uid: String,
    /// When its object was made.
    pub created: Option<Timestamp>,
    /// Whether it can have an agent.
    pub state: NodeState,
    /// What keeps pods away that do not tolerate it.
    pub taints: Vec<Taint>,
}

impl SeenAgents {
    /// Returns how many there should be: one for each node of their controller, and at least those that there are.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.found.desired.max(self.pods.len())
    }
}

impl SeenNode {
    /// Tells whether nobody waits for a pod to be ready there.
    #[must_use]
    pub fn is_passed_over(&self) -> bool {
        self.state != NodeState::Ready
    }
}

impl SeenServer {
    /// Returns the bundle of another trust domain that it holds.
    #[must_use]
    pub fn stored_bundle(&self, peer: &TrustDomain) -> Option<&TrustBundle> {
        self.stored.iter().find(|bundle| bundle.trust_domain() == peer)
    }

    /// Returns its relationship with another trust domain.
    #[must_use]
    pub fn relationship(&self, peer: &TrustDomain) -> Option<&Relationship> {
        self.relationships.iter().find(|known| &known.trust_domain == peer)
    }
}

impl Observed {
    /// Goes through every ordered pair of clusters, the one that trusts first.
    pub fn pairs(&self) -> impl Iterator<Item = (&ObservedCluster, &ObservedCluster)> {
        self.clusters.iter().flat_map(move |from| {
            self.clusters.iter().filter(move |to| to.name() != from.name()).map(move |to| (from, to))
        })
    }

    /// Returns a cluster by its name.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&ObservedCluster> {
        self.clusters.iter().find(|cluster| cluster.name() == name)
    }
}

impl ObservedCluster {
    /// Returns the cluster's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.cluster.name
    }

    /// Returns its trust domain, as the mesh file says.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.cluster.trust_domain
    }

    /// Returns what its server says, where it could be asked.
    #[must_use]
    pub fn server(&self) -> Option<&SeenServer> {
        self.seen.as_ref().ok()?.server.as_ref().ok()
    }

    /// Returns its SPIRE, where it was found.
    #[must_use]
    pub fn spire(&self) -> Option<&FoundSpire> {
        self.seen.as_ref().ok()?.spire.as_ref().ok()?.as_ref()
    }

    /// Returns how often its peers' servers fetch its bundle: a quarter of its refresh hint, which counts as a minute at least
    /// (SPIRE, `pkg/common/bundleutil/refreshhint.go`).
    #[must_use]
    pub fn poll_interval(&self) -> Duration {
        let hint = match &self.cluster.spire {
            crate::mesh::Spire::Managed(spire) => spire.bundle_endpoint.refresh_hint,
            crate::mesh::Spire::Existing(_) => Duration::from_mins(5),
        };
        hint.max(Duration::from_mins(1)) / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::sample::{NAMES, domain, observed, peers, url};
    use crate::fleet::{ExecError, ExecTarget, RequestError};
    use crate::mesh::Spire;

    #[test]
    fn every_ordered_pair_is_there_once_and_everything_is_found_by_its_name() {
        let observed = observed();
        let pairs: Vec<(&str, &str)> = observed.pairs().map(|(from, to)| (from.name(), to.name())).collect();
        let all: Vec<(&str, &str)> =
            NAMES.iter().flat_map(|from| peers(from).into_iter().map(move |to| (*from, to))).collect();
        assert_eq!(pairs, all);
        assert_eq!(pairs.len(), 6);
        for name in NAMES {
            let cluster = observed.cluster(name).unwrap();
            assert_eq!((cluster.name(), cluster.trust_domain()), (name, &domain(name)));
            let server = cluster.server().unwrap();
            for peer in peers(name) {
                assert_eq!(server.stored_bundle(&domain(peer)).unwrap().trust_domain(), &domain(peer));
                assert_eq!(server.relationship(&domain(peer)).unwrap().url, url(peer));
            }
            assert!(
                server.stored_bundle(&domain(name)).is_none() && server.relationship(&domain(name)).is_none()
            );
        }
        assert!(observed.cluster("qux").is_none());
    }

    #[test]
    fn peers_fetch_four_times_in_a_refresh_hint_of_a_minute_at_least() {
        let mut clusters = observed().clusters;
        assert_eq!(clusters[1].poll_interval(), Duration::from_secs(75));
        let mut every = |hint: u64| {
            if let Spire::Managed(spire) = &mut clusters[2].cluster.spire {
                spire.bundle_endpoint.refresh_hint = Duration::from_secs(hint);
            }
            clusters[2].poll_interval().as_millis()
        };
        assert_eq!([every(10), every(60), every(62), every(600)], [15_000, 15_000, 15_500, 150_000]);
    }

    #[test]
    fn a_server_that_may_not_be_asked_is_told_apart_from_one_that_does_not_answer() {
        let exec = |problem| ServerError::Exec {
            cluster: "baz".to_owned(),
            command: "bundle show",
            source: Box::new(ExecError {
                at: ExecTarget {
                    namespace: "spire-server".to_owned(),
                    pod: "spire-server-0".to_owned(),
                    container: "spire-server".to_owned(),
                },
                program: "spire-server".to_owned(),
                context: "baz".to_owned(),
                problem,
            }),
        };
        let asked = |cause| {
            let refused = ExecProblem::Request(RequestError::new(cause, "no"));
            server_unread("spire-server", &exec(refused))
        };
        let missing = asked(Cause::Forbidden);
        assert_eq!(missing.why, "you may not get pods/exec in namespace spire-server");
        assert_eq!(missing.need.unwrap().resource, "pods/exec");
        let gone = asked(Cause::NotFound);
        assert_eq!(gone.need, None);
        assert!(gone.why.starts_with("cannot run `spire-server bundle show`: "), "{}", gone.why);
        let broken = server_unread("spire-server", &exec(ExecProblem::TooMuch));
        assert_eq!(broken.need, None);
        assert!(broken.why.ends_with(": it wrote more than 64 MiB"), "{}", broken.why);
        let failed = server_unread(
            "spire-server",
            &ServerError::Failed {
                cluster: "baz".to_owned(),
                context: "baz".to_owned(),
                namespace: "spire-server".to_owned(),
                pod: "spire-server-0".to_owned(),
                command: "bundle show",
                exit: 1,
                stderr: "no".to_owned(),
            },
        );
        assert!(failed.need.is_none() && failed.hint.unwrap().to_string().contains("logs spire-server-0"));
    }
}
