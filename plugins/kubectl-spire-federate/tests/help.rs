//! What the built plugin says about itself and about wrong usage, and that every command in its texts is one it takes.
//!
//! Each command runs in an empty folder of its own, with a kubeconfig that does not exist: none can reach a cluster.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

const MESH: &str = "\
apiVersion: spire-mesh/v1alpha1
kind: Mesh
metadata: {name: example}
spec:
  clusters:
    - {name: foo-eks-cluster, trustDomain: foo.com}
    - {name: bar-eks-cluster, trustDomain: bar.com}
";

const VERBS: [&[&str]; 14] = [
    &["init"],
    &["up"],
    &["plan"],
    &["render"],
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
];

/// Texts with commands to copy, besides the help texts.
const DOCS: [&str; 5] =
    ["README.md", "docs/spire-federate.md", "docs/checks.md", "docs/mesh-file.md", "docs/security.md"];

/// What a run of the plugin came to.
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the plugin in a folder, as it runs where nobody watches: no terminal, no colour, lines of 100 columns.
fn run_in(folder: &Path, arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-spire-federate"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs([("COLUMNS", "100"), ("NO_COLOR", "1"), ("TERM", "dumb")])
        .env("HOME", folder)
        .env("KUBECONFIG", folder.join("no-kubeconfig"))
        .stdin(Stdio::null())
        .output()
        .expect("the plugin starts");
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).expect("it writes text").replace(&folder.display().to_string(), "[folder]")
    };
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs the plugin in an empty folder, or in one with this mesh file.
fn run(mesh: Option<&str>, arguments: &[&str]) -> Run {
    let folder = TempDir::new().expect("a folder");
    if let Some(text) = mesh {
        fs::write(folder.path().join("spire-mesh.yaml"), text).expect("a mesh file");
    }
    run_in(folder.path(), arguments)
}

fn help(verb: &[&str]) -> String {
    let run = run(None, &[verb, &["--help"]].concat());
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{verb:?}");
    run.stdout
}

/// Writes a run as one text, for snapshots.
fn told(mesh: Option<&str>, arguments: &[&str]) -> String {
    let Run { code, stdout, stderr } = run(mesh, arguments);
    let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
    format!("exit code: {code}\n--- stdout\n{stdout}--- stderr\n{stderr}")
}

/// A mesh file with three clusters.
fn three() -> String {
    format!("{MESH}    - {{name: baz-eks-cluster, trustDomain: baz.com}}\n")
}

/// Takes the commands out of a text: lines that start with the plugin's name, after a prompt or not, without comments.
fn commands(text: &str) -> Vec<&str> {
    text.lines()
        .map(|line| line.trim().trim_start_matches("$ "))
        .filter(|line| *line == "kubectl spire-federate" || line.starts_with("kubectl spire-federate "))
        .map(|line| line.split(" #").next().unwrap_or(line).trim())
        .collect()
}

#[test]
fn help_of_the_plugin_and_of_each_verb() {
    insta::assert_snapshot!("help", help(&[]));
    for verb in VERBS {
        insta::assert_snapshot!(format!("help_{}", verb.join("_")), help(verb));
    }
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
    let init = run_in(folder.path(), &["init", "foo=foo.com", "bar=bar.com"]);
    assert_eq!((init.code, init.stdout.as_str()), (Some(0), ""));
    insta::assert_snapshot!(init.stderr);
    assert_eq!(run_in(folder.path(), &["render"]).code, Some(0));
}

#[test]
fn wrong_mesh_files_are_wrong_usage() {
    let unknown_key =
        MESH.replace("{name: bar-eks-cluster, trustDomain:", "{name: bar-eks-cluster, trustdomain:");
    let same_domain = MESH.replace("bar.com", "foo.com");
    insta::assert_snapshot!("mesh_file_missing", told(None, &["status"]));
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
        let run = run_in(folder.path(), &arguments);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        insta::assert_snapshot!(format!("{}_no_kubeconfig", arguments[0]), run.stderr);
        assert_eq!(fs::read_to_string(&file).expect("the mesh file"), mesh);
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
    }
}

/// Each command is run as it stands; without a kubeconfig it ends at the latest where it would connect. `verify` then has found
/// that no cluster answers.
#[test]
fn every_command_in_help_and_documentation_is_one_that_the_plugin_takes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut texts = vec![("help".to_owned(), help(&[]))];
    texts.extend(VERBS.map(|verb| (format!("help of {}", verb.join(" ")), help(verb))));
    for name in DOCS {
        texts.push((name.to_owned(), fs::read_to_string(root.join(name)).expect(name)));
    }
    for (name, text) in &texts {
        for command in commands(text) {
            let arguments: Vec<&str> = command.split_whitespace().skip(2).collect();
            let folder = TempDir::new().expect("a folder");
            if !arguments.contains(&"init") {
                // Who takes a cluster out has three.
                let mesh = if arguments.contains(&"leave") { three() } else { MESH.to_owned() };
                for file in ["spire-mesh.yaml", "prod.yaml"] {
                    fs::write(folder.path().join(file), &mesh).expect("a mesh file");
                }
            }
            let run = run_in(folder.path(), &arguments);
            assert!(matches!(run.code, Some(0 | 1 | 3)), "{name}: {command}\n{:?}\n{}", run.code, run.stderr);
        }
    }
    let in_text = |name: &str| {
        let text = texts.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str());
        commands(text.unwrap_or_default()).len()
    };
    assert!(in_text("help") >= 5 && in_text("README.md") >= 3, "the commands are found");
}
