//! What others have where something of ours is deleted, and would lose with it.

use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde::Serialize;

use super::inventory::DeleteError;
use super::kind::Kind;
use super::object::ObjectKey;
use super::owner::{MANAGED_BY_LABEL, MESH_LABEL, Owner};
use super::plan::AT_ONCE;
use crate::fleet::RequestError;

/// What Kubernetes marks the Secrets with that it makes for a service account, and deletes with it.
const OF_ACCOUNT: &str = "kubernetes.io/service-account.name";

/// Something that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leftover {
    /// What it is.
    pub what: String,
    /// Who uses it.
    pub reason: String,
}

/// What becomes of a namespace of ours in which others have keys, data or workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guests {
    /// The namespace stays, and what they have in it.
    Keep,
    /// They go with the namespace.
    Delete,
}

/// What others have in what was to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spared {
    /// What stays because of it.
    pub leftovers: Vec<Leftover>,
    /// What goes all the same: `Secret/theirs in namespace sample`.
    pub lost: Vec<String>,
}

/// Takes out of `objects` what others would lose something with: definitions of which they have objects, whose deletion would delete
/// these, and namespaces in which they have Secrets, claims or workloads, unless `guests` are to go. `known` are objects without
/// labels that are no guests.
///
/// # Errors
/// [`DeleteError::ListOthers`] when it cannot be found out.
pub async fn spare(
    client: &kube::Client,
    owner: &Owner,
    objects: &mut Vec<ObjectKey>,
    known: &[ObjectKey],
    guests: Guests,
) -> Result<Spared, DeleteError> {
    let of = |kind: Kind| objects.iter().filter(move |key| key.kind == kind).cloned().collect::<Vec<_>>();
    let definitions = stream::iter(of(Kind::CustomResourceDefinition).into_iter().map(|key| async move {
        let users = users(client, owner, &key.name).await?;
        Ok::<_, DeleteError>((key, users))
    }));
    let namespaces = stream::iter(of(Kind::Namespace).into_iter().map(|key| async move {
        let inhabitants = Box::pin(inhabitants(client, owner, &key.name, known)).await?;
        Ok::<_, DeleteError>((key, inhabitants))
    }));
    let used: Vec<_> = definitions.buffered(AT_ONCE).try_collect().await?;
    let inhabited: Vec<_> = namespaces.buffered(AT_ONCE).try_collect().await?;
    let mut spared = Spared::default();
    let used = used.into_iter().filter(|(_, users)| !users.is_empty());
    let mut inhabited: Vec<_> = inhabited.into_iter().filter(|(_, guests)| !guests.is_empty()).collect();
    if guests == Guests::Delete {
        let lost = inhabited.drain(..).flat_map(|(key, names)| {
            names.into_iter().map(move |name| format!("{name} in namespace {}", key.name))
        });
        spared.lost.extend(lost);
    }
    for (key, names) in inhabited.into_iter().chain(used) {
        objects.retain(|object| *object != key);
        let reason = format!("objects of somebody else: {}", names.join(", "));
        spared.leftovers.push(Leftover { what: key.to_string(), reason });
    }
    Ok(spared)
}

/// Lists the objects of a definition that the plugin did not make.
async fn users(client: &kube::Client, owner: &Owner, name: &str) -> Result<Vec<String>, DeleteError> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let found = definitions.get_opt(name).await.map_err(|error| unread(name, &error))?;
    let Some(definition) = found else { return Ok(Vec::new()) };
    let Some(version) = definition.spec.versions.iter().find(|version| version.storage) else {
        return Ok(Vec::new());
    };
    let names = &definition.spec.names;
    let kind = GroupVersionKind::gvk(&definition.spec.group, &version.name, &names.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, &names.plural);
    let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let unlike_ours = format!("{MANAGED_BY_LABEL}!={}", owner.tool.name());
    let others = listed(&objects, &unlike_ours, name).await?;
    Ok(others.into_iter().map(in_namespace).collect())
}

/// Lists the keys, data and workloads in a namespace that are not of the mesh: those that a controller made belong to what it made them for.
async fn inhabitants(
    client: &kube::Client,
    owner: &Owner,
    namespace: &str,
    known: &[ObjectKey],
) -> Result<Vec<String>, DeleteError> {
    let resources = [
        ApiResource::erase::<Secret>(&()),
        ApiResource::erase::<PersistentVolumeClaim>(&()),
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<DaemonSet>(&()),
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<CronJob>(&()),
        ApiResource::erase::<Job>(&()),
        ApiResource::erase::<ReplicaSet>(&()),
        ApiResource::erase::<Pod>(&()),
    ];
    let unlike_ours = format!("{MESH_LABEL}!={}", owner.mesh);
    let lists = resources.map(|resource| {
        let unlike_ours = &unlike_ours;
        async move {
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
            let found = listed(&api, unlike_ours, &resource.plural).await?;
            let others = found.into_iter().filter(stands_alone).filter_map(|object| object.name);
            let is_known = |name: &str| {
                let is_it = |key: &ObjectKey| key.kind.name() == resource.kind && key.name == name;
                known.iter().any(|key| is_it(key) && key.namespace.as_deref() == Some(namespace))
            };
            let others = others.filter(|name| !is_known(name));
            Ok::<_, DeleteError>(others.map(|name| format!("{}/{name}", resource.kind)).collect::<Vec<_>>())
        }
    });
    let lists = stream::iter(lists).buffered(AT_ONCE).try_collect::<Vec<_>>();
    Ok(Box::pin(lists).await?.concat())
}

/// Tells whether an object is there for its own sake.
fn stands_alone(object: &ObjectMeta) -> bool {
    let is_controlled = object.owner_references.iter().flatten().any(|owner| owner.controller == Some(true));
    let is_of_account =
        object.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(OF_ACCOUNT));
    !is_controlled && !is_of_account
}

/// Lists what of these objects has these labels; a kind that does not exist has none.
async fn listed(
    objects: &Api<DynamicObject>,
    labels: &str,
    what: &str,
) -> Result<Vec<ObjectMeta>, DeleteError> {
    match objects.list_metadata(&ListParams::default().labels(labels)).await {
        Ok(list) => Ok(list.items.into_iter().map(|object| object.metadata).collect()),
        Err(error) if RequestError::from(&error).is_not_found() => Ok(Vec::new()),
        Err(error) => Err(unread(what, &error)),
    }
}

fn unread(what: &str, error: &kube::Error) -> DeleteError {
    DeleteError::ListOthers { what: what.to_owned(), source: RequestError::from(error) }
}

/// Names an object with its namespace, where it is in one.
fn in_namespace(object: ObjectMeta) -> String {
    let name = object.name.unwrap_or_default();
    match object.namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fleet::fake::FakeServer;
    use crate::manifest::Tool;

    fn owner() -> Owner {
        Owner::new(Tool::MeshInstall, "shop")
    }

    fn ours() -> Value {
        json!({"metadata": {"labels": {MANAGED_BY_LABEL: "mesh-install", MESH_LABEL: "shop"}}})
    }

    fn namespace(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::Namespace, None, name)
    }

    fn definition(plural: &str) -> ObjectKey {
        ObjectKey::new(Kind::CustomResourceDefinition, None, &format!("{plural}.networking.istio.io"))
    }

    fn put_definition(server: &FakeServer, plural: &str, kind: &str) {
        let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage});
        let mut object = ours();
        object["spec"] = json!({
            "group": "networking.istio.io", "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [version("v1alpha3", false), version("v1", true)],
        });
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        server.put(&format!("{definitions}/{plural}.networking.istio.io"), object);
    }

    async fn spared(
        server: &FakeServer,
        objects: &mut Vec<ObjectKey>,
        guests: Guests,
    ) -> Result<Spared, DeleteError> {
        let known = [ObjectKey::new(Kind::Secret, Some("sample"), "known")];
        spare(server.member("baz").client(), &owner(), objects, &known, guests).await
    }

    /// Three namespaces, with guests in the last one only.
    fn sample() -> FakeServer {
        let server = FakeServer::default();
        let controlled = |kind: &str| {
            json!({"metadata": {"ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "a"},
                {"apiVersion": "apps/v1", "kind": kind, "name": "a", "uid": "b", "controller": true},
            ]}})
        };
        for name in ["empty", "sample"] {
            server.put(&format!("/api/v1/namespaces/{name}/secrets/ours"), ours());
            server.put(&format!("/api/v1/namespaces/{name}/pods/of-ours"), controlled("ReplicaSet"));
            let account = json!({"metadata": {"annotations": {OF_ACCOUNT: "default"}}});
            server.put(&format!("/api/v1/namespaces/{name}/secrets/default-token-x"), account);
            server.put(&format!("/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt"), json!({}));
        }
        server.put("/api/v1/namespaces/sample/secrets/known", json!({}));
        server.put("/api/v1/namespaces/empty/persistentvolumeclaims/ours", ours());
        server.put("/api/v1/namespaces/of-others/secrets/known", json!({}));
        let mut other_mesh = ours();
        other_mesh["metadata"]["labels"][MESH_LABEL] = json!("bank");
        server.put("/api/v1/namespaces/sample/secrets/of-another-mesh", other_mesh);
        server.put("/api/v1/namespaces/sample/persistentvolumeclaims/data", json!({}));
        server.put("/apis/apps/v1/namespaces/sample/deployments/cart", json!({}));
        server.put("/apis/apps/v1/namespaces/sample/replicasets/cart-1", controlled("Deployment"));
        server.put("/apis/batch/v1/namespaces/sample/cronjobs/report", json!({}));
        let mut referred = controlled("Node");
        referred["metadata"]["ownerReferences"].as_array_mut().unwrap().truncate(1);
        server.put("/api/v1/namespaces/sample/pods/referred", referred);
        server
    }

    #[tokio::test]
    async fn a_namespace_in_which_others_have_keys_data_or_workloads_stays() {
        let mut objects = vec![namespace("empty"), namespace("sample"), namespace("gone")];
        let spared = spared(&sample(), &mut objects, Guests::Keep).await.unwrap();
        assert_eq!(objects, [namespace("empty"), namespace("gone")]);
        assert!(spared.lost.is_empty());
        let [left] = spared.leftovers.as_slice() else { panic!("{spared:?}") };
        insta::assert_snapshot!(format!("{}: {}", left.what, left.reason), @"Namespace/sample: objects of somebody else: Secret/of-another-mesh, PersistentVolumeClaim/data, Deployment/cart, CronJob/report, Pod/referred");
    }

    #[tokio::test]
    async fn guests_that_are_to_go_are_named_with_their_namespace() {
        let mut objects = vec![namespace("empty"), namespace("sample"), namespace("of-others")];
        let before = objects.clone();
        let spared = spared(&sample(), &mut objects, Guests::Delete).await.unwrap();
        assert_eq!((&objects, spared.leftovers.len()), (&before, 0));
        insta::assert_snapshot!(spared.lost.join("\n"), @r"
        Secret/of-another-mesh in namespace sample
        PersistentVolumeClaim/data in namespace sample
        Deployment/cart in namespace sample
        CronJob/report in namespace sample
        Pod/referred in namespace sample
        Secret/known in namespace of-others
        ");
    }

    #[tokio::test]
    async fn a_definition_of_which_others_have_objects_stays_whatever_becomes_of_guests() {
        for guests in [Guests::Keep, Guests::Delete] {
            let server = FakeServer::default();
            put_definition(&server, "gateways", "Gateway");
            put_definition(&server, "sidecars", "Sidecar");
            server.put("/apis/networking.istio.io/v1/namespaces/shop/gateways/of-ours", ours());
            server.put("/apis/networking.istio.io/v1/namespaces/shop/sidecars/cart", json!({}));
            server.put("/apis/networking.istio.io/v1/sidecars/everywhere", json!({}));
            let mut objects = vec![definition("gateways"), definition("sidecars"), definition("gone")];
            let spared = spared(&server, &mut objects, guests).await.unwrap();
            assert_eq!(objects, [definition("gateways"), definition("gone")]);
            let [left] = spared.leftovers.as_slice() else { panic!("{spared:?}") };
            assert_eq!(left.what, "CustomResourceDefinition/sidecars.networking.istio.io");
            assert_eq!(left.reason, "objects of somebody else: shop/cart, everywhere");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_found_out_is_an_error_and_a_kind_that_does_not_exist_has_nothing() {
        let told = async |path: &str, code: u16| {
            let server = sample();
            put_definition(&server, "sidecars", "Sidecar");
            server.refuse(path, code);
            let mut objects = vec![namespace("sample"), definition("sidecars")];
            spared(&server, &mut objects, Guests::Keep).await.map_err(|error| error.to_string())
        };
        let jobs = "/apis/batch/v1/namespaces/sample/jobs";
        let sidecars = "/apis/networking.istio.io/v1/sidecars";
        assert_eq!(
            told(jobs, 403).await.unwrap_err(),
            "cannot find out what others would lose: cannot list jobs"
        );
        assert_eq!(
            told(sidecars, 403).await.unwrap_err(),
            "cannot find out what others would lose: cannot list sidecars.networking.istio.io"
        );
        assert_eq!(told(jobs, 404).await.unwrap().leftovers.len(), 1);
        assert_eq!(told(sidecars, 404).await.unwrap().leftovers.len(), 1);
    }
}
