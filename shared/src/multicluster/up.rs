//! Bringing Istio up on every cluster, and proving that they are one mesh.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join, try_join_all};
use k8s_openapi::api::apps::v1::Deployment;

use super::gateway::east_west;
use super::plan::{current, owner, remote_secrets, token_secrets};
use super::remove::delete;
use super::settle::{Istiods, settle};
use super::status::status_of;
use super::{ApiServers, InstallError, MeshStatus, Rendered, Repair, Step, ca};
use crate::check::{Patience, Verification};
use crate::fleet::Member;
use crate::istio::remote::{ReaderToken, TokenSecret, is_shared_token, reader_tokens};
use crate::istio::{EAST_WEST_GATEWAY, INGRESS_GATEWAY, ISTIOD, NAMESPACE};
use crate::manifest::wait::until;
use crate::manifest::{
    self, Counts, Deadline, Kind, MeshPlan, Object, ObjectKey, Poll, Scope, ServiceAddress, workload_ready,
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
/// `plan` is what [`super::plan`] has just found out; with [`Scope::Live`] what others have applied is waited for and left as it is. A cluster
/// that fails does not stop the others. Safe to drop at any await and to run
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
    if errors.is_empty() {
        // Only now: each reader has a token of its own, and nobody reads with the one that all of them had.
        for (member, result) in
            members.iter().zip(join_all(members.iter().map(|member| run.unshare(member))).await)
        {
            match result {
                Ok(deleted) => counts.entry(member.name()).or_default().deleted += deleted,
                Err(error) => errors.entry(member.name()).or_default().push(error),
            }
        }
    }
    let patience = if errors.is_empty() { Patience::Some } else { Patience::None };
    let (examined, verification) =
        settle(mesh, members, &BTreeMap::new(), patience, Istiods::MayStartAgain, deadline, watch).await;
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
        if self.plan.scope == Scope::Everything && !self.plan.leaves_alone(member.name()) {
            self.step(member, &Step::Applying);
        }
        let has_ca = self.objects(member).any(|object| object.key().kind == Kind::Certificate);
        let is_first =
            |object: &Object| has_ca && matches!(object.key().kind, Kind::Namespace | Kind::Certificate);
        let objects = self.objects(member).filter(|object| !needs_istiod(object)).cloned();
        let (first, objects): (Vec<Object>, Vec<Object>) = objects.partition(is_first);
        let mut applied = self.apply_rendered(member, &first).await?;
        if has_ca {
            // istiod reads it when it starts, and one that starts without it signs with a CA of its own until its next start.
            self.step(member, &Step::WaitingForCa);
            ca::issued(member, self.deadline).await?;
        }
        applied.merge(self.apply_rendered(member, &objects).await?);
        let tokens = reader_tokens(member).await.map_err(|source| InstallError::Request {
            what: "the tokens of its readers".to_owned(),
            source,
        })?;
        let secrets = token_secrets(self.mesh, &member.cluster, &tokens);
        // Only now: what asks for a token of a service account that does not exist yet is deleted by Kubernetes.
        let objects = secrets.iter().map(TokenSecret::object).collect();
        applied.merge(self.apply(member, &owner(self.mesh).stamped(objects)).await?);
        self.step(member, &Step::WaitingForToken);
        let tokens = until(self.deadline, "the tokens that the other clusters read it with", || async {
            match reader_tokens(member).await {
                Ok(tokens) => {
                    match secrets.iter().find(|secret| current(&tokens, &secret.reader).is_none()) {
                        Some(secret) => Poll::Pending(format!("{} has no token yet", secret.key())),
                        None => Poll::Ready(tokens),
                    }
                }
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
        let stale: Vec<ObjectKey> =
            self.stale(member).iter().filter(|key| !is_shared_token(key)).cloned().collect();
        applied.deleted += delete(member, &stale, self.deadline).await?;
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
        let (counts, ()) = try_join(self.apply_rendered(member, &rules), gateways).await?;
        applied.merge(counts);
        self.step(member, &Step::WaitingForPeers);
        Ok(applied)
    }

    /// Deletes the token that all readers of a cluster shared, and returns how many such Secrets there were.
    async fn unshare(&self, member: &Member) -> Result<usize, InstallError> {
        let shared: Vec<ObjectKey> =
            self.stale(member).iter().filter(|key| is_shared_token(key)).cloned().collect();
        delete(member, &shared, self.deadline).await
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
            match east_west(member).await.map(|gateway| gateway.address) {
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

    /// Applies what `render` writes, where nobody else does.
    async fn apply_rendered(&self, member: &Member, objects: &[Object]) -> Result<Counts, InstallError> {
        match self.plan.scope {
            Scope::Everything => self.apply(member, objects).await,
            Scope::Live => Ok(Counts::default()),
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::fleet::fake::FakeServer;
    use crate::manifest::{ClusterPlan, Plan, Planned, Verdict};

    const SYSTEM: &str = "/api/v1/namespaces/istio-system";
    const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/istio-system/deployments";

    fn object(value: Value) -> Object {
        owner(&mesh()).stamped(vec![Object::from_value(value).unwrap()]).remove(0)
    }

    fn named(api_version: &str, kind: &str, name: &str) -> Object {
        object(
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "istio-system"}}),
        )
    }

    fn mesh() -> Mesh {
        let text = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: devup}\nspec:\n  clusters:\n  \
             - {name: foo, trustDomain: foo.com}\n  - {name: bar, trustDomain: bar.com}\n  - {name: baz, trustDomain: baz.com}\n";
        Mesh::parse(text, "test").unwrap()
    }

    #[test]
    fn only_objects_of_istios_kinds_wait_for_istiod() {
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gateways.networking.istio.io"}});
        assert!(needs_istiod(&named("security.istio.io/v1", "PeerAuthentication", "default")));
        assert!(needs_istiod(&named("networking.istio.io/v1", "Gateway", "a")));
        assert!(!needs_istiod(&object(definition)) && !needs_istiod(&named("v1", "ConfigMap", "istio.io")));
    }

    #[derive(Default)]
    struct Steps(Mutex<Vec<String>>);

    impl Watch<Step> for Steps {
        fn step(&self, cluster: &str, step: &Step) {
            self.0.lock().unwrap().push(format!("{cluster}: {step}"));
        }
    }

    fn rendered(cluster: &str, objects: Vec<Object>) -> Rendered {
        Rendered { cluster: cluster.to_owned(), version: "1.31.0".parse().unwrap(), objects }
    }

    fn of_baz() -> Vec<Object> {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}});
        vec![
            object(namespace),
            object(json!({
                "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": "cacerts", "namespace": "istio-system"},
                "spec": {"secretName": "cacerts"},
            })),
            named("v1", "ServiceAccount", "istiod"),
            named("security.istio.io/v1", "PeerAuthentication", "default"),
        ]
    }

    fn plan_of(verdict: &Verdict, stale: Vec<ObjectKey>) -> MeshPlan {
        plan_in(Scope::Everything, verdict, stale)
    }

    fn plan_in(scope: Scope, verdict: &Verdict, stale: Vec<ObjectKey>) -> MeshPlan {
        let planned = of_baz()
            .iter()
            .map(|object| Planned { key: object.key().clone(), verdict: verdict.clone() })
            .collect();
        let plan = Plan { objects: planned };
        MeshPlan {
            mesh: "devup".to_owned(),
            scope,
            clusters: vec![ClusterPlan { cluster: "baz".to_owned(), plan, later: Vec::new(), stale }],
        }
    }

    /// Runs something against a server, and returns what was written and told.
    async fn with_run(
        server: &FakeServer,
        plan: &MeshPlan,
        what: impl AsyncFnOnce(&Run<'_>, &Member),
    ) -> String {
        let mesh = mesh();
        let all = [rendered("foo", vec![named("v1", "ConfigMap", "of-foo")]), rendered("baz", of_baz())];
        let servers: ApiServers = ["foo", "bar", "baz"]
            .map(|name| (name.to_owned(), format!("https://{name}.example:6443").parse().unwrap()))
            .into();
        let steps = Steps::default();
        let deadline = Deadline::after(Duration::from_secs(5));
        let run = Run { mesh: &mesh, rendered: &all, servers: &servers, plan, deadline, watch: &steps };
        let member = Member::new(mesh.clusters[2].clone(), (*server.member("baz")).clone());
        what(&run, &member).await;
        let writes = server.writes().into_iter().map(|write| format!("  {write}"));
        let steps = steps.0.lock().unwrap().clone();
        steps.into_iter().chain(writes).collect::<Vec<_>>().join("\n")
    }

    fn with_ca() -> FakeServer {
        let server = FakeServer::default();
        let root = crate::istio::ca::sample::Ca::root("root");
        let encoded = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
        let data =
            json!({"tls.crt": encoded(&root.pem), "tls.key": encoded("k"), "ca.crt": encoded(&root.pem)});
        server.put(&format!("{SYSTEM}/secrets/cacerts"), json!({"data": data}));
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        server.put("/apis/cert-manager.io/v1/namespaces/istio-system/certificates/cacerts", json!({
            "metadata": {"labels": {"app.kubernetes.io/managed-by": "mesh-install", "spire-mesh.dev/mesh": "devup"}},
            "spec": {"secretName": "cacerts"}, "status": ready,
        }));
        server
    }

    #[tokio::test(start_paused = true)]
    async fn istiods_ca_is_there_before_the_rest_and_the_token_comes_last() {
        let told = with_run(&with_ca(), &plan_of(&Verdict::Create, Vec::new()), async |run, member| {
            let (counts, tokens) = run.base(member).await.unwrap();
            let names: Vec<String> = tokens.iter().map(|token| token.secret.name()).collect();
            assert_eq!(counts.created, 4);
            assert_eq!(names, ["spire-mesh-remote-reader-bar-a", "spire-mesh-remote-reader-foo-a"]);
        })
        .await;
        insta::assert_snapshot!(told);
    }

    #[tokio::test(start_paused = true)]
    async fn where_a_plan_leaves_a_cluster_alone_only_the_token_is_looked_for() {
        let told = with_run(&with_ca(), &plan_of(&Verdict::Unchanged, Vec::new()), async |run, member| {
            let error = run.base(member).await.unwrap_err();
            assert!(error.is_timeout(), "there is no token: {error}");
        })
        .await;
        insta::assert_snapshot!(told);
    }

    #[tokio::test(start_paused = true)]
    async fn of_what_others_have_applied_only_the_tokens_of_readers_are_made() {
        let plan = plan_in(Scope::Live, &Verdict::Create, Vec::new());
        let told = with_run(&with_ca(), &plan, async |run, member| {
            let (counts, tokens) = run.base(member).await.unwrap();
            assert_eq!((counts.created, counts.unchanged, tokens.len()), (2, 0, 2));
        })
        .await;
        insta::assert_snapshot!(told);
    }

    #[tokio::test(start_paused = true)]
    async fn access_comes_before_istiod_and_what_nobody_needs_goes_after_it() {
        insta::assert_snapshot!(connected(Scope::Everything, 2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn rules_that_others_have_applied_are_left_as_they_are() {
        insta::assert_snapshot!(connected(Scope::Live, 1).await);
    }

    /// Gives baz access to foo, and returns what was written and told. So many objects are made.
    async fn connected(scope: Scope, created: usize) -> String {
        let server = FakeServer::default();
        let ready = json!({"spec": {"replicas": 1, "selector": {}, "template": {}},
            "status": {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "readyReplicas": 1}});
        for name in ["istiod", "istio-ingressgateway", "istio-eastwestgateway"] {
            server.put(&format!("{DEPLOYMENTS}/{name}"), ready.clone());
        }
        server.put(&format!("{SYSTEM}/services/istio-eastwestgateway"), json!({
            "spec": {"type": "LoadBalancer", "ports": [{"name": "tls", "port": 15443, "targetPort": 15443}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "10.3.0.129"}]}},
        }));
        server.put(&format!("{SYSTEM}/configmaps/old"), json!({}));
        let tokens = {
            let other = FakeServer::default();
            other.put(&format!("{SYSTEM}/secrets/spire-mesh-remote-reader-baz-a"), json!({
                "metadata": {"labels": {"spire-mesh.dev/remote-reader-token": "true"}}, "data": {"token": "dG9rZW4=", "ca.crt": "Y2E="},
            }));
            reader_tokens(&other.member("foo")).await.unwrap()
        };
        let shared = ObjectKey::new(Kind::Secret, Some(NAMESPACE), "spire-mesh-remote-reader-a");
        server.put(&format!("{SYSTEM}/secrets/{}", shared.name), json!({}));
        let stale = vec![ObjectKey::new(Kind::ConfigMap, Some(NAMESPACE), "old"), shared];
        with_run(&server, &plan_in(scope, &Verdict::Create, stale), async |run, member| {
            let counts = run.connect(member, &[("foo".to_owned(), tokens)].into()).await.unwrap();
            assert_eq!((counts.created, counts.deleted), (created, 1));
            // The token that all readers shared goes last, when each of them has its own.
            assert_eq!(run.unshare(member).await.unwrap(), 1);
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_that_nobody_can_reach_is_not_waited_for() {
        let told = |service: Option<Value>| async move {
            let server = FakeServer::default();
            if let Some(service) = service {
                server.put(&format!("{SYSTEM}/services/istio-eastwestgateway"), service);
            }
            let mut found = String::new();
            with_run(&server, &plan_of(&Verdict::Create, Vec::new()), async |run, member| {
                found = run
                    .gateway(member)
                    .await
                    .map_or_else(|error| error.to_string(), |()| "it is there".to_owned());
            })
            .await;
            found
        };
        insta::assert_snapshot!(told(None).await, @"timed out after 5s waiting for the east-west gateway's address; last seen: Service istio-system/istio-eastwestgateway does not exist yet");
        insta::assert_snapshot!(told(Some(json!({"spec": {"type": "ClusterIP", "ports": [{"port": 15443}]}}))).await, @"other networks cannot come in: Service istio-system/istio-eastwestgateway of type ClusterIP cannot be reached from outside its cluster");
    }
}
