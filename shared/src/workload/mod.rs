//! Workloads as their users name them, and the pods and proxies behind a name.
//!
//! A workload is what owns pods: a deployment, a stateful set, a daemon set, a job, or a pod that nobody owns. All of it is read from
//! pods alone, with one request for a namespace or a whole cluster.

mod find;
mod name;
mod pod;
#[cfg(test)]
pub(crate) mod served;

pub use find::{Candidate, FindError, find};
pub use name::{Placed, Workload, WorkloadKind, WorkloadName, WorkloadNameError, WorkloadRef};
pub use pod::{ProxyState, Scope, WorkloadPod, behind, list};
