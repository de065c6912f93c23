//! The configuration that `istioctl` is given for one cluster.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{EAST_WEST_GATEWAY, INGRESS_GATEWAY, MULTIROOT, NAMESPACE, WORKLOAD_SOCKET};
use crate::mesh::{Cluster, GatewayService, IstioCa, Mesh, lay};
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

    let mut values = map(json!({
        "global": {
            "meshID": mesh.name,
            "multiCluster": {"clusterName": cluster.name},
            "network": cluster.network,
        },
        "sidecarInjectorWebhook": {
            "defaultTemplates": ["sidecar", "spire"],
            "templates": {"spire": SIDECAR_TEMPLATE},
        },
    }));
    if let IstioCa::CertManager(_) = istio.ca {
        // Or its root could not be changed while it runs.
        values.insert("pilot".to_owned(), json!({ "env": { MULTIROOT: "true" } }));
    }
    lay(&mut values, &istio.values);

    let mut spec = map(json!({
        "profile": istio.profile,
        "meshConfig": mesh_config,
        "values": values,
        "components": {
            "ingressGateways": gateways(cluster),
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

fn gateways(cluster: &Cluster) -> Vec<Value> {
    let istio = &cluster.istio;
    let ingress = match &istio.ingress_gateway {
        Some(service) => gateway(INGRESS_GATEWAY, service),
        // The profile would make one.
        None => json!({"name": INGRESS_GATEWAY, "enabled": false}),
    };
    let mut east_west = gateway(EAST_WEST_GATEWAY, &istio.east_west_gateway);
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
fn gateway(name: &str, service: &GatewayService) -> Value {
    let volume = json!({"name": "workload-socket", "csi": {"driver": CSI_DRIVER, "readOnly": true}});
    let mount = json!({"name": "workload-socket", "mountPath": SOCKET_FOLDER, "readOnly": true});
    let mount_path = "spec.template.spec.containers.[name:istio-proxy].volumeMounts.[name:workload-socket]";
    let mut value = json!({
        "name": name,
        "enabled": true,
        "k8s": {
            "env": [{"name": "WORKLOAD_IDENTITY_SOCKET_FILE", "value": WORKLOAD_SOCKET}],
            "serviceAnnotations": service.annotations,
            "service": {"type": "LoadBalancer"},
            "overlays": [{
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": name,
                "patches": [
                    {"path": "spec.template.spec.volumes.[name:workload-socket]", "value": volume},
                    {"path": mount_path, "value": mount},
                ],
            }],
        },
    });
    if let Some(class) = &service.class {
        let patch = json!({
            "kind": "Service",
            "name": name,
            "patches": [{"path": "spec.loadBalancerClass", "value": class}],
        });
        if let Some(overlays) = value["k8s"]["overlays"].as_array_mut() {
            overlays.push(patch);
        }
    }
    value
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
