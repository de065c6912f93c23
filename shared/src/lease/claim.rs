//! What a run writes into a Lease, and recognizes again as its own.

use std::time::Duration;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;

use super::object::{DURATION, NAMESPACE, name};
use crate::report::{cut, one_line};

/// How much is written of the name of a user, or of a machine.
const MOST_OF_A_NAME: usize = 64;

/// The claim of one run to the Leases of one mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub(super) mesh: String,
    pub(super) name: String,
    who: String,
    /// When the run began, by its own clock: with `who`, what no other run has.
    since: Timestamp,
}

impl Claim {
    /// Makes the claim of this process, for a mesh, to do `command`.
    #[must_use]
    pub fn new(mesh: &str, command: &str) -> Self {
        let user = ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(|name| std::env::var(name).ok());
        let host = hostname::get().ok().map(|host| host.to_string_lossy().into_owned());
        let short = |text: String| cut(one_line(&text), MOST_OF_A_NAME);
        let user = user.map_or_else(|| "somebody".to_owned(), short);
        let host = host.map_or_else(|| "an unknown machine".to_owned(), short);
        let who = format!("{user}@{host} (process {}, {command})", std::process::id());
        Self::of(mesh, who, Timestamp::now())
    }

    pub(super) fn of(mesh: &str, who: String, since: Timestamp) -> Self {
        // As exact as a Lease is, or it would not be recognized.
        let micros = TimestampRound::new().smallest(Unit::Microsecond).mode(RoundMode::Trunc);
        let since = since.round(micros).unwrap_or(since);
        Self { mesh: mesh.to_owned(), name: name(mesh), who, since }
    }

    /// Returns the Lease that says so: made anew, or in place of one that was read.
    pub(super) fn lease(&self, renewed: Timestamp, instead_of: Option<&Lease>) -> Lease {
        let before = instead_of.and_then(|lease| lease.spec.as_ref()?.lease_transitions);
        let version = instead_of.and_then(|lease| lease.metadata.resource_version.clone());
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(NAMESPACE.to_owned()),
                resource_version: version,
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.who.clone()),
                acquire_time: Some(MicroTime(self.since)),
                renew_time: Some(MicroTime(renewed)),
                lease_duration_seconds: Some(seconds(DURATION)),
                lease_transitions: instead_of.map(|_| before.unwrap_or_default().saturating_add(1)),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Tells whether a Lease is held by this very run.
    pub(super) fn is_on(&self, lease: &Lease) -> bool {
        lease.spec.as_ref().is_some_and(|spec| {
            spec.holder_identity.as_ref() == Some(&self.who)
                && spec.acquire_time.as_ref().is_some_and(|time| time.0 == self.since)
        })
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}
