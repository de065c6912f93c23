//! Why a build failed.

use std::io;
use std::path::{Path, PathBuf};

/// Why a build failed, on what, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a cache directory nor a home directory is known.
    #[error("no place for the build cache: set SPIRE_MESH_LAB_CACHE (or HOME)")]
    NoCacheDir,

    /// A file or directory could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, for instance `read`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A program that the build calls could not be started.
    #[error("cannot start {program} (needed for {step}): {source}; install it and see that it is in PATH")]
    Start {
        /// The step that needs it.
        step: String,
        /// The program.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },

    /// A program that the build called ended with an error.
    #[error("{step} failed ({status}): {command}\n{tail}\nThe full output is in {}", log.display())]
    Command {
        /// The step, for instance the name of a component.
        step: String,
        /// How the program ended, for instance `exit status: 1`.
        status: String,
        /// The command line.
        command: String,
        /// The last lines of its output.
        tail: String,
        /// File with the whole output.
        log: PathBuf,
    },

    /// There is no usable Go toolchain.
    #[error(
        "Go is missing ({reason}): install Go {} or newer from https://go.dev/dl and put its bin directory into PATH",
        super::versions::GO
    )]
    NoGo {
        /// What happened when `go version` was called.
        reason: String,
    },

    /// A file that states a version does not state the expected one.
    #[error("{} names no version of {what}; restore the file from the repository", path.display())]
    NoVersion {
        /// Module or package whose version was looked for.
        what: String,
        /// The file.
        path: PathBuf,
    },

    /// There is no such Istio.
    #[error(
        "SPIRE_MESH_LAB_ISTIO={line} names no version of Istio that the lab can have; there is {}",
        super::versions::ISTIO.map(|release| release.line).join(", ")
    )]
    UnknownIstio {
        /// What was asked for.
        line: String,
    },

    /// Packages are missing, and the caller asked for no installation.
    #[error("missing packages; install them with: apt-get install --no-install-recommends {}", packages.join(" "))]
    MissingPackages {
        /// Names of Debian packages.
        packages: Vec<&'static str>,
    },

    /// Programs are missing on a distribution whose packages the lab does not know.
    #[error("missing on this system: {}; install them with the package manager of your distribution \
             (the lab installs packages by itself on Debian and Ubuntu only)", programs.join(", "))]
    MissingPrograms {
        /// Programs or files that were looked for, each with the Debian package it comes in.
        programs: Vec<String>,
    },

    /// A build step ended well but left out a file.
    #[error("{step} built no {}; see {}", path.display(), log.display())]
    NoOutput {
        /// The step.
        step: String,
        /// The file that should be there.
        path: PathBuf,
        /// File with the output of the step.
        log: PathBuf,
    },

    /// A file changed its size between measuring and writing.
    #[error("a file of image layer {digest} changed while the images were written; run the build again")]
    LayerChanged {
        /// Digest of the layer as measured first.
        digest: String,
    },
}

impl Error {
    /// For `map_err`: says on which path which action failed.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_path_buf(), source }
    }
}
