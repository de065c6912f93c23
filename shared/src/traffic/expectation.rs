//! What a run has to come to: `bar>=30%`, `success=100%`, `p99<250ms`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::latency::Latencies;
use crate::report::one_line;

/// The longest text of an expectation, in bytes.
const LONGEST: usize = 200;

/// Something that a run is held against.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    text: String,
    subject: Subject,
    comparison: Comparison,
    value: Value,
}

#[derive(Clone, Debug, PartialEq)]
enum Subject {
    /// Requests that succeeded.
    Success,
    /// Requests that failed.
    Failed,
    /// A quantile of the times, from 0 to 1.
    Quantile(f64),
    Mean,
    /// Answers of a cluster, a version, a workload or a pod.
    Answers(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    AtMost,
    More,
    Less,
    Equal,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    /// In percent.
    Share(f64),
    Number(f64),
    /// In milliseconds.
    Time(f64),
}

/// Why a text is no expectation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no expectation: {reason}")]
pub struct ExpectationError {
    text: String,
    reason: &'static str,
}

/// What a run came to, as expectations see it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'f> {
    /// How many requests were sent.
    pub requests: u64,
    /// How many succeeded.
    pub succeeded: u64,
    /// Names of the mesh's clusters: answers of nobody are no answers of a cluster that there is.
    pub clusters: &'f [String],
    /// Answers by cluster.
    pub by_cluster: &'f BTreeMap<String, u64>,
    /// Answers by version.
    pub by_version: &'f BTreeMap<String, u64>,
    /// Answers by workload.
    pub by_workload: &'f BTreeMap<String, u64>,
    /// Answers by pod.
    pub by_pod: &'f BTreeMap<String, u64>,
    /// Times of those that succeeded.
    pub latencies: &'f Latencies,
}

/// Whether an expectation was met. The shape of its JSON is a promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// As it was given.
    pub text: String,
    /// Whether it was met.
    pub met: bool,
    /// What it really was: `28.0%`, `310.2ms`.
    pub actual: String,
}

impl FromStr for Expectation {
    type Err = ExpectationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse =
            |reason| ExpectationError { text: one_line(&text.chars().take(60).collect::<String>()), reason };
        if text.len() > LONGEST {
            return Err(refuse("it is too long"));
        }
        let start = text.find(['<', '>', '=', '!']).ok_or_else(|| refuse("write it as NAME>=30%"))?;
        let (subject, rest) = (text[..start].trim(), &text[start..]);
        let comparisons = [
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            ("==", Comparison::Equal),
            ("!=", Comparison::Other),
            (">", Comparison::More),
            ("<", Comparison::Less),
            ("=", Comparison::Equal),
        ];
        let found =
            comparisons.into_iter().find_map(|(sign, meaning)| Some((meaning, rest.strip_prefix(sign)?)));
        let (comparison, value) = found.ok_or_else(|| refuse("compare with >=, <=, >, <, = or !="))?;
        let subject = self::subject(subject).map_err(refuse)?;
        let value = self::value(value.trim()).map_err(refuse)?;
        match (&subject, value) {
            (Subject::Quantile(_) | Subject::Mean, Value::Time(_)) => {}
            (Subject::Quantile(_) | Subject::Mean, _) => {
                return Err(refuse("compare a time with a time, such as 250ms"));
            }
            (_, Value::Time(_)) => {
                return Err(refuse("compare answers with a share or a number, such as 30% or 5"));
            }
            _ => {}
        }
        Ok(Self { text: text.trim().to_owned(), subject, comparison, value })
    }
}

fn subject(text: &str) -> Result<Subject, &'static str> {
    let quantile = |digits: &str| -> Option<f64> {
        let digits_only = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let number: f64 = digits.parse().ok()?;
        (digits_only && number > 0.0 && number <= 100.0).then_some(number / 100.0)
    };
    match text {
        "" => Err("it names nothing before the comparison"),
        "success" | "succeeded" => Ok(Subject::Success),
        "failed" | "errors" => Ok(Subject::Failed),
        "min" => Ok(Subject::Quantile(0.0)),
        "max" => Ok(Subject::Quantile(1.0)),
        "mean" => Ok(Subject::Mean),
        // Taken for a name that nobody has, `faild<=5` would always be met.
        _ if ["success", "succeeded"].iter().any(|word| is_slip(text, word)) => Err("did you mean success?"),
        _ if ["failed", "errors"].iter().any(|word| is_slip(text, word)) => Err("did you mean failed?"),
        _ => match text.strip_prefix('p').and_then(quantile) {
            Some(quantile) => Ok(Subject::Quantile(quantile)),
            None if text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')) =>
            {
                Ok(Subject::Answers(text.to_owned()))
            }
            None => Err(
                "before the comparison stands success, failed, p50, p90, p99, min, max, mean, or the name of who answers",
            ),
        },
    }
}

/// Tells whether a text is a word with a slip in it.
fn is_slip(text: &str, word: &str) -> bool {
    strsim::damerau_levenshtein(&text.to_ascii_lowercase(), word) <= 1
}

fn value(text: &str) -> Result<Value, &'static str> {
    let number_of = |text: &str| -> Option<f64> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        text.parse().ok().filter(|number: &f64| plain && number.is_finite())
    };
    let wrong = "compare with a share (30%), a number (5) or a time (250ms)";
    if let Some(share) = text.strip_suffix('%') {
        let share = number_of(share.trim()).ok_or(wrong)?;
        return if share <= 100.0 { Ok(Value::Share(share)) } else { Err("a share is no more than 100%") };
    }
    for (unit, factor) in [("ms", 1.0), ("us", 0.001), ("µs", 0.001), ("s", 1000.0)] {
        if let Some(time) = text.strip_suffix(unit) {
            return number_of(time.trim()).map(|time| Value::Time(time * factor)).ok_or(wrong);
        }
    }
    number_of(text).map(Value::Number).ok_or(wrong)
}

impl Expectation {
    /// Tells whether it is about how many requests succeed or fail.
    #[must_use]
    pub fn is_about_success(&self) -> bool {
        matches!(self.subject, Subject::Success | Subject::Failed)
    }

    /// Holds a run against it. What cannot be known, such as a time without any answer, is not met.
    #[must_use]
    pub fn judge(&self, facts: &Facts<'_>) -> Judged {
        let (actual, shown) = match &self.subject {
            Subject::Success => self.share(facts.succeeded, facts.requests),
            Subject::Failed => {
                self.share(facts.requests - facts.succeeded.min(facts.requests), facts.requests)
            }
            Subject::Quantile(quantile) => time(facts.latencies.at(*quantile)),
            Subject::Mean => time(facts.latencies.mean()),
            Subject::Answers(name) => {
                let all: u64 = facts.by_cluster.values().sum();
                if let Some(count) = answers(facts, name) {
                    self.share(count, all)
                } else {
                    (self.share(0, all).0, "nobody of that name answered".to_owned())
                }
            }
        };
        let wanted = match self.value {
            Value::Share(value) | Value::Number(value) | Value::Time(value) => value,
        };
        let met = actual.is_some_and(|actual| self.comparison.holds(actual, wanted));
        Judged { text: self.text.clone(), met, actual: shown }
    }

    fn share(&self, count: u64, all: u64) -> (Option<f64>, String) {
        match self.value {
            Value::Share(_) => {
                let share = percent(count, all);
                (share, share.map_or_else(|| "nothing was sent".to_owned(), |share| format!("{share:.1}%")))
            }
            Value::Number(_) | Value::Time(_) => (Some(float(count)), count.to_string()),
        }
    }
}

impl Comparison {
    fn holds(self, actual: f64, wanted: f64) -> bool {
        let same = (actual - wanted).abs() < 1e-9;
        match self {
            Self::AtLeast => same || actual > wanted,
            Self::AtMost => same || actual < wanted,
            Self::More => !same && actual > wanted,
            Self::Less => !same && actual < wanted,
            Self::Equal => same,
            Self::Other => !same,
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Finds who is meant: a cluster by its name or the one that begins with it (`bar` for bar-eks-cluster), a version, a workload, a pod.
fn answers(facts: &Facts<'_>, name: &str) -> Option<u64> {
    let begins =
        |cluster: &&String| cluster.strip_prefix(name).is_some_and(|rest| rest.starts_with(['-', '.']));
    let cluster = facts.clusters.iter().find(|cluster| *cluster == name).or_else(|| {
        let mut found = facts.clusters.iter().filter(begins);
        found.next().filter(|_| found.next().is_none())
    });
    if facts.by_cluster.contains_key(name) || facts.clusters.iter().any(|cluster| cluster == name) {
        return Some(facts.by_cluster.get(name).copied().unwrap_or(0));
    }
    let others = [facts.by_version, facts.by_workload, facts.by_pod];
    others
        .iter()
        .find_map(|counts| counts.get(name).copied())
        .or_else(|| cluster.map(|cluster| facts.by_cluster.get(cluster).copied().unwrap_or(0)))
}

fn time(milliseconds: Option<f64>) -> (Option<f64>, String) {
    (milliseconds, milliseconds.map_or_else(|| "no answers".to_owned(), |time| format!("{time:.1}ms")))
}

/// Returns a share in percent; `None` of nothing.
pub(super) fn percent(count: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| float(count) * 100.0 / float(all))
}

#[expect(clippy::cast_precision_loss, reason = "a million requests are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn judged(texts: &[&str]) -> String {
        let map = |counts: &[(&str, u64)]| -> BTreeMap<String, u64> {
            counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        let mut latencies = Latencies::default();
        (1..=100).for_each(|time| latencies.add(Duration::from_millis(time)));
        let clusters = ["foo-eks-cluster", "bar-eks-cluster", "baz"].map(str::to_owned);
        let facts = Facts {
            requests: 200,
            succeeded: 199,
            clusters: &clusters,
            by_cluster: &map(&[("foo-eks-cluster", 140), ("bar-eks-cluster", 60)]),
            by_version: &map(&[("v1", 140), ("v2", 60)]),
            by_workload: &map(&[("helloworld-v1", 140), ("helloworld-v2", 60)]),
            by_pod: &map(&[]),
            latencies: &latencies,
        };
        let line = |text: &&str| {
            let judged = text.parse::<Expectation>().unwrap().judge(&facts);
            format!("{} {} ({})", judged.text, judged.met, judged.actual)
        };
        texts.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn expectations_are_met_or_not() {
        insta::assert_snapshot!(judged(&[
            "bar-eks-cluster>=30%", "bar >= 30.1%", "bar=60", "foo>50%", "baz=0", "qux>0%", "v2<=30%", "helloworld-v2!=60",
            "success=100%", "success>=99.5%", "failed<=1", "failed<1%", "p99<250ms", "p99<=0.05s", "p50<50ms", "max=100ms", "mean<60ms", "p99.9<99ms",
        ]), @r"
        bar-eks-cluster>=30% true (30.0%)
        bar >= 30.1% false (30.0%)
        bar=60 true (60)
        foo>50% true (70.0%)
        baz=0 true (0)
        qux>0% false (nobody of that name answered)
        v2<=30% true (30.0%)
        helloworld-v2!=60 false (60)
        success=100% false (99.5%)
        success>=99.5% true (99.5%)
        failed<=1 true (1)
        failed<1% true (0.5%)
        p99<250ms true (99.0ms)
        p99<=0.05s false (99.0ms)
        p50<50ms false (50.0ms)
        max=100ms false (100.0ms)
        mean<60ms true (50.5ms)
        p99.9<99ms false (100.0ms)
        ");
    }

    #[test]
    fn what_is_no_expectation_is_refused_with_the_reason() {
        let refused = |text: &str| text.parse::<Expectation>().unwrap_err().to_string();
        insta::assert_snapshot!(refused("bar"), @"`bar` is no expectation: write it as NAME>=30%");
        insta::assert_snapshot!(refused(">=30%"), @"`>=30%` is no expectation: it names nothing before the comparison");
        insta::assert_snapshot!(refused("bar>=a lot"), @"`bar>=a lot` is no expectation: compare with a share (30%), a number (5) or a time (250ms)");
        insta::assert_snapshot!(refused("bar>=130%"), @"`bar>=130%` is no expectation: a share is no more than 100%");
        insta::assert_snapshot!(refused("p99<250"), @"`p99<250` is no expectation: compare a time with a time, such as 250ms");
        insta::assert_snapshot!(refused("success>5s"), @"`success>5s` is no expectation: compare answers with a share or a number, such as 30% or 5");
        insta::assert_snapshot!(refused("bar>=-1"), @"`bar>=-1` is no expectation: compare with a share (30%), a number (5) or a time (250ms)");
        insta::assert_snapshot!(refused("bar>=inf"), @"`bar>=inf` is no expectation: compare with a share (30%), a number (5) or a time (250ms)");
        insta::assert_snapshot!(refused("faild<=5"), @"`faild<=5` is no expectation: did you mean failed?");
        insta::assert_snapshot!(refused("Success=100%"), @"`Success=100%` is no expectation: did you mean success?");
        insta::assert_snapshot!(refused("b\u{1b}r>1"), @r"`b\u{1b}r>1` is no expectation: before the comparison stands success, failed, p50, p90, p99, min, max, mean, or the name of who answers");
    }

    #[test]
    fn of_no_answers_no_time_is_expected_in_vain() {
        let facts = Facts {
            requests: 0,
            succeeded: 0,
            clusters: &[],
            by_cluster: &BTreeMap::new(),
            by_version: &BTreeMap::new(),
            by_workload: &BTreeMap::new(),
            by_pod: &BTreeMap::new(),
            latencies: &Latencies::default(),
        };
        for text in ["p99<1s", "success=100%", "bar>=0%"] {
            assert!(!text.parse::<Expectation>().unwrap().judge(&facts).met, "{text}");
        }
    }

    fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    /// Who is meant by a name, where these clusters are in the mesh and all of them answered.
    fn meant(name: &str) -> Option<u64> {
        let clusters = ["bar-eks-cluster", "bar-gke", "foo.eu", "baz", "baz-2"].map(str::to_owned);
        let facts = Facts {
            requests: 0,
            succeeded: 0,
            clusters: &clusters,
            by_cluster: &counts(&[
                ("bar-eks-cluster", 1),
                ("bar-gke", 2),
                ("foo.eu", 4),
                ("baz-2", 8),
                ("unknown", 16),
            ]),
            by_version: &counts(&[("v1", 32), ("foo", 64)]),
            by_workload: &counts(&[("v1", 128), ("cart", 256)]),
            by_pod: &counts(&[("cart", 512), ("cart-0", 1024)]),
            latencies: &Latencies::default(),
        };
        answers(&facts, name)
    }

    #[test]
    fn a_name_that_two_clusters_begin_with_is_nobodys() {
        assert_eq!(meant("bar"), None);
        assert_eq!(
            (meant("bar-eks"), meant("bar-eks-cluster"), meant("bar-gke")),
            (Some(1), Some(1), Some(2))
        );
        let facts = Facts {
            requests: 0,
            succeeded: 0,
            clusters: &["bar-eks-cluster", "bar-gke"].map(str::to_owned),
            by_cluster: &counts(&[("bar-eks-cluster", 100)]),
            by_version: &BTreeMap::new(),
            by_workload: &BTreeMap::new(),
            by_pod: &BTreeMap::new(),
            latencies: &Latencies::default(),
        };
        let judged = "bar>=30%".parse::<Expectation>().unwrap().judge(&facts);
        assert_eq!((judged.met, judged.actual.as_str()), (false, "nobody of that name answered"));
    }

    #[test]
    fn a_name_is_a_whole_clusters_before_anything_elses_and_its_beginning_comes_last() {
        assert_eq!(meant("baz"), Some(0), "it has answered nothing, and baz-2 is another one");
        assert_eq!(meant("foo"), Some(64), "a version is called so, and a cluster only begins with it");
        assert_eq!((meant("foo.eu"), meant("fo"), meant("foo.")), (Some(4), None, None));
        assert_eq!((meant("v1"), meant("cart"), meant("cart-0")), (Some(32), Some(256), Some(1024)));
        assert_eq!((meant("unknown"), meant("unkn")), (Some(16), None));
    }

    #[test]
    fn every_comparison_and_unit_is_read_as_it_is_written() {
        insta::assert_snapshot!(judged(&[
            "foo>140", "foo>=140", "foo<140", "foo<=140", "foo==140", "foo!=140", "foo>139", "foo<141", "foo!=141", "foo=139",
            "min=1ms", "max>=0.1s", "max<=99999us", "p100<=100000µs", "p50=50ms", "mean<=51ms", "mean>50ms", "p0.1<=1ms",
            "succeeded=199", "errors=1", "failed=0.5%", "success<100%", "  bar  =  30%  ", "v1!=70%", "bar<=100%",
        ]), @r"
        foo>140 false (140)
        foo>=140 true (140)
        foo<140 false (140)
        foo<=140 true (140)
        foo==140 true (140)
        foo!=140 false (140)
        foo>139 true (140)
        foo<141 true (140)
        foo!=141 true (140)
        foo=139 false (140)
        min=1ms true (1.0ms)
        max>=0.1s true (100.0ms)
        max<=99999us false (100.0ms)
        p100<=100000µs false (100.0ms)
        p50=50ms false (50.0ms)
        mean<=51ms true (50.5ms)
        mean>50ms true (50.5ms)
        p0.1<=1ms true (1.0ms)
        succeeded=199 true (199)
        errors=1 true (1)
        failed=0.5% true (0.5%)
        success<100% true (99.5%)
        bar  =  30% true (30.0%)
        v1!=70% false (70.0%)
        bar<=100% true (30.0%)
        ");
    }

    #[test]
    fn what_looks_like_a_quantile_and_is_none_is_a_name() {
        let subject = |text: &str| text.parse::<Expectation>().map(|expectation| expectation.subject);
        assert_eq!(subject("p99<1s").unwrap(), Subject::Quantile(0.99));
        assert_eq!(subject("p100<1s").unwrap(), Subject::Quantile(1.0));
        for text in ["p0=1", "p101=1", "p1e1=1", "p+5=1", "pod-1=1", "p=1", "p1.2.3=1"] {
            let name = text.split('=').next().unwrap().to_owned();
            if name.contains('+') {
                assert!(subject(text).is_err(), "{text}");
            } else {
                assert_eq!(subject(text).unwrap(), Subject::Answers(name), "{text}");
            }
        }
        assert_eq!(subject("a_b=1").unwrap(), Subject::Answers("a_b".to_owned()));
        for text in ["succes=1%", "SUCCESS=1%", "faild=1", "failed_=1", "error=1", "erorrs=1"] {
            assert!(subject(text).unwrap_err().to_string().contains("did you mean"), "{text}");
        }
        assert!(subject("terrors=1").is_err() && subject("mirrors=1").is_ok());
    }

    #[test]
    fn numbers_and_lengths_have_limits() {
        let fails = |text: &str| text.parse::<Expectation>().is_err();
        assert!(!fails("bar>=100%") && fails("bar>=100.1%"));
        assert!(fails("bar>=1e3") && fails("bar>=.") && fails("bar>=") && fails("bar>=1.5.2"));
        assert!(fails("max<5") && fails("mean<5%") && fails("bar<5ms") && fails("failed<5us"));
        assert!(fails("bar!5") && fails("bar>=x%") && fails("max<xs"));
        let long = |length: usize| format!("{}=1", "a".repeat(length - 2));
        assert!(!fails(&long(LONGEST)) && fails(&long(LONGEST + 1)));
        let about = |text: &str| text.parse::<Expectation>().unwrap().is_about_success();
        assert!(
            about("success=1%")
                && about("failed<1")
                && !about("bar=1")
                && !about("p99<1s")
                && !about("mean<1s")
        );
        assert_eq!("bar >= 30%".parse::<Expectation>().unwrap().to_string(), "bar >= 30%");
    }

    #[test]
    fn more_successes_than_requests_are_no_failures() {
        let facts = Facts {
            requests: 2,
            succeeded: 3,
            clusters: &[],
            by_cluster: &BTreeMap::new(),
            by_version: &BTreeMap::new(),
            by_workload: &BTreeMap::new(),
            by_pod: &BTreeMap::new(),
            latencies: &Latencies::default(),
        };
        assert_eq!("failed=0".parse::<Expectation>().unwrap().judge(&facts).actual, "0");
    }
}
