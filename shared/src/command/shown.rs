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

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;
    use crate::report::Format;

    struct Step(Option<Ended>, bool);

    impl fmt::Display for Step {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "step {:?}, fleeting: {}", self.0, self.1)
        }
    }

    impl Stage for Step {
        fn ended(&self) -> Option<Ended> {
            self.0
        }

        fn is_fleeting(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn steps_that_stay_are_said_of_their_cluster_and_fleeting_ones_are_not() {
        let (printer, captured) = Printer::captured(Format::Table);
        let shown = Shown(Progress::new(&printer, ["foo", "bar", "baz"]));
        shown.step("baz", &Step(None, true));
        shown.step("baz", &Step(None, false));
        shown.step("foo", &Step(Some(Ended::Done), false));
        shown.step("bar", &Step(Some(Ended::Failed), false));
        insta::with_settings!({filters => vec![(r"\([0-9.]+s\)", "([time])")]}, {
            insta::assert_snapshot!(captured.stderr(), @r"
            baz: step None, fleeting: false
            foo: step Some(Done), fleeting: false ([time])
            bar: failed: step Some(Failed), fleeting: false ([time])
            ");
        });
    }
}
