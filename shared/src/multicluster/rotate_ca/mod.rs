//! istiod's CA, replaced by the next one of the same root while everything runs.
//!
//! cert-manager issues it, the kubelet passes the Secret on to istiod's pod, and istiod takes it without a restart (Istio 1.31,
//! `pilot/pkg/bootstrap/istio_ca.go`). Each step is waited for and looked at: the Certificate, the Secret, what istiod logs, what it
//! presents to proxies, and whether the proxies are still connected. Workloads have their identity from SPIRE: their certificates have to
//! be the same before and after, and requests that are sent meanwhile have to be answered.
//!
//! The root stays. istiod compares the new root with its own byte by byte and refuses another one unless `ISTIO_MULTIROOT_MESH` is on;
//! with it, one bundle has to hold the other (`pemBundleHasSubsetRelation`). That takes a Secret with the old and the new root together,
//! and cert-manager fills `ca.crt` with the one that the issuer signs with: so a root cannot be changed by way of a Certificate.

mod error;
mod follow;
mod load;
mod proxies;
mod report;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};

pub use error::RotateCaError;
pub use report::{CaIssue, CaRotationPlan, Connected, Load, NextCaStep, RotatedCa, Svids};

use self::follow::Rotation;
use self::load::Senders;
use super::Step;
use crate::fleet::{Member, Need, RequestError, missing};
use crate::istio::ca::{
    CA_SECRET, CaSecret, CaState, CertificateIssuer, CertificateV1, SeenCa, certificates, observe,
};
use crate::istio::{ISTIOD, NAMESPACE};
use crate::manifest::Deadline;
use crate::mesh::duration_text;
use crate::trust::svid::Certificate;
use crate::watch::Watch;

/// How long requests are sent before anything is changed, and after everything is done.
const AROUND: Duration = Duration::from_secs(3);

/// A cluster's CA, and how it came to be.
struct Looked {
    certificate: CertificateV1,
    seen: SeenCa,
    secret: CaSecret,
    next: NextCaStep,
}

impl Looked {
    /// Describes the CA that istiod signs with.
    fn in_force(&self) -> CaIssue {
        let presented = self.seen.istiods.iter().find_map(|istiod| istiod.presented.get(1));
        match presented {
            // The Certificate is one further already.
            Some(ca) if *ca != self.secret.ca => CaIssue {
                serial: ca.serial.clone(),
                not_after: ca.not_after.to_string(),
                revision: None,
                duration: None,
            },
            _ => issue(&self.secret.ca, &self.certificate),
        }
    }

    /// Returns the roots that proxies trust.
    fn trusted(&self) -> &[Certificate] {
        if self.seen.published.is_empty() { &self.secret.roots } else { &self.seen.published }
    }
}

fn issue(ca: &Certificate, certificate: &CertificateV1) -> CaIssue {
    let duration = certificate.spec.duration.as_ref();
    CaIssue {
        serial: ca.serial.clone(),
        not_after: ca.not_after.to_string(),
        revision: Some(certificate.revision()),
        // cert-manager writes `1440h0m0s`.
        duration: duration
            .map(|text| humantime::parse_duration(text).map_or_else(|_| text.clone(), duration_text)),
    }
}

/// Tells what rotating istiod's CA in a cluster would begin with. Changes nothing.
///
/// # Errors
/// [`RotateCaError`] where it cannot be rotated safely, with the reason.
pub async fn ca_rotation_plan(
    member: &Member,
    duration: Option<Duration>,
) -> Result<CaRotationPlan, RotateCaError> {
    rights(member).await?;
    let looked = look(member, duration).await?;
    let kept = |asked: &Duration| !has_duration(&looked.certificate, *asked);
    Ok(CaRotationPlan {
        cluster: member.name().to_owned(),
        issuer: issuer_name(&looked.certificate.spec.issuer_ref),
        root: looked.trusted().iter().map(|root| root.subject.as_str()).collect::<Vec<_>>().join("; "),
        ca: looked.in_force(),
        new_duration: duration.filter(kept).map(duration_text),
        next: looked.next,
    })
}

/// Tells why the root of a cluster's CA is not changed here: it is never done, and not for the same reason everywhere.
///
/// # Errors
/// Always.
pub async fn refuse_root_change(member: &Member) -> Result<(), RotateCaError> {
    rights(member).await?;
    certificate(member).await?;
    let deployments: Api<Deployment> = Api::namespaced(member.client().clone(), NAMESPACE);
    let istiod =
        deployments.get(ISTIOD).await.map_err(|error| request("read Deployment istiod", error.into()))?;
    Err(RotateCaError::Root { multiroot: has_multiroot(&istiod) })
}

fn has_multiroot(istiod: &Deployment) -> bool {
    let spec = istiod.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let containers = spec.iter().flat_map(|spec| &spec.containers);
    let mut environment = containers.flat_map(|container| container.env.iter().flatten());
    let value = environment.find(|variable| variable.name == "ISTIO_MULTIROOT_MESH");
    // As Go's strconv.ParseBool reads it.
    let value = value.and_then(|variable| variable.value.as_deref());
    matches!(value, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
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
    duration: Option<Duration>,
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> Result<RotatedCa, RotateCaError> {
    let tell = |step: &Step| watch.step(own.name(), step);
    tell(&Step::ReadingCa);
    let before = look(own, duration).await?;
    let rotation = Rotation { member: own, deadline, watch };
    let connected = rotation.connected().await?.len();
    tell(&Step::ReadingProxies);
    let had = proxies(own).await?;
    let senders = Senders::find(members).await;
    let stop = AtomicBool::new(false);
    let rotated = async {
        // Dropped with this future, whatever it comes to.
        let _stop = SetOnDrop(&stop);
        tokio::time::sleep(AROUND).await;
        let (certificate, secret) = rotation.run(&before, duration).await?;
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
        after: issue(&secret.ca, &certificate),
        root: secret.roots.iter().map(|root| root.subject.as_str()).collect::<Vec<_>>().join("; "),
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

async fn rights(member: &Member) -> Result<(), RotateCaError> {
    let own = Some(NAMESPACE);
    let needs = [
        Need::new("get", "cert-manager.io", "certificates", own),
        Need::new("patch", "cert-manager.io", "certificates", own),
        Need::new("patch", "cert-manager.io", "certificates/status", own),
        Need::new("get", "", "secrets", own),
        Need::new("get", "", "configmaps", own),
        Need::new("get", "apps", "deployments", own),
        Need::new("get", "", "pods/log", own),
        Need::new("create", "", "pods/portforward", None),
        Need::new("list", "", "pods", None),
    ];
    let missing = missing(member, &needs).await.map_err(|source| request("read your rights", source))?;
    if missing.is_empty() { Ok(()) } else { Err(RotateCaError::MissingRights(missing)) }
}

/// Reads the Certificate that fills `cacerts`.
async fn certificate(member: &Member) -> Result<CertificateV1, RotateCaError> {
    let certificates: Api<CertificateV1> = Api::namespaced(member.client().clone(), NAMESPACE);
    match certificates.get_opt(CA_SECRET).await.map_err(RequestError::from) {
        Ok(Some(certificate)) if certificate.spec.secret_name == CA_SECRET => Ok(certificate),
        Ok(_) => Err(RotateCaError::NoCertificate),
        // Without cert-manager its kinds are not known.
        Err(error) if error.is_not_found() => Err(RotateCaError::NoCertificate),
        Err(source) => Err(request(&format!("read Certificate {NAMESPACE}/{CA_SECRET}"), source)),
    }
}

/// Reads a cluster's CA and refuses what cannot be rotated safely.
async fn look(member: &Member, duration: Option<Duration>) -> Result<Looked, RotateCaError> {
    let context = || member.cluster.context.clone();
    let certificate = certificate(member).await?;
    if let Some(asked) = duration {
        fits(&certificate, asked)?;
    }
    let seen = observe(member).await.map_err(Box::new)?;
    let not_issued = || RotateCaError::NotIssued { why: certificate.says(), context: context() };
    let secret = seen.secret.clone().ok_or_else(not_issued)?;
    let trusted = if seen.published.is_empty() { &secret.roots } else { &seen.published };
    let issuer = &certificate.spec.issuer_ref;
    let root = issuer_root(member, issuer).await;
    let next = match seen.state() {
        _ if certificate.is_issuing() => NextCaStep::AwaitIssue,
        CaState::InForce if certificate.is_ready() => NextCaStep::Issue,
        CaState::Behind { .. } => NextCaStep::AwaitReload,
        // The issuer has its old root back: what it signs now repairs it.
        CaState::OtherRoot { .. } if root.as_ref().is_some_and(|root| trusted.contains(root)) => {
            NextCaStep::Issue
        }
        CaState::InForce => return Err(not_issued()),
        state => return Err(RotateCaError::Unfit { state, context: context() }),
    };
    match root {
        Some(found) if next != NextCaStep::AwaitReload && !trusted.contains(&found) => {
            return Err(RotateCaError::IssuerHasOtherRoot {
                issuer: issuer_name(issuer),
                found: name(&found),
                trusted: trusted.iter().map(name).collect::<Vec<_>>().join("; "),
            });
        }
        _ => {}
    }
    Ok(Looked { certificate, seen, secret, next })
}

fn name(root: &Certificate) -> String {
    format!("{} ({})", root.subject, root.serial)
}

/// Refuses a duration that is over before cert-manager would renew the certificate.
fn fits(certificate: &CertificateV1, asked: Duration) -> Result<(), RotateCaError> {
    let Some(text) = &certificate.spec.renew_before else { return Ok(()) };
    match humantime::parse_duration(text) {
        Ok(renew_before) if asked <= renew_before => {
            Err(RotateCaError::TooShort { asked, renew_before: text.clone() })
        }
        _ => Ok(()),
    }
}

/// Tells whether a certificate is of this duration already. Kubernetes writes `1440h0m0s`.
fn has_duration(certificate: &CertificateV1, asked: Duration) -> bool {
    let duration = certificate.spec.duration.as_deref();
    duration.and_then(|text| humantime::parse_duration(text).ok()) == Some(asked)
}

fn issuer_name(issuer: &CertificateIssuer) -> String {
    format!("{} {}", issuer.kind.as_deref().unwrap_or("Issuer"), issuer.name)
}

/// Reads with which root an issuer signs; `None` where that is known only once it has signed. Of a `CA` issuer it is the last certificate of the chain in the issuer's Secret
/// (cert-manager 1.11, `pkg/issuer/ca` and `pkg/util/pki/parse.go`).
async fn issuer_root(member: &Member, issuer: &CertificateIssuer) -> Option<Certificate> {
    let group = issuer.group.as_deref().unwrap_or("cert-manager.io");
    let (kind, plural, namespace) = match (group, issuer.kind.as_deref().unwrap_or("Issuer")) {
        ("cert-manager.io", "Issuer") => ("Issuer", "issuers", NAMESPACE),
        // Where cert-manager looks for the Secrets of issuers without a namespace, unless it is told otherwise.
        ("cert-manager.io", "ClusterIssuer") => ("ClusterIssuer", "clusterissuers", "cert-manager"),
        _ => return None,
    };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural);
    let client = member.client().clone();
    let issuers: Api<DynamicObject> = match kind {
        "Issuer" => Api::namespaced_with(client.clone(), namespace, &resource),
        _ => Api::all_with(client.clone(), &resource),
    };
    let found = issuers.get_opt(&issuer.name).await.ok()??;
    let name = found.data.pointer("/spec/ca/secretName")?.as_str()?;
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    let data = secrets.get_opt(name).await.ok()??.data?;
    certificates(&data.get("tls.crt")?.0).into_iter().next_back()
}

#[cfg(test)]
mod tests;
