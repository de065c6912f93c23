//! What every plugin does around its command: runtime, cryptography, log, signals, exit codes.

mod beside;
mod failure;
mod man;
mod panic;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use futures::future::LocalBoxFuture;
use tracing_subscriber::EnvFilter;

pub use failure::{Exit, Failure};

use crate::cli::{OutputArgs, VerbosityArgs};
use crate::completion;
use crate::hint::{Given, Plugin};
use crate::report::{Format, OutputError, Printer};

/// The command line of a plugin.
pub trait CommandLine: clap::Parser {
    /// Returns how results are printed.
    fn output(&self) -> OutputArgs;

    /// Returns how much is logged.
    fn verbosity(&self) -> VerbosityArgs;

    /// Returns the flags that every command which is printed has to pass on.
    fn given(&self) -> Given;
}

/// What a command is given besides its arguments.
#[derive(Clone)]
#[non_exhaustive]
pub struct Context {
    /// Where results and messages go.
    pub printer: Printer,
    /// What has to be done even where the command is interrupted.
    pub at_interrupt: AtInterrupt,
}

impl Context {
    /// Makes a context by hand: for tests of commands, with a captured printer.
    #[must_use]
    pub fn new(printer: Printer) -> Self {
        Self { printer, at_interrupt: AtInterrupt::default() }
    }
}

/// What has to be done even where a command is interrupted: something that it changed for a while is brought back.
///
/// Clones are the same. It does not outlive the process: what has to survive `kill -9` has to be recorded elsewhere, too.
#[derive(Clone, Default)]
pub struct AtInterrupt(Rc<RefCell<Vec<Promised>>>);

/// What was promised, and its number.
type Promised = (usize, LocalBoxFuture<'static, ()>);

impl AtInterrupt {
    /// Has `work` done at an interruption, unless what is returned is released before.
    pub fn promise(&self, work: impl Future<Output = ()> + 'static) -> Promise {
        let mut promises = self.0.borrow_mut();
        let number = promises.last().map_or(0, |(number, _)| number + 1);
        promises.push((number, Box::pin(work)));
        Promise { all: self.clone(), number }
    }

    /// Does everything that was promised, the last first.
    pub(crate) async fn keep(&self) {
        loop {
            let last = self.0.borrow_mut().pop();
            let Some((_, work)) = last else { break };
            work.await;
        }
    }
}

/// Stands for something that is done at an interruption until it is released. Dropped, as an interruption drops it, it stays promised.
#[must_use]
pub struct Promise {
    all: AtInterrupt,
    number: usize,
}

impl Promise {
    /// Ends it: it has been done, or need not be any more.
    pub fn release(self) {
        self.all.0.borrow_mut().retain(|(number, _)| *number != self.number);
    }
}

/// How a command ended that did what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and healthy.
    Done,
    /// It ran, and found problems: its report says which.
    Findings,
}

/// Runs a plugin: parses its arguments, runs `run`, prints what went wrong and returns the exit code.
///
/// # Usage
///
/// ```no_run
/// # use spire_mesh::cli::{OutputArgs, VerbosityArgs};
/// # use spire_mesh::entry::{CommandLine, Context, Failure, Outcome};
/// # use spire_mesh::hint::Given;
/// # #[derive(clap::Parser)]
/// # struct Cli { #[command(flatten)] output: OutputArgs, #[command(flatten)] verbosity: VerbosityArgs }
/// # impl CommandLine for Cli {
/// #     fn output(&self) -> OutputArgs { self.output }
/// #     fn verbosity(&self) -> VerbosityArgs { self.verbosity }
/// #     fn given(&self) -> Given { Given::default() }
/// # }
/// async fn run(cli: Cli, context: Context) -> Result<Outcome, Failure> {
///     context.printer.note("nothing to do");
///     Ok(Outcome::Done)
/// }
///
/// fn main() -> std::process::ExitCode {
///     spire_mesh::entry::main(run)
/// }
/// ```
///
/// # Caveats
///
/// Ctrl-C and SIGTERM drop the future at its next await, do what was promised to [`Context::at_interrupt`], and end the process: a
/// command must be safe to run again from any point. A second one ends it at once. A reader who closes standard output early (`| head`) ends it quietly.
pub fn main<C: CommandLine>(run: impl AsyncFnOnce(C, Context) -> Result<Outcome, Failure>) -> ExitCode {
    let command = C::command().arg(completion::flag());
    panic::explain(command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned());
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let printer = Printer::new(Format::default(), false, false);
    if let Some(result) = beside::run(&command, &arguments, &printer) {
        return conclude(result.map(|()| Outcome::Done), &printer).into();
    }
    let cli: C = match parse(command) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let OutputArgs { output, no_color } = cli.output();
    let VerbosityArgs { verbose } = cli.verbosity();
    // Log lines and lines that are redrawn in place do not mix.
    let printer = Printer::new(output, no_color, verbose == 0);
    log(verbose, no_color);
    // Fails only when a provider is installed already, and then there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();

    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return conclude(Err(anyhow::Error::from(error).context("cannot start").into()), &printer).into();
        }
    };
    cli.given().pass_on();
    let context = Context::new(printer.clone());
    let at_interrupt = context.at_interrupt.clone();
    let result = runtime.block_on(async {
        let signal = tokio::select! {
            biased;
            signal = interrupted() => signal,
            result = run(cli, context) => return result,
        };
        signal.map_err(|error| anyhow::Error::from(error).context("cannot watch for signals"))?;
        tokio::select! {
            _ = interrupted() => {}
            () = at_interrupt.keep() => {}
        }
        Err(Failure::interrupted())
    });
    // A thread that still waits for an answer on the terminal would otherwise hold the process.
    runtime.shutdown_background();
    conclude(result, &printer).into()
}

/// Parses the arguments. Help and usage errors are printed here.
fn parse<C: CommandLine>(mut command: clap::Command) -> Result<C, ExitCode> {
    // What is wrong with the arguments has to be said before they are understood.
    if std::env::args_os().any(|argument| argument == "--no-color") {
        command = command.color(clap::ColorChoice::Never);
    }
    command.try_get_matches().and_then(|matches| C::from_arg_matches(&matches)).map_err(|error| {
        let error = in_our_words(error);
        let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        // Nobody is left to be told when this cannot be written.
        let _ = error.print();
        if asked_for { Exit::Done } else { Exit::Usage }.into()
    })
}

/// Says of some wrong arguments what clap cannot know: where contexts stand, and that a password is not to be repeated.
fn in_our_words(mut error: clap::Error) -> clap::Error {
    let is = |kind, fits: fn(&str) -> bool| matches!(error.get(kind), Some(ContextValue::String(text)) if fits(text));
    let names_context = error.kind() == ErrorKind::UnknownArgument
        && is(ContextKind::InvalidArg, |argument| argument == "--context");
    // `me:password@host`, with a scheme or without.
    let has_password = is(ContextKind::InvalidValue, |value| {
        value.rsplit_once('@').is_some_and(|(before, _)| before.contains(':'))
    });
    if names_context {
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::SuggestedValue);
        let init = Plugin::SpireFederate.command(["init", "CONTEXT=TRUST_DOMAIN", "CONTEXT=TRUST_DOMAIN"]);
        let where_else = [
            "each cluster has its context in the mesh file: `context` where it is not the cluster's name"
                .to_owned(),
            format!("another mesh file: --mesh FILE; one that is made from contexts: {init}"),
        ];
        let tips = where_else.map(clap::builder::StyledStr::from).to_vec();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    if has_password {
        error.insert(ContextKind::InvalidValue, ContextValue::String("…@…".to_owned()));
    }
    error
}

/// Prints what went wrong and returns how to exit.
fn conclude(result: Result<Outcome, Failure>, printer: &Printer) -> Exit {
    match result {
        Ok(Outcome::Done) => Exit::Done,
        Ok(Outcome::Findings) => Exit::Findings,
        Err(failure) if is_closed_output(&failure) => Exit::Done,
        Err(failure) => {
            failure.print(printer);
            failure.exit()
        }
    }
}

/// Tells whether the reader of standard output has gone. A broken connection to a cluster is another matter.
fn is_closed_output(failure: &Failure) -> bool {
    failure.causes().any(|cause| {
        matches!(cause.downcast_ref(), Some(OutputError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Starts the log. What clusters are asked is logged at `-vvv` only; bodies, headers and keys never are.
fn log(verbose: u8, no_color: bool) {
    let colour = !no_color && anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(directives(verbose)))
        .with_writer(io::stderr)
        .with_ansi(colour)
        .with_target(verbose >= 3)
        .init();
}

/// Returns what is logged of which crate.
fn directives(verbose: u8) -> &'static str {
    match verbose {
        0 => "off,spire_mesh=warn",
        1 => "off,spire_mesh=info",
        2 => "off,spire_mesh=debug",
        // The client's other modules log what the server answered, which may hold secrets.
        _ => "off,spire_mesh=trace,kube_client::client::builder=debug",
    }
}

/// Waits for Ctrl-C or a request to end.
#[cfg(unix)]
async fn interrupted() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
async fn interrupted() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Place;
    use crate::report::Format;

    fn concluded(result: Result<Outcome, Failure>) -> (Exit, String) {
        let (printer, captured) = Printer::captured(Format::Table);
        let exit = conclude(result, &printer);
        assert_eq!(captured.stdout(), "");
        (exit, captured.stderr())
    }

    #[tokio::test]
    async fn what_was_promised_is_done_at_an_interruption_the_last_first_and_what_was_released_is_not() {
        let (at_interrupt, done) = (AtInterrupt::default(), Rc::new(RefCell::new(Vec::new())));
        let work = |name: &'static str| {
            let done = done.clone();
            async move { done.borrow_mut().push(name) }
        };
        let first = at_interrupt.promise(work("first"));
        let second = at_interrupt.promise(work("second"));
        let third = at_interrupt.promise(work("third"));
        second.release();
        drop((first, third));
        at_interrupt.keep().await;
        assert_eq!(*done.borrow(), ["third", "first"]);
    }

    #[test]
    fn success_and_findings_print_nothing() {
        assert_eq!(concluded(Ok(Outcome::Done)), (Exit::Done, String::new()));
        assert_eq!(concluded(Ok(Outcome::Findings)), (Exit::Findings, String::new()));
    }

    #[test]
    fn a_closed_standard_output_is_no_failure() {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        let wrapped = anyhow::Error::from(OutputError::Write(closed())).context("cannot print the status");
        assert_eq!(concluded(Err(wrapped.into())), (Exit::Done, String::new()));
        let (exit, message) =
            concluded(Err(anyhow::Error::from(closed()).context("cannot reach foo").into()));
        assert_eq!(exit, Exit::Failed);
        insta::assert_snapshot!(message, @r"
        error: cannot reach foo
          caused by: broken pipe
        ");
    }

    #[test]
    fn a_full_disk_behind_standard_output_is_a_failure() {
        let full = OutputError::Write(io::Error::from(io::ErrorKind::StorageFull));
        let (exit, message) = concluded(Err(full.into()));
        assert_eq!(exit, Exit::Failed);
        insta::assert_snapshot!(message, @r"
        error: cannot write to standard output
          caused by: no storage space
        ");
    }

    #[test]
    fn an_interruption_is_one_line() {
        let (exit, message) = concluded(Err(Failure::interrupted()));
        assert_eq!(exit, Exit::Interrupted);
        insta::assert_snapshot!(message, @"interrupted; run the same command again to go on");
    }

    #[test]
    fn a_closed_standard_output_of_one_cluster_is_no_failure_either() {
        let closed = || Failure::from(OutputError::Write(io::ErrorKind::BrokenPipe.into()));
        let failed = ["foo", "bar"].map(|name| (Place::new(name, name), closed())).into();
        assert_eq!(concluded(Err(Failure::clusters(3, failed))), (Exit::Done, String::new()));
    }

    #[test]
    fn more_is_logged_the_more_often_it_is_asked_for_and_never_what_servers_answer() {
        let levels = [0, 1, 2, 3, 9].map(directives);
        assert_eq!(levels[..3], ["off,spire_mesh=warn", "off,spire_mesh=info", "off,spire_mesh=debug"]);
        assert_eq!(levels[3], "off,spire_mesh=trace,kube_client::client::builder=debug");
        assert_eq!(levels[3], levels[4]);
    }
}
