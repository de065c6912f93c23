//! Where requests from outside come into a cluster.

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::error::TrafficError;
use crate::fleet::{Member, Need};
use crate::istio::{INGRESS_GATEWAY, NAMESPACE};
use crate::manifest::{ServiceAddress, pod_is_ready, service_address};

/// The port of the service at which it takes plain requests.
const PORT: i32 = 80;

/// An ingress gateway.
#[derive(Clone, Debug)]
pub struct Ingress<'m> {
    /// Its cluster.
    pub member: &'m Member,
    /// One of its pods.
    pub pod: String,
    /// Where it is reached: name or address of its load balancer, or address of a node.
    pub host: String,
    /// At which port.
    pub port: u16,
}

/// Finds the ingress gateway of a cluster: its load balancer, or a node with its node port.
///
/// # Errors
/// [`TrafficError`] when there is none, or it has no address.
pub async fn ingress(member: &Member) -> Result<Ingress<'_>, TrafficError> {
    let request = |verb, resource, error| {
        TrafficError::request(member.name(), Need::new(verb, "", resource, Some(NAMESPACE)), error)
    };
    let without = |why: String| TrafficError::NoIngress { cluster: member.name().to_owned(), why };
    let services: Api<Service> = Api::namespaced(member.client().clone(), NAMESPACE);
    let service =
        services.get_opt(INGRESS_GATEWAY).await.map_err(|error| request("get", "services", error))?;
    let service =
        service.ok_or_else(|| without(format!("there is no Service {NAMESPACE}/{INGRESS_GATEWAY}")))?;
    let address = service_address(member, &service, Some(PORT)).await;
    let address = match address.map_err(|error| without(error.to_string()))? {
        ServiceAddress::Ready(address) => address,
        ServiceAddress::Pending(why) | ServiceAddress::Unreachable(why) => return Err(without(why)),
    };
    let pods: Api<Pod> = Api::namespaced(member.client().clone(), NAMESPACE);
    let params = ListParams::default().labels(&format!("app={INGRESS_GATEWAY}"));
    let list = pods.list(&params).await.map_err(|error| request("list", "pods", error))?;
    let pod = list.items.iter().find(|pod| pod_is_ready(pod)).map(ResourceExt::name_any);
    let pod = pod.ok_or_else(|| without("no pod of it is ready".to_owned()))?;
    Ok(Ingress { member, pod, host: address.host().to_ascii_lowercase(), port: address.port() })
}
