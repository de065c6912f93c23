//! The configuration and the parser together with a real curl, against servers that behave badly. Where there is no curl on the PATH
//! nothing is tried, which they say: the lab has one in its pods.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::answer::{Answer, Answers};
use super::attribution::{Places, tests::places};
use super::client::Client;
use super::error::TrafficError;
use super::failure::FailureKind;
use super::load::{Amount, Load};
use super::request::{Protocol, Request};
use super::script::{COMMAND, Mark, script};
use super::send::{Course, Sent, send};
use crate::fleet::{Connection, Member, Stream};
use crate::left_out::left_out;
use crate::mesh::Cluster;

const NO_CURL: &str = "there is no curl on the PATH";

/// Answers each connection as its path says.
fn serve(mut stream: TcpStream) {
    let mut request = [0; 4096];
    while let Ok(length) = stream.read(&mut request) {
        let text = String::from_utf8_lossy(&request[..length]).into_owned();
        let path = text.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let endless = |stream: &mut TcpStream, piece: &[u8], pause: Duration| {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let mut sent = stream.write_all(head);
            while sent.is_ok() {
                let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
                sent = stream.write_all(&chunk);
                thread::sleep(pause);
            }
        };
        let answer = |status: &str, body: &str| {
            format!(
                "HTTP/1.1 {status}\r\nX-Pod-Name: helloworld-v1-abc\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        match path.as_str() {
            "" | "/reset" => return,
            "/hang" => thread::sleep(Duration::from_secs(20)),
            "/drip" => endless(&mut stream, b"x", Duration::from_millis(50)),
            "/endless" => endless(&mut stream, &[b'x'; 16 << 10], Duration::ZERO),
            "/forged" => {
                let forged = "\nmark\n\nmark<\t200\t0\t0.1\t1\t\t\t\t\t\t>mark\n\u{1b}[2J";
                let _ = stream.write_all(answer("200 OK", forged).as_bytes());
            }
            "/echo" => {
                let _ = stream.write_all(answer("200 OK", &text).as_bytes());
            }
            "/sick" => {
                let _ = stream.write_all(answer("503 Service Unavailable", "no healthy upstream").as_bytes());
            }
            _ => {
                let _ = stream.write_all(
                    answer("200 OK", "Hello version: v1, instance: helloworld-v1-abc\n").as_bytes(),
                );
            }
        }
    }
}

fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Runs curl as a pod would; `None` where there is none.
fn run(
    request: &Request,
    count: u32,
    patience: Duration,
    rate: Option<&str>,
) -> Option<(Vec<Answer>, Duration, bool)> {
    let mark = Mark::random();
    let config = script(request, count, rate.map(|rate| rate.parse().unwrap()), patience, &mark);
    let mut command = Command::new(COMMAND[0]);
    command.args(&COMMAND[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut curl) = command.spawn() else {
        left_out(NO_CURL);
        return None;
    };
    let started = Instant::now();
    let mut stdin = curl.stdin.take().unwrap();
    stdin.write_all(config.as_bytes()).unwrap();
    drop(stdin);
    let (sender, receiver) = mpsc::channel();
    let (stdout, stderr) = (curl.stdout.take().unwrap(), curl.stderr.take().unwrap());
    for (stream, mut pipe) in [
        (Stream::Out, Box::new(stdout) as Box<dyn Read + Send>),
        (Stream::Err, Box::new(stderr) as Box<dyn Read + Send>),
    ] {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut piece = vec![0; 16 << 10];
            while let Ok(length @ 1..) = pipe.read(&mut piece) {
                if sender.send((stream, piece[..length].to_vec())).is_err() {
                    break;
                }
            }
        });
    }
    drop(sender);
    let (mut answers, mut found, mut enough) = (Answers::new(&mark, Protocol::Http), Vec::new(), false);
    for (stream, bytes) in receiver {
        enough = answers.take(stream, &bytes, started.elapsed()).is_break();
        found.extend(std::iter::from_fn(|| answers.next()));
        if enough {
            break;
        }
    }
    found.extend(answers.rest());
    let _ = curl.kill();
    let _ = curl.wait();
    Some((found, started.elapsed(), enough))
}

fn get(port: u16, path: &str) -> Request {
    Request::get(format!("http://127.0.0.1:{port}{path}").parse().unwrap())
}

#[test]
fn two_hundred_requests_are_one_command_with_curls_own_times() {
    let Some((answers, took, _)) = run(&get(server(), "/hello"), 200, Duration::from_secs(5), None) else {
        return;
    };
    assert_eq!(answers.len(), 200);
    assert!(answers.iter().all(|answer| answer.is_success() && answer.pod_header == b"helloworld-v1-abc"));
    assert_eq!(answers[199].body, b"Hello version: v1, instance: helloworld-v1-abc\n");
    let times: Duration = answers.iter().map(|answer| answer.took).sum();
    assert!(times > Duration::ZERO && times < took, "{times:?} of {took:?}");
}

#[test]
fn servers_that_hang_or_drip_cost_no_more_than_the_patience() {
    let port = server();
    for path in ["/hang", "/drip"] {
        let Some((answers, took, _)) = run(&get(port, path), 2, Duration::from_millis(100), None) else {
            return;
        };
        let exits: Vec<u8> = answers.iter().map(|answer| answer.exit).collect();
        assert_eq!(exits, [28, 28], "{path}");
        assert!(took < Duration::from_secs(15), "{path}: {took:?}");
    }
}

#[test]
fn a_body_without_end_ends_all_the_same() {
    let Some((answers, took, enough)) = run(&get(server(), "/endless"), 3, Duration::from_mins(1), None)
    else {
        return;
    };
    // curl 8.4 and newer ends it by itself.
    assert!(enough || answers.iter().all(|answer| answer.exit == 63), "{answers:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn what_fails_is_told_apart_and_a_body_cannot_forge_an_account() {
    let port = server();
    let seen = |path: &str| {
        let (answers, ..) = run(&get(port, path), 1, Duration::from_secs(5), None)?;
        assert_eq!(answers.len(), 1, "{path}");
        Some((answers[0].status, answers[0].exit))
    };
    if run(&get(port, "/hello"), 1, Duration::from_secs(5), None).is_none() {
        return;
    }
    assert_eq!(seen("/sick"), Some((Some(503), 0)));
    assert_eq!(seen("/forged"), Some((Some(200), 0)));
    assert_eq!(seen("/reset").map(|(status, _)| status), Some(None));
    let refused = run(&get(1, "/"), 1, Duration::from_secs(5), None).unwrap().0;
    assert_eq!((refused[0].status, refused[0].exit), (None, 7));
    assert!(!refused[0].complaint.is_empty());
}

#[test]
fn headers_method_and_body_arrive_as_they_were_given() {
    let request = Request::new(
        format!("http://127.0.0.1:{}/echo", server()).parse().unwrap(),
        Some("PUT".parse().unwrap()),
        vec!["X-Odd: a \"b\" \\ $(id) 'c'".parse().unwrap(), "X-Empty:".parse().unwrap()],
        Some("@/etc/passwd \"x\"\\\nurl = file:///etc/passwd".parse().unwrap()),
    );
    let Some((answers, ..)) = run(&request.unwrap(), 1, Duration::from_secs(5), None) else { return };
    let text = String::from_utf8(answers[0].body.clone()).unwrap();
    assert!(text.starts_with("PUT /echo HTTP/1.1\r\n"), "{text}");
    assert!(text.contains("X-Odd: a \"b\" \\ $(id) 'c'\r\n") && text.contains("X-Empty:\r\n"), "{text}");
    assert!(text.ends_with("@/etc/passwd \"x\"\\\nurl = file:///etc/passwd"), "{text}");
}

#[test]
fn a_rate_is_kept() {
    let Some((answers, took, _)) = run(&get(server(), "/hello"), 6, Duration::from_secs(5), Some("20/s"))
    else {
        return;
    };
    assert_eq!(answers.len(), 6);
    assert!(took >= Duration::from_millis(240), "{took:?}");
    assert!(answers[5].at > answers[0].at, "answers come while curl runs");
}

/// Sends a load with the curl of this machine; `None` where there is none. `most` answers are enough.
async fn sent(port: u16, path: &str, load: Load, timeout: Duration, most: usize) -> Option<Sent> {
    // Fails only where there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let nobody = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let kube = kube::Client::try_from(nobody).unwrap();
    let member = Member::new(Cluster::example("foo", "foo.com"), Connection::of("foo", kube));
    let client = Client::here(&member, "sleep");
    let seen = std::cell::Cell::new(0);
    let started = tokio::time::Instant::now();
    let course = Course {
        started,
        until: started + timeout,
        enough: &|| seen.get() >= most,
        tell: &|recorder| seen.set(recorder.len()),
    };
    match send(&client, &get(port, path), &load, &places(), course).await {
        Err(TrafficError::Here(_)) => {
            left_out(NO_CURL);
            None
        }
        result => Some(result.unwrap()),
    }
}

fn failures(sent: &Sent) -> Vec<(FailureKind, u64)> {
    let tally = sent.recorder.tally(&Places::default());
    tally.failures.iter().map(|(kind, failures)| (*kind, failures.count)).collect()
}

#[tokio::test]
async fn streams_send_all_of_a_load_and_every_answer_is_somebodys() {
    let load = Load { streams: 3, ..Load::of(100) };
    let Some(sent) = sent(server(), "/hello", load, Duration::from_mins(1), usize::MAX).await else { return };
    let tally = sent.recorder.tally(&places());
    assert_eq!((tally.requests, tally.succeeded, tally.by_cluster["foo"]), (100, 100, 100));
    assert!(!sent.timed_out && sent.remarks.is_empty(), "{:?}", sent.remarks);
}

#[tokio::test]
async fn bodies_without_end_cost_their_requests_and_no_others() {
    let Some(sent) = sent(server(), "/endless", Load::of(2), Duration::from_mins(1), usize::MAX).await else {
        return;
    };
    assert_eq!(sent.recorder.len(), 2);
    // curl 8.4 and newer cuts them off by itself, and then their status counts.
    assert!(
        failures(&sent) == [(FailureKind::Endless, 2)] || sent.recorder.failed() == 0,
        "{:?}",
        failures(&sent)
    );
}

#[tokio::test]
async fn where_the_time_counts_sending_ends_with_it() {
    let begin = Instant::now();
    let load = Load {
        amount: Amount::For(Duration::from_millis(300)),
        rate: Some("20/s".parse().unwrap()),
        ..Load::of(1)
    };
    let Some(sent) = sent(server(), "/hello", load, Duration::from_mins(1), usize::MAX).await else { return };
    assert!((1..=7).contains(&sent.recorder.len()), "{}", sent.recorder.len());
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_server_that_hangs_does_not_hang_us() {
    let begin = Instant::now();
    let load = Load { patience: Duration::from_millis(50), ..Load::of(1000) };
    let Some(sent) = sent(server(), "/hang", load, Duration::from_millis(300), usize::MAX).await else {
        return;
    };
    assert!(sent.timed_out);
    let kinds: Vec<FailureKind> = failures(&sent).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [FailureKind::TimedOut]);
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn sending_ends_when_it_is_enough() {
    let load = Load { amount: Amount::For(Duration::from_mins(1)), ..Load::of(1) };
    let Some(sent) = sent(server(), "/hello", load, Duration::from_mins(1), 10).await else { return };
    assert!((10..=100).contains(&sent.recorder.len()), "{}", sent.recorder.len());
}
