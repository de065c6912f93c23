//! What moto cannot answer. Its clusters are always ACTIVE, it never throttles, and where it checks permissions it does not
//! answer as EKS does. Codes and shapes are those of the API reference of EKS.

use std::net::TcpListener;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::question::{Answer, Question, SECRET};
use super::responder::Responder;

fn ask(responder: &Responder) -> Answer {
    let home = tempfile::tempdir().unwrap();
    Question::new("foo", responder.address(), home.path()).ask()
}

fn refused(status: u16, code: &str, message: &str) -> Answer {
    ask(&Responder::new(status, Some(code), &json!({"message": message}).to_string()))
}

#[test]
fn a_cluster_that_is_made_or_deleted_is_said_to_be() {
    let state = |status: &str| {
        let answer = json!({"cluster": {"name": "foo", "status": status}});
        ask(&Responder::new(200, None, &answer.to_string()))
    };
    insta::assert_snapshot!(state("CREATING"), @r"
    error: EKS cluster `foo` in region `eu-west-1` is CREATING, not ACTIVE
    hint: aws eks wait cluster-active --name foo --region eu-west-1
    ");
    insta::assert_snapshot!(state("DELETING"), @r"
    error: EKS cluster `foo` in region `eu-west-1` is DELETING, not ACTIVE
    hint: aws eks describe-cluster --name foo --region eu-west-1
    ");
    insta::assert_snapshot!(state("ACTIVE"), @r"
    error: EKS cluster `foo` in region `eu-west-1` is ACTIVE, and has no address of an API server
    hint: set `endpoint.server` in the mesh file, or look: aws eks describe-cluster --name foo --region eu-west-1
    ");
}

#[test]
fn address_and_ca_of_a_real_answer_are_taken() {
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem();
    let answer = json!({"cluster": {
        "name": "foo",
        "arn": "arn:aws:eks:eu-west-1:123456789012:cluster/foo",
        "createdAt": 1_767_225_600.0,
        "version": "1.34",
        "endpoint": "https://0123456789ABCDEF.gr7.eu-west-1.eks.amazonaws.com",
        "resourcesVpcConfig": {
            "subnetIds": ["subnet-1", "subnet-2"],
            "securityGroupIds": [],
            "clusterSecurityGroupId": "sg-0123456789abcdef0",
            "vpcId": "vpc-0123456789abcdef0",
            "endpointPublicAccess": true,
            "endpointPrivateAccess": true,
            "publicAccessCidrs": ["203.0.113.0/24"],
        },
        "kubernetesNetworkConfig": {"serviceIpv4Cidr": "10.100.0.0/16", "ipFamily": "ipv4"},
        "status": "ACTIVE",
        "certificateAuthority": {"data": STANDARD.encode(&authority)},
        "platformVersion": "eks.9",
        "tags": {},
        "aKeyOfTomorrow": {"a": [1]},
    }});
    let responder = Responder::new(200, None, &answer.to_string());
    let answer = ask(&responder);
    assert_eq!(answer.get("ca"), authority.replace("\r\n", "\n"));
    insta::with_settings!({filters => vec![("(?s)-----BEGIN.*END CERTIFICATE-----\n", "PEM")]}, {
        insta::assert_snapshot!(answer, @r"
        arn: arn:aws:eks:eu-west-1:123456789012:cluster/foo
        version: 1.34
        server: https://0123456789ABCDEF.gr7.eu-west-1.eks.amazonaws.com
        ca: PEM
        access: PublicAndPrivate
        from another VPC: public endpoint for 203.0.113.0/24 only: the public addresses from which other clusters go out, those of their NAT gateways, have to be among them
        let in: aws eks update-cluster-config --name foo --resources-vpc-config publicAccessCidrs=203.0.113.0/24,PEER_NAT_ADDRESS/32 --region eu-west-1
        warnings: []
        ");
    });
    assert_eq!(responder.requests().len(), 1);
    assert!(responder.requests()[0].starts_with("GET /clusters/foo HTTP/1.1\r\n"));
}

#[test]
fn who_has_no_permission_is_named() {
    let user = "User: arn:aws:iam::123456789012:user/me is not authorized to perform: eks:DescribeCluster on resource: \
                arn:aws:eks:eu-west-1:123456789012:cluster/foo";
    insta::assert_snapshot!(refused(403, "AccessDeniedException", user), @r"
    error: arn:aws:iam::123456789012:user/me has no permission for eks:DescribeCluster of EKS cluster `foo` in region `eu-west-1`
    hint: allow eks:DescribeCluster, or set `endpoint.eks.profile` in the mesh file; by hand: aws eks describe-cluster --name foo --region eu-west-1
    ");
    let because = format!("{user} because no identity-based policy allows the eks:DescribeCluster action");
    insta::assert_snapshot!(refused(403, "AccessDeniedException", &because), @r"
    error: arn:aws:iam::123456789012:user/me has no permission for eks:DescribeCluster of EKS cluster `foo` in region `eu-west-1`: no identity-based policy allows the eks:DescribeCluster action
    hint: allow eks:DescribeCluster, or set `endpoint.eks.profile` in the mesh file; by hand: aws eks describe-cluster --name foo --region eu-west-1
    ");
    let denied = format!("{user} with an explicit deny in a service control policy");
    insta::assert_snapshot!(refused(403, "AccessDeniedException", &denied), @r"
    error: arn:aws:iam::123456789012:user/me has no permission for eks:DescribeCluster of EKS cluster `foo` in region `eu-west-1`: an explicit deny in a service control policy
    hint: allow eks:DescribeCluster, or set `endpoint.eks.profile` in the mesh file; by hand: aws eks describe-cluster --name foo --region eu-west-1
    ");
    insta::assert_snapshot!(refused(403, "AccessDeniedException", "no"), @r"
    error: the user of the AWS credentials has no permission for eks:DescribeCluster of EKS cluster `foo` in region `eu-west-1`: no
    hint: allow eks:DescribeCluster, or set `endpoint.eks.profile` in the mesh file; by hand: aws sts get-caller-identity --region eu-west-1
    ");
}

#[test]
fn credentials_that_aws_does_not_accept_are_told_from_missing_permissions() {
    insta::assert_snapshot!(refused(403, "UnrecognizedClientException", "The security token included in the request is invalid."), @r"
    error: AWS does not accept the credentials for EKS cluster `foo` in region `eu-west-1`: UnrecognizedClientException: The security token included in the request is invalid.
    hint: aws sts get-caller-identity --region eu-west-1
    ");
    insta::assert_snapshot!(refused(403, "ExpiredTokenException", "The security token included in the request is expired"), @r"
    error: AWS does not accept the credentials for EKS cluster `foo` in region `eu-west-1`: ExpiredTokenException: The security token included in the request is expired
    hint: aws sts get-caller-identity --region eu-west-1
    ");
}

#[test]
fn aws_is_asked_three_times_while_it_throttles() {
    let body = json!({"message": "Rate exceeded"}).to_string();
    let responder = Responder::new(429, Some("ThrottlingException"), &body);
    insta::assert_snapshot!(ask(&responder), @r"
    error: AWS throttles requests, also after several attempts to ask about EKS cluster `foo` in region `eu-west-1`
    hint: try again later; by hand: aws eks describe-cluster --name foo --region eu-west-1
    ");
    assert_eq!(responder.requests().len(), 3);
    // As every AWS tool is told to. A gateway throttles without a code.
    for code in [Some("TooManyRequestsException"), None] {
        let responder = Responder::new(429, code, "{}");
        let home = tempfile::tempdir().unwrap();
        let answer =
            Question::new("foo", responder.address(), home.path()).env("AWS_MAX_ATTEMPTS", "1").ask();
        assert!(answer.get("error").contains("throttles"), "{answer}");
        assert_eq!(responder.requests().len(), 1);
    }
}

#[test]
fn an_address_that_nobody_serves_is_out_of_reach() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = tempfile::tempdir().unwrap();
    let question = Question::new("foo", &format!("http://{free}"), home.path());
    insta::with_settings!({filters => vec![(r"127\.0\.0\.1:\d+", "ADDRESS"), (r"\(os error \d+\)", "(os error N)")]}, {
        insta::assert_snapshot!(question.env("AWS_MAX_ATTEMPTS", "1").ask(), @r"
        error: cannot reach AWS at http://ADDRESS for EKS cluster `foo` in region `eu-west-1`: io error: client error (Connect): tcp connect error: Connection refused (os error N)
        hint: is AWS_ENDPOINT_URL what it should be? Without it requests go to AWS
        ");
    });
    // A password in it stays there.
    let question = Question::new("foo", &format!("http://me:{SECRET}@{free}/path"), home.path());
    let answer = question.env("AWS_MAX_ATTEMPTS", "1").ask();
    assert!(answer.get("error").contains(&format!(" at http://{free} for ")), "{answer}");
    insta::assert_snapshot!(Question::new("foo", "no address", home.path()).ask(), @r"
    error: cannot reach AWS for EKS cluster `foo` in region `eu-west-1`: other: endpoint is not a valid URI: invalid uri character
    hint: aws eks describe-cluster --name foo --region eu-west-1
    ");
}

#[test]
fn everything_else_is_said_with_its_code_and_nothing_that_a_terminal_acts_on() {
    insta::assert_snapshot!(refused(400, "ClientException", "one\n\u{1b}[2Jtwo"), @r"
    error: AWS does not describe EKS cluster `foo` in region `eu-west-1`: ClientException: one \u{1b}[2Jtwo
    hint: aws eks describe-cluster --name foo --region eu-west-1
    ");
    let head = "HTTP/1.1 403 Forbidden\r\ncontent-type: text/html\r\n";
    insta::assert_snapshot!(ask(&Responder::with(head, "<html>a proxy</html>")), @r"
    error: AWS does not describe EKS cluster `foo` in region `eu-west-1`: HTTP 403: not an answer of EKS; is there a proxy or a sign-in page on the way?
    hint: aws eks describe-cluster --name foo --region eu-west-1
    ");
    insta::assert_snapshot!(ask(&Responder::new(200, None, "<html>a portal</html>")), @r"
    error: AWS does not describe EKS cluster `foo` in region `eu-west-1`: HTTP 200: not an answer of EKS; is there a proxy or a sign-in page on the way?
    hint: aws eks describe-cluster --name foo --region eu-west-1
    ");
    insta::assert_snapshot!(ask(&Responder::new(200, None, "{}")), @r"
    error: EKS cluster `foo` in region `eu-west-1` is in no known state, not ACTIVE
    hint: aws eks describe-cluster --name foo --region eu-west-1
    ");
}
