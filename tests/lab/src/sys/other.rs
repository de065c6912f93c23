//! Elsewhere than on Linux there is no lab, only its tests: every call says so.

use std::io;
use std::path::Path;

use super::Ended;

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "the lab runs on Linux only"))
}

pub(crate) fn is_root() -> bool {
    false
}

pub(crate) fn free_space(_path: &Path) -> io::Result<u64> {
    unsupported()
}

pub(crate) fn unshare_node() -> io::Result<()> {
    unsupported()
}

pub(crate) fn unshare_network() -> io::Result<()> {
    unsupported()
}

pub(crate) fn unshare_network_and_mounts() -> io::Result<()> {
    unsupported()
}

pub(crate) fn enter_network(_pid: u32) -> io::Result<()> {
    unsupported()
}

pub(crate) fn new_session() -> io::Result<()> {
    unsupported()
}

pub(crate) fn make_private(_target: &str) -> io::Result<()> {
    unsupported()
}

pub(crate) fn make_shared(_target: &str) -> io::Result<()> {
    unsupported()
}

pub(crate) fn bind(_from: &Path, _to: &Path) -> io::Result<()> {
    unsupported()
}

pub(crate) fn mount(_kind: &str, _to: &Path, _options: &str) -> io::Result<()> {
    unsupported()
}

pub(crate) fn unmount(_target: &Path) -> io::Result<()> {
    unsupported()
}

pub(crate) fn set_hostname(_name: &str) -> io::Result<()> {
    unsupported()
}

pub(crate) fn raise_open_files() -> io::Result<()> {
    unsupported()
}

pub(crate) fn kill(_pid: u32) -> io::Result<()> {
    unsupported()
}

pub(crate) fn reap() -> io::Result<Option<Ended>> {
    unsupported()
}
