//! The fifth stage: has the client's sidecar endpoints in a cluster, and if not, why?

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use serde_json::Value;

use super::name::undiscovered;
use super::observed::{Observed, SeenCluster, SeenProxy};
use super::verdict::{Verdict, edit, listed};
use crate::envoy::{ClusterName, Endpoint};
use crate::hint::{Advice, Command, Plugin};
use crate::istio::NAMESPACE;
use crate::manifest::{pod_is_ready, pod_trouble};
use crate::workload::{ProxyState, WorkloadPod};

pub(super) fn endpoints(observed: &Observed, cluster: &SeenCluster) -> Verdict {
    let proxy = match observed.proxy() {
        Ok(proxy) => proxy,
        Err(unread) => return Verdict::unread(&unread),
    };
    if let Err(unread) = &proxy.endpoints {
        return Verdict::unread(unread);
    }
    let followed = observed.followed();
    let here = here(proxy, &followed, cluster);
    if here.is_empty() {
        none(observed, cluster, proxy, &followed)
    } else {
        some(observed, cluster, proxy, &here)
    }
}

/// There are some. Those that the sidecar has ejected pass here: what comes behind them may say why ([`ejected()`]).
fn some(
    observed: &Observed,
    cluster: &SeenCluster,
    proxy: &SeenProxy,
    here: &[(&String, &Endpoint)],
) -> Verdict {
    let healthy = here.iter().filter(|(_, endpoint)| endpoint.healthy).count();
    if healthy == 0 {
        let name = &observed.service;
        return Verdict::stops(
            format!("istiod takes all pods of {name} in {} for not ready", cluster.name),
            Command::kubectl(["-n", &name.namespace, "get", "pods", "-o", "wide"]).at(&cluster.context),
        );
    }
    let through = if cluster.gateway.is_some() { " through its network's gateway" } else { "" };
    let all = here.len();
    match all - left_out(proxy, here).len() {
        0 => Verdict::Passes(format!("{all} endpoints{through} are known, and ejected for a while")),
        used => Verdict::Passes(format!("{used} of {all} endpoints are used{through}")),
    }
}

/// Returns what Envoy holds against each endpoint that it does not use.
fn left_out(proxy: &SeenProxy, here: &[(&String, &Endpoint)]) -> Vec<String> {
    let against = |name: &str, endpoint: &Endpoint| -> Option<String> {
        let hosts = proxy.hosts.as_ref().ok()?.clusters.get(name)?;
        let mut of_address = hosts.iter().filter(|host| host.address.to_string() == endpoint.address);
        of_address
            .find(|host| !host.failures.is_empty())
            .map(|host| listed(host.failures.iter().map(String::as_str)))
    };
    let unhealthy = |endpoint: &Endpoint| (!endpoint.healthy).then(|| "not ready".to_owned());
    here.iter()
        .filter_map(|(name, endpoint)| against(name, endpoint).or_else(|| unhealthy(endpoint)))
        .collect()
}

/// Stops where the sidecar has ejected every endpoint (`outlierDetection`). Judged last: where anything behind them stops requests, that is
/// the cause.
pub(super) fn ejected(observed: &Observed, cluster: &SeenCluster) -> Option<Verdict> {
    let proxy = observed.client.proxy.as_ref()?;
    let followed = observed.followed();
    let here = here(proxy, &followed, cluster);
    let reasons = left_out(proxy, &here);
    if here.is_empty() || reasons.len() < here.len() {
        return None;
    }
    let name = &observed.service;
    Some(
        Verdict::stops(
            format!(
                "the client's sidecar has ejected every endpoint in {} for a while, because they answered with errors or not at all",
                cluster.name
            ),
            Command::kubectl(["-n", &name.namespace, "logs", "--tail=20", "--prefix", "-l", &selector(cluster)])
                .at(&cluster.context),
        )
        .seen(format!("Envoy holds against them: {}", listed(reasons.iter().map(String::as_str)))),
    )
}

fn selector(cluster: &SeenCluster) -> String {
    let service = cluster.service.as_ref().ok().and_then(Option::as_ref);
    let selector = service.and_then(|service| service.spec.as_ref()?.selector.as_ref());
    let pairs: Vec<String> =
        selector.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// Returns the endpoints in a cluster, each with the cluster of Envoy that it belongs to.
fn here<'s>(
    proxy: &'s SeenProxy,
    followed: &'s [String],
    cluster: &SeenCluster,
) -> Vec<(&'s String, &'s Endpoint)> {
    let Ok(known) = &proxy.endpoints else { return Vec::new() };
    let is_here = |endpoint: &&Endpoint| endpoint.cluster.as_deref() == Some(cluster.name.as_str());
    followed
        .iter()
        .filter_map(|name| Some((name, known.get(name)?)))
        .flat_map(|(name, endpoints)| endpoints.iter().filter(is_here).map(move |endpoint| (name, endpoint)))
        .collect()
}

/// There are none.
fn none(observed: &Observed, cluster: &SeenCluster, proxy: &SeenProxy, followed: &[String]) -> Verdict {
    let name = &observed.service;
    let service = match &cluster.service {
        Ok(Some(service)) => service,
        Ok(None) => {
            return Verdict::stops(
                format!("there is no Service {name} in {}", cluster.name),
                Command::kubectl(["-n", &name.namespace, "get", "services"]).at(&cluster.context),
            )
            .at(format!("Service {name}"), "");
        }
        Err(unread) => return Verdict::unread(unread),
    };
    let pods = match &cluster.pods {
        Ok(pods) => pods,
        Err(unread) => return Verdict::unread(unread),
    };
    of_service(observed, cluster, service, pods)
        .or_else(|| of_pods(observed, cluster, service, pods))
        .or_else(|| of_subset(observed, cluster, proxy, followed, pods))
        .or_else(|| of_istiod(observed, cluster))
        .unwrap_or_else(|| {
            let other = if observed.client.cluster == cluster.name { "" } else { " of another cluster" };
            Verdict::stops(
                format!(
                    "pods are ready in {}, and the client's sidecar has none of them: its istiod does not give it endpoints{other}",
                    cluster.name
                ),
                Plugin::MeshInstall.command(["verify"]),
            ).found_by("istiod-synced")
        })
}

/// The service itself keeps them away.
fn of_service(
    observed: &Observed,
    cluster: &SeenCluster,
    service: &Service,
    pods: &[Pod],
) -> Option<Verdict> {
    let name = &observed.service;
    let spec = service.spec.as_ref();
    let object = format!("Service {name}");
    let next = || edit(&cluster.context, &name.namespace, "service", &name.name);
    let port = observed.port();
    let ports: Vec<String> = spec
        .into_iter()
        .flat_map(|spec| spec.ports.iter().flatten())
        .map(|port| port.port.to_string())
        .collect();
    if !ports.contains(&port.to_string()) {
        let verdict = Verdict::stops(format!("{object} in {} has no port {port}", cluster.name), next());
        return Some(
            verdict
                .at(object, "spec.ports")
                .seen(format!("its ports: {}", listed(ports.iter().map(String::as_str)))),
        );
    }
    let selector = spec.and_then(|spec| spec.selector.as_ref()).filter(|selector| !selector.is_empty());
    let Some(selector) = selector else {
        let verdict = Verdict::stops(
            format!("{object} in {} selects no pods: it has no selector", cluster.name),
            next(),
        );
        return Some(verdict.at(object, "spec.selector"));
    };
    if pods.is_empty() {
        let verdict = Verdict::stops(
            format!(
                "no pod in {} has the labels that {object} selects: its workload may be scaled to 0",
                cluster.name
            ),
            Command::kubectl(["-n", &name.namespace, "get", "pods", "--show-labels"]).at(&cluster.context),
        );
        let pairs: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        return Some(verdict.at(object, "spec.selector").seen(format!("its selector: {}", pairs.join(", "))));
    }
    None
}

/// The pods keep themselves away.
fn of_pods(observed: &Observed, cluster: &SeenCluster, service: &Service, pods: &[Pod]) -> Option<Verdict> {
    let name = &observed.service;
    let publishes = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let ready: Vec<&Pod> = pods.iter().filter(|pod| pod_is_ready(pod)).collect();
    if ready.is_empty() && !publishes {
        let trouble =
            pods.iter().find_map(|pod| Some(format!("pod {}: {}", pod.name_any(), pod_trouble(pod)?)));
        let verdict = Verdict::stops(
            format!("none of {} pods of {name} in {} is ready", pods.len(), cluster.name),
            Command::kubectl(["-n", &name.namespace, "describe", "pods"]).at(&cluster.context),
        );
        return Some(match trouble {
            Some(trouble) => verdict.seen(trouble),
            None => verdict,
        });
    }
    let bare: Vec<String> = ready
        .iter()
        .filter_map(|pod| WorkloadPod::of(pod))
        .filter(|pod| pod.proxy == ProxyState::Absent)
        .map(|pod| pod.name)
        .collect();
    if cluster.gateway.is_some() && !ready.is_empty() && bare.len() == ready.len() {
        let verdict = Verdict::stops(
            format!(
                "the pods of {name} in {} have no sidecar, and nobody without one is reached through the gateway of another network",
                cluster.name
            ),
            Plugin::MeshInstall.command(["verify"]),
        );
        return Some(
            verdict.seen(format!("pods without a sidecar: {}", listed(bare.iter().map(String::as_str)))),
        );
    }
    None
}

/// The subset that the route leads to has no pod here.
fn of_subset(
    observed: &Observed,
    cluster: &SeenCluster,
    proxy: &SeenProxy,
    followed: &[String],
    pods: &[Pod],
) -> Option<Verdict> {
    let subsets: Vec<&str> =
        followed.iter().filter_map(|name| ClusterName::parse(name)).map(|name| name.subset).collect();
    if subsets.is_empty() || subsets.iter().any(|subset| subset.is_empty()) {
        return None;
    }
    let routes = proxy.routes.as_ref().ok().and_then(Option::as_ref);
    let object = routes
        .and_then(|routes| routes.of(&observed.question.asked).0)
        .and_then(|route| route.object.as_ref());
    let rule = proxy
        .policies
        .as_ref()
        .ok()
        .and_then(|policies| followed.iter().find_map(|name| policies.get(name)?.object.as_ref()));
    let names = listed(subsets);
    let by = object.map_or_else(|| "its route".to_owned(), ToString::to_string);
    let next: Advice = match object.or(rule) {
        Some(object) => {
            let kind = format!("{}.networking.istio.io", object.kind);
            edit(observed.context(), &object.namespace, &kind, &object.name).into()
        }
        None => Plugin::MeshInstall.command(["verify"]).into(),
    };
    let mut verdict = Verdict::stops(
        format!("{by} sends everything to subset {names}, which no pod in {} belongs to", cluster.name),
        next,
    );
    if let Some(object) = object {
        verdict = verdict.at(object.to_string(), "spec.http[].route[].destination.subset");
    }
    if let Some(rule) = rule {
        verdict = verdict.seen(format!("{rule} defines the subset"));
    }
    let labels: Vec<String> =
        pods.iter().take(3).map(|pod| format!("{}: {}", pod.name_any(), pairs(pod.labels()))).collect();
    Some(verdict.seen(format!("labels of pods there: {}", labels.join("; "))))
}

fn pairs(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .filter(|(key, _)| !key.contains('/'))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// istiod keeps them away.
fn of_istiod(observed: &Observed, cluster: &SeenCluster) -> Option<Verdict> {
    let name = &observed.service;
    let client = &observed.client;
    let is_own = client.cluster == cluster.name;
    if let Some(verdict) = undiscovered(observed, cluster) {
        return Some(verdict);
    }
    if let Ok(synced) = &client.synced
        && !is_own
    {
        match synced.get(&cluster.name) {
            Some(true) => {}
            Some(false) => {
                return Some(
                    Verdict::stops(
                        format!("istiod of {} has not read {} to its end", client.cluster, cluster.name),
                        Plugin::MeshInstall.command(["verify"]),
                    )
                    .found_by("istiod-synced"),
                );
            }
            None => {
                return Some(
                    Verdict::stops(
                        format!(
                            "istiod of {} does not read {}: it has no remote secret for it",
                            client.cluster, cluster.name
                        ),
                        Plugin::MeshInstall.up(),
                    )
                    .found_by("remote-secret"),
                );
            }
        }
    }
    if let Some(verdict) = of_policy(observed, cluster) {
        return Some(verdict);
    }
    let config = client.mesh_config.as_ref().ok()?;
    let host = name.host();
    let settings = config["serviceSettings"].as_array().into_iter().flatten();
    let local = settings.filter(|one| one["settings"]["clusterLocal"] == true);
    let hosts: Vec<&str> = local
        .flat_map(|one| one["hosts"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect();
    let is_local = hosts
        .iter()
        .any(|pattern| pattern.strip_prefix('*').map_or(*pattern == host, |end| host.ends_with(end)));
    (is_local && !is_own).then(|| {
        Verdict::stops(
            format!("istiod of {} keeps {host} within its own cluster", client.cluster),
            edit(observed.context(), NAMESPACE, "configmap", "istio"),
        )
        .at(
            format!("ConfigMap {NAMESPACE}/istio of {}", client.cluster),
            "data.mesh: serviceSettings[].settings.clusterLocal",
        )
        .seen(format!("hosts within the cluster: {}", listed(hosts)))
    })
}

/// The service in the client's cluster, or here, is for the same node or cluster only.
fn of_policy(observed: &Observed, cluster: &SeenCluster) -> Option<Verdict> {
    let name = &observed.service;
    let local = |cluster: &SeenCluster| {
        let policy =
            cluster.service.as_ref().ok()?.as_ref()?.spec.as_ref()?.internal_traffic_policy.as_deref()
                == Some("Local");
        policy.then(|| (cluster.name.clone(), cluster.context.clone()))
    };
    let own = observed.own();
    let (at, context) = own.and_then(local).or_else(|| local(cluster))?;
    Some(
        Verdict::stops(
            format!("Service {name} in {at} keeps requests on the client's node"),
            edit(&context, &name.namespace, "service", &name.name),
        )
        .at(format!("Service {name}"), "spec.internalTrafficPolicy")
        .seen("internalTrafficPolicy: Local"),
    )
}
