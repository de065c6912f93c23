//! `lab package`

use std::path::PathBuf;

use clap::Args;

use super::progress;
use crate::error::Result;
use crate::package::{self, Platform};

/// Make what a release is made of: archives of the plugins, manifests for krew, checksums.
///
/// The plugins are built as users get them, which takes minutes. The same sources and compilers give the same bytes, in whatever
/// folder. Needs neither root nor a cluster; for another platform than this machine's, rustup's target and a C compiler for it.
#[derive(Debug, Args)]
pub(super) struct Package {
    /// Build for this platform; can be given more than once [default: this machine's]
    #[arg(long, value_name = "TARGET")]
    target: Vec<Platform>,
    /// Put the files here [default: package in cargo's target folder]
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Build nothing, but complete the release of this tag from the archives in the folder: those of every platform have to be there
    #[arg(long, value_name = "TAG", conflicts_with = "target")]
    release: Option<String>,
}

impl Package {
    pub(super) fn run(self) -> Result<()> {
        match &self.release {
            None => package::build(&self.target, self.output, &progress),
            Some(tag) => package::complete(tag, self.output, &progress),
        }
    }
}
