//! What the built plugin says about itself, about wrong usage, and about files.

use std::fs;

use spire_mesh_plugin_test::{MESH, Plugin};
use tempfile::TempDir;

const PLUGIN: Plugin =
    Plugin { program: env!("CARGO_BIN_EXE_kubectl-trustchain"), name: "kubectl trustchain", verbs: &[] };
const SECRETS: &str = include_str!("../../../tests/fixtures/envoy/secrets.json");

fn told(mesh: Option<&str>, arguments: &[&str]) -> String {
    PLUGIN.told(mesh, arguments)
}

#[test]
fn help_of_the_plugin() {
    for (name, text) in PLUGIN.helps() {
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn wrong_usage_names_what_is_right() {
    insta::assert_snapshot!("nothing_named", told(Some(MESH), &[]));
    insta::assert_snapshot!("no_kind_of_workload", told(Some(MESH), &["service/a", "--accepts", "b"]));
    insta::assert_snapshot!("no_threshold", told(Some(MESH), &["-A", "--expiring", "soon"]));
    insta::assert_snapshot!("all_and_one", told(Some(MESH), &["-A", "productpage-v1"]));
    insta::assert_snapshot!("no_address", told(None, &["http://10.0.0.1:8443"]));
    insta::assert_snapshot!("all_clusters_without_a_mesh_file", told(None, &["-A", "--all-clusters"]));
}

#[test]
fn a_file_is_judged_without_a_cluster() {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("dump.json"), SECRETS).expect("a file");
    let run = PLUGIN.run_in(folder.path(), &["-f", "dump.json", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    let one = &report["workloads"][0];
    assert_eq!(one["identity"], "spiffe://foo.com/ns/sample/sa/sleep");
    assert_eq!(one["issuedBy"], "spire");
    assert_eq!(one["chain"][0]["spiffeId"], one["identity"]);
    assert_eq!(one["trustBundles"][0]["trustDomain"], "bar.com");
    // The fixture's certificates have ended.
    assert_eq!((one["verdict"]["status"].as_str(), run.code), (Some("bad"), Some(3)));

    let pem = PLUGIN.run_in(folder.path(), &["-f", "dump.json", "-o", "pem"]);
    assert!(pem.stdout.starts_with("-----BEGIN CERTIFICATE-----\n"), "{}", pem.stdout);
    let text = PLUGIN.run_in(folder.path(), &["-f", "dump.json", "-o", "text"]);
    assert!(text.stdout.contains("URI:spiffe://foo.com/ns/sample/sa/sleep"), "{}", text.stdout);

    let saved = PLUGIN.run_in(folder.path(), &["-f", "dump.json", "--save", "certificates"]);
    assert_eq!(saved.code, Some(3), "{}", saved.stderr);
    let written = walk(&folder.path().join("certificates"));
    assert_eq!(written, ["bundle-bar.com.pem", "bundle-foo.com.pem", "chain.pem"]);
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            names.extend(walk(&path));
        } else {
            names.push(path.file_name().expect("a name").to_string_lossy().into_owned());
        }
    }
    names.sort();
    names
}

#[test]
fn what_is_no_certificate_is_named() {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("notes.txt"), "nothing of interest\n").expect("a file");
    let run = PLUGIN.run_in(folder.path(), &["-f", "notes.txt"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    insta::assert_snapshot!("file_without_certificates", run.stderr);
    insta::assert_snapshot!("file_missing", told(None, &["-f", "nowhere.pem"]));
}

#[test]
fn every_command_in_help_and_documentation_is_taken() {
    PLUGIN.takes_every_documented_command(|folder, arguments| {
        fs::write(folder.join("spire-mesh.yaml"), MESH).expect("a mesh file");
        if let Some(at) = arguments.iter().position(|argument| *argument == "-f") {
            fs::write(folder.join(arguments[at + 1]), SECRETS).expect("a file");
        }
    });
}

#[test]
fn kubectl_is_told_what_could_stand_where_the_cursor_is() {
    insta::assert_snapshot!("complete_flags", PLUGIN.completed(&["--"]));
    insta::assert_snapshot!("complete_contexts", PLUGIN.completed(&["--context", ""]));
    insta::assert_snapshot!("complete_workloads", PLUGIN.completed(&["productpage-v1", "--accepts", ""]));
    insta::assert_snapshot!("complete_files", PLUGIN.completed(&["-f", ""]));
    insta::assert_snapshot!("complete_values", PLUGIN.completed(&["-o=p"]));
}

#[test]
fn there_is_a_man_page_for_it_with_the_examples_of_the_help() {
    PLUGIN.has_a_man_page_for_each_verb();
}
