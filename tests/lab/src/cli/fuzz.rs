//! `lab fuzz`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::error::Result;
use crate::fuzz::{self, What};

/// Give the parsers random bytes, with libFuzzer.
///
/// Every parser of what comes from outside is in a target: certificates, answers of programs and servers, files. Inputs that are new,
/// and those that break a target, are kept in cargo's target folder. Needs a C++ compiler, and neither root nor a cluster.
#[derive(Debug, Args)]
pub(super) struct Fuzz {
    /// The target, as the folders of tests/fuzz/corpus are called [default: all]
    target: Option<String>,
    /// For how long, in all
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Only this input, such as one that broke the target
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with = "time")]
    input: Option<PathBuf>,
    /// Look for nothing, but put what earlier runs have found into tests/fuzz/corpus, where it reaches what nothing there does
    #[arg(long, conflicts_with_all = ["time", "input"])]
    keep: bool,
}

impl Fuzz {
    pub(super) fn run(self) -> Result<()> {
        let targets = fuzz::targets(self.target.as_deref())?;
        let what = match self.input {
            Some(input) => What::Input(input),
            None if self.keep => What::Keep,
            None => What::Search(self.time),
        };
        fuzz::build()?;
        fuzz::run(&targets, &what, &super::progress)
    }
}
