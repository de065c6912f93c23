//! The configuration that `istioctl` is given for one cluster.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{EAST_WEST_GATEWAY, INGRESS_GATEWAY, ISTIOD, MULTIROOT, NAMESPACE, WORKLOAD_SOCKET};
use crate::mesh::{Cluster, Gateway, IstioCa, Mesh, Pods, Replicated, lay};
use crate::spire::desired::CSI_DRIVER;
use crate::trust::TrustDomain;

/// Where Istio's agent looks for the socket of another source of identities than istiod
/// (`WorkloadIdentityPath` in Istio's `pkg/security/security.go`).
const SOCKET_FOLDER: &str = "/var/run/secrets/workload-spiffe-uds";

/// Connections that say nothing for so many seconds are asked whether they are still there: network load balancers of AWS forget them after
/// 350, and tell neither side.
const KEEPALIVE: Keepalive = Keepalive { time: "120s", interval: "30s", probes: 5 };

/// `meshConfig.tcpKeepalive`.
#[derive(Serialize)]
struct Keepalive {
    time: &'static str,
    interval: &'static str,
    probes: u32,
}

/// What is laid over every sidecar: SPIRE's socket instead of istiod's certificates.
const SIDECAR_TEMPLATE: &str = include_str!("../../../manifests/istio/sidecar-template.txt");

/// Returns the `IstioOperator` of a cluster: the profile, who trusts whom, SPIRE's socket in sidecars and gateways, and the mesh
/// file's own values over it.
#[must_use]
pub fn configuration(mesh: &Mesh, cluster: &Cluster) -> Value {
    let istio = &cluster.istio;
    let peers: Vec<&TrustDomain> = mesh
        .clusters
        .iter()
        .map(|peer| &peer.trust_domain)
        .filter(|domain| **domain != cluster.trust_domain)
        .collect();
    let mut mesh_config = istio.mesh_config.clone();
    mesh_config.insert("trustDomain".to_owned(), json!(cluster.trust_domain.as_str()));
    let peers: Vec<&str> = peers.into_iter().map(TrustDomain::as_str).collect();
    // Not as aliases: these give the workloads of one trust domain the rights of those of the other.
    mesh_config.insert("caCertificates".to_owned(), json!([{ "trustDomains": peers }]));
    mesh_config.entry("tcpKeepalive").or_insert_with(|| json!(KEEPALIVE));

    let gateways = [Some(&istio.east_west_gateway), istio.ingress_gateway.as_ref()];
    let fewest = gateways.into_iter().flatten().map(|gateway| gateway.pods.replicas).max();
    let mut values = map(json!({
        "global": {
            "meshID": mesh.name,
            "multiCluster": {"clusterName": cluster.name},
            "network": cluster.network,
            // Not every version asks how many pods there are: a budget for one pod keeps its node from being drained.
            "defaultPodDisruptionBudget": {"enabled": false},
        },
        // Without a metrics server, which EKS does not bring, an autoscaler does nothing. Its minimum counts where the mesh file asks for one.
        "pilot": {
            "autoscaleEnabled": false,
            "autoscaleMin": istio.istiod.replicas,
            "replicaCount": istio.istiod.replicas,
        },
        "gateways": {INGRESS_GATEWAY: {"autoscaleEnabled": false, "autoscaleMin": fewest}},
        "sidecarInjectorWebhook": {
            "defaultTemplates": ["sidecar", "spire"],
            "templates": {"spire": SIDECAR_TEMPLATE},
        },
    }));
    if let IstioCa::CertManager(_) = istio.ca {
        // Or its root could not be changed while it runs.
        lay(&mut values, &map(json!({"pilot": { "env": { MULTIROOT: "true" } }})));
    }
    lay(&mut values, &istio.values);
    let is_scaled = |values: &Value| values["autoscaleEnabled"] == json!(true);
    let count = |values: &Value| if is_scaled(values) { Count::ByLoad } else { Count::Fixed };
    let of_gateways = values["gateways"].get(INGRESS_GATEWAY).map_or(Count::Fixed, count);

    let mut spec = map(json!({
        "profile": istio.profile,
        "meshConfig": mesh_config,
        "values": values,
        "components": {
            "pilot": {"k8s": of_pods(ISTIOD, &json!({"app": ISTIOD}), &istio.istiod)},
            "ingressGateways": gateways_of(cluster, of_gateways),
        },
    }));
    for (key, value) in [("hub", &istio.hub), ("tag", &istio.tag)] {
        if let Some(value) = value {
            spec.insert(key.to_owned(), json!(value));
        }
    }
    json!({
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "metadata": {"namespace": NAMESPACE},
        "spec": spec,
    })
}

/// Who says how many pods there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    /// The mesh file.
    Fixed,
    /// An autoscaler: whoever else wrote the number would take turns with it.
    ByLoad,
}

fn gateways_of(cluster: &Cluster, count: Count) -> Vec<Value> {
    let istio = &cluster.istio;
    let ingress = match &istio.ingress_gateway {
        Some(wanted) => gateway(INGRESS_GATEWAY, wanted, count),
        // The profile would make one.
        None => json!({"name": INGRESS_GATEWAY, "enabled": false}),
    };
    let mut east_west = gateway(EAST_WEST_GATEWAY, &istio.east_west_gateway, count);
    east_west["label"] = json!({
        "app": EAST_WEST_GATEWAY,
        "istio": "eastwestgateway",
        "topology.istio.io/network": cluster.network,
    });
    if let Some(environment) = east_west["k8s"]["env"].as_array_mut() {
        environment.push(json!({"name": "ISTIO_META_REQUESTED_NETWORK_VIEW", "value": cluster.network}));
    }
    // Only what other clusters need: each istiod looks after its own cluster.
    east_west["k8s"]["service"]["ports"] = json!([
        {"name": "status-port", "port": 15021, "targetPort": 15021},
        {"name": "tls", "port": 15443, "targetPort": 15443},
    ]);
    vec![ingress, east_west]
}

/// A gateway with SPIRE's socket. Gateways of `istioctl` are whole deployments, not injected ones, so the template is not for them.
fn gateway(name: &str, wanted: &Gateway, count: Count) -> Value {
    let volume = json!({"name": "workload-socket", "csi": {"driver": CSI_DRIVER, "readOnly": true}});
    let mount = json!({"name": "workload-socket", "mountPath": SOCKET_FOLDER, "readOnly": true});
    let mount_path = "spec.template.spec.containers.[name:istio-proxy].volumeMounts.[name:workload-socket]";
    let mut k8s = of_pods(name, &json!({"app": name}), &wanted.pods);
    k8s["env"] = json!([{"name": "WORKLOAD_IDENTITY_SOCKET_FILE", "value": WORKLOAD_SOCKET}]);
    k8s["serviceAnnotations"] = json!(wanted.service.annotations);
    k8s["service"] = json!({"type": "LoadBalancer"});
    if count == Count::Fixed {
        k8s["replicaCount"] = json!(wanted.pods.replicas);
    }
    let mut overlays = vec![json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": name,
        "patches": [
            {"path": "spec.template.spec.volumes.[name:workload-socket]", "value": volume},
            {"path": mount_path, "value": mount},
        ],
    })];
    if let Some(class) = &wanted.service.class {
        overlays.push(json!({
            "kind": "Service",
            "name": name,
            "patches": [{"path": "spec.loadBalancerClass", "value": class}],
        }));
    }
    overlays.extend(k8s["overlays"].as_array().into_iter().flatten().cloned());
    k8s["overlays"] = json!(overlays);
    json!({"name": name, "enabled": true, "k8s": k8s})
}

/// How the pods of a `Deployment` are made and spread. `labels` are those by which they are counted.
fn of_pods(name: &str, labels: &Value, wanted: &Replicated) -> Value {
    let Replicated { replicas, pods: Pods { placement, resources, annotations } } = wanted;
    let mut k8s = map(json!({
        "nodeSelector": placement.node_selector,
        "tolerations": placement.tolerations,
        "affinity": placement.affinity,
        "priorityClassName": placement.priority_class,
        "podAnnotations": annotations,
    }));
    let is_said = |value: &Value| match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    k8s.retain(|_, value| is_said(value));
    let parts = [("requests", &resources.requests), ("limits", &resources.limits)];
    let parts = parts.map(|(part, amounts)| (part, amounts.given().collect::<BTreeMap<_, _>>()));
    let parts: BTreeMap<_, _> = parts.into_iter().filter(|(_, amounts)| !amounts.is_empty()).collect();
    if !parts.is_empty() {
        k8s.insert("resources".to_owned(), json!(parts));
    }
    if replicas.get() > 1 {
        let spread = json!({
            "kind": "Deployment",
            "name": name,
            "patches": [{"path": "spec.template.spec.topologySpreadConstraints", "value": spread(labels)}],
        });
        k8s.insert("overlays".to_owned(), json!([spread]));
    }
    Value::Object(k8s)
}

/// Spreads pods over zones, and over nodes, where that can be had: a cluster of one node runs them all.
fn spread(labels: &Value) -> Value {
    let over = |key: &str| {
        json!({
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
            // Those of the version before do not count while they are replaced.
            "matchLabelKeys": ["pod-template-hash"],
        })
    };
    json!([over("topology.kubernetes.io/zone"), over("kubernetes.io/hostname")])
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh(istio: &str) -> Mesh {
        let text = format!(
            "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {{name: devup}}\nspec:\n  istio: {istio}\n  clusters:\n  \
             - {{name: foo, trustDomain: foo.com, network: vpc-1}}\n  - {{name: bar, trustDomain: bar.com}}\n  - {{name: baz, trustDomain: baz.com}}\n"
        );
        Mesh::parse(&text, "test").unwrap()
    }

    fn written(istio: &str) -> Value {
        let mesh = mesh(istio);
        configuration(&mesh, &mesh.clusters[0])
    }

    #[test]
    fn a_configuration_says_who_is_trusted_and_where_identities_come_from() {
        insta::assert_yaml_snapshot!(written("{}"));
    }

    #[test]
    fn what_the_mesh_file_says_is_laid_over_and_the_ingress_gateway_can_be_left_out() {
        let written = written(
            "{hub: mirror/istio, tag: 1.30.1, profile: minimal, meshConfig: {accessLogFile: /dev/stdout}, ingressGateway: {enabled: false}, \
             eastWestGateway: {loadBalancerClass: a/nlb, annotations: {}}, values: {global: {proxy: {logLevel: debug}}, pilot: {env: {A: 'b'}}}}",
        );
        insta::assert_yaml_snapshot!(written);
    }

    #[test]
    fn pods_are_placed_counted_and_spread_as_the_mesh_file_says() {
        let placement = "{nodeSelector: {pool: system}, tolerations: [{key: system, operator: Exists}], priorityClassName: mesh, \
             affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: \
             [{key: a, operator: Exists}]}}]}}}";
        let pods = format!(
            "placement: {placement}, resources: {{requests: {{cpu: 100m}}, limits: {{memory: 1Gi}}}}, podAnnotations: {{a: b}}"
        );
        let written = written(&format!(
            "{{istiod: {{replicas: 3, {pods}}}, eastWestGateway: {{replicas: 1, {pods}}}, ingressGateway: {{loadBalancerClass: a/nlb}}}}"
        ));
        insta::assert_yaml_snapshot!(written["spec"]["components"]);
        insta::assert_yaml_snapshot!(written["spec"]["values"]["pilot"], @r"
        autoscaleEnabled: false
        autoscaleMin: 3
        replicaCount: 3
        ");
    }

    #[test]
    fn pods_are_scaled_by_load_where_the_mesh_files_values_say_so() {
        let values = "values: {pilot: {autoscaleEnabled: true}, gateways: {istio-ingressgateway: {autoscaleEnabled: true, autoscaleMax: 9}}}";
        let written = written(&format!(
            "{{{values}, eastWestGateway: {{replicas: 3}}, ingressGateway: {{replicas: 1}}}}"
        ));
        let spec = &written["spec"];
        assert_eq!(
            spec["values"]["pilot"],
            json!({"autoscaleEnabled": true, "autoscaleMin": 2, "replicaCount": 2})
        );
        let gateways = json!({"autoscaleEnabled": true, "autoscaleMin": 3, "autoscaleMax": 9});
        assert_eq!(spec["values"]["gateways"][INGRESS_GATEWAY], gateways);
        for gateway in spec["components"]["ingressGateways"].as_array().unwrap() {
            assert_eq!(gateway["k8s"].get("replicaCount"), None, "the autoscaler counts");
        }
    }

    #[test]
    fn an_istiod_with_a_ca_of_cert_manager_takes_further_roots_unless_the_mesh_file_says_otherwise() {
        let environment = |istio: &str| written(istio)["spec"]["values"]["pilot"]["env"].clone();
        let ca = "ca: {certManager: {issuer: istio-ca}}";
        assert_eq!(environment("{}"), Value::Null);
        assert_eq!(environment(&format!("{{{ca}}}")), json!({ MULTIROOT: "true" }));
        let values = "values: {pilot: {env: {ISTIO_MULTIROOT_MESH: 'false', A: b}}}";
        assert_eq!(environment(&format!("{{{ca}, {values}}}")), json!({ MULTIROOT: "false", "A": "b" }));
    }

    #[test]
    fn the_template_of_sidecars_names_the_socket_that_agents_serve() {
        for text in [WORKLOAD_SOCKET, SOCKET_FOLDER, CSI_DRIVER] {
            assert!(SIDECAR_TEMPLATE.contains(text), "{text}");
        }
    }
}
