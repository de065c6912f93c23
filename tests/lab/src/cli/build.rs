//! `lab build`

use clap::Args;

use super::{progress, say};
use crate::build::{self, Artifacts, Options};
use crate::error::Result;

/// Build the components and their images without starting anything.
#[derive(Debug, Args)]
pub(super) struct Build {}

impl Build {
    pub(super) fn run() -> Result<()> {
        let artifacts = all(&Options::from_env()?)?;
        say(&format!("{} images in {}", artifacts.image_names.len(), artifacts.images.display()))
    }
}

/// Builds everything that is not in the cache.
pub(super) fn all(options: &Options) -> Result<Artifacts> {
    let show = |event: &build::Progress<'_>| {
        // A dozen lines that say that nothing was done help nobody.
        if !matches!(event, build::Progress::Cached { .. }) {
            progress(&event.to_string());
        }
    };
    Ok(build::everything(options, &show)?)
}
