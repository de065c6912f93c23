//! The SPIRE of a cluster: the one that the mesh file means, and a server that was found to be what the mesh file says.

use futures::future::try_join;

use super::FederationError;
use crate::fleet::Member;
use crate::manifest::wait::until;
use crate::manifest::{Deadline, Poll};
use crate::mesh::Spire;
use crate::spire::discovery::{
    DiscoveryError, FoundAgents, FoundSpire, find, find_agents, installed, installed_agents,
};
use crate::spire::server::Server;
use crate::trust::svid;
use crate::trust::{BundleDocument, TrustBundle, TrustDomain};

/// A cluster's SPIRE server, which answers and is of the trust domain that the mesh file gives the cluster. There is no other way to one,
/// so nothing is read from a server, told to it or carried from it that is of another trust domain.
#[derive(Debug)]
pub(super) struct Located<'m> {
    pub(super) server: Server<'m>,
    pub(super) found: FoundSpire,
    /// The bundle of its own trust domain, when it was found.
    pub(super) own: TrustBundle,
}

impl Located<'_> {
    /// Reads the bundle of its own trust domain, in the form in which it is carried to a peer.
    pub(super) async fn document(&self) -> Result<BundleDocument, FederationError> {
        let domain = self.own.trust_domain();
        // The document does not say of which trust domain it is; the other answer does.
        let (document, own) = try_join(self.server.bundle_document(domain), self.server.bundle()).await?;
        if let Some(error) = other_domain(&self.server, &own, domain) {
            return Err(error);
        }
        if !document.bundle().same_authorities(&own) {
            return Err(FederationError::BundleChanged { pod: pod(&self.server) });
        }
        Ok(document)
    }
}

/// Returns namespace and name of a server's pod.
fn pod(server: &Server<'_>) -> String {
    format!("{}/{}", server.target.namespace, server.target.pod)
}

/// Refuses a server of another trust domain than the mesh file says: its peers would trust what is not meant.
fn other_domain(server: &Server<'_>, own: &TrustBundle, expected: &TrustDomain) -> Option<FederationError> {
    (own.trust_domain() != expected).then(|| FederationError::OtherTrustDomain {
        pod: pod(server),
        found: own.trust_domain().clone(),
        expected: expected.clone(),
    })
}

/// Looks for the SPIRE server that the mesh file means: the one that these plugins made where the file says, or, only where the file says so,
/// the one that somebody else installed.
pub(super) async fn meant(member: &Member) -> Result<Option<FoundSpire>, DiscoveryError> {
    match &member.cluster.spire {
        Spire::Managed(spire) => {
            Ok(installed(member, &spire.server_namespace).await?.filter(|found| found.mesh.is_some()))
        }
        Spire::Existing(existing) => find(member, existing.server_namespace.as_deref()).await,
    }
}

/// Looks for the agents that the mesh file means, in the same way.
pub(super) async fn agents(member: &Member) -> Result<Option<FoundAgents>, DiscoveryError> {
    match &member.cluster.spire {
        Spire::Managed(spire) => Ok(installed_agents(member, &spire.agent_namespace).await?),
        Spire::Existing(existing) => find_agents(member, existing.agent_namespace.as_deref()).await,
    }
}

/// Returns the server that the mesh file means, once it was found to be of the trust domain that the file says.
pub(super) async fn locate(member: &Member) -> Result<Located<'_>, FederationError> {
    let Some(found) = meant(member).await? else {
        let namespace = match &member.cluster.spire {
            Spire::Managed(spire) => Some(spire.server_namespace.clone()),
            Spire::Existing(existing) => existing.server_namespace.clone(),
        };
        return Err(FederationError::NoServer { namespace });
    };
    let Some(server) = found.server(member) else {
        let (context, namespace) = (member.context().to_owned(), found.namespace);
        return Err(FederationError::NotRunning { context, namespace, workload: found.workload });
    };
    let own = server.bundle().await?;
    match other_domain(&server, &own, &member.cluster.trust_domain) {
        Some(error) => Err(error),
        None => Ok(Located { server, found, own }),
    }
}

/// Says why nobody is to trust a server yet: none of its authorities ends a path. `None` where one does.
pub(super) fn rootless(located: &Located<'_>) -> Option<FederationError> {
    let authority = without_a_root(&located.own)?;
    let trust_domain = located.own.trust_domain().clone();
    Some(FederationError::NoRoot { trust_domain, pod: pod(&located.server), authority })
}

/// Names an authority of a bundle in which no authority ends a path: whose it is, and who signed it.
fn without_a_root(bundle: &TrustBundle) -> Option<String> {
    if bundle.in_order().any(|(_, authority)| svid::ends_paths(authority, bundle)) {
        return None;
    }
    let (digest, authority) = bundle.in_order().next()?;
    let read = svid::Certificate::from_der(authority.der().to_vec());
    Some(read.map_or_else(|_| digest.short(), |ca| format!("{}, signed by {}", ca.subject, ca.issuer)))
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
            Err(error @ (FederationError::NotRunning { .. } | FederationError::Server(_))) => {
                return Poll::Pending(error.to_string());
            }
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
