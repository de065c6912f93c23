//! istiod's CA, replaced by the next one of the same root while everything runs.
//!
//! cert-manager issues it, the kubelet passes the Secret on to istiod's pod, and istiod takes it without a restart (Istio 1.31,
//! `pilot/pkg/bootstrap/istio_ca.go`). Each step is waited for and looked at: the Certificate, the Secret, what istiod logs, what it
//! presents to proxies, and whether the proxies are still connected. Workloads have their identity from SPIRE: their certificates have to
//! be the same before and after, and requests that are sent meanwhile have to be answered.
//!
//! The root is changed in steps, by which every proxy trusts istiod all the while: first istiod gives old and new root to all namespaces,
//! and kubelets pass them on to the proxies; then the issuer with the new root signs istiod's next CA, and cert-manager leaves the new root
//! alone with it. istiod takes that only with `ISTIO_MULTIROOT_MESH`, and only roots of which one list holds the other
//! (`pemBundleHasSubsetRelation`). A proxy with a certificate that istiod signed would need a new one in between, so there must be none.

mod error;
mod follow;
mod load;
mod look;
mod proxies;
mod report;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use error::RotateCaError;
pub use report::{CaIssue, CaRotationPlan, Connected, Load, NextCaStep, RotatedCa, Svids};

use self::follow::Rotation;
use self::load::Senders;
use self::look::{Looked, look};
use super::Step;
use crate::fleet::{Member, Need, RequestError, missing};
use crate::istio::NAMESPACE;
use crate::istio::istiod::served_proxies;
use crate::manifest::Deadline;
use crate::mesh::duration_text;
use crate::trust::svid::Certificate;
use crate::watch::Watch;

/// How long requests are sent before anything is changed, and after everything is done.
const AROUND: Duration = Duration::from_secs(3);

/// Which CA istiod is to sign with next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextCa {
    /// Another one of the same root, valid for `duration` where that is to change.
    SameRoot {
        /// How long it is to be valid.
        duration: Option<Duration>,
    },
    /// One of the root with which the issuer of the mesh file signs.
    OtherRoot {
        /// The longest that a kubelet takes to pass a changed `ConfigMap` on to a pod.
        kubelet_delay: Duration,
    },
}

fn subjects(roots: &[Certificate]) -> String {
    roots.iter().map(|root| root.subject.as_str()).collect::<Vec<_>>().join("; ")
}

/// Tells what rotating istiod's CA in a cluster would begin with. Changes nothing.
///
/// # Errors
/// [`RotateCaError`] where it cannot be rotated safely, with the reason.
pub async fn ca_rotation_plan(member: &Member, next: NextCa) -> Result<CaRotationPlan, RotateCaError> {
    rights(member, next).await?;
    let looked = look(member, next).await?;
    if looked.new_root().is_some() && looked.next != NextCaStep::Nothing {
        all_of_spire(&looked, &proxies(member).await?)?;
    }
    Ok(CaRotationPlan {
        cluster: member.name().to_owned(),
        issuer: looked.certificate.spec.issuer_ref.to_string(),
        new_issuer: looked.new_issuer().map(ToString::to_string),
        root: subjects(&looked.roots_before()),
        new_root: looked.new_root().map(|new| new.root.subject.clone()),
        ca: looked.in_force(),
        new_duration: looked.new_duration().map(duration_text),
        next: looked.next,
    })
}

/// Refuses to change the root while a proxy has a certificate that istiod signed: others would not accept it any more when the old root is
/// gone.
fn all_of_spire(looked: &Looked, have: &proxies::InProxies) -> Result<(), RotateCaError> {
    let signers = looked.seen.istiods.iter().filter_map(|istiod| istiod.presented.get(1));
    let signers: Vec<&Certificate> = signers.chain([&looked.secret.ca]).collect();
    let proxies = proxies::signed_by(have, &signers);
    if proxies.is_empty() { Ok(()) } else { Err(RotateCaError::OfIstiod { proxies }) }
}

/// Replaces istiod's CA in the cluster of `own`, from wherever an earlier run got to. Requests are sent from all of `members` meanwhile,
/// where the demos sleep and helloworld run.
///
/// Safe to drop at any await and to run again.
///
/// # Errors
/// [`RotateCaError`] where it is not safe, or something did not come until `deadline`. istiod goes on with the CA that it has then.
pub async fn rotate_ca(
    members: &[Member],
    own: &Member,
    next: NextCa,
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> Result<RotatedCa, RotateCaError> {
    let tell = |step: &Step| watch.step(own.name(), step);
    tell(&Step::ReadingCa);
    let before = look(own, next).await?;
    let rotation = Rotation { member: own, deadline, watch };
    let connected = served_proxies(own).await?.len();
    tell(&Step::ReadingProxies);
    let had = proxies(own).await?;
    if before.new_root().is_some() {
        all_of_spire(&before, &had)?;
    }
    let senders = Senders::find(members).await;
    let stop = AtomicBool::new(false);
    let rotated = async {
        // Dropped with this future, whatever it comes to.
        let _stop = SetOnDrop(&stop);
        tokio::time::sleep(AROUND).await;
        let (certificate, secret) = rotation.run(&before).await?;
        let after = rotation.reconnected(connected).await?;
        tell(&Step::ReadingProxies);
        let have = proxies(own).await?;
        tokio::time::sleep(AROUND).await;
        Ok::<_, RotateCaError>((certificate, secret, after, have))
    };
    let (rotated, load) = futures::join!(rotated, senders.send(&stop));
    let (certificate, secret, after, have) = rotated?;
    let done = RotatedCa {
        cluster: own.name().to_owned(),
        before: before.in_force(),
        after: CaIssue::of(&secret.ca, &certificate),
        root_before: before.new_root().map(|_| subjects(&before.roots_before())),
        root: subjects(&secret.roots),
        istiods: before.seen.istiods.len(),
        proxies: Connected { before: connected, after },
        svids: proxies::compare(&had, &have, &[&before.secret.ca, &secret.ca]),
        load,
    };
    tell(&Step::Done(format!("CA {} follows {}", done.after.serial, done.before.serial)));
    Ok(done)
}

/// Sets a flag when it is dropped.
struct SetOnDrop<'f>(&'f AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn proxies(member: &Member) -> Result<proxies::InProxies, RotateCaError> {
    proxies::read(member).await.map_err(|source| request("list the pods with a proxy", source))
}

fn request(what: &str, source: RequestError) -> RotateCaError {
    RotateCaError::Request { what: what.to_owned(), source }
}

async fn rights(member: &Member, next: NextCa) -> Result<(), RotateCaError> {
    let own = Some(NAMESPACE);
    let mut needs = vec![
        Need::new("get", "cert-manager.io", "certificates", own),
        Need::new("patch", "cert-manager.io", "certificates", own),
        Need::new("patch", "cert-manager.io", "certificates/status", own),
        Need::new("get", "", "secrets", own),
        Need::new("get", "", "configmaps", own),
        Need::new("get", "apps", "deployments", own),
        Need::new("get", "", "pods/log", own),
        Need::forward(None),
        Need::new("list", "", "pods", None),
    ];
    if let NextCa::OtherRoot { .. } = next {
        needs.extend(super::ca::needs(member));
        needs.push(Need::new("patch", "", "secrets", own));
        needs.push(Need::new("list", "", "configmaps", None));
    }
    let missing = missing(member, &needs).await.map_err(|source| request("read your rights", source))?;
    if missing.is_empty() { Ok(()) } else { Err(RotateCaError::MissingRights(missing)) }
}

#[cfg(test)]
mod tests;
