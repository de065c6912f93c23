//! Configuration files of SPIRE server, SPIRE agent and spire-controller-manager, from typed structures.
//!
//! SPIRE reads JSON wherever it reads HCL. A block that HCL allows to be repeated is a list here. Unknown keys in `server`
//! are fatal to SPIRE (`checkForUnknownConfig` in `cmd/spire-server/cli/run/run.go`), so there are none to spare.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::mesh::{CertManagerIssuer, Cluster, KeyType, ManagedSpire, UpstreamAuthority};

/// Port of the server for agents.
const SERVER_PORT: u16 = 8081;
/// Port of the bundle endpoint.
pub(super) const BUNDLE_PORT: u16 = 8443;
/// The server's socket for its administrators, where its command line looks for it by default
/// (SPIRE, `cmd/spire-server/util/util.go`).
pub(super) const SERVER_SOCKET: &str = "/tmp/spire-server/private/api.sock";
/// The longest common name that X.509 allows, in characters (RFC 5280, appendix A.1).
const LONGEST_COMMON_NAME: usize = 64;

#[derive(Serialize)]
struct ServerConfig<'a> {
    server: ServerSection<'a>,
    plugins: serde_json::Value,
    health_checks: HealthChecks,
}

#[derive(Serialize)]
struct ServerSection<'a> {
    bind_address: &'static str,
    bind_port: u16,
    socket_path: &'static str,
    trust_domain: &'a str,
    data_dir: &'static str,
    log_level: &'static str,
    ca_key_type: &'static str,
    ca_ttl: String,
    default_x509_svid_ttl: String,
    ca_subject: CaSubject<'a>,
    disable_jwt_svids: bool,
    prune_attested_nodes_expired_for: &'static str,
    federation: Federation,
}

#[derive(Serialize)]
struct CaSubject<'a> {
    organization: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    common_name: Option<&'a str>,
}

#[derive(Serialize)]
struct Federation {
    bundle_endpoint: BundleEndpointSection,
}

#[derive(Serialize)]
struct BundleEndpointSection {
    address: &'static str,
    port: u16,
    refresh_hint: String,
    profile: [serde_json::Value; 1],
}

#[derive(Serialize)]
struct HealthChecks {
    listener_enabled: bool,
    bind_address: &'static str,
    bind_port: &'static str,
    live_path: &'static str,
    ready_path: &'static str,
}

impl HealthChecks {
    fn on(bind_address: &'static str, bind_port: &'static str) -> Self {
        Self { listener_enabled: true, bind_address, bind_port, live_path: "/live", ready_path: "/ready" }
    }
}

/// Writes `server.conf`.
pub(super) fn server(cluster: &Cluster, spire: &ManagedSpire) -> String {
    let trust_domain = cluster.trust_domain.as_str();
    let agent = format!("{}:spire-agent", spire.agent_namespace);
    let attestor = json!({"service_account_allow_list": [agent], "audience": ["spire-server"]});
    let publisher = json!({
        "namespace": spire.agent_namespace, "configmap_name": "spire-bundle", "configmap_key": "bundle.crt", "format": "pem",
    });
    let mut plugins = json!({
        "DataStore": {"sql": {"plugin_data": {
            "database_type": "sqlite3", "connection_string": "/run/spire/data/datastore.sqlite3",
        }}},
        "KeyManager": {"disk": {"plugin_data": {"keys_path": "/run/spire/data/keys.json"}}},
        "NodeAttestor": {"k8s_psat": {"plugin_data": {"clusters": [{cluster.name.as_str(): attestor}]}}},
        "BundlePublisher": {"k8s_configmap": {"plugin_data": {"clusters": {cluster.name.as_str(): publisher}}}},
    });
    if let UpstreamAuthority::CertManager(issuer) = &spire.upstream_authority {
        plugins["UpstreamAuthority"] = cert_manager(issuer);
    }
    pretty(&ServerConfig {
        server: ServerSection {
            bind_address: "0.0.0.0",
            bind_port: SERVER_PORT,
            socket_path: SERVER_SOCKET,
            trust_domain,
            data_dir: "/run/spire/data",
            log_level: "info",
            ca_key_type: key_type(spire.key_type),
            ca_ttl: go_duration(spire.ca_ttl),
            default_x509_svid_ttl: go_duration(spire.svid_ttl),
            ca_subject: CaSubject {
                organization: ["SPIFFE"],
                common_name: (trust_domain.len() <= LONGEST_COMMON_NAME).then_some(trust_domain),
            },
            // Istio and Envoy use X.509-SVIDs only, and what does not exist needs no rotation.
            disable_jwt_svids: true,
            // Nodes come and go; their agents are forgotten a day after their last SVID ended.
            prune_attested_nodes_expired_for: "24h",
            federation: Federation {
                bundle_endpoint: BundleEndpointSection {
                    address: "0.0.0.0",
                    port: BUNDLE_PORT,
                    refresh_hint: go_duration(spire.bundle_endpoint.refresh_hint),
                    profile: [json!({"https_spiffe": {}})],
                },
            },
        },
        plugins,
        health_checks: HealthChecks::on("0.0.0.0", "8080"),
    })
}

/// Configures SPIRE's plugin for cert-manager. Without a kubeconfig it uses its pod's service account (SPIRE 1.15.3,
/// `doc/plugin_server_upstreamauthority_cert_manager.md`).
fn cert_manager(issuer: &CertManagerIssuer) -> serde_json::Value {
    json!({"cert-manager": {"plugin_data": {
        "issuer_name": issuer.name,
        "issuer_kind": issuer.kind.as_str(),
        "issuer_group": issuer.group,
        "namespace": issuer.namespace,
    }}})
}

#[derive(Serialize)]
struct AgentConfig<'a> {
    agent: AgentSection<'a>,
    plugins: serde_json::Value,
    health_checks: HealthChecks,
}

#[derive(Serialize)]
struct AgentSection<'a> {
    data_dir: &'static str,
    log_level: &'static str,
    server_address: String,
    server_port: u16,
    socket_path: &'static str,
    trust_domain: &'a str,
    trust_bundle_path: &'static str,
    rebootstrap_mode: &'static str,
    sds: Sds,
    experimental: AgentExperiments,
}

#[derive(Serialize)]
struct AgentExperiments {
    sync_interval: String,
}

#[expect(clippy::struct_field_names, reason = "these are SPIRE's own keys")]
#[derive(Serialize)]
struct Sds {
    default_svid_name: &'static str,
    default_bundle_name: &'static str,
    default_all_bundles_name: &'static str,
}

/// Writes `agent.conf`.
pub(super) fn agent(cluster: &Cluster, spire: &ManagedSpire) -> String {
    pretty(&AgentConfig {
        agent: AgentSection {
            data_dir: "/run/spire/data",
            log_level: "info",
            server_address: format!("spire-server.{}.svc", spire.server_namespace),
            server_port: SERVER_PORT,
            // Not `socket`: Istio's agent waits for a socket of another name, and falls back to istiod's certificates
            // without one of that name.
            socket_path: "/run/spire/agent-sockets/spire-agent.sock",
            trust_domain: cluster.trust_domain.as_str(),
            trust_bundle_path: "/run/spire/bundle/bundle.crt",
            // A server that lost its CA gets its agents back without anybody's help.
            rebootstrap_mode: "auto",
            // The names that Istio's proxies ask for. The handler looks at the name of the own bundle first, so it must
            // not be ROOTCA too.
            sds: Sds {
                default_svid_name: "default",
                default_bundle_name: "null",
                default_all_bundles_name: "ROOTCA",
            },
            experimental: AgentExperiments { sync_interval: go_duration(spire.agent_sync_interval) },
        },
        plugins: json!({
            "NodeAttestor": {"k8s_psat": {"plugin_data": {"cluster": cluster.name}}},
            "KeyManager": {"memory": {"plugin_data": {}}},
            // The kubelet is asked over 127.0.0.1, because no node name is given (SPIRE, `pkg/agent/plugin/workloadattestor/k8s/
            // kubeletclient.go`). Its certificate is not checked: on many clusters (the default of kubeadm and kind) no CA signed
            // it. A pod with host network that takes the port while the kubelet is down could stand in for it, see a token that
            // may list pods and do nothing else, and tell the agent of a false pod on this node (docs/security.md).
            "WorkloadAttestor": {"k8s": {"plugin_data": {"skip_kubelet_verification": true}}},
        }),
        health_checks: HealthChecks::on("127.0.0.1", "9982"),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ManagerConfig<'a> {
    api_version: &'static str,
    kind: &'static str,
    cluster_name: &'a str,
    cluster_domain: &'static str,
    trust_domain: &'a str,
    class_name: &'static str,
    ignore_namespaces: [String; 3],
    validating_webhook_configuration_name: &'static str,
    #[serde(rename = "spireServerSocketPath")]
    socket_path: &'static str,
    metrics: serde_json::Value,
    health: serde_json::Value,
    leader_election: serde_json::Value,
}

/// Writes the controller-manager's `config.yaml`. It is JSON, which is YAML.
pub(super) fn controller_manager(cluster: &Cluster, spire: &ManagedSpire) -> String {
    pretty(&ManagerConfig {
        api_version: "spire.spiffe.io/v1alpha1",
        kind: "ControllerManagerConfig",
        cluster_name: &cluster.name,
        // Given, so that it is not looked up; only used for DNS names in SVIDs, of which there are none.
        cluster_domain: "cluster.local",
        trust_domain: cluster.trust_domain.as_str(),
        class_name: super::CLASS_NAME,
        // Regular expressions that match anywhere.
        ignore_namespaces: ["kube-system", "kube-public", &spire.server_namespace]
            .map(|name| format!("^{name}$")),
        validating_webhook_configuration_name: "spire-mesh-controller-manager",
        socket_path: SERVER_SOCKET,
        metrics: json!({"bindAddress": "0"}),
        health: json!({"healthProbeBindAddress": ":8083"}),
        // One server, one controller-manager beside it.
        leader_election: json!({"leaderElect": false}),
    })
}

/// Computes the digest that makes pods roll when their configuration changes.
pub(super) fn digest(files: &[&str]) -> String {
    let mut hash = Sha256::new();
    for file in files {
        hash.update((file.len() as u64).to_be_bytes());
        hash.update(file);
    }
    hash.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn pretty(config: &impl Serialize) -> String {
    let mut text =
        serde_json::to_string_pretty(config).expect("configuration structures have string keys only");
    text.push('\n');
    text
}

/// SPIRE's name of a key type (`ca_key_type`; SPIRE, `pkg/server/plugin/keymanager`).
fn key_type(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::EcP256 => "ec-p256",
        KeyType::EcP384 => "ec-p384",
        KeyType::Rsa2048 => "rsa-2048",
        KeyType::Rsa4096 => "rsa-4096",
    }
}

/// Writes a duration as Go's `time.ParseDuration` reads it, in the largest unit that fits exactly.
fn go_duration(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    match (seconds, millis) {
        (0, 0) => "0s".to_owned(),
        (_, 1..) => format!("{}ms", duration.as_millis()),
        _ if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        _ if seconds % 60 == 0 => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_for_go() {
        let written = [0, 45, 300, 3600, 5400, 604_800].map(|s| go_duration(Duration::from_secs(s)));
        assert_eq!(written, ["0s", "45s", "5m", "1h", "90m", "168h"]);
        assert_eq!(go_duration(Duration::from_millis(1500)), "1500ms");
    }

    #[test]
    fn the_digest_tells_apart_where_one_file_ends_and_the_next_begins() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_eq!(digest(&["ab", "c"]), digest(&["ab", "c"]));
    }
}
