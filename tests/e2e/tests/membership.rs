//! `kubectl spire-federate join` and `leave`: a cluster more or less in a mesh that is at work.

/// Left out by `cargo lab test --contexts` where there are fewer.
mod three_clusters {
    use std::fs;
    use std::sync::Once;
    use std::thread;
    use std::time::{Duration, Instant};

    use serde_json::Value;
    use spire_mesh_e2e::{Bench, TheirSpire, each};
    use spire_mesh_lab::faults::Fault;
    use spire_mesh_lab::proof::{self, Member};

    const POD: &str = include_str!("../../lab/manifests/proof.yaml");
    const SOCKET: &str = "/spiffe-workload-api/spire-agent.sock";

    /// Three clusters, of which the third comes and goes.
    struct Mesh {
        bench: Bench,
    }

    impl Mesh {
        /// The first two are federated, nothing is in the third, and the mesh file names the first two.
        fn of_two() -> Self {
            let mesh = Self::begun();
            if mesh.is_installed_in_third() {
                mesh.bench.up();
                mesh.bench.plugin(&mesh.leave()).succeeded();
            } else {
                mesh.bench.init(mesh.staying());
                mesh.bench.up();
            }
            mesh
        }

        /// All three are federated.
        fn of_three() -> Self {
            let mesh = Self::begun();
            mesh.bench.up();
            mesh
        }

        /// With whatever the test before has left; the first test finds nothing.
        fn begun() -> Self {
            static CLEANED: Once = Once::new();
            let mesh = Self { bench: Bench::of(3) };
            CLEANED.call_once(|| mesh.bench.clean());
            mesh
        }

        fn empty() -> Self {
            let mesh = Self { bench: Bench::of(3) };
            mesh.bench.clean();
            mesh
        }

        fn is_installed_in_third(&self) -> bool {
            let get = ["get", "namespace", "spire-server", "--ignore-not-found", "-o", "name"];
            !self.bench.kubectl(&self.third().context, &get).is_empty()
        }

        fn staying(&self) -> &[Member] {
            &self.bench.members[..2]
        }

        fn third(&self) -> &Member {
            &self.bench.members[2]
        }

        /// `CONTEXT=TRUST_DOMAIN` of the third.
        fn pair(&self) -> String {
            format!("{}={}", self.third().context, self.third().trust_domain)
        }

        fn file(&self) -> String {
            fs::read_to_string(self.bench.mesh_file()).expect("a mesh file")
        }

        /// Tells whether the mesh file names the third cluster.
        fn has_third(&self) -> bool {
            self.file().contains(&format!("trustDomain: {}", self.third().trust_domain))
        }

        fn leave(&self) -> [&str; 5] {
            ["leave", &self.third().context, "--yes", "--ca-volume", "delete"]
        }

        #[track_caller]
        fn has_members(&self, count: usize) {
            let status = self.bench.plugin(&["status", "-o", "json"]).succeeded().json();
            assert_eq!(status["clusters"].as_array().expect("clusters").len(), count);
            assert_eq!(status["relationships"].as_array().expect("relationships").len(), count * (count - 1));
        }

        /// Asserts that no server of a cluster that stays, and none of its objects, knows the third any more.
        #[track_caller]
        fn is_forgotten(&self) {
            let domain = &self.third().trust_domain;
            for member in self.staying() {
                let get = [
                    "get",
                    "clusterfederatedtrustdomains,clusterspiffeids",
                    "-o",
                    "jsonpath={.items[*].spec}",
                ];
                let objects = self.bench.kubectl(&member.context, &get);
                assert!(!objects.contains(domain), "{objects}");
                for command in [["bundle", "list"], ["federation", "list"], ["entry", "show"]] {
                    let known = self.bench.server(&member.context, "spire-server", &command);
                    assert!(!known.contains(domain), "{known}");
                }
            }
            assert!(!self.has_third(), "{}", self.file());
        }

        /// Asserts that nothing that carries our labels is in the third cluster.
        #[track_caller]
        fn is_cleaned(&self) {
            let kinds = "namespaces,crds,clusterroles,clusterrolebindings,csidrivers,validatingwebhookconfigurations,pv";
            let left = self.bench.kubectl(&self.third().context, &["get", kinds, "-o", "name"]);
            assert!(!left.contains("spire-") && !left.contains("spiffe"), "{left}");
        }

        fn start_pod(&self, member: &Member) {
            self.bench.target.kubectl(&member.context).apply(POD).expect("the pod is accepted");
            let wait =
                ["-n", "spire-mesh-proof", "wait", "pod/client", "--for=condition=Ready", "--timeout=28s"];
            self.bench.kubectl(&member.context, &wait);
        }

        fn remove_pod(&self, member: &Member) {
            let kubectl = self.bench.target.kubectl(&member.context).limit(Duration::from_mins(1));
            kubectl
                .run(["delete", "namespace", "spire-mesh-proof"])
                .unwrap_or_else(|error| panic!("{error}"));
        }

        /// Returns the trust domains whose bundles the Workload API gives the pod.
        fn bundles_of_pod(&self, member: &Member) -> Vec<String> {
            let fetch = [
                "-n",
                "spire-mesh-proof",
                "exec",
                "client",
                "--",
                "/opt/spire/bin/spire-agent",
                "api",
                "fetch",
                "x509",
            ];
            let fetch = fetch.into_iter().chain(["-socketPath", SOCKET, "-output", "json"]);
            let Ok(text) = self.bench.target.kubectl(&member.context).run(fetch) else { return Vec::new() };
            let fetched: Value = serde_json::from_str(&text).expect("JSON");
            let bundles = fetched["federated_bundles"].as_object();
            bundles.into_iter().flat_map(serde_json::Map::keys).cloned().collect()
        }

        /// Waits until the pod has exactly the bundles of these trust domains, beside its own.
        #[track_caller]
        fn pod_trusts(&self, member: &Member, domains: &[&str]) {
            let wanted: Vec<String> = domains.iter().map(|domain| format!("spiffe://{domain}")).collect();
            let end = Instant::now() + Duration::from_mins(1);
            loop {
                let mut bundles = self.bundles_of_pod(member);
                bundles.sort();
                if bundles == wanted {
                    return;
                }
                assert!(Instant::now() < end, "{}: {bundles:?} instead of {wanted:?}", member.context);
                thread::sleep(Duration::from_millis(500));
            }
        }
    }

    #[test]
    fn a_cluster_joins_and_the_mesh_file_keeps_what_somebody_wrote() {
        let mesh = Mesh::of_two();
        let (bench, pair) = (&mesh.bench, mesh.pair());
        bench.edit("  clusters:\n", "  clusters:  # ours\n\n    # the first\n");
        let before = mesh.file();
        bench.plugin(&["join", &pair]).ended_with(2).said("needs --yes");
        let plan = bench.plugin(&["join", "--dry-run", "-o", "json", &pair]).succeeded().json();
        assert_eq!(plan["clusters"].as_array().expect("clusters").len(), 3);
        assert_eq!(mesh.file(), before, "nobody has agreed yet");

        bench.plugin(&["join", "--yes", &pair]).succeeded().said("joins mesh").said("kubectl spire-federate");
        let after = mesh.file();
        assert!(after.starts_with(&before) && mesh.has_third(), "{after}");
        mesh.has_members(3);
        bench.prove();

        bench.plugin(&["join", "--yes", &pair]).succeeded().said("already").said("nothing to change");
        let other_domain = format!("{}=other.example", mesh.third().context);
        bench.plugin(&["join", "--yes", &other_domain]).ended_with(2).said("belongs to cluster");
        bench.plugin(&["join", "--yes", "nowhere=other.example"]).ended_with(1).said("no context `nowhere`");
        assert_eq!(mesh.file(), after);
    }

    #[test]
    fn a_join_that_is_killed_anywhere_is_finished_when_it_is_run_again() {
        let mesh = Mesh::of_two();
        let pair = mesh.pair();
        for millis in [500, 1500, 5000] {
            mesh.bench.run_killed(&["join", "--yes", &pair], Duration::from_millis(millis));
            // It could not give its Leases back.
            if mesh.has_third() {
                // As it has said itself.
                mesh.bench.plugin(&["up", "--yes", "--break-lock"]).succeeded();
            } else {
                mesh.bench.plugin(&["join", "--yes", "--break-lock", &pair]).succeeded();
            }
            mesh.has_members(3);
            mesh.bench.plugin(&mesh.leave()).succeeded();
        }
        mesh.is_forgotten();
    }

    #[test]
    fn a_cluster_leaves_and_nothing_of_it_stays() {
        let mesh = Mesh::of_three();
        let [foo, bar, baz] = [&mesh.bench.members[0], &mesh.bench.members[1], &mesh.bench.members[2]];
        mesh.bench.members.iter().for_each(|member| mesh.start_pod(member));
        mesh.pod_trusts(foo, &["bar.com", "baz.com"]);
        mesh.pod_trusts(bar, &["baz.com", "foo.com"]);

        let before = mesh.file();
        mesh.bench.plugin(&mesh.leave()).ended_with(1).said("spire-mesh-proof/client").said("--force");
        mesh.remove_pod(baz);
        mesh.bench.plugin(&["leave", &baz.context]).ended_with(2).said("needs --yes");
        mesh.bench.plugin(&["leave", &baz.trust_domain]).ended_with(2).said(&baz.context);
        let plan = mesh.bench.plugin(&["leave", "--dry-run", "-o", "json", &baz.context]).succeeded().json();
        for staying in each(&plan["staying"]) {
            assert_eq!(staying["forgetBundlesOf"], serde_json::json!(["baz.com"]), "{plan:#}");
            assert_eq!(staying["blockedBy"], serde_json::json!([]), "{plan:#}");
        }
        assert_eq!(mesh.file(), before);
        mesh.has_members(3);

        mesh.bench
            .plugin(&mesh.leave())
            .succeeded()
            .said("what trusts baz.com")
            .said("2 registration entries");
        mesh.is_forgotten();
        mesh.is_cleaned();
        mesh.has_members(2);
        mesh.pod_trusts(foo, &["bar.com"]);
        mesh.pod_trusts(bar, &["foo.com"]);
        proof::prove(&mesh.bench.target, mesh.staying(), &|_| ()).unwrap_or_else(|error| panic!("{error}"));
        mesh.bench.plugin(&["verify"]).succeeded();

        mesh.bench
            .plugin(&["leave", "--yes", &bar.context])
            .ended_with(2)
            .said("kubectl spire-federate down");
        mesh.bench.plugin(&mesh.leave()).ended_with(2).said("there is no cluster");
    }

    #[test]
    fn a_leave_that_is_killed_anywhere_is_finished_when_it_is_run_again() {
        let mesh = Mesh::of_three();
        for millis in [700, 2500, 6000] {
            mesh.bench.run_killed(&mesh.leave(), Duration::from_millis(millis));
            if mesh.has_third() {
                // It could not give its Leases back.
                let leave: Vec<&str> = mesh.leave().into_iter().chain(["--break-lock"]).collect();
                mesh.bench.plugin(&leave).succeeded();
            }
            mesh.is_forgotten();
            mesh.is_cleaned();
            mesh.has_members(2);
            mesh.bench.plugin(&["join", "--yes", &mesh.pair()]).succeeded();
        }
    }

    #[test]
    fn what_somebody_else_federates_with_the_leaver_stands_in_the_way_and_is_named() {
        let mesh = Mesh::of_three();
        let first = &mesh.bench.members[0].context;
        let theirs = "apiVersion: spire.spiffe.io/v1alpha1\nkind: ClusterSPIFFEID\nmetadata: {name: theirs}\nspec:\n  \
                      className: spire-mesh\n  spiffeIDTemplate: spiffe://{{ .TrustDomain }}/theirs/{{ .PodMeta.Name }}\n  \
                      podSelector: {matchLabels: {app: theirs}}\n  federatesWith: [baz.com]\n";
        mesh.bench.target.kubectl(first).apply(theirs).expect("their object is accepted");
        let leave = mesh.bench.plugin(&mesh.leave()).ended_with(1);
        leave.said(first).said("ClusterSPIFFEID/theirs").said("take baz.com out of their federatesWith");
        mesh.has_members(3);
        mesh.bench.kubectl(first, &["delete", "clusterspiffeid", "theirs"]);
        mesh.bench.plugin(&mesh.leave()).succeeded();
        mesh.is_forgotten();
    }

    #[test]
    fn a_leaver_that_cannot_be_reached_is_left_alone_when_that_is_forced() {
        let mesh = Mesh::of_three();
        let Some(lab) = mesh.bench.lab() else { return mesh.bench.clean() };
        let third = &mesh.third().context;
        let cluster = lab.clusters().find(|cluster| cluster.context() == *third).expect("the third cluster");
        let stopped = Fault::ApiStopped { cluster: cluster.name().to_owned() };
        let stopped = mesh.bench.target.faults().and_then(|faults| faults.during(stopped));
        let stopped = stopped.expect("the API server stops");
        mesh.bench
            .plugin(&mesh.leave())
            .ended_with(1)
            .said(third)
            .said("nothing was changed")
            .said("--force");
        mesh.bench
            .plugin(&["leave", "--yes", "--force", third])
            .succeeded()
            .said(&format!("{third} is left as it is"));
        mesh.is_forgotten();
        mesh.has_members(2);
        stopped.clear().expect("the API server starts again");
        mesh.bench.plugin(&["join", "--yes", &mesh.pair()]).succeeded();
        mesh.has_members(3);
        mesh.bench.prove();
    }

    #[test]
    fn a_spire_of_somebody_else_forgets_the_leaver_unless_its_owner_still_trusts_it_and_can_leave_itself() {
        let mesh = Mesh::empty();
        let first = &mesh.bench.members[0];
        let theirs = TheirSpire::install(&mesh.bench, first);
        let domain = format!("trustDomain: {}", first.trust_domain);
        mesh.bench.edit(&domain, &format!("{domain}\n      spire: {{managed: false}}"));
        let id = "apiVersion: spire.spiffe.io/v1alpha1\nkind: ClusterSPIFFEID\nmetadata: {name: theirs}\nspec:\n  \
                  className: spire-mesh\n  spiffeIDTemplate: spiffe://{{ .TrustDomain }}/theirs/{{ .PodMeta.Name }}\n  \
                  podSelector: {matchLabels: {app: theirs}}\n  federatesWith: [baz.com]\n";
        let relationships = ["get", "clusterfederatedtrustdomains", "-o", "name"];

        mesh.bench.up();
        mesh.bench.plugin(&mesh.leave()).succeeded();
        let forgotten = theirs.server(&["bundle", "list"]);
        mesh.bench.plugin(&["join", "--yes", &mesh.pair()]).succeeded();
        mesh.bench.target.kubectl(&first.context).apply(id).expect("their object is accepted");
        mesh.bench.plugin(&mesh.leave()).succeeded().said("ClusterSPIFFEID/theirs stays").said("their owner");
        let kept = theirs.server(&["bundle", "list"]);
        let left = mesh.bench.kubectl(&first.context, &relationships);
        mesh.bench.kubectl(&first.context, &["delete", "clusterspiffeid", "theirs"]);

        mesh.bench.plugin(&["join", "--yes", &mesh.pair()]).succeeded();
        mesh.bench.plugin(&["leave", "--yes", &first.context]).succeeded();
        let alone = theirs.server(&["bundle", "list"]);
        let none = mesh.bench.kubectl(&first.context, &relationships);
        let still = theirs.stateful_sets();
        mesh.bench.plugin(&["status"]).succeeded();
        mesh.bench.clean();
        theirs.remove();
        assert!(forgotten.contains("bar.com") && !forgotten.contains("baz.com"), "{forgotten}");
        assert!(kept.contains("baz.com"), "{kept}");
        assert!(left.contains("/bar.com") && !left.contains("/baz.com"), "{left}");
        assert_eq!((alone.as_str(), none.as_str()), ("", ""));
        assert!(still.contains("statefulset.apps/spire-server"), "{still}");
    }
}
