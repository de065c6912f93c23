//! The command line: one file for each verb.

mod bench;
mod build;
mod demo;
mod down;
mod fault;
mod fuzz;
mod hidden;
mod kubeconfig;
mod lanes;
mod logs;
mod package;
mod shell;
mod status;
mod test;
mod up;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{Error, Result};

/// Two (or more) real Kubernetes clusters on this machine, peered like two VPCs.
///
/// State is kept in `$SPIRE_MESH_LAB_STATE` (default `/var/lib/spire-mesh-lab`), what was built in
/// `$SPIRE_MESH_LAB_CACHE`.
#[derive(Debug, Parser)]
#[command(name = "lab", bin_name = "cargo lab")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Demo(demo::Demo),
    Test(test::Test),
    Up(up::Up),
    Down(down::Down),
    Status(status::Status),
    Kubeconfig(kubeconfig::Kubeconfig),
    Logs(logs::Logs),
    Shell(shell::Shell),
    Build(build::Build),
    Bench(bench::Bench),
    Fault(fault::Fault),
    Fuzz(fuzz::Fuzz),
    Package(package::Package),
    #[command(flatten)]
    Hidden(hidden::Hidden),
}

/// Runs the command line and says what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.verb {
        Verb::Demo(verb) => verb.run(),
        Verb::Test(verb) => verb.run(),
        Verb::Up(verb) => verb.run(),
        Verb::Down(verb) => verb.run(),
        Verb::Status(verb) => verb.run(),
        Verb::Kubeconfig(verb) => verb.run(),
        Verb::Logs(verb) => verb.run(),
        Verb::Shell(verb) => verb.run(),
        Verb::Build(build::Build {}) => build::Build::run(),
        Verb::Bench(verb) => verb.run(),
        Verb::Fault(verb) => verb.run(),
        Verb::Fuzz(verb) => verb.run(),
        Verb::Package(verb) => verb.run(),
        Verb::Hidden(verb) => verb.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // If even this cannot be written, the exit code says it.
            let _ = writeln!(io::stderr(), "error: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line.
fn say(text: &str) -> Result<()> {
    write(&format!("{text}\n"))
}

/// Prints as it is. A reader that has seen enough (`| head`) is no error.
fn write(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::system("write to standard output")(e)),
        _ => Ok(()),
    }
}

/// Prints a line of progress.
fn progress(text: &str) {
    // What is done matters more than what can be said about it.
    let _ = say(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_names_every_verb() {
        let help = Cli::command().term_width(100).render_long_help().to_string();
        insta::assert_snapshot!(help);
    }

    #[test]
    fn help_of_bench_names_every_flag() {
        let mut command = Cli::command().term_width(100);
        let bench = command.find_subcommand_mut("bench").expect("a verb");
        insta::assert_snapshot!(bench.clone().bin_name("cargo lab bench").render_long_help().to_string());
    }

    #[test]
    fn numbers_outside_of_what_there_is_are_refused() {
        let wrong = [
            ("up", ["--clusters", "0"]),
            ("up", ["--clusters", "7"]),
            ("up", ["--nodes", "17"]),
            ("bench", ["--clusters", "2"]),
            ("bench", ["--rounds", "0"]),
            ("bench", ["--only", "down"]),
            ("fuzz", ["--for", "soon"]),
            ("fuzz", ["--input", "file"]),
            ("package", ["--target", "x86_64-pc-windows-msvc"]),
        ];
        for (verb, arguments) in wrong {
            let words = ["lab", verb].into_iter().chain(arguments);
            assert!(Cli::try_parse_from(words).is_err(), "{verb} {arguments:?}");
        }
        for arguments in [
            "up --clusters 3 --nodes 2",
            "fault delay 100 --from foo bar",
            "shell foo -- ls -l",
            "bench --only up,verify --rounds 3 --clusters 6 -o json",
            "fuzz certificate --for 5m",
            "fuzz certificate --input file",
            "package --target x86_64-apple-darwin --target aarch64-apple-darwin --output files",
            "package --release v0.1.0",
        ] {
            let words = ["lab"].into_iter().chain(arguments.split(' '));
            Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{arguments}: {e}"));
        }
    }
}
