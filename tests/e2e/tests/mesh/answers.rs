//! `kubectl xcluster-curl`: who answers, counted; what was expected; and another cluster that takes over.

use std::process::{Command, Stdio};

use super::*;

impl Mesh {
    fn xcluster_curl(&self, arguments: &[&str]) -> Ran {
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
