//! `--accepts`: whether two workloads accept each other.

use futures::future::{join, join_all};
use jiff::Timestamp;
use serde::Serialize;
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::report::{Cell, Printer, Report, Table};
use spire_mesh::trustchain::{Acceptance, Direction, accepts, party};

use crate::cli::Cli;
use crate::clusters::{Found, Known, Reached, representative};

/// What `--accepts` prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AcceptsReport {
    accepts: Vec<Direction>,
}

pub(crate) async fn run(
    cli: &Cli,
    known: &Known,
    reached: &[Reached],
    (subject, other): (&str, &str),
    printer: &Printer,
) -> Result<Outcome, Failure> {
    let (own, others) = join(known.workload(cli, reached, subject), others(cli, known, reached, other)).await;
    let own = own?;
    let others = others?;
    let at = Timestamp::now();
    let (one, pod) = representative(&own);
    let own = party(&one.connection, pod).await;
    let each = others.iter().map(|(one, pod)| {
        let own = &own;
        async move {
            let other = party(&one.connection, pod).await;
            accepts(own, &other, at).await
        }
    });
    let report = AcceptsReport { accepts: join_all(each).await.into_iter().flatten().collect() };
    printer.report(&report)?;
    let accepted = report
        .accepts
        .iter()
        .all(|direction| matches!(direction.accepted, Acceptance::Yes | Acceptance::Depends));
    Ok(if accepted { Outcome::Done } else { Outcome::Findings })
}

/// Finds the other workload, or one pod of every workload behind a service.
async fn others<'r>(
    cli: &Cli,
    known: &Known,
    reached: &'r [Reached],
    other: &str,
) -> Result<Found<'r>, Failure> {
    if let Some(service) = known.service(cli, reached, other).await? {
        return Ok(service);
    }
    let found = known.workload(cli, reached, other).await?;
    Ok(vec![representative(&found).clone()])
}

impl Report for AcceptsReport {
    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(["FROM", "TO", "ACCEPTED"]);
        for direction in &self.accepts {
            table.row([
                Cell::from(direction.from.as_str()),
                direction.to.as_str().into(),
                cell(direction.accepted),
            ]);
        }
        table
    }

    /// What each answer was made of. Of several workloads, only what is not yes.
    fn more_tables(&self, wide: bool) -> Vec<Table> {
        let all = wide || self.accepts.len() <= 2;
        let mut table = Table::new(["FROM", "QUESTION", "ANSWER", "READ"]);
        for direction in &self.accepts {
            for answer in direction.answers.iter().filter(|answer| all || answer.answer != Acceptance::Yes) {
                table.row([
                    Cell::from(direction.from.as_str()),
                    answer.question.as_str().into(),
                    cell(answer.answer),
                    answer.reason.as_str().into(),
                ]);
                if let Some(fix) = &answer.fix {
                    table.note(format!("next: {fix}"));
                }
            }
        }
        vec![table]
    }
}

fn cell(acceptance: Acceptance) -> Cell {
    match acceptance {
        Acceptance::Yes => Cell::good("yes"),
        Acceptance::No => Cell::bad("no"),
        Acceptance::Depends | Acceptance::Unknown => Cell::attention(acceptance.as_str()),
    }
}
