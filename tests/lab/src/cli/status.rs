//! `lab status`

use clap::{Args, ValueEnum};

use super::{say, write};
use crate::cluster::status::status;
use crate::error::{Error, Result};
use crate::state::{Phase, StateDir};
use crate::steps::mebibytes;

/// Show the clusters, their nodes and the active faults.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// How a verb prints what it found.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

impl Status {
    pub(super) fn run(self) -> Result<()> {
        let status = status(&StateDir::from_env())?;
        match self.output {
            Output::Json => {
                let text = serde_json::to_string_pretty(&status).map_err(Error::system("print as JSON"))?;
                say(&text)
            }
            Output::Table => {
                write(&status.table())?;
                if status.phase == Phase::Starting {
                    say("the last `up` has not ended; run `cargo lab up`")?;
                }
                let memory = status.memory.map_or_else(|| "unknown".to_owned(), mebibytes);
                say(&format!("memory {memory}, kubeconfig {}", status.kubeconfig))
            }
        }
    }
}
