//! The order in which several clusters come to trust each other, stay so, and part again.
//!
//! 1. [`plan`] holds what there has to be against what there is.
//! 2. [`up`] brings every cluster's SPIRE up at the same time, then every pair: the first bundle is carried over the
//!    Kubernetes API, which has proven both sides; then the server is told where the peer's bundle endpoint is, and has to
//!    fetch the bundle from there itself before the pair counts; only then workloads get the peer's bundle.
//! 3. [`observe`] tells how it is.
//! 4. [`down`] takes it away in the opposite order.
//!
//! Nothing here prints: what is being done goes to a [`Watch`].

mod error;
mod locate;
mod observe;
mod plan;
mod preflight;
mod remove;
mod status;
mod up;
mod watch;

pub use error::FederationError;
pub use observe::observe;
pub use plan::{
    ClusterPlan, Desired, Endpoints, Later, MeshPlan, class_name, desired, endpoints, given_endpoints, plan,
};
pub use preflight::{PreflightError, preflight};
pub use remove::{CaVolume, Leftover, Removal, Removed, down, removal};
pub use status::{ClusterStatus, Counted, MeshStatus, RelationshipState, RelationshipStatus, SpireStatus};
pub use up::{Counts, Federated, up};
pub use watch::{Step, Watch};
