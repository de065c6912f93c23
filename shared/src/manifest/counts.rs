//! How much was done.

use std::fmt;

use super::apply::{Applied, Change};

/// How many objects were created, changed, deleted, or as they should be already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They did not exist.
    pub created: usize,
    /// They were different.
    pub changed: usize,
    /// They were as they should be.
    pub unchanged: usize,
    /// They were no longer wanted, and are gone.
    pub deleted: usize,
}

impl Counts {
    pub(crate) fn of(applied: &Applied) -> Self {
        Self {
            created: applied.count(Change::Created),
            changed: applied.count(Change::Changed),
            unchanged: applied.count(Change::Unchanged) + applied.count(Change::Kept),
            deleted: 0,
        }
    }

    /// Tells whether nothing was changed.
    #[must_use]
    pub fn is_unchanged(self) -> bool {
        self.created + self.changed + self.deleted == 0
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.created += other.created;
        self.changed += other.changed;
        self.unchanged += other.unchanged;
        self.deleted += other.deleted;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unchanged() {
            return write!(f, "nothing to change, {} objects are as they should be", self.unchanged);
        }
        write!(f, "{} created, {} changed, {} unchanged", self.created, self.changed, self.unchanged)?;
        if self.deleted > 0 { write!(f, ", {} deleted", self.deleted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::Kind;
    use super::super::object::ObjectKey;
    use super::*;

    #[test]
    fn what_was_kept_counts_as_unchanged_and_counts_add_up() {
        let objects = [(Change::Created, 1), (Change::Changed, 2), (Change::Unchanged, 3), (Change::Kept, 4)];
        let key = |index| ObjectKey::new(Kind::Namespace, None, &format!("n{index}"));
        let objects = objects.into_iter().flat_map(|(change, count)| (0..count).map(move |_| change));
        let applied =
            Applied { objects: objects.enumerate().map(|(index, change)| (key(index), change)).collect() };
        let counts = Counts::of(&applied);
        assert_eq!(counts, Counts { created: 1, changed: 2, unchanged: 7, deleted: 0 });
        let mut sum = Counts { created: 10, changed: 20, unchanged: 30, deleted: 40 };
        sum.merge(counts);
        sum.merge(Counts { deleted: 5, ..Counts::default() });
        assert_eq!(sum, Counts { created: 11, changed: 22, unchanged: 37, deleted: 45 });
    }

    #[test]
    fn anything_that_was_done_is_a_change() {
        let none = Counts { unchanged: 3, ..Counts::default() };
        assert!(!Counts { created: 1, ..none }.is_unchanged());
        assert!(!Counts { changed: 1, ..none }.is_unchanged());
        let changed = Counts { created: 1, changed: 2, ..none };
        insta::assert_snapshot!(changed, @"1 created, 2 changed, 3 unchanged");
    }

    #[test]
    fn what_was_deleted_is_said_and_is_a_change() {
        let counts = Counts { unchanged: 46, ..Counts::default() };
        assert!(counts.is_unchanged());
        insta::assert_snapshot!(counts, @"nothing to change, 46 objects are as they should be");
        let deleted = Counts { deleted: 6, ..counts };
        assert!(!deleted.is_unchanged());
        insta::assert_snapshot!(deleted, @"0 created, 0 changed, 46 unchanged, 6 deleted");
    }
}
