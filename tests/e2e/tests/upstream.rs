//! A server whose CA certificate the real cert-manager signs.

use std::time::{Duration, Instant};

use serde_json::Value;
use spire_mesh_e2e::{Bench, left_out};
use spire_mesh_lab::cert_manager::CertManager;

/// What the second cluster's `spire` holds with an upstream authority.
const UPSTREAM: &str =
    "\n      spire: {upstreamAuthority: {certManager: {issuer: spire-ca, namespace: pki}}}";

/// Two clusters, the second one with cert-manager.
struct Mesh {
    bench: Bench,
    second: String,
    cert_manager: CertManager,
}

impl Mesh {
    /// Clusters without SPIRE. `None` where they are not the lab's.
    fn empty() -> Option<Self> {
        let bench = Bench::new();
        bench.clean();
        let second = bench.members[1].context.clone();
        let cert_manager = bench.cert_manager(&second)?;
        Some(Self { bench, second, cert_manager })
    }

    fn trust_domain(&self) -> String {
        format!("trustDomain: {}", self.bench.members[1].trust_domain)
    }

    fn ask_for_upstream(&self) {
        let line = self.trust_domain();
        self.bench.edit(&line, &format!("{line}{UPSTREAM}"));
    }

    fn ask_for_none(&self) {
        let line = self.trust_domain();
        self.bench.edit(&format!("{line}{UPSTREAM}"), &line);
    }

    /// Everything that `verify` says, and that its exit code fits.
    fn checks(&self) -> Vec<Value> {
        let ran = self.bench.plugin(&["verify", "-o", "json"]);
        let checks = ran.json()["checks"].as_array().expect("checks").clone();
        let wrong = checks.iter().any(is_finding);
        assert_eq!(ran.code, Some(if wrong { 3 } else { 0 }), "{}", ran.stderr);
        checks
    }

    #[track_caller]
    fn is_healthy(&self) {
        let findings: Vec<Value> = self.checks().into_iter().filter(is_finding).collect();
        assert!(findings.is_empty(), "{findings:#?}");
    }

    /// Looks until this is all that is found: what was broken, or repaired, takes effect in a moment.
    #[track_caller]
    fn finds_one(&self, id: &str, text: &str) -> Value {
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let mut findings: Vec<Value> = self.checks().into_iter().filter(is_finding).collect();
            if let [check] = findings.as_slice()
                && check["id"] == id
                && check["cause"].as_str().is_some_and(|cause| cause.contains(text))
            {
                return findings.remove(0);
            }
            assert!(Instant::now() < end, "expected {id}: {text}, found {findings:#?}");
        }
    }

    /// What became of a check in the second cluster.
    fn status_of(&self, id: &str) -> Value {
        let is_it = |check: &Value| check["id"] == id && check["scope"]["cluster"] == self.second.as_str();
        self.checks().into_iter().find(is_it).map(|check| check["status"].clone()).unwrap_or_default()
    }

    /// The second cluster's SPIRE, as `status` shows it.
    fn spire(&self) -> Value {
        let status = self.bench.plugin(&["status", "-o", "json"]).json();
        status["clusters"][1]["spire"].clone()
    }

    /// Runs SPIRE's own command line in the second cluster's server.
    fn server(&self, command: &[&str]) -> spire_mesh_lab::Result<String> {
        let exec = ["-n", "spire-server", "exec", "spire-server-0", "-c", "spire-server", "--"];
        let words = exec.into_iter().chain(["/opt/spire/bin/spire-server"]).chain(command.iter().copied());
        self.bench.target.kubectl(&self.second).limit(Duration::from_mins(2)).run(words)
    }

    /// Has the next CA certificate made, and lets everybody fetch what is new in the bundle.
    fn prepare(&self) {
        self.server(&["localauthority", "x509", "prepare"]).expect("a CA certificate is signed");
        self.bench.up();
    }

    /// Goes on with the CA certificate that is prepared.
    fn activate(&self) {
        let prepared = self.spire()["ca"]["prepared"].as_str().expect("a prepared authority").to_owned();
        self.server(&["localauthority", "x509", "activate", "-authorityID", &prepared]).expect("it is used");
    }

    fn patch_issuer(&self, secret: &str) {
        let patch = format!(r#"{{"spec":{{"ca":{{"secretName":"{secret}"}}}}}}"#);
        let arguments = ["-n", "pki", "patch", "issuer", "spire-ca", "--type", "merge", "-p", &patch];
        self.bench.kubectl(&self.second, &arguments);
    }

    fn may(&self, verb: &str, namespace: &str) -> bool {
        let account = "--as=system:serviceaccount:spire-server:spire-server";
        let question =
            ["auth", "can-i", verb, "certificaterequests.cert-manager.io", "-n", namespace, account];
        self.bench.target.kubectl(&self.second).run(question).is_ok()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // Also after a failure: the next test's mesh file names no upstream authority, and none may be taken away.
        self.bench.plugin(&["down", "--yes", "--force", "--ca-volume", "delete"]);
    }
}

fn is_finding(check: &Value) -> bool {
    check["status"] == "fail" || check["status"] == "warn"
}

#[track_caller]
fn saw(check: &Value, text: &str) {
    let evidence = check["evidence"].as_array().expect("evidence");
    let said = evidence.iter().filter_map(Value::as_str).any(|line| line.contains(text));
    assert!(said, "{text:?} is not in {check:#}");
}

/// The first in the order of names: the others install it.
#[test]
fn a_cluster_without_cert_manager_is_named_before_anything_is_changed() {
    let bench = Bench::new();
    bench.clean();
    let line = format!("trustDomain: {}", bench.members[1].trust_domain);
    bench.edit(&line, &format!("{line}{UPSTREAM}"));
    let second = bench.members[1].context.clone();
    if bench.kubectl(&second, &["get", "crds", "-o", "name"]).contains("issuers.cert-manager.io") {
        return left_out("there is a cert-manager in the second cluster");
    }
    bench.plugin(&["plan"]).ended_with(1).said("cert-manager is not installed").said(&second);
    bench.plugin(&["up", "--yes"]).ended_with(1).said("the API server knows no Issuer of cert-manager.io");
}

#[test]
fn an_issuer_of_cert_manager_signs_the_servers_ca_and_is_named_when_it_does_not() {
    let Some(mesh) = Mesh::empty() else { return };
    mesh.ask_for_upstream();
    mesh.bench
        .plugin(&["up", "--yes"])
        .ended_with(1)
        .said("Issuer spire-ca in namespace pki does not exist")
        .said(&format!("kubectl --context {} -n pki get issuers.cert-manager.io", mesh.second));
    mesh.cert_manager.make_issuer().expect("an issuer");
    mesh.bench.up();
    mesh.is_healthy();
    mesh.bench.prove();
    for id in ["upstream-issuer", "upstream-request", "upstream-root"] {
        assert_eq!(mesh.status_of(id), "pass", "{id}");
    }
    let talks_of_first = |check: &Value| {
        let id = check["id"].as_str().unwrap_or_default();
        id.starts_with("upstream-") && check["scope"]["cluster"] != mesh.second.as_str()
    };
    assert!(!mesh.checks().iter().any(talks_of_first), "a server that signs itself has no issuer");
    let spire = mesh.spire();
    assert_eq!(spire["upstreamAuthority"], "cert-manager");
    assert_eq!(spire["authorities"].as_array().map(Vec::len), Some(1), "{spire:#}");
    assert!(spire["ca"]["upstream"].is_string(), "{spire:#}");
    mesh.bench.up().said("nothing to change");

    // The server may ask in the issuer's namespace, and do nothing else.
    assert!(["create", "get", "list", "delete"].iter().all(|verb| mesh.may(verb, "pki")));
    assert!(!["watch", "update", "patch"].iter().any(|verb| mesh.may(verb, "pki")));
    assert!(!mesh.may("create", "spire-server"));

    // The server's CA certificates come and go, and its bundle stays.
    mesh.prepare();
    mesh.activate();
    let renewed = mesh.spire();
    assert_eq!(renewed["authorities"], spire["authorities"]);
    assert_ne!(renewed["ca"]["id"], spire["ca"]["id"]);
    mesh.is_healthy();
    mesh.bench.prove();

    mesh.patch_issuer("no-such-secret");
    let check = mesh.finds_one("upstream-issuer", "Issuer spire-ca in namespace pki is not ready");
    saw(&check, "no-such-secret");
    saw(&check, "its newest CA certificate ends at");
    assert_eq!(mesh.status_of("upstream-request"), "skip");
    let describe =
        format!("kubectl --context {} -n pki describe issuers.cert-manager.io spire-ca", mesh.second);
    assert_eq!(check["hint"], describe.as_str());
    mesh.bench.plugin(&["up", "--yes"]).ended_with(1).said("is not ready").said(&describe);
    mesh.bench.kubectl(&mesh.second, &["-n", "pki", "delete", "issuer", "spire-ca"]);
    mesh.finds_one("upstream-issuer", "Issuer spire-ca in namespace pki does not exist");
    mesh.cert_manager.make_issuer().expect("an issuer");
    mesh.is_healthy();

    mesh.ask_for_none();
    mesh.bench
        .plugin(&["up", "--yes"])
        .ended_with(1)
        .said("the server would sign with a new CA at once, and no peer has it")
        .said("put `upstreamAuthority` back");
    mesh.finds_one("upstream-issuer", "the mesh file names no upstream authority");
    mesh.ask_for_upstream();
    mesh.bench.up().said("nothing to change");
    mesh.bench.prove();
}

#[test]
fn a_request_that_nobody_answers_is_named() {
    let Some(mesh) = Mesh::empty() else { return };
    mesh.cert_manager.make_issuer().expect("an issuer");
    mesh.ask_for_upstream();
    mesh.bench.up();
    mesh.cert_manager.scale(0).expect("it stops");
    // SPIRE waits for 75 seconds.
    mesh.server(&["localauthority", "x509", "prepare"]).expect_err("nobody signs");
    let check = mesh.finds_one("upstream-request", "has had no answer since");
    saw(&check, "CertificateRequest pki/spiffe-ca-");
    let hint = format!("kubectl --context {} -n pki describe certificaterequest spiffe-ca-", mesh.second);
    assert!(check["hint"].as_str().is_some_and(|text| text.starts_with(&hint)), "{check:#}");
    mesh.cert_manager.scale(1).expect("it goes on");
    // Its controllers wait until the lease of those before them has ended.
    let end = Instant::now() + Duration::from_mins(2);
    while mesh.status_of("upstream-request") != "pass" {
        assert!(Instant::now() < end, "the request is signed");
    }
    mesh.is_healthy();
}

#[test]
fn a_server_that_runs_goes_over_to_an_issuer_without_locking_a_peer_out() {
    let Some(mesh) = Mesh::empty() else { return };
    mesh.bench.up();
    let before = mesh.spire();
    assert_eq!(before["upstreamAuthority"], Value::Null);
    mesh.cert_manager.make_issuer().expect("an issuer");
    mesh.ask_for_upstream();
    mesh.bench.up();

    // It goes on with the CA certificate that it has.
    let changed = mesh.spire();
    assert_eq!(changed["upstreamAuthority"], "cert-manager");
    assert_eq!(changed["ca"]["id"], before["ca"]["id"]);
    assert_eq!(changed["authorities"], before["authorities"]);
    mesh.is_healthy();
    mesh.bench.prove();

    // The next one is the issuer's. Peers get its root before it is used.
    mesh.prepare();
    let prepared = mesh.spire();
    assert_eq!(prepared["authorities"].as_array().map(Vec::len), Some(2), "{prepared:#}");
    mesh.activate();
    let after = mesh.spire();
    assert!(after["ca"]["upstream"].is_string(), "{after:#}");
    assert_eq!(after["authorities"], prepared["authorities"]);
    mesh.is_healthy();
    mesh.bench.prove();
}
