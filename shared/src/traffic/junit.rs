//! Reports as test results that CI servers read.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::report::TrafficReport;
use crate::hint::Plugin;

/// Writes reports as the XML of `JUnit`: a suite for each, with a case for the requests and one for each expectation. `lenient` is whether
/// expectations say how many requests may fail.
///
/// # Errors
/// When it cannot be written as XML.
pub fn junit(reports: &[TrafficReport], lenient: bool) -> Result<String, quick_junit::SerializeError> {
    let mut xml = Report::new(Plugin::XclusterCurl.to_string());
    for report in reports {
        let mut suite = TestSuite::new(format!("{} from {}", report.url, report.from));
        let mut requests = case("requests", report.requests > 0 && (lenient || report.failed == 0), || {
            let errors: Vec<String> = report
                .errors
                .iter()
                .map(|failed| format!("{} {}: {}", failed.count, failed.kind, failed.cause))
                .collect();
            format!("{} of {} requests failed: {}", report.failed, report.requests, errors.join("; "))
        });
        if let Some(latency) = &report.latency_ms {
            requests.set_time(Duration::try_from_secs_f64(latency.p50 / 1000.0).unwrap_or_default());
        }
        suite.add_test_case(requests);
        for judged in &report.expectations {
            suite.add_test_case(case(&judged.text, judged.met, || {
                format!("{} is {}", judged.text, judged.actual)
            }));
        }
        if let Some(failover) = &report.failover {
            suite.add_test_case(case("failover", failover.first_remote_answer_ms.is_some(), || {
                "no other cluster answered".to_owned()
            }));
        }
        xml.add_test_suite(suite);
    }
    xml.to_string()
}

fn case(name: &str, passed: bool, message: impl Fn() -> String) -> TestCase {
    let status = if passed {
        TestCaseStatus::success()
    } else {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(message());
        status
    };
    TestCase::new(name, status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::failover::Failover;
    use crate::traffic::report::tests::sample;

    #[test]
    fn a_suite_has_the_requests_and_every_expectation() {
        let xml = junit(&[sample(&["bar>=30%", "success=100%"])], true).unwrap();
        insta::assert_snapshot!(xml);
    }

    fn suite(report: &TrafficReport, lenient: bool) -> (usize, usize) {
        let xml = junit(std::slice::from_ref(report), lenient).unwrap();
        (xml.matches("<testcase ").count(), xml.matches("<failure ").count())
    }

    #[test]
    fn requests_fail_where_one_failed_unless_expectations_say_how_many_may() {
        let good = TrafficReport { failed: 0, errors: Vec::new(), ..sample(&[]) };
        let bad = sample(&[]);
        assert_eq!((suite(&good, false), suite(&good, true)), ((1, 0), (1, 0)));
        assert_eq!((suite(&bad, false), suite(&bad, true)), ((1, 1), (1, 0)));
        let none = TrafficReport { requests: 0, ..good };
        assert_eq!((suite(&none, false), suite(&none, true)), ((1, 1), (1, 1)));
    }

    #[test]
    fn a_failover_is_a_case_of_its_own() {
        let failover = |first: Option<f64>| Failover {
            workload: "foo/a/b".to_owned(),
            replicas: 1,
            first_remote_answer_ms: first,
            failed: 0,
            failed_for_ms: 0.0,
            first_answer_back_ms: None,
            failed_on_return: 0,
            failed_on_return_for_ms: 0.0,
            restored: true,
        };
        let with = |first| TrafficReport { failover: Some(failover(first)), ..sample(&[]) };
        assert_eq!((suite(&with(Some(1.0)), true), suite(&with(None), true)), ((2, 0), (2, 1)));
    }
}
