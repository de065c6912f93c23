//! The command line of `kubectl spire-federate`. Doc comments here are the help text.

#![expect(clippy::doc_markdown, reason = "help texts are read in a terminal, without Markdown")]

mod bundle;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use spire_mesh::cli::{ConfirmArgs, GlobalArgs, OutputArgs, PlanArgs, VerbosityArgs, WaitArgs, WatchArgs};
use spire_mesh::completion::{Source, Takes};
use spire_mesh::entry::CommandLine;
use spire_mesh::hint::Given;
use spire_mesh::mesh::NewCluster;

pub(crate) use bundle::{
    BundleArgs, BundleName, BundleVerb, DiffArgs, Encoding, ExchangeArgs, PairName, ShowArgs,
};

/// Install SPIRE on several clusters and make them trust each other
///
/// Without a verb it is `up`: SPIRE on every cluster of the mesh file, federated pair by pair, and proven: each server
/// has fetched the other's bundle over its bundle endpoint before the command says that it worked.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-spire_federate",
    bin_name = "kubectl spire-federate",
    version,
    after_long_help = EXAMPLES
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    /// The flags of `up`, for the bare command.
    #[command(flatten)]
    pub(crate) up: UpArgs,
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
}

impl CommandLine for Cli {
    fn output(&self) -> OutputArgs {
        self.global.output
    }

    fn verbosity(&self) -> VerbosityArgs {
        self.global.verbosity
    }

    fn given(&self) -> Given {
        self.global.kube.given(self.global.mesh.mesh.as_deref())
    }
}

const EXAMPLES: &str = "\
Examples:
  # Write spire-mesh.yaml for two kubeconfig contexts and their trust domains
  kubectl spire-federate init foo-eks-cluster=foo.com bar-eks-cluster=bar.com

  # Install SPIRE on both and federate them; run it again at any time
  kubectl spire-federate

  # See what that would change
  kubectl spire-federate plan

  # With GitOps: write out what Argo CD or Flux applies, and then federate what they have installed
  kubectl spire-federate render --to manifests/
  kubectl spire-federate connect

  # See how it is; find out what is wrong and what to do about it
  kubectl spire-federate status
  kubectl spire-federate verify

  # Add a cluster to the mesh, or take one out of it
  kubectl spire-federate join baz-eks-cluster=baz.com
  kubectl spire-federate leave baz-eks-cluster

  # Replace a server's CA, step by step
  kubectl spire-federate rotate foo-eks-cluster

  # Take it away again
  kubectl spire-federate down

Exit codes:
  0 done · 1 failed · 2 wrong usage or mesh file · 3 found problems
  124 timed out · 130 interrupted";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Init(InitArgs),
    Up(UpArgs),
    /// Show what `up` would change
    #[command(after_long_help = "\
Examples:
  kubectl spire-federate plan
  kubectl spire-federate plan -o wide

  # In a pipeline: exit code 0 where nothing would change, 3 where something would
  kubectl spire-federate plan --exit-code")]
    Plan(PlanArgs),
    Render(RenderArgs),
    Connect(ConnectArgs),
    Status(StatusArgs),
    Verify(VerifyArgs),
    Join(JoinArgs),
    Leave(LeaveArgs),
    Bundle(BundleArgs),
    Rotate(RotateArgs),
    Down(DownArgs),
}

/// Write a mesh file
///
/// Writes `spire-mesh.yaml` (or the file that `--mesh` names) with one cluster for each CONTEXT=TRUST_DOMAIN.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl spire-federate init foo-eks-cluster=foo.com bar-eks-cluster=bar.com
  kubectl spire-federate init --mesh - foo-eks-cluster=foo.com bar-eks-cluster=bar.com")]
pub(crate) struct InitArgs {
    /// A kubeconfig context and the trust domain of its cluster
    #[arg(value_name = "CONTEXT=TRUST_DOMAIN", required = true, add = Takes::Each(&[Source::NewCluster]))]
    pub(crate) clusters: Vec<NewCluster>,
    /// Replace the file if it is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// Install and federate SPIRE on every cluster of the mesh file (what the bare command does)
///
/// Works on all clusters at once. It can be interrupted anywhere and run again; when everything is as it should be it
/// changes nothing and says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
#[command(after_long_help = "\
Examples:
  kubectl spire-federate up
  kubectl spire-federate up --mesh prod.yaml --yes --timeout 10m
  kubectl spire-federate up --dry-run -o json")]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Write the manifests that the mesh file alone decides, for GitOps
///
/// Asks no cluster: the same mesh file gives the same text. Each file begins with a comment that names what it leaves out, and why:
/// relationships whose addresses are read from the clusters, and identities, which do harm before the bundles are there. `connect` makes
/// those once the manifests were applied, and carries the first bundles.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  # Everything to standard output, one YAML document for each object
  kubectl spire-federate render

  # One file for each cluster
  kubectl spire-federate render --to manifests/")]
pub(crate) struct RenderArgs {
    /// Folder for one file per cluster, instead of standard output
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) to: Option<PathBuf>,
}

/// Federate SPIREs that Argo CD, Flux or kubectl have applied from what `render` writes
///
/// Does what `up` does, without the objects that `render` writes: these have to be there, and are left as they are. Waits until the servers
/// are ready, carries the first bundles, makes relationships and the identities of workloads, and proves the result. Run again, it
/// changes nothing where all is well.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl spire-federate connect
  kubectl spire-federate connect --dry-run
  kubectl spire-federate connect --yes --timeout 10m")]
pub(crate) struct ConnectArgs {
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Show every cluster's SPIRE and every relationship between them
///
/// Compares what each server holds for its peers with what the peers hold themselves. Exit code 3 when something is
/// not as it should be; `verify` says why and what to do about it.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl spire-federate status
  kubectl spire-federate status -o wide
  kubectl spire-federate status --watch")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

/// Find out what is wrong, why, and what to do about it
///
/// Reads what is really there on every cluster, lets every server fetch its peers' bundles, and compares it with the
/// desired state. Each failure names one cause, what was read as evidence, and the next command; what depends on a failed check
/// is skipped. Exit code 3 on findings.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl spire-federate verify
  kubectl spire-federate verify -o json
  kubectl spire-federate verify --fix --yes")]
pub(crate) struct VerifyArgs {
    /// Repair what can be repaired safely, such as carrying a bundle again, and verify once more
    #[arg(long)]
    pub(crate) fix: bool,
    /// Do not ask before something is repaired
    #[arg(short, long, requires = "fix")]
    pub(crate) yes: bool,
    /// Take over the Lease that another run holds: only when you know that it is gone
    #[arg(long, requires = "fix")]
    pub(crate) break_lock: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Add a cluster to the mesh
///
/// Adds it to the mesh file, whose comments and order stay, and then does what `up` does. The file is written after you
/// have agreed and before any cluster is changed, so that `up` finishes what was interrupted.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl spire-federate join baz-eks-cluster=baz.com
  kubectl spire-federate join --dry-run baz-eks-cluster=baz.com
  kubectl spire-federate join --mesh prod.yaml --yes baz-eks-cluster=baz.com")]
pub(crate) struct JoinArgs {
    /// The kubeconfig context of the cluster, and its trust domain
    #[arg(value_name = "CONTEXT=TRUST_DOMAIN", add = Takes::Each(&[Source::NewCluster]))]
    pub(crate) cluster: NewCluster,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Take a cluster out of the mesh
///
/// First the clusters that stay forget it: no workload federates with it, then the relationship goes, then its
/// bundle. Then it loses what `up` made there, as with `down`. The mesh file is written last, so that the same command
/// finishes what was interrupted.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl spire-federate leave --dry-run baz-eks-cluster
  kubectl spire-federate leave baz-eks-cluster
  kubectl spire-federate leave --yes --ca-volume delete baz-eks-cluster")]
pub(crate) struct LeaveArgs {
    /// Name of the cluster in the mesh file
    #[arg(value_name = "CLUSTER", add = Takes::Each(&[Source::Cluster]))]
    pub(crate) cluster: String,
    /// Remove SPIRE even though pods still mount its CSI driver, and its namespaces with what others have in them; where the
    /// cluster cannot be reached, leave it as it is
    #[arg(long)]
    pub(crate) force: bool,
    /// What becomes of the volume with its CA keys; asked on a terminal, kept where nobody can be asked
    #[arg(long, value_enum)]
    pub(crate) ca_volume: Option<CaVolume>,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Replace the CA of a server, without a moment in which anything is refused
///
/// Prepares a new CA, activates it when every peer's server and every agent has it, taints the old one so that everything that it
/// signed is replaced, and revokes it when nothing of it is in use. Stops before any step whose precondition does not hold; run
/// again, it goes on from there. Without a name, all clusters, one after the other.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl spire-federate rotate foo-eks-cluster
  kubectl spire-federate rotate --dry-run
  kubectl spire-federate rotate --yes --timeout 15m")]
pub(crate) struct RotateArgs {
    /// The cluster whose server gets a new CA
    #[arg(value_name = "CLUSTER", add = Takes::Each(&[Source::Cluster]))]
    pub(crate) cluster: Option<String>,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Remove what `up` made
///
/// Refuses while pods still mount the SPIFFE CSI driver: they could never be stopped cleanly after it is gone. Keeps
/// what it did not make, with the namespaces that it is in, and the volume with the servers' CA keys unless told otherwise.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl spire-federate down
  kubectl spire-federate down --yes --ca-volume delete")]
pub(crate) struct DownArgs {
    /// Remove SPIRE even though pods still mount its CSI driver, and its namespaces with what others have in them
    #[arg(long)]
    pub(crate) force: bool,
    /// What becomes of the volume with the server's CA keys; asked on a terminal, kept where nobody can be asked
    #[arg(long, value_enum)]
    pub(crate) ca_volume: Option<CaVolume>,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// What becomes of a server's data when its SPIRE goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CaVolume {
    /// Keep it: the next `up` goes on with the same CA
    Keep,
    /// Delete it: the next `up` starts a new CA, and everybody has to learn it
    Delete,
}
