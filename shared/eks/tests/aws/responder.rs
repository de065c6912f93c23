//! A server on loopback that gives every request the same answer.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) struct Responder {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Responder {
    /// Answers as EKS does: JSON, and the code of an error in a header.
    pub(crate) fn new(status: u16, code: Option<&str>, body: &str) -> Self {
        let header = code.map(|code| format!("x-amzn-errortype: {code}\r\n")).unwrap_or_default();
        Self::with(&format!("HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\n{header}"), body)
    }

    /// Answers with a head, which lacks its end and the length, and a body.
    pub(crate) fn with(head: &str, body: &str) -> Self {
        let answer = format!("{head}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        // Ends with the tests.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream: TcpStream = stream;
                let head = head_of(&mut stream);
                // Nobody else holds it while it panics.
                seen.lock().unwrap().push(head);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, requests }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns the heads of the requests that came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.extend(byte);
    }
    String::from_utf8_lossy(&head).into_owned()
}
