//! SPIRE federation over several Kubernetes clusters: the library behind the kubectl plugins.
//!
//! Data goes one way: mesh file → [`mesh`] → [`fleet`] → desired ([`manifest`], [`spire`]) and observed ([`spire`], [`envoy`]) →
//! a plain report → [`report`].

pub mod check;
pub mod cli;
pub mod command;
pub mod completion;
pub mod entry;
pub mod envoy;
pub mod federation;
pub mod fleet;
pub mod hint;
pub mod istio;
pub mod lease;
pub mod manifest;
pub mod mesh;
pub mod multicluster;
pub mod path;
pub mod report;
pub mod spire;
pub mod traffic;
pub mod trust;
pub mod trustchain;
pub mod watch;
pub mod workload;

#[cfg(test)]
#[path = "../../tests/left_out.rs"]
mod left_out;
