//! `kubectl mesh-install`: one mesh over two clusters, every identity from SPIRE; and what is wrong with it, made for real.

mod answers;
mod chains;
mod completion;
mod documented;
mod faults;
mod installed;
mod removed;
mod rotated;
mod three;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use spire_mesh_e2e::{Bench, Ran, each};
use spire_mesh_lab::faults::{Action, Fault, Traffic};

const HELLO: &str = "http://helloworld.helloworld:5000/hello";

/// Whether the last thing that was found out about the mesh is that nothing is wrong with it.
static LEFT_HEALTHY: AtomicBool = AtomicBool::new(false);

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
        bench.take_images_of_the_lab();
        let (first, second) = (bench.members[0].context.clone(), bench.members[1].context.clone());
        Self { bench, first, second }
    }

    /// A healthy mesh with helloworld and sleep: the one that the test before left, where it is one.
    fn healthy() -> Self {
        let mesh = Self::of_two();
        // What a test found at its end is not looked for again at the beginning of the next.
        let was_left_healthy = LEFT_HEALTHY.swap(false, Ordering::Relaxed);
        if !mesh.has_demos() || !(was_left_healthy || mesh.bench.findings("mesh-install").is_empty()) {
            mesh.bench.up();
            mesh.up();
            for demo in ["helloworld", "sleep"] {
                mesh.bench.mesh_install(&["demo", demo, "--yes"]).succeeded();
            }
            mesh.is_healthy();
        }
        mesh
    }

    fn has_demos(&self) -> bool {
        let demos = [
            (&self.first, "helloworld"),
            (&self.second, "helloworld"),
            (&self.first, "sleep"),
            (&self.second, "sleep"),
        ];
        demos.iter().all(|(context, demo)| {
            let ready =
                ["-n", demo, "wait", "--for=condition=Available", "--timeout=0", "deployment", "--all"];
            let kubectl = self.bench.target.kubectl(context);
            kubectl.run(ready).is_ok_and(|said| said.contains("condition met"))
        })
    }

    fn up(&self) -> Ran {
        LEFT_HEALTHY.store(false, Ordering::Relaxed);
        self.bench.mesh_install(&["up", "--yes"]).succeeded()
    }

    #[track_caller]
    fn is_healthy(&self) {
        self.finds(&[]);
        LEFT_HEALTHY.store(true, Ordering::Relaxed);
    }

    #[track_caller]
    fn finds(&self, expected: &[(&str, &str)]) -> Vec<Value> {
        LEFT_HEALTHY.store(false, Ordering::Relaxed);
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

    /// Returns the names of the remote secrets in a cluster.
    fn remote_secrets(&self, context: &str) -> Vec<String> {
        let get = ["-n", "istio-system", "get", "secrets", "-l", "istio/multiCluster=true", "-o"];
        let names =
            self.bench.kubectl(context, &[&get[..], &["jsonpath={.items[*].metadata.name}"]].concat());
        names.split_whitespace().map(str::to_owned).collect()
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

    /// Gives the istiod of a cluster a CA of its own, as the Secret that it looks for when it starts.
    fn gives_ca(&self, context: &str, name: &str) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        let key = key.serialize_pem();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "cacerts", "namespace": "istio-system"},
            // In both forms that istiod takes: Istio's own, and that of cert-manager.
            "stringData": {
                "ca-cert.pem": certificate, "ca-key.pem": key,
                "cert-chain.pem": certificate, "root-cert.pem": certificate,
                "tls.crt": certificate, "tls.key": key, "ca.crt": certificate,
            },
        });
        self.bench.target.kubectl(context).apply(&secret.to_string()).expect("a Secret");
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

fn encoded(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

fn decoded(text: &str) -> Vec<u8> {
    BASE64.decode(text).expect("base64")
}
