//! Text that is not the shape of a mesh file.

use super::*;

#[test]
fn every_problem_of_a_file_is_reported_with_its_place() {
    insta::assert_snapshot!(refused(
        "apiVersion: spire-mesh/v1\nkind: Mesh\nmetadata:\n  name: Devup\nspec:\n  clusters:\n    - name: foo\n      trustdomain: foo.com\n    \
         - name: 12\n      trustDomain: Bar.com\n      spire:\n        managed: nope\n        caTTL: 1h\n        bundleEndpoint:\n          nodePort: 70000\n"
    ), @r"
    mesh file `spire-mesh.yaml` has 9 problems
    spire-mesh.yaml:1:13: `apiVersion` must be `spire-mesh/v1alpha1`, not `spire-mesh/v1`
      1 | apiVersion: spire-mesh/v1
        |             ^
    spire-mesh.yaml:4:9: `Devup` is not a DNS label: at most 63 lower-case letters, digits and `-`, with a letter or digit at both ends
      4 |   name: Devup
        |         ^
    spire-mesh.yaml:7:7: key `trustDomain` is missing in `spec.clusters[0]`
      7 |     - name: foo
        |       ^
    spire-mesh.yaml:8:7: unknown key `trustdomain` in `spec.clusters[0]`; did you mean `trustDomain`?
      8 |       trustdomain: foo.com
        |       ^
    spire-mesh.yaml:9:13: `name` must be text, not a number; put it in quotes
      9 |     - name: 12
        |             ^
    spire-mesh.yaml:10:20: trust domain `Bar.com` holds `B`; only lower-case letters, digits, `.`, `-` and `_` are allowed (SPIFFE-ID, section 2.1)
      10 |       trustDomain: Bar.com
         |                    ^
    spire-mesh.yaml:12:18: `managed` must be true or false, not text
      12 |         managed: nope
         |                  ^
    spire-mesh.yaml:13:16: `caTTL` must be at least 3h, not 1h: peers need time to see each new CA
      13 |         caTTL: 1h
         |                ^
    spire-mesh.yaml:15:21: `nodePort` must be from 1 to 65535, not 70000
      15 |           nodePort: 70000
         |                     ^
    ");
}

#[test]
fn unknown_keys_name_the_nearest_known_key() {
    insta::assert_snapshot!(refused(&format!("{HEAD}{THREE}  cluster: []\n")), @r"
    spire-mesh.yaml:9:3: unknown key `cluster` in `spec`; did you mean `clusters`?
      9 |   cluster: []
        |   ^
    ");
    insta::assert_snapshot!(refused(&format!("{HEAD}{THREE}metdata: {{}}\n")), @r"
    spire-mesh.yaml:9:1: unknown key `metdata`; did you mean `metadata`?
      9 | metdata: {}
        | ^
    ");
    insta::assert_snapshot!(refused(&with_cluster("{ca_ttl: 24h}")), @r"
    spire-mesh.yaml:8:15: unknown key `ca_ttl` in `spec.clusters[0].spire`; did you mean `caTTL`?
      8 |       spire: {ca_ttl: 24h}
        |               ^
    ");
    insta::assert_snapshot!(refused(&with_cluster("{url: 'https://foo.com'}")), @r"
    spire-mesh.yaml:8:15: unknown key `url` in `spec.clusters[0].spire`; it belongs below `bundleEndpoint`
      8 |       spire: {url: 'https://foo.com'}
        |               ^
    ");
    insta::assert_snapshot!(refused(&with_cluster("{\"a\\e[2J\": 1}")), @r#"
    spire-mesh.yaml:8:15: unknown key `a\u{1b}[2J` in `spec.clusters[0].spire`; known keys are managed, serverNamespace, agentNamespace, images, caTTL, svidTTL, agentSyncInterval, keyType, bundleEndpoint, storage, upstreamAuthority, server, agent
      8 |       spire: {"a\e[2J": 1}
        |               ^
    "#);
}

#[test]
fn wrong_types_say_what_is_wanted() {
    insta::assert_snapshot!(refused_defaults("{serverNamespace: 12}"), @r"
    spire-mesh.yaml:5:28: `serverNamespace` must be text, not a number; put it in quotes
      5 |   spire: {serverNamespace: 12}
        |                            ^
    ");
    insta::assert_snapshot!(refused_defaults("{serverNamespace: true, images: []}"), @r"
    mesh file `spire-mesh.yaml` has 2 problems
    spire-mesh.yaml:5:28: `serverNamespace` must be text, not true or false; put it in quotes
      5 |   spire: {serverNamespace: true, images: []}
        |                            ^
    spire-mesh.yaml:5:42: `images` must be a map of keys and values, not a list
      5 |   spire: {serverNamespace: true, images: []}
        |                                          ^
    ");
    insta::assert_snapshot!(refused_defaults("{managed: no}"), @r"
    spire-mesh.yaml:5:20: `managed` must be true or false, not text
      5 |   spire: {managed: no}
        |                    ^
    ");
    insta::assert_snapshot!(refused_defaults("{keyType: rsa}"), @r"
    spire-mesh.yaml:5:20: `keyType` must be one of `ec-p256`, `ec-p384`, `rsa-2048`, `rsa-4096`, not `rsa`
      5 |   spire: {keyType: rsa}
        |                    ^
    ");
    insta::assert_snapshot!(refused_defaults("{storage: , bundleEndpoint: {nodePort: 0.5, annotations: {a: true}}}"), @r"
    mesh file `spire-mesh.yaml` has 3 problems
    spire-mesh.yaml:5:18: `storage` has no value
      5 |   spire: {storage: , bundleEndpoint: {nodePort: 0.5, annotations: {a: true}}}
        |                  ^
    spire-mesh.yaml:5:49: `nodePort` must be a whole number
      5 |   spire: {storage: , bundleEndpoint: {nodePort: 0.5, annotations: {a: true}}}
        |                                                 ^
    spire-mesh.yaml:5:71: `a` must be text, not true or false; put it in quotes
      5 | …storage: , bundleEndpoint: {nodePort: 0.5, annotations: {a: true}}}
        |                                                              ^
    ");
    insta::assert_snapshot!(refused(&format!("{HEAD}  clusters: foo\n")), @r"
    spire-mesh.yaml:5:13: `clusters` must be a list, not text
      5 |   clusters: foo
        |             ^
    ");
    insta::assert_snapshot!(refused(&format!("{HEAD}{THREE}    - baz\n")), @r"
    spire-mesh.yaml:9:7: `spec.clusters[3]` must be a map of keys and values, not text
      9 |     - baz
        |       ^
    ");
    insta::assert_snapshot!(refused("just text"), @r"
    spire-mesh.yaml:1:1: the file must be a map of keys and values, not text
      1 | just text
        | ^
    ");
}

#[test]
fn missing_keys_are_named() {
    insta::assert_snapshot!(refused("kind: Mesh\nspec:\n  clusters:\n    - {name: foo}\n    - {trustDomain: bar.com}\n"), @r"
    mesh file `spire-mesh.yaml` has 4 problems
    spire-mesh.yaml:1:1: key `apiVersion` is missing
      1 | kind: Mesh
        | ^
    spire-mesh.yaml:1:1: key `metadata` is missing
      1 | kind: Mesh
        | ^
    spire-mesh.yaml:4:7: key `trustDomain` is missing in `spec.clusters[0]`
      4 |     - {name: foo}
        |       ^
    spire-mesh.yaml:5:7: key `name` is missing in `spec.clusters[1]`
      5 |     - {trustDomain: bar.com}
        |       ^
    ");
}

#[test]
fn the_version_and_kind_have_to_be_ours() {
    insta::assert_snapshot!(refused(&format!("{HEAD}{THREE}").replace("v1alpha1", "v1").replace("kind: Mesh", "kind: Pod")), @r"
    mesh file `spire-mesh.yaml` has 2 problems
    spire-mesh.yaml:1:13: `apiVersion` must be `spire-mesh/v1alpha1`, not `spire-mesh/v1`
      1 | apiVersion: spire-mesh/v1
        |             ^
    spire-mesh.yaml:2:7: `kind` must be `Mesh`, not `Pod`
      2 | kind: Pod
        |       ^
    ");
}

#[test]
fn a_key_can_be_there_once() {
    insta::assert_snapshot!(refused(&format!("{HEAD}{THREE}  clusters: []\n")), @r"
    spire-mesh.yaml:9:3: key `clusters` is there twice
      9 |   clusters: []
        |   ^
      5 |   clusters:
        |   ^ and this
    ");
}

#[test]
fn empty_files_are_empty() {
    insta::assert_snapshot!(refused(""), @r"
    spire-mesh.yaml:1:1: the file is empty
      1 |
        | ^
    ");
    insta::assert_snapshot!(refused("# only a comment\n"), @r"
    spire-mesh.yaml:2:1: the file is empty
      2 |
        | ^
    ");
    insta::assert_snapshot!(refused("---\n"), @r"
    spire-mesh.yaml:1:4: the file is empty
      1 | ---
        |    ^
    ");
}

#[test]
fn what_is_not_yaml_is_refused_with_the_place() {
    insta::assert_snapshot!(refused(&format!("{HEAD}  clusters: [\n")), @r"
    spire-mesh.yaml:5:13: not valid YAML: unclosed bracket '['
      5 |   clusters: [
        |             ^
    ");
    insta::assert_snapshot!(refused(&format!("{HEAD}\tclusters: []\n")), @r"
    spire-mesh.yaml:5:2: not valid YAML: tabs disallowed within this context (block indentation)
      5 | \tclusters: []
        |   ^
    ");
    insta::assert_snapshot!(refused(&format!("{HEAD}{THREE}  spire: {{a: 'b}}\n")), @r"
    spire-mesh.yaml:9:14: not valid YAML: unclosed quote
      9 |   spire: {a: 'b}
        |              ^
    ");
    insta::assert_snapshot!(refused("a: b: c\n"), @r"
    spire-mesh.yaml:1:5: not valid YAML: mapping values are not allowed in this context
      1 | a: b: c
        |     ^
    ");
    insta::assert_snapshot!(refused("a: \u{1}\n"), @r"
    spire-mesh.yaml:1:4: not valid YAML: unexpected character: `\u{1}'
      1 | a: \u{1}
        |    ^
    ");
    insta::assert_snapshot!(refused(&format!("{HEAD}{THREE}---\n{HEAD}{THREE}")), @r"
    spire-mesh.yaml:9:1: a mesh file holds one YAML document only
      9 | ---
        | ^
    ");
    insta::assert_snapshot!(refused("? [a, b]\n: c\n"), @r"
    spire-mesh.yaml:1:3: not valid YAML: expected string scalar
      1 | ? [a, b]
        |   ^
    ");
    insta::assert_snapshot!(refused("a: !!binary x\n"), @r"
    spire-mesh.yaml:1:13: not valid YAML: invalid !!binary base64
      1 | a: !!binary x
        |             ^
    ");
}

#[test]
fn anchors_and_deep_nesting_are_refused() {
    insta::assert_snapshot!(refused("a: &a [1, 2]\nb: [*a, *a]\n"), @r"
    spire-mesh.yaml:1:7: anchors, aliases and merge keys are not allowed in a mesh file
      1 | a: &a [1, 2]
        |       ^
    ");
    insta::assert_snapshot!(refused("a: {<<: {b: c}}\n"), @r"
    spire-mesh.yaml:1:5: anchors, aliases and merge keys are not allowed in a mesh file
      1 | a: {<<: {b: c}}
        |     ^
    ");
    insta::assert_snapshot!(refused(&"[".repeat(10_000)), @r"
    spire-mesh.yaml:1:256: not valid YAML: recursion limit exceeded
      1 | …[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[…
        |                                                              ^
    ");
    insta::assert_snapshot!(refused(&"- ".repeat(10_000)), @r"
    spire-mesh.yaml:1:65: too big or too deeply nested for a mesh file
      1 | …- - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - …
        |                                                              ^
    ");
}

#[test]
fn many_problems_are_cut_short() {
    let text = refused(&format!("{HEAD}{THREE}{}", "  x: 1\n".repeat(5_000)));
    assert!(text.lines().count() < 200, "{} lines", text.lines().count());
    assert!(text.starts_with("mesh file `spire-mesh.yaml` has 5000 problems"), "{}", &text[..80]);
}
