use crate::fleet::{ReadError, RequestError};
use crate::hint::{Advice, Command, Hint, Plugin};
use crate::manifest::{ApplyError, DeleteError, ObjectKey, PlanError, RecordError, WaitError};
use crate::spire::discovery::DiscoveryError;
use crate::spire::server::{RefreshError, ServerError};
use crate::trust::TrustDomain;

/// Why a cluster got no further on its way into, or out of, the federation.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// What there is could not be held against what there has to be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Objects could not be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Objects could not be deleted.
    #[error(transparent)]
    Delete(#[from] DeleteError),
    /// Something did not become ready.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// The SPIRE server did not do what it was told.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The SPIRE server could not fetch a peer's bundle.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    /// Something of SPIRE could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// SPIRE could not be looked for, or not be told apart.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// An earlier run left a record that is not understood.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Something could not be read from the API server.
    #[error("cannot read {what}")]
    Request {
        /// What was to be read.
        what: String,
        /// What the API server said.
        source: RequestError,
    },
    /// `managed: false`, and there is no SPIRE server.
    #[error("no SPIRE server was found{}", in_namespace(.namespace.as_deref()))]
    NoServer {
        /// Where it was looked for; everywhere when absent.
        namespace: Option<String>,
    },
    /// There is a SPIRE server, and no pod of it runs.
    #[error("no pod of the SPIRE server {workload} in namespace {namespace} is running")]
    NotRunning {
        /// The kubeconfig context.
        context: String,
        /// Its namespace.
        namespace: String,
        /// Kind and name of what runs it.
        workload: String,
    },
    /// The SPIRE server that runs is of another trust domain than the mesh file says.
    #[error("the SPIRE server in {pod} is of trust domain {found}, the mesh file says {expected}")]
    OtherTrustDomain {
        /// Namespace and name of the server's pod.
        pod: String,
        /// What the server says.
        found: TrustDomain,
        /// What the mesh file says.
        expected: TrustDomain,
    },
    /// A server gave two bundles of itself, one after the other.
    #[error("the bundle of the SPIRE server in {pod} changed while it was read")]
    BundleChanged {
        /// Namespace and name of the server's pod.
        pod: String,
    },
    /// No authority of the server ends a path.
    #[error(
        "no authority in the bundle of {trust_domain} signed itself ({authority}): no proxy would accept what the SPIRE server in {pod} signs"
    )]
    NoRoot {
        /// The trust domain.
        trust_domain: TrustDomain,
        /// Namespace and name of the server's pod.
        pod: String,
        /// One of the authorities: whose it is, and who signed it.
        authority: String,
    },
    /// `managed: false`, and other clusters cannot reach the bundle endpoint.
    #[error("the SPIRE server's bundle endpoint cannot be reached from other clusters: {reason}")]
    Unexposed {
        /// Why.
        reason: String,
    },
    /// The peer's own server did not come up, so that there is nothing to federate with.
    #[error("not federated with {peer}: its own SPIRE server did not come up")]
    PeerMissing {
        /// The peer.
        peer: TrustDomain,
    },
    /// The cluster's agents were not found.
    #[error("no SPIRE agents were found in {cluster}")]
    NoAgents {
        /// Name of the cluster.
        cluster: String,
    },
    /// The agents' pods have no identity to ask their own agents with.
    #[error(
        "the agents in {cluster} have no registration entry of their own, so that they cannot be asked what they serve"
    )]
    AgentsUnasked {
        /// Name of the cluster.
        cluster: String,
    },
    /// Objects that somebody else made trust a peer that is to leave.
    #[error("objects that this tool did not make trust {peer}: {}", list(.objects))]
    TrustedByOthers {
        /// The peer.
        peer: TrustDomain,
        /// The objects.
        objects: Vec<ObjectKey>,
    },
}

fn list(objects: &[ObjectKey]) -> String {
    objects.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn in_namespace(namespace: Option<&str>) -> String {
    namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default()
}

impl FederationError {
    /// Tells whether time ran out, which has an exit code of its own.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Wait(error) if error.is_timeout())
    }
}

impl Hint for FederationError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::Plan(error) => error.hint(),
            Self::Apply(error) => error.hint(),
            Self::Delete(error) => error.hint(),
            Self::Wait(error) => error.hint(),
            Self::Server(error) => error.hint(),
            Self::Refresh(error) => error.hint(),
            Self::Read(error) => error.hint(),
            Self::Discovery(error) => error.hint(),
            Self::Record(error) => error.hint(),
            Self::Request { .. } => None,
            Self::NoServer { .. } => Some(
                "set spire.serverNamespace of this cluster in the mesh file, or leave out `managed: false` to have SPIRE installed"
                    .into(),
            ),
            Self::NotRunning { context, namespace, workload } => {
                let describe = Command::kubectl(["-n", namespace, "describe", &workload.to_lowercase()]);
                Some(Advice::from("see what keeps it: ").then(describe.at(context)))
            }
            Self::OtherTrustDomain { found, .. } => Some(format!(
                "find out whose server it is; only if it is the cluster's own, write `trustDomain: {found}` in the mesh file (a trust domain cannot be renamed while its SPIRE runs)"
            ).into()),
            Self::BundleChanged { .. } => Some("run the same command again".into()),
            Self::NoRoot { .. } => Some(
                Advice::from(
                    "have the upstream authority give its root, too (an issuer of kind CA takes it from tls.crt of its Secret: its own \
                     certificate first, the root last), and begin again without the CA that the server has: ",
                )
                .then(Plugin::SpireFederate.command(["down"])),
            ),
            Self::Unexposed { .. } => Some(
                "make a service for it that other clusters reach, or set spire.bundleEndpoint.url of this cluster in the mesh file"
                    .into(),
            ),
            Self::TrustedByOthers { peer, .. } => Some(format!(
                "delete these objects, or take {peer} out of their federatesWith, then run the same command again"
            ).into()),
            Self::NoAgents { .. } => {
                Some(Advice::from("see what is there: ").then(Plugin::SpireFederate.command(["verify"])))
            }
            Self::AgentsUnasked { .. } => Some(
                Advice::from("an earlier version installed this SPIRE; run this first: ").then(Plugin::SpireFederate.up()),
            ),
            Self::PeerMissing { .. } => Some("see to that cluster first, then run the same command again".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::federation::sample::domain;
    use crate::fleet::{Cause, Need};
    use crate::manifest::Kind;

    #[test]
    fn only_a_wait_that_ran_out_of_time_is_a_timeout() {
        let what = || "the server".to_owned();
        let timed_out = WaitError::TimedOut {
            what: what(),
            last_seen: "nothing".to_owned(),
            waited: std::time::Duration::from_secs(1),
        };
        assert!(FederationError::Wait(timed_out).is_timeout());
        let never = WaitError::Never { what: what(), reason: "it is gone".to_owned() };
        assert!(!FederationError::Wait(never).is_timeout());
        assert!(!FederationError::PeerMissing { peer: "foo.com".parse().unwrap() }.is_timeout());
    }

    fn told(error: &FederationError) -> String {
        format!("{error}\nhint: {}\n", error.hint().unwrap_or_else(|| "none".into()))
    }

    #[test]
    fn every_reason_is_told_with_the_next_step() {
        let no_server =
            |namespace: Option<&str>| FederationError::NoServer { namespace: namespace.map(str::to_owned) };
        let key = |name: &str| ObjectKey::new(Kind::ClusterSPIFFEID, None, name);
        let refused = RequestError::new(Cause::Transient, "try later");
        let all = [
            FederationError::Request { what: "nodes".to_owned(), source: refused },
            no_server(None),
            no_server(Some("spire-server")),
            FederationError::NotRunning {
                context: "baz".to_owned(),
                namespace: "spire-server".to_owned(),
                workload: "StatefulSet/spire-server".to_owned(),
            },
            FederationError::OtherTrustDomain {
                pod: "spire-server/spire-server-0".to_owned(),
                found: domain("qux"),
                expected: domain("baz"),
            },
            FederationError::BundleChanged { pod: "spire-server/spire-server-0".to_owned() },
            FederationError::NoRoot {
                trust_domain: domain("foo"),
                pod: "spire-server/spire-server-0".to_owned(),
                authority: "CN=Issuing, signed by CN=Root".to_owned(),
            },
            FederationError::Unexposed { reason: "it is of type ClusterIP".to_owned() },
            FederationError::PeerMissing { peer: domain("baz") },
            FederationError::NoAgents { cluster: "baz".to_owned() },
            FederationError::AgentsUnasked { cluster: "baz".to_owned() },
            FederationError::TrustedByOthers { peer: domain("baz"), objects: vec![key("a"), key("b")] },
        ];
        insta::assert_snapshot!(all.iter().map(told).collect::<String>(), @r"
        cannot read nodes
        hint: none
        no SPIRE server was found
        hint: set spire.serverNamespace of this cluster in the mesh file, or leave out `managed: false` to have SPIRE installed
        no SPIRE server was found in namespace spire-server
        hint: set spire.serverNamespace of this cluster in the mesh file, or leave out `managed: false` to have SPIRE installed
        no pod of the SPIRE server StatefulSet/spire-server in namespace spire-server is running
        hint: see what keeps it: kubectl --context baz -n spire-server describe statefulset/spire-server
        the SPIRE server in spire-server/spire-server-0 is of trust domain qux.com, the mesh file says baz.com
        hint: find out whose server it is; only if it is the cluster's own, write `trustDomain: qux.com` in the mesh file (a trust domain cannot be renamed while its SPIRE runs)
        the bundle of the SPIRE server in spire-server/spire-server-0 changed while it was read
        hint: run the same command again
        no authority in the bundle of foo.com signed itself (CN=Issuing, signed by CN=Root): no proxy would accept what the SPIRE server in spire-server/spire-server-0 signs
        hint: have the upstream authority give its root, too (an issuer of kind CA takes it from tls.crt of its Secret: its own certificate first, the root last), and begin again without the CA that the server has: kubectl spire-federate down
        the SPIRE server's bundle endpoint cannot be reached from other clusters: it is of type ClusterIP
        hint: make a service for it that other clusters reach, or set spire.bundleEndpoint.url of this cluster in the mesh file
        not federated with baz.com: its own SPIRE server did not come up
        hint: see to that cluster first, then run the same command again
        no SPIRE agents were found in baz
        hint: see what is there: kubectl spire-federate verify
        the agents in baz have no registration entry of their own, so that they cannot be asked what they serve
        hint: an earlier version installed this SPIRE; run this first: kubectl spire-federate
        objects that this tool did not make trust baz.com: ClusterSPIFFEID/a, ClusterSPIFFEID/b
        hint: delete these objects, or take baz.com out of their federatesWith, then run the same command again
        ");
    }

    #[test]
    fn what_another_room_says_is_passed_on_with_its_hint() {
        let read = ReadError {
            cluster: "baz".to_owned(),
            what: "nodes".to_owned(),
            need: Box::new(Need::new("list", "", "nodes", None)),
            source: RequestError::new(Cause::Forbidden, "no"),
        };
        assert_eq!(told(&read.into()), "cannot read nodes\nhint: ask for the right to list nodes\n");
        let servers = vec!["a/StatefulSet/spire-server".to_owned(), "b/Deployment/spire".to_owned()];
        let several = DiscoveryError::SeveralServers { servers };
        insta::assert_snapshot!(told(&several.into()), @r"
        found several SPIRE servers, and nothing says which is the cluster's: a/StatefulSet/spire-server, b/Deployment/spire
        hint: name the namespace of the right one in the mesh file, in spire.serverNamespace of this cluster
        ");
        let time =
            |waited| WaitError::TimedOut { what: "it".to_owned(), last_seen: "nothing".to_owned(), waited };
        let timed_out = FederationError::from(time(Duration::from_secs(5)));
        assert!(timed_out.is_timeout() && timed_out.hint().is_some());
        let never = WaitError::Never { what: "it".to_owned(), reason: "it is gone".to_owned() };
        assert!(!FederationError::from(never).is_timeout());
        assert!(!FederationError::PeerMissing { peer: domain("baz") }.is_timeout());
    }
}
