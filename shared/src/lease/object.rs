//! The Lease as an object of Kubernetes: where it is, who holds it, and until when.

use std::time::Duration;

use http::header::DATE;
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Resource as _;
use kube::api::{Api, GetParams, Request};
use kube::client::Body;
use kube::core::Status;

use crate::fleet::{Connection, Need, RequestError};
use crate::report::{cut, one_line};

/// Where it is: there before `up` and after `down`, in every cluster.
pub(super) const NAMESPACE: &str = "kube-system";
/// How long it lasts without being renewed: several attempts at renewing it may fail, and nobody waits long for what a crashed run has left.
pub(super) const DURATION: Duration = Duration::from_mins(1);
/// How much of a name that somebody else wrote is told.
const MOST_TOLD: usize = 200;

/// Returns the name of a mesh's Lease. That of the mesh is a DNS label of at most 63 characters, so this one, of at most 74, is a name that
/// Kubernetes takes (253).
pub(super) fn name(mesh: &str) -> String {
    format!("spire-mesh-{mesh}")
}

/// Returns the rights that it takes to hold the Lease of a mesh. All but the one to create can be limited to its name.
#[must_use]
pub fn needs(mesh: &str) -> Vec<Need> {
    let need = |verb| Need::new(verb, "coordination.k8s.io", "leases", Some(NAMESPACE));
    let named = ["get", "update", "delete"].map(|verb| need(verb).of(&name(mesh)));
    [need("create")].into_iter().chain(named).collect()
}

pub(super) fn api(connection: &Connection) -> Api<Lease> {
    Api::namespaced(connection.client().clone(), NAMESPACE)
}

/// Who holds a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who, on which machine, in which process, doing what.
    pub who: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When it ends unless it is renewed; `None` where it says nothing that this could be told from.
    pub until: Option<Timestamp>,
}

impl Holder {
    /// Returns who holds a Lease; nobody where it was given back without being deleted.
    pub(super) fn of(lease: &Lease) -> Option<Self> {
        let spec = lease.spec.as_ref()?;
        let who = spec.holder_identity.as_deref().map(str::trim).filter(|who| !who.is_empty())?;
        let acquired = spec.acquire_time.as_ref().map(|time| time.0);
        let made = lease.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let renewed = spec.renew_time.as_ref().map(|time| time.0).or(acquired).or(made);
        let seconds = spec
            .lease_duration_seconds
            .map_or(DURATION.as_secs(), |seconds| u64::try_from(seconds).unwrap_or_default());
        let until = renewed.and_then(|time| time.checked_add(Duration::from_secs(seconds)).ok());
        Some(Self { who: cut(one_line(who), MOST_TOLD), since: acquired.or(made), until })
    }

    /// Tells whether its time was over at a time of the API server's clock.
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// The clock of an API server, told from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    ahead: SignedDuration,
}

impl Clock {
    pub(super) fn now(self) -> Timestamp {
        let ours = Timestamp::now();
        ours.checked_add(self.ahead).unwrap_or(ours)
    }

    /// Takes the time that an answer bears. Ours is as good as any where it bears none.
    fn of(answer: &http::Response<Body>) -> Self {
        let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
        let theirs = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        let ahead = theirs.map(|theirs| theirs.timestamp().duration_since(Timestamp::now()));
        Self { ahead: ahead.unwrap_or_default() }
    }
}

/// Reads a Lease, and the clock of the API server that has it.
pub(super) async fn read(
    connection: &Connection,
    name: &str,
) -> Result<(Option<Lease>, Clock), RequestError> {
    let path = Lease::url_path(&(), Some(NAMESPACE));
    let request = Request::new(path).get(name, &GetParams::default());
    let request = request.map_err(|error| RequestError::from(kube::Error::BuildRequest(error)))?;
    let answer = connection.client().send(request.map(Body::from)).await.map_err(RequestError::from)?;
    let (status, clock) = (answer.status(), Clock::of(&answer));
    let body = answer.into_body().collect().await.map_err(RequestError::from)?.to_bytes();
    if status.is_success() {
        let lease = serde_json::from_slice(&body).map_err(kube::Error::SerdeError)?;
        return Ok((Some(lease), clock));
    }
    let refused: Status = serde_json::from_slice(&body).unwrap_or_default();
    let error = RequestError::from(kube::Error::Api(Box::new(Status { code: status.as_u16(), ..refused })));
    if error.is_not_found() { Ok((None, clock)) } else { Err(error) }
}
