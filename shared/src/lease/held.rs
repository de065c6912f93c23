//! The Leases that a run holds, and renews while it works.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::future::select_all;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use tokio::time::Instant;

use super::claim::Claim;
use super::error::Lost;
use super::object::{Clock, DURATION, Holder, api, read};
use crate::fleet::{Cause, Member, RequestError};

/// How often one is renewed.
const RENEWED_EVERY: Duration = Duration::from_secs(15);
/// How long one attempt at it may take.
const RENEWED_WITHIN: Duration = Duration::from_secs(10);
/// When it is tried again after one that failed.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A moment by both of our clocks: one stands still while the machine sleeps, the other can be set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    steady: Instant,
    wall: Timestamp,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { steady: Instant::now(), wall: Timestamp::now() }
    }

    /// Tells whether a Lease that was renewed at this moment may still be relied on.
    fn is_recent(self) -> bool {
        let slept = Timestamp::now().duration_since(self.wall);
        self.steady.elapsed() < DURATION && Duration::try_from(slept).is_ok_and(|slept| slept < DURATION)
    }
}

/// The Lease of one cluster.
pub(super) struct One<'m> {
    pub(super) member: &'m Member,
    pub(super) lease: RefCell<Lease>,
    pub(super) clock: Cell<Clock>,
    pub(super) renewed: Cell<Moment>,
    /// Who had it before.
    pub(super) from: Option<Holder>,
}

/// The Leases that a run holds, one in every cluster.
#[must_use = "a Lease that is not renewed runs out"]
pub struct Held<'m> {
    claim: Claim,
    all: Vec<One<'m>>,
}

impl<'m> Held<'m> {
    pub(super) fn new(claim: Claim, all: Vec<One<'m>>) -> Self {
        Self { claim, all }
    }

    /// Goes through those that somebody else had before, by the name of the cluster.
    pub fn taken_over(&self) -> impl Iterator<Item = (&str, &Holder)> {
        self.all.iter().filter_map(|one| Some((one.member.name(), one.from.as_ref()?)))
    }

    /// Works, and renews the Leases meanwhile. While one has run out, because the machine slept or its API server could not be reached, the
    /// work stands still: it goes on when the Lease was renewed.
    ///
    /// # Errors
    /// The first cluster whose Lease was lost, and how. The work was dropped at an await, as an interruption drops it.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> Result<T, (String, Lost)> {
        let mut work = pin!(work);
        // With no clusters there is nothing to lose.
        let Some(losing) =
            (!self.all.is_empty()).then(|| select_all(self.all.iter().map(|one| Box::pin(self.keep(one)))))
        else {
            return Ok(work.await);
        };
        let mut losing = pin!(losing);
        poll_fn(|context| {
            if let Poll::Ready((lost, ..)) = losing.as_mut().poll(context) {
                return Poll::Ready(Err(lost));
            }
            if self.all.iter().all(|one| one.renewed.get().is_recent()) {
                work.as_mut().poll(context).map(Ok)
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Renews a Lease until it is lost.
    async fn keep(&self, one: &One<'m>) -> (String, Lost) {
        let mut pause = RENEWED_EVERY;
        loop {
            tokio::time::sleep(pause).await;
            let renewed = tokio::time::timeout(RENEWED_WITHIN, self.renew(one)).await;
            let late = || Err(Stopped::Not(RequestError::new(Cause::Timeout, "no answer in time")));
            match renewed.unwrap_or_else(|_| late()) {
                Ok(()) => pause = RENEWED_EVERY,
                Err(Stopped::Lost(lost)) => return (one.member.name().to_owned(), lost),
                Err(Stopped::Not(source)) if one.renewed.get().steady.elapsed() >= DURATION => {
                    let lease = self.claim.name.clone();
                    return (one.member.name().to_owned(), Lost::RanOut { lease, source });
                }
                Err(Stopped::Not(error)) => {
                    tracing::warn!(cluster = one.member.name(), %error, "the Lease could not be renewed; trying again");
                    pause = TRIED_AGAIN_AFTER;
                }
            }
        }
    }

    async fn renew(&self, one: &One<'m>) -> Result<(), Stopped> {
        let begun = Moment::now();
        let mut lease = one.lease.borrow().clone();
        if let Some(spec) = &mut lease.spec {
            spec.renew_time = Some(MicroTime(one.clock.get().now()));
        }
        let name = &self.claim.name;
        let written = api(one.member).replace(name, &PostParams::default(), &lease).await;
        let lease = match written.map_err(RequestError::from) {
            Ok(lease) => lease,
            Err(error) if matches!(error.cause(), Cause::Conflict | Cause::NotFound) => {
                let (found, clock) = read(one.member, name).await.map_err(Stopped::Not)?;
                one.clock.set(clock);
                let own = found.as_ref().is_some_and(|lease| self.claim.is_on(lease));
                match found {
                    // An earlier attempt got through, and its answer did not: the next renewal is on top of it.
                    Some(lease) if own => {
                        one.lease.replace(lease);
                        return Err(Stopped::Not(error));
                    }
                    Some(lease) => return Err(Stopped::Lost(self.taken_by(Holder::of(&lease)))),
                    None => return Err(Stopped::Lost(self.taken_by(None))),
                }
            }
            Err(error) => return Err(Stopped::Not(error)),
        };
        one.lease.replace(lease);
        one.renewed.set(begun);
        Ok(())
    }

    fn taken_by(&self, holder: Option<Holder>) -> Lost {
        let lease = self.claim.name.clone();
        match holder {
            Some(holder) => Lost::Taken { lease, holder },
            None => Lost::Deleted { lease },
        }
    }
}

/// Why a Lease was not renewed.
enum Stopped {
    /// It may work the next time.
    Not(RequestError),
    /// It is somebody else's.
    Lost(Lost),
}
