//! What there has to be in every cluster, held against what there is.

use std::collections::BTreeMap;
use std::path::Path;

use futures::future::{join_all, try_join_all};

use super::InstallError;
use super::stale::stale;
use crate::fleet::{ClusterErrors, Member, each};
use crate::hint::Place;
use crate::istio::config::configuration;
use crate::istio::istioctl::{Istioctl, IstioctlError};
use crate::istio::remote::{ReaderToken, Slot, TokenSecret, reader_tokens, remote_secret, remote_secret_key};
use crate::istio::version::IstioVersion;
use crate::istio::{ca, desired};
use crate::manifest::{self, ClusterPlan, Later, MeshPlan, Object, Owner, Scope, Tool};
use crate::mesh::{Cluster, EndpointUrl, Mesh};

/// What is read where it is asked which access there is.
pub(super) const REMOTE_SECRETS: &str = "the names of remote secrets";
/// What is read where the tokens of readers are.
pub(super) const READERS_TOKENS: &str = "the tokens of its readers";

/// Where the API server of each cluster is for the istiods of the others, by the cluster's name.
pub type ApiServers = BTreeMap<String, EndpointUrl>;

/// Istio's objects for one cluster.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Name of the cluster.
    pub cluster: String,
    /// The version of Istio.
    pub version: IstioVersion,
    /// The objects, in the order in which to apply them.
    pub objects: Vec<Object>,
}

/// Returns the owner of everything that is made here.
pub(super) fn owner(mesh: &Mesh) -> Owner {
    Owner::new(Tool::MeshInstall, mesh.name.clone())
}

/// Why there are no manifests.
#[derive(Debug)]
pub enum RenderError {
    /// An `istioctl` cannot be used.
    Istioctl(IstioctlError),
    /// It refuses the configuration of these clusters, or does not get to its end with it; by cluster.
    Clusters(Vec<(Place, IstioctlError)>),
}

/// Renders Istio for every cluster, with the `istioctl` that the mesh file names for it. Asks no cluster.
///
/// # Errors
/// [`RenderError`] with every cluster whose configuration is refused.
pub async fn render(mesh: &Mesh) -> Result<Vec<Rendered>, RenderError> {
    let mut programs: Vec<&Path> =
        mesh.clusters.iter().map(|cluster| cluster.istio.istioctl.as_path()).collect();
    programs.sort_unstable();
    programs.dedup();
    let found = try_join_all(programs.iter().map(|program| Istioctl::find(program)));
    let found = found.await.map_err(RenderError::Istioctl)?;
    let found: BTreeMap<&Path, Istioctl> = programs.into_iter().zip(found).collect();
    let results = join_all(mesh.clusters.iter().filter_map(|cluster| {
        let istioctl = found.get(cluster.istio.istioctl.as_path())?;
        Some(async move { (cluster, render_one(mesh, cluster, istioctl).await) })
    }));
    let (mut rendered, mut refused) = (Vec::new(), Vec::new());
    for (cluster, result) in results.await {
        match result {
            Ok(one) => rendered.push(one),
            Err(error) => refused.push((cluster.place(), error)),
        }
    }
    if refused.is_empty() { Ok(rendered) } else { Err(RenderError::Clusters(refused)) }
}

async fn render_one(mesh: &Mesh, cluster: &Cluster, istioctl: &Istioctl) -> Result<Rendered, IstioctlError> {
    let version = istioctl.version();
    let generated = istioctl.generate(&configuration(mesh, cluster)).await?;
    let owner = owner(mesh);
    let certificate = ca::certificate(cluster, &owner);
    let objects = desired::objects(cluster, generated).into_iter().chain(certificate);
    let objects = owner.stamped(objects.collect());
    Ok(Rendered { cluster: cluster.name.clone(), version, objects })
}

/// Which token a cluster reads another one with, among those of the other one's readers: its newest.
pub(super) fn current<'t>(tokens: &'t [ReaderToken], reader: &str) -> Option<&'t ReaderToken> {
    tokens.iter().rev().find(|token| token.secret.reader == reader)
}

/// Returns the Secrets of the tokens with which the other clusters of a mesh read `cluster`: for each reader the one that it has, or its first.
pub(super) fn token_secrets(mesh: &Mesh, cluster: &Cluster, tokens: &[ReaderToken]) -> Vec<TokenSecret> {
    let readers = mesh.clusters.iter().filter(|reader| reader.name != cluster.name);
    readers
        .map(|reader| {
            let slot = current(tokens, &reader.name).map_or(Slot::A, |token| token.secret.slot);
            TokenSecret::of(&reader.name, slot)
        })
        .collect()
}

/// Returns the remote secrets that there have to be in `cluster`, as far as there are tokens for them.
pub(super) fn remote_secrets(
    mesh: &Mesh,
    cluster: &Cluster,
    servers: &ApiServers,
    tokens: &BTreeMap<String, Vec<ReaderToken>>,
) -> Vec<Result<Object, Later>> {
    let peers = mesh.clusters.iter().filter(|peer| peer.name != cluster.name);
    peers
        .map(|peer| {
            let token = tokens.get(&peer.name).and_then(|tokens| current(tokens, &cluster.name));
            match (servers.get(&peer.name), token) {
                (Some(server), Some(token)) => Ok(remote_secret(&peer.name, server, token)),
                (server, _) => Err(Later {
                    key: remote_secret_key(&peer.name),
                    reason: match server {
                        Some(_) => format!("{} has no token for {} yet", peer.name, cluster.name),
                        None => format!("the address of the API server of {} is not known", peer.name),
                    },
                }),
            }
        })
        .collect()
}

/// Returns what [`render`] leaves out of a cluster, because it depends on what is in the clusters, and on what. Asks no cluster.
#[must_use]
pub fn not_rendered(mesh: &Mesh, cluster: &Cluster) -> Vec<Later> {
    let own = token_secrets(mesh, cluster, &[]).into_iter().map(|secret| Later {
        key: secret.key(),
        reason: format!(
            "it holds the token that {} reads this cluster with, and `remote-secret rotate` replaces it by one of another name",
            secret.reader
        ),
    });
    let peers = mesh.clusters.iter().filter(|peer| peer.name != cluster.name);
    let access = peers.map(|peer| Later {
        key: remote_secret_key(&peer.name),
        reason: format!("it holds a token of {}", peer.name),
    });
    own.chain(access).collect()
}

/// Holds what there has to be against what there is, on all clusters at the same time. Changes nothing.
///
/// # Errors
/// Every cluster that cannot be read, or would refuse an object; with [`Scope::Live`] also those in which what was rendered is not there.
pub async fn plan(
    mesh: &Mesh,
    members: &[Member],
    (rendered, servers): (&[Rendered], &ApiServers),
    scope: Scope,
) -> Result<MeshPlan, ClusterErrors<InstallError>> {
    let tokens = &tokens(members).await?;
    let clusters = each(members, |member| async move {
        let own = rendered.iter().filter(|rendered| rendered.cluster == member.name());
        let mut objects: Vec<Object> = own.flat_map(|rendered| rendered.objects.clone()).collect();
        if scope == Scope::Live {
            manifest::expect_applied(member.client(), &objects).await?;
            objects.clear();
        }
        let own = tokens.get(member.name()).map(Vec::as_slice).unwrap_or_default();
        let mut later = Vec::new();
        let mut access: Vec<Object> =
            token_secrets(mesh, &member.cluster, own).iter().map(TokenSecret::object).collect();
        for secret in remote_secrets(mesh, &member.cluster, servers, tokens) {
            match secret {
                Ok(secret) => access.push(secret),
                Err(missing) => later.push(missing),
            }
        }
        objects.extend(owner(mesh).stamped(access));
        let plan = manifest::plan(member.client(), &objects).await?;
        let stale = stale(mesh, member, &objects, scope).await?;
        Ok::<_, InstallError>(ClusterPlan { cluster: member.name().to_owned(), plan, later, stale })
    });
    Ok(MeshPlan { mesh: mesh.name.clone(), scope, clusters: clusters.await.into_all()? })
}

/// Reads the readers' tokens of all clusters.
pub(super) async fn tokens(
    members: &[Member],
) -> Result<BTreeMap<String, Vec<ReaderToken>>, ClusterErrors<InstallError>> {
    let tokens = each(members, |member| async move {
        let tokens = reader_tokens(member)
            .await
            .map_err(|source| InstallError::Request { what: READERS_TOKENS.to_owned(), source })?;
        Ok::<_, InstallError>((member.name().to_owned(), tokens))
    });
    Ok(tokens.await.into_all()?.into_iter().collect())
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

    fn put_token(server: &FakeServer, reader: &str, slot: &str, made: &str) {
        server.put(
            &format!("/api/v1/namespaces/istio-system/secrets/spire-mesh-remote-reader-{reader}-{slot}"),
            json!({
                "metadata": {
                    "labels": {
                        "spire-mesh.dev/remote-reader-token": "true",
                        "app.kubernetes.io/managed-by": "mesh-install",
                        "spire-mesh.dev/mesh": "devup",
                    },
                    "creationTimestamp": made,
                },
                "type": "kubernetes.io/service-account-token",
                "data": {"token": "dG9rZW4=", "ca.crt": "Y2E="},
            }),
        );
    }

    #[tokio::test]
    async fn every_cluster_gets_the_newest_token_of_every_other() {
        let servers = ["foo", "bar", "baz"].map(|name| (name, FakeServer::default()));
        put_token(&servers[0].1, "bar", "a", "2026-11-25T11:00:00Z");
        put_token(&servers[0].1, "bar", "b", "2026-11-25T10:00:00Z");
        put_token(&servers[0].1, "baz", "b", "2026-11-25T12:00:00Z");
        put_token(&servers[2].1, "bar", "a", "2026-11-25T10:00:00Z");
        let members = servers.map(|(name, server)| server.member(name));
        let tokens = tokens(&members).await.unwrap();
        let slot = |reader: &str| current(&tokens["foo"], reader).map(|token| token.secret.slot);
        assert_eq!((slot("bar"), slot("baz"), slot("foo")), (Some(Slot::A), Some(Slot::B), None));
        let server = |name: &str| (name.to_owned(), format!("https://{name}.example:6443").parse().unwrap());
        let of = |cluster: usize, servers: &ApiServers| {
            let mesh = mesh();
            let made = remote_secrets(&mesh, &mesh.clusters[cluster], servers, &tokens);
            made.into_iter()
                .map(|made| match made {
                    Ok(secret) => secret.key().to_string(),
                    Err(later) => format!("{} later: {}", later.key, later.reason),
                })
                .collect::<Vec<_>>()
                .join("\n")
        };
        let all: ApiServers = ["foo", "bar", "baz"].map(server).into();
        insta::assert_snapshot!(of(1, &all), @r"
        Secret/istio-remote-secret-foo in namespace istio-system
        Secret/istio-remote-secret-baz in namespace istio-system
        ");
        insta::assert_snapshot!(of(2, &all), @r"
        Secret/istio-remote-secret-foo in namespace istio-system
        Secret/istio-remote-secret-bar in namespace istio-system later: bar has no token for baz yet
        ");
        insta::assert_snapshot!(of(2, &ApiServers::new()), @r"
        Secret/istio-remote-secret-foo in namespace istio-system later: the address of the API server of foo is not known
        Secret/istio-remote-secret-bar in namespace istio-system later: the address of the API server of bar is not known
        ");
    }

    #[tokio::test]
    async fn a_plan_has_the_token_in_use_and_all_access_and_what_is_left_over() {
        let servers = ["foo", "bar", "baz"].map(|name| (name, FakeServer::default()));
        for reader in ["bar", "baz"] {
            put_token(&servers[0].1, reader, "b", "2026-11-25T10:00:00Z");
        }
        for reader in ["foo", "bar", "gone"] {
            put_token(&servers[2].1, reader, "b", "2026-11-25T10:00:00Z");
        }
        let labels = json!({
            "app.kubernetes.io/managed-by": "mesh-install", "spire-mesh.dev/mesh": "devup", "istio/multiCluster": "true",
        });
        for cluster in ["bar", "gone"] {
            let path = format!("/api/v1/namespaces/istio-system/secrets/istio-remote-secret-{cluster}");
            servers[2].1.put(&path, json!({"metadata": {"labels": labels}}));
        }
        let in_memory = servers.each_ref().map(|(_, server)| server.clone());
        let members = servers.map(|(name, server)| server.member(name));
        let object = |cluster: &str| {
            let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("of-{cluster}"), "namespace": "istio-system"}});
            let version = "1.31.0".parse().unwrap();
            Rendered {
                cluster: cluster.to_owned(),
                version,
                objects: owner(&mesh()).stamped(vec![Object::from_value(value).unwrap()]),
            }
        };
        let rendered = ["foo", "bar", "baz"].map(object);
        let server = |name: &str| (name.to_owned(), format!("https://{name}.example:6443").parse().unwrap());
        let servers: ApiServers = ["foo", "bar", "baz"].map(server).into();
        let told = |plan: &MeshPlan| {
            let told = plan.clusters.iter().map(|planned| {
                let objects = planned.plan.objects.iter().map(|object| object.key.to_string());
                let later = planned.later.iter().map(|later| format!("later {}", later.key));
                let stale = planned.stale.iter().map(|key| format!("stale {key}"));
                let all: Vec<_> = objects.chain(later).chain(stale).collect();
                format!("{}: {}", planned.cluster, all.join(", "))
            });
            told.collect::<Vec<_>>().join("\n")
        };
        let of = async |scope| plan(&mesh(), &members, (&rendered, &servers), scope).await;
        let everything = of(Scope::Everything).await.unwrap();
        insta::assert_snapshot!(told(&everything), @r"
        foo: ConfigMap/of-foo in namespace istio-system, Secret/spire-mesh-remote-reader-bar-b in namespace istio-system, Secret/spire-mesh-remote-reader-baz-b in namespace istio-system, Secret/istio-remote-secret-baz in namespace istio-system, later Secret/istio-remote-secret-bar in namespace istio-system
        bar: ConfigMap/of-bar in namespace istio-system, Secret/spire-mesh-remote-reader-foo-a in namespace istio-system, Secret/spire-mesh-remote-reader-baz-a in namespace istio-system, Secret/istio-remote-secret-foo in namespace istio-system, Secret/istio-remote-secret-baz in namespace istio-system
        baz: ConfigMap/of-baz in namespace istio-system, Secret/spire-mesh-remote-reader-foo-b in namespace istio-system, Secret/spire-mesh-remote-reader-bar-b in namespace istio-system, Secret/istio-remote-secret-foo in namespace istio-system, later Secret/istio-remote-secret-bar in namespace istio-system, stale Secret/istio-remote-secret-gone in namespace istio-system, stale Secret/spire-mesh-remote-reader-gone-b in namespace istio-system
        ");

        // Where somebody else applies what is rendered, it has to be there, and nothing else that is made of it is looked at.
        let errors = of(Scope::Live).await.unwrap_err();
        insta::assert_snapshot!(errors.to_string());
        for (server, rendered) in in_memory.iter().zip(&rendered) {
            let path = format!("/api/v1/namespaces/istio-system/configmaps/of-{}", rendered.cluster);
            server.put(&path, rendered.objects[0].to_value());
        }
        let leftover = "/api/v1/namespaces/istio-system/services/istio-ingressgateway";
        in_memory[2].put(leftover, json!({"metadata": {"labels": labels}}));
        assert_eq!(of(Scope::Everything).await.unwrap().clusters[2].stale.len(), 3);
        insta::assert_snapshot!(told(&of(Scope::Live).await.unwrap()));
        assert!(in_memory.iter().all(|server| server.writes().is_empty()), "a plan changes nothing");
    }

    #[test]
    fn what_depends_on_tokens_is_not_rendered_and_says_so() {
        let mesh = mesh();
        let later = not_rendered(&mesh, &mesh.clusters[1]);
        let told: Vec<String> =
            later.iter().map(|later| format!("{}: {}", later.key, later.reason)).collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
