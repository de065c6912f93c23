//! The command line of `kubectl mesh-install`. Doc comments here are the help text.

#![expect(clippy::doc_markdown, reason = "help texts are read in a terminal, without Markdown")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};
use spire_mesh::cli::{
    ConfirmArgs, GlobalArgs, OutputArgs, PlanArgs, VerbosityArgs, WaitArgs, WatchArgs, some_time,
};
use spire_mesh::completion::{Source, Takes};
use spire_mesh::entry::CommandLine;
use spire_mesh::hint::Given;
use spire_mesh::istio::demo::Demo;
use spire_mesh::multicluster::NextCa;

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
  # Install Istio on every cluster of spire-mesh.yaml and connect them; run it again at any time
  kubectl mesh-install

  # See what that would change
  kubectl mesh-install plan

  # With GitOps: write out what Argo CD or Flux applies, and then connect what they have installed
  kubectl mesh-install render --to manifests/
  kubectl mesh-install connect

  # Replace the CA that istiod signs with, and see that nobody notices
  kubectl mesh-install rotate-ca

  # Find out what is wrong and what to do about it
  kubectl mesh-install verify

  # Applications to try it with
  kubectl mesh-install demo helloworld
  kubectl mesh-install demo sleep

  # Take it away again; SPIRE stays
  kubectl mesh-install down

Exit codes:
  0 done · 1 failed · 2 wrong usage or mesh file · 3 found problems
  124 timed out · 130 interrupted";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Up(UpArgs),
    /// Show what `up` would change, and change nothing
    #[command(after_long_help = "\
Examples:
  kubectl mesh-install plan
  kubectl mesh-install plan -o wide

  # In a pipeline: exit code 0 where nothing would change, 3 where something would
  kubectl mesh-install plan --exit-code")]
    Plan(PlanArgs),
    Render(RenderArgs),
    Connect(ConnectArgs),
    /// Show where the API server of each cluster is for the istiods of the others
    ///
    /// From the mesh file, from AWS (`endpoint.eks`), or from the kubeconfig. For a cluster of EKS also what it takes to reach it from
    /// another VPC. Credentials, region and profile are those of every AWS tool.
    #[command(after_long_help = "\
Examples:
  kubectl mesh-install endpoints
  kubectl mesh-install endpoints -o json")]
    Endpoints,
    Status(StatusArgs),
    RotateCa(RotateCaArgs),
    Verify(VerifyArgs),
    RemoteSecret(RemoteSecretArgs),
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
/// Needs istioctl, and no cluster. Remote secrets and the tokens in them are not part of it; each file begins with a comment that names
/// them. `connect` makes them once the manifests were applied.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl mesh-install render
  kubectl mesh-install render --to manifests/")]
pub(crate) struct RenderArgs {
    /// Folder to write to, one file for each cluster; standard output without it
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) to: Option<PathBuf>,
}

/// Connect Istios that Argo CD, Flux or kubectl have applied from what `render` writes
///
/// Does what `up` does, without the objects that `render` writes: these have to be there, and are left as they are. Gives every istiod its
/// tokens and remote secrets, deletes those of clusters that are not in the mesh file, waits until everything is ready, and proves the
/// result. Run again, it changes nothing where all is well.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl mesh-install connect
  kubectl mesh-install connect --dry-run
  kubectl mesh-install connect --yes --timeout 10m")]
pub(crate) struct ConnectArgs {
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Show how the mesh is
///
/// istiod, gateways, what each istiod knows of the other clusters, and how many proxies are ready. Exit code 3 when something is not as
/// it should be; `verify` says why and what to do about it.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl mesh-install status
  kubectl mesh-install status -o json
  kubectl mesh-install status --watch")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

/// Replace the CA that istiod signs with, and its root, while everything runs
///
/// For an istiod whose CA cert-manager issues (`istio.ca` in the mesh file). Has the next one issued, waits until istiod has taken it and
/// presents it, and proves that nobody noticed: proxies are connected, their SVIDs are those of before, and no request was lost that was
/// sent from all clusters meanwhile, where the demos sleep and helloworld run. Refuses what cannot be done safely. Interrupted, it goes on
/// where it was. Without a name, all clusters, one after the other.
///
/// With --root the next CA is of the root that the mesh file's issuer has: proxies get the new root beside the old one first, and the old
/// one goes when istiod signs with the new one.
#[derive(Debug, Args)]
#[command(
    mut_arg("timeout", |timeout| timeout.default_value("10m")),
    after_long_help = "\
Examples:
  kubectl mesh-install rotate-ca --dry-run
  kubectl mesh-install rotate-ca foo-eks-cluster
  kubectl mesh-install rotate-ca --duration 720h --yes --timeout 15m

  # After istio.ca.certManager.issuer of the mesh file was set to an issuer with another root
  kubectl mesh-install rotate-ca --root foo-eks-cluster"
)]
pub(crate) struct RotateCaArgs {
    /// The cluster whose istiod gets the next CA
    #[arg(value_name = "CLUSTER", add = Takes::Each(&[Source::Cluster]))]
    pub(crate) cluster: Option<String>,
    /// How long the next CA is valid, such as 720h; the mesh file has to say so too, or the next `up` sets it back
    #[arg(long, value_name = "DURATION", value_parser = ca_duration)]
    pub(crate) duration: Option<Duration>,
    /// Change the root, too, to that of the issuer in the mesh file
    #[arg(long, conflicts_with = "duration")]
    pub(crate) root: bool,
    /// With --root: longest time that a kubelet takes to pass a changed ConfigMap on to a pod; follows from its syncFrequency
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = some_time, requires = "root")]
    pub(crate) kubelet_delay: Duration,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

impl RotateCaArgs {
    /// Returns which CA is asked for.
    pub(crate) fn next(&self) -> NextCa {
        let Self { duration, kubelet_delay, .. } = *self;
        if self.root { NextCa::OtherRoot { kubelet_delay } } else { NextCa::SameRoot { duration } }
    }
}

/// Find out what is wrong, why, and what to do about it
///
/// Reads what is really there on every cluster: SPIRE and its federation first, then istiod, what it knows of the other clusters, whether
/// their gateways are reached, and the certificates, bundles and rules that every proxy has. Each failure names one cause, what was read as
/// evidence, and the next command; what depends on a failed check is skipped. Exit code 3 on findings.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl mesh-install verify
  kubectl mesh-install verify -o json
  kubectl mesh-install verify --fix --yes")]
pub(crate) struct VerifyArgs {
    /// Repair what can be repaired safely, such as starting istiod again, and verify once more
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

/// Show the remote secrets and the age of their tokens, or replace the tokens
///
/// Each istiod reads the other clusters with them, and has a token of its own for each. `rotate` makes a new token beside each old one, gives it
/// to its reader, and deletes the old ones when every istiod has read the cluster with its new one: no endpoint is lost meanwhile.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl mesh-install remote-secret
  kubectl mesh-install remote-secret rotate
  kubectl mesh-install remote-secret rotate foo-eks-cluster --yes")]
pub(crate) struct RemoteSecretArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<RemoteSecretVerb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RemoteSecretVerb {
    /// Show the remote secrets; the same as no verb
    List,
    Rotate(RotateSecretArgs),
}

/// Replace the tokens with which the other clusters read a cluster
///
/// Without a name, all clusters, one after the other. Run again, it finishes what was interrupted.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl mesh-install remote-secret rotate foo-eks-cluster
  kubectl mesh-install remote-secret rotate --yes --timeout 10m")]
pub(crate) struct RotateSecretArgs {
    /// The cluster that is read with the tokens
    #[arg(value_name = "CLUSTER", add = Takes::Each(&[Source::Cluster]))]
    pub(crate) cluster: Option<String>,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
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

fn ca_duration(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 720h or 30d"))?;
    if duration < Duration::from_hours(1) {
        return Err("cert-manager issues nothing for less than 1h".to_owned());
    }
    if duration > Duration::from_hours(10 * 365 * 24) {
        Err("is longer than ten years".to_owned())
    } else {
        Ok(duration)
    }
}

/// Remove what `up` and `demo` made
///
/// First what uses Istio and the access to other clusters, on every cluster, then Istio. Refuses while pods of somebody else have a
/// sidecar. SPIRE stays, and so do definitions that objects of somebody else need.
///
/// Of one cluster: the others lose their access to it, and go on. `kubectl spire-federate leave` then takes it out of the federation and
/// out of the mesh file.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl mesh-install down --dry-run
  kubectl mesh-install down --yes
  kubectl mesh-install down baz-eks-cluster")]
pub(crate) struct DownArgs {
    /// Only this cluster [default: all of the mesh file]
    #[arg(value_name = "CLUSTER", add = Takes::Each(&[Source::Cluster]))]
    pub(crate) cluster: Option<String>,
    /// Remove Istio even though pods of somebody else have a sidecar (they go on with what they last got from istiod), and its
    /// namespaces with what others have in them
    #[arg(long)]
    pub(crate) force: bool,
    /// Leave the tokens that the cluster reads the others with: whoever has one can go on to read all their Secrets
    #[arg(long, requires = "cluster")]
    pub(crate) keep_tokens: bool,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}
