//! Carrying out what the checks found a safe repair for.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join, try_join_all};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use super::locate::{agents, locate};
use super::{FederationError, Repair, Step};
use crate::fleet::{Member, RequestError, list_pages};
use crate::manifest::wait::until;
use crate::manifest::{Deadline, Poll, ready_on_nodes};
use crate::spire::crd::ClusterFederatedTrustDomain;
use crate::trust::TrustDomain;
use crate::watch::Watch;

/// Makes one repair of several that are done in one go, and leaves out what stands there twice.
#[must_use]
pub fn merged(repairs: &[Repair]) -> Vec<Repair> {
    let mut merged: Vec<Repair> = Vec::new();
    let mut agents: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for repair in repairs {
        match repair {
            Repair::RestartAgents { cluster, namespace, pods } => {
                agents.entry((cluster, namespace)).or_default().extend(pods.iter().cloned());
            }
            Repair::CarryBundle { .. } => merged.push(repair.clone()),
        }
    }
    merged.extend(agents.into_iter().map(|((cluster, namespace), pods)| Repair::RestartAgents {
        cluster: cluster.to_owned(),
        namespace: namespace.to_owned(),
        pods,
    }));
    merged.sort();
    merged.dedup();
    merged
}

/// Carries out repairs, all at the same time, and returns what did not work, by cluster.
pub async fn repair(
    members: &[Member],
    repairs: &[Repair],
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> Vec<(String, FederationError)> {
    let done = join_all(repairs.iter().map(|repair| async move {
        match repair {
            Repair::CarryBundle { from, to } => {
                let (own, peer) = (member(members, from)?, member(members, to)?);
                Some((from.clone(), Box::pin(carry(own, peer, watch)).await))
            }
            Repair::RestartAgents { cluster, namespace, pods } => {
                let member = member(members, cluster)?;
                watch.step(cluster, &Step::RestartingAgents);
                Some((cluster.clone(), restart(member, namespace, pods, deadline).await))
            }
        }
    }));
    done.await.into_iter().flatten().filter_map(|(cluster, result)| Some((cluster, result.err()?))).collect()
}

fn member<'m>(members: &'m [Member], name: &str) -> Option<&'m Member> {
    members.iter().find(|member| member.name() == name)
}

async fn carry(own: &Member, peer: &Member, watch: &dyn Watch<Step>) -> Result<(), FederationError> {
    let (own_located, peer_located) = Box::pin(try_join(locate(own), locate(peer))).await?;
    let (own_server, domain) = (own_located.server, peer_located.own.trust_domain().clone());
    watch.step(own.name(), &Step::CarryingBundle(domain.clone()));
    drop_carried_bundle(own, &domain).await?;
    own_server.set_bundle(&peer_located.document().await?).await?;
    watch.step(own.name(), &Step::Refreshing(domain.clone()));
    Ok(own_server.refresh(&domain).await?)
}

/// Takes the bundle out of the relationship objects for a trust domain: the next change of the object would set it again.
async fn drop_carried_bundle(own: &Member, domain: &TrustDomain) -> Result<(), FederationError> {
    let objects: Api<ClusterFederatedTrustDomain> = Api::all(own.client().clone());
    let failed =
        |source| FederationError::Request { what: format!("the relationship object for {domain}"), source };
    let carrying = |object: ClusterFederatedTrustDomain| {
        let spec = &object.spec;
        let carries = spec.trust_domain == domain.as_str() && spec.trust_domain_bundle.is_some();
        carries.then(|| object.name_any())
    };
    let names = list_pages(&objects, &ListParams::default(), carrying).await;
    for name in names.map_err(RequestError::from).map_err(failed)? {
        let without = Patch::Merge(json!({"spec": {"trustDomainBundle": null}}));
        let patched = objects.patch(&name, &PatchParams::default(), &without).await;
        patched.map_err(RequestError::from).map_err(failed)?;
    }
    Ok(())
}

/// Deletes agents' pods: their controller makes them again, and they start from the bundle that the server publishes now.
pub(super) async fn restart(
    member: &Member,
    namespace: &str,
    names: &[String],
    deadline: Deadline<'_>,
) -> Result<(), FederationError> {
    let pods: Api<Pod> = Api::namespaced(member.client().clone(), namespace);
    for name in names {
        match pods.delete(name, &DeleteParams::default()).await.map_err(RequestError::from) {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(source) => {
                return Err(FederationError::Request { what: format!("Pod {namespace}/{name}"), source });
            }
        }
    }
    // Until then their controller counts them as ready.
    until(deadline, "the agents to stop", || async {
        let gone = try_join_all(names.iter().map(|name| pods.get_opt(name))).await;
        match gone.map_err(RequestError::from) {
            Ok(left) if left.iter().all(Option::is_none) => Poll::Ready(()),
            Ok(left) => Poll::Pending(format!("{} still there", left.iter().flatten().count())),
            Err(error) => error.into(),
        }
    })
    .await?;
    if let Some(found) = agents(member).await? {
        ready_on_nodes(member.client(), &found.namespace, &found.name, deadline).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    mod carried_out;

    use super::*;

    fn carry(from: &str, to: &str) -> Repair {
        Repair::CarryBundle { from: from.to_owned(), to: to.to_owned() }
    }

    fn restarted(cluster: &str, namespace: &str, pods: &[&str]) -> Repair {
        let pods = pods.iter().map(|pod| (*pod).to_owned()).collect();
        Repair::RestartAgents { cluster: cluster.to_owned(), namespace: namespace.to_owned(), pods }
    }

    #[test]
    fn agents_of_all_nodes_are_restarted_in_one_go_and_nothing_is_done_twice() {
        let found = [
            carry("foo", "baz"),
            restarted("baz", "spire-system", &["agent-1"]),
            carry("bar", "baz"),
            restarted("foo", "spire-system", &["agent-3"]),
            restarted("baz", "spire-system", &["agent-2"]),
            restarted("baz", "other", &["agent-4"]),
            carry("foo", "baz"),
        ];
        let expected = [
            carry("bar", "baz"),
            carry("foo", "baz"),
            restarted("baz", "other", &["agent-4"]),
            restarted("baz", "spire-system", &["agent-1", "agent-2"]),
            restarted("foo", "spire-system", &["agent-3"]),
        ];
        assert_eq!(merged(&found), expected);
        assert_eq!(merged(&[]), []);
    }
}
