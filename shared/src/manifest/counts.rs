//! How much was done.

use std::fmt;

use super::apply::{Applied, Change};

/// How many objects were created, changed, or as they should be already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They did not exist.
    pub created: usize,
    /// They were different.
    pub changed: usize,
    /// They were as they should be.
    pub unchanged: usize,
}

impl Counts {
    pub(crate) fn of(applied: &Applied) -> Self {
        Self {
            created: applied.count(Change::Created),
            changed: applied.count(Change::Changed),
            unchanged: applied.count(Change::Unchanged) + applied.count(Change::Kept),
        }
    }

    /// Tells whether nothing was changed.
    #[must_use]
    pub fn is_unchanged(self) -> bool {
        self.created + self.changed == 0
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.created += other.created;
        self.changed += other.changed;
        self.unchanged += other.unchanged;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unchanged() {
            return write!(f, "nothing to change, {} objects are as they should be", self.unchanged);
        }
        write!(f, "{} created, {} changed, {} unchanged", self.created, self.changed, self.unchanged)
    }
}
