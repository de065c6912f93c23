//! SPIRE in one cluster: what has to be there ([`desired`]), what is there ([`discovery`], [`server`], [`crd`]) and
//! where other clusters reach it ([`endpoint`]), and who signs its CA certificate ([`upstream`]).
//!
//! Small steps only. The order in which several clusters are taken through them is decided by the commands.

pub mod crd;
pub mod desired;
pub mod discovery;
pub mod endpoint;
pub mod polls;
pub mod presented;
pub mod schedule;
pub mod server;
pub mod upstream;
pub mod workload_api;
