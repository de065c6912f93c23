//! Which service is asked, and which pods are behind it in each cluster.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::attribution::{Gateways, Place};
use crate::fleet::{Member, RequestError};
use crate::istio::istiod::Istiod;
use crate::manifest::pod_is_ready;
use crate::path::ServiceName;

/// The pods of a service in all clusters.
#[derive(Clone, Debug, Default)]
pub struct Behind {
    /// All pods.
    pub places: Vec<Place>,
    /// How many are ready, by cluster; clusters without a ready one are left out.
    pub ready: BTreeMap<String, usize>,
    /// One ready pod of each cluster.
    pub sample: BTreeMap<String, String>,
    /// What could not be read, one sentence each.
    pub remarks: Vec<String>,
}

/// Lists the pods of a service in all clusters. `network` is that of the client: only in it addresses of pods mean something to it.
pub async fn behind(members: &[Member], service: &ServiceName, network: &str) -> Behind {
    let read =
        join_all(members.iter().map(|member| async move { (member, pods(member, service).await) })).await;
    let mut behind = Behind::default();
    for (member, result) in read {
        let pods = match result {
            Ok(pods) => pods,
            Err(error) => {
                behind
                    .remarks
                    .push(format!("the pods behind the service in {} are not known: {error}", member.name()));
                continue;
            }
        };
        for pod in &pods {
            if pod_is_ready(pod) {
                *behind.ready.entry(member.name().to_owned()).or_default() += 1;
                behind.sample.entry(member.name().to_owned()).or_insert_with(|| pod.name_any());
            }
            behind.places.push(place(member, pod, network));
        }
    }
    behind
}

async fn pods(member: &Member, service: &ServiceName) -> Result<Vec<Pod>, RequestError> {
    let services: Api<Service> = Api::namespaced(member.client().clone(), &service.namespace);
    let found = services.get_opt(&service.name).await?;
    let selector = found.and_then(|service| service.spec?.selector).filter(|selector| !selector.is_empty());
    let Some(selector) = selector else { return Ok(Vec::new()) };
    let labels: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let pods: Api<Pod> = Api::namespaced(member.client().clone(), &service.namespace);
    Ok(pods.list(&ListParams::default().labels(&labels.join(","))).await?.items)
}

fn place(member: &Member, pod: &Pod, network: &str) -> Place {
    let addresses =
        pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten()).map(|ip| ip.ip.clone());
    let labels = pod.labels();
    let version = labels.get("version").or_else(|| labels.get("app.kubernetes.io/version"));
    Place {
        cluster: member.name().to_owned(),
        namespace: pod.namespace().unwrap_or_default(),
        pod: pod.name_any(),
        workload: workload(pod),
        version: version.cloned(),
        addresses: if member.cluster.network == network { addresses.collect() } else { Vec::new() },
    }
}

/// Returns the name of a pod's workload: of the `Deployment` behind its `ReplicaSet`, of another owner, or its own.
pub(super) fn workload(pod: &Pod) -> String {
    let Some(owner) = pod.owner_references().iter().find(|owner| owner.controller == Some(true)) else {
        return pod.name_any();
    };
    let hash = pod.labels().get("pod-template-hash");
    match hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')) {
        Some(deployment) if owner.kind == "ReplicaSet" => deployment.to_owned(),
        _ => owner.name.clone(),
    }
}

/// Asks the client's istiods for the gateways of all networks. Clusters of one network are behind the same gateways.
pub async fn gateways(client: &Member, members: &[Member]) -> Result<Gateways, String> {
    let istiods = Istiod::find(client).await.map_err(|error| error.to_string())?;
    let networks = try_join_all(istiods.iter().map(Istiod::networks)).await;
    let networks = networks.map_err(|error| error.to_string())?;
    let mut gateways = Gateways::default();
    for gateway in networks.into_iter().flatten() {
        let behind = members.iter().filter(|member| member.cluster.network == gateway.network);
        for member in behind {
            gateways.add(&gateway.addr, gateway.port, member.name());
        }
    }
    Ok(gateways)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::fake::FakeServer;

    #[test]
    fn a_workload_is_the_deployment_behind_a_replica_set() {
        let pod = |owner: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p-1", "labels": {"pod-template-hash": "f87d5d487"}, "ownerReferences": [owner]}}))
                .unwrap()
        };
        let owner = |kind: &str, name: &str| json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": true});
        assert_eq!(workload(&pod(owner("ReplicaSet", "helloworld-v1-f87d5d487"))), "helloworld-v1");
        assert_eq!(workload(&pod(owner("StatefulSet", "web"))), "web");
        assert_eq!(
            workload(&Pod {
                metadata: kube::core::ObjectMeta { name: Some("p".to_owned()), ..Default::default() },
                ..Pod::default()
            }),
            "p"
        );
    }

    #[test]
    fn a_replica_set_of_another_hash_and_an_owner_that_is_no_controller_are_no_deployment() {
        let pod = |hash: &str, owner: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p-1", "labels": {"pod-template-hash": hash}, "ownerReferences": [owner]}}))
                .unwrap()
        };
        let owner = |kind: &str, name: &str, controller: bool| json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": controller});
        assert_eq!(workload(&pod("abc", owner("ReplicaSet", "web-def", true))), "web-def");
        assert_eq!(workload(&pod("abc", owner("Rollout", "web-abc", true))), "web-abc");
        assert_eq!(workload(&pod("abc", owner("ReplicaSet", "web-abc", false))), "p-1");
    }

    fn pod(labels: &serde_json::Value, ready: &str, ip: &str) -> serde_json::Value {
        json!({
            "metadata": {"labels": labels},
            "status": {"conditions": [{"type": "Ready", "status": ready}], "podIPs": [{"ip": ip}]},
        })
    }

    #[tokio::test]
    async fn the_pods_behind_a_service_are_those_it_selects_in_every_cluster() {
        let servers = ["foo", "bar", "baz", "qux"].map(|name| (name, FakeServer::default()));
        for (_, server) in &servers {
            let put = |name: &str, pod: serde_json::Value| {
                server.put(&format!("/api/v1/namespaces/shop/pods/{name}"), pod);
            };
            put("cart-0", pod(&json!({"app": "cart", "tier": "web", "version": "v1"}), "False", "10.0.0.1"));
            put(
                "cart-1",
                pod(
                    &json!({"app": "cart", "tier": "web", "app.kubernetes.io/version": "v2"}),
                    "True",
                    "10.0.0.2",
                ),
            );
            put(
                "cart-2",
                pod(
                    &json!({"app": "cart", "tier": "web", "version": "v3", "app.kubernetes.io/version": "v4"}),
                    "True",
                    "10.0.0.3",
                ),
            );
            put("cart-db", pod(&json!({"app": "cart", "tier": "db"}), "True", "10.0.0.4"));
        }
        let selecting = |selector: serde_json::Value| json!({"spec": {"selector": selector}});
        let path = "/api/v1/namespaces/shop/services/cart";
        servers[0].1.put(path, selecting(json!({"app": "cart", "tier": "web"})));
        // A service without a selector has no pods, and so has an empty one.
        servers[1].1.put(path, selecting(json!({})));
        servers[2].1.put(path, selecting(json!({"app": "cart", "tier": "web"})));
        servers[3].1.refuse(path, 403);
        let members = servers.map(|(name, server)| server.member(name));
        let service = ServiceName { namespace: "shop".to_owned(), name: "cart".to_owned() };
        let found = behind(&members, &service, "baz").await;
        let places: Vec<_> = found
            .places
            .iter()
            .map(|place| {
                format!(
                    "{} {} {} {:?} {:?}",
                    place.cluster, place.pod, place.workload, place.version, place.addresses
                )
            })
            .collect();
        insta::assert_snapshot!(places.join("\n"), @r#"
        foo cart-0 cart-0 Some("v1") []
        foo cart-1 cart-1 Some("v2") []
        foo cart-2 cart-2 Some("v3") []
        baz cart-0 cart-0 Some("v1") ["10.0.0.1"]
        baz cart-1 cart-1 Some("v2") ["10.0.0.2"]
        baz cart-2 cart-2 Some("v3") ["10.0.0.3"]
        "#);
        assert_eq!(found.ready, [("baz".to_owned(), 2), ("foo".to_owned(), 2)].into());
        assert_eq!(found.sample, ["baz", "foo"].map(|name| (name.to_owned(), "cart-1".to_owned())).into());
        insta::assert_snapshot!(found.remarks.join("\n"), @"the pods behind the service in qux are not known: Forbidden");
    }
}
