//! Showing how a mesh is, once or for as long as somebody looks.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::{Asked, Reached};
use crate::cli::WatchArgs;
use crate::entry::{Failure, Outcome};
use crate::hint::Advice;
use crate::report::{OutputError, Printer};

/// How long `--watch` waits between two looks.
const INTERVAL: Duration = Duration::from_secs(2);

/// Why clusters cannot be reached, by name.
pub type Reasons = BTreeMap<String, String>;

/// How a mesh is, as far as one plugin looks.
#[expect(async_fn_in_trait, reason = "the futures stay in the task that asked")]
pub trait Status: Sized {
    /// Looks at the clusters that can be reached.
    async fn look(reached: &Reached, reasons: &Reasons) -> Self;

    /// Tells whether everything is as it should be.
    fn is_healthy(&self) -> bool;

    /// Tells whether both say the same, apart from the times that go on by themselves.
    fn is_same(&self, other: &Self) -> bool;

    /// Prints it, with what has no place in its tables.
    ///
    /// # Errors
    /// [`OutputError`] when standard output takes nothing.
    fn show(&self, printer: &Printer, reasons: &Reasons) -> Result<(), OutputError>;
}

impl Asked {
    /// Shows how the mesh is: once, or again whenever it has changed until the command is interrupted.
    pub async fn status<S: Status>(&self, args: WatchArgs) -> Result<Outcome, Failure> {
        if args.watch {
            return self.watch::<S>().await;
        }
        let reached = self.reach().await?;
        let reasons = reached.reasons();
        let status = S::look(&reached, &reasons).await;
        status.show(&self.printer, &reasons)?;
        if !reached.unreachable.is_empty() {
            return Err(Failure::clusters(reached.mesh.clusters.len(), reached.unreachable));
        }
        if status.is_healthy() {
            return Ok(Outcome::Done);
        }
        self.printer
            .hint(Advice::from("why, and what to do about it: ").then(self.plugin.command(["verify"])));
        Ok(Outcome::Findings)
    }

    /// A cluster that cannot be reached is tried again each time.
    async fn watch<S: Status>(&self) -> Result<Outcome, Failure> {
        let mut last: Option<S> = None;
        loop {
            let reached = self.reach().await?;
            if last.is_none() && reached.members.is_empty() {
                // Wrong from the start, and nothing to look at.
                return Err(Failure::clusters(reached.mesh.clusters.len(), reached.unreachable));
            }
            let reasons = reached.reasons();
            let status = S::look(&reached, &reasons).await;
            if !last.as_ref().is_some_and(|last| last.is_same(&status)) {
                self.printer.note(&format!("{:.0}:", Timestamp::now()));
                status.show(&self.printer, &reasons)?;
                last = Some(status);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

impl Reached {
    /// Says in a line each why clusters cannot be reached.
    #[must_use]
    pub fn reasons(&self) -> Reasons {
        self.unreachable.iter().map(|(place, failure)| (place.cluster.clone(), failure.one_line())).collect()
    }
}
