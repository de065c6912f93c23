//! What can go wrong in the lab: what failed, on what, and what to do next.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Result of everything the lab does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something the lab tried did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A system call that names no file.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program could not be started.
    #[error(
        "cannot start `{program}`: {source}; is it installed? `cargo lab build` installs what the lab needs"
    )]
    Start {
        /// Program and arguments.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("`{command}` failed ({status}): {output}")]
    Command {
        /// Program and arguments.
        command: String,
        /// Exit status.
        status: String,
        /// The end of what it said.
        output: String,
    },
    /// A program did not end in time.
    #[error("`{command}` did not end within {} s", limit.as_secs())]
    CommandTimeout {
        /// Program and arguments.
        command: String,
        /// How long it was given.
        limit: Duration,
    },
    /// Something that should happen by itself did not.
    #[error("{what} did not happen within {} s; {next}", limit.as_secs())]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// Where to look.
        next: String,
    },
    /// The machine lacks something.
    #[error("this machine cannot run the lab:\n{}", bullets(.0))]
    Unsuitable(Vec<String>),
    /// Addresses or interface names are in use by something else.
    #[error("the lab needs addresses or names that are taken:\n{}", bullets(.0))]
    Taken(Vec<String>),
    /// Another `up` or `down` is at work.
    #[error("another `cargo lab` is at work in {} (process {holder}); wait for it, or end it and run this again", state.display())]
    Locked {
        /// State directory.
        state: PathBuf,
        /// Process id, as far as known.
        holder: String,
    },
    /// No lab runs here.
    #[error("no lab is running (state directory {}); start one with `cargo lab up`", .0.display())]
    NotRunning(PathBuf),
    /// A lab of another shape runs.
    #[error("a lab with {running} is running, not {asked}; run `cargo lab down` first")]
    OtherShape {
        /// What runs.
        running: String,
        /// What was asked for.
        asked: String,
    },
    /// A lab with too few clusters runs.
    #[error(
        "the lab has {running} clusters, and this needs {needed}; run `cargo lab down`, then `cargo lab up --clusters {needed}`"
    )]
    TooFewClusters {
        /// How many it has.
        running: usize,
        /// How many are needed.
        needed: usize,
    },
    /// A name that does not exist.
    #[error("there is no {kind} {name:?}; there is {known}")]
    Unknown {
        /// Kind of thing.
        kind: &'static str,
        /// The name that was given.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A value that cannot be understood.
    #[error("{what} {value:?}: {why}")]
    Invalid {
        /// What it is.
        what: &'static str,
        /// As it was given.
        value: String,
        /// Why not.
        why: String,
    },
    /// The target is not a lab.
    #[error(
        "faults need the lab; the contexts {0} were given by SPIRE_MESH_TEST_CONTEXTS and are somebody else's clusters"
    )]
    FaultsUnsupported(String),
    /// Something is left after a `down`.
    #[error("the lab is down, but this is left and could not be removed:\n{}", bullets(.0))]
    Leftovers(Vec<String>),
    /// Certificates.
    #[error("cannot make the certificate of {name}: {source}")]
    Certificate {
        /// Whose certificate.
        name: String,
        /// What the library said.
        source: rcgen::Error,
    },
    /// A file of the lab holds something unexpected.
    #[error("{} is damaged: {why}; `cargo lab down` removes it, then `cargo lab up` starts afresh", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Building the components.
    #[error(transparent)]
    Build(#[from] crate::build::Error),
    /// Making what a release is made of.
    #[error(transparent)]
    Package(#[from] crate::package::Error),
    /// Part of the work failed, in one cluster.
    #[error("cluster {cluster}: {source}")]
    Cluster {
        /// Which cluster.
        cluster: String,
        /// Why.
        source: Box<Error>,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// For `map_err` on system calls.
    pub(crate) fn system<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |source| Self::System { action, source: source.into() }
    }

    /// The same error, with the cluster that it happened in.
    pub(crate) fn in_cluster(self, cluster: &str) -> Self {
        Self::Cluster { cluster: cluster.to_owned(), source: Box::new(self) }
    }
}

fn bullets(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n")
}
