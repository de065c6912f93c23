//! A built plugin as its users run it, for the tests of what it says about itself: each plugin's `tests/help.rs`.
//!
//! Each run is in a folder of its own, with a kubeconfig that does not exist: none can reach a cluster.

mod large;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub use large::LargeCluster;

/// A mesh file of two clusters.
pub const MESH: &str = "\
apiVersion: spire-mesh/v1alpha1
kind: Mesh
metadata: {name: example}
spec:
  clusters:
    - {name: foo-eks-cluster, trustDomain: foo.com}
    - {name: bar-eks-cluster, trustDomain: bar.com}
";

/// Texts with commands to copy, besides the help texts.
const DOCS: [&str; 13] = [
    "README.md",
    "docs/eks.md",
    "docs/troubleshooting.md",
    "docs/gitops.md",
    "docs/json.md",
    "docs/spire-federate.md",
    "docs/mesh-install.md",
    "docs/rotate-ca.md",
    "docs/trustchain.md",
    "docs/xcluster-curl.md",
    "docs/checks.md",
    "docs/mesh-file.md",
    "docs/security.md",
];

/// What a run of a plugin came to.
pub struct Run {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// A plugin.
pub struct Plugin {
    /// The file to run.
    pub program: &'static str,
    /// How its users call it: `kubectl spire-federate`.
    pub name: &'static str,
    /// All verbs, each with the one that it stands behind.
    pub verbs: &'static [&'static [&'static str]],
}

impl Plugin {
    /// Runs it in a folder, as it runs where nobody watches: no terminal, no colour, lines of 100 columns. Programs are looked for
    /// in the folder only.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn run_in(&self, folder: &Path, arguments: &[&str]) -> Run {
        run(Path::new(self.program), folder, arguments)
    }

    /// Runs it in an empty folder, or in one with this mesh file.
    fn run(&self, mesh: Option<&str>, arguments: &[&str]) -> Run {
        let folder = TempDir::new().expect("a folder");
        if let Some(text) = mesh {
            fs::write(folder.path().join("spire-mesh.yaml"), text).expect("a mesh file");
        }
        self.run_in(folder.path(), arguments)
    }

    /// Returns the help of the plugin and of each verb, with a name for each: `help`, `help_up`.
    ///
    /// # Panics
    /// When the help of a verb fails.
    #[must_use]
    pub fn helps(&self) -> Vec<(String, String)> {
        let all = std::iter::once(&[] as &[&str]).chain(self.verbs.iter().copied());
        all.map(|verb| {
            let run = self.run(None, &[verb, &["--help"]].concat());
            assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{verb:?}");
            ([&["help"], verb].concat().join("_"), run.stdout)
        })
        .collect()
    }

    /// Completes words as kubectl has them completed: by the link that the plugin makes for that, in a folder with a mesh file and a
    /// kubeconfig. The last word is where the cursor is.
    ///
    /// # Panics
    /// When the link cannot be made, or completion fails.
    #[must_use]
    pub fn completed(&self, words: &[&str]) -> String {
        const CONFIG: &str = "current-context: foo-eks-cluster\ncontexts:\n- {name: foo-eks-cluster}\n- {name: bar-eks-cluster}\n\
            - {name: baz-eks-cluster}\n- {name: \"a\\nb\"}\n";
        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("spire-mesh.yaml"), MESH).expect("a mesh file");
        fs::write(folder.path().join("no-kubeconfig"), CONFIG).expect("a kubeconfig");
        let into = format!("--install-completion={}", folder.path().display());
        let made = self.run_in(folder.path(), &[&into]);
        assert_eq!((made.code, made.stdout.as_str()), (Some(0), ""), "{}", made.stderr);
        let name = self.name.replacen("kubectl ", "kubectl_complete-", 1);
        let (kubectl, plugin) = name.split_once('-').expect("the name of a plugin");
        let completer = folder.path().join(format!("{kubectl}-{}", plugin.replace('-', "_")));
        assert!(made.stderr.starts_with("made [folder]/kubectl_complete-"), "{}", made.stderr);
        let run = run(&completer, folder.path(), words);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{words:?}");
        run.stdout
    }

    /// Sees that there is a man page for the plugin and for each verb, and no other, with the examples of the help.
    ///
    /// # Panics
    /// When it is not so.
    pub fn has_a_man_page_for_each_verb(&self) {
        let folder = TempDir::new().expect("a folder");
        let made = self.run_in(folder.path(), &["__man", "man"]);
        assert_eq!((made.code, made.stdout.as_str()), (Some(0), ""), "{}", made.stderr);
        let own = self.name.replace(' ', "-");
        let all = std::iter::once(&[] as &[&str]).chain(self.verbs.iter().copied());
        let mut count = 0;
        for verb in all {
            let name = [&[own.as_str()], verb].concat().join("-") + ".1";
            let page = fs::read_to_string(folder.path().join("man").join(&name)).expect(&name);
            let help = self.run(None, &[verb, &["--help"]].concat()).stdout;
            // A page writes a dash so that it is not taken for the end of a syllable.
            let plain = page.replace("\\-", "-").replace("\\*(Aq", "'");
            for command in help.lines().map(str::trim).filter(|line| line.starts_with(self.name)) {
                assert!(plain.lines().any(|line| line == command), "{name}: {command}\n{page}");
            }
            count += 1;
        }
        assert_eq!(fs::read_dir(folder.path().join("man")).expect("the pages").count(), count);
    }

    /// Runs it on a large cluster, and returns the run and the most memory that it took, in MiB. The only child of this process that may
    /// take much is this one.
    ///
    /// # Panics
    /// When it cannot be run.
    #[cfg(unix)]
    #[must_use]
    pub fn costs(&self, cluster: &LargeCluster, arguments: &[&str]) -> (Run, i64) {
        use nix::sys::resource::{UsageWho, getrusage};

        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("spire-mesh.yaml"), MESH).expect("a mesh file");
        cluster.write_kubeconfig(folder.path());
        let run = self.run_in(folder.path(), arguments);
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("what children took");
        (run, usage.max_rss() / 1024)
    }

    /// Writes a run as one text, for snapshots.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn told(&self, mesh: Option<&str>, arguments: &[&str]) -> String {
        let Run { code, stdout, stderr } = self.run(mesh, arguments);
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        format!("exit code: {code}\n--- stdout\n{stdout}--- stderr\n{stderr}")
    }

    /// Takes the commands out of a text: lines that start with the plugin's name, after a prompt or not, without comments.
    fn commands<'t>(&self, text: &'t str) -> Vec<&'t str> {
        text.lines()
            .map(|line| line.trim().trim_start_matches("$ "))
            .filter(|line| {
                line.strip_prefix(self.name).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            })
            .map(|line| line.split(" #").next().unwrap_or(line).trim())
            .collect()
    }

    /// Runs each command in help and documentation as it stands, in a folder that `prepare` fills for its arguments. Without a
    /// kubeconfig it ends at the latest where it would connect; `verify` then has found that no cluster answers.
    ///
    /// # Panics
    /// When a command is refused.
    pub fn takes_every_documented_command(&self, prepare: impl Fn(&Path, &[&str])) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut texts = self.helps();
        texts.extend(
            DOCS.map(|name| (name.to_owned(), fs::read_to_string(root.join(name)).expect("documentation"))),
        );
        for (name, text) in &texts {
            for command in self.commands(text) {
                let arguments: Vec<&str> =
                    command.split_whitespace().skip(2).map(|argument| argument.trim_matches('\'')).collect();
                let folder = TempDir::new().expect("a folder");
                prepare(folder.path(), &arguments);
                let run = self.run_in(folder.path(), &arguments);
                assert!(
                    matches!(run.code, Some(0 | 1 | 3)),
                    "{name}: {command}\n{:?}\n{}",
                    run.code,
                    run.stderr
                );
            }
        }
        let found = |name: &str| {
            let text = texts.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str());
            self.commands(text.unwrap_or_default()).len()
        };
        assert!(found("help") >= 5 && found("README.md") >= 3, "the commands are found");
    }
}

/// Runs a program in a folder, as [`Plugin::run_in`] describes it.
fn run(program: &Path, folder: &Path, arguments: &[&str]) -> Run {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs([("COLUMNS", "100"), ("NO_COLOR", "1"), ("TERM", "dumb")])
        .env("HOME", folder)
        .env("PATH", folder)
        .env("KUBECONFIG", folder.join("no-kubeconfig"))
        .stdin(Stdio::null())
        .output()
        .expect("the plugin starts");
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).expect("it writes text").replace(&folder.display().to_string(), "[folder]")
    };
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
