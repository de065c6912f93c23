//! Verbs that the lab calls itself.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::lanes::{LANE, Lane};
use crate::error::Result;
use crate::{bench, faults, node};

#[derive(Debug, Subcommand)]
pub(super) enum Hidden {
    /// Makes the namespaces of a node and starts its init
    #[command(name = node::process::START, hide = true)]
    NodeStart {
        /// The node's spec
        spec: PathBuf,
    },
    /// Process 1 of a node
    #[command(name = node::process::INIT, hide = true)]
    NodeInit {
        /// The node's spec
        spec: PathBuf,
    },
    /// Holds packets back
    #[command(name = node::process::DELAY, hide = true)]
    FaultDelay {
        /// Number of the kernel's queue
        queue: u16,
        /// For how long
        milliseconds: u64,
    },
    /// One of the labs in which the end-to-end tests run at the same time
    #[command(name = LANE, hide = true)]
    TestLane(Lane),
    /// Runs a program, and prints the peak memory of its largest process in KiB
    #[command(name = bench::MEASURE, hide = true)]
    PeakMemory {
        /// The program, and its arguments
        #[arg(last = true)]
        words: Vec<OsString>,
    },
}

impl Hidden {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Self::NodeStart { spec } => node::start::enter(&spec),
            Self::NodeInit { spec } => node::init::run(&spec),
            Self::FaultDelay { queue, milliseconds } => {
                faults::run_delay(queue, Duration::from_millis(milliseconds))
            }
            Self::TestLane(lane) => lane.run(),
            Self::PeakMemory { words } => super::say(&bench::run_measured(&words)?.to_string()),
        }
    }
}
