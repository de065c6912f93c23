//! Whether a SPIRE that somebody else installed can be federated as it is.

use super::PreflightError;
use crate::fleet::{Cause, Member, ReadError};
use crate::mesh::{Cluster, ExistingSpire, Mesh};
use crate::spire::discovery::{DiscoveryError, FoundSpire};
use crate::spire::endpoint::Endpoint;
use crate::trust::TrustDomain;

/// Judges its configuration. What could not be found in a config map is not held against it.
pub(super) fn can_be_federated(mesh: &Mesh, own: &Cluster, found: &FoundSpire) -> Result<(), PreflightError> {
    let seen = || Box::new(found.clone());
    let Some(manager) = &found.controller_manager else {
        return Err(PreflightError::NoControllerManager(seen()));
    };
    if let Some(setting) = &manager.passes_over_relationships {
        return Err(PreflightError::PassedOver { setting: setting.clone(), found: seen() });
    }
    if found.bundle_endpoint.as_ref().is_some_and(|endpoint| endpoint.https_web) {
        return Err(PreflightError::WebCertificate(seen()));
    }
    let domains = mesh.clusters.iter().map(|cluster| &cluster.trust_domain);
    let peers = domains.filter(|domain| **domain != own.trust_domain && found.is_static(domain));
    let peers: Vec<TrustDomain> = peers.cloned().collect();
    if peers.is_empty() { Ok(()) } else { Err(PreflightError::StaticRelationships { peers, found: seen() }) }
}

/// Looks for the address of its bundle endpoint. One that it does not have yet is waited for later.
pub(super) async fn can_be_reached(
    member: &Member,
    existing: &ExistingSpire,
    found: &FoundSpire,
) -> Result<(), PreflightError> {
    if existing.bundle_endpoint_url.is_some() {
        return Ok(());
    }
    match found.endpoint(member).await {
        Ok(Endpoint::Ready(_) | Endpoint::Pending(_)) => Ok(()),
        Ok(Endpoint::Unexposed(reason)) => Err(PreflightError::Unexposed { reason }),
        Err(error) => Err(unread(error)),
    }
}

fn unread(error: ReadError) -> PreflightError {
    match error.source.cause() {
        Cause::Forbidden => PreflightError::MissingRights(vec![*error.need]),
        _ => DiscoveryError::Read(error).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Need, RequestError};

    #[test]
    fn a_right_that_the_address_takes_is_named_like_any_other() {
        let need = Need::new("list", "", "nodes", None);
        let refused = |cause| {
            unread(ReadError {
                cluster: "bar".to_owned(),
                what: "nodes".to_owned(),
                need: Box::new(need.clone()),
                source: RequestError::new(cause, "no"),
            })
        };
        let PreflightError::MissingRights(needs) = refused(Cause::Forbidden) else {
            panic!("a right is missing")
        };
        assert_eq!(needs, vec![need.clone()]);
        assert!(matches!(refused(Cause::Timeout), PreflightError::Discovery(_)));
    }
}
