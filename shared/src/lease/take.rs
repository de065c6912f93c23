//! Taking the Leases of all clusters, and giving them back.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, PostParams, Preconditions};

use super::claim::Claim;
use super::error::LeaseError;
use super::held::{Held, Moment, One};
use super::object::{Holder, api, needs, read};
use crate::fleet::{Cause, ClusterErrors, Member, PerCluster, RequestError, each, missing};

/// How often somebody else may be faster.
const ATTEMPTS: usize = 5;
/// How long giving one back may take: it ends by itself, too.
const RELEASED_WITHIN: Duration = Duration::from_secs(10);

/// Whose Leases are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// Those that nobody holds, and those that have run out.
    Free,
    /// Those of others, too.
    Anybodys,
}

/// Takes the Leases of all clusters at the same time. Where one is refused, those that were taken are given back.
///
/// # Errors
/// Every cluster that refuses, with the reason.
pub async fn take<'m>(
    members: &'m [Member],
    claim: &Claim,
    taking: Taking,
) -> Result<Held<'m>, ClusterErrors<LeaseError>> {
    match each(members, |member| take_one(member, claim, taking)).await.into_all() {
        Ok(taken) => Ok(Held::new(claim.clone(), taken)),
        Err(errors) => {
            // What cannot be given back ends by itself; the reason to give it back is the one to tell.
            let _ = release(members, claim).await;
            Err(errors)
        }
    }
}

async fn take_one<'m>(member: &'m Member, claim: &Claim, taking: Taking) -> Result<One<'m>, LeaseError> {
    let lease = || claim.name.clone();
    for _ in 0..ATTEMPTS {
        let found = read(member, &claim.name).await;
        let (found, clock) = match found {
            Ok(found) => found,
            Err(source) => return Err(refused(member, claim, source).await),
        };
        let holder = found.as_ref().and_then(Holder::of);
        let held = holder.as_ref().filter(|holder| taking == Taking::Free && !holder.has_ended(clock.now()));
        if let Some(holder) = held {
            return Err(LeaseError::Held { lease: lease(), holder: holder.clone() });
        }
        let renewed = Cell::new(Moment::now());
        match write(member, &claim.lease(clock.now(), found.as_ref())).await {
            Ok(taken) => {
                let (taken, from) = (RefCell::new(taken), holder);
                return Ok(One { member, lease: taken, clock: Cell::new(clock), renewed, from });
            }
            // Somebody else was faster.
            Err(error) if matches!(error.cause(), Cause::Conflict | Cause::NotFound) => {}
            Err(source) => return Err(refused(member, claim, source).await),
        }
    }
    Err(LeaseError::Contended { lease: lease() })
}

/// Writes a Lease: a new one, or in place of the very one that was read.
async fn write(member: &Member, lease: &Lease) -> Result<Lease, RequestError> {
    let (api, params) = (api(member), PostParams::default());
    let written = match (&lease.metadata.resource_version, &lease.metadata.name) {
        (Some(_), Some(name)) => api.replace(name, &params, lease).await,
        _ => api.create(&params, lease).await,
    };
    written.map_err(RequestError::from)
}

/// Says why the API server refuses: where it is for lack of a right, all that are missing.
async fn refused(member: &Member, claim: &Claim, source: RequestError) -> LeaseError {
    let lease = claim.name.clone();
    if source.cause() == Cause::Forbidden
        && let Ok(needs) = missing(member, &needs(&claim.mesh)).await
        && !needs.is_empty()
    {
        return LeaseError::MissingRights { lease, needs };
    }
    LeaseError::Request { lease, source }
}

/// Gives back what a claim holds in all clusters, at the same time. Nothing is told from what was taken before, so that it can be done at an
/// interruption, too.
pub async fn release(members: &[Member], claim: &Claim) -> PerCluster<(), RequestError> {
    each(members, |member| async move {
        let released = tokio::time::timeout(RELEASED_WITHIN, release_one(member, claim)).await;
        released.unwrap_or_else(|_| Err(RequestError::new(Cause::Timeout, "no answer in time")))
    })
    .await
}

async fn release_one(member: &Member, claim: &Claim) -> Result<(), RequestError> {
    let mut attempts = 0..ATTEMPTS;
    loop {
        let (found, _) = read(member, &claim.name).await?;
        let Some(lease) = found.filter(|lease| claim.is_on(lease)) else { return Ok(()) };
        // Only what was read just now: not that of somebody who has taken it over since.
        let metadata = lease.metadata;
        let preconditions = Preconditions { uid: metadata.uid, resource_version: metadata.resource_version };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api(member).delete(&claim.name, &params).await.map_err(RequestError::from) {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            // A renewal was still under way.
            Err(error) if error.cause() == Cause::Conflict && attempts.next().is_some() => {}
            Err(error) => return Err(error),
        }
    }
}
