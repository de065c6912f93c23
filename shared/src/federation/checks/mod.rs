//! The catalogue of checks on SPIRE and its federation. Each is a pure function of what [`super::examine()`] read.
//!
//! The order is that of causes: a cluster before its server, a server before the pairs it is in, a pair before the pods that
//! need it. `docs/checks.md` has a section for each.

mod agents;
mod fetch;
mod pairs;
mod server;
mod upstream;
mod workloads;

pub(crate) use server::missing_rights;

use std::fmt;

use super::examined::{Details, Examined};
use super::observed::{Observed, ObservedCluster, Seen};
use crate::check::{Check, CheckId, Finding, Scope, Verification};
use crate::hint::{Advice, Command, Plugin, word};
use crate::mesh::Spire;

/// The command that makes everything as the mesh file has it.
fn up() -> Command {
    Plugin::SpireFederate.up()
}
/// The command that makes the repairs of this catalogue.
fn fix() -> Command {
    Plugin::SpireFederate.command(["verify", "--fix"])
}

pub(super) const REACHABLE: CheckId = CheckId("cluster-reachable");
pub(super) const SPIRE_FOUND: CheckId = CheckId("spire-found");
pub(super) const UPSTREAM_ISSUER: CheckId = CheckId("upstream-issuer");
pub(super) const SERVER_READY: CheckId = CheckId("server-ready");
pub(super) const TRUST_DOMAIN: CheckId = CheckId("trust-domain");
pub(super) const BUNDLE_ENDPOINT: CheckId = CheckId("bundle-endpoint");
pub(super) const RELATIONSHIP: CheckId = CheckId("relationship");
pub(super) const BUNDLE_STORED: CheckId = CheckId("bundle-stored");
const UPSTREAM_REQUEST: CheckId = CheckId("upstream-request");
const WEBHOOK: CheckId = CheckId("webhook");
const ENTRIES: CheckId = CheckId("entries");
const IDENTITY_OBJECTS: CheckId = CheckId("identity-objects");
const BUNDLE_FETCHED: CheckId = CheckId("bundle-fetched");
const CSI_DRIVER: CheckId = CheckId("csi-driver");
const AGENTS: CheckId = CheckId("agents");
const ONE_SERVER: CheckId = CheckId("one-server");
const BOOTSTRAP_BUNDLE: CheckId = CheckId("bootstrap-bundle");

/// Every check on SPIRE and its federation.
pub const CATALOGUE: [Check<Examined, Repair>; 24] = [
    Check { id: REACHABLE, title: "every cluster answers", needs: &[], run: server::reachable },
    Check {
        id: CheckId("rights"),
        title: "you may read what is checked",
        needs: &[REACHABLE],
        run: server::rights,
    },
    Check {
        id: CheckId("clocks"),
        title: "the clusters' clocks agree",
        needs: &[REACHABLE],
        run: server::clocks,
    },
    Check { id: SPIRE_FOUND, title: "there is a SPIRE server", needs: &[REACHABLE], run: server::found },
    Check {
        id: UPSTREAM_ISSUER,
        title: "the issuer of the server's CA certificate is ready, and reserved for it",
        needs: &[SPIRE_FOUND],
        run: upstream::issuer,
    },
    Check {
        id: UPSTREAM_REQUEST,
        title: "the issuer signs what the server requests",
        needs: &[UPSTREAM_ISSUER],
        run: upstream::request,
    },
    Check { id: SERVER_READY, title: "the server answers", needs: &[SPIRE_FOUND], run: server::ready },
    Check {
        id: ONE_SERVER,
        title: "there is one server for the one database",
        needs: &[SPIRE_FOUND],
        run: server::alone,
    },
    Check {
        id: TRUST_DOMAIN,
        title: "everybody means the same trust domain, and no other cluster does",
        needs: &[SERVER_READY],
        run: server::trust_domain,
    },
    Check {
        id: CheckId("ca-lifetime"),
        title: "the CA is renewed in time",
        needs: &[SERVER_READY],
        run: server::ca_lifetime,
    },
    Check {
        id: CheckId("upstream-root"),
        title: "the server's bundle holds the authority that signed its CA certificate, and that lasts",
        needs: &[SERVER_READY],
        run: upstream::root,
    },
    Check {
        id: CheckId("rotation"),
        title: "no rotation of a CA is half done",
        needs: &[SERVER_READY],
        run: server::rotation,
    },
    Check {
        id: WEBHOOK,
        title: "the controller-manager's webhook accepts objects",
        needs: &[SERVER_READY],
        run: server::webhook,
    },
    Check {
        id: BOOTSTRAP_BUNDLE,
        title: "agents start from the server's bundle",
        needs: &[SERVER_READY, ONE_SERVER],
        run: agents::bootstrap_bundle,
    },
    Check {
        id: AGENTS,
        title: "every node's agent has attested",
        needs: &[SERVER_READY, ONE_SERVER],
        run: agents::on_nodes,
    },
    Check {
        id: CheckId("agent-bundle-names"),
        title: "agents serve all bundles under the name that Istio asks for",
        needs: &[SPIRE_FOUND],
        run: agents::bundle_names,
    },
    Check {
        id: CSI_DRIVER,
        title: "every node's kubelet knows the CSI driver",
        needs: &[REACHABLE],
        run: agents::csi_driver,
    },
    Check {
        id: BUNDLE_ENDPOINT,
        title: "the bundle endpoint presents the server's own SVID",
        needs: &[SERVER_READY, ONE_SERVER, TRUST_DOMAIN],
        run: server::bundle_endpoint,
    },
    Check {
        id: RELATIONSHIP,
        title: "the server has the relationship that the mesh file means",
        needs: &[SERVER_READY, TRUST_DOMAIN],
        run: pairs::relationship,
    },
    Check {
        id: BUNDLE_STORED,
        title: "the server holds the authority that the peer signs with",
        needs: &[SERVER_READY, ONE_SERVER, TRUST_DOMAIN],
        run: pairs::bundle_stored,
    },
    Check {
        id: BUNDLE_FETCHED,
        title: "the server fetches the peer's bundle from its endpoint",
        needs: &[RELATIONSHIP, BUNDLE_STORED, BUNDLE_ENDPOINT],
        run: fetch::fetched,
    },
    Check {
        id: IDENTITY_OBJECTS,
        title: "every ClusterSPIFFEID gives its pods an entry",
        needs: &[SERVER_READY, ONE_SERVER],
        run: workloads::identity_objects,
    },
    Check {
        id: ENTRIES,
        title: "every workload has one registration entry, with all peers",
        needs: &[SERVER_READY, ONE_SERVER],
        run: workloads::entries,
    },
    Check {
        id: CheckId("pods-on-spire"),
        title: "every Istio proxy gets its certificate from SPIRE",
        needs: &[REACHABLE],
        run: workloads::on_spire,
    },
];

/// Tells whether something that fails may pass without anybody's doing, because what was applied takes effect in a moment.
pub(crate) fn settles_by_itself(id: CheckId) -> bool {
    const SETTLING: [CheckId; 12] = [
        UPSTREAM_REQUEST,
        SERVER_READY,
        WEBHOOK,
        BOOTSTRAP_BUNDLE,
        AGENTS,
        CSI_DRIVER,
        BUNDLE_ENDPOINT,
        RELATIONSHIP,
        BUNDLE_STORED,
        BUNDLE_FETCHED,
        // The controller-manager says what became of entries when it has looked again.
        IDENTITY_OBJECTS,
        ENTRIES,
    ];
    SETTLING.contains(&id)
}

/// Something that can be repaired without asking anybody what he wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repair {
    /// Carry the bundle of `to` to the server of `from` over the Kubernetes API.
    CarryBundle {
        /// The cluster that trusts.
        from: String,
        /// The cluster that is trusted.
        to: String,
    },
    /// Delete the pods of agents, which then start again from the server's bundle.
    RestartAgents {
        /// The cluster.
        cluster: String,
        /// Their namespace.
        namespace: String,
        /// Their names.
        pods: Vec<String>,
    },
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CarryBundle { from, to } => {
                write!(f, "carry the bundle of {to} to {from} over the Kubernetes API")
            }
            Self::RestartAgents { cluster, pods, .. } => {
                write!(f, "{cluster}: start the agents again: {}", pods.join(", "))
            }
        }
    }
}

/// Takes every check.
#[must_use]
pub fn verify(examined: &Examined) -> Verification<Repair> {
    crate::check::run(&CATALOGUE, examined)
}

type Findings = Vec<Finding<Repair>>;

/// What is known of a cluster that can be reached.
#[derive(Clone, Copy)]
struct Reached<'e> {
    cluster: &'e ObservedCluster,
    all: &'e Observed,
    seen: &'e Seen,
    details: &'e Details,
}

impl<'e> Reached<'e> {
    fn name(&self) -> &str {
        self.cluster.name()
    }

    /// Goes through the other clusters of the mesh.
    fn peers(&self) -> impl Iterator<Item = &'e ObservedCluster> + use<'e> {
        let own = self.cluster;
        self.all.clusters.iter().filter(move |peer| peer.name() != own.name())
    }

    fn scope(&self) -> Scope {
        Scope::cluster(self.name())
    }

    fn object(&self, object: impl Into<String>) -> Scope {
        Scope::object(self.name(), object)
    }

    /// Begins a command for this cluster.
    fn kubectl(&self) -> String {
        kubectl(self.cluster)
    }

    /// Says what an error advises that happened in this cluster.
    fn told(&self, advice: Advice) -> String {
        advice.at(&self.cluster.cluster.context).into()
    }

    /// Says what to do about something of SPIRE itself: where it is somebody else's, `theirs`.
    fn next(&self, theirs: String) -> String {
        match &self.cluster.cluster.spire {
            Spire::Managed(_) => up().into(),
            Spire::Existing(_) => theirs,
        }
    }

    /// Writes a command that asks the server itself.
    fn spire_server(&self, arguments: &str) -> String {
        let Some(found) = self.cluster.spire() else { return format!("spire-server {arguments}") };
        let socket = found.socket_path.as_ref().map(|path| format!(" -socketPath {}", word(path)));
        format!(
            "{} -n {} exec {} -c {} -- {} {arguments}{}",
            self.kubectl(),
            found.namespace,
            found.pod.as_deref().unwrap_or("spire-server-0"),
            found.container,
            word(&found.binary),
            socket.unwrap_or_default()
        )
    }
}

/// Begins a command for a cluster.
fn kubectl(cluster: &ObservedCluster) -> String {
    Command::kubectl([""; 0]).at(&cluster.cluster.context).into()
}

/// Goes through the clusters that can be reached.
fn reached(examined: &Examined) -> impl Iterator<Item = Reached<'_>> {
    examined.observed.clusters.iter().filter_map(|cluster| {
        let seen = cluster.seen.as_ref().ok()?;
        Some(Reached { cluster, all: &examined.observed, seen, details: examined.details(cluster.name())? })
    })
}

/// Asks something of every cluster; of one that cannot be reached nothing can be known.
fn of_each(examined: &Examined, check: impl Fn(Reached<'_>) -> Findings) -> Findings {
    let unreachable = examined.observed.clusters.iter().filter_map(|cluster| {
        let unread = cluster.seen.as_ref().err()?;
        Some(Finding::skip(Scope::cluster(cluster.name()), &unread.why))
    });
    unreachable.chain(reached(examined).flat_map(check)).collect()
}

#[cfg(test)]
mod tests;
