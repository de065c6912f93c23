//! The order in which several clusters come to trust each other, stay so, and part again.
//!
//! 1. [`plan`] holds what there has to be against what there is.
//!    What [`render`] gives may be applied by others; then a plan of the rest ([`Scope::Live`](crate::manifest::Scope)) is done.
//! 2. [`up`] brings every cluster's SPIRE up at the same time, then every pair: the first bundle is carried over the
//!    Kubernetes API, which has proven both sides; then the server is told where the peer's bundle endpoint is, and has to
//!    fetch the bundle from there itself before the pair counts; only then workloads get the peer's bundle.
//! 3. [`observe()`] reads how it is, and [`MeshStatus`] is derived from it; [`examine()`] reads the rest that [`verify`] needs to say what is
//!    wrong, why, and what to do about it.
//! 4. [`rotate`] replaces a server's CA, one proven step after the other.
//! 5. [`down`] takes it away in the opposite order. Where one cluster leaves, [`untie`] makes the others forget it first.
//!
//! Nothing here prints: what is being done goes to a [`Watch`](crate::watch::Watch).

mod bundles;
pub mod checks;
mod error;
mod examine;
pub mod examined;
mod leave;
mod locate;
mod lost;
mod observe;
pub mod observed;
mod plan;
mod preflight;
mod remove;
mod repair;
mod rotate;
#[cfg(test)]
mod sample;
mod settle;
mod status;
mod step;
mod up;

pub use bundles::{
    AuthorityInfo, BundleDifference, HeldBundles, Side, bundle_difference, bundle_document, held_bundles,
};
pub use checks::{Repair, verify};
pub use error::FederationError;
pub use examine::examine;
pub use leave::{Keeper, Ties, ties, untie};
pub use observe::observe;
pub use plan::{Rendered, plan, render};
pub use preflight::{PreflightError, preflight, preflight_down, preflight_removal};
pub use remove::{CaVolume, Removal, Removed, down, removal};
pub use repair::{merged, repair};
pub use rotate::{
    Before, BegunRotation, NextStep, RotateError, Rotated, RotationPlan, StillTrusted, Wanted, rotate,
    rotation_plan,
};
pub use settle::settle;
pub use status::{
    CaStatus, ClusterStatus, Counted, MeshStatus, NodeStatus, Refresh, RefreshState, RelationshipState,
    RelationshipStatus, SpireStatus,
};
pub use step::Step;
pub use up::{Federated, up};
