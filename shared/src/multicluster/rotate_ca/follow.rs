//! One rotation, step by step.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::look::{Change, Looked, NewRoot};
use super::report::NextCaStep;
use super::{RotateCaError, request};
use crate::fleet::{Cause, Member, RequestError};
use crate::istio::NAMESPACE;
use crate::istio::ca::{
    CA_SECRET, CaSecret, CaState, CaUnread, CertificateV1, ROOT_CONFIG_MAP, SecretError, SeenCa, SeenIstiod,
    observe, published_roots, read_secret, same,
};
use crate::istio::istiod::served_proxies;
use crate::manifest::wait::until;
use crate::manifest::{Deadline, Poll, Tool};
use crate::multicluster::Step;
use crate::trust::svid::Certificate;
use crate::watch::Watch;

/// The key of a Secret of cert-manager's under which the roots are.
const ROOTS: &str = "ca.crt";

/// How long changing the Certificate alone may take to make cert-manager issue.
const NOTICED: Duration = Duration::from_secs(10);

pub(super) struct Rotation<'r> {
    pub(super) member: &'r Member,
    pub(super) deadline: Deadline<'r>,
    pub(super) watch: &'r dyn Watch<Step>,
}

impl Rotation<'_> {
    /// Has the next CA issued and follows it until every pod of istiod presents a certificate of it.
    pub(super) async fn run(&self, before: &Looked) -> Result<(CertificateV1, CaSecret), RotateCaError> {
        if let Some(new) = before.new_root() {
            self.trust(before, new).await?;
        }
        let (certificate, secret) = match before.next {
            NextCaStep::AwaitReload | NextCaStep::Nothing => {
                (before.certificate.clone(), before.secret.clone())
            }
            NextCaStep::TrustBoth | NextCaStep::AwaitTrust | NextCaStep::Issue | NextCaStep::AwaitIssue => {
                self.step(&Step::IssuingCa);
                if before.next != NextCaStep::AwaitIssue {
                    self.trigger(before).await?;
                }
                let certificate = self.issued(&before.certificate).await?;
                (certificate, self.filled(before).await?)
            }
        };
        self.taken(&before.seen, before.next == NextCaStep::AwaitReload).await?;
        Ok((certificate, secret))
    }

    /// Has every proxy trust the new root beside the old one, from wherever that is now.
    async fn trust(&self, before: &Looked, new: &NewRoot) -> Result<(), RotateCaError> {
        match before.next {
            NextCaStep::TrustBoth => {
                self.step(&Step::AddingRoot);
                self.add_root(&new.root).await?;
                self.taken(&before.seen, false).await?;
            }
            NextCaStep::AwaitTrust => self.taken(&before.seen, true).await?,
            // An earlier run may have been interrupted before the kubelets had their time.
            NextCaStep::Issue => {}
            NextCaStep::AwaitIssue | NextCaStep::AwaitReload | NextCaStep::Nothing => return Ok(()),
        }
        self.published(&new.root).await?;
        self.step(&Step::WaitingForKubelets(new.kubelet_delay));
        let begun = Instant::now();
        let passed = until(self.deadline, "the kubelets to pass both roots on to the proxies", || async {
            let left = new.kubelet_delay.saturating_sub(begun.elapsed());
            if left.is_zero() {
                Poll::Ready(())
            } else {
                Poll::Pending(format!("{} s are left", left.as_secs()))
            }
        });
        passed.await?;
        // A renewal by the old issuer takes the new root out again. Signed now, the next CA would have a root that istiod does not take.
        match read_secret(self.member).await? {
            Some(now) if now.roots.contains(&new.root) => Ok(()),
            _ => Err(self.renewed()),
        }
    }

    fn renewed(&self) -> RotateCaError {
        RotateCaError::RenewedMeanwhile { cluster: self.member.name().to_owned() }
    }

    /// Adds a root to those in the Secret. cert-manager leaves them alone until it issues the next certificate.
    async fn add_root(&self, root: &Certificate) -> Result<(), RotateCaError> {
        let secrets: Api<Secret> = Api::namespaced(self.member.client().clone(), NAMESPACE);
        let unread = |error: kube::Error| RotateCaError::from(SecretError::from(RequestError::from(error)));
        let secret = secrets.get(CA_SECRET).await.map_err(unread)?;
        let Some(roots) = secret.data.as_ref().and_then(|data| data.get(ROOTS)) else {
            return Err(SecretError::Incomplete(ROOTS).into());
        };
        let patch = json!({
            // Refused where cert-manager has just issued another one.
            "metadata": { "resourceVersion": secret.metadata.resource_version },
            "data": { ROOTS: ByteString(with_root(&roots.0, root)) },
        });
        let changed = secrets.patch(CA_SECRET, &params(), &Patch::Merge(patch)).await;
        let what = format!("add the root to Secret {NAMESPACE}/{CA_SECRET}");
        changed.map(drop).map_err(|error| request(&what, error.into()))
    }

    /// Waits until istiod has given a root to every namespace.
    async fn published(&self, root: &Certificate) -> Result<(), RotateCaError> {
        let maps: Api<ConfigMap> = Api::all(self.member.client().clone());
        let named = ListParams::default().fields(&format!("metadata.name={ROOT_CONFIG_MAP}"));
        let published = until(self.deadline, "istiod to give the new root to every namespace", || async {
            let maps = match maps.list(&named).await.map_err(RequestError::from) {
                Ok(maps) => maps.items,
                Err(error) => return error.into(),
            };
            let without = maps.iter().filter(|map| !published_roots(map).contains(root));
            let without: Vec<String> = without.filter_map(|map| map.metadata.namespace.clone()).collect();
            let of = maps.len();
            self.step(&Step::WaitingForNamespaces { done: of - without.len(), of });
            match without.first() {
                None => Poll::Ready(()),
                Some(first) => Poll::Pending(format!("{} have it not, among them {first}", without.len())),
            }
        });
        Ok(published.await?)
    }

    fn certificates(&self) -> Api<CertificateV1> {
        Api::namespaced(self.member.client().clone(), NAMESPACE)
    }

    /// Makes cert-manager issue the next CA: by what is to change in it, which it notices by itself, or as `cmctl renew` does.
    async fn trigger(&self, looked: &Looked) -> Result<(), RotateCaError> {
        let before = &looked.certificate;
        let what = format!("change Certificate {NAMESPACE}/{CA_SECRET}");
        if let Some(spec) = looked.new_spec() {
            let patch = Patch::Merge(json!({ "spec": spec }));
            let changed = self.certificates().patch(CA_SECRET, &params(), &patch).await;
            changed.map_err(|error| request(&what, error.into()))?;
            let begun = Instant::now();
            while begun.elapsed() < NOTICED {
                let now =
                    self.certificates().get(CA_SECRET).await.map_err(|error| request(&what, error.into()))?;
                if is_under_way(before, &now) {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        let renewed = until(self.deadline, "cert-manager to be told to issue istiod's CA", || async {
            let now = match self.certificates().get(CA_SECRET).await.map_err(RequestError::from) {
                Ok(now) => now,
                Err(error) => return error.into(),
            };
            if is_under_way(before, &now) {
                return Poll::Ready(Ok(()));
            }
            let patch = Patch::Merge(now.renewal(Timestamp::now()));
            let status = self.certificates().patch_status(CA_SECRET, &params(), &patch).await;
            match status.map_err(RequestError::from) {
                Ok(_) => Poll::Ready(Ok(())),
                // Somebody has changed it in between.
                Err(error) if error.cause() == Cause::Conflict => Poll::Pending(error.to_string()),
                Err(error) if error.is_transient() => Poll::Pending(error.to_string()),
                Err(source) => Poll::Ready(Err(request(&what, source))),
            }
        });
        renewed.await?
    }

    /// Waits until cert-manager has issued the next one.
    async fn issued(&self, before: &CertificateV1) -> Result<CertificateV1, RotateCaError> {
        let issued = until(self.deadline, "cert-manager to issue istiod's next CA", || async {
            match self.certificates().get(CA_SECRET).await.map_err(RequestError::from) {
                Ok(now) => next_of(before, now),
                Err(error) => error.into(),
            }
        });
        Ok(issued.await?)
    }

    /// Waits until the next CA is in the Secret, and makes sure that its root is the right one.
    async fn filled(&self, before: &Looked) -> Result<CaSecret, RotateCaError> {
        let filled = until(self.deadline, "the next CA to be in Secret cacerts", || async {
            match read_secret(self.member).await {
                Ok(Some(now)) if now.ca != before.secret.ca => Poll::Ready(now),
                Ok(_) => Poll::Pending("it still holds the CA before".to_owned()),
                Err(error) => Poll::Pending(error.to_string()),
            }
        });
        let now = filled.await?;
        self.has_wanted_roots(before, &now)?;
        Ok(now)
    }

    pub(super) fn has_wanted_roots(&self, before: &Looked, now: &CaSecret) -> Result<(), RotateCaError> {
        if same(&now.roots, before.wanted_roots()) {
            return Ok(());
        }
        match before.change {
            Change::NewRoot(_) if same(&now.roots, &before.roots_before()) => Err(self.renewed()),
            _ => Err(RotateCaError::RootChanged { context: self.context() }),
        }
    }

    /// Waits until every pod of istiod has said that it has the next CA, and presents a certificate of it.
    async fn taken(&self, before: &SeenCa, was_behind: bool) -> Result<(), RotateCaError> {
        let what = "istiod to take what is in Secret cacerts, which the kubelet passes on within two minutes";
        let taken = until(self.deadline, what, || async {
            let seen = match observe(self.member).await {
                Ok(seen) => seen,
                Err(error) if error.may_pass() => return Poll::Pending(error.to_string()),
                Err(error) => return Poll::Ready(Err(Box::new(error).into())),
            };
            for istiod in &seen.istiods {
                if let Some(error) = self.refusal(before, istiod) {
                    return Poll::Ready(Err(error));
                }
            }
            let (done, lacking) = progress(before, &seen, was_behind);
            self.step(&Step::WaitingForReload { done, of: seen.istiods.len() });
            lacking.map_or(Poll::Ready(Ok(())), Poll::Pending)
        });
        taken.await?
    }

    /// Returns why a pod of istiod does not take the next CA, where it has said so since.
    pub(super) fn refusal(&self, before: &SeenCa, now: &SeenIstiod) -> Option<RotateCaError> {
        let then = before.istiods.iter().find(|istiod| istiod.pod == now.pod).map(|istiod| &istiod.log);
        if now.log.refused_root > then.and_then(|log| log.refused_root) {
            return Some(RotateCaError::RootChanged { context: self.context() });
        }
        let failed = |at: &(Timestamp, String)| at.0;
        let (at, why) = now.log.failed.as_ref()?;
        let is_new =
            Some(*at) > then.and_then(|log| log.failed.as_ref().map(failed)) && Some(*at) > now.log.reloaded;
        is_new.then(|| RotateCaError::NotTaken {
            pod: now.pod.clone(),
            why: why.clone(),
            context: self.context(),
        })
    }

    /// Waits until as many proxies are connected as before, and returns how many are.
    pub(super) async fn reconnected(&self, before: usize) -> Result<usize, RotateCaError> {
        let connected = until(self.deadline, "the proxies to be connected to istiod", || async {
            match served_proxies(self.member).await {
                Ok(now) if now.len() >= before => Poll::Ready(now.len()),
                Ok(now) => Poll::Pending(format!("{} of {before} are", now.len())),
                Err(error) => Poll::Pending(CaUnread::from(error).to_string()),
            }
        });
        Ok(connected.await?)
    }

    fn context(&self) -> String {
        self.member.cluster.context.clone()
    }

    fn step(&self, step: &Step) {
        self.watch.step(self.member.name(), step);
    }
}

/// Counts the pods of istiod that have said since `before` that they have the next CA, and says what is lacking until it is in force.
pub(super) fn progress(before: &SeenCa, now: &SeenCa, was_behind: bool) -> (usize, Option<String>) {
    let has_said = |istiod: &&SeenIstiod| {
        let then = before.istiods.iter().find(|then| then.pod == istiod.pod);
        // One that has come since has read the Secret as it started. Stamps are of one kubelet: no other clock is asked.
        was_behind || then.is_none_or(|then| istiod.log.reloaded > then.log.reloaded)
    };
    let done = now.istiods.iter().filter(has_said).count();
    let lacking = match (now.istiods.iter().find(|istiod| !has_said(istiod)), now.state()) {
        (Some(istiod), _) => Some(format!("{} has not reloaded it", istiod.pod)),
        (None, CaState::InForce) => None,
        (None, state) => Some(state.to_string()),
    };
    (done, lacking)
}

/// Appends a root to the text of those that are there.
pub(super) fn with_root(roots: &[u8], root: &Certificate) -> Vec<u8> {
    let mut text = roots.to_vec();
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend_from_slice(root.to_pem().as_bytes());
    text
}

/// Tells whether cert-manager issues the next certificate, or has done so.
pub(super) fn is_under_way(before: &CertificateV1, now: &CertificateV1) -> bool {
    now.is_issuing() || now.revision() > before.revision()
}

/// Judges whether the next certificate is issued, or has failed to be since.
pub(super) fn next_of(before: &CertificateV1, now: CertificateV1) -> Poll<CertificateV1> {
    if now.revision() > before.revision() && now.is_ready() && !now.is_issuing() {
        Poll::Ready(now)
    } else if now.failures() > before.failures() {
        Poll::Never(now.says())
    } else {
        Poll::Pending(now.says())
    }
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(Tool::MeshInstall.name().to_owned()), ..PatchParams::default() }
}
