use std::collections::BTreeMap;

use futures::future::{join, join_all};
use k8s_openapi::api::apps::v1::StatefulSet;

use super::locate::{Located, answering, rootless};
use super::lost::Lost;
use super::observe;
use super::plan::{is_rendered, owner};
use super::repair::restart;
use super::settle::settle;
use super::{FederationError, MeshStatus, Repair, Step};
use crate::check::{Patience, Verification};
use crate::fleet::Member;
use crate::manifest::wait::until;
use crate::manifest::{self, Counts, Deadline, MeshPlan, Object, Owner, Poll, Scope};
use crate::mesh::{EndpointUrl, ExistingSpire, ManagedSpire, Mesh, Spire};
use crate::spire::desired::{
    AGENT_NAME, BUNDLE_SERVICE_NAME, CSI_DRIVER_NAME, SERVER_NAME, agent_objects, relationship,
    server_objects, workload_ids,
};
use crate::spire::endpoint::{Endpoint, bundle_endpoint};
use crate::spire::server::{RefreshCause, RefreshError, Relationship, ServerError};
use crate::trust::{TrustBundle, TrustDomain};
use crate::watch::Watch;

/// What bringing a mesh up came to.
#[derive(Debug)]
pub struct Federated {
    /// What was created, changed or left as it was, and why a cluster got no further, by cluster in the order of the mesh.
    pub clusters: Vec<(String, Counts, Vec<FederationError>)>,
    /// What the checks of the catalogue came to afterwards.
    pub verification: Verification<Repair>,
    /// How the mesh was when they were taken the last time.
    pub status: MeshStatus,
}

/// A server that answers, with what its peers need to trust it.
struct Ready<'m> {
    located: Located<'m>,
    url: EndpointUrl,
}

/// Brings up SPIRE on every cluster at the same time and federates every pair of them, until `deadline`.
///
/// `plan` is what [`super::plan`] has just found out; a cluster in which nothing would change is not planned again, and with
/// [`Scope::Live`] what others have applied is waited for and left as it is.
///
/// A cluster that fails does not stop the others: they are federated among each other. Safe to drop at any await and to run
/// again.
pub async fn up(
    mesh: &Mesh,
    members: &[Member],
    plan: &MeshPlan,
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> Federated {
    let run = Run { owner: owner(mesh), mesh, plan, deadline, watch };
    let started = join_all(members.iter().map(|member| run.start(member))).await;
    let ready: Vec<&Ready<'_>> = started.iter().filter_map(|(_, ready)| ready.as_ref().ok()).collect();
    let finished = join_all(started.iter().map(|(_, result)| async {
        match result {
            Ok(own) => Box::pin(run.finish(own, &ready)).await,
            Err(_) => (Counts::default(), Vec::new()),
        }
    }))
    .await;
    let results = started.into_iter().zip(finished).zip(members);
    let clusters: Vec<(String, Counts, Vec<FederationError>)> = results
        .map(|(((mut applied, start), (later, mut errors)), member)| {
            applied.merge(later);
            if let Err(error) = start {
                errors.insert(0, error);
            }
            (member.name().to_owned(), applied, errors)
        })
        .collect();
    let came_up = clusters.iter().all(|(_, _, errors)| errors.is_empty());
    let patience = if came_up { Patience::Some } else { Patience::None };
    let (examined, verification) = settle(mesh, members, &BTreeMap::new(), patience, deadline, watch).await;
    for (cluster, applied, errors) in &clusters {
        let outcome = match (errors.first(), verification.failed_in(cluster).first()) {
            (Some(error), _) => Step::Failed(error.to_string()),
            (None, Some(found)) => Step::Failed(format!("{applied}; but {} fails", found.id)),
            (None, None) => Step::Done(applied.to_string()),
        };
        watch.step(cluster, &outcome);
    }
    Federated { clusters, verification, status: MeshStatus::examined(&examined) }
}

/// What all clusters of one run share.
struct Run<'r> {
    owner: Owner,
    mesh: &'r Mesh,
    plan: &'r MeshPlan,
    deadline: Deadline<'r>,
    watch: &'r dyn Watch<Step>,
}

impl Run<'_> {
    /// Brings one cluster's server up, without asking for its peers.
    async fn start<'m>(&self, member: &'m Member) -> (Counts, Result<Ready<'m>, FederationError>) {
        let mut applied = Counts::default();
        let ready = self.start_server(member, &mut applied).await;
        (applied, ready)
    }

    async fn start_server<'m>(
        &self,
        member: &'m Member,
        applied: &mut Counts,
    ) -> Result<Ready<'m>, FederationError> {
        if let Spire::Managed(spire) = &member.cluster.spire {
            if self.plan.scope == Scope::Everything && !self.plan.leaves_alone(member.name()) {
                self.step(member, &Step::Applying);
            }
            let objects = self.owner.stamped(server_objects(&member.cluster, spire));
            applied.merge(self.apply_rendered(member, &objects).await?);
            self.step(member, &Step::WaitingForServer);
            manifest::workload_ready::<StatefulSet>(
                member.client(),
                &spire.server_namespace,
                SERVER_NAME,
                self.deadline,
            )
            .await?;
        }
        let located = answering(member, self.deadline).await?;
        if let Some(error) = rootless(&located) {
            return Err(error);
        }
        if let Spire::Managed(spire) = &member.cluster.spire {
            // Their pods mount the bundle that the server has published by now.
            let objects = self.owner.stamped(agent_objects(&member.cluster, spire));
            applied.merge(self.apply_rendered(member, &objects).await?);
        }
        self.step(member, &Step::WaitingForAddress);
        let url = self.endpoint(member, &located).await?;
        self.step(member, &Step::WaitingForPeers);
        Ok(Ready { located, url })
    }

    async fn endpoint(&self, member: &Member, located: &Located<'_>) -> Result<EndpointUrl, FederationError> {
        let what = "the bundle endpoint's address";
        let found = until(self.deadline, what, || async {
            let endpoint = match &member.cluster.spire {
                Spire::Managed(spire) => bundle_endpoint(member, spire).await,
                Spire::Existing(ExistingSpire { bundle_endpoint_url: Some(url), .. }) => {
                    Ok(Endpoint::Ready(url.clone()))
                }
                Spire::Existing(_) => located.found.endpoint(member).await,
            };
            match endpoint {
                Ok(Endpoint::Ready(url)) => Poll::Ready(Ok(url)),
                Ok(Endpoint::Pending(reason)) => Poll::Pending(with_event(member, reason).await),
                Ok(Endpoint::Unexposed(reason)) => Poll::Ready(Err(FederationError::Unexposed { reason })),
                Err(error) if error.source.is_transient() => Poll::Pending(error.to_string()),
                Err(error) => Poll::Ready(Err(error.into())),
            }
        });
        found.await?
    }

    /// Federates one cluster with all that are ready, registers its workloads, and waits for its agents.
    async fn finish(&self, own: &Ready<'_>, ready: &[&Ready<'_>]) -> (Counts, Vec<FederationError>) {
        let (applied, mut errors) = Box::pin(self.federate(own, ready)).await;
        errors.extend(self.agents_back(own).await.err());
        errors.extend(self.agents_ready(own.located.server.member).await.err());
        (applied, errors)
    }

    async fn federate(&self, own: &Ready<'_>, ready: &[&Ready<'_>]) -> (Counts, Vec<FederationError>) {
        let member = own.located.server.member;
        let (mut applied, mut errors) = (Counts::default(), Vec::new());
        let stored = match own.located.server.stored_bundles().await {
            Ok(stored) => stored,
            Err(error) => return (applied, vec![error.into()]),
        };
        let stored = &stored;
        let peers = self.mesh.clusters.iter().map(|cluster| &cluster.trust_domain);
        let trusted =
            peers.filter(|domain| **domain != member.cluster.trust_domain).map(|domain| async move {
                match ready.iter().find(|peer| peer.located.own.trust_domain() == domain) {
                    Some(peer) => self.trust(own, peer, stored).await,
                    None => Err(FederationError::PeerMissing { peer: domain.clone() }),
                }
            });
        for result in join_all(trusted).await {
            match result {
                Ok(change) => applied.merge(change),
                Err(error) => errors.push(error),
            }
        }
        match self.register(own).await {
            Ok(change) => applied.merge(change),
            Err(error) => errors.push(error),
        }
        (applied, errors)
    }

    /// Makes one server trust one peer, and sees it fetch the peer's bundle itself. `stored` is what the server holds now.
    async fn trust(
        &self,
        own: &Ready<'_>,
        peer: &Ready<'_>,
        stored: &[TrustBundle],
    ) -> Result<Counts, FederationError> {
        let member = own.located.server.member;
        let domain = peer.located.own.trust_domain();
        // With one authority in common the server can fetch the others. With none it is locked out, or new.
        if !share_one(stored, &peer.located.own) {
            self.carry(own, peer).await?;
        }
        let objects =
            self.owner.stamped(vec![relationship(own.located.found.class_name(), domain, &peer.url)]);
        let applied = if is_rendered(&member.cluster, &peer.located.server.member.cluster) {
            self.apply_rendered(member, &objects).await?
        } else {
            self.apply(member, &objects).await?
        };
        self.step(member, &Step::Refreshing(domain.clone()));
        match self.fetched(own, peer).await {
            Err(FederationError::Refresh(RefreshError::Failed {
                cause: RefreshCause::UnknownAuthority,
                ..
            })) => {
                // What they have in common is not what the peer signs with now.
                self.carry(own, peer).await?;
                self.fetched(own, peer).await?;
            }
            fetched => fetched?,
        }
        Ok(applied)
    }

    /// Carries the peer's bundle over the Kubernetes API, which has proven both sides.
    async fn carry(&self, own: &Ready<'_>, peer: &Ready<'_>) -> Result<(), FederationError> {
        let domain = peer.located.own.trust_domain();
        self.step(own.located.server.member, &Step::CarryingBundle(domain.clone()));
        Ok(own.located.server.set_bundle(&peer.located.document().await?).await?)
    }

    /// Waits until the server has fetched the peer's bundle from its endpoint, and holds what the peer holds.
    async fn fetched(&self, own: &Ready<'_>, peer: &Ready<'_>) -> Result<(), FederationError> {
        let server = &own.located.server;
        let domain = peer.located.own.trust_domain();
        let what = format!("the bundle of {domain} from {}", peer.url.as_str());
        let fetched = until(self.deadline, &what, || async {
            match self.knows(own, peer).await {
                Ok(true) => {}
                Ok(false) => {
                    return Poll::Pending("the server has not been told of the relationship yet".to_owned());
                }
                Err(error) => return Poll::Pending(error.to_string()),
            }
            match server.refresh(domain).await {
                Ok(()) => {}
                Err(error) if may_pass(&error) => return Poll::Pending(error.to_string()),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
            match self.holds_what_is_live(own, peer).await {
                Ok(true) => Poll::Ready(Ok(())),
                Ok(false) => {
                    Poll::Pending("it was fetched, and holds other authorities than the peer".to_owned())
                }
                Err(error) => Poll::Pending(error.to_string()),
            }
        });
        fetched.await?
    }

    /// Tells whether the server has been told where the peer's bundle endpoint is: a refresh before that would prove another
    /// address. Where nothing was changed it has long been told.
    async fn knows(&self, own: &Ready<'_>, peer: &Ready<'_>) -> Result<bool, ServerError> {
        let server = &own.located.server;
        if self.plan.leaves_alone(server.member.name()) {
            return Ok(true);
        }
        Ok(is_told(&server.relationships().await?, peer.located.own.trust_domain(), &peer.url))
    }

    /// Tells whether the server holds exactly the authorities of the peer, which may have changed since they were read.
    async fn holds_what_is_live(&self, own: &Ready<'_>, peer: &Ready<'_>) -> Result<bool, ServerError> {
        let stored = own.located.server.stored_bundles().await?;
        let holds = |live: &TrustBundle| stored.iter().any(|bundle| bundle.same_authorities(live));
        Ok(holds(&peer.located.own) || holds(&peer.located.server.bundle().await?))
    }

    /// Registers workloads with every peer whose bundle is stored. With one that is not, SPIRE would make no entry at all.
    async fn register(&self, own: &Ready<'_>) -> Result<Counts, FederationError> {
        let server = &own.located.server;
        let member = server.member;
        let Spire::Managed(spire) = &member.cluster.spire else {
            // Its entries are its owner's: a second one for a pod would make the pod's identity a matter of chance.
            return Ok(Counts::default());
        };
        // Where nothing was changed, the plan has found them registered with every peer.
        let stored = if self.plan.leaves_alone(member.name()) {
            None
        } else {
            self.step(member, &Step::Registering);
            Some(server.stored_bundles().await?)
        };
        let objects = registrations(self.mesh, &member.cluster.trust_domain, spire, stored.as_deref());
        self.apply(member, &objects).await
    }

    /// Applies what `render` writes, where nobody else does.
    async fn apply_rendered(&self, member: &Member, objects: &[Object]) -> Result<Counts, FederationError> {
        match self.plan.scope {
            Scope::Everything => self.apply(member, objects).await,
            Scope::Live => Ok(Counts::default()),
        }
    }

    async fn apply(&self, member: &Member, objects: &[Object]) -> Result<Counts, FederationError> {
        if self.plan.leaves_alone(member.name()) {
            return Ok(Counts { unchanged: objects.len(), ..Counts::default() });
        }
        let applied = manifest::apply(member.client(), objects, self.deadline, &|_, _| ()).await?;
        Ok(Counts::of(&applied))
    }

    /// Starts the agents again that trust the CA of a server which has lost its data: they would not come back for ten minutes.
    async fn agents_back(&self, own: &Ready<'_>) -> Result<(), FederationError> {
        let server = &own.located.server;
        let member = server.member;
        if matches!(member.cluster.spire, Spire::Existing(_)) {
            return Ok(());
        }
        let attested = server.agents().await?;
        // What cannot be read is no reason to fail: `verify` names it.
        let (Ok(Some(agents)), Ok(nodes)) = join(observe::agents(member), observe::nodes(member)).await
        else {
            return Ok(());
        };
        let Some(lost) = Lost::find(&own.located.own, &attested, &agents, &nodes) else { return Ok(()) };
        self.step(member, &Step::RestartingAgents);
        let pods: Vec<String> = lost.pods.iter().map(|pod| pod.name.clone()).collect();
        restart(member, &agents.found.namespace, &pods, self.deadline).await
    }

    async fn agents_ready(&self, member: &Member) -> Result<(), FederationError> {
        let Spire::Managed(spire) = &member.cluster.spire else { return Ok(()) };
        if !self.plan.leaves_alone(member.name()) {
            self.step(member, &Step::WaitingForAgents);
        }
        for name in [AGENT_NAME, CSI_DRIVER_NAME] {
            let ready =
                manifest::ready_on_nodes(member.client(), &spire.agent_namespace, name, self.deadline);
            Box::pin(ready).await?;
        }
        Ok(())
    }

    fn step(&self, member: &Member, step: &Step) {
        self.watch.step(member.name(), step);
    }
}

/// Tells whether one of the bundles that a server holds is of the peer's trust domain and has an authority in common with what
/// the peer holds itself.
fn share_one(stored: &[TrustBundle], live: &TrustBundle) -> bool {
    let has_one = |stored: &TrustBundle| {
        stored.authorities().keys().any(|digest| live.authorities().contains_key(digest))
    };
    stored.iter().any(|stored| stored.trust_domain() == live.trust_domain() && has_one(stored))
}

/// Tells whether one of a server's relationships is with this trust domain, at this address.
fn is_told(known: &[Relationship], domain: &TrustDomain, url: &EndpointUrl) -> bool {
    known.iter().any(|known| known.trust_domain == *domain && known.url == url.as_str())
}

/// Returns the objects that register a managed cluster's workloads with every peer of the mesh whose bundle is `stored`; with every
/// peer where that is `None`.
pub(super) fn registrations(
    mesh: &Mesh,
    own: &TrustDomain,
    spire: &ManagedSpire,
    stored: Option<&[TrustBundle]>,
) -> Vec<Object> {
    let has_bundle = |domain: &TrustDomain| {
        stored.is_none_or(|stored| stored.iter().any(|bundle| bundle.trust_domain() == domain))
    };
    let peers = mesh.clusters.iter().map(|cluster| cluster.trust_domain.clone());
    let peers: Vec<TrustDomain> = peers.filter(|domain| domain != own && has_bundle(domain)).collect();
    owner(mesh).stamped(workload_ids(spire, &peers))
}

/// Adds what the cloud last said about a managed bundle endpoint's service, which is where a missing load balancer
/// controller or subnet shows.
async fn with_event(member: &Member, reason: String) -> String {
    let Spire::Managed(spire) = &member.cluster.spire else { return reason };
    manifest::why_pending(member.client(), &spire.server_namespace, BUNDLE_SERVICE_NAME, &reason).await
}

/// Tells whether waiting can help: the endpoint's address is fresh, or the server's pod is being replaced.
fn may_pass(error: &RefreshError) -> bool {
    match error {
        RefreshError::Failed { cause, .. } => cause.may_pass(),
        RefreshError::Server(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::sample::{Ca, bundle, bundle_of, domain, mesh, observed, url};

    /// Every list of `federatesWith` among the objects.
    fn federates_with(stored: Option<&[TrustBundle]>) -> Vec<String> {
        let mesh = mesh();
        let Spire::Managed(spire) = &mesh.clusters[2].spire else { panic!("baz is managed") };
        let objects = registrations(&mesh, &domain("baz"), spire, stored);
        objects.iter().map(|object| object.to_value()["spec"]["federatesWith"].to_string()).collect()
    }

    #[test]
    fn workloads_federate_with_those_peers_whose_bundles_are_held() {
        assert_eq!(federates_with(Some(&[bundle("bar")])), [r#"["bar.com"]"#; 3]);
        assert_eq!(
            federates_with(Some(&[bundle("qux"), bundle("baz"), bundle("foo")])),
            [r#"["foo.com"]"#; 3]
        );
        assert_eq!(federates_with(Some(&[])), ["null"; 3]);
        assert_eq!(federates_with(None), [r#"["bar.com","foo.com"]"#; 3]);
    }

    #[test]
    fn a_bundle_is_carried_unless_one_authority_of_the_peer_is_held_for_it() {
        let (old, new, other) = (Ca::of("baz"), Ca::of("baz"), Ca::of("baz"));
        let live = bundle_of("baz", &[&old, &new]);
        let share = |stored: &[TrustBundle]| share_one(stored, &live);
        assert!(share(&[bundle("foo"), bundle("bar"), bundle_of("baz", &[&other, &new])]));
        assert!(!share(&[bundle("foo"), bundle_of("baz", &[&other])]));
        assert!(!share(&[bundle_of("bar", &[&old, &new])]), "the authorities of another trust domain");
        assert!(!share(&[]));
    }

    #[test]
    fn a_server_is_told_when_it_has_the_address_for_the_peer_itself() {
        let observed = observed();
        let known = &observed.clusters[2].server().unwrap().relationships;
        let told = |name: &str, url: &str| is_told(known, &domain(name), &url.parse().unwrap());
        assert!(told("foo", &url("foo")) && told("bar", &url("bar")));
        assert!(!told("bar", &url("foo")), "it is that of another peer");
        assert!(!told("bar", &url("new")));
        assert!(!told("baz", &url("bar")));
    }

    #[test]
    fn what_a_fetch_ends_with_is_waited_for_where_that_can_help() {
        let failed = |cause| RefreshError::Failed {
            cluster: "baz".to_owned(),
            peer: domain("bar"),
            cause,
            message: String::new(),
        };
        assert!(may_pass(&failed(RefreshCause::NameNotFound)));
        assert!(!may_pass(&failed(RefreshCause::UnknownAuthority)));
        let lost = ServerError::Failed {
            cluster: "baz".to_owned(),
            context: "baz".to_owned(),
            namespace: "spire-server".to_owned(),
            pod: "spire-server-0".to_owned(),
            command: "federation refresh",
            exit: 1,
            stderr: String::new(),
        };
        assert!(may_pass(&RefreshError::Server(lost)));
    }
}
