//! The command line of `bundle`, and how bundles are named on it.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use spire_mesh::cli::{ConfirmArgs, WaitArgs};
use spire_mesh::completion::{Source, Takes};

/// Show, compare and carry trust bundles
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl spire-federate bundle show
  kubectl spire-federate bundle show foo-eks-cluster/bar-eks-cluster --encoding pem
  kubectl spire-federate bundle diff
  kubectl spire-federate bundle exchange --yes")]
pub(crate) struct BundleArgs {
    #[command(subcommand)]
    pub(crate) verb: BundleVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BundleVerb {
    Show(ShowArgs),
    Diff(DiffArgs),
    Exchange(ExchangeArgs),
}

/// Show the authorities of trust bundles
///
/// Without a name, every cluster's own bundle and those that it holds for the others.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  # All bundles on all clusters
  kubectl spire-federate bundle show

  # The own bundle of one cluster, as SPIFFE's JSON
  kubectl spire-federate bundle show foo-eks-cluster --encoding spiffe

  # What foo-eks-cluster holds for bar-eks-cluster, as PEM
  kubectl spire-federate bundle show foo-eks-cluster/bar-eks-cluster --encoding pem")]
pub(crate) struct ShowArgs {
    /// A cluster, for its own bundle; HOLDER/CLUSTER for the one that HOLDER has stored for CLUSTER
    #[arg(value_name = "[HOLDER/]CLUSTER", add = Takes::Each(&[Source::Cluster, Source::Pair]))]
    pub(crate) bundle: Option<BundleName>,
    /// Write the bundle itself; for one bundle
    #[arg(long, value_enum, requires = "bundle")]
    pub(crate) encoding: Option<Encoding>,
}

/// How a bundle is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// Certificates, as OpenSSL reads them
    Pem,
    /// SPIFFE's JSON, as `spire-server bundle set -format spiffe` reads it
    Spiffe,
}

/// Compare what clusters hold for each other with what the others hold themselves
///
/// Exit code 3 when something differs.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl spire-federate bundle diff
  kubectl spire-federate bundle diff foo-eks-cluster/bar-eks-cluster -o json")]
pub(crate) struct DiffArgs {
    /// What HOLDER has stored for CLUSTER; all pairs without it
    #[arg(value_name = "HOLDER/CLUSTER", add = Takes::Each(&[Source::Pair]))]
    pub(crate) pair: Option<PairName>,
}

/// Carry bundles from cluster to cluster over the Kubernetes API
///
/// For a server that can no longer fetch its peer's bundle, because it lacks the authority that the peer signs with. Carries
/// what differs, takes a bundle out of the relationship object that would set an old one again, and lets the server fetch.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl spire-federate bundle exchange
  kubectl spire-federate bundle exchange foo-eks-cluster/bar-eks-cluster --yes")]
pub(crate) struct ExchangeArgs {
    /// The bundle that HOLDER has stored for CLUSTER; all pairs without it
    #[arg(value_name = "HOLDER/CLUSTER", add = Takes::Each(&[Source::Pair]))]
    pub(crate) pair: Option<PairName>,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Two clusters: who holds the bundle of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PairName {
    pub(crate) holder: String,
    pub(crate) of: String,
}

impl FromStr for PairName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((holder, of))
                if !holder.is_empty() && !of.is_empty() && !of.contains('/') && holder != of =>
            {
                Ok(Self { holder: holder.to_owned(), of: of.to_owned() })
            }
            _ => Err("two clusters are needed: write it as HOLDER/CLUSTER, such as foo-eks-cluster/bar-eks-cluster".to_owned()),
        }
    }
}

/// One bundle: a cluster's own, or what it holds for another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BundleName {
    Own(String),
    Stored(PairName),
}

impl FromStr for BundleName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('/') { text.parse().map(Self::Stored) } else { Ok(Self::Own(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_bundles_are_parsed() {
        let pair = PairName { holder: "a".to_owned(), of: "b".to_owned() };
        assert_eq!("a/b".parse(), Ok(BundleName::Stored(pair)));
        assert_eq!("a".parse(), Ok(BundleName::Own("a".to_owned())));
        for text in ["a/a", "/b", "a/", "a/b/c"] {
            assert!(text.parse::<BundleName>().is_err(), "{text}");
        }
    }
}
