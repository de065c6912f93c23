//! Being told what is done while it is done.

use std::fmt;

/// What a cluster is busy with, or how it ended. Its text is for people.
pub trait Stage: fmt::Display {
    /// Tells how it ended; `None` while it goes on.
    fn ended(&self) -> Option<Ended>;

    /// Tells whether it is a number that grows: worth a look, and no line in a log.
    fn is_fleeting(&self) -> bool {
        false
    }
}

/// How the work on a cluster ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing is left to do.
    Done,
    /// It did not work.
    Failed,
}

/// Is told of every step of a piece of work. The command line shows it; a test may collect it.
pub trait Watch<S> {
    /// Reports that `cluster` has come to `step`.
    fn step(&self, cluster: &str, step: &S);
}
