//! Where other networks come in.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;

use crate::fleet::{Member, Need, ReadError};
use crate::istio::{EAST_WEST_GATEWAY, EAST_WEST_PORT, NAMESPACE};
use crate::manifest::{NewLoadBalancer, ServiceAddress, service_address, why_pending};

/// Where other networks come in.
#[derive(Clone, Debug)]
pub(super) struct EastWest {
    /// The address, as far as there is one.
    pub(super) address: ServiceAddress,
    /// The load balancer, where it is new.
    pub(super) new: Option<NewLoadBalancer>,
}

/// Reads where other networks come in.
pub(super) async fn east_west(member: &Member) -> Result<EastWest, ReadError> {
    let services: Api<Service> = Api::namespaced(member.client().clone(), NAMESPACE);
    let service = services.get_opt(EAST_WEST_GATEWAY).await.map_err(|error| {
        let need = Need::new("get", "", "services", Some(NAMESPACE));
        ReadError::new(member.name(), format!("Service {NAMESPACE}/{EAST_WEST_GATEWAY}"), need, &error)
    })?;
    let Some(service) = service else {
        let pending = format!("Service {NAMESPACE}/{EAST_WEST_GATEWAY} does not exist yet");
        return Ok(EastWest { address: ServiceAddress::Pending(pending), new: None });
    };
    let address = match service_address(member, &service, Some(EAST_WEST_PORT)).await? {
        ServiceAddress::Pending(reason) => {
            ServiceAddress::Pending(why_pending(member.client(), NAMESPACE, EAST_WEST_GATEWAY, &reason).await)
        }
        address => address,
    };
    Ok(EastWest { address, new: NewLoadBalancer::of(&service, Timestamp::now()) })
}
