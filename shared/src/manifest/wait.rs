//! Waiting, always with a deadline, and always able to say what for and what was seen last.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::fleet::RequestError;
use crate::hint::{Advice, Hint, Plugin};

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// Is told what is waited for, and the last state of it.
pub type Observer<'o> = dyn Fn(&str, &str) + Sync + 'o;

/// Until when to wait, and who is told about it meanwhile.
#[derive(Clone, Copy)]
pub struct Deadline<'o> {
    start: Instant,
    end: Instant,
    observer: Option<&'o Observer<'o>>,
}

impl Deadline<'static> {
    /// Ends after `patience`, from now on.
    #[must_use]
    pub fn after(patience: Duration) -> Self {
        let start = Instant::now();
        // A century is as good as for ever, and does not overflow.
        let patience = patience.min(Duration::from_hours(100 * 365 * 24));
        Self { start, end: start + patience, observer: None }
    }
}

impl<'o> Deadline<'o> {
    /// Tells `observer` what is waited for and what was seen last, whenever that changes.
    #[must_use]
    pub fn reporting<'n>(self, observer: &'n Observer<'n>) -> Deadline<'n> {
        Deadline { start: self.start, end: self.end, observer: Some(observer) }
    }

    /// Ends after `patience` or at this deadline, whichever is first.
    #[must_use]
    pub fn at_most(self, patience: Duration) -> Deadline<'o> {
        let end = Instant::now().checked_add(patience).map_or(self.end, |end| end.min(self.end));
        Deadline { end, ..self }
    }

    /// Returns the time that is left.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}

impl fmt::Debug for Deadline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deadline({:?} left)", self.left())
    }
}

/// One look at what is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poll<T> {
    /// It is there.
    Ready(T),
    /// It is not there yet; the text says what is, for the user.
    Pending(String),
    /// It cannot come any more; the text says why.
    Never(String),
}

impl<T> From<RequestError> for Poll<T> {
    /// Waits on while the server is busy or unreachable, and gives up on everything else.
    fn from(error: RequestError) -> Self {
        if error.is_transient() { Self::Pending(error.to_string()) } else { Self::Never(error.to_string()) }
    }
}

/// What was waited for did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The deadline passed.
    #[error("timed out after {} waiting for {what}; last seen: {last_seen}", rounded(*waited))]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The last state.
        last_seen: String,
        /// How long, since the wait for this one thing began.
        waited: Duration,
    },
    /// It cannot come any more.
    #[error("cannot wait for {what}: {reason}")]
    Never {
        /// What was waited for.
        what: String,
        /// Why it cannot come.
        reason: String,
    },
}

impl WaitError {
    /// Tells whether the deadline passed, which has an exit code of its own.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }
}

impl Hint for WaitError {
    fn hint(&self) -> Option<Advice> {
        self.is_timeout().then(|| {
            Advice::from(
                "if it only needs more time, run the same command again with a longer --timeout; if not, this says what is wrong: ",
            )
            .then(Plugin::SpireFederate.command(["verify"]))
            .then(", ")
            .then(Plugin::MeshInstall.command(["verify"]))
        })
    }
}

fn rounded(waited: Duration) -> humantime::FormattedDuration {
    let whole = if waited.as_secs() > 0 { waited.as_secs() * 1000 } else { 0 };
    let millis = if whole > 0 { whole } else { u64::from(waited.subsec_millis()) };
    humantime::format_duration(Duration::from_millis(millis))
}

/// Looks again and again, after 100 milliseconds at first and every second in the end, until `poll` is ready.
///
/// Looks at least once. A look that does not come back is given up at the deadline.
///
/// # Errors
/// [`WaitError::TimedOut`] at the deadline, [`WaitError::Never`] when `poll` says so.
pub async fn until<T, F, R>(deadline: Deadline<'_>, what: &str, mut poll: F) -> Result<T, WaitError>
where
    F: FnMut() -> R,
    R: Future<Output = Poll<T>>,
{
    let start = Instant::now();
    let mut delay = FIRST_DELAY;
    let mut last_seen = String::from("no answer");
    loop {
        match tokio::time::timeout_at(deadline.end, poll()).await {
            Ok(Poll::Ready(value)) => return Ok(value),
            Ok(Poll::Never(reason)) => return Err(WaitError::Never { what: what.to_owned(), reason }),
            Ok(Poll::Pending(state)) => {
                if state != last_seen {
                    if let Some(observer) = deadline.observer {
                        observer(what, &state);
                    }
                    last_seen = state;
                }
            }
            Err(_) => {}
        }
        let next = Instant::now() + delay;
        if next >= deadline.end {
            // One more look right at the end would come too late to be of use for anybody.
            tokio::time::sleep_until(deadline.end).await;
            return Err(WaitError::TimedOut { what: what.to_owned(), last_seen, waited: start.elapsed() });
        }
        tokio::time::sleep_until(next).await;
        delay = (delay * 3 / 2).min(LONGEST_DELAY);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_deadline_and_tells_what_it_saw_last() {
        let mut looks = 0;
        let error = until::<(), _, _>(Deadline::after(Duration::from_secs(5)), "the pod", || {
            looks += 1;
            let state = format!("look {looks}");
            async { Poll::Pending(state) }
        });
        let error = error.await.unwrap_err();
        assert!(error.is_timeout());
        insta::assert_snapshot!(error.to_string(), @"timed out after 5s waiting for the pod; last seen: look 9");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_never_comes_back_is_given_up() {
        let error =
            until::<(), _, _>(Deadline::after(Duration::from_secs(3)), "the pod", std::future::pending).await;
        insta::assert_snapshot!(error.unwrap_err().to_string(), @"timed out after 3s waiting for the pod; last seen: no answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_looks_once_even_when_no_time_is_left() {
        let deadline = Deadline::after(Duration::ZERO);
        assert_eq!(until(deadline, "it", || async { Poll::Ready(1) }).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_cut_and_never_extended() {
        let minute = Deadline::after(Duration::from_mins(1));
        assert_eq!(minute.left(), Duration::from_mins(1));
        assert_eq!(minute.at_most(Duration::from_secs(5)).left(), Duration::from_secs(5));
        assert_eq!(minute.at_most(Duration::from_hours(1)).left(), Duration::from_mins(1));
        assert_eq!(minute.at_most(Duration::MAX).left(), Duration::from_mins(1));
        assert_eq!(format!("{minute:?}"), "Deadline(60s left)");
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(minute.left(), Duration::from_secs(40));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(minute.left(), Duration::ZERO);
        assert!(Deadline::after(Duration::MAX).left() > Duration::from_hours(24 * 365 * 99));
    }

    #[tokio::test(start_paused = true)]
    async fn looks_become_rarer_until_there_is_one_a_second() {
        let start = Instant::now();
        let mut looks = Vec::new();
        let waited = until::<(), _, _>(Deadline::after(Duration::from_secs(5)), "it", || {
            looks.push(start.elapsed().as_millis());
            async { Poll::Pending("not yet".to_owned()) }
        });
        waited.await.unwrap_err();
        assert_eq!(looks, [0, 100, 250, 475, 813, 1320, 2080, 3080, 4080]);
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    }

    #[test]
    fn times_are_told_in_whole_seconds_from_one_on() {
        let told = |millis| rounded(Duration::from_millis(millis)).to_string();
        assert_eq!(
            ["0s", "250ms", "999ms", "1s", "1s", "1m 1s"],
            [0, 250, 999, 1000, 1999, 61_500].map(told)
        );
    }

    #[test]
    fn only_time_that_ran_out_is_given_more_of_it() {
        let never = WaitError::Never { what: "it".to_owned(), reason: "gone".to_owned() };
        assert!(!never.is_timeout() && never.hint().is_none());
        let (what, last_seen) = ("it".to_owned(), "nothing".to_owned());
        let late = WaitError::TimedOut { what, last_seen, waited: Duration::from_secs(1) };
        assert!(late.is_timeout() && late.hint().unwrap().to_string().contains("--timeout"));
    }

    #[tokio::test(start_paused = true)]
    async fn every_new_state_is_reported_once() {
        let seen = Mutex::new(Vec::new());
        let observer = |what: &str, state: &str| seen.lock().unwrap().push(format!("{what}: {state}"));
        let mut looks = 0;
        let deadline = Deadline::after(Duration::from_mins(1));
        let waited = until(deadline.reporting(&observer), "it", || {
            looks += 1;
            let poll = if looks > 6 { Poll::Ready(()) } else { Poll::Pending(format!("step {}", looks / 3)) };
            async { poll }
        });
        waited.await.unwrap();
        assert_eq!(*seen.lock().unwrap(), ["it: step 0", "it: step 1", "it: step 2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_come_is_not_waited_for() {
        let error = until::<(), _, _>(Deadline::after(Duration::from_mins(1)), "it", || async {
            Poll::Never("gone".into())
        });
        insta::assert_snapshot!(error.await.unwrap_err().to_string(), @"cannot wait for it: gone");
    }
}
