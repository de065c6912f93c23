//! A failover that is made to happen.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures::future::join;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;
use tokio::time::{Instant, sleep};

use super::ask::{Known, Question, Step, Teller, conclude};
use super::attribution::Places;
use super::client::Client;
use super::error::TrafficError;
use super::failover::{Done, Failover};
use super::prepare::Prepared;
use super::report::TrafficReport;
use super::restore::{bring_back, take_away};
use super::send::{Course, send};
use super::service::behind;
use super::tally::{Moment, Recorder};
use crate::fleet::Member;
use crate::manifest::{Deadline, workload_ready};
use crate::path::ServiceName;
use crate::watch::Watch;

/// How long requests go on before anything is changed.
const BEFORE: Duration = Duration::from_secs(3);
/// How long without a failure after another cluster's first answer, until it counts as having taken over.
const CALM: Duration = Duration::from_secs(5);
/// How long another cluster's answer is waited for.
const AWAY: Duration = Duration::from_secs(45);
/// How long the first answer of pods that are back is waited for.
const BACK: Duration = Duration::from_secs(30);
/// How long requests go on after it.
const AFTER: Duration = Duration::from_secs(2);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(250);

/// What the last answers say about who answers.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    remote: Option<Duration>,
    local: Option<Duration>,
    failed: Option<Duration>,
    succeeded: Option<Duration>,
}

impl Seen {
    /// Takes notice of an answer, where the pods of `cluster` are those that go away.
    fn take(&mut self, moment: Moment<'_>, cluster: &str) {
        let at = Some(moment.ended);
        match (moment.succeeded, moment.cluster) {
            (false, _) => self.failed = at,
            (true, Some(answering)) if answering == cluster => (self.local, self.succeeded) = (at, at),
            (true, Some(_)) => (self.remote, self.succeeded) = (at, at),
            (true, None) => self.succeeded = at,
        }
    }

    /// Tells whether others have taken over: another cluster, or somebody without a name since the last pod had gone, and no request has
    /// failed for a while.
    fn took_over(&self, scaled: Duration, gone: Option<Duration>, now: Duration) -> bool {
        let Some(gone) = gone else { return false };
        let others = self.remote.is_some_and(|at| at > scaled) || self.succeeded.is_some_and(|at| at > gone);
        let last = self.failed.unwrap_or(scaled).max(scaled);
        others && now.saturating_sub(last) > CALM
    }
}

/// A failover under way: what is done, and what is seen of its answers meanwhile.
struct Stage<'s> {
    prepared: &'s Prepared<'s>,
    started: Instant,
    /// The pods that may answer; those that come back have other names than those that went.
    places: RefCell<Places>,
    service: Option<&'s ServiceName>,
    /// The client's.
    network: &'s str,
    seen: RefCell<Seen>,
    /// Whether nothing is sent any more.
    over: Cell<bool>,
}

/// Takes the pods away while requests are sent, waits until others answer, and brings the pods back, whatever happens in between.
///
/// # Errors
/// [`TrafficError`] when nothing could be sent, or the workload cannot be scaled. Its pods are brought back before.
///
/// # Caveats
/// Dropped in between, it leaves the workload without pods: who drops it calls [`bring_back`].
pub async fn fail_over(
    client: &Client<'_>,
    question: Question<'_>,
    members: &[Member],
    prepared: &Prepared<'_>,
    mut known: Known,
    watch: &dyn Watch<Step>,
) -> Result<(TrafficReport, bool), TrafficError> {
    let name = client.member.name();
    let stage = Stage {
        prepared,
        started: Instant::now(),
        places: RefCell::new(known.places.clone()),
        service: known.service.as_ref(),
        network: &client.viewpoint().cluster.network,
        seen: RefCell::default(),
        over: Cell::new(false),
    };
    let enough = Cell::new(false);
    let teller = Teller::new(name, watch, question.load);
    let sending = async {
        let course = Course {
            started: stage.started,
            until: stage.started + question.timeout,
            enough: &|| enough.get(),
            tell: &|recorder| {
                stage.see(recorder);
                teller.tell(recorder);
            },
        };
        let sent = send(client, question.request, question.load, &known.places, course).await;
        stage.over.set(true);
        sent
    };
    let doing = async {
        let done = stage.run(&|text| watch.step(name, &Step::Doing(text))).await;
        enough.set(true);
        done
    };
    let (sent, done) = join(sending, doing).await;
    let (done, restored) = done?;
    let sent = sent?;
    let timed_out = sent.timed_out;
    let judge = |recorder: &Recorder, places: &Places| Failover {
        restored,
        ..Failover::judge(
            prepared.workload(),
            prepared.member.name(),
            prepared.replicas,
            done,
            &recorder.moments(places),
        )
    };
    let report = conclude(client, question, members, watch, &mut known, sent, Some(&judge)).await;
    Ok((report, timed_out))
}

impl Stage<'_> {
    /// Takes notice of the last answer.
    fn see(&self, recorder: &Recorder) {
        let places = self.places.borrow();
        let Some(moment) = recorder.latest(&places) else { return };
        self.seen.borrow_mut().take(moment, self.prepared.member.name());
    }

    fn since(&self, then: Duration) -> Duration {
        self.started.elapsed().saturating_sub(then)
    }

    /// Waits, unless nothing is sent any more.
    async fn wait(&self, time: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < time && !self.over.get() {
            sleep(LOOK).await;
        }
    }

    /// Does what there is to do while requests are sent. Returns when it was done, and whether the pods are ready again.
    async fn run(&self, say: &dyn Fn(String)) -> Result<(Done, bool), TrafficError> {
        let Prepared { member, namespace, name, replicas, resource_version, .. } = self.prepared;
        say(format!("sending requests before {name} goes away"));
        self.wait(BEFORE).await;
        say(format!("scaling {} from {replicas} to 0", self.prepared.workload()));
        let taken = take_away(member, namespace, name, *replicas, resource_version).await;
        let scaled = self.started.elapsed();
        let mut gone = None;
        if taken.is_ok() {
            say("waiting for another cluster to answer".to_owned());
            gone = self.wait_for_others(scaled).await;
        }
        say(format!("scaling {} back to {replicas}", self.prepared.workload()));
        let brought = bring_back(member, namespace, name).await;
        let restored = self.started.elapsed();
        taken?;
        brought?;
        say("waiting for its pods".to_owned());
        let ready = workload_ready::<Deployment>(member.client(), namespace, name, Deadline::after(BACK))
            .await
            .is_ok();
        self.learn().await;
        say("waiting for their answers".to_owned());
        while self.since(restored) < BACK && !self.over.get() {
            if self.seen.borrow().local.is_some_and(|at| at > restored) {
                break;
            }
            sleep(LOOK).await;
        }
        self.wait(AFTER).await;
        Ok((Done { scaled, gone, restored }, ready))
    }

    /// Waits until another cluster has taken over. Returns when the last pod had gone, where that was seen.
    async fn wait_for_others(&self, scaled: Duration) -> Option<Duration> {
        let Prepared { member, namespace, name, .. } = self.prepared;
        let api: Api<Deployment> = Api::namespaced(member.client().clone(), namespace);
        let mut gone = None;
        while self.since(scaled) < AWAY && !self.over.get() {
            sleep(LOOK).await;
            if gone.is_none()
                && let Ok(Some(deployment)) = api.get_opt(name).await
            {
                let pods = deployment.status.and_then(|status| status.replicas).unwrap_or(0);
                gone = (pods == 0).then(|| self.started.elapsed());
            }
            if self.seen.borrow().took_over(scaled, gone, self.started.elapsed()) {
                break;
            }
        }
        gone
    }

    /// Learns the names of pods that are there now.
    async fn learn(&self) {
        let Some(service) = self.service else { return };
        let now = behind(std::slice::from_ref(self.prepared.member), service, self.network).await;
        self.places.borrow_mut().learn(now.places);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn seen(answers: &[(f64, Option<&str>)]) -> Seen {
        let mut seen = Seen::default();
        for (at, cluster) in answers {
            let moment = Moment {
                started: seconds(at - 0.1),
                ended: seconds(*at),
                succeeded: cluster.is_some(),
                cluster: cluster.filter(|name| !name.is_empty()),
            };
            seen.take(moment, "foo");
        }
        seen
    }

    #[test]
    fn the_last_answer_of_each_kind_is_kept() {
        let seen = seen(&[(1.0, Some("foo")), (2.0, Some("bar")), (3.0, None), (4.0, Some(""))]);
        let at = |at: f64| Some(seconds(at));
        assert_eq!(
            (seen.local, seen.remote, seen.failed, seen.succeeded),
            (at(1.0), at(2.0), at(3.0), at(4.0))
        );
        let after = self::seen(&[(1.0, Some("bar")), (2.0, Some("foo"))]);
        assert_eq!((after.local, after.remote, after.succeeded), (at(2.0), at(1.0), at(2.0)));
    }

    #[test]
    fn others_have_taken_over_when_they_answer_all_pods_have_gone_and_nothing_fails_for_a_while() {
        let (scaled, gone) = (seconds(10.0), Some(seconds(12.0)));
        let after =
            |answers: &[(f64, Option<&str>)], now: f64| seen(answers).took_over(scaled, gone, seconds(now));
        assert!(after(&[(11.0, Some("bar"))], 15.1));
        assert!(!after(&[(11.0, Some("bar"))], 15.0), "it is not calm for long enough");
        assert!(!after(&[(10.0, Some("bar"))], 20.0), "it answered before");
        assert!(!after(&[], 20.0));
        assert!(after(&[(12.1, Some(""))], 20.0) && !after(&[(12.0, Some(""))], 20.0));
        assert!(
            after(&[(11.0, Some("bar")), (14.0, None)], 19.1)
                && !after(&[(11.0, Some("bar")), (14.0, None)], 19.0)
        );
        assert!(
            after(&[(5.0, None), (11.0, Some("bar"))], 15.1),
            "what failed before the scaling is of the past"
        );
        assert!(!seen(&[(11.0, Some("bar"))]).took_over(scaled, None, seconds(20.0)), "pods are still there");
    }
}
