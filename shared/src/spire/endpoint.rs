//! Where the servers of other clusters reach a cluster's bundle endpoint.

use k8s_openapi::api::core::v1::{Node, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};

use super::ReadError;
use super::desired::BUNDLE_SERVICE_NAME;
use crate::fleet::{Member, Need};
use crate::mesh::{EndpointUrl, Exposure, ManagedSpire};

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

/// Returns the address of a managed server's bundle endpoint: of its load balancer, of a node, or the one that the mesh
/// file gives.
///
/// # Errors
/// [`ReadError`] when its service or the nodes cannot be read.
pub async fn bundle_endpoint(member: &Member, spire: &ManagedSpire) -> Result<Endpoint, ReadError> {
    if let Exposure::Url(url) = &spire.bundle_endpoint.exposure {
        return Ok(Endpoint::Ready(url.clone()));
    }
    let namespace = &spire.server_namespace;
    let services: Api<Service> = Api::namespaced(member.client().clone(), namespace);
    let service = services.get_opt(BUNDLE_SERVICE_NAME).await.map_err(|error| {
        let need = Need::new("get", "", "services", Some(namespace));
        ReadError::new(member.name(), format!("Service {namespace}/{BUNDLE_SERVICE_NAME}"), need, &error)
    })?;
    match service {
        Some(service) => service_endpoint(member, &service, None).await,
        None => {
            Ok(Endpoint::Pending(format!("Service {namespace}/{BUNDLE_SERVICE_NAME} does not exist yet")))
        }
    }
}

/// Returns the address of a service that leads to a bundle endpoint. `port` is the port of the service; the first one without it.
///
/// # Errors
/// [`ReadError`] when the nodes cannot be read.
pub async fn service_endpoint(
    member: &Member,
    service: &Service,
    port: Option<i32>,
) -> Result<Endpoint, ReadError> {
    let needs_nodes = service_type(service) == "NodePort";
    let nodes = if needs_nodes {
        let nodes: Api<Node> = Api::all(member.client().clone());
        nodes
            .list(&ListParams::default())
            .await
            .map_err(|error| {
                ReadError::new(member.name(), "nodes", Need::new("list", "", "nodes", None), &error)
            })?
            .items
    } else {
        Vec::new()
    };
    Ok(address(service, port, &nodes))
}

/// Finds the port of a service that leads to a container's port.
pub(super) fn port_to(
    service: &Service,
    container_port: i32,
    container_port_name: Option<&str>,
) -> Option<i32> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    let leads_there = |port: &&ServicePort| match &port.target_port {
        Some(IntOrString::Int(number)) => *number == container_port,
        Some(IntOrString::String(name)) => Some(name.as_str()) == container_port_name,
        None => port.port == container_port,
    };
    ports.iter().find(leads_there).map(|port| port.port)
}

fn service_type(service: &Service) -> &str {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()).unwrap_or("ClusterIP")
}

fn address(service: &Service, port: Option<i32>, nodes: &[Node]) -> Endpoint {
    let name = format!("Service {}/{}", service.namespace().unwrap_or_default(), service.name_any());
    let mut ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let Some(service_port) = ports.find(|candidate| port.is_none_or(|port| candidate.port == port)) else {
        return Endpoint::Unexposed(format!("{name} has no port for the bundle endpoint"));
    };
    match service_type(service) {
        "LoadBalancer" => match load_balancer(service) {
            Some(host) => url(&host, service_port.port),
            None => Endpoint::Pending(format!("{name} has no load balancer address yet")),
        },
        "NodePort" => match (service_port.node_port, node_address(nodes)) {
            (None, _) => Endpoint::Pending(format!("{name} has no node port yet")),
            (_, None) => Endpoint::Pending(format!("no node for {name} is ready")),
            (Some(port), Some(host)) => url(&host, port),
        },
        other => Endpoint::Unexposed(format!("{name} of type {other} cannot be reached from other clusters")),
    }
}

fn load_balancer(service: &Service) -> Option<String> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?;
    ingress
        .iter()
        .find_map(|entry| entry.hostname.clone().or_else(|| entry.ip.clone()).filter(|host| !host.is_empty()))
}

/// Takes the oldest ready node, because it is the one whose address peers have been given before.
fn node_address(nodes: &[Node]) -> Option<String> {
    let mut ready: Vec<&Node> = nodes.iter().filter(|node| is_ready(node)).collect();
    ready.sort_by_key(|node| (node.meta().creation_timestamp.as_ref().map(|time| time.0), node.name_any()));
    ready.into_iter().find_map(|node| {
        let addresses = node.status.as_ref()?.addresses.as_ref()?;
        addresses.iter().find(|address| address.type_ == "InternalIP").map(|address| address.address.clone())
    })
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == "Ready").any(|condition| condition.status == "True")
}

fn url(host: &str, port: i32) -> Endpoint {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let text = format!("https://{host}:{port}");
    match text.parse() {
        Ok(url) => Endpoint::Ready(url),
        Err(_) => Endpoint::Unexposed(format!("{text} is no valid address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(value: serde_json::Value) -> Service {
        let mut service: Service = serde_json::from_value(value).unwrap();
        service.metadata.name = Some("bundle".into());
        service.metadata.namespace = Some("spire-server".into());
        service
    }

    fn node(name: &str, made: &str, ready: &str, ip: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name, "creationTimestamp": made},
            "status": {"conditions": [{"type": "Ready", "status": ready}],
                       "addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": ip}]},
        }))
        .unwrap()
    }

    fn text(endpoint: &Endpoint) -> &str {
        match endpoint {
            Endpoint::Ready(url) => url.as_str(),
            Endpoint::Pending(why) | Endpoint::Unexposed(why) => why,
        }
    }

    #[test]
    fn a_load_balancer_is_reached_at_its_name_or_address() {
        let with = |ingress| {
            address(
                &service(json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 8443}]},
                                "status": {"loadBalancer": {"ingress": ingress}}})),
                None,
                &[],
            )
        };
        assert_eq!(
            text(&with(json!([{"hostname": "a.elb.amazonaws.com"}]))),
            "https://a.elb.amazonaws.com:8443"
        );
        assert_eq!(text(&with(json!([{"ip": "10.0.2.128"}]))), "https://10.0.2.128:8443");
        assert_eq!(text(&with(json!([{"ip": "fd00::1"}]))), "https://[fd00::1]:8443");
        assert_eq!(text(&with(json!([]))), "Service spire-server/bundle has no load balancer address yet");
    }

    #[test]
    fn a_node_port_is_reached_at_the_oldest_ready_node() {
        let service =
            service(json!({"spec": {"type": "NodePort", "ports": [{"port": 8443, "nodePort": 30010}]}}));
        let nodes = [
            node("c", "2026-01-03T00:00:00Z", "True", "10.0.0.3"),
            node("a", "2026-01-01T00:00:00Z", "False", "10.0.0.1"),
            node("b", "2026-01-02T00:00:00Z", "True", "10.0.0.2"),
        ];
        assert_eq!(text(&address(&service, None, &nodes)), "https://10.0.0.2:30010");
        assert!(matches!(address(&service, None, &nodes[1..2]), Endpoint::Pending(_)));
    }

    #[test]
    fn a_cluster_ip_is_no_address_for_other_clusters() {
        let service = service(json!({"spec": {"ports": [{"port": 8443}]}}));
        assert!(matches!(address(&service, None, &[]), Endpoint::Unexposed(_)));
        assert!(matches!(address(&service, Some(1), &[]), Endpoint::Unexposed(_)));
    }

    #[test]
    fn the_port_that_leads_to_the_endpoint_is_found_by_number_and_by_name() {
        let by = |target: serde_json::Value| {
            service(
                json!({"spec": {"ports": [{"port": 443, "targetPort": 8081}, {"port": 8443, "targetPort": target}]}}),
            )
        };
        assert_eq!(port_to(&by(json!(9443)), 9443, None), Some(8443));
        assert_eq!(port_to(&by(json!("federation")), 9443, Some("federation")), Some(8443));
        assert_eq!(port_to(&by(json!("grpc")), 9443, Some("federation")), None);
    }
}
