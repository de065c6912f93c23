//! Telling what is done, and how long it took.

use std::time::{Duration, Instant};

/// Receives one line at a time; may be called from several threads.
pub type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// Steps of something long, each printed when it is done.
#[derive(Clone, Copy)]
pub struct Steps<'a> {
    begin: Instant,
    say: Say<'a>,
}

impl<'a> Steps<'a> {
    /// Begins now.
    #[must_use]
    pub fn new(say: Say<'a>) -> Self {
        Self { begin: Instant::now(), say }
    }

    /// A line without a time.
    pub fn say(&self, text: &str) {
        (self.say)(text);
    }

    /// A step that is done now and began at `since`.
    pub fn done(&self, what: &str, since: Instant) {
        self.say(&format!("{:>7}  {what}  ({})", seconds(self.begin.elapsed()), seconds(since.elapsed())));
    }

    /// Does something and prints how long it took.
    pub fn time<T, E>(&self, what: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let since = Instant::now();
        let result = work()?;
        self.done(what, since);
        Ok(result)
    }

    /// Time since the beginning.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.begin.elapsed()
    }
}

/// A duration as people read it: `4.2 s`.
#[must_use]
pub fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

/// A number of bytes as people read it: `312 MiB`.
#[must_use]
pub fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes / (1024 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(seconds(Duration::from_millis(4_249)), "4.2 s");
        assert_eq!(mebibytes(312 * 1024 * 1024 + 5), "312 MiB");
    }
}
