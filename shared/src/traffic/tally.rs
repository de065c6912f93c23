//! Answers, counted.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::answer::{Answer, GrpcStatus};
use super::attribution::{Place, Places};
use super::failure::FailureKind;
use super::latency::Latencies;
use crate::report::one_line;

/// The most different texts that are kept until their pods are known.
const MOST_TEXTS: usize = 512;
/// How much of such a text is kept, in bytes.
const KEPT_TEXT: usize = 1 << 10;
/// How much is shown of what a failed request was told, in characters.
const SAMPLE: usize = 300;

/// Keeps what is needed of each answer: some fifty bytes, however long its body is.
#[derive(Debug, Default)]
pub struct Recorder {
    seen: Vec<Seen>,
    texts: Vec<Vec<u8>>,
    by_text: HashMap<Vec<u8>, u32>,
    samples: BTreeMap<FailureKind, String>,
    failed: usize,
}

/// What is kept of an answer.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Duration,
    took: Duration,
    status: Option<u16>,
    failure: Option<FailureKind>,
    source: Named,
}

/// What an answer says about who gave it.
#[derive(Clone, Copy, Debug)]
enum Named {
    Pod(u32),
    /// A text that may name a pod that is not known yet.
    Text(u32),
    Nobody,
}

/// When a request was under way, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment<'p> {
    /// When it started.
    pub started: Duration,
    /// When it ended.
    pub ended: Duration,
    /// Whether it succeeded.
    pub succeeded: bool,
    /// The cluster that answered, where that is known.
    pub cluster: Option<&'p str>,
}

/// What all answers together come to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many requests were sent.
    pub requests: u64,
    /// How many succeeded.
    pub succeeded: u64,
    /// Answers by status; `none` for requests without an answer.
    pub statuses: BTreeMap<String, u64>,
    /// Answers by the cluster of the pod that they named.
    pub by_cluster: BTreeMap<String, u64>,
    /// Answers by the version of the pod that they named.
    pub by_version: BTreeMap<String, u64>,
    /// Answers by the workload of the pod that they named.
    pub by_workload: BTreeMap<String, u64>,
    /// Answers by the pod that they named.
    pub by_pod: BTreeMap<String, u64>,
    /// Requests that succeeded and named no pod that is known.
    pub unnamed: u64,
    /// Requests that failed and named no pod that is known.
    pub errors: u64,
    /// Times of those that succeeded.
    pub latencies: Latencies,
    /// The same by cluster, of those whose cluster is known.
    pub latencies_by_cluster: BTreeMap<String, Latencies>,
    /// Failures, with what one of them was told.
    pub failures: BTreeMap<FailureKind, Failures>,
}

/// Failures of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// How many.
    pub count: u64,
    /// What the first of them was told, on one line.
    pub sample: String,
}

impl Recorder {
    /// Takes an answer.
    pub fn take(&mut self, answer: &Answer, places: &Places) {
        self.take_as(answer, FailureKind::of(answer), places);
    }

    /// Takes a request whose body did not end.
    pub fn take_endless(&mut self, at: Duration, took: Duration) {
        let answer = Answer {
            at,
            status: None,
            exit: 0,
            took,
            pod_header: Vec::new(),
            body: Vec::new(),
            complaint: "the body has no end".to_owned(),
            grpc: None,
        };
        self.take_as(&answer, Some(FailureKind::Endless), &Places::default());
    }

    fn take_as(&mut self, answer: &Answer, failure: Option<FailureKind>, places: &Places) {
        if let Some(kind) = failure {
            self.failed += 1;
            self.samples.entry(kind).or_insert_with(|| sample(answer));
        }
        let source = self.source(answer, failure.is_none(), places);
        let Answer { at, took, status, .. } = *answer;
        self.seen.push(Seen { at, took, status, failure, source });
    }

    /// Returns how many answers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Returns how many requests failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Tells whether there is no answer yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    fn source(&mut self, answer: &Answer, succeeded: bool, places: &Places) -> Named {
        // A header that names a pod is meant to; a body may list pods that it has heard of.
        for text in [&answer.pod_header, &answer.body] {
            if let Some(number) = places.named_in(text).and_then(|number| u32::try_from(number).ok()) {
                return Named::Pod(number);
            }
        }
        let text = if answer.pod_header.is_empty() { &answer.body } else { &answer.pod_header };
        if !succeeded || text.is_empty() {
            return Named::Nobody;
        }
        let text = &text[..text.len().min(KEPT_TEXT)];
        if let Some(number) = self.by_text.get(text) {
            return Named::Text(*number);
        }
        let Some(number) = u32::try_from(self.texts.len()).ok().filter(|_| self.texts.len() < MOST_TEXTS)
        else {
            return Named::Nobody;
        };
        self.texts.push(text.to_vec());
        self.by_text.insert(text.to_vec(), number);
        Named::Text(number)
    }

    /// Counts, with all pods that are known by now.
    #[must_use]
    pub fn tally(&self, places: &Places) -> Tally {
        let mut tally = Tally::default();
        let of_text = self.of_text(places);
        let add = |counts: &mut BTreeMap<String, u64>, name: &str| match counts.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                counts.insert(name.to_owned(), 1);
            }
        };
        for seen in &self.seen {
            tally.requests += 1;
            let status = seen.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
            *tally.statuses.entry(status).or_default() += 1;
            let place = Self::place(seen, &of_text).and_then(|number| places.get(number));
            if let Some(place) = place {
                add(&mut tally.by_cluster, &place.cluster);
                add(&mut tally.by_workload, &place.workload);
                add(&mut tally.by_pod, &place.pod);
                if let Some(version) = &place.version {
                    add(&mut tally.by_version, version);
                }
            }
            match seen.failure {
                None => {
                    tally.succeeded += 1;
                    tally.latencies.add(seen.took);
                    match place {
                        Some(place) => {
                            tally
                                .latencies_by_cluster
                                .entry(place.cluster.clone())
                                .or_default()
                                .add(seen.took);
                        }
                        None => tally.unnamed += 1,
                    }
                }
                Some(kind) => {
                    tally.errors += u64::from(place.is_none());
                    let failures = tally.failures.entry(kind).or_insert_with(|| Failures {
                        count: 0,
                        sample: self.samples.get(&kind).cloned().unwrap_or_default(),
                    });
                    failures.count += 1;
                }
            }
        }
        tally
    }

    /// Returns the request that ended last.
    #[must_use]
    pub fn latest<'p>(&self, places: &'p Places) -> Option<Moment<'p>> {
        let seen = self.seen.last()?;
        let number = match seen.source {
            Named::Text(text) => {
                let text = usize::try_from(text).ok().and_then(|text| self.texts.get(text));
                text.and_then(|text| places.named_in(text))
            }
            Named::Pod(_) | Named::Nobody => Self::place(seen, &[]),
        };
        Some(Self::moment(seen, number.and_then(|number| places.get(number))))
    }

    fn moment<'p>(seen: &Seen, place: Option<&'p Place>) -> Moment<'p> {
        Moment {
            started: seen.at.saturating_sub(seen.took),
            ended: seen.at,
            succeeded: seen.failure.is_none(),
            cluster: place.map(|place| place.cluster.as_str()),
        }
    }

    /// Returns every request with the time at which it was under way, in the order in which they ended.
    #[must_use]
    pub fn moments<'p>(&self, places: &'p Places) -> Vec<Moment<'p>> {
        let of_text = self.of_text(places);
        let place = |seen: &Seen| Self::place(seen, &of_text).and_then(|number| places.get(number));
        let mut moments: Vec<Moment<'_>> =
            self.seen.iter().map(|seen| Self::moment(seen, place(seen))).collect();
        moments.sort_by_key(|moment| moment.ended);
        moments
    }

    fn of_text(&self, places: &Places) -> Vec<Option<usize>> {
        self.texts.iter().map(|text| places.named_in(text)).collect()
    }

    fn place(seen: &Seen, of_text: &[Option<usize>]) -> Option<usize> {
        match seen.source {
            Named::Pod(number) => usize::try_from(number).ok(),
            Named::Text(number) => of_text.get(usize::try_from(number).ok()?).copied().flatten(),
            Named::Nobody => None,
        }
    }
}

/// Says on one line what a failed request was told.
fn sample(answer: &Answer) -> String {
    let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(4 * SAMPLE)]).into_owned();
    let text = match (answer.complaint.is_empty(), body.trim().is_empty()) {
        (false, _) => answer.complaint.clone(),
        (true, false) => body,
        (true, true) => match &answer.grpc {
            Some(GrpcStatus { code: Some(code), message }) => format!("grpc-status {code}: {message}"),
            _ => answer.status.map_or_else(String::new, |status| format!("status {status} without a body")),
        },
    };
    one_line(&text.chars().take(SAMPLE).collect::<String>())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::traffic::attribution::tests::{place, places};

    pub(crate) fn answer(at: u64, took: u64, status: u16, body: &str) -> Answer {
        Answer {
            at: Duration::from_millis(at),
            status: Some(status).filter(|status| *status != 0),
            exit: 0,
            took: Duration::from_millis(took),
            pod_header: Vec::new(),
            body: body.as_bytes().to_vec(),
            complaint: String::new(),
            grpc: None,
        }
    }

    #[test]
    fn the_last_answer_is_of_a_pod_that_became_known_after_it() {
        let (mut recorder, mut places) = (Recorder::default(), places());
        recorder.take(&answer(1, 1, 200, "instance: helloworld-v1-new"), &places);
        let cluster = |recorder: &Recorder, places: &Places| {
            recorder.latest(places).and_then(|moment| moment.cluster.map(str::to_owned))
        };
        assert_eq!(cluster(&recorder, &places), None);
        places.learn([place("foo", "helloworld-v1-new", "v1", "10.9.9.9")]);
        assert_eq!(cluster(&recorder, &places).as_deref(), Some("foo"));
    }

    #[test]
    fn answers_are_counted_by_cluster_version_workload_and_pod() {
        let (mut recorder, places) = (Recorder::default(), places());
        for body in
            ["instance: helloworld-v1-abc", "instance: helloworld-v2-def", "instance: helloworld-v2-def", "x"]
        {
            recorder.take(&answer(1, 1, 200, body), &places);
        }
        recorder.take(&answer(1, 1, 503, "no healthy upstream\u{1b}[2J"), &places);
        recorder.take_endless(Duration::ZERO, Duration::ZERO);
        let tally = recorder.tally(&places);
        assert_eq!((tally.requests, tally.succeeded, tally.unnamed, tally.errors), (6, 4, 1, 2));
        assert_eq!(tally.by_cluster, [("bar".to_owned(), 2), ("foo".to_owned(), 1)].into());
        assert_eq!(tally.by_version, [("v1".to_owned(), 1), ("v2".to_owned(), 2)].into());
        assert_eq!(tally.by_workload.len(), 2);
        assert_eq!(tally.by_pod["helloworld-v2-def"], 2);
        assert_eq!(
            tally.statuses,
            [("200".to_owned(), 4), ("503".to_owned(), 1), ("none".to_owned(), 1)].into()
        );
        assert_eq!(tally.failures[&FailureKind::NoEndpoints].sample, "no healthy upstream\\u{1b}[2J");
        assert_eq!(tally.latencies.count(), 4);
        assert_eq!(tally.latencies_by_cluster["bar"].count(), 2);
    }

    #[test]
    fn a_pod_that_is_known_later_is_counted_all_the_same() {
        let (mut recorder, mut places) = (Recorder::default(), places());
        recorder.take(&answer(5, 2, 200, "instance: helloworld-v1-new"), &places);
        assert_eq!(recorder.tally(&places).unnamed, 1);
        places.learn([place("foo", "helloworld-v1-new", "v1", "")]);
        let tally = recorder.tally(&places);
        assert_eq!((tally.unnamed, tally.by_pod["helloworld-v1-new"]), (0, 1));
        let moment = recorder.moments(&places)[0];
        assert_eq!((moment.started, moment.cluster), (Duration::from_millis(3), Some("foo")));
    }

    #[test]
    fn a_header_counts_before_the_body() {
        let (mut recorder, places) = (Recorder::default(), places());
        let body = answer(1, 1, 200, "seen by helloworld-v1-abc");
        recorder.take(&Answer { pod_header: b"helloworld-v2-def".to_vec(), ..body }, &places);
        assert_eq!(recorder.tally(&places).by_cluster.keys().collect::<Vec<_>>(), ["bar"]);
    }

    #[test]
    fn bodies_that_are_all_different_do_not_fill_the_memory() {
        let (mut recorder, places) = (Recorder::default(), places());
        for number in 0..2000 {
            recorder.take(&answer(1, 1, 200, &format!("{number} {}", "x".repeat(4000))), &places);
        }
        assert_eq!(recorder.texts.len(), MOST_TEXTS);
        assert!(recorder.texts.iter().all(|text| text.len() <= KEPT_TEXT));
        assert_eq!(recorder.tally(&places).unnamed, 2000);
    }

    #[test]
    fn requests_are_given_in_the_order_in_which_they_ended() {
        let (mut recorder, places) = (Recorder::default(), places());
        for (at, took, status, body) in [
            (30, 5, 200, "instance: helloworld-v1-abc"),
            (10, 9, 503, "no healthy upstream"),
            (20, 25, 200, "instance: helloworld-v2-def"),
            (25, 1, 503, "said by helloworld-v2-def"),
        ] {
            recorder.take(&answer(at, took, status, body), &places);
        }
        let moment = |(started, ended, succeeded, cluster)| Moment {
            started: Duration::from_millis(started),
            ended: Duration::from_millis(ended),
            succeeded,
            cluster,
        };
        let wanted = [
            (1, 10, false, None),
            (0, 20, true, Some("bar")),
            (24, 25, false, Some("bar")),
            (25, 30, true, Some("foo")),
        ];
        assert_eq!(recorder.moments(&places), wanted.map(moment));
        assert_eq!(recorder.latest(&places), Some(moment(wanted[2])), "the one that was taken last");
        assert_eq!((recorder.len(), recorder.failed(), recorder.is_empty()), (4, 2, false));
        assert_eq!((Recorder::default().latest(&places), Recorder::default().is_empty()), (None, true));
    }

    #[test]
    fn an_error_that_a_known_pod_gave_is_that_pods_and_no_error_of_nobody() {
        let (mut recorder, places) = (Recorder::default(), places());
        recorder.take(&answer(1, 1, 500, "thrown by helloworld-v1-abc"), &places);
        recorder.take(&answer(2, 1, 500, "thrown by helloworld-v1-abc"), &places);
        recorder.take(&answer(3, 1, 500, "thrown by somebody"), &places);
        recorder.take(&answer(4, 1, 0, ""), &places);
        let tally = recorder.tally(&places);
        assert_eq!((tally.requests, tally.succeeded, tally.errors, tally.unnamed), (4, 0, 2, 0));
        assert_eq!(tally.by_cluster, [("foo".to_owned(), 2)].into());
        let failures: Vec<_> =
            tally.failures.iter().map(|(kind, of)| format!("{kind} {} {}", of.count, of.sample)).collect();
        insta::assert_snapshot!(failures.join("\n"), @r"
        http-500 3 thrown by helloworld-v1-abc
        curl-0 1
        ");
        assert_eq!((tally.latencies.count(), tally.latencies_by_cluster.len()), (0, 0));
    }

    #[test]
    fn what_a_failed_request_was_told_is_what_curl_says_or_the_body_or_the_status() {
        let told = |status: u16, body: &str, complaint: &str| {
            sample(&Answer { complaint: complaint.to_owned(), ..answer(1, 1, status, body) })
        };
        assert_eq!(told(503, "no healthy upstream", ""), "no healthy upstream");
        assert_eq!(told(503, "no healthy upstream", "Operation timed out"), "Operation timed out");
        assert_eq!(told(502, " \n", ""), "status 502 without a body");
        assert_eq!(told(0, "", ""), "");
        assert_eq!(told(500, &"x".repeat(5000), "").len(), SAMPLE);
        assert_eq!(told(500, &"é".repeat(5000), "").chars().count(), SAMPLE, "they may take more bytes");
    }

    #[test]
    fn texts_that_repeat_are_kept_once_and_a_header_instead_of_the_body() {
        let (mut recorder, mut places) = (Recorder::default(), places());
        let of = |number: usize, header: &str, body: &str| Answer {
            pod_header: header.as_bytes().to_vec(),
            ..answer(number as u64, 1, 200, body)
        };
        for number in 0..3 {
            recorder.take(&of(number, "", "instance: helloworld-v3-1"), &places);
            recorder.take(&of(number, "helloworld-v3-2", "seen by helloworld-v3-1"), &places);
        }
        recorder.take(&of(9, "", ""), &places);
        assert_eq!(recorder.texts.len(), 2);
        places.learn([place("foo", "helloworld-v3-1", "v3", ""), place("bar", "helloworld-v3-2", "v4", "")]);
        let tally = recorder.tally(&places);
        assert_eq!((tally.by_cluster["foo"], tally.by_cluster["bar"], tally.unnamed), (3, 3, 1));
        assert_eq!(tally.by_version, [("v3".to_owned(), 3), ("v4".to_owned(), 3)].into());
    }

    #[test]
    fn a_pod_without_a_version_has_none() {
        let mut places = places();
        places.learn([Place { version: None, ..place("baz", "plain-0", "v1", "") }]);
        let mut recorder = Recorder::default();
        recorder.take(&answer(1, 1, 200, "plain-0"), &places);
        let tally = recorder.tally(&places);
        assert_eq!((tally.by_version.len(), tally.by_pod["plain-0"]), (0, 1));
    }
}
