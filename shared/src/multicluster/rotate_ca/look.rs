//! What a cluster's CA is now, what is to follow it, and which step is next.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;
use serde_json::{Value, json};

use super::report::{CaIssue, NextCaStep};
use super::{NextCa, RotateCaError, request};
use crate::fleet::{Member, RequestError};
use crate::istio::ca::{
    CA_SECRET, CaSecret, CaState, CertificateIssuer, CertificateV1, SeenCa, issuer_root, observe, same,
};
use crate::istio::{ISTIOD, NAMESPACE};
use crate::mesh::{Cluster, IstioCa, duration_text};
use crate::multicluster::ca::issuer_is_ready;
use crate::trust::svid::Certificate;

/// A cluster's CA, how it came to be, and what is to follow it.
pub(super) struct Looked {
    pub(super) certificate: CertificateV1,
    pub(super) seen: SeenCa,
    pub(super) secret: CaSecret,
    pub(super) change: Change,
    pub(super) next: NextCaStep,
}

/// In what the next CA differs.
pub(super) enum Change {
    /// In nothing but itself, and how long it is valid where that is given.
    SameRoot { duration: Option<Duration> },
    /// In its root.
    NewRoot(Box<NewRoot>),
}

/// The root that is to come.
pub(super) struct NewRoot {
    /// Who signs with it.
    pub(super) issuer: CertificateIssuer,
    /// The root itself.
    pub(super) root: Certificate,
    /// How long kubelets may take to pass it on to proxies.
    pub(super) kubelet_delay: Duration,
}

impl Looked {
    /// Describes the CA that istiod signs with.
    pub(super) fn in_force(&self) -> CaIssue {
        let presented = self.seen.istiods.iter().find_map(|istiod| istiod.presented.get(1));
        match presented {
            // The Certificate is one further already.
            Some(ca) if *ca != self.secret.ca => CaIssue {
                serial: ca.serial.clone(),
                not_after: ca.not_after.to_string(),
                revision: None,
                duration: None,
            },
            _ => CaIssue::of(&self.secret.ca, &self.certificate),
        }
    }

    /// Returns the roots that proxies trust.
    pub(super) fn trusted(&self) -> &[Certificate] {
        trusted(&self.seen, &self.secret)
    }

    /// Returns the roots that proxies trust and that are to go, or to stay where the root does not change.
    pub(super) fn roots_before(&self) -> Vec<Certificate> {
        let is_new = |root: &&Certificate| self.new_root().is_some_and(|new| new.root == **root);
        let old: Vec<Certificate> = self.trusted().iter().filter(|root| !is_new(root)).cloned().collect();
        if old.is_empty() { self.trusted().to_vec() } else { old }
    }

    /// Returns the roots that proxies trust when all is done.
    pub(super) fn wanted_roots(&self) -> &[Certificate] {
        match &self.change {
            Change::SameRoot { .. } => self.trusted(),
            Change::NewRoot(new) => std::slice::from_ref(&new.root),
        }
    }

    /// Returns the new root, where it is to change.
    pub(super) fn new_root(&self) -> Option<&NewRoot> {
        match &self.change {
            Change::SameRoot { .. } => None,
            Change::NewRoot(new) => Some(new),
        }
    }

    /// Returns the duration that is to be another one.
    pub(super) fn new_duration(&self) -> Option<Duration> {
        match self.change {
            Change::SameRoot { duration } => {
                duration.filter(|asked| self.certificate.duration() != Some(*asked))
            }
            Change::NewRoot(_) => None,
        }
    }

    /// Returns the issuer that is to be another one.
    pub(super) fn new_issuer(&self) -> Option<&CertificateIssuer> {
        let new = self.new_root()?;
        (!new.issuer.is_same(&self.certificate.spec.issuer_ref)).then_some(&new.issuer)
    }

    /// Returns what has to change in the specification of the Certificate; cert-manager notices that by itself.
    pub(super) fn new_spec(&self) -> Option<Value> {
        if let Some(duration) = self.new_duration() {
            return Some(json!({ "duration": duration_text(duration) }));
        }
        Some(json!({ "issuerRef": self.new_issuer()? }))
    }
}

fn trusted<'a>(seen: &'a SeenCa, secret: &'a CaSecret) -> &'a [Certificate] {
    if seen.published.is_empty() { &secret.roots } else { &seen.published }
}

/// Reads a cluster's CA and refuses what cannot be rotated safely.
pub(super) async fn look(member: &Member, next: NextCa) -> Result<Looked, RotateCaError> {
    let certificate = certificate(member).await?;
    let seen = observe(member).await.map_err(Box::new)?;
    let Some(secret) = seen.secret.clone() else { return Err(not_issued(&member.cluster, &certificate)) };
    let (change, next) = match next {
        NextCa::SameRoot { duration } => {
            if let Some(asked) = duration {
                fits(&certificate, asked)?;
            }
            let root = root_of(member, &certificate.spec.issuer_ref).await?;
            let next = same_root(&member.cluster, &certificate, &seen, &secret, root.as_ref())?;
            (Change::SameRoot { duration }, next)
        }
        NextCa::OtherRoot { kubelet_delay } => {
            let (issuer, root) = mesh_file_root(member).await?;
            let next = other_root(&member.cluster, &certificate, &seen, &secret, &root)?;
            if next != NextCaStep::Nothing {
                takes_roots(member).await?;
            }
            (Change::NewRoot(Box::new(NewRoot { issuer, root, kubelet_delay })), next)
        }
    };
    Ok(Looked { certificate, seen, secret, change, next })
}

fn not_issued(cluster: &Cluster, certificate: &CertificateV1) -> RotateCaError {
    RotateCaError::NotIssued { why: certificate.says(), context: cluster.context.clone() }
}

fn unfit(cluster: &Cluster, state: CaState) -> RotateCaError {
    RotateCaError::Unfit { state, context: cluster.context.clone() }
}

/// Returns where a rotation within the same root begins, or goes on. `root` is the one that the issuer signs with, where that is known.
pub(super) fn same_root(
    cluster: &Cluster,
    certificate: &CertificateV1,
    seen: &SeenCa,
    secret: &CaSecret,
    root: Option<&Certificate>,
) -> Result<NextCaStep, RotateCaError> {
    let trusted = trusted(seen, secret);
    let next = match seen.state() {
        _ if certificate.is_issuing() => NextCaStep::AwaitIssue,
        CaState::InForce if certificate.is_ready() => NextCaStep::Issue,
        CaState::Behind { .. } => NextCaStep::AwaitReload,
        // The issuer has its old root back: what it signs now repairs it.
        CaState::OtherRoot { .. } if root.is_some_and(|root| trusted.contains(root)) => NextCaStep::Issue,
        CaState::InForce => return Err(not_issued(cluster, certificate)),
        state => return Err(unfit(cluster, state)),
    };
    match root {
        Some(found) if next != NextCaStep::AwaitReload && !trusted.contains(found) => {
            Err(RotateCaError::IssuerHasOtherRoot {
                issuer: certificate.spec.issuer_ref.to_string(),
                found: name(found),
                trusted: trusted.iter().map(name).collect::<Vec<_>>().join("; "),
            })
        }
        // What is signed now has one root, and proxies may still hold certificates of the other one.
        _ if trusted.len() > 1 => Err(RotateCaError::BetweenRoots { cluster: cluster.name.clone() }),
        _ => Ok(next),
    }
}

/// Returns where a change of the root to `new` begins, or goes on. Everything is told from what is there, so that it can be interrupted.
pub(super) fn other_root(
    cluster: &Cluster,
    certificate: &CertificateV1,
    seen: &SeenCa,
    secret: &CaSecret,
    new: &Certificate,
) -> Result<NextCaStep, RotateCaError> {
    if certificate.is_issuing() {
        let is_on_its_way = trusted(seen, secret).contains(new);
        return if is_on_its_way {
            Ok(NextCaStep::AwaitIssue)
        } else {
            Err(not_issued(cluster, certificate))
        };
    }
    let is_new_alone = same(&secret.roots, std::slice::from_ref(new));
    match seen.state() {
        CaState::InForce if is_new_alone => Ok(NextCaStep::Nothing),
        CaState::Behind { .. } if is_new_alone => Ok(NextCaStep::AwaitReload),
        CaState::InForce if secret.roots.contains(new) => Ok(NextCaStep::Issue),
        CaState::Behind { .. } if secret.roots.contains(new) => Ok(NextCaStep::AwaitTrust),
        CaState::InForce if certificate.is_ready() => Ok(NextCaStep::TrustBoth),
        CaState::InForce => Err(not_issued(cluster, certificate)),
        state => Err(unfit(cluster, state)),
    }
}

/// Returns the issuer of the mesh file, and with which root it signs.
async fn mesh_file_root(member: &Member) -> Result<(CertificateIssuer, Certificate), RotateCaError> {
    let IstioCa::CertManager(wanted) = &member.cluster.istio.ca else {
        return Err(RotateCaError::NoIssuer { cluster: member.name().to_owned() });
    };
    issuer_is_ready(member, &wanted.issuer).await.map_err(Box::new)?;
    let issuer = CertificateIssuer::from(&wanted.issuer);
    match root_of(member, &issuer).await? {
        Some(root) => Ok((issuer, root)),
        None => Err(RotateCaError::UnknownRoot { issuer: issuer.to_string() }),
    }
}

async fn root_of(member: &Member, issuer: &CertificateIssuer) -> Result<Option<Certificate>, RotateCaError> {
    issuer_root(member, issuer).await.map_err(|source| request(&format!("read the root of {issuer}"), source))
}

/// Makes sure that istiod takes other roots than the one that it started with.
async fn takes_roots(member: &Member) -> Result<(), RotateCaError> {
    let deployments: Api<Deployment> = Api::namespaced(member.client().clone(), NAMESPACE);
    let istiod =
        deployments.get(ISTIOD).await.map_err(|error| request("read Deployment istiod", error.into()))?;
    if has_multiroot(&istiod) { Ok(()) } else { Err(RotateCaError::MultirootOff) }
}

pub(super) fn has_multiroot(istiod: &Deployment) -> bool {
    let spec = istiod.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let containers = spec.iter().flat_map(|spec| &spec.containers);
    let mut environment = containers.flat_map(|container| container.env.iter().flatten());
    let value = environment.find(|variable| variable.name == crate::istio::MULTIROOT);
    // As Go's strconv.ParseBool reads it.
    let value = value.and_then(|variable| variable.value.as_deref());
    matches!(value, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}

fn name(root: &Certificate) -> String {
    format!("{} ({})", root.subject, root.serial)
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

/// Refuses a duration that is over before cert-manager would renew the certificate.
pub(super) fn fits(certificate: &CertificateV1, asked: Duration) -> Result<(), RotateCaError> {
    let Some(text) = &certificate.spec.renew_before else { return Ok(()) };
    match humantime::parse_duration(text) {
        Ok(renew_before) if asked <= renew_before => {
            Err(RotateCaError::TooShort { asked, renew_before: text.clone() })
        }
        _ => Ok(()),
    }
}
