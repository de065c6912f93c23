//! `kubectl spire-federate` on real clusters.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use spire_mesh_e2e::{Bench, Impostor, TheirSpire, each};
use spire_mesh_lab::faults::Fault;

#[test]
fn every_rendered_object_passes_a_server_side_dry_run() {
    let bench = Bench::new();
    bench.clean();
    bench.plugin(&["render", "--to", "rendered"]).succeeded();
    for member in &bench.members {
        let file = bench.folder().join("rendered").join(format!("{}.yaml", member.context));
        let yaml = fs::read_to_string(&file).expect("a rendered file");
        let objects: Vec<&str> = yaml.split("\n---\n").collect();
        assert!(objects.len() > 20, "{} objects", objects.len());
        // Kinds and namespaces of the rendering itself have to be there first: what is in them is checked strictly.
        let (first, rest): (Vec<&str>, Vec<&str>) = objects.into_iter().partition(|object| {
            object.contains("kind: Namespace\n") || object.contains("kind: CustomResourceDefinition\n")
        });
        let kubectl = bench.target.kubectl(&member.context);
        let apply = ["apply", "--server-side", "--validate=strict", "--field-manager=dry", "-f", "-"];
        kubectl.run_with(apply, &first.join("\n---\n")).expect("namespaces and kinds are accepted");
        let dry = apply.into_iter().chain(["--dry-run=server"]);
        let result = kubectl.run_with(dry, &rest.join("\n---\n"));
        // The namespaces and kinds carry our labels, so `down` takes them away again.
        bench.clean();
        result.unwrap_or_else(|error| panic!("{}: {error}", member.context));
    }
}

#[test]
fn up_federates_and_a_second_run_changes_nothing() {
    let bench = Bench::new();
    bench.clean();
    let plan = bench.plugin(&["plan", "-o", "json"]).succeeded().json();
    for cluster in each(&plan["clusters"]) {
        assert!(each(&cluster["objects"]).iter().all(|object| object["action"] == "create"));
    }

    bench.plugin(&["up"]).ended_with(2).said("needs --yes");
    let first = bench.up();
    assert!(first.stdout.starts_with("CLUSTER"), "{}", first.stdout);
    bench.prove();

    let versions = || -> Vec<String> {
        let kinds =
            "statefulsets,daemonsets,configmaps,services,clusterfederatedtrustdomains,clusterspiffeids,crds";
        let which = "app.kubernetes.io/managed-by=spire-federate";
        let path = "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.generation}{\"\\n\"}{end}";
        bench
            .members
            .iter()
            .map(|member| bench.kubectl(&member.context, &["get", kinds, "-A", "-l", which, "-o", path]))
            .collect()
    };
    let before = versions();
    let begun = Instant::now();
    bench.up().said("nothing to change");
    println!("second run: {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(versions(), before);
    bench.plugin(&["plan"]).succeeded().said("0 to create, 0 to change");

    let status = bench.plugin(&["status", "-o", "json"]).succeeded().json();
    let relationships = status["relationships"].as_array().expect("relationships");
    assert_eq!(relationships.len(), bench.members.len() * (bench.members.len() - 1));
    for relationship in relationships {
        assert_eq!(relationship["state"], "current");
        assert_eq!(relationship["storedAuthorities"], relationship["liveAuthorities"]);
    }
}

#[test]
fn what_others_apply_of_the_rendered_files_is_connected_and_left_to_them() {
    let bench = Bench::new();
    bench.clean();
    let of_others = |yaml: &str, context: &str| {
        // As Flux does.
        let apply = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=kustomize-controller",
            "-f",
            "-",
        ];
        bench.target.kubectl(context).run_with(apply, yaml).unwrap_or_else(|error| panic!("{error}"));
    };
    bench.plugin(&["render", "--to", "rendered"]).succeeded();
    let rendered = |context: &str| {
        let file = bench.folder().join("rendered").join(format!("{context}.yaml"));
        fs::read_to_string(&file).expect("a rendered file")
    };
    // All but the last cluster: nothing is changed in any of them.
    let (last, others) = bench.members.split_last().expect("two clusters");
    for member in others {
        of_others(&rendered(&member.context), &member.context);
    }
    bench.plugin(&["connect", "--yes"]).ended_with(1).said("has not been applied: Namespace/spire-server");
    of_others(&rendered(&last.context), &last.context);
    bench.plugin(&["plan", "--exit-code"]).ended_with(3);
    bench.plugin(&["connect", "--yes"]).succeeded();
    bench.prove();
    bench.plugin(&["connect", "--yes"]).succeeded().said("nothing to change");

    // `up` has nothing to add, and takes nothing from them.
    bench.plugin(&["plan", "--exit-code"]).succeeded();
    bench.up().said("nothing to change");
    let managers = ["-n", "spire-server", "get", "statefulset", "spire-server", "--show-managed-fields"];
    let path = "jsonpath={.metadata.managedFields[?(@.operation==\"Apply\")].manager}";
    let managers: Vec<&str> = managers.into_iter().chain(["-o", path]).collect();
    assert_eq!(bench.kubectl(&last.context, &managers), "kustomize-controller");

    // What they declare otherwise is not overruled.
    of_others(&rendered(&last.context).replace("timeoutSeconds: 5", "timeoutSeconds: 6"), &last.context);
    bench.plugin(&["plan", "--exit-code"]).ended_with(3).said("1 declared otherwise by others");
    bench.plugin(&["up", "--yes"]).ended_with(1).said("kustomize-controller declares webhooks");
    bench.plugin(&["connect", "--yes"]).succeeded().said("nothing to change");
}

/// The Lease of somebody else on the mesh that `init` writes, renewed so many seconds ago.
fn lease_of_somebody_else(seconds_ago: i64) -> String {
    let renewed = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds_ago);
    format!(
        "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {{name: spire-mesh-MESH, namespace: kube-system}}\nspec:\n  \
         holderIdentity: ann@desk (process 7, kubectl mesh-install rotate-ca)\n  leaseDurationSeconds: 60\n  \
         renewTime: {}\n",
        renewed.strftime("%Y-%m-%dT%H:%M:%S.%6fZ")
    )
}

#[test]
fn while_somebody_else_is_at_work_up_changes_nothing_unless_their_lease_is_broken_or_has_run_out() {
    let bench = Bench::new();
    bench.clean();
    let name =
        bench.plugin(&["plan", "-o", "json"]).succeeded().json()["mesh"].as_str().expect("a name").to_owned();
    let last = &bench.members[1].context;
    let put = |seconds_ago| {
        let lease = lease_of_somebody_else(seconds_ago).replace("MESH", &name);
        bench.target.kubectl(last).apply(&lease).expect("the Lease is accepted");
    };
    let leases = || -> Vec<String> {
        let get = ["-n", "kube-system", "get", "leases", "-o", "name"];
        let held = bench.members.iter().map(|member| bench.kubectl(&member.context, &get));
        held.map(|names| names.lines().filter(|lease| lease.contains("spire-mesh-")).collect()).collect()
    };

    put(0);
    let begun = Instant::now();
    bench
        .plugin(&["up", "--yes"])
        .ended_with(1)
        .said("1 of 2 clusters failed")
        .said(last)
        .said("ann@desk (process 7, kubectl mesh-install rotate-ca)")
        .said("--break-lock")
        .said("nothing was changed");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    bench.plugin(&["plan"]).succeeded();
    bench.plugin(&["down", "--dry-run"]).succeeded();
    for member in &bench.members {
        let namespace = ["get", "namespace", "spire-server", "--ignore-not-found", "-o", "name"];
        assert_eq!(bench.kubectl(&member.context, &namespace), "", "{}", member.context);
    }
    assert_eq!(leases(), [String::new(), format!("lease.coordination.k8s.io/spire-mesh-{name}")]);

    put(0);
    bench.plugin(&["up", "--yes", "--break-lock"]).succeeded().said("took over the Lease of ann@desk");
    assert_eq!(leases(), ["", ""], "both were given back");

    put(90);
    bench.plugin(&["up", "--yes"]).succeeded().said("did not give it back: ann@desk");
    assert_eq!(leases(), ["", ""]);
}

#[test]
fn relationships_never_hold_a_bundle_that_could_be_set_again() {
    let bench = Bench::new();
    bench.up();
    for member in &bench.members {
        let path = "jsonpath={.items[*].spec.trustDomainBundle}";
        assert_eq!(bench.kubectl(&member.context, &["get", "clusterfederatedtrustdomains", "-o", path]), "");
    }
}

#[test]
fn a_run_that_is_killed_anywhere_converges_when_it_is_run_again() {
    let bench = Bench::new();
    for millis in [1000, 4000, 8000] {
        bench.clean();
        bench.run_killed(&["up", "--yes"], Duration::from_millis(millis));
        // It could not give its Leases back.
        bench.plugin(&["up", "--yes", "--break-lock"]).succeeded();
        bench.plugin(&["status"]).succeeded();
    }
    bench.prove();
}

#[test]
fn a_cluster_that_cannot_be_reached_is_named_and_nothing_is_changed() {
    let bench = Bench::new();
    bench.clean();
    let Some(lab) = bench.lab() else { return };
    let last = lab.clusters().nth(1).expect("a second cluster");
    let stopped = bench
        .target
        .faults()
        .and_then(|faults| faults.during(Fault::ApiStopped { cluster: last.name().to_owned() }));
    let stopped = stopped.expect("the API server stops");
    let first = &bench.members[0].context;
    bench
        .plugin(&["up", "--yes"])
        .ended_with(1)
        .said("1 of 2 clusters failed")
        .said(&last.context())
        .said(&format!("{first}: reachable"))
        .said("nothing was changed");
    let status = bench.plugin(&["status"]).ended_with(1);
    assert!(status.stdout.contains(first), "{}", status.stdout);
    stopped.clear().expect("the API server starts again");
    bench.up();
}

#[test]
fn a_server_that_lost_its_volume_is_named_and_federated_again() {
    let bench = Bench::new();
    let Some(lab) = bench.lab() else { return };
    bench.up();
    let first = lab.clusters().next().expect("a cluster");
    let claim = "spire-server/data-spire-server-0".parse().expect("a claim");
    bench
        .target
        .faults()
        .and_then(|faults| faults.lose_volume(first.name(), &claim))
        .expect("the volume is emptied");
    let ready =
        ["-n", "spire-server", "wait", "pod/spire-server-0", "--for=condition=Ready", "--timeout=28s"];
    // The pod was deleted; its controller makes it again in a moment.
    let end = Instant::now() + Duration::from_mins(1);
    while bench.target.kubectl(&first.context()).run(ready).is_err() {
        assert!(Instant::now() < end, "the server came back");
        thread::sleep(Duration::from_millis(200));
    }
    let status = bench.plugin(&["status", "-o", "json"]).ended_with(3).json();
    let relationships = status["relationships"].as_array().expect("relationships");
    let to_first = relationships.iter().filter(|pair| pair["to"] == first.context());
    let found: Vec<_> = to_first.map(|pair| &pair["state"]).collect();
    assert_eq!(found, ["locked-out"], "{relationships:?}");
    bench.up();
    bench.plugin(&["status"]).succeeded();
}

#[test]
fn down_leaves_what_it_did_not_make_and_nothing_else() {
    let bench = Bench::new();
    bench.up();
    for member in &bench.members {
        bench.kubectl(&member.context, &["create", "namespace", "somebody-elses"]);
    }
    let authorities = |bench: &Bench| {
        bench.plugin(&["status", "-o", "json"]).json()["clusters"][0]["spire"]["authorities"].clone()
    };
    let before = authorities(&bench);
    bench.plugin(&["down"]).ended_with(2).said("needs --yes");
    // The CA's volume is only deleted when that was asked for.
    bench.plugin(&["down", "--yes"]).succeeded().said("stays");
    bench.up();
    assert_eq!(authorities(&bench), before, "the same CA goes on");
    bench.plugin(&["down", "--yes", "--ca-volume", "keep"]).succeeded().said("stays");
    bench.plugin(&["down", "--yes", "--ca-volume", "delete"]).succeeded();
    for member in &bench.members {
        let kinds =
            "namespaces,crds,clusterroles,clusterrolebindings,csidrivers,validatingwebhookconfigurations,pv";
        let left = bench.kubectl(&member.context, &["get", kinds, "-o", "name"]);
        assert!(!left.contains("spire-") && !left.contains("spiffe"), "{left}");
        assert!(left.contains("namespace/somebody-elses"), "{left}");
        bench.kubectl(&member.context, &["delete", "namespace", "somebody-elses"]);
    }
    bench.plugin(&["down", "--yes"]).succeeded().said("nothing of mesh");
}

#[test]
fn down_refuses_while_pods_mount_the_csi_driver() {
    let bench = Bench::new();
    bench.up();
    let context = bench.members[0].context.clone();
    let pod = include_str!("../../lab/manifests/proof.yaml");
    bench.target.kubectl(&context).apply(pod).expect("the pod is accepted");
    bench.kubectl(
        &context,
        &["-n", "spire-mesh-proof", "wait", "pod/client", "--for=condition=Ready", "--timeout=25s"],
    );
    bench.plugin(&["down", "--yes"]).ended_with(1).said("spire-mesh-proof/client").said("--force");
    bench.kubectl(&context, &["delete", "namespace", "spire-mesh-proof"]);
    bench.plugin(&["down", "--yes"]).succeeded();
}

#[test]
fn a_spire_that_somebody_else_installed_is_named_and_federated_as_it_is() {
    let bench = Bench::new();
    bench.clean();
    let member = &bench.members[0];
    let theirs = TheirSpire::install(&bench, member);

    bench
        .plugin(&["up", "--yes"])
        .ended_with(1)
        .said("a SPIRE already that this tool did not install")
        .said("StatefulSet/spire-server in namespace identity")
        .said("managed: false");

    bench.edit(
        &format!("trustDomain: {}", member.trust_domain),
        &format!("trustDomain: {}\n      spire: {{managed: false}}", member.trust_domain),
    );
    let federated = bench.plugin(&["up", "--yes"]);
    let status = bench.plugin(&["status", "-o", "json"]).json();
    bench.plugin(&["down", "--yes", "--ca-volume", "delete"]).succeeded();
    let still = theirs.stateful_sets();
    let held = theirs.server(&["bundle", "list"]);
    theirs.remove();
    federated.succeeded();
    assert!(still.contains("statefulset.apps/spire-server"), "{still}");
    assert_eq!(held, "", "a bundle that only this mesh brought is gone");
    for relationship in each(&status["relationships"]) {
        assert_eq!(relationship["state"], "current", "{relationship}");
    }
}

#[test]
fn a_copy_of_spire_in_a_tenants_namespace_is_trusted_by_nobody() {
    let bench = Bench::new();
    bench.up();
    let (first, second) = (&bench.members[0], &bench.members[1]);
    let copy = Impostor::of(&bench, second);
    copy.install();
    let bundle = copy.bundle();
    let trusted = || bench.server(&first.context, "spire-server", &["bundle", "list"]);
    let before = trusted();

    let status = bench.plugin(&["status", "-o", "json"]).succeeded().json();
    for cluster in each(&status["clusters"]) {
        assert_eq!(cluster["spire"]["serverPod"], "spire-server/spire-server-0", "{cluster:#}");
    }
    bench.plugin(&["verify"]).succeeded();
    bench.up().said("nothing to change");
    bench.plugin(&["bundle", "exchange", "--yes"]).succeeded().said("nothing to carry");
    let shown = bench.plugin(&["bundle", "show", &second.context, "--encoding", "pem"]).succeeded().stdout;
    let certificate = bundle.lines().nth(1).expect("a certificate");
    assert!(!shown.contains(certificate), "{shown}");
    assert_eq!(trusted(), before);

    // Without the real one the copy is not taken for it, neither for reading nor for a new start.
    bench.clean();
    copy.install();
    let refused = bench.plugin(&["status"]).ended_with(3);
    assert!(!refused.stdout.contains(Impostor::NAMESPACE), "{}", refused.stdout);
    bench
        .plugin(&["up", "--yes"])
        .ended_with(1)
        .said("a SPIRE with the labels of this mesh is not where the mesh file has it")
        .said("StatefulSet/spire-server in namespace apps");
}

#[test]
fn a_server_of_another_trust_domain_than_the_mesh_file_says_is_not_believed() {
    let bench = Bench::new();
    bench.up();
    let (first, second) = (&bench.members[0], &bench.members[1]);
    let (real, other) = (&second.trust_domain, "c.example");
    let trusted = || bench.server(&first.context, "spire-server", &["bundle", "list", "-format", "spiffe"]);
    let before = trusted();

    // Nor is one whose API server could be anybody's.
    for command in
        [&["up", "--yes"] as &[&str], &["bundle", "exchange", "--yes"], &["verify", "--fix", "--yes"]]
    {
        let unchecked = [command, &["--insecure-skip-tls-verify"]].concat();
        bench.plugin(&unchecked).ended_with(2).said("is not checked").said("nothing was changed");
    }
    bench.plugin(&["status", "--insecure-skip-tls-verify"]).succeeded();

    bench.edit(&format!("trustDomain: {real}"), &format!("trustDomain: {other}"));

    let told = format!("is of trust domain {real}, the mesh file says {other}");
    let commands: [&[&str]; 6] = [
        &["bundle", "show"],
        &["bundle", "show", &second.context, "--encoding", "spiffe"],
        &["bundle", "diff"],
        &["bundle", "exchange", "--yes"],
        &["rotate", &second.context, "--dry-run"],
        &["rotate", &first.context, "--yes"],
    ];
    for command in commands {
        bench.plugin(command).ended_with(1).said(&told);
    }
    let verified = bench.plugin(&["verify", "--fix", "--yes"]).ended_with(3);
    assert!(verified.stdout.contains(&told), "{}", verified.stdout);
    assert_eq!(trusted(), before, "nothing was set, under the one name or the other");
}

#[test]
fn missing_rights_are_named_before_anything_is_changed() {
    let bench = Bench::new();
    bench.clean();
    bench
        .plugin(&["up", "--yes", "--as", "nobody-of-this-cluster"])
        .ended_with(1)
        .said("you may not")
        .said("--as nobody-of-this-cluster auth can-i");
    bench.plugin(&["down", "--yes"]).succeeded().said("nothing of mesh");
}

#[test]
fn down_names_all_missing_rights_before_anything_is_deleted() {
    let bench = Bench::new();
    bench.up();
    let reader = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: spire-mesh-reader}
rules:
- {apiGroups: ['*'], resources: ['*'], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: spire-mesh-reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: spire-mesh-reader}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: reader}
";
    for member in &bench.members {
        bench.target.kubectl(&member.context).apply(reader).expect("a reader");
    }
    let dry = bench.plugin(&["down", "--dry-run", "--as", "reader"]);
    let refused = bench.plugin(&["down", "--yes", "--as", "reader"]);
    let blind = bench.plugin(&["down", "--yes", "--as", "nobody-of-this-cluster"]);
    for member in &bench.members {
        bench.kubectl(&member.context, &["delete", "clusterrole,clusterrolebinding", "spire-mesh-reader"]);
    }
    dry.succeeded();
    refused
        .ended_with(1)
        .said("you may not delete namespaces")
        .said("delete statefulsets.apps in namespace spire-server")
        .said("delete clusterfederatedtrustdomains.spire.spiffe.io")
        .said("--as reader auth can-i delete namespaces");
    blind.ended_with(1).said("list secrets").said("get/delete statefulsets.apps in namespace spire-server");
    bench.plugin(&["status"]).succeeded();
}

#[test]
fn what_the_mesh_file_asks_for_and_the_cluster_lacks_is_named_before_anything_is_changed() {
    let bench = Bench::new();
    bench.clean();
    bench.edit("clusters:", "spire: {storage: {class: no-such-class}}\n  clusters:");
    bench.plugin(&["up", "--yes"]).ended_with(1).said("storage class no-such-class does not exist");
    bench.edit("no-such-class", "lab");
    bench.edit(&format!("name: {}", bench.members[1].context), "name: nowhere");
    bench.plugin(&["up", "--yes"]).ended_with(1).said("there is no context `nowhere`");
    bench.plugin(&["status"]).ended_with(1).said("nowhere");
}
