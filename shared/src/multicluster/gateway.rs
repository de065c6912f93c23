//! Where other networks come in.

use k8s_openapi::api::core::v1::Service;
use kube::api::Api;

use crate::fleet::{Member, Need, ReadError};
use crate::istio::{EAST_WEST_GATEWAY, EAST_WEST_PORT, NAMESPACE};
use crate::manifest::{ServiceAddress, service_address};

/// Reads at which address other networks come in.
pub(super) async fn east_west_address(member: &Member) -> Result<ServiceAddress, ReadError> {
    let services: Api<Service> = Api::namespaced(member.client().clone(), NAMESPACE);
    let service = services.get_opt(EAST_WEST_GATEWAY).await.map_err(|error| {
        let need = Need::new("get", "", "services", Some(NAMESPACE));
        ReadError::new(member.name(), format!("Service {NAMESPACE}/{EAST_WEST_GATEWAY}"), need, &error)
    })?;
    match service {
        Some(service) => service_address(member, &service, Some(EAST_WEST_PORT)).await,
        None => {
            Ok(ServiceAddress::Pending(format!("Service {NAMESPACE}/{EAST_WEST_GATEWAY} does not exist yet")))
        }
    }
}
