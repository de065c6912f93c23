//! Reading the path of a request.

use std::collections::BTreeMap;

use futures::future::{join, join_all, try_join_all};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;

use super::observed::{
    Observed, Question, SeenClient, SeenCluster, SeenGateway, SeenObject, SeenProxy, SeenServer,
};
use super::service::ServiceName;
use crate::envoy::{ClusterName, Proxy, ProxyError};
use crate::fleet::{Member, Need, PodPort, Read, RequestError, Unread, list_pages};
use crate::istio::istiod::Istiod;
use crate::istio::{EAST_WEST_GATEWAY, EAST_WEST_PORT, NAMESPACE};
use crate::manifest::pod_is_ready;
use crate::workload::{ProxyState, WorkloadPod};

/// Reads the path of a request from a pod of `from` to a service, in all clusters at the same time. Nothing is sent to the service.
pub async fn observe(
    members: &[Member],
    from: &Member,
    namespace: &str,
    pod: &str,
    question: Question,
) -> Observed {
    let client = Box::pin(client(from, namespace, pod, &question)).await;
    let mut observed = Observed { service: question.service.clone(), question, client, clusters: Vec::new() };
    if let Some(other) = elsewhere(&observed) {
        if let Some(proxy) = &mut observed.client.proxy {
            let of_pod = Proxy::of_pod(from, namespace, pod);
            follow(proxy, &of_pod, &other).await;
        }
        observed.service = other;
    }
    let port = observed.port();
    let network = &from.cluster.network;
    let clusters = members.iter().map(|member| cluster(member, network, &observed.service, port));
    let clusters = join_all(clusters).await;
    observed.clusters = clusters;
    observed
}

fn unread(need: &Need) -> impl Fn(kube::Error) -> Unread + '_ {
    move |error| Unread::request(need, &RequestError::from(error))
}

fn of_proxy<T>(read: Result<T, ProxyError>) -> Read<T> {
    read.map_err(|error| match error {
        ProxyError::Unanswered { source, .. } => Unread::forward(&source),
        error => Unread::error(&error),
    })
}

async fn client(from: &Member, namespace: &str, pod: &str, question: &Question) -> SeenClient {
    let pods: Api<Pod> = Api::namespaced(from.client().clone(), namespace);
    let need = Need::new("get", "", "pods", Some(namespace));
    let found = pods.get(pod).await.map_err(unread(&need));
    let has_proxy =
        found.as_ref().ok().and_then(WorkloadPod::of).is_some_and(|pod| pod.proxy != ProxyState::Absent);
    let proxy = async {
        if !has_proxy {
            return None;
        }
        Some(proxy(&Proxy::of_pod(from, namespace, pod), question).await)
    };
    let sidecars = async {
        let (own, root) =
            join(objects(from, "Sidecar", namespace), objects(from, "Sidecar", NAMESPACE)).await;
        let (mut own, root) = (own?, root?);
        own.extend(root.into_iter().filter(|_| namespace != NAMESPACE));
        Ok(own)
    };
    let (proxy, of_namespace, sidecars, (mesh_config, synced)) =
        futures::join!(proxy, self::namespace(from, namespace), sidecars, istiod(from));
    SeenClient {
        cluster: from.name().to_owned(),
        pod: found,
        namespace: of_namespace,
        sidecars,
        mesh_config,
        synced,
        proxy,
    }
}

async fn proxy(proxy: &Proxy<'_>, question: &Question) -> SeenProxy {
    let host = question.service.host();
    let (routes, policies, endpoints, hosts, rules, secrets) = futures::join!(
        proxy.routes_to(&host, question.port),
        proxy.policies_to(&host),
        proxy.endpoints_of(&host),
        proxy.hosts_of(&host),
        proxy.outbound_rules_to(&host),
        proxy.secrets(),
    );
    SeenProxy {
        routes: of_proxy(routes),
        policies: of_proxy(policies),
        endpoints: of_proxy(endpoints),
        hosts: of_proxy(hosts),
        rules: of_proxy(rules),
        secrets: of_proxy(secrets),
    }
}

/// Reads what the proxy has of another service, to which a route leads.
async fn follow(seen: &mut SeenProxy, proxy: &Proxy<'_>, service: &ServiceName) {
    let host = service.host();
    let (policies, endpoints, hosts, rules) = futures::join!(
        proxy.policies_to(&host),
        proxy.endpoints_of(&host),
        proxy.hosts_of(&host),
        proxy.outbound_rules_to(&host),
    );
    let (policies, endpoints, hosts, rules) =
        (of_proxy(policies), of_proxy(endpoints), of_proxy(hosts), of_proxy(rules));
    seen.policies = policies;
    // The host that was asked for stays known.
    if let (Ok(known), Ok(more)) = (&mut seen.endpoints, endpoints) {
        known.extend(more);
    }
    seen.hosts = hosts;
    seen.rules = rules;
}

/// Returns the service to which most requests go, where that is another one.
fn elsewhere(observed: &Observed) -> Option<ServiceName> {
    let destinations = observed.destinations();
    let (name, _) = destinations.iter().max_by_key(|(_, weight)| *weight)?;
    let host = ClusterName::parse(name)?.host;
    let service = ServiceName::of_host(host, &observed.question.service.namespace)?;
    (service != observed.question.service).then_some(service)
}

async fn istiod(member: &Member) -> (Read<serde_json::Value>, Read<BTreeMap<String, bool>>) {
    let found = match Istiod::find(member).await {
        Ok(found) => found,
        Err(error) => return (Err(Unread::error(&error)), Err(Unread::error(&error))),
    };
    let Some(first) = found.first() else {
        let none = || Unread::because("no pod of istiod is ready");
        return (Err(none()), Err(none()));
    };
    let (config, known) = join(first.mesh_config(), try_join_all(found.iter().map(Istiod::clusters))).await;
    // The proxy has what one of them knows, and which one is not asked: a cluster has to be read by all.
    let synced = known.map(|known| {
        let is_synced = |id: &String| {
            known.iter().all(|known| known.iter().any(|known| known.id == *id && known.is_synced()))
        };
        known.iter().flatten().map(|known| (known.id.clone(), is_synced(&known.id))).collect()
    });
    (config.map_err(|error| Unread::error(&error)), synced.map_err(|error| Unread::error(&error)))
}

async fn namespace(member: &Member, name: &str) -> Read<Option<Namespace>> {
    let need = Need::new("get", "", "namespaces", None);
    let api: Api<Namespace> = Api::all(member.client().clone());
    api.get_opt(name).await.map_err(unread(&need))
}

/// Lists objects of Istio's API in a namespace; none where the API server does not know the kind.
async fn objects(member: &Member, kind: &str, namespace: &str) -> Read<Vec<SeenObject>> {
    let group = if kind == "AuthorizationPolicy" { "security.istio.io" } else { "networking.istio.io" };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let api: Api<DynamicObject> = Api::namespaced_with(member.client().clone(), namespace, &resource);
    let need = Need::new("list", group, &resource.plural, Some(namespace));
    let seen = |object: DynamicObject| {
        let spec = object.data.get("spec").cloned().unwrap_or_default();
        Some(SeenObject { namespace: object.namespace().unwrap_or_default(), name: object.name_any(), spec })
    };
    match list_pages(&api, &ListParams::default(), seen).await.map_err(RequestError::from) {
        Ok(objects) => Ok(objects),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(Unread::request(&need, &error)),
    }
}

async fn cluster(member: &Member, network: &str, name: &ServiceName, port: u16) -> SeenCluster {
    let need = Need::new("get", "", "services", Some(&name.namespace));
    let services: Api<Service> = Api::namespaced(member.client().clone(), &name.namespace);
    let service = async { services.get_opt(&name.name).await.map_err(unread(&need)) };
    let gateway = async {
        if member.cluster.network == *network {
            return None;
        }
        Some(gateway(member, name, port).await)
    };
    let policies = async {
        let (own, root) = join(
            objects(member, "AuthorizationPolicy", &name.namespace),
            objects(member, "AuthorizationPolicy", NAMESPACE),
        )
        .await;
        let (mut own, root) = (own?, root?);
        own.extend(root.into_iter().filter(|_| name.namespace != NAMESPACE));
        Ok(own)
    };
    let (of_namespace, service, gateway, policies) =
        futures::join!(namespace(member, &name.namespace), service, gateway, policies);
    let pods = match &service {
        Ok(Some(service)) => pods(member, name, service).await,
        Ok(None) => Ok(Vec::new()),
        Err(unread) => Err(unread.clone()),
    };
    let server = match (&service, &pods) {
        (Ok(Some(service)), Ok(pods)) => server(member, name, service, pods, port).await,
        _ => None,
    };
    SeenCluster {
        name: member.name().to_owned(),
        context: member.context().to_owned(),
        network: member.cluster.network.clone(),
        trust_domain: member.cluster.trust_domain.clone(),
        namespace: of_namespace,
        service,
        pods,
        gateway,
        server,
        policies,
    }
}

async fn pods(member: &Member, name: &ServiceName, service: &Service) -> Read<Vec<Pod>> {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let Some(selector) = selector.filter(|selector| !selector.is_empty()) else { return Ok(Vec::new()) };
    let labels: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let api: Api<Pod> = Api::namespaced(member.client().clone(), &name.namespace);
    let need = Need::new("list", "", "pods", Some(&name.namespace));
    let parameters = ListParams::default().labels(&labels.join(","));
    // What has ended, or is about to, gets no requests.
    let stays = |pod: Pod| WorkloadPod::of(&pod).map(|_| pod);
    list_pages(&api, &parameters, stays).await.map_err(unread(&need))
}

async fn gateway(member: &Member, name: &ServiceName, port: u16) -> Read<SeenGateway> {
    let api: Api<Pod> = Api::namespaced(member.client().clone(), NAMESPACE);
    let need = Need::new("list", "", "pods", Some(NAMESPACE));
    let selector = format!("app={EAST_WEST_GATEWAY}");
    let found = api.list(&ListParams::default().labels(&selector)).await.map_err(unread(&need))?;
    let Some(pod) = found.items.iter().find(|pod| pod_is_ready(pod)) else {
        return Ok(SeenGateway { pod: None, listens: false, hosts: 0 });
    };
    let pod = pod.name_any();
    let proxy = Proxy::of_pod(member, NAMESPACE, &pod);
    let host = name.host();
    let listener = u16::try_from(EAST_WEST_PORT).unwrap_or_default();
    let (listens, hosts) = join(proxy.listens_at(listener), proxy.hosts_behind(&host)).await;
    let (listens, hosts) = (of_proxy(listens)?, of_proxy(hosts)?);
    let of_port = hosts.of_service(&host).filter(|(name, _)| name.port == port && name.subset.is_empty());
    let hosts = of_port.map(|(_, hosts)| hosts.len()).sum();
    Ok(SeenGateway { pod: Some(pod), listens, hosts })
}

/// Asks the first pod that is ready and has a sidecar.
async fn server(
    member: &Member,
    name: &ServiceName,
    service: &Service,
    pods: &[Pod],
    port: u16,
) -> Option<SeenServer> {
    let runs = |pod: &&Pod| {
        pod_is_ready(pod) && WorkloadPod::of(pod).is_some_and(|pod| pod.proxy == ProxyState::Runs)
    };
    let mut ready: Vec<&Pod> = pods.iter().filter(runs).collect();
    ready.sort_by_key(|pod| pod.name_any());
    let pod = ready.first()?;
    let port = target_port(service, port, pod);
    let pod_name = pod.name_any();
    let proxy = Proxy::of_pod(member, &name.namespace, &pod_name);
    let listens = async {
        let at = PodPort { namespace: name.namespace.clone(), pod: pod_name.clone(), port: port? };
        Some(member.listens(&at).await.map_err(|error| Unread::forward(&error)))
    };
    let (inbound, secrets, listens) = futures::join!(proxy.inbound_rules(), proxy.secrets(), listens);
    Some(SeenServer {
        labels: pod.labels().clone(),
        port,
        listens,
        inbound: of_proxy(inbound),
        secrets: of_proxy(secrets),
        pod: pod_name,
    })
}

/// Returns the port of a pod that a port of the service leads to.
fn target_port(service: &Service, port: u16, pod: &Pod) -> Option<u16> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    let found = ports.iter().find(|found| found.port == i32::from(port))?;
    match &found.target_port {
        None => Some(port),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            let found = ports.find(|port| port.name.as_ref() == Some(name))?;
            u16::try_from(found.container_port).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_of_the_service_leads_to_a_number_or_a_name() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "containers": [{"name": "a", "ports": [{"containerPort": 1, "name": "other"}]}, {"name": "b", "ports": [{"containerPort": 8080, "name": "http"}]}],
        }}))
        .unwrap();
        let of = |target: serde_json::Value| {
            let ports = json!([{"port": 1, "targetPort": 2}, {"port": 80, "targetPort": target}]);
            let service: Service = serde_json::from_value(json!({"spec": {"ports": ports}})).unwrap();
            target_port(&service, 80, &pod)
        };
        assert_eq!(of(json!(9080)), Some(9080));
        assert_eq!(of(json!("http")), Some(8080));
        assert_eq!(of(json!("gone")), None);
        assert_eq!(of(json!(null)), Some(80));
        let none: Service = serde_json::from_value(json!({"spec": {"ports": [{"port": 81}]}})).unwrap();
        assert_eq!(target_port(&none, 80, &pod), None);
    }
}
