//! Giving every node its images: imported once, then linked.

mod seed;

pub use seed::Seed;
