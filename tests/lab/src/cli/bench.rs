//! `lab bench`

use std::io::{self, Write};

use clap::Args;

use super::status::Output;
use super::{say, write};
use crate::bench::{Against, Plan, Verb, run};
use crate::error::{Error, Result};
use crate::state::StateDir;
use crate::target::Lab;
use crate::topology::NAMES;

/// Measure the plugins side by side with the steps that a person runs by hand.
///
/// Runs on the first two clusters of the lab, which has to be up. `up` is measured on empty clusters, and
/// `install` (of Istio) on clusters with SPIRE only: what is installed there is taken down. `chain` and `chains` are `kubectl trustchain`,
/// `requests` is `kubectl xcluster-curl`; neither is compared by the size of a mesh. Progress goes to standard error.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// Only these verbs [default: all]
    #[arg(long, value_name = "VERB,VERB", value_enum, value_delimiter = ',')]
    only: Vec<Verb>,
    /// How often each side is run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,
    /// Compare a mesh of the first two clusters with one of this many, instead of with the steps by hand
    #[arg(long, value_parser = clap::value_parser!(u8).range(3..=i64::try_from(NAMES.len()).unwrap_or(6)))]
    clusters: Option<u8>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl Bench {
    pub(super) fn run(self) -> Result<()> {
        let lab = Lab::find(StateDir::from_env())?;
        let report = run(&lab, &self.plan(), &tell)?;
        match self.output {
            Output::Table => write(&report.table()),
            Output::Json => {
                say(&serde_json::to_string_pretty(&report).map_err(Error::system("print as JSON"))?)
            }
        }
    }

    fn plan(&self) -> Plan {
        let is_asked = |verb: &Verb| {
            (self.only.is_empty() || self.only.contains(verb))
                && (self.clusters.is_none() || verb.grows_with_the_mesh())
        };
        Plan {
            verbs: Verb::ALL.into_iter().filter(is_asked).collect(),
            rounds: self.rounds,
            against: self.clusters.map_or(Against::Hand, Against::Size),
        }
    }
}

/// Says how far it is, beside what is printed in the end.
fn tell(text: &str) {
    // What is measured matters more than what can be said about it.
    let _ = writeln!(io::stderr(), "{text}");
}
