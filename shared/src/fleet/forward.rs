//! HTTP with a port of a pod, over the API server: what `kubectl port-forward` and `curl` do together, in one process.

use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Portforwarder};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::Cause;
use super::member::Connection;
use super::request::RequestError;
use crate::hint::{Advice, Command, Hint};
use crate::report::one_line;

/// The most bytes of an answer that are read.
const MOST_ANSWER: usize = 64 << 20;
/// How long the kubelet may take to say why a connection broke.
const REASON_WITHIN: Duration = Duration::from_millis(200);

/// How long the kubelet may take to say that nobody listens.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// How long the API server may take to begin.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);

/// A port of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPort {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// The port, as a process in the pod listens on it, on `localhost` too.
    pub port: u16,
}

impl fmt::Display for PodPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} of pod {}/{}", self.port, self.namespace, self.pod)
    }
}

/// A question that was not answered. An answer with a status other than 200 is an [`Answer`].
#[derive(Debug, thiserror::Error)]
#[error("cannot ask {at}")]
pub struct ForwardError {
    /// Where.
    pub at: PodPort,
    /// The kubeconfig context.
    pub context: String,
    /// What went wrong.
    #[source]
    pub problem: ForwardProblem,
}

/// What stopped a question.
#[derive(Debug, thiserror::Error)]
pub enum ForwardProblem {
    /// The API server refused, or has no such pod.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The connection ended before the answer did. Nobody may listen on the port.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// More than 64 MiB of answer.
    #[error("it answered with more than {} MiB", MOST_ANSWER >> 20)]
    TooMuch,
    /// The deadline passed.
    #[error("it did not answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
}

impl ForwardProblem {
    /// Tells whether the same question may be answered in a moment.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Request(error) => error.is_transient(),
            Self::Broken(_) | Self::Timeout(_) => true,
            Self::TooMuch => false,
        }
    }
}

impl Hint for ForwardError {
    fn hint(&self) -> Option<Advice> {
        let Self { at: PodPort { namespace, pod, .. }, context, problem } = self;
        match problem {
            ForwardProblem::TooMuch => None,
            ForwardProblem::Request(error) if error.cause() == Cause::Forbidden => {
                let can = Command::kubectl([
                    "-n",
                    namespace,
                    "auth",
                    "can-i",
                    "get",
                    "pods",
                    "--subresource=portforward",
                ]);
                Some(can.at(context).into())
            }
            _ => Some(Command::kubectl(["-n", namespace, "describe", "pod", pod]).at(context).into()),
        }
    }
}

/// An answer. Debug shows its size only: it may hold a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status of HTTP.
    pub status: u16,
    /// All of it.
    pub body: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer {{ status: {}, body: {} bytes }}", self.status, self.body.len())
    }
}

/// A connection to a port of a pod, on which questions are asked one after the other.
pub struct Session {
    at: PodPort,
    context: String,
    deadline: Duration,
    forwarder: Portforwarder,
    sender: SendRequest<Empty<Bytes>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}

impl Connection {
    /// Connects to a port of a pod. Connecting, and then every question, may take as long as `deadline`.
    ///
    /// # Errors
    /// [`ForwardError`] when there is no way to the pod. That nobody listens on the port shows with the first question.
    pub async fn open(&self, at: &PodPort, deadline: Duration) -> Result<Session, ForwardError> {
        let failed = |problem| ForwardError { at: at.clone(), context: self.context().to_owned(), problem };
        let (forwarder, sender) = timeout(deadline, connect(self.client(), at))
            .await
            .unwrap_or(Err(ForwardProblem::Timeout(deadline)))
            .map_err(failed)?;
        let (at, context) = (at.clone(), self.context().to_owned());
        Ok(Session { at, context, deadline, forwarder, sender })
    }
}

impl Connection {
    /// Tells whether somebody in a pod listens at a port. Nothing is sent.
    ///
    /// # Errors
    /// [`ForwardError`] when there is no way to the pod.
    pub async fn listens(&self, at: &PodPort) -> Result<bool, ForwardError> {
        let failed = |problem| ForwardError { at: at.clone(), context: self.context().to_owned(), problem };
        timeout(REFUSED_WITHIN + ANSWERS_WITHIN, listens(self.client(), at))
            .await
            .unwrap_or(Err(ForwardProblem::Timeout(ANSWERS_WITHIN)))
            .map_err(failed)
    }
}

async fn listens(client: &kube::Client, at: &PodPort) -> Result<bool, ForwardProblem> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &at.namespace);
    let mut forwarder = pods.portforward(&at.pod, &[at.port]).await.map_err(RequestError::from)?;
    let reason = forwarder.take_error(at.port);
    // Held until the end: dropping it would end the connection.
    let _stream = forwarder.take_stream(at.port);
    let told = match reason {
        // Where nobody refuses for so long, somebody listens: most servers wait for the client to speak first.
        Some(reason) => timeout(REFUSED_WITHIN, reason).await.ok().flatten(),
        None => None,
    };
    forwarder.abort();
    match told {
        Some(text) if text.contains("refused") => Ok(false),
        Some(text) => Err(ForwardProblem::Broken(one_line(&text))),
        None => Ok(true),
    }
}

async fn connect(
    client: &kube::Client,
    at: &PodPort,
) -> Result<(Portforwarder, SendRequest<Empty<Bytes>>), ForwardProblem> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &at.namespace);
    let mut forwarder = pods.portforward(&at.pod, &[at.port]).await.map_err(RequestError::from)?;
    let stream = forwarder
        .take_stream(at.port)
        .ok_or_else(|| ForwardProblem::Broken("it has no stream".to_owned()))?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    // Ends by itself when the session is dropped, and with it both ends of the stream.
    tokio::spawn(connection);
    Ok((forwarder, sender))
}

impl Session {
    /// Asks for a page, path and query as they are sent.
    ///
    /// # Errors
    /// [`ForwardError`] when no whole answer comes in time, or it is longer than 64 MiB.
    pub async fn get(&mut self, path: &str) -> Result<Answer, ForwardError> {
        let answer = match timeout(self.deadline, send(&mut self.sender, "localhost", path)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(problem)) => problem,
            Err(_) => ForwardProblem::Timeout(self.deadline),
        };
        let problem = match answer {
            ForwardProblem::Broken(broken) => ForwardProblem::Broken(self.reason().await.unwrap_or(broken)),
            problem => problem,
        };
        Err(ForwardError { at: self.at.clone(), context: self.context.clone(), problem })
    }

    /// Returns what the kubelet says of a connection that broke.
    async fn reason(&mut self) -> Option<String> {
        let reason = self.forwarder.take_error(self.at.port)?;
        Some(one_line(&timeout(REASON_WITHIN, reason).await.ok()??))
    }
}

/// Asks for one page over a connection that exists.
pub(crate) async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    path: &str,
) -> Result<Answer, ForwardProblem> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    tokio::spawn(connection);
    send(&mut sender, host, path).await
}

fn broken(error: &hyper::Error) -> ForwardProblem {
    ForwardProblem::Broken(one_line(&error.to_string()))
}

async fn send(
    sender: &mut SendRequest<Empty<Bytes>>,
    host: &str,
    path: &str,
) -> Result<Answer, ForwardProblem> {
    let request = Request::get(path)
        .header(hyper::header::HOST, host)
        .body(Empty::new())
        .map_err(|error| ForwardProblem::Broken(error.to_string()))?;
    sender.ready().await.map_err(|error| broken(&error))?;
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = response.status().as_u16();
    let body =
        Limited::new(response.into_body(), MOST_ANSWER).collect().await.map_err(|error| match error
            .downcast::<hyper::Error>(
        ) {
            Ok(error) => broken(&error),
            Err(_) => ForwardProblem::TooMuch,
        })?;
    Ok(Answer { status, body: body.to_bytes().into() })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    async fn answered(answer: &'static [u8]) -> Result<Answer, ForwardProblem> {
        let (near, mut far) = duplex(1 << 16);
        tokio::spawn(async move {
            let mut request = [0; 1024];
            let length = far.read(&mut request).await.expect("a request");
            assert!(request[..length].starts_with(b"GET /config_dump?resource=x HTTP/1.1\r\n"));
            far.write_all(answer).await.expect("it can be written");
        });
        ask(near, "localhost", "/config_dump?resource=x").await
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_end_whatever_its_status() {
        let answer = answered(b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnone").await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (404, b"none".as_slice()));
        assert_eq!(format!("{answer:?}"), "Answer { status: 404, body: 4 bytes }");
    }

    #[tokio::test]
    async fn an_answer_that_ends_early_is_none() {
        let problem = answered(b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\nhalf").await.unwrap_err();
        assert!(matches!(problem, ForwardProblem::Broken(_)), "{problem:?}");
        let problem = answered(b"").await.unwrap_err();
        assert!(problem.is_transient(), "{problem:?}");
    }

    fn error(problem: ForwardProblem) -> ForwardError {
        let at = PodPort { namespace: "shop".to_owned(), pod: "cart-1".to_owned(), port: 15000 };
        ForwardError { at, context: "foo".to_owned(), problem }
    }

    #[test]
    fn a_port_that_was_not_asked_is_named_with_the_next_step() {
        let late = error(ForwardProblem::Timeout(REASON_WITHIN));
        insta::assert_snapshot!(late.to_string(), @"cannot ask port 15000 of pod shop/cart-1");
        insta::assert_snapshot!(late.problem.to_string(), @"it did not answer within 200ms");
        insta::assert_snapshot!(late.hint().unwrap(), @"kubectl --context foo -n shop describe pod cart-1");
        let forbidden = error(RequestError::new(Cause::Forbidden, "no").into());
        insta::assert_snapshot!(forbidden.hint().unwrap(), @"kubectl --context foo -n shop auth can-i get pods --subresource=portforward");
        assert_eq!(error(RequestError::new(Cause::NotFound, "no").into()).hint(), late.hint());
        let much = error(ForwardProblem::TooMuch);
        let told = (much.hint(), much.problem.to_string());
        assert_eq!(told, (None, "it answered with more than 64 MiB".to_owned()));
    }

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        let request = |cause| ForwardProblem::Request(RequestError::new(cause, "why"));
        assert!(request(Cause::Timeout).is_transient());
        assert!(!request(Cause::NotFound).is_transient());
        assert!(ForwardProblem::Timeout(REASON_WITHIN).is_transient());
        assert!(!ForwardProblem::TooMuch.is_transient());
    }

    #[tokio::test]
    async fn the_host_is_the_one_that_was_named() {
        let (near, mut far) = duplex(1 << 16);
        let seen = tokio::spawn(async move {
            let mut request = [0; 1024];
            let length = far.read(&mut request).await.expect("a request");
            far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("it can be written");
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        assert_eq!(ask(near, "istiod.example", "/x").await.unwrap().status, 204);
        let request = seen.await.unwrap();
        assert!(request.contains("host: istiod.example\r\n"), "{request}");
    }
}
