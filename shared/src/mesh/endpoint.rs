//! How the other clusters reach a cluster's API server: as written, checked, and what it means.

use schemars::JsonSchema;
use serde::Deserialize;

use super::EndpointUrl;
use super::shape::{Findings, Unique, Where, checked, parse_url, transposed};
use super::tree::{Path, Step};
use super::values;
use crate::report::escape;

/// Where the other clusters reach a cluster's API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ApiEndpoint {
    /// Where the kubeconfig does.
    #[default]
    Kubeconfig,
    /// At this address.
    Server(EndpointUrl),
    /// Where AWS says that it is.
    Eks(EksCluster),
}

/// A cluster as EKS knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EksCluster {
    /// Its name in its account and region: letters, digits, `-` and `_`.
    pub name: String,
    /// Its region; the one that every AWS tool would take when it is absent.
    pub region: Option<String>,
    /// The profile of the AWS configuration that has the credentials; the one that every AWS tool would take when it is
    /// absent.
    pub profile: Option<String>,
    /// The role that those credentials are exchanged for, because the cluster is in another account: its ARN.
    pub role_arn: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EndpointFile {
    /// The address, `https://host:port`.
    #[schemars(regex(pattern = "^https://"))]
    pub(super) server: Option<String>,
    /// The cluster as EKS knows it: AWS is asked for the address.
    pub(super) eks: Option<EksFile>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EksFile {
    /// Name of the cluster in EKS. Default: its name in the mesh.
    #[schemars(length(max = 100), regex(pattern = "^[0-9A-Za-z][-_0-9A-Za-z]*$"))]
    pub(super) name: Option<String>,
    /// Region of the cluster, such as `eu-west-1`. Default: the region of environment or profile, as for every AWS tool.
    pub(super) region: Option<String>,
    /// Profile of the AWS configuration. Default: `AWS_PROFILE` or `default`, as for every AWS tool.
    #[schemars(length(min = 1))]
    pub(super) profile: Option<String>,
    /// Role to take on, of the account that the cluster is in: its ARN. Default: none.
    #[schemars(regex(pattern = "^arn:[^:]+:iam::[0-9]{12}:role/"))]
    pub(super) role_arn: Option<String>,
}

/// API servers that only one cluster of a mesh may have.
#[derive(Default)]
pub(super) struct SeenEndpoints {
    servers: Unique,
    eks_clusters: Unique,
}

/// Checks how a cluster's API server is reached. `cluster` is the cluster's name in the mesh, if that is valid.
pub(super) fn resolve(
    file: Option<EndpointFile>,
    cluster: Option<&str>,
    path: &Path,
    seen: &mut SeenEndpoints,
    findings: &mut Findings,
) -> Option<ApiEndpoint> {
    let at = |keys: &[&str]| {
        let keys = keys.iter().map(|&key| Step::Key(key.to_owned()));
        path.iter().cloned().chain(keys).collect::<Path>()
    };
    match file {
        None => Some(ApiEndpoint::Kubeconfig),
        Some(EndpointFile { server: Some(server), eks: None }) => {
            let url = parse_url(&server, at(&["server"]), findings)?;
            seen.servers.add("API server", url.as_str().trim_end_matches('/'), at(&["server"]), findings);
            Some(ApiEndpoint::Server(url))
        }
        Some(EndpointFile { server: None, eks: Some(EksFile { name, region, profile, role_arn }) }) => {
            let place = at(if name.is_some() { &["eks", "name"] } else { &["eks"] });
            let name = match name {
                Some(name) => checked(eks_name(&name), place.clone(), findings),
                None => cluster.map(str::to_owned),
            };
            let region = region.map(|text| checked(eks_region(&text), at(&["eks", "region"]), findings));
            let profile = profile.map(|text| checked(aws_profile(&text), at(&["eks", "profile"]), findings));
            let role_arn = role_arn.map(|text| checked(role(&text), at(&["eks", "roleArn"]), findings));
            let cluster = EksCluster {
                name: name?,
                region: transposed(region)?,
                profile: transposed(profile)?,
                role_arn: transposed(role_arn)?,
            };
            seen.eks_clusters.add("EKS cluster", &identity(&cluster), place, findings);
            Some(ApiEndpoint::Eks(cluster))
        }
        Some(EndpointFile { server: Some(_), eks: Some(_) }) => {
            let message = "`endpoint` takes one of `server` and `eks`, not both";
            findings.add_with(message, Where::Key(at(&["eks"])), Some(Where::Key(at(&["server"]))));
            None
        }
        Some(EndpointFile { server: None, eks: None }) => {
            let message = "`endpoint` says nothing; leave it out, or give it `server` or `eks`";
            findings.add(message, path.clone());
            None
        }
    }
}

/// Writes what tells one cluster of EKS from another. The same name with another profile or role is another account's.
fn identity(EksCluster { name, region, profile, role_arn }: &EksCluster) -> String {
    let profile = profile.as_ref().map(|profile| format!("profile {profile}"));
    let role = role_arn.as_ref().map(|role| format!("role {role}"));
    let rest: Vec<&str> =
        [region.as_deref(), profile.as_deref(), role.as_deref()].into_iter().flatten().collect();
    if rest.is_empty() { name.clone() } else { format!("{name} ({})", rest.join(", ")) }
}

/// Checks the name of a cluster as `CreateCluster` of EKS does.
fn eks_name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let starts = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    if starts && text.len() <= 100 && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    // The ARN is what consoles and contexts show.
    if let Some((_, name)) = text.strip_prefix("arn:").and_then(|arn| arn.split_once(":cluster/")) {
        return Err(format!("`{}` is an ARN; its cluster is called `{}`", escape(text), escape(name)));
    }
    Err(format!(
        "`{}` is not the name of an EKS cluster: at most 100 letters, digits, `-` and `_`, with a letter or digit first",
        escape(text)
    ))
}

/// Checks the name of a region. It becomes a part of the address that credentials are sent to.
fn eks_region(text: &str) -> Result<String, String> {
    let is_region = |text: &str| {
        values::is_dns_label(text) && text.contains('-') && text.ends_with(|last: char| last.is_ascii_digit())
    };
    if is_region(text) {
        return Ok(text.to_owned());
    }
    let region = text.trim_end_matches(|last: char| last.is_ascii_lowercase());
    if is_region(region) && text.len() == region.len() + 1 {
        return Err(format!("`{text}` is an availability zone; its region is `{region}`"));
    }
    Err(format!("`{}` is not an AWS region such as eu-west-1", escape(text)))
}

/// Checks the name of a profile, which may hold nearly anything.
fn aws_profile(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("the name of a profile must not be empty".to_owned())
    } else if escape(text) != text || text.contains([']', '[']) {
        Err(format!("`{}` is not the name of a profile", escape(text)))
    } else {
        Ok(text.to_owned())
    }
}

/// Checks the ARN of a role.
fn role(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_/-".contains(&byte);
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    if let ["arn", partition, "iam", "", account, resource] = parts[..]
        && values::is_dns_label(partition)
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty() && name.bytes().all(allowed))
        && text.len() <= 2048
    {
        return Ok(text.to_owned());
    }
    Err(format!("`{}` is not the ARN of a role such as arn:aws:iam::123456789012:role/NAME", escape(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_eks_clusters_are_what_aws_takes() {
        for fine in ["a", "Prod_1", "1-a", &"a".repeat(100)] {
            assert_eq!(eks_name(fine).as_deref(), Ok(fine));
        }
        for wrong in ["", "-a", "_a", "a.b", "a b", &"a".repeat(101), "arn:aws:eks"] {
            assert!(eks_name(wrong).unwrap_err().contains("is not the name"), "{wrong}");
        }
        let arn = eks_name("arn:aws:eks:eu-west-1:1:cluster/foo").unwrap_err();
        assert_eq!(arn, "`arn:aws:eks:eu-west-1:1:cluster/foo` is an ARN; its cluster is called `foo`");
        assert!(eks_name("x:cluster/foo").unwrap_err().contains("is not the name"));
    }

    #[test]
    fn regions_are_told_from_their_zones() {
        for fine in ["eu-west-1", "us-gov-west-1", "mx-central-12"] {
            assert_eq!(eks_region(fine).as_deref(), Ok(fine));
        }
        let zone = eks_region("eu-west-1a").unwrap_err();
        assert_eq!(zone, "`eu-west-1a` is an availability zone; its region is `eu-west-1`");
        for wrong in ["", "eu", "1", "eu-west", "eu-west-1ab", "EU-west-1", "eu west-1", "-1", "eu1", "eu1a"]
        {
            assert!(eks_region(wrong).unwrap_err().contains("is not an AWS region"), "{wrong}");
        }
    }

    #[test]
    fn roles_are_known_by_their_arn_in_every_partition() {
        for fine in ["arn:aws:iam::123456789012:role/a", "arn:aws-cn:iam::123456789012:role/path/Reader@x+y"]
        {
            assert_eq!(role(fine).as_deref(), Ok(fine));
        }
        for wrong in [
            "reader",
            "arn:aws:iam::12345678901:role/a",
            "arn:aws:iam::12345678901x:role/a",
            "arn:aws:iam::123456789012:user/a",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/a b",
            "arn:aws:iam:eu-west-1:123456789012:role/a",
            "arn::iam::123456789012:role/a",
        ] {
            assert!(role(wrong).unwrap_err().contains("is not the ARN of a role"), "{wrong}");
        }
    }

    #[test]
    fn profiles_hold_what_an_ini_file_can() {
        for fine in ["default", "my admin", "a/b"] {
            assert_eq!(aws_profile(fine).as_deref(), Ok(fine));
        }
        for wrong in ["", " ", "a]", "[a", "a\u{1b}", "a\nb"] {
            assert!(aws_profile(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_eks_cluster_is_told_by_what_is_known_of_it() {
        let told = |region: Option<&str>, profile: Option<&str>| {
            let (region, profile) = (region.map(str::to_owned), profile.map(str::to_owned));
            identity(&EksCluster { name: "foo".to_owned(), region, profile, role_arn: None })
        };
        assert_eq!(told(None, None), "foo");
        assert_eq!(told(Some("eu-west-1"), None), "foo (eu-west-1)");
        assert_eq!(told(Some("eu-west-1"), Some("admin")), "foo (eu-west-1, profile admin)");
    }
}
