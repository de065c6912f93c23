//! What happens to requests while a cluster's pods of a service go away and come back.

use std::time::Duration;

use serde::Serialize;

use super::latency::time_text;
use super::tally::Moment;
use crate::report::{Cell, Table};

/// What a failover came to. The shape of its JSON is a promise.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// The workload that was taken away: `CLUSTER/NAMESPACE/NAME`.
    pub workload: String,
    /// How many pods it had, and has again.
    pub replicas: i32,
    /// From the moment at which it was scaled to none to the first answer of another cluster, in milliseconds; null where there was none.
    pub first_remote_answer_ms: Option<f64>,
    /// Requests that failed between that moment and the one at which it was scaled back.
    pub failed: u64,
    /// From the first to the last of them, in milliseconds.
    pub failed_for_ms: f64,
    /// From the moment at which it was scaled back to its cluster's first answer, in milliseconds; null where there was none.
    pub first_answer_back_ms: Option<f64>,
    /// Requests that failed since that moment.
    pub failed_on_return: u64,
    /// From the first to the last of them, in milliseconds.
    pub failed_on_return_for_ms: f64,
    /// Whether the workload has all of its pods again.
    pub restored: bool,
}

/// What was done when, after the first request was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// When the workload was scaled to none.
    pub scaled: Duration,
    /// When its last pod had gone, where that was seen.
    pub gone: Option<Duration>,
    /// When it was scaled back.
    pub restored: Duration,
}

impl Failover {
    /// Judges requests, in the order in which they ended, by what was done when. `cluster` is the one whose pods went away.
    #[must_use]
    pub fn judge(workload: String, cluster: &str, replicas: i32, done: Done, moments: &[Moment<'_>]) -> Self {
        let Done { scaled, gone, restored } = done;
        // Whoever was asked before may still answer with the old pods.
        let away = || moments.iter().filter(|moment| moment.started >= scaled && moment.ended <= restored);
        let back = || moments.iter().filter(|moment| moment.ended > restored);
        let answered = |moment: &&Moment<'_>, here: bool| {
            moment.succeeded
                && match moment.cluster {
                    Some(answering) => (answering == cluster) == here,
                    // Who answers without a name while there are no pods here is elsewhere.
                    None => !here && gone.is_some_and(|gone| moment.started >= gone),
                }
        };
        let first_remote = away().find(|moment| answered(moment, false));
        // Pods that were still ending may have answered right after the scaling: the way back starts with the scaling back.
        let first_back = back().find(|moment| moment.started >= restored && answered(moment, true));
        let failed_away: Vec<&Moment<'_>> = away().filter(|moment| !moment.succeeded).collect();
        let failed_back: Vec<&Moment<'_>> = back().filter(|moment| !moment.succeeded).collect();
        Self {
            workload,
            replicas,
            first_remote_answer_ms: first_remote.map(|moment| millis(moment.ended.saturating_sub(scaled))),
            failed: count(&failed_away),
            failed_for_ms: span(&failed_away),
            first_answer_back_ms: first_back.map(|moment| millis(moment.ended.saturating_sub(restored))),
            failed_on_return: count(&failed_back),
            failed_on_return_for_ms: span(&failed_back),
            restored: false,
        }
    }

    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(["FAILOVER", "FIRST ANSWER AFTER", "FAILED", "FOR"]);
        let away = self.first_remote_answer_ms.map(time_text);
        table.row([
            Cell::from(format!("{} to 0", self.workload)),
            away.map_or_else(|| Cell::bad("never"), Cell::from),
            self.failed.to_string().into(),
            time_text(self.failed_for_ms).into(),
        ]);
        table.note("the first answer of another cluster");
        let back = self.first_answer_back_ms.map(time_text);
        table.row([
            Cell::from(format!("back to {}", self.replicas)),
            back.map_or_else(|| Cell::bad("never"), Cell::from),
            self.failed_on_return.to_string().into(),
            time_text(self.failed_on_return_for_ms).into(),
        ]);
        table.note(if self.restored { "its pods are ready again" } else { "its pods are not ready yet" });
        table
    }
}

fn count(moments: &[&Moment<'_>]) -> u64 {
    u64::try_from(moments.len()).unwrap_or(u64::MAX)
}

/// Returns the time from the start of the first to the end of the last, in milliseconds.
fn span(moments: &[&Moment<'_>]) -> f64 {
    let start = moments.iter().map(|moment| moment.started).min();
    let end = moments.iter().map(|moment| moment.ended).max();
    start.zip(end).map_or(0.0, |(start, end)| millis(end.saturating_sub(start)))
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Format, Printer, Report};

    fn moment(started: u64, ended: u64, cluster: Option<&str>) -> Moment<'_> {
        let succeeded = cluster.is_some();
        let cluster = cluster.filter(|name| !name.is_empty());
        Moment {
            started: Duration::from_millis(started),
            ended: Duration::from_millis(ended),
            succeeded,
            cluster,
        }
    }

    fn judged(moments: &[Moment<'_>]) -> Failover {
        let (scaled, restored) = (Duration::from_secs(1), Duration::from_secs(3));
        let done = Done { scaled, gone: Some(Duration::from_millis(1500)), restored };
        Failover::judge("foo/helloworld/helloworld-v1".to_owned(), "foo", 1, done, moments)
    }

    #[test]
    fn times_count_from_what_was_done() {
        let found = judged(&[
            moment(900, 950, Some("foo")),
            moment(980, 1100, None),
            moment(1010, 1020, Some("foo")),
            moment(1200, 1210, None),
            moment(1300, 1600, None),
            moment(1700, 1710, Some("bar")),
            moment(2900, 2910, Some("bar")),
            moment(3010, 3020, None),
            moment(3100, 3110, Some("bar")),
            moment(4000, 4010, Some("foo")),
        ]);
        insta::assert_json_snapshot!(found, @r#"
        {
          "workload": "foo/helloworld/helloworld-v1",
          "replicas": 1,
          "firstRemoteAnswerMs": 710.0,
          "failed": 2,
          "failedForMs": 400.0,
          "firstAnswerBackMs": 1010.0,
          "failedOnReturn": 1,
          "failedOnReturnForMs": 10.0,
          "restored": false
        }
        "#);
    }

    #[test]
    fn without_another_answer_there_was_no_failover() {
        let found = judged(&[moment(1100, 1200, None), moment(1300, 1400, Some(""))]);
        assert_eq!((found.first_remote_answer_ms, found.first_answer_back_ms, found.failed), (None, None, 1));
        let unnamed = judged(&[moment(1100, 1200, Some("")), moment(1600, 1650, Some(""))]);
        assert_eq!(
            unnamed.first_remote_answer_ms,
            Some(650.0),
            "whoever answers when no pod is left here is elsewhere"
        );
        let none = judged(&[]);
        assert_eq!((none.failed, none.failed_for_ms), (0, 0.0));
    }

    #[test]
    fn an_answer_of_the_old_pods_is_not_back() {
        let of = |moments: &[Moment<'_>]| judged(moments).first_answer_back_ms;
        // Asked before the scaling back: pods that were still ending answered.
        assert_eq!(of(&[moment(2990, 3050, Some("foo"))]), None);
        assert_eq!(of(&[moment(2990, 3050, Some("foo")), moment(3500, 3600, Some("foo"))]), Some(600.0));
        assert_eq!(of(&[moment(3000, 3050, Some("foo"))]), Some(50.0));
        assert_eq!(
            of(&[moment(3500, 3600, Some("bar")), moment(3600, 3700, Some(""))]),
            None,
            "others are not back"
        );
        assert_eq!(of(&[moment(3500, 3600, None)]), None);
    }

    #[test]
    fn who_answered_while_the_pods_were_away_is_another() {
        let of = |moments: &[Moment<'_>]| judged(moments).first_remote_answer_ms;
        assert_eq!(of(&[moment(999, 1100, Some("bar"))]), None, "it was asked before");
        assert_eq!(of(&[moment(1000, 1100, Some("bar"))]), Some(100.0));
        assert_eq!(of(&[moment(1100, 3000, Some("bar"))]), Some(2000.0));
        assert_eq!(of(&[moment(1100, 3001, Some("bar"))]), None, "by then the pods were on their way back");
        assert_eq!(of(&[moment(1499, 1600, Some(""))]), None, "a pod was still there");
        assert_eq!(of(&[moment(1500, 1600, Some(""))]), Some(600.0));
        assert_eq!(of(&[moment(1600, 1700, Some("foo"))]), None);
        let done = Done { scaled: Duration::from_secs(1), gone: None, restored: Duration::from_secs(3) };
        let unseen = Failover::judge("w".to_owned(), "foo", 2, done, &[moment(1600, 1700, Some(""))]);
        assert_eq!((unseen.first_remote_answer_ms, unseen.replicas), (None, 2));
    }

    #[test]
    fn failures_are_counted_where_they_fall_and_from_the_first_to_the_last() {
        let found = judged(&[
            moment(900, 1100, None),
            moment(1000, 1200, None),
            moment(1100, 3000, None),
            moment(2900, 3100, None),
            moment(3000, 3001, None),
            moment(3500, 3600, Some("foo")),
            moment(3000, 3700, None),
        ]);
        assert_eq!((found.failed, found.failed_for_ms), (2, 2000.0));
        assert_eq!((found.failed_on_return, found.failed_on_return_for_ms), (3, 800.0));
    }

    #[derive(Serialize)]
    struct Shown(Failover);
    impl Report for Shown {
        fn table(&self, _wide: bool) -> Table {
            self.0.table()
        }
    }

    #[test]
    fn a_failover_is_shown_in_two_rows() {
        let judged = judged(&[moment(1200, 1210, None), moment(1700, 1710, Some("bar"))]);
        let text = |failover: &Failover| {
            let (printer, captured) = Printer::captured(Format::Table);
            printer.report(&Shown(failover.clone())).unwrap();
            captured.stdout()
        };
        insta::assert_snapshot!(text(&judged), @r"
        FAILOVER                            FIRST ANSWER AFTER   FAILED   FOR
        foo/helloworld/helloworld-v1 to 0   710.0ms              1        10.0ms
            the first answer of another cluster
        back to 1                           never                0        0.0ms
            its pods are not ready yet
        ");
        let restored = Failover { restored: true, first_answer_back_ms: Some(1500.0), ..judged };
        insta::assert_snapshot!(text(&restored), @r"
        FAILOVER                            FIRST ANSWER AFTER   FAILED   FOR
        foo/helloworld/helloworld-v1 to 0   710.0ms              1        10.0ms
            the first answer of another cluster
        back to 1                           1.50s                0        0.0ms
            its pods are ready again
        ");
    }
}
