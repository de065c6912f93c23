//! What moto answers: clusters that are there, and clusters that are not.

use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_eks::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_eks::types::VpcConfigRequest;

use super::moto;
use super::question::Question;

/// Makes a cluster in `eu-west-1`.
async fn make_cluster(name: &str, public: bool, private: bool) {
    make_cluster_as(credentials(), name, public, private).await;
}

fn credentials() -> Credentials {
    Credentials::new("AKIATESTS", "secret", None, None, "tests")
}

/// Makes a cluster in `eu-west-1`, in the account whose credentials these are.
async fn make_cluster_as(who: impl ProvideCredentials + 'static, name: &str, public: bool, private: bool) {
    let settings = aws_sdk_eks::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(moto::address())
        .credentials_provider(who);
    let network = VpcConfigRequest::builder()
        .subnet_ids("subnet-1")
        .endpoint_public_access(public)
        .endpoint_private_access(private)
        .build();
    let request = aws_sdk_eks::Client::from_conf(settings.build()).create_cluster();
    let request =
        request.name(name).role_arn("arn:aws:iam::123456789012:role/eks").resources_vpc_config(network);
    request.send().await.unwrap();
}

#[tokio::test]
async fn a_cluster_with_a_private_endpoint_only_says_what_other_clusters_need() {
    make_cluster("private", false, true).await;
    let home = tempfile::tempdir().unwrap();
    let answer = Question::new("private", moto::address(), home.path()).ask();
    // moto makes up addresses, and CAs that are none.
    insta::with_settings!({filters => vec![(r"https://\S+\.eu-west-1\.eks\.amazonaws\.com", "https://ADDRESS"), ("unusable: [^\"]*", "unusable: REASON")]}, {
        insta::assert_snapshot!(answer, @r#"
        arn: arn:aws:eks:eu-west-1:123456789012:cluster/private
        version: 1.19
        server: https://ADDRESS
        ca: null
        access: Private
        from another VPC: private endpoint only: its name leads to addresses in its VPC everywhere, so other clusters need a route into it (VPC peering, transit gateway), and its cluster security group has to admit their addresses on port 443
        let in: null
        warnings: ["the CA that AWS names is unusable: REASON"]
        "#);
    });
}

#[tokio::test]
async fn a_cluster_is_found_by_region_and_name_of_the_mesh_file() {
    make_cluster("Public_1", true, true).await;
    let home = tempfile::tempdir().unwrap();
    let ask = || Question::new("Public_1", moto::address(), home.path());
    assert_eq!(ask().ask().get("access"), "PublicAndPrivate");
    // What the mesh file says wins over the environment.
    assert_eq!(
        ask().env("AWS_REGION", "us-east-1").region("eu-west-1").ask().get("access"),
        "PublicAndPrivate"
    );
    insta::assert_snapshot!(ask().region("us-east-1").ask(), @r"
    error: the account of the AWS credentials has no EKS cluster `Public_1` in region `us-east-1`
    hint: aws eks list-clusters --region us-east-1
    ");
}

#[tokio::test]
async fn a_cluster_of_another_account_is_found_through_a_role_there() {
    let role = "arn:aws:iam::222222222222:role/reader";
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(moto::address())
        .credentials_provider(credentials());
    let config = config.load().await;
    let there = AssumeRoleProvider::builder(role).session_name("tests").configure(&config).build().await;
    make_cluster_as(there, "elsewhere", true, false).await;
    let home = tempfile::tempdir().unwrap();
    let ask = || Question::new("elsewhere", moto::address(), home.path());
    assert_eq!(ask().role(role).ask().get("arn"), "arn:aws:eks:eu-west-1:222222222222:cluster/elsewhere");
    assert!(ask().ask().get("error").contains("has no EKS cluster `elsewhere`"));
    insta::assert_snapshot!(ask().role("arn:aws:iam::333333333333:role/reader").ask(), @r"
    error: the account of the AWS credentials has no EKS cluster `elsewhere` in region `eu-west-1` as role `arn:aws:iam::333333333333:role/reader`
    hint: aws eks list-clusters --region eu-west-1
    ");
}

#[test]
fn a_cluster_that_is_not_there_is_named_with_its_region() {
    let home = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(Question::new("nothing", moto::address(), home.path()).ask(), @r"
    error: the account of the AWS credentials has no EKS cluster `nothing` in region `eu-west-1`
    hint: aws eks list-clusters --region eu-west-1
    ");
}

#[test]
fn an_address_of_eks_alone_is_taken_too() {
    let home = tempfile::tempdir().unwrap();
    let question = Question::new("nothing", "http://127.0.0.1:1", home.path());
    let answer = question.env("AWS_ENDPOINT_URL_EKS", moto::address()).ask();
    assert!(
        answer.get("error").starts_with("the account of the AWS credentials has no EKS cluster"),
        "{answer}"
    );
}
