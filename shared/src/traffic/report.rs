//! What a run came to, as it is printed.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::attribution::{Attribution, Source, UNKNOWN};
use super::expectation::{Expectation, Facts, Judged, percent};
use super::explain::Explanation;
use super::failover::Failover;
use super::failure::FailureKind;
use super::latency::{Latency, time_text};
use super::tally::Tally;
use crate::check::CheckId;
use crate::report::{Cell, Report, Table};

/// The most pods that a table lists; JSON lists all.
const MOST_PODS: usize = 20;
/// The row of all clusters together; no cluster is called so.
const ALL: &str = "";

/// What became of the requests that one pod sent. The shape of its JSON is a promise.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficReport {
    /// What was asked for.
    pub url: String,
    /// Who asked.
    pub from: Sender,
    /// How many requests were sent.
    pub requests: u64,
    /// How many were answered with a status below 400.
    pub succeeded: u64,
    /// How many were not.
    pub failed: u64,
    /// Answers by cluster.
    pub by_cluster: BTreeMap<String, u64>,
    /// Answers by version, of those whose pod is known.
    pub by_version: BTreeMap<String, u64>,
    /// Answers by pod, of those whose pod is known.
    pub by_pod: BTreeMap<String, u64>,
    /// Where it is known from who answered.
    pub attribution: Source,
    /// What does not agree, or is not complete, one sentence each.
    pub remarks: Vec<String>,
    /// Answers by HTTP status; `none` for requests without one.
    pub status_codes: BTreeMap<String, u64>,
    /// Times of requests that succeeded, as curl measured them; null where there are none.
    pub latency_ms: Option<Latency>,
    /// The same by cluster, of those whose cluster is known.
    pub latency_by_cluster_ms: BTreeMap<String, Latency>,
    /// Why requests failed, the most frequent first.
    pub errors: Vec<Failed>,
    /// What was expected, and whether it was met.
    pub expectations: Vec<Judged>,
    /// What a failover came to; null where none was asked for.
    pub failover: Option<Failover>,
    /// Small histograms by cluster, for people.
    #[serde(skip)]
    pub bars: BTreeMap<String, String>,
}

/// The pod that sent requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Name of its cluster.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, namespace, pod } = self;
        if pod.is_empty() { f.write_str(cluster) } else { write!(f, "{cluster}/{namespace}/{pod}") }
    }
}

impl Serialize for Sender {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Requests that failed in one way. The shape of its JSON is a promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// In which way: `connect-failed`, `http-500`.
    pub kind: FailureKind,
    /// How many.
    pub count: u64,
    /// What the first of them was told.
    pub sample: String,
    /// Why.
    pub cause: String,
    /// The check that would find it; null where there is none.
    pub check: Option<CheckId>,
    /// The next step: a sentence, or a command that can be pasted.
    pub next: String,
}

/// What a report is made of besides what was counted.
pub struct Parts<'p> {
    /// What was asked for.
    pub url: String,
    /// Who asked.
    pub from: Sender,
    /// Names of the mesh's clusters.
    pub clusters: &'p [String],
    /// What was counted.
    pub tally: &'p Tally,
    /// Who answered.
    pub attribution: Attribution,
    /// Answers by pod, where answers did not name one and the sidecar knows.
    pub by_pod: BTreeMap<String, u64>,
    /// More that is to be said.
    pub remarks: Vec<String>,
    /// Why requests failed.
    pub explanations: BTreeMap<FailureKind, Explanation>,
    /// What was expected.
    pub expectations: &'p [Expectation],
    /// What a failover came to.
    pub failover: Option<Failover>,
}

impl TrafficReport {
    /// Makes the report and judges the expectations.
    #[must_use]
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts {
            url,
            from,
            clusters,
            tally,
            attribution,
            by_pod,
            remarks,
            explanations,
            expectations,
            failover,
        } = parts;
        let by_pod = if tally.by_pod.is_empty() { by_pod } else { tally.by_pod.clone() };
        let facts = Facts {
            requests: tally.requests,
            succeeded: tally.succeeded,
            clusters,
            by_cluster: &attribution.by_cluster,
            by_version: &tally.by_version,
            by_workload: &tally.by_workload,
            by_pod: &by_pod,
            latencies: &tally.latencies,
        };
        let judged = expectations.iter().map(|expectation| expectation.judge(&facts)).collect();
        let latency = tally.latencies.summary();
        let mut by_cluster = tally.latencies_by_cluster.clone();
        // Where one cluster answered everything, the times of all are its own, whether answers name pods or not.
        if let (1, Some(only)) = (attribution.by_cluster.len(), attribution.by_cluster.keys().next())
            && only != UNKNOWN
        {
            by_cluster = [(only.clone(), tally.latencies.clone())].into();
        }
        let (low, high) = latency.map_or((1.0, 1.0), |latency| (latency.min, latency.max));
        let all = std::iter::once((ALL, &tally.latencies));
        let each = by_cluster.iter().map(|(name, times)| (name.as_str(), times));
        let bars = all.chain(each).map(|(name, times)| (name.to_owned(), times.bars(low, high))).collect();
        let latency_by_cluster_ms =
            by_cluster.iter().filter_map(|(name, times)| Some((name.clone(), times.summary()?))).collect();
        let mut errors: Vec<Failed> = tally
            .failures
            .iter()
            .map(|(kind, failures)| {
                let explanation = explanations.get(kind).cloned();
                let (cause, check, next) = explanation.map_or_else(
                    || (String::new(), None, String::new()),
                    |explanation| (explanation.cause, explanation.check, explanation.next),
                );
                Failed {
                    kind: *kind,
                    count: failures.count,
                    sample: failures.sample.clone(),
                    cause,
                    check,
                    next,
                }
            })
            .collect();
        errors.sort_by(|one, other| other.count.cmp(&one.count).then(one.kind.cmp(&other.kind)));
        let mut all_remarks = attribution.remarks;
        all_remarks.extend(remarks);
        Self {
            url,
            from,
            requests: tally.requests,
            succeeded: tally.succeeded,
            failed: tally.requests - tally.succeeded,
            by_cluster: attribution.by_cluster,
            by_version: tally.by_version.clone(),
            by_pod,
            attribution: attribution.source,
            remarks: all_remarks,
            status_codes: tally.statuses.clone(),
            latency_ms: latency,
            latency_by_cluster_ms,
            errors,
            expectations: judged,
            failover,
            bars,
        }
    }

    /// Tells whether all expectations were met. `lenient` is whether some of them were about failures: without one, none may fail.
    #[must_use]
    pub fn is_as_expected(&self, lenient: bool) -> bool {
        self.requests > 0
            && self.expectations.iter().all(|judged| judged.met)
            && (lenient || self.failed == 0)
    }

    fn clusters_table(&self) -> Table {
        let mut table =
            Table::new(["CLUSTER", "ANSWERS", "SHARE", "MIN", "P50", "P90", "P99", "MAX", "TIMES"])
                .when_empty("nobody answered");
        let all: u64 = self.by_cluster.values().sum();
        for (cluster, count) in &self.by_cluster {
            let mut row = vec![Cell::from(cluster), count.to_string().into(), share(*count, all)];
            row.extend(times(self.latency_by_cluster_ms.get(cluster)));
            row.push(self.bars.get(cluster).into());
            table.row(row);
        }
        if self.by_cluster.len() > 1 {
            let mut row = vec![Cell::from("all"), all.to_string().into(), share(all, all)];
            row.extend(times(self.latency_ms.as_ref()));
            row.push(self.bars.get(ALL).into());
            table.row(row);
        }
        table
    }
}

impl Report for TrafficReport {
    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(["FROM", "REQUESTS", "SUCCEEDED", "FAILED", "STATUS"]);
        let failed = self.failed.to_string();
        let statuses: Vec<String> =
            self.status_codes.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        table.row([
            Cell::from(self.from.to_string()),
            self.requests.to_string().into(),
            self.succeeded.to_string().into(),
            if self.failed == 0 { Cell::from(failed) } else { Cell::bad(failed) },
            statuses.join(", ").into(),
        ]);
        for remark in &self.remarks {
            table.note(remark);
        }
        table
    }

    fn more_tables(&self, wide: bool) -> Vec<Table> {
        let mut tables = vec![self.clusters_table()];
        let all: u64 = self.by_cluster.values().sum();
        let mut versions = Table::new(["VERSION", "ANSWERS", "SHARE"]);
        for (version, count) in &self.by_version {
            versions.row([Cell::from(version), count.to_string().into(), share(*count, all)]);
        }
        let mut pods = Table::new(["POD", "ANSWERS", "SHARE"]);
        for (pod, count) in self.by_pod.iter().take(if wide { usize::MAX } else { MOST_PODS }) {
            pods.row([Cell::from(pod), count.to_string().into(), share(*count, all)]);
        }
        if !wide && self.by_pod.len() > MOST_PODS {
            pods.note(format!("and {} more; -o wide shows all", self.by_pod.len() - MOST_PODS));
        }
        let mut errors = Table::new(["ERROR", "COUNT", "CHECK", "CAUSE"]);
        for failed in &self.errors {
            errors.row([
                Cell::bad(failed.kind.to_string()),
                failed.count.to_string().into(),
                failed.check.map(|check| check.0).into(),
                failed.cause.as_str().into(),
            ]);
            errors.note(format!("told: {}", failed.sample));
            if !failed.next.is_empty() {
                errors.note(format!("next: {}", failed.next));
            }
        }
        tables.extend([versions, pods, errors]);
        if let Some(failover) = &self.failover {
            tables.push(failover.table());
        }
        tables.push(expectations(self.expectations.iter().map(|judged| (None, judged))));
        tables
    }
}

/// What became of the requests of every cluster. The shape of its JSON is a promise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MatrixReport {
    /// What was asked for.
    pub url: String,
    /// One for each cluster that asked, in the order of the mesh file.
    pub matrix: Vec<TrafficReport>,
    /// The mesh's clusters, in the order of the mesh file.
    #[serde(skip)]
    pub clusters: Vec<String>,
}

impl Report for MatrixReport {
    /// One row for who asked, one column for the share of what answered. Names of clusters are no headers: they are data.
    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(["FROM", "ANSWERED BY", "ANSWERS", "SHARE", "P50", "P99", "TIMES"]);
        for report in &self.matrix {
            let all: u64 = report.by_cluster.values().sum();
            let known = self.clusters.iter().map(String::as_str);
            let others = report
                .by_cluster
                .keys()
                .map(String::as_str)
                .filter(|name| !self.clusters.iter().any(|known| known == name));
            for cluster in known.chain(others) {
                let count = report.by_cluster.get(cluster).copied().unwrap_or(0);
                let latency = report.latency_by_cluster_ms.get(cluster);
                table.row([
                    Cell::from(report.from.cluster.as_str()),
                    cluster.into(),
                    count.to_string().into(),
                    share(count, all),
                    latency.map(|latency| time_text(latency.p50)).into(),
                    latency.map(|latency| time_text(latency.p99)).into(),
                    report.bars.get(cluster).into(),
                ]);
            }
            if report.failed > 0 {
                table.row([
                    Cell::from(report.from.cluster.as_str()),
                    Cell::bad("failed"),
                    report.failed.to_string().into(),
                    share(report.failed, report.requests),
                    "".into(),
                    "".into(),
                    "".into(),
                ]);
                for failed in &report.errors {
                    table.note(format!("{} {}: {}", failed.count, failed.kind, failed.cause));
                    if !failed.next.is_empty() {
                        table.note(format!("next: {}", failed.next));
                    }
                }
            }
            for remark in &report.remarks {
                table.note(remark);
            }
        }
        table
    }

    fn more_tables(&self, _wide: bool) -> Vec<Table> {
        let judged = self.matrix.iter().flat_map(|report| {
            report.expectations.iter().map(|judged| (Some(report.from.cluster.as_str()), judged))
        });
        vec![expectations(judged)]
    }
}

fn expectations<'j>(judged: impl Iterator<Item = (Option<&'j str>, &'j Judged)>) -> Table {
    let mut table = Table::new(["EXPECTED", "RESULT", "ACTUAL"]);
    for (from, judged) in judged {
        let text = from.map_or_else(|| judged.text.clone(), |from| format!("{from}: {}", judged.text));
        let result = if judged.met { Cell::good("met") } else { Cell::bad("missed") };
        table.row([Cell::from(text), result, judged.actual.as_str().into()]);
    }
    table
}

fn share(count: u64, all: u64) -> Cell {
    percent(count, all).map(|share| format!("{share:.1}%")).into()
}

fn times(latency: Option<&Latency>) -> [Cell; 5] {
    let of = |get: fn(&Latency) -> f64| Cell::from(latency.map(get).map(time_text));
    [of(|l| l.min), of(|l| l.p50), of(|l| l.p90), of(|l| l.p99), of(|l| l.max)]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::report::{Format, Printer};
    use crate::traffic::attribution::{self, tests::places};
    use crate::traffic::explain::{Evidence, explain};
    use crate::traffic::tally::{Recorder, tests::answer};

    pub(crate) fn sample(expectations: &[&str]) -> TrafficReport {
        let (mut recorder, places) = (Recorder::default(), places());
        for number in 0..6 {
            recorder.take(&answer(number, 2 + number, 200, "instance: helloworld-v1-abc"), &places);
            recorder.take(&answer(number, 20 + 10 * number, 200, "instance: helloworld-v2-def"), &places);
        }
        recorder.take(&answer(9, 1, 503, "no healthy upstream"), &places);
        let tally = recorder.tally(&places);
        let expectations: Vec<Expectation> = expectations.iter().map(|text| text.parse().unwrap()).collect();
        let evidence = Evidence { context: "foo-eks-cluster".to_owned(), ..Evidence::default() };
        let explanations = tally.failures.iter().map(|(kind, failures)| {
            (*kind, explain(*kind, &failures.sample, "helloworld.helloworld", &evidence))
        });
        TrafficReport::new(Parts {
            url: "http://helloworld.helloworld:5000/hello".to_owned(),
            from: Sender {
                cluster: "foo".to_owned(),
                namespace: "sleep".to_owned(),
                pod: "sleep-1".to_owned(),
            },
            clusters: &["foo".to_owned(), "bar".to_owned()],
            tally: &tally,
            attribution: attribution::reconcile(&tally.by_cluster, tally.unnamed, tally.errors, None),
            by_pod: BTreeMap::new(),
            remarks: Vec::new(),
            explanations: explanations.collect(),
            expectations: &expectations,
            failover: None,
        })
    }

    fn printed(format: Format, report: &impl Report) -> String {
        let (printer, captured) = Printer::captured(format);
        printer.report(report).unwrap();
        captured.stdout()
    }

    #[test]
    fn a_report_is_short_for_people() {
        insta::assert_snapshot!(printed(Format::Table, &sample(&["bar>=30%", "success=100%"])));
    }

    #[test]
    fn the_json_of_a_report_is_a_promise() {
        insta::assert_snapshot!(printed(Format::Json, &sample(&["bar>=30%", "success=100%"])));
    }

    #[test]
    fn every_cluster_that_asks_has_its_rows_in_a_matrix() {
        let foo = sample(&["bar>=30%"]);
        let bar =
            TrafficReport { from: Sender { cluster: "bar".to_owned(), ..foo.from.clone() }, ..foo.clone() };
        let clusters = vec!["foo".to_owned(), "bar".to_owned(), "baz".to_owned()];
        let matrix = MatrixReport { url: foo.url.clone(), matrix: vec![foo, bar], clusters };
        insta::assert_snapshot!(printed(Format::Table, &matrix));
    }

    #[test]
    fn a_request_that_failed_is_a_finding_unless_expectations_say_how_many_may() {
        assert!(!sample(&["bar>=30%"]).is_as_expected(false));
        assert!(sample(&["success>=90%"]).is_as_expected(true));
        assert!(!sample(&["success>=99%"]).is_as_expected(true));
    }

    fn report_of(
        answers: &[(u16, u64, &str)],
        attributed: &[(&str, u64)],
        by_pod: &[(&str, u64)],
    ) -> TrafficReport {
        let (mut recorder, places) = (Recorder::default(), places());
        for (status, took, body) in answers {
            recorder.take(&answer(1, *took, *status, body), &places);
        }
        let counts = |counts: &[(&str, u64)]| {
            counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        TrafficReport::new(Parts {
            url: "http://a/".to_owned(),
            from: Sender { cluster: "here".to_owned(), namespace: String::new(), pod: String::new() },
            clusters: &["foo".to_owned(), "bar".to_owned(), "baz".to_owned()],
            tally: &recorder.tally(&places),
            attribution: Attribution {
                by_cluster: counts(attributed),
                source: Source::Sidecar,
                remarks: vec!["first".to_owned()],
            },
            by_pod: counts(by_pod),
            remarks: vec!["then".to_owned()],
            explanations: BTreeMap::new(),
            expectations: &["failed<=1".parse().unwrap(), "baz=0".parse().unwrap()],
            failover: None,
        })
    }

    #[test]
    fn where_one_known_cluster_answered_everything_the_times_are_its_own() {
        let answers = [(200, 10, "x"), (200, 20, "x"), (200, 30, "x")];
        let one = report_of(&answers, &[("baz", 3)], &[]);
        assert_eq!(one.latency_by_cluster_ms.keys().collect::<Vec<_>>(), ["baz"]);
        assert_eq!(one.latency_by_cluster_ms["baz"], one.latency_ms.unwrap());
        assert!(report_of(&answers, &[(UNKNOWN, 3)], &[]).latency_by_cluster_ms.is_empty());
        assert!(report_of(&answers, &[("foo", 2), ("baz", 1)], &[]).latency_by_cluster_ms.is_empty());
        let named = [(200, 10, "helloworld-v1-abc"), (200, 20, "helloworld-v2-def")];
        let both = report_of(&named, &[("foo", 1), ("bar", 1)], &[]);
        assert_eq!(both.latency_by_cluster_ms.keys().collect::<Vec<_>>(), ["bar", "foo"]);
        assert_eq!(both.bars.keys().collect::<Vec<_>>(), ["", "bar", "foo"]);
    }

    #[test]
    fn the_most_frequent_error_comes_first_and_of_equal_ones_the_one_of_the_mesh() {
        let report = report_of(
            &[(500, 1, "a"), (404, 1, "b"), (404, 1, "c"), (503, 1, "no healthy upstream"), (200, 5, "x")],
            &[],
            &[("pod-1", 1)],
        );
        let errors: Vec<_> =
            report.errors.iter().map(|failed| format!("{} {}", failed.count, failed.kind)).collect();
        assert_eq!(errors, ["2 http-404", "1 no-endpoints", "1 http-500"]);
        assert_eq!((report.requests, report.succeeded, report.failed), (5, 1, 4));
        assert_eq!(report.remarks, ["first", "then"]);
        assert_eq!(report.by_pod, [("pod-1".to_owned(), 1)].into(), "answers named none");
        let met: Vec<bool> = report.expectations.iter().map(|judged| judged.met).collect();
        assert_eq!(met, [false, true]);
        assert_eq!(report.from.to_string(), "here");
        let named = report_of(&[(200, 1, "helloworld-v1-abc")], &[], &[("pod-1", 1)]);
        assert_eq!(
            named.by_pod,
            [("helloworld-v1-abc".to_owned(), 1)].into(),
            "what answers say counts before"
        );
    }

    #[test]
    fn nothing_that_was_sent_is_not_as_expected() {
        let good = report_of(&[(200, 1, "x"), (500, 1, "y")], &[], &[]);
        assert!(good.is_as_expected(true) && !good.is_as_expected(false));
        assert!(!TrafficReport { requests: 0, ..good.clone() }.is_as_expected(true));
        assert!(TrafficReport { failed: 0, ..good }.is_as_expected(false));
    }

    #[test]
    fn only_so_many_pods_are_listed_unless_all_are_asked_for() {
        let pods: Vec<(String, u64)> =
            (0..=MOST_PODS as u64).map(|number| (format!("pod-{number:02}"), 1)).collect();
        let pods: Vec<(&str, u64)> = pods.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        let report = |pods: &[(&str, u64)]| report_of(&[(200, 1, "x")], &[("foo", 21)], pods);
        let (short, wide) = (printed(Format::Table, &report(&pods)), printed(Format::Wide, &report(&pods)));
        assert!(
            short.contains("pod-19")
                && !short.contains("pod-20")
                && short.contains("and 1 more; -o wide shows all")
        );
        assert!(wide.contains("pod-20") && !wide.contains("more"));
        let twenty = printed(Format::Table, &report(&pods[..MOST_PODS]));
        assert!(twenty.contains("pod-19") && !twenty.contains("more"));
    }

    #[test]
    fn a_failover_and_what_nobody_answered_are_shown() {
        let failover = Failover {
            workload: "foo/shop/cart".to_owned(),
            replicas: 2,
            first_remote_answer_ms: None,
            failed: 3,
            failed_for_ms: 1500.0,
            first_answer_back_ms: Some(999.9),
            failed_on_return: 0,
            failed_on_return_for_ms: 0.0,
            restored: true,
        };
        let report = TrafficReport {
            failover: Some(failover),
            ..report_of(&[(503, 1, "no healthy upstream")], &[], &[])
        };
        insta::assert_snapshot!(printed(Format::Table, &report));
    }

    #[test]
    fn a_matrix_shows_failures_and_answers_of_clusters_that_the_mesh_does_not_have() {
        let bad = report_of(&[(200, 1, "x"), (500, 1, "y"), (500, 1, "z")], &[(UNKNOWN, 1), ("baz", 1)], &[]);
        let good = TrafficReport { failed: 0, errors: Vec::new(), ..bad.clone() };
        let clusters = vec!["foo".to_owned(), "bar".to_owned(), "baz".to_owned()];
        let matrix = MatrixReport { url: bad.url.clone(), matrix: vec![good, bad], clusters };
        insta::assert_snapshot!(printed(Format::Table, &matrix));
    }

    #[test]
    fn from_a_second_on_times_are_in_seconds() {
        assert_eq!(
            (time_text(999.94), time_text(1000.0), time_text(1234.0)),
            ("999.9ms".to_owned(), "1.00s".to_owned(), "1.23s".to_owned())
        );
    }
}
