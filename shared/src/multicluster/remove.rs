//! Taking a mesh away: first what uses Istio, then Istio.

use std::sync::Mutex;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde::Serialize;

use super::plan::{READERS_TOKENS, REMOTE_SECRETS, owner};
use super::{InstallError, Step};
use crate::fleet::{Member, RequestError, list_pages};
use crate::istio::remote::{owned_remote_secrets, owned_tokens, remote_secret_key};
use crate::istio::{EAST_WEST_GATEWAY, INGRESS_GATEWAY, NAMESPACE};
use crate::manifest::{self, Deadline, Deletion, Guests, Kind, Leftover, ObjectKey, Spared};
use crate::mesh::Mesh;
use crate::watch::Watch;

/// The `ConfigMap`s that istiod puts into every namespace, and their label.
const OF_ISTIOD: [&str; 2] = ["istio-ca-root-cert", "istio-ca-crl"];
const OF_ISTIOD_LABEL: &str = "istio.io/config=true";
/// The Secret in which istiod keeps the CA that it makes for itself, and signs nothing of the mesh with.
const OWN_CA: &str = "istio-ca-secret";

/// What there is to remove in one cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// Name of the cluster.
    pub cluster: String,
    /// The objects, in the order in which they are applied.
    pub objects: Vec<ObjectKey>,
    /// Pods with a sidecar that would be left without istiod: namespace and name.
    pub sidecars: Vec<String>,
    /// What stays, and why.
    pub leftovers: Vec<Leftover>,
    /// What others have in namespaces that go, and lose with them.
    pub lost: Vec<String>,
}

/// What taking a mesh down came to.
#[derive(Debug)]
pub struct Removed {
    /// How many objects were deleted, or why not all were, by cluster in the order of the mesh.
    pub clusters: Vec<(String, Result<usize, InstallError>)>,
}

/// Reads what there is to remove in one cluster. `guests` says what becomes of what others have in its namespaces.
///
/// # Errors
/// When it cannot be read.
pub async fn removal(mesh: &Mesh, member: &Member, guests: Guests) -> Result<Removal, InstallError> {
    let client = member.client();
    let owner = owner(mesh);
    let mut objects = manifest::owned(client, &owner).await?;
    let namespaces = objects.iter().filter(|key| key.kind == Kind::Namespace).map(|key| key.name.clone());
    let ours: Vec<String> = namespaces.collect();
    let known = [ObjectKey::new(Kind::Secret, Some(NAMESPACE), OWN_CA)];
    let Spared { leftovers, lost } = manifest::spare(client, &owner, &mut objects, &known, guests).await?;
    let sidecars = if objects.is_empty() { Vec::new() } else { sidecars(client).await? };
    let sidecars = sidecars.into_iter().filter(|(namespace, _)| !ours.contains(namespace));
    let sidecars = sidecars.map(|(namespace, pod)| format!("{namespace}/{pod}")).collect();
    Ok(Removal { cluster: member.name().to_owned(), objects, sidecars, leftovers, lost })
}

/// What becomes of the tokens with which a cluster that goes reads those that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderTokens {
    /// They are deleted: whoever holds one is refused.
    TakeBack,
    /// They stay, and with them the access.
    Keep,
}

/// Reads what there is to remove in a cluster that stays when another one goes: the access to that one, and the tokens that that one reads
/// with. Tokens that stay are named as what stays.
///
/// # Errors
/// When it cannot be read.
pub async fn removal_of_access(
    mesh: &Mesh,
    member: &Member,
    to: &str,
    of_reader: ReaderTokens,
) -> Result<Removal, InstallError> {
    let owner = owner(mesh);
    let request = |what: &str| {
        let what = what.to_owned();
        move |source| InstallError::Request { what, source }
    };
    let (found, tokens) = futures::join!(owned_remote_secrets(member, &owner), owned_tokens(member, &owner));
    let mut objects = found.map_err(request(REMOTE_SECRETS))?;
    objects.retain(|key| *key == remote_secret_key(to));
    let tokens = tokens.map_err(request(READERS_TOKENS))?;
    let tokens = tokens.into_iter().filter(|(_, reader)| reader.as_deref() == Some(to)).map(|(key, _)| key);
    let leftovers = match of_reader {
        ReaderTokens::TakeBack => {
            objects.extend(tokens);
            Vec::new()
        }
        ReaderTokens::Keep => {
            let reason = format!("whoever has it from {to} can go on to read all Secrets of this cluster");
            tokens.map(|key| Leftover { what: key.to_string(), reason: reason.clone() }).collect()
        }
    };
    let cluster = member.name().to_owned();
    Ok(Removal { cluster, objects, sidecars: Vec::new(), leftovers, lost: Vec::new() })
}

/// Lists the pods with a sidecar, by namespace and name.
async fn sidecars(client: &kube::Client) -> Result<Vec<(String, String)>, InstallError> {
    let pods: Api<Pod> = Api::all(client.clone());
    let params = ListParams::default().labels("security.istio.io/tlsMode=istio");
    let running = |pod: Pod| {
        let runs = pod.metadata.deletion_timestamp.is_none();
        runs.then(|| (pod.namespace().unwrap_or_default(), pod.name_any()))
    };
    list_pages(&pods, &params, running)
        .await
        .map_err(|error| InstallError::request("pods in all namespaces", &error))
}

/// Takes a mesh down on all clusters: first what uses Istio and the access to other clusters, on every cluster, then Istio itself.
pub async fn down(
    removals: &[Removal],
    members: &[Member],
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> Removed {
    let of = |member: &Member| removals.iter().find(|removal| removal.cluster == member.name());
    let users = join_all(members.iter().map(|member| async move {
        watch.step(member.name(), &Step::Deleting);
        let keys: Vec<&ObjectKey> = of(member).into_iter().flat_map(|removal| &removal.objects).collect();
        let first: Vec<ObjectKey> = keys.into_iter().filter(|key| goes_first(key)).cloned().collect();
        delete(member, &first, deadline).await
    }))
    .await;
    let clusters = join_all(members.iter().zip(users).map(|(member, users)| async move {
        let rest = async {
            let first = users?;
            let keys = of(member).map(|removal| removal.objects.as_slice()).unwrap_or_default();
            let rest: Vec<ObjectKey> = keys.iter().filter(|key| !goes_first(key)).cloned().collect();
            let count = delete(member, &rest, deadline).await?;
            if count > 0 {
                configuration_maps(member).await?;
            }
            Ok(first + count)
        };
        let result = rest.await;
        let outcome = match &result {
            Ok(0) => Step::Done("nothing to delete".to_owned()),
            Ok(count) => Step::Done(format!("{count} objects deleted")),
            Err(error) => Step::Failed(InstallError::to_string(error)),
        };
        watch.step(member.name(), &outcome);
        (member.name().to_owned(), result)
    }))
    .await;
    Removed { clusters }
}

/// Tells whether an object uses Istio, or lets one cluster's istiod into another.
fn goes_first(key: &ObjectKey) -> bool {
    let gateway = [EAST_WEST_GATEWAY, INGRESS_GATEWAY].iter().any(|gateway| key.name.starts_with(gateway));
    match key.namespace.as_deref() {
        Some(NAMESPACE) => key.kind == Kind::Secret || gateway,
        Some(_) => true,
        // Namespaces of demos are empty by then. They take Kubernetes some seconds each, so all of them go together, at the end.
        None => false,
    }
}

/// Deletes objects, and returns how many were there.
pub(super) async fn delete(
    member: &Member,
    keys: &[ObjectKey],
    deadline: Deadline<'_>,
) -> Result<usize, InstallError> {
    let deleted = Mutex::new(0);
    let count = |_: &ObjectKey, deletion: Deletion| {
        if deletion == Deletion::Deleted {
            *deleted.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += 1;
        }
    };
    manifest::delete(member.client(), keys, deadline, &count).await?;
    Ok(deleted.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Deletes what istiod has put into every namespace: with it gone, nobody else does.
async fn configuration_maps(member: &Member) -> Result<(), InstallError> {
    let all: Api<ConfigMap> = Api::all(member.client().clone());
    let list = all
        .list_metadata(&ListParams::default().labels(OF_ISTIOD_LABEL))
        .await
        .map_err(|error| InstallError::request("ConfigMaps of istiod", &error))?;
    for map in list.items.iter().filter(|map| OF_ISTIOD.contains(&map.name_any().as_str())) {
        let (namespace, name) = (map.namespace().unwrap_or_default(), map.name_any());
        let maps: Api<ConfigMap> = Api::namespaced(member.client().clone(), &namespace);
        match maps.delete(&name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(error) if RequestError::from(&error).is_not_found() => {}
            Err(error) => {
                return Err(InstallError::request(&format!("ConfigMap {namespace}/{name}"), &error));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::fleet::fake::FakeServer;
    use crate::istio::remote::{Slot, TokenSecret};

    const SYSTEM: &str = "/api/v1/namespaces/istio-system";
    const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

    fn key(kind: Kind, namespace: Option<&str>, name: &str) -> ObjectKey {
        ObjectKey::new(kind, namespace, name)
    }

    fn mesh() -> Mesh {
        let text = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: devup}\nspec:\n  clusters:\n  \
             - {name: foo, trustDomain: foo.com}\n  - {name: bar, trustDomain: bar.com}\n  - {name: baz, trustDomain: baz.com}\n";
        Mesh::parse(text, "test").unwrap()
    }

    fn ours() -> Value {
        json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "mesh-install", "spire-mesh.dev/mesh": "devup"}}})
    }

    struct Silent;

    impl Watch<Step> for Silent {
        fn step(&self, _: &str, _: &Step) {}
    }

    #[test]
    fn what_uses_istio_and_access_to_other_clusters_go_first() {
        let system = Some(NAMESPACE);
        let first = [
            key(Kind::Secret, system, "istio-remote-secret-foo"),
            key(Kind::Deployment, system, "istio-eastwestgateway"),
            key(Kind::Service, system, "istio-ingressgateway"),
            key(Kind::ServiceAccount, system, "istio-eastwestgateway-service-account"),
            key(Kind::Deployment, Some("sleep"), "sleep"),
            key(Kind::ConfigMap, Some("sleep"), "istio"),
        ];
        let then = [
            key(Kind::Deployment, system, "istiod"),
            key(Kind::ConfigMap, system, "istio"),
            key(Kind::Namespace, None, "sleep"),
            key(Kind::ClusterRole, None, "istio-eastwestgateway"),
            key(Kind::CustomResourceDefinition, None, "gateways.networking.istio.io"),
        ];
        for key in &first {
            assert!(goes_first(key), "{key}");
        }
        for key in &then {
            assert!(!goes_first(key), "{key}");
        }
    }

    fn definition(group: &str, plural: &str, kind: &str) -> Value {
        let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage});
        let mut definition = ours();
        definition["spec"] = json!({
            "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [version("v1alpha3", false), version("v1", true)],
        });
        definition
    }

    fn installed() -> FakeServer {
        let server = FakeServer::default();
        server.put("/apis/apps/v1/namespaces/istio-system/deployments/istiod", ours());
        server.put("/apis/apps/v1/namespaces/istio-system/deployments/istio-eastwestgateway", ours());
        server.put("/api/v1/namespaces/sleep", ours());
        server.put(
            &format!("{CRDS}/gateways.networking.istio.io"),
            definition("networking.istio.io", "gateways", "Gateway"),
        );
        server.put(
            &format!("{CRDS}/sidecars.networking.istio.io"),
            definition("networking.istio.io", "sidecars", "Sidecar"),
        );
        server.put("/apis/networking.istio.io/v1/namespaces/shop/gateways/of-ours", ours());
        server.put("/apis/networking.istio.io/v1/namespaces/shop/sidecars/of-shop", json!({}));
        server
    }

    #[tokio::test]
    async fn a_definition_that_somebody_else_has_objects_of_stays_and_sidecars_that_are_left_are_named() {
        let server = installed();
        let sidecar = |deleted: bool| {
            let mut pod = json!({"metadata": {"labels": {"security.istio.io/tlsMode": "istio"}}});
            if deleted {
                pod["metadata"]["deletionTimestamp"] = json!("2026-11-25T10:00:00Z");
            }
            pod
        };
        let mut of_ours = sidecar(false);
        of_ours["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "sleep", "uid": "a", "controller": true}]);
        server.put("/api/v1/namespaces/sleep/pods/sleep-1", of_ours);
        server.put("/api/v1/namespaces/shop/pods/cart-1", sidecar(false));
        server.put("/api/v1/namespaces/shop/pods/cart-2", sidecar(true));
        server.put("/api/v1/namespaces/shop/pods/without", json!({}));
        let removal = removal(&mesh(), &server.member("baz"), Guests::Keep).await.unwrap();
        insta::assert_json_snapshot!(removal);
    }

    #[tokio::test]
    async fn where_nothing_is_to_go_no_sidecar_is_left() {
        let server = FakeServer::default();
        server.put(
            "/api/v1/namespaces/shop/pods/cart-1",
            json!({"metadata": {"labels": {"security.istio.io/tlsMode": "istio"}}}),
        );
        let removal = removal(&mesh(), &server.member("baz"), Guests::Keep).await.unwrap();
        assert_eq!(
            (removal.objects, removal.sidecars, removal.leftovers),
            (Vec::new(), Vec::new(), Vec::new())
        );
    }

    #[tokio::test]
    async fn of_a_cluster_that_stays_only_the_access_to_the_other_goes() {
        let server = FakeServer::default();
        for cluster in ["foo", "bar"] {
            let mut secret = ours();
            secret["metadata"]["labels"]["istio/multiCluster"] = json!("true");
            server.put(&format!("{SYSTEM}/secrets/istio-remote-secret-{cluster}"), secret);
        }
        for reader in ["foo", "bar"] {
            let mut secret = ours();
            secret["metadata"]["labels"]["spire-mesh.dev/remote-reader-token"] = json!("true");
            server.put(&format!("{SYSTEM}/secrets/spire-mesh-remote-reader-{reader}-b"), secret);
        }
        let member = server.member("baz");
        let of = async |tokens| removal_of_access(&mesh(), &member, "bar", tokens).await.unwrap();
        let kept = of(ReaderTokens::Keep).await;
        assert_eq!(kept.objects, [remote_secret_key("bar")]);
        let [left] = kept.leftovers.as_slice() else { panic!("{kept:?}") };
        insta::assert_snapshot!(format!("{}: {}", left.what, left.reason), @"Secret/spire-mesh-remote-reader-bar-b in namespace istio-system: whoever has it from bar can go on to read all Secrets of this cluster");
        let removal = of(ReaderTokens::TakeBack).await;
        let token = TokenSecret::of("bar", Slot::B);
        assert_eq!(
            removal.objects,
            [remote_secret_key("bar"), token.key()],
            "what bar reads with is taken back"
        );
        assert_eq!(removal.cluster, "baz");
    }

    #[tokio::test]
    async fn istio_goes_last_and_with_it_what_istiod_has_put_everywhere() {
        let server = installed();
        server.put(&format!("{SYSTEM}/secrets/istio-remote-secret-foo"), ours());
        let of_istiod = || json!({"metadata": {"labels": {"istio.io/config": "true"}}});
        server.put("/api/v1/namespaces/shop/configmaps/istio-ca-root-cert", of_istiod());
        server.put("/api/v1/namespaces/shop/configmaps/istio-ca-crl", of_istiod());
        server.put("/api/v1/namespaces/shop/configmaps/of-somebody", of_istiod());
        server.put("/api/v1/namespaces/shop/configmaps/istio-ca-root-cert-too", json!({}));
        let objects = vec![
            key(Kind::Deployment, Some(NAMESPACE), "istiod"),
            key(Kind::Deployment, Some(NAMESPACE), "istio-eastwestgateway"),
            key(Kind::Secret, Some(NAMESPACE), "istio-remote-secret-foo"),
            key(Kind::Secret, Some(NAMESPACE), "istio-remote-secret-gone"),
        ];
        let removals = [Removal {
            cluster: "baz".to_owned(),
            objects,
            sidecars: Vec::new(),
            leftovers: Vec::new(),
            lost: Vec::new(),
        }];
        let members = [FakeServer::default().member("foo"), server.member("baz")];
        let removed = down(&removals, &members, Deadline::after(Duration::from_mins(1)), &Silent).await;
        let counts: Vec<_> =
            removed.clusters.iter().map(|(name, count)| (name.as_str(), *count.as_ref().unwrap())).collect();
        assert_eq!(counts, [("foo", 0), ("baz", 3)]);
        insta::assert_snapshot!(server.writes().join("\n"), @r"
        DELETE /apis/apps/v1/namespaces/istio-system/deployments/istio-eastwestgateway
        DELETE /api/v1/namespaces/istio-system/secrets/istio-remote-secret-foo
        DELETE /api/v1/namespaces/istio-system/secrets/istio-remote-secret-gone
        DELETE /apis/apps/v1/namespaces/istio-system/deployments/istiod
        DELETE /api/v1/namespaces/shop/configmaps/istio-ca-crl
        DELETE /api/v1/namespaces/shop/configmaps/istio-ca-root-cert
        ");
    }

    #[tokio::test]
    async fn istio_stays_where_what_uses_it_does_not_go() {
        let server = installed();
        let gateway = "/apis/apps/v1/namespaces/istio-system/deployments/istio-eastwestgateway";
        server.refuse(gateway, 403);
        let objects = vec![
            key(Kind::Deployment, Some(NAMESPACE), "istiod"),
            key(Kind::Deployment, Some(NAMESPACE), "istio-eastwestgateway"),
        ];
        let removals = [Removal {
            cluster: "baz".to_owned(),
            objects,
            sidecars: Vec::new(),
            leftovers: Vec::new(),
            lost: Vec::new(),
        }];
        let removed =
            down(&removals, &[server.member("baz")], Deadline::after(Duration::from_mins(1)), &Silent).await;
        assert!(removed.clusters[0].1.is_err());
        assert_eq!(server.writes(), [""; 0]);
    }
}
