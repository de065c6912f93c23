//! A SPIRE that somebody else installed, in the layout of the public Helm chart, on the second cluster: it is federated as it is,
//! watched and repaired like any other, and left as it was.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use spire_mesh_e2e::{Bench, Ran, each};
use spire_mesh_lab::cluster::Kubectl;
use spire_mesh_lab::proof::ServerPod;

/// The API that the chart `spire-crds` installs.
const DEFINITIONS: &str = include_str!("../../../manifests/spire/crds.yaml");
const RELEASE: &str = include_str!("../manifests/foreign/release.yaml");
const SERVER: &str = include_str!("../manifests/foreign/server.yaml");
const NODES: &str = include_str!("../manifests/foreign/nodes.yaml");
const IDENTITIES: &str = include_str!("../manifests/foreign/identities.yaml");
/// What somebody made in another namespace: it looks like a SPIRE that this mesh installed.
const COPY: &str = include_str!("../manifests/foreign/copy.yaml");
/// A pod that mounts the Workload API.
const POD: &str = include_str!("../../lab/manifests/proof.yaml");

const NAMESPACES: [&str; 3] = ["spire-mgmt", "spire-server", "spire-system"];
const POD_NAMESPACE: &str = "spire-mesh-proof";
const POD_OBJECT: &str = "Pod spire-mesh-proof/client";
const IDENTITY: &str = "spire-mgmt-spire-default";
/// How long something may take that happens by itself.
const PATIENCE: Duration = Duration::from_mins(2);

/// The SPIRE of the second cluster, which is nobody's that the plugin knows. Goes with the test, however that ends.
struct Foreign<'b> {
    bench: &'b Bench,
    /// Context of the first cluster, which is managed.
    first: String,
    /// Context of the cluster that it is on.
    second: String,
}

impl<'b> Foreign<'b> {
    /// Takes away what the tests made on all clusters, also of an earlier run that failed. Nothing is installed yet.
    fn nothing(bench: &'b Bench) -> Self {
        let (first, second) = (bench.members[0].context.clone(), bench.members[1].context.clone());
        let foreign = Self { bench, first, second };
        foreign
            .remove()
            .unwrap_or_else(|error| panic!("what an earlier run left cannot be removed: {error}"));
        bench.clean();
        let left = bench.kubectl(&foreign.second, &["get", "namespaces", "-o", "name"]);
        let is_taken = |name: &&str| left.lines().any(|line| line == format!("namespace/{name}"));
        let taken: Vec<&str> = NAMESPACES.into_iter().filter(|name| is_taken(name)).collect();
        assert!(
            taken.is_empty(),
            "{}: namespaces {taken:?} are somebody's, and not of these tests",
            foreign.second
        );
        foreign
    }

    fn kubectl(&self) -> Kubectl {
        self.bench.target.kubectl(&self.second)
    }

    /// Applies objects as Helm does: under a name of its own, and every field has to be one that there is.
    fn apply(&self, yaml: &str) -> Result<String, String> {
        let apply =
            ["apply", "--server-side", "--force-conflicts", "--validate=strict", "--field-manager=helm"];
        let kubectl = self.kubectl().limit(Duration::from_mins(1));
        kubectl.run_with(apply.into_iter().chain(["-f", "-"]), yaml).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn must_apply(&self, yaml: &str) {
        self.apply(yaml).unwrap_or_else(|error| panic!("{error}\n{}", self.state()));
    }

    /// Installs it as its owner would, ready to federate with all other clusters.
    fn install(&self) {
        self.define();
        self.must_apply(SERVER);
        self.rolled_out("spire-server", "statefulset/spire-server");
        self.must_apply(NODES);
        self.rolled_out("spire-system", "daemonset/spire-agent");
        self.rolled_out("spire-system", "daemonset/spire-spiffe-csi-driver");
        let peers = self.bench.members.iter().filter(|member| member.context != self.second);
        let peers: Vec<&str> = peers.map(|member| member.trust_domain.as_str()).collect();
        let identities =
            IDENTITIES.replace("federatesWith: [foo.com]", &format!("federatesWith: [{}]", peers.join(", ")));
        // Its own webhook has to have its certificate first.
        self.until("the owner's identities to be accepted", || self.apply(&identities));
    }

    /// Makes the kinds of objects that it needs, and says whose they are.
    fn define(&self) {
        self.must_apply(RELEASE);
        self.kubectl().apply(DEFINITIONS).unwrap_or_else(|error| panic!("{error}"));
        let wait = ["wait", "--for=condition=Established", "--timeout=25s", "crd"];
        let names = definitions();
        let wait: Vec<&str> = wait.into_iter().chain(names.iter().map(String::as_str)).collect();
        self.bench.kubectl(&self.second, &wait);
    }

    #[track_caller]
    fn rolled_out(&self, namespace: &str, object: &str) {
        let wait = ["-n", namespace, "rollout", "status", object, "--timeout=110s"];
        let done = self.kubectl().limit(PATIENCE).run(wait);
        done.unwrap_or_else(|error| panic!("{error}\n{}", self.state()));
    }

    /// Runs SPIRE's own command line in its server.
    #[track_caller]
    fn server(&self, command: &[&str]) -> String {
        let exec = ["-n", "spire-server", "exec", "spire-server-0", "-c", "spire-server", "--"];
        let words: Vec<&str> =
            exec.into_iter().chain(["/opt/spire/bin/spire-server"]).chain(command.iter().copied()).collect();
        self.bench.kubectl(&self.second, &words)
    }

    /// How many entries the pod has. Others of the cluster, such as those of cert-manager, have their own.
    fn entries(&self) -> usize {
        let id = format!("spiffe://{}/ns/{POD_NAMESPACE}/sa/default", self.bench.members[1].trust_domain);
        let show = ["entry", "show", "-spiffeID", &id, "-output", "json"];
        let shown: Value = serde_json::from_str(&self.server(&show)).expect("JSON");
        shown["entries"].as_array().unwrap_or_else(|| panic!("no entries in {shown}")).len()
    }

    /// Makes a pod that asks for an identity, whether it gets one or not.
    fn start_pod(&self) {
        self.kubectl().apply(POD).unwrap_or_else(|error| panic!("{error}"));
    }

    fn remove_pod(&self) -> Result<(), String> {
        let delete = ["delete", "namespace", POD_NAMESPACE, "--ignore-not-found"];
        let done = self.kubectl().limit(PATIENCE).run(delete);
        done.map(drop).map_err(|error| error.to_string())
    }

    /// Everything of it, and of the kinds that the plugin makes, as an owner would write it down: without what Kubernetes counts
    /// and reports.
    fn objects(&self) -> BTreeMap<String, Value> {
        let namespaced = "serviceaccounts,configmaps,services,roles,rolebindings,statefulsets,daemonsets,\
                          persistentvolumeclaims,pods";
        let others = "namespaces,clusterroles,clusterrolebindings,csidrivers,validatingwebhookconfigurations,\
                      customresourcedefinitions,clusterspiffeids,clusterfederatedtrustdomains,clusterstaticentries";
        let get = |arguments: &[&str]| -> Vec<Value> {
            let list: Value =
                self.kubectl().get(arguments.iter().copied()).unwrap_or_else(|error| panic!("{error}"));
            list["items"].as_array().expect("items").clone()
        };
        let in_namespaces = NAMESPACES.iter().flat_map(|namespace| get(&[namespaced, "-n", namespace]));
        let is_spires = |object: &Value| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let group = object["apiVersion"].as_str().unwrap_or_default();
            name.contains("spire") || name.contains("spiffe") || group.starts_with("spire.spiffe.io/")
        };
        in_namespaces.chain(get(&[others]).into_iter().filter(is_spires)).map(described).collect()
    }

    /// What is wrong, each with its scope.
    fn findings(&self) -> Vec<Value> {
        let ran = self.bench.plugin(&["verify", "-o", "json"]);
        let findings: Vec<Value> = checks(&ran)
            .into_iter()
            .filter(|check| check["status"] == "fail" || check["status"] == "warn")
            .collect();
        assert_eq!(ran.code, Some(if findings.is_empty() { 0 } else { 3 }), "{}", ran.stderr);
        findings
    }

    /// Looks until exactly these checks fail, with causes that say this.
    #[track_caller]
    fn finds(&self, expected: &[(&str, &str)]) -> Vec<Value> {
        let is = |check: &Value, (id, text): &(&str, &str)| {
            check["id"] == *id && check["cause"].as_str().is_some_and(|cause| cause.contains(text))
        };
        self.until(&format!("verify to find {expected:?}"), || {
            let found = self.findings();
            let all = found.len() == expected.len();
            if all && found.iter().zip(expected).all(|(check, expected)| is(check, expected)) {
                return Ok(found);
            }
            Err(format!("{found:#?}"))
        })
    }

    #[track_caller]
    fn is_healthy(&self) {
        self.finds(&[]);
    }

    /// Looks until a check that is skipped about something in this cluster says why.
    #[track_caller]
    fn skips(&self, id: &str, object: &str, reason: &str) {
        self.until(&format!("{id} of {object} to be skipped: {reason}"), || {
            let checks = checks(&self.bench.plugin(&["verify", "-o", "json"]));
            let is = |check: &&Value| {
                check["id"] == id
                    && check["scope"]["cluster"] == self.second
                    && check["scope"]["object"] == object
            };
            match checks.iter().find(is) {
                Some(check) if check["status"] == "skip" && check["cause"] == reason => Ok(()),
                Some(check) => Err(format!("{check:#}")),
                None => Err(format!("there is no such result in {checks:#?}")),
            }
        });
    }

    #[track_caller]
    fn until<T>(&self, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            match look() {
                Ok(value) => return value,
                Err(last) if Instant::now() >= end => {
                    panic!("waited for {what}; last seen: {last}\n{}", self.state())
                }
                Err(_) => thread::sleep(Duration::from_millis(500)),
            }
        }
    }

    /// Asserts that `up` refuses with these words, and has changed nothing on either cluster.
    #[track_caller]
    fn is_refused(&self, words: &[&str]) {
        let refused = self.bench.plugin(&["up", "--yes"]).ended_with(1);
        for text in words {
            assert!(refused.stderr.contains(text), "{text:?} is not in:\n{}", refused.stderr);
        }
        let namespaces = self.bench.kubectl(&self.first, &["get", "namespaces", "-o", "name"]);
        assert!(!namespaces.contains("spire"), "the first cluster was changed: {namespaces}");
        let relationships =
            self.bench.kubectl(&self.second, &["get", "clusterfederatedtrustdomains", "-o", "name"]);
        assert_eq!(relationships, "", "the second cluster was changed");
    }

    /// Sees that another one in the cluster stops everything until the mesh file names this one.
    #[track_caller]
    fn is_told_from_a_copy(&self) {
        // A second one, whatever its labels say, does not win; nor is it a matter of chance which does.
        self.bench.kubectl(&self.second, &["create", "namespace", "apps"]);
        self.must_apply(COPY);
        self.is_refused(&[
            "apps/StatefulSet/spire-server, spire-server/StatefulSet/spire-server",
            "spire.serverNamespace",
        ]);
        self.finds(&[
            ("spire-found", "there is no SPIRE server"),
            ("spire-found", "found several SPIRE servers"),
        ]);
        let theirs = "{managed: false, serverNamespace: spire-server, agentNamespace: spire-system}";
        self.bench.edit("spire: {managed: false}", &format!("spire: {theirs}"));
    }

    /// Takes it away with all that it left in the cluster; nothing where there is none.
    fn remove(&self) -> Result<(), String> {
        let kubectl = self.kubectl().limit(Duration::from_mins(3));
        let told = |error: spire_mesh_lab::Error| format!("{error}\n{}", self.state());
        let mark = ["get", "namespaces", "-l", "spire-mesh.dev/test=foreign", "-o", "name"];
        if kubectl.run(mark).map_err(told)?.is_empty() {
            return Ok(());
        }
        // Pods that mount the driver first: without it they could not end.
        self.remove_pod()?;
        let delete = ["delete", "--ignore-not-found", "--wait=true"];
        // With the kinds go their objects; where they are gone already, kubectl would not know those.
        let names = definitions();
        let kinds = delete.into_iter().chain(["crd"]).chain(names.iter().map(String::as_str));
        kubectl.run(kinds).map_err(told)?;
        // The mark last: until then another run can go on.
        for objects in [NODES, SERVER, RELEASE] {
            kubectl.run_with(delete.into_iter().chain(["-f", "-"]), objects).map_err(told)?;
        }
        Ok(())
    }

    /// What there is to see of it, for somebody who has to find out why a test failed.
    fn state(&self) -> String {
        let show = |arguments: &[&str]| {
            let said = match self.kubectl().run(arguments.iter().copied()) {
                Ok(text) => text,
                Err(error) => error.to_string(),
            };
            format!("$ kubectl {}\n{said}\n", arguments.join(" "))
        };
        let server = ["-n", "spire-server", "logs", "spire-server-0", "--all-containers", "--tail=40"];
        let agent = ["-n", "spire-system", "logs", "daemonset/spire-agent", "--tail=20"];
        [
            show(&["get", "pods", "-A", "-o", "wide"]),
            show(&["get", "clusterspiffeids,clusterfederatedtrustdomains", "-o", "yaml"]),
            show(&["get", "events", "-A", "--field-selector", "type=Warning"]),
            show(&server),
            show(&agent),
        ]
        .concat()
    }
}

impl Drop for Foreign<'_> {
    /// Whatever the test came to, the next one finds two empty clusters. What cannot be removed now is removed by the next run.
    fn drop(&mut self) {
        let _ = self.kubectl().limit(PATIENCE).run(["delete", "namespace", "apps", "--ignore-not-found"]);
        let _ = self.remove_pod();
        let _ = self.bench.plugin(&["down", "--yes", "--force", "--ca-volume", "delete"]);
        let _ = self.remove();
    }
}

/// Names of the custom resource definitions.
fn definitions() -> Vec<String> {
    ["clusterfederatedtrustdomains", "clusterspiffeids", "clusterstaticentries"]
        .map(|kind| format!("{kind}.spire.spiffe.io"))
        .into()
}

/// Names an object, and takes from it what changes by itself.
fn described(mut object: Value) -> (String, Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, metadata) = (text(&object["kind"]), &object["metadata"]);
    let key = [kind, text(&metadata["namespace"]), text(&metadata["name"])].join("/");
    object.as_object_mut().expect("an object").shift_remove("status");
    for field in ["resourceVersion", "managedFields"] {
        object["metadata"].as_object_mut().expect("metadata").shift_remove(field);
    }
    (key, object)
}

#[track_caller]
fn checks(ran: &Ran) -> Vec<Value> {
    let report = ran.json();
    report["checks"].as_array().unwrap_or_else(|| panic!("no checks in {report:#}")).clone()
}

/// Says what differs between two looks at all objects.
fn differences(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Vec<String> {
    let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| format!("{key} is gone"));
    let new = after.keys().filter(|key| !before.contains_key(*key)).map(|key| format!("{key} is new"));
    let changed = before.iter().filter_map(|(key, old)| {
        let new = after.get(key)?;
        (old != new).then(|| format!("{key} was\n{old:#}\nand is\n{new:#}"))
    });
    gone.chain(new).chain(changed).collect()
}

/// Says in the mesh file that the second cluster's SPIRE is somebody else's.
fn leave_the_second_alone(bench: &Bench) {
    let domain = format!("trustDomain: {}", bench.members[1].trust_domain);
    bench.edit(&domain, &format!("{domain}\n      spire: {{managed: false}}"));
}

#[test]
fn a_spire_of_the_public_chart_is_federated_as_it_is_and_left_as_it_was() {
    let mut bench = Bench::new();
    // Where the chart puts it; by chance that is where the plugin puts its own.
    bench.members[1].server = ServerPod {
        namespace: "spire-server".to_owned(),
        pod: "spire-server-0".to_owned(),
        container: "spire-server".to_owned(),
    };
    let bench = bench;
    let foreign = Foreign::nothing(&bench);
    let (first, second) = (foreign.first.clone(), foreign.second.clone());
    let peer = bench.members[0].trust_domain.clone();
    foreign.install();
    let before = foreign.objects();
    assert!(before.len() > 30, "{} objects: {:#?}", before.len(), before.keys());

    // The same names in the same namespaces as ours, and yet not ours.
    foreign.is_refused(&[
        "there is a SPIRE already that this tool did not install",
        "StatefulSet/spire-server in namespace spire-server",
        "managed: false",
    ]);
    leave_the_second_alone(&bench);

    foreign.is_told_from_a_copy();

    // Its owner has already written down whom the pods are to trust. SPIRE makes no entry as long as it lacks that bundle.
    foreign.start_pod();
    let failures = "jsonpath={.status.stats.entryFailures}";
    foreign.until("the controller-manager to be refused an entry", || {
        match bench.kubectl(&second, &["get", "clusterspiffeid", IDENTITY, "-o", failures]) {
            none if none.is_empty() || none == "0" => Err(format!("entryFailures {none:?}")),
            _ => Ok(()),
        }
    });
    assert_eq!(foreign.entries(), 0);
    let nothing = vec![("spire-found", "there is no SPIRE server"); bench.members.len() - 1];
    let alone = foreign.finds(&nothing);
    assert_eq!(alone[0]["scope"]["cluster"], first, "{alone:#?}");
    let first_reason = format!("bundle-stored of {second}→{first} comes first");
    foreign.skips("identity-objects", &format!("ClusterSPIFFEID {IDENTITY}"), &first_reason);
    let then = format!("identity-objects of ClusterSPIFFEID {IDENTITY} comes first");
    foreign.skips("entries", POD_OBJECT, &then);

    bench.up();
    let status = bench.plugin(&["status", "-o", "json"]).succeeded().json();
    let mut clusters = status["clusters"].as_array().expect("clusters").iter();
    let of_second = clusters.find(|cluster| cluster["context"] == second).expect("the second cluster");
    assert_eq!(of_second["managed"], false, "{of_second:#}");
    assert_eq!(of_second["spire"]["serverPod"], "spire-server/spire-server-0", "{of_second:#}");
    let endpoint = of_second["spire"]["bundleEndpoint"].as_str().unwrap_or_default();
    assert!(endpoint.ends_with(":8443"), "{of_second:#}");
    for relationship in each(&status["relationships"]) {
        assert_eq!(relationship["state"], "current", "{relationship:#}");
    }
    foreign.is_healthy();
    let class = "jsonpath={.items[*].spec.className}";
    let class = bench.kubectl(&second, &["get", "clusterfederatedtrustdomains", "-o", class]);
    assert!(class.split(' ').all(|class| class == "spire-mgmt-spire"), "{class}");
    bench.prove();
    bench.up().said("nothing to change");

    // The relationship goes.
    let delete = ["delete", "clusterfederatedtrustdomain", &peer];
    bench.kubectl(&second, &delete);
    let found = foreign.finds(&[("relationship", "trust goes one way only")]);
    assert_eq!(found[0]["scope"], serde_json::json!({"from": second, "to": first}), "{found:#?}");
    assert_eq!(found[0]["hint"], "kubectl spire-federate");
    bench.up();
    foreign.is_healthy();

    // The bundle goes too, while a pod needs it: that pod's entry lacks the peer for that reason and for no other.
    foreign.start_pod();
    foreign.is_healthy();
    bench.kubectl(&second, &delete);
    foreign.finds(&[("relationship", "trust goes one way only")]);
    foreign.server(&["bundle", "delete", "-id", &format!("spiffe://{peer}"), "-mode", "dissociate"]);
    let found = foreign
        .finds(&[("relationship", "trust goes one way only"), ("bundle-stored", "never got a first bundle")]);
    assert_eq!(found[1]["scope"], serde_json::json!({"from": second, "to": first}), "{found:#?}");
    bench.up();
    foreign.is_healthy();

    assert_eq!(foreign.entries(), 1);

    // Nothing uses the bundle any more.
    foreign.remove_pod().unwrap_or_else(|error| panic!("{error}"));
    foreign.until("the pod's entry to be gone", || match foreign.entries() {
        0 => Ok(()),
        count => Err(format!("{count} entries")),
    });
    let down = bench.plugin(&["down", "--yes", "--ca-volume", "delete"]).succeeded();
    let changes = differences(&before, &foreign.objects());
    assert!(changes.is_empty(), "down has changed what is not ours:\n{}", changes.join("\n"));
    let left = foreign.server(&["bundle", "list"]);
    assert_eq!(
        left.trim(),
        "",
        "a bundle that only this mesh brought is gone: {}{}",
        down.stdout,
        down.stderr
    );
    let relationships = foreign.server(&["federation", "list", "-output", "json"]);
    let relationships: Value = serde_json::from_str(&relationships).expect("JSON");
    assert_eq!(relationships["federation_relationships"], serde_json::json!([]), "{relationships:#}");
    let left = bench.kubectl(&first, &["get", "namespaces", "-o", "name"]);
    assert!(!left.contains("spire"), "{left}");
    foreign.remove().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_spire_that_cannot_be_federated_is_refused_before_anything_is_changed() {
    let bench = Bench::new();
    let foreign = Foreign::nothing(&bench);
    leave_the_second_alone(&bench);
    foreign.define();
    // What is looked at is what its owner wrote down; it need not run for that.
    let asleep = SERVER.replace("replicas: 1", "replicas: 0");
    let with = |from: &str, to: &str| {
        assert!(asleep.contains(from), "{from:?} is not in the manifests");
        foreign.must_apply(&asleep.replacen(from, to, 1));
    };
    let place = "StatefulSet/spire-server in namespace spire-server, SPIRE 1.15.3, trust domain bar.com";

    let web = r#""https_web": {"serving_cert_file": {"cert_file_path": "/tls/tls.crt", "key_file_path": "/tls/tls.key"}}"#;
    with(r#""https_spiffe": {}"#, web);
    foreign.is_refused(&[place, "has profile `https_web`", "set profile `https_spiffe`"]);

    let federates = r#""federation": {"federates_with": {"foo.com": {"bundle_endpoint_url": "https://foo.example:8443"}},"#;
    with(r#""federation": {"#, federates);
    foreign.is_refused(&[
        place,
        "`federates_with` for foo.com",
        "take these out of federation.federates_with",
    ]);

    with("clusterFederatedTrustDomains: true", "clusterFederatedTrustDomains: false");
    foreign.is_refused(&[place, "passes over relationships", "clusterFederatedTrustDomains: true"]);

    with("type: LoadBalancer", "type: ClusterIP");
    foreign.is_refused(&[
        "Service spire-server/spire-server of type ClusterIP cannot be reached from outside its cluster",
        "spire.bundleEndpoint.url",
    ]);

    foreign.must_apply(&asleep);
    let patch = r#"[{"op": "remove", "path": "/spec/template/spec/containers/1"}]"#;
    let patch = ["-n", "spire-server", "patch", "statefulset", "spire-server", "--type", "json", "-p", patch];
    bench.kubectl(&foreign.second, &patch);
    foreign.is_refused(&[place, "has no spire-controller-manager in its pod"]);
    foreign.remove().unwrap_or_else(|error| panic!("{error}"));
}
