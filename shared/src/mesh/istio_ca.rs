//! `istio.ca`: who signs for istiod.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::istio::Layer;
use super::shape::{Findings, checked};
use super::{CertManagerIssuer, ISTIO_NAMESPACE, IssuerKind, defaults, issuer, values};

/// The shortest that cert-manager takes (cert-manager 1.11, `pkg/apis/certmanager/v1/const.go`).
const SHORTEST: Duration = Duration::from_hours(1);
/// The latest at which cert-manager renews (the same file).
const LATEST_RENEWAL: Duration = Duration::from_mins(5);

/// Who signs the CA certificate that istiod signs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IstioCa {
    /// istiod itself, with a root that it makes.
    SelfSigned,
    /// An issuer of cert-manager in the cluster.
    CertManager(CaCertificate),
}

/// The CA certificate that cert-manager is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificate {
    /// The issuer. An `Issuer` is in Istio's namespace, where the certificate is.
    pub issuer: CertManagerIssuer,
    /// How long a certificate is valid.
    pub duration: Duration,
    /// How long before its end it is renewed.
    pub renew_before: Duration,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IstioCaFile {
    /// An issuer of cert-manager in the cluster.
    pub(super) cert_manager: Option<IstioIssuerFile>,
    /// How long istiod's CA certificate is valid, at least 1h.
    #[schemars(regex(pattern = "^([0-9]+[dhms])+$"), extend("default" = defaults::ISTIO_CA_DURATION))]
    pub(super) duration: Option<String>,
    /// How long before its end it is renewed, at least 5m. Default: a quarter of `duration`.
    #[schemars(regex(pattern = "^([0-9]+[dhms])+$"))]
    pub(super) renew_before: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IstioIssuerFile {
    /// Name of the issuer. Needed for every cluster whose istiod does not sign itself.
    pub(super) issuer: Option<String>,
    /// Kind of the issuer. An `Issuer` is looked for in namespace `istio-system`.
    #[schemars(extend("default" = "Issuer"))]
    pub(super) kind: Option<String>,
    /// API group of the issuer.
    #[schemars(extend("default" = defaults::ISSUER_GROUP))]
    pub(super) group: Option<String>,
}

fn issuer<'a>(layer: &Layer<'a>) -> Option<&'a IstioIssuerFile> {
    layer.file.ca.as_ref()?.cert_manager.as_ref()
}

/// Returns who signs for the istiod of a cluster.
pub(super) fn resolve(own: &Layer<'_>, defaults: &Layer<'_>, findings: &mut Findings) -> Option<IstioCa> {
    let layers = [own, defaults];
    let Some(given) = layers.into_iter().find(|layer| layer.file.ca.is_some()) else {
        return Some(IstioCa::SelfSigned);
    };
    let Some(place) = layers.into_iter().find(|layer| issuer(layer).is_some()) else {
        findings.add("`ca` names no issuer; leave it out, or give it `certManager`", given.at(&["ca"]));
        return None;
    };
    let mut text = |key: &str, get: fn(&IstioIssuerFile) -> Option<&String>| {
        let layer = layers.into_iter().find(|layer| issuer(layer).is_some_and(|file| get(file).is_some()))?;
        let text = get(issuer(layer)?)?;
        Some(checked(values::dns_name(text), layer.at(&["ca", "certManager", key]), findings))
    };
    let name = text("issuer", |file| file.issuer.as_ref());
    let group = text("group", |file| file.group.as_ref())
        .unwrap_or_else(|| Some(super::defaults::ISSUER_GROUP.to_owned()));
    if name.is_none() {
        findings.add("`certManager` needs `issuer`, the name of one", place.at(&["ca", "certManager"]));
    }
    let kind = layers.into_iter().find_map(|layer| Some((layer, issuer(layer)?.kind.as_ref()?)));
    let kind = match (kind, &group) {
        (Some((layer, kind)), Some(group)) => {
            checked(issuer::issuer_kind(kind, group), layer.at(&["ca", "certManager", "kind"]), findings)
        }
        _ => Some(IssuerKind::default()),
    };
    let lives = lives(own, defaults, findings);
    let (duration, renew_before) = lives?;
    Some(IstioCa::CertManager(CaCertificate {
        issuer: CertManagerIssuer {
            name: name??,
            kind: kind?,
            group: group?,
            namespace: ISTIO_NAMESPACE.to_owned(),
        },
        duration,
        renew_before,
    }))
}

/// Returns how long a certificate is valid, and how long before its end it is renewed.
fn lives(own: &Layer<'_>, defaults: &Layer<'_>, findings: &mut Findings) -> Option<(Duration, Duration)> {
    let mut pick = |key: &str, get: fn(&IstioCaFile) -> Option<&String>, shortest: Duration| {
        let mut layers = [own, defaults].into_iter();
        let (layer, text) = layers.find_map(|layer| Some((layer, get(layer.file.ca.as_ref()?)?)))?;
        let check = values::duration(text).and_then(|duration| {
            let limit = values::short(shortest);
            if duration < shortest {
                Err(format!("`{key}` must be at least {limit}, as cert-manager has it, not {text}"))
            } else {
                Ok(duration)
            }
        });
        let path = layer.at(&["ca", key]);
        Some((checked(check, path.clone(), findings), path))
    };
    let duration = pick("duration", |file| file.duration.as_ref(), SHORTEST);
    let renew_before = pick("renewBefore", |file| file.renew_before.as_ref(), LATEST_RENEWAL);
    let duration = match duration {
        Some((duration, _)) => duration?,
        None => values::duration(super::defaults::ISTIO_CA_DURATION).ok()?,
    };
    let Some((renew_before, path)) = renew_before else { return Some((duration, duration / 4)) };
    let renew_before = renew_before?;
    if renew_before >= duration {
        let duration = values::short(duration);
        findings.add(format!("`renewBefore` must be less than `duration`, which is {duration}"), path);
        return None;
    }
    Some((duration, renew_before))
}
