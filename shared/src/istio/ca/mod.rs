//! The CA that istiod signs with: the Secret `cacerts`, the `Certificate` of cert-manager that fills it, and what istiod makes of it.
//!
//! istiod reads the Secret as files when it starts, and again when they change (Istio 1.31, `pilot/pkg/bootstrap/istio_ca.go`). A Secret
//! that is made after istiod has started is not seen before its next start, and a Secret with another root is not taken.

mod certificate;
mod issuer;
mod log;
mod observe;
#[cfg(test)]
pub(crate) mod sample;
mod secret;
mod state;
mod x509;

use serde_json::json;

pub use certificate::{
    CertificateCondition, CertificateIssuer, CertificateSpec, CertificateStatus, CertificateV1,
};
pub use issuer::issuer_root;
pub use log::{CaLog, ca_log, parse_ca_log};
pub(crate) use observe::published_roots;
pub use observe::{CaUnread, SeenCa, SeenIstiod, Served, observe, served};
pub use secret::{CaSecret, SecretError, read_secret};
pub use state::{CaFacts, CaState, ca_state};
pub(crate) use x509::{certificates, is_same_authority, is_signed_by, same};

use crate::manifest::{Object, Owner, parse_yaml};
use crate::mesh::{Cluster, IstioCa, duration_text};

/// Name of the Secret with istiod's CA, and of the `Certificate` that fills it.
pub const CA_SECRET: &str = "cacerts";
/// Name of the `ConfigMap` in which istiod gives its root to every namespace.
pub const ROOT_CONFIG_MAP: &str = "istio-ca-root-cert";
/// Port at which istiod talks to proxies over TLS.
pub const XDS_PORT: u16 = 15012;

const CERTIFICATE: &str = include_str!("../../../../manifests/istio/ca-certificate.yaml");

/// Returns the `Certificate` of a cluster whose istiod does not sign itself. `owner` also marks the Secret, so that it is taken away with
/// the rest: it holds a key.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "the manifest is embedded, and tested")]
pub fn certificate(cluster: &Cluster, owner: &Owner) -> Option<Object> {
    let IstioCa::CertManager(wanted) = &cluster.istio.ca else { return None };
    let mut object = parse_yaml(CERTIFICATE).expect("the embedded manifests are objects").pop()?;
    let mut value = object.to_value();
    owner.stamp(&mut object);
    let labels = object.labels_mut().clone();
    let spec = &mut value["spec"];
    spec["subject"]["organizationalUnits"] = json!([cluster.name]);
    spec["duration"] = json!(duration_text(wanted.duration));
    spec["renewBefore"] = json!(duration_text(wanted.renew_before));
    spec["issuerRef"] = json!({
        "name": wanted.issuer.name,
        "kind": wanted.issuer.kind.as_str(),
        "group": wanted.issuer.group,
    });
    spec["secretTemplate"] = json!({ "labels": labels });
    Some(Object::from_value(value).expect("a field more or less does not make an object invalid"))
}

#[cfg(test)]
mod tests;
