//! Credentials and region: those that every AWS tool would take, and what is said when there are none.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::question::{Question, SECRET};
use super::responder::Responder;

/// A home with an AWS configuration.
fn home(config: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".aws")).unwrap();
    fs::write(home.path().join(".aws/config"), config).unwrap();
    home
}

/// Says that there is no such cluster, to whomever asks.
fn nobody() -> Responder {
    let body = r#"{"message": "No cluster found for name: foo."}"#;
    Responder::new(404, Some("ResourceNotFoundException"), body)
}

/// Returns key ID and region with which the only request was signed.
fn signed_with(responder: &Responder) -> (String, String) {
    let requests = responder.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    let (_, scope) = request.split_once("Credential=").unwrap();
    let mut parts = scope.split('/');
    let (key, region) = (parts.next().unwrap(), parts.nth(1).unwrap());
    (key.to_owned(), region.to_owned())
}

fn keys(id: &str) -> String {
    format!("aws_access_key_id = {id}\naws_secret_access_key = {SECRET}\n")
}

#[test]
fn a_profile_of_the_mesh_file_wins_over_keys_of_the_environment() {
    let home = home(&format!("[profile prod]\nregion = eu-central-1\n{}", keys("AKIAPROFILE")));
    let asked = |question: fn(Question) -> Question| {
        let responder = nobody();
        question(
            Question::bare("foo", home.path())
                .env("AWS_ENDPOINT_URL", responder.address())
                .env("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
                .env("AWS_SECRET_ACCESS_KEY", SECRET),
        )
        .ask();
        let (key, region) = signed_with(&responder);
        format!("{key} {region}")
    };
    assert_eq!(asked(|question| question.profile("prod")), "AKIAPROFILE eu-central-1");
    assert_eq!(
        asked(|question| question.profile("prod").env("AWS_REGION", "us-east-1")),
        "AKIAPROFILE us-east-1"
    );
    assert_eq!(asked(|question| question.profile("prod").region("us-west-2")), "AKIAPROFILE us-west-2");
    // As with the AWS CLI: the environment's profile gives the region, and its keys win.
    assert_eq!(asked(|question| question.env("AWS_PROFILE", "prod")), "AKIAENVIRONMENT eu-central-1");
}

#[test]
fn keys_of_the_default_profile_are_taken() {
    let home = home(&format!("[default]\nregion = eu-north-1\n{}", keys("AKIADEFAULT")));
    let responder = nobody();
    Question::bare("foo", home.path()).env("AWS_ENDPOINT_URL", responder.address()).ask();
    assert_eq!(signed_with(&responder), ("AKIADEFAULT".to_owned(), "eu-north-1".to_owned()));
}

/// A program that gives credentials, and counts how often it was asked.
fn credential_process(home: &Path) -> String {
    let program = home.join("credentials");
    let answer = format!(r#"{{"Version": 1, "AccessKeyId": "AKIAPROCESS", "SecretAccessKey": "{SECRET}"}}"#);
    fs::write(&program, format!("echo asked >>{}\necho '{answer}'\n", home.join("asked").display())).unwrap();
    format!("[profile prod]\nregion = eu-west-1\ncredential_process = sh {}\n", program.display())
}

#[test]
fn a_credential_process_runs_once() {
    let home = home("");
    fs::write(home.path().join(".aws/config"), credential_process(home.path())).unwrap();
    let responder = nobody();
    Question::bare("foo", home.path()).env("AWS_ENDPOINT_URL", responder.address()).profile("prod").ask();
    assert_eq!(signed_with(&responder).0, "AKIAPROCESS");
    assert_eq!(fs::read_to_string(home.path().join("asked")).unwrap(), "asked\n");
}

#[test]
fn without_credentials_nothing_is_asked() {
    let responder = nobody();
    let home = home("[default]\nregion = eu-west-1\n");
    let answer = Question::bare("foo", home.path()).env("AWS_ENDPOINT_URL", responder.address()).ask();
    insta::assert_snapshot!(answer, @r"
    error: there are no AWS credentials for EKS cluster `foo` in region `eu-west-1`
    hint: aws configure sso, or set AWS_PROFILE
    ");
    assert!(responder.requests().is_empty());
}

#[test]
fn a_profile_without_credentials_is_named() {
    let home = home(
        "[profile empty]\nregion = eu-west-1\n\
         [profile sso]\nregion = eu-west-1\nsso_session = work\nsso_account_id = 123456789012\nsso_role_name = admin\n\
         [sso-session work]\nsso_region = eu-west-1\nsso_start_url = https://example.awsapps.com/start\n\
         [profile broken]\nregion = eu-west-1\ncredential_process = sh -c 'echo no token >&2; exit 7'\n",
    );
    let ask = |profile| Question::bare("foo", home.path()).region("eu-west-1").profile(profile).ask();
    insta::assert_snapshot!(ask("missing"), @r"
    error: there are no AWS credentials for EKS cluster `foo` in region `eu-west-1`: profile `missing` was not defined: could not find source profile missing referenced from the root profile
    hint: aws configure list --profile missing, then: aws sso login --profile missing
    ");
    insta::assert_snapshot!(ask("empty"), @r"
    error: there are no AWS credentials for EKS cluster `foo` in region `eu-west-1`: profile `empty` has none
    hint: aws configure list --profile empty, then: aws sso login --profile empty
    ");
    let home_of_the_token = [(r"/\S*/\.aws", "HOME/.aws"), ("[0-9a-f]{40}", "HASH")];
    insta::with_settings!({filters => home_of_the_token}, {
        insta::assert_snapshot!(ask("sso"), @r"
        error: there are no AWS credentials for EKS cluster `foo` in region `eu-west-1`: an error occurred while loading an access token: failed to load the cached SSO token
        hint: aws configure list --profile sso, then: aws sso login --profile sso
        ");
    });
    insta::assert_snapshot!(ask("broken"), @r"
    error: there are no AWS credentials for EKS cluster `foo` in region `eu-west-1`: Error retrieving credentials: external process exited with code exit status: 7. Stderr: no token
    hint: aws configure list --profile broken, then: aws sso login --profile broken
    ");
}

#[test]
fn a_role_that_may_not_be_taken_on_is_named() {
    let refused = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                   <Message>User: arn:aws:iam::111111111111:user/me is not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>";
    let responder = Responder::new(403, None, refused);
    let home = home(&format!("[default]\nregion = eu-west-1\n{}", keys("AKIADEFAULT")));
    let question = Question::bare("foo", home.path()).env("AWS_ENDPOINT_URL", responder.address());
    insta::assert_snapshot!(question.role("arn:aws:iam::222222222222:role/reader").ask(), @r"
    error: there are no AWS credentials for EKS cluster `foo` in region `eu-west-1` as role `arn:aws:iam::222222222222:role/reader`: AccessDenied: User: arn:aws:iam::111111111111:user/me is not authorized to perform: sts:AssumeRole
    hint: let the role be taken on by who you are; by hand: aws sts assume-role --role-session-name by-hand --role-arn arn:aws:iam::222222222222:role/reader --region eu-west-1
    ");
}

#[test]
fn without_a_region_nothing_is_asked() {
    let responder = nobody();
    let home = home(&format!("[default]\n{}", keys("AKIADEFAULT")));
    let answer = Question::bare("foo", home.path()).env("AWS_ENDPOINT_URL", responder.address()).ask();
    insta::assert_snapshot!(answer, @r"
    error: there is no AWS region for EKS cluster `foo`
    hint: set `endpoint.eks.region` in the mesh file, or AWS_REGION
    ");
    assert!(responder.requests().is_empty());
}
