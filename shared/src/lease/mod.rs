//! One run at a time: the Lease (`coordination.k8s.io/v1`) that a verb holds in every cluster of the mesh while it changes something.
//!
//! It is called `spire-mesh-MESH` and is in `kube-system`, the only namespace that is there before `up` and after `down`. Both plugins
//! share it, because rotating SPIRE's CA and rotating istiod's at the same time is what it is against; two meshes do not meet. It is made
//! when a verb begins, renewed while the verb runs, and deleted at its end. What a crashed run has left ends by itself.
//!
//! # Whose clock
//!
//! A Lease has run out at its `renewTime` plus its `leaseDurationSeconds`. Both are told by the clock of that cluster's API server (the
//! `Date` of its answers): by who renews, and by who looks. So it does not matter by how much the clocks of two machines differ. client-go
//! compares no clocks at all, and watches a Lease for its whole duration before it takes it over. That suits controllers that wait anyway;
//! somebody who has typed a command would wait for a minute in front of a Lease that ran out yesterday. Who holds one measures by its own
//! clock alone how long ago it was renewed, and stops working at the latest when others may take it over.

mod claim;
mod error;
mod held;
mod object;
mod take;
#[cfg(test)]
mod tests;

pub use claim::Claim;
pub use error::{LeaseError, Lost};
pub use held::Held;
pub use object::{Holder, needs};
pub use take::{Taking, release, take};
