//! Bringing Istio up on every cluster, and proving that they are one mesh.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join, try_join_all};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;

use super::plan::{current, owner, remote_secrets};
use super::remove::delete;
use super::settle::settle;
use super::status::status_of;
use super::{ApiServers, InstallError, MeshStatus, Rendered, Repair, Step, ca};
use crate::check::Verification;
use crate::federation::Patience;
use crate::fleet::{Member, Need, ReadError, RequestError};
use crate::istio::remote::{ReaderToken, Slot, reader_tokens};
use crate::istio::{EAST_WEST_GATEWAY, EAST_WEST_PORT, INGRESS_GATEWAY, ISTIOD, NAMESPACE};
use crate::manifest::wait::until;
use crate::manifest::{
    self, Counts, Deadline, Kind, MeshPlan, Object, ObjectKey, Poll, ServiceAddress, service_address,
    workload_ready,
};
use crate::mesh::Mesh;
use crate::watch::Watch;

/// What bringing a mesh up came to.
#[derive(Debug)]
pub struct Installed {
    /// What was created, changed or left as it was, and why a cluster got no further, by cluster in the order of the mesh.
    pub clusters: Vec<(String, Counts, Vec<InstallError>)>,
    /// What the checks of the catalogue came to afterwards.
    pub verification: Verification<Repair>,
    /// How the mesh was when they were taken the last time.
    pub status: MeshStatus,
}

/// What all clusters of one run share.
pub(super) struct Run<'r> {
    pub(super) mesh: &'r Mesh,
    rendered: &'r [Rendered],
    servers: &'r ApiServers,
    plan: &'r MeshPlan,
    pub(super) deadline: Deadline<'r>,
    pub(super) watch: &'r dyn Watch<Step>,
}

/// Brings up Istio on every cluster at the same time, connects every pair of them, and proves it, until `deadline`.
///
/// `plan` is what [`super::plan`] has just found out. A cluster that fails does not stop the others. Safe to drop at any await and to run
/// again.
pub async fn up(
    mesh: &Mesh,
    members: &[Member],
    (rendered, servers, plan): (&[Rendered], &ApiServers, &MeshPlan),
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> Installed {
    let run = Run { mesh, rendered, servers, plan, deadline, watch };
    let mut counts: BTreeMap<&str, Counts> = BTreeMap::new();
    let mut errors: BTreeMap<&str, Vec<InstallError>> = BTreeMap::new();

    let based = join_all(members.iter().map(|member| run.base(member))).await;
    let mut tokens: BTreeMap<String, Vec<ReaderToken>> = BTreeMap::new();
    for (member, result) in members.iter().zip(based) {
        match result {
            Ok((applied, found)) => {
                counts.entry(member.name()).or_default().merge(applied);
                tokens.insert(member.name().to_owned(), found);
            }
            Err(error) => errors.entry(member.name()).or_default().push(error),
        }
    }
    let based: Vec<&Member> = members.iter().filter(|member| tokens.contains_key(member.name())).collect();
    let connected = join_all(based.iter().map(|member| run.connect(member, &tokens))).await;
    for (member, result) in based.iter().zip(connected) {
        match result {
            Ok(applied) => counts.entry(member.name()).or_default().merge(applied),
            Err(error) => errors.entry(member.name()).or_default().push(error),
        }
    }
    let patience = if errors.is_empty() { Patience::Some } else { Patience::None };
    let (examined, verification) = settle(mesh, members, patience, deadline, watch).await;
    let clusters = members
        .iter()
        .map(|member| {
            let counts = counts.get(member.name()).copied().unwrap_or_default();
            let errors = errors.remove(member.name()).unwrap_or_default();
            let found = verification.failed_in(member.name());
            let outcome = match (errors.first(), found.first()) {
                (Some(error), _) => Step::Failed(error.to_string()),
                (None, Some(found)) => Step::Failed(format!("{counts}; but {} fails", found.id)),
                (None, None) => Step::Done(counts.to_string()),
            };
            watch.step(member.name(), &outcome);
            (member.name().to_owned(), counts, errors)
        })
        .collect();
    Installed { clusters, verification, status: status_of(mesh, &examined) }
}

impl Run<'_> {
    /// Applies what needs no other cluster and no istiod, and returns the tokens that the others read this one with.
    async fn base(&self, member: &Member) -> Result<(Counts, Vec<ReaderToken>), InstallError> {
        if !self.plan.leaves_alone(member.name()) {
            self.step(member, &Step::Applying);
        }
        let has_ca = self.objects(member).any(|object| object.key().kind == Kind::Certificate);
        let is_first =
            |object: &Object| has_ca && matches!(object.key().kind, Kind::Namespace | Kind::Certificate);
        let objects = self.objects(member).filter(|object| !needs_istiod(object)).cloned();
        let (first, objects): (Vec<Object>, Vec<Object>) = objects.partition(is_first);
        let mut applied = self.apply(member, &first).await?;
        if has_ca {
            // istiod reads it when it starts, and one that starts without it signs with a CA of its own until its next start.
            self.step(member, &Step::WaitingForCa);
            ca::issued(member, self.deadline).await?;
        }
        applied.merge(self.apply(member, &objects).await?);
        let tokens = reader_tokens(member).await.map_err(|source| InstallError::Request {
            what: "the tokens of its readers".to_owned(),
            source,
        })?;
        let slot = current(&tokens).map_or(Slot::A, |token| token.slot);
        // Only now: what asks for a token of a service account that does not exist yet is deleted by Kubernetes.
        applied.merge(self.apply(member, &owner(self.mesh).stamped(vec![slot.object()])).await?);
        self.step(member, &Step::WaitingForToken);
        let tokens = until(self.deadline, "the token that other clusters read it with", || async {
            match reader_tokens(member).await {
                Ok(tokens) if tokens.is_empty() => Poll::Pending(format!("{} has no token yet", slot.key())),
                Ok(tokens) => Poll::Ready(tokens),
                Err(error) => error.into(),
            }
        });
        let tokens = tokens.await?;
        self.step(member, &Step::WaitingForPeers);
        Ok((applied, tokens))
    }

    /// Gives istiod access to the other clusters, applies what it has to accept, and waits for everything to be ready.
    async fn connect(
        &self,
        member: &Member,
        tokens: &BTreeMap<String, Vec<ReaderToken>>,
    ) -> Result<Counts, InstallError> {
        self.step(member, &Step::GivingAccess);
        let secrets = remote_secrets(self.mesh, &member.cluster, self.servers, tokens);
        let secrets: Vec<Object> = secrets.into_iter().filter_map(Result::ok).collect();
        let mut applied = self.apply(member, &owner(self.mesh).stamped(secrets)).await?;
        self.step(member, &Step::WaitingFor("istiod"));
        workload_ready::<Deployment>(member.client(), NAMESPACE, ISTIOD, self.deadline).await?;
        // Only now: an istiod that is replaced may need until then what the next one does without.
        applied.deleted += delete(member, self.stale(member), self.deadline).await?;
        let rules: Vec<Object> =
            self.objects(member).filter(|object| needs_istiod(object)).cloned().collect();
        let gateways = async {
            self.step(member, &Step::WaitingFor("the gateways"));
            let ingress = member.cluster.istio.ingress_gateway.as_ref().map(|_| INGRESS_GATEWAY);
            let all = ingress.into_iter().chain([EAST_WEST_GATEWAY]);
            let ready =
                all.map(|name| workload_ready::<Deployment>(member.client(), NAMESPACE, name, self.deadline));
            try_join_all(ready).await?;
            self.step(member, &Step::WaitingForAddress);
            self.gateway(member).await
        };
        let (counts, ()) = try_join(self.apply(member, &rules), gateways).await?;
        applied.merge(counts);
        self.step(member, &Step::WaitingForPeers);
        Ok(applied)
    }

    fn stale(&self, member: &Member) -> &[ObjectKey] {
        let planned = self.plan.clusters.iter().find(|planned| planned.cluster == member.name());
        planned.map(|planned| planned.stale.as_slice()).unwrap_or_default()
    }

    fn objects(&self, member: &Member) -> impl Iterator<Item = &Object> {
        let own = self.rendered.iter().filter(|rendered| rendered.cluster == member.name());
        own.flat_map(|rendered| &rendered.objects)
    }

    /// Waits for the address of the gateway through which other networks come in.
    async fn gateway(&self, member: &Member) -> Result<(), InstallError> {
        let found = until(self.deadline, "the east-west gateway's address", || async {
            match east_west_address(member).await {
                Ok(ServiceAddress::Ready(_)) => Poll::Ready(Ok(())),
                Ok(ServiceAddress::Pending(reason)) => Poll::Pending(reason),
                Ok(ServiceAddress::Unreachable(reason)) => {
                    Poll::Ready(Err(InstallError::Unexposed { reason }))
                }
                Err(error) if error.source.is_transient() => Poll::Pending(error.to_string()),
                Err(error) => Poll::Ready(Err(error.into())),
            }
        });
        found.await?
    }

    async fn apply(&self, member: &Member, objects: &[Object]) -> Result<Counts, InstallError> {
        // The plan has just asked the API server for every one of them.
        if self.plan.leaves_alone(member.name()) {
            return Ok(Counts { unchanged: objects.len(), ..Counts::default() });
        }
        let applied = manifest::apply(member.client(), objects, self.deadline, &|_, _| {}).await?;
        Ok(Counts::of(&applied))
    }

    pub(super) fn step(&self, member: &Member, step: &Step) {
        self.watch.step(member.name(), step);
    }
}

/// Tells whether the API server asks istiod before it takes an object.
fn needs_istiod(object: &Object) -> bool {
    object.key().kind.group().ends_with("istio.io") && object.key().kind != Kind::CustomResourceDefinition
}

/// Reads at which address other networks come in.
pub(super) async fn east_west_address(member: &Member) -> Result<ServiceAddress, ReadError> {
    let services: Api<Service> = Api::namespaced(member.client().clone(), NAMESPACE);
    let service = services.get_opt(EAST_WEST_GATEWAY).await.map_err(|error| {
        let need = Need::new("get", "", "services", Some(NAMESPACE));
        ReadError::new(member.name(), format!("Service {NAMESPACE}/{EAST_WEST_GATEWAY}"), need, &error)
    })?;
    match service {
        Some(service) => service_address(member, &service, Some(EAST_WEST_PORT)).await,
        None => {
            Ok(ServiceAddress::Pending(format!("Service {NAMESPACE}/{EAST_WEST_GATEWAY} does not exist yet")))
        }
    }
}

pub(super) fn request(what: &str, error: &kube::Error) -> InstallError {
    InstallError::Request { what: what.to_owned(), source: RequestError::from(error) }
}
