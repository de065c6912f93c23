//! Flag groups that the plugins flatten into their commands. The doc comments are the help text.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args, ValueHint};

use crate::fleet::KubeSettings;
use crate::hint::Given;
use crate::report::Format;

/// What stands for no limit: longer than any command runs, and short enough to calculate with.
const NO_LIMIT: Duration = Duration::from_hours(365 * 24);

/// Which file describes the mesh.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Mesh")]
pub struct MeshArgs {
    /// Mesh file [default: spire-mesh.yaml]
    #[arg(global = true, short = 'f', long = "mesh", env = "SPIRE_MESH_FILE", hide_env_values = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub mesh: Option<PathBuf>,
}

/// How clusters are reached: kubectl's own flags.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Kubernetes")]
pub struct KubeArgs {
    /// Kubeconfig file [default: the files in $KUBECONFIG, else ~/.kube/config]
    #[arg(global = true, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kubeconfig: Option<PathBuf>,
    /// User to impersonate on every cluster
    #[arg(global = true, long = "as", value_name = "USER")]
    pub impersonate_user: Option<String>,
    /// Group to impersonate on every cluster; can be repeated
    #[arg(global = true, long = "as-group", value_name = "GROUP", requires = "impersonate_user")]
    pub impersonate_groups: Vec<String>,
    /// Longest time that one request to a cluster may take, such as 30s; 0 for no limit [default: 40s]
    #[arg(global = true, long, value_name = "DURATION", value_parser = request_timeout)]
    pub request_timeout: Option<Duration>,
    /// Do not check the API servers' certificates: anybody on the way can then read and change everything
    #[arg(global = true, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t, action = ArgAction::Set, hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    pub insecure_skip_tls_verify: bool,
}

impl KubeArgs {
    /// Returns what every command that is printed has to pass on, with the mesh file where one was named.
    #[must_use]
    pub fn given(&self, mesh: Option<&Path>) -> Given {
        Given {
            kubeconfig: self.kubeconfig.clone(),
            // No mesh file is read from standard input: `-` would be a name for one.
            mesh: mesh.filter(|path| *path != Path::new("-")).map(Path::to_owned),
            user: self.impersonate_user.clone(),
            groups: self.impersonate_groups.clone(),
        }
    }

    /// Returns the settings that these flags stand for.
    #[must_use]
    pub fn settings(&self) -> KubeSettings {
        let Self {
            kubeconfig,
            impersonate_user,
            impersonate_groups,
            request_timeout,
            insecure_skip_tls_verify,
        } = self.clone();
        KubeSettings {
            kubeconfig,
            impersonate_user,
            impersonate_groups,
            request_timeout,
            insecure_skip_tls_verify,
        }
    }
}

/// How results are printed.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// How to print the result
    #[arg(global = true, short, long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
    /// Do not use colour (`NO_COLOR` does the same)
    #[arg(global = true, long)]
    pub no_color: bool,
}

/// How much is told about what goes on.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Output")]
pub struct VerbosityArgs {
    /// Log what is done to standard error; -vv logs more, -vvv also the requests to the clusters
    #[arg(global = true, short, long = "verbose", action = ArgAction::Count)]
    pub verbose: u8,
}

/// What every verb takes of a plugin that works on all clusters of a mesh.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct GlobalArgs {
    /// Which file describes the mesh.
    #[command(flatten)]
    pub mesh: MeshArgs,
    /// How clusters are reached.
    #[command(flatten)]
    pub kube: KubeArgs,
    /// How results are printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How much is told.
    #[command(flatten)]
    pub verbosity: VerbosityArgs,
}

/// Whether to go on looking.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchArgs {
    /// Go on, and print the status again whenever it has changed, until interrupted
    #[arg(short, long)]
    pub watch: bool,
}

/// What the exit code of a plan says.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanArgs {
    /// End with exit code 3 where something would change, as where problems are found; without it a plan ends with 0
    #[arg(long)]
    pub exit_code: bool,
}

/// How long a command may take.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitArgs {
    /// Longest time to wait until everything is ready, such as 90s or 10m
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = some_time)]
    pub timeout: Duration,
}

impl Default for WaitArgs {
    fn default() -> Self {
        Self { timeout: Duration::from_mins(15) }
    }
}

/// Whether a command may change something.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfirmArgs {
    /// Do not ask before something is changed
    #[arg(short, long)]
    pub yes: bool,
    /// Show what would be changed and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Take over the Lease that another run holds: only when you know that it is gone
    #[arg(long)]
    pub break_lock: bool,
}

/// Parses a duration greater than zero, such as 90s or 10m.
///
/// # Errors
/// Says what is wrong with it.
pub fn some_time(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 90s or 10m"))?;
    if duration.is_zero() { Err("must be greater than zero".to_owned()) } else { Ok(duration) }
}

/// Parses a duration as kubectl does: a number without a unit means seconds, 0 means no limit.
fn request_timeout(text: &str) -> Result<Duration, String> {
    let duration = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 30 or 30s"))?
        }
    };
    Ok(if duration.is_zero() { NO_LIMIT } else { duration.min(NO_LIMIT) })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    /// Does nothing
    #[derive(Debug, Parser)]
    #[command(name = "kubectl-example", bin_name = "kubectl example", term_width = 100)]
    struct Example {
        #[command(flatten)]
        confirm: ConfirmArgs,
        #[command(flatten)]
        wait: WaitArgs,
        #[command(flatten)]
        mesh: MeshArgs,
        #[command(flatten)]
        kube: KubeArgs,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        verbosity: VerbosityArgs,
    }

    fn parse(arguments: &str) -> Result<Example, String> {
        Example::try_parse_from(std::iter::once("kubectl-example").chain(arguments.split_whitespace()))
            .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
    }

    #[test]
    fn flags_are_valid_and_help_is_readable() {
        Example::command().debug_assert();
        insta::assert_snapshot!(Example::command().render_help(), @r"
        Does nothing

        Usage: kubectl example [OPTIONS]

        Options:
          -y, --yes                 Do not ask before something is changed
              --dry-run             Show what would be changed and change nothing
              --break-lock          Take over the Lease that another run holds: only when you know that it
                                    is gone
              --timeout <DURATION>  Longest time to wait until everything is ready, such as 90s or 10m
                                    [default: 15m]
          -h, --help                Print help (see more with '--help')

        Mesh:
          -f, --mesh <FILE>  Mesh file [default: spire-mesh.yaml] [env: SPIRE_MESH_FILE]

        Kubernetes:
              --kubeconfig <FILE>
                  Kubeconfig file [default: the files in $KUBECONFIG, else ~/.kube/config]
              --as <USER>
                  User to impersonate on every cluster
              --as-group <GROUP>
                  Group to impersonate on every cluster; can be repeated
              --request-timeout <DURATION>
                  Longest time that one request to a cluster may take, such as 30s; 0 for no limit [default:
                  40s]
              --insecure-skip-tls-verify[=<BOOL>]
                  Do not check the API servers' certificates: anybody on the way can then read and change
                  everything

        Output:
          -o, --output <FORMAT>  How to print the result [default: table] [possible values: table, wide,
                                 json, yaml]
              --no-color         Do not use colour (`NO_COLOR` does the same)
          -v, --verbose...       Log what is done to standard error; -vv logs more, -vvv also the requests
                                 to the clusters
        ");
    }

    #[test]
    fn flags_mean_what_they_mean_for_kubectl() {
        let settings = |arguments| parse(arguments).unwrap().kube.settings();
        let all = settings(
            "--kubeconfig k --as me --as-group a --as-group b --request-timeout 30 --insecure-skip-tls-verify",
        );
        assert_eq!(all.kubeconfig, Some(PathBuf::from("k")));
        assert_eq!(all.impersonate_user.as_deref(), Some("me"));
        assert_eq!(all.impersonate_groups, ["a", "b"]);
        assert_eq!(all.request_timeout, Some(Duration::from_secs(30)));
        assert!(all.insecure_skip_tls_verify);
        assert!(!settings("").insecure_skip_tls_verify);
        assert!(!settings("--insecure-skip-tls-verify=false").insecure_skip_tls_verify);
        assert_eq!(settings("--request-timeout 0").request_timeout, Some(NO_LIMIT));
        assert_eq!(settings("").request_timeout, None);
        assert_eq!(settings("--request-timeout 1m").request_timeout, Some(Duration::from_mins(1)));
    }

    #[test]
    fn time_is_longer_than_nothing_and_no_limit_is_a_year() {
        assert_eq!(some_time("1ns"), Ok(Duration::from_nanos(1)));
        assert!(some_time("0s").is_err() && some_time("").is_err());
        let year = Duration::from_hours(365 * 24);
        for (text, time) in [("0", year), ("0s", year), ("1", Duration::from_secs(1)), ("20000h", year)] {
            assert_eq!(request_timeout(text), Ok(time), "{text}");
        }
    }

    #[test]
    fn nothing_given_is_the_default() {
        let example = parse("").unwrap();
        assert_eq!(example.wait, WaitArgs::default());
        assert_eq!(example.confirm, ConfirmArgs::default());
        assert_eq!(example.output, OutputArgs::default());
        assert_eq!(parse("-vvv").unwrap().verbosity.verbose, 3);
    }

    #[test]
    fn wrong_values_are_refused_with_the_reason() {
        let refused = |arguments| parse(arguments).unwrap_err();
        insta::assert_snapshot!(refused("--timeout 5"), @"error: invalid value '5' for '--timeout <DURATION>': time unit needed, for example 5sec or 5ms; write it as 90s or 10m");
        insta::assert_snapshot!(refused("--timeout 0s"), @"error: invalid value '0s' for '--timeout <DURATION>': must be greater than zero");
        insta::assert_snapshot!(refused("--request-timeout soon"), @"error: invalid value 'soon' for '--request-timeout <DURATION>': expected number at 0; write it as 30 or 30s");
        insta::assert_snapshot!(refused("-o xml"), @"error: invalid value 'xml' for '--output <FORMAT>'");
        insta::assert_snapshot!(refused("--as-group admins"), @"error: the following required arguments were not provided:");
    }
}
