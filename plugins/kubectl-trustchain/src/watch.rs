//! `--watch`: every change of a certificate or a bundle, as it comes.

use std::time::Duration;

use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::report::{Format, OutputError, Printer};
use spire_mesh::trustchain::{Inspected, Watched};

use crate::cli::Cli;
use crate::clusters::{Known, Reached};
use crate::inspect;

/// How long to wait between two looks. A look at one proxy takes some 20 ms, and agents of SPIRE look every five seconds.
const PAUSE: Duration = Duration::from_secs(1);

/// Looks until it is interrupted, or the clusters cannot be asked any more.
pub(crate) async fn run(
    cli: &Cli,
    known: &Known,
    reached: &[Reached],
    printer: &Printer,
) -> Result<Outcome, Failure> {
    let mut watched = Watched::default();
    let mut last_problem = None;
    loop {
        let looked = match &cli.subject {
            Some(subject) => inspect::pods_of(cli, known, reached, subject).await,
            None => inspect::all(cli, known, reached).await,
        };
        match looked {
            Ok(inspected) => {
                last_problem = None;
                show(&mut watched, &inspected, printer)?;
            }
            Err(failure) if watched.is_empty() => return Err(failure),
            // An API server may be away for a while; what changed meanwhile shows afterwards.
            Err(failure) => {
                let problem = failure.one_line();
                if last_problem.as_ref() != Some(&problem) {
                    printer.warn(&problem);
                }
                last_problem = Some(problem);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn show(watched: &mut Watched, inspected: &[Inspected], printer: &Printer) -> Result<(), Failure> {
    for change in watched.look(inspected) {
        let line = match printer.format() {
            Format::Json | Format::Yaml => serde_json::to_string(&change).map_err(OutputError::Json)?,
            Format::Table | Format::Wide => change.to_string(),
        };
        printer.data(&format!("{line}\n"))?;
    }
    Ok(())
}
