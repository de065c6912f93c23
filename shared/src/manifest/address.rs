//! Where a Service is reached from outside its cluster.

use std::fmt;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};

use super::NodeState;
use crate::fleet::{Member, Need, ReadError, list_pages};
use crate::hint::{Advice, Command};
use crate::mesh::EndpointUrl;

use super::pods::newest_event;

/// Where a Service is reached from outside its cluster, as far as there is such an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceAddress {
    /// There.
    Ready(HostPort),
    /// It will get an address; the text says what it waits for.
    Pending(String),
    /// It has no such address, and waiting does not help; the text says why.
    Unreachable(String),
}

/// A host and a port: `10.0.0.1:8443`, `[fd00::1]:8443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// Makes one of a DNS name or an IP address and a port; `None` where they are none.
    #[must_use]
    pub fn new(host: &str, port: i32) -> Option<Self> {
        let made = Self { host: host.to_owned(), port: u16::try_from(port).ok()? };
        format!("https://{made}").parse::<EndpointUrl>().ok()?;
        Some(made)
    }

    /// Returns the host, without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// A load balancer that was asked for so recently that its name may not resolve yet, and connections to it may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewLoadBalancer {
    made: Timestamp,
}

/// How long a load balancer is new. AWS registers and checks targets for four to five minutes, and longer when it is busy
/// (aws-load-balancer-controller, issues 1834 and 1786).
const NEW_FOR: SignedDuration = SignedDuration::from_mins(15);

impl NewLoadBalancer {
    /// Takes a Service of type `LoadBalancer` that is not older at `now` than a load balancer takes until it works. One that has an IP address
    /// works at once: those that take their time are known by a name, or by nothing yet.
    #[must_use]
    pub fn of(service: &Service, now: Timestamp) -> Option<Self> {
        let made = service.metadata.creation_timestamp.as_ref()?.0;
        let takes_time = service_type(service) == "LoadBalancer"
            && load_balancer(service).is_none_or(|host| host.parse::<IpAddr>().is_err());
        (takes_time && now.duration_since(made) < NEW_FOR).then_some(Self { made })
    }

    #[cfg(test)]
    pub(crate) fn sample() -> Self {
        Self { made: "2026-11-25T10:00:00Z".parse().unwrap() }
    }

    /// Says to wait, until when, and how to look again.
    pub(crate) fn advice(self, look_again: Command) -> Advice {
        Advice::from(format!(
            "wait until {:.0}: a load balancer of AWS lets the first connection through four to five minutes after its Service was made; then: ",
            self.made + NEW_FOR
        ))
        .then(look_again)
    }
}

impl fmt::Display for NewLoadBalancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the load balancer may not be open yet: its Service was made at {:.0}", self.made)
    }
}

/// Says why a Service has no load balancer yet: in the words of its newest event, or because there has been none.
pub async fn why_pending(client: &kube::Client, namespace: &str, service: &str, reason: &str) -> String {
    match newest_event(client, namespace, "Service", service).await {
        Ok(event) => because_of(reason, event.as_deref()),
        Err(_) => reason.to_owned(),
    }
}

fn because_of(reason: &str, event: Option<&str>) -> String {
    format!("{reason}; {}", event.unwrap_or("no controller has taken notice of the service"))
}

/// Returns the address of a Service: of its load balancer, or of a node. `port` is a port of the Service; its first one without it.
///
/// # Errors
/// [`ReadError`] when the nodes cannot be read.
pub async fn service_address(
    member: &Member,
    service: &Service,
    port: Option<i32>,
) -> Result<ServiceAddress, ReadError> {
    let needs_nodes = service_type(service) == "NodePort";
    let nodes = if needs_nodes {
        let nodes: Api<Node> = Api::all(member.client().clone());
        list_pages(&nodes, &ListParams::default(), Some).await.map_err(|error| {
            ReadError::new(member.name(), "nodes", Need::new("list", "", "nodes", None), &error)
        })?
    } else {
        Vec::new()
    };
    Ok(address(service, port, &nodes))
}

/// Finds the port of a Service that leads to a container's port.
pub(crate) fn port_to(
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

fn address(service: &Service, port: Option<i32>, nodes: &[Node]) -> ServiceAddress {
    let name = format!("Service {}/{}", service.namespace().unwrap_or_default(), service.name_any());
    let mut ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let Some(service_port) = ports.find(|candidate| port.is_none_or(|port| candidate.port == port)) else {
        let wanted = port.map(|port| format!(" {port}")).unwrap_or_default();
        return ServiceAddress::Unreachable(format!("{name} has no port{wanted}"));
    };
    match service_type(service) {
        "LoadBalancer" => match load_balancer(service) {
            Some(host) => at(&name, &host, service_port.port),
            None => ServiceAddress::Pending(format!("{name} has no load balancer address yet")),
        },
        "NodePort" => match (service_port.node_port, node_address(nodes)) {
            (None, _) => ServiceAddress::Pending(format!("{name} has no node port yet")),
            (_, None) => ServiceAddress::Pending(format!("no node for {name} is ready")),
            (Some(port), Some(host)) => at(&name, &host, port),
        },
        other => ServiceAddress::Unreachable(format!(
            "{name} of type {other} cannot be reached from outside its cluster"
        )),
    }
}

fn load_balancer(service: &Service) -> Option<String> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?;
    ingress
        .iter()
        .find_map(|entry| entry.hostname.clone().or_else(|| entry.ip.clone()).filter(|host| !host.is_empty()))
}

/// Takes the oldest ready node, because it is the one whose address peers have been given before. One of AWS Fargate serves no node ports.
fn node_address(nodes: &[Node]) -> Option<String> {
    let mut ready: Vec<&Node> = nodes.iter().filter(|node| NodeState::of(node) == NodeState::Ready).collect();
    ready.sort_by_key(|node| (node.meta().creation_timestamp.as_ref().map(|time| time.0), node.name_any()));
    ready.into_iter().find_map(|node| {
        let addresses = node.status.as_ref()?.addresses.as_ref()?;
        addresses.iter().find(|address| address.type_ == "InternalIP").map(|address| address.address.clone())
    })
}

fn at(name: &str, host: &str, port: i32) -> ServiceAddress {
    match HostPort::new(host, port) {
        Some(address) => ServiceAddress::Ready(address),
        None => ServiceAddress::Unreachable(format!("the address of {name}, {host}:{port}, is not valid")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(value: serde_json::Value) -> Service {
        let mut service: Service = serde_json::from_value(value).unwrap();
        service.metadata.name = Some("gateway".into());
        service.metadata.namespace = Some("istio-system".into());
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

    fn text(address: &ServiceAddress) -> String {
        match address {
            ServiceAddress::Ready(address) => address.to_string(),
            ServiceAddress::Pending(why) | ServiceAddress::Unreachable(why) => why.clone(),
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
        assert_eq!(text(&with(json!([{"hostname": "a.elb.amazonaws.com"}]))), "a.elb.amazonaws.com:8443");
        assert_eq!(text(&with(json!([{"ip": "10.0.2.128"}]))), "10.0.2.128:8443");
        assert_eq!(text(&with(json!([{"ip": "fd00::1"}]))), "[fd00::1]:8443");
        let pending = with(json!([]));
        assert!(matches!(pending, ServiceAddress::Pending(_)));
        assert_eq!(text(&pending), "Service istio-system/gateway has no load balancer address yet");
        let hostile = with(json!([{"hostname": "a b"}]));
        assert!(matches!(hostile, ServiceAddress::Unreachable(_)));
        assert_eq!(text(&hostile), "the address of Service istio-system/gateway, a b:8443, is not valid");
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
        assert_eq!(text(&address(&service, None, &nodes)), "10.0.0.2:30010");
        let mut fargate = nodes.clone();
        fargate[2].metadata.labels =
            Some([("eks.amazonaws.com/compute-type".to_owned(), "fargate".to_owned())].into());
        assert_eq!(text(&address(&service, None, &fargate)), "10.0.0.3:30010");
        assert!(matches!(address(&service, None, &nodes[1..2]), ServiceAddress::Pending(_)));
    }

    #[test]
    fn a_service_without_an_address_outside_says_what_it_lacks() {
        let lacks = |spec: serde_json::Value, port| {
            let found = address(&service(json!({ "spec": spec })), port, &[]);
            assert!(matches!(found, ServiceAddress::Unreachable(_)));
            text(&found)
        };
        assert_eq!(
            lacks(json!({"ports": [{"port": 8443}]}), None),
            "Service istio-system/gateway of type ClusterIP cannot be reached from outside its cluster"
        );
        assert_eq!(
            lacks(json!({"type": "LoadBalancer", "ports": [{"port": 443}]}), Some(80)),
            "Service istio-system/gateway has no port 80"
        );
        assert_eq!(lacks(json!({"type": "LoadBalancer"}), None), "Service istio-system/gateway has no port");
    }

    #[test]
    fn the_port_that_leads_to_a_container_is_found_by_number_and_by_name() {
        let by = |target: serde_json::Value| {
            service(
                json!({"spec": {"ports": [{"port": 443, "targetPort": 8081}, {"port": 8443, "targetPort": target}]}}),
            )
        };
        assert_eq!(port_to(&by(json!(9443)), 9443, None), Some(8443));
        assert_eq!(port_to(&by(json!("federation")), 9443, Some("federation")), Some(8443));
        assert_eq!(port_to(&by(json!("grpc")), 9443, Some("federation")), None);
    }

    #[test]
    fn a_load_balancer_is_new_for_a_quarter_of_an_hour() {
        let with = |kind: &str, ingress: serde_json::Value| -> Service {
            let metadata = serde_json::json!({"creationTimestamp": "2026-11-25T10:00:00Z"});
            let status = serde_json::json!({"loadBalancer": {"ingress": ingress}});
            let made = serde_json::json!({"metadata": metadata, "spec": {"type": kind}, "status": status});
            serde_json::from_value(made).unwrap()
        };
        let service = |kind| with(kind, serde_json::json!([{"hostname": "x.elb.eu-west-1.amazonaws.com"}]));
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let balanced = service("LoadBalancer");
        assert_eq!(
            NewLoadBalancer::of(&balanced, at("2026-11-25T10:14:59Z")),
            Some(NewLoadBalancer::sample())
        );
        assert_eq!(NewLoadBalancer::of(&balanced, at("2026-11-25T10:15:00Z")), None);
        assert_eq!(NewLoadBalancer::of(&service("NodePort"), at("2026-11-25T10:01:00Z")), None);
        let at_once = with("LoadBalancer", serde_json::json!([{"ip": "10.2.0.128"}]));
        assert_eq!(NewLoadBalancer::of(&at_once, at("2026-11-25T10:01:00Z")), None);
        let without = with("LoadBalancer", serde_json::json!([]));
        assert_eq!(
            NewLoadBalancer::of(&without, at("2026-11-25T10:01:00Z")),
            Some(NewLoadBalancer::sample())
        );
    }

    #[test]
    fn an_address_that_does_not_come_is_explained_by_the_newest_event_or_by_none() {
        let reason = "its service has no address yet";
        assert_eq!(because_of(reason, Some("no subnet")), "its service has no address yet; no subnet");
        assert_eq!(
            because_of(reason, None),
            "its service has no address yet; no controller has taken notice of the service"
        );
    }
}
