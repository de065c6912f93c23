//! What a build tells its caller while it runs.

use std::fmt;
use std::time::Duration;

/// One event of a build. Its `Display` is the line for the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress<'a> {
    /// A step begins that may take long.
    Started {
        /// Name of the step, for instance `kubernetes`.
        step: &'a str,
    },
    /// The step's result was already in the cache.
    Cached {
        /// Name of the step.
        step: &'a str,
    },
    /// The step has been done now.
    Done {
        /// Name of the step.
        step: &'a str,
        /// Wall-clock time that it took.
        took: Duration,
    },
    /// Another build holds the lock of the cache; this one waits for it.
    Waiting,
}

impl fmt::Display for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { step } => write!(f, "building {step}"),
            Self::Cached { step } => write!(f, "{step}: cached"),
            Self::Done { step, took } => write!(f, "built {step} in {} s", seconds(*took)),
            Self::Waiting => f.write_str("waiting for another build to finish"),
        }
    }
}

/// How long one step of a build took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTime {
    /// Name of the step: a component, `packages` or `images`.
    pub step: String,
    /// Wall-clock time; `None` when the result came from the cache.
    pub took: Option<Duration>,
}

/// Seconds with one decimal below ten, whole seconds above.
fn seconds(took: Duration) -> String {
    let precision = usize::from(took < Duration::from_secs(10));
    format!("{:.precision$}", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_the_terminal() {
        let done = |millis| Progress::Done { step: "etcd", took: Duration::from_millis(millis) }.to_string();
        assert_eq!(done(203_400), "built etcd in 203 s");
        assert_eq!(done(1_240), "built etcd in 1.2 s");
        assert_eq!(Progress::Cached { step: "etcd" }.to_string(), "etcd: cached");
    }
}
