//! A mesh goes away.

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
    // What somebody put into a namespace of ours goes only when that was asked for.
    let theirs = ["-n", "helloworld", "get", "secret", "theirs", "--ignore-not-found", "-o", "name"];
    mesh.bench.kubectl(second, &["-n", "helloworld", "create", "secret", "generic", "theirs"]);
    let shown = mesh.bench.mesh_install(&["down", "--dry-run"]).succeeded();
    assert!(shown.stdout.contains("keep"), "{}", shown.stdout);
    mesh.bench
        .mesh_install(&["down", "--yes"])
        .succeeded()
        .said("stays: objects of somebody else: theirs/theirs")
        .said("Namespace/helloworld stays: objects of somebody else: Secret/theirs");
    assert_eq!(mesh.bench.kubectl(second, &theirs).trim(), "secret/theirs");
    mesh.bench
        .mesh_install(&["down", "--yes", "--force"])
        .succeeded()
        .said("Secret/theirs in namespace helloworld, which somebody else made");
    assert_eq!(mesh.bench.kubectl(second, &theirs).trim(), "");

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
    assert_eq!(left, ["customresourcedefinition.apiextensions.k8s.io/serviceentries.networking.istio.io"]);
    mesh.bench.kubectl(second, &["delete", "namespace", "theirs"]);
    mesh.bench.kubectl(second, &["delete", left[0]]);
    mesh.bench.mesh_install(&["down", "--yes"]).succeeded().said("nothing of mesh");
    // SPIRE goes on.
    mesh.bench.plugin(&["status"]).succeeded();
}
