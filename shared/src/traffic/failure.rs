//! What kinds of failures there are, as the client sees them.

use std::fmt;

use serde::{Serialize, Serializer};

use super::answer::Answer;

/// Why a request failed, by what its sender was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// Envoy has no endpoint at all: `no healthy upstream`.
    NoEndpoints,
    /// Envoy could not connect, or agree on TLS, to any endpoint: `remote connection failure`.
    ConnectFailed,
    /// The endpoint, or a gateway before it, ended the connection.
    Reset,
    /// Envoy got no answer in time.
    UpstreamTimeout,
    /// Envoy lets no more requests through.
    Overflow,
    /// An authorization policy refused it.
    Denied,
    /// The client's own proxy has no route to there.
    NoRoute,
    /// The host's name has no address.
    NoAddress,
    /// Nobody listens.
    Refused,
    /// curl got no whole answer in time.
    TimedOut,
    /// The body did not end.
    Endless,
    /// The connection ended without an answer.
    NoAnswer,
    /// TLS between curl and the server failed.
    Tls,
    /// Another status.
    Status(u16),
    /// Another status of gRPC.
    Grpc(u8),
    /// An answer to gRPC that has no status of gRPC.
    NoGrpc,
    /// Another exit code of curl.
    Curl(u8),
}

impl FailureKind {
    /// Sorts an answer; `None` where it is a success.
    #[must_use]
    pub fn of(answer: &Answer) -> Option<Self> {
        if answer.is_success() {
            return None;
        }
        let body = String::from_utf8_lossy(&answer.body);
        // Envoy says to gRPC in `grpc-message` what it says to others in the body, and with another status.
        let (message, grpc) = match &answer.grpc {
            Some(grpc) => (grpc.message.as_str(), Some(grpc.code)),
            None => ("", None),
        };
        let says = |text: &str| body.contains(text) || message.contains(text);
        let status = match grpc.flatten() {
            Some(14) => Some(503),
            Some(4) if says("upstream request timeout") => Some(504),
            Some(7) if says("RBAC") => Some(403),
            _ => answer.status,
        };
        Some(match (status, answer.exit) {
            // What curl says about the connection comes first: the status of an answer that drips says nothing.
            (_, 28) => Self::TimedOut,
            (_, 6) => Self::NoAddress,
            (_, 7) => Self::Refused,
            (_, 35 | 51 | 53 | 54 | 58 | 59 | 60 | 77 | 80 | 83 | 90 | 91) => Self::Tls,
            (_, 52 | 55 | 56) => Self::NoAnswer,
            // Texts of Envoy (`source/common/router/router.cc`, `source/common/http/utility.cc`).
            (Some(503), _) if says("no healthy upstream") || says("no_healthy_upstream") => Self::NoEndpoints,
            (Some(503), _) if says("connection termination") || says("remote reset") => Self::Reset,
            (Some(503), _) if says("overflow") => Self::Overflow,
            (Some(503), _) if says("upstream connect error") => Self::ConnectFailed,
            (Some(504), _) if says("upstream request timeout") => Self::UpstreamTimeout,
            (Some(403), _) if says("RBAC: access denied") => Self::Denied,
            (Some(502), 0) if body.is_empty() => Self::NoRoute,
            (_, 0) if grpc.is_some() && answer.status == Some(200) => match grpc.flatten() {
                Some(code) => Self::Grpc(code),
                None => Self::NoGrpc,
            },
            (Some(status), 0) => Self::Status(status),
            (_, exit) => Self::Curl(exit),
        })
    }

    /// Tells whether it can be a failure on the way between sidecars: the client's configuration and the peers' are worth a look.
    #[must_use]
    pub fn is_of_the_mesh(self) -> bool {
        matches!(self, Self::NoEndpoints | Self::ConnectFailed | Self::Reset | Self::Denied | Self::NoRoute)
    }
}

impl FailureKind {
    /// Tells whether the path of the request may say why: whatever Envoy, or curl at the client, has told.
    #[must_use]
    pub fn is_on_the_path(self) -> bool {
        !matches!(self, Self::Endless | Self::Tls | Self::Curl(_))
    }
}

impl fmt::Display for FailureKind {
    /// Writes the word that reports and their JSON have.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoEndpoints => "no-endpoints",
            Self::ConnectFailed => "connect-failed",
            Self::Reset => "connection-reset",
            Self::UpstreamTimeout => "upstream-timeout",
            Self::Overflow => "overflow",
            Self::Denied => "access-denied",
            Self::NoRoute => "no-route",
            Self::NoAddress => "no-address",
            Self::Refused => "connection-refused",
            Self::TimedOut => "timed-out",
            Self::Endless => "endless-body",
            Self::NoAnswer => "no-answer",
            Self::Tls => "tls",
            Self::Status(status) => return write!(f, "http-{status}"),
            Self::Grpc(code) => return write!(f, "grpc-{code}"),
            Self::NoGrpc => "no-grpc-status",
            Self::Curl(exit) => return write!(f, "curl-{exit}"),
        })
    }
}

impl Serialize for FailureKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::traffic::GrpcStatus;

    fn answer(status: u16, exit: u8, body: &str) -> Answer {
        Answer {
            at: Duration::ZERO,
            status: Some(status).filter(|status| *status != 0),
            exit,
            took: Duration::ZERO,
            pod_header: Vec::new(),
            body: body.as_bytes().to_vec(),
            complaint: String::new(),
            grpc: None,
        }
    }

    fn kind(status: u16, exit: u8, body: &str) -> String {
        FailureKind::of(&answer(status, exit, body))
            .map_or_else(|| "success".to_owned(), |kind| kind.to_string())
    }

    #[test]
    fn what_envoy_says_is_told_apart() {
        let unreachable = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure";
        assert_eq!(kind(503, 0, unreachable), "connect-failed");
        let ended =
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination";
        assert_eq!(kind(503, 0, ended), "connection-reset");
        assert_eq!(kind(503, 0, "no healthy upstream"), "no-endpoints");
        assert_eq!(
            kind(503, 0, "upstream connect error or disconnect/reset before headers. reset reason: overflow"),
            "overflow"
        );
        assert_eq!(kind(504, 0, "upstream request timeout"), "upstream-timeout");
        assert_eq!(kind(403, 0, "RBAC: access denied"), "access-denied");
        assert_eq!(kind(503, 0, "sorry"), "http-503");
        assert_eq!(kind(404, 0, ""), "http-404");
    }

    #[test]
    fn what_curl_says_is_told_apart() {
        for (exit, word) in [
            (6, "no-address"),
            (7, "connection-refused"),
            (28, "timed-out"),
            (35, "tls"),
            (52, "no-answer"),
            (56, "no-answer"),
            (99, "curl-99"),
        ] {
            assert_eq!(kind(0, exit, ""), word);
        }
        assert_eq!(kind(200, 28, "drip"), "timed-out");
        assert_eq!(kind(200, 0, ""), "success");
    }

    #[test]
    fn every_code_of_tls_and_every_word_of_envoy_counts() {
        for exit in [35, 51, 53, 54, 58, 59, 60, 77, 80, 83, 90, 91] {
            assert_eq!(kind(0, exit, ""), "tls");
        }
        for exit in [52, 55, 56] {
            assert_eq!(kind(0, exit, ""), "no-answer");
        }
        assert_eq!(kind(503, 0, "no_healthy_upstream"), "no-endpoints");
        assert_eq!(kind(503, 0, "upstream connect error: remote reset"), "connection-reset");
        assert_eq!(kind(502, 0, ""), "no-route");
        assert_eq!(kind(502, 0, "bad gateway"), "http-502");
        assert_eq!(kind(502, 63, ""), "curl-63");
        assert_eq!(kind(500, 0, "no healthy upstream"), "http-500");
        assert_eq!(kind(503, 0, "RBAC: access denied"), "http-503");
        assert_eq!(kind(403, 0, "upstream request timeout"), "http-403");
        assert_eq!(kind(504, 0, "no"), "http-504");
        assert_eq!(kind(503, 99, "upstream connect error"), "connect-failed");
    }

    #[test]
    fn failures_between_sidecars_are_worth_a_look_at_the_mesh() {
        use FailureKind::{
            ConnectFailed, Curl, Denied, Endless, NoAddress, NoAnswer, NoEndpoints, NoRoute, Overflow,
            Refused, Reset, Status, TimedOut, Tls, UpstreamTimeout,
        };
        for kind in [NoEndpoints, ConnectFailed, Reset, Denied, NoRoute] {
            assert!(kind.is_of_the_mesh(), "{kind}");
        }
        for kind in [
            NoAddress,
            NoAnswer,
            Overflow,
            Refused,
            TimedOut,
            Tls,
            UpstreamTimeout,
            Endless,
            Status(500),
            Curl(99),
        ] {
            assert!(!kind.is_of_the_mesh(), "{kind}");
        }
        assert_eq!(Endless.to_string(), "endless-body");
        assert_eq!(serde_json::to_string(&NoRoute).unwrap(), "\"no-route\"");
    }

    #[test]
    fn grpc_is_judged_by_its_own_status() {
        let of = |code: Option<u8>, message: &str| {
            let grpc = Some(GrpcStatus { code, message: message.to_owned() });
            let answer = Answer { grpc, ..answer(200, 0, "") };
            FailureKind::of(&answer).map(|kind| kind.to_string())
        };
        assert_eq!(of(Some(0), ""), None);
        assert_eq!(of(Some(14), "no healthy upstream").as_deref(), Some("no-endpoints"));
        let reset =
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination";
        assert_eq!(of(Some(14), reset).as_deref(), Some("connection-reset"));
        assert_eq!(of(Some(4), "upstream request timeout").as_deref(), Some("upstream-timeout"));
        assert_eq!(of(Some(7), "RBAC: access denied").as_deref(), Some("access-denied"));
        assert_eq!(of(Some(7), "not yours").as_deref(), Some("grpc-7"));
        assert_eq!(of(Some(14), "the database is away").as_deref(), Some("grpc-14"));
        assert_eq!(of(Some(5), "").as_deref(), Some("grpc-5"));
        assert_eq!(of(None, "").as_deref(), Some("no-grpc-status"));
    }
}
