//! Making the clusters that stay forget one that leaves, in an order in which no workload is ever without an identity:
//! registration, relationship, bundle. SPIRE refuses to delete a bundle with which registration entries federate.
//!
//! What is left to do is read anew each time, so that all of it can be interrupted anywhere and repeated.

use std::slice;

use futures::future::{join_all, try_join_all};
use kube::api::{DynamicObject, ListParams};
use serde_json::Value;

use super::locate::{Located, locate};
use super::plan::owner;
use super::remove::forget;
use super::up::registrations;
use super::{FederationError, Step};
use crate::fleet::{Member, RequestError, list_pages};
use crate::manifest::wait::until;
use crate::manifest::{self, Deadline, Kind, Leftover, ObjectKey, Owner, Poll};
use crate::mesh::{Mesh, Spire};
use crate::spire::desired::CLASS_NAME;
use crate::spire::server::{Entry, Server};
use crate::trust::{TrustBundle, TrustDomain};
use crate::watch::Watch;

/// The kinds of objects that can make a cluster trust another one.
const KINDS: [Kind; 3] = [Kind::ClusterSPIFFEID, Kind::ClusterStaticEntry, Kind::ClusterFederatedTrustDomain];
/// How many registration entries are named while they are waited for.
const MOST_ENTRIES: usize = 3;

/// What of a cluster that stays still trusts one that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ties {
    /// Name of the cluster that stays.
    pub cluster: String,
    /// Trust domain of the one that leaves.
    pub leaver: TrustDomain,
    /// Objects of this mesh that register workloads to federate with it.
    pub workload_ids: Vec<ObjectKey>,
    /// How many registration entries federate with it.
    pub entries: usize,
    /// Relationships of this mesh with it; at most one that `up` made.
    pub relationships: Vec<ObjectKey>,
    /// Whether the SPIRE server holds its bundle.
    pub holds_bundle: bool,
    /// Objects of somebody else that trust it too, or register workloads to do so.
    pub others: Vec<ObjectKey>,
    /// Who looks after what somebody else has made.
    pub keeper: Keeper,
}

/// Who looks after what these plugins did not make in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// Nobody that is known: it stands in the way, since the SPIRE is ours.
    Nobody,
    /// The one who installed SPIRE (`managed: false`): it stays.
    Owner,
}

impl Ties {
    /// Tells whether nothing of the cluster trusts the leaver.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workload_ids.is_empty()
            && self.relationships.is_empty()
            && self.others.is_empty()
            && self.entries == 0
            && !self.holds_bundle
    }

    /// Returns why the cluster cannot forget the leaver, if it cannot: where SPIRE is ours, objects of somebody else that trust
    /// the leaver would keep its bundle in use.
    #[must_use]
    pub fn refusal(&self) -> Option<FederationError> {
        if self.keeper == Keeper::Owner || self.others.is_empty() {
            return None;
        }
        Some(FederationError::TrustedByOthers { peer: self.leaver.clone(), objects: self.others.clone() })
    }

    /// Tells whether the server is made to forget the leaver's bundle. Where SPIRE is somebody else's, it keeps one that
    /// others than this mesh use.
    fn forgets_bundle(&self) -> bool {
        let is_used = self.entries > 0 || !self.others.is_empty();
        self.keeper == Keeper::Nobody || !is_used
    }

    /// Lists what stays because somebody else uses it, who has to take the leaver out of it.
    #[must_use]
    pub fn leftovers(&self) -> Vec<Leftover> {
        if self.keeper == Keeper::Nobody {
            return Vec::new();
        }
        let object = |key: &ObjectKey| Leftover {
            what: key.to_string(),
            reason: format!("somebody else made it; it trusts {}", self.leaver),
        };
        let mut leftovers: Vec<Leftover> = self.others.iter().map(object).collect();
        if self.holds_bundle && !self.forgets_bundle() {
            let reason = match self.entries {
                0 => "objects of somebody else need it".to_owned(),
                count => format!("{count} registration entries federate with it"),
            };
            let what = format!("the bundle of {} in the SPIRE server", self.leaver);
            leftovers.push(Leftover { what, reason });
        }
        leftovers
    }

    /// Returns the trust domain whose bundle is forgotten, where it is held.
    #[must_use]
    pub fn forgotten(&self) -> Option<&TrustDomain> {
        (self.holds_bundle && self.forgets_bundle()).then_some(&self.leaver)
    }
}

/// Reads what of a cluster that stays trusts `leaver`. `mesh` is the one that it leaves.
///
/// # Errors
/// When it cannot be read.
pub async fn ties(mesh: &Mesh, leaver: &TrustDomain, member: &Member) -> Result<Ties, FederationError> {
    let keeper = match member.cluster.spire {
        Spire::Managed(_) => Keeper::Nobody,
        Spire::Existing(_) => Keeper::Owner,
    };
    let mut ties = Ties {
        cluster: member.name().to_owned(),
        leaver: leaver.clone(),
        workload_ids: Vec::new(),
        entries: 0,
        relationships: Vec::new(),
        holds_bundle: false,
        others: Vec::new(),
        keeper,
    };
    let owner = owner(mesh);
    for (kind, objects) in try_join_all(KINDS.map(|kind| list(member, kind))).await? {
        ties.add(&owner, kind, &objects);
    }
    if let Some(Located { server, .. }) = located(member).await? {
        let (entries, stored) = futures::try_join!(server.entries(), server.stored_bundles())?;
        ties.add_held(&entries, &stored);
    }
    Ok(ties)
}

impl Ties {
    /// Adds what the cluster's server holds of the leaver.
    fn add_held(&mut self, entries: &[Entry], stored: &[TrustBundle]) {
        self.entries = federating(entries, &self.leaver).count();
        self.holds_bundle = stored.iter().any(|bundle| *bundle.trust_domain() == self.leaver);
    }

    /// Adds those of a kind's objects that trust the leaver.
    fn add(&mut self, owner: &Owner, kind: Kind, objects: &[DynamicObject]) {
        for object in objects.iter().filter(|object| trusts(kind, object, &self.leaver)) {
            let Some(name) = &object.metadata.name else { continue };
            let key = ObjectKey::new(kind, None, name);
            if !owner.owns(object) {
                // Our controller-manager leaves alone what is of another class.
                let is_seen = object.data["spec"]["className"] == CLASS_NAME;
                if is_seen || self.keeper == Keeper::Owner {
                    self.others.push(key);
                }
            } else if kind == Kind::ClusterFederatedTrustDomain {
                self.relationships.push(key);
            } else {
                self.workload_ids.push(key);
            }
        }
    }
}

async fn list(member: &Member, kind: Kind) -> Result<(Kind, Vec<DynamicObject>), FederationError> {
    let listed = list_pages(&kind.api(member.client(), None), &ListParams::default(), Some).await;
    match listed.map_err(RequestError::from) {
        Ok(items) => Ok((kind, items)),
        // The kind does not exist.
        Err(error) if error.is_not_found() => Ok((kind, Vec::new())),
        Err(source) => Err(FederationError::Request { what: kind.resource(), source }),
    }
}

/// Tells whether an object trusts a trust domain, or registers workloads to do so. Both ways of writing one are known to the
/// controller-manager.
fn trusts(kind: Kind, object: &DynamicObject, domain: &TrustDomain) -> bool {
    let is_domain = |value: &Value| {
        let name = value.as_str().unwrap_or_default();
        name.strip_prefix("spiffe://").unwrap_or(name) == domain.as_str()
    };
    let spec = &object.data["spec"];
    match kind {
        Kind::ClusterFederatedTrustDomain => is_domain(&spec["trustDomain"]),
        _ => spec["federatesWith"].as_array().is_some_and(|names| names.iter().any(is_domain)),
    }
}

/// Finds the server of a cluster; `None` where there is no SPIRE, so that nobody trusts anybody.
async fn located(member: &Member) -> Result<Option<Located<'_>>, FederationError> {
    match locate(member).await {
        Ok(located) => Ok(Some(located)),
        Err(FederationError::NoServer { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn federating<'e>(entries: &'e [Entry], domain: &TrustDomain) -> impl Iterator<Item = &'e Entry> {
    entries.iter().filter(move |entry| entry.federates_with.contains(domain))
}

/// Makes the clusters that stay forget the one that leaves, all at the same time. `left` is the mesh without it, `ties` is what
/// [`ties`] has just read of these clusters.
///
/// A cluster that fails does not stop the others. Safe to drop at any await and to run again.
pub async fn untie(
    left: &Mesh,
    ties: &[Ties],
    members: &[Member],
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> Vec<(String, Result<(), FederationError>)> {
    join_all(members.iter().filter_map(|member| {
        let ties = ties.iter().find(|ties| ties.cluster == member.name())?;
        Some(async move {
            let result = Untying { left, ties, member, deadline, watch }.run().await;
            let outcome = match &result {
                Ok(()) => Step::Done(format!("no longer trusts {}", ties.leaver)),
                Err(error) => Step::Failed(error.to_string()),
            };
            watch.step(member.name(), &outcome);
            (member.name().to_owned(), result)
        })
    }))
    .await
}

/// One cluster that stays, on its way of forgetting the one that leaves.
struct Untying<'r> {
    left: &'r Mesh,
    ties: &'r Ties,
    member: &'r Member,
    deadline: Deadline<'r>,
    watch: &'r dyn Watch<Step>,
}

impl Untying<'_> {
    async fn run(&self) -> Result<(), FederationError> {
        if let Some(error) = self.ties.refusal() {
            return Err(error);
        }
        let Ties { leaver, relationships, keeper, .. } = self.ties;
        let located = located(self.member).await?;
        if let (Some(located), Keeper::Nobody) = (&located, keeper) {
            self.unregister(located).await?;
        }
        if !relationships.is_empty() {
            self.step(&Step::DeletingRelationship(leaver.clone()));
            manifest::delete(self.member.client(), relationships, self.deadline, &|_, _| ()).await?;
        }
        if let Some(located) = &located
            && self.ties.forgets_bundle()
        {
            self.step(&Step::ForgettingBundle(leaver.clone()));
            forget(&located.server, slice::from_ref(leaver), self.deadline).await?;
        }
        Ok(())
    }

    /// Registers workloads without the leaver, and waits until the server's entries are so.
    async fn unregister(&self, located: &Located<'_>) -> Result<(), FederationError> {
        let Ties { leaver, workload_ids, .. } = self.ties;
        let cluster = &self.member.cluster;
        if let Spire::Managed(spire) = &cluster.spire
            && !workload_ids.is_empty()
        {
            self.step(&Step::Unregistering(leaver.clone()));
            let stored = located.server.stored_bundles().await?;
            let mut objects = registrations(self.left, &cluster.trust_domain, spire, Some(&stored));
            objects.retain(|object| workload_ids.contains(object.key()));
            manifest::apply(self.member.client(), &objects, self.deadline, &|_, _| ()).await?;
        }
        self.step(&Step::WaitingForEntries(leaver.clone()));
        self.unfederated(&located.server).await
    }

    async fn unfederated(&self, server: &Server<'_>) -> Result<(), FederationError> {
        let leaver = &self.ties.leaver;
        let what = format!("the registration entries to stop federating with {leaver}");
        let waited = until(self.deadline, &what, || async {
            let entries = match server.entries().await {
                Ok(entries) => entries,
                Err(error) => return Poll::Pending(error.to_string()),
            };
            let left: Vec<&Entry> = federating(&entries, leaver).collect();
            if left.is_empty() { Poll::Ready(()) } else { Poll::Pending(named(&left)) }
        });
        Ok(waited.await?)
    }

    fn step(&self, step: &Step) {
        self.watch.step(self.member.name(), step);
    }
}

/// Names the first of some registration entries, and says how many more there are.
fn named(entries: &[&Entry]) -> String {
    let mut names: Vec<String> = entries
        .iter()
        .take(MOST_ENTRIES)
        .map(|entry| format!("{} (entry {})", entry.spiffe_id, entry.id))
        .collect();
    if entries.len() > MOST_ENTRIES {
        names.push(format!("and {} more", entries.len() - MOST_ENTRIES));
    }
    format!("{} still do: {}", entries.len(), names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::federation::sample::{bundle, domain, examined, mesh};
    use crate::fleet::fake::FakeServer;
    use crate::manifest::Tool;

    fn object(name: &str, labels: &[(&str, &str)], spec: &Value) -> DynamicObject {
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "spec": spec})).unwrap()
    }

    const OURS: [(&str, &str); 2] =
        [("app.kubernetes.io/managed-by", "spire-federate"), ("spire-mesh.dev/mesh", "m")];

    fn ties(keeper: Keeper) -> Ties {
        Ties {
            cluster: "foo".to_owned(),
            leaver: "bar.com".parse().unwrap(),
            workload_ids: Vec::new(),
            entries: 0,
            relationships: Vec::new(),
            holds_bundle: false,
            others: Vec::new(),
            keeper,
        }
    }

    #[test]
    fn nothing_trusts_the_leaver_only_where_each_kind_of_trust_is_gone() {
        let key = || vec![ObjectKey::new(Kind::ClusterSPIFFEID, None, "a")];
        let none = ties(Keeper::Nobody);
        assert!(none.is_empty());
        assert!(!Ties { workload_ids: key(), ..none.clone() }.is_empty());
        assert!(!Ties { relationships: key(), ..none.clone() }.is_empty());
        assert!(!Ties { others: key(), ..none.clone() }.is_empty());
        assert!(!Ties { entries: 1, ..none.clone() }.is_empty());
        assert!(!Ties { holds_bundle: true, ..none }.is_empty());
    }

    #[test]
    fn the_first_entries_are_named_and_the_others_counted() {
        let entry = |id: &str| Entry {
            id: id.to_owned(),
            spiffe_id: "spiffe://foo.com/a".parse().unwrap(),
            parent_id: "spiffe://foo.com/agent".parse().unwrap(),
            selectors: Vec::new(),
            federates_with: Vec::new(),
        };
        let all = ["1", "2", "3", "4", "5"].map(entry);
        let told = |count: usize| named(&all[..count].iter().collect::<Vec<_>>());
        assert_eq!(told(1), "1 still do: spiffe://foo.com/a (entry 1)");
        assert!(told(3).ends_with("spiffe://foo.com/a (entry 3)"));
        assert!(told(5).starts_with("5 still do: ") && told(5).ends_with("(entry 3), and 2 more"));
    }

    fn names(keys: &[ObjectKey]) -> Vec<&str> {
        keys.iter().map(|key| key.name.as_str()).collect()
    }

    #[test]
    fn what_trusts_the_leaver_is_told_apart_by_who_made_it() {
        let with =
            |domain: &str, class: &str| json!({"className": class, "federatesWith": ["baz.com", domain]});
        let other_mesh = [OURS[0], ("spire-mesh.dev/mesh", "other")];
        let ids = [
            object("ours", &OURS, &with("bar.com", "spire-mesh")),
            object("ours-without-it", &OURS, &with("qux.com", "spire-mesh")),
            object("theirs", &[], &with("bar.com", "spire-mesh")),
            object("theirs-as-an-id", &[], &with("spiffe://bar.com", "spire-mesh")),
            object("theirs-of-another-name", &[], &with("bar.com.example", "spire-mesh")),
            object("of-another-mesh", &other_mesh, &with("bar.com", "spire-mesh")),
            object("of-another-class", &[], &with("bar.com", "spire")),
            object("without-a-class", &[], &json!({"federatesWith": ["bar.com"]})),
        ];
        let relationships = [
            object("bar.com", &OURS, &json!({"className": "spire-mesh", "trustDomain": "bar.com"})),
            object("baz.com", &OURS, &json!({"className": "spire-mesh", "trustDomain": "baz.com"})),
            object("theirs", &[], &json!({"className": "spire-mesh", "trustDomain": "bar.com"})),
        ];
        let read = |keeper| {
            let mut ties = ties(keeper);
            ties.add(&Owner::new(Tool::SpireFederate, "m"), Kind::ClusterSPIFFEID, &ids);
            ties.add(
                &Owner::new(Tool::SpireFederate, "m"),
                Kind::ClusterFederatedTrustDomain,
                &relationships,
            );
            ties
        };
        let managed = read(Keeper::Nobody);
        assert_eq!(names(&managed.workload_ids), ["ours"]);
        assert_eq!(names(&managed.relationships), ["bar.com"]);
        assert_eq!(names(&managed.others), ["theirs", "theirs-as-an-id", "of-another-mesh", "theirs"]);
        let existing = read(Keeper::Owner);
        assert_eq!(existing.others.len(), 6, "whatever class their controller-manager has");
    }

    #[test]
    fn what_somebody_else_made_stands_in_the_way_only_where_spire_is_ours() {
        let theirs = ObjectKey::new(Kind::ClusterSPIFFEID, None, "theirs");
        let managed = Ties { others: vec![theirs.clone()], ..ties(Keeper::Nobody) };
        let error = managed.refusal().unwrap();
        insta::assert_snapshot!(error.to_string(), @"objects that this tool did not make trust bar.com: ClusterSPIFFEID/theirs");
        insta::assert_snapshot!(crate::hint::Hint::hint(&error).unwrap(), @"delete these objects, or take bar.com out of their federatesWith, then run the same command again");
        assert!(ties(Keeper::Nobody).refusal().is_none());
        assert!(Ties { others: vec![theirs], ..ties(Keeper::Owner) }.refusal().is_none());
    }

    #[test]
    fn a_bundle_that_somebody_else_uses_stays_and_is_named() {
        let told = |ties: &Ties| {
            let leftovers = ties.leftovers();
            let lines = leftovers.iter().map(|left| format!("{} stays: {}", left.what, left.reason));
            let forgotten = ties.forgotten().map(|domain| format!("{domain} is forgotten"));
            lines.chain(forgotten).collect::<Vec<_>>().join("\n")
        };
        let holding = |keeper| Ties { holds_bundle: true, ..ties(keeper) };
        let theirs = ObjectKey::new(Kind::ClusterFederatedTrustDomain, None, "theirs");
        assert_eq!(told(&holding(Keeper::Nobody)), "bar.com is forgotten");
        assert_eq!(told(&holding(Keeper::Owner)), "bar.com is forgotten");
        assert_eq!(told(&ties(Keeper::Owner)), "");
        assert_eq!(told(&Ties { entries: 2, ..holding(Keeper::Nobody) }), "bar.com is forgotten");
        insta::assert_snapshot!(told(&Ties { entries: 2, ..holding(Keeper::Owner) }), @"the bundle of bar.com in the SPIRE server stays: 2 registration entries federate with it");
        insta::assert_snapshot!(told(&Ties { others: vec![theirs], ..holding(Keeper::Owner) }), @r"
        ClusterFederatedTrustDomain/theirs stays: somebody else made it; it trusts bar.com
        the bundle of bar.com in the SPIRE server stays: objects of somebody else need it
        ");
    }

    #[test]
    fn what_a_server_holds_of_the_leaver_is_its_bundle_and_the_entries_that_federate_with_it() {
        let mut entries = examined().details["foo"].entries.clone().unwrap();
        entries[0].federates_with.retain(|peer| *peer != domain("bar"));
        let mut held = ties(Keeper::Nobody);
        held.add_held(&entries, &[bundle("baz"), bundle("bar")]);
        assert_eq!((held.entries, held.holds_bundle), (3, true));
        held.add_held(&[], &[bundle("foo"), bundle("baz")]);
        assert_eq!((held.entries, held.holds_bundle), (0, false));
    }

    const IDS: &str = "/apis/spire.spiffe.io/v1alpha1/clusterspiffeids";
    const RELATIONSHIP: &str = "/apis/spire.spiffe.io/v1alpha1/clusterfederatedtrustdomains/bar.com";

    /// Puts what registers workloads to federate with bar, and a relationship with it, both of this mesh.
    fn put_ties(server: &FakeServer) {
        let labels =
            json!({"app.kubernetes.io/managed-by": "spire-federate", "spire-mesh.dev/mesh": "example"});
        let ids = json!({"metadata": {"labels": labels}, "spec": {"federatesWith": ["bar.com", "baz.com"]}});
        server.put(&format!("{IDS}/mesh-workloads"), ids);
        let relationship = json!({"metadata": {"labels": labels}, "spec": {"trustDomain": "bar.com"}});
        server.put(RELATIONSHIP, relationship);
    }

    #[tokio::test]
    async fn a_cluster_without_a_server_is_tied_by_its_objects_only() {
        let mesh = mesh();
        let server = FakeServer::default();
        put_ties(&server);
        let read = async |index: usize, leaver: &str| {
            super::ties(&mesh, &domain(leaver), &server.member_of(&mesh.clusters[index])).await.unwrap()
        };
        let foo = read(0, "bar").await;
        assert_eq!(
            (names(&foo.workload_ids), names(&foo.relationships)),
            (vec!["mesh-workloads"], vec!["bar.com"])
        );
        assert_eq!(
            (foo.cluster.as_str(), foo.keeper, foo.entries, foo.holds_bundle),
            ("foo", Keeper::Nobody, 0, false)
        );
        assert!(!foo.is_empty());
        assert_eq!(read(1, "baz").await.keeper, Keeper::Owner);
        assert!(read(0, "qux").await.is_empty());
        server.refuse(IDS, 404);
        assert_eq!(read(0, "bar").await.workload_ids, [], "the kind does not exist");
        server.refuse(IDS, 403);
        let error =
            super::ties(&mesh, &domain("bar"), &server.member_of(&mesh.clusters[0])).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot read clusterspiffeids.spire.spiffe.io");
    }

    #[tokio::test]
    async fn a_server_that_cannot_be_looked_for_is_not_one_that_is_not_there() {
        let server = FakeServer::default();
        let member = server.member("foo");
        assert!(located(&member).await.unwrap().is_none());
        server.refuse("/apis/apps/v1/namespaces/spire-server/statefulsets", 403);
        assert!(matches!(located(&member).await, Err(FederationError::Discovery(_))));
    }

    struct Steps(Mutex<Vec<String>>);

    impl Watch<Step> for Steps {
        fn step(&self, cluster: &str, step: &Step) {
            self.0.lock().unwrap().push(format!("{cluster}: {step}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_cluster_that_stays_forgets_the_leaver_and_one_that_cannot_does_not_stop_the_others() {
        let mesh = mesh();
        let servers = [(); 2].map(|()| FakeServer::default());
        let members = [servers[0].member_of(&mesh.clusters[0]), servers[1].member_of(&mesh.clusters[2])];
        put_ties(&servers[0]);
        put_ties(&servers[1]);
        let of_foo = super::ties(&mesh, &domain("bar"), &members[0]).await.unwrap();
        let mut of_baz = super::ties(&mesh, &domain("bar"), &members[1]).await.unwrap();
        of_baz.others.push(ObjectKey::new(Kind::ClusterSPIFFEID, None, "theirs"));
        let mut left = mesh.clone();
        left.clusters.remove(1);
        let steps = Steps(Mutex::default());
        let deadline = Deadline::after(Duration::from_secs(5));
        let untied = untie(&left, &[of_baz, of_foo], &members, deadline, &steps).await;
        let told: Vec<String> = untied
            .iter()
            .map(|(cluster, result)| match result {
                Ok(()) => format!("{cluster} is free"),
                Err(error) => format!("{cluster}: {error}"),
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        foo is free
        baz: objects that this tool did not make trust bar.com: ClusterSPIFFEID/theirs
        ");
        assert_eq!(servers[0].object(RELATIONSHIP), None);
        assert!(servers[1].object(RELATIONSHIP).is_some(), "nothing is begun that cannot be finished");
        let mut told = steps.0.into_inner().unwrap();
        told.sort_unstable();
        insta::assert_snapshot!(told.join("\n"), @r"
        baz: objects that this tool did not make trust bar.com: ClusterSPIFFEID/theirs
        foo: deleting the relationship with bar.com
        foo: no longer trusts bar.com
        ");
    }

    #[tokio::test(start_paused = true)]
    async fn a_relationship_that_is_not_there_is_not_deleted() {
        let mesh = mesh();
        let member = FakeServer::default().member_of(&mesh.clusters[0]);
        let free = super::ties(&mesh, &domain("bar"), &member).await.unwrap();
        let steps = Steps(Mutex::default());
        let deadline = Deadline::after(Duration::from_secs(5));
        let untied = untie(&mesh, &[free], &[member], deadline, &steps).await;
        assert!(untied[0].1.is_ok());
        assert_eq!(steps.0.into_inner().unwrap(), ["foo: no longer trusts bar.com"]);
    }
}
