//! What the built plugin says about itself and about wrong usage, and that every command in its texts is one it takes.

use std::fs;

use spire_mesh_plugin_test::{MESH, Plugin};

const PLUGIN: Plugin = Plugin {
    program: env!("CARGO_BIN_EXE_kubectl-xcluster-curl"),
    name: "kubectl xcluster-curl",
    verbs: &[&["restore"]],
};

const URL: &str = "http://helloworld.helloworld:5000/hello";

fn told(arguments: &[&str]) -> String {
    PLUGIN.told(Some(MESH), arguments)
}

#[test]
fn help_of_the_plugin_and_of_each_verb() {
    for (name, text) in PLUGIN.helps() {
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn what_is_no_request_is_wrong_usage_before_any_cluster_is_asked() {
    insta::assert_snapshot!("url_none", told(&[]));
    insta::assert_snapshot!("url_file", told(&["ftp://helloworld/hello"]));
    insta::assert_snapshot!("url_with_a_line_break", told(&["http://helloworld/\noutput=/tmp/x"]));
    insta::assert_snapshot!("url_behind_two_dashes", told(&["--", "--config=/etc/passwd"]));
    insta::assert_snapshot!("header_of_a_file", told(&[URL, "-H", "@/etc/passwd"]));
    insta::assert_snapshot!("method_none", told(&[URL, "-X", "get"]));
    insta::assert_snapshot!("expectation_none", told(&[URL, "--expect", "bar is fine"]));
    insta::assert_snapshot!("rate_none", told(&[URL, "--rate", "fast"]));
    insta::assert_snapshot!("too_many_requests", told(&[URL, "-n", "0"]));
    insta::assert_snapshot!("from_none", told(&[URL, "--from", "foo/bar"]));
    insta::assert_snapshot!("via_something_else", told(&[URL, "--via", "egress"]));
    insta::assert_snapshot!("number_and_failover", told(&[URL, "-n", "5", "--failover"]));
    insta::assert_snapshot!("yes_before_restore", told(&["--yes", "restore"]));
}

#[test]
fn without_a_kubeconfig_nothing_is_sent_and_nothing_is_changed() {
    for arguments in
        [&[URL][..], &[URL, "--failover", "--yes"], &[URL, "--plaintext", "--yes"], &["restore", "--yes"]]
    {
        let folder = tempfile::TempDir::new().expect("a folder");
        fs::write(folder.path().join("spire-mesh.yaml"), MESH).expect("a mesh file");
        let run = PLUGIN.run_in(folder.path(), arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains("kubeconfig"), "{}", run.stderr);
    }
}

#[test]
fn every_command_in_help_and_documentation_is_one_that_the_plugin_takes() {
    PLUGIN.takes_every_documented_command(|folder, _| {
        for file in ["spire-mesh.yaml", "prod.yaml"] {
            fs::write(folder.join(file), MESH).expect("a mesh file");
        }
    });
}

#[test]
fn kubectl_is_told_what_could_stand_where_the_cursor_is() {
    insta::assert_snapshot!("complete_flags", PLUGIN.completed(&["--"]));
    insta::assert_snapshot!("complete_senders", PLUGIN.completed(&["--from", ""]));
    insta::assert_snapshot!("complete_victims", PLUGIN.completed(&["--failover", ""]));
    insta::assert_snapshot!("complete_via", PLUGIN.completed(&["--via", ""]));
    insta::assert_snapshot!("complete_gateways", PLUGIN.completed(&["--via", "ingress", ""]));
    insta::assert_snapshot!("complete_verbs", PLUGIN.completed(&["res"]));
}

#[test]
fn there_is_a_man_page_for_each_verb_with_the_examples_of_the_help() {
    PLUGIN.has_a_man_page_for_each_verb();
}
