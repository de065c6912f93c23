//! What curl wrote, taken apart while it comes: its account of each request, and the bodies. All of it is foreign.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

use super::request::Protocol;
use super::script::{Mark, POD_HEADERS};
use crate::fleet::Stream;

/// How much of a body is kept, in bytes: enough for whoever says who he is.
const KEPT_BODY: usize = 4 << 10;
/// How much may come of one body until its reader has enough, in bytes.
const MOST_BODY: u64 = 4 << 20;
/// The longest account of one request, in bytes: numbers, four headers and an error.
const LONGEST_ACCOUNT: usize = 256 << 10;
/// How many bodies may wait for their accounts, or accounts for their bodies.
const MOST_WAITING: usize = 4096;
/// How much of what else curl says is kept, in bytes.
const KEPT_REMARKS: usize = 4 << 10;
/// The exit code of curl for a body that is longer than it shall be.
const TOO_LONG: u8 = 63;

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When it ended, after the first request of its stream was asked for.
    pub at: Duration,
    /// The HTTP status; `None` where there was no answer.
    pub status: Option<u16>,
    /// curl's exit code for it; 0 where all went well.
    pub exit: u8,
    /// How long it took, as curl measured it (`%{time_total}`).
    pub took: Duration,
    /// What a header says about the pod that answered; empty where none does.
    pub pod_header: Vec<u8>,
    /// The beginning of the body.
    pub body: Vec<u8>,
    /// What curl says went wrong; empty where nothing did.
    pub complaint: String,
    /// The status of gRPC; `None` where it was not gRPC that was asked.
    pub grpc: Option<GrpcStatus>,
}

/// What a gRPC answer says about itself, in its last header or trailer of that name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrpcStatus {
    /// `grpc-status`: 0 is a success; `None` where the answer has none.
    pub code: Option<u8>,
    /// `grpc-message`, without control characters.
    pub message: String,
}

impl GrpcStatus {
    /// Reads it from what curl wrote of an answer's headers and trailers.
    fn of_headers(text: &[u8]) -> Self {
        let mut status = Self::default();
        for line in String::from_utf8_lossy(text).lines() {
            // A line of an answer before, such as a redirect's, no longer counts.
            if line.starts_with("HTTP/") {
                status = Self::default();
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            match name.trim().to_ascii_lowercase().as_str() {
                "grpc-status" => status.code = value.trim().parse().ok(),
                "grpc-message" => {
                    status.message =
                        crate::report::one_line(&value.trim().chars().take(300).collect::<String>());
                }
                _ => {}
            }
        }
        status
    }
}

impl Answer {
    /// Tells whether there was an answer, and no error: a status below 400. A body that was cut off is none.
    #[must_use]
    pub fn is_success(&self) -> bool {
        let says_so = self.grpc.as_ref().is_none_or(|grpc| grpc.code == Some(0));
        matches!(self.exit, 0 | TOO_LONG)
            && self.status.is_some_and(|status| (200..400).contains(&status))
            && says_so
    }
}

/// Takes the output of one curl apart.
pub(super) struct Answers {
    begin: Vec<u8>,
    end: Vec<u8>,
    body_end: Vec<u8>,
    stderr: Vec<u8>,
    body: BodyReader,
    accounts: VecDeque<Answer>,
    bodies: VecDeque<Vec<u8>>,
    remarks: Vec<u8>,
    protocol: Protocol,
}

/// The body that is being read.
#[derive(Default)]
struct BodyReader {
    kept: Vec<u8>,
    /// The last bytes, which may be the beginning of a mark.
    tail: Vec<u8>,
    length: u64,
}

impl Answers {
    pub(super) fn new(mark: &Mark, protocol: Protocol) -> Self {
        Self {
            begin: mark.begin().into_bytes(),
            end: mark.end().into_bytes(),
            body_end: mark.body_end().into_bytes(),
            stderr: Vec::new(),
            body: BodyReader::default(),
            accounts: VecDeque::new(),
            bodies: VecDeque::new(),
            remarks: Vec::new(),
            protocol,
        }
    }

    /// Takes what came. `at` is the time since the stream's start. Breaks when a body does not end, or it is not curl that writes.
    pub(super) fn take(&mut self, stream: Stream, bytes: &[u8], at: Duration) -> ControlFlow<()> {
        match stream {
            Stream::Out => self.take_bodies(bytes),
            Stream::Err => self.take_accounts(bytes, at),
        }
        let waits = self.accounts.len().max(self.bodies.len()) > MOST_WAITING;
        if waits || self.body.length > MOST_BODY || self.stderr.len() > LONGEST_ACCOUNT {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Returns the next request of which account and body are complete.
    pub(super) fn next(&mut self) -> Option<Answer> {
        if self.accounts.is_empty() || self.bodies.is_empty() {
            return None;
        }
        let (account, body) = (self.accounts.pop_front()?, self.bodies.pop_front()?);
        Some(Answer { body, ..account })
    }

    /// Returns the requests whose body is missing: those that were answered when the end came.
    pub(super) fn rest(&mut self) -> impl Iterator<Item = Answer> {
        self.accounts.drain(..)
    }

    /// Tells whether the body that is being read has become too long.
    pub(super) fn is_endless(&self) -> bool {
        self.body.length > MOST_BODY
    }

    /// Returns what curl said besides.
    pub(super) fn remarks(&self) -> String {
        String::from_utf8_lossy(&self.remarks).into_owned()
    }

    fn take_bodies(&mut self, bytes: &[u8]) {
        let reader = &mut self.body;
        reader.tail.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(found) = find(&reader.tail[start..], &self.body_end) {
            let mut body = std::mem::take(&mut reader.kept);
            keep(&mut body, &reader.tail[start..start + found], KEPT_BODY);
            self.bodies.push_back(body);
            reader.length = 0;
            start += found + self.body_end.len();
        }
        reader.tail.drain(..start);
        // What cannot be the beginning of a mark any more is of the body.
        let of_body = reader.tail.len().saturating_sub(self.body_end.len() - 1);
        keep(&mut reader.kept, &reader.tail[..of_body], KEPT_BODY);
        reader.length += of_body as u64;
        reader.tail.drain(..of_body);
    }

    fn take_accounts(&mut self, bytes: &[u8], at: Duration) {
        self.stderr.extend_from_slice(bytes);
        let mut done = 0;
        while let Some(begin) = find(&self.stderr[done..], &self.begin) {
            let from = done + begin + self.begin.len();
            let Some(length) = find(&self.stderr[from..], &self.end) else { break };
            let before = &self.stderr[done..done + begin];
            let mut account = account(&self.stderr[from..from + length], at);
            match self.protocol {
                Protocol::Http => keep(&mut self.remarks, before, KEPT_REMARKS),
                Protocol::Grpc => account.grpc = Some(GrpcStatus::of_headers(before)),
            }
            self.accounts.push_back(account);
            done = from + length + self.end.len();
        }
        self.stderr.drain(..done);
        // With gRPC the headers of the answer come before its account.
        if self.protocol == Protocol::Http && find(&self.stderr, &self.begin).is_none() {
            let old = self.stderr.len().saturating_sub(self.begin.len() - 1);
            keep(&mut self.remarks, &self.stderr[..old], KEPT_REMARKS);
            self.stderr.drain(..old);
        }
    }
}

/// Reads one account. A number that is none is that of a request that failed: curl before 7.75 leaves some out.
fn account(text: &[u8], at: Duration) -> Answer {
    let mut fields = text.splitn(4 + POD_HEADERS.len() + 1, |byte| *byte == b'\t');
    let mut field = || fields.next().unwrap_or_default();
    let mut number = || std::str::from_utf8(field()).unwrap_or_default().trim();
    let status: Option<u16> = number().parse().ok().filter(|status| *status != 0);
    let exit = number();
    let took = number().parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let _size = number();
    let headers: Vec<&[u8]> = (0..POD_HEADERS.len()).map(|_| field()).collect();
    let pod_header = headers.iter().find(|value| !value.is_empty());
    let pod_header = pod_header.map(|value| value[..value.len().min(KEPT_BODY)].to_vec()).unwrap_or_default();
    let complaint = String::from_utf8_lossy(field()).into_owned();
    let fallback = u8::from(status.is_none());
    Answer {
        at,
        status,
        exit: exit.parse().unwrap_or(fallback),
        took: took.unwrap_or_default(),
        pod_header,
        body: Vec::new(),
        complaint: crate::report::one_line(&complaint.chars().take(300).collect::<String>()),
        grpc: None,
    }
}

fn keep(into: &mut Vec<u8>, bytes: &[u8], most: usize) {
    let room = most.saturating_sub(into.len());
    into.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: &[u8] =
        b"Hello version: v1, instance: helloworld-v1-abc\n\nmark\n\nmark\nno healthy upstream\nmark\n";
    const ERR: &[u8] = b"Warning: <stdin>:7: warning: 'rate' is unknown\n\nmark<\t200\t0\t0.016066\t47\t\thelloworld-v1-abc\t\t\t\t>mark\n\
        \nmark<\t000\t28\t1.505556\t0\t\t\t\t\tOperation timed out after 1506 milliseconds with 0 bytes received\t>mark\n\
        \nmark<\t503\t0\t0.001163\t19\t\t\t\t\t\t>mark\n";

    fn lines(answers: &mut Answers) -> Vec<String> {
        let line = |answer: &Answer| {
            format!(
                "{:?} {} {:?} at {:?} {:?} {:?} {}",
                answer.status,
                answer.exit,
                answer.took,
                answer.at,
                String::from_utf8_lossy(&answer.pod_header),
                String::from_utf8_lossy(&answer.body),
                answer.complaint
            )
        };
        std::iter::from_fn(|| answers.next()).map(|answer| line(&answer)).collect()
    }

    fn read(piece: usize) -> (Vec<String>, String) {
        let mut answers = Answers::new(&Mark::fixed(), Protocol::Http);
        for (stream, bytes) in [(Stream::Err, ERR), (Stream::Out, OUT)] {
            for bytes in bytes.chunks(piece) {
                assert!(answers.take(stream, bytes, Duration::from_secs(1)).is_continue());
            }
        }
        (lines(&mut answers), answers.remarks())
    }

    #[test]
    fn accounts_and_bodies_find_each_other() {
        let (lines, remarks) = read(1 << 20);
        insta::assert_snapshot!(lines.join("\n"), @r#"
        Some(200) 0 16.066ms at 1s "helloworld-v1-abc" "Hello version: v1, instance: helloworld-v1-abc\n" 
        None 28 1.505556s at 1s "" "" Operation timed out after 1506 milliseconds with 0 bytes received
        Some(503) 0 1.163ms at 1s "" "no healthy upstream" 
        "#);
        assert_eq!(remarks.trim(), "Warning: <stdin>:7: warning: 'rate' is unknown");
    }

    #[test]
    fn pieces_of_any_size_give_the_same() {
        let whole = read(1 << 20);
        for piece in 1..40 {
            assert_eq!(read(piece), whole, "{piece}");
        }
    }

    #[test]
    fn a_body_cannot_pass_for_an_account_and_its_beginning_is_all_that_is_kept() {
        let mut answers = Answers::new(&Mark::random(), Protocol::Http);
        let body = [ERR, OUT, &[b'x'; 10_000][..]].concat();
        assert!(answers.take(Stream::Out, &body, Duration::ZERO).is_continue());
        assert!(answers.take(Stream::Err, ERR, Duration::ZERO).is_continue());
        assert_eq!(answers.next(), None);
        assert_eq!(answers.body.kept.len(), KEPT_BODY);
    }

    #[test]
    fn a_body_without_end_is_enough_at_some_point() {
        let mut answers = Answers::new(&Mark::fixed(), Protocol::Http);
        let piece = [b'x'; 16 << 10];
        let taken =
            (0..1000).take_while(|_| answers.take(Stream::Out, &piece, Duration::ZERO).is_continue()).count();
        assert_eq!(taken as u64, MOST_BODY / piece.len() as u64);
        assert!(answers.is_endless());
        assert!(answers.body.kept.len() + answers.body.tail.len() < 2 * KEPT_BODY);
    }

    #[test]
    fn an_account_without_end_is_enough_at_some_point_too() {
        let mut answers = Answers::new(&Mark::fixed(), Protocol::Http);
        let mut flow = answers.take(Stream::Err, b"\nmark<\t200\t", Duration::ZERO);
        for _ in 0..100 {
            flow = answers.take(Stream::Err, &[b'x'; 16 << 10], Duration::ZERO);
            if flow.is_break() {
                break;
            }
        }
        assert!(flow.is_break());
    }

    #[test]
    fn numbers_that_are_none_are_those_of_a_failure() {
        let answer = account(b"x\t\t-1\ty", Duration::ZERO);
        assert_eq!((answer.status, answer.exit, answer.took), (None, 1, Duration::ZERO));
        assert!(!answer.is_success());
        assert!(account(b"200\t\t0.1", Duration::ZERO).is_success());
        assert!(account(b"200\t63\t0.1", Duration::ZERO).is_success(), "a long body was cut off");
        assert!(!account(b"200\t28\t0.1", Duration::ZERO).is_success(), "a body that drips is no answer");
        assert!(!account(b"503\t0\t0.1", Duration::ZERO).is_success());
    }

    fn took(account_text: &str) -> Answer {
        account(account_text.as_bytes(), Duration::from_secs(7))
    }

    #[test]
    fn success_is_a_status_from_200_to_399() {
        let is = |status: u16| took(&format!("{status}\t0\t0.1")).is_success();
        assert!(is(200) && is(399) && !is(199) && !is(400) && !is(0));
        assert!(!took("200\t1\t0.1").is_success());
    }

    #[test]
    fn every_field_of_an_account_is_read_in_its_place() {
        let answer = took("404\t0\t1.5\t10\t\t\tpod-3\tpod-4\twhat\twent wrong");
        assert_eq!((answer.status, answer.exit, answer.took), (Some(404), 0, Duration::from_millis(1500)));
        assert_eq!((answer.pod_header.as_slice(), answer.at), (b"pod-3".as_slice(), Duration::from_secs(7)));
        assert_eq!(answer.complaint, r"what\twent wrong");
        let long = took(&format!("200\t0\t1\t1\t{}\t\t\t\t{}", "h".repeat(2 * KEPT_BODY), "c".repeat(400)));
        assert_eq!((long.pod_header.len(), long.complaint.len()), (KEPT_BODY, 300));
        assert_eq!(took("200\tx").exit, 0, "without an exit code a status is an answer");
    }

    #[test]
    fn a_request_waits_for_both_its_account_and_its_body() {
        let mut answers = Answers::new(&Mark::fixed(), Protocol::Http);
        let account = b"\nmark<\t200\t0\t0.1\t1\t\t\t\t\t\t>mark\n";
        assert!(answers.take(Stream::Err, account, Duration::ZERO).is_continue());
        assert_eq!(answers.next(), None);
        assert!(answers.take(Stream::Out, b"a\nmark\nb\nmark\nc", Duration::ZERO).is_continue());
        assert_eq!(answers.next().unwrap().body, b"a");
        assert_eq!(answers.next(), None);
        assert!(
            answers.take(Stream::Err, &[&account[..], &account[..]].concat(), Duration::ZERO).is_continue()
        );
        assert_eq!(answers.next().unwrap().body, b"b");
        assert_eq!((answers.next(), answers.is_endless()), (None, false));
        assert_eq!(answers.rest().count(), 1, "its body did not come");
    }

    #[test]
    fn only_so_many_wait_for_their_other_half() {
        let mut answers = Answers::new(&Mark::fixed(), Protocol::Http);
        let bodies = b"\nmark\n".repeat(MOST_WAITING);
        assert!(answers.take(Stream::Out, &bodies, Duration::ZERO).is_continue());
        assert!(answers.take(Stream::Out, b"\nmark\n", Duration::ZERO).is_break());
        let mut answers = Answers::new(&Mark::fixed(), Protocol::Http);
        let accounts = b"\nmark<\t200\t>mark\n".repeat(MOST_WAITING);
        assert!(answers.take(Stream::Err, &accounts, Duration::ZERO).is_continue());
        assert!(answers.take(Stream::Err, b"\nmark<\t200\t>mark\n", Duration::ZERO).is_break());
    }

    #[test]
    fn a_body_of_the_greatest_length_is_not_endless_and_the_next_one_starts_anew() {
        let mut answers = Answers::new(&Mark::fixed(), Protocol::Http);
        let most = usize::try_from(MOST_BODY).unwrap();
        let tail = b"\nmark\n".len() - 1;
        assert!(answers.take(Stream::Out, &vec![b'x'; most + tail], Duration::ZERO).is_continue());
        assert!(!answers.is_endless());
        assert!(answers.take(Stream::Out, b"x", Duration::ZERO).is_break());
        assert!(answers.is_endless());
        assert!(answers.take(Stream::Out, b"\nmark\n", Duration::ZERO).is_continue());
        assert!(!answers.is_endless());
    }

    #[test]
    fn what_else_curl_says_is_kept_up_to_a_limit() {
        let mut answers = Answers::new(&Mark::fixed(), Protocol::Http);
        for _ in 0..20 {
            assert!(answers.take(Stream::Err, &[b'r'; 1 << 10], Duration::ZERO).is_continue());
        }
        assert_eq!(answers.remarks().len(), KEPT_REMARKS);
        assert!(answers.stderr.len() < 16);
    }

    #[test]
    fn grpc_is_known_by_its_last_header_or_trailer() {
        let mark = Mark::fixed();
        let account = |number: u32| format!("{}200\t0\t0.1\t0\t\t\t\t\t{number}{}", mark.begin(), mark.end());
        let text = [
            "HTTP/2 200 \r\ncontent-type: application/grpc\r\n\r\ngrpc-status: 0\r\n\r\n".to_owned(),
            account(1),
            "HTTP/2 200 \r\nGrpc-Status: 14\r\ngrpc-message: no healthy\u{1b} upstream\r\n\r\n".to_owned(),
            account(2),
            "HTTP/2 200 \r\ngrpc-status: 0\r\n\r\nHTTP/2 200 \r\n\r\n".to_owned(),
            account(3),
            "grpc-status: 300\r\n".to_owned(),
            account(4),
        ]
        .concat();
        // However it comes in pieces.
        for size in [1, 7, text.len()] {
            let mut answers = Answers::new(&mark, Protocol::Grpc);
            for piece in text.as_bytes().chunks(size) {
                assert!(answers.take(Stream::Err, piece, Duration::ZERO).is_continue());
            }
            let found: Vec<Answer> = answers.rest().collect();
            let told: Vec<_> =
                found.iter().map(|answer| (answer.is_success(), answer.grpc.clone().unwrap())).collect();
            let status = |code, message: &str| GrpcStatus { code, message: message.to_owned() };
            assert_eq!(
                told,
                [
                    (true, status(Some(0), "")),
                    (false, status(Some(14), r"no healthy\u{1b} upstream")),
                    (false, status(None, "")),
                    (false, status(None, "")),
                ],
                "{size}"
            );
            assert_eq!(answers.remarks(), "");
        }
    }
}
