//! `kubectl spire-federate verify` names what is wrong: every fault is made for real, found, and repaired as the hint says.

use std::time::Duration;

use serde_json::Value;
use spire_mesh_e2e::Bench;
use spire_mesh_lab::faults::{Action, Fault, Guard, Traffic};

/// A pod that needs an identity, without the label that gives it one.
const POD: &str = include_str!("../../lab/manifests/proof.yaml");
const LABEL: &str = "spiffe.io/spire-managed-identity: \"true\"";
const POD_OBJECT: &str = "Pod spire-mesh-proof/client";

/// Two clusters that trust each other, and what `verify` finds about them.
struct Mesh {
    bench: Bench,
    first: String,
    second: String,
}

impl Mesh {
    /// A healthy mesh.
    fn healthy() -> Self {
        Self::of(Bench::new())
    }

    /// A healthy mesh whose servers, CAs and certificates are all new.
    fn fresh() -> Self {
        let bench = Bench::new();
        bench.clean();
        Self::of(bench)
    }

    fn of(bench: Bench) -> Self {
        bench.up();
        let (first, second) = (bench.members[0].context.clone(), bench.members[1].context.clone());
        let mesh = Self { bench, first, second };
        mesh.is_healthy();
        mesh
    }

    #[track_caller]
    fn is_healthy(&self) {
        let checks = self.findings();
        assert!(checks.is_empty(), "{checks:#?}");
    }

    /// Everything that is wrong.
    fn findings(&self) -> Vec<Value> {
        self.bench.findings("spire-federate")
    }

    #[track_caller]
    fn finds(&self, expected: &[(&str, &str)]) -> Vec<Value> {
        self.bench.finds("spire-federate", expected)
    }

    #[track_caller]
    fn finds_one(&self, id: &str, text: &str) -> Value {
        self.finds(&[(id, text)]).remove(0)
    }

    #[track_caller]
    fn repairs(&self) {
        self.bench.up();
        self.is_healthy();
    }

    #[track_caller]
    fn fixes(&self) {
        self.bench.plugin(&["verify", "--fix", "--yes"]).succeeded();
        self.is_healthy();
    }

    fn server(&self, context: &str, command: &[&str]) -> String {
        self.bench.server(context, "spire-server", command)
    }

    fn authority(&self, context: &str, which: &str) -> String {
        let shown = self.server(context, &["localauthority", "x509", "show", "-output", "json"]);
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        shown[which]["authority_id"].as_str().unwrap_or_else(|| panic!("no {which} authority")).to_owned()
    }

    /// Prepares, activates and taints in one go, while nobody can fetch the new authority, and waits until the bundle endpoint
    /// presents an SVID of it: the server looks every five seconds. Returns the old authority.
    fn replace_ca_in_haste(&self, context: &str) -> String {
        let blocked = self.block(&self.endpoint(context));
        let old = self.authority(context, "active");
        self.server(context, &["localauthority", "x509", "prepare"]);
        let prepared = self.authority(context, "prepared");
        self.server(context, &["localauthority", "x509", "activate", "-authorityID", &prepared]);
        self.server(context, &["localauthority", "x509", "taint", "-authorityID", &old]);
        std::thread::sleep(Duration::from_secs(8));
        blocked.clear().expect("packets pass again");
        old
    }

    /// Address of a cluster's bundle endpoint.
    fn endpoint(&self, context: &str) -> String {
        let service = ["-n", "spire-server", "get", "service", "spire-server-bundle", "-o"];
        let address = service.into_iter().chain(["jsonpath={.status.loadBalancer.ingress[0].ip}"]);
        self.bench.kubectl(context, &address.collect::<Vec<_>>())
    }

    /// Drops the packets to a bundle endpoint.
    fn block(&self, address: &str) -> Guard {
        let to = format!("{address}:8443").parse().expect("an address");
        let fault = Fault::Traffic(Traffic { action: Action::Block, from: None, to });
        self.bench.target.faults().and_then(|faults| faults.during(fault)).expect("packets are dropped")
    }

    fn patch(&self, context: &str, object: &str, patch: &str) {
        self.bench.kubectl(context, &["patch", object, "--type", "merge", "-p", patch]);
    }

    fn start_pod(&self, context: &str, manifest: &str) {
        self.bench.target.kubectl(context).apply(manifest).expect("the pod is accepted");
    }

    fn remove_pod(&self, context: &str) {
        let namespace = ["delete", "namespace", "spire-mesh-proof"];
        let kubectl = self.bench.target.kubectl(context).limit(Duration::from_mins(1));
        kubectl.run(namespace).unwrap_or_else(|error| panic!("{error}"));
    }
}

fn says(check: &Value, text: &str) {
    let cause = check["cause"].as_str().unwrap_or_default();
    assert!(cause.contains(text), "{text:?} is not in {check:#}");
}

fn is_about_pair(check: &Value, from: &str, to: &str) {
    assert_eq!(check["scope"], serde_json::json!({"from": from, "to": to}), "{check:#}");
}

#[test]
fn a_relationship_that_is_missing_ignored_or_wrong_is_named() {
    let mesh = Mesh::healthy();
    let (first, second) = (&mesh.first, &mesh.second);

    mesh.bench.kubectl(second, &["delete", "clusterfederatedtrustdomain", "foo.com"]);
    let check = mesh.finds_one("relationship", "trust goes one way only");
    is_about_pair(&check, second, first);
    assert_eq!(check["hint"], "kubectl spire-federate");
    mesh.repairs();

    mesh.patch(first, "clusterfederatedtrustdomain/bar.com", r#"{"spec":{"className":"somebody-elses"}}"#);
    let check = mesh.finds_one(
        "relationship",
        "its className is `somebody-elses`, that of the controller-manager is `spire-mesh`",
    );
    is_about_pair(&check, first, second);
    mesh.repairs();

    let wrong = r#"{"spec":{"bundleEndpointProfile":{"endpointSPIFFEID":"spiffe://bar.com/somebody"}}}"#;
    mesh.patch(first, "clusterfederatedtrustdomain/bar.com", wrong);
    let check = mesh.finds_one("relationship", "expects the SPIFFE ID spiffe://bar.com/somebody");
    is_about_pair(&check, first, second);
    says(&check, "presents spiffe://bar.com/spire/server");
    mesh.repairs();
}

#[test]
fn a_bundle_that_never_came_or_is_too_old_is_named_and_carried_again() {
    let mesh = Mesh::fresh();
    let Some(_) = mesh.bench.lab() else { return };
    let (first, second) = (&mesh.first, &mesh.second);

    mesh.server(first, &["bundle", "delete", "-id", "spiffe://bar.com", "-mode", "dissociate"]);
    let check = mesh.finds_one("bundle-stored", "never got a first bundle");
    is_about_pair(&check, first, second);
    mesh.fixes();

    // The peer's CA is replaced before the others have the new one.
    let old = mesh.replace_ca_in_haste(second);
    let check = mesh.finds_one("bundle-stored", "signs with a new CA");
    is_about_pair(&check, first, second);
    assert_eq!(check["hint"], "kubectl spire-federate verify --fix");
    mesh.fixes();

    // The CA that signed the webhook's certificate is revoked.
    mesh.server(second, &["localauthority", "x509", "revoke", "-authorityID", &old]);
    let check = mesh.finds_one("webhook", "refuses every change");
    let hint = check["hint"].as_str().expect("a hint");
    assert_eq!(hint, format!("kubectl --context {second} -n spire-server delete pod spire-server-0"));
    mesh.bench.paste(hint).succeeded();
    mesh.repairs();

    // A whole rotation while nobody can fetch.
    let old = mesh.replace_ca_in_haste(second);
    mesh.server(second, &["localauthority", "x509", "revoke", "-authorityID", &old]);
    let found = mesh
        .finds(&[("webhook", "refuses every change"), ("bundle-stored", "holds none of the authorities")]);
    is_about_pair(&found[1], first, second);
    mesh.bench.kubectl(second, &["-n", "spire-server", "delete", "pod", "spire-server-0"]);
    mesh.bench.plugin(&["verify", "--fix", "--yes"]);
    mesh.repairs();
}

#[test]
fn a_bundle_in_a_relationship_object_is_named_before_and_after_it_was_set_again() {
    let mesh = Mesh::healthy();
    let (first, second) = (&mesh.first, &mesh.second);
    let object = "clusterfederatedtrustdomain/bar.com";
    let stale = mesh.server(first, &["bundle", "show", "-format", "spiffe"]);
    let patch = serde_json::json!({"spec": {"trustDomainBundle": stale}}).to_string();
    mesh.patch(first, object, &patch);
    let check = mesh.finds_one("relationship", "the relationship object carries a bundle");
    assert_eq!(check["status"], "warn");

    // Any other change of it sets the bundle.
    for id in ["spiffe://bar.com/somebody", "spiffe://bar.com/spire/server"] {
        let change = serde_json::json!({"spec": {"bundleEndpointProfile": {"endpointSPIFFEID": id}}});
        mesh.patch(first, object, &change.to_string());
        std::thread::sleep(Duration::from_secs(2));
    }
    let carried = "that its relationship object still carries";
    let found = mesh.finds(&[("relationship", "carries a bundle"), ("bundle-stored", carried)]);
    is_about_pair(&found[1], first, second);
    mesh.fixes();
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_told_from_one_that_is_somebody_elses() {
    let mesh = Mesh::healthy();
    let Some(_) = mesh.bench.lab() else { return };
    let (first, second) = (&mesh.first, &mesh.second);
    let node = ["get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}"];
    let node = mesh.bench.kubectl(second, &node);
    let address = mesh.endpoint(second);

    let mut url = format!("https://{address}:8443");
    let with_url =
        format!("trustDomain: bar.com\n      spire: {{bundleEndpoint: {{expose: URL, url: \"{url}\"}}}}");
    mesh.bench.edit("trustDomain: bar.com", &with_url);
    for (next, cause) in [
        ("https://no-such-name.invalid:8443".to_owned(), "does not resolve"),
        (format!("https://{node}:1"), "the connection is refused"),
        (format!("https://{node}:6443"), "something on the way ends TLS"),
    ] {
        mesh.bench.edit(&url, &next);
        let patch = serde_json::json!({"spec": {"bundleEndpointURL": next}}).to_string();
        mesh.patch(first, "clusterfederatedtrustdomain/bar.com", &patch);
        let check = mesh.finds_one("bundle-fetched", cause);
        is_about_pair(&check, first, second);
        let evidence = check["evidence"].to_string();
        assert!(evidence.contains("tried from pod spire-server/spire-server-0"), "{evidence}");
        url = next;
    }
    mesh.bench.edit(&format!("\n      spire: {{bundleEndpoint: {{expose: URL, url: \"{url}\"}}}}"), "");
    mesh.repairs();

    let blocked = mesh.block(&address);
    mesh.finds_one("bundle-fetched", "get no answer");
    blocked.clear().expect("packets pass again");
    mesh.is_healthy();
}

#[test]
fn a_pod_without_its_one_identity_is_named() {
    let mesh = Mesh::healthy();
    let first = &mesh.first;
    let is_about_pod = |check: &Value| assert_eq!(check["scope"]["object"], POD_OBJECT, "{check:#}");

    // Nobody selects it.
    mesh.start_pod(first, &POD.replace(LABEL, "app: lonely"));
    let check = mesh.finds_one("entries", "no ClusterSPIFFEID selects it");
    is_about_pod(&check);
    assert!(check["evidence"].to_string().contains("podSelector excludes the pod"), "{check:#}");

    // One selects it that federates with a trust domain of which there is no bundle.
    let lonely = "apiVersion: spire.spiffe.io/v1alpha1\nkind: ClusterSPIFFEID\nmetadata: {name: lonely}\nspec:\n  className: spire-mesh\n  \
                  spiffeIDTemplate: spiffe://{{ .TrustDomain }}/lonely/{{ .PodMeta.Name }}\n  podSelector: {matchLabels: {app: lonely}}\n";
    mesh.start_pod(first, &format!("{lonely}  federatesWith: [nowhere.example]\n"));
    let check = mesh.finds_one("identity-objects", "holds no bundle of nowhere.example");
    assert_eq!(check["scope"]["object"], "ClusterSPIFFEID lonely");
    mesh.bench.kubectl(first, &["delete", "clusterspiffeid", "lonely"]);
    mesh.remove_pod(first);

    // Two select it.
    mesh.start_pod(first, &POD.replace(LABEL, &format!("{LABEL}\n    app: lonely")));
    mesh.start_pod(first, &format!("{lonely}  federatesWith: [bar.com]\n"));
    let check =
        mesh.finds_one("entries", "ClusterSPIFFEID labelled-workloads and ClusterSPIFFEID lonely select it");
    is_about_pod(&check);
    mesh.bench.kubectl(first, &["delete", "clusterspiffeid", "lonely"]);

    // The one that selects it does not federate.
    mesh.patch(first, "clusterspiffeid/labelled-workloads", r#"{"spec":{"federatesWith":[]}}"#);
    let check = mesh.finds_one("entries", "does not federate with bar.com");
    is_about_pod(&check);
    mesh.repairs();

    // Its node has no agent.
    let node = mesh.bench.kubectl(first, &["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    mesh.bench.kubectl(first, &["taint", "node", &node, "example.com/gpu=yes:NoSchedule"]);
    let agents = ["-n", "spire-system", "patch", "daemonset", "spire-agent", "--type", "json", "-p"];
    let bare = r#"[{"op":"remove","path":"/spec/template/spec/tolerations"}]"#;
    mesh.bench.kubectl(first, &agents.into_iter().chain([bare]).collect::<Vec<_>>());
    // A pod that runs already stays.
    let agent = ["-n", "spire-system", "delete", "pods", "-l", "app.kubernetes.io/name=spire-agent"];
    mesh.bench.kubectl(first, &agent);
    let check = mesh.finds_one("agents", "does not tolerate example.com/gpu=yes:NoSchedule");
    assert_eq!(check["scope"]["object"], format!("Node {node}"));
    assert_eq!(check["hint"], "kubectl spire-federate");
    mesh.repairs();
    mesh.bench.kubectl(first, &["taint", "node", &node, "example.com/gpu-"]);
    mesh.remove_pod(first);
}

#[test]
fn a_configuration_that_does_not_fit_is_named() {
    let mesh = Mesh::healthy();
    let first = &mesh.first;
    let get =
        ["-n", "spire-system", "get", "configmap", "spire-agent", "-o", "jsonpath={.data.agent\\.conf}"];
    let conf = mesh.bench.kubectl(first, &get).replace("\"ROOTCA\"", "\"ALL\"");
    let patch = serde_json::json!({"data": {"agent.conf": conf}}).to_string();
    mesh.bench.kubectl(
        first,
        &["-n", "spire-system", "patch", "configmap", "spire-agent", "--type", "merge", "-p", &patch],
    );
    mesh.finds_one("agent-bundle-names", "as ROOTCA");
    mesh.repairs();

    let istio = "apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}\n---\napiVersion: v1\nkind: ConfigMap\n\
                 metadata: {name: istio, namespace: istio-system}\ndata: {mesh: \"trustDomain: somebody.example\"}\n";
    mesh.start_pod(first, istio);
    let check = mesh.finds_one(
        "trust-domain",
        "Istio is configured for trust domain somebody.example, SPIRE for foo.com",
    );
    assert_eq!(check["scope"]["cluster"], *first);
    mesh.bench.kubectl(first, &["delete", "namespace", "istio-system"]);
    mesh.is_healthy();
}

#[test]
fn a_server_that_is_down_or_has_lost_its_data_is_named_alone() {
    let mesh = Mesh::healthy();
    let (first, second) = (&mesh.first, &mesh.second);
    mesh.bench
        .kubectl(first, &["-n", "spire-server", "scale", "statefulset", "spire-server", "--replicas=0"]);
    let check = mesh.finds_one("server-ready", "running workloads keep their SVIDs until these end");
    assert_eq!(check["scope"]["cluster"], *first);
    assert!(check["evidence"].to_string().contains("the first SVIDs end at"), "{check:#}");
    mesh.repairs();

    let Some(lab) = mesh.bench.lab() else { return };
    let last = lab.clusters().nth(1).expect("a second cluster");
    let claim = "spire-server/data-spire-server-0".parse().expect("a claim");
    let lose = || {
        let faults = mesh.bench.target.faults();
        faults.and_then(|faults| faults.lose_volume(last.name(), &claim)).expect("the volume is emptied");
        let none = "holds none of the authorities";
        let wanted =
            [("agents", "has lost its data"), ("bundle-stored", none), ("bundle-stored", "never got")];
        let found = mesh.finds(&wanted);
        is_about_pair(&found[1], first, second);
        is_about_pair(&found[2], second, first);
    };
    lose();
    mesh.fixes();
    lose();
    mesh.repairs();
    mesh.bench.prove();
}

#[test]
fn without_rights_the_missing_ones_are_named_and_the_rest_is_checked() {
    let mesh = Mesh::healthy();
    let context = &mesh.first;
    let bind = ["create", "clusterrolebinding", "spire-mesh-viewer", "--clusterrole=view", "--user=viewer"];
    for member in &mesh.bench.members {
        mesh.bench.kubectl(&member.context, &bind);
    }
    let verify = mesh.bench.plugin(&["verify", "--as", "viewer", "-o", "json"]);
    let status = mesh.bench.plugin(&["status", "--as", "viewer"]);
    for member in &mesh.bench.members {
        mesh.bench.kubectl(&member.context, &["delete", "clusterrolebinding", "spire-mesh-viewer"]);
    }
    let report = verify.ended_with(3).json();
    let checks = report["checks"].as_array().expect("checks");
    let rights = checks.iter().find(|check| check["id"] == "rights" && check["scope"]["cluster"] == *context);
    let evidence = rights.expect("rights")["evidence"].to_string();
    assert!(evidence.contains("you may not get pods/exec in namespace spire-server"), "{evidence}");
    assert!(
        checks.iter().any(|check| check["id"] == "spire-found" && check["status"] == "pass"),
        "{checks:#?}"
    );
    status.ended_with(3).said("you may not get pods/exec");
}
