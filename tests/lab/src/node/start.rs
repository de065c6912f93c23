//! Starting a node: from the host, and the short-lived program between host and node.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::process::{self, INIT, START};
use super::spec::NodeSpec;
use crate::cgroups::{self, Cgroups};
use crate::command;
use crate::error::{Error, Result};
use crate::network::host;
use crate::state::{StateDir, create};
use crate::sys;
use crate::topology::Node;

/// Starts a node from its spec and plugs it into its network; nothing happens if it runs.
///
/// What a dead node left in the control groups is removed first: cadvisor waits three seconds for each of them and the
/// kubelet starts no pod before.
pub fn start(state: &StateDir, node: Node) -> Result<bool> {
    let dir = state.node(node);
    let spec = dir.spec();
    if process::init(state, &spec)?.is_some() {
        return Ok(false);
    }
    let cgroups = Cgroups::detect()?;
    let group = cgroups::of_node(state, &node.name());
    cgroups.remove(&group)?;
    cgroups.create(&format!("{group}/system"))?;
    create(&dir.logs())?;
    let mut helper = command::command(state.program());
    helper.arg(START).arg(&spec);
    command::output(&mut helper, None, Duration::from_secs(30))?;
    let init = process::init(state, &spec)?.ok_or_else(|| Error::Timeout {
        what: format!("the start of node {}", node.name()),
        limit: Duration::ZERO,
        next: format!("see {}", dir.logs().join("init.log").display()),
    })?;
    host::plug(node, init.pid)?;
    Ok(true)
}

/// Ends a node as a power failure would; its disks stay. Says whether it was running.
pub fn stop(state: &StateDir, node: Node) -> Result<bool> {
    match process::init(state, &state.node(node).spec())? {
        Some(init) => init.kill().map(|()| true),
        None => Ok(false),
    }
}

/// `lab node-start`: makes the namespaces, starts init in them and ends.
///
/// A program of its own, because a process has to be single-threaded to leave its process namespace.
pub fn enter(spec: &Path) -> Result<()> {
    let parsed = NodeSpec::read(spec)?;
    let log = parsed.logs.join("init.log");
    let out = File::options().create(true).append(true).open(&log).map_err(Error::io("open", &log))?;
    let err = out.try_clone().map_err(Error::io("open", &log))?;
    sys::new_session().map_err(Error::system("start a session"))?;
    sys::unshare_node().map_err(Error::system(format!("make the namespaces of {}", parsed.name)))?;
    // Under the name that it was started with, by which the process table is searched.
    let program = std::env::args_os().next().unwrap_or_default();
    command::command(program)
        .arg(INIT)
        .arg(spec)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map(drop)
        .map_err(Error::system(format!("start the init of {}", parsed.name)))
}
