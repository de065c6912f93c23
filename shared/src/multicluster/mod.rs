//! Istio on several clusters: one mesh, proven and taken apart again.
//!
//! 1. [`render`] has `istioctl` write the manifests, and [`plan()`] holds them against what there is.
//! 2. [`preflight`] asks whether every cluster can take part, SPIRE first: sidecars without an identity do not start.
//! 3. [`up`] applies on all clusters at the same time, gives every istiod access to every other cluster, and proves the result: what
//!    istiod has read, whether the gateways are reached, whose identities are expected.
//! 4. [`rotate_ca()`] replaces istiod's CA while all of it runs.
//! 5. [`down`] takes it away in the opposite order.
//!
//! Nothing here prints: what is being done goes to a [`Watch`](crate::watch::Watch).

mod access;
mod ca;
pub mod checks;
mod demo;
mod error;
mod examine;
pub mod examined;
mod gateway;
mod identities;
mod plan;
mod preflight;
mod probe;
mod proxies;
mod remove;
mod repair;
mod restart;
mod rotate_ca;
mod settle;
mod sidecars;
mod stale;
mod status;
mod step;
mod up;

pub use access::{RemoteSecretStatus, RotatedToken, age, half_rotated, remote_secret_list, rotate_token};
pub use ca::CaError;
pub use checks::{Repair, verify};
pub use demo::{install_demo, plan_demo, removal_of_demo, remove_demo};
pub use error::InstallError;
pub use examine::examine;
pub use examined::Counted;
pub use plan::{ApiServers, RenderError, Rendered, not_rendered, plan, render};
pub use preflight::{PreflightError, preflight};
pub use probe::Way;
pub use remove::{ReaderTokens, Removal, Removed, down, removal, removal_of_access};
pub use repair::repair;
pub use rotate_ca::{
    CaIssue, CaRotationPlan, Connected, Load, NextCa, NextCaStep, RotateCaError, RotatedCa, Svids,
    ca_rotation_plan, rotate_ca,
};
pub use settle::{Istiods, settle};
pub use status::{ClusterStatus, IstioStatus, MeshStatus, PairState, PairStatus, status};
pub use step::Step;
pub use up::{Installed, up};
