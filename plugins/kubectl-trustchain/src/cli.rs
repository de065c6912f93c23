//! The command line of `kubectl trustchain`. Doc comments here are the help text.

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum, ValueHint};
use spire_mesh::cli::{KubeArgs, OutputArgs, VerbosityArgs};
use spire_mesh::completion::{Source, Takes};
use spire_mesh::entry::CommandLine;
use spire_mesh::hint::Given;
use spire_mesh::report::Format;
use spire_mesh::trustchain::Threshold;

/// Show the certificate chain and the trust bundles that a workload really has, and say whether they are right
///
/// Reads them from the workload's Envoy, verifies signatures, validity and every rule for SPIFFE X.509-SVIDs with the bundle of the workload's
/// own trust domain, and says in words what is wrong. Exit code 3 when something is.
///
/// WORKLOAD is a deployment, stateful set, daemon set, job or pod: its name, KIND/NAME, how its name begins, or with a place before it,
/// CLUSTER/NAMESPACE/NAME, CLUSTER being one of the mesh file or a context; also NAME.NAMESPACE, as istioctl has it, and service/NAME for
/// the workloads behind a service. Instead of a workload it can also be secret/NAME, istiod (what it presents to proxies), or the address of a
/// bundle endpoint, https://HOST:PORT.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-trustchain",
    bin_name = "kubectl trustchain",
    version,
    after_long_help = EXAMPLES
)]
pub(crate) struct Cli {
    /// The workload to look at
    #[arg(value_name = "WORKLOAD", add = Takes::Each(SUBJECTS))]
    pub(crate) subject: Option<String>,
    /// Namespace of the workload [default: that of the context, then all]
    #[arg(short, long, value_name = "NAMESPACE", add = Takes::Each(&[Source::Namespace]))]
    pub(crate) namespace: Option<String>,
    /// Look at every sidecar and gateway of the cluster
    #[arg(short = 'A', long, conflicts_with_all = ["subject", "namespace"])]
    pub(crate) all_namespaces: bool,
    /// Look at the pods with these labels, as kubectl's -l
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "subject")]
    pub(crate) selector: Option<String>,
    /// Say whether this workload and WORKLOAD accept each other; service/NAME stands for all workloads of a service
    #[arg(long, value_name = "WORKLOAD", add = Takes::Each(OTHERS), requires = "subject", conflicts_with_all = ["watch", "expiring", "save"])]
    pub(crate) accepts: Option<String>,
    /// Exit with 3 where less than this is left of a certificate: a share of its life, 20%, or a time, 2h
    #[arg(long, value_name = "LEFT", conflicts_with = "watch")]
    pub(crate) expiring: Option<Threshold>,
    /// Go on, and show each new certificate and each change of a bundle
    #[arg(short, long, conflicts_with = "save")]
    pub(crate) watch: bool,
    /// Read a file instead of a cluster, - for standard input: Envoy's config dump, istioctl's secrets as JSON, Secrets, SVIDs and bundles of SPIRE, PEM or DER
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["subject", "namespace", "all_namespaces", "selector", "accepts", "watch", "context", "all_clusters"])]
    pub(crate) file: Option<PathBuf>,
    /// Write chains and bundles as PEM to files below this folder, too
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) save: Option<PathBuf>,
    /// Context of the kubeconfig [default: the current one]
    #[arg(long, value_name = "CONTEXT", add = Takes::Each(&[Source::Context]), help_heading = "Kubernetes")]
    pub(crate) context: Option<String>,
    /// Look in every cluster of the mesh file
    #[arg(long, conflicts_with = "context")]
    pub(crate) all_clusters: bool,
    /// Mesh file, which knows trust domains and the other clusters [default: spire-mesh.yaml, where there is one]
    #[arg(long, env = "SPIRE_MESH_FILE", hide_env_values = true, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Mesh")]
    pub(crate) mesh: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) kube: KubeArgs,
    #[command(flatten)]
    pub(crate) printed: PrintedArgs,
    #[command(flatten)]
    pub(crate) verbosity: VerbosityArgs,
}

/// How the result is printed: more ways than reports have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct PrintedArgs {
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: ChainFormat,
    /// Do not use colour (`NO_COLOR` does the same)
    #[arg(long)]
    no_color: bool,
}

/// How a chain is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChainFormat {
    /// For people
    #[default]
    Table,
    /// For people, with more
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// The certificates of the chain as PEM
    Pem,
    /// The certificates of the chain as `openssl x509 -text` shows them
    Text,
}

impl CommandLine for Cli {
    fn output(&self) -> OutputArgs {
        let output = match self.printed.output {
            // Messages only: the certificates are no report.
            ChainFormat::Table | ChainFormat::Pem | ChainFormat::Text => Format::Table,
            ChainFormat::Wide => Format::Wide,
            ChainFormat::Json => Format::Json,
            ChainFormat::Yaml => Format::Yaml,
        };
        OutputArgs { output, no_color: self.printed.no_color }
    }

    fn verbosity(&self) -> VerbosityArgs {
        self.verbosity
    }

    fn given(&self) -> Given {
        self.kube.given(self.mesh.as_deref())
    }
}

/// What can be looked at.
const SUBJECTS: &[Source] = &[
    Source::Workload,
    Source::PlacedWorkload,
    Source::Word("istiod", "what it presents to proxies"),
    Source::Word("secret/", "the certificates of a Secret"),
];

/// Who can accept it.
const OTHERS: &[Source] =
    &[Source::Workload, Source::PlacedWorkload, Source::Word("service/", "all workloads of a service")];

const EXAMPLES: &str = "\
Examples:
  # A workload's chain, its bundles, and whether they are right
  kubectl trustchain productpage-v1

  # Would the reviews of another cluster accept it, and it them?
  kubectl trustchain productpage-v1 --accepts bar-eks-cluster/helloworld/helloworld-v2

  # Every sidecar and gateway of all clusters; exit code 3 when one is wrong or about to expire
  kubectl trustchain -A --all-clusters
  kubectl trustchain -A --expiring 20%

  # Follow a rotation
  kubectl trustchain -A --all-clusters --watch

  # What is in a file, or a Secret
  kubectl trustchain -f config_dump.json
  kubectl trustchain secret/cacerts -n istio-system

  # For other tools
  kubectl trustchain productpage-v1 -o json
  kubectl trustchain productpage-v1 -o pem
  kubectl trustchain productpage-v1 --save certificates";
