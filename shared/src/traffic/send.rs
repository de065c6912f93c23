//! Sending: one curl in the client's pod for each stream of requests.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::process::Stdio;
use std::time::Duration;

use futures::future::{join, join_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::Instant;

use super::answer::Answers;
use super::attribution::Places;
use super::client::Client;
use super::error::TrafficError;
use super::load::{Amount, Load, MOST_REQUESTS, Share};
use super::request::{Protocol, Request};
use super::script::{COMMAND, Mark, script};
use super::tally::Recorder;
use crate::fleet::{ExecProblem, Stream as Pipe};
use crate::report::one_line;

/// How much curl may be told at once, in bytes.
const LONGEST_SCRIPT: usize = 4 << 20;
/// The most requests of one curl.
const MOST_AT_ONCE: u32 = 20_000;
/// How long one curl works where the time counts, not the number of requests. A command in a container cannot be stopped from outside:
/// this is how long it may go on after the last answer that somebody wants.
const SPELL: Duration = Duration::from_secs(5);
/// How many requests the first curl of such a stream gets where there is no rate.
const FIRST_SPELL: u32 = 50;
/// How long a command may take besides its requests.
const SLACK: Duration = Duration::from_secs(30);
/// How much is read at once, in bytes.
const PIECE: usize = 16 << 10;
/// How often in a row a connection may break before a single answer.
const MOST_BREAKS: u32 = 3;

/// What was sent, and what came back.
#[derive(Debug, Default)]
pub struct Sent {
    /// The answers.
    pub recorder: Recorder,
    /// What did not go as it should have, one sentence each.
    pub remarks: Vec<String>,
    /// Whether time ran out before everything was sent.
    pub timed_out: bool,
}

/// How sending goes on.
#[derive(Clone, Copy)]
pub struct Course<'c> {
    /// When the first request is asked for; times of answers count from here.
    pub started: Instant,
    /// When nothing more is sent, whatever is left.
    pub until: Instant,
    /// Is asked whether it was enough.
    pub enough: &'c dyn Fn() -> bool,
    /// Is told after each answer.
    pub tell: &'c dyn Fn(&Recorder),
}

/// Sends a load from a pod. What was answered is kept even where a stream breaks off.
///
/// # Errors
/// [`TrafficError`] when no stream got a single answer, or account of one.
pub async fn send(
    client: &Client<'_>,
    request: &Request,
    load: &Load,
    places: &Places,
    course: Course<'_>,
) -> Result<Sent, TrafficError> {
    let request = &match &client.via {
        Some(via) => Request { url: request.url.at(&via.host, via.port)?, ..request.clone() },
        None => request.clone(),
    };
    let sent = RefCell::new(Sent::default());
    let shares = load.shares();
    let streams = shares.iter().enumerate().map(|(index, share)| {
        let stream = Stream { client, request, places, course, patience: load.patience, sent: &sent };
        // Streams that end their spells at different times leave no moment without requests.
        let part = (u32::try_from(index).unwrap_or(0) + 1, u32::try_from(shares.len()).unwrap_or(1));
        async move { stream.run(*share, part).await }
    });
    let results = join_all(streams).await;
    let mut sent = sent.into_inner();
    let mut errors = results.into_iter().filter_map(Result::err);
    match errors.next() {
        Some(error) if sent.recorder.is_empty() => return Err(error),
        Some(error) => sent.remarks.push(one_line(&format!("a stream of requests broke off: {error}"))),
        None => {}
    }
    sent.remarks.sort();
    sent.remarks.dedup();
    Ok(sent)
}

struct Stream<'s> {
    client: &'s Client<'s>,
    request: &'s Request,
    places: &'s Places,
    course: Course<'s>,
    patience: Duration,
    sent: &'s RefCell<Sent>,
}

/// How one curl ended.
struct Batch {
    got: u32,
    took: Duration,
    error: Option<TrafficError>,
    remarks: String,
    endless: bool,
}

impl Stream<'_> {
    async fn run(&self, share: Share, part: (u32, u32)) -> Result<(), TrafficError> {
        let mut left = match share.amount {
            Amount::Requests(requests) => requests,
            Amount::For(_) => MOST_REQUESTS,
        };
        let end = match share.amount {
            Amount::Requests(_) => self.course.until,
            Amount::For(time) => (self.course.started + time).min(self.course.until),
        };
        let (mut breaks, mut speed) = (0, None);
        let mut first = Some(part);
        // Each curl keeps the rate by itself, but knows nothing of the one before.
        let mut turn = Instant::now();
        // Streams together may not send more than one may: answers are kept.
        let is_full =
            || self.sent.borrow().recorder.len() >= usize::try_from(MOST_REQUESTS).unwrap_or(usize::MAX);
        while left > 0 && !is_full() && !(self.course.enough)() {
            tokio::time::sleep_until(turn.min(end)).await;
            let now = Instant::now();
            if now >= end {
                let out_of_time = now >= self.course.until && matches!(share.amount, Amount::Requests(_));
                self.sent.borrow_mut().timed_out |= out_of_time;
                break;
            }
            let count = match share.amount {
                Amount::Requests(_) => left,
                Amount::For(_) => spell(share, speed, end - now, first.take()),
            };
            let count = count.min(left).clamp(1, most_at_once(self.request));
            let begin = Instant::now();
            let batch = self.batch(count, share, end).await;
            turn = begin + share.rate.map(|rate| rate.interval() * batch.got).unwrap_or_default();
            left = left.saturating_sub(batch.got);
            speed = Some(f64::from(batch.got) / batch.took.as_secs_f64().max(0.001));
            if batch.remarks.contains("'rate' is unknown") {
                let remark = "the curl of this pod is older than 7.84 and knows no rates: requests were sent as fast as answers came";
                self.sent.borrow_mut().remarks.push(remark.to_owned());
            }
            breaks = if batch.got > 0 || batch.endless { 0 } else { breaks + 1 };
            match batch.error {
                Some(error) => self.after(error, breaks)?,
                None if batch.got == 0 && !batch.endless && Instant::now() < end => {
                    return Err(self.nothing(&batch.remarks));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Runs one curl.
    async fn batch(&self, count: u32, share: Share, end: Instant) -> Batch {
        let mark = Mark::random();
        let script = script(self.request, count, share.rate, self.patience, &mark);
        let each = self.patience + share.rate.map(super::load::Rate::interval).unwrap_or_default();
        let longest = each.saturating_mul(count).saturating_add(SLACK);
        let mut answers = Answers::new(&mark, self.request.protocol());
        let begin = Instant::now();
        let mut got = 0;
        let take = |stream, bytes: &[u8]| {
            let at = self.course.started.elapsed();
            let flow = answers.take(stream, bytes, at);
            while let Some(answer) = answers.next() {
                self.sent.borrow_mut().recorder.take(&answer, self.places);
                got += 1;
            }
            (self.course.tell)(&self.sent.borrow().recorder);
            // Whoever waits for an answer gets it: only then the time is over.
            if Instant::now() >= end + self.patience { ControlFlow::Break(()) } else { flow }
        };
        let longest = longest.min((end + self.patience + SLACK).saturating_duration_since(begin));
        let target = &self.client.target;
        let result = if self.client.is_here {
            here(script.as_bytes(), longest, take).await.map_err(TrafficError::Here)
        } else {
            let stdin = Some(script.as_bytes());
            let run = self.client.member.exec_streaming(target, &COMMAND, stdin, longest, take).await;
            run.map(|_| ()).map_err(TrafficError::from)
        };
        for answer in answers.rest() {
            self.sent.borrow_mut().recorder.take(&answer, self.places);
            got += 1;
        }
        let endless = answers.is_endless();
        if endless {
            self.sent.borrow_mut().recorder.take_endless(self.course.started.elapsed(), begin.elapsed());
            got += 1;
        }
        let error = match result {
            // Time that ran out is told by what is missing.
            Err(TrafficError::Exec(error)) if matches!(error.problem, ExecProblem::Timeout(_)) && got > 0 => {
                None
            }
            Err(error) => Some(error),
            Ok(()) => None,
        };
        Batch { got, took: begin.elapsed(), error, remarks: answers.remarks(), endless }
    }

    /// Decides whether to go on after a connection broke.
    fn after(&self, error: TrafficError, breaks: u32) -> Result<(), TrafficError> {
        let TrafficError::Exec(error) = error else { return Err(error) };
        if let ExecProblem::NotStarted(reason) = &error.problem
            && ["not found", "no such file", "executable file"]
                .iter()
                .any(|text| reason.to_lowercase().contains(text))
        {
            let target = self.client.target.clone();
            return Err(TrafficError::NoCurl {
                cluster: self.client.member.name().to_owned(),
                namespace: target.namespace,
                pod: target.pod,
                container: target.container,
            });
        }
        if !error.problem.is_transient() || breaks >= MOST_BREAKS {
            return Err(TrafficError::Exec(error));
        }
        let remark = "the connection to the pod broke, and was made again: requests under way at that moment are not counted";
        self.sent.borrow_mut().remarks.push(remark.to_owned());
        Ok(())
    }

    fn nothing(&self, said: &str) -> TrafficError {
        let said = one_line(&said.chars().take(300).collect::<String>());
        TrafficError::Nothing {
            cluster: self.client.member.name().to_owned(),
            namespace: self.client.target.namespace.clone(),
            pod: self.client.target.pod.clone(),
            said: if said.is_empty() { "nothing".to_owned() } else { said },
        }
    }
}

/// Runs the curl of this machine as [`Member::exec_streaming`](crate::fleet::Member::exec_streaming) runs that of a pod. It is ended when
/// `take` has enough, or the time is over.
async fn here(
    script: &[u8],
    longest: Duration,
    mut take: impl FnMut(Pipe, &[u8]) -> ControlFlow<()>,
) -> std::io::Result<()> {
    let [program, arguments @ ..] = COMMAND;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut curl = command.kill_on_drop(true).spawn()?;
    let (stdin, stdout, stderr) = (curl.stdin.take(), curl.stdout.take(), curl.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A curl that ends before it has read everything says why on standard error.
            let _ = stdin.write_all(script).await;
            let _ = stdin.shutdown().await;
        }
    };
    let read = async {
        let (Some(mut stdout), Some(mut stderr)) = (stdout, stderr) else { return Ok(()) };
        let (mut of_stdout, mut of_stderr) = (vec![0; PIECE], vec![0; PIECE]);
        let (mut more_out, mut more_err) = (true, true);
        while more_out || more_err {
            let (pipe, bytes) = tokio::select! {
                read = stdout.read(&mut of_stdout), if more_out => (Pipe::Out, &of_stdout[..read?]),
                read = stderr.read(&mut of_stderr), if more_err => (Pipe::Err, &of_stderr[..read?]),
            };
            if bytes.is_empty() {
                if pipe == Pipe::Out { more_out = false } else { more_err = false }
            } else if take(pipe, bytes).is_break() {
                break;
            }
        }
        Ok(())
    };
    match tokio::time::timeout(longest, join(feed, read)).await {
        Ok(((), read)) => read,
        // What is missing tells that time ran out.
        Err(_) => Ok(()),
    }
}

/// Says how many requests one curl gets where the time counts. `speed` is how many per second the last one sent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of f64 saturates, and none is negative"
)]
fn spell(share: Share, speed: Option<f64>, left: Duration, first: Option<(u32, u32)>) -> u32 {
    let time = SPELL.min(left).as_secs_f64();
    let per_second = match (share.rate, speed) {
        (Some(rate), _) => f64::from(rate.per_hour()) / 3600.0,
        (None, Some(speed)) => speed,
        (None, None) => return FIRST_SPELL,
    };
    let part = first.map_or(1.0, |(index, of)| f64::from(index) / f64::from(of.max(1)));
    (per_second * time * part).ceil() as u32
}

fn most_at_once(request: &Request) -> u32 {
    // curl before 8.0 breaks a connection of HTTP/2 without TLS when it uses it again ("Error in the HTTP2 framing layer").
    if request.protocol() == Protocol::Grpc {
        return 1;
    }
    let most = LONGEST_SCRIPT / (request.url.as_str().len() * 2 + 10);
    u32::try_from(most).unwrap_or(MOST_AT_ONCE).min(MOST_AT_ONCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_time_counts_a_curl_gets_as_much_as_it_can_send_in_a_spell() {
        let share = |rate: Option<&str>| Share {
            amount: Amount::For(Duration::from_mins(1)),
            rate: rate.map(|rate| rate.parse().unwrap()),
        };
        let left = Duration::from_mins(1);
        assert_eq!(spell(share(Some("10/s")), None, left, None), 50);
        assert_eq!(spell(share(Some("10/s")), None, left, Some((1, 2))), 25);
        assert_eq!(spell(share(Some("10/s")), None, Duration::from_secs(1), None), 10);
        assert_eq!(spell(share(None), None, left, None), FIRST_SPELL);
        assert_eq!(spell(share(None), Some(1000.0), left, None), 5000);
        assert_eq!(spell(share(None), Some(0.0), left, None), 0);
    }

    #[test]
    fn what_curl_is_told_at_once_has_a_limit() {
        let request = |path: usize| Request::get(format!("http://a/{}", "x".repeat(path)).parse().unwrap());
        assert_eq!(most_at_once(&request(1)), MOST_AT_ONCE);
        assert!(most_at_once(&request(8000)) < 300);
        let grpc = vec!["content-type: application/grpc".parse().unwrap()];
        let grpc = Request::new("http://a/b.C/D".parse().unwrap(), None, grpc, None).unwrap();
        assert_eq!(most_at_once(&grpc), 1);
    }

    #[test]
    fn a_rate_counts_before_what_was_seen_and_a_part_is_never_of_nothing() {
        let share = |rate: Option<&str>| Share {
            amount: Amount::For(Duration::from_mins(1)),
            rate: rate.map(|rate| rate.parse().unwrap()),
        };
        let left = Duration::from_mins(1);
        assert_eq!(spell(share(Some("10/s")), Some(1000.0), left, None), 50);
        assert_eq!(spell(share(None), Some(1000.0), left, Some((1, 4))), 1250);
        assert_eq!(spell(share(None), Some(1000.0), left, Some((1, 0))), 5000);
        assert_eq!(spell(share(Some("1/h")), None, left, None), 1, "a part of a request is one");
        assert_eq!(spell(share(None), Some(10.0), Duration::from_millis(500), None), 5);
    }

    #[test]
    fn the_longest_script_is_shared_by_the_length_of_a_line() {
        let request = Request::get(format!("http://a/{}", "x".repeat(1000)).parse().unwrap());
        let length = request.url.as_str().len();
        assert_eq!(most_at_once(&request) as usize, LONGEST_SCRIPT / (length * 2 + 10));
    }
}
