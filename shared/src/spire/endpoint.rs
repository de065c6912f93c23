//! Where the servers of other clusters reach a cluster's bundle endpoint.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;

use super::desired::BUNDLE_SERVICE_NAME;
use crate::fleet::{Member, Need, ReadError};
use crate::manifest::{NewLoadBalancer, ServiceAddress, service_address};
use crate::mesh::{EndpointUrl, Exposure, ManagedSpire, Spire};

/// The address of a bundle endpoint, as far as it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// It has one.
    Ready(EndpointUrl),
    /// It will get one; the text says what it waits for.
    Pending(String),
    /// It has none that other clusters could reach, and waiting does not help; the text says why.
    Unexposed(String),
}

impl From<ServiceAddress> for Endpoint {
    fn from(address: ServiceAddress) -> Self {
        match address {
            ServiceAddress::Ready(address) => match format!("https://{address}").parse() {
                Ok(url) => Self::Ready(url),
                Err(_) => Self::Unexposed(format!("{address} is no valid address")),
            },
            ServiceAddress::Pending(reason) => Self::Pending(reason),
            ServiceAddress::Unreachable(reason) => Self::Unexposed(reason),
        }
    }
}

/// Returns the address of a managed server's bundle endpoint: of its load balancer, of a node, or the one that the mesh
/// file gives.
///
/// # Errors
/// [`ReadError`] when its service or the nodes cannot be read.
pub async fn bundle_endpoint(member: &Member, spire: &ManagedSpire) -> Result<Endpoint, ReadError> {
    if let Exposure::Url(url) = &spire.bundle_endpoint.exposure {
        return Ok(Endpoint::Ready(url.clone()));
    }
    match service(member, spire).await? {
        Some(service) => Ok(service_address(member, &service, None).await?.into()),
        None => Ok(Endpoint::Pending(format!(
            "Service {}/{BUNDLE_SERVICE_NAME} does not exist yet",
            spire.server_namespace
        ))),
    }
}

/// Returns the load balancer of a managed server's bundle endpoint where it is new, as far as that can be read.
pub(crate) async fn new_load_balancer(member: &Member) -> Option<NewLoadBalancer> {
    let Spire::Managed(spire) = &member.cluster.spire else { return None };
    NewLoadBalancer::of(&service(member, spire).await.ok()??, Timestamp::now())
}

async fn service(member: &Member, spire: &ManagedSpire) -> Result<Option<Service>, ReadError> {
    let namespace = &spire.server_namespace;
    let services: Api<Service> = Api::namespaced(member.client().clone(), namespace);
    services.get_opt(BUNDLE_SERVICE_NAME).await.map_err(|error| {
        let need = Need::new("get", "", "services", Some(namespace));
        ReadError::new(member.name(), format!("Service {namespace}/{BUNDLE_SERVICE_NAME}"), need, &error)
    })
}
