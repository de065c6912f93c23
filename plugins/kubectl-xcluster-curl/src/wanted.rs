//! What every way of asking has in common: what is wanted, and how it ends.

use spire_mesh::command::Asked;
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::fleet::Member;
use spire_mesh::traffic::{
    self, Expectation, Load, MatrixReport, Question, Request, TrafficError, TrafficReport,
};

use crate::cli::AskArgs;

/// What was asked for, checked.
pub(crate) struct Wanted {
    pub(crate) request: Request,
    pub(crate) load: Load,
    pub(crate) args: AskArgs,
    /// Whether expectations say how many requests may fail.
    pub(crate) lenient: bool,
    pub(crate) junit: bool,
}

impl Wanted {
    pub(crate) fn question<'q>(&'q self, expectations: &'q [Expectation]) -> Question<'q> {
        Question { request: &self.request, load: &self.load, expectations, timeout: self.args.timeout }
    }
}

/// Prints reports in the format that was asked for, and says whether they are as expected.
pub(crate) fn print(
    asked: &Asked,
    members: &[Member],
    reports: Vec<TrafficReport>,
    is_matrix: bool,
    wanted: &Wanted,
) -> Result<Outcome, Failure> {
    let fine = reports.iter().all(|report| report.is_as_expected(wanted.lenient));
    if wanted.junit {
        let xml = traffic::junit(&reports, wanted.lenient)
            .map_err(|error| anyhow::Error::from(error).context("cannot write XML"))?;
        asked.printer.data(&format!("{}\n", xml.trim_end()))?;
    } else if is_matrix {
        let clusters = members.iter().map(|member| member.name().to_owned()).collect();
        let url = wanted.request.url.to_string();
        asked.printer.report(&MatrixReport { url, matrix: reports, clusters })?;
    } else {
        for report in &reports {
            asked.printer.report(report)?;
        }
    }
    Ok(if fine { Outcome::Done } else { Outcome::Findings })
}

/// Says that the time was over before everything was sent.
pub(crate) fn late(wanted: &Wanted) -> Failure {
    let limit = humantime::format_duration(wanted.args.timeout);
    Failure::timed_out(anyhow::anyhow!("not everything was sent within {limit}"))
        .with_hint("allow more time with --timeout, or less for each request with --request-max-time")
}

/// Gives wrong usage its own exit code.
pub(crate) fn failure(error: TrafficError) -> Failure {
    if error.is_usage() { Failure::usage(error) } else { error.into() }
}

pub(crate) fn usage(error: impl Into<TrafficError>) -> Failure {
    failure(error.into())
}

#[cfg(test)]
mod tests {
    use spire_mesh::entry::Exit;

    use super::*;
    use crate::cli::tests::{URL, parsed};

    #[test]
    fn time_that_is_over_has_an_exit_code_of_its_own_and_names_the_limit() {
        let request = Request::get(URL.parse().unwrap());
        let args = parsed(&[URL, "--timeout", "90s"]);
        let failure = late(&Wanted { request, load: Load::of(1), args, lenient: false, junit: false });
        assert_eq!(failure.exit(), Exit::TimedOut);
        assert_eq!(failure.one_line(), "not everything was sent within 1m 30s");
    }

    #[test]
    fn wrong_usage_is_told_from_what_failed() {
        let wrong = "foo/bar".parse::<traffic::Senders>().unwrap_err();
        assert_eq!(failure(wrong).exit(), Exit::Usage);
        let curl = TrafficError::Here(std::io::ErrorKind::NotFound.into());
        assert_eq!(failure(curl).exit(), Exit::Failed);
    }
}
