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

        // One cluster less: what it read the others with is taken back, and nobody else's.
        let leavers = token_in(&mesh, &third, &mesh.first);
        let stayers = token_in(&mesh, &mesh.second, &mesh.first);
        assert!(is_accepted(&mesh, &mesh.first, &leavers) && is_accepted(&mesh, &mesh.first, &stayers));
        let down = ["down", &third, "--yes"];
        mesh.bench.mesh_install(&down).succeeded().said("kubectl spire-federate leave");
        assert!(is_refused_soon(&mesh, &mesh.first, &leavers), "the leaver can still read what it could");
        assert!(is_accepted(&mesh, &mesh.first, &stayers));
        let namespace = ["get", "namespace", "istio-system", "--ignore-not-found", "-o", "name"];
        assert_eq!(mesh.bench.kubectl(&third, &namespace), "");
        for staying in [&mesh.first, &mesh.second] {
            assert_eq!(mesh.remote_secrets(staying).len(), 1, "{staying} reads one other cluster");
        }
        mesh.bench.mesh_install(&down).succeeded().said("nothing of");
        mesh.bench.plugin(&["leave", &third, "--yes", "--ca-volume", "delete"]).succeeded();
        mesh.up();
        mesh.is_healthy();
        mesh.both_answer(&mesh.first, HELLO);
    }

    /// Returns the token in a cluster's remote secret for another one.
    fn token_in(mesh: &Mesh, context: &str, of: &str) -> String {
        let name = format!("istio-remote-secret-{of}");
        let data = format!("go-template={{{{index .data \"{of}\" | base64decode}}}}");
        let get = ["-n", "istio-system", "get", "secret", &name, "-o", &data];
        let kubeconfig: Value = serde_json::from_str(&mesh.bench.kubectl(context, &get)).expect("JSON");
        kubeconfig["users"][0]["user"]["token"].as_str().expect("a token").to_owned()
    }

    /// Asks a cluster's API server whether it takes a token.
    fn is_accepted(mesh: &Mesh, context: &str, token: &str) -> bool {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
        });
        let create = ["create", "-o", "json", "-f", "-"];
        let answer = mesh.bench.target.kubectl(context).run_with(create, &review.to_string());
        let answer: Value = serde_json::from_str(&answer.expect("an answer")).expect("JSON");
        answer["status"]["authenticated"] == true
    }

    /// Waits until it does not: it remembers an answer for ten seconds.
    fn is_refused_soon(mesh: &Mesh, context: &str, token: &str) -> bool {
        let end = Instant::now() + Duration::from_secs(20);
        while is_accepted(mesh, context, token) {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        true
    }

    #[test]
    fn access_to_a_cluster_that_the_mesh_file_has_no_more_is_deleted() {
        let mesh = Mesh::healthy();
        let name = "istio-remote-secret-gone-eks-cluster";
        let left = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": "istio-system", "labels": {
                "istio/multiCluster": "true",
                "app.kubernetes.io/managed-by": "mesh-install",
                "spire-mesh.dev/mesh": "spire-mesh",
            }},
        });
        mesh.bench.target.kubectl(&mesh.second).apply(&left.to_string()).expect("a Secret");
        let plan = mesh.bench.mesh_install(&["plan"]).succeeded().said("1 to delete");
        assert!(plan.stdout.contains(name), "{}", plan.stdout);
        mesh.repairs();
        assert_eq!(mesh.remote_secrets(&mesh.second), [format!("istio-remote-secret-{}", mesh.first)]);
    }
}
