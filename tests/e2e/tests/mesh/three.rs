//! A mesh of three clusters. Left out by `cargo lab test --contexts` where there are fewer.

mod three_clusters {
    use super::super::*;

    #[test]
    fn all_three_answer_and_two_take_over() {
        let bench = Bench::of(3);
        bench.take_images_of_the_lab();
        let [first, second, third] = [0, 1, 2].map(|index| bench.members[index].context.clone());
        bench.up();
        let mesh = Mesh { bench, first, second };
        mesh.up();
        for demo in ["helloworld", "sleep"] {
            mesh.bench.mesh_install(&["demo", demo, "--yes"]).succeeded();
        }
        mesh.is_healthy();
        let clusters = [&mesh.first, &mesh.second, &third];

        let report = mesh.xcluster_curl(&["-n", "90", "-o", "json"]).succeeded().json();
        let answers = clusters.map(|context| report["byCluster"][context].as_u64().unwrap_or_default());
        assert_eq!(answers.iter().sum::<u64>(), 90, "{report:#}");
        assert!(answers.iter().all(|answers| *answers >= 10), "{report:#}");
        // The first has v1, each other v2.
        assert_eq!(report["byVersion"]["v2"].as_u64(), Some(answers[1] + answers[2]), "{report:#}");

        let matrix = mesh.xcluster_curl(&["-n", "30", "--from", "all"]).succeeded().stdout;
        for from in clusters {
            for by in clusters {
                let is_row =
                    |line: &str| line.starts_with(from.as_str()) && line.contains(&format!(" {by} "));
                assert!(matrix.lines().any(is_row), "{from} is answered by {by}:\n{matrix}");
            }
        }

        let report =
            mesh.xcluster_curl(&["--failover", "helloworld-v1", "--yes", "-o", "json"]).succeeded().json();
        let failover = &report["failover"];
        assert_eq!(failover["restored"], true, "{report:#}");
        assert!(failover["firstRemoteAnswerMs"].as_f64().is_some(), "{report:#}");
        assert_eq!(failover["failedOnReturn"], 0, "{report:#}");

        // Who accepts whom is a question of every pair.
        let accepts = mesh.trustchain(&[
            &chains::named(&mesh.second, "sleep"),
            "--accepts",
            &format!("{third}/helloworld/service/helloworld"),
        ]);
        accepts.succeeded();
        // Two are the mesh of all other tests.
        mesh.bench.clean();
    }
}
