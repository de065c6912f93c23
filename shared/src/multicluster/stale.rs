//! What an earlier `up` made, and is no longer wanted.

use std::collections::BTreeSet;

use futures::future::try_join3;

use super::InstallError;
use super::plan::{READERS_TOKENS, REMOTE_SECRETS, owner};
use super::preflight::have;
use crate::fleet::{Member, Need};
use crate::istio::demo::DEMO_LABEL;
use crate::istio::remote::{owned_remote_secrets, owned_tokens, remote_secret_key};
use crate::manifest::{self, Kind, Object, ObjectKey, Scope, Tool};
use crate::mesh::Mesh;

/// Of these nothing goes by itself: with a namespace goes what somebody else has in it, with a definition everybody's objects, with the
/// Certificate the CA that istiod signs with. Secrets are looked at by name.
const STAY: [Kind; 4] = [Kind::Namespace, Kind::CustomResourceDefinition, Kind::Certificate, Kind::Secret];

/// Returns the kinds of which something can be left over.
pub(super) fn kinds() -> impl Iterator<Item = Kind> {
    Tool::MeshInstall.kinds().filter(|kind| !STAY.contains(kind))
}

/// Lists the objects of this mesh in a cluster that `wanted` has no more: those of a gateway that was switched off, for example, those that a
/// newer Istio does without, and remote secrets for clusters that are not in the mesh file, with the tokens of such clusters. Makes sure that they may be deleted.
///
/// # Errors
/// When they cannot be listed, or not be deleted.
pub(super) async fn stale(
    mesh: &Mesh,
    member: &Member,
    wanted: &[Object],
    scope: Scope,
) -> Result<Vec<ObjectKey>, InstallError> {
    let owner = owner(mesh);
    let access = async {
        owned_remote_secrets(member, &owner)
            .await
            .map_err(|source| InstallError::Request { what: REMOTE_SECRETS.to_owned(), source })
    };
    let made = async {
        match scope {
            Scope::Everything => {
                Ok(manifest::owned_without(member.client(), &owner, kinds(), DEMO_LABEL).await?)
            }
            // Whoever applies the rest deletes of it what is no longer rendered.
            Scope::Live => Ok(Vec::new()),
        }
    };
    let tokens = async {
        owned_tokens(member, &owner)
            .await
            .map_err(|source| InstallError::Request { what: READERS_TOKENS.to_owned(), source })
    };
    let (mut found, made, tokens) = try_join3(access, made, tokens).await?;
    found.retain(|key| mesh.clusters.iter().all(|cluster| *key != remote_secret_key(&cluster.name)));
    let reads = |reader: &String| {
        mesh.clusters.iter().any(|cluster| cluster.name == *reader) && reader != member.name()
    };
    let given_up = tokens.into_iter().filter(|(_, reader)| !reader.as_ref().is_some_and(reads));
    found.extend(given_up.map(|(key, _)| key));
    let is_wanted = |key: &ObjectKey| wanted.iter().any(|object| object.key() == key);
    found.extend(made.into_iter().filter(|key| !is_wanted(key)));
    let places: BTreeSet<(Kind, Option<&str>)> =
        found.iter().map(|key| (key.kind, key.namespace.as_deref())).collect();
    let needs: Vec<Need> = places
        .into_iter()
        .map(|(kind, namespace)| Need::new("delete", kind.group(), kind.plural(), namespace))
        .collect();
    if !needs.is_empty() {
        have(member, &needs).await.map_err(Box::new)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::fake::FakeServer;

    fn mesh() -> Mesh {
        let text = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: devup}\nspec:\n  clusters:\n  \
             - {name: foo, trustDomain: foo.com}\n  - {name: bar, trustDomain: bar.com}\n  - {name: baz, trustDomain: baz.com}\n";
        Mesh::parse(text, "test").unwrap()
    }

    #[test]
    fn what_holds_other_things_does_not_go_by_itself() {
        let kinds: Vec<Kind> = kinds().collect();
        assert!(STAY.iter().all(|kind| !kinds.contains(kind)));
        assert!(kinds.contains(&Kind::Deployment) && kinds.contains(&Kind::PeerAuthentication));
    }

    #[tokio::test]
    async fn what_nothing_asks_for_is_found_and_what_is_wanted_of_others_or_of_a_demo_is_not() {
        let server = FakeServer::default();
        let labels = |more: &[(&str, &str)]| {
            let mut labels =
                json!({"app.kubernetes.io/managed-by": "mesh-install", "spire-mesh.dev/mesh": "devup"});
            for (label, value) in more {
                labels[label] = json!(value);
            }
            json!({"metadata": {"labels": labels}})
        };
        let system = "/api/v1/namespaces/istio-system";
        server.put(&format!("{system}/services/istio-ingressgateway"), labels(&[]));
        server.put(&format!("{system}/services/istiod"), labels(&[]));
        server.put("/api/v1/namespaces/sleep/services/sleep", labels(&[(DEMO_LABEL, "sleep")]));
        server
            .put(&format!("{system}/services/of-another-mesh"), labels(&[("spire-mesh.dev/mesh", "other")]));
        server.put(&format!("{system}/services/of-nobody"), json!({}));
        server.put("/api/v1/namespaces/old", labels(&[]));
        for cluster in ["foo", "gone"] {
            let remote = labels(&[("istio/multiCluster", "true")]);
            server.put(&format!("{system}/secrets/istio-remote-secret-{cluster}"), remote);
        }
        // The last but one is of no cluster's, but of all: an earlier version made it. A cluster does not read itself.
        for token in ["foo-a", "gone-b", "a", "baz-a"] {
            let of_reader = labels(&[("spire-mesh.dev/remote-reader-token", "true")]);
            server.put(&format!("{system}/secrets/spire-mesh-remote-reader-{token}"), of_reader);
        }
        server.put(&format!("{system}/secrets/key"), labels(&[]));
        let wanted = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "istiod", "namespace": "istio-system"}});
        let wanted = [Object::from_value(wanted).unwrap()];
        let member = server.member("baz");
        let found = stale(&mesh(), &member, &wanted, Scope::Everything).await.unwrap();
        let names: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "Secret/istio-remote-secret-gone in namespace istio-system",
                "Secret/spire-mesh-remote-reader-a in namespace istio-system",
                "Secret/spire-mesh-remote-reader-baz-a in namespace istio-system",
                "Secret/spire-mesh-remote-reader-gone-b in namespace istio-system",
                "Service/istio-ingressgateway in namespace istio-system"
            ]
        );
        server.forbid("delete services");
        assert!(stale(&mesh(), &member, &wanted, Scope::Everything).await.is_err());
    }

    #[tokio::test]
    async fn where_nothing_is_left_over_no_right_to_delete_is_asked_for() {
        let server = FakeServer::default();
        for right in ["delete services", "delete secrets"] {
            server.forbid(right);
        }
        assert_eq!(stale(&mesh(), &server.member("baz"), &[], Scope::Everything).await.unwrap(), []);
    }
}
