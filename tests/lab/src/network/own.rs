//! A network apart from the machine's: that of a node, and that of a lab beside another lab.

use std::path::Path;

use crate::command::run;
use crate::error::{Error, Result};
use crate::sys;

/// Leaves the machine's network for an empty one, with the addresses that every lab has. The programs that this one starts are there
/// too. `stash` is an empty directory.
pub fn enter(stash: &Path) -> Result<()> {
    sys::unshare_network_and_mounts().map_err(Error::system("make a network"))?;
    sys::make_private("/").map_err(Error::io("make private", "/"))?;
    remount_sys(stash)?;
    run("ip", ["link", "set", "lo", "up"]).map(drop)
}

/// Mounts `/sys` anew, where interfaces are those of the network of whoever mounts it, with the control groups bound back into it.
pub(crate) fn remount_sys(stash: &Path) -> Result<()> {
    let (sys_dir, cgroup_dir) = (Path::new("/sys"), Path::new("/sys/fs/cgroup"));
    sys::bind(cgroup_dir, stash).map_err(Error::io("bind the control groups to", stash))?;
    sys::mount("sysfs", sys_dir, "").map_err(Error::io("mount", sys_dir))?;
    sys::bind(stash, cgroup_dir).map_err(Error::io("bind the control groups to", cgroup_dir))?;
    sys::unmount(stash).map_err(Error::io("unmount", stash))
}
