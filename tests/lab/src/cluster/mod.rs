//! Clusters: what they are made of, how they start and end, and how they are doing.

pub mod bootstrap;
mod config;
pub mod down;
pub mod health;
pub mod kubeconfig;
pub mod kubectl;
pub mod layout;
mod services;
pub mod status;
pub mod up;

pub use kubectl::Kubectl;
