//! Repeats requests that failed for a reason that passes by itself.

use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use tower::BoxError;
use tower::retry::Policy;

/// How often one request is repeated. With the delays below that is 3.1 seconds in all; what takes longer is for the
/// waits of `manifest`, which tell the user.
const REPEATS: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest that a server's `Retry-After` is obeyed.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Repeats a request on 429, and one that may safely be sent twice also on 5xx and on a broken connection.
///
/// kube's own policy waits up to 1000 seconds between attempts and takes no notice of broken connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeat {
    attempts: u32,
}

fn may_be_sent_twice(method: &Method) -> bool {
    // PATCH is server-side apply here, which sets the same fields to the same values again.
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::PATCH | Method::DELETE)
}

impl Repeat {
    fn delay<B>(&self, method: &Method, result: &Result<Response<B>, BoxError>) -> Option<Duration> {
        if self.attempts >= REPEATS {
            return None;
        }
        let backoff = FIRST_DELAY * 2_u32.pow(self.attempts);
        match result {
            Ok(response) => {
                let repeat = match response.status() {
                    StatusCode::TOO_MANY_REQUESTS => true,
                    status => status.is_server_error() && may_be_sent_twice(method),
                };
                let asked = response.headers().get(http::header::RETRY_AFTER);
                let asked =
                    asked.and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
                repeat.then(|| asked.map_or(backoff, |asked| asked.max(backoff).min(LONGEST_DELAY)))
            }
            // A connection that cannot be made is reported at once: the address is probably wrong.
            Err(error) => {
                let broken = error
                    .downcast_ref::<hyper_util::client::legacy::Error>()
                    .is_some_and(|error| !error.is_connect());
                (broken && may_be_sent_twice(method)).then_some(backoff)
            }
        }
    }
}

impl<B> Policy<Request<Body>, Response<B>, BoxError> for Repeat {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        result: &mut Result<Response<B>, BoxError>,
    ) -> Option<Self::Future> {
        let delay = self.delay(request.method(), result)?;
        self.attempts += 1;
        tracing::debug!(path = request.uri().path(), attempt = self.attempts, ?delay, "repeating a request");
        Some(tokio::time::sleep(delay))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut clone = Request::new(request.body().try_clone()?);
        *clone.method_mut() = request.method().clone();
        *clone.uri_mut() = request.uri().clone();
        *clone.version_mut() = request.version();
        *clone.headers_mut() = request.headers().clone();
        *clone.extensions_mut() = request.extensions().clone();
        Some(clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(repeat: &Repeat, method: &Method, status: u16, retry_after: &str) -> Option<Duration> {
        let answer = Response::builder().status(status).header(http::header::RETRY_AFTER, retry_after);
        repeat.delay(method, &Ok(answer.body(()).unwrap()))
    }

    #[test]
    fn only_requests_that_may_be_sent_twice_are_repeated_on_server_errors() {
        let repeat = Repeat::default();
        assert_eq!(delay(&repeat, &Method::GET, 500, ""), Some(FIRST_DELAY));
        assert_eq!(delay(&repeat, &Method::POST, 500, ""), None);
        assert_eq!(delay(&repeat, &Method::POST, 429, ""), Some(FIRST_DELAY));
        assert_eq!(delay(&repeat, &Method::GET, 404, ""), None);
    }

    #[test]
    fn repeating_ends_and_obeys_the_server_within_bounds() {
        assert_eq!(delay(&Repeat { attempts: REPEATS }, &Method::GET, 503, ""), None);
        assert_eq!(delay(&Repeat::default(), &Method::GET, 429, "86400"), Some(LONGEST_DELAY));
    }

    #[test]
    fn each_repeat_waits_twice_as_long_and_the_server_may_ask_for_more() {
        let waits = (0..REPEATS).map(|attempts| delay(&Repeat { attempts }, &Method::GET, 503, ""));
        let expected = [100, 200, 400, 800, 1600].map(|millis| Some(Duration::from_millis(millis)));
        assert_eq!(waits.collect::<Vec<_>>(), expected);
        let asked = |attempts, seconds| delay(&Repeat { attempts }, &Method::GET, 503, seconds);
        assert_eq!(asked(0, "2"), Some(Duration::from_secs(2)));
        assert_eq!(asked(4, "1"), Some(Duration::from_millis(1600)), "not sooner than by itself");
        assert_eq!(asked(0, "5"), Some(LONGEST_DELAY));
        assert_eq!(asked(0, "6"), Some(LONGEST_DELAY));
        assert_eq!(asked(0, "soon"), Some(FIRST_DELAY));
    }

    #[test]
    fn every_method_that_sets_what_it_sets_again_is_repeated() {
        let repeat = Repeat::default();
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(delay(&repeat, &method, 599, ""), Some(FIRST_DELAY), "{method}");
        }
        for status in [200, 301, 400, 404, 409, 422] {
            assert_eq!(delay(&repeat, &Method::GET, status, ""), None, "{status}");
        }
        let refused: Result<Response<()>, BoxError> = Err("refused".into());
        assert_eq!(repeat.delay(&Method::GET, &refused), None);
    }

    #[tokio::test]
    async fn a_repeat_is_counted_and_the_same_request() {
        let mut repeat = Repeat::default();
        let request = Request::builder().method(Method::PATCH).uri("/api?x=1").header("x-a", "b");
        let mut request = request.body(Body::from(b"text".to_vec())).unwrap();
        let clone = Policy::<_, Response<()>, _>::clone_request(&mut repeat, &request).unwrap();
        assert_eq!(
            (clone.method(), clone.uri(), clone.headers()),
            (request.method(), request.uri(), request.headers())
        );
        assert_eq!(clone.into_body().collect_bytes().await.unwrap(), "text");
        let mut busy = Ok(Response::builder().status(503).body(()).unwrap());
        for attempts in 1..=REPEATS {
            assert!(repeat.retry(&mut request, &mut busy).is_some());
            assert_eq!(repeat.attempts, attempts);
        }
        assert!(repeat.retry(&mut request, &mut busy).is_none());
    }
}
