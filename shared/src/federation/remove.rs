use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::locate::locate;
use super::plan::owner;
use super::{FederationError, Step};
use crate::fleet::{Member, RequestError};
use crate::manifest::{self, Deadline, Deletion, Kind, MANAGED_BY_LABEL, ObjectKey, wait::until};
use crate::manifest::{Poll, Tool};
use crate::mesh::{Mesh, Spire};
use crate::spire::desired::{CSI_DRIVER, DATA_CLAIM_NAME, relationship_name};
use crate::spire::server::{Server, ServerError};
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
    /// Trust domains whose bundles a server that somebody else installed holds because of this mesh only.
    pub bundles: Vec<TrustDomain>,
}

/// Something that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// What it is.
    pub what: String,
    /// Who uses it.
    pub reason: String,
}

/// What taking a mesh down came to.
#[derive(Debug)]
pub struct Removed {
    /// How many objects were deleted, or why not all were, by cluster in the order of the mesh.
    pub clusters: Vec<(String, Result<usize, FederationError>)>,
}

/// Reads what there is to remove in one cluster.
///
/// # Errors
/// When it cannot be read.
pub async fn removal(mesh: &Mesh, member: &Member) -> Result<Removal, FederationError> {
    let client = member.client();
    let mut objects = manifest::owned(client, &owner(mesh)).await?;
    let mut removal = Removal {
        cluster: member.name().to_owned(),
        objects: Vec::new(),
        mounted_by: Vec::new(),
        ca_volume: None,
        leftovers: Vec::new(),
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
    for kind in [Kind::ClusterFederatedTrustDomain, Kind::ClusterSPIFFEID, Kind::ClusterStaticEntry] {
        let definition = ObjectKey::new(
            Kind::CustomResourceDefinition,
            None,
            &format!("{}.{}", kind.plural(), kind.group()),
        );
        if !objects.contains(&definition) {
            continue;
        }
        let others = others(client, kind).await?;
        if !others.is_empty() {
            objects.retain(|key| *key != definition);
            let reason = format!("objects of somebody else: {}", others.join(", "));
            removal.leftovers.push(Leftover { what: definition.to_string(), reason });
        }
    }
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
    let is_ours = |peer: &TrustDomain| {
        let name = relationship_name(peer);
        objects.iter().any(|key| key.kind == Kind::ClusterFederatedTrustDomain && key.name == name)
    };
    let peers: Vec<TrustDomain> =
        mesh.clusters.iter().map(|peer| peer.trust_domain.clone()).filter(is_ours).collect();
    if peers.is_empty() {
        return Ok(());
    }
    let entries = locate(member).await?.server.entries().await?;
    for peer in peers {
        match entries.iter().filter(|entry| entry.federates_with.contains(&peer)).count() {
            0 => removal.bundles.push(peer),
            count => removal.leftovers.push(Leftover {
                what: format!("the bundle of {peer} in the SPIRE server"),
                reason: format!("{count} registration entries federate with it"),
            }),
        }
    }
    Ok(())
}

/// Makes a server forget the bundles of `peers`, once the controller-manager has taken the relationships with them back.
pub(super) async fn forget(
    server: &Server<'_>,
    peers: &[TrustDomain],
    deadline: Deadline<'_>,
) -> Result<(), FederationError> {
    until(deadline, "the relationships to be gone from the SPIRE server", || async {
        match server.relationships().await {
            Ok(known) if known.iter().any(|known| peers.contains(&known.trust_domain)) => {
                Poll::Pending("some are still there".to_owned())
            }
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
    let held: Vec<&TrustDomain> =
        stored.iter().map(TrustBundle::trust_domain).filter(|domain| peers.contains(domain)).collect();
    for peer in &held {
        server.delete_bundle(peer).await?;
    }
    Ok(held.len())
}

/// Lists the pods that mount the CSI driver, except the agents' own.
async fn mounting(client: &Client, agent_namespace: &str) -> Result<Vec<String>, FederationError> {
    let pods = Api::<Pod>::all(client.clone())
        .list(&ListParams::default())
        .await
        .map_err(|error| request("pods in all namespaces", &error))?;
    let mounts = |pod: &Pod| {
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        volumes.filter_map(|volume| volume.csi.as_ref()).any(|csi| csi.driver == CSI_DRIVER)
    };
    Ok(pods
        .iter()
        .filter(|pod| pod.namespace().as_deref() != Some(agent_namespace) && mounts(pod))
        .map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()))
        .collect())
}

/// Lists the objects of a kind that these plugins did not make.
async fn others(client: &Client, kind: Kind) -> Result<Vec<String>, FederationError> {
    let unlike_ours = format!("{MANAGED_BY_LABEL}!={}", Tool::SpireFederate.name());
    let list = kind.api(client, None).list_metadata(&ListParams::default().labels(&unlike_ours)).await;
    match list.map_err(RequestError::from) {
        Ok(list) => Ok(list.iter().map(ResourceExt::name_any).collect()),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(source) => Err(FederationError::Request { what: kind.resource(), source }),
    }
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
    let keeps_volume = volume == CaVolume::Keep && removal.ca_volume.is_some();
    let volume_namespace = removal.ca_volume.as_ref().and_then(|claim| claim.namespace.clone());
    let is_kept = |key: &ObjectKey| {
        keeps_volume && key.kind == Kind::Namespace && Some(&key.name) == volume_namespace.as_ref()
    };
    let mut objects: Vec<ObjectKey> = removal.objects.iter().filter(|key| !is_kept(key)).cloned().collect();
    if volume == CaVolume::Delete {
        objects.extend(removal.ca_volume.clone());
    }
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
    if keeps_volume && let Some(namespace) = &volume_namespace {
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
