//! What kubectl completes of the plugins' words, from the clusters as they are.

use super::*;

impl Mesh {
    /// Has kubectl complete the last word, as a shell does. Returns the words without what they mean.
    fn completed(&self, plugin: &str, words: &[&str]) -> Vec<String> {
        let mut kubectl = self.bench.command_of("__complete", &[]);
        let output = kubectl.arg(plugin).args(words).output().expect("kubectl runs");
        let said = Ran::of(&output).succeeded().stdout;
        let lines = said.lines().filter(|line| !line.starts_with(':'));
        lines.map(|line| line.split('\t').next().unwrap_or(line).to_owned()).collect()
    }

    /// Completes until this is all: a completer gives nothing where a cluster takes too long.
    #[track_caller]
    fn completes(&self, plugin: &str, words: &[&str], expected: &[&str]) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let completed = self.completed(plugin, words);
            if completed == expected {
                return;
            }
            assert!(Instant::now() < end, "{plugin} {words:?}: {completed:?} instead of {expected:?}");
        }
    }
}

#[test]
fn kubectl_completes_contexts_clusters_namespaces_and_workloads() {
    let mesh = Mesh::healthy();
    for plugin in ["spire-federate", "mesh-install", "trustchain", "xcluster-curl"] {
        let linked = mesh.bench.command_of(plugin, &["--install-completion"]).output().expect("kubectl runs");
        Ran::of(&linked).succeeded();
    }
    let (first, second) = (mesh.first.as_str(), mesh.second.as_str());
    mesh.completes("spire-federate", &["verify", "--fi"], &["--fix"]);
    mesh.completes("mesh-install", &["demo", "hel"], &["helloworld"]);
    mesh.completes("spire-federate", &["leave", first], &[first]);
    mesh.completes("trustchain", &["--context", second], &[second]);

    mesh.completes("trustchain", &["--context", first, "-n", "hellow"], &["helloworld"]);
    mesh.completes(
        "trustchain",
        &["--context", first, "-n", "helloworld", ""],
        &["helloworld-v1", &format!("{first}/"), &format!("{second}/"), "istiod", "secret/"],
    );
    mesh.completes("trustchain", &["--context", second, "deploy/helloworld-v"], &["deploy/helloworld-v2"]);
    mesh.completes("xcluster-curl", &["--from", &format!("{second}/slee")], &[&format!("{second}/sleep/")]);
    let sleep = format!("{second}/sleep/sleep");
    mesh.completes("xcluster-curl", &["--from", &format!("{second}/sleep/")], &[&sleep]);
}
