use super::FederationError;
use crate::fleet::Member;
use crate::manifest::wait::until;
use crate::manifest::{Deadline, Poll};
use crate::mesh::Spire;
use crate::spire::discovery::{DiscoveryError, Found, FoundSpire, find};
use crate::spire::server::Server;

/// A cluster's SPIRE server, ready to be talked to.
#[derive(Debug)]
pub(super) struct Located<'m> {
    pub(super) server: Server<'m>,
    pub(super) found: FoundSpire,
}

impl Located<'_> {
    /// Returns namespace and name of the server's pod.
    pub(super) fn pod(&self) -> String {
        format!("{}/{}", self.server.target.namespace, self.server.target.pod)
    }
}

/// Looks for the SPIRE server that the mesh file means: ours, or the one that somebody else installed.
pub(super) async fn look(member: &Member) -> Result<Found, DiscoveryError> {
    match &member.cluster.spire {
        Spire::Managed(_) => find(member, None).await,
        Spire::Existing(existing) => find(member, existing.server_namespace.as_deref()).await,
    }
}

/// Looks for the SPIRE server that the mesh file means. One that somebody else installed is meant only where the file says so.
pub(super) async fn meant(member: &Member) -> Result<Option<FoundSpire>, DiscoveryError> {
    Ok(match (look(member).await?, &member.cluster.spire) {
        (Found::Ours(found), _) | (Found::Foreign(found), Spire::Existing(_)) => Some(*found),
        (Found::None | Found::Foreign(_), _) => None,
    })
}

/// Returns the server that the mesh file means.
pub(super) async fn locate(member: &Member) -> Result<Located<'_>, FederationError> {
    let Some(found) = meant(member).await? else {
        let namespace = match &member.cluster.spire {
            Spire::Managed(spire) => Some(spire.server_namespace.clone()),
            Spire::Existing(existing) => existing.server_namespace.clone(),
        };
        return Err(FederationError::NoServer { namespace });
    };
    let Some(server) = found.server(member) else {
        return Err(FederationError::NotRunning { namespace: found.namespace, workload: found.workload });
    };
    Ok(Located { server, found })
}

/// Returns the server that the mesh file means once it answers on its socket: its pod can be starting, or be replaced between being
/// found and being asked.
pub(super) async fn answering<'m>(
    member: &'m Member,
    deadline: Deadline<'_>,
) -> Result<Located<'m>, FederationError> {
    let found = until(deadline, "the SPIRE server to answer", || async {
        let located = match locate(member).await {
            Ok(located) => located,
            Err(error @ FederationError::NotRunning { .. }) => return Poll::Pending(error.to_string()),
            Err(error) => return Poll::Ready(Err(error)),
        };
        match located.server.healthcheck().await {
            Ok(()) => Poll::Ready(Ok(located)),
            Err(error) => Poll::Pending(error.to_string()),
        }
    });
    found.await?
}

#[cfg(test)]
mod tests;
