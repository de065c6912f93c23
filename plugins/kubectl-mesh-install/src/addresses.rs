//! Where the API server of each cluster is for the istiods of the others: from the mesh file, from AWS, or from the kubeconfig.

use std::fmt;

use futures::future::join_all;
use serde::{Serialize, Serializer};
use spire_mesh::entry::Failure;
use spire_mesh::fleet::Kubeconfig;
use spire_mesh::hint::Command;
use spire_mesh::mesh::{ApiEndpoint, Cluster, EndpointUrl, Mesh};
use spire_mesh::multicluster::ApiServers;

/// The address of an API server, and who named it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Address {
    /// Name of the cluster.
    pub(crate) cluster: String,
    /// The address.
    #[serde(serialize_with = "text")]
    pub(crate) server: EndpointUrl,
    /// Who named it.
    pub(crate) source: Source,
    /// What it takes to reach it from another VPC; only AWS says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reached: Option<String>,
    /// The command that lets another VPC in, where its access is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) let_in: Option<String>,
    /// What is odd about it.
    pub(crate) warnings: Vec<String>,
}

/// Who named an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Source {
    /// The kubeconfig.
    Kubeconfig,
    /// `endpoint.server` of the mesh file.
    MeshFile,
    /// `DescribeCluster` of EKS.
    Eks,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kubeconfig => "kubeconfig",
            Self::MeshFile => "mesh file",
            Self::Eks => "EKS",
        })
    }
}

fn text<S: Serializer>(url: &EndpointUrl, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(url)
}

/// Finds the address of every cluster's API server, on all clusters at the same time.
pub(crate) async fn addresses(mesh: &Mesh, kubeconfig: &Kubeconfig) -> Result<Vec<Address>, Failure> {
    let found = join_all(mesh.clusters.iter().map(|cluster| address(cluster, kubeconfig))).await;
    let mut addresses = Vec::new();
    let mut failed = Vec::new();
    for (cluster, result) in mesh.clusters.iter().zip(found) {
        match result {
            Ok(address) => addresses.push(address),
            Err(failure) => failed.push((cluster.place(), failure)),
        }
    }
    if failed.is_empty() { Ok(addresses) } else { Err(Failure::clusters(mesh.clusters.len(), failed)) }
}

async fn address(cluster: &Cluster, kubeconfig: &Kubeconfig) -> Result<Address, Failure> {
    let plain = |server: EndpointUrl, source: Source| Address {
        cluster: cluster.name.clone(),
        server,
        source,
        reached: None,
        let_in: None,
        warnings: Vec::new(),
    };
    match &cluster.endpoint {
        ApiEndpoint::Server(url) => Ok(plain(url.clone(), Source::MeshFile)),
        ApiEndpoint::Eks(eks) => {
            let described = Box::pin(spire_mesh_eks::describe(eks)).await?;
            Ok(Address {
                reached: Some(described.from_another_vpc()),
                let_in: described.let_in(),
                warnings: described.warnings.clone(),
                ..plain(described.server, Source::Eks)
            })
        }
        ApiEndpoint::Kubeconfig => {
            let server = kubeconfig.server(&cluster.context).ok_or_else(|| {
                let error =
                    anyhow::anyhow!("the kubeconfig has no context `{}` with an address", cluster.context);
                Failure::usage(error).with_hint(Command::kubeconfig(["get-contexts"]))
            })?;
            let url = server.trim_end_matches('/').parse().map_err(|error| {
                let error = anyhow::Error::new(error)
                    .context("the address of its API server cannot be used by other clusters");
                Failure::from(error).with_hint("set endpoint.server of this cluster in the mesh file")
            })?;
            Ok(plain(url, Source::Kubeconfig))
        }
    }
}

/// Returns the addresses by the names of their clusters.
pub(crate) fn by_cluster(addresses: &[Address]) -> ApiServers {
    addresses.iter().map(|address| (address.cluster.clone(), address.server.clone())).collect()
}
