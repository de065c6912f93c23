//! A verification as it is printed.

use std::fmt;

use serde::Serialize;

use super::Asked;
use crate::check::{CheckResult, Status, Verification};
use crate::entry::{Failure, Outcome};
use crate::hint::Advice;
use crate::report::{Cell, Report, Table};

/// Whether repairs were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repairs {
    /// `--fix`.
    Asked,
    /// Not yet: they may be hinted at.
    NotAsked,
}

/// Prints a verification, and says in one line what it came to.
///
/// # Errors
/// When it cannot be printed.
pub fn conclude<R: Clone + fmt::Display>(
    asked: &Asked,
    verification: &Verification<R>,
    repairs: Repairs,
) -> Result<Outcome, Failure> {
    asked.printer.report(&VerifyReport::of(verification))?;
    let count = |status| verification.count(status);
    let warnings = count(Status::Warn);
    asked.printer.note(&format!(
        "{} passed, {} failed, {warnings} {}, {} skipped",
        count(Status::Pass),
        count(Status::Fail),
        if warnings == 1 { "warning" } else { "warnings" },
        count(Status::Skip)
    ));
    if verification.is_healthy() {
        return Ok(Outcome::Done);
    }
    if repairs == Repairs::NotAsked && !verification.repairs().is_empty() {
        let fix = asked.plugin.command(["verify", "--fix"]);
        asked.printer.hint(Advice::from("some of it can be repaired safely: ").then(fix));
    }
    Ok(Outcome::Findings)
}

/// Says what a verification found, as messages: for verbs whose result is something else.
#[must_use]
pub fn tell<R: Clone + fmt::Display>(asked: &Asked, verification: &Verification<R>) -> Outcome {
    for result in verification.results() {
        let text =
            format!("{} of {}: {}", result.id, result.scope, result.cause.as_deref().unwrap_or(result.title));
        match result.status {
            Status::Pass | Status::Skip => continue,
            Status::Warn => asked.printer.warn(&text),
            Status::Fail => asked.printer.error(&text),
        }
        for line in &result.evidence {
            asked.printer.note(&format!("seen: {line}"));
        }
        if let Some(hint) = &result.hint {
            asked.printer.hint(hint.as_str());
        }
    }
    if verification.count(Status::Fail) == 0 { Outcome::Done } else { Outcome::Findings }
}

/// What `verify` prints. The shape of its JSON is a promise.
#[derive(Serialize)]
pub struct VerifyReport<'v> {
    healthy: bool,
    checks: &'v [CheckResult],
}

impl<'v> VerifyReport<'v> {
    /// Makes the report of a verification.
    #[must_use]
    pub fn of<R: Clone + fmt::Display>(verification: &'v Verification<R>) -> Self {
        Self { healthy: verification.is_healthy(), checks: verification.results() }
    }
}

impl Report for VerifyReport<'_> {
    /// One row for each check that passed everywhere, one for each finding; `wide` shows every result with its evidence.
    fn table(&self, wide: bool) -> Table {
        let mut table = Table::new(["CHECK", "RESULT", "ABOUT", "CAUSE"]).when_empty("nothing was checked");
        for results in self.checks.chunk_by(|a, b| a.id == b.id) {
            let (passed, others): (Vec<_>, Vec<_>) =
                results.iter().partition(|result| !wide && result.status == Status::Pass);
            if let Some(first) = passed.first() {
                table.row([
                    Cell::from(first.id.0),
                    Cell::good("pass"),
                    format!("{} of {}", passed.len(), results.len()).into(),
                    first.title.into(),
                ]);
            }
            for result in others {
                add(&mut table, result, wide);
            }
        }
        table
    }
}

fn add(table: &mut Table, result: &CheckResult, wide: bool) {
    let word = result.status.as_str();
    let status = match result.status {
        Status::Pass => Cell::good(word),
        Status::Warn => Cell::attention(word),
        Status::Fail => Cell::bad(word),
        Status::Skip => Cell::from(word),
    };
    let cause = result.cause.as_deref().unwrap_or(result.title);
    table.row([Cell::from(result.id.0), status, result.scope.to_string().into(), cause.into()]);
    if wide || matches!(result.status, Status::Warn | Status::Fail) {
        for line in &result.evidence {
            table.note(format!("seen: {line}"));
        }
    }
    if let Some(hint) = &result.hint {
        table.note(format!("next: {hint}"));
    }
    if let Some(fix) = &result.fix {
        table.note(format!("--fix: {fix}"));
    }
}

#[cfg(test)]
mod tests {
    use crate::check::{self, Check, CheckId, Fault, Finding, Scope};
    use crate::report::{Format, Printer};

    use super::*;
    use crate::entry::AtInterrupt;
    use crate::federation::Repair;
    use crate::hint::Plugin;

    const CATALOGUE: [Check<(), Repair>; 3] = [
        Check {
            id: CheckId("server-ready"),
            title: "the server answers",
            needs: &[],
            run: |()| {
                ["foo", "bar"]
                    .map(|name| Finding::pass(Scope::cluster(name), "pod spire-server/spire-server-0"))
                    .into()
            },
        },
        Check {
            id: CheckId("bundle-stored"),
            title: "the server holds the authority that the peer signs with",
            needs: &[CheckId("server-ready")],
            run: |()| {
                let repair = Repair::CarryBundle { from: "foo".to_owned(), to: "bar".to_owned() };
                let fault = Fault::new(
                    "foo holds none of the authorities of bar",
                    "kubectl spire-federate verify --fix",
                )
                .seen("stored: 2c26b46b68ffc68f")
                .seen("live: fcde2b2edba56bf4")
                .repaired_by(repair);
                vec![
                    Finding::fail(Scope::pair("foo", "bar"), fault),
                    Finding::pass(Scope::pair("bar", "foo"), "the same 1 authorities on both sides"),
                ]
            },
        },
        Check {
            id: CheckId("bundle-fetched"),
            title: "the server fetches the peer's bundle from its endpoint",
            needs: &[CheckId("bundle-stored")],
            run: |()| {
                let pass = |from, to| Finding::pass(Scope::pair(from, to), "it has just fetched it");
                vec![pass("foo", "bar"), pass("bar", "foo")]
            },
        },
    ];

    fn printed(format: Format) -> String {
        let (printer, captured) = Printer::captured(format);
        printer.report(&VerifyReport::of(&check::run(&CATALOGUE, &()))).unwrap();
        captured.stdout()
    }

    #[test]
    fn findings_come_with_evidence_and_the_next_command_and_the_rest_is_short() {
        insta::assert_snapshot!(printed(Format::Table));
        insta::assert_snapshot!(printed(Format::Wide));
    }

    #[test]
    fn the_json_of_a_verification_is_a_promise() {
        insta::assert_snapshot!(printed(Format::Json));
    }

    /// Prints a verification and what it came to.
    fn concluded(catalogue: &[Check<(), Repair>], repairs: Repairs) -> (Outcome, String) {
        let (printer, captured) = Printer::captured(Format::Table);
        let kube = crate::fleet::KubeSettings::default();
        let at_interrupt = AtInterrupt::default();
        let asked = Asked { mesh: None, kube, printer, plugin: Plugin::SpireFederate, at_interrupt };
        let outcome = conclude(&asked, &check::run(catalogue, &()), repairs).unwrap();
        (outcome, captured.stderr())
    }

    #[test]
    fn what_a_verification_came_to_is_counted_and_a_repair_is_hinted_at_unless_it_was_asked_for() {
        let count = "4 passed, 1 failed, 0 warnings, 1 skipped\n";
        let hint = "hint: some of it can be repaired safely: kubectl spire-federate verify --fix\n";
        let (outcome, said) = concluded(&CATALOGUE, Repairs::NotAsked);
        assert_eq!((outcome, said), (Outcome::Findings, format!("{count}{hint}")));
        let (outcome, said) = concluded(&CATALOGUE, Repairs::Asked);
        assert_eq!((outcome, said.as_str()), (Outcome::Findings, count));
        let (outcome, said) = concluded(&CATALOGUE[..1], Repairs::NotAsked);
        assert_eq!((outcome, said.as_str()), (Outcome::Done, "2 passed, 0 failed, 0 warnings, 0 skipped\n"));
        let warns = [Check {
            run: |()| vec![Finding::warn(Scope::cluster("foo"), Fault::new("it ends", "renew it"))],
            ..CATALOGUE[0]
        }];
        let (outcome, said) = concluded(&warns, Repairs::NotAsked);
        assert_eq!(
            (outcome, said.as_str()),
            (Outcome::Findings, "0 passed, 0 failed, 1 warning, 0 skipped\n")
        );
    }
}
