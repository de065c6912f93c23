//! `kubectl trustchain`: what proxies really have, judged; against OpenSSL on the same bytes, and with faults made for real.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::*;

impl Mesh {
    pub(super) fn trustchain(&self, arguments: &[&str]) -> Ran {
        let output = self.bench.command_of("trustchain", arguments).output().expect("kubectl runs");
        Ran::of(&output)
    }

    /// The one workload that a name means, as JSON.
    fn chain_of(&self, name: &str) -> Value {
        self.trustchain(&[name, "-o", "json"]).succeeded().json()["workloads"][0].clone()
    }
}

/// Names a demo of a cluster, which is in a namespace of its name.
pub(super) fn named(context: &str, workload: &str) -> String {
    format!("{context}/{workload}/{workload}")
}

/// What OpenSSL reads of a certificate in PEM.
fn openssl(pem: &str, arguments: &[&str]) -> String {
    use std::io::Write as _;
    let mut openssl = Command::new("openssl")
        .args(["x509", "-noout"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    openssl.stdin.take().expect("its input").write_all(pem.as_bytes()).expect("it reads");
    let output = openssl.wait_with_output().expect("it ends");
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_chain_is_what_openssl_reads_and_every_proxy_is_good() {
    let mesh = Mesh::healthy();
    let one = mesh.chain_of(&named(&mesh.first, "sleep"));
    let domain = &mesh.bench.members[0].trust_domain;
    assert_eq!(one["identity"], format!("spiffe://{domain}/ns/sleep/sa/sleep"));
    assert_eq!(
        (one["issuedBy"].as_str(), one["workload"].as_str()),
        (Some("spire"), Some("deployment/sleep"))
    );
    assert_eq!(one["authority"]["origin"], "spireServer");
    assert_eq!(one["verdict"]["status"], "good");
    assert_eq!(one["trustBundles"].as_array().expect("bundles").len(), 2);

    let pem = mesh.trustchain(&[&named(&mesh.first, "sleep"), "-o", "pem"]).succeeded().stdout;
    let leaf = &one["chain"][0];
    let serial = openssl(&pem, &["-serial"]).to_lowercase();
    assert_eq!(serial, format!("serial={}", leaf["serial"].as_str().expect("a serial number")));
    let digest = openssl(&pem, &["-fingerprint", "-sha256"]).replace(':', "").to_lowercase();
    assert!(digest.ends_with(leaf["sha256"].as_str().expect("a digest")), "{digest} {leaf}");
    let uri = openssl(&pem, &["-ext", "subjectAltName"]);
    assert!(uri.contains(&format!("URI:{}", one["identity"].as_str().expect("an identity"))), "{uri}");

    // Every sidecar and gateway of both clusters, in one run.
    let all = mesh.trustchain(&["-A", "--all-clusters", "-o", "json"]).succeeded().json();
    let all = all["workloads"].as_array().expect("workloads").clone();
    let of = |context: &String| all.iter().filter(|one| one["cluster"] == **context).count();
    assert!(of(&mesh.first) >= 4 && of(&mesh.second) >= 4, "{all:#?}");
    let table = mesh.trustchain(&["-A", "--all-clusters"]).succeeded().stdout;
    assert!(table.contains("deployment/istio-eastwestgateway"), "{table}");

    // What is about to expire is a finding; four hours is what SPIRE gives a workload here.
    mesh.trustchain(&["-A", "--expiring", "1%"]).succeeded();
    mesh.trustchain(&["-A", "--expiring", "5h"]).ended_with(3).said("less than 5h left: ");

    // Whoever serves a chain, it is the same: istiod's own, and that of a bundle endpoint's Secret.
    let istiod = mesh.trustchain(&["istiod", "-o", "json"]).succeeded().json();
    assert_eq!(istiod["workloads"][0]["issuedBy"], "istiod");
    mesh.trustchain(&["secret/istio-ca-secret", "-n", "istio-system"]).succeeded();
}

#[test]
fn names_that_mean_nothing_or_too_much_are_told() {
    let mesh = Mesh::healthy();
    mesh.trustchain(&["sleep", "--all-clusters"]).ended_with(2).said("is in several clusters");
    mesh.trustchain(&["-n", "sleep", "sleeep"]).ended_with(1).said("did you mean sleep/deployment/sleep?");
    mesh.trustchain(&["istio-"]).ended_with(2).said("may be one of several: ");
    mesh.trustchain(&["nothing-like-it"]).ended_with(1).said("no workload `nothing-like-it`");
    // A pod without a proxy is a row with a reason, not a crash.
    mesh.trustchain(&["-n", "kube-system", "coredns"]).ended_with(3);
    mesh.trustchain(&["sleep", "--as", "nobody"]).ended_with(1).said("auth can-i list pods");
}

#[test]
fn who_accepts_whom_is_told_with_the_reason() {
    let mesh = Mesh::healthy();
    let (first, second) = (named(&mesh.first, "sleep"), named(&mesh.second, "helloworld"));
    let second = second.replace("/helloworld/helloworld", "/helloworld/service/helloworld");
    let accepts = |code| {
        let ran = mesh.trustchain(&[&first, "--accepts", &second, "-o", "json"]).ended_with(code);
        ran.json()["accepts"].as_array().expect("directions").clone()
    };
    let both = accepts(0);
    assert_eq!(both.len(), 2);
    assert!(both.iter().all(|direction| direction["accepted"] == "yes"), "{both:#?}");

    let policy = json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "nobody-from-there", "namespace": "helloworld"},
        "spec": {"action": "DENY", "rules": [{"from": [{"source": {"namespaces": ["sleep"]}}]}]},
    });
    let kubectl = mesh.bench.target.kubectl(&mesh.second);
    kubectl.apply(&policy.to_string()).expect("a policy");
    let denied = accepts(3);
    let answers = denied[0]["answers"].as_array().expect("answers");
    let authorization =
        answers.iter().find(|answer| answer["question"] == "authorization").expect("it is asked");
    assert_eq!(authorization["answer"], "no");
    assert!(authorization["reason"].as_str().expect("a reason").contains("helloworld/nobody-from-there"));
    // The other way is another question.
    assert_eq!(denied[1]["accepted"], "yes");
    mesh.bench
        .kubectl(&mesh.second, &["-n", "helloworld", "delete", "authorizationpolicy", "nobody-from-there"]);
    accepts(0);
}

#[test]
fn a_watch_tells_each_new_certificate_as_it_comes() {
    let mesh = Mesh::healthy();
    let mut watch = mesh
        .bench
        .command_of("trustchain", &[&named(&mesh.first, "sleep"), "--watch"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    let mut lines = BufReader::new(watch.stdout.take().expect("its output")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert!(next().contains(": certificate "));
    // A new pod is a new certificate, and the old pod goes.
    mesh.bench.kubectl(&mesh.first, &["-n", "sleep", "rollout", "restart", "deployment/sleep"]);
    let told = [next(), next()];
    assert!(told.iter().any(|line| line.contains(": certificate ") || line.contains("not read")), "{told:?}");
    watch.kill().expect("it can be ended");
    watch.wait().expect("it ends");
}

/// A watch of every proxy of both clusters, and what it has told so far.
struct Watch {
    running: Child,
    lines: Receiver<String>,
    told: Vec<Value>,
}

impl Watch {
    fn start(mesh: &Mesh) -> Self {
        let all = ["-A", "--all-clusters", "--watch", "-o", "json"];
        let mut command = mesh.bench.command_of("trustchain", &all);
        let mut running = command.stdout(Stdio::piped()).spawn().expect("kubectl runs");
        let output = BufReader::new(running.stdout.take().expect("its output"));
        let (sender, lines) = mpsc::channel();
        // It ends with the output, or with the receiver.
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { running, lines, told: Vec::new() }
    }

    /// Returns how often it has told this.
    fn count(&self, change: &Value) -> usize {
        let fields = change.as_object().expect("fields");
        let is = |told: &&Value| fields.iter().all(|(name, value)| told[name] == *value);
        self.told.iter().filter(is).count()
    }

    /// Waits until it has told this so often.
    #[track_caller]
    fn tells(&mut self, change: &Value, times: usize) {
        while self.count(change) < times {
            let line = self.lines.recv_timeout(Duration::from_mins(1));
            let line =
                line.unwrap_or_else(|_| panic!("{change} was not told {times} times: {:#?}", self.told));
            self.told.push(serde_json::from_str(&line).expect("an object on a line"));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Whatever the test has found, it does not go on.
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

#[test]
fn a_watch_tells_a_rotation_of_spire_proxy_by_proxy_and_when_all_have_it() {
    let mesh = Mesh::healthy();
    let domain = &mesh.bench.members[0].trust_domain;
    let all = mesh.trustchain(&["-A", "--all-clusters", "-o", "json"]).succeeded().json();
    let all = all["workloads"].as_array().expect("workloads");
    let old =
        all.iter().find(|one| one["cluster"] == *mesh.first).expect("a proxy")["authority"]["sha256"].clone();
    let of_first = all.iter().filter(|one| one["cluster"] == *mesh.first).count();
    let mut watch = Watch::start(&mesh);
    watch.tells(&json!({"change": "appeared"}), all.len());
    mesh.bench.plugin(&["rotate", &mesh.first, "--yes"]).succeeded();

    watch.tells(&json!({"change": "everybodyHas", "trustDomain": domain, "proxies": all.len()}), 1);
    watch.tells(&json!({"change": "authorityRemoved", "trustDomain": domain, "authority": old}), all.len());
    let new =
        watch.told.iter().find(|told| told["change"] == "everybodyHas").expect("it was told")["authority"]
            .clone();
    assert_eq!(watch.count(&json!({"change": "authorityAdded", "authority": new})), all.len());
    // Those of the other cluster trust another authority, and keep their certificates.
    let renewed: BTreeSet<&str> = watch
        .told
        .iter()
        .filter(|told| told["change"] == "newCertificate")
        .filter_map(|told| told["proxy"].as_str())
        .collect();
    assert_eq!(renewed.len(), of_first, "{renewed:?}");
    assert!(renewed.iter().all(|proxy| proxy.starts_with(&mesh.first)), "{renewed:?}");
    mesh.is_healthy();
}
