//! The steps of a piece of work on the terminal.

use crate::fleet::Member;
use crate::report::{Printer, Progress};
use crate::watch::{Ended, Stage, Watch};

/// Shows the steps of each cluster on its line.
pub struct Shown(Progress);

impl Shown {
    /// Makes a line for every cluster.
    #[must_use]
    pub fn of(printer: &Printer, members: &[Member]) -> Self {
        Self(Progress::new(printer, members.iter().map(|member| member.name().to_owned())))
    }
}

impl<S: Stage> Watch<S> for Shown {
    fn step(&self, cluster: &str, step: &S) {
        let line = self.0.of(cluster);
        match step.ended() {
            Some(Ended::Done) => line.done(step.to_string()),
            Some(Ended::Failed) => line.failed(step.to_string()),
            None if step.is_fleeting() => line.glance(step.to_string()),
            None => line.step(step.to_string()),
        }
    }
}
