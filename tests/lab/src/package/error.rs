//! Why there is no release.

use std::path::PathBuf;

/// Why a part of a release could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A template of a manifest says something else than a template does.
    #[error("{} is no template of a krew manifest: {why}", path.display())]
    Template {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A manifest cannot be written as YAML.
    #[error("cannot write the manifest of {plugin}: {source}")]
    Manifest {
        /// Whose manifest.
        plugin: &'static str,
        /// What the library said.
        source: Box<serde_saphyr::SerializeError>,
    },
    /// A program depends on where it was built.
    #[error(
        "{} holds {}, a folder of this machine, so it differs from what others build; \
         find what writes it there, and have it renamed in tests/lab/src/package/compile.rs",
        program.display(), folder.display()
    )]
    Traces {
        /// The program.
        program: PathBuf,
        /// The folder whose name is in it.
        folder: PathBuf,
    },
    /// Releases have nothing for this kind of machine.
    #[error("nothing is released for this machine; name a platform with `cargo lab package --target`")]
    UnknownMachine,
    /// The tag is of another version.
    #[error(
        "the tag {tag} is not {expected}, the version in Cargo.toml; change the version there, or take the tag {expected}"
    )]
    Tag {
        /// The tag that was given.
        tag: String,
        /// The tag of this version.
        expected: String,
    },
    /// The changelog says nothing about the version.
    #[error(
        "CHANGELOG.md says nothing about {version}; write `## {version}` in place of `## Unreleased`, with the changes below it"
    )]
    NoNotes {
        /// The version.
        version: semver::Version,
    },
    /// A release is not whole.
    #[error(
        "a release needs an archive for every plugin and platform, and {} has no {}; \
         `cargo lab package --target TARGET` makes those of a platform",
        folder.display(), names.join(", ")
    )]
    Incomplete {
        /// Where they should be.
        folder: PathBuf,
        /// Archives that are not there.
        names: Vec<String>,
    },
    /// A text is no version.
    #[error("{text:?} is no version: {source}")]
    Version {
        /// The text.
        text: String,
        /// What is wrong with it.
        source: semver::Error,
    },
}
