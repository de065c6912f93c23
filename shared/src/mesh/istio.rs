//! The `istio` keys of a cluster over those of the whole mesh over the defaults.

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::istio_ca::{self, IstioCaFile};
use super::pods::{self, Pods, PodsFile};
use super::shape::{Findings, Where, checked};
use super::tree::{Path, Step};
use super::{IstioCa, defaults, values};

/// Keys of `values` and `meshConfig` that say who trusts whom and which cluster is which: they follow from the rest of the
/// file, and another value breaks the mesh.
const RESERVED: [&[&str]; 10] = [
    &["meshConfig", "trustDomain"],
    &["meshConfig", "trustDomainAliases"],
    &["meshConfig", "caCertificates"],
    &["values", "meshConfig"],
    &["values", "global", "meshID"],
    &["values", "global", "network"],
    &["values", "global", "multiCluster"],
    &["values", "sidecarInjectorWebhook", "templates", "spire"],
    &["values", "pilot", "replicaCount"],
    &["values", "gateways", "istio-ingressgateway", "replicaCount"],
];

/// Istio as it is installed in a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Istio {
    /// `istioctl`: a name that is looked for on the PATH, or a path.
    pub istioctl: PathBuf,
    /// Where its images come from; that of `istioctl` when it is absent.
    pub hub: Option<String>,
    /// Their tag; that of `istioctl` when it is absent.
    pub tag: Option<String>,
    /// Configuration profile of `istioctl` that everything is laid over.
    pub profile: String,
    /// istiod's pods.
    pub istiod: Replicated,
    /// The gateway through which other networks come in.
    pub east_west_gateway: Gateway,
    /// The gateway through which requests from outside the mesh come in; none where it is switched off.
    pub ingress_gateway: Option<Gateway>,
    /// Who signs for istiod.
    pub ca: IstioCa,
    /// More of `meshConfig`.
    pub mesh_config: Map<String, Value>,
    /// More Helm values.
    pub values: Map<String, Value>,
}

/// A gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Its load balancer.
    pub service: GatewayService,
    /// Its pods.
    pub pods: Replicated,
}

/// Pods of which each can take the place of another.
#[derive(Clone, Debug, PartialEq)]
pub struct Replicated {
    /// How many there are; where they are scaled by load, the fewest.
    pub replicas: NonZeroU8,
    /// How each is made.
    pub pods: Pods,
}

/// The load balancer of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayService {
    /// `loadBalancerClass` of the service.
    pub class: Option<String>,
    /// Annotations of the service.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IstioFile {
    /// The `istioctl` to use: a name on the PATH, or a path. Its version is the version of Istio.
    #[schemars(extend("default" = defaults::ISTIOCTL))]
    pub(super) istioctl: Option<String>,
    /// Registry and path of Istio's images. Default: that of `istioctl`.
    pub(super) hub: Option<String>,
    /// Tag of Istio's images. Default: that of `istioctl`.
    pub(super) tag: Option<String>,
    /// Configuration profile of `istioctl`.
    #[schemars(extend("default" = defaults::ISTIO_PROFILE))]
    pub(super) profile: Option<String>,
    /// istiod's pods.
    pub(super) istiod: Option<ReplicatedFile>,
    /// The gateway through which other networks come in.
    pub(super) east_west_gateway: Option<GatewayFile>,
    /// The gateway through which requests from outside the mesh come in.
    pub(super) ingress_gateway: Option<IngressFile>,
    /// Who signs the CA certificate that istiod signs with. Default: istiod itself. Workloads have their identity from SPIRE either
    /// way.
    pub(super) ca: Option<IstioCaFile>,
    /// More of Istio's `meshConfig`, such as `accessLogFile`. Trust domains are set from the rest of this file.
    pub(super) mesh_config: Option<Map<String, Value>>,
    /// More Helm values of Istio's charts, as under `values` of an `IstioOperator`.
    pub(super) values: Option<Map<String, Value>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("additionalProperties" = false))]
pub(super) struct ReplicatedFile {
    /// How many pods there are. From two on they are spread over zones and nodes, and only one at a time may be evicted.
    #[schemars(extend("default" = defaults::REPLICAS.get()))]
    pub(super) replicas: Option<NonZeroU8>,
    #[serde(flatten)]
    pub(super) pods: PodsFile,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("additionalProperties" = false))]
pub(super) struct GatewayFile {
    /// The service's `loadBalancerClass`.
    pub(super) load_balancer_class: Option<String>,
    /// The service's annotations. Default: those for an internal AWS network load balancer; what is given here replaces them
    /// all.
    pub(super) annotations: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    pub(super) replicated: ReplicatedFile,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("additionalProperties" = false))]
pub(super) struct IngressFile {
    /// Whether there is one.
    #[schemars(extend("default" = true))]
    pub(super) enabled: Option<bool>,
    #[serde(flatten)]
    pub(super) gateway: GatewayFile,
}

/// An `istio` map and where it stands.
pub(super) struct Layer<'a> {
    pub(super) file: &'a IstioFile,
    pub(super) path: Path,
}

impl Layer<'_> {
    /// Returns the place of a key below this map.
    pub(super) fn at(&self, keys: &[&str]) -> Path {
        self.path.iter().cloned().chain(keys.iter().map(|&key| Step::Key(key.to_owned()))).collect()
    }

    /// Reports keys of the free maps that are not free.
    pub(super) fn refuse_reserved(&self, findings: &mut Findings) {
        for keys in RESERVED {
            let free = match keys.first() {
                Some(&"meshConfig") => self.file.mesh_config.as_ref(),
                _ => self.file.values.as_ref(),
            };
            let Some([key, below @ ..]) = keys.get(1..) else { continue };
            let found = free.and_then(|map| map.get(*key));
            let found = below.iter().try_fold(found, |value, key| value.map(|value| value.get(*key)));
            if found.flatten().is_some() {
                let message = match keys {
                    ["values", "meshConfig"] => "`values.meshConfig` is written as `meshConfig`".to_owned(),
                    ["values", "pilot", "replicaCount"] => {
                        "`values.pilot.replicaCount` is written as `istiod.replicas`".to_owned()
                    }
                    ["values", "gateways", ..] => {
                        format!(
                            "`{}` is written as `replicas` of `eastWestGateway` and `ingressGateway`",
                            keys.join(".")
                        )
                    }
                    keys => format!("`{}` follows from the rest of this file", keys.join(".")),
                };
                findings.add_with(message, Where::Key(self.at(keys)), None);
            }
        }
    }
}

/// Returns the Istio of a cluster.
pub(super) fn resolve(own: &Layer<'_>, defaults: &Layer<'_>, findings: &mut Findings) -> Option<Istio> {
    own.refuse_reserved(findings);
    let mut text = |key: &str, get: fn(&IstioFile) -> Option<&String>, check: Check| {
        let layer = [own, defaults].into_iter().find(|layer| get(layer.file).is_some())?;
        Some(checked(check(get(layer.file)?), layer.at(&[key]), findings))
    };
    let istioctl = text("istioctl", |file| file.istioctl.as_ref(), program);
    let hub = text("hub", |file| file.hub.as_ref(), values::image);
    let tag = text("tag", |file| file.tag.as_ref(), image_tag);
    let profile = text("profile", |file| file.profile.as_ref(), profile);
    let istiod = replicated(own, defaults, "istiod", |file| file.istiod.as_ref(), findings);
    let east_west =
        gateway(own, defaults, "eastWestGateway", |file| file.east_west_gateway.as_ref(), findings);
    let ingress = gateway(
        own,
        defaults,
        "ingressGateway",
        |file| file.ingress_gateway.as_ref().map(|ingress| &ingress.gateway),
        findings,
    );
    let ca = istio_ca::resolve(own, defaults, findings);
    let enabled = |file: &IstioFile| file.ingress_gateway.as_ref().and_then(|gateway| gateway.enabled);
    let has_ingress = enabled(own.file).or_else(|| enabled(defaults.file)).unwrap_or(true);
    Some(Istio {
        istioctl: PathBuf::from(istioctl.unwrap_or_else(|| Some(defaults::ISTIOCTL.to_owned()))?),
        hub: given(hub)?,
        tag: given(tag)?,
        profile: profile.unwrap_or_else(|| Some(defaults::ISTIO_PROFILE.to_owned()))?,
        istiod: istiod?,
        east_west_gateway: east_west?,
        ingress_gateway: if has_ingress { Some(ingress?) } else { None },
        ca: ca?,
        mesh_config: layered(own.file.mesh_config.as_ref(), defaults.file.mesh_config.as_ref()),
        values: layered(own.file.values.as_ref(), defaults.file.values.as_ref()),
    })
}

type Check = fn(&str) -> Result<String, String>;

fn gateway(
    own: &Layer<'_>,
    defaults: &Layer<'_>,
    key: &str,
    get: fn(&IstioFile) -> Option<&GatewayFile>,
    findings: &mut Findings,
) -> Option<Gateway> {
    let (mine, theirs) = (get(own.file), get(defaults.file));
    let class = |file: Option<&GatewayFile>| file.and_then(|file| file.load_balancer_class.clone());
    let from = if class(mine).is_some() { own } else { defaults };
    let class = class(mine).or_else(|| class(theirs));
    let class = class
        .map(|class| checked(values::qualified_name(&class), from.at(&[key, "loadBalancerClass"]), findings));
    let annotations = |file: Option<&GatewayFile>| file.and_then(|file| file.annotations.clone());
    let annotations =
        annotations(mine).or_else(|| annotations(theirs)).unwrap_or_else(defaults::gateway_annotations);
    let pods = replicated(own, defaults, key, |file| get(file).map(|file| &file.replicated), findings);
    Some(Gateway { service: GatewayService { class: given(class)?, annotations }, pods: pods? })
}

fn replicated(
    own: &Layer<'_>,
    defaults: &Layer<'_>,
    key: &str,
    get: impl Fn(&IstioFile) -> Option<&ReplicatedFile>,
    findings: &mut Findings,
) -> Option<Replicated> {
    let (mine, theirs) = (get(own.file), get(defaults.file));
    let replicas = mine.and_then(|file| file.replicas).or_else(|| theirs.and_then(|file| file.replicas));
    let layers = pods::Layers::new(
        (mine.map(|file| &file.pods), own.at(&[key])),
        (theirs.map(|file| &file.pods), defaults.at(&[key])),
    );
    // What a container takes by default is for Istio's charts to say.
    let pods = pods::resolve(&layers, &pods::Resources::default(), findings);
    Some(Replicated { replicas: replicas.unwrap_or(defaults::REPLICAS), pods: pods? })
}

/// Turns "given, and wrong" into `None`, and keeps "not given" apart from it.
#[expect(
    clippy::option_option,
    reason = "the outer option says whether the key is there, the inner whether it is right"
)]
fn given<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    value.map_or(Some(None), |value| value.map(Some))
}

/// Lays a map over another, key by key at every depth.
fn layered(over: Option<&Map<String, Value>>, under: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut merged = under.cloned().unwrap_or_default();
    if let Some(over) = over {
        lay(&mut merged, over);
    }
    merged
}

/// Lays `over` over `under`, key by key at every depth; lists are replaced.
pub(crate) fn lay(under: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Object(under)), Value::Object(over)) => lay(under, over),
            _ => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
}

fn program(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('-') || crate::report::escape(text) != text {
        return Err(format!("`{}` is not the name or path of a program", crate::report::escape(text)));
    }
    Ok(text.to_owned())
}

fn image_tag(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=128).contains(&text.len()) && text.chars().all(allowed) && !text.starts_with(['.', '-']) {
        return Ok(text.to_owned());
    }
    Err(format!("`{}` is not the tag of an image", crate::report::escape(text)))
}

fn profile(text: &str) -> Result<String, String> {
    match text {
        "ambient" => Err("profile `ambient` has no sidecars, and only sidecars and gateways take their identity from SPIRE".to_owned()),
        text => values::dns_label(text),
    }
}
