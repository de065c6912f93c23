//! What the built plugin says about itself and about wrong usage, and that every command in its texts is one it takes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use spire_mesh_plugin_test::{MESH, Plugin};
use tempfile::TempDir;

const PLUGIN: Plugin = Plugin {
    program: env!("CARGO_BIN_EXE_kubectl-mesh-install"),
    name: "kubectl mesh-install",
    verbs: &[
        &["up"],
        &["plan"],
        &["render"],
        &["connect"],
        &["endpoints"],
        &["status"],
        &["verify"],
        &["remote-secret"],
        &["remote-secret", "list"],
        &["remote-secret", "rotate"],
        &["rotate-ca"],
        &["demo"],
        &["down"],
    ],
};

/// A kubeconfig in which nobody listens behind the contexts of the mesh file.
const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
clusters: [{name: nobody, cluster: {server: 'https://127.0.0.1:1'}}]
users: [{name: nobody, user: {}}]
contexts:
- {name: foo-eks-cluster, context: {cluster: nobody, user: nobody}}
- {name: bar-eks-cluster, context: {cluster: nobody, user: nobody}}
";

fn told(mesh: Option<&str>, arguments: &[&str]) -> String {
    PLUGIN.told(mesh, arguments)
}

/// A mesh file with something more below `spec`.
fn with(spec: &str) -> String {
    MESH.replace("spec:\n", &format!("spec:\n  {spec}\n"))
}

/// Puts an `istioctl` into a folder that answers with a version, and with one object.
fn istioctl(folder: &Path, version: &str) {
    let path = folder.join("istioctl");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = version ]; then echo '{{\"clientVersion\": {{\"version\": \"{version}\"}}}}'; exit; fi\n\
         while read -r line; do :; done\n\
         echo '{{apiVersion: v1, kind: ConfigMap, metadata: {{name: istio, namespace: istio-system}}}}'\n"
    );
    fs::write(&path, script).expect("a program");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
}

#[test]
fn help_of_the_plugin_and_of_each_verb() {
    for (name, text) in PLUGIN.helps() {
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn wrong_usage_names_what_is_right() {
    insta::assert_snapshot!("mistyped_verb", told(Some(MESH), &["stauts"]));
    insta::assert_snapshot!("flags_of_up_before_another_verb", told(Some(MESH), &["--yes", "status"]));
    insta::assert_snapshot!("demo_that_there_is_not", told(Some(MESH), &["demo", "helloword"]));
    insta::assert_snapshot!("yes_without_fix", told(Some(MESH), &["verify", "--yes"]));
}

#[test]
fn wrong_mesh_files_are_wrong_usage() {
    let refused = |name: &str, spec: &str| insta::assert_snapshot!(name, told(Some(&with(spec)), &["plan"]));
    insta::assert_snapshot!("mesh_file_missing", told(None, &["plan"]));
    refused("mesh_file_ambient", "istio: {profile: ambient}");
    refused("mesh_file_unknown_keys", "istio: {istioCtl: istioctl, ingressGateway: {class: a/nlb}}");
    refused("mesh_file_trust_domain_of_istio", "istio: {meshConfig: {trustDomain: foo.com}}");
}

#[test]
fn without_an_istioctl_that_works_there_is_nothing_to_show() {
    insta::assert_snapshot!("istioctl_none", told(Some(MESH), &["render"]));
    insta::assert_snapshot!(
        "istioctl_not_at_its_path",
        told(Some(&with("istio: {istioctl: /nowhere/istioctl}")), &["up", "--yes"])
    );
    let folder = TempDir::new().expect("a folder");
    istioctl(folder.path(), "1.28.4");
    fs::write(folder.path().join("spire-mesh.yaml"), MESH).expect("a mesh file");
    let run = PLUGIN.run_in(folder.path(), &["plan"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    insta::assert_snapshot!("istioctl_too_old", run.stderr);
}

#[test]
fn manifests_are_rendered_without_a_cluster() {
    let folder = TempDir::new().expect("a folder");
    istioctl(folder.path(), "1.31.0");
    fs::write(folder.path().join("spire-mesh.yaml"), MESH).expect("a mesh file");
    let run = PLUGIN.run_in(folder.path(), &["render", "--to", "manifests"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""), "{}", run.stderr);
    let written = fs::read_to_string(folder.path().join("manifests/bar-eks-cluster.yaml"));
    let written = written.expect("a file for each cluster");
    let kinds: Vec<&str> = written.lines().filter(|line| line.starts_with("kind: ")).collect();
    assert!(kinds.contains(&"kind: ConfigMap") && !kinds.contains(&"kind: Secret"), "{kinds:?}");
    let comments: String = written.split_inclusive('\n').take_while(|line| line.starts_with('#')).collect();
    insta::assert_snapshot!("render_without_a_cluster", format!("{comments}\n{}", run.stderr));
}

#[test]
fn without_a_kubeconfig_nothing_is_changed() {
    let folder = TempDir::new().expect("a folder");
    istioctl(folder.path(), "1.31.0");
    fs::write(folder.path().join("spire-mesh.yaml"), MESH).expect("a mesh file");
    for (name, arguments) in
        [("up", ["up", "--yes"]), ("down", ["down", "--yes"]), ("status", ["status", "--no-color"])]
    {
        let run = PLUGIN.run_in(folder.path(), &arguments);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        insta::assert_snapshot!(format!("kubeconfig_none_{name}"), run.stderr);
    }
}

#[test]
fn every_command_in_help_and_documentation_is_one_that_the_plugin_takes() {
    PLUGIN.takes_every_documented_command(|folder, _| {
        istioctl(folder, "1.31.0");
        fs::write(folder.join("no-kubeconfig"), KUBECONFIG).expect("a kubeconfig");
        for file in ["spire-mesh.yaml", "prod.yaml"] {
            fs::write(folder.join(file), MESH).expect("a mesh file");
        }
    });
}

#[test]
fn kubectl_is_told_what_could_stand_where_the_cursor_is() {
    insta::assert_snapshot!("complete_verbs", PLUGIN.completed(&[""]));
    insta::assert_snapshot!("complete_flags", PLUGIN.completed(&["verify", "--"]));
    insta::assert_snapshot!("complete_clusters", PLUGIN.completed(&["rotate-ca", ""]));
    insta::assert_snapshot!("complete_secrets", PLUGIN.completed(&["remote-secret", "rotate", "b"]));
    insta::assert_snapshot!("complete_demos", PLUGIN.completed(&["demo", ""]));
    insta::assert_snapshot!("complete_values", PLUGIN.completed(&["status", "-o", ""]));
}

#[test]
fn there_is_a_man_page_for_each_verb_with_the_examples_of_the_help() {
    PLUGIN.has_a_man_page_for_each_verb();
}
