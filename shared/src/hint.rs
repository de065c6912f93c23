//! What to do about an error.

/// An error that knows what its reader can do next.
pub trait Hint {
    /// Returns the next step: a sentence, or a command that can be pasted. `None` where there is nothing to advise.
    fn hint(&self) -> Option<String>;
}
