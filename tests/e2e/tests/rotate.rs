//! `kubectl spire-federate rotate` and `bundle`: a CA is replaced, and nothing is refused meanwhile.

use std::time::{Duration, Instant};

use serde_json::Value;
use spire_mesh_e2e::Bench;
use spire_mesh_lab::faults::{Action, Fault, Guard, Traffic};

const LOAD: &str = include_str!("../../lab/manifests/mtls.yaml");
const NAMESPACE: &str = "spire-mesh-load";

struct Mesh {
    bench: Bench,
}

impl Mesh {
    fn healthy() -> Self {
        let mesh = Self { bench: Bench::new() };
        // An earlier run may have left it.
        Load { mesh: &mesh }.remove();
        mesh.bench.up();
        mesh.is_healthy();
        mesh
    }

    #[track_caller]
    fn is_healthy(&self) {
        self.bench.plugin(&["verify"]).succeeded();
    }

    fn context(&self, index: usize) -> &str {
        &self.bench.members[index].context
    }

    fn server(&self, index: usize, command: &[&str]) -> String {
        let command: Vec<&str> = command.iter().copied().chain(["-output", "json"]).collect();
        self.bench.server(self.context(index), "spire-server", &command)
    }

    /// Returns the ID of a CA of a server: the `active` one, the `prepared` one.
    fn authority(&self, index: usize, which: &str) -> Option<String> {
        let shown = self.server(index, &["localauthority", "x509", "show"]);
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        shown[which]["authority_id"].as_str().map(str::to_owned)
    }

    /// Returns the IDs of the authorities that the holder's server has stored for another cluster.
    fn stored(&self, holder: usize, of: usize) -> Vec<String> {
        let pair = format!("{}/{}", self.context(holder), self.context(of));
        let shown = self.bench.plugin(&["bundle", "show", &pair, "-o", "json"]).succeeded().json();
        let authorities = shown["bundles"][0]["authorities"].as_array().expect("authorities").clone();
        authorities.iter().map(|authority| authority["id"].as_str().expect("an ID").to_owned()).collect()
    }

    /// Drops the packets to a cluster's bundle endpoint.
    fn block(&self, index: usize) -> Guard {
        let service = ["-n", "spire-server", "get", "service", "spire-server-bundle", "-o"];
        let address = service.into_iter().chain(["jsonpath={.status.loadBalancer.ingress[0].ip}"]);
        let address = self.bench.kubectl(self.context(index), &address.collect::<Vec<_>>());
        let to = format!("{address}:8443").parse().expect("an address");
        let fault = Fault::Traffic(Traffic { action: Action::Block, from: None, to });
        self.bench.target.faults().and_then(|faults| faults.during(fault)).expect("packets are dropped")
    }
}

/// Two workloads in two clusters that connect to each other all the time, each with a handshake of its own.
struct Load<'m> {
    mesh: &'m Mesh,
}

/// What a caller has counted since it started.
#[derive(Debug)]
struct Counted {
    handshakes: u64,
    failed: u64,
    last: String,
    issuers: Vec<String>,
}

impl<'m> Load<'m> {
    /// Starts it, and waits until it is steady.
    fn start(mesh: &'m Mesh) -> Self {
        let load = Self { mesh };
        load.remove();
        let (without_caller, _) = LOAD.split_at(
            LOAD.find("---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: caller").expect("a caller"),
        );
        for index in 0..2 {
            load.apply(index, without_caller);
        }
        for index in 0..2 {
            let peer = 1 - index;
            let caller = LOAD.replace("ADDRESS", &load.address(peer));
            load.apply(index, &caller.replace("DOMAIN", &mesh.bench.members[peer].trust_domain));
        }
        for index in 0..2 {
            load.until(index, "a hundred handshakes", |counted| counted.handshakes > 100);
        }
        load
    }

    fn apply(&self, index: usize, manifest: &str) {
        let kubectl = self.mesh.bench.target.kubectl(self.mesh.context(index));
        kubectl.apply(manifest).expect("the load is accepted");
    }

    fn address(&self, index: usize) -> String {
        let get = ["-n", NAMESPACE, "get", "service", "server", "-o"];
        let get: Vec<&str> =
            get.into_iter().chain(["jsonpath={.status.loadBalancer.ingress[0].ip}"]).collect();
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let address = self.mesh.bench.kubectl(self.mesh.context(index), &get);
            if !address.is_empty() {
                return address;
            }
            assert!(Instant::now() < end, "no address for the server");
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Reads the caller's last line; `None` before the first.
    fn counted(&self, index: usize) -> Option<Counted> {
        let logs = ["-n", NAMESPACE, "logs", "caller", "--tail=1"];
        let line = self.mesh.bench.target.kubectl(self.mesh.context(index)).run(logs).ok()?;
        let line: Value = serde_json::from_str(&line).ok()?;
        let issuers = line["issuers"].as_object()?.keys().cloned().collect();
        Some(Counted {
            handshakes: line["handshakes"].as_u64()?,
            failed: line["failed"].as_u64()?,
            last: line["last"].as_str()?.to_owned(),
            issuers,
        })
    }

    fn until(&self, index: usize, what: &str, is: impl Fn(&Counted) -> bool) -> Counted {
        let end = Instant::now() + Duration::from_mins(2);
        loop {
            let counted = self.counted(index);
            match counted {
                Some(counted) if is(&counted) => return counted,
                counted => assert!(Instant::now() < end, "no {what}: {counted:?}"),
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn remove(&self) {
        for index in 0..2 {
            let kubectl = self.mesh.bench.target.kubectl(self.mesh.context(index));
            let delete = ["delete", "namespace", NAMESPACE, "--ignore-not-found"];
            kubectl.limit(Duration::from_mins(2)).run(delete).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn both_clusters_get_a_new_ca_and_not_one_handshake_fails() {
    let mesh = Mesh::healthy();
    let Some(_) = mesh.bench.lab() else { return };
    let load = Load::start(&mesh);
    let before = [0, 1].map(|index| load.counted(index).expect("counted"));
    let old = [0, 1].map(|index| mesh.authority(index, "active").expect("a CA"));

    let report = mesh.bench.plugin(&["rotate", "--yes", "-o", "json"]).succeeded().json();

    for (index, before) in before.iter().enumerate() {
        let peer = 1 - index;
        let new = mesh.authority(peer, "active").expect("a CA");
        assert_ne!(new, old[peer]);
        assert_eq!(report["clusters"][peer]["from"], old[peer]);
        assert_eq!(report["clusters"][peer]["to"], new);
        assert_eq!(mesh.stored(index, peer), std::slice::from_ref(&new));
        let steady = before.handshakes + 100;
        let after = load.until(index, "handshakes with an SVID of the new CA", |counted| {
            counted.handshakes > steady && counted.issuers.contains(&new)
        });
        assert!(after.issuers.contains(&old[peer]), "{after:?}");
        assert_eq!(after.failed, before.failed, "{after:?}, last: {}", after.last);
    }
    load.remove();
    mesh.is_healthy();
    mesh.bench.prove();
}

#[test]
fn a_rotation_stops_before_a_step_that_would_lock_somebody_out_and_goes_on_later() {
    let mesh = Mesh::healthy();
    let Some(_) = mesh.bench.lab() else { return };
    let first = mesh.context(0).to_owned();
    let rotate = ["rotate", &first, "--yes", "--timeout", "20s"];

    let blocked = mesh.block(0);
    let old = mesh.authority(0, "active");
    let stopped = mesh.bench.plugin(&rotate).ended_with(124);
    stopped.said("stopped before a new CA was prepared").said("nothing was changed");
    assert_eq!(mesh.authority(0, "prepared"), None);

    mesh.server(0, &["localauthority", "x509", "prepare"]);
    let prepared = mesh.authority(0, "prepared");
    let stopped = mesh.bench.plugin(&rotate).ended_with(124);
    stopped.said("stopped before the new CA was activated").said("both CAs are trusted");
    assert_eq!(mesh.authority(0, "active"), old);

    blocked.clear().expect("packets pass again");
    let half = mesh.bench.plugin(&["verify"]).ended_with(3).stdout;
    assert!(half.contains("was begun and not finished"), "{half}");
    mesh.bench.plugin(&["rotate", &first, "--yes"]).succeeded().said("goes on with the CA that is prepared");
    assert_eq!(mesh.authority(0, "active"), prepared);
    mesh.is_healthy();
}

#[test]
fn a_rotation_that_is_killed_goes_on_where_it_was() {
    let mesh = Mesh::healthy();
    let first = mesh.context(0).to_owned();
    // What was killed could not give its Leases back.
    let rotate = ["rotate", &first, "--yes", "--break-lock"];
    let old = mesh.authority(0, "active");
    // Waits for a server that was being started again.
    let next = || {
        let plan = mesh.bench.plugin(&["rotate", &first, "--dry-run", "-o", "json"]).succeeded().json();
        plan["clusters"][0]["next"].as_str().expect("the next step").to_owned()
    };
    let is_done = || next() == "prepare" && mesh.authority(0, "active") != old;
    let mut prepared = None;
    for seconds in [2, 5, 8, 11] {
        mesh.bench.run_killed(&rotate, Duration::from_secs(seconds));
        if is_done() {
            break;
        }
        prepared = prepared.or_else(|| mesh.authority(0, "prepared"));
    }
    if !is_done() {
        mesh.bench.plugin(&rotate).succeeded();
    }
    let now = mesh.authority(0, "active");
    assert!(prepared.is_none() || prepared == now, "a second rotation was begun: {prepared:?}, then {now:?}");
    assert_eq!(mesh.stored(1, 0), [now.expect("a CA")]);
    mesh.bench.plugin(&["bundle", "diff"]).succeeded();
    mesh.is_healthy();
}

#[test]
fn bundles_are_shown_compared_and_carried() {
    let mesh = Mesh::healthy();
    let (first, second) = (mesh.context(0).to_owned(), mesh.context(1).to_owned());
    let pair = format!("{first}/{second}");

    let own = mesh.bench.plugin(&["bundle", "show", &second, "--encoding", "pem"]).succeeded().stdout;
    assert!(own.starts_with("-----BEGIN CERTIFICATE-----\n"), "{own}");
    let held = mesh.bench.plugin(&["bundle", "show", &pair, "--encoding", "pem"]).succeeded().stdout;
    assert_eq!(own, held);
    let document = mesh.bench.plugin(&["bundle", "show", &pair, "--encoding", "spiffe"]).succeeded().json();
    assert_eq!(document["keys"][0]["use"], "x509-svid");
    mesh.bench.plugin(&["bundle", "diff"]).succeeded().said("both sides hold the same authorities");
    mesh.bench.plugin(&["bundle", "exchange", "--yes"]).succeeded().said("nothing to carry");
    mesh.bench.plugin(&["bundle", "diff", "nobody/nowhere"]).ended_with(2).said("is not in the mesh file");

    let delete = ["bundle", "delete", "-id", "spiffe://bar.com", "-mode", "dissociate"];
    mesh.server(0, &delete);
    let missing = mesh.bench.plugin(&["bundle", "show", &pair]).ended_with(1);
    missing.said("holds no bundle of bar.com");
    mesh.bench.plugin(&["bundle", "diff", &pair]).ended_with(3);
    mesh.bench.plugin(&["bundle", "exchange", &pair, "--dry-run"]).succeeded().said("to be done");
    mesh.bench.plugin(&["bundle", "diff", &pair]).ended_with(3);
    mesh.bench.plugin(&["bundle", "exchange", &pair, "--yes"]).succeeded();
    mesh.bench.plugin(&["bundle", "diff", &pair]).succeeded();
    // Entries lost the peer with the bundle, and get it again when the controller-manager looks next.
    mesh.bench.finds("spire-federate", &[]);
}

#[test]
fn what_a_server_has_overtaken_is_said_with_the_time_until_which_it_is_trusted() {
    let mesh = Mesh::healthy();
    let Some(_) = mesh.bench.lab() else { return };
    let first = mesh.context(0).to_owned();
    let old = mesh.authority(0, "active").expect("a CA");
    let prepare = ["localauthority", "x509", "prepare"];
    if mesh.authority(0, "prepared").is_none() {
        mesh.server(0, &prepare);
    }
    let new = mesh.authority(0, "prepared").expect("a CA");

    // The rotation waits for everybody to have the new CA while somebody activates it, and prepares the next one.
    let blocked = mesh.block(0);
    let ran = std::thread::scope(|scope| {
        let rotation = scope.spawn(|| mesh.bench.plugin(&["rotate", &first, "--yes", "--timeout", "90s"]));
        let record = ["-n", "spire-server", "get", "configmap", "spire-mesh-rotation", "--ignore-not-found"];
        let end = Instant::now() + Duration::from_mins(1);
        while mesh.bench.kubectl(&first, &record).is_empty() {
            assert!(Instant::now() < end, "the rotation writes no record");
            std::thread::sleep(Duration::from_millis(200));
        }
        mesh.server(0, &["localauthority", "x509", "activate", "-authorityID", &new]);
        mesh.server(0, &prepare);
        blocked.clear().expect("packets pass again");
        rotation.join().expect("it ends")
    });
    ran.ended_with(1)
        .said(&format!("the CA {old} can no longer be tainted or revoked, and stays trusted until 20"));
    assert_eq!(mesh.authority(0, "active").as_ref(), Some(&new));

    // What the old CA has signed is valid until it is replaced in time: nothing is broken.
    mesh.is_healthy();
    let plan = mesh.bench.plugin(&["rotate", &first, "--dry-run", "-o", "json"]).succeeded().json();
    let plan = &plan["clusters"][0];
    assert_eq!((&plan["from"], &plan["next"]), (&Value::from(new), &Value::from("activate")));
}
