//! `kubectl mesh-install endpoints` for clusters of EKS: the plugin as its users run it, asking an emulator of AWS.

#![expect(
    clippy::unwrap_used,
    reason = "the emulator is shared with tests in which clippy knows the functions"
)]

#[path = "../../../shared/eks/tests/aws/moto.rs"]
mod moto;

use std::process::Command;

use serde_json::{Value, json};
use spire_mesh_e2e::{Bench, Ran};

/// What AWS's SDK would sign a request with. moto looks for the service and the region in it, and at nothing else.
const SIGNED: &str = "Authorization: AWS4-HMAC-SHA256 Credential=AKIATESTS/20261128/eu-west-1/eks/aws4_request, SignedHeaders=host, Signature=0";

/// Makes a cluster in `eu-west-1` whose API server has an address in its VPC only.
fn make_cluster(name: &str) {
    let request = json!({
        "name": name,
        "roleArn": "arn:aws:iam::123456789012:role/eks",
        "resourcesVpcConfig": {"subnetIds": ["subnet-1"], "endpointPublicAccess": false, "endpointPrivateAccess": true},
    });
    let url = format!("{}/clusters", moto::address());
    let made = Command::new("curl")
        .args([
            "-sSf",
            "-H",
            SIGNED,
            "-H",
            "Content-Type: application/json",
            "-d",
            &request.to_string(),
            &url,
        ])
        .output()
        .expect("curl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Runs the plugin where AWS is the emulator.
fn endpoints(bench: &Bench, arguments: &[&str], region: &str) -> Ran {
    let mut command = bench.command_of("mesh-install", &[&["endpoints"], arguments].concat());
    command.envs([("AWS_ENDPOINT_URL", moto::address()), ("AWS_REGION", region)]);
    command.envs([("AWS_ACCESS_KEY_ID", "AKIATESTS"), ("AWS_SECRET_ACCESS_KEY", "secret")]);
    Ran::of(&command.output().expect("kubectl runs"))
}

#[test]
fn the_addresses_of_clusters_of_eks_come_from_aws() {
    let bench = Bench::new();
    let first = &bench.members[0];
    make_cluster(&first.context);
    let domain = format!("trustDomain: {}", first.trust_domain);
    bench.edit(&domain, &format!("{domain}\n      endpoint: {{eks: {{}}}}"));

    let found = endpoints(&bench, &["-o", "json"], "eu-west-1").succeeded().json();
    let of = |index: usize| found["endpoints"][index].clone();
    let server = of(0)["server"].as_str().expect("an address").to_owned();
    assert!(server.ends_with(".eu-west-1.eks.amazonaws.com"), "{found:#}");
    assert_eq!((&of(0)["source"], &of(1)["source"]), (&Value::from("eks"), &Value::from("kubeconfig")));
    let table = endpoints(&bench, &[], "eu-west-1").succeeded().stdout;
    assert!(table.contains(&server) && table.contains("from another VPC: private endpoint only"), "{table}");

    endpoints(&bench, &[], "us-east-1")
        .ended_with(1)
        .said(&format!("has no EKS cluster `{}` in region `us-east-1`", first.context))
        .said("aws eks list-clusters --region us-east-1");
    // SPIRE does not need the address.
    bench.plugin(&["plan"]).succeeded().said("2 clusters");
}
