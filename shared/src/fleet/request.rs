//! Why a request to an API server failed, sorted by what can be done about it.

use std::error::Error as StdError;
use std::io;

use kube::client::AuthError;

use super::answer::AnswerProblem;

/// What kind of trouble a request met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody listens at the address.
    Refused,
    /// No answer in time.
    Timeout,
    /// The host name has no address.
    NameResolution,
    /// The server's certificate was not accepted, or the TLS handshake failed.
    Tls,
    /// The credentials were not accepted (401).
    Unauthorized,
    /// The right is missing (403).
    Forbidden,
    /// The object, its namespace or its kind does not exist (404).
    NotFound,
    /// Somebody else changed the object, or it exists already (409).
    Conflict,
    /// The namespace is being deleted (403 with that cause); it passes.
    Terminating,
    /// The server refuses the content (400, 413, 415, 422).
    Invalid,
    /// The server is busy, restarting or changing its leader, a webhook does not answer, or the connection broke:
    /// it may work in a moment (429, 5xx).
    Transient,
    /// The command that the kubeconfig names for credentials did not run, or gave none.
    Credentials,
    /// Anything else.
    Other,
}

/// A failed request to an API server.
///
/// Holds text only: the errors of the client library print the output of credential commands, which holds tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct RequestError {
    cause: Cause,
    text: String,
}

impl RequestError {
    pub(crate) fn new(cause: Cause, text: impl Into<String>) -> Self {
        Self { cause, text: text.into() }
    }

    /// Returns what kind of trouble it was.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Tells whether the same request may succeed in a moment: the server is busy, restarting or unreachable.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.cause, Cause::Transient | Cause::Timeout | Cause::Refused | Cause::Terminating)
    }

    /// Tells whether the object, its namespace or its kind does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.cause == Cause::NotFound
    }

    fn api(status: &kube::core::Status) -> Self {
        let terminating = || {
            let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
            causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
        };
        let cause = match status.code {
            401 => Cause::Unauthorized,
            403 if terminating() => Cause::Terminating,
            403 => Cause::Forbidden,
            404 => Cause::NotFound,
            409 => Cause::Conflict,
            400 | 413 | 415 | 422 => Cause::Invalid,
            429 | 500..=599 => Cause::Transient,
            _ => Cause::Other,
        };
        let text = match (status.message.trim(), status.reason.as_str()) {
            ("", "") => format!("the server answered with status {}", status.code),
            ("", reason) => format!("{reason} ({})", status.code),
            (message, _) => message.to_owned(),
        };
        Self::new(cause, text)
    }

    fn transport(error: &(dyn StdError + 'static)) -> Self {
        let causes = chain(error);
        let innermost = causes.last().map(ToString::to_string).unwrap_or_default();
        for cause in &causes {
            if let Some(error) = cause.downcast_ref::<rustls::Error>() {
                return Self::new(Cause::Tls, tls_text(error));
            }
            if let Some(problem) = cause.downcast_ref::<AnswerProblem>() {
                let cause = if problem.is_late() { Cause::Timeout } else { Cause::Other };
                return Self::new(cause, problem.to_string());
            }
            if cause.is::<tower::timeout::error::Elapsed>() {
                return Self::new(Cause::Timeout, "no answer in time");
            }
            if let Some(error) = cause.downcast_ref::<AuthError>() {
                return Self::new(Cause::Credentials, auth_text(error));
            }
            if let Some(error) = cause.downcast_ref::<io::Error>() {
                match error.kind() {
                    io::ErrorKind::ConnectionRefused => {
                        return Self::new(Cause::Refused, "connection refused");
                    }
                    io::ErrorKind::TimedOut => return Self::new(Cause::Timeout, "no answer in time"),
                    io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof => {
                        return Self::new(Cause::Transient, format!("the connection broke: {innermost}"));
                    }
                    _ => {}
                }
            }
            if cause.to_string().starts_with("dns error") {
                return Self::new(
                    Cause::NameResolution,
                    format!("the host name has no address: {innermost}"),
                );
            }
        }
        let cause = match error.downcast_ref::<hyper_util::client::legacy::Error>() {
            Some(error) if error.is_connect() => Cause::Other,
            Some(_) => Cause::Transient,
            None => Cause::Other,
        };
        Self::new(cause, innermost)
    }
}

impl From<&kube::Error> for RequestError {
    fn from(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::api(status),
            kube::Error::Auth(error) => Self::new(Cause::Credentials, auth_text(error)),
            kube::Error::Service(error) => Self::transport(error.as_ref()),
            kube::Error::HyperError(error) => {
                let transport = Self::transport(error);
                // Breaks off in the middle of an answer.
                let cause = if transport.cause == Cause::Other { Cause::Transient } else { transport.cause };
                Self { cause, ..transport }
            }
            // Their text quotes the answer, which may hold a secret.
            kube::Error::SerdeError(error) => Self::new(
                Cause::Other,
                format!(
                    "the answer is not what was asked for (column {}: {:?})",
                    error.column(),
                    error.classify()
                ),
            ),
            other => Self::new(Cause::Other, other.to_string()),
        }
    }
}

impl From<kube::Error> for RequestError {
    fn from(error: kube::Error) -> Self {
        Self::from(&error)
    }
}

/// Lists an error and its causes, outermost first, including what an [`io::Error`] carries, which its `source` skips.
fn chain<'e>(error: &'e (dyn StdError + 'static)) -> Vec<&'e (dyn StdError + 'static)> {
    let mut causes = vec![error];
    let mut next = Some(error);
    while let Some(error) = next {
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
        causes.extend(next);
    }
    causes
}

fn tls_text(error: &rustls::Error) -> String {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer) => {
            "the server's certificate is signed by an authority that the kubeconfig does not name".to_owned()
        }
        rustls::Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "the server's certificate has expired".to_owned()
        }
        rustls::Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => "the server's certificate is not for this host name".to_owned(),
        rustls::Error::InvalidCertificate(other) => {
            format!("the server's certificate is not accepted: {other}")
        }
        other => format!("TLS handshake failed: {other}"),
    }
}

/// Describes a failure to get credentials, without what the command wrote to stdout: that may be a token.
pub(super) fn auth_text(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { cmd, out } => {
            let stderr = String::from_utf8_lossy(&out.stderr);
            let program = cmd.trim_matches('"').split(['"', ' ']).next().unwrap_or_default();
            match stderr.trim() {
                "" => format!("credential command `{program}` failed ({})", out.status),
                text => format!("credential command `{program}` failed ({}): {text}", out.status),
            }
        }
        AuthError::AuthExecParse(_) => "the credential command's output is not an ExecCredential".to_owned(),
        AuthError::AuthExecStart(error) => format!("the credential command did not start: {error}"),
        AuthError::ParseTokenKey(_) => "the credential command's output is not JSON".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, message: &str) -> RequestError {
        kube::Error::Api(kube::core::Status::failure(message, "").with_code(code).boxed()).into()
    }

    #[test]
    fn answers_are_sorted_by_what_can_be_done_about_them() {
        assert_eq!(api(401, "Unauthorized").cause(), Cause::Unauthorized);
        assert_eq!(api(404, "404 page not found").cause(), Cause::NotFound);
        assert!(api(500, "etcdserver: leader changed").is_transient());
        assert!(!api(422, "field is immutable").is_transient());
        assert_eq!(api(404, "").to_string(), "the server answered with status 404");
    }

    #[test]
    fn what_a_credential_command_printed_is_never_shown() {
        let output = std::process::Output {
            status: std::process::ExitStatus::default(),
            stdout: b"very-secret-token".to_vec(),
            stderr: b"session expired\n".to_vec(),
        };
        let error = AuthError::AuthExecRun { cmd: "\"aws\" \"eks\"".to_owned(), out: Box::new(output) };
        let error = RequestError::from(kube::Error::Auth(error));
        assert_eq!(error.cause(), Cause::Credentials);
        insta::assert_snapshot!(error.to_string(), @"credential command `aws` failed (exit status: 0): session expired");
        assert!(!format!("{error:?}").contains("very-secret-token"));
    }

    #[test]
    fn a_certificate_from_an_unknown_authority_is_named_as_such() {
        let rustls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = io::Error::new(io::ErrorKind::InvalidData, rustls);
        let error = RequestError::from(kube::Error::Service(Box::new(error)));
        assert_eq!(error.cause(), Cause::Tls);
    }

    #[test]
    fn every_status_has_its_cause() {
        let causes = [
            (Cause::Unauthorized, &[401][..]),
            (Cause::Forbidden, &[403]),
            (Cause::NotFound, &[404]),
            (Cause::Conflict, &[409]),
            (Cause::Invalid, &[400, 413, 415, 422]),
            (Cause::Transient, &[429, 500, 503, 599]),
            (Cause::Other, &[402, 405, 410, 600]),
        ];
        for (cause, codes) in causes {
            for code in codes {
                assert_eq!(api(*code, "x").cause(), cause, "{code}");
            }
        }
        assert!(api(404, "x").is_not_found() && !api(403, "x").is_not_found());
    }

    #[test]
    fn a_namespace_that_is_going_away_passes_and_a_missing_right_does_not() {
        let forbidden = |reason: &str| {
            let cause = serde_json::json!({"reason": reason, "message": "m"});
            let status = serde_json::json!({"code": 403, "message": "no", "details": {"causes": [{"reason": "x"}, cause]}});
            let status: kube::core::Status = serde_json::from_value(status).unwrap();
            RequestError::from(kube::Error::Api(Box::new(status)))
        };
        assert_eq!(forbidden("NamespaceTerminating").cause(), Cause::Terminating);
        assert_eq!(forbidden("FieldValueForbidden").cause(), Cause::Forbidden);
        assert!(forbidden("NamespaceTerminating").is_transient());
    }

    #[test]
    fn what_may_work_in_a_moment_is_tried_again_and_nothing_else() {
        let transient = [Cause::Transient, Cause::Timeout, Cause::Refused, Cause::Terminating];
        let lasting = [
            Cause::NameResolution,
            Cause::Tls,
            Cause::Unauthorized,
            Cause::Forbidden,
            Cause::NotFound,
            Cause::Conflict,
            Cause::Invalid,
            Cause::Credentials,
            Cause::Other,
        ];
        assert!(transient.iter().all(|cause| RequestError::new(*cause, "").is_transient()));
        assert!(!lasting.iter().any(|cause| RequestError::new(*cause, "").is_transient()));
    }

    #[test]
    fn an_answer_without_a_message_is_told_by_its_reason() {
        let told = |message: &str, reason: &str| {
            let status = kube::core::Status::failure(message, reason).with_code(409).boxed();
            RequestError::from(kube::Error::Api(status)).to_string()
        };
        assert_eq!(told(" ", "AlreadyExists"), "AlreadyExists (409)");
        assert_eq!(told("it is there", "AlreadyExists"), "it is there");
        assert_eq!(told("", ""), "the server answered with status 409");
    }

    #[test]
    fn connections_that_fail_are_told_apart() {
        let of =
            |kind: io::ErrorKind| RequestError::from(kube::Error::Service(Box::new(io::Error::from(kind))));
        assert_eq!(of(io::ErrorKind::ConnectionRefused).cause(), Cause::Refused);
        assert_eq!(of(io::ErrorKind::TimedOut).cause(), Cause::Timeout);
        for kind in [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::UnexpectedEof,
        ] {
            assert_eq!(of(kind).cause(), Cause::Transient, "{kind}");
            assert!(of(kind).to_string().starts_with("the connection broke: "));
        }
        assert_eq!(of(io::ErrorKind::AddrInUse).cause(), Cause::Other);
        let elapsed = tower::timeout::error::Elapsed::new();
        assert_eq!(RequestError::from(kube::Error::Service(Box::new(elapsed))).cause(), Cause::Timeout);
        let dns = io::Error::other("dns error: no such host");
        let dns = RequestError::from(kube::Error::Service(Box::new(dns)));
        assert_eq!(dns.cause(), Cause::NameResolution);
        let auth = AuthError::ParseTokenKey(serde_json::from_str::<()>("x").unwrap_err());
        let auth = RequestError::from(kube::Error::Service(Box::new(auth)));
        assert_eq!(auth.cause(), Cause::Credentials);
        assert_eq!(auth.to_string(), "the credential command's output is not JSON");
    }

    #[test]
    fn what_is_wrong_with_a_servers_certificate_is_said_in_words() {
        use rustls::CertificateError as Certificate;
        let told = |certificate| tls_text(&rustls::Error::InvalidCertificate(certificate));
        assert!(told(Certificate::UnknownIssuer).contains("an authority that the kubeconfig does not name"));
        assert_eq!(told(Certificate::Expired), "the server's certificate has expired");
        assert_eq!(told(Certificate::NotValidForName), "the server's certificate is not for this host name");
        assert!(told(Certificate::Revoked).starts_with("the server's certificate is not accepted: "));
        assert!(tls_text(&rustls::Error::DecryptError).starts_with("TLS handshake failed: "));
    }

    #[cfg(unix)]
    #[test]
    fn a_credential_command_that_says_nothing_is_told_by_how_it_ended() {
        use std::os::unix::process::ExitStatusExt;
        let ended = |stderr: &[u8]| {
            let (status, stdout) = (std::process::ExitStatus::from_raw(256), b"token".to_vec());
            let out = Box::new(std::process::Output { status, stdout, stderr: stderr.to_vec() });
            auth_text(&AuthError::AuthExecRun { cmd: "\"aws\" \"eks\"".to_owned(), out })
        };
        assert_eq!(ended(b" \n"), "credential command `aws` failed (exit status: 1)");
        assert_eq!(ended(b"expired\n"), "credential command `aws` failed (exit status: 1): expired");
        let start = AuthError::AuthExecStart(io::Error::other("no such file"));
        assert_eq!(auth_text(&start), "the credential command did not start: no such file");
    }

    #[test]
    fn the_answer_that_is_not_what_was_asked_for_is_not_quoted() {
        let error = serde_json::from_str::<u8>("\"secret\"").unwrap_err();
        let error = RequestError::from(kube::Error::SerdeError(error));
        insta::assert_snapshot!(error.to_string(), @"the answer is not what was asked for (column 8: Data)");
        assert_eq!(error.cause(), Cause::Other);
    }
}
