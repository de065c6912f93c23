//! What is wrong with a mesh, made for real, is named.

use super::*;

#[test]
fn trust_domains_that_are_missing_or_merged_are_named() {
    let mesh = Mesh::healthy();
    let (first, _) = (&mesh.first, &mesh.second);
    let without = |text: &str| {
        let lines = text.lines().filter(|line| {
            !line.contains("caCertificates") && !line.contains("trustDomains:") && line.trim() != "- bar.com"
        });
        lines.collect::<Vec<_>>().join("\n") + "\n"
    };
    mesh.edit_map(first, "istio", "mesh", without);
    let check = mesh.finds_one("mesh-trust-domains", "does not know bar.com");
    is_about(&check, &json!({"cluster": first}));
    assert_eq!(check["hint"], "kubectl mesh-install");
    mesh.repairs();

    mesh.edit_map(first, "istio", "mesh", |text| format!("{text}\ntrustDomainAliases: [bar.com]\n"));
    let check = mesh.finds_one("trust-domains-apart", "foo.com has aliases");
    assert_eq!(check["status"], "warn");
    mesh.repairs();
}

#[test]
fn pods_that_take_their_identity_elsewhere_and_templates_that_do_not_fit_are_named() {
    let mesh = Mesh::healthy();
    let (first, second) = (&mesh.first, &mesh.second);
    let template = |value: Value| json!({"spec": {"template": {"metadata": {"annotations": {"inject.istio.io/templates": value}}}}});
    let sleep = ["-n", "sleep", "deployment/sleep"];
    let rollout = ["-n", "sleep", "rollout", "status", "deployment/sleep", "--timeout=50s"];
    mesh.patch(first, &sleep, &template(json!("sidecar")));
    mesh.bench
        .target
        .kubectl(first)
        .limit(Duration::from_mins(1))
        .run(rollout)
        .expect("a pod without SPIRE starts");
    let check = mesh.finds_one("pods-on-spire", "istiod");
    assert!(
        check["scope"]["object"].as_str().is_some_and(|object| object.starts_with("Pod sleep/sleep-")),
        "{check:#}"
    );
    let chain = mesh.trustchain(&[&chains::named(first, "sleep"), "-o", "json"]).ended_with(3).json();
    let chain = &chain["workloads"][0];
    assert_eq!(
        (chain["issuedBy"].as_str(), chain["verdict"]["status"].as_str()),
        (Some("istiod"), Some("bad"))
    );
    assert_eq!(chain["verdict"]["reasons"][0]["id"], "issued-by-istiod");
    mesh.patch(first, &sleep, &template(Value::Null));
    mesh.bench
        .target
        .kubectl(first)
        .limit(Duration::from_mins(1))
        .run(rollout)
        .expect("a pod with SPIRE starts");
    mesh.is_healthy();

    // A template for the other form of sidecar.
    mesh.edit_map(second, "istio-sidecar-injector", "config", |text| {
        let begin = text.find("{{ if $native }}").expect("the branch");
        let end = text[begin..].find(':').expect("its end") + begin;
        format!("{}containers{}", &text[..begin], &text[end..]).replace(".NativeSidecars", ".Nothing")
    });
    let check = mesh.finds_one("injection-form", "`initContainers` here");
    is_about(&check, &json!({"cluster": second}));
    mesh.repairs();
}

#[test]
fn remote_secrets_that_are_dead_or_of_another_cluster_are_told_apart() {
    let mesh = Mesh::healthy();
    let (first, second) = (&mesh.first, &mesh.second);
    let pair = json!({"from": first, "to": second});
    let tokens = ["-n", "istio-system", "delete", "secrets", "-l", "spire-mesh.dev/remote-reader-token"];
    mesh.bench.kubectl(second, &tokens);
    let check = mesh.finds_one("remote-secret", "does not take the token");
    is_about(&check, &pair);
    mesh.repairs();

    let name = format!("istio-remote-secret-{second}");
    mesh.bench.kubectl(first, &["-n", "istio-system", "delete", "secret", &name]);
    let check = mesh.finds_one("remote-secret", "has no remote secret");
    is_about(&check, &pair);
    mesh.repairs();

    // The same access under a name that is not the cluster's own.
    let secret = mesh.bench.kubectl(first, &["-n", "istio-system", "get", "secret", &name, "-o", "json"]);
    let secret: Value = serde_json::from_str(&secret).expect("JSON");
    let strange = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "istio-remote-secret-strange", "namespace": "istio-system", "labels": {"istio/multiCluster": "true"}},
        "data": {"strange": secret["data"][second]},
    });
    mesh.bench.target.kubectl(first).apply(&strange.to_string()).expect("a secret");
    let check = mesh.finds_one("remote-secret", &format!("calls {second} `strange`"));
    let hint = check["hint"].as_str().expect("a hint").to_owned();
    assert_eq!(
        hint,
        format!("kubectl --context {first} -n istio-system delete secret istio-remote-secret-strange")
    );
    mesh.bench.paste(&hint).succeeded();
    mesh.is_healthy();

    // The CA of another API server.
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "kubernetes");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let other = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").pem();
    let kubeconfig = decoded(secret["data"][second].as_str().expect("a kubeconfig"));
    let mut kubeconfig: Value = serde_json::from_slice(&kubeconfig).expect("JSON");
    kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"] = json!(encoded(other.as_bytes()));
    let wrong = json!({"data": {second: encoded(kubeconfig.to_string().as_bytes())}});
    mesh.patch(first, &["-n", "istio-system", "secret", &name], &wrong);
    let check = mesh.finds_one("remote-secret", "did not sign the certificate of that API server");
    is_about(&check, &pair);
    mesh.repairs();

    // An API server that nobody answers for.
    let mut kubeconfig =
        String::from_utf8(decoded(secret["data"][second].as_str().expect("a kubeconfig"))).expect("text");
    let at = kubeconfig.find("https://").expect("a server");
    let end = kubeconfig[at..].find('"').expect("its end") + at;
    kubeconfig.replace_range(at..end, "https://10.3.0.99:6443");
    let wrong = json!({"data": {second: encoded(kubeconfig.as_bytes())}});
    mesh.patch(first, &["-n", "istio-system", "secret", &name], &wrong);
    mesh.bench.kubectl(first, &["-n", "istio-system", "rollout", "restart", "deployment/istiod"]);
    let check = mesh.finds_one("istiod-synced", "has not read");
    assert!(check["evidence"].to_string().contains("10.3.0.99"), "{check:#}");
    mesh.repairs();
}

#[test]
fn networks_that_have_no_way_in_are_named() {
    let mesh = Mesh::healthy();
    let Some(_) = mesh.bench.lab() else { return };
    let (first, second) = (&mesh.first, &mesh.second);
    let gateway = ["-n", "istio-system", "scale", "deployment/istio-eastwestgateway"];
    mesh.bench.kubectl(second, &[&gateway[..], &["--replicas=0"]].concat());
    let check = mesh.finds_one("gateway-address", "no pod of istio-eastwestgateway is ready");
    is_about(&check, &json!({"cluster": second}));
    mesh.bench.kubectl(second, &[&gateway[..], &["--replicas=1"]].concat());
    mesh.repairs();

    mesh.bench.kubectl(second, &["label", "namespace", "istio-system", "topology.istio.io/network-"]);
    let check = mesh.finds_one("network-label", "does not know that the cluster is in network");
    is_about(&check, &json!({"cluster": second}));
    mesh.repairs();

    let service = ["-n", "istio-system", "get", "service", "istio-eastwestgateway", "-o"];
    let address = service.into_iter().chain(["jsonpath={.status.loadBalancer.ingress[0].ip}"]);
    let address = mesh.bench.kubectl(second, &address.collect::<Vec<_>>());
    let to = format!("{address}:15443").parse().expect("an address");
    let blocked = Fault::Traffic(Traffic { action: Action::Block, from: None, to });
    let blocked =
        mesh.bench.target.faults().and_then(|faults| faults.during(blocked)).expect("packets are dropped");
    let check = mesh.finds_one("way-open", "packets get no answer");
    is_about(&check, &json!({"from": first, "to": second}));
    blocked.clear().expect("packets pass again");
    mesh.is_healthy();
}

#[test]
fn what_gives_pods_their_sidecar_and_pods_without_one_are_named() {
    let mesh = Mesh::healthy();
    let (first, second) = (&mesh.first, &mesh.second);
    // Pods that run keep their sidecars, and nothing else fails.
    let webhooks = ["delete", "mutatingwebhookconfigurations", "-l", "app=sidecar-injector"];
    mesh.bench.kubectl(first, &webhooks);
    let check = mesh.finds_one("injection-webhook", "istiod's webhook is gone");
    is_about(&check, &json!({"cluster": first}));
    assert_eq!(check["hint"], "kubectl mesh-install");
    mesh.repairs();

    // As on EKS, where the nodes' security group lets the control plane in at a few ports only.
    let cluster = second.trim_end_matches("-eks-cluster").to_owned();
    let closed = Fault::PortClosed { cluster, port: 15017 };
    let closed = mesh.bench.target.faults().and_then(|faults| faults.during(closed)).expect("it is closed");
    let check = mesh.finds_one("injection-webhook", "the API server gets no answer from istiod");
    is_about(&check, &json!({"cluster": second}));
    closed.clear().expect("it is open again");

    let label = |labels: [&str; 2]| {
        let change = ["label", "namespace", "helloworld"].into_iter().chain(labels).collect::<Vec<_>>();
        mesh.bench.kubectl(second, &change)
    };
    label(["istio-injection-", "istio.io/rev=nobody"]);
    let check = mesh.finds_one("sidecars", "asks for those of revision nobody, which nobody serves");
    is_about(&check, &json!({"cluster": second, "object": "Namespace helloworld"}));
    mesh.bench.paste(check["hint"].as_str().expect("a hint")).succeeded();
    mesh.is_healthy();
}

#[test]
fn a_gateway_that_does_not_listen_is_no_matter_of_a_firewall() {
    let mesh = Mesh::healthy();
    let second = &mesh.second;
    let gateway = ["-n", "istio-system", "delete", "gateways.networking.istio.io", "cross-network-gateway"];
    mesh.bench.kubectl(second, &gateway);
    let check = mesh.finds_one("gateway-listener", "cross-network-gateway is missing");
    is_about(&check, &json!({"cluster": second}));
    mesh.repairs();
}

#[test]
fn plaintext_is_named_where_somebody_lets_it_in() {
    let mesh = Mesh::healthy();
    let second = &mesh.second;
    let rule = "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: weak, namespace: helloworld}, spec: {mtls: {mode: DISABLE}}}";
    mesh.bench.target.kubectl(second).apply(rule).expect("a rule");
    let check = mesh.finds_one("mutual-tls", "plaintext is accepted in namespace helloworld");
    is_about(&check, &json!({"cluster": second, "object": "PeerAuthentication helloworld/weak"}));
    mesh.bench.kubectl(second, &["-n", "helloworld", "delete", "peerauthentication", "weak"]);
    mesh.is_healthy();
}

#[test]
fn identities_that_istiod_gets_wrong_are_named_and_istiod_is_started_again() {
    let mesh = Mesh::healthy();
    let (first, second) = (&mesh.first, &mesh.second);
    let name = "spire-mesh-remote-reader";
    let binding = ["-n", "istio-system", "get", "rolebinding", name, "-o", "json"];
    let mut binding: Value = serde_json::from_str(&mesh.bench.kubectl(second, &binding)).expect("JSON");
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        binding["metadata"].as_object_mut().expect("metadata").remove(field);
    }
    // istiod falls back to its own trust domain where it may not read that of the other cluster.
    mesh.bench.kubectl(second, &["-n", "istio-system", "delete", "rolebinding", name]);
    mesh.bench.kubectl(first, &["-n", "istio-system", "rollout", "restart", "deployment/istiod"]);
    let check = mesh.finds_one("istiod-synced", "refuses to be read");
    is_about(&check, &json!({"from": first, "to": second}));
    // The right comes back, and istiod goes on with what it has.
    mesh.bench.target.kubectl(second).apply(&binding.to_string()).expect("a binding");
    let check = mesh.finds_one("endpoint-identities", "to the wrong trust domain");
    is_about(&check, &json!({"from": first, "to": second}));
    mesh.bench.mesh_install(&["verify", "--fix", "--yes"]).succeeded();
    mesh.is_healthy();
    mesh.both_answer(first, HELLO);
}

#[test]
fn a_ca_that_came_after_istiod_had_started_is_named() {
    let mesh = Mesh::healthy();
    let first = &mesh.first;
    mesh.gives_ca(first, "late");
    let check = mesh.finds_one("istiod-ca", "started before Secret cacerts was there");
    is_about(&check, &json!({"cluster": first}));
    let next = check["hint"].as_str().expect("a hint");
    assert!(next.contains("rollout restart deployment/istiod"), "{next}");
    mesh.bench.kubectl(first, &["-n", "istio-system", "delete", "secret", "cacerts"]);
    mesh.is_healthy();
}
