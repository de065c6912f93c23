//! Whether requests without mutual TLS are refused.

use serde::Serialize;

use super::failure::FailureKind;
use super::report::TrafficReport;
use crate::check::CheckId;
use crate::hint::Plugin;
use crate::report::{Cell, Report, Table};

/// The check that finds who takes plain requests.
const MUTUAL_TLS: CheckId = CheckId("mutual-tls");

/// What came of requests without mutual TLS. The shape of its JSON is a promise.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaintextReport {
    /// Whether all were refused.
    pub refused: bool,
    /// Why that is, or what else it may be.
    pub cause: String,
    /// The check that finds more; null where nothing is wrong.
    pub check: Option<CheckId>,
    /// What became of the same requests from a pod of the mesh: without an answer to these, that nobody answers plain ones proves nothing.
    pub in_mesh: TrafficReport,
    /// What became of the plain requests.
    pub plain: TrafficReport,
}

impl PlaintextReport {
    /// Judges plain requests, by what became of the same ones from a pod of the mesh.
    #[must_use]
    pub fn judge(in_mesh: TrafficReport, plain: TrafficReport) -> Self {
        let only = |kind| !plain.errors.is_empty() && plain.errors.iter().all(|failed| failed.kind == kind);
        let (refused, cause, check) = if in_mesh.succeeded == 0 {
            (false, "nobody answers pods of the mesh either: that proves nothing".to_owned(), None)
        } else if plain.succeeded > 0 {
            let cause = format!("{} of {} plain requests were answered", plain.succeeded, plain.requests);
            (false, cause, Some(MUTUAL_TLS))
        } else if only(FailureKind::NoAnswer) {
            (true, "every connection without mutual TLS was ended".to_owned(), None)
        } else {
            let kinds: Vec<String> = plain.errors.iter().map(|failed| failed.kind.to_string()).collect();
            (
                false,
                format!("plain requests failed in another way than by being refused: {}", kinds.join(", ")),
                None,
            )
        };
        Self { refused, cause, check, in_mesh, plain }
    }
}

impl Report for PlaintextReport {
    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(["FROM", "MUTUAL TLS", "REQUESTS", "ANSWERED", "RESULT"]);
        for (report, tls) in [(&self.in_mesh, "yes"), (&self.plain, "no")] {
            let is_plain = tls == "no";
            let result = match (is_plain, self.refused, report.succeeded) {
                (true, true, _) => Cell::good("refused"),
                (true, false, _) => Cell::bad("not refused"),
                (false, _, 0) => Cell::bad("not answered"),
                (false, ..) => Cell::good("answered"),
            };
            table.row([
                Cell::from(report.from.to_string()),
                tls.into(),
                report.requests.to_string().into(),
                report.succeeded.to_string().into(),
                result,
            ]);
        }
        table.note(&self.cause);
        if let Some(check) = self.check {
            table.note(format!("next: {} (check {check})", Plugin::MeshInstall.command(["verify"])));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Format, Printer};
    use crate::traffic::report::{Failed, tests::sample};

    fn plain(succeeded: u64, kinds: &[FailureKind]) -> TrafficReport {
        let failed = |kind: &FailureKind| Failed {
            kind: *kind,
            count: 1,
            sample: String::new(),
            cause: String::new(),
            check: None,
            next: String::new(),
        };
        TrafficReport {
            requests: 5,
            succeeded,
            failed: 5 - succeeded,
            errors: kinds.iter().map(failed).collect(),
            ..sample(&[])
        }
    }

    #[test]
    fn only_connections_that_were_ended_were_refused() {
        let judged = |report| PlaintextReport::judge(sample(&[]), report);
        assert!(judged(plain(0, &[FailureKind::NoAnswer])).refused);
        assert_eq!(judged(plain(1, &[FailureKind::NoAnswer])).check, Some(MUTUAL_TLS));
        for kind in
            [FailureKind::NoAddress, FailureKind::Refused, FailureKind::TimedOut, FailureKind::Status(500)]
        {
            assert!(!judged(plain(0, &[FailureKind::NoAnswer, kind])).refused, "{kind}");
        }
        let nobody = TrafficReport { succeeded: 0, ..sample(&[]) };
        assert!(!PlaintextReport::judge(nobody, plain(0, &[FailureKind::NoAnswer])).refused);
    }

    #[test]
    fn both_kinds_of_requests_are_shown() {
        let (printer, captured) = Printer::captured(Format::Table);
        printer.report(&PlaintextReport::judge(sample(&[]), plain(2, &[]))).unwrap();
        insta::assert_snapshot!(captured.stdout());
    }

    #[test]
    fn why_plain_requests_were_refused_or_not_is_said_in_words() {
        let told = |report| {
            let judged = PlaintextReport::judge(sample(&[]), report);
            format!("{} {} {:?}", judged.refused, judged.cause, judged.check.map(|check| check.0))
        };
        insta::assert_snapshot!(told(plain(0, &[FailureKind::NoAnswer, FailureKind::NoAnswer])), @"true every connection without mutual TLS was ended None");
        insta::assert_snapshot!(told(plain(2, &[FailureKind::NoAnswer])), @r#"false 2 of 5 plain requests were answered Some("mutual-tls")"#);
        insta::assert_snapshot!(told(plain(0, &[FailureKind::NoAnswer, FailureKind::TimedOut])), @"false plain requests failed in another way than by being refused: no-answer, timed-out None");
        insta::assert_snapshot!(told(plain(0, &[])), @"false plain requests failed in another way than by being refused:  None");
        let nobody = PlaintextReport::judge(TrafficReport { succeeded: 0, ..sample(&[]) }, plain(2, &[]));
        assert_eq!(
            (nobody.refused, nobody.cause.as_str(), nobody.check),
            (false, "nobody answers pods of the mesh either: that proves nothing", None)
        );
    }

    #[test]
    fn what_was_refused_and_what_nobody_answered_is_shown_as_such() {
        let shown = |in_mesh, plain| {
            let (printer, captured) = Printer::captured(Format::Table);
            printer.report(&PlaintextReport::judge(in_mesh, plain)).unwrap();
            captured.stdout()
        };
        insta::assert_snapshot!("refused", shown(sample(&[]), plain(0, &[FailureKind::NoAnswer])));
        let nobody = TrafficReport { succeeded: 0, ..sample(&[]) };
        insta::assert_snapshot!("nobody_answers", shown(nobody, plain(0, &[FailureKind::NoAnswer])));
    }
}
