//! What curl is told: a configuration file that it reads from standard input.
//!
//! No shell, no argument and no environment variable carries anything of a request: values are quoted by the rules of curl's
//! configuration files, where a quoted text is a value and never an option. Nothing of it stands in the API server's audit log.

use std::fmt::Write as _;
use std::time::Duration;

use super::load::Rate;
use super::request::{Protocol, Request};

/// The command: nothing but where the rest is read from. `-q` has to come first: a `.curlrc` of the image says nothing here.
pub(super) const COMMAND: [&str; 4] = ["curl", "-q", "--config", "-"];
/// From how many bytes on a body is cut. Before curl 8.4 one of unknown length is not, and its reader ends it.
pub(super) const LONGEST_BODY: u64 = 1 << 20;
/// Headers by which applications and proxies name the pod that answers, the first that is there counts.
pub const POD_HEADERS: [&str; 4] = ["x-pod-name", "x-instance", "x-served-by", "x-hostname"];

/// A word that no server can know, so that it cannot write what would pass for curl's own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark(String);

impl Mark {
    /// Makes a word of 128 random bits.
    pub(super) fn random() -> Self {
        let mut bytes = [0; 16];
        let filled = rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut bytes);
        filled.expect("the system has random numbers");
        Self(bytes.iter().fold(String::from("m"), |mut word, byte| {
            // Writing to a String cannot fail.
            let _ = write!(word, "{byte:02x}");
            word
        }))
    }

    #[cfg(test)]
    pub(super) fn fixed() -> Self {
        Self("mark".to_owned())
    }

    /// Begins curl's account of a request, on standard error.
    pub(super) fn begin(&self) -> String {
        format!("\n{}<\t", self.0)
    }

    /// Ends it.
    pub(super) fn end(&self) -> String {
        format!("\t>{}\n", self.0)
    }

    /// Ends a body, on standard output.
    pub(super) fn body_end(&self) -> String {
        format!("\n{}\n", self.0)
    }
}

/// Writes the configuration for `count` equal requests.
///
/// curl gives its account of each on standard error, which it does not buffer, so that it comes when the answer does; bodies go to
/// standard output, each with a mark behind it. Both are in the order of the requests.
pub(super) fn script(
    request: &Request,
    count: u32,
    rate: Option<Rate>,
    patience: Duration,
    mark: &Mark,
) -> String {
    let mut script = String::from(
        "silent\nno-buffer\ngloboff\npath-as-is\nproto = \"=http,https\"\nnoproxy = \"*\"\nuser-agent = \"kubectl-xcluster-curl\"\n",
    );
    if request.protocol() == Protocol::Grpc {
        // gRPC is spoken over HTTP/2 alone. Its status may be a trailer, which curl writes nowhere but here.
        script.push_str("http2-prior-knowledge\ndump-header = \"/dev/stderr\"\n");
    }
    let mut set = |option: &str, value: &str| {
        script.extend([option, " = ", &quoted(value), "\n"]);
    };
    set("max-time", &format!("{:.3}", patience.as_secs_f64()));
    set("max-filesize", &LONGEST_BODY.to_string());
    if let Some(rate) = rate {
        set("rate", &format!("{}/h", rate.per_hour()));
    }
    for header in &request.headers {
        // `Name:` would take away a header of curl's.
        let value = header.value();
        let line = if value.is_empty() {
            format!("{};", header.name())
        } else {
            format!("{}: {value}", header.name())
        };
        set("header", &line);
    }
    match (request.method.as_str(), &request.body) {
        // Or it waits for a body that never comes.
        ("HEAD", None) => script.push_str("head\n"),
        ("GET", None) => {}
        (method, _) => set("request", method),
    }
    let mut set = |option: &str, value: &str| {
        script.extend([option, " = ", &quoted(value), "\n"]);
    };
    if let Some(body) = &request.body {
        // Unlike `data`, it reads no file.
        set("data-raw", body.as_str());
    }
    set("write-out", &write_out(mark));
    for _ in 0..count {
        set("url", request.url.as_str());
    }
    script
}

/// What curl writes after each request. What is foreign stands behind the numbers.
fn write_out(mark: &Mark) -> String {
    let numbers = ["http_code", "exitcode", "time_total", "size_download"];
    let numbers = numbers.map(|name| format!("%{{{name}}}")).join("\t");
    let headers = POD_HEADERS.map(|name| format!("%header{{{name}}}")).join("\t");
    format!(
        "%{{stderr}}{}{numbers}\t{headers}\t%{{errormsg}}{}%{{stdout}}{}",
        mark.begin(),
        mark.end(),
        mark.body_end()
    )
}

/// Quotes a value as curl's configuration files want it (curl, `src/tool_parsecfg.c`, `unslashquote`).
fn quoted(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for character in value.chars() {
        match character {
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_quoted_and_every_request_has_its_line() {
        let request = Request::new(
            "http://helloworld.helloworld:5000/hello?a='b'[1-9]{x,y}".parse().unwrap(),
            None,
            vec!["X-Team: a \"b\" \\n".parse().unwrap(), "X-Empty:".parse().unwrap()],
            Some("@/etc/passwd\nurl = \"file:///etc/passwd\"".parse().unwrap()),
        );
        let rate = Some("50/s".parse().unwrap());
        let text = script(&request.unwrap(), 2, rate, Duration::from_millis(2500), &Mark::fixed());
        insta::assert_snapshot!(text);
    }

    #[test]
    fn grpc_is_sent_over_http2_and_its_trailers_are_asked_for() {
        let of = |content: &str| {
            let header = format!("content-type: {content}").parse().unwrap();
            let request = Request::new("http://a/b.C/D".parse().unwrap(), None, vec![header], None).unwrap();
            let text = script(&request, 1, None, Duration::from_secs(5), &Mark::fixed());
            ["http2-prior-knowledge\n", "dump-header = \"/dev/stderr\"\n"].map(|line| text.contains(line))
        };
        assert_eq!([of("application/grpc"), of("application/grpc+proto")], [[true; 2]; 2]);
        assert_eq!([of("application/json"), of("text/application/grpc")], [[false; 2]; 2]);
    }

    #[test]
    fn marks_differ() {
        let (one, other) = (Mark::random(), Mark::random());
        assert_ne!(one, other);
        assert_eq!(one.0.len(), 33);
    }

    #[test]
    fn a_method_is_said_where_curl_would_take_another() {
        let of = |method: Option<&str>, body: Option<&str>| {
            let request = Request::new(
                "http://a/".parse().unwrap(),
                method.map(|method| method.parse().unwrap()),
                Vec::new(),
                body.map(|body| body.parse().unwrap()),
            );
            let text = script(&request.unwrap(), 1, None, Duration::from_secs(5), &Mark::fixed());
            let words = ["head", "request", "data-raw", "rate"];
            let lines =
                text.lines().filter(|line| words.iter().any(|word| line.split(' ').next() == Some(word)));
            lines.map(str::to_owned).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(of(None, None), "");
        assert_eq!(of(Some("GET"), None), "");
        assert_eq!(of(Some("HEAD"), None), "head");
        assert_eq!(of(Some("HEAD"), Some("x")), "request = \"HEAD\"; data-raw = \"x\"");
        assert_eq!(of(Some("GET"), Some("x")), "request = \"GET\"; data-raw = \"x\"");
        assert_eq!(of(Some("PUT"), None), "request = \"PUT\"");
        assert_eq!(of(None, Some("a\tb\r")), "request = \"POST\"; data-raw = \"a\\tb\\r\"");
    }
}
