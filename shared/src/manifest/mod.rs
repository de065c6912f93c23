//! Objects as YAML and on an API server: reading, planning, applying, finding again, deleting, and waiting for them.
//!
//! Everything that is applied carries the labels of its [`Owner`]; nothing without them is ever changed or deleted. All writes
//! are server-side apply by one field manager, so that a second run changes nothing and says so. What somebody else declares with
//! other values ([`Declared`]) is refused.

mod address;
mod apply;
mod counts;
mod declared;
mod diff;
mod ending;
mod inventory;
mod kind;
mod mesh_plan;
mod nodes;
mod object;
mod others;
mod owner;
mod plan;
mod pods;
mod ready;
mod record;
mod tool;
pub mod wait;
mod webhook;
mod yaml;

pub(crate) use address::port_to;
pub use address::{HostPort, NewLoadBalancer, ServiceAddress, service_address, why_pending};
pub use apply::{Applied, ApplyError, Change, apply, expect_applied};
pub use counts::Counts;
pub use declared::Declared;
pub use diff::FieldChange;
pub use ending::{Ending, Held};
pub use inventory::{DeleteError, Deletion, delete, owned, owned_with, owned_without};
pub use kind::Kind;
pub use mesh_plan::{ClusterPlan, Later, MeshPlan, Scope};
pub use nodes::NodeState;
pub(crate) use nodes::node_of;
pub use object::{Object, ObjectError, ObjectKey};
pub use others::{Guests, Leftover, Spared, spare};
pub use owner::{MANAGED_BY_LABEL, MESH_LABEL, Owner};
pub use plan::{Plan, PlanError, Planned, Verdict, plan};
pub(crate) use pods::pod_is_ready;
pub use pods::{newest_event, pod_trouble, trouble};
pub use ready::{Workload, custom_resource_established, ready_on_nodes, workload_ready};
pub use record::RecordError;
pub(crate) use record::{read_record, write_record};
pub use tool::Tool;
pub use wait::{Deadline, Poll, WaitError};
pub use webhook::UncalledWebhook;
pub use yaml::{YamlError, parse_yaml, to_yaml};

#[cfg(test)]
mod tests;
