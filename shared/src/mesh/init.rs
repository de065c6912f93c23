//! A first mesh file.

use std::fmt::Write;
use std::str::FromStr;

use super::values;
use crate::hint::{Advice, Hint, Plugin};
use crate::report::escape;
use crate::trust::{TrustDomain, TrustDomainError};

/// Longest name that is made from a context's name; leaves room for a number.
const LONGEST_NAME: usize = 59;

/// A kubeconfig context and the trust domain of its cluster, written `CONTEXT=TRUST_DOMAIN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCluster {
    /// Name of the kubeconfig context.
    pub context: String,
    /// Trust domain of the cluster.
    pub trust_domain: TrustDomain,
}

/// Why a text is not `CONTEXT=TRUST_DOMAIN`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NewClusterError {
    /// There is no `=`.
    #[error("write it as CONTEXT=TRUST_DOMAIN, such as foo-eks-cluster=foo.com")]
    Shape,
    /// The context's name cannot be one.
    #[error("{0}")]
    Context(String),
    /// The trust domain is not valid.
    #[error(transparent)]
    TrustDomain(#[from] TrustDomainError),
}

/// Why no mesh file can be written for some clusters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NewFileError {
    /// Fewer than two clusters.
    #[error("a mesh has at least two clusters, to trust each other")]
    TooFew,
    /// The same context twice.
    #[error("context `{}` is given twice", escape(.0))]
    Context(String),
    /// The same trust domain twice.
    #[error("trust domain `{0}` is given twice: each cluster has one of its own")]
    TrustDomain(TrustDomain),
}

impl Hint for NewFileError {
    fn hint(&self) -> Option<Advice> {
        Some(Plugin::SpireFederate.command(["init", "CONTEXT=TRUST_DOMAIN", "CONTEXT=TRUST_DOMAIN"]).into())
    }
}

impl FromStr for NewCluster {
    type Err = NewClusterError;

    /// Parses `CONTEXT=TRUST_DOMAIN`. A context's name can hold `=` itself, a trust domain cannot.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (context, trust_domain) = text.rsplit_once('=').ok_or(NewClusterError::Shape)?;
        let context = values::context(context).map_err(NewClusterError::Context)?;
        Ok(Self { context, trust_domain: trust_domain.parse()? })
    }
}

/// Returns the text of a mesh file for these clusters.
///
/// # Errors
///
/// When they are fewer than two, or a context or a trust domain is there twice.
pub fn new_file(clusters: &[NewCluster]) -> Result<String, NewFileError> {
    if clusters.len() < 2 {
        return Err(NewFileError::TooFew);
    }
    for (index, cluster) in clusters.iter().enumerate() {
        let before = &clusters[..index];
        if before.iter().any(|other| other.context == cluster.context) {
            return Err(NewFileError::Context(cluster.context.clone()));
        }
        if before.iter().any(|other| other.trust_domain == cluster.trust_domain) {
            return Err(NewFileError::TrustDomain(cluster.trust_domain.clone()));
        }
    }

    let mut text = HEAD.to_owned();
    let mut names: Vec<String> = Vec::new();
    for cluster in clusters {
        let name = name_for(&cluster.context, &names);
        for (index, (key, value)) in keys(&name, cluster).into_iter().enumerate() {
            let _ = writeln!(text, "    {} {key}: {value}", if index == 0 { "-" } else { " " });
        }
        names.push(name);
    }
    Ok(text)
}

/// Returns the keys that a cluster needs in a mesh file, each with its value as YAML. The context is left out where it is
/// the name.
pub(super) fn keys(name: &str, cluster: &NewCluster) -> Vec<(&'static str, String)> {
    let NewCluster { context, trust_domain } = cluster;
    let mut keys = vec![("name", scalar(name))];
    if name != context {
        keys.push(("context", scalar(context)));
    }
    keys.push(("trustDomain", scalar(trust_domain.as_str())));
    keys
}

/// Makes the name of a cluster from its context, with a number where that name is taken.
pub(super) fn name_for(context: &str, taken: &[String]) -> String {
    unique(&name_from(context), taken)
}

const HEAD: &str = "\
# The clusters that trust each other. All other keys have defaults that work on EKS.
apiVersion: spire-mesh/v1alpha1
kind: Mesh
metadata:
  name: spire-mesh
spec:
  # For every cluster, or below one cluster for that one only:
  # spire:
  #   bundleEndpoint: {expose: LoadBalancer}  # an internal one on AWS; or NodePort, or URL with url: https://...
  #   storage: {class: gp3, size: 1Gi}        # the cluster's default class without it
  #   managed: false                          # SPIRE is there already and is only federated
  clusters:
";

/// Makes a DNS label from a context's name: the cluster's name in `arn:aws:eks:...:cluster/NAME` and in eksctl's
/// `USER@NAME.REGION.eksctl.io`, else all of it with `-` for what a label cannot hold.
fn name_from(context: &str) -> String {
    let part = match context.strip_prefix("arn:") {
        Some(arn) => arn.rsplit(['/', ':']).next().unwrap_or_default(),
        None => match context.rsplit_once('@') {
            Some((_, cluster)) if cluster.ends_with(".eksctl.io") => {
                cluster.split('.').next().unwrap_or_default()
            }
            _ => context,
        },
    };
    if values::is_dns_label(part) {
        return part.to_owned();
    }
    let mut name = String::new();
    for character in part.chars().map(|character| character.to_ascii_lowercase()) {
        let character = if matches!(character, 'a'..='z' | '0'..='9') { character } else { '-' };
        if character != '-' || !(name.is_empty() || name.ends_with('-')) {
            name.push(character);
        }
    }
    name.truncate(LONGEST_NAME);
    let name = name.trim_end_matches('-');
    if name.is_empty() { "cluster".to_owned() } else { name.to_owned() }
}

/// Adds a number to a name that is taken.
fn unique(name: &str, taken: &[String]) -> String {
    let numbered = (2..).map(|number| {
        let end = name.len().min(LONGEST_NAME);
        format!("{}-{number}", name[..end].trim_end_matches('-'))
    });
    let free = |candidate: &String| !taken.contains(candidate);
    std::iter::once(name.to_owned()).chain(numbered).find(free).unwrap_or_default()
}

/// Writes a text as a YAML scalar, in quotes unless it is text to every YAML parser without them.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._/@:-".contains(c))
        && !text.ends_with(':')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    // A JSON string is a YAML scalar.
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::Mesh;

    fn clusters(pairs: &[&str]) -> Vec<NewCluster> {
        pairs.iter().map(|pair| pair.parse().unwrap()).collect()
    }

    fn round_trip(pairs: &[&str]) -> Vec<(String, String)> {
        let clusters = clusters(pairs);
        let mesh = Mesh::parse(&new_file(&clusters).unwrap(), "new.yaml").unwrap();
        for (cluster, new) in mesh.clusters.iter().zip(&clusters) {
            assert_eq!((&cluster.context, &cluster.trust_domain), (&new.context, &new.trust_domain));
        }
        assert_eq!(mesh.clusters.len(), clusters.len());
        mesh.clusters.into_iter().map(|cluster| (cluster.name, cluster.context)).collect()
    }

    #[test]
    fn a_new_file_is_short_and_valid() {
        let pairs = ["foo-eks-cluster=foo.com", "arn:aws:eks:eu-west-1:123456789012:cluster/bar=bar.com"];
        round_trip(&pairs);
        insta::assert_snapshot!(new_file(&clusters(&pairs)).unwrap(), @r"
        # The clusters that trust each other. All other keys have defaults that work on EKS.
        apiVersion: spire-mesh/v1alpha1
        kind: Mesh
        metadata:
          name: spire-mesh
        spec:
          # For every cluster, or below one cluster for that one only:
          # spire:
          #   bundleEndpoint: {expose: LoadBalancer}  # an internal one on AWS; or NodePort, or URL with url: https://...
          #   storage: {class: gp3, size: 1Gi}        # the cluster's default class without it
          #   managed: false                          # SPIRE is there already and is only federated
          clusters:
            - name: foo-eks-cluster
              trustDomain: foo.com
            - name: bar
              context: arn:aws:eks:eu-west-1:123456789012:cluster/bar
              trustDomain: bar.com
        ");
    }

    #[test]
    fn every_context_gets_a_name_of_its_own() {
        let names: Vec<_> = round_trip(&[
            "arn:aws:eks:eu-west-1:1:cluster/Prod_1=a",
            "arn:aws:eks:eu-west-2:1:cluster/Prod_1=b",
            "me@foo.eu-west-1.eksctl.io=c",
            "gke_project_europe-west1_foo=d",
            "default/api-foo:6443/admin=e",
            "true=f",
            "123=g",
            "東京=10.0",
            "a=b=h",
            "with space: #\"x\"=on",
        ])
        .into_iter()
        .map(|(name, _)| name)
        .collect();
        insta::assert_snapshot!(names.join("\n"), @r"
        prod-1
        prod-1-2
        foo
        gke-project-europe-west1-foo
        default-api-foo-6443-admin
        true
        123
        cluster
        a-b
        with-space-x
        ");
        let long = format!("{}=a.com", "a".repeat(70));
        let longer = format!("{}=b.com", "a".repeat(80));
        assert!(round_trip(&[&long, &longer]).iter().all(|(name, _)| values::is_dns_label(name)));
        let label = format!("{}=a.com", "a".repeat(63));
        let arn = format!("arn:aws:eks:x:1:cluster/{}=b.com", "a".repeat(63));
        assert!(round_trip(&[&label, &arn]).iter().all(|(name, _)| values::is_dns_label(name)));
    }

    #[test]
    fn wrong_pairs_are_refused_with_the_reason() {
        let refused = |pair: &str| pair.parse::<NewCluster>().unwrap_err().to_string();
        insta::assert_snapshot!(refused("foo"), @"write it as CONTEXT=TRUST_DOMAIN, such as foo-eks-cluster=foo.com");
        insta::assert_snapshot!(refused("=foo.com"), @"the name of a context must not be empty");
        insta::assert_snapshot!(refused("foo=Foo.com"), @"trust domain `Foo.com` holds `F`; only lower-case letters, digits, `.`, `-` and `_` are allowed (SPIFFE-ID, section 2.1)");
        insta::assert_snapshot!(refused("a\u{1b}b=foo.com"), @r"context `a\u{1b}b` holds characters that cannot be shown");
        let refused = |pairs: &[&str]| new_file(&clusters(pairs)).unwrap_err().to_string();
        insta::assert_snapshot!(refused(&["foo=foo.com"]), @"a mesh has at least two clusters, to trust each other");
        insta::assert_snapshot!(refused(&["foo=foo.com", "foo=bar.com"]), @"context `foo` is given twice");
        insta::assert_snapshot!(refused(&["foo=foo.com", "bar=foo.com"]), @"trust domain `foo.com` is given twice: each cluster has one of its own");
    }

    #[test]
    fn a_number_makes_a_name_unique_and_keeps_it_a_label() {
        let taken = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(unique("foo", &[]), "foo");
        assert_eq!(unique("foo", &taken(&["foo", "foo-3"])), "foo-2");
        assert_eq!(unique("foo", &taken(&["foo", "foo-2", "foo-3"])), "foo-4");
        let long = "a".repeat(63);
        assert_eq!(unique(&long, &taken(&[&long])), format!("{}-2", "a".repeat(LONGEST_NAME)));
        let dash = format!("{}-{}", "a".repeat(LONGEST_NAME - 1), "b".repeat(4));
        assert_eq!(unique(&dash, &taken(&[&dash])), format!("{}-2", "a".repeat(LONGEST_NAME - 1)));
        let cut = name_from(&format!("{}_{}", "a".repeat(LONGEST_NAME - 1), "b".repeat(9)));
        assert_eq!(cut, "a".repeat(LONGEST_NAME - 1), "no dash is left at the end");
    }

    #[test]
    fn texts_that_yaml_takes_for_something_else_are_quoted() {
        for plain in ["foo", "a.b/c@d:e-f_1", "trueish", "A"] {
            assert_eq!(scalar(plain), plain);
        }
        for quoted in
            ["", "1a", "-a", "a:", "a b", "a#", "true", "FALSE", "Null", "yes", "no", "on", "Off", "y", "N"]
        {
            assert_eq!(scalar(quoted), format!("{quoted:?}"));
        }
    }

    #[test]
    fn the_third_cluster_is_compared_with_all_before_it() {
        let refused = |third: &str| {
            let pairs = ["foo=foo.com", "bar=bar.com", third];
            new_file(&clusters(&pairs)).map_err(|error| error.hint().map(|_| error.to_string()))
        };
        assert_eq!(refused("foo=baz.com"), Err(Some("context `foo` is given twice".to_owned())));
        let twice = "trust domain `bar.com` is given twice: each cluster has one of its own".to_owned();
        assert_eq!(refused("baz=bar.com"), Err(Some(twice)));
        assert!(refused("baz=baz.com").unwrap().ends_with("    - name: baz\n      trustDomain: baz.com\n"));
    }
}
