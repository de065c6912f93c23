//! The catalogue of checks on Istio over several clusters. Each is a pure function of what [`super::examine()`] read. Those on SPIRE come
//! before them: a sidecar without an identity is not Istio's fault.
//!
//! The order is that of causes: istiod before what it knows, what it knows before what proxies do with it. `docs/checks.md` has a section for
//! each.

mod istiod;
mod pairs;
mod proxies;
mod rules;
mod sidecars;
#[cfg(test)]
mod tests;

use std::fmt;

use super::examined::{Examined, Seen};
use crate::check::{Check, CheckId, Finding, Scope, Verification};
use crate::federation::{self};
use crate::hint::{Command, Plugin};
use crate::mesh::{Cluster, Mesh};

/// The command that makes everything as the mesh file has it.
fn up() -> Command {
    Plugin::MeshInstall.up()
}
/// The command that makes the repairs of this catalogue.
fn fix() -> Command {
    Plugin::MeshInstall.command(["verify", "--fix"])
}

const REACHABLE: CheckId = CheckId("cluster-reachable");
const ENTRIES: CheckId = CheckId("entries");
const BUNDLE_STORED: CheckId = CheckId("bundle-stored");
const ISTIOD_READY: CheckId = CheckId("istiod-ready");
const MESH_CONFIG: CheckId = CheckId("mesh-trust-domains");
const NETWORK_LABEL: CheckId = CheckId("network-label");
const GATEWAY_ADDRESS: CheckId = CheckId("gateway-address");
const GATEWAY_LISTENER: CheckId = CheckId("gateway-listener");
const REMOTE_SECRET: CheckId = CheckId("remote-secret");
pub(super) const ISTIOD_SYNCED: CheckId = CheckId("istiod-synced");
pub(super) const WAY_OPEN: CheckId = CheckId("way-open");
pub(super) const ENDPOINT_IDENTITIES: CheckId = CheckId("endpoint-identities");
const PROXY_IDENTITY: CheckId = CheckId("proxy-identity");
const ISTIOD_CA: CheckId = CheckId("istiod-ca");
const INJECTION_FORM: CheckId = CheckId("injection-form");
const INJECTION_WEBHOOK: CheckId = CheckId("injection-webhook");
const PODS_MADE: CheckId = CheckId("pods-made");
const NETWORK_KNOWN: CheckId = CheckId("network-known");
const PROXY_EXPECTS: CheckId = CheckId("proxy-expects");
const PROXY_BUNDLES: CheckId = CheckId("proxy-bundles");
const PROXY_ADMITS: CheckId = CheckId("proxy-admits");
pub(super) const MUTUAL_TLS: CheckId = CheckId("mutual-tls");

/// Every check on Istio.
pub const CATALOGUE: [Check<Examined, Repair>; 23] = [
    Check {
        id: CheckId("istio-rights"),
        title: "you may read what is checked of Istio",
        needs: &[REACHABLE],
        run: istiod::rights,
    },
    Check { id: ISTIOD_READY, title: "istiod answers", needs: &[REACHABLE], run: istiod::ready },
    Check {
        id: CheckId("istio-versions"),
        title: "the versions of Istio work together",
        needs: &[ISTIOD_READY],
        run: istiod::versions,
    },
    Check {
        id: ISTIOD_CA,
        title: "istiod signs with the CA that it is to have",
        needs: &[ISTIOD_READY],
        run: istiod::authority,
    },
    Check {
        id: MESH_CONFIG,
        title: "istiod has the cluster's trust domain and admits those of the others",
        needs: &[ISTIOD_READY],
        run: istiod::trust_domains,
    },
    Check {
        id: CheckId("trust-domains-apart"),
        title: "the trust domains keep their rights apart",
        needs: &[ISTIOD_READY],
        run: istiod::aliases,
    },
    Check {
        id: INJECTION_FORM,
        title: "sidecars are given SPIRE's socket, in the form that istiod gives them",
        needs: &[REACHABLE],
        run: istiod::injection,
    },
    Check {
        id: INJECTION_WEBHOOK,
        title: "the API server has istiod give new pods their sidecar",
        needs: &[ISTIOD_READY],
        run: sidecars::webhook,
    },
    Check {
        id: CheckId("sidecars"),
        title: "every pod that asks for a sidecar has one",
        needs: &[INJECTION_WEBHOOK],
        run: sidecars::sidecars,
    },
    Check {
        id: PODS_MADE,
        title: "pods that ask for a sidecar can be made",
        needs: &[INJECTION_FORM, INJECTION_WEBHOOK],
        run: sidecars::pods_made,
    },
    Check {
        id: NETWORK_LABEL,
        title: "istiod knows which network the cluster is in",
        needs: &[REACHABLE],
        run: istiod::network_label,
    },
    Check {
        id: GATEWAY_ADDRESS,
        title: "the gateways run, and other networks have an address to come in at",
        needs: &[REACHABLE],
        run: istiod::gateways,
    },
    Check {
        id: GATEWAY_LISTENER,
        title: "the east-west gateway listens for other networks",
        needs: &[REACHABLE],
        run: istiod::listener,
    },
    Check {
        id: REMOTE_SECRET,
        title: "istiod has a remote secret for the other cluster, and that cluster takes its token",
        needs: &[REACHABLE],
        run: pairs::remote_secret,
    },
    Check {
        id: ISTIOD_SYNCED,
        title: "istiod has read the other cluster",
        needs: &[ISTIOD_READY, REMOTE_SECRET],
        run: pairs::synced,
    },
    Check {
        id: WAY_OPEN,
        title: "the other network's gateway is reached",
        needs: &[GATEWAY_ADDRESS, GATEWAY_LISTENER],
        run: pairs::way_open,
    },
    Check {
        id: NETWORK_KNOWN,
        title: "istiod knows the way into the other network",
        needs: &[ISTIOD_SYNCED, GATEWAY_ADDRESS, NETWORK_LABEL],
        run: pairs::network_known,
    },
    Check {
        id: ENDPOINT_IDENTITIES,
        title: "istiod expects the other cluster's own identities",
        needs: &[ISTIOD_SYNCED, MESH_CONFIG],
        run: pairs::identities,
    },
    Check {
        id: PROXY_EXPECTS,
        title: "sidecars accept the other cluster's identities as servers",
        needs: &[ENDPOINT_IDENTITIES],
        run: pairs::expects,
    },
    Check {
        id: PROXY_IDENTITY,
        title: "every proxy presents its own SVID, issued by SPIRE",
        needs: &[REACHABLE, ENTRIES, CheckId("pods-on-spire")],
        run: proxies::identity,
    },
    Check {
        id: PROXY_BUNDLES,
        title: "every proxy has the bundle of every trust domain",
        needs: &[PROXY_IDENTITY, BUNDLE_STORED],
        run: proxies::bundles,
    },
    Check {
        id: PROXY_ADMITS,
        title: "every sidecar admits all trust domains of the mesh, and no other",
        needs: &[MESH_CONFIG],
        run: proxies::admits,
    },
    Check {
        id: MUTUAL_TLS,
        title: "workloads take mutual TLS only",
        needs: &[REACHABLE],
        run: rules::mutual_tls,
    },
];

/// Tells whether something that fails may pass without anybody's doing, because what was applied takes effect in a moment.
pub(super) fn settles_by_itself(id: CheckId) -> bool {
    const SETTLING: [CheckId; 16] = [
        ISTIOD_READY,
        // istiod writes its CA there.
        INJECTION_WEBHOOK,
        PODS_MADE,
        ISTIOD_CA,
        MESH_CONFIG,
        NETWORK_LABEL,
        GATEWAY_ADDRESS,
        REMOTE_SECRET,
        ISTIOD_SYNCED,
        WAY_OPEN,
        NETWORK_KNOWN,
        ENDPOINT_IDENTITIES,
        PROXY_EXPECTS,
        PROXY_IDENTITY,
        PROXY_BUNDLES,
        PROXY_ADMITS,
    ];
    SETTLING.contains(&id) || federation::checks::settles_by_itself(id)
}

/// Something that can be repaired without asking anybody what he wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repair {
    /// Something of SPIRE.
    Spire(federation::Repair),
    /// Start istiod's pods again, so that it reads the other clusters anew.
    RestartIstiod {
        /// The cluster.
        cluster: String,
    },
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spire(repair) => repair.fmt(f),
            Self::RestartIstiod { cluster } => {
                write!(f, "{cluster}: start istiod again, so that it reads the other clusters anew")
            }
        }
    }
}

/// Takes every check: those on SPIRE, then those on Istio.
#[must_use]
pub fn verify(examined: &Examined) -> Verification<Repair> {
    let spire = federation::verify(&examined.spire).map_repairs(Repair::Spire);
    crate::check::run_on(spire, &CATALOGUE, examined)
}

type Findings = Vec<Finding<Repair>>;

/// What is known of a cluster that can be reached.
#[derive(Clone, Copy)]
struct Reached<'e> {
    cluster: &'e Cluster,
    all: &'e Examined,
    seen: &'e Seen,
}

impl<'e> Reached<'e> {
    fn name(&self) -> &'e str {
        &self.cluster.name
    }

    fn mesh(&self) -> &'e Mesh {
        &self.all.spire.observed.mesh
    }

    /// Goes through the other clusters of the mesh.
    fn peers(&self) -> impl Iterator<Item = &'e Cluster> + use<'e> {
        let own = self.name();
        self.mesh().clusters.iter().filter(move |peer| peer.name != own)
    }

    /// Goes through the clusters of other networks.
    fn other_networks(&self) -> impl Iterator<Item = &'e Cluster> + use<'e> {
        let network = &self.cluster.network;
        self.peers().filter(move |peer| peer.network != *network)
    }

    fn scope(&self) -> Scope {
        Scope::cluster(self.name())
    }

    fn pair(&self, peer: &Cluster) -> Scope {
        Scope::pair(self.name(), &peer.name)
    }

    fn object(&self, object: impl Into<String>) -> Scope {
        Scope::object(self.name(), object)
    }

    /// Begins a command for this cluster.
    fn kubectl(&self) -> String {
        Command::kubectl([""; 0]).at(&self.cluster.context).into()
    }
}

/// Goes through the clusters that can be reached.
fn reached(examined: &Examined) -> impl Iterator<Item = Reached<'_>> {
    let clusters = examined.spire.observed.mesh.clusters.iter();
    clusters.filter_map(|cluster| {
        Some(Reached { cluster, all: examined, seen: examined.clusters.get(&cluster.name)? })
    })
}

/// Asks something of every cluster; of one that cannot be reached nothing can be known.
fn of_each(examined: &Examined, check: impl Fn(Reached<'_>) -> Findings) -> Findings {
    let names = examined.spire.observed.mesh.clusters.iter().map(|cluster| cluster.name.as_str());
    let unreachable = names
        .filter(|name| !examined.clusters.contains_key(*name))
        .map(|name| Finding::skip(Scope::cluster(name), "it was not reached"));
    unreachable.chain(reached(examined).flat_map(check)).collect()
}
