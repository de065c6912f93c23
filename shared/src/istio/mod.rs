//! Istio in the clusters of a mesh.

pub mod demo;
