//! Ending a lab: nothing of it stays.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cgroups::{Cgroups, of_lab};
use crate::error::{Error, Result};
use crate::network::{firewall, host, sysctl};
use crate::node::process::{self, Process};
use crate::state::{Lock, Record, StateDir};
use crate::steps::Steps;
use crate::sys;

/// Entries of the state directory that are the lab's; what else is in it is somebody else's.
const ENTRIES: [&str; 9] = [
    "bin",
    "clusters",
    "nodes",
    "import",
    "kubeconfig",
    "state.json",
    "state.json.new",
    "faults.json",
    "faults.lock",
];

/// Ends the lab. Says whether there was anything to end.
pub fn down(state: &StateDir, steps: &Steps<'_>) -> Result<bool> {
    let lock = Lock::take(state)?;
    let there = anything(state)?;
    if there {
        remove(state, steps)?;
    }
    lock.remove()?;
    // Not empty means that it holds something which is not ours.
    let _ = fs::remove_dir(state.path());
    Ok(there)
}

/// Removes everything but the lock, which the caller holds.
pub(super) fn remove(state: &StateDir, steps: &Steps<'_>) -> Result<()> {
    // Without a readable record there is nothing to put back; the rest is found by its name.
    let record = Record::read(state).ok().flatten();
    steps.time("processes ended", || {
        // Nodes first: with process 1 of a node go all others of it.
        process::hidden(state, process::INIT)?.iter().try_for_each(Process::kill)?;
        process::all(state)?.iter().try_for_each(Process::kill)
    })?;
    steps.time("control groups removed", || Cgroups::detect()?.remove(&of_lab(state)))?;
    steps.time("network removed", || {
        firewall::remove()?;
        host::remove_all()
    })?;
    if let Some(record) = &record {
        sysctl::restore(&record.sysctls)?;
    }
    for place in mounted_below(state.path())? {
        sys::unmount(&place).map_err(Error::io("unmount", &place))?;
    }
    for dir in record.iter().flat_map(|record| record.created.iter().rev()) {
        // Somebody may have put something there since.
        let _ = fs::remove_dir(dir);
    }
    steps.time("files removed", || {
        ENTRIES.iter().try_for_each(|name| remove_entry(&state.path().join(name)))
    })?;
    let left = leftovers(state)?;
    if left.is_empty() { Ok(()) } else { Err(Error::Leftovers(left)) }
}

fn remove_entry(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

fn anything(state: &StateDir) -> Result<bool> {
    Ok(ENTRIES.iter().any(|name| state.path().join(name).exists()) || !leftovers(state)?.is_empty())
}

/// What is there of a lab outside of its files.
pub fn leftovers(state: &StateDir) -> Result<Vec<String>> {
    let processes = process::all(state)?.into_iter().map(|p| p.to_string());
    let groups = Cgroups::detect()?
        .existing(&of_lab(state))
        .into_iter()
        .map(|dir| format!("control group {}", dir.display()));
    let interfaces = host::leftovers().into_iter().map(|name| format!("network interface {name}"));
    let chains = firewall::leftovers().into_iter().map(|name| format!("firewall chain {name}"));
    let mounts = mounted_below(state.path())?.into_iter().map(|path| format!("mount {}", path.display()));
    Ok(processes.chain(groups).chain(interfaces).chain(chains).chain(mounts).collect())
}

/// Mount points below a directory, deepest first.
fn mounted_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mounts").map_err(Error::io("read", "/proc/self/mounts"))?;
    let places = table.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let mut below: Vec<PathBuf> = places.filter(|place| place.starts_with(dir) && place != dir).collect();
    below.reverse();
    Ok(below)
}
