//! A mesh comes up, and its tokens are replaced.

use super::*;

#[test]
fn a_mesh_comes_up_is_proven_and_a_second_run_changes_nothing() {
    let mesh = Mesh::of_two();
    let Some(_) = mesh.bench.lab() else { return };
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

    let exec = ["-n", "sleep", "exec", "deploy/sleep", "-c", "sleep", "--", "curl", "-s", "-o", "/dev/null"];
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
    mesh.with_istioctl(r#"echo '{"clientVersion": {"version": "1.28.4"}}'"#);
    mesh.bench
        .mesh_install(&["up", "--yes"])
        .ended_with(1)
        .said("is of Istio 1.28.4; 1.29.0 is the oldest that works");
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

/// A gateway that was switched off goes, and nothing else with it.
#[test]
fn what_the_mesh_file_asks_for_no_more_goes() {
    let mesh = Mesh::healthy();
    let ingress = ["-n", "istio-system", "get", "deploy,service,serviceaccount,hpa", "-l"];
    let ingress = [&ingress[..], &["istio=ingressgateway", "-o", "name"]].concat();
    let (on, off) = ("    ingressGateway: {replicas: 1}\n", "    ingressGateway: {enabled: false}\n");
    mesh.bench.edit(on, off);
    let plan = mesh.bench.mesh_install(&["plan", "-o", "json"]).succeeded().json();
    for cluster in each(&plan["clusters"]) {
        let stale = cluster["stale"].as_array().expect("what goes");
        assert!(
            stale.contains(
                &json!({"kind": "Deployment", "namespace": "istio-system", "name": "istio-ingressgateway"})
            ),
            "{plan:#}"
        );
        let is_of_ingress =
            |key: &Value| key["name"].as_str().is_some_and(|name| name.starts_with("istio-ingressgateway"));
        assert!(stale.iter().all(is_of_ingress), "{plan:#}");
    }
    mesh.up().said(" deleted (");
    for context in [&mesh.first, &mesh.second] {
        let left = mesh.bench.kubectl(context, &ingress);
        assert!(left.is_empty(), "{left}");
    }
    mesh.up().said("nothing to change");
    assert!(mesh.has_demos());
    mesh.is_healthy();
    mesh.bench.edit(off, on);
    mesh.repairs();
}
