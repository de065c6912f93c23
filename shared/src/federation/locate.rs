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
        return Err(FederationError::NotRunning { namespace: found.namespace, workload: found.workload });
    };
    let own = server.bundle().await?;
    match other_domain(&server, &own, &member.cluster.trust_domain) {
        Some(error) => Err(error),
        None => Ok(Located { server, found, own }),
    }
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
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::federation::sample::{bundle, domain};
    use crate::fleet::ExecTarget;
    use crate::fleet::fake::FakeServer;
    use crate::mesh::ExistingSpire;

    /// Puts something there that runs a program of SPIRE, with the labels of a mesh.
    fn put(server: &FakeServer, kind: &str, (namespace, name): (&str, &str), mesh: Option<&str>) {
        let labels = mesh.map_or_else(
            || json!({}),
            |mesh| json!({"app.kubernetes.io/managed-by": "spire-federate", "spire-mesh.dev/mesh": mesh}),
        );
        let program = if kind == "daemonsets" { "spire-agent" } else { "spire-server" };
        let container = json!({"name": "any", "image": format!("registry.example/{program}:1.15.3")});
        let object: Value = json!({
            "metadata": {"labels": labels},
            "spec": {
                "selector": {"matchLabels": {"app": "x"}},
                "template": {"spec": {"containers": [container]}},
            },
        });
        server.put(&format!("/apis/apps/v1/namespaces/{namespace}/{kind}/{name}"), object);
    }

    fn existing(server: &FakeServer, servers: Option<&str>, agents: Option<&str>) -> Member {
        let mut member = server.member("baz");
        member.cluster.spire = Spire::Existing(ExistingSpire {
            server_namespace: servers.map(str::to_owned),
            agent_namespace: agents.map(str::to_owned),
            bundle_endpoint_url: None,
        });
        member
    }

    async fn meant_in(member: &Member) -> Result<Option<String>, String> {
        meant(member).await.map(|found| found.map(|found| found.place())).map_err(|error| error.to_string())
    }

    async fn agents_in(member: &Member) -> Result<Option<String>, String> {
        let place = |found: FoundAgents| format!("{}/{}", found.namespace, found.name);
        agents(member).await.map(|found| found.map(place)).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn labels_make_nobody_the_server_or_the_agents_of_a_cluster() {
        let server = FakeServer::default();
        let member = server.member("baz");
        put(&server, "statefulsets", ("apps", "spire-server"), Some("example"));
        put(&server, "deployments", ("spire-server", "spire-server"), Some("example"));
        put(&server, "statefulsets", ("spire-server", "a-server"), Some("example"));
        put(&server, "daemonsets", ("apps", "spire-agent"), Some("example"));
        put(&server, "daemonsets", ("spire-system", "an-agent"), Some("example"));
        assert_eq!(meant_in(&member).await, Ok(None));
        assert_eq!(agents_in(&member).await, Ok(None));

        put(&server, "statefulsets", ("spire-server", "spire-server"), Some("example"));
        put(&server, "daemonsets", ("spire-system", "spire-agent"), Some("example"));
        let place = "spire-server/StatefulSet/spire-server";
        assert_eq!(meant_in(&member).await, Ok(Some(place.to_owned())));
        assert_eq!(agents_in(&member).await, Ok(Some("spire-system/spire-agent".to_owned())));
    }

    #[tokio::test]
    async fn a_server_of_somebody_else_in_the_place_of_ours_is_not_meant() {
        let server = FakeServer::default();
        put(&server, "statefulsets", ("spire-server", "spire-server"), None);
        assert_eq!(meant_in(&server.member("baz")).await, Ok(None));
    }

    #[tokio::test]
    async fn of_several_spires_of_somebody_else_the_mesh_file_names_the_one_that_is_meant() {
        let server = FakeServer::default();
        put(&server, "statefulsets", ("theirs", "spire-server"), None);
        put(&server, "daemonsets", ("nodes", "spire-agent"), None);
        let anywhere = existing(&server, None, None);
        assert_eq!(meant_in(&anywhere).await, Ok(Some("theirs/StatefulSet/spire-server".to_owned())));
        assert_eq!(agents_in(&anywhere).await, Ok(Some("nodes/spire-agent".to_owned())));

        // Our labels do not put it first.
        put(&server, "deployments", ("apps", "server"), Some("example"));
        put(&server, "daemonsets", ("apps", "agent"), Some("example"));
        insta::assert_snapshot!(meant_in(&anywhere).await.unwrap_err(), @"found several SPIRE servers, and nothing says which is the cluster's: apps/Deployment/server, theirs/StatefulSet/spire-server");
        insta::assert_snapshot!(agents_in(&anywhere).await.unwrap_err(), @"found several sets of SPIRE agents, and nothing says which are the cluster's: apps/DaemonSet/agent, nodes/DaemonSet/spire-agent");
        let named = existing(&server, Some("theirs"), Some("nodes"));
        assert_eq!(meant_in(&named).await, Ok(Some("theirs/StatefulSet/spire-server".to_owned())));
        assert_eq!(agents_in(&named).await, Ok(Some("nodes/spire-agent".to_owned())));
    }

    #[tokio::test]
    async fn a_server_of_another_trust_domain_is_refused() {
        let member = FakeServer::default().member("baz");
        let target = ExecTarget {
            namespace: "spire-server".to_owned(),
            pod: "spire-server-0".to_owned(),
            container: "spire-server".to_owned(),
        };
        let server = Server::new(&member, target);
        assert!(other_domain(&server, &bundle("baz"), &domain("baz")).is_none());
        let refused = other_domain(&server, &bundle("foo"), &domain("baz")).unwrap();
        insta::assert_snapshot!(refused, @"the SPIRE server in spire-server/spire-server-0 is of trust domain foo.com, the mesh file says baz.com");
    }
}
