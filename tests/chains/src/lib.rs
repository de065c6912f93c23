//! Some hundred chains of certificates: those that people have, and those that are wrong in one way.
//!
//! Each is made anew, with keys of its own and around the present, so that a real Envoy can be asked about it. What that said is in
//! `answers.txt`; the library's own tests hold it to that, and `tests/envoy` asks again.

mod cases;
mod der;
mod make;

use std::collections::BTreeMap;

use std::sync::Arc;

use rcgen::KeyPair;

pub use cases::cases;

/// The trust domain that all bundles are of.
pub const TRUST_DOMAIN: &str = "foo.com";

/// A chain, and what it is to be verified with.
pub struct Case {
    /// What is special about it; no other has this name.
    pub name: String,
    /// The key of the leaf.
    pub key: Arc<KeyPair>,
    /// The leaf (DER).
    pub leaf: Vec<u8>,
    /// What is sent with it (DER), in this order.
    pub sent: Vec<Vec<u8>>,
    /// The authorities of the bundle (DER), in this order.
    pub authorities: Vec<Vec<u8>>,
}

/// What a verifier says of a chain that a client presents, and of the same chain presented by a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// As the server, of a client's chain.
    pub of_client: Says,
    /// As the client, of a server's chain.
    pub of_server: Says,
}

/// What a verifier says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Says {
    /// The handshake succeeds.
    Accepts,
    /// It fails.
    Refuses,
}

impl Says {
    /// The word in `answers.txt`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Accepts => "accepts",
            Self::Refuses => "refuses",
        }
    }
}

/// Why the library says something else than Envoy of a chain; `None` where it has to say the same.
#[must_use]
pub fn why_it_differs(name: &str) -> Option<&'static str> {
    const DIFFERENT: [(&str, &str); 2] =
        [("limits: excluded URI empty", NO_HOST), ("limits: excluded URI with a scheme", NO_HOST)];
    const NO_HOST: &str = "a CA is forbidden to sign for URIs of something that is no host: Envoy refuses whatever that CA signs; AWS-LC, and \
        OpenSSL too, find no URI that is forbidden";
    DIFFERENT.iter().find(|(begin, _)| name.starts_with(begin)).map(|(_, why)| *why)
}

/// What Envoy said the last time that it was asked.
pub const ANSWERS: &str = include_str!("../answers.txt");

/// Reads answers, by the name of the case.
///
/// # Panics
/// When a line is not what [`written`] makes.
#[must_use]
pub fn recorded(answers: &str) -> BTreeMap<String, Answer> {
    let says = |word: &str| match word.trim() {
        "accepts" => Says::Accepts,
        "refuses" => Says::Refuses,
        other => panic!("`{other}` is no answer"),
    };
    let line = |line: &str| {
        let mut columns = line.split('|');
        let mut next = || columns.next().unwrap_or_else(|| panic!("`{line}` lacks a column"));
        let (of_client, of_server, name) = (says(next()), says(next()), next().trim().to_owned());
        (name, Answer { of_client, of_server })
    };
    let lines = answers.lines();
    lines.filter(|line| !line.starts_with('#') && !line.is_empty()).map(line).collect()
}

/// Writes answers as `answers.txt` has them.
#[must_use]
pub fn written(answers: &[(String, Answer)]) -> String {
    const HEAD: &str = "# What Envoy says: of a client's chain | of a server's chain | of which. Written by tests/envoy; see there.\n";
    let line = |(name, answer): &(String, Answer)| {
        format!("{} | {} | {name}\n", answer.of_client.word(), answer.of_server.word())
    };
    [HEAD.to_owned()].into_iter().chain(answers.iter().map(line)).collect()
}
