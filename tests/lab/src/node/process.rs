//! Finding and ending the processes of a lab. The process table is the truth: no file with a process id can be stale.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::command::wait_until;
use crate::error::{Error, Result};
use crate::state::StateDir;
use crate::sys;

/// Hidden verb of a node's init.
pub const INIT: &str = "node-init";
/// Hidden verb of the short-lived program that makes the namespaces.
pub const START: &str = "node-start";
/// Hidden verb of the program that holds packets back.
pub const DELAY: &str = "fault-delay";

/// A process of the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id on the host.
    pub pid: u32,
    /// Which of the lab's programs it runs: `lab`, `kubelet`, `kubectl`…
    pub program: String,
    /// Its arguments; for `lab`, the verb is the first.
    pub args: Vec<String>,
    started: String,
}

/// The processes on this machine that run a program of this lab, whoever started them; but not the caller.
pub fn all(state: &StateDir) -> Result<Vec<Process>> {
    let entries = fs::read_dir("/proc").map_err(Error::io("read", "/proc"))?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    Ok(pids.filter(|pid| *pid != std::process::id()).filter_map(|pid| look(pid, &state.bin())).collect())
}

fn look(pid: u32, bin: &Path) -> Option<Process> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let program = Path::new(words.next()?.as_ref()).strip_prefix(bin).ok()?.to_str()?.to_owned();
    // Behind the last argument there is a zero too.
    let mut args: Vec<String> = words.map(Cow::into_owned).collect();
    args.pop();
    Some(Process { pid, program, args, started: stat(pid)?.1 })
}

/// State and start time of a process.
fn stat(pid: u32) -> Option<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; state is the first field after it, start time the twentieth.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(((*fields.first()?).to_owned(), (*fields.get(19)?).to_owned()))
}

/// The processes that run this program with a hidden verb.
pub fn hidden(state: &StateDir, verb: &str) -> Result<Vec<Process>> {
    let mut found = all(state)?;
    found.retain(|p| {
        state.bin().join(&p.program) == state.program() && p.args.first().is_some_and(|arg| arg == verb)
    });
    Ok(found)
}

/// Process 1 of the node with this spec, if the node runs.
pub fn init(state: &StateDir, spec: &Path) -> Result<Option<Process>> {
    let spec = spec.to_string_lossy();
    Ok(hidden(state, INIT)?.into_iter().find(|p| p.args.get(1).is_some_and(|arg| *arg == spec)))
}

impl Process {
    /// Whether it is still there, and not only its entry in the process table.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|(state, started)| state != "Z" && started == self.started)
    }

    /// Ends it at once and waits until it is gone; with process 1 of a node go all others of the node.
    pub fn kill(&self) -> Result<()> {
        sys::kill(self.pid).map_err(Error::system(format!("end process {}", self.pid)))?;
        wait_until(
            &format!("the end of {self}"),
            "it may hang in a file system that does not answer",
            Duration::from_secs(30),
            Duration::from_millis(10),
            || Ok(!self.is_alive()),
        )
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({} {})", self.pid, self.program, self.args.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    fn of(pid: u32, started: &str) -> Process {
        Process { pid, program: "lab".to_owned(), args: Vec::new(), started: started.to_owned() }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_alive_and_not_part_of_a_lab() {
        let pid = std::process::id();
        let (_, started) = stat(pid).expect("we exist");
        assert!(of(pid, &started).is_alive());
        assert!(!of(pid, "0").is_alive());
        let lab = StateDir::new("/nowhere");
        assert!(all(&lab).expect("readable").is_empty());
    }
}
