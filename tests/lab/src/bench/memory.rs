//! How much memory a program takes at most, its children included.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;

use super::exact;
use crate::command::describe;
use crate::error::{Error, Result};

/// The verb of the lab's own program that measures another one: the kernel only tells the peak of all children that have ended.
pub(crate) const MEASURE: &str = "peak-memory";
/// `kubectl trustchain` of one workload shall take at most this much of the memory of `istioctl | jq | base64 | openssl`.
const CHAIN_TO_HAND: f64 = 0.3;

/// The peak memory of two programs, side by side: of the largest process of each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// The largest process of the steps by hand, in KiB.
    pub by_hand_kib: u64,
    /// The plugin, in KiB. kubectl becomes it, and what kubectl took before is not in it.
    pub plugin_kib: u64,
}

impl Memory {
    /// Runs both, once, and measures.
    pub(super) fn measure(by_hand: &Command, plugin: &Command, limit: Duration) -> Result<Self> {
        Ok(Self { by_hand_kib: peak(by_hand, limit)?, plugin_kib: peak(plugin, limit)? })
    }

    #[expect(clippy::cast_precision_loss, reason = "nobody has that much memory")]
    fn ratio(self) -> f64 {
        self.plugin_kib as f64 / self.by_hand_kib.max(1) as f64
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.ratio() <= CHAIN_TO_HAND { "met" } else { "missed" };
        write!(
            f,
            "peak memory of chain: by hand {} MiB, plugin {} MiB, ratio {:.2} (at most {CHAIN_TO_HAND:.2}: {met})",
            self.by_hand_kib >> 10,
            self.plugin_kib >> 10,
            self.ratio()
        )
    }
}

/// Runs a program below a process of its own, and returns what its largest process took, in KiB.
fn peak(program: &Command, limit: Duration) -> Result<u64> {
    let own = env::current_exe().map_err(Error::system("find the lab's own program"))?;
    let mut measured = Command::new(own);
    measured.arg(MEASURE).arg("--").arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => measured.env(name, value),
            None => measured.env_remove(name),
        };
    }
    let said = exact::output(&mut measured, None, limit)?;
    said.trim().parse().map_err(|_| Error::Invalid {
        what: "peak of memory",
        value: said.trim().to_owned(),
        why: "expected a number of KiB".to_owned(),
    })
}

/// Runs a program to its end, without showing what it prints, and returns the peak of its largest process in KiB.
///
/// # Errors
/// When it cannot be started, or fails.
pub(crate) fn run_measured(words: &[OsString]) -> Result<i64> {
    let Some((program, arguments)) = words.split_first() else { return Ok(0) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().map_err(|source| Error::Start { program: describe(&command), source })?;
    if !status.success() {
        let output = "see above".to_owned();
        return Err(Error::Command { command: describe(&command), status: status.to_string(), output });
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN);
    usage.map(|usage| usage.max_rss()).map_err(Error::system("ask for the use of memory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_told_with_what_is_aimed_at() {
        let memory = |plugin_kib| Memory { by_hand_kib: 78 << 10, plugin_kib }.to_string();
        let said = "peak memory of chain: by hand 78 MiB, plugin 13 MiB, ratio 0.17 (at most 0.30: met)";
        assert_eq!(memory(13 << 10), said);
        assert!(memory(40 << 10).ends_with("ratio 0.51 (at most 0.30: missed)"));
    }

    #[test]
    fn what_a_program_took_is_known_when_it_has_ended() {
        assert!(run_measured(&["true".into()]).expect("it runs") > 100);
        assert!(run_measured(&["false".into()]).is_err());
    }
}
