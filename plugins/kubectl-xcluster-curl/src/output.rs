//! `-o`: the formats of the other plugins, and the XML of `JUnit`.

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches, ValueEnum};
use spire_mesh::cli::OutputArgs;
use spire_mesh::report::Format;

/// How results are printed.
#[derive(Clone, Debug, Default)]
pub(crate) struct CurlOutputArgs {
    /// As the other plugins have it.
    pub(crate) common: OutputArgs,
    /// As the XML of `JUnit` instead.
    pub(crate) junit: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CurlFormat {
    /// Tables
    Table,
    /// Tables with all pods
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// Test results that CI servers read
    Junit,
}

impl Args for CurlOutputArgs {
    fn augment_args(command: Command) -> Command {
        OutputArgs::augment_args(command)
            .mut_arg("output", |argument| argument.value_parser(clap::value_parser!(CurlFormat)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for CurlOutputArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let format = matches
            .get_one::<CurlFormat>("output")
            .copied()
            .ok_or_else(|| Error::raw(ErrorKind::MissingRequiredArgument, "-o has no value"))?;
        let output = match format {
            CurlFormat::Table => Format::Table,
            CurlFormat::Wide => Format::Wide,
            // What else is printed while XML is asked for goes to standard error.
            CurlFormat::Json | CurlFormat::Junit => Format::Json,
            CurlFormat::Yaml => Format::Yaml,
        };
        let common = OutputArgs { output, no_color: matches.get_flag("no_color") };
        Ok(Self { common, junit: matches!(format, CurlFormat::Junit) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
