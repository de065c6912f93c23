//! From a kubeconfig to one connection per cluster of the mesh; running one task on all of them; commands in pods.
//!
//! [`Kubeconfig::connect_all`] gives [`Member`]s, [`each`] runs a task on every one at the same time and gathers all
//! results, so that a report can name every cluster that failed instead of the first.

mod access;
mod answer;
mod connect;
mod exec;
#[cfg(test)]
pub(crate) mod fake;
mod forward;
mod gather;
mod kubeconfig;
mod member;
mod proxy;
mod read;
mod request;
mod retry;

pub use access::{Need, missing};
pub(crate) use access::{ask_for, listed};
pub(crate) use answer::listed as list_pages;
pub use connect::ConnectError;
pub use exec::{ExecError, ExecOutput, ExecProblem, ExecTarget, Stream};
pub(crate) use forward::ask;
pub use forward::{Answer, ForwardError, ForwardProblem, PodPort, Session};
pub use gather::{ClusterErrors, PerCluster, each};
pub use kubeconfig::{KubeSettings, Kubeconfig, KubeconfigError};
pub use member::{Connection, Member, Peer};
pub use read::{Read, ReadError, Unread};
pub use request::{Cause, RequestError};
