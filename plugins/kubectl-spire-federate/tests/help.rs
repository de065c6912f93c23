//! What the built plugin says about itself and about wrong usage, and that every command in its texts is one it takes.

use std::fs;

use spire_mesh_plugin_test::{MESH, Plugin};
use tempfile::TempDir;

const PLUGIN: Plugin = Plugin {
    program: env!("CARGO_BIN_EXE_kubectl-spire-federate"),
    name: "kubectl spire-federate",
    verbs: &[
        &["init"],
        &["up"],
        &["plan"],
        &["render"],
        &["connect"],
        &["status"],
        &["verify"],
        &["bundle"],
        &["bundle", "show"],
        &["bundle", "diff"],
        &["bundle", "exchange"],
        &["rotate"],
        &["join"],
        &["leave"],
        &["down"],
    ],
};

fn told(mesh: Option<&str>, arguments: &[&str]) -> String {
    PLUGIN.told(mesh, arguments)
}

/// A mesh file with three clusters.
fn three() -> String {
    format!("{MESH}    - {{name: baz-eks-cluster, trustDomain: baz.com}}\n")
}

#[test]
fn help_of_the_plugin_and_of_each_verb() {
    for (name, text) in PLUGIN.helps() {
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn manifests_are_rendered_without_a_cluster_and_name_what_comes_later() {
    let folder = TempDir::new().expect("a folder");
    let address = "spire: {bundleEndpoint: {expose: URL, url: 'https://spire.bar.com:8443'}}";
    let mesh = MESH.replace("trustDomain: bar.com", &format!("trustDomain: bar.com, {address}"));
    fs::write(folder.path().join("spire-mesh.yaml"), mesh).expect("a mesh file");
    let run = PLUGIN.run_in(folder.path(), &["render", "--to", "manifests"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""), "{}", run.stderr);
    let file = |cluster: &str| {
        let file = folder.path().join("manifests").join(format!("{cluster}.yaml"));
        fs::read_to_string(file).expect("a file for each cluster")
    };
    let (first, second) = (file("foo-eks-cluster"), file("bar-eks-cluster"));
    let comments = |text: &str| -> String {
        text.split_inclusive('\n').take_while(|line| line.starts_with('#')).collect()
    };
    let told = format!("{}\n{}\n{}", comments(&first), comments(&second), run.stderr);
    insta::assert_snapshot!("render_without_a_cluster", told);
    let has = |text: &str, kind: &str| text.lines().any(|line| line == format!("kind: {kind}"));
    assert!(has(&first, "StatefulSet") && has(&second, "DaemonSet"));
    assert!(has(&first, "ClusterFederatedTrustDomain") && !has(&second, "ClusterFederatedTrustDomain"));
    assert!(!has(&first, "ClusterSPIFFEID") && !has(&second, "ClusterSPIFFEID"));
}

#[test]
fn a_mistyped_verb_names_the_nearest() {
    insta::assert_snapshot!(told(Some(MESH), &["stauts"]));
}

#[test]
fn flags_of_up_do_not_stand_before_another_verb() {
    insta::assert_snapshot!(told(Some(MESH), &["--yes", "status"]));
}

#[test]
fn init_refuses_what_would_be_no_mesh() {
    insta::assert_snapshot!("init_bad_trust_domain", told(None, &["init", "foo=Foo.com", "bar=bar.com"]));
    insta::assert_snapshot!("init_one_cluster", told(None, &["init", "foo=foo.com"]));
    insta::assert_snapshot!("init_no_cluster", told(None, &["init"]));
    insta::assert_snapshot!("init_file_is_there", told(Some(MESH), &["init", "foo=foo.com", "bar=bar.com"]));
}

#[test]
fn init_writes_a_file_that_the_other_verbs_read() {
    let folder = TempDir::new().expect("a folder");
    let init = PLUGIN.run_in(folder.path(), &["init", "foo=foo.com", "bar=bar.com"]);
    assert_eq!((init.code, init.stdout.as_str()), (Some(0), ""));
    insta::assert_snapshot!(init.stderr);
    assert_eq!(PLUGIN.run_in(folder.path(), &["render"]).code, Some(0));
}

#[test]
fn wrong_mesh_files_are_wrong_usage() {
    let unknown_key =
        MESH.replace("{name: bar-eks-cluster, trustDomain:", "{name: bar-eks-cluster, trustdomain:");
    let same_domain = MESH.replace("bar.com", "foo.com");
    insta::assert_snapshot!("mesh_file_missing", told(None, &["status"]));
    let elsewhere = ["status", "--mesh", "my mesh.yaml", "--kubeconfig", "clusters", "--as", "ada"];
    insta::assert_snapshot!("mesh_file_named_and_missing", told(None, &elsewhere));
    insta::assert_snapshot!("mesh_file_unknown_key", told(Some(&unknown_key), &["status"]));
    insta::assert_snapshot!("mesh_file_same_trust_domain", told(Some(&same_domain), &["status"]));
}

#[test]
fn without_a_kubeconfig_nothing_is_changed() {
    insta::assert_snapshot!(
        "kubeconfig_named_and_missing",
        told(Some(MESH), &["status", "--kubeconfig", "nope"])
    );
    insta::assert_snapshot!("kubeconfig_none_status", told(Some(MESH), &["status"]));
    insta::assert_snapshot!("kubeconfig_none_up", told(Some(MESH), &["up", "--yes"]));
}

#[test]
fn names_of_bundles_that_cannot_be_are_refused() {
    insta::assert_snapshot!("bundle_half_a_pair", told(Some(MESH), &["bundle", "diff", "foo-eks-cluster"]));
    insta::assert_snapshot!(
        "bundle_encoding_of_all",
        told(Some(MESH), &["bundle", "show", "--encoding", "pem"])
    );
}

#[test]
fn join_and_leave_refuse_what_would_be_no_mesh() {
    let told_of = |name: &str, mesh: &str, arguments: &[&str]| {
        insta::assert_snapshot!(name, told(Some(mesh), arguments));
    };
    told_of("join_context_is_there", MESH, &["join", "--yes", "foo-eks-cluster=baz.com"]);
    told_of("join_trust_domain_is_there", MESH, &["join", "--yes", "baz-eks-cluster=foo.com"]);
    told_of("join_is_there_already", MESH, &["join", "--yes", "bar-eks-cluster=bar.com"]);
    told_of("join_no_trust_domain", MESH, &["join", "--yes", "baz-eks-cluster"]);
    told_of("leave_no_such_cluster", &three(), &["leave", "--yes", "baz"]);
    told_of("leave_by_its_trust_domain", &three(), &["leave", "--yes", "baz.com"]);
    told_of("leave_one_of_two", MESH, &["leave", "--yes", "bar-eks-cluster"]);
    let brackets =
        MESH.replace("\n    - {", " [{").replacen(" [{name: bar", ", {name: bar", 1).trim_end().to_owned()
            + "]\n";
    told_of("join_brackets", &brackets, &["join", "--yes", "baz-eks-cluster=baz.com"]);
    insta::assert_snapshot!("join_no_mesh_file", told(None, &["join", "--yes", "baz-eks-cluster=baz.com"]));
    insta::assert_snapshot!("join_from_standard_input", told(None, &["join", "--mesh", "-", "baz=baz.com"]));
}

#[test]
fn join_and_leave_leave_the_mesh_file_alone_where_no_cluster_can_be_reached() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("spire-mesh.yaml");
    for (mesh, arguments) in [
        (MESH.to_owned(), ["join", "--yes", "baz-eks-cluster=baz.com"]),
        (three(), ["leave", "--yes", "baz-eks-cluster"]),
    ] {
        fs::write(&file, &mesh).expect("a mesh file");
        let run = PLUGIN.run_in(folder.path(), &arguments);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        insta::assert_snapshot!(format!("{}_no_kubeconfig", arguments[0]), run.stderr);
        assert_eq!(fs::read_to_string(&file).expect("the mesh file"), mesh);
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
    }
}

#[test]
fn every_command_in_help_and_documentation_is_one_that_the_plugin_takes() {
    PLUGIN.takes_every_documented_command(|folder, arguments| {
        if !arguments.contains(&"init") {
            // Who takes a cluster out has three.
            let mesh = if arguments.contains(&"leave") { three() } else { MESH.to_owned() };
            for file in ["spire-mesh.yaml", "prod.yaml"] {
                fs::write(folder.join(file), &mesh).expect("a mesh file");
            }
        }
    });
}

#[test]
fn kubectl_is_told_what_could_stand_where_the_cursor_is() {
    insta::assert_snapshot!("complete_verbs", PLUGIN.completed(&[""]));
    insta::assert_snapshot!("complete_flags", PLUGIN.completed(&["verify", "--"]));
    insta::assert_snapshot!("complete_contexts", PLUGIN.completed(&["init", "foo-eks-cluster=foo.com", ""]));
    insta::assert_snapshot!("complete_clusters", PLUGIN.completed(&["leave", ""]));
    insta::assert_snapshot!("complete_bundles", PLUGIN.completed(&["bundle", "show", ""]));
    insta::assert_snapshot!("complete_pairs", PLUGIN.completed(&["bundle", "diff", "foo-eks-cluster/"]));
    insta::assert_snapshot!("complete_values", PLUGIN.completed(&["down", "--ca-volume", ""]));
    insta::assert_snapshot!("complete_folders", PLUGIN.completed(&["render", "--to", ""]));
}

#[test]
fn there_is_a_man_page_for_each_verb_with_the_examples_of_the_help() {
    PLUGIN.has_a_man_page_for_each_verb();
}
