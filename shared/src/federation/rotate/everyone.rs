//! What everybody who uses a trust domain's bundle has of it: asked of every peer's server and of every agent.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use kube::api::Api;

use super::wanted::Wanted;
use crate::federation::locate::locate;
use crate::federation::observed::SeenAgents;
use crate::federation::{FederationError, Step, observe};
use crate::fleet::Member;
use crate::manifest::wait::until;
use crate::manifest::{Deadline, Poll};
use crate::mesh::Spire;
use crate::spire::crd::ClusterSPIFFEID;
use crate::spire::desired::AGENT_IDS_NAME;
use crate::spire::server::{Server, ServerError};
use crate::spire::workload_api::{AgentError, Answer, ask};
use crate::trust::{TrustBundle, TrustDomain};
use crate::watch::Watch;

/// How many agents of a cluster are asked at the same time: each starts a program on its node.
const AT_A_TIME: usize = 16;
/// How long agents are given that cannot be asked. They ask their server every five seconds unless they are told otherwise
/// (`sync_interval`; SPIRE 1.15.3, `doc/spire_agent.md`).
const UNASKED: Duration = Duration::from_secs(30);

/// Everybody who uses the bundle of one cluster.
pub(super) struct Everyone<'e> {
    pub(super) own: &'e Member,
    pub(super) members: &'e [Member],
    pub(super) deadline: Deadline<'e>,
    pub(super) watch: &'e dyn Watch<Step>,
}

impl Everyone<'_> {
    /// Waits until every peer's server has fetched a bundle that is so, and every agent of every cluster serves it.
    pub(super) async fn have(&self, wanted: &Wanted) -> Result<(), FederationError> {
        let asked = self.members.iter().map(|member| async move {
            if member.name() != self.own.name() {
                self.peer(member, wanted).await?;
            }
            self.agents(member, wanted).await
        });
        join_all(asked).await.into_iter().collect()
    }

    /// Makes a peer's server fetch the bundle until it is so.
    async fn peer(&self, peer: &Member, wanted: &Wanted) -> Result<(), FederationError> {
        let domain = &self.own.cluster.trust_domain;
        let server = locate(peer).await?.server;
        self.watch.step(peer.name(), &Step::Refreshing(domain.clone()));
        let what = format!("the SPIRE server in {} to fetch the bundle of {domain}", peer.name());
        let fetched = until(self.deadline, &what, || fetch(&server, domain, wanted));
        fetched.await?
    }

    /// Waits until all agents of a cluster serve what is wanted.
    pub(super) async fn agents(&self, member: &Member, wanted: &Wanted) -> Result<(), FederationError> {
        let proven = Mutex::new(BTreeSet::new());
        let what = format!("the agents in {} to {wanted}", member.name());
        let asked = until(self.deadline, &what, || async {
            match observe::agents(member).await {
                Ok(Some(agents)) => self.look(member, &agents, wanted, &proven).await,
                Ok(None) => Poll::Ready(Err(FederationError::NoAgents { cluster: member.name().to_owned() })),
                Err(unread) => Poll::Pending(unread.why),
            }
        });
        match (asked.await?, &member.cluster.spire) {
            (Err(FederationError::AgentsUnasked { .. }), Spire::Existing(_)) => {
                self.wait(member, UNASKED, "agents that cannot be asked").await;
                Ok(())
            }
            (result, _) => result,
        }
    }

    /// Asks those agents that have not proven it yet.
    async fn look(
        &self,
        member: &Member,
        agents: &SeenAgents,
        wanted: &Wanted,
        proven: &Mutex<BTreeSet<String>>,
    ) -> Poll<Result<(), FederationError>> {
        let is_proven = |name: &String| lock(proven).contains(name);
        let names = || agents.pods.iter().map(|pod| &pod.name);
        let left: Vec<&String> = names().filter(|name| !is_proven(name)).collect();
        let answers =
            left.into_iter().map(|name| async move { (name, ask(member, &agents.found, name).await) });
        let mut missing = None;
        let answers: Vec<_> = stream::iter(answers).buffer_unordered(AT_A_TIME).collect().await;
        let is_unknown = |(_, answer): &(_, Result<Answer, _>)| matches!(answer, Ok(Answer::NoIdentity));
        let gets_identity = answers.iter().any(is_unknown) && registers_agents(member).await;
        for (name, answer) in answers {
            match proof(name, &answer, wanted, gets_identity) {
                Proof::Given => {
                    lock(proven).insert(name.clone());
                }
                Proof::Missing(why) => missing = Some(why),
                Proof::Never => {
                    return Poll::Ready(Err(FederationError::AgentsUnasked {
                        cluster: member.name().to_owned(),
                    }));
                }
            }
        }
        let done = names().filter(|name| is_proven(name)).count();
        let of = agents.wanted();
        self.watch.step(member.name(), &Step::AskingAgents { done, of, wanted: wanted.clone() });
        let missing = missing.map(|missing| format!(": {missing}")).unwrap_or_default();
        if are_all(done, of) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending(format!("{done} of {of} agents {wanted}{missing}"))
        }
    }

    /// Waits for a time, because there is nothing to look at.
    pub(super) async fn wait(&self, member: &Member, time: Duration, what: &'static str) {
        self.watch.step(member.name(), &Step::Waiting { time, what });
        tokio::time::sleep(time).await;
    }
}

/// What an agent's answer proves.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    /// It serves what is wanted.
    Given,
    /// It does not yet, for this reason.
    Missing(String),
    /// It will not be told: nobody gives its pod an identity to ask with.
    Never,
}

/// Judges the answer of the agent in the pod `name`. `gets_identity` says whether the pod is to get one of its own.
fn proof(name: &str, answer: &Result<Answer, AgentError>, wanted: &Wanted, gets_identity: bool) -> Proof {
    match answer {
        Ok(Answer::Served(served)) if wanted.is_served(served) => Proof::Given,
        Ok(Answer::Served(_)) => Proof::Missing(format!("pod {name} does not yet")),
        Ok(Answer::NoIdentity) if gets_identity => {
            Proof::Missing(format!("pod {name} has not got its own identity yet"))
        }
        Ok(Answer::NoIdentity) => Proof::Never,
        Err(error) => Proof::Missing(error.to_string()),
    }
}

/// Tells whether all agents have proven something. Where there are none yet, nothing is proven.
fn are_all(done: usize, of: usize) -> bool {
    done == of && of > 0
}

/// Tells whether the object is there that gives agents an identity to ask with. Where that cannot be read it may be.
async fn registers_agents(member: &Member) -> bool {
    if matches!(member.cluster.spire, Spire::Existing(_)) {
        return false;
    }
    let objects: Api<ClusterSPIFFEID> = Api::all(member.client().clone());
    !matches!(objects.get_opt(AGENT_IDS_NAME).await, Ok(None))
}

async fn fetch(
    server: &Server<'_>,
    domain: &TrustDomain,
    wanted: &Wanted,
) -> Poll<Result<(), FederationError>> {
    match server.refresh(domain).await {
        Ok(()) => fetched(server.stored_bundles().await, domain, wanted),
        Err(error) => failed(error.may_pass(), error),
    }
}

/// Judges what a server holds after it has fetched the bundle.
fn fetched(
    stored: Result<Vec<TrustBundle>, ServerError>,
    domain: &TrustDomain,
    wanted: &Wanted,
) -> Poll<Result<(), FederationError>> {
    match stored {
        Ok(stored) if wanted.is_among(&stored, domain) => Poll::Ready(Ok(())),
        Ok(_) => Poll::Pending("it was fetched, and is another one".to_owned()),
        Err(error) => failed(error.may_pass(), error),
    }
}

/// Goes on waiting after an error that may pass.
fn failed(may_pass: bool, error: impl Into<FederationError>) -> Poll<Result<(), FederationError>> {
    let error = error.into();
    if may_pass { Poll::Pending(error.to_string()) } else { Poll::Ready(Err(error)) }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::wanted::short;
    use super::*;
    use crate::federation::sample::mesh;
    use crate::federation::sample::{Ca, bundle, bundle_of, domain, examined};
    use crate::fleet::fake::FakeServer;
    use crate::spire::workload_api::Served;

    fn wanted(id: &str) -> [Wanted; 2] {
        [Wanted::Holds(domain("baz"), id.to_owned()), Wanted::Lacks(domain("baz"), id.to_owned())]
    }

    #[test]
    fn who_has_no_bundle_neither_holds_a_ca_nor_has_dropped_it() {
        let (old, new) = (Ca::of("baz"), Ca::of("baz"));
        let [holds, lacks] = wanted(&old.id);
        let both = |bundle: Option<&TrustBundle>| (holds.is_stored(bundle), lacks.is_stored(bundle));
        assert_eq!(both(Some(&bundle_of("baz", &[&old, &new]))), (true, false));
        assert_eq!(both(Some(&bundle_of("baz", &[&new]))), (false, true));
        assert_eq!(both(None), (false, false));
        assert!(!Wanted::SignedBy(old.id.clone()).is_stored(Some(&bundle_of("baz", &[&old]))));
    }

    #[test]
    fn of_several_bundles_that_of_the_trust_domain_counts() {
        let (old, new) = (Ca::of("baz"), Ca::of("baz"));
        let [holds, lacks] = wanted(&old.id);
        let stored = [bundle("foo"), bundle("bar"), bundle_of("baz", &[&old])];
        assert!(holds.is_among(&stored, &domain("baz")) && !lacks.is_among(&stored, &domain("baz")));
        let none = &stored[..2];
        assert!(!holds.is_among(none, &domain("baz")) && !lacks.is_among(none, &domain("baz")));
        let served = |issuer: Option<&Ca>, bundles: &[TrustBundle]| Served {
            issuer: issuer.map(|ca| ca.id.clone()),
            bundles: bundles.to_vec(),
        };
        assert!(holds.is_served(&served(None, &stored)) && !lacks.is_served(&served(None, &stored)));
        assert!(!lacks.is_served(&served(None, none)), "an agent without the bundle has not dropped the CA");
        let signed = Wanted::SignedBy(new.id.clone());
        assert!(signed.is_served(&served(Some(&new), none)));
        assert!(!signed.is_served(&served(Some(&old), &[bundle_of("baz", &[&new])])));
        assert!(!signed.is_served(&served(None, none)));
    }

    #[test]
    fn an_agent_without_a_pod_is_waited_for() {
        let mut agents = examined().observed.clusters[2].seen.clone().unwrap().agents.unwrap().unwrap();
        assert_eq!(agents.wanted(), 2);
        agents.pods.pop();
        assert_eq!(agents.wanted(), 2, "its pod has not been made yet");
        agents.found.desired = 0;
        assert_eq!(agents.wanted(), 1, "the controller has not counted yet");
        assert!(are_all(2, 2) && !are_all(1, 2) && !are_all(0, 2));
        assert!(!are_all(0, 0), "nobody has proven anything");
    }

    #[test]
    fn what_is_waited_for_is_told_with_as_much_of_an_id_as_tells_cas_apart() {
        let id = "0123456789abcdef".to_owned();
        let [holds, lacks] = wanted(&id);
        assert_eq!(holds.to_string(), "serve CA 01234567 of baz.com");
        assert_eq!(lacks.to_string(), "no longer serve CA 01234567 of baz.com");
        assert_eq!(Wanted::SignedBy(id).to_string(), "serve SVIDs of CA 01234567");
        assert_eq!(short("0a"), "0a");
    }

    fn failure(exit: u64) -> ServerError {
        ServerError::Failed {
            cluster: "foo".to_owned(),
            context: "foo".to_owned(),
            namespace: "spire-server".to_owned(),
            pod: "spire-server-0".to_owned(),
            command: "bundle list",
            exit: i32::try_from(exit).unwrap(),
            stderr: "no".to_owned(),
        }
    }

    #[test]
    fn a_peer_is_asked_again_until_it_holds_what_is_wanted() {
        let (old, new) = (Ca::of("baz"), Ca::of("baz"));
        let [holds, _] = wanted(&new.id);
        let judged = |stored| fetched(stored, &domain("baz"), &holds);
        assert!(matches!(
            judged(Ok(vec![bundle("bar"), bundle_of("baz", &[&old, &new])])),
            Poll::Ready(Ok(()))
        ));
        let other = judged(Ok(vec![bundle("bar"), bundle_of("baz", &[&old])]));
        assert!(matches!(other, Poll::Pending(why) if why == "it was fetched, and is another one"));
        assert_eq!(matches!(judged(Err(failure(1))), Poll::Pending(_)), failure(1).may_pass());
        let text = failure(1).to_string();
        assert!(matches!(failed(true, failure(1)), Poll::Pending(why) if why == text));
        assert!(matches!(failed(false, failure(1)), Poll::Ready(Err(error)) if error.to_string() == text));
    }

    #[test]
    fn an_agent_without_an_identity_is_waited_for_where_its_pod_is_to_get_one() {
        let new = Ca::of("baz");
        let [holds, lacks] = wanted(&new.id);
        let served = || {
            let bundles = vec![bundle_of("baz", &[&new])];
            Ok(Answer::Served(Box::new(Served { issuer: None, bundles })))
        };
        assert_eq!(proof("agent-1", &served(), &holds, false), Proof::Given);
        let missing = |why: &str| Proof::Missing(why.to_owned());
        assert_eq!(proof("agent-1", &served(), &lacks, false), missing("pod agent-1 does not yet"));
        let unknown = |gets_identity| proof("agent-2", &Ok(Answer::NoIdentity), &holds, gets_identity);
        assert_eq!(unknown(true), missing("pod agent-2 has not got its own identity yet"));
        assert_eq!(unknown(false), Proof::Never);
    }

    #[tokio::test]
    async fn agents_get_an_identity_where_the_object_for_it_is_there_or_cannot_be_read() {
        const OBJECT: &str = "/apis/spire.spiffe.io/v1alpha1/clusterspiffeids/agents";

        let mesh = mesh();
        let server = FakeServer::default();
        let (foo, bar) = (server.member_of(&mesh.clusters[0]), server.member_of(&mesh.clusters[1]));
        assert!(!registers_agents(&foo).await);
        server.put(OBJECT, serde_json::json!({"spec": {"spiffeIDTemplate": "spiffe://x"}}));
        assert!(registers_agents(&foo).await);
        assert!(
            !registers_agents(&bar).await,
            "the agents of somebody else's SPIRE are not ours to register"
        );
        server.refuse(OBJECT, 403);
        assert!(registers_agents(&foo).await);
    }
}
