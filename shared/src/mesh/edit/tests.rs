use std::fmt::Write;

use super::*;

const HEAD: &str = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec:\n";

/// The list as `init` writes it.
const THREE: &str = r"  clusters:
    - name: foo
      trustDomain: foo.com
    - name: bar
      context: arn:aws:eks:eu-west-1:1:cluster/bar
      trustDomain: bar.com
    - name: baz
      trustDomain: baz.com
";

const ONE_LINE_EACH: &str = r"  clusters:
    - {name: foo, trustDomain: foo.com}
    - {name: bar, trustDomain: bar.com}
    - { name: baz, trustDomain: baz.com }  # the last
";

const COMMENTS: &str = r"  # all of them
  clusters: # here
    # the first
    # in Ireland
    - name: foo # foo
      # its domain
      trustDomain: foo.com
      # spire: {managed: false}

    # on its own

    # the second

    # not the second
  # to the left
    - # of Bob
      # he knows
      name: bar

      trustDomain: bar.com
        # to the right
    # the third
    - name: baz
      trustDomain: baz.com

      # spire: {}
    # - name: commented out

  # the end
# the very end
";

const KEYS_AFTER: &str = r"kind: Mesh
spec:
  clusters:
  - name: foo
    trustDomain: foo.com
  -   name: bar
      trustDomain: bar.com
  -   name: baz
      trustDomain: baz.com
  # defaults
  spire: {caTTL: 24h}

metadata:
  name: m
apiVersion: spire-mesh/v1alpha1
";

const BLANK_LINES: &str = r"  clusters:

    - name: foo
      trustDomain: foo.com

    - name: bar
      trustDomain: bar.com


    - name: baz
      trustDomain: baz.com

...
# after the end
";

const KEYS_BELOW: &str = r#"  clusters:
    - trustDomain: "foo.com"
      name: 'foo'
      spire:
        bundleEndpoint:
          annotations:
            example.com/a: |+
              - name: not a cluster
              # no comment

            example.com/b: "a
              # b"
    - spire:
        storage: {
          class: gp3
          }
      name: bar
      trustDomain: bar.com
    -
      name: baz
      trustDomain: baz.com
      spire:
        bundleEndpoint:
          annotations:
            example.com/a: >
              folded

              - text
"#;

const BRACES: &str = r#"  clusters:
    - {name: foo,
       # inside
       trustDomain: foo.com}
    - {
      name: bar, trustDomain: bar.com
      }
    - {
      "name": "baz", "trustDomain": "baz.com"
      }
"#;

const TABS: &str = "  clusters:\t# tab
    - name: foo\t
      trustDomain:\tfoo.com
\t
\t# comment
    - name: bar
      trustDomain: bar.com
    - name: baz
      trustDomain: baz.com\t# tab
\t\t\t# far
\t# near
";

const KEPT_LINES: &str = r"  clusters:
    - name: bar
      trustDomain: bar.com
      spire:
        bundleEndpoint:
          annotations:
            example.com/a: |+
              text
    - {name: foo, trustDomain: foo.com}

    - {name: baz, trustDomain: baz.com}
";

/// Files that people write, with what is special about each.
fn files() -> Vec<(&'static str, String)> {
    let below_head = |text: &str| format!("{HEAD}{text}");
    let windows = |text: &str| below_head(text).replace('\n', "\r\n");
    vec![
        ("as init writes it", below_head(THREE)),
        ("one line each", below_head(ONE_LINE_EACH)),
        ("lines that end as on Windows", windows(THREE)),
        ("no end of the last line", below_head(THREE.trim_end())),
        ("no end of the last line, Windows", windows(THREE.trim_end())),
        ("a byte order mark", format!("\u{feff}{HEAD}{THREE}")),
        ("comments", below_head(COMMENTS)),
        ("keys after the list, and no indentation of it", KEYS_AFTER.to_owned()),
        ("blank lines between, and an end of the document", below_head(BLANK_LINES)),
        ("keys below each cluster", below_head(KEYS_BELOW)),
        ("braces over several lines", below_head(BRACES)),
        ("tabs where they are allowed", below_head(TABS)),
    ]
}

/// Lines that are shown before and after what was changed.
const AROUND: usize = 3;

/// Shows what an edit changed, and the lines around it. Characters that cannot be seen are named.
fn changes(before: &str, after: &str) -> String {
    let split = |text: &str| -> Vec<String> { text.split_inclusive('\n').map(str::to_owned).collect() };
    let (before, after) = (split(before), split(after));
    let same = |(a, b): &(&String, &String)| a == b;
    let start = before.iter().zip(&after).take_while(same).count();
    let rest = before.len().min(after.len()) - start;
    let end = before.iter().rev().zip(after.iter().rev()).take_while(same).count().min(rest);
    let mut shown = String::new();
    let mut show = |mark: char, lines: &[String]| {
        for line in lines {
            let text = line.strip_suffix('\n').map_or_else(|| format!("{line}<no end>"), str::to_owned);
            let text = text.replace('\r', "<CR>").replace('\t', "<TAB>").replace('\u{feff}', "<BOM>");
            let _ = writeln!(shown, "{mark}|{text}");
        }
    };
    show(' ', &before[start.saturating_sub(AROUND)..start]);
    show('-', &before[start..before.len() - end]);
    show('+', &after[start..after.len() - end]);
    show(' ', &before[before.len() - end..before.len() - end.saturating_sub(AROUND)]);
    shown
}

fn new(pair: &str) -> NewCluster {
    pair.parse().unwrap()
}

fn added(text: &str, pair: &str) -> Result<String, EditError> {
    with_cluster(text, "spire-mesh.yaml", &new(pair))
}

fn without(text: &str, name: &str) -> Result<String, EditError> {
    without_cluster(text, "spire-mesh.yaml", name)
}

/// Writes an error with its causes and its hint.
fn told<T: std::fmt::Debug>(result: Result<T, EditError>) -> String {
    let error = result.unwrap_err();
    let cause = std::error::Error::source(&error).map(|cause| format!("\ncaused by: {cause}"));
    let hint = error.hint().map(|hint| format!("\nhint: {hint}"));
    format!("{error}{}{}", cause.unwrap_or_default(), hint.unwrap_or_default())
}

#[test]
fn a_cluster_is_added_in_the_style_of_the_last_one() {
    let mut shown = String::new();
    for (title, text) in files() {
        let after = added(&text, "me@qux.eu-west-1.eksctl.io=qux.com")
            .unwrap_or_else(|error| panic!("{title}: {error}"));
        let _ = writeln!(shown, "=== {title}\n{}", changes(&text, &after));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_cluster_is_taken_out_with_its_comments_and_nothing_else() {
    let mut shown = String::new();
    for (title, text) in files() {
        for name in ["foo", "bar", "baz"] {
            let after = without(&text, name).unwrap_or_else(|error| panic!("{title}: {error}"));
            let _ = writeln!(shown, "=== {title}: {name}\n{}", changes(&text, &after));
        }
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_cluster_that_is_added_and_taken_out_again_leaves_no_trace() {
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
    };
    for (title, text) in files() {
        let gone = without(&added(&text, "qux=qux.com").unwrap(), "qux").unwrap();
        assert_eq!(lines(&gone), lines(&text), "{title}");
        // A blank line that kept it apart stays, and so does the end of the line before it.
        if text.ends_with('\n') && text != format!("{HEAD}{BLANK_LINES}") {
            assert_eq!(gone, text, "{title}");
        }
    }
}

#[test]
fn every_cluster_can_come_and_go_in_any_order() {
    for (title, text) in files() {
        let mut text = text;
        for name in ["qux", "quux", "corge"] {
            text = added(&text, &format!("{name}={name}.com"))
                .unwrap_or_else(|error| panic!("{title}: {error}"));
        }
        for name in ["foo", "quux", "baz", "corge"] {
            text = without(&text, name).unwrap_or_else(|error| panic!("{title}: {error}"));
        }
        let mesh = Mesh::parse(&text, "spire-mesh.yaml").unwrap();
        let names: Vec<&str> = mesh.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        assert_eq!(names, ["bar", "qux"], "{title}");
    }
}

#[test]
fn a_name_that_is_taken_gets_a_number() {
    let text = format!(
        "{HEAD}  clusters:\n  - {{name: foo, trustDomain: foo.com}}\n  - {{name: bar, trustDomain: bar.com}}\n"
    );
    let after = added(&text, "arn:aws:eks:eu-west-2:1:cluster/bar=bar.example").unwrap();
    insta::assert_snapshot!(changes(&text, &after));
    let after = added(&text, "with \"space\", and more=baz.com").unwrap();
    insta::assert_snapshot!(changes(&text, &after));
}

#[test]
fn what_is_there_already_or_not_there_is_named() {
    let text = &files()[0].1;
    let mut shown = String::new();
    let mut show = |result| writeln!(shown, "{}\n", told(result)).unwrap();
    show(added(text, "foo=qux.com"));
    show(added(text, "arn:aws:eks:eu-west-1:1:cluster/bar=bar.com"));
    show(added(text, "qux=bar.com"));
    show(without(text, "qux"));
    show(without(text, "arn:aws:eks:eu-west-1:1:cluster/bar"));
    show(without(text, "bar.com"));
    show(without(text, "\u{1b}[2J"));
    show(without(&without(text, "bar").unwrap(), "foo"));
    show(added("kind: Mesh\n", "qux=qux.com"));
    insta::assert_snapshot!(shown);
}

#[test]
fn what_cannot_be_edited_is_refused_with_a_way_out() {
    let three = "{name: foo, trustDomain: foo.com}, {name: bar, trustDomain: bar.com}, {name: baz, trustDomain: baz.com}";
    let head = HEAD.trim_end();
    let of_a_url = "  spire: {bundleEndpoint: {expose: URL}}\n  clusters:\n    \
         - {name: foo, trustDomain: foo.com, spire: {bundleEndpoint: {url: 'https://foo.com'}}}\n    \
         - {name: bar, trustDomain: bar.com, spire: {bundleEndpoint: {url: 'https://bar.com'}}}\n    \
         - {name: baz, trustDomain: baz.com, spire: {bundleEndpoint: {url: 'https://baz.com'}}}\n";
    let mut shown = String::new();
    for (title, text) in [
        ("brackets", format!("{HEAD}  clusters: [{three}]\n")),
        ("brackets on lines of their own", format!("{HEAD}  clusters: [\n    {three},\n  ]\n")),
        ("braces around all", format!("{head} {{clusters: [{three}]}}\n")),
        (
            "JSON",
            r#"{"apiVersion": "spire-mesh/v1alpha1", "kind": "Mesh", "metadata": {"name": "m"}, "spec": {"clusters": [
  {"name": "foo", "trustDomain": "foo.com"},
  {"name": "bar", "trustDomain": "bar.com"},
  {"name": "baz", "trustDomain": "baz.com"}
]}}"#
                .to_owned(),
        ),
        ("an anchor", format!("{HEAD}  clusters:\n    - &a {{name: foo, trustDomain: foo.com}}\n")),
        ("a carriage return", files()[0].1.replacen("foo\n", "foo\r", 1)),
        ("a cluster that needs more keys", format!("{HEAD}{of_a_url}")),
        ("a blank line that would become part of the text above", format!("{HEAD}{KEPT_LINES}")),
        ("a tag", files()[1].1.replacen("- {name: foo", "- !!map {name: foo", 1)),
    ] {
        let by_join = match added(&text, "qux=qux.com") {
            Ok(after) => changes(&text, &after),
            refused => told(refused),
        };
        let by_leave = match without(&text, "foo") {
            Ok(after) => changes(&text, &after),
            refused => told(refused),
        };
        let _ = writeln!(shown, "=== {title}\njoin: {by_join}\nleave: {by_leave}\n");
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn the_dash_of_a_cluster_is_beside_its_value_or_above_it() {
    let lines = [
        "clusters:\n",
        "  -\n",
        "    # a comment\n",
        "\n",
        "    name: foo\n",
        "  -  name: bar\n",
        "  x\n",
        "    baz: 1\n",
    ];
    let found = |line, column, above| {
        dash(&lines, Position { line, column }, above).map(|dash| (dash.line, dash.indent))
    };
    assert_eq!(found(5, 5, 1), Some((1, 2)), "over a comment and a blank line");
    assert_eq!(found(5, 5, 2), None, "not above where the list begins");
    assert_eq!(found(6, 6, 5), Some((5, 2)));
    assert_eq!(found(8, 5, 6), None, "what stands between is no dash");
    assert_eq!(found(8, 6, 6), None, "something else stands before it");
    assert_eq!(found(9, 1, 6), None);
    assert_eq!(lone_dash("  - # x"), None);
    assert_eq!(
        ["-", " - ", "   -\n", "--", "", "- -", "a -"].map(lone_dash),
        [Some(0), Some(1), Some(3), None, None, None, None]
    );
}

#[test]
fn a_cluster_ends_before_what_belongs_to_nobody() {
    let lines = [
        "- name: foo\n",
        "  # inside\n",
        "  trustDomain: foo.com\n",
        "  # its last\n",
        "\n",
        "# not its own\n",
        "- name: bar\n",
    ];
    let dash = |line, indent| Dash { line, indent };
    assert_eq!(end_line(&lines, dash(0, 0), 6), 4);
    assert_eq!(end_line(&lines, dash(0, 2), 6), 3, "comments that stand where the dash does are not in it");
    assert_eq!(end_line(&lines, dash(0, 0), 3), 3);
    assert_eq!(end_line(&lines, dash(6, 0), 7), 7);
    assert_eq!(end_line(&lines, dash(3, 2), 5), 4, "a cluster has one line at least");
    assert_eq!(first_line(&lines, dash(6, 0), 4), 5);
    assert_eq!(first_line(&lines, dash(6, 0), 6), 6);
    assert_eq!(first_line(&lines, dash(6, 2), 4), 6);
    let comments = ["# a\n", "\n", "# b\n", "# c\n", "- x\n"];
    assert_eq!(first_line(&comments, dash(4, 0), 0), 2, "up to a blank line");
    assert_eq!(first_line(&comments, dash(4, 0), 3), 3);
}

#[test]
fn lines_end_as_the_last_of_them_does() {
    assert_eq!(line_end(&[]), "\n");
    assert_eq!(line_end(&["a"]), "\n");
    assert_eq!(line_end(&["a\r\n", "b"]), "\r\n");
    assert_eq!(line_end(&["a\r\n", "b\n", "c"]), "\n");
    assert_eq!([" \t a", "a", "", "  "].map(indent), [3, 0, 0, 2]);
    assert!(is_comment(" \t# a") && !is_comment("a # b") && is_blank(" \t\r\n") && !is_blank("#"));
    let lines = ["äb\n", "c\n"];
    let at = |line, column| character(&lines, Position { line, column });
    assert_eq!((at(1, 2), at(2, 1), at(3, 1), at(1, 9)), (Some('b'), Some('c'), None, None));
}

#[test]
fn a_list_ends_at_the_next_key_at_a_marker_or_with_the_file() {
    let end = |text: &str| {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let root = Node::parse(text).unwrap();
        let spec = root.entry("spec").map(|entry| &entry.node);
        let Value::List(nodes) = &spec.unwrap().entry("clusters").unwrap().node.value else { panic!() };
        limit(&root, spec, nodes.last().unwrap().position, &lines)
    };
    let list = "a: 1\nspec:\n  first: 1\n  clusters:\n  - foo\n  - bar\n";
    assert_eq!(end(list), 6);
    assert_eq!(end(&format!("{list}  spire: {{}}\nb: 2\n")), 6);
    assert_eq!(end(&format!("{list}# x\nb: 2\n")), 7);
    assert_eq!(end(&format!("{list}# x\n...\n# y\n")), 7);
}

#[test]
fn every_cluster_can_be_the_one_that_is_named_by_what_it_is_not() {
    let text = &files()[0].1;
    for (given, meant) in
        [("baz.com", Some("baz")), ("arn:aws:eks:eu-west-1:1:cluster/bar", Some("bar")), ("qux", None)]
    {
        let Err(EditError::NoCluster { meant: named, known, .. }) = without(text, given) else {
            panic!("{given}")
        };
        assert_eq!(named.as_deref(), meant, "{given}");
        assert_eq!(known, ["foo", "bar", "baz"]);
    }
}
