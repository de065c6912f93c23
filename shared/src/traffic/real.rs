//! The configuration and the parser together with a real curl, against servers that behave badly. Where there is no curl on the PATH
//! nothing is tried: the lab has one in its pods.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::answer::{Answer, Answers};
use super::request::Request;
use super::script::{COMMAND, Mark, script};
use crate::fleet::Stream;

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
            "" => return,
            "/hang" => thread::sleep(Duration::from_secs(20)),
            "/drip" => endless(&mut stream, b"x", Duration::from_millis(50)),
            "/endless" => endless(&mut stream, &[b'x'; 32 << 10], Duration::ZERO),
            "/reset" => return,
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
    let mut curl = command.spawn().ok()?;
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
    let (mut answers, mut found, mut enough) = (Answers::new(&mark), Vec::new(), false);
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
        let Some((answers, took, _)) = run(&get(port, path), 2, Duration::from_millis(300), None) else {
            return;
        };
        let exits: Vec<u8> = answers.iter().map(|answer| answer.exit).collect();
        assert_eq!(exits, [28, 28], "{path}");
        assert!(took < Duration::from_secs(5), "{path}: {took:?}");
    }
}

#[test]
fn a_body_without_end_ends_all_the_same() {
    let Some((answers, took, enough)) = run(&get(server(), "/endless"), 3, Duration::from_secs(10), None)
    else {
        return;
    };
    // curl 8.4 and newer ends it by itself.
    assert!(enough || answers.iter().all(|answer| answer.exit == 63), "{answers:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
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
    let Some((answers, took, _)) = run(&get(server(), "/hello"), 11, Duration::from_secs(5), Some("20/s"))
    else {
        return;
    };
    assert_eq!(answers.len(), 11);
    assert!(took >= Duration::from_millis(480), "{took:?}");
    assert!(answers[10].at > answers[0].at + Duration::from_millis(400), "answers come while curl runs");
}
