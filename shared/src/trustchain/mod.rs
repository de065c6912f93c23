//! A workload's certificate chain and trust bundles: where they come from, whether they are right, who would accept them, and how
//! they are shown.
//!
//! [`judge`](fn@judge) makes an [`Inspected`] of what was read, whatever it was read from: a proxy, a Secret, a file, a server.

mod accepts;
mod expiry;
mod inspected;
mod judge;
mod origin;
mod scan;
pub mod source;
pub mod text;
mod watch;

pub use accepts::{Acceptance, Answer, Direction, Party, Question, accepts, party};
pub use expiry::{Threshold, ThresholdError, remaining};
pub use inspected::{
    AuthorityFound, BundleShown, Inspected, Listed, Origin, Reason, Standing, Subject, Verdict,
};
pub use judge::{Evidence, Expected, Presented, judge};
pub use origin::with_origin;
pub use scan::{AT_ONCE, inspect_pod, inspect_pods};
pub use watch::{Change, Watched};
