//! Asking AWS, and telling its answers apart.

use std::time::Duration;

pub use aws_config::SdkConfig;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
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
    let timeouts = TimeoutConfig::builder().operation_timeout(DEADLINE).operation_attempt_timeout(ATTEMPT);
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts.build());
    if let Ok(name) = AppName::new("spire-mesh") {
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
        .configure(&ProviderConfig::without_region().with_region(config.region().cloned()))
        .build();
    config.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
}

/// Asks AWS for a cluster with a configuration that has been loaded before.
///
/// # Errors
/// As [`describe`].
pub async fn describe_with(cluster: &EksCluster, config: &SdkConfig) -> Result<Described, EksError> {
    let Some(region) = config.region() else { return Err(EksError::NoRegion { cluster: cluster.clone() }) };
    let cluster = EksCluster { region: Some(region.to_string()), ..cluster.clone() };
    let credentials = credentials(&cluster, config).await?;
    // What was loaded is used, instead of running a credential process a second time.
    let settings = aws_sdk_eks::config::Builder::from(config).credentials_provider(credentials).build();
    let client = aws_sdk_eks::Client::from_conf(settings);
    match client.describe_cluster().name(&cluster.name).send().await {
        Ok(answer) => Described::read(cluster, answer.cluster.unwrap_or_else(|| empty())),
        Err(error) => Err(told_apart(cluster, &error, config.endpoint_url())),
    }
}

/// Stands for the cluster of an answer that has none.
fn empty() -> aws_sdk_eks::types::Cluster {
    aws_sdk_eks::types::Cluster::builder().build()
}

/// Loads the credentials before the call, because the SDK reports what is wrong with them as a failed dispatch.
async fn credentials(cluster: &EksCluster, config: &SdkConfig) -> Result<Credentials, EksError> {
    let missing = |reason| EksError::NoCredentials { cluster: cluster.clone(), reason };
    let Some(provider) = config.credentials_provider() else { return Err(missing(None)) };
    provider.provide_credentials().await.map_err(|error| match error {
        // Says of every provider that it is not configured, which says nothing.
        CredentialsError::CredentialsNotLoaded(_) if cluster.profile.is_none() => missing(None),
        error => missing(Some(one_line(&causes(&error)))),
    })
}

fn told_apart(
    cluster: EksCluster,
    error: &SdkError<DescribeClusterError>,
    endpoint: Option<&str>,
) -> EksError {
    let endpoint = endpoint.map(one_line);
    match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().map(one_line);
            let message = service.err().message().map(one_line);
            refused(cluster, code, message, service.raw().status().as_u16())
        }
        SdkError::TimeoutError(_) => {
            let reason = format!("no answer within {} s", DEADLINE.as_secs());
            EksError::Unreachable { cluster, endpoint, reason }
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

/// Sorts what the service refused by its code: those of EKS, and those that every AWS service has (AWS API reference,
/// "Common error types").
fn refused(cluster: EksCluster, code: Option<String>, message: Option<String>, status: u16) -> EksError {
    match code.as_deref().unwrap_or_default() {
        "ResourceNotFoundException" => EksError::Missing { cluster },
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" | "NotAuthorized" => {
            EksError::Denied {
                cluster,
                action: ACTION.to_owned(),
                who: message.as_deref().and_then(who).map(str::to_owned),
                message,
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
        _ => EksError::Service { cluster, code: code.unwrap_or_else(|| format!("HTTP {status}")), message },
    }
}

/// Finds who asked, in `User: arn:aws:iam::1:user/me is not authorized to perform: …`.
fn who(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("User: ")?;
    rest.split_whitespace().next().filter(|who| who.starts_with("arn:"))
}
