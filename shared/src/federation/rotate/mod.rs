//! A server's CA, replaced step by step: prepare, activate, taint, revoke (SPIRE 1.15.3, `doc/spire_server.md`, "local authority").
//!
//! Each step is taken only when what it needs is proven, on every peer's server and on every agent of every cluster:
//!
//! 1. **prepare** once everybody has the CA that signs now: who has not even that would be lost.
//! 2. **activate** once everybody has the new CA. From here on it signs what is renewed.
//! 3. **taint** makes agents and server replace all that the old CA has signed, at once.
//! 4. **revoke** once every agent has a new SVID and serves new ones, and the server has started again: the certificate of its
//!    controller-manager's webhook is made when it starts, lives for a day, and is not replaced by tainting.
//!
//! What the server says tells how far it is; a small record in the cluster tells the rest, so that an interrupted rotation goes on
//! where it was. Until the end both CAs are trusted: a rotation that stops half-way breaks nothing.

mod error;
mod everyone;
mod record;
mod stage;
mod wanted;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use serde::Serialize;

pub use error::{Before, RotateError};
pub use record::BegunRotation;
pub(super) use record::begun_rotation;
pub use stage::{NextStep, StillTrusted};
pub use wanted::Wanted;

use self::everyone::Everyone;
use self::record::{Book, Record, Tainted};
use self::stage::{Stage, trusted_until};
use super::locate::{Located, answering};
use super::observed::SeenNode;
use super::plan::owner;
use super::status::is_on;
use super::{FederationError, Step, observe};
use crate::fleet::{Member, RequestError};
use crate::manifest::wait::until;
use crate::manifest::{self, Deadline, Poll};
use crate::mesh::{Cluster, Mesh, Spire};
use crate::spire::desired::SERVER_NAME;
use crate::spire::discovery::FoundSpire;
use crate::spire::server::{Agent, LocalAuthorities};
use crate::trust::{TrustBundle, TrustDomain};
use crate::watch::Watch;

/// How many SVIDs an agent replaces at a time after a taint, and how long it pauses between (SPIRE 1.15.3,
/// `pkg/agent/manager/cache/lru_cache.go`).
const BATCH: u64 = 100;
const BATCH_PAUSE: Duration = Duration::from_secs(5);

/// How long a server is waited for that is starting, as it is where a rotation was interrupted.
const STARTING: Duration = Duration::from_mins(1);

/// What rotating a server's CA would begin with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationPlan {
    /// Name of the cluster.
    pub cluster: String,
    /// Its trust domain.
    pub trust_domain: TrustDomain,
    /// ID of the CA that is to go: its subject key identifier, in hexadecimal.
    pub from: String,
    /// End of that CA's validity, RFC 3339, UTC; absent where it is out of the bundle.
    pub expires: Option<String>,
    /// The step that is next; another one than `prepare` goes on with what was begun.
    pub next: NextStep,
    /// What an earlier rotation has left.
    pub still_trusted: Option<StillTrusted>,
}

/// A CA that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotated {
    /// Name of the cluster.
    pub cluster: String,
    /// Its trust domain.
    pub trust_domain: TrustDomain,
    /// ID of the CA that is gone.
    pub from: String,
    /// ID of the CA that signs.
    pub to: String,
    /// Servers of other clusters that have been seen to hold the new CA and not the old one.
    pub peers: usize,
}

/// Tells what rotating the CA of a cluster's server would begin with. Waits for a server that is starting.
///
/// # Errors
/// [`RotateError`] where it cannot be rotated, or not be found out until `deadline`.
pub async fn rotation_plan(
    mesh: &Mesh,
    member: &Member,
    deadline: Deadline<'_>,
) -> Result<RotationPlan, RotateError> {
    let owner = owner(mesh);
    let located = answering(member, deadline.at_most(STARTING)).await?;
    let book = Book { member, namespace: &located.server.target.namespace, owner: &owner, deadline };
    Ok(RotationPlan::of(&member.cluster, &look(&located, &book).await?))
}

impl RotationPlan {
    fn of(cluster: &Cluster, Seen { stage, bundle, still_trusted }: &Seen) -> Self {
        Self {
            cluster: cluster.name.clone(),
            trust_domain: cluster.trust_domain.clone(),
            from: stage.from().to_owned(),
            expires: trusted_until(bundle, stage.from()),
            next: stage.next(),
            still_trusted: still_trusted.clone(),
        }
    }
}

/// How far the rotation of a server's CA is.
struct Seen {
    stage: Stage,
    bundle: TrustBundle,
    still_trusted: Option<StillTrusted>,
}

impl Seen {
    /// Returns the stage with which a rotation goes on that was to take the step of `expected` next.
    ///
    /// A server prepares and activates CAs by itself, and somebody may do so by hand. As long as the same CA is to go, the rotation goes
    /// on from where things are now.
    fn goes_on(self, cluster: &str, expected: &Stage) -> Result<Stage, RotateError> {
        let from = expected.from();
        if self.stage.from() == from {
            return Ok(self.stage);
        }
        let (cluster, until) = (cluster.to_owned(), trusted_until(&self.bundle, from));
        Err(RotateError::Overtaken { cluster, from: from.to_owned(), until })
    }
}

/// Reads how far the rotation of a server's CA is.
async fn look(located: &Located<'_>, book: &Book<'_>) -> Result<Seen, RotateError> {
    let server = &located.server;
    let read = futures::future::try_join(server.authorities(), server.bundle());
    let (authorities, bundle) = read.await.map_err(FederationError::from)?;
    refuse_upstream(&located.found, &authorities)?;
    let record = book.read().await?;
    let stage = Stage::of(&authorities, &bundle, record.as_ref()).ok_or(RotateError::NoCa)?;
    let still_trusted = StillTrusted::of(&authorities, &bundle, record.as_ref());
    Ok(Seen { stage, bundle, still_trusted })
}

/// With an upstream authority the bundle holds that one, and rotating what it has signed changes nothing that anybody sees;
/// SPIRE refuses to taint it (`TaintX509Authority` in `pkg/server/api/localauthority/v1/service.go`). One that was configured
/// after the CA was made signs the next one.
fn refuse_upstream(found: &FoundSpire, authorities: &LocalAuthorities) -> Result<(), RotateError> {
    let signed = authorities.active.as_ref().filter(|active| !active.upstream_id.is_empty());
    match (signed, &found.upstream) {
        (None, None) => Ok(()),
        (_, upstream) => Err(RotateError::Upstream {
            plugin: upstream
                .as_ref()
                .map_or_else(|| "unknown".to_owned(), |upstream| upstream.plugin.clone()),
        }),
    }
}

/// Replaces the CA of the server of `own`, from wherever an earlier run got to. `members` are all clusters of the mesh.
///
/// Safe to drop at any await and to run again.
///
/// # Errors
/// [`RotateError::Stopped`] when what the next step needs is not so until `deadline`.
pub async fn rotate(
    mesh: &Mesh,
    members: &[Member],
    own: &Member,
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> Result<Rotated, RotateError> {
    let owner = owner(mesh);
    let located = answering(own, deadline.at_most(STARTING)).await?;
    let namespace = located.server.target.namespace.clone();
    let book = Book { member: own, namespace: &namespace, owner: &owner, deadline };
    let everyone = Everyone { own, members, deadline, watch };
    let mut rotation = Rotation { own, located, book, everyone, deadline, watch };
    let (from, to) = Box::pin(rotation.run()).await?;
    watch
        .step(own.name(), &Step::Done(format!("CA {} follows {}", wanted::short(&to), wanted::short(&from))));
    for peer in members.iter().filter(|peer| peer.name() != own.name()) {
        watch.step(peer.name(), &Step::Done(format!("trusts the new CA of {}", own.cluster.trust_domain)));
    }
    Ok(Rotated {
        cluster: own.name().to_owned(),
        trust_domain: own.cluster.trust_domain.clone(),
        from,
        to,
        peers: members.len().saturating_sub(1),
    })
}

/// Returns the agents that are at work: those on nodes of the cluster. Where no ID tells a node, as with attestors of other kinds,
/// every one whose SVID has not ended, though its node may be gone.
fn living<'a>(agents: &'a [Agent], nodes: &[SeenNode], now: Timestamp) -> Vec<&'a Agent> {
    let allowed = || agents.iter().filter(|agent| !agent.banned && agent.expires_at > now.as_second());
    let on_nodes: Vec<&Agent> =
        allowed().filter(|agent| nodes.iter().any(|node| is_on(agent, node))).collect();
    if on_nodes.is_empty() { allowed().collect() } else { on_nodes }
}

/// Tells whether all of these agents have got a new SVID since the old CA was tainted.
fn are_renewed(living: &[&Agent], tainted: &Tainted) -> Poll<()> {
    let renewed = living.iter().filter(|agent| tainted.is_renewed(agent)).count();
    if renewed == living.len() {
        Poll::Ready(())
    } else {
        Poll::Pending(format!("{renewed} of {} have", living.len()))
    }
}

/// Returns how long an agent takes at most to replace the SVIDs of so many registration entries.
fn replacing_takes(entries: u64) -> Duration {
    let batches = u32::try_from(entries.div_ceil(BATCH)).unwrap_or(u32::MAX).max(1);
    BATCH_PAUSE.saturating_mul(batches)
}

/// Tells whether a pod is the one that was there when the old CA was tainted.
fn is_still_there(now: Option<&String>, tainted: &Tainted) -> bool {
    now.is_some() && now == tainted.server_pod.as_ref()
}

/// Tells whether a pod took the place of the one that was there when the old CA was tainted.
fn is_replaced(now: Option<&String>, tainted: &Tainted) -> bool {
    now.is_some() && now != tainted.server_pod.as_ref()
}

struct Rotation<'r> {
    own: &'r Member,
    located: Located<'r>,
    book: Book<'r>,
    everyone: Everyone<'r>,
    deadline: Deadline<'r>,
    watch: &'r dyn Watch<Step>,
}

impl Rotation<'_> {
    /// Takes step after step and returns the IDs of the old and the new CA.
    async fn run(&mut self) -> Result<(String, String), RotateError> {
        let mut stage = look(&self.located, &self.book).await?.stage;
        loop {
            stage = match stage {
                Stage::Prepare { from } => self.prepare(from).await?,
                Stage::Activate { from, to } => self.activate(from, to).await?,
                Stage::Taint { from, to } => self.taint(from, to).await?,
                Stage::Revoke { from, to, tainted } => self.revoke(from, to, &tainted).await?,
                Stage::Finish { from, to } => {
                    let gone = Wanted::Lacks(self.domain(), from.clone());
                    self.stop(Before::End, self.everyone.have(&gone).await)?;
                    self.book.remove().await?;
                    return Ok((from, to));
                }
            }
        }
    }

    /// Looks again, right before a step that cannot be undone, whether it is still the next one. Returns the stage with which to go on
    /// where it is not.
    async fn instead_of(&self, expected: &Stage) -> Result<Option<Stage>, RotateError> {
        match look(&self.located, &self.book).await?.goes_on(self.own.name(), expected) {
            Ok(stage) => Ok((stage != *expected).then_some(stage)),
            Err(overtaken) => {
                // This rotation is over: nothing that it has recorded can be gone on with.
                if self.book.read().await?.is_some_and(|record| record.from == expected.from()) {
                    self.book.remove().await?;
                }
                Err(overtaken)
            }
        }
    }

    async fn prepare(&self, from: String) -> Result<Stage, RotateError> {
        self.stop(Before::Prepare, self.everyone.have(&self.holds(&from)).await)?;
        if let Some(stage) = self.instead_of(&Stage::Prepare { from: from.clone() }).await? {
            return Ok(stage);
        }
        self.step(&Step::PreparingCa);
        let prepared = self.located.server.prepare_authority().await.map_err(FederationError::from)?;
        Ok(Stage::Activate { from, to: prepared.id })
    }

    async fn activate(&self, from: String, to: String) -> Result<Stage, RotateError> {
        let record = Record { from: from.clone(), to: to.clone(), tainted: None };
        self.book.write(&record).await?;
        self.stop(Before::Activate, self.everyone.have(&self.holds(&to)).await)?;
        if let Some(stage) = self.instead_of(&Stage::Activate { from: from.clone(), to: to.clone() }).await? {
            return Ok(stage);
        }
        self.step(&Step::ActivatingCa);
        self.located.server.activate_authority(&to).await.map_err(FederationError::from)?;
        Ok(Stage::Taint { from, to })
    }

    async fn taint(&self, from: String, to: String) -> Result<Stage, RotateError> {
        self.stop(Before::Taint, self.everyone.have(&self.holds(&to)).await)?;
        let agents = self.located.server.agents().await.map_err(FederationError::from)?;
        let tainted = Tainted {
            agents: agents.into_iter().map(|agent| (agent.id.to_string(), agent.serial)).collect(),
            server_pod: self.server_pod().await?,
        };
        if let Some(stage) = self.instead_of(&Stage::Taint { from: from.clone(), to: to.clone() }).await? {
            return Ok(stage);
        }
        let record = Record { from: from.clone(), to: to.clone(), tainted: Some(tainted.clone()) };
        self.book.write(&record).await?;
        Ok(Stage::Revoke { from, to, tainted })
    }

    async fn revoke(&mut self, from: String, to: String, tainted: &Tainted) -> Result<Stage, RotateError> {
        let expected = Stage::Revoke { from: from.clone(), to: to.clone(), tainted: tainted.clone() };
        if let Some(stage) = self.instead_of(&expected).await? {
            return Ok(stage);
        }
        self.step(&Step::TaintingCa);
        self.located.server.taint_authority(&from).await.map_err(FederationError::from)?;
        let signed = Wanted::SignedBy(to.clone());
        self.stop(Before::Revoke, self.everyone.agents(self.own, &signed).await)?;
        self.stop(Before::Revoke, self.agents_renewed(tainted).await)?;
        self.stop(Before::Revoke, self.svids_replaced().await)?;
        let restarted = self.restart_server(tainted).await;
        self.stop(Before::Revoke, restarted)?;
        // The bundle endpoint proves itself by an SVID of the new CA by now.
        self.stop(Before::Revoke, self.everyone.have(&self.holds(&to)).await)?;
        if let Some(stage) = self.instead_of(&expected).await? {
            return Ok(stage);
        }
        self.step(&Step::RevokingCa);
        self.located.server.revoke_authority(&from).await.map_err(FederationError::from)?;
        Ok(Stage::Finish { from, to })
    }

    /// Waits until every agent on a node has got a new SVID of its own: with the old one it could not reach the server any more.
    async fn agents_renewed(&self, tainted: &Tainted) -> Result<(), FederationError> {
        until(self.deadline, "the agents to renew their own SVIDs", || async {
            let nodes = match observe::nodes(self.own).await {
                Ok(nodes) => nodes,
                Err(unread) => return Poll::Pending(unread.why),
            };
            match self.located.server.agents().await {
                Ok(agents) => are_renewed(&living(&agents, &nodes, Timestamp::now()), tainted),
                Err(error) => Poll::Pending(error.to_string()),
            }
        })
        .await?;
        Ok(())
    }

    /// Gives the agents the time that they take at most to replace the SVIDs of their workloads.
    async fn svids_replaced(&self) -> Result<(), FederationError> {
        let entries = self.located.server.entry_count().await?;
        self.everyone.wait(self.own, replacing_takes(entries), "agents to replace SVIDs").await;
        Ok(())
    }

    /// Starts a managed server again, unless that was done since the taint. One of somebody else's is left alone: it may keep its
    /// keys in memory only.
    async fn restart_server(&mut self, tainted: &Tainted) -> Result<(), FederationError> {
        let Spire::Managed(spire) = &self.own.cluster.spire else { return Ok(()) };
        let uid = self.server_pod().await?;
        if is_still_there(uid.as_ref(), tainted) {
            self.step(&Step::RestartingServer);
            let pods = self.pods();
            let name = self.located.server.target.pod.clone();
            if let Err(error) = pods.delete(&name, &DeleteParams::default()).await {
                let source = RequestError::from(error);
                if !source.is_not_found() {
                    return Err(FederationError::Request { what: format!("Pod {name}"), source });
                }
            }
            until(self.deadline, "the SPIRE server's pod to be replaced", || async {
                match self.server_pod().await {
                    Ok(now) if is_replaced(now.as_ref(), tainted) => Poll::Ready(()),
                    Ok(_) => Poll::Pending("it still stops".to_owned()),
                    Err(error) => Poll::Pending(error.to_string()),
                }
            })
            .await?;
        }
        manifest::workload_ready::<StatefulSet>(
            self.own.client(),
            &spire.server_namespace,
            SERVER_NAME,
            self.deadline,
        )
        .await?;
        self.located = answering(self.own, self.deadline).await?;
        Ok(())
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.own.client().clone(), &self.located.server.target.namespace)
    }

    /// Returns the UID of the server's pod.
    async fn server_pod(&self) -> Result<Option<String>, FederationError> {
        let name = &self.located.server.target.pod;
        let pod = self.pods().get_opt(name).await.map_err(|error| FederationError::Request {
            what: format!("Pod {}/{name}", self.located.server.target.namespace),
            source: RequestError::from(error),
        })?;
        Ok(pod.and_then(|pod| pod.uid()))
    }

    fn domain(&self) -> TrustDomain {
        self.own.cluster.trust_domain.clone()
    }

    fn holds(&self, id: &str) -> Wanted {
        Wanted::Holds(self.domain(), id.to_owned())
    }

    /// Makes of what is not so the reason why the rotation stops before a step.
    fn stop(&self, before: Before, proof: Result<(), FederationError>) -> Result<(), RotateError> {
        proof.map_err(|source| RotateError::Stopped {
            cluster: self.own.name().to_owned(),
            before,
            source: Box::new(source),
        })
    }

    fn step(&self, step: &Step) {
        self.watch.step(self.own.name(), step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::NodeState;

    fn agent(id: &str, expires_at: i64, banned: bool) -> Agent {
        Agent {
            id: format!("spiffe://foo.com/spire/agent/{id}").parse().unwrap(),
            attestation_type: "k8s_psat".to_owned(),
            expires_at,
            serial: "1".to_owned(),
            banned,
            version: None,
        }
    }

    #[test]
    fn a_rotation_goes_on_with_what_is_true_now_as_long_as_the_same_ca_is_to_go() {
        let goes_on = |stage: Stage, bundle: TrustBundle, expected: &Stage| {
            Seen { stage, bundle, still_trusted: None }.goes_on("baz", expected)
        };
        let [a, b, c] = ["0a", "0b", "0c"].map(str::to_owned);
        let prepare = Stage::Prepare { from: a.clone() };
        let activate = Stage::Activate { from: a.clone(), to: b.clone() };
        let bundle = || TrustBundle::from_base64_der("baz.com".parse().unwrap(), []).unwrap();
        assert_eq!(goes_on(prepare.clone(), bundle(), &prepare).unwrap(), prepare);
        assert_eq!(
            goes_on(activate.clone(), bundle(), &prepare).unwrap(),
            activate,
            "SPIRE has prepared one"
        );
        let taint = Stage::Taint { from: a, to: b.clone() };
        let next = Stage::Activate { from: b, to: c };
        for expected in [&prepare, &activate, &taint] {
            let error = goes_on(next.clone(), bundle(), expected).unwrap_err();
            assert!(matches!(error, RotateError::Overtaken { until: None, .. }), "{error}");
        }
    }

    #[test]
    fn agents_of_nodes_that_are_gone_are_not_waited_for_and_unknown_ones_are() {
        let nodes = [SeenNode {
            name: "a".into(),
            uid: "uid-a".into(),
            created: None,
            state: NodeState::Ready,
            taints: Vec::new(),
        }];
        let now = Timestamp::from_second(100).unwrap();
        let ids = |agents: &[Agent]| {
            living(agents, &nodes, now).iter().map(|agent| agent.id.path().to_owned()).collect::<Vec<_>>()
        };
        let here = agent("k8s_psat/foo/uid-a", 200, false);
        let gone = agent("k8s_psat/foo/uid-b", 200, false);
        assert_eq!(ids(&[here, gone]), ["/spire/agent/k8s_psat/foo/uid-a"]);
        let others = [
            agent("aws_iid/x", 200, false),
            agent("aws_iid/ended", 50, false),
            agent("aws_iid/y", 200, true),
        ];
        assert_eq!(ids(&others), ["/spire/agent/aws_iid/x"]);
    }

    #[test]
    fn a_new_serial_number_is_a_renewal() {
        let agent = agent("k8s_psat/foo/uid-a", 200, false);
        let recorded = |serial: &str| Tainted {
            agents: [(agent.id.to_string(), serial.to_owned())].into(),
            server_pod: None,
        };
        assert!(!recorded("1").is_renewed(&agent));
        assert!(recorded("0").is_renewed(&agent));
        assert!(Tainted::default().is_renewed(&agent), "it attested since");
    }

    #[test]
    fn an_svid_that_ends_now_has_ended() {
        let now = Timestamp::from_second(100).unwrap();
        let agents = [agent("aws_iid/x", 100, false), agent("aws_iid/y", 101, false)];
        assert_eq!(living(&agents, &[], now), [&agents[1]]);
    }

    #[test]
    fn svids_are_replaced_by_the_hundred() {
        let seconds = [0, 1, 100, 101, 1000].map(|entries| replacing_takes(entries).as_secs());
        assert_eq!(seconds, [5, 5, 5, 10, 50]);
        assert!(replacing_takes(u64::MAX) > Duration::from_hours(24));
    }

    #[test]
    fn a_server_has_started_again_when_another_pod_is_there() {
        let tainted = Tainted { server_pod: Some("uid-1".to_owned()), ..Tainted::default() };
        assert!(is_replaced(Some(&"uid-2".to_owned()), &tainted));
        assert!(!is_replaced(Some(&"uid-1".to_owned()), &tainted));
        assert!(!is_replaced(None, &tainted));
        assert!(is_still_there(Some(&"uid-1".to_owned()), &tainted));
        assert!(!is_still_there(Some(&"uid-2".to_owned()), &tainted));
        assert!(!is_still_there(None, &tainted));
        assert!(!is_still_there(None, &Tainted::default()), "there is no pod to start again");
        assert!(is_replaced(Some(&"uid-1".to_owned()), &Tainted::default()));
    }

    #[test]
    fn a_ca_that_something_above_signs_is_not_rotated_here() {
        use crate::federation::sample::Ca;
        use crate::spire::discovery::{FoundUpstream, sample::foreign};

        let refused = |plugin: Option<&str>, upstream_id: &str| {
            let upstream = plugin.map(|plugin| FoundUpstream { plugin: plugin.to_owned(), issuer: None });
            let mut active = Ca::of("foo").local();
            upstream_id.clone_into(&mut active.upstream_id);
            let authorities = LocalAuthorities { active: Some(active), ..LocalAuthorities::default() };
            refuse_upstream(&FoundSpire { upstream, ..foreign() }, &authorities)
                .map_err(|error| error.to_string())
        };
        assert_eq!(refused(None, ""), Ok(()));
        let by = |plugin: &str| {
            Err(format!(
                "its CA is signed by an upstream authority ({plugin}), which is what has to be rotated"
            ))
        };
        assert_eq!(refused(Some("cert-manager"), "0a"), by("cert-manager"));
        assert_eq!(refused(Some("aws_pca"), ""), by("aws_pca"), "it signs the next one");
        assert_eq!(refused(None, "0a"), by("unknown"));
        assert!(refuse_upstream(&foreign(), &LocalAuthorities::default()).is_ok());
    }

    #[test]
    fn all_agents_have_to_have_renewed_their_svids() {
        let agents = ["a", "b", "c"].map(|node| agent(&format!("k8s_psat/baz/{node}"), 200, false));
        let all: Vec<&Agent> = agents.iter().collect();
        let unchanged = |count: usize| Tainted {
            agents: all[..count].iter().map(|agent| (agent.id.to_string(), agent.serial.clone())).collect(),
            server_pod: None,
        };
        assert_eq!(are_renewed(&all, &unchanged(0)), Poll::Ready(()));
        assert_eq!(are_renewed(&[], &unchanged(3)), Poll::Ready(()), "there is nobody to wait for");
        assert_eq!(are_renewed(&all, &unchanged(1)), Poll::Pending("2 of 3 have".to_owned()));
        assert_eq!(are_renewed(&all, &unchanged(3)), Poll::Pending("0 of 3 have".to_owned()));
    }

    #[test]
    fn a_plan_names_the_ca_that_goes_its_end_and_the_next_step() {
        use crate::federation::sample::{Ca, bundle_of, mesh};

        let (old, new, mesh) = (Ca::of("baz"), Ca::of("baz"), mesh());
        let bundle = bundle_of("baz", &[&old, &new]);
        let plan_of = |stage, bundle| {
            let still = StillTrusted { id: "0a".to_owned(), until: "2026-12-02T10:00:00Z".to_owned() };
            let seen = Seen { stage, bundle, still_trusted: Some(still) };
            RotationPlan::of(&mesh.clusters[2], &seen)
        };
        let plan = plan_of(Stage::Taint { from: old.id.clone(), to: new.id.clone() }, bundle);
        assert_eq!(plan.still_trusted.map(|still| still.id).as_deref(), Some("0a"));
        assert_eq!((plan.cluster.as_str(), plan.trust_domain.as_str()), ("baz", "baz.com"));
        assert_eq!((plan.from.as_str(), plan.next), (old.id.as_str(), NextStep::Taint));
        assert_eq!(plan.expires.as_deref(), Some("1970-01-08T00:00:00Z"));
        let finish = Stage::Finish { from: old.id.clone(), to: new.id.clone() };
        let plan = plan_of(finish, bundle_of("baz", &[&new]));
        assert_eq!((plan.expires, plan.next), (None, NextStep::Finish));
    }
}
