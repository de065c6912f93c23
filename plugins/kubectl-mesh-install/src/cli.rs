//! The command line of `kubectl mesh-install`. Doc comments here are the help text.

#![expect(clippy::doc_markdown, reason = "help texts are read in a terminal, without Markdown")]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use spire_mesh::cli::{ConfirmArgs, KubeArgs, MeshArgs, OutputArgs, VerbosityArgs, WaitArgs};
use spire_mesh::entry::CommandLine;
use spire_mesh::istio::demo::Demo;

/// Install Istio on several clusters as one mesh whose workloads have their identity from SPIRE
///
/// Without a verb it is `up`: Istio on every cluster of the mesh file, every istiod with access to every other cluster, and proven:
/// each istiod has read the others, the gateways are reached, and the right identities are expected, before the command says that it
/// worked. `kubectl spire-federate` comes first.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-mesh_install",
    bin_name = "kubectl mesh-install",
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
    pub(crate) mesh: MeshArgs,
    #[command(flatten)]
    pub(crate) kube: KubeArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) verbosity: VerbosityArgs,
}

impl CommandLine for Cli {
    fn output(&self) -> &OutputArgs {
        &self.output
    }

    fn verbosity(&self) -> VerbosityArgs {
        self.verbosity
    }
}

const EXAMPLES: &str = "\
Examples:
  # Install Istio on every cluster of spire-mesh.yaml and connect them; run it again at any time
  kubectl mesh-install

  # See what that would change, or write it out for GitOps
  kubectl mesh-install plan
  kubectl mesh-install render --to manifests/

  # Applications to try it with
  kubectl mesh-install demo helloworld
  kubectl mesh-install demo sleep

  # Take it away again; SPIRE stays
  kubectl mesh-install down";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Up(UpArgs),
    /// Show what `up` would change, and change nothing
    #[command(after_long_help = "\
Examples:
  kubectl mesh-install plan
  kubectl mesh-install plan -o wide")]
    Plan,
    Render(RenderArgs),
    Demo(DemoArgs),
    Down(DownArgs),
}

/// Install Istio on every cluster and make them one mesh; the same as no verb
///
/// On all clusters at the same time: checks that SPIRE is at work and federated, shows what would change and asks, applies what
/// istioctl generates, writes the remote secrets, waits, and proves the result. Run again, it changes nothing where all is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
#[command(after_long_help = "\
Examples:
  kubectl mesh-install up --dry-run
  kubectl mesh-install up --yes --timeout 10m")]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Write the manifests that `up` would apply, for GitOps
///
/// Needs istioctl, and no cluster. Remote secrets are not part of it: they hold tokens.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl mesh-install render
  kubectl mesh-install render --to manifests/")]
pub(crate) struct RenderArgs {
    /// Folder to write to, one file for each cluster; standard output without it
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<PathBuf>,
}

/// Put a demo application on the clusters, or take it away
///
/// helloworld: v1 on the first cluster and v2 on the others, and a route through the ingress gateway. sleep: a pod with curl on every
/// cluster. bookinfo: on the first cluster. The images are in the mesh file.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl mesh-install demo helloworld
  kubectl mesh-install demo sleep --yes
  kubectl mesh-install demo bookinfo --dry-run
  kubectl mesh-install demo bookinfo --remove --yes")]
pub(crate) struct DemoArgs {
    /// Which one
    pub(crate) demo: Demo,
    /// Take it away instead
    #[arg(long)]
    pub(crate) remove: bool,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Remove what `up` and `demo` made
///
/// First what uses Istio and the access to other clusters, on every cluster, then Istio. Refuses while pods of somebody else have a
/// sidecar. SPIRE stays, and so do definitions that objects of somebody else need.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl mesh-install down --dry-run
  kubectl mesh-install down --yes")]
pub(crate) struct DownArgs {
    /// Remove Istio even though pods of somebody else have a sidecar; they go on with what they last got from istiod
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}
