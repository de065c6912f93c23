//! `lab node-init`: process 1 of a node. Sets up mounts and network, keeps the services running, reaps orphans.

mod containers;
mod mounts;
mod network;
mod supervise;

use std::path::Path;

use super::spec::NodeSpec;
use crate::cgroups::Cgroups;
use crate::error::{Error, Result};
use crate::sys;

/// Runs a node until it is killed.
pub fn run(spec: &Path) -> Result<()> {
    let spec = NodeSpec::read(spec)?;
    sys::set_hostname(&spec.name).map_err(Error::system("set the host name"))?;
    sys::raise_open_files().map_err(Error::system("raise the limit of open files"))?;
    let cgroups = Cgroups::detect()?;
    cgroups.join(&format!("{}/system", spec.cgroup))?;
    mounts::arrange(&spec)?;
    network::configure(&spec.network)?;
    containers::watch(spec.holds.clone());
    supervise::run(&spec)
}
