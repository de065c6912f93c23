//! `lab fuzz`

use std::time::Duration;

use clap::Args;

use crate::error::Result;
use crate::fuzz::{self, What};

/// Give the parsers random bytes, with libFuzzer.
///
/// Every parser of what comes from outside is in a target: certificates, answers of programs and servers, files. What is new and
/// what breaks a target is kept in the target folder of cargo. Needs a C++ compiler, and neither root nor a cluster.
#[derive(Debug, Args)]
pub(super) struct Fuzz {
    /// The target, as the folders of tests/fuzz/corpus are called [default: all]
    target: Option<String>,
    /// For how long, in all
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Only this input, such as one that broke the target
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with = "save")]
    input: Option<std::path::PathBuf>,
    /// Do not look for anything new; keep in tests/fuzz/corpus what covers something of its own, and nothing else
    #[arg(long)]
    save: bool,
}

impl Fuzz {
    pub(super) fn run(self) -> Result<()> {
        let targets = fuzz::targets(self.target.as_deref())?;
        let what = match (self.input, self.save) {
            (Some(file), _) => What::Input(file),
            (None, true) => What::Save,
            (None, false) => What::Search(self.time),
        };
        fuzz::build()?;
        fuzz::run(&targets, &what, &super::progress)
    }
}
