//! Whose istiod takes workloads for: the identities that it expects of servers, held against the trust domains of their clusters.
//!
//! istiod reads a cluster's trust domain from that cluster, and where the answer comes a moment too late, it takes the workloads for those
//! of its own domain, for ever: seen after 3 of 37 starts. Istio's retries hide it as long as there are local pods.

use crate::fleet::Member;
use crate::istio::istiod::{Istiod, IstiodError, ServiceIdentities};
use crate::mesh::Cluster;

/// Identities that istiod expects, of another trust domain than that of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrongIdentity {
    pub(super) cluster: String,
    pub(super) service: String,
    pub(super) found: Vec<String>,
}

/// Finds the first service whose identities are not of the trust domain of their cluster.
pub(super) fn wrong_identity(clusters: &[Cluster], expected: &ServiceIdentities) -> Option<WrongIdentity> {
    for cluster in clusters {
        let prefix = format!("spiffe://{}/", cluster.trust_domain);
        for (service, by_cluster) in expected {
            let of_cluster = by_cluster.get(&cluster.name).into_iter().flatten();
            let found: Vec<String> =
                of_cluster.filter(|identity| !identity.starts_with(&prefix)).cloned().collect();
            if !found.is_empty() {
                return Some(WrongIdentity {
                    cluster: cluster.name.clone(),
                    service: service.clone(),
                    found,
                });
            }
        }
    }
    None
}

/// Asks a cluster's istiods what they expect, and returns the first that is wrong.
pub(super) async fn expected_wrongly(
    member: &Member,
    clusters: &[Cluster],
) -> Result<Option<WrongIdentity>, IstiodError> {
    for istiod in Istiod::find(member).await? {
        if let Some(wrong) = wrong_identity(clusters, &istiod.identities().await?) {
            return Ok(Some(wrong));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_of_another_trust_domain_than_its_clusters_is_found() {
        let clusters = [Cluster::example("foo", "foo.com"), Cluster::example("bar", "bar.com")];
        let expected = |of_bar: &str| -> ServiceIdentities {
            let set = |text: &str| [text.to_owned()].into();
            let by_cluster = [
                ("foo".to_owned(), set("spiffe://foo.com/ns/a/sa/a")),
                ("bar".to_owned(), set(of_bar)),
                // Of a cluster that the mesh does not have, nothing is expected.
                ("baz".to_owned(), set("spiffe://foo.com/ns/a/sa/a")),
            ];
            [("a.a.svc.cluster.local".to_owned(), by_cluster.into())].into()
        };
        assert_eq!(wrong_identity(&clusters, &expected("spiffe://bar.com/ns/a/sa/a")), None);
        let wrong = wrong_identity(&clusters, &expected("spiffe://foo.com/ns/a/sa/a")).expect("it is wrong");
        assert_eq!((wrong.cluster.as_str(), wrong.service.as_str()), ("bar", "a.a.svc.cluster.local"));
        assert_eq!(wrong.found, ["spiffe://foo.com/ns/a/sa/a"]);
        // A domain whose name begins like another's is another one.
        assert!(wrong_identity(&clusters, &expected("spiffe://bar.com.evil/ns/a/sa/a")).is_some());
    }
}
