//! A node: its own set of namespaces with an init of ours as process 1. Kill that one process and the node is gone.

pub mod holds;
pub mod init;
pub mod process;
pub mod spec;
pub mod start;
mod timeline;

pub use holds::Holds;
pub use spec::{Gate, NodeSpec, Service};
