use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::locate::locate;
use super::plan::owner;
use super::{FederationError, Step};
use crate::fleet::{Member, RequestError, list_pages};
use crate::manifest::{self, Deadline, Deletion, Guests, Kind, Leftover, ObjectKey, Poll, wait::until};
use crate::mesh::{Mesh, Spire};
use crate::spire::desired::{CSI_DRIVER, DATA_CLAIM_NAME, relationship_name};
use crate::spire::server::{Entry, Relationship, Server, ServerError};
use crate::trust::{TrustBundle, TrustDomain};
use crate::watch::Watch;

/// What becomes of the volume with a server's CA keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaVolume {
    /// It stays, and with it the server's namespace: the next `up` goes on with the same CA.
    Keep,
    /// It goes.
    Delete,
}

/// What taking a mesh down would remove from one cluster, and what stands in its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Removal {
    /// Name of the cluster.
    pub cluster: String,
    /// What carries the mesh's labels.
    pub objects: Vec<ObjectKey>,
    /// Namespace and name of pods that mount the CSI driver. Without it they cannot be stopped cleanly.
    pub mounted_by: Vec<String>,
    /// The claim of the server's volume, where there is one.
    pub ca_volume: Option<ObjectKey>,
    /// What stays, because somebody else uses it.
    pub leftovers: Vec<Leftover>,
    /// What others have in namespaces that go, and lose with them.
    pub lost: Vec<String>,
    /// Trust domains whose bundles a server that somebody else installed holds because of this mesh only.
    pub bundles: Vec<TrustDomain>,
}

/// What taking a mesh down came to.
#[derive(Debug)]
pub struct Removed {
    /// How many objects were deleted, or why not all were, by cluster in the order of the mesh.
    pub clusters: Vec<(String, Result<usize, FederationError>)>,
}

/// Reads what there is to remove in one cluster. `guests` says what becomes of what others have in its namespaces.
///
/// # Errors
/// When it cannot be read.
pub async fn removal(mesh: &Mesh, member: &Member, guests: Guests) -> Result<Removal, FederationError> {
    let client = member.client();
    let owner = owner(mesh);
    let mut objects = manifest::owned(client, &owner).await?;
    let mut removal = Removal {
        cluster: member.name().to_owned(),
        objects: Vec::new(),
        mounted_by: Vec::new(),
        ca_volume: None,
        leftovers: Vec::new(),
        lost: Vec::new(),
        bundles: Vec::new(),
    };
    if let Spire::Existing(_) = &member.cluster.spire {
        bundles(mesh, member, &objects, &mut removal).await?;
    }
    if let Spire::Managed(spire) = &member.cluster.spire {
        if objects.iter().any(|key| key.kind == Kind::CSIDriver) {
            removal.mounted_by = mounting(client, &spire.agent_namespace).await?;
        }
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &spire.server_namespace);
        let claim = claims
            .get_opt(DATA_CLAIM_NAME)
            .await
            .map_err(|error| request("the server's volume claim", &error))?;
        removal.ca_volume = claim.map(|_| {
            ObjectKey::new(Kind::PersistentVolumeClaim, Some(&spire.server_namespace), DATA_CLAIM_NAME)
        });
    }
    let spared = manifest::spare(client, &owner, &mut objects, removal.ca_volume.as_slice(), guests).await?;
    removal.leftovers.extend(spared.leftovers);
    removal.lost = spared.lost;
    removal.objects = objects;
    Ok(removal)
}

/// Finds the bundles that a server of somebody else's got because of our relationships, and those of them that its entries use.
async fn bundles(
    mesh: &Mesh,
    member: &Member,
    objects: &[ObjectKey],
    removal: &mut Removal,
) -> Result<(), FederationError> {
    let peers = trusted(mesh, objects);
    if !peers.is_empty() {
        let entries = locate(member).await?.server.entries().await?;
        removal.leave(peers, &entries);
    }
    Ok(())
}

/// Lists the trust domains of the mesh with which there is a relationship among these objects.
fn trusted(mesh: &Mesh, objects: &[ObjectKey]) -> Vec<TrustDomain> {
    let is_ours = |peer: &TrustDomain| {
        let name = relationship_name(peer);
        objects.iter().any(|key| key.kind == Kind::ClusterFederatedTrustDomain && key.name == name)
    };
    mesh.clusters.iter().map(|peer| peer.trust_domain.clone()).filter(is_ours).collect()
}

impl Removal {
    /// Adds what becomes of the bundles of peers in a server of somebody else's: one that entries use stays.
    fn leave(&mut self, peers: Vec<TrustDomain>, entries: &[Entry]) {
        for peer in peers {
            match entries.iter().filter(|entry| entry.federates_with.contains(&peer)).count() {
                0 => self.bundles.push(peer),
                count => self.leftovers.push(Leftover {
                    what: format!("the bundle of {peer} in the SPIRE server"),
                    reason: format!("{count} registration entries federate with it"),
                }),
            }
        }
    }

    /// Returns the namespace that stays because the volume with the CA's keys is kept in it.
    fn kept_namespace(&self, volume: CaVolume) -> Option<&str> {
        let claim = self.ca_volume.as_ref().filter(|_| volume == CaVolume::Keep);
        claim.and_then(|claim| claim.namespace.as_deref())
    }

    /// Lists what is deleted where this becomes of the volume.
    fn deleted(&self, volume: CaVolume) -> Vec<ObjectKey> {
        let kept = self.kept_namespace(volume);
        let is_kept = |key: &ObjectKey| key.kind == Kind::Namespace && Some(key.name.as_str()) == kept;
        let claim = self.ca_volume.iter().filter(|_| volume == CaVolume::Delete);
        self.objects.iter().filter(|key| !is_kept(key)).chain(claim).cloned().collect()
    }
}

/// Makes a server forget the bundles of `peers`, once the controller-manager has taken the relationships with them back.
pub(super) async fn forget(
    server: &Server<'_>,
    peers: &[TrustDomain],
    deadline: Deadline<'_>,
) -> Result<(), FederationError> {
    until(deadline, "the relationships to be gone from the SPIRE server", || async {
        match server.relationships().await {
            Ok(known) if is_with_any(&known, peers) => Poll::Pending("some are still there".to_owned()),
            Ok(_) => Poll::Ready(()),
            Err(error) => Poll::Pending(error.to_string()),
        }
    })
    .await?;
    // Looked at again after the deletion: what was found is what is said to be gone.
    let gone = until(deadline, "the bundles to be gone from the SPIRE server", || async {
        match forget_once(server, peers).await {
            Ok(0) => Poll::Ready(Ok(())),
            Ok(held) => Poll::Pending(format!("{held} were there and were deleted")),
            Err(error) => Poll::Ready(Err(error)),
        }
    });
    Ok(gone.await??)
}

/// Deletes the bundles of `peers` that a server holds, and returns how many it held.
async fn forget_once(server: &Server<'_>, peers: &[TrustDomain]) -> Result<usize, ServerError> {
    let stored = server.stored_bundles().await?;
    let held = held(&stored, peers);
    for peer in &held {
        server.delete_bundle(peer).await?;
    }
    Ok(held.len())
}

/// Tells whether one of a server's relationships is with one of `peers`.
fn is_with_any(known: &[Relationship], peers: &[TrustDomain]) -> bool {
    known.iter().any(|known| peers.contains(&known.trust_domain))
}

/// Lists those of `peers` whose bundles a server holds.
fn held<'b>(stored: &'b [TrustBundle], peers: &[TrustDomain]) -> Vec<&'b TrustDomain> {
    stored.iter().map(TrustBundle::trust_domain).filter(|domain| peers.contains(domain)).collect()
}

/// Lists the pods that mount the CSI driver, except the agents' own.
async fn mounting(client: &Client, agent_namespace: &str) -> Result<Vec<String>, FederationError> {
    let named = |pod: Pod| {
        let is_held = pod.namespace().as_deref() != Some(agent_namespace) && mounts(&pod);
        is_held.then(|| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()))
    };
    list_pages(&Api::<Pod>::all(client.clone()), &ListParams::default(), named)
        .await
        .map_err(|error| request("pods in all namespaces", &error))
}

/// Tells whether a pod mounts the CSI driver.
fn mounts(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| volume.csi.as_ref()).any(|csi| csi.driver == CSI_DRIVER)
}

fn request(what: &str, error: &kube::Error) -> FederationError {
    FederationError::Request { what: what.to_owned(), source: RequestError::from(error) }
}

/// Takes a mesh down on all clusters at the same time: first what registers and trusts, while the controller-manager is
/// there to see it, then what runs, then the rest. `ca_volumes` says for each cluster what becomes of the volume.
pub async fn down(
    removals: &[Removal],
    members: &[Member],
    ca_volumes: &BTreeMap<String, CaVolume>,
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> Removed {
    let clusters = join_all(members.iter().filter_map(|member| {
        let removal = removals.iter().find(|removal| removal.cluster == member.name())?;
        let volume = ca_volumes.get(member.name()).copied().unwrap_or(CaVolume::Keep);
        Some(async move {
            watch.step(member.name(), &Step::Deleting);
            let result = remove(removal, member, volume, deadline).await;
            let outcome = match &result {
                Ok(0) => Step::Done("nothing to delete".to_owned()),
                Ok(count) => Step::Done(format!("{count} objects deleted")),
                Err(error) => Step::Failed(error.to_string()),
            };
            watch.step(member.name(), &outcome);
            (member.name().to_owned(), result)
        })
    }))
    .await;
    Removed { clusters }
}

async fn remove(
    removal: &Removal,
    member: &Member,
    volume: CaVolume,
    deadline: Deadline<'_>,
) -> Result<usize, FederationError> {
    let objects = removal.deleted(volume);
    let deleted = Mutex::new(0);
    let count = |_: &ObjectKey, deletion: Deletion| {
        if deletion == Deletion::Deleted {
            *deleted.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += 1;
        }
    };
    manifest::delete(member.client(), &objects, deadline, &count).await?;
    if !removal.bundles.is_empty() {
        forget(&locate(member).await?.server, &removal.bundles, deadline).await?;
    }
    if let Some(namespace) = removal.kept_namespace(volume) {
        // Its pods are deleted with their owners in the background; the next `up` must not meet them.
        pods_gone(member, namespace, deadline).await?;
    }
    Ok(deleted.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

async fn pods_gone(member: &Member, namespace: &str, deadline: Deadline<'_>) -> Result<(), FederationError> {
    let pods: Api<Pod> = Api::namespaced(member.client().clone(), namespace);
    let params = ListParams::default().labels("app.kubernetes.io/part-of=spire-mesh");
    until(deadline, &format!("the pods in namespace {namespace} to stop"), || async {
        match pods.list_metadata(&params).await.map_err(RequestError::from) {
            Ok(list) if list.items.is_empty() => Poll::Ready(()),
            Ok(list) => Poll::Pending(format!("{} still there", list.items.len())),
            Err(error) => error.into(),
        }
    })
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::federation::sample::{bundle, domain, examined, mesh};
    use crate::fleet::fake::FakeServer;

    fn key(kind: Kind, namespace: Option<&str>, name: &str) -> ObjectKey {
        ObjectKey::new(kind, namespace, name)
    }

    fn found() -> Removal {
        Removal {
            cluster: "baz".to_owned(),
            objects: vec![
                key(Kind::Namespace, None, "spire-system"),
                key(Kind::Namespace, None, "spire-server"),
                key(Kind::ConfigMap, Some("spire-server"), "spire-server"),
                key(Kind::ClusterRole, None, "spire-server"),
            ],
            mounted_by: Vec::new(),
            ca_volume: Some(key(Kind::PersistentVolumeClaim, Some("spire-server"), DATA_CLAIM_NAME)),
            leftovers: Vec::new(),
            lost: Vec::new(),
            bundles: Vec::new(),
        }
    }

    fn texts(keys: &[ObjectKey]) -> String {
        keys.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_volume_is_kept_with_its_namespace_and_with_nothing_else() {
        insta::assert_snapshot!(texts(&found().deleted(CaVolume::Keep)), @r"
        Namespace/spire-system
        ConfigMap/spire-server in namespace spire-server
        ClusterRole/spire-server
        ");
        assert_eq!(found().kept_namespace(CaVolume::Keep), Some("spire-server"));
        insta::assert_snapshot!(texts(&found().deleted(CaVolume::Delete)), @r"
        Namespace/spire-system
        Namespace/spire-server
        ConfigMap/spire-server in namespace spire-server
        ClusterRole/spire-server
        PersistentVolumeClaim/data-spire-server-0 in namespace spire-server
        ");
        assert_eq!(found().kept_namespace(CaVolume::Delete), None);
        let without = Removal { ca_volume: None, ..found() };
        for volume in [CaVolume::Keep, CaVolume::Delete] {
            assert_eq!(without.deleted(volume), found().objects, "there is no volume to keep");
            assert_eq!(without.kept_namespace(volume), None);
        }
    }

    #[test]
    fn a_bundle_that_entries_use_stays_and_the_others_go() {
        let examined = examined();
        let mut entries = examined.details["bar"].entries.clone().unwrap();
        let mut removal = found();
        removal.leave(vec![domain("foo"), domain("baz")], &entries);
        assert_eq!(removal.bundles, []);
        assert_eq!(removal.leftovers.len(), 2);

        for entry in &mut entries {
            entry.federates_with.retain(|peer| *peer != domain("foo"));
        }
        entries[0].federates_with.clear();
        let mut removal = found();
        removal.leave(vec![domain("foo"), domain("baz")], &entries);
        assert_eq!(removal.bundles, [domain("foo")]);
        let left: Vec<String> =
            removal.leftovers.iter().map(|left| format!("{}: {}", left.what, left.reason)).collect();
        assert_eq!(
            left,
            ["the bundle of baz.com in the SPIRE server: 3 registration entries federate with it"]
        );
    }

    #[test]
    fn bundles_are_ours_where_a_relationship_of_ours_brought_them() {
        let objects = [
            key(Kind::ClusterSPIFFEID, None, "foo.com"),
            key(Kind::ClusterFederatedTrustDomain, None, "qux.com"),
            key(Kind::ClusterFederatedTrustDomain, None, "baz.com"),
        ];
        assert_eq!(trusted(&mesh(), &objects), [domain("baz")]);
        assert_eq!(trusted(&mesh(), &[]), []);
    }

    #[test]
    fn a_pod_mounts_the_driver_through_any_of_its_volumes() {
        let pod = |drivers: &[&str]| -> Pod {
            let volume = |driver: &&str| json!({"name": "v", "csi": {"driver": driver}});
            let mut volumes = vec![json!({"name": "tmp", "emptyDir": {}})];
            volumes.extend(drivers.iter().map(volume));
            serde_json::from_value(
                json!({"metadata": {"name": "a"}, "spec": {"containers": [], "volumes": volumes}}),
            )
            .unwrap()
        };
        assert!(mounts(&pod(&["ebs.csi.aws.com", "csi.spiffe.io"])));
        assert!(!mounts(&pod(&["ebs.csi.aws.com"])));
        assert!(!mounts(&pod(&[])));
        assert!(!mounts(&Pod::default()));
    }

    #[test]
    fn a_server_has_forgotten_its_peers_when_neither_relationship_nor_bundle_is_left() {
        let observed = examined().observed;
        let server = observed.clusters[1].server().unwrap();
        let of = |names: &[&str]| names.iter().map(|name| domain(name)).collect::<Vec<_>>();
        assert!(is_with_any(&server.relationships, &of(&["qux", "baz"])));
        assert!(!is_with_any(&server.relationships, &of(&["qux", "bar"])));
        let stored = [bundle("foo"), bundle("qux"), bundle("baz")];
        assert_eq!(held(&stored, &of(&["baz", "foo"])), [&domain("foo"), &domain("baz")]);
        assert!(held(&stored, &of(&["bar"])).is_empty());
    }

    const IDS: &str = "/apis/spire.spiffe.io/v1alpha1/clusterspiffeids";
    const CLAIM: &str = "/api/v1/namespaces/spire-server/persistentvolumeclaims/data-spire-server-0";

    /// Puts an object that carries the labels of a mesh.
    fn put(server: &FakeServer, mesh: &str, path: &str) {
        let labels = json!({"app.kubernetes.io/managed-by": "spire-federate", "spire-mesh.dev/mesh": mesh});
        server.put(path, json!({"metadata": {"labels": labels}}));
    }

    fn put_definition(server: &FakeServer, plural: &str, kind: &str) {
        let labels =
            json!({"app.kubernetes.io/managed-by": "spire-federate", "spire-mesh.dev/mesh": "example"});
        let spec = json!({
            "group": "spire.spiffe.io", "scope": "Cluster", "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true}],
        });
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        server.put(
            &format!("{definitions}/{plural}.spire.spiffe.io"),
            json!({"metadata": {"labels": labels}, "spec": spec}),
        );
    }

    fn put_pod(server: &FakeServer, path: &str, driver: &str) {
        let volumes = json!([{"name": "id", "csi": {"driver": driver}}]);
        let set = json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "a", "uid": "b", "controller": true}]);
        let metadata = json!({"ownerReferences": set});
        server.put(path, json!({"metadata": metadata, "spec": {"containers": [], "volumes": volumes}}));
    }

    /// A cluster with a SPIRE of this mesh, and objects of others.
    fn installed() -> FakeServer {
        let server = FakeServer::default();
        for path in [
            "/api/v1/namespaces/spire-server",
            "/api/v1/namespaces/spire-system",
            "/api/v1/namespaces/spire-server/configmaps/spire-server",
            "/apis/storage.k8s.io/v1/csidrivers/csi.spiffe.io",
            "/apis/spire.spiffe.io/v1alpha1/clusterspiffeids/mesh-workloads",
            "/apis/spire.spiffe.io/v1alpha1/clusterfederatedtrustdomains/foo.com",
        ] {
            put(&server, "example", path);
        }
        for (plural, kind) in
            [("clusterspiffeids", "ClusterSPIFFEID"), ("clusterstaticentries", "ClusterStaticEntry")]
        {
            put_definition(&server, plural, kind);
        }
        put(&server, "other", "/api/v1/namespaces/of-another-mesh");
        server.put(&format!("{IDS}/theirs"), json!({"metadata": {"labels": {}}}));
        server.put(CLAIM, json!({}));
        put_pod(&server, "/api/v1/namespaces/shop/pods/cart", "csi.spiffe.io");
        put_pod(&server, "/api/v1/namespaces/shop/pods/db", "ebs.csi.aws.com");
        put_pod(&server, "/api/v1/namespaces/spire-system/pods/agent", "csi.spiffe.io");
        server
    }

    #[tokio::test]
    async fn what_carries_the_labels_of_the_mesh_is_found_with_what_others_use_of_it() {
        let mesh = mesh();
        let found = removal(&mesh, &installed().member_of(&mesh.clusters[2]), Guests::Keep).await.unwrap();
        insta::assert_snapshot!(texts(&found.objects), @r"
        Namespace/spire-server
        Namespace/spire-system
        CustomResourceDefinition/clusterstaticentries.spire.spiffe.io
        ConfigMap/spire-server in namespace spire-server
        CSIDriver/csi.spiffe.io
        ClusterFederatedTrustDomain/foo.com
        ClusterSPIFFEID/mesh-workloads
        ");
        assert_eq!(found.mounted_by, ["shop/cart"]);
        assert_eq!(found.ca_volume, self::found().ca_volume);
        assert_eq!(found.leftovers.len(), 1);
        assert_eq!(found.leftovers[0].what, "CustomResourceDefinition/clusterspiffeids.spire.spiffe.io");
        assert_eq!(found.leftovers[0].reason, "objects of somebody else: theirs");
    }

    #[tokio::test]
    async fn nobody_is_held_by_a_driver_that_is_not_there() {
        let mesh = mesh();
        let server = FakeServer::default();
        put(&server, "example", "/api/v1/namespaces/spire-system");
        put_pod(&server, "/api/v1/namespaces/shop/pods/cart", "csi.spiffe.io");
        let found = removal(&mesh, &server.member_of(&mesh.clusters[2]), Guests::Keep).await.unwrap();
        assert_eq!((found.mounted_by, found.ca_volume, found.leftovers), (Vec::new(), None, Vec::new()));
    }

    #[tokio::test]
    async fn a_server_of_somebody_else_is_asked_for_its_entries_only_where_it_trusts_a_peer_because_of_us() {
        let mesh = mesh();
        let server = FakeServer::default();
        let found = removal(&mesh, &server.member_of(&mesh.clusters[1]), Guests::Keep).await.unwrap();
        assert_eq!((found.objects.len(), found.bundles.len()), (0, 0));
        put(&server, "example", "/apis/spire.spiffe.io/v1alpha1/clusterfederatedtrustdomains/foo.com");
        let error = removal(&mesh, &server.member_of(&mesh.clusters[1]), Guests::Keep).await.unwrap_err();
        assert!(matches!(error, FederationError::NoServer { namespace: None }), "{error}");
    }

    #[tokio::test]
    async fn what_may_not_be_read_before_it_is_removed_is_an_error() {
        let mesh = mesh();
        let told = async |path: &str| {
            let server = installed();
            server.refuse(path, 403);
            removal(&mesh, &server.member_of(&mesh.clusters[2]), Guests::Keep).await.unwrap_err().to_string()
        };
        assert_eq!(told("/api/v1/pods").await, "cannot read pods in all namespaces");
        assert_eq!(told(CLAIM).await, "cannot read the server's volume claim");
    }

    struct Steps(Mutex<Vec<String>>);

    impl Watch<Step> for Steps {
        fn step(&self, cluster: &str, step: &Step) {
            self.0.lock().unwrap().push(format!("{cluster}: {step}"));
        }
    }

    fn soon<'d>() -> Deadline<'d> {
        Deadline::after(Duration::from_secs(5))
    }

    #[tokio::test(start_paused = true)]
    async fn a_mesh_is_taken_down_on_each_cluster_with_what_was_found_there() {
        let mesh = mesh();
        let (foo, baz, bar) = (installed(), installed(), FakeServer::default());
        let members =
            [(&foo, 0), (&bar, 1), (&baz, 2)].map(|(server, index)| server.member_of(&mesh.clusters[index]));
        let mut removals = Vec::new();
        for member in &members {
            removals.insert(0, removal(&mesh, member, Guests::Keep).await.unwrap());
        }
        removals[2].objects.push(key(Kind::ConfigMap, Some("spire-server"), "gone-already"));
        let volumes = [("foo".to_owned(), CaVolume::Delete)].into();
        let steps = Steps(Mutex::default());
        let removed = down(&removals, &members, &volumes, soon(), &steps).await;
        let counts: Vec<(&str, usize)> =
            removed.clusters.iter().map(|(name, count)| (name.as_str(), *count.as_ref().unwrap())).collect();
        assert_eq!(counts, [("foo", 8), ("bar", 0), ("baz", 6)]);
        let mut told = steps.0.into_inner().unwrap();
        told.sort_unstable();
        assert_eq!(
            told,
            [
                "bar: deleting",
                "bar: nothing to delete",
                "baz: 6 objects deleted",
                "baz: deleting",
                "foo: 8 objects deleted",
                "foo: deleting",
            ]
        );
        let is_there = |server: &FakeServer, path: &str| server.object(path).is_some();
        let namespace = "/api/v1/namespaces/spire-server";
        assert!(!is_there(&foo, CLAIM) && !is_there(&foo, namespace));
        assert!(is_there(&baz, CLAIM) && is_there(&baz, namespace));
        assert!(!is_there(&baz, "/api/v1/namespaces/spire-system"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_that_is_kept_is_left_when_its_pods_are_gone() {
        let mesh = mesh();
        let server = installed();
        let member = server.member_of(&mesh.clusters[2]);
        let found = removal(&mesh, &member, Guests::Keep).await.unwrap();
        let pod: Value = json!({"metadata": {"labels": {"app.kubernetes.io/part-of": "spire-mesh"}}});
        server.put("/api/v1/namespaces/spire-server/pods/spire-server-0", pod);
        let error = remove(&found, &member, CaVolume::Keep, soon()).await.unwrap_err();
        assert!(error.is_timeout());
        insta::assert_snapshot!(error.to_string(), @"timed out after 5s waiting for the pods in namespace spire-server to stop; last seen: 1 still there");
        assert!(remove(&found, &member, CaVolume::Delete, soon()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_holds_bundles_because_of_us_is_told_to_forget_them() {
        let mesh = mesh();
        let member = FakeServer::default().member_of(&mesh.clusters[1]);
        let nothing = || Removal { objects: Vec::new(), ca_volume: None, ..found() };
        assert_eq!(remove(&nothing(), &member, CaVolume::Keep, soon()).await.unwrap(), 0);
        let holds = Removal { bundles: vec![domain("foo")], ..nothing() };
        let error = remove(&holds, &member, CaVolume::Keep, soon()).await.unwrap_err();
        assert!(
            matches!(error, FederationError::NoServer { .. }),
            "there is none that could be told: {error}"
        );
    }
}
