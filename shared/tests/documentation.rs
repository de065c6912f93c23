//! The pages in `docs` against what they speak of: links lead somewhere, examples of JSON are those that other tests hold to, and the
//! Terraform can be read.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "../../tests/left_out.rs"]
mod left_out;

use left_out::left_out;
use serde_json::Value;
use spire_mesh::mesh::{Mesh, schema};
use spire_mesh::{federation, multicluster};

const MESH_FILE: &str = include_str!("../../docs/mesh-file.md");
const JSON: &str = include_str!("../../docs/json.md");
const TROUBLESHOOTING: &str = include_str!("../../docs/troubleshooting.md");
const README: &str = include_str!("../../README.md");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn pages() -> Vec<PathBuf> {
    let root = root();
    let listed = fs::read_dir(root.join("docs")).expect("documentation");
    let mut pages: Vec<PathBuf> = listed
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.extend(
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "manifests/README.md"].map(|name| root.join(name)),
    );
    pages
}

/// Returns the lines that are no code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Returns where the links of a text lead.
fn links(text: &str) -> impl Iterator<Item = &str> {
    prose(text)
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://"))
}

/// Returns the anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let headings = prose(text).filter(|line| line.starts_with('#')).filter_map(|line| line.split_once(' '));
    headings
        .map(|(_, heading)| {
            let kept = heading.trim().to_lowercase();
            let kept = kept.chars().filter(|sign| sign.is_alphanumeric() || ['-', '_', ' '].contains(sign));
            let anchor = kept.collect::<String>().replace(' ', "-");
            let before = seen.entry(anchor.clone()).or_default();
            *before += 1;
            if *before == 1 { anchor } else { format!("{anchor}-{}", *before - 1) }
        })
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_to_a_heading_in_it() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let leads = target.exists()
                && (anchor.is_empty()
                    || fs::read_to_string(&target).is_ok_and(|text| anchors(&text).contains(anchor)));
            if !leads {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Tells whether an example is a snapshot from whose lists elements may be left out.
fn shortens(example: &Value, snapshot: &Value) -> bool {
    match (example, snapshot) {
        (Value::Object(example), Value::Object(snapshot)) => {
            example.keys().eq(snapshot.keys())
                && example
                    .iter()
                    .all(|(key, value)| snapshot.get(key).is_some_and(|whole| shortens(value, whole)))
        }
        (Value::Array(example), Value::Array(snapshot)) => {
            let mut rest = snapshot.iter();
            (snapshot.is_empty() || !example.is_empty())
                && example.iter().all(|value| rest.any(|whole| shortens(value, whole)))
        }
        (example, snapshot) => example == snapshot,
    }
}

#[test]
fn examples_of_json_are_what_other_tests_hold_to() {
    let mut count = 0;
    for part in JSON.split("<!-- ").skip(1) {
        let (name, rest) = part.split_once(" -->").unwrap();
        let example = rest.trim_start().strip_prefix("```json\n").unwrap().split("```").next().unwrap();
        let snapshot =
            fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let snapshot = snapshot.splitn(3, "---\n").nth(2).unwrap();
        let example: Value = serde_json::from_str(example).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            shortens(&example, &serde_json::from_str(snapshot).unwrap()),
            "{name} is not what docs/json.md shows"
        );
        count += 1;
    }
    assert_eq!(count, JSON.matches("```json").count(), "every example names its snapshot");
}

#[test]
fn pages_speak_of_checks_that_there_are() {
    let (spire, istio) = (federation::checks::CATALOGUE, multicluster::checks::CATALOGUE);
    assert!(README.contains(&format!("{} checks on SPIRE and {} on Istio", spire.len(), istio.len())));
    let known: Vec<&str> =
        spire.iter().map(|check| check.id.0).chain(istio.iter().map(|check| check.id.0)).collect();
    let bracketed = prose(TROUBLESHOOTING)
        .filter_map(|line| line.strip_prefix("[`")?.split_once(']').map(|(ids, _)| ids))
        .flat_map(|ids| ids.split(", "));
    let mut count = 0;
    for id in bracketed {
        let id = id.trim_matches('`');
        assert!(known.contains(&id), "docs/troubleshooting.md names a check {id}, which there is not");
        count += 1;
    }
    assert!(count > 20, "the names of checks are found");
}

#[test]
fn the_terraform_of_the_walkthrough_can_be_read_and_is_formatted() {
    // It needs no provider, and so no network.
    let run = Command::new("terraform")
        .args(["fmt", "-check", "-diff", "-recursive", "-no-color"])
        .arg(root().join("docs/eks"))
        .env_remove("TF_CLI_CONFIG_FILE")
        .output();
    let Ok(output) = run else {
        return left_out("there is no terraform on the PATH");
    };
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// Places whose keys have a table of their own in `docs/mesh-file.md`, in which this is left out.
const TABLES: [&str; 16] = [
    "spec.clusters[].spire.server.",
    "spec.clusters[].spire.agent.",
    "spec.clusters[].istio.istiod.",
    "spec.clusters[].istio.eastWestGateway.",
    "spec.clusters[].istio.ingressGateway.",
    "spec.spire.server.",
    "spec.spire.agent.",
    "spec.istio.istiod.",
    "spec.istio.eastWestGateway.",
    "spec.istio.ingressGateway.",
    "spec.clusters[].spire.",
    "spec.clusters[].istio.",
    "spec.clusters[].endpoint.",
    "spec.spire.",
    "spec.istio.",
    "spec.demo.",
];

/// Lists the keys of a schema that hold a value, each with its default.
fn keys(schema: &Value, place: &str) -> Vec<(String, Option<Value>)> {
    let Some(properties) = schema["properties"].as_object() else { return Vec::new() };
    let mut found = Vec::new();
    for (name, value) in properties {
        let deeper = keys(value, &format!("{place}{name}."));
        let items = keys(&value["items"], &format!("{place}{name}[]."));
        if deeper.is_empty() && items.is_empty() {
            found.push((format!("{place}{name}"), value.get("default").cloned()));
        }
        found.extend(deeper.into_iter().chain(items));
    }
    found
}

#[test]
fn every_key_of_the_mesh_file_is_documented_with_its_default() {
    let rows: Vec<&str> = MESH_FILE.lines().filter(|line| line.starts_with('|')).collect();
    let keys = keys(&schema(), "");
    assert!(keys.len() > 60, "the keys are found");
    for (key, default) in keys {
        let short = TABLES.iter().filter_map(|place| key.strip_prefix(place));
        let names: Vec<&str> = short.chain([key.as_str()]).collect();
        let row = rows.iter().find(|row| {
            let first = row.split('|').nth(1).unwrap_or_default();
            names.iter().any(|name| first.contains(&format!("`{name}`")))
        });
        let row = row.unwrap_or_else(|| panic!("docs/mesh-file.md does not name {key}"));
        if let Some(default) = default {
            let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            assert!(
                row.contains(&format!("`{default}`")),
                "docs/mesh-file.md does not say that {key} is {default}"
            );
        }
    }
}

#[test]
fn mesh_files_in_the_documentation_are_taken_or_refused_as_it_says() {
    let examples: Vec<&str> = MESH_FILE
        .split("```yaml\n")
        .filter(|example| example.starts_with("apiVersion: spire-mesh/"))
        .filter_map(|example| example.split("```").next())
        .collect();
    let [short, full, wrong] = examples[..] else { panic!("three examples, not {}", examples.len()) };
    for example in [short, full] {
        if let Err(error) = Mesh::parse(example, "spire-mesh.yaml") {
            panic!("{error}");
        }
    }
    // The terminal gets what follows the first line indented.
    let said =
        Mesh::parse(wrong, "spire-mesh.yaml").unwrap_err().to_string().trim_end().replace('\n', "\n  ");
    assert!(MESH_FILE.contains(&format!("```\nerror: {said}\n```")), "{said}");
}
