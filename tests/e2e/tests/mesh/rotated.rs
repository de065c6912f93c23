//! The CA of istiod, which cert-manager issues, is replaced under load.

use spire_mesh_e2e::cert_manager::CertManager;

use super::*;

#[test]
fn the_next_ca_of_istiod_comes_from_cert_manager_and_nobody_notices() {
    let mesh = Mesh::of_two();
    let first = &mesh.first;
    mesh.bench.up();
    // An istiod that has made its own CA keeps it.
    mesh.bench.mesh_install(&["down", "--yes", "--force"]).succeeded();
    let Some(cert_manager) = CertManager::install(&mesh.bench.target, first) else { return };
    cert_manager.make_issuer_of_istiod(first);
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
    mesh.bench
        .mesh_install(&["rotate-ca", first, "--root", "--yes"])
        .ended_with(1)
        .said("ISTIO_MULTIROOT_MESH");

    let rotate = ["rotate-ca", first, "--duration", "720h", "--yes", "-o", "json"];
    let rotated = mesh.bench.mesh_install(&rotate).succeeded().json()["clusters"][0].clone();
    assert_ne!(rotated["before"]["serial"], rotated["after"]["serial"], "{rotated:#}");
    assert_eq!(rotated["svids"]["ofIstiod"], 0, "{rotated:#}");
    assert!(rotated["svids"]["unchanged"].as_u64() >= Some(4), "{rotated:#}");
    for load in rotated["load"].as_array().expect("a load from each cluster") {
        assert!(load["sent"].as_u64() > Some(20), "{rotated:#}");
        assert_eq!(load["failed"], 0, "{rotated:#}");
    }
    let after = served();
    assert_ne!(before["chain"][1]["serial"], after["chain"][1]["serial"], "istiod presents the new CA");
    assert_eq!(before["authority"]["sha256"], after["authority"]["sha256"], "of the same root");
    mesh.is_healthy();

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
