//! System calls, in one place: everything that only Linux has, so that the rest compiles (and is tested) elsewhere.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::*;

/// A child that ended: its process id, and how.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) pid: u32,
    pub(crate) how: String,
}
