//! What help and documentation tell people to type, typed; and what they show as its output, printed.

use std::collections::BTreeSet;

use spire_mesh_e2e::documented::{Documented, in_help, in_pages, without_accidents};
use spire_mesh_lab::plugins::Plugin;

use super::*;

/// What becomes of a command where a mesh of two clusters is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trial {
    /// It works as it stands.
    Works,
    /// It asks, and changes nothing here, or what can be repeated.
    WorksIfAgreed,
    /// It works in a folder without a mesh file.
    WorksAtTheBeginning,
    /// It says what it would do. Other tests do that.
    Foretells,
    /// It cannot work here, and says why.
    Refuses { code: i32, because: &'static str },
    /// It does not end, or changes the machine that it runs on. Other tests try it.
    Elsewhere,
}

fn trial(plugin: &str, words: &[&str]) -> Trial {
    let has = |word| words.contains(&word);
    match (plugin, words) {
        _ if has("--watch") || has("--install-completion") || has("__man") => Trial::Elsewhere,
        ("spire-federate", ["init", ..]) => Trial::WorksAtTheBeginning,
        ("spire-federate", ["leave", ..]) => Trial::Refuses { code: 2, because: "there is no cluster" },
        ("mesh-install", ["down", "baz-eks-cluster"]) => {
            Trial::Refuses { code: 2, because: "is not in the mesh file" }
        }
        ("mesh-install", ["rotate-ca", ..]) => {
            Trial::Refuses { code: 1, because: "there is no Certificate istio-system/cacerts" }
        }
        ("trustchain", ["secret/cacerts", ..]) => Trial::Refuses { code: 1, because: "cannot read Secret" },
        ("spire-federate", ["down" | "join" | "rotate", ..])
        | ("mesh-install", ["down", ..] | ["remote-secret", "rotate", ..]) => Trial::Foretells,
        ("mesh-install", ["demo", ..]) if has("--remove") => Trial::Foretells,
        _ if has("--dry-run") => Trial::Works,
        ("spire-federate" | "mesh-install", [] | ["up", ..])
        | ("spire-federate", ["bundle", "exchange", ..])
        | ("mesh-install", ["demo", ..])
        | ("xcluster-curl", ["restore", ..]) => Trial::WorksIfAgreed,
        // The others differ in what is taken away, and take as long.
        ("xcluster-curl", [_, "--failover", _, ..]) if words != [words[0], "--failover", "--yes"] => {
            Trial::Elsewhere
        }
        _ if has("--failover") || has("--plaintext") => Trial::WorksIfAgreed,
        _ => Trial::Works,
    }
}

/// Names of the plugins, as kubectl is told them.
fn plugins() -> Vec<&'static str> {
    Plugin::all().map(Plugin::name).collect()
}

impl Mesh {
    fn run(&self, plugin: &str, words: &[&str]) -> Ran {
        Ran::of(&self.bench.command_of(plugin, words).output().expect("kubectl runs"))
    }

    /// Returns what the help texts of a plugin tell people to type, those of its verbs included.
    fn in_helps(&self, plugin: &'static str) -> Vec<Documented> {
        let mut found = Vec::new();
        let mut verbs: Vec<Vec<String>> = vec![Vec::new()];
        while let Some(verb) = verbs.pop() {
            let words: Vec<&str> = verb.iter().map(String::as_str).chain(["--help"]).collect();
            let help = self.run(plugin, &words).succeeded().stdout;
            found.extend(in_help(&format!("{plugin} {}", words.join(" ")), &help, &[plugin]));
            let listed = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
            let listed =
                listed.take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
            let deeper =
                listed.filter_map(|line| line.split_whitespace().next()).filter(|word| *word != "help");
            verbs.extend(deeper.map(|word| [&verb[..], &[word.to_owned()]].concat()));
        }
        found
    }

    /// Does what the pages tell people to do before: another mesh file, an answer of Envoy.
    fn prepares(&self) {
        fs::copy(self.bench.mesh_file(), self.bench.folder().join("prod.yaml")).expect("a mesh file");
        let ask = ["pilot-agent", "request", "GET", "config_dump"];
        let exec = ["-n", "sleep", "exec", "deploy/sleep", "-c", "istio-proxy", "--"];
        let dump = self.bench.kubectl(&self.first, &[&exec[..], &ask].concat());
        fs::write(self.bench.folder().join("config_dump.json"), dump).expect("a file");
    }

    fn tries(&self, trial: Trial, plugin: &str, words: &[&str]) {
        let ran = || self.run(plugin, words);
        match trial {
            Trial::Elsewhere => (),
            Trial::Works | Trial::WorksIfAgreed | Trial::Foretells => drop(ran().succeeded()),
            Trial::Refuses { code, because } => drop(ran().ended_with(code).said(because)),
            Trial::WorksAtTheBeginning => {
                let folder = tempfile::tempdir().expect("a folder");
                let mut init = self.bench.command_of(plugin, words);
                Ran::of(&init.current_dir(folder.path()).output().expect("kubectl runs")).succeeded();
            }
        }
    }
}

/// Returns a command as it is tried. How far it may go is for the test to say, and how long it may take is long enough.
fn adapted<'w>(trial: Trial, words: &[&'w str]) -> Vec<&'w str> {
    let agreed = match trial {
        Trial::WorksIfAgreed => "--yes",
        Trial::Foretells => "--dry-run",
        _ => return words.to_vec(),
    };
    let mut words = words.iter().copied();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "--yes" | "--dry-run" => (),
            "--timeout" => drop(words.next()),
            word => kept.push(word),
        }
    }
    kept.push(agreed);
    kept
}

/// Writes output with its lines in order, so that it does not matter who answered more often.
fn in_order(output: &str) -> Vec<String> {
    let mut lines: Vec<String> = without_accidents(output).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn documented_commands_work_or_say_why_not_and_print_what_is_shown() {
    let mesh = Mesh::healthy();
    let plugins = plugins();
    let pages = in_pages(&plugins);
    mesh.bench.mesh_install(&["demo", "bookinfo", "--remove", "--yes"]).succeeded();
    let shown = pages.iter().filter_map(|command| Some((command, command.output.as_ref()?)));
    let mut count = 0;
    for (command, shown) in shown {
        let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
        let ran = mesh.run(&command.plugin, &words).succeeded();
        // On a terminal, both are in one place.
        let printed = [ran.stdout.clone(), format!("{}{}", ran.stderr, ran.stdout)];
        assert!(
            printed.iter().any(|printed| in_order(printed) == in_order(shown)),
            "{}: kubectl {} {} prints\n{}{}",
            command.place,
            command.plugin,
            words.join(" "),
            ran.stderr,
            ran.stdout
        );
        count += 1;
    }
    assert!(count >= 8, "they are found");

    mesh.bench.mesh_install(&["demo", "bookinfo", "--yes"]).succeeded();
    mesh.prepares();
    let helps = plugins.iter().flat_map(|plugin| mesh.in_helps(plugin));
    let commands: Vec<Documented> = helps.chain(pages).collect();
    assert!(commands.len() > 150, "they are found");
    let mut tried = BTreeSet::new();
    for command in &commands {
        let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
        let trial = trial(&command.plugin, &words);
        let words = adapted(trial, &words);
        if tried.insert((&command.plugin, words.clone())) {
            let since = Instant::now();
            mesh.tries(trial, &command.plugin, &words);
            println!(
                "{:5.1} s  kubectl {} {}",
                since.elapsed().as_secs_f64(),
                command.plugin,
                words.join(" ")
            );
        }
    }
    mesh.bench.mesh_install(&["demo", "bookinfo", "--remove", "--yes"]).succeeded();
}
