//! Where the API server of each cluster is for the istiods of the others.

use spire_mesh::entry::Failure;
use spire_mesh::fleet::Member;
use spire_mesh::multicluster::ApiServers;

/// Finds the address of every cluster's API server.
pub(crate) fn api_servers(members: &[Member]) -> Result<ApiServers, Failure> {
    let mut found = ApiServers::new();
    let mut failed = Vec::new();
    for member in members {
        match member.server().trim_end_matches('/').parse() {
            Ok(url) => {
                found.insert(member.name().to_owned(), url);
            }
            Err(error) => {
                let failure = Failure::from(
                    anyhow::Error::from(error).context("the address of its API server cannot be used"),
                )
                .with_hint("set endpoint.server of this cluster in the mesh file");
                failed.push((member.name().to_owned(), failure));
            }
        }
    }
    if failed.is_empty() { Ok(found) } else { Err(Failure::clusters(members.len(), failed)) }
}
