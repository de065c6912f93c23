use std::fmt;

use serde::Serialize;

use crate::hint::{Advice, Command, Plugin};
use crate::trust::TrustDomain;

/// What kept a server from fetching a peer's bundle, read from the words of `spire-server federation refresh`
/// (SPIRE 1.15.3, `pkg/server/bundle/client`, go-spiffe, and Go's `net` and `crypto/x509`; each seen on a real server).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefreshCause {
    /// The server knows no relationship with the trust domain.
    NoRelationship,
    /// No first bundle of the trust domain was ever set.
    NotBootstrapped,
    /// The endpoint's certificate comes from no authority in the stored bundle: the bundle is too old, or something in between
    /// ends TLS.
    UnknownAuthority,
    /// The endpoint is a SPIRE server of another trust domain.
    OtherTrustDomain,
    /// The endpoint presents another SPIFFE ID than the relationship asks for.
    UnexpectedId,
    /// The endpoint's certificate holds no SPIFFE ID: something in between ends TLS, or it is no SPIRE server.
    NoSpiffeId,
    /// The endpoint has a SPIFFE ID where the relationship expects a web certificate.
    ProfileMismatch,
    /// The endpoint's certificate has ended.
    Expired,
    /// The endpoint's certificate is not valid yet: clocks differ.
    NotYetValid,
    /// The address's name does not resolve in the cluster.
    NameNotFound,
    /// The address refuses connections.
    Refused,
    /// The address does not answer.
    TimedOut,
    /// There is no way to the address.
    Unreachable,
    /// Something ended the connection.
    Reset,
    /// What listens there speaks no TLS.
    NotTls,
    /// The endpoint answered, but has no bundle at this path.
    NotFound,
    /// Something else.
    Other,
}

/// Texts and their causes. The first that fits counts, so the particular stands before the general.
const TEXTS: [(&str, RefreshCause); 21] = [
    ("there is no federation relationship", RefreshCause::NoRelationship),
    ("no relationship with trust domain", RefreshCause::NoRelationship),
    ("local copy of bundle not found", RefreshCause::NotBootstrapped),
    ("maybe use https_spiffe instead of https_web", RefreshCause::ProfileMismatch),
    ("unexpected ID ", RefreshCause::UnexpectedId),
    ("no X.509 bundle found for trust domain", RefreshCause::OtherTrustDomain),
    ("could not get leaf SPIFFE ID", RefreshCause::NoSpiffeId),
    ("certificate signed by unknown authority", RefreshCause::UnknownAuthority),
    ("is before ", RefreshCause::NotYetValid),
    ("certificate has expired", RefreshCause::Expired),
    ("no such host", RefreshCause::NameNotFound),
    ("server misbehaving", RefreshCause::NameNotFound),
    ("connection refused", RefreshCause::Refused),
    ("i/o timeout", RefreshCause::TimedOut),
    ("deadline exceeded", RefreshCause::TimedOut),
    ("no route to host", RefreshCause::Unreachable),
    ("network is unreachable", RefreshCause::Unreachable),
    ("connection reset", RefreshCause::Reset),
    ("EOF", RefreshCause::Reset),
    ("first record does not look like a TLS handshake", RefreshCause::NotTls),
    ("unexpected status 404", RefreshCause::NotFound),
];

impl RefreshCause {
    /// Reads the cause from what the command wrote to stderr.
    #[must_use]
    pub fn from_stderr(stderr: &str) -> Self {
        if stderr.contains("HTTP response to HTTPS client") {
            return Self::NotTls;
        }
        TEXTS.iter().find(|(text, _)| stderr.contains(text)).map_or(Self::Other, |(_, cause)| *cause)
    }

    /// Tells whether waiting can help: the relationship, the address or the way to it may still be in the making.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            Self::NoRelationship
                | Self::NameNotFound
                | Self::Refused
                | Self::TimedOut
                | Self::Unreachable
                | Self::Reset
                | Self::Other
        )
    }

    /// Returns the next step.
    pub(super) fn hint(self, peer: &TrustDomain) -> Option<Advice> {
        let text = match self {
            Self::NoRelationship => {
                "the controller-manager has not passed the relationship on; see the log of container spire-controller-manager".to_owned()
            }
            Self::NotBootstrapped | Self::UnknownAuthority => {
                return Some(Advice::from(format!("carry the bundle of {peer} again: ")).then(Plugin::SpireFederate.up()).then(
                    "; if it stays, something in front of its bundle endpoint ends TLS, where TCP has to be passed through",
                ));
            }
            Self::OtherTrustDomain | Self::UnexpectedId => {
                // That of the peer: whoever binds commands to a cluster means the one whose server asked.
                let service = Command::kubectl(["-n", "NAMESPACE", "get", "service"]).at("ITS_CONTEXT");
                return Some(
                    Advice::from(format!("the address leads to another server than that of {peer}; compare `"))
                        .then(service)
                        .then("` of that cluster with the relationship's URL"),
                );
            }
            Self::NoSpiffeId | Self::NotTls | Self::NotFound => format!(
                "the address leads to something else than the SPIRE server of {peer}; the bundle endpoint listens on port 8443, path /, and TLS has to end in the server itself"
            ),
            Self::ProfileMismatch => "set the relationship's profile to https_spiffe".to_owned(),
            Self::Expired => format!("the server of {peer} has not renewed its certificate; see its log"),
            Self::NotYetValid => "compare the clocks of the two clusters' nodes".to_owned(),
            Self::NameNotFound => {
                "the name does not resolve in this cluster; a new load balancer's name takes minutes to appear".to_owned()
            }
            Self::Refused | Self::TimedOut | Self::Unreachable | Self::Reset => format!(
                "let this cluster's nodes reach the bundle endpoint of {peer}: security groups, peering routes, network policies"
            ),
            Self::Other => return None,
        };
        Some(text.into())
    }
}

impl fmt::Display for RefreshCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRelationship => "the server knows no relationship with it",
            Self::NotBootstrapped => "no first bundle was set",
            Self::UnknownAuthority => "the stored bundle does not verify the endpoint",
            Self::OtherTrustDomain => "the endpoint belongs to another trust domain",
            Self::UnexpectedId => "the endpoint has another SPIFFE ID",
            Self::NoSpiffeId => "the endpoint has no SPIFFE ID",
            Self::ProfileMismatch => "the endpoint wants the profile https_spiffe",
            Self::Expired => "the endpoint's certificate has expired",
            Self::NotYetValid => "the endpoint's certificate is not valid yet",
            Self::NameNotFound => "the endpoint's name does not resolve",
            Self::Refused => "the endpoint refuses connections",
            Self::TimedOut => "the endpoint does not answer",
            Self::Unreachable => "there is no route to the endpoint",
            Self::Reset => "the connection was cut",
            Self::NotTls => "the endpoint speaks no TLS",
            Self::NotFound => "the endpoint has no bundle at this path",
            Self::Other => "the server refused",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What SPIRE 1.15.3 wrote, word for word.
    #[test]
    fn the_words_of_a_real_server_are_told_apart() {
        let cases = [
            (
                r#"there is no federation relationship with trust domain "spiffe://bar.com""#,
                RefreshCause::NoRelationship,
            ),
            (
                "failed to refresh bundle: rpc error: code = Internal desc = failed to refresh bundle: can't perform SPIFFE Authentication: local copy of bundle not found",
                RefreshCause::NotBootstrapped,
            ),
            (
                r#"… failed to fetch bundle: Get "https://127.0.0.1:28443": unexpected ID "spiffe://bar.com/spire/server""#,
                RefreshCause::UnexpectedId,
            ),
            (
                r#"… Get "https://127.0.0.1:28449": dial tcp 127.0.0.1:28449: connect: connection refused"#,
                RefreshCause::Refused,
            ),
            (
                r#"… Get "https://nope.invalid:28443": dial tcp: lookup nope.invalid on 10.0.0.10:53: no such host"#,
                RefreshCause::NameNotFound,
            ),
            (
                "… failed to fetch federated bundle from endpoint: unexpected status 404 fetching bundle: 404 page not found",
                RefreshCause::NotFound,
            ),
            (
                r#"… the server certificate contains SPIFFE ID "spiffe://bar.com/spire/server": maybe use https_spiffe instead of https_web: Get "https://127.0.0.1:28443": tls: failed to verify certificate: x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs"#,
                RefreshCause::ProfileMismatch,
            ),
            (
                r#"… Get "https://127.0.0.1:28080": http: server gave HTTP response to HTTPS client"#,
                RefreshCause::NotTls,
            ),
            (
                r#"… Get "https://127.0.0.1:18443": x509svid: could not get X509 bundle: x509bundle: no X.509 bundle found for trust domain: "foo.com""#,
                RefreshCause::OtherTrustDomain,
            ),
            (
                r#"… Get "https://10.3.0.10:30010": x509svid: could not verify leaf certificate: x509: certificate signed by unknown authority"#,
                RefreshCause::UnknownAuthority,
            ),
            (
                r#"… Get "https://10.3.0.10:8443": dial tcp 10.3.0.10:8443: i/o timeout"#,
                RefreshCause::TimedOut,
            ),
            (
                "x509: certificate has expired or is not yet valid: current time 2026-01-01T00:00:00Z is before 2026-01-01T00:01:00Z",
                RefreshCause::NotYetValid,
            ),
            (
                "x509: certificate has expired or is not yet valid: current time 2026-01-01T00:00:00Z is after 2025-12-31T00:01:00Z",
                RefreshCause::Expired,
            ),
            ("something new", RefreshCause::Other),
        ];
        for (stderr, cause) in cases {
            assert_eq!(RefreshCause::from_stderr(stderr), cause, "{stderr}");
        }
    }

    #[test]
    fn only_what_may_pass_is_waited_for() {
        assert!(RefreshCause::Refused.may_pass());
        assert!(!RefreshCause::UnknownAuthority.may_pass());
        assert!(!RefreshCause::UnexpectedId.may_pass());
    }
}
