//! Asking AWS, and telling its answers apart.

use std::error::Error;
use std::time::Duration;

pub use aws_config::SdkConfig;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_eks::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_eks::operation::describe_cluster::DescribeClusterError;
use spire_mesh::mesh::EksCluster;
use spire_mesh::report::one_line;

use crate::described::Described;
use crate::error::{EksError, causes};

/// How long AWS may take to answer, all attempts together.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long one attempt may take. Without it a lost packet would cost the whole deadline.
const ATTEMPT: Duration = Duration::from_secs(10);

/// What requests and sessions are called in the logs of AWS.
const SESSION: &str = "spire-mesh";

/// How the SDK begins to tell what is wrong with credentials.
const NOTHING_SAID: &str = "an error occurred while loading credentials: ";

/// The operation that is asked for, as it is written in policies.
const ACTION: &str = "eks:DescribeCluster";

/// Asks AWS for a cluster. Credentials and region that `cluster` does not name are taken from where every AWS tool takes
/// them.
///
/// AWS has 30 seconds to answer, with up to three attempts (or as many as `AWS_MAX_ATTEMPTS` says). A credential process
/// of the profile has no deadline: it may ask its user to log in.
///
/// # Errors
/// [`EksError`], which names the cluster and tells the causes apart.
pub async fn describe(cluster: &EksCluster) -> Result<Described, EksError> {
    describe_with(cluster, &sdk_config(cluster).await).await
}

/// Loads the AWS configuration that holds for a cluster: environment, configuration files, and what `cluster` names.
pub async fn sdk_config(cluster: &EksCluster) -> SdkConfig {
    let config = own_config(cluster).await;
    let Some(role) = &cluster.role_arn else { return config };
    let provider = AssumeRoleProvider::builder(role).session_name(SESSION).configure(&config).build().await;
    config.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
}

/// Loads the configuration of whoever runs this, before a role is taken on.
async fn own_config(cluster: &EksCluster) -> SdkConfig {
    let timeouts =
        TimeoutConfig::builder().operation_timeout(DEADLINE).operation_attempt_timeout(ATTEMPT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts.clone());
    if let Ok(name) = AppName::new(SESSION) {
        loader = loader.app_name(name);
    }
    if let Some(region) = &cluster.region {
        loader = loader.region(Region::new(region.clone()));
    }
    let Some(profile) = &cluster.profile else { return loader.load().await };
    let config = loader.profile_name(profile).load().await;
    // The SDK would still prefer keys of the environment. Other AWS tools do not when they are given a profile.
    let provider = ProfileFileCredentialsProvider::builder()
        .profile_name(profile)
        .configure(
            &ProviderConfig::without_region()
                .with_region(config.region().cloned())
                .with_timeout_config(timeouts),
        )
        .build();
    config.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
}

/// Asks AWS for a cluster with a configuration that has been loaded before.
///
/// # Errors
/// As [`describe`].
pub async fn describe_with(cluster: &EksCluster, config: &SdkConfig) -> Result<Described, EksError> {
    let Some(region) = config.region() else {
        return Err(EksError::NoRegion { cluster: cluster.clone().into() });
    };
    let cluster = EksCluster { region: Some(region.to_string()), ..cluster.clone() };
    let credentials = credentials(&cluster, config).await?;
    // What was loaded is used, instead of running a credential process a second time.
    let settings = aws_sdk_eks::config::Builder::from(config).credentials_provider(credentials).build();
    let client = aws_sdk_eks::Client::from_conf(settings);
    match client.describe_cluster().name(&cluster.name).send().await {
        Ok(answer) => Described::read(cluster, &answer.cluster.unwrap_or_else(empty)),
        Err(error) => Err(told_apart(cluster.into(), &error, config.endpoint_url())),
    }
}

/// Stands for the cluster of an answer that has none.
fn empty() -> aws_sdk_eks::types::Cluster {
    aws_sdk_eks::types::Cluster::builder().build()
}

/// Loads the credentials before the call, because the SDK reports what is wrong with them as a failed dispatch.
async fn credentials(cluster: &EksCluster, config: &SdkConfig) -> Result<Credentials, EksError> {
    let missing = |reason| EksError::NoCredentials { cluster: cluster.clone().into(), reason };
    let Some(provider) = config.credentials_provider() else { return Err(missing(None)) };
    provider.provide_credentials().await.map_err(|error| {
        // The error's own text says only that there is one, and so may its cause's.
        let reason = error.source().map(|cause| one_line(&causes(cause)));
        let reason = reason.map(|text| text.trim_start_matches(NOTHING_SAID).to_owned());
        match (&error, &cluster.profile) {
            // Names every place where credentials could have been.
            (CredentialsError::CredentialsNotLoaded(_), None) => missing(None),
            (CredentialsError::CredentialsNotLoaded(_), Some(profile)) => {
                missing(reason.or_else(|| Some(format!("profile `{profile}` has none"))))
            }
            _ => missing(reason.or_else(|| Some(one_line(&error.to_string())))),
        }
    })
}

fn told_apart(
    cluster: Box<EksCluster>,
    error: &SdkError<DescribeClusterError>,
    endpoint: Option<&str>,
) -> EksError {
    let endpoint = endpoint.map(without_user);
    match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().map(one_line);
            let message = service.err().message().map(one_line);
            refused(cluster, code, message, service.raw().status().as_u16())
        }
        SdkError::TimeoutError(_) => {
            EksError::Unreachable { cluster, endpoint, reason: "no answer in time".to_owned() }
        }
        SdkError::DispatchFailure(failure) => {
            let reason = failure.as_connector_error().map_or_else(|| causes(error), |error| causes(error));
            EksError::Unreachable { cluster, endpoint, reason: one_line(&reason) }
        }
        SdkError::ResponseError(response) => EksError::Service {
            cluster,
            code: format!("HTTP {}", response.raw().status().as_u16()),
            message: Some(one_line(&causes(error))),
        },
        error => EksError::Service {
            cluster,
            code: "no request".to_owned(),
            message: Some(one_line(&causes(error))),
        },
    }
}

/// Shows an address without the user and password that may be in it.
fn without_user(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    one_line(&format!("{scheme}{host}"))
}

/// Sorts what the service refused by its code: those of EKS, and those that every AWS service has (AWS API reference,
/// "Common error types").
fn refused(cluster: Box<EksCluster>, code: Option<String>, message: Option<String>, status: u16) -> EksError {
    match code.as_deref().unwrap_or_default() {
        "ResourceNotFoundException" => EksError::Missing { cluster },
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" | "NotAuthorized" => {
            let (who, why) = message.as_deref().map(who_and_why).unwrap_or_default();
            EksError::Denied {
                cluster,
                action: ACTION,
                who: who.map(str::to_owned),
                why: why.map(str::to_owned),
            }
        }
        "ExpiredTokenException"
        | "ExpiredToken"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "OptInRequired"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => {
            EksError::Rejected { cluster, code: code.unwrap_or_default(), message }
        }
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottledException"
        | "ThrottlingException"
        | "TooManyRequestsException" => EksError::Throttled { cluster },
        "" if status == 429 => EksError::Throttled { cluster },
        "" => EksError::Service {
            cluster,
            code: format!("HTTP {status}"),
            message: Some("not an answer of EKS; is there a proxy or a sign-in page on the way?".to_owned()),
        },
        code => EksError::Service { cluster, code: code.to_owned(), message },
    }
}

/// Takes apart what AWS says about permissions: `User: arn:aws:iam::1:user/me is not authorized to perform: … on resource: …
/// because no identity-based policy allows …` or `… with an explicit deny in a service control policy`.
fn who_and_why(message: &str) -> (Option<&str>, Option<&str>) {
    let who = message.split_once("User: ").and_then(|(_, rest)| rest.split_whitespace().next());
    let Some(who) = who.filter(|who| who.starts_with("arn:")) else { return (None, Some(message)) };
    let why = ["because ", "with "].iter().find_map(|word| message.split_once(word));
    (Some(who), why.map(|(_, why)| why))
}
