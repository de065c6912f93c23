//! Why AWS did not describe a cluster, and what to do about it.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::iter;

use spire_mesh::hint::{Advice, Hint};
use spire_mesh::mesh::{EksCluster, EndpointUrlError};

/// Why AWS did not describe a cluster. Texts of AWS are in it with their control characters escaped.
#[derive(Debug, thiserror::Error)]
pub enum EksError {
    /// The account has no such cluster in the region.
    #[error("the account of the AWS credentials has no {}", Named(cluster))]
    Missing {
        /// The cluster, with the region that was asked.
        cluster: Box<EksCluster>,
    },
    /// It is being made or deleted, or could not be made.
    #[error("{} is {status}, not ACTIVE", Named(cluster))]
    NotActive {
        /// The cluster, with the region that was asked.
        cluster: Box<EksCluster>,
        /// The state, as EKS calls it.
        status: String,
    },
    /// It runs, and has no address.
    #[error("{} is {status}, and has no address of an API server", Named(cluster))]
    NoEndpoint {
        /// The cluster, with the region that was asked.
        cluster: Box<EksCluster>,
        /// The state, as EKS calls it.
        status: String,
    },
    /// Its address is none that could be used.
    #[error("the address of {} is unusable", Named(cluster))]
    UnusableEndpoint {
        /// The cluster, with the region that was asked.
        cluster: Box<EksCluster>,
        /// What is wrong with the address.
        source: EndpointUrlError,
    },
    /// The credentials are good, and do not suffice.
    #[error(
        "{} has no permission for {action} of {}{}",
        who.as_deref().unwrap_or("the user of the AWS credentials"),
        Named(cluster),
        After(why.as_deref())
    )]
    Denied {
        /// The cluster, with the region that was asked.
        cluster: Box<EksCluster>,
        /// What was asked for, as it is written in policies.
        action: &'static str,
        /// Who asked: an ARN.
        who: Option<String>,
        /// What AWS said about why not, such as the kind of policy that denies it.
        why: Option<String>,
    },
    /// There are no credentials.
    #[error("there are no AWS credentials for {}{}", Named(cluster), After(reason.as_deref()))]
    NoCredentials {
        /// The cluster, with the region that would have been asked.
        cluster: Box<EksCluster>,
        /// Why not, where somebody set some up.
        reason: Option<String>,
    },
    /// There are credentials, and AWS does not accept them.
    #[error("AWS does not accept the credentials for {}: {code}{}", Named(cluster), After(message.as_deref()))]
    Rejected {
        /// The cluster, with the region that was asked.
        cluster: Box<EksCluster>,
        /// The service's code.
        code: String,
        /// What AWS said.
        message: Option<String>,
    },
    /// Nothing says which region to ask.
    #[error("there is no AWS region for {}", Named(cluster))]
    NoRegion {
        /// The cluster.
        cluster: Box<EksCluster>,
    },
    /// AWS wants fewer requests, and wanted so after several attempts.
    #[error("AWS throttles requests, also after several attempts to ask about {}", Named(cluster))]
    Throttled {
        /// The cluster, with the region that was asked.
        cluster: Box<EksCluster>,
    },
    /// There is no way to AWS.
    #[error("cannot reach AWS{} for {}: {reason}", At(endpoint.as_deref()), Named(cluster))]
    Unreachable {
        /// The cluster, with the region that was asked.
        cluster: Box<EksCluster>,
        /// Where requests go, if that has been set (`AWS_ENDPOINT_URL`).
        endpoint: Option<String>,
        /// What went wrong.
        reason: String,
    },
    /// AWS said something else.
    #[error("AWS does not describe {}: {code}{}", Named(cluster), After(message.as_deref()))]
    Service {
        /// The cluster, with the region that was asked.
        cluster: Box<EksCluster>,
        /// The service's code, or the status of its answer.
        code: String,
        /// What it said.
        message: Option<String>,
    },
}

impl Hint for EksError {
    fn hint(&self) -> Option<Advice> {
        Some(Advice::from(match self {
            Self::Missing { cluster } => command("aws eks list-clusters", cluster),
            Self::NotActive { cluster, status } if matches!(status.as_str(), "CREATING" | "PENDING") => {
                command(&format!("aws eks wait cluster-active --name {}", cluster.name), cluster)
            }
            Self::NoEndpoint { cluster, .. } => {
                format!("set `endpoint.server` in the mesh file, or look: {}", describe(cluster))
            }
            Self::Denied { cluster, action, who, .. } => {
                let by_hand = match who {
                    Some(_) => describe(cluster),
                    None => command("aws sts get-caller-identity", cluster),
                };
                format!("allow {action}, or set `endpoint.eks.profile` in the mesh file; by hand: {by_hand}")
            }
            Self::NoCredentials { cluster, .. } if cluster.role_arn.is_some() => {
                let role = cluster.role_arn.as_deref().unwrap_or_default();
                let assume =
                    format!("aws sts assume-role --role-session-name by-hand --role-arn {}", quoted(role));
                format!("let the role be taken on by who you are; by hand: {}", command(&assume, cluster))
            }
            Self::NoCredentials { cluster, reason } => match &cluster.profile {
                Some(profile) => {
                    let profile = quoted(profile);
                    format!("aws configure list --profile {profile}, then: aws sso login --profile {profile}")
                }
                None if reason.is_some() => command("aws sts get-caller-identity", cluster),
                None => "aws configure sso, or set AWS_PROFILE".to_owned(),
            },
            Self::Rejected { cluster, code, .. } => match &cluster.profile {
                Some(profile) if code.starts_with("Expired") => {
                    format!("aws sso login --profile {}", quoted(profile))
                }
                _ => command("aws sts get-caller-identity", cluster),
            },
            Self::NoRegion { .. } => "set `endpoint.eks.region` in the mesh file, or AWS_REGION".to_owned(),
            Self::Throttled { cluster } => format!("try again later; by hand: {}", describe(cluster)),
            Self::Unreachable { endpoint: Some(_), .. } => {
                "is AWS_ENDPOINT_URL what it should be? Without it requests go to AWS".to_owned()
            }
            Self::NotActive { cluster, .. }
            | Self::UnusableEndpoint { cluster, .. }
            | Self::Unreachable { cluster, .. }
            | Self::Service { cluster, .. } => describe(cluster),
        }))
    }
}

fn describe(cluster: &EksCluster) -> String {
    command(&format!("aws eks describe-cluster --name {}", cluster.name), cluster)
}

/// Completes a command of the AWS CLI so that it asks where this crate did.
pub(crate) fn command(command: &str, cluster: &EksCluster) -> String {
    let mut command = command.to_owned();
    for (flag, value) in [("--region", &cluster.region), ("--profile", &cluster.profile)] {
        if let Some(value) = value {
            command.extend([" ", flag, " ", &quoted(value)]);
        }
    }
    command
}

/// Quotes an argument for a shell, if it needs that.
pub(crate) fn quoted(argument: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./@:+=,".contains(&byte);
    if argument.bytes().all(plain) {
        Cow::Borrowed(argument)
    } else {
        Cow::Owned(format!("'{}'", argument.replace('\'', r"'\''")))
    }
}

/// Joins an error and what caused it. Many errors of the SDK say in their own text only that something failed.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for said in iter::successors(Some(error), |&error| error.source()).map(ToString::to_string) {
        // Some errors show the whole request, and what it is signed with is a part of that.
        // And some say nothing: what follows has the code and the words.
        let is_empty = said == "service error" || said.starts_with("unhandled error (");
        if said.contains("Request {") || text.contains(&said) || is_empty {
            continue;
        }
        let said = what_aws_said(&said).unwrap_or(said);
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&said);
    }
    text
}

/// Takes code and message out of an error that the SDK knows no type for, and shows as it is in memory:
/// `unhandled error (CODE): Error { code: "CODE", message: "MESSAGE", aws_request_id: "ID" }`.
fn what_aws_said(dump: &str) -> Option<String> {
    let (_, rest) = dump.split_once("Error { code: \"")?;
    let (code, rest) = rest.split_once("\", message: \"")?;
    let message = rest.split("\", ").next()?.trim_end_matches("\" }");
    Some(format!("{code}: {message}"))
}

/// Names a cluster in a sentence.
struct Named<'a>(&'a EksCluster);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EKS cluster `{}`", self.0.name)?;
        self.0.region.iter().try_for_each(|region| write!(f, " in region `{region}`"))?;
        self.0.role_arn.iter().try_for_each(|role| write!(f, " as role `{role}`"))
    }
}

/// Adds what somebody said, if they said something.
struct After<'a>(Option<&'a str>);

impl fmt::Display for After<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|text| write!(f, ": {text}"))
    }
}

/// Adds a place, if it is not the usual one.
struct At<'a>(Option<&'a str>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|place| write!(f, " at {place}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted_whatever_the_profile_is_called() {
        let cluster = |profile: &str| EksCluster {
            name: "foo".to_owned(),
            region: Some("eu-west-1".to_owned()),
            profile: Some(profile.to_owned()),
            role_arn: None,
        };
        insta::assert_snapshot!(describe(&cluster("prod")), @"aws eks describe-cluster --name foo --region eu-west-1 --profile prod");
        insta::assert_snapshot!(describe(&cluster("it's $(mine)")), @r"aws eks describe-cluster --name foo --region eu-west-1 --profile 'it'\''s $(mine)'");
    }
}
