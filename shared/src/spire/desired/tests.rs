use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Toleration;
use serde_json::Value;

use super::*;
use crate::manifest::Kind;
use crate::mesh::{
    BundleEndpoint, CertManagerIssuer, Exposure, IssuerKind, KeyType, NodePods, Placement, Pods, Resources,
    Spire, SpireImages, Storage,
};

/// The cluster of the plain manifests.
fn example() -> ManagedSpire {
    ManagedSpire {
        server_namespace: "spire-server".into(),
        agent_namespace: "spire-system".into(),
        images: SpireImages {
            server: "ghcr.io/spiffe/spire-server:1.15.3".into(),
            agent: "ghcr.io/spiffe/spire-agent:1.15.3".into(),
            controller_manager: "ghcr.io/spiffe/spire-controller-manager:0.6.3".into(),
            csi_driver: "ghcr.io/spiffe/spiffe-csi-driver:0.2.3".into(),
            node_driver_registrar: "registry.k8s.io/sig-storage/csi-node-driver-registrar:v2.15.0".into(),
        },
        ca_ttl: Duration::from_hours(168),
        svid_ttl: Duration::from_hours(4),
        agent_sync_interval: Duration::from_secs(1),
        key_type: KeyType::EcP256,
        bundle_endpoint: BundleEndpoint {
            exposure: Exposure::LoadBalancer { class: None, annotations: BTreeMap::new() },
            refresh_hint: Duration::from_mins(5),
        },
        storage: Storage { class: None, size: "1Gi".into() },
        upstream_authority: UpstreamAuthority::SelfSigned,
        server: Pods { resources: amounts(["50m", "128Mi", "1Gi"]), ..Pods::default() },
        agent: NodePods { resources: amounts(["25m", "64Mi", "512Mi"]), ..NodePods::default() },
    }
}

fn amounts([cpu, memory, limit]: [&str; 3]) -> Resources {
    Resources::from([[Some(cpu), Some(memory)], [None, Some(limit)]])
}

fn all_options() -> ManagedSpire {
    ManagedSpire {
        server_namespace: "trust".into(),
        agent_namespace: "trust-nodes".into(),
        images: SpireImages {
            server: "r.example/server@sha256:1".into(),
            agent: "r.example/agent@sha256:2".into(),
            controller_manager: "r.example/manager@sha256:3".into(),
            csi_driver: "r.example/csi@sha256:4".into(),
            node_driver_registrar: "r.example/registrar@sha256:5".into(),
        },
        ca_ttl: Duration::from_hours(24),
        svid_ttl: Duration::from_mins(90),
        agent_sync_interval: Duration::from_secs(5),
        key_type: KeyType::Rsa4096,
        bundle_endpoint: BundleEndpoint {
            exposure: Exposure::LoadBalancer {
                class: Some("service.k8s.aws/nlb".into()),
                annotations: BTreeMap::from([(
                    "service.beta.kubernetes.io/aws-load-balancer-scheme".into(),
                    "internal".into(),
                )]),
            },
            refresh_hint: Duration::from_secs(10),
        },
        storage: Storage { class: Some("gp3".into()), size: "20Gi".into() },
        upstream_authority: UpstreamAuthority::SelfSigned,
        server: Pods {
            placement: Placement {
                node_selector: BTreeMap::from([("pool".into(), "system".into())]),
                tolerations: Some(vec![toleration("system")]),
                affinity: Some(
                    serde_json::from_value(serde_json::json!({"nodeAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {"matchExpressions": [
                            {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["eu-west-1a"]}]}}]}}))
                    .unwrap(),
                ),
                priority_class: Some("mine".into()),
            },
            resources: Resources::from([[Some("1"), Some("2Gi")], [Some("2"), Some("4Gi")]]),
            annotations: BTreeMap::from([("karpenter.sh/do-not-disrupt".into(), "true".into())]),
        },
        agent: NodePods {
            node_selector: BTreeMap::from([("kubernetes.io/arch".into(), "arm64".into())]),
            tolerations: Some(vec![toleration("gpu")]),
            resources: amounts(["100m", "128Mi", "1Gi"]),
            annotations: BTreeMap::from([("example.com/team".into(), "mesh".into())]),
        },
    }
}

fn toleration(key: &str) -> Toleration {
    Toleration { key: Some(key.into()), operator: Some("Exists".into()), ..Toleration::default() }
}

fn with_upstream(spire: ManagedSpire, kind: IssuerKind, namespace: &str) -> ManagedSpire {
    let issuer = CertManagerIssuer {
        name: "spire-ca".into(),
        kind,
        group: "cert-manager.io".into(),
        namespace: namespace.into(),
    };
    ManagedSpire { upstream_authority: UpstreamAuthority::CertManager(issuer), ..spire }
}

fn cluster(name: &str, trust_domain: &str, spire: &ManagedSpire) -> Cluster {
    Cluster { spire: Spire::Managed(Box::new(spire.clone())), ..Cluster::example(name, trust_domain) }
}

fn everything(name: &str, trust_domain: &str, spire: &ManagedSpire) -> Vec<Object> {
    let cluster = cluster(name, trust_domain, spire);
    [server_objects(&cluster, spire), agent_objects(&cluster, spire)].concat()
}

fn to_yaml(objects: &[Object]) -> String {
    crate::manifest::to_yaml(objects)
}

fn values(objects: &[Object]) -> Vec<Value> {
    objects.iter().map(Object::to_value).collect()
}

/// The API definitions are never changed and would bury the rest.
fn without_api(objects: Vec<Object>) -> Vec<Object> {
    objects.into_iter().filter(|object| object.key().kind != Kind::CustomResourceDefinition).collect()
}

fn find<'v>(objects: &'v [Value], kind: &str, name: &str) -> &'v Value {
    objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name).unwrap()
}

#[test]
fn the_plain_manifests_are_what_the_example_cluster_gets() {
    let files = FOUNDATION_FILES.iter().chain(&SERVER_FILES).chain(&AGENT_FILES);
    let plain: Vec<Object> = files.flat_map(|file| embedded(file)).collect();
    let rendered = everything("example", "example.org", &example());
    assert_eq!(plain.len(), rendered.len());
    for (plain, rendered) in values(&plain).into_iter().zip(values(&rendered)) {
        assert_eq!(plain, rendered, "\n{}", serde_json::to_string_pretty(&rendered).unwrap());
    }
}

#[test]
fn the_plain_rights_for_an_upstream_authority_are_what_the_example_cluster_gets() {
    let spire = with_upstream(example(), IssuerKind::Issuer, "spire-server");
    let rendered = values(&everything("example", "example.org", &spire));
    let plain = values(&embedded(UPSTREAM_ACCESS_FILE));
    assert_eq!(plain.len(), 2, "a role and its binding");
    for plain in plain {
        assert!(rendered.contains(&plain), "{plain:#}");
    }
}

#[test]
fn an_upstream_authority_adds_a_plugin_and_the_right_to_request_certificates_and_nothing_else() {
    let before = everything("foo", "foo.com", &all_options());
    let spire = with_upstream(all_options(), IssuerKind::ClusterIssuer, "pki");
    let after = everything("foo", "foo.com", &spire);
    let (access, others): (Vec<Object>, Vec<Object>) =
        after.into_iter().partition(|object| object.key().name == UPSTREAM_ACCESS_NAME);
    insta::assert_snapshot!("upstream_access", to_yaml(&access));

    let differ: Vec<(Object, Object)> =
        before.into_iter().zip(others).filter(|(before, after)| before != after).collect();
    let names: Vec<String> = differ.iter().map(|(_, after)| after.key().to_string()).collect();
    assert_eq!(
        names,
        ["ConfigMap/spire-server in namespace trust", "StatefulSet/spire-server in namespace trust"]
    );
    let plugins = |object: &Object| -> Value {
        let value = object.to_value();
        let text = value["data"]["server.conf"].as_str().unwrap();
        serde_json::from_str::<Value>(text).unwrap()["plugins"].clone()
    };
    let (without, with) = &differ[0];
    let (without, mut with) = (plugins(without), plugins(with));
    let added = with.as_object_mut().unwrap().remove("UpstreamAuthority").unwrap();
    assert_eq!(without, with);
    insta::assert_json_snapshot!(added, @r#"
    {
      "cert-manager": {
        "plugin_data": {
          "issuer_name": "spire-ca",
          "issuer_kind": "ClusterIssuer",
          "issuer_group": "cert-manager.io",
          "namespace": "pki"
        }
      }
    }
    "#);
}

#[test]
fn every_object_of_a_default_cluster_is_as_agreed() {
    let objects = without_api(everything("foo-eks-cluster", "foo.com", &example()));
    insta::assert_snapshot!("default_cluster", to_yaml(&objects));
}

#[test]
fn every_object_of_a_cluster_with_all_options_is_as_agreed() {
    let objects = without_api(everything("foo-eks-cluster", "foo.com", &all_options()));
    insta::assert_snapshot!("all_options", to_yaml(&objects));
}

#[test]
fn the_same_cluster_always_gives_the_same_objects() {
    let render = || values(&everything("foo", "foo.com", &all_options()));
    assert_eq!(render(), render());
}

#[test]
fn no_name_of_the_example_cluster_is_left_behind() {
    let text = to_yaml(&without_api(everything("foo-eks-cluster", "foo.com", &all_options())));
    for leftover in [
        "example.org",
        "\"example\"",
        "ghcr.io",
        "registry.k8s.io",
        "namespace: spire-server",
        "spire-system",
    ] {
        assert!(!text.contains(leftover), "{leftover}");
    }
}

#[test]
fn pods_roll_when_their_configuration_changes_and_only_then() {
    let digests = |spire: &ManagedSpire| {
        let objects = values(&everything("foo", "foo.com", spire));
        let of = |kind, name| {
            find(&objects, kind, name)["spec"]["template"]["metadata"]["annotations"]["spire-mesh.dev/config-sha256"].clone()
        };
        (of("StatefulSet", SERVER_NAME), of("DaemonSet", AGENT_NAME))
    };
    let before = digests(&example());
    let mut spire = example();
    spire.ca_ttl = Duration::from_hours(48);
    let after = digests(&spire);
    assert_ne!(before.0, after.0);
    assert_eq!(before.1, after.1);
    spire = example();
    spire.storage.size = "2Gi".into();
    assert_eq!(before, digests(&spire));
}

#[test]
fn nothing_of_spire_can_take_all_of_a_nodes_memory_or_disk() {
    let objects = values(&everything("foo", "foo.com", &example()));
    let pods: Vec<&Value> = objects
        .iter()
        .map(|object| &object["spec"]["template"]["spec"])
        .filter(|pod| !pod.is_null())
        .collect();
    let of = |list: &str| -> Vec<&Value> {
        pods.iter().flat_map(|pod| pod[list].as_array().into_iter().flatten()).collect()
    };
    let (containers, volumes) = (of("containers"), of("volumes"));
    let temporary: Vec<&Value> =
        volumes.into_iter().map(|volume| &volume["emptyDir"]).filter(|volume| !volume.is_null()).collect();
    assert_eq!((containers.len(), temporary.len()), (5, 4));
    for container in containers {
        assert!(container["resources"]["limits"]["memory"].is_string(), "{}", container["name"]);
    }
    assert!(temporary.iter().all(|volume| volume["sizeLimit"].is_string()));
}

#[test]
fn agents_and_driver_are_never_on_a_node_of_fargate() {
    for spire in [example(), all_options()] {
        let objects = values(&everything("foo", "foo.com", &spire));
        for name in [AGENT_NAME, CSI_DRIVER_NAME] {
            let affinity = &find(&objects, "DaemonSet", name)["spec"]["template"]["spec"]["affinity"];
            let terms = &affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
            let wanted = serde_json::json!([{"matchExpressions": [
                {"key": "eks.amazonaws.com/compute-type", "operator": "NotIn", "values": ["fargate"]}]}]);
            assert_eq!(*terms, wanted, "{name}");
        }
    }
}

#[test]
fn one_namespace_for_all_gets_the_rules_that_the_agents_need() {
    let mut spire = example();
    spire.server_namespace = "spire".into();
    spire.agent_namespace = "spire".into();
    let objects = values(&everything("foo", "foo.com", &spire));
    let namespaces: Vec<_> = objects.iter().filter(|object| object["kind"] == "Namespace").collect();
    assert_eq!(namespaces.len(), 1);
    assert_eq!(namespaces[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "privileged");
}

#[test]
fn the_bundle_endpoint_is_exposed_as_asked() {
    let service = |exposure| {
        let mut spire = example();
        spire.bundle_endpoint.exposure = exposure;
        find(&values(&everything("foo", "foo.com", &spire)), "Service", BUNDLE_SERVICE_NAME)["spec"].clone()
    };
    let fixed = service(Exposure::NodePort { port: Some(30010) });
    assert_eq!((&fixed["type"], &fixed["ports"][0]["nodePort"]), (&"NodePort".into(), &30010.into()));
    assert_eq!(service(Exposure::NodePort { port: None })["ports"][0].get("nodePort"), None);
    assert_eq!(service(Exposure::Url("https://a.example:8443".parse().unwrap()))["type"], "ClusterIP");
}

#[test]
fn the_bundle_is_left_to_the_server_to_write() {
    let objects = values(&everything("foo", "foo.com", &example()));
    assert_eq!(find(&objects, "ConfigMap", "spire-bundle").get("data"), None);
}

#[test]
fn a_relationship_never_holds_a_bundle() {
    let object = relationship(
        Some(CLASS_NAME),
        &"bar.com".parse().unwrap(),
        &"https://bundle.bar.example:8443".parse().unwrap(),
    );
    insta::assert_snapshot!(to_yaml(&[object]), @"
    ---
    apiVersion: spire.spiffe.io/v1alpha1
    kind: ClusterFederatedTrustDomain
    metadata:
      name: bar.com
    spec:
      trustDomain: bar.com
      bundleEndpointURL: https://bundle.bar.example:8443
      bundleEndpointProfile:
        type: https_spiffe
        endpointSPIFFEID: spiffe://bar.com/spire/server
      className: spire-mesh
    ");
}

#[test]
fn trust_domains_that_are_no_object_names_get_one_of_their_own() {
    let name = |text: &str| relationship_name(&text.parse().unwrap());
    assert_eq!(name("bar.com"), "bar.com");
    assert!(name("my_domain").starts_with("trust-domain-"));
    assert_ne!(name("my_domain"), name("my_domain2"));
    for text in [".a", "-a", "a.", &"a".repeat(64), &"a.".repeat(127)] {
        assert!(name(text).starts_with("trust-domain-"), "{text}");
    }
}

#[test]
fn workload_ids_federate_with_every_peer_once_and_exclude_each_other() {
    let peers = ["baz.com", "bar.com", "baz.com"].map(|name| name.parse().unwrap());
    insta::assert_snapshot!(to_yaml(&workload_ids(&all_options(), &peers)), @r#"
    ---
    apiVersion: spire.spiffe.io/v1alpha1
    kind: ClusterSPIFFEID
    metadata:
      name: mesh-workloads
    spec:
      spiffeIDTemplate: >-
        spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{
        .PodSpec.ServiceAccountName }}
      className: spire-mesh
      federatesWith:
      - bar.com
      - baz.com
      podSelector:
        matchExpressions:
        - key: service.istio.io/canonical-name
          operator: Exists
    ---
    apiVersion: spire.spiffe.io/v1alpha1
    kind: ClusterSPIFFEID
    metadata:
      name: labelled-workloads
    spec:
      spiffeIDTemplate: >-
        spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{
        .PodSpec.ServiceAccountName }}
      className: spire-mesh
      federatesWith:
      - bar.com
      - baz.com
      podSelector:
        matchExpressions:
        - key: spiffe.io/spire-managed-identity
          operator: In
          values:
          - "true"
        - key: service.istio.io/canonical-name
          operator: DoesNotExist
    ---
    apiVersion: spire.spiffe.io/v1alpha1
    kind: ClusterSPIFFEID
    metadata:
      name: agents
    spec:
      spiffeIDTemplate: >-
        spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{
        .PodSpec.ServiceAccountName }}
      className: spire-mesh
      federatesWith:
      - bar.com
      - baz.com
      namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: trust-nodes
      podSelector:
        matchLabels:
          app.kubernetes.io/name: spire-agent
          app.kubernetes.io/part-of: spire-mesh
    "#);
}
