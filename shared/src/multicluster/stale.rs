//! What an earlier `up` made, and nothing asks for any more.

use std::collections::BTreeSet;

use futures::future::try_join;

use super::InstallError;
use super::plan::{REMOTE_SECRETS, owner};
use super::preflight::have;
use crate::fleet::{Member, Need};
use crate::istio::demo::DEMO_LABEL;
use crate::istio::remote::{owned_remote_secrets, remote_secret_key};
use crate::manifest::{self, Kind, Object, ObjectKey, Tool};
use crate::mesh::Mesh;

/// Of these nothing goes by itself: with a namespace goes what somebody else has in it, with a definition everybody's objects, with the
/// Certificate the CA that istiod signs with. Secrets are looked at by name.
const STAY: [Kind; 4] = [Kind::Namespace, Kind::CustomResourceDefinition, Kind::Certificate, Kind::Secret];

/// Returns the kinds of which something can be left over.
pub(super) fn kinds() -> impl Iterator<Item = Kind> {
    Tool::MeshInstall.kinds().filter(|kind| !STAY.contains(kind))
}

/// Lists the objects of this mesh in a cluster that `wanted` has no more: those of a gateway that was switched off, for example, those that a
/// newer Istio does without, and remote secrets for clusters that are not in the mesh file. Makes sure that they may be deleted.
///
/// # Errors
/// When they cannot be listed, or not be deleted.
pub(super) async fn stale(
    mesh: &Mesh,
    member: &Member,
    wanted: &[Object],
) -> Result<Vec<ObjectKey>, InstallError> {
    let owner = owner(mesh);
    let access = async {
        owned_remote_secrets(member, &owner)
            .await
            .map_err(|source| InstallError::Request { what: REMOTE_SECRETS.to_owned(), source })
    };
    let made = async { Ok(manifest::owned_without(member.client(), &owner, kinds(), DEMO_LABEL).await?) };
    let (mut found, made) = try_join(access, made).await?;
    found.retain(|key| mesh.clusters.iter().all(|cluster| *key != remote_secret_key(&cluster.name)));
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
