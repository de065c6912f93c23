//! `kubectl xcluster-curl`: who answers, counted; what was expected; and another cluster that takes over.

use std::process::{Command, Stdio};

use super::chains::named;
use super::*;

impl Mesh {
    pub(super) fn xcluster_curl(&self, arguments: &[&str]) -> Ran {
        let words: Vec<&str> = [HELLO].into_iter().chain(arguments.iter().copied()).collect();
        Ran::of(&self.bench.command_of("xcluster-curl", &words).output().expect("kubectl runs"))
    }

    /// How many pods helloworld shall have in the first cluster.
    fn replicas(&self) -> String {
        let replicas =
            ["-n", "helloworld", "get", "deployment/helloworld-v1", "-o", "jsonpath={.spec.replicas}"];
        self.bench.kubectl(&self.first, &replicas)
    }
}

#[test]
fn both_clusters_answer_and_each_answer_is_counted() {
    let mesh = Mesh::healthy();
    let report = mesh.xcluster_curl(&["-n", "60", "-o", "json"]).succeeded().json();
    assert_eq!(
        (report["requests"].as_u64(), report["succeeded"].as_u64()),
        (Some(60), Some(60)),
        "{report:#}"
    );
    let of = |context: &str| report["byCluster"][context].as_u64().expect("a number");
    assert_eq!(of(&mesh.first) + of(&mesh.second), 60);
    assert!(of(&mesh.first) >= 10 && of(&mesh.second) >= 10, "{report:#}");
    assert_eq!(report["byVersion"]["v1"].as_u64(), Some(of(&mesh.first)));
    // Sidecars and bodies say the same.
    assert_eq!(report["remarks"], json!([]), "{report:#}");

    let second = &mesh.second;
    mesh.xcluster_curl(&["-n", "40", "--expect", &format!("{second}>=10%"), "--expect", "success=100%"])
        .succeeded();
    let missed = mesh.xcluster_curl(&["-n", "20", "--expect", &format!("{second}>=99%")]).ended_with(3);
    assert!(missed.stdout.contains("missed"), "{}", missed.stdout);
    let matrix = mesh.xcluster_curl(&["-n", "20", "--from", "all"]).succeeded().stdout;
    assert!(matrix.contains(&mesh.first) && matrix.contains(second), "{matrix}");
    // Through the other cluster's ingress gateway, as a user from outside.
    mesh.xcluster_curl(&["-n", "10", "--via", "ingress", "--expect", "success=100%"]).succeeded();
}

/// A pod in the mesh in which there is nothing but a program that waits.
const SILENT: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "silent", "namespace": "sleep", "labels": {"app": "silent"}},
    "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "silent", "image": "registry.k8s.io/pause:3.10"}]}}"#;

#[test]
fn a_pod_without_curl_gets_one_and_one_of_our_own_goes_away() {
    let mesh = Mesh::healthy();
    let kubectl = mesh.bench.target.kubectl(&mesh.first).limit(Duration::from_mins(1));
    kubectl.apply(SILENT).expect("a pod");
    kubectl
        .run(["-n", "sleep", "wait", "pod/silent", "--for=condition=Ready", "--timeout=50s"])
        .expect("it is ready");
    let from = format!("{}/sleep/silent", mesh.first);
    mesh.xcluster_curl(&["--from", &from]).ended_with(1).said("has no curl").said("--ephemeral");
    mesh.xcluster_curl(&["--from", &from, "--ephemeral"]).ended_with(2).said("--yes");
    mesh.xcluster_curl(&["--from", &from, "--ephemeral", "--yes", "--expect", "success=100%"]).succeeded();
    // The second time it is there.
    mesh.xcluster_curl(&["--from", &from, "--ephemeral", "--expect", "success=100%"]).succeeded();
    mesh.bench.kubectl(&mesh.first, &["-n", "sleep", "delete", "pod", "silent", "--grace-period=1"]);

    mesh.xcluster_curl(&["--deploy-client", "--yes", "--expect", "success=100%"]).succeeded();
    let left = mesh.bench.kubectl(&mesh.first, &["-n", "sleep", "get", "pods", "-o", "name"]);
    assert!(!left.contains("xcluster-curl"), "its pod is gone: {left}");

    let junit = mesh.xcluster_curl(&["--expect", "failed>=1", "-o", "junit"]).ended_with(3).stdout;
    assert!(junit.starts_with("<?xml") && junit.contains(r#"<testcase name="failed&gt;=1">"#), "{junit}");
    assert!(junit.contains("failures=\"1\""), "{junit}");
}

#[test]
fn what_failed_is_traced_to_its_cause() {
    let mesh = Mesh::healthy();
    let (first, second) = (&mesh.first, &mesh.second);
    // What is changed takes effect in a moment.
    let is_traced = |kind: &str, check: Option<&str>| {
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let report = mesh.xcluster_curl(&["-n", "10", "-o", "json"]).json();
            let errors = report["errors"].as_array().expect("errors");
            // Endpoints that failed are left out for a while.
            let kinds = [kind, "no-endpoints"];
            let is = |error: &Value| {
                error["kind"].as_str().is_some_and(|kind| kinds.contains(&kind))
                    && error["check"].as_str() == check
            };
            if let Some(error) = errors.iter().find(|error| is(error)) {
                return error["cause"].as_str().expect("a cause").to_owned();
            }
            assert!(Instant::now() < end, "expected {kind} {check:?}: {report:#}");
        }
    };
    let scale = |(context, deployment): (&String, &str), replicas: &str| {
        mesh.bench.kubectl(context, &["-n", "helloworld", "scale", deployment, replicas]);
        let rollout = ["-n", "helloworld", "rollout", "status", deployment, "--timeout=50s"];
        mesh.bench.target.kubectl(context).limit(Duration::from_mins(1)).run(rollout).expect("scaled");
    };
    let (near, far) = ((first, "deployment/helloworld-v1"), (second, "deployment/helloworld-v2"));
    scale(near, "--replicas=0");
    scale(far, "--replicas=0");
    let cause = is_traced("no-endpoints", None);
    assert!(cause.contains(first) && cause.contains(second) && cause.contains("scaled to 0"), "{cause}");
    // Envoy says to gRPC with status 200 that there is nobody.
    let grpc = ["-n", "5", "-X", "POST", "-H", "content-type: application/grpc", "-o", "json"];
    let report = mesh.xcluster_curl(&grpc).ended_with(3).json();
    assert_eq!(
        (report["failed"].as_u64(), &report["errors"][0]["kind"]),
        (Some(5), &json!("no-endpoints")),
        "{report:#}"
    );
    scale(near, "--replicas=1");
    scale(far, "--replicas=1");

    let rule = ["-n", "helloworld", "destinationrule", "helloworld"];
    let tls =
        |settings: Value| mesh.patch(first, &rule, &json!({"spec": {"trafficPolicy": {"tls": settings}}}));
    tls(json!({"mode": "DISABLE"}));
    let cause = is_traced("no-endpoints", Some("mutual-tls"));
    assert!(
        cause.contains("DestinationRule helloworld/helloworld")
            && cause.contains("spec.trafficPolicy.tls.mode"),
        "{cause}"
    );
    let other = format!("spiffe://{}/ns/helloworld/sa/other", mesh.bench.members[0].trust_domain);
    tls(json!({"mode": "ISTIO_MUTUAL", "subjectAltNames": [other]}));
    let cause = is_traced("connect-failed", Some("endpoint-identities"));
    assert!(cause.contains(&mesh.bench.members[1].trust_domain), "{cause}");
    // The other question of the same fault: who accepts whom, and why not.
    let pair = [named(first, "sleep"), named(second, "helloworld")];
    let refusal = || {
        let ran = mesh.trustchain(&[&pair[0], "--accepts", &pair[1], "-o", "json"]).ended_with(3).json();
        let answers = ran["accepts"][0]["answers"].as_array().expect("answers").clone();
        let no: Vec<Value> = answers.into_iter().filter(|answer| answer["answer"] == "no").collect();
        assert_eq!(no.len(), 1, "{ran:#}");
        no[0]["question"].as_str().expect("a question").to_owned()
    };
    assert_eq!(refusal(), "client-expects-name");
    tls(Value::Null);

    // Without the other domain's bundle nobody over there is trusted, here. Somebody near would answer after a retry.
    scale(near, "--replicas=0");
    let domain = format!("spiffe://{}", mesh.bench.members[1].trust_domain);
    mesh.bench.server(first, "spire-server", &["bundle", "delete", "-id", &domain, "-mode", "dissociate"]);
    // Connections that are there stay: the next pod over there is a stranger.
    let pods = ["-n", "helloworld", "delete", "pod", "-l", "app=helloworld", "--grace-period=1"];
    mesh.bench.kubectl(second, &pods);
    let cause = is_traced("connect-failed", Some("proxy-bundles"));
    assert!(cause.contains(&mesh.bench.members[1].trust_domain), "{cause}");
    assert_eq!(refusal(), "client-verifies-server");
    // Without it new pods have no identity, either.
    mesh.bench.up();
    scale(near, "--replicas=1");
    mesh.is_healthy();
}

/// Objects of somebody who knows Istio, each of which stops requests, or some of them.
const RULE_OF_THE_CLIENT: &str = r#"{"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "old-times", "namespace": "sleep"},
    "spec": {"host": "*.helloworld.svc.cluster.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}}}"#;
const SUBSETS: &str = r#"{"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "versions", "namespace": "helloworld"},
    "spec": {"host": "helloworld.helloworld.svc.cluster.local", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}}"#;
const ROUTED: &str = r#"{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "versions", "namespace": "helloworld"},
    "spec": {"hosts": ["helloworld.helloworld.svc.cluster.local"], "http": [{"route": [{"destination": {"host": "helloworld.helloworld.svc.cluster.local", "subset": "v1"}}]}]}}"#;
const ONLY_US: &str = r#"{"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "only-us", "namespace": "helloworld"},
    "spec": {"rules": [{"from": [{"source": {"principals": ["cluster.local/ns/sleep/sa/sleep"]}}]}]}}"#;

#[test]
fn the_path_of_a_request_ends_at_what_stops_it() {
    let mesh = Mesh::healthy();
    let (first, second) = (&mesh.first, &mesh.second);
    let explained = || mesh.xcluster_curl(&["--explain", "-o", "json"]).json();
    let stops = |report: &Value| -> Vec<(String, Value, String, Value)> {
        let stages = report["stages"].as_array().expect("stages").iter();
        let stopped = stages.filter(|stage| stage["verdict"] == "stops");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        stopped
            .map(|stage| {
                (
                    text(&stage["stage"]),
                    stage["cluster"].clone(),
                    text(&stage["object"]),
                    stage["field"].clone(),
                )
            })
            .collect()
    };
    // What is changed takes effect in a moment.
    let is_stopped = |stage: &str, cluster: Option<&str>, object: &str, field: Option<&str>| {
        let wanted = (stage.to_owned(), json!(cluster), object.to_owned(), json!(field));
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let report = explained();
            if stops(&report).contains(&wanted) {
                return report;
            }
            assert!(Instant::now() < end, "expected {wanted:?}: {report:#}");
        }
    };
    let report = explained();
    assert_eq!(
        (stops(&report), report["reached"].as_array().map(Vec::len)),
        (Vec::new(), Some(2)),
        "{report:#}"
    );
    let kubectl = |context: &str| mesh.bench.target.kubectl(context).limit(Duration::from_mins(1));
    let service = ["-n", "helloworld", "service", "helloworld"];

    kubectl(first).apply(RULE_OF_THE_CLIENT).expect("a rule");
    is_stopped("policy", None, "DestinationRule sleep/old-times", Some("spec.trafficPolicy.tls.mode"));
    mesh.bench.kubectl(first, &["-n", "sleep", "delete", "destinationrule", "old-times"]);

    mesh.patch(first, &service, &json!({"spec": {"internalTrafficPolicy": "Local"}}));
    is_stopped(
        "endpoints",
        Some(second),
        "Service helloworld/helloworld",
        Some("spec.internalTrafficPolicy"),
    );
    // Who was expected to answer, and did not, is explained without a failure.
    let expected = format!("{second}>=1%");
    mesh.xcluster_curl(&["-n", "5", "--expect", &expected]).ended_with(3);
    mesh.patch(first, &service, &json!({"spec": {"internalTrafficPolicy": "Cluster"}}));

    let policy = |target: u16| {
        json!([{"op": "replace", "path": "/spec/ports/0/targetPort", "value": target}]).to_string()
    };
    let patch = |target: u16| {
        let patch = policy(target);
        mesh.bench.kubectl(
            second,
            &["-n", "helloworld", "patch", "service", "helloworld", "--type=json", "-p", &patch],
        )
    };
    patch(5999);
    kubectl(second).apply(ONLY_US).expect("a policy");
    is_stopped(
        "authorization",
        Some(second),
        "AuthorizationPolicy helloworld/only-us",
        Some("spec.rules[].from[].source"),
    );
    mesh.bench.kubectl(second, &["-n", "helloworld", "delete", "authorizationpolicy", "only-us"]);
    is_stopped("application", Some(second), "Service helloworld/helloworld", Some("spec.ports[].targetPort"));
    patch(5000);

    kubectl(first).apply(SUBSETS).expect("subsets");
    kubectl(first).apply(ROUTED).expect("a route");
    let field = Some("spec.http[].route[].destination.subset");
    is_stopped("endpoints", Some(second), "VirtualService helloworld/versions", field);
    // Nobody could take over, so nothing is taken away.
    mesh.xcluster_curl(&["--failover", "--yes"]).ended_with(1).said("could not take over").said("subset v1");
    for kind in ["virtualservice", "destinationrule"] {
        mesh.bench.kubectl(first, &["-n", "helloworld", "delete", kind, "versions"]);
    }
    let end = Instant::now() + Duration::from_mins(1);
    while !stops(&explained()).is_empty() {
        assert!(Instant::now() < end, "{:#}", explained());
    }
}

#[test]
fn without_mutual_tls_nobody_is_answered() {
    let mesh = Mesh::healthy();
    let ran = mesh.xcluster_curl(&["-n", "5", "--plaintext", "--yes"]).succeeded();
    assert!(ran.stdout.contains("refused"), "{}", ran.stdout);
    let left = mesh.bench.kubectl(&mesh.first, &["-n", "sleep", "get", "pods", "-o", "name"]);
    assert!(!left.contains("xcluster-curl"), "its pod is gone: {left}");
}

#[test]
fn another_cluster_takes_over_and_pods_come_back_whatever_happens() {
    let mesh = Mesh::healthy();
    // Nothing is scaled without a yes.
    mesh.xcluster_curl(&["--failover", "helloworld-v1"]).ended_with(2).said("--yes");
    assert_eq!(mesh.replicas(), "1");
    let report =
        mesh.xcluster_curl(&["--failover", "helloworld-v1", "--yes", "-o", "json"]).succeeded().json();
    let failover = &report["failover"];
    assert_eq!((failover["restored"].as_bool(), mesh.replicas().as_str()), (Some(true), "1"), "{report:#}");
    assert!(failover["firstRemoteAnswerMs"].as_f64().is_some(), "{failover:#}");
    assert_eq!(failover["failedOnReturn"].as_u64(), Some(0), "{failover:#}");
    assert!(report["succeeded"].as_u64() > Some(50), "{report:#}");

    // Killed while there are no pods: what to bring back is recorded in the cluster.
    let words = [HELLO, "--failover", "helloworld-v1", "--yes"];
    let mut killed = mesh.bench.command_of("xcluster-curl", &words);
    std::os::unix::process::CommandExt::process_group(&mut killed, 0);
    let mut killed = killed.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kubectl runs");
    let end = Instant::now() + Duration::from_mins(1);
    while mesh.replicas() != "0" {
        assert!(Instant::now() < end, "it is never scaled");
    }
    let group = format!("-{}", killed.id());
    Command::new("kill").args(["-9", "--", &group]).status().expect("kill runs");
    killed.wait().expect("it ends");
    let restore =
        mesh.bench.command_of("xcluster-curl", &["restore", "--yes"]).output().expect("kubectl runs");
    Ran::of(&restore).succeeded();
    assert_eq!(mesh.replicas(), "1");
    let rollout = ["-n", "helloworld", "rollout", "status", "deployment/helloworld-v1", "--timeout=60s"];
    mesh.bench
        .target
        .kubectl(&mesh.first)
        .limit(Duration::from_mins(1))
        .run(rollout)
        .expect("its pods are back");
}
