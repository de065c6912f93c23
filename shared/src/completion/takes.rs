//! What an argument takes.

use clap::builder::ArgExt;

/// What an argument takes that has to be looked up. It stands at the argument: `#[arg(add = Takes::Each(&[Source::Cluster]))]`.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// The same, whichever of its values it is.
    Each(&'static [Source]),
    /// For each of its values something else, in their order.
    InTurn(&'static [&'static [Source]]),
}

impl ArgExt for Takes {}

impl Takes {
    /// Returns where a value is looked up; `index` counts an argument's values from 0.
    pub(super) fn sources(self, index: usize) -> &'static [Source] {
        match self {
            Self::Each(sources) => sources,
            Self::InTurn(values) => values.get(index).copied().unwrap_or_default(),
        }
    }
}

/// Where words are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This word, and what it means.
    Word(&'static str, &'static str),
    /// The contexts of the kubeconfig.
    Context,
    /// `CONTEXT=`, for its user to add a trust domain to.
    NewCluster,
    /// The clusters of the mesh file.
    Cluster,
    /// `HOLDER/CLUSTER`, two different clusters of the mesh file.
    Pair,
    /// The namespaces of the cluster of `--context`, or of the current context.
    Namespace,
    /// Deployments, stateful sets and daemon sets there, in `--namespace`, that of the context, or all: `NAME`, or `KIND/NAME`
    /// where a kind was begun.
    Workload,
    /// The same in any cluster of the mesh file: `CLUSTER/NAMESPACE/NAME`, part by part.
    PlacedWorkload,
}
