//! Which clusters and nodes a lab has, what they are called and where they are on the network.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::Cidr;

/// Names of the clusters, by index.
pub const NAMES: [&str; 6] = ["foo", "bar", "baz", "qux", "quux", "corge"];

/// The most nodes that a cluster can have: the addresses below its load balancers are theirs.
pub const MAX_NODES: u8 = 16;

/// How many clusters, and how many nodes in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Number of clusters, 1 to 6.
    pub clusters: u8,
    /// Nodes of each cluster, 1 to [`MAX_NODES`]; the first one runs the control plane too.
    pub nodes: u8,
}

impl Default for Shape {
    fn default() -> Self {
        Self { clusters: 2, nodes: 1 }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: u8| if count == 1 { "" } else { "s" };
        let (clusters, nodes) = (self.clusters, self.nodes);
        write!(f, "{clusters} cluster{} of {nodes} node{}", plural(clusters), plural(nodes))
    }
}

impl Shape {
    /// The clusters.
    pub fn clusters(self) -> impl Iterator<Item = Cluster> {
        (0..self.clusters).map(move |index| Cluster { index, nodes: self.nodes })
    }

    /// The nodes of all clusters.
    pub fn nodes(self) -> impl Iterator<Item = Node> {
        self.clusters().flat_map(Cluster::nodes)
    }

    /// The cluster of that name, or of that context.
    pub fn cluster(self, name: &str) -> Result<Cluster> {
        self.clusters().find(|c| c.name() == name || c.context() == name).ok_or_else(|| Error::Unknown {
            kind: "cluster",
            name: name.to_owned(),
            known: self.clusters().map(Cluster::name).collect::<Vec<_>>().join(", "),
        })
    }

    /// The node of that name.
    pub fn node(self, name: &str) -> Result<Node> {
        self.nodes().find(|n| n.name() == name).ok_or_else(|| Error::Unknown {
            kind: "node",
            name: name.to_owned(),
            known: self.nodes().map(Node::name).collect::<Vec<_>>().join(", "),
        })
    }
}

/// One cluster: a network like a VPC of its own, and a Kubernetes in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    index: u8,
    nodes: u8,
}

impl Cluster {
    /// Short name: `foo`.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.index) % NAMES.len()]
    }

    /// Name of the cluster and of its kubeconfig context: `foo-eks-cluster`.
    #[must_use]
    pub fn context(self) -> String {
        format!("{}-eks-cluster", self.name())
    }

    /// Name of its network, as Istio wants one: `foo-network`.
    #[must_use]
    pub fn network(self) -> String {
        format!("{}-network", self.name())
    }

    /// The bridge on the host that is the cluster's VPC.
    #[must_use]
    pub fn bridge(self) -> String {
        format!("lab-{}", self.name())
    }

    fn range(self, tens: u8, length: u8) -> Cidr {
        Cidr::new(Ipv4Addr::new(10, 10 * tens + 2 + self.index, 0, 0), length)
    }

    /// Addresses of nodes and load balancers: `10.2.0.0/24`.
    #[must_use]
    pub fn vpc(self) -> Cidr {
        self.range(0, 24)
    }

    /// Addresses of pods: `10.12.0.0/16`.
    #[must_use]
    pub fn pods(self) -> Cidr {
        self.range(1, 16)
    }

    /// Addresses of services: `10.22.0.0/16`.
    #[must_use]
    pub fn services(self) -> Cidr {
        self.range(2, 16)
    }

    /// The host's address in the VPC; the way to the other clusters.
    #[must_use]
    pub fn gateway(self) -> Ipv4Addr {
        self.vpc().address(1)
    }

    /// Service address of the API server.
    #[must_use]
    pub fn api_service(self) -> Ipv4Addr {
        self.services().address(1)
    }

    /// Service address of DNS.
    #[must_use]
    pub fn dns_service(self) -> Ipv4Addr {
        self.services().address(10)
    }

    /// The part of the VPC that is load balancers: `10.2.0.128/25`.
    #[must_use]
    pub fn load_balancers(self) -> Cidr {
        Cidr::new(self.vpc().address(128), 25)
    }

    /// First and last address that a service of type `LoadBalancer` can get.
    #[must_use]
    pub fn load_balancer_range(self) -> (Ipv4Addr, Ipv4Addr) {
        (self.vpc().address(128), self.vpc().address(254))
    }

    /// Where the API server answers.
    #[must_use]
    pub fn server(self) -> String {
        format!("https://{}:6443", self.first_node().address())
    }

    /// The node with the control plane.
    #[must_use]
    pub fn first_node(self) -> Node {
        Node { cluster: self, number: 1 }
    }

    /// All nodes.
    pub fn nodes(self) -> impl Iterator<Item = Node> {
        (1..=self.nodes).map(move |number| Node { cluster: self, number })
    }
}

/// One node of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    cluster: Cluster,
    number: u8,
}

impl Node {
    /// Name of the node: `foo-node-1`.
    #[must_use]
    pub fn name(self) -> String {
        format!("{}-node-{}", self.cluster.name(), self.number)
    }

    /// The cluster it belongs to.
    #[must_use]
    pub fn cluster(self) -> Cluster {
        self.cluster
    }

    /// Whether it runs the control plane.
    #[must_use]
    pub fn is_first(self) -> bool {
        self.number == 1
    }

    /// Its address in the VPC: `10.2.0.10` for the first.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        self.cluster.vpc().address(9 + u32::from(self.number))
    }

    /// Addresses of its pods: `10.12.0.0/24` for the first.
    #[must_use]
    pub fn pods(self) -> Cidr {
        Cidr::new(self.cluster.pods().address(256 * u32::from(self.number - 1)), 24)
    }

    /// The host's end of its cable: `lab-foo-1`.
    #[must_use]
    pub fn cable(self) -> String {
        format!("{}-{}", self.cluster.bridge(), self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cluster_and_node_has_its_own_names_and_addresses() {
        let shape = Shape { clusters: 3, nodes: 2 };
        let lines: Vec<String> = shape
            .clusters()
            .map(|c| {
                let (first, last) = c.load_balancer_range();
                format!(
                    "{} vpc {} gateway {} pods {} services {} dns {} balancers {first}-{last}",
                    c.context(),
                    c.vpc(),
                    c.gateway(),
                    c.pods(),
                    c.services(),
                    c.dns_service()
                )
            })
            .chain(
                shape
                    .nodes()
                    .map(|n| format!("{} {} pods {} cable {}", n.name(), n.address(), n.pods(), n.cable())),
            )
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn interface_names_fit_into_the_kernels_fifteen_characters() {
        let shape = Shape { clusters: 6, nodes: MAX_NODES };
        assert!(shape.nodes().all(|n| n.cable().len() <= 15 && n.cluster().bridge().len() <= 15));
    }

    #[test]
    fn a_cluster_is_found_by_name_and_by_context() {
        let shape = Shape::default();
        assert_eq!(shape.cluster("bar").ok(), shape.cluster("bar-eks-cluster").ok());
        assert_eq!(
            shape.cluster("baz").expect_err("only two").to_string(),
            "there is no cluster \"baz\"; there is foo, bar"
        );
        assert_eq!(shape.node("bar-node-1").expect("it exists").address(), Ipv4Addr::new(10, 3, 0, 10));
    }
}
