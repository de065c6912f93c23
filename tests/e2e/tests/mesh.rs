//! `kubectl mesh-install`: one mesh over two clusters, every identity from SPIRE; and what is wrong with it, made for real.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use spire_mesh_e2e::{Bench, Ran};
use spire_mesh_lab::faults::{Action, Fault, Traffic};
use spire_mesh_lab::{MESH_KEYS, Target};

const HELLO: &str = "http://helloworld.helloworld:5000/hello";

/// Two clusters, and their mesh.
struct Mesh {
    bench: Bench,
    first: String,
    second: String,
}

impl Mesh {
    /// Two clusters with whatever is on them, and a mesh file.
    fn of_two() -> Self {
        let bench = Bench::new();
        if matches!(bench.target, Target::Lab(_)) {
            bench.edit("spec:\n", &format!("spec:\n{MESH_KEYS}"));
        }
        let (first, second) = (bench.members[0].context.clone(), bench.members[1].context.clone());
        Self { bench, first, second }
    }

    /// A healthy mesh with helloworld and sleep.
    fn healthy() -> Self {
        let mesh = Self::of_two();
        mesh.bench.up();
        mesh.up();
        for demo in ["helloworld", "sleep"] {
            mesh.bench.mesh_install(&["demo", demo, "--yes"]).succeeded();
        }
        mesh.is_healthy();
        mesh
    }

    fn up(&self) -> Ran {
        self.bench.mesh_install(&["up", "--yes"]).succeeded()
    }

    #[track_caller]
    fn is_healthy(&self) {
        self.finds(&[]);
    }

    #[track_caller]
    fn finds(&self, expected: &[(&str, &str)]) -> Vec<Value> {
        self.bench.finds("mesh-install", expected)
    }

    #[track_caller]
    fn finds_one(&self, id: &str, text: &str) -> Value {
        self.finds(&[(id, text)]).remove(0)
    }

    /// Makes everything as the mesh file has it, and sees that it is.
    #[track_caller]
    fn repairs(&self) {
        self.up();
        self.is_healthy();
    }

    /// Runs curl in the sleep pod of a cluster.
    fn curl(&self, context: &str, arguments: &[&str]) -> String {
        let exec =
            ["-n", "sleep", "exec", "deploy/sleep", "-c", "sleep", "--", "curl", "-s", "--max-time", "10"];
        self.bench.kubectl(context, &exec.into_iter().chain(arguments.iter().copied()).collect::<Vec<_>>())
    }

    /// Calls helloworld from a cluster until both versions have answered.
    #[track_caller]
    fn both_answer(&self, context: &str, url: &str) {
        let end = Instant::now() + Duration::from_mins(1);
        let many = format!("{url}?[1-20]");
        loop {
            let answers = self.curl(context, &[&many]);
            if answers.contains("version: v1") && answers.contains("version: v2") {
                return;
            }
            assert!(Instant::now() < end, "from {context}: {answers}");
        }
    }

    fn patch(&self, context: &str, object: &[&str], patch: &Value) {
        let patch = patch.to_string();
        let words =
            ["patch"].into_iter().chain(object.iter().copied()).chain(["--type", "merge", "-p", &patch]);
        self.bench.kubectl(context, &words.collect::<Vec<_>>());
    }

    /// Changes the text of a key of a `ConfigMap` in istio-system.
    fn edit_map(&self, context: &str, name: &str, key: &str, change: impl Fn(&str) -> String) {
        let map =
            self.bench.kubectl(context, &["-n", "istio-system", "get", "configmap", name, "-o", "json"]);
        let map: Value = serde_json::from_str(&map).expect("JSON");
        let before = map["data"][key].as_str().expect("text");
        let after = change(before);
        assert_ne!(before, after, "nothing was changed");
        self.patch(context, &["-n", "istio-system", "configmap", name], &json!({"data": {key: after}}));
    }

    /// The mesh file's way to another `istioctl`.
    fn with_istioctl(&self, script: &str) {
        let path = self.bench.folder().join("istioctl");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be run");
        self.bench.edit("  istio:\n", &format!("  istio:\n    istioctl: {}\n", path.display()));
    }

    fn without_istioctl(&self) {
        let path = self.bench.folder().join("istioctl");
        self.bench.edit(&format!("    istioctl: {}\n", path.display()), "");
    }
}

fn is_about(check: &Value, scope: &Value) {
    assert_eq!(&check["scope"], scope, "{check:#}");
}

mod installed {
    use super::*;

    #[test]
    fn a_mesh_comes_up_is_proven_and_a_second_run_changes_nothing() {
        let mesh = Mesh::of_two();
        let Target::Lab(_) = &mesh.bench.target else { return };
        mesh.bench.clean();
        let (first, second) = (&mesh.first, &mesh.second);

        // Without SPIRE nothing is changed.
        mesh.bench
            .mesh_install(&["up", "--yes"])
            .ended_with(1)
            .said("its SPIRE is not ready")
            .said("kubectl spire-federate");
        mesh.bench.mesh_install(&["demo", "sleep", "--yes"]).ended_with(1).said("there is no Istio");
        mesh.bench.up();

        let plan = mesh.bench.mesh_install(&["plan"]).succeeded();
        assert!(
            plan.stdout.contains("later: ") && plan.stdout.contains("istio-remote-secret-"),
            "{}",
            plan.stdout
        );
        mesh.up();
        let second_run = mesh.up();
        second_run.said("nothing to change");
        let plan = mesh.bench.mesh_install(&["plan", "-o", "json"]).succeeded().json();
        let actions = plan["clusters"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|cluster| cluster["objects"].as_array().into_iter().flatten());
        assert!(
            actions.clone().count() > 60 && actions.into_iter().all(|object| object["action"] == "unchanged"),
            "{plan:#}"
        );

        for demo in ["helloworld", "sleep", "bookinfo"] {
            mesh.bench.mesh_install(&["demo", demo, "--yes"]).succeeded();
        }
        for context in [first, second] {
            mesh.both_answer(context, HELLO);
        }
        mesh.is_healthy();
        let status = mesh.bench.mesh_install(&["status", "-o", "json"]).succeeded().json();
        assert_eq!(status["pairs"][0]["state"], "synced");
        assert_eq!(status["clusters"][0]["istio"]["gateways"], json!({"ready": 2, "total": 2}));

        // In through the ingress gateway of each cluster, from a pod of the other.
        for (of, from) in [(first, second), (second, first)] {
            let service = ["-n", "istio-system", "get", "service", "istio-ingressgateway", "-o"];
            let address = service.into_iter().chain(["jsonpath={.status.loadBalancer.ingress[0].ip}"]);
            let address = mesh.bench.kubectl(of, &address.collect::<Vec<_>>());
            mesh.both_answer(from, &format!("http://{address}/hello"));
            if of == first {
                let page = mesh.curl(from, &[&format!("http://{address}/productpage")]);
                assert!(page.contains("Simple Bookstore App") && page.contains("Book Reviews"), "{page}");
            }
        }
        // Who asks without an identity gets no answer.
        let pod = mesh
            .bench
            .kubectl(second, &["-n", "helloworld", "get", "pods", "-o", "jsonpath={.items[0].status.podIP}"]);
        let unmeshed = [
            "-n",
            "spire-system",
            "run",
            "plain",
            "--image=lab.local/tools:1",
            "--restart=Never",
            "--rm",
            "-i",
            "--quiet",
            "--",
        ];
        let asked = format!("http://{pod}:5000/hello");
        let curl = ["curl", "-s", "--max-time", "5", &asked];
        let kubectl = mesh.bench.target.kubectl(second).limit(Duration::from_secs(30));
        assert!(kubectl.run(unmeshed.into_iter().chain(curl)).is_err(), "plaintext was answered");
    }

    #[test]
    fn tokens_are_replaced_while_requests_go_through() {
        let mesh = Mesh::healthy();
        let endpoints = mesh.bench.mesh_install(&["endpoints", "-o", "json"]).succeeded().json();
        assert_eq!(endpoints["endpoints"][0]["source"], "kubeconfig");
        let before = mesh.bench.mesh_install(&["remote-secret", "-o", "json"]).succeeded().json();

        let exec =
            ["-n", "sleep", "exec", "deploy/sleep", "-c", "sleep", "--", "curl", "-s", "-o", "/dev/null"];
        let load = ["--max-time", "5", "-w", "%{http_code}\\n", "--rate", "20/s"];
        let many = format!("{HELLO}?[1-200]");
        std::thread::scope(|threads| {
            let loads = [&mesh.first, &mesh.second].map(|context| {
                let words: Vec<&str> = exec.into_iter().chain(load).chain([many.as_str()]).collect();
                let kubectl = mesh.bench.target.kubectl(context).limit(Duration::from_mins(1));
                threads.spawn(move || kubectl.run(words).expect("curl runs"))
            });
            mesh.bench.mesh_install(&["remote-secret", "rotate", "--yes"]).succeeded();
            for load in loads {
                let codes = load.join().expect("the load ends");
                let codes: Vec<&str> = codes.lines().collect();
                assert!(codes.len() == 200 && codes.iter().all(|code| *code == "200"), "{codes:?}");
            }
        });
        let after = mesh.bench.mesh_install(&["remote-secret", "-o", "json"]).succeeded().json();
        assert_ne!(before["remoteSecrets"][0]["tokenMade"], after["remoteSecrets"][0]["tokenMade"]);
        for context in [&mesh.first, &mesh.second] {
            let tokens = [
                "-n",
                "istio-system",
                "get",
                "secrets",
                "-l",
                "spire-mesh.dev/remote-reader-token",
                "-o",
                "name",
            ];
            assert_eq!(mesh.bench.kubectl(context, &tokens).lines().count(), 1, "the old token is gone");
        }
        mesh.is_healthy();
    }

    #[test]
    fn what_cannot_work_is_refused_before_anything_is_changed() {
        let mesh = Mesh::healthy();
        mesh.with_istioctl(r#"echo '{"clientVersion": {"version": "1.26.4"}}'"#);
        mesh.bench
            .mesh_install(&["up", "--yes"])
            .ended_with(1)
            .said("is of Istio 1.26.4; 1.27.0 is the oldest that works");
        mesh.without_istioctl();
        mesh.with_istioctl(
            r#"[ "$1" = version ] && echo '{"clientVersion": {"version": "1.30.2"}}' || exec istioctl "$@""#,
        );
        // What runs calls itself `lab`, which is no version: only what the mesh file asks for is compared.
        mesh.bench.edit("    tag: lab\n", "    tag: 1.30.2\n");
        mesh.bench.mesh_install(&["plan"]).succeeded();
        mesh.bench.edit("    tag: 1.30.2\n", "    tag: lab\n");
        mesh.without_istioctl();

        mesh.bench.edit("  istio:\n", "  istio:\n    profile: ambient\n");
        mesh.bench.mesh_install(&["up", "--yes"]).ended_with(2).said("has no sidecars");
        mesh.bench.edit("    profile: ambient\n", "");

        mesh.bench.mesh_install(&["up", "--yes", "--as", "nobody"]).ended_with(1).said("you may not");
        mesh.up().said("nothing to change");
    }
}

mod faults {
    use super::*;

    #[test]
    fn trust_domains_that_are_missing_or_merged_are_named() {
        let mesh = Mesh::healthy();
        let (first, _) = (&mesh.first, &mesh.second);
        let without = |text: &str| {
            let lines = text.lines().filter(|line| {
                !line.contains("caCertificates")
                    && !line.contains("trustDomains:")
                    && line.trim() != "- bar.com"
            });
            lines.collect::<Vec<_>>().join("\n") + "\n"
        };
        mesh.edit_map(first, "istio", "mesh", without);
        let check = mesh.finds_one("mesh-trust-domains", "does not know bar.com");
        is_about(&check, &json!({"cluster": first}));
        assert_eq!(check["hint"], "kubectl mesh-install");
        mesh.repairs();

        mesh.edit_map(first, "istio", "mesh", |text| format!("{text}\ntrustDomainAliases: [bar.com]\n"));
        let check = mesh.finds_one("trust-domains-apart", "count as aliases of foo.com");
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
        mesh.bench.kubectl(first, &["-n", "istio-system", "delete", "secret", "istio-remote-secret-strange"]);
        mesh.is_healthy();

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
        let Target::Lab(_) = &mesh.bench.target else { return };
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
        let blocked = mesh
            .bench
            .target
            .faults()
            .and_then(|faults| faults.during(blocked))
            .expect("packets are dropped");
        let check = mesh.finds_one("way-open", "packets get no answer");
        is_about(&check, &json!({"from": first, "to": second}));
        blocked.clear().expect("packets pass again");
        mesh.is_healthy();
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
        let check = mesh.finds_one("endpoint-identities", "those of another trust domain");
        is_about(&check, &json!({"from": first, "to": second}));
        mesh.bench.mesh_install(&["verify", "--fix", "--yes"]).succeeded();
        mesh.is_healthy();
        mesh.both_answer(first, HELLO);
    }
}

mod removed {
    use super::*;

    #[test]
    fn a_mesh_goes_away_and_nothing_of_somebody_else_is_touched() {
        let mesh = Mesh::healthy();
        let (first, second) = (&mesh.first, &mesh.second);
        let own =
            "{apiVersion: v1, kind: Namespace, metadata: {name: theirs, labels: {istio-injection: enabled}}}";
        mesh.bench.target.kubectl(second).apply(own).expect("a namespace");
        let rule = "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: theirs, namespace: theirs}, \
                    spec: {hosts: [example.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}}";
        mesh.bench.target.kubectl(second).apply(rule).expect("an object of Istio");
        let sleep = ["-n", "theirs", "run", "theirs", "--image=lab.local/tools:1", "--", "sleep", "infinity"];
        mesh.bench.kubectl(second, &sleep);
        let kubectl = mesh.bench.target.kubectl(second).limit(Duration::from_mins(1));
        kubectl
            .run(["-n", "theirs", "wait", "pod/theirs", "--for=condition=Ready", "--timeout=50s"])
            .expect("their pod");

        mesh.bench.mesh_install(&["down", "--yes"]).ended_with(1).said("theirs/theirs");
        mesh.bench.kubectl(second, &["-n", "theirs", "delete", "pod", "theirs", "--grace-period=1"]);
        mesh.bench.mesh_install(&["demo", "sleep", "--remove", "--yes"]).succeeded();
        let shown = mesh.bench.mesh_install(&["down", "--dry-run"]).succeeded();
        assert!(shown.stdout.contains("keep"), "{}", shown.stdout);
        mesh.bench
            .mesh_install(&["down", "--yes"])
            .succeeded()
            .said("stays: objects of somebody else: theirs/theirs");

        for context in [first, second] {
            let all = mesh.bench.kubectl(
                context,
                &[
                    "get",
                    "namespaces,clusterroles,mutatingwebhookconfigurations,validatingwebhookconfigurations",
                    "-o",
                    "name",
                ],
            );
            let ours = all.lines().filter(|name| {
                ["istio", "helloworld", "/sleep", "remote-reader"].iter().any(|part| name.contains(part))
            });
            assert_eq!(ours.count(), 0, "{all}");
            let maps = mesh
                .bench
                .kubectl(context, &["get", "configmaps", "-A", "-l", "istio.io/config=true", "-o", "name"]);
            assert_eq!(maps.trim(), "", "{maps}");
        }
        let definitions = mesh.bench.kubectl(second, &["get", "crds", "-o", "name"]);
        let left: Vec<&str> = definitions.lines().filter(|name| name.contains("istio.io")).collect();
        assert_eq!(
            left,
            ["customresourcedefinition.apiextensions.k8s.io/serviceentries.networking.istio.io"]
        );
        mesh.bench.kubectl(second, &["delete", "namespace", "theirs"]);
        mesh.bench.kubectl(second, &["delete", left[0]]);
        mesh.bench.mesh_install(&["down", "--yes"]).succeeded().said("nothing of mesh");
        // SPIRE goes on.
        mesh.bench.plugin(&["status"]).succeeded();
    }
}

fn encoded(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

fn decoded(text: &str) -> Vec<u8> {
    BASE64.decode(text).expect("base64")
}
