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
    use serde_json::json;

    use super::*;
    use crate::federation::sample::mesh;
    use crate::fleet::fake::FakeServer;
    use crate::fleet::{Need, RequestError};
    use crate::mesh::Spire;
    use crate::spire::discovery::sample::foreign;

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

    #[tokio::test]
    async fn an_endpoint_that_has_no_address_yet_is_waited_for_and_one_that_gets_none_is_refused() {
        const SERVICE: &str = "/api/v1/namespaces/spire-server/services/spire-server";

        let cluster = mesh().clusters.swap_remove(1);
        let Spire::Existing(existing) = cluster.spire.clone() else { panic!("bar is somebody else's") };
        let server = FakeServer::default();
        let member = server.member_of(&cluster);
        let put =
            |kind: &str| server.put(SERVICE, json!({"spec": {"type": kind, "ports": [{"port": 8443}]}}));
        put("LoadBalancer");
        assert!(can_be_reached(&member, &existing, &foreign()).await.is_ok());
        put("ClusterIP");
        let refused = can_be_reached(&member, &existing, &foreign()).await;
        assert!(matches!(refused, Err(PreflightError::Unexposed { .. })));
        let given =
            ExistingSpire { bundle_endpoint_url: Some("https://x:1".parse().unwrap()), ..existing.clone() };
        assert!(can_be_reached(&member, &given, &foreign()).await.is_ok());
        server.refuse(SERVICE, 403);
        let refused = can_be_reached(&member, &existing, &foreign()).await;
        assert!(matches!(refused, Err(PreflightError::MissingRights(_))));
    }
}
