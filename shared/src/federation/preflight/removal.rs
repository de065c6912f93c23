//! The rights that taking a mesh down takes.

use std::collections::BTreeSet;

use super::{PreflightError, managed_places, rights};
use crate::federation::{CaVolume, Removal};
use crate::fleet::{ClusterErrors, Member, Need, each, missing};
use crate::manifest::{Kind, Tool};
use crate::mesh::{Cluster, Spire};

/// Checks on all clusters at the same time that everything may be read that [`crate::federation::removal`] reads.
///
/// Where something may not, or one of the rights `besides` is missing, it is not known what there is to delete; then the rights to delete
/// what `up` makes are asked for as well, so that all that is missing is named at once.
///
/// # Errors
/// Every cluster where rights are missing, with all of them.
pub async fn preflight_removal(
    members: &[Member],
    besides: &[Need],
) -> Result<(), ClusterErrors<PreflightError>> {
    each(members, |member| async move {
        let reading = reading(&member.cluster.spire);
        let unread = |source| PreflightError::Request { what: "your rights", source };
        let first: Vec<Need> = reading.iter().chain(besides).cloned().collect();
        if missing(member, &first).await.map_err(unread)?.is_empty() {
            return Ok(());
        }
        rights(
            member,
            reading.into_iter().chain(made_by_up(&member.cluster)).chain(besides.iter().cloned()).collect(),
        )
        .await
    })
    .await
    .into_all()
    .map(drop)
}

/// Checks on all clusters at the same time that everything may be deleted that is there to be deleted. `ca_volume` is what
/// becomes of the volumes with the CA's keys; [`CaVolume::Delete`] where it is not known yet.
///
/// # Errors
/// Every cluster where rights are missing, with all of them.
pub async fn preflight_down(
    removals: &[Removal],
    members: &[Member],
    ca_volume: CaVolume,
) -> Result<(), ClusterErrors<PreflightError>> {
    each(members, |member| async move {
        match removals.iter().find(|removal| removal.cluster == member.name()) {
            Some(removal) => rights(member, deleting(removal, ca_volume)).await,
            None => Ok(()),
        }
    })
    .await
    .into_all()
    .map(drop)
}

/// What it takes to find out what there is.
pub(super) fn reading(spire: &Spire) -> Vec<Need> {
    let mut needs: Vec<Need> = Tool::SpireFederate
        .kinds()
        .map(|kind| Need::new("list", kind.group(), kind.plural(), None))
        .collect();
    needs.push(Need::new("list", "", "pods", None));
    match spire {
        Spire::Managed(spire) => {
            let namespace = Some(spire.server_namespace.as_str());
            needs.push(Need::new("get", "", Kind::PersistentVolumeClaim.plural(), namespace));
        }
        // Its server is asked, and told to forget bundles.
        Spire::Existing(_) => needs.push(Need::exec(None)),
    }
    needs
}

/// What it takes to delete everything that `up` makes.
pub(super) fn made_by_up(cluster: &Cluster) -> Vec<Need> {
    let mut places = BTreeSet::from([(Kind::ClusterFederatedTrustDomain, None)]);
    if let Spire::Managed(spire) = &cluster.spire {
        places.extend(managed_places(cluster, spire));
        places.insert((Kind::ClusterSPIFFEID, None));
    }
    places.iter().flat_map(|(kind, namespace)| deleted(*kind, namespace.as_deref())).collect()
}

/// What it takes to delete what is there.
fn deleting(removal: &Removal, ca_volume: CaVolume) -> Vec<Need> {
    let volume = removal.ca_volume.iter().filter(|_| ca_volume == CaVolume::Delete);
    let keys = removal.objects.iter().chain(volume);
    let places: BTreeSet<(Kind, Option<&str>)> =
        keys.map(|key| (key.kind, key.namespace.as_deref())).collect();
    places.into_iter().flat_map(|(kind, namespace)| deleted(kind, namespace)).collect()
}

/// What it takes to delete objects of a kind, and to see that they are gone.
fn deleted(kind: Kind, namespace: Option<&str>) -> [Need; 2] {
    ["get", "delete"].map(|verb| Need::new(verb, kind.group(), kind.plural(), namespace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::ObjectKey;

    fn removal(objects: Vec<ObjectKey>) -> Removal {
        Removal {
            cluster: "foo".to_owned(),
            objects,
            mounted_by: Vec::new(),
            ca_volume: Some(ObjectKey::new(
                Kind::PersistentVolumeClaim,
                Some("spire-server"),
                "data-spire-server-0",
            )),
            leftovers: Vec::new(),
            lost: Vec::new(),
            bundles: Vec::new(),
        }
    }

    fn texts(needs: &[Need]) -> Vec<String> {
        needs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_is_deleted_is_asked_for_and_each_once() {
        let found = removal(vec![
            ObjectKey::new(Kind::Namespace, None, "spire-server"),
            ObjectKey::new(Kind::ConfigMap, Some("spire-server"), "spire-server"),
            ObjectKey::new(Kind::ConfigMap, Some("spire-server"), "spire-controller-manager"),
            ObjectKey::new(Kind::ClusterFederatedTrustDomain, None, "bar.com"),
        ]);
        let kept = texts(&deleting(&found, CaVolume::Keep));
        insta::assert_snapshot!(kept.join("\n"), @r"
        get namespaces
        delete namespaces
        get configmaps in namespace spire-server
        delete configmaps in namespace spire-server
        get clusterfederatedtrustdomains.spire.spiffe.io
        delete clusterfederatedtrustdomains.spire.spiffe.io
        ");
        let volume = "delete persistentvolumeclaims in namespace spire-server".to_owned();
        assert!(!kept.contains(&volume));
        assert!(texts(&deleting(&found, CaVolume::Delete)).contains(&volume));
        assert_eq!(texts(&deleting(&removal(Vec::new()), CaVolume::Keep)), [""; 0]);
    }
}
