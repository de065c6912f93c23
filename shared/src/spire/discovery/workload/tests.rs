use serde_json::json;

use super::*;

/// As helm-charts-hardened installs it, shortened.
fn chart() -> StatefulSet {
    serde_json::from_value(json!({
        "metadata": {"name": "spire-server", "namespace": "spire-server",
                     "labels": {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/name": "server"}},
        "spec": {
            "serviceName": "spire-server",
            "selector": {"matchLabels": {"app.kubernetes.io/name": "server"}},
            "template": {
                "metadata": {"labels": {"app.kubernetes.io/name": "server", "component": "server"}},
                "spec": {
                    "containers": [
                        {"name": "spire-server", "image": "ghcr.io:443/spiffe/spire-server:1.14.2@sha256:00",
                         "ports": [{"name": "federation", "containerPort": 8443}]},
                        {"name": "spire-controller-manager", "image": "ghcr.io/spiffe/spire-controller-manager:0.6.3"},
                    ],
                    "volumes": [
                        {"name": "config", "configMap": {"name": "spire-server"}},
                        {"name": "manager", "configMap": {"name": "spire-controller-manager"}},
                        {"name": "tmp", "emptyDir": {}},
                    ],
                },
            },
        },
    }))
    .unwrap()
}

fn maps() -> Vec<ConfigMap> {
    let server = r#"{"server": {"trust_domain": "foo.com", "socket_path": "/run/s/api.sock", "federation": {
        "bundle_endpoint": {"address": "0.0.0.0", "port": 8443, "profile": [{"https_spiffe": {}}]}}}}"#;
    let manager = "apiVersion: spire.spiffe.io/v1alpha1\nkind: ControllerManagerConfig\nclassName: spire-mgmt\nclusterName: foo\ngcInterval: 10000000000\n";
    [("spire-server", "server.conf", server), ("spire-controller-manager", "config.yaml", manager)]
        .map(|(name, key, text)| {
            serde_json::from_value(json!({"metadata": {"name": name}, "data": {key: text}})).unwrap()
        })
        .to_vec()
}

/// The objects of one kind in a file with several.
fn of_kind<K: serde::de::DeserializeOwned>(kind: &str, yaml: &str) -> Vec<K> {
    let objects =
        yaml.split("\n---\n").map(|text| serde_saphyr::from_str::<serde_json::Value>(text).unwrap());
    objects
        .filter(|object| object["kind"] == kind)
        .map(|object| serde_json::from_value(object).unwrap())
        .collect()
}

fn service(name: &str, kind: &str, target: &str) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"type": kind, "selector": {"component": "server"}, "ports": [{"port": 443, "targetPort": target}]},
    }))
    .unwrap()
}

fn pod(name: &str, phase: &str, ready: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "server"}},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
    }))
    .unwrap()
}

#[test]
fn a_server_of_somebody_else_is_described() {
    let workload = Workload::of_stateful_set(chart()).unwrap();
    let services = [
        service("a-internal", "ClusterIP", "federation"),
        service("b-public", "LoadBalancer", "federation"),
        service("c-grpc", "LoadBalancer", "grpc"),
    ];
    let pods = [pod("spire-server-0", "Running", "False"), pod("spire-server-1", "Running", "True")];
    assert_eq!(workload.config_maps().len(), 2);
    insta::assert_json_snapshot!(workload.describe(&pods, &services, &maps()), @r#"
    {
      "namespace": "spire-server",
      "workload": "StatefulSet/spire-server",
      "mesh": null,
      "selector": {
        "app.kubernetes.io/name": "server"
      },
      "pod": "spire-server-1",
      "ready": true,
      "container": "spire-server",
      "binary": "/opt/spire/bin/spire-server",
      "image": "ghcr.io:443/spiffe/spire-server:1.14.2@sha256:00",
      "version": "1.14.2",
      "socket_path": "/run/s/api.sock",
      "trust_domain": "foo.com",
      "upstream": null,
      "bundle_endpoint": {
        "container_port": 8443,
        "https_web": false,
        "service": [
          "b-public",
          443
        ]
      },
      "static_federation": [],
      "controller_manager": {
        "class_name": "spire-mgmt",
        "watch_classless": false,
        "cluster_name": "foo",
        "trust_domain": null,
        "ignore_namespaces": [],
        "passes_over_relationships": null
      }
    }
    "#);
}

#[test]
fn an_upstream_authority_is_read_with_the_issuer_that_it_asks() {
    let with = |plugins: &str| {
        let conf = format!("server {{ trust_domain = \"foo.com\" }}\nplugins {{ {plugins} }}");
        let map = json!({"metadata": {"name": "spire-server"}, "data": {"server.conf": conf}});
        let maps = [serde_json::from_value(map).unwrap()];
        Workload::of_stateful_set(chart()).unwrap().describe(&[], &[], &maps).upstream
    };
    let short =
        r#"UpstreamAuthority "cert-manager" { plugin_data { issuer_name = "spire-ca"  namespace = "pki" } }"#;
    let issuer = with(short).unwrap().issuer.unwrap();
    assert_eq!(issuer.to_string(), "Issuer spire-ca in namespace pki");
    assert_eq!(issuer.group, "cert-manager.io");
    let long = r#"UpstreamAuthority "cert-manager" { plugin_data {
        issuer_name = "ca"  issuer_kind = "ClusterIssuer"  issuer_group = "ca.example.com"  namespace = "pki" } }"#;
    let issuer = with(long).unwrap().issuer.unwrap();
    assert_eq!((issuer.kind.as_str(), issuer.group.as_str()), ("ClusterIssuer", "ca.example.com"));
    let elsewhere = r#"UpstreamAuthority "cert-manager" { plugin_data {
        issuer_name = "ca"  namespace = "pki"  kube_config_file = "/run/kubeconfig" } }"#;
    assert_eq!(with(elsewhere), Some(FoundUpstream { plugin: "cert-manager".to_owned(), issuer: None }));
    let other = r#"KeyManager "disk" { plugin_data {} } UpstreamAuthority "aws_pca" { plugin_data { region = "x" } }"#;
    assert_eq!(with(other), Some(FoundUpstream { plugin: "aws_pca".to_owned(), issuer: None }));
    assert_eq!(with(r#"KeyManager "disk" { plugin_data {} }"#), None);
}

#[test]
fn our_own_configuration_of_an_upstream_authority_is_read_back() {
    let conf = r#"{"server": {"trust_domain": "foo.com"}, "plugins": {"UpstreamAuthority": {"cert-manager": {"plugin_data":
        {"issuer_name": "spire-ca", "issuer_kind": "Issuer", "issuer_group": "cert-manager.io", "namespace": "pki"}}}}}"#;
    let map = json!({"metadata": {"name": "spire-server"}, "data": {"server.conf": conf}});
    let maps = [serde_json::from_value(map).unwrap()];
    let found = Workload::of_stateful_set(chart()).unwrap().describe(&[], &[], &maps);
    let issuer = found.upstream.unwrap().issuer.unwrap();
    assert_eq!(
        issuer.describe().at("baz").to_string(),
        "kubectl --context baz -n pki describe issuers.cert-manager.io spire-ca"
    );
}

#[test]
fn a_server_without_readable_configuration_is_found_all_the_same() {
    let found = Workload::of_stateful_set(chart()).unwrap().describe(&[], &[], &[]);
    assert_eq!(
        (found.pod, found.ready, found.trust_domain, found.bundle_endpoint),
        (None, false, None, None)
    );
    assert_eq!(found.controller_manager, Some(FoundControllerManager::default()));
}

#[test]
fn our_own_server_is_known_by_its_marks() {
    let mut set = chart();
    set.labels_mut().insert("app.kubernetes.io/managed-by".into(), "spire-federate".into());
    set.labels_mut().insert("spire-mesh.dev/mesh".into(), "devup".into());
    let found = Workload::of_stateful_set(set).unwrap().describe(&[], &[], &[]);
    assert_eq!(found.mesh.as_deref(), Some("devup"));
}

#[test]
fn pods_that_end_or_are_not_running_are_not_talked_to() {
    let workload = Workload::of_stateful_set(chart()).unwrap();
    assert_eq!(workload.describe(&[pod("a", "Pending", "False")], &[], &[]).pod, None);
    let mut other = pod("b", "Running", "True");
    other.labels_mut().insert("app.kubernetes.io/name".into(), "agent".into());
    assert_eq!(workload.describe(&[other], &[], &[]).pod, None);
}

#[test]
fn only_what_runs_a_server_is_one() {
    let with = |image: &str, command: &[&str]| {
        let mut set = chart();
        let container = &mut set.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0];
        container.image = Some(image.into());
        container.command = Some(command.iter().map(|&word| word.to_owned()).collect());
        Workload::of_stateful_set(set)
    };
    assert!(with("registry.example/mirror/spire-server", &[]).is_some());
    assert!(with("registry.example:5000/spire-server:1", &[]).is_some());
    assert!(with("registry.example/spire-agent:1.15.3", &[]).is_none());
    assert!(with("registry.example/spire-server-exporter:1", &[]).is_none());
    let own = with("registry.example/security:7", &["/usr/bin/spire-server", "run"]).unwrap();
    let found = own.describe(&[], &[], &[]);
    assert_eq!((found.binary.as_str(), found.version), ("/usr/bin/spire-server", None));
}

#[test]
fn what_keeps_a_server_from_being_federated_is_found() {
    let with = |server: &str, manager: &str| {
        let maps: Vec<ConfigMap> = [("server.conf", server), ("config.yaml", manager)]
            .map(|(key, text)| {
                serde_json::from_value(json!({"metadata": {"name": key}, "data": {key: text}})).unwrap()
            })
            .to_vec();
        Workload::of_stateful_set(chart()).unwrap().describe(&[], &[], &maps)
    };
    let server =
        |federation: &str| format!(r#"server {{ trust_domain = "foo.com" federation {{ {federation} }} }}"#);
    let passes_over = |manager: &str| {
        let manager = format!("kind: ControllerManagerConfig\n{manager}");
        with(&server(""), &manager).controller_manager.unwrap().passes_over_relationships
    };
    let web = |text: &str| with(&server(text), "").bundle_endpoint.unwrap().https_web;
    assert!(!web(r#"bundle_endpoint { profile "https_spiffe" {} }"#));
    assert!(web(r#"bundle_endpoint { profile "https_web" { serving_cert_file { cert_file_path = "a" } } }"#));
    // Older than profiles.
    assert!(web(r#"bundle_endpoint { acme { domain_name = "foo.com" } }"#));

    let static_one = with(&server(r#"federates_with "bar.com" { bundle_endpoint_url = "x" }"#), "");
    assert_eq!(static_one.static_federation, ["bar.com"]);

    assert_eq!(passes_over("className: a\n"), None);
    assert_eq!(passes_over("reconcile: {clusterFederatedTrustDomains: true}\n"), None);
    let none = passes_over("reconcile: {clusterSPIFFEIDs: true}\n");
    assert_eq!(none.as_deref(), Some("`reconcile` without `clusterFederatedTrustDomains: true`"));
    let fixed = passes_over("staticManifestPath: /manifests\n");
    assert_eq!(fixed.as_deref(), Some("`staticManifestPath: /manifests`"));
}

#[test]
fn the_layout_of_the_public_chart_is_understood() {
    let yaml = include_str!("../../../../../tests/e2e/manifests/foreign/server.yaml");
    let set = of_kind("StatefulSet", yaml).remove(0);
    let workload = Workload::of_stateful_set(set).unwrap();
    let found = workload.describe(&[], &of_kind("Service", yaml), &of_kind("ConfigMap", yaml));
    insta::assert_json_snapshot!(found);
}
