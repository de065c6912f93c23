//! What an answer of an API server may cost: a server that is ill, or that somebody else runs, must not take memory and time without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Bytes, Frame};
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};
use tower::BoxError;

/// How much one answer may be. A page of pods is a few, and the definitions of everything that EKS users install some twenty.
const MOST: usize = 64 << 20;
/// How much all answers together may be that are read from one API server at the same time: many things are asked at once.
const MOST_AT_ONCE: usize = 128 << 20;
/// How long an answer may take from its beginning to its end, in times of how long it may stall.
const LONGEST: u32 = 10;
/// How many objects are read at a time, as by kubectl.
const PAGE: u32 = 500;
/// How many pages a list may have: a million objects.
const MOST_PAGES: usize = 2000;
/// How often a list is begun again whose next page the API server has given up.
const BEGINNINGS: usize = 3;

/// Why an answer is not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnswerProblem {
    /// Nothing more of it came.
    #[error("the answer stalled: nothing arrived for {}", humantime::format_duration(*.0))]
    Stalled(Duration),
    /// It came too slowly.
    #[error("the answer did not end within {}", humantime::format_duration(*.0))]
    Slow(Duration),
    /// It is longer than any answer has to be.
    #[error("the answer is longer than {} MiB", MOST >> 20)]
    Long,
    /// Other answers are read at the same time, and they are too much together.
    #[error("the answers that are read at the same time are longer than {} MiB together", MOST_AT_ONCE >> 20)]
    Crowded,
    /// It has more pages than any list has to have.
    #[error("the list does not end: {} objects were read", MOST_PAGES * PAGE as usize)]
    Endless,
}

impl AnswerProblem {
    /// Tells whether the same request may be answered better in a moment.
    pub(super) fn is_late(self) -> bool {
        matches!(self, Self::Stalled(_) | Self::Slow(_))
    }
}

/// How much is being read from one API server.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<AtomicUsize>);

/// What one answer has of it, until it is read or given up.
struct Share {
    all: InFlight,
    own: usize,
}

impl Share {
    /// Takes more.
    fn grow(&mut self, length: usize) -> Result<(), AnswerProblem> {
        self.own += length;
        let before = self.all.0.fetch_add(length, Ordering::Relaxed);
        if self.own > MOST {
            return Err(AnswerProblem::Long);
        }
        if before + length > MOST_AT_ONCE { Err(AnswerProblem::Crowded) } else { Ok(()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.own, Ordering::Relaxed);
    }
}

/// An answer that ends.
pub(super) type Bounded = StreamBody<BoxStream<'static, Result<Frame<Bytes>, BoxError>>>;

/// Bounds an answer's size and time. `idle` is how long it may stall, `all` what else is read from the same API server.
pub(super) fn bounded<B>(body: B, idle: Duration, all: &InFlight) -> Bounded
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let longest = idle.saturating_mul(LONGEST);
    let ends = Instant::now() + longest;
    let share = Share { all: all.clone(), own: 0 };
    let frames = stream::try_unfold((body, share), move |(mut body, mut share)| async move {
        let stalls = Instant::now() + idle;
        let late = if ends < stalls { AnswerProblem::Slow(longest) } else { AnswerProblem::Stalled(idle) };
        let frame = match timeout_at(ends.min(stalls), body.frame()).await {
            Err(_) => return Err(late.into()),
            Ok(None) => return Ok(None),
            Ok(Some(frame)) => frame.map_err(Into::<BoxError>::into)?,
        };
        share.grow(frame.data_ref().map_or(0, Bytes::len))?;
        Ok(Some((frame, (body, share))))
    });
    StreamBody::new(frames.boxed())
}

/// Lists objects page by page, and keeps of each what is needed: memory follows what is kept, and not how many objects there are.
///
/// # Errors
/// When a page cannot be read.
pub(crate) async fn listed<K, T>(
    api: &Api<K>,
    params: &ListParams,
    mut keep: impl FnMut(K) -> Option<T>,
) -> Result<Vec<T>, kube::Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut beginnings = 0;
    'whole: loop {
        beginnings += 1;
        let mut kept = Vec::new();
        let mut page = params.clone().limit(PAGE);
        for _ in 0..MOST_PAGES {
            let list = match api.list(&page).await {
                // The API server keeps what a list was at its beginning for some minutes only.
                Err(kube::Error::Api(status)) if status.code == 410 && beginnings < BEGINNINGS => {
                    continue 'whole;
                }
                list => list?,
            };
            kept.extend(list.items.into_iter().filter_map(&mut keep));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(kept),
            }
        }
        return Err(kube::Error::Service(AnswerProblem::Endless.into()));
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Pod};
    use kube::ResourceExt;
    use serde_json::json;

    use super::*;
    use crate::fleet::connect::client;
    use crate::fleet::fake::FakeServer;
    use crate::fleet::{Cause, RequestError};

    const IDLE: Duration = Duration::from_secs(30);

    /// A body of so many pieces, each after a pause.
    fn pieces(
        count: usize,
        size: usize,
        pause: Duration,
    ) -> impl Body<Data = Bytes, Error = BoxError> + Send + Unpin {
        let piece = move |_| async move {
            tokio::time::sleep(pause).await;
            Ok(Frame::data(Bytes::from(vec![b' '; size])))
        };
        StreamBody::new(stream::iter(0..count).then(piece).boxed())
    }

    async fn read(
        body: impl Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
    ) -> Result<usize, String> {
        let read = BodyExt::collect(bounded(body, IDLE, &InFlight::default())).await;
        read.map(|body| body.to_bytes().len()).map_err(|error| error.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_read_to_its_end_unless_it_stalls_or_does_not_end() {
        assert_eq!(read(pieces(0, 0, IDLE)).await, Ok(0));
        assert_eq!(read(pieces(10, 1000, Duration::from_secs(29))).await, Ok(10_000));
        let stalled = read(pieces(2, 1, Duration::from_secs(31))).await.unwrap_err();
        insta::assert_snapshot!(stalled, @"the answer stalled: nothing arrived for 30s");
        let slow = read(pieces(usize::MAX, 1, Duration::from_secs(29))).await.unwrap_err();
        insta::assert_snapshot!(slow, @"the answer did not end within 5m");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_an_end_does_not_fill_the_memory() {
        assert_eq!(read(pieces(64, 1 << 20, Duration::ZERO)).await, Ok(64 << 20));
        let long = read(pieces(usize::MAX, 1 << 20, Duration::ZERO)).await.unwrap_err();
        insta::assert_snapshot!(long, @"the answer is longer than 64 MiB");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_are_read_at_the_same_time_share_a_limit_and_give_it_back() {
        let all = InFlight::default();
        let read = async |pieces: &[usize]| {
            let bodies = pieces.iter().map(|count| self::pieces(*count, 1 << 20, Duration::from_secs(1)));
            let answers = bodies.map(|body| BodyExt::collect(bounded(body, IDLE, &all)));
            let answers: Vec<_> = futures::future::join_all(answers).await;
            answers
                .into_iter()
                .map(|answer| answer.map(drop).map_err(|error| error.to_string()))
                .collect::<Vec<_>>()
        };
        assert_eq!(read(&[60, 60]).await, [Ok(()), Ok(())]);
        let crowded = read(&[60, 60, 60]).await;
        assert_eq!(crowded.iter().filter(|answer| answer.is_ok()).count(), 2, "{crowded:?}");
        let told = crowded.into_iter().find_map(Result::err).unwrap();
        insta::assert_snapshot!(told, @"the answers that are read at the same time are longer than 128 MiB together");
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
        assert_eq!(read(&[60, 60]).await, [Ok(()), Ok(())]);
    }

    #[tokio::test]
    async fn a_client_says_what_was_wrong_with_an_answer() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").await;
                kept.push(stream);
            }
        });
        let config = kube::Config::new(url.parse().unwrap());
        let maps: Api<ConfigMap> =
            Api::default_namespaced(client(config, Duration::from_millis(50)).unwrap());
        let error = RequestError::from(maps.get("a").await.unwrap_err());
        assert_eq!(error.cause(), Cause::Timeout);
        insta::assert_snapshot!(error, @"the answer stalled: nothing arrived for 50ms");
    }

    #[tokio::test]
    async fn a_list_is_read_page_by_page_and_reduced() {
        let server = FakeServer::default();
        for index in 0..1201 {
            let label = if index % 3 == 0 { "yes" } else { "no" };
            let pod = json!({"metadata": {"labels": {"kept": label}}});
            server.put(&format!("/api/v1/namespaces/shop/pods/cart-{index:04}"), pod);
        }
        let pods: Api<Pod> = Api::all(server.member("baz").client().clone());
        let names = listed(&pods, &ListParams::default(), |pod| Some(pod.name_any())).await.unwrap();
        assert_eq!(names.len(), 1201);
        assert_eq!((names[0].as_str(), names[1200].as_str()), ("cart-0000", "cart-1200"));
        assert_eq!(server.pages(), [500, 500, 201]);
        let kept = listed(&pods, &ListParams::default().labels("kept=yes"), Some).await.unwrap();
        assert_eq!(kept.len(), 401);
        let odd = |pod: Pod| pod.name_any().ends_with('1').then_some(());
        assert_eq!(listed(&pods, &ListParams::default(), odd).await.unwrap().len(), 120);
    }

    #[tokio::test]
    async fn a_list_whose_next_page_was_given_up_is_begun_again() {
        let server = FakeServer::default();
        for index in 0..501 {
            server.put(&format!("/api/v1/namespaces/shop/pods/cart-{index:04}"), json!({}));
        }
        let pods: Api<Pod> = Api::all(server.member("baz").client().clone());
        let count = async |expired| {
            server.expire_pages(expired);
            listed(&pods, &ListParams::default(), Some).await.map(|pods| pods.len())
        };
        assert_eq!(count(2).await.unwrap(), 501);
        assert!(count(3).await.is_err());
    }
}
