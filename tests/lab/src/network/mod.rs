//! The network of the lab on the host: one bridge per cluster, routes between them, firewall rules.

mod cidr;
pub mod dns;
pub mod firewall;
pub mod host;
pub mod https;
pub mod own;
pub mod sysctl;
pub mod taken;

pub use cidr::Cidr;
