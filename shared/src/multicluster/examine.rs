//! Reading how the Istio of every cluster is.

use std::collections::BTreeMap;

use futures::future::{join, join_all, try_join_all};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::Value;

use super::examined::{
    Counted, Examined, Looked, NO_ISTIOD, Seen, SeenInjection, SeenIstiod, SeenPeerAuthentication,
    SeenRemoteSecret, SeenWorkload, ServerAuthority,
};
use super::gateway::{EastWest, east_west};
use super::probe::way;
use super::proxies::{meshed_pods, outbound, pods, proxies};
use super::sidecars::{failing_deployments, injector, namespaces, sidecars, stuck};
use crate::federation::{self};
use crate::fleet::{Member, Need, Peer, Read, RequestError, Unread, list_pages};
use crate::istio::ca::{SeenCa, certificates, is_same_authority};
use crate::istio::gateway::FoundGateway;
use crate::istio::istiod::{Istiod, KnownCluster, image_version};
use crate::istio::remote::{Access, FoundRemoteSecret, found_remote_secrets, reader_tokens};
use crate::istio::{EAST_WEST_GATEWAY, INGRESS_GATEWAY, ISTIOD, NAMESPACE, NETWORK_LABEL};
use crate::manifest::{Kind, ServiceAddress, trouble};
use crate::mesh::Mesh;
use crate::trust::svid::Certificate;

/// The first minor version of Kubernetes whose kubelets make istiod use native sidecars (`DetectNativeSidecar` in Istio's
/// `pkg/kube/inject/webhook.go`).
const NATIVE_SINCE: u32 = 33;
/// Name of the `ConfigMap` in which Kubernetes gives the CA of the API server to every namespace.
const SERVER_ROOT: &str = "kube-root-ca.crt";

/// Reads everything that [`super::verify`] needs, from all clusters at the same time. `unreachable` are the clusters of the mesh that
/// have no member, with the reason.
pub async fn examine(mesh: &Mesh, members: &[Member], unreachable: &BTreeMap<String, String>) -> Examined {
    let spire = federation::examine(mesh, members, unreachable);
    let istio = join_all(
        members
            .iter()
            .map(|member| async { (member.name().to_owned(), Box::pin(see(member, members)).await) }),
    );
    let (spire, clusters) = join(Box::pin(spire), istio).await;
    let clusters: BTreeMap<String, Seen> = clusters.into_iter().collect();
    let ways = ways(members, &clusters).await;
    Examined { spire, clusters, ways }
}

async fn see(member: &Member, members: &[Member]) -> Seen {
    let of_istio = async {
        futures::join!(
            workloads(member),
            istiods(member),
            network(member),
            gateway(member),
            gateway_objects(member),
            remote_secrets(member, members),
            peer_authentications(member),
            ca(member),
        )
    };
    let of_pods = async {
        futures::join!(
            injection(member),
            injector(member),
            namespaces(member),
            failing_deployments(member),
            pods(member),
        )
    };
    let (of_istio, of_pods) = join(Box::pin(of_istio), Box::pin(of_pods)).await;
    let (workloads, istiods, network, gateway, gateway_objects, remote_secrets, peer_authentications, ca) =
        of_istio;
    let (injection, injector, namespaces, deployments, pods) = of_pods;
    let proxies = match &pods {
        Ok(pods) => Ok(proxies(member, &pods.meshed).await),
        Err(unread) => Err(unread.clone()),
    };
    let (sidecars, stuck) = match namespaces {
        Ok(namespaces) => (
            pods.map(|pods| sidecars(&namespaces, pods)),
            deployments.map(|deployments| stuck(&namespaces, deployments)),
        ),
        Err(unread) => (Err(unread.clone()), Err(unread)),
    };
    let outbound = outbound(member, &proxies).await;
    let new_load_balancer = gateway.as_ref().ok().and_then(|gateway| gateway.new);
    Seen {
        workloads,
        istiods,
        network,
        gateway: gateway.map(|gateway| gateway.address),
        new_load_balancer,
        gateway_objects,
        remote_secrets,
        peer_authentications,
        injection,
        injector,
        sidecars,
        stuck,
        ca,
        proxies,
        outbound,
    }
}

/// Reads what a status shows: no proxy is asked.
pub(super) async fn look(member: &Member) -> Looked {
    let (workloads, istiod, gateway, remote_secrets, pods) = futures::join!(
        workloads(member),
        known_to_istiods(member),
        gateway(member),
        secrets(member),
        meshed_pods(member),
    );
    let (version, known) = match istiod {
        Ok((version, known)) => (version, Ok(known)),
        Err(unread) => (None, Err(unread)),
    };
    let gateway = gateway.map(|gateway| gateway.address);
    let proxies = pods.map(|pods| Counted {
        ready: pods.iter().filter(|pod| pod.trouble.is_none()).count(),
        total: pods.len(),
    });
    Looked { workloads, version, known, gateway, remote_secrets, proxies }
}

/// Asks every pod of istiod for the clusters that it knows, and the first one for its version.
async fn known_to_istiods(member: &Member) -> Read<(Option<String>, Vec<Vec<KnownCluster>>)> {
    let found = Istiod::find(member).await.map_err(|error| Unread::error(&error))?;
    let first = found.first().ok_or_else(|| Unread::because(NO_ISTIOD))?;
    let (known, version) = join(try_join_all(found.iter().map(Istiod::clusters)), first.version()).await;
    let known = known.map_err(|error| Unread::error(&error))?;
    Ok((version.ok().flatten().map(|version| version.to_string()), known))
}

async fn secrets(member: &Member) -> Read<Vec<FoundRemoteSecret>> {
    let need = Need::new("list", "", "secrets", Some(NAMESPACE));
    found_remote_secrets(member).await.map_err(|error| Unread::request(&need, &error))
}

async fn workloads(member: &Member) -> Read<Vec<SeenWorkload>> {
    let need = Need::new("list", "apps", "deployments", Some(NAMESPACE));
    let api: Api<Deployment> = Api::namespaced(member.client().clone(), NAMESPACE);
    let list = api.list(&ListParams::default()).await.map_err(|error| unread(&need, error))?;
    let named = |deployment: &&Deployment| {
        [ISTIOD, EAST_WEST_GATEWAY, INGRESS_GATEWAY].contains(&deployment.name_any().as_str())
    };
    Ok(join_all(list.items.iter().filter(named).map(|deployment| workload(member, deployment))).await)
}

async fn workload(member: &Member, deployment: &Deployment) -> SeenWorkload {
    let name = deployment.name_any();
    let spec = deployment.spec.as_ref();
    let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    let reason = match spec {
        Some(spec) if ready < wanted => {
            trouble(member.client(), NAMESPACE, &spec.selector, ("Deployment", &name)).await.ok().flatten()
        }
        _ => None,
    };
    let template = spec.and_then(|spec| spec.template.spec.as_ref());
    let mut images = template
        .into_iter()
        .flat_map(|spec| &spec.containers)
        .filter_map(|container| container.image.as_deref());
    let version = images.find_map(image_version);
    SeenWorkload { name, wanted, ready, trouble: reason, version }
}

async fn istiods(member: &Member) -> Read<Vec<SeenIstiod>> {
    let found = Istiod::find(member).await.map_err(|error| Unread::error(&error))?;
    Ok(join_all(found.iter().map(|istiod| async {
        let (clusters, networks, identities, mesh_config, version) = futures::join!(
            istiod.clusters(),
            istiod.networks(),
            istiod.identities(),
            istiod.mesh_config(),
            istiod.version()
        );
        SeenIstiod {
            pod: istiod.pod().to_owned(),
            version: version.ok().flatten(),
            clusters: clusters.map_err(|error| Unread::error(&error)),
            networks: networks.map_err(|error| Unread::error(&error)),
            identities: identities.map_err(|error| Unread::error(&error)),
            mesh_config: mesh_config.map_err(|error| Unread::error(&error)),
        }
    }))
    .await)
}

async fn ca(member: &Member) -> Read<SeenCa> {
    Box::pin(crate::istio::ca::observe(member)).await.map_err(|error| Unread::error(&error))
}

async fn network(member: &Member) -> Read<Option<String>> {
    let need = Need::new("get", "", "namespaces", None);
    let api: Api<Namespace> = Api::all(member.client().clone());
    let namespace = api.get_opt(NAMESPACE).await.map_err(|error| unread(&need, error))?;
    Ok(namespace.and_then(|namespace| namespace.labels().get(NETWORK_LABEL).cloned()))
}

async fn gateway(member: &Member) -> Read<EastWest> {
    east_west(member).await.map_err(|error| Unread::read(&error))
}

async fn remote_secrets(member: &Member, members: &[Member]) -> Read<Vec<SeenRemoteSecret>> {
    let found = secrets(member).await?;
    Ok(join_all(found.into_iter().map(|found| async {
        let (accepted_by, authority) = join(accepted_by(&found, members), authorities(&found, members)).await;
        SeenRemoteSecret { found, accepted_by, authority }
    }))
    .await)
}

/// Finds the clusters of the mesh that a remote secret's tokens belong to: by comparing them with the tokens that each cluster has, and by
/// asking the cluster that the secret names. No other one is shown a token.
async fn accepted_by(found: &FoundRemoteSecret, members: &[Member]) -> BTreeMap<String, Read<Vec<String>>> {
    let usable = found.clusters.iter().filter_map(|(cluster, access)| Some((cluster, access.as_ref().ok()?)));
    let asked = usable.map(|(cluster, access)| async move {
        let answers = join_all(members.iter().map(|member| async move {
            let accepted = if member.name() == cluster {
                if member.peer() == Peer::Unchecked {
                    let why = format!(
                        "nobody has checked whether {cluster} is who it says, so it is shown no token"
                    );
                    return Err(Unread::because(why));
                }
                let need = Need::new("create", "authentication.k8s.io", "tokenreviews", None);
                access.is_accepted_by(member).await.map_err(|error| Unread::request(&need, &error))?
            } else {
                let need = Need::new("list", "", "secrets", Some(NAMESPACE));
                let tokens = reader_tokens(member).await.map_err(|error| Unread::request(&need, &error))?;
                tokens.iter().any(|token| access.is_with(token))
            };
            Ok(accepted.then(|| member.name().to_owned()))
        }))
        .await;
        let names: Read<Vec<Option<String>>> = answers.into_iter().collect();
        (cluster.clone(), names.map(|names| names.into_iter().flatten().collect()))
    });
    join_all(asked).await.into_iter().collect()
}

/// Finds out whose CA a remote secret has for each cluster that it names: every API server tells its own to its pods.
async fn authorities(
    found: &FoundRemoteSecret,
    members: &[Member],
) -> BTreeMap<String, Read<ServerAuthority>> {
    let named = found.clusters.iter().filter_map(|(cluster, access)| {
        let member = members.iter().find(|member| member.name() == cluster)?;
        let access = access.as_ref().ok()?;
        Some(async move { (cluster.clone(), authority(access, member).await) })
    });
    join_all(named).await.into_iter().collect()
}

async fn authority(access: &Access, member: &Member) -> Read<ServerAuthority> {
    let held = access.authorities();
    if held.is_empty() {
        return Ok(ServerAuthority::System);
    }
    let need = Need::new("get", "", "configmaps", Some(NAMESPACE));
    let maps: Api<ConfigMap> = Api::namespaced(member.client().clone(), NAMESPACE);
    let map = maps.get_opt(SERVER_ROOT).await.map_err(|error| unread(&need, error))?;
    let text = map.as_ref().and_then(|map| map.data.as_ref()?.get("ca.crt"));
    let own = text.map(|text| certificates(text.as_bytes())).unwrap_or_default();
    if own.is_empty() {
        let why = format!("ConfigMap {NAMESPACE}/{SERVER_ROOT} of {} has no CA", member.name());
        return Err(Unread::because(why));
    }
    if own.iter().any(|own| held.iter().any(|held| is_same_authority(own, held))) {
        return Ok(ServerAuthority::Own);
    }
    let subjects = |all: &[Certificate]| all.iter().map(|one| one.subject.clone()).collect();
    Ok(ServerAuthority::Other { found: subjects(&held), wanted: subjects(&own) })
}

async fn gateway_objects(member: &Member) -> Read<Vec<FoundGateway>> {
    let kind = Kind::Gateway;
    let need = Need::new("list", kind.group(), kind.plural(), Some(NAMESPACE));
    let api = kind.api(member.client(), Some(NAMESPACE));
    let of = |object: DynamicObject| Some(FoundGateway::of(&object.name_any(), &object.data["spec"]));
    match list_pages(&api, &ListParams::default(), of).await.map_err(RequestError::from) {
        Ok(items) => Ok(items),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(Unread::request(&need, &error)),
    }
}

async fn peer_authentications(member: &Member) -> Read<Vec<SeenPeerAuthentication>> {
    let kind = Kind::PeerAuthentication;
    let need = Need::new("list", kind.group(), kind.plural(), None);
    let listed = list_pages(&kind.api(member.client(), None), &ListParams::default(), Some).await;
    let list = match listed.map_err(RequestError::from) {
        Ok(items) => items,
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(Unread::request(&need, &error)),
    };
    Ok(list
        .into_iter()
        .map(|object| {
            let spec = &object.data["spec"];
            let mode = |value: &Value| value["mode"].as_str().unwrap_or("UNSET").to_owned();
            let ports = spec["portLevelMtls"].as_object().into_iter().flatten();
            SeenPeerAuthentication {
                namespace: object.namespace().unwrap_or_default(),
                name: object.name_any(),
                selects: spec["selector"]["matchLabels"].as_object().is_some_and(|labels| !labels.is_empty()),
                mode: mode(&spec["mtls"]),
                ports: ports.map(|(port, value)| (port.clone(), mode(value))).collect(),
            }
        })
        .collect())
}

/// Reads the injection template that is in force, and which form of sidecar istiod makes here.
async fn injection(member: &Member) -> Read<SeenInjection> {
    let need = |resource| Need::new("get", "", resource, Some(NAMESPACE));
    let client = || member.client().clone();
    let maps: Api<ConfigMap> = Api::namespaced(client(), NAMESPACE);
    let map = maps
        .get_opt("istio-sidecar-injector")
        .await
        .map_err(|error| unread(&need("configmaps"), error))?
        .ok_or_else(|| Unread::because("there is no ConfigMap istio-sidecar-injector"))?;
    let text = map.data.as_ref().and_then(|data| data.get("config")).map(String::as_str).unwrap_or_default();
    let config: Value = serde_saphyr::from_str(text).map_err(|_| {
        Unread::because("ConfigMap istio-sidecar-injector holds no configuration that can be read")
    })?;
    let names = config["defaultTemplates"].as_array().into_iter().flatten();
    let nodes: Api<Node> = Api::all(client());
    let nodes = list_pages(&nodes, &ListParams::default(), Some)
        .await
        .map_err(|error| unread(&Need::new("list", "", "nodes", None), error))?;
    let deployments: Api<Deployment> = Api::namespaced(client(), NAMESPACE);
    let istiod = deployments.get_opt(ISTIOD).await.map_err(|error| unread(&need("deployments"), error))?;
    let (native, why) = native(istiod.as_ref(), &nodes);
    Ok(SeenInjection {
        template: config["templates"]["spire"].as_str().map(str::to_owned),
        default_templates: names.filter_map(Value::as_str).map(str::to_owned).collect(),
        native,
        why,
    })
}

/// Tells whether istiod makes sidecars init containers, as it decides by itself.
fn native(istiod: Option<&Deployment>, nodes: &[Node]) -> (bool, String) {
    let template = istiod.and_then(|istiod| istiod.spec.as_ref()?.template.spec.as_ref());
    let mut variables = template
        .into_iter()
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.env.iter().flatten())
        .filter(|variable| variable.name == "ENABLE_NATIVE_SIDECARS");
    match variables.next().and_then(|variable| variable.value.as_deref()) {
        Some("true") => return (true, "istiod has ENABLE_NATIVE_SIDECARS=true".to_owned()),
        Some("false") => return (false, "istiod has ENABLE_NATIVE_SIDECARS=false".to_owned()),
        _ => {}
    }
    let versions = nodes.iter().filter_map(|node| {
        Some((node.name_any(), node.status.as_ref()?.node_info.as_ref()?.kubelet_version.clone()))
    });
    let older = versions.into_iter().find(|(_, version)| {
        let minor =
            version.trim_start_matches('v').split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
        minor.is_none_or(|minor| minor < NATIVE_SINCE)
    });
    match older {
        Some((node, version)) => (false, format!("the kubelet of {node} is of {version}")),
        None => (true, format!("every kubelet is of 1.{NATIVE_SINCE} or newer")),
    }
}

/// Tries the way from every cluster into every other network.
async fn ways(
    members: &[Member],
    clusters: &BTreeMap<String, Seen>,
) -> BTreeMap<(String, String), Read<super::probe::Way>> {
    let pairs = members.iter().flat_map(|from| members.iter().map(move |to| (from, to)));
    let pairs = pairs.filter(|(from, to)| from.cluster.network != to.cluster.network);
    let tried = pairs.filter_map(|(from, to)| {
        let Ok(ServiceAddress::Ready(address)) = &clusters.get(to.name())?.gateway else { return None };
        let address = address.to_string();
        Some(async move {
            let way = way(from, &address).await.map_err(|error| Unread::error(&error));
            ((from.name().to_owned(), to.name().to_owned()), way)
        })
    });
    join_all(tried).await.into_iter().collect()
}

pub(super) fn unread(need: &Need, error: kube::Error) -> Unread {
    Unread::request(need, &RequestError::from(error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::fake::FakeServer;

    fn node(version: &str) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"nodeInfo": {
            "kubeletVersion": version, "architecture": "", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
            "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": ""}}}))
        .expect("a node")
    }

    fn istiod(variable: &str) -> Deployment {
        serde_json::from_value(json!({"spec": {"selector": {}, "template": {"spec": {"containers": [
            {"name": "discovery", "env": [{"name": "ENABLE_NATIVE_SIDECARS", "value": variable}]}]}}}}))
        .expect("a deployment")
    }

    #[test]
    fn sidecars_are_init_containers_where_every_kubelet_knows_them_or_istiod_was_told() {
        assert!(native(None, &[node("v1.33.0"), node("v1.34.2-eks-1")]).0);
        let (is_native, why) = native(None, &[node("v1.34.0"), node("v1.32.9")]);
        assert!(!is_native);
        assert_eq!(why, "the kubelet of n is of v1.32.9");
        assert!(!native(Some(&istiod("false")), &[node("v1.34.0")]).0);
        assert!(native(Some(&istiod("true")), &[node("v1.30.0")]).0);
        assert!(native(Some(&istiod("")), &[node("v1.34.0")]).0);
    }

    fn others(variable: &str) -> Deployment {
        serde_json::from_value(json!({"spec": {"selector": {}, "template": {"spec": {"containers": [
            {"name": "proxy"}, {"name": "discovery", "env": [{"name": "A", "value": "true"}, {"name": variable, "value": "false"}]}]}}}}))
        .expect("a deployment")
    }

    #[test]
    fn a_kubelet_whose_version_is_not_known_is_taken_for_an_old_one() {
        assert!(!native(None, &[node("v1.34.0"), node("latest")]).0);
        assert_eq!(native(None, &[node("v1.33.0")]).1, "every kubelet is of 1.33 or newer");
        assert_eq!(native(Some(&others("B")), &[node("v1.34.0")]).1, "every kubelet is of 1.33 or newer");
        assert_eq!(
            native(Some(&others("ENABLE_NATIVE_SIDECARS")), &[node("v1.34.0")]),
            (false, "istiod has ENABLE_NATIVE_SIDECARS=false".to_owned())
        );
        assert_eq!(native(Some(&istiod("true")), &[]).1, "istiod has ENABLE_NATIVE_SIDECARS=true");
    }

    const SYSTEM: &str = "namespaces/istio-system";

    #[tokio::test]
    async fn rules_on_mutual_tls_are_read_with_ports_and_whom_they_select() {
        let server = FakeServer::default();
        let put = |namespace: &str, name: &str, spec: Value| {
            let path =
                format!("/apis/security.istio.io/v1/namespaces/{namespace}/peerauthentications/{name}");
            server.put(&path, json!({"spec": spec}));
        };
        put("istio-system", "default", json!({"mtls": {"mode": "STRICT"}}));
        put("sample", "none", json!({}));
        let ports = json!({"9000": {"mode": "DISABLE"}, "9001": {}});
        let labels = json!({"matchLabels": {"app": "cart"}});
        put(
            "shop",
            "cart",
            json!({"selector": labels, "mtls": {"mode": "PERMISSIVE"}, "portLevelMtls": ports}),
        );
        put("shop", "empty", json!({"selector": {"matchLabels": {}}, "mtls": {"mode": "DISABLE"}}));
        let read = peer_authentications(&server.member("baz")).await.unwrap();
        insta::assert_debug_snapshot!(read);
    }

    #[tokio::test]
    async fn without_istios_kinds_there_are_no_rules_and_without_rights_nothing_is_known() {
        let path = "/apis/security.istio.io/v1/peerauthentications";
        let server = FakeServer::default();
        server.refuse(path, 404);
        assert_eq!(peer_authentications(&server.member("baz")).await.unwrap(), []);
        server.refuse(path, 403);
        let unread = peer_authentications(&server.member("baz")).await.unwrap_err();
        assert_eq!(unread.why, "you may not list peerauthentications.security.istio.io");
        server.refuse(path, 500);
        assert!(peer_authentications(&server.member("baz")).await.is_err());
    }

    #[tokio::test]
    async fn the_injection_template_in_force_is_read() {
        let server = FakeServer::default();
        let map = format!("/api/v1/{SYSTEM}/configmaps/istio-sidecar-injector");
        let member = server.member("baz");
        assert_eq!(injection(&member).await.unwrap_err().why, "there is no ConfigMap istio-sidecar-injector");
        server.put(&map, json!({"data": {"config": "{"}}));
        assert!(injection(&member).await.unwrap_err().why.ends_with("no configuration that can be read"));
        let config = "defaultTemplates: [sidecar, spire]\ntemplates: {sidecar: x, spire: 'spec: {}'}\n";
        server.put(&map, json!({"data": {"config": config, "values": "{}"}}));
        server.put("/api/v1/nodes/n-1", serde_json::to_value(node("v1.34.0")).unwrap());
        server.put("/api/v1/nodes/n-2", serde_json::to_value(node("v1.32.0")).unwrap());
        insta::assert_debug_snapshot!(injection(&member).await.unwrap());
        server.put(
            &format!("/apis/apps/v1/{SYSTEM}/deployments/istiod"),
            serde_json::to_value(istiod("true")).unwrap(),
        );
        assert!(injection(&member).await.unwrap().native);
    }

    #[tokio::test]
    async fn istiod_and_the_gateways_are_read_with_their_replicas_and_version() {
        let server = FakeServer::default();
        let deployment = |replicas: Value, ready: Value, image: &str| {
            json!({
                "spec": {"replicas": replicas, "selector": {"matchLabels": {}}, "template": {"spec": {"containers": [
                    {"name": "sidecar", "image": "x"}, {"name": "c", "image": image}]}}},
                "status": {"readyReplicas": ready},
            })
        };
        let put = |name: &str, value: Value| {
            server.put(&format!("/apis/apps/v1/{SYSTEM}/deployments/{name}"), value);
        };
        put("istiod", deployment(json!(3), json!(3), "docker.io/istio/pilot:1.31.0-distroless"));
        put("istio-eastwestgateway", deployment(Value::Null, json!(1), "docker.io/istio/proxyv2:latest"));
        put("istio-ingressgateway", deployment(json!(2), Value::Null, "x@sha256:00"));
        put("kiali", deployment(json!(1), json!(1), "kiali:1.0"));
        let read = workloads(&server.member("baz")).await.unwrap();
        let told: Vec<_> = read
            .iter()
            .map(|read| {
                format!(
                    "{} {}/{} {:?}",
                    read.name,
                    read.ready,
                    read.wanted,
                    read.version.map(|v| v.to_string())
                )
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        istio-eastwestgateway 1/1 None
        istio-ingressgateway 0/2 None
        istiod 3/3 Some("1.31.0")
        "#);
    }

    #[tokio::test]
    async fn the_network_is_the_label_of_istios_namespace() {
        let server = FakeServer::default();
        assert_eq!(network(&server.member("baz")).await, Ok(None));
        server.put(
            "/api/v1/namespaces/istio-system",
            json!({"metadata": {"labels": {"topology.istio.io/network": "vpc-1"}}}),
        );
        assert_eq!(network(&server.member("baz")).await, Ok(Some("vpc-1".to_owned())));
    }

    fn put_token(server: &FakeServer, slot: &str, token: &str, made: &str) {
        server.put(
            &format!("/api/v1/{SYSTEM}/secrets/spire-mesh-remote-reader-foo-{slot}"),
            json!({
                "metadata": {"labels": {"spire-mesh.dev/remote-reader-token": "true"}, "creationTimestamp": made},
                "data": {"token": token, "ca.crt": "Y2E="},
            }),
        );
    }

    #[tokio::test]
    async fn a_token_is_shown_to_nobody_but_the_cluster_that_the_secret_names() {
        let servers = ["foo", "bar", "baz"].map(|name| (name, FakeServer::default()));
        let config = |token: &str| {
            let text = json!({
                "clusters": [{"name": "c", "cluster": {"server": "https://api.example:6443"}}],
                "users": [{"name": "u", "user": {"token": token}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            });
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text.to_string())
        };
        let put = |name: &str, data: Value| {
            let path = format!("/api/v1/{SYSTEM}/secrets/{name}");
            servers[2]
                .1
                .put(&path, json!({"metadata": {"labels": {"istio/multiCluster": "true"}}, "data": data}));
        };
        put("good", json!({"bar": config("of-bar")}));
        put("of-another", json!({"foo": config("a")}));
        put("broken", json!({"bar": "e30="}));
        servers[1].1.accept("of-bar");
        put_token(&servers[1].1, "a", "YQ==", "2026-11-25T11:00:00Z");
        // These would take it, too, and are not asked.
        servers[0].1.accept("of-bar");
        let mut members = servers.map(|(name, server)| server.member(name));
        let read = remote_secrets(&members[2], &members).await.unwrap();
        let told: Vec<_> =
            read.iter().map(|secret| format!("{} {:?}", secret.found.name, secret.accepted_by)).collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        broken {}
        good {"bar": Ok(["bar"])}
        of-another {"foo": Ok(["bar"])}
        "#);
        members[1].connection = members[1].connection.clone().unchecked();
        let read = remote_secrets(&members[2], &members).await.unwrap();
        let good = read.iter().find(|secret| secret.found.name == "good").unwrap();
        insta::assert_snapshot!(good.accepted_by["bar"].as_ref().unwrap_err().why, @"nobody has checked whether bar is who it says, so it is shown no token");
    }

    #[tokio::test]
    async fn the_ca_in_a_remote_secret_is_held_against_that_of_the_api_server() {
        let server = FakeServer::default();
        let member = server.member("bar");
        let named = |name: &str| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let own = named("kubernetes").self_signed(&key).unwrap().pem();
        let renewed = named("kubernetes").self_signed(&key).unwrap().pem();
        let other = named("old").self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        let access = |authority: &str| {
            let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, authority);
            let text = json!({
                "clusters": [{"name": "c", "cluster": {"server": "https://a", "certificate-authority-data": data}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            });
            Access::parse(text.to_string().as_bytes()).unwrap()
        };
        let map = format!("/api/v1/{SYSTEM}/configmaps/kube-root-ca.crt");
        let why = authority(&access(&own), &member).await.unwrap_err().why;
        assert_eq!(why, "ConfigMap istio-system/kube-root-ca.crt of bar has no CA");
        server.put(&map, json!({"data": {"ca.crt": own}}));
        assert_eq!(authority(&access(&own), &member).await, Ok(ServerAuthority::Own));
        assert_eq!(authority(&access(&renewed), &member).await, Ok(ServerAuthority::Own));
        assert_eq!(authority(&access(&format!("{other}{own}")), &member).await, Ok(ServerAuthority::Own));
        assert_eq!(authority(&access(""), &member).await, Ok(ServerAuthority::System));
        let Ok(ServerAuthority::Other { found, wanted }) = authority(&access(&other), &member).await else {
            panic!("another CA")
        };
        assert_eq!((found.len(), wanted.len()), (1, 1));
        assert!(found[0].contains("CN=old") && wanted[0].contains("CN=kubernetes"), "{found:?} {wanted:?}");
    }

    #[tokio::test]
    async fn it_is_looked_for_what_keeps_pods_only_where_some_are_not_ready() {
        let server = FakeServer::default();
        let deployment = |replicas: u8, ready: u8| {
            json!({
                "spec": {"replicas": replicas, "selector": {"matchLabels": {}}, "template": {"spec": {"containers": []}}},
                "status": {"readyReplicas": ready},
            })
        };
        server.put(&format!("/apis/apps/v1/{SYSTEM}/deployments/istiod"), deployment(3, 2));
        server.put(&format!("/apis/apps/v1/{SYSTEM}/deployments/istio-eastwestgateway"), deployment(1, 1));
        server.put(
            &format!("/api/v1/{SYSTEM}/pods/istiod-3"),
            json!({"spec": {"containers": []}, "status": {"phase": "Pending", "containerStatuses": [{
                "name": "discovery", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}},
            }]}}),
        );
        let read = workloads(&server.member("baz")).await.unwrap();
        let told: Vec<(&str, bool)> =
            read.iter().map(|read| (read.name.as_str(), read.trouble.is_some())).collect();
        assert_eq!(told, [("istio-eastwestgateway", false), ("istiod", true)]);
    }
}
