//! `lab kubeconfig`

use std::fs;

use clap::Args;

use super::{say, write};
use crate::error::{Error, Result};
use crate::state::{Record, StateDir};

/// Print the path of the kubeconfig with the contexts of all clusters.
#[derive(Debug, Args)]
pub(super) struct Kubeconfig {
    /// Print its content instead
    #[arg(long)]
    print: bool,
}

impl Kubeconfig {
    pub(super) fn run(self) -> Result<()> {
        let state = StateDir::from_env();
        Record::require(&state)?;
        let path = state.kubeconfig();
        if self.print {
            write(&fs::read_to_string(&path).map_err(Error::io("read", &path))?)
        } else {
            say(&path.display().to_string())
        }
    }
}
