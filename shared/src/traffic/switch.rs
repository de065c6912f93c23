//! A failover that is made to happen.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures::future::join;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;
use tokio::time::{Instant, sleep};

use super::ask::{Known, Question, Step, Teller, conclude};
use super::client::Client;
use super::error::TrafficError;
use super::failover::{Done, Failover};
use super::prepare::Prepared;
use super::report::TrafficReport;
use super::restore::{bring_back, take_away};
use super::send::{Course, send};
use crate::fleet::Member;
use crate::manifest::{Deadline, deployment_ready};
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
    let started = Instant::now();
    let (seen, over, enough) = (RefCell::new(Seen::default()), Cell::new(false), Cell::new(false));
    let teller = Teller::new(name, watch, question.load);
    let sending = async {
        let cluster = prepared.member.name();
        let course = Course {
            started,
            until: started + question.timeout,
            enough: &|| enough.get(),
            tell: &|recorder| {
                if let Some(moment) = recorder.latest(&known.places) {
                    let mut seen = seen.borrow_mut();
                    let at = Some(moment.ended);
                    match (moment.succeeded, moment.cluster) {
                        (false, _) => seen.failed = at,
                        (true, Some(answering)) if answering == cluster => {
                            (seen.local, seen.succeeded) = (at, at);
                        }
                        (true, Some(_)) => (seen.remote, seen.succeeded) = (at, at),
                        (true, None) => seen.succeeded = at,
                    }
                }
                teller.tell(recorder);
            },
        };
        let sent = send(client, question.request, question.load, &known.places, course).await;
        over.set(true);
        sent
    };
    let doing = async {
        let done = switch(prepared, started, &seen, &over, watch, name).await;
        enough.set(true);
        done
    };
    let (sent, done) = join(sending, doing).await;
    let (done, restored) = done?;
    let sent = sent?;
    let timed_out = sent.timed_out;
    let judge = |recorder: &super::tally::Recorder, places: &super::attribution::Places| Failover {
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

/// Does what there is to do while requests are sent. Returns when it was done, and whether the pods are ready again.
async fn switch(
    prepared: &Prepared<'_>,
    started: Instant,
    seen: &RefCell<Seen>,
    over: &Cell<bool>,
    watch: &dyn Watch<Step>,
    name: &str,
) -> Result<(Done, bool), TrafficError> {
    let Prepared { member, namespace, name: workload, replicas, resource_version, .. } = prepared;
    let now = || started.elapsed();
    let since = |then: Duration| now().saturating_sub(then);
    let say = |text: String| watch.step(name, &Step::Doing(text));
    say(format!("sending requests before {workload} goes away"));
    let begin = Instant::now();
    while begin.elapsed() < BEFORE && !over.get() {
        sleep(LOOK).await;
    }
    say(format!("scaling {} from {replicas} to 0", prepared.workload()));
    let taken = take_away(member, namespace, workload, *replicas, resource_version).await;
    let scaled = now();
    let mut gone = None;
    if taken.is_ok() {
        say("waiting for another cluster to answer".to_owned());
        let api: Api<Deployment> = Api::namespaced(member.client().clone(), namespace);
        while since(scaled) < AWAY && !over.get() {
            sleep(LOOK).await;
            if gone.is_none()
                && let Ok(Some(deployment)) = api.get_opt(workload).await
            {
                let pods = deployment.status.and_then(|status| status.replicas).unwrap_or(0);
                gone = (pods == 0).then(now);
            }
            let Seen { remote, failed, succeeded, .. } = *seen.borrow();
            let took_over = remote
                .filter(|at| *at > scaled)
                .or_else(|| succeeded.filter(|at| gone.is_some_and(|gone| *at > gone)));
            let calm = since(failed.unwrap_or(scaled).max(scaled)) > CALM;
            if took_over.is_some() && gone.is_some() && calm {
                break;
            }
        }
    }
    say(format!("scaling {} back to {replicas}", prepared.workload()));
    let brought = bring_back(member, namespace, workload).await;
    let restored = now();
    taken?;
    brought?;
    say("waiting for its pods".to_owned());
    let ready = deployment_ready(member.client(), namespace, workload, Deadline::after(BACK)).await.is_ok();
    while since(restored) < BACK && !over.get() {
        if seen.borrow().local.is_some_and(|at| at > restored) {
            break;
        }
        sleep(LOOK).await;
    }
    let end = Instant::now();
    while end.elapsed() < AFTER && !over.get() {
        sleep(LOOK).await;
    }
    Ok((Done { scaled, gone, restored }, ready))
}
