//! What to do about an error: sentences, and commands that reach the cluster that they are about.

mod advice;
mod command;
mod given;
mod near;
mod word;

pub use advice::Advice;
pub use command::{Command, Place, Plugin};
pub use given::Given;
pub use near::nearest;
pub use word::word;

/// An error that knows what its reader can do next.
pub trait Hint {
    /// Returns the next step: a sentence, or a command that can be pasted. `None` where there is nothing to advise.
    fn hint(&self) -> Option<Advice>;
}
