//! What a lab keeps on disk: where things are, who is changing them, and what was asked for.

mod dir;
mod lock;
mod record;

pub use dir::{ClusterDir, NodeDir, StateDir, VARIABLE};
pub(crate) use dir::{create, read_json, write, write_json, write_secret};
pub use lock::Lock;
pub use record::{Phase, Record};
