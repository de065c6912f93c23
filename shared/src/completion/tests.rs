use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::{CommandFactory, Parser, Subcommand, ValueHint};
use tempfile::TempDir;

use super::answer::answer_within;
use super::*;
use crate::cli::{KubeArgs, MeshArgs, OutputArgs};

/// Does nothing
#[derive(Parser)]
#[command(name = "kubectl-an_example", bin_name = "kubectl an-example", version)]
struct Example {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// A workload
    #[arg(add = Takes::Each(&[Source::Workload, Source::PlacedWorkload, Source::Word("istiod", "what it presents")]))]
    subject: Option<String>,
    /// A namespace
    #[arg(short, long, add = Takes::Each(&[Source::Namespace]))]
    namespace: Option<String>,
    /// A context
    #[arg(long, add = Takes::Each(&[Source::Context]))]
    context: Option<String>,
    /// A gateway
    #[arg(long, num_args = 1..=2, add = Takes::InTurn(&[&[Source::Word("ingress", "")], &[Source::Cluster]]))]
    via: Vec<String>,
    /// A folder
    #[arg(long, value_hint = ValueHint::DirPath)]
    save: Option<PathBuf>,
    #[command(flatten)]
    mesh: MeshArgs,
    #[command(flatten)]
    kube: KubeArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Subcommand)]
enum Verb {
    /// Write a mesh file
    ///
    /// With all that is in it.
    Init {
        #[arg(add = Takes::Each(&[Source::NewCluster]))]
        clusters: Vec<String>,
    },
    /// Take a cluster out
    Leave {
        #[arg(add = Takes::Each(&[Source::Cluster]))]
        cluster: String,
    },
    /// Show a bundle
    Show {
        #[arg(add = Takes::Each(&[Source::Cluster, Source::Pair]))]
        bundle: String,
    },
    /// Nobody knows it
    #[command(hide = true)]
    Secret,
}

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

/// Completes a line whose last word, which may be empty, is where the cursor is.
fn complete(line: &str) -> String {
    answer(Example::command().arg(flag()), &words(line)).to_string()
}

/// A folder with a kubeconfig and a mesh file.
struct Files(TempDir);

impl Files {
    /// All three clusters are at this address.
    fn at(server: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        fs::write(
            files.path("config"),
            format!(
                "current-context: foo-eks\n\
                 clusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
                 users: [{{name: u, user: {{token: t}}}}]\n\
                 contexts:\n\
                 - {{name: foo-eks, context: {{cluster: c, user: u}}}}\n\
                 - {{name: 'arn:aws:eks:eu-west-1:1:cluster/bar-eks', context: {{cluster: c, user: u}}}}\n\
                 - {{name: baz-eks, context: {{cluster: c, user: u}}}}\n"
            ),
        )
        .unwrap();
        fs::write(
            files.path("mesh"),
            "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: example}\nspec:\n  clusters:\n\
             \x20   - {name: foo, context: foo-eks, trustDomain: foo.com}\n\
             \x20   - {name: bar, context: 'arn:aws:eks:eu-west-1:1:cluster/bar-eks', trustDomain: bar.com}\n\
             \x20   - {name: baz, context: baz-eks, trustDomain: baz.com}\n",
        )
        .unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Completes a line with these files.
    fn complete(&self, line: &str) -> String {
        self.complete_within(line, Duration::from_mins(1))
    }

    fn complete_within(&self, line: &str, patience: Duration) -> String {
        let files = ["--kubeconfig", "config", "--mesh", "mesh"].map(|word| match word {
            "config" | "mesh" => self.path(word).into_os_string(),
            flag => flag.into(),
        });
        let words: Vec<OsString> = files.into_iter().chain(words(line)).collect();
        answer_within(Example::command(), &words, patience).to_string()
    }
}

/// An API server with some namespaces and workloads.
fn api_server() -> String {
    let list = |objects: &[(&str, &str)]| {
        let metadata = objects.iter().map(|(namespace, name)| {
            format!(r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}"}}}}"#)
        });
        let kind = r#""kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{}"#;
        format!(r#"{{{kind},"items":[{}]}}"#, metadata.collect::<Vec<_>>().join(","))
    };
    let version = [
        "buildDate",
        "compiler",
        "gitCommit",
        "gitTreeState",
        "gitVersion",
        "goVersion",
        "major",
        "minor",
        "platform",
    ];
    let version = version.map(|key| format!(r#""{key}":"1""#)).join(",");
    let answers = [
        ("/version", format!("{{{version}}}")),
        ("/api/v1/namespaces", list(&[("", "sleep"), ("", "bookinfo")])),
        ("/apis/apps/v1/deployments", list(&[("sleep", "sleep"), ("bookinfo", "reviews-v1")])),
        ("/apis/apps/v1/statefulsets", list(&[("bookinfo", "ratings")])),
        ("/apis/apps/v1/daemonsets", list(&[("kube-system", "node")])),
        (
            "/apis/apps/v1/namespaces/bookinfo/deployments",
            list(&[("bookinfo", "reviews-v1"), ("bookinfo", "--yes")]),
        ),
        ("/apis/apps/v1/namespaces/bookinfo/statefulsets", list(&[("bookinfo", "ratings")])),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answers = answers.clone();
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while let Some(Ok(request)) = lines.next() {
                    // The rest of the head; there is no body.
                    lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
                    let path = request.split([' ', '?']).nth(1).unwrap_or_default().to_owned();
                    let (status, body) = match answers.iter().find(|(known, _)| *known == path) {
                        Some((_, body)) => ("200 OK", body.as_str()),
                        None => ("403 Forbidden", r#"{"kind":"Status","status":"Failure","code":403}"#),
                    };
                    let head = format!(
                        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}",
                        body.len()
                    );
                    if stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_plugin_completes_when_it_is_called_by_the_name_that_kubectl_looks_for() {
    let asked = |line: &str| super::words(&words(line)).map(<[_]>::to_vec);
    assert_eq!(asked("/a/kubectl_complete-an_example up "), Some(words("up ")));
    assert_eq!(asked("kubectl-an_example __complete up "), Some(words("up ")));
    assert_eq!(asked("kubectl_complete-an_example"), Some(Vec::new()));
    for line in
        ["kubectl-an_example", "kubectl-an_example up __complete", "/kubectl_complete-/kubectl-a up", ""]
    {
        assert_eq!(asked(line), None, "{line}");
    }
    assert_eq!(super::words(&[]), None);
}

#[test]
fn verbs_come_with_what_they_do_and_flags_only_when_one_was_begun() {
    let files = Files::at("http://127.0.0.1:1");
    insta::assert_snapshot!(files.complete(""), @"
    init	Write a mesh file
    leave	Take a cluster out
    show	Show a bundle
    help	Print this message or the help of the given subcommand(s)
    foo/	a workload in it
    bar/	a workload in it
    baz/	a workload in it
    istiod	what it presents
    :6
    ");
    insta::assert_snapshot!(complete("leave --"), @"
    --mesh	Mesh file [default: spire-mesh.yaml]
    --kubeconfig	Kubeconfig file [default: the files in $KUBECONFIG, else ~/.kube/config]
    --as	User to impersonate on every cluster
    --as-group	Group to impersonate on every cluster; can be repeated
    --request-timeout	Longest time that one request to a cluster may take, such as 30s; 0 for no limit [default: 40s]
    --insecure-skip-tls-verify	Do not check the API servers' certificates: anybody on the way can then read and change everything
    --output	How to print the result
    --no-color	Do not use colour (`NO_COLOR` does the same)
    --help	Print help (see more with '--help')
    :4
    ");
    insta::assert_snapshot!(complete("-"), @"
    -n	A namespace
    --context	A context
    --via	A gateway
    --save	A folder
    --install-completion	Have kubectl complete the words of this command, by a link beside it or in FOLDER
    -h	Print help (see more with '--help')
    -V	Print version
    -f	Mesh file [default: spire-mesh.yaml]
    -o	How to print the result
    --no-color	Do not use colour (`NO_COLOR` does the same)
    --kubeconfig	Kubeconfig file [default: the files in $KUBECONFIG, else ~/.kube/config]
    --as	User to impersonate on every cluster
    --as-group	Group to impersonate on every cluster; can be repeated
    --request-timeout	Longest time that one request to a cluster may take, such as 30s; 0 for no limit [default: 40s]
    --insecure-skip-tls-verify	Do not check the API servers' certificates: anybody on the way can then read and change everything
    :4
    ");
    insta::assert_snapshot!(complete("--co"), @"
    --context	A context
    :4
    ");
    insta::assert_snapshot!(complete("-o"), @"
    -o	How to print the result
    :4
    ");
    insta::assert_snapshot!(complete("se"), @"
    :4
    ");
    insta::assert_snapshot!(complete("--insecure-skip-tls-verify t"), @"
    :4
    ");
}

#[test]
fn fixed_values_follow_their_flag_in_each_of_its_forms() {
    insta::assert_snapshot!(complete("leave -o "), @"
    table	A table
    wide	A table with more columns
    json	JSON
    yaml	YAML
    :4
    ");
    insta::assert_snapshot!(complete("-o=j"), @"
    json	JSON
    :4
    ");
    insta::assert_snapshot!(complete("--output=wi"), @"
    wide	A table with more columns
    :4
    ");
    insta::assert_snapshot!(complete("-oy"), @"
    -oyaml	YAML
    :4
    ");
    insta::assert_snapshot!(complete("-- -o "), @"
    :4
    ");
}

#[test]
fn files_are_for_the_shell_to_complete() {
    for (line, directive) in [
        ("--mesh ", ":0\n"),
        ("-f a", ":0\n"),
        ("--kubeconfig=", ":0\n"),
        ("--save ", ":16\n"),
        ("--save=x", ":16\n"),
        ("--install-completion=", ":16\n"),
        ("--as ", ":4\n"),
    ] {
        assert_eq!(complete(line), directive, "{line}");
    }
}

#[test]
fn contexts_and_clusters_are_those_of_the_files_that_were_named() {
    let files = Files::at("https://10.0.0.1");
    insta::assert_snapshot!(files.complete("--context "), @"
    foo-eks	https://10.0.0.1
    arn:aws:eks:eu-west-1:1:cluster/bar-eks	https://10.0.0.1
    baz-eks	https://10.0.0.1
    :4
    ");
    insta::assert_snapshot!(files.complete("--context=a"), @"
    arn:aws:eks:eu-west-1:1:cluster/bar-eks	https://10.0.0.1
    :4
    ");
    insta::assert_snapshot!(files.complete("init foo-eks=foo.com "), @"
    arn:aws:eks:eu-west-1:1:cluster/bar-eks=	https://10.0.0.1
    baz-eks=	https://10.0.0.1
    :6
    ");
    insta::assert_snapshot!(files.complete("leave "), @"
    foo	foo.com
    bar	bar.com
    baz	baz.com
    :4
    ");
    insta::assert_snapshot!(files.complete("show "), @"
    foo	foo.com
    bar	bar.com
    baz	baz.com
    foo/	bundles that it holds
    bar/	bundles that it holds
    baz/	bundles that it holds
    :6
    ");
    insta::assert_snapshot!(files.complete("show foo/"), @"
    foo/bar	what foo has stored for it
    foo/baz	what foo has stored for it
    :4
    ");
    insta::assert_snapshot!(files.complete("--via "), @"
    ingress
    :4
    ");
    insta::assert_snapshot!(files.complete("--via ingress "), @"
    foo	foo.com
    bar	bar.com
    baz	baz.com
    init	Write a mesh file
    leave	Take a cluster out
    show	Show a bundle
    help	Print this message or the help of the given subcommand(s)
    foo/	a workload in it
    bar/	a workload in it
    baz/	a workload in it
    istiod	what it presents
    :6
    ");
}

#[test]
fn what_cannot_be_read_is_nothing_to_complete() {
    assert_eq!(complete("--kubeconfig /nowhere --context "), ":4\n");
    assert_eq!(complete("--mesh /nowhere leave "), ":4\n");
    assert_eq!(complete("--mesh - leave "), ":4\n");
    assert_eq!(complete("--mesh /dev/zero leave "), ":4\n");
    let files = Files::at("http://127.0.0.1:1");
    fs::write(files.path("config"), "contexts: nonsense").unwrap();
    fs::write(files.path("mesh"), "\u{1b}[2J: {").unwrap();
    assert_eq!(files.complete("--context "), ":4\n");
    assert_eq!(files.complete("leave "), ":4\n");
}

#[test]
fn names_that_a_shell_or_the_protocol_would_misunderstand_are_left_out() {
    let names = [
        "a\\nb",
        "a\\tb",
        "\\e[2Ja",
        "a b",
        "$(reboot)",
        "`reboot`",
        "a;b",
        "--yes",
        "a'b",
        "\\u202Ea",
        "*",
        "~",
        "",
        "_activeHelp_ a",
        "a\\\\b",
        "good",
    ];
    let contexts =
        names.map(|name| format!("- {{name: \"{name}\", context: {{cluster: \"c\\n\\t:0\"}}}}\n")).concat();
    let clusters = "- {name: \"c\\n\\t:0\", cluster: {server: \"https://a\\n:2\\tb\\e[2J\"}}\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    fs::write(&path, format!("contexts:\n{contexts}clusters:\n{clusters}")).unwrap();
    let line = format!("--kubeconfig {} --context ", path.display());
    insta::assert_snapshot!(complete(&line), @"
    good	https://a
    :4
    ");
}

#[test]
fn namespaces_and_workloads_are_those_of_the_cluster() {
    let files = Files::at(&api_server());
    insta::assert_snapshot!(files.complete("-n "), @"
    bookinfo
    sleep
    :4
    ");
    insta::assert_snapshot!(files.complete("--namespace=b"), @"
    bookinfo
    :4
    ");
    insta::assert_snapshot!(files.complete("--context foo-eks r"), @"
    ratings	statefulset in bookinfo
    reviews-v1	deployment in bookinfo
    :4
    ");
    insta::assert_snapshot!(files.complete("-n bookinfo r"), @"
    ratings	statefulset in bookinfo
    reviews-v1	deployment in bookinfo
    :4
    ");
    insta::assert_snapshot!(files.complete("sts/"), @"
    sts/ratings	statefulset in bookinfo
    :4
    ");
    insta::assert_snapshot!(files.complete("fo"), @"
    foo/	a workload in it
    :6
    ");
    insta::assert_snapshot!(files.complete("foo/"), @"
    foo/bookinfo/
    foo/sleep/
    :6
    ");
    insta::assert_snapshot!(files.complete("baz/bookinfo/r"), @"
    baz/bookinfo/ratings	statefulset
    baz/bookinfo/reviews-v1	deployment
    :4
    ");
    assert_eq!(files.complete("qux/"), ":4\n");
    assert_eq!(files.complete("--context none -n "), ":4\n");
}

#[test]
fn a_cluster_that_does_not_answer_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let files = Files::at(&format!("http://{}", listener.local_addr().unwrap()));
    let start = Instant::now();
    assert_eq!(files.complete_within("-n ", Duration::from_millis(50)), ":4\n");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(Files::at("http://127.0.0.1:1").complete("-n "), ":4\n");
}

#[cfg(unix)]
#[test]
fn a_credential_command_that_takes_long_is_not_waited_for() {
    let files = Files::at("http://127.0.0.1:1");
    let config = fs::read_to_string(files.path("config")).unwrap();
    let command = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: sleep, args: ['20'], interactiveMode: Always}}";
    fs::write(files.path("config"), config.replace("{token: t}", command)).unwrap();
    let start = Instant::now();
    assert_eq!(files.complete_within("-n ", Duration::from_millis(50)), ":4\n");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn no_words_are_too_strange() {
    const WORDS: [&str; 24] = [
        "",
        "-",
        "--",
        "---",
        "=",
        "-=",
        "--=",
        "-o",
        "-o=",
        "-ofj",
        "--output",
        "--output=",
        "--context",
        "--via",
        "init",
        "leave",
        "help",
        "show",
        "a/b",
        "//",
        "\u{1f642}",
        "-\u{1f642}",
        "--\u{1f642}=\u{1f642}",
        "--install-completion",
    ];
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap()
    };
    for _ in 0..200 {
        let count = next() % 6;
        let mut line: Vec<OsString> = vec!["--kubeconfig".into(), "/nowhere".into()];
        line.extend((0..count).map(|_| WORDS[next() % WORDS.len()].into()));
        let answer = answer(Example::command().arg(flag()), &line).to_string();
        let (_, directive) = answer.trim_end().rsplit_once('\n').unwrap_or(("", answer.trim_end()));
        assert!(directive.starts_with(':'), "{line:?}: {answer}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        let strange = OsString::from_vec(b"--output=\xff".to_vec());
        assert_eq!(answer(Example::command(), &[strange.clone(), strange]).to_string(), ":4\n");
    }
    assert_eq!(answer(Example::command(), &[]), answer(Example::command(), &[OsString::new()]));
}
