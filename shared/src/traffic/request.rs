//! What is asked for: a URL, a method, headers and a body that are what they seem to be.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::Scheme;

use crate::report::one_line;

/// The longest URL, in bytes.
const LONGEST_URL: usize = 8 << 10;
/// The longest header, in bytes.
const LONGEST_HEADER: usize = 8 << 10;
/// The most headers.
const MOST_HEADERS: usize = 64;
/// The longest body, in bytes.
const LONGEST_BODY: usize = 64 << 10;

/// A request that can be sent as often as one likes. Nothing in it can be taken for anything else by what sends it.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Where to.
    pub url: Url,
    /// How: `GET`, or what was asked for.
    pub method: Method,
    /// With what headers besides those of curl.
    pub headers: Vec<Header>,
    /// With what body.
    pub body: Option<Body>,
}

impl fmt::Debug for Request {
    /// Leaves out values of headers and the body: there may be tokens among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(Header::name).collect();
        f.debug_struct("Request")
            .field("url", &self.url)
            .field("method", &self.method)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

/// What an answer's success is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The status of HTTP.
    Http,
    /// `grpc-status`, in a header or a trailer: the status of HTTP is 200 whatever happens.
    Grpc,
}

/// Why something cannot be part of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestPartError {
    /// The URL is none.
    #[error("`{text}` is no URL: {reason}")]
    Url {
        /// What was given.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// The method is none.
    #[error("`{0}` is no method; write it as GET or POST")]
    Method(String),
    /// The header is none.
    #[error("`{name}` is no header: {reason}")]
    Header {
        /// As much of it as is no secret.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// There are too many headers.
    #[error("there are more than {MOST_HEADERS} headers")]
    TooManyHeaders,
    /// The body cannot be sent.
    #[error("the body cannot be sent: {0}")]
    Body(&'static str),
}

impl Request {
    /// Returns the protocol that its content type says.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        let is_grpc = |header: &Header| {
            let content = header.name().eq_ignore_ascii_case("content-type");
            content && header.value().to_ascii_lowercase().starts_with("application/grpc")
        };
        if self.headers.iter().any(is_grpc) { Protocol::Grpc } else { Protocol::Http }
    }
}

/// A URL of http or https, with a host and without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    text: String,
    host: String,
    port: u16,
    is_https: bool,
}

impl Url {
    /// Returns it as it was given, with its scheme.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the host, in lower case and without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, that of the scheme where none is given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Tells whether it is https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Returns the same path and query at another host and port, by http.
    ///
    /// # Errors
    /// [`RequestPartError::Url`] when host and port make no URL.
    pub fn at(&self, host: &str, port: u16) -> Result<Self, RequestPartError> {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.find(['/', '?']).map_or("/", |start| &rest[start..]);
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        format!("http://{host}:{port}{path}").parse()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Url {
    type Err = RequestPartError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // As curl takes it. What follows a question mark may have a scheme of its own.
        let is_scheme =
            |scheme: &str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let with_scheme = match text.split_once("://") {
            Some((scheme, _)) if is_scheme(scheme) => Cow::Borrowed(text),
            _ if text.starts_with('-') => Cow::Borrowed(text),
            _ => Cow::Owned(format!("http://{text}")),
        };
        let refuse = |reason: &str| RequestPartError::Url {
            text: without_credentials(text),
            reason: reason.to_owned(),
        };
        let text = &*with_scheme;
        if text.len() > LONGEST_URL {
            return Err(refuse("it is longer than 8 KiB"));
        }
        if text.starts_with("http:///") {
            return Err(refuse("it names no host"));
        }
        // Said before `Uri` says less: what starts with a dash is meant as an option.
        if text.starts_with('-') {
            return Err(refuse("it starts with `-`"));
        }
        if text.chars().any(|character| character.is_control() || character.is_whitespace()) {
            return Err(refuse("it has a space or control character in it; write that as %20"));
        }
        if !text.is_ascii() {
            return Err(refuse("it has characters besides ASCII in it; write them with %"));
        }
        let uri: Uri = text.parse().map_err(|error: http::uri::InvalidUri| refuse(&error.to_string()))?;
        let is_https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(_) => return Err(refuse("only http and https can be asked")),
            None => return Err(refuse("it starts with neither http:// nor https://")),
        };
        let authority = uri.authority().ok_or_else(|| refuse("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("it has credentials in it; give them as a header"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err(refuse("it names no host"));
        }
        // `Uri` takes more, such as `;` and `$(`. Hosts end in commands that are there to be pasted.
        let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
        if !host.bytes().all(is_of_host) {
            return Err(refuse("its host is neither a name nor an address"));
        }
        // `Uri` takes a port for none that is no number of 16 bits.
        let after_host = &authority.as_str()[authority.host().len()..];
        let port = match after_host.strip_prefix(':') {
            None => {
                if is_https {
                    443
                } else {
                    80
                }
            }
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(refuse("its port is no number from 1 to 65535")),
            },
        };
        Ok(Self { text: text.to_owned(), host, port, is_https })
    }
}

/// Shortens what is no URL, and leaves out who asks and with which password: it would end in logs.
fn without_credentials(text: &str) -> String {
    if text.contains('@') {
        return "http://…@…".to_owned();
    }
    one_line(&text.chars().take(100).collect::<String>())
}

/// A method: capital letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method(String);

impl Method {
    /// Returns it as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Method {
    fn default() -> Self {
        Self("GET".to_owned())
    }
}

impl FromStr for Method {
    type Err = RequestPartError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // CONNECT asks a proxy for a tunnel, which curl does in another way.
        let known = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase());
        if known && text != "CONNECT" {
            Ok(Self(text.to_owned()))
        } else {
            Err(RequestPartError::Method(one_line(&text.chars().take(40).collect::<String>())))
        }
    }
}

/// A header, `Name: value`. Debug shows its name only.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: String,
}

impl Header {
    /// Returns its name as it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its value, without spaces around it.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header({})", self.name)
    }
}

impl FromStr for Header {
    type Err = RequestPartError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // What stands before the colon is no secret; without one, everything may be.
        let (name, value) = text.split_once(':').unwrap_or(("…", ""));
        let shown = one_line(&name.chars().take(60).collect::<String>());
        let refuse = |reason| RequestPartError::Header { name: shown.clone(), reason };
        if !text.contains(':') {
            return Err(refuse("write it as `Name: value`"));
        }
        if text.len() > LONGEST_HEADER {
            return Err(refuse("it is longer than 8 KiB"));
        }
        if http::HeaderName::from_bytes(name.as_bytes()).is_err()
            || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
        {
            return Err(refuse("its name has to be of letters, digits and dashes"));
        }
        let value = value.trim_matches([' ', '\t']);
        if value.chars().any(char::is_control) {
            return Err(refuse("its value has a control character in it"));
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// A body of text.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(String);

impl Body {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

impl FromStr for Body {
    type Err = RequestPartError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > LONGEST_BODY {
            return Err(RequestPartError::Body("it is longer than 64 KiB"));
        }
        if text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\t')) {
            return Err(RequestPartError::Body("it has a control character in it"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Request {
    /// Makes a plain GET of a URL.
    #[must_use]
    pub fn get(url: Url) -> Self {
        Self { url, method: Method::default(), headers: Vec::new(), body: None }
    }

    /// Joins the parts of a request. With a body and without a method it is a POST, as curl has it.
    ///
    /// # Errors
    /// [`RequestPartError::TooManyHeaders`].
    pub fn new(
        url: Url,
        method: Option<Method>,
        headers: Vec<Header>,
        body: Option<Body>,
    ) -> Result<Self, RequestPartError> {
        if headers.len() > MOST_HEADERS {
            return Err(RequestPartError::TooManyHeaders);
        }
        let fallback = if body.is_some() { Method("POST".to_owned()) } else { Method::default() };
        Ok(Self { url, method: method.unwrap_or(fallback), headers, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<Url, String> {
        text.parse().map_err(|error: RequestPartError| error.to_string())
    }

    #[test]
    fn a_url_has_a_scheme_a_host_and_a_port() {
        let url = |text| {
            let url: Url = url(text).unwrap();
            (url.host().to_owned(), url.port(), url.is_https())
        };
        assert_eq!(
            url("http://helloworld.helloworld:5000/hello"),
            ("helloworld.helloworld".to_owned(), 5000, false)
        );
        assert_eq!(url("https://A.example/x?y=[1-9]"), ("a.example".to_owned(), 443, true));
        assert_eq!(url("http://[fd00::1]:80/"), ("fd00::1".to_owned(), 80, false));
        assert_eq!(url("http://x"), ("x".to_owned(), 80, false));
        // As curl takes it, and written out where it is shown.
        let text = "helloworld.helloworld:5000/hello?then=http://b";
        assert_eq!(url(text), ("helloworld.helloworld".to_owned(), 5000, false));
        assert_eq!(text.parse::<Url>().unwrap().as_str(), format!("http://{text}"));
        assert_eq!(url("x"), ("x".to_owned(), 80, false));
    }

    #[test]
    fn what_is_no_url_of_http_is_refused_with_the_reason() {
        let refused = |text| url(text).unwrap_err();
        insta::assert_snapshot!(refused("-K/etc/passwd"), @"`-K/etc/passwd` is no URL: it starts with `-`");
        insta::assert_snapshot!(refused("--output=/x"), @"`--output=/x` is no URL: it starts with `-`");
        insta::assert_snapshot!(refused("file:///etc/passwd"), @"`file:///etc/passwd` is no URL: invalid format");
        insta::assert_snapshot!(refused("ftp://x/y"), @"`ftp://x/y` is no URL: only http and https can be asked");
        insta::assert_snapshot!(refused("mailto:x"), @"`mailto:x` is no URL: its port is no number from 1 to 65535");
        insta::assert_snapshot!(refused("/hello"), @"`/hello` is no URL: it names no host");
        insta::assert_snapshot!(refused("http://a/\nurl=b"), @"`http://a/ url=b` is no URL: it has a space or control character in it; write that as %20");
        insta::assert_snapshot!(refused("http://me:secret@a/"), @"`http://…@…` is no URL: it has credentials in it; give them as a header");
        for secret in [
            "http://me:secret @a/",
            "http://me:sécret@a/",
            "me:secret@a",
            "me:secret@a:99999",
            "ftp://me:secret@a",
        ] {
            assert!(!refused(secret).contains("secret"), "{secret}");
        }
        insta::assert_snapshot!(refused("http://a:99999/"), @"`http://a:99999/` is no URL: its port is no number from 1 to 65535");
        insta::assert_snapshot!(refused("http://a;id/"), @"`http://a;id/` is no URL: its host is neither a name nor an address");
        insta::assert_snapshot!(refused("http://a$(id)/"), @"`http://a$(id)/` is no URL: its host is neither a name nor an address");
        insta::assert_snapshot!(refused("http://ä/"), @"`http://ä/` is no URL: it has characters besides ASCII in it; write them with %");
    }

    #[test]
    fn the_same_path_can_be_asked_for_at_a_gateway() {
        let at = |text, host| url(text).unwrap().at(host, 8080).unwrap().to_string();
        assert_eq!(
            at("http://helloworld.helloworld:5000/hello?x=1", "10.0.0.1"),
            "http://10.0.0.1:8080/hello?x=1"
        );
        assert_eq!(at("https://a", "fd00::1"), "http://[fd00::1]:8080/");
        assert_eq!(at("https://a?q", "b"), "http://b:8080?q");
    }

    #[test]
    fn headers_are_a_name_and_a_value() {
        let header = |text: &str| {
            let header: Result<Header, _> = text.parse();
            header
                .map(|header| (header.name().to_owned(), header.value().to_owned()))
                .map_err(|error| error.to_string())
        };
        assert_eq!(header("X-Team:  a \"b\" ").unwrap(), ("X-Team".to_owned(), "a \"b\"".to_owned()));
        insta::assert_snapshot!(header("@/etc/passwd").unwrap_err(), @"`…` is no header: write it as `Name: value`");
        insta::assert_snapshot!(header("@/etc:x").unwrap_err(), @"`@/etc` is no header: its name has to be of letters, digits and dashes");
        insta::assert_snapshot!(header("-x: y").unwrap_err(), @"`-x` is no header: its name has to be of letters, digits and dashes");
        insta::assert_snapshot!(header("X: a\r\nHost: b").unwrap_err(), @"`X` is no header: its value has a control character in it");
    }

    #[test]
    fn methods_and_bodies_are_checked_and_never_shown_for_debugging() {
        assert!("POST".parse::<Method>().is_ok());
        for text in ["", "get", "-X", "GET /", "CONNECT"] {
            assert!(text.parse::<Method>().is_err(), "{text}");
        }
        assert!("{\"a\":\n1}".parse::<Body>().is_ok());
        assert!("a\0b".parse::<Body>().is_err());
        let request = Request::new(
            url("http://a/").unwrap(),
            None,
            vec!["Authorization: Bearer secret".parse().unwrap()],
            Some("secret".parse().unwrap()),
        )
        .unwrap();
        assert_eq!(request.method.as_str(), "POST");
        assert!(!format!("{request:?}").contains("secret"), "{request:?}");
    }

    #[test]
    fn every_part_of_a_request_has_a_limit() {
        let url_of = |length: usize| url(&format!("http://a/{}", "x".repeat(length - 9)));
        assert!(url_of(LONGEST_URL).is_ok() && url_of(LONGEST_URL + 1).is_err());
        let header_of = |length: usize| format!("A: {}", "x".repeat(length - 3)).parse::<Header>();
        assert!(header_of(LONGEST_HEADER).is_ok() && header_of(LONGEST_HEADER + 1).is_err());
        let body_of = |length: usize| "x".repeat(length).parse::<Body>();
        assert!(body_of(LONGEST_BODY).is_ok() && body_of(LONGEST_BODY + 1).is_err());
        let of = |headers: usize| {
            Request::new(url("http://a").unwrap(), None, vec!["A: b".parse().unwrap(); headers], None)
        };
        assert!(of(MOST_HEADERS).is_ok());
        assert_eq!(of(MOST_HEADERS + 1), Err(RequestPartError::TooManyHeaders));
        assert!("A".repeat(32).parse::<Method>().is_ok() && "A".repeat(33).parse::<Method>().is_err());
    }

    #[test]
    fn ports_and_hosts_are_what_they_say() {
        let port = |text: &str| url(text).map(|url| url.port());
        assert_eq!((port("http://a:1/"), port("http://a:65535/")), (Ok(1), Ok(65535)));
        assert!(
            port("http://a:0/").is_err() && port("http://a:65536/").is_err() && port("http://a:/").is_err()
        );
        assert_eq!(port("http://[fd00::1]/"), Ok(80));
        assert!(
            url("http://a_b-c.d/").is_ok() && url("http://:80/").is_err() && url("http://a\tb/").is_err()
        );
        assert_eq!(url("https://a/b").unwrap().to_string(), "https://a/b");
        assert_eq!(url("http://a b/").unwrap_err(), url("http://a b/").unwrap_err());
    }

    #[test]
    fn a_get_has_nothing_but_its_url_and_a_method_that_was_given_stays() {
        let plain = Request::get(url("http://a/").unwrap());
        assert_eq!(plain, Request::new(url("http://a/").unwrap(), None, Vec::new(), None).unwrap());
        assert_eq!((plain.method.as_str(), Method::default().as_str()), ("GET", "GET"));
        let put = Request::new(url("http://a/").unwrap(), "PUT".parse().ok(), Vec::new(), "x".parse().ok())
            .unwrap();
        assert_eq!((put.method.as_str(), put.body.as_ref().map(Body::as_str)), ("PUT", Some("x")));
        assert_eq!(format!("{:?}", put.body.unwrap()), "Body(1 bytes)");
        assert_eq!(format!("{:?}", "A: b".parse::<Header>().unwrap()), "Header(A)");
        for text in ["a\rb", "a\tb", "a\nb"] {
            assert!(text.parse::<Body>().is_ok());
        }
        assert!("A:\tb\t".parse::<Header>().is_ok_and(|header| header.value() == "b"));
        assert!(
            "1a: b".parse::<Header>().is_ok()
                && "_a: b".parse::<Header>().is_err()
                && "a b: c".parse::<Header>().is_err()
        );
    }
}
