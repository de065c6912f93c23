//! Kernel settings of the host: changed only upwards, remembered, and put back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

/// Settings that two clusters of pods need, and the least value of each.
const NEEDED: [(&str, u64); 3] = [
    ("net/ipv4/ip_forward", 1),
    ("fs/inotify/max_user_instances", 8192),
    ("fs/inotify/max_user_watches", 524_288),
];

fn path(name: &str) -> std::path::PathBuf {
    Path::new("/proc/sys").join(name)
}

/// The settings that have to be raised, with the values that they have now.
pub fn to_change() -> Result<BTreeMap<String, String>> {
    let mut changes = BTreeMap::new();
    for (name, least) in NEEDED {
        let file = path(name);
        let now = fs::read_to_string(&file).map_err(Error::io("read", &file))?.trim().to_owned();
        if now.parse::<u64>().is_ok_and(|value| value < least) {
            changes.insert(name.to_owned(), now);
        }
    }
    Ok(changes)
}

/// Raises what has to be raised.
pub fn raise() -> Result<()> {
    for (name, least) in NEEDED {
        if to_change()?.contains_key(name) {
            let file = path(name);
            fs::write(&file, least.to_string()).map_err(Error::io("write", &file))?;
        }
    }
    Ok(())
}

/// Puts the old values back.
pub fn restore(old: &BTreeMap<String, String>) -> Result<()> {
    old.iter().try_for_each(|(name, value)| {
        let file = path(name);
        fs::write(&file, value).map_err(Error::io("write", &file))
    })
}
