//! What there has to be in every cluster, held against what there is.

use std::collections::BTreeMap;
use std::path::Path;

use futures::future::{join_all, try_join_all};

use super::InstallError;
use super::stale::stale;
use crate::fleet::{ClusterErrors, Member, each};
use crate::istio::config::configuration;
use crate::istio::istioctl::{Istioctl, IstioctlError};
use crate::istio::remote::{ReaderToken, Slot, reader_tokens, remote_secret, remote_secret_key};
use crate::istio::version::IstioVersion;
use crate::istio::{ca, desired};
use crate::manifest::{self, ClusterPlan, Later, MeshPlan, Object, Owner, Tool};
use crate::mesh::{Cluster, EndpointUrl, Mesh};

/// What is read where it is asked which access there is.
pub(super) const REMOTE_SECRETS: &str = "the names of remote secrets";

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
    /// It refuses the configuration of these clusters, or does not get to its end with it; by the name of the cluster.
    Clusters(Vec<(String, IstioctlError)>),
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
            Err(error) => refused.push((cluster.name.clone(), error)),
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

/// Which token other clusters read a cluster with: the newest that has one.
pub(super) fn current(tokens: &[ReaderToken]) -> Option<&ReaderToken> {
    tokens.last()
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
            let token = tokens.get(&peer.name).and_then(|tokens| current(tokens));
            match (servers.get(&peer.name), token) {
                (Some(server), Some(token)) => Ok(remote_secret(&peer.name, server, token)),
                (server, _) => Err(Later {
                    key: remote_secret_key(&peer.name),
                    reason: match server {
                        Some(_) => format!("{} has no token for its readers yet", peer.name),
                        None => format!("the address of the API server of {} is not known", peer.name),
                    },
                }),
            }
        })
        .collect()
}

/// Holds what there has to be against what there is, on all clusters at the same time. Changes nothing.
///
/// # Errors
/// Every cluster that cannot be read, or would refuse an object.
pub async fn plan(
    mesh: &Mesh,
    members: &[Member],
    rendered: &[Rendered],
    servers: &ApiServers,
) -> Result<MeshPlan, ClusterErrors<InstallError>> {
    let tokens = &tokens(members).await?;
    let clusters = each(members, |member| async move {
        let own = rendered.iter().filter(|rendered| rendered.cluster == member.name());
        let mut objects: Vec<Object> = own.flat_map(|rendered| rendered.objects.clone()).collect();
        let slot =
            tokens.get(member.name()).and_then(|tokens| current(tokens)).map_or(Slot::A, |token| token.slot);
        let mut later = Vec::new();
        let mut access = vec![slot.object()];
        for secret in remote_secrets(mesh, &member.cluster, servers, tokens) {
            match secret {
                Ok(secret) => access.push(secret),
                Err(missing) => later.push(missing),
            }
        }
        objects.extend(owner(mesh).stamped(access));
        let plan = manifest::plan(member.client(), &objects).await?;
        let stale = stale(mesh, member, &objects).await?;
        Ok::<_, InstallError>(ClusterPlan { cluster: member.name().to_owned(), plan, later, stale })
    });
    Ok(MeshPlan { mesh: mesh.name.clone(), clusters: clusters.await.into_all()? })
}

/// Reads the readers' tokens of all clusters.
pub(super) async fn tokens(
    members: &[Member],
) -> Result<BTreeMap<String, Vec<ReaderToken>>, ClusterErrors<InstallError>> {
    let tokens = each(members, |member| async move {
        let tokens = reader_tokens(member).await.map_err(|source| InstallError::Request {
            what: "the tokens of its readers".to_owned(),
            source,
        })?;
        Ok::<_, InstallError>((member.name().to_owned(), tokens))
    });
    Ok(tokens.await.into_all()?.into_iter().collect())
}
