//! `lab down`

use clap::Args;

use super::{progress, say};
use crate::build::Options;
use crate::cluster::down::down;
use crate::error::{Error, Result};
use crate::preflight;
use crate::state::StateDir;
use crate::steps::{Steps, seconds};

/// End the clusters and remove everything of them: processes, networks, mounts, control groups, data.
#[derive(Debug, Default, Args)]
pub(super) struct Down {
    /// Remove the cache of built components and imported images too
    #[arg(long)]
    cache: bool,
}

impl Down {
    pub(super) fn run(self) -> Result<()> {
        preflight::require_root()?;
        let steps = Steps::new(&progress);
        if down(&StateDir::from_env(), &steps)? {
            say(&format!("down in {}", seconds(steps.total())))?;
        } else {
            say("no lab is running, nothing to do")?;
        }
        if self.cache {
            let cache = Options::from_env()?.cache;
            match std::fs::remove_dir_all(&cache) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &cache)(e));
                }
                _ => say(&format!("removed the cache {}", cache.display()))?,
            }
        }
        Ok(())
    }
}
