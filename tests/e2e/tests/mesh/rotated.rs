//! The CA of istiod, which cert-manager issues, is replaced under load.

use super::*;

#[test]
fn the_next_ca_of_istiod_comes_from_cert_manager_and_nobody_notices() {
    let mesh = Mesh::of_two();
    let first = &mesh.first;
    mesh.bench.up();
    // An istiod that has made its own CA keeps it.
    mesh.bench.mesh_install(&["down", "--yes", "--force"]).succeeded();
    let Some(cert_manager) = mesh.bench.cert_manager(first) else { return };
    cert_manager.make_issuer_of_istiod(first).expect("issuers");
    let domain = format!("trustDomain: {}", mesh.bench.members[0].trust_domain);
    let ca = "istio: {ca: {certManager: {issuer: istio-ca}}}";
    mesh.bench.edit(&domain, &format!("{domain}\n      {ca}"));
    mesh.up();
    for demo in ["helloworld", "sleep"] {
        mesh.bench.mesh_install(&["demo", demo, "--yes"]).succeeded();
    }
    mesh.is_healthy();
    let served = || mesh.trustchain(&["istiod", "-o", "json"]).succeeded().json()["workloads"][0].clone();
    let before = served();
    assert_eq!(before["authority"]["origin"], json!({"certManager": "Issuer istio-ca"}), "{before:#}");

    // Of the two, only one has a CA that somebody else can issue.
    let second = &mesh.second;
    mesh.bench
        .mesh_install(&["rotate-ca", second, "--yes"])
        .ended_with(1)
        .said("there is no Certificate istio-system/cacerts");
    let rotate = ["rotate-ca", first, "--duration", "720h", "--yes", "-o", "json"];
    let rotated = mesh.bench.mesh_install(&rotate).succeeded().json()["clusters"][0].clone();
    nobody_noticed(&rotated);
    let after = served();
    assert_ne!(before["chain"][1]["serial"], after["chain"][1]["serial"], "istiod presents the new CA");
    assert_eq!(before["authority"]["sha256"], after["authority"]["sha256"], "of the same root");
    mesh.is_healthy();

    changes_root(&mesh, ca);

    // Somebody gives it another root, which istiod does not take.
    mesh.bench.kubectl(first, &["-n", "istio-system", "delete", "certificate", "cacerts"]);
    mesh.gives_ca(first, "another");
    let check = mesh.finds_one("istiod-ca", "another root");
    is_about(&check, &json!({"cluster": first}));
    let next = check["hint"].as_str().expect("a hint");
    assert!(next.contains("do not restart istiod"), "{next}");
    mesh.bench.mesh_install(&["down", "--yes", "--force"]).succeeded();
    // With the issuer in it, it was somebody else's.
    let namespace = ["delete", "namespace", "istio-system", "--ignore-not-found"];
    mesh.bench.target.kubectl(first).limit(Duration::from_mins(1)).run(namespace).expect("it goes");
}

fn nobody_noticed(rotated: &Value) {
    assert_ne!(rotated["before"]["serial"], rotated["after"]["serial"], "{rotated:#}");
    assert_eq!(rotated["svids"]["ofIstiod"], 0, "{rotated:#}");
    assert!(rotated["svids"]["unchanged"].as_u64() >= Some(4), "{rotated:#}");
    assert!(rotated["proxies"]["before"].as_u64() >= Some(4), "{rotated:#}");
    assert_eq!(rotated["proxies"]["before"], rotated["proxies"]["after"], "{rotated:#}");
    for load in each(&rotated["load"]) {
        assert!(load["sent"].as_u64() > Some(20), "{rotated:#}");
        assert_eq!(load["failed"], 0, "{rotated:#}");
    }
}

/// The mesh file names an issuer with another root: proxies get to trust it beside the old one, and then alone.
fn changes_root(mesh: &Mesh, ca: &str) {
    let first = &mesh.first;
    let authority = || {
        let istiod = mesh.trustchain(&["istiod", "-o", "json"]).succeeded().json();
        istiod["workloads"][0]["authority"].clone()
    };
    let before = authority();
    let next = ca.replace("{issuer: istio-ca}", "{issuer: istio-next-ca}, duration: 720h");
    mesh.bench.edit(ca, &next);
    mesh.bench
        .mesh_install(&["up", "--yes"])
        .ended_with(1)
        .said("that is a change of the root")
        .said(&format!("kubectl mesh-install rotate-ca --root {first}"));

    let step = || {
        let plan = mesh.bench.mesh_install(&["rotate-ca", first, "--root", "--dry-run", "-o", "json"]);
        plan.succeeded().json()["clusters"][0].clone()
    };
    let planned = step();
    assert_eq!(planned["next"], "trustBoth", "{planned:#}");
    assert_eq!(planned["newRoot"], "CN=istio next root", "{planned:#}");
    // Ended while both roots are on their way, it goes on from there, and nothing else is done meanwhile.
    let root = ["rotate-ca", first, "--root", "--yes", "--kubelet-delay", "20s"];
    mesh.bench.mesh_install(&[&root[..], &["--timeout", "2s"]].concat()).ended_with(124);
    let planned = step();
    assert!(planned["next"] == "awaitTrust" || planned["next"] == "issue", "{planned:#}");
    let check = mesh.finds_one("istiod-ca", "a change of the root was begun");
    is_about(&check, &json!({"cluster": first}));

    let changed = mesh.bench.mesh_install(&[&root[..], &["-o", "json"]].concat());
    let changed = changed.succeeded().json()["clusters"][0].clone();
    nobody_noticed(&changed);
    assert_eq!(changed["rootBefore"], "CN=istio root", "{changed:#}");
    assert_eq!(changed["root"], "CN=istio next root", "{changed:#}");
    let after = authority();
    assert_ne!(before["sha256"], after["sha256"], "istiod is of the new root");
    assert_eq!(after["origin"], json!({"certManager": "Issuer istio-next-ca"}), "{after:#}");
    mesh.bench.mesh_install(&root).succeeded().said("already");
    mesh.up();
    mesh.is_healthy();
}
