//! What a node sees of the host's files, and what it has of its own.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::network::own;
use crate::node::NodeSpec;
use crate::sys;

/// Arranges the mounts of the node in its own mount namespace.
///
/// `/sys` is mounted anew for the node's network, with the control groups bound back into it; `/run` is empty, so that
/// sockets and locks are the node's. At the end `/` is shared: CSI drivers pass mounts on from their pods.
pub(super) fn arrange(spec: &NodeSpec) -> Result<()> {
    sys::make_private("/").map_err(Error::io("make private", "/"))?;
    mount("proc", Path::new("/proc"), "")?;
    own::remount_sys(&spec.stash)?;
    mount("tmpfs", Path::new("/run"), "mode=755")?;
    for dir in ["/run/lock", "/run/netns"] {
        fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    }
    for bind in &spec.binds {
        ensure_target(&bind.to)?;
        sys::bind(&bind.from, &bind.to).map_err(Error::io("bind", &bind.to))?;
    }
    sys::make_shared("/").map_err(Error::io("make shared", "/"))
}

/// `/etc/resolv.conf` may be a link into the host's `/run`, which the node does not see: an empty file takes its place.
fn ensure_target(place: &Path) -> Result<()> {
    let Ok(target) = fs::read_link(place) else { return Ok(()) };
    let target = place.parent().unwrap_or(Path::new("/")).join(target);
    if target.exists() {
        return Ok(());
    }
    let parent = target.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    fs::write(&target, "").map_err(Error::io("create", &target))
}

fn mount(kind: &str, to: &Path, options: &str) -> Result<()> {
    sys::mount(kind, to, options).map_err(Error::io("mount", to))
}
