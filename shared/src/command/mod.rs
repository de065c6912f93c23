//! What verbs of several plugins have in common: reading the mesh file, reaching the clusters, showing steps, and printing
//! plans and verifications.

mod connect;
mod exclusive;
mod others;
mod plan;
mod render;
mod shown;
mod status;
mod verify;

pub use connect::{Asked, Reached, named, refuse_unchecked};
pub use exclusive::taking;
pub use others::{deletion_question, tell_others};
pub use plan::{each_cluster, place, refuse_declared, refuse_foreign, summary};
pub use render::write_manifests;
pub use shown::Shown;
pub use status::{Reasons, Status};
pub use verify::{Repairs, VerifyReport, conclude, tell};
