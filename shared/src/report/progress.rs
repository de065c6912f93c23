//! What is going on in each cluster while a command works.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use owo_colors::{OwoColorize, Style};
use unicode_width::UnicodeWidthStr;

use super::{Printer, one_line};

/// How a line looks while its cluster is worked on.
const WORKING: &str = "{spinner} {prefix} {wide_msg} {elapsed}";
const TICK: Duration = Duration::from_millis(120);

/// One line per cluster: redrawn in place on a terminal, plain lines elsewhere.
pub struct Progress {
    lines: BTreeMap<String, Line>,
    printer: Printer,
    width: usize,
}

/// The line of one cluster. Clones write to the same line; it can be used from several tasks at once.
#[derive(Clone)]
pub struct Line(Arc<LineState>);

struct LineState {
    /// Safe for a terminal.
    name: String,
    started: Instant,
    view: View,
    /// What was printed last, so that a wait that polls does not repeat itself.
    last: Mutex<String>,
}

enum View {
    Live { bar: ProgressBar, colour: bool },
    Plain(Printer),
    Silent,
}

impl Progress {
    /// Starts one line for each name, in this order. The time that a line shows starts here.
    #[must_use]
    pub fn new(printer: &Printer, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
        let width = names.iter().map(|name| one_line(name).width()).max().unwrap_or(0);
        let lines = names.into_iter().map(|name| (name.clone(), Line::new(printer, &name, width))).collect();
        Self { lines, printer: printer.clone(), width }
    }

    /// Returns the line of a cluster. A name that was not announced gets a line of its own.
    #[must_use]
    pub fn of(&self, name: &str) -> Line {
        self.lines.get(name).cloned().unwrap_or_else(|| Line::new(&self.printer, name, self.width))
    }
}

impl Drop for Progress {
    /// Leaves finished lines on the screen and takes away those that are not.
    fn drop(&mut self) {
        for line in self.lines.values() {
            if let View::Live { bar, .. } = &line.0.view
                && !bar.is_finished()
            {
                bar.finish_and_clear();
            }
        }
    }
}

impl Line {
    fn new(printer: &Printer, name: &str, width: usize) -> Self {
        let name = one_line(name);
        let view = match printer.live() {
            Some(live) => View::Live { bar: spinner(live, &name, width), colour: printer.live_colour() },
            None => View::Plain(printer.clone()),
        };
        Self(Arc::new(LineState { name, started: Instant::now(), view, last: Mutex::default() }))
    }

    /// Makes a line that shows nothing: for callers with nobody to show it to.
    #[must_use]
    pub fn silent() -> Self {
        let (name, last) = Default::default();
        Self(Arc::new(LineState { name, started: Instant::now(), view: View::Silent, last }))
    }

    /// Shows a number that grows while something is being done: on a terminal only, where it takes the place of the one before.
    pub fn glance(&self, text: impl AsRef<str>) {
        if matches!(self.0.view, View::Live { .. }) {
            self.step(text);
        }
    }

    /// Shows what is being done, or waited for, now. The same text again shows nothing new.
    pub fn step(&self, text: impl AsRef<str>) {
        let text = one_line(text.as_ref());
        if self.is_repeated(&text) {
            return;
        }
        match &self.0.view {
            View::Live { bar, .. } => {
                if bar.is_finished() {
                    // The line goes on: no longer done, and its time not starting again.
                    bar.reset();
                    bar.clone().with_elapsed(self.0.started.elapsed());
                    bar.set_style(style(WORKING));
                    bar.enable_steady_tick(TICK);
                }
                bar.set_message(text);
            }
            View::Plain(printer) => printer.message(&format!("{}: {text}", self.0.name)),
            View::Silent => {}
        }
    }

    /// Shows what was reached, and the time it took. A later step or result goes on from here.
    pub fn done(&self, text: impl AsRef<str>) {
        self.end(&one_line(text.as_ref()), "✓", Style::new().green());
    }

    /// Shows why this cluster got no further. The error itself is still the caller's to return.
    pub fn failed(&self, text: impl AsRef<str>) {
        let text = format!("failed: {}", one_line(text.as_ref()));
        self.end(&text, "✗", Style::new().red());
    }

    fn end(&self, text: &str, mark: &str, tone: Style) {
        if self.is_repeated(text) {
            return;
        }
        let time = elapsed(self.0.started.elapsed());
        match &self.0.view {
            View::Live { bar, colour } => {
                let tone = if *colour { tone } else { Style::new() };
                bar.set_style(style(&format!("{} {{prefix}} {{wide_msg}}", mark.style(tone))));
                bar.finish_with_message(format!("{text} ({time})"));
            }
            View::Plain(printer) => printer.message(&format!("{}: {text} ({time})", self.0.name)),
            View::Silent => {}
        }
    }

    fn is_repeated(&self, text: &str) -> bool {
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let repeated = *last == text;
        text.clone_into(&mut last);
        repeated
    }
}

fn spinner(live: &MultiProgress, name: &str, width: usize) -> ProgressBar {
    let bar = live.add(ProgressBar::new_spinner());
    bar.set_style(style(WORKING));
    bar.set_prefix(format!("{name}{}", " ".repeat(width.saturating_sub(name.width()))));
    bar.enable_steady_tick(TICK);
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this file are valid")
}

/// Formats a time to a tenth of a second, and from a minute on to a second.
fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1}s", time.as_secs_f64())
    } else {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Format;

    #[test]
    fn without_a_terminal_every_new_step_is_a_line() {
        let (printer, captured) = Printer::captured(Format::Table);
        let progress = Progress::new(&printer, ["foo-eks-cluster", "bar-eks-cluster"]);
        let (foo, bar) = (progress.of("foo-eks-cluster"), progress.of("bar-eks-cluster"));
        foo.step("waiting for the server");
        bar.step("waiting for the server");
        foo.step("waiting for the server");
        foo.glance("3 of 100");
        foo.done("server ready");
        bar.failed("cannot reach the API server:\n  connection refused\u{1b}[2J");
        progress.of("late").step("joins");
        drop(progress);
        insta::with_settings!({filters => vec![(r"\(\d+\.\ds\)", "([time])")]}, {
            insta::assert_snapshot!(captured.stderr(), @r"
            foo-eks-cluster: waiting for the server
            bar-eks-cluster: waiting for the server
            foo-eks-cluster: server ready ([time])
            bar-eks-cluster: failed: cannot reach the API server: connection refused\u{1b}[2J ([time])
            late: joins
            ");
        });
        assert_eq!(captured.stdout(), "");
    }

    #[tokio::test]
    async fn lines_are_written_whole_from_several_tasks() {
        let (printer, captured) = Printer::captured(Format::Table);
        let progress = Progress::new(&printer, ["a", "b"]);
        let tasks = ["a", "b"].map(|name| {
            let line = progress.of(name);
            tokio::spawn(async move {
                for step in 0..50 {
                    line.step(format!("step {step}"));
                    tokio::task::yield_now().await;
                }
            })
        });
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(captured.stderr().lines().filter(|line| line.starts_with("a: step ")).count(), 50);
        assert_eq!(captured.stderr().lines().count(), 100);
    }

    #[test]
    fn times_are_short() {
        let time = |seconds| elapsed(Duration::from_secs_f64(seconds));
        assert_eq!([time(0.04), time(8.21), time(59.9), time(61.7)], ["0.0s", "8.2s", "59.9s", "1m01s"]);
        assert_eq!([time(60.0), time(3_725.0)], ["1m00s", "62m05s"]);
    }

    /// What a line on a terminal shows, without times.
    fn shown(line: &Line) -> (String, String, bool) {
        let View::Live { bar, .. } = &line.0.view else { panic!("it is no line on a terminal") };
        let message = bar.message();
        let message = message.split_once(" (").map_or(message.as_str(), |(message, _)| message);
        (bar.prefix(), message.to_owned(), bar.is_finished())
    }

    #[test]
    fn on_a_terminal_a_line_is_redrawn_in_place() {
        let (printer, captured) = Printer::captured_live();
        let progress = Progress::new(&printer, ["foo", "bar-eks", "baz"]);
        let lines = ["foo", "bar-eks", "baz"].map(|name| progress.of(name));
        let [foo, bar, baz] = &lines;
        let is = |line: &Line, prefix: &str, message: &str, is_finished| {
            assert_eq!(shown(line), (prefix.to_owned(), message.to_owned(), is_finished));
        };
        is(foo, "foo    ", "", false);
        foo.step("waiting");
        is(foo, "foo    ", "waiting", false);
        foo.glance("3 of 100");
        is(foo, "foo    ", "3 of 100", false);
        bar.step("waiting");
        bar.done("ready");
        is(bar, "bar-eks", "ready", true);
        baz.failed("no\nanswer");
        is(baz, "baz    ", "failed: no answer", true);
        // A line that was at its end goes on.
        baz.step("waiting again");
        is(baz, "baz    ", "waiting again", false);
        drop(progress);
        assert_eq!(lines.each_ref().map(|line| shown(line).2), [true, true, true], "nothing moves any more");
        is(bar, "bar-eks", "ready", true);
        assert_eq!(captured.stderr(), "");
    }

    #[test]
    fn a_line_for_nobody_says_nothing() {
        let line = Line::silent();
        line.step("waiting");
        line.glance("1");
        line.done("ready");
        assert!(matches!(line.0.view, View::Silent));
    }
}
