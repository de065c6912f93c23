//! A workload's certificate chain and trust bundles: where they come from, and how they are shown.

pub mod source;

pub mod text;
