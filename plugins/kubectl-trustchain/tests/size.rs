//! What a large cluster costs.

#![cfg(target_os = "linux")]

use spire_mesh_plugin_test::{LargeCluster, Plugin};

const PLUGIN: Plugin =
    Plugin { program: env!("CARGO_BIN_EXE_kubectl-trustchain"), name: "kubectl trustchain", verbs: &[] };

#[test]
fn memory_follows_what_is_shown_of_pods_and_not_what_they_are() {
    // The pods of the second are 60 MB of JSON; the most that any child took is what is read, so that the small one comes first.
    let [few, many] = [500, 10_000].map(|pods| {
        let cluster = LargeCluster::start(pods);
        let (run, memory) = PLUGIN.costs(&cluster, &["-A", "-o", "json"]);
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        assert_eq!(run.stdout.matches("its proxy does not run").count(), pods);
        memory
    });
    assert!(many - few < 40, "{few} MiB for 500 pods, {many} MiB for 10,000");
}
