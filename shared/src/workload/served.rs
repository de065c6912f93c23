//! A connection to an API server that answers from a list, for the tests of what is read of a cluster.

use std::convert::Infallible;

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

use crate::fleet::Connection;

/// Connects to a cluster `foo` that has these objects and lists by path. Whatever is not in them it has never heard of (404).
///
/// A path with a question mark is that of one query only. A number in the place of an object is the status of a refusal, 403.
pub(crate) fn connection(answers: &[(&str, Value)]) -> Connection {
    let answers: Vec<(String, Value)> =
        answers.iter().map(|(path, answer)| ((*path).to_owned(), answer.clone())).collect();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let whole = format!("{path}?{}", query.trim_start_matches('&'));
        let found = answers.iter().find(|(known, _)| known == path || *known == whole);
        let answer = found.map_or_else(|| json!(404), |(_, answer)| answer.clone());
        let status = answer.as_u64().and_then(|status| u16::try_from(status).ok());
        let body = match status {
            Some(code) => {
                let reason = if code == 404 { "NotFound" } else { "Forbidden" };
                let (kind, status) = ("Status", "Failure");
                json!({"kind": kind, "apiVersion": "v1", "status": status, "code": code, "reason": reason})
            }
            None => answer,
        };
        let response = Response::builder().status(status.unwrap_or(200));
        let response = response.body(Body::from(body.to_string().into_bytes())).expect("a response");
        async { Ok::<_, Infallible>(response) }
    });
    Connection::of("foo", kube::Client::new(service, "default"))
}

/// Makes the answer to a request for a list.
pub(crate) fn list(items: &[Value]) -> Value {
    json!({"metadata": {}, "items": items})
}
