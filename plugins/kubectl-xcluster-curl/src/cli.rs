//! The command line of `kubectl xcluster-curl`. Doc comments here are the help text.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use spire_mesh::cli::{KubeArgs, MeshArgs, OutputArgs, VerbosityArgs};
use spire_mesh::completion::{Source, Takes};
use spire_mesh::entry::CommandLine;
use spire_mesh::hint::Given;
use spire_mesh::traffic::{
    Body, Expectation, Header, MOST_REQUESTS, MOST_STREAMS, Method, Rate, Senders, Url, Victim,
};

use crate::output::CurlOutputArgs;

/// Send requests across the clusters of a mesh, count who answered, and prove failover
///
/// One command in a pod of the mesh sends all requests. Who answered is known from the pod's sidecar and from what answers say about
/// themselves; what failed is traced to its cause, with the check that finds it. Exit code 3 when a request failed or an expectation was
/// missed.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-xcluster_curl",
    bin_name = "kubectl xcluster-curl",
    version,
    override_usage = "kubectl xcluster-curl [OPTIONS] <URL>",
    subcommand_negates_reqs = true,
    after_long_help = EXAMPLES
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    #[command(flatten)]
    pub(crate) mesh: MeshArgs,
    #[command(flatten)]
    pub(crate) kube: KubeArgs,
    #[command(flatten)]
    pub(crate) output: CurlOutputArgs,
    #[command(flatten)]
    pub(crate) verbosity: VerbosityArgs,
}

impl CommandLine for Cli {
    fn output(&self) -> OutputArgs {
        self.output.common
    }

    fn verbosity(&self) -> VerbosityArgs {
        self.verbosity
    }

    fn given(&self) -> Given {
        self.kube.given(self.mesh.mesh.as_deref())
    }
}

/// Who can send requests.
const SENDERS: &[Source] = &[
    Source::Cluster,
    Source::PlacedWorkload,
    Source::Word("all", "sleep in every cluster"),
    Source::Word("here", "the curl of this machine"),
];

/// What requests can go through, and where that is.
const VIA: &[&[Source]] =
    &[&[Source::Word("ingress", "the ingress gateway of a cluster")], &[Source::Cluster]];

const EXAMPLES: &str = "\
Examples:
  # A hundred requests from sleep in the first cluster: who answered, how fast, what failed and why
  kubectl xcluster-curl http://helloworld.helloworld:5000/hello -n 100

  # From every cluster, with what has to come of it: exit code 3 when it does not
  kubectl xcluster-curl http://helloworld.helloworld:5000/hello --from all --expect 'p99<250ms'

  # From a workload of your choice
  kubectl xcluster-curl http://helloworld.helloworld:5000/hello --from bar-eks-cluster/sleep/sleep

  # Ten per second, for ten seconds
  kubectl xcluster-curl http://helloworld.helloworld:5000/hello --rate 10/s --for 10s

  # Take pods away, see who takes over and what is lost, and bring them back
  kubectl xcluster-curl http://helloworld.helloworld:5000/hello --failover

  # Bring back what an interrupted failover left without pods
  kubectl xcluster-curl restore

  # Send nothing: follow the request to the application in every cluster, and see where it stops
  kubectl xcluster-curl http://helloworld.helloworld:5000/hello --explain

  # Through the ingress gateway of another cluster
  kubectl xcluster-curl http://helloworld.helloworld:5000/hello --via ingress bar-eks-cluster

  # Prove that nobody without mutual TLS gets an answer
  kubectl xcluster-curl http://helloworld.helloworld:5000/hello --plaintext";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Restore(RestoreArgs),
}

/// Bring back the pods that an interrupted failover took away
///
/// Before a failover takes pods away it records in the workload how many there were. This finds such records on every cluster and scales
/// the workloads back.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_long_help = "\
Examples:
  kubectl xcluster-curl restore --dry-run
  kubectl xcluster-curl restore --yes")]
pub(crate) struct RestoreArgs {
    /// Do not ask before something is changed
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Show what would be brought back, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct AskArgs {
    /// What to ask for, http or https
    #[arg(required_unless_present = "via", value_name = "URL")]
    pub(crate) url: Option<Url>,
    /// Who asks: CLUSTER, CLUSTER/NAMESPACE/WORKLOAD, all, or here [default: sleep in the first cluster]
    #[arg(long, value_name = "FROM", add = Takes::Each(SENDERS))]
    pub(crate) from: Option<Senders>,
    /// How many requests [default: 20]
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_REQUESTS)))]
    pub(crate) requests: Option<u32>,
    /// How long to send requests instead, such as 30s
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "requests")]
    pub(crate) duration: Option<Duration>,
    /// How often requests start, such as 50/s or 100/m [default: as fast as answers come]
    #[arg(long, value_name = "RATE")]
    pub(crate) rate: Option<Rate>,
    /// How many requests are under way at the same time
    #[arg(short = 'c', long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_STREAMS)))]
    pub(crate) concurrency: u32,
    /// How long one request may take
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) request_max_time: Duration,
    /// How long everything may take
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// What has to come of it: bar>=30%, success=100%, p99<250ms; can be repeated
    #[arg(long = "expect", value_name = "EXPECTATION")]
    pub(crate) expectations: Vec<Expectation>,
    /// Method [default: GET, or POST with --data]
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub(crate) method: Option<Method>,
    /// Header, as `Name: value`; can be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub(crate) headers: Vec<Header>,
    /// Body; no file is read
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) data: Option<Body>,
    /// Send through the ingress gateway of a cluster [default: the last one]
    #[arg(long, value_names = ["ingress", "CLUSTER"], add = Takes::InTurn(VIA), num_args = 1..=2, conflicts_with_all = ["failover", "plaintext"])]
    pub(crate) via: Vec<String>,
    /// Take the pods of a workload away while requests are sent, and bring them back
    #[arg(long, value_name = "WORKLOAD", num_args = 0..=1, default_missing_value = "", add = Takes::Each(&[Source::PlacedWorkload]), conflicts_with_all = ["requests", "duration"])]
    pub(crate) failover: Option<Victim>,
    /// Send nothing, and show the path of the request: what each stage does with it, and where it stops
    #[arg(long, conflicts_with_all = ["requests", "duration", "rate", "expectations", "failover", "plaintext", "via", "ephemeral"])]
    pub(crate) explain: bool,
    /// Prove that requests without mutual TLS, from a pod without sidecar, are refused
    #[arg(long, conflicts_with = "failover")]
    pub(crate) plaintext: bool,
    /// Send from a pod of our own, which is removed afterwards
    #[arg(long)]
    pub(crate) deploy_client: bool,
    /// Put a container with curl into the pod where it has none; it stays until the pod ends
    #[arg(long, conflicts_with_all = ["deploy_client", "plaintext"])]
    pub(crate) ephemeral: bool,
    /// Do not ask before something is changed
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Take pods away even though somebody else looks after them, or it cannot work
    #[arg(long, requires = "failover")]
    pub(crate) force: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 500ms, 30s or 2m"))?;
    if duration < Duration::from_millis(1) {
        return Err("must be greater than zero".to_owned());
    }
    if duration > Duration::from_hours(24) { Err("is longer than a day".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
pub(crate) mod tests {
    use spire_mesh::report::Format;

    use super::*;

    pub(crate) const URL: &str = "http://helloworld.helloworld:5000/hello";

    fn read(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["kubectl-xcluster_curl"].iter().chain(words))
    }

    /// Reads the arguments of a request.
    pub(crate) fn parsed(words: &[&str]) -> AskArgs {
        read(words).unwrap().ask
    }

    #[test]
    fn a_request_and_everything_together_end_after_some_time_where_nothing_is_said() {
        let args = parsed(&[URL]);
        assert_eq!(args.request_max_time, Duration::from_secs(5));
        assert_eq!(args.timeout, Duration::from_mins(5));
        assert_eq!((args.concurrency, args.from, args.requests, args.duration), (1, None, None, None));
    }

    #[test]
    fn a_duration_is_longer_than_nothing_and_no_longer_than_a_day() {
        assert_eq!(duration("1ms"), Ok(Duration::from_millis(1)));
        assert_eq!(duration("24h"), Ok(Duration::from_hours(24)));
        for wrong in ["0s", "999us", "24h 1ms", "5", "soon", ""] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let together = [
            &["-n", "5", "--for", "5s"][..],
            &["-n", "5", "--failover"],
            &["--for", "5s", "--failover"],
            &["--via", "ingress", "bar", "--failover"],
            &["--via", "ingress", "bar", "--plaintext"],
            &["--failover=x", "--plaintext"],
            &["--deploy-client", "--ephemeral"],
            &["--plaintext", "--ephemeral"],
            &["--force"],
            &["-c", "0"],
            &["-c", "65"],
            &["-n", "0"],
            &["-n", "1000001"],
        ];
        for words in together {
            assert!(read(&[&[URL], words].concat()).is_err(), "{words:?}");
        }
        assert!(read(&[URL, "--failover", "--force", "-c", "64"]).is_ok());
        assert!(read(&[URL, "-n", "1000000", "--deploy-client"]).is_ok());
    }

    #[test]
    fn a_failover_is_of_the_nearest_workload_where_none_is_named() {
        assert_eq!(parsed(&[URL]).failover, None);
        assert_eq!(parsed(&[URL, "--failover"]).failover, Some(Victim::Nearest));
        let named = parsed(&[URL, "--failover", "helloworld-v2"]).failover;
        assert_eq!(named, Some(Victim::Named("helloworld-v2".to_owned())));
    }

    #[test]
    fn xml_is_a_format_beside_those_of_the_other_plugins() {
        let output = |words: &[&str]| {
            let output = read(&[&[URL], words].concat()).unwrap().output;
            (output.common.output, output.junit, output.common.no_color)
        };
        assert_eq!(output(&[]), (Format::Table, false, false));
        assert_eq!(output(&["-o", "table", "--no-color"]), (Format::Table, false, true));
        assert_eq!(output(&["-o", "wide"]), (Format::Wide, false, false));
        assert_eq!(output(&["-o", "json"]), (Format::Json, false, false));
        assert_eq!(output(&["-o", "yaml"]), (Format::Yaml, false, false));
        assert_eq!(output(&["-o", "junit"]), (Format::Json, true, false));
        assert!(read(&[URL, "-o", "xml"]).is_err());
    }

    #[test]
    fn restoring_needs_no_url() {
        let Some(Verb::Restore(args)) = read(&["restore", "--dry-run"]).unwrap().verb else { panic!() };
        assert!(args.dry_run && !args.yes);
        assert!(read(&[]).is_err());
    }
}
