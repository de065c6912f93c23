//! The system calls themselves, through `nix`: none of them is unsafe.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::Ended;

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Bytes that are free on the file system of a path.
pub(crate) fn free_space(path: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// Leaves the host's namespaces for new ones, as a node has them; the next child is process 1.
pub(crate) fn unshare_node() -> io::Result<()> {
    nix::sched::unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET,
    )?;
    Ok(())
}

/// Puts this thread, and the programs it starts, into a new network namespace.
pub(crate) fn unshare_network() -> io::Result<()> {
    Ok(nix::sched::unshare(CloneFlags::CLONE_NEWNET)?)
}

/// Leaves the host's network and its mounts for new ones; so do the programs that are started from here on.
pub(crate) fn unshare_network_and_mounts() -> io::Result<()> {
    Ok(nix::sched::unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?)
}

/// Puts this thread into the network namespace of a process.
pub(crate) fn enter_network(pid: u32) -> io::Result<()> {
    let file = File::open(format!("/proc/{pid}/ns/net"))?;
    Ok(nix::sched::setns(file, CloneFlags::CLONE_NEWNET)?)
}

/// A session of its own: no terminal's signals.
pub(crate) fn new_session() -> io::Result<()> {
    nix::unistd::setsid()?;
    Ok(())
}

fn change(target: &str, flags: MsFlags) -> io::Result<()> {
    Ok(nix::mount::mount(None::<&str>, target, None::<&str>, flags | MsFlags::MS_REC, None::<&str>)?)
}

/// Mounts made here are not seen in other mount namespaces, nor theirs here.
pub(crate) fn make_private(target: &str) -> io::Result<()> {
    change(target, MsFlags::MS_PRIVATE)
}

/// Mounts made here are seen in mount namespaces made from here on.
pub(crate) fn make_shared(target: &str) -> io::Result<()> {
    change(target, MsFlags::MS_SHARED)
}

/// Shows a file or directory at another place too, with everything that is mounted in it.
pub(crate) fn bind(from: &Path, to: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    Ok(nix::mount::mount(Some(from), to, None::<&str>, flags, None::<&str>)?)
}

/// Mounts a file system that needs no device.
pub(crate) fn mount(kind: &str, to: &Path, options: &str) -> io::Result<()> {
    Ok(nix::mount::mount(Some(kind), to, Some(kind), MsFlags::empty(), Some(options))?)
}

/// Takes a mount away, at once for new users and later for those that still have it open.
pub(crate) fn unmount(target: &Path) -> io::Result<()> {
    Ok(nix::mount::umount2(target, MntFlags::MNT_DETACH)?)
}

/// Sets the name of the machine.
pub(crate) fn set_hostname(name: &str) -> io::Result<()> {
    Ok(nix::unistd::sethostname(name)?)
}

/// Lets programs open as many files as the hard limit says; Go does that for itself, but not for what it starts.
pub(crate) fn raise_open_files() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// Ends a process at once. One that is gone already is none the worse for it.
pub(crate) fn kill(pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    match nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Waits for any child to end; `None` if there is no child.
pub(crate) fn reap() -> io::Result<Option<Ended>> {
    loop {
        let (pid, how) = match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, format!("exit status {code}")),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, format!("signal {signal}")),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(Errno::ECHILD) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let pid = u32::try_from(pid.as_raw()).map_err(io::Error::other)?;
        return Ok(Some(Ended { pid, how }));
    }
}
