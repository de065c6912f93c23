//! How the pods of a workload are made: where they may be, what they take, and their annotations.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::shape::{Findings, Where, checked, transposed};
use super::tree::{Path, Step};
use super::values;
use crate::report::escape;

/// Annotations with this prefix are these plugins' own.
const OWN_ANNOTATIONS: &str = "spire-mesh.dev/";

/// What a mesh file says of the pods of a workload. Where it says nothing, they are as SPIRE's manifests or Istio's charts have them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pods {
    /// Where they may be.
    pub placement: Placement,
    /// What their first container takes.
    pub resources: Resources,
    /// Annotations beside those that they have anyway.
    pub annotations: BTreeMap<String, String>,
}

/// Where pods may be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// Labels that a node has to have, beside those that it has to have anyway.
    pub node_selector: BTreeMap<String, String>,
    /// The taints that they tolerate.
    pub tolerations: Option<Vec<Toleration>>,
    /// Which nodes, and the company of which pods, they want.
    pub affinity: Option<Affinity>,
    /// Their priority.
    pub priority_class: Option<String>,
}

/// What a mesh file says of the pods of agents and CSI driver. Affinity and priority are not its business: both are on every node that can have
/// them, and come before what needs them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodePods {
    /// Labels that a node has to have, beside those that it has to have anyway.
    pub node_selector: BTreeMap<String, String>,
    /// The taints that they tolerate; all taints where it is absent.
    pub tolerations: Option<Vec<Toleration>>,
    /// What the agent's container takes.
    pub resources: Resources,
    /// Annotations beside those that they have anyway.
    pub annotations: BTreeMap<String, String>,
}

/// What a container takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// What is kept free for it.
    pub requests: Amounts,
    /// The most that it gets.
    pub limits: Amounts,
}

/// Amounts as Kubernetes writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Of processors: `500m` is half of one.
    pub cpu: Option<String>,
    /// Of memory.
    pub memory: Option<String>,
}

impl Amounts {
    /// Returns the amounts that are given, by the names that Kubernetes has for them.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [("cpu", &self.cpu), ("memory", &self.memory)];
        all.into_iter().filter_map(|(name, amount)| Some((name, amount.as_deref()?)))
    }
}

impl From<[[Option<&str>; 2]; 2]> for Resources {
    /// Takes processors and memory of the requests, and those of the limits.
    fn from([requests, limits]: [[Option<&str>; 2]; 2]) -> Self {
        let amounts = |[cpu, memory]: [Option<&str>; 2]| Amounts {
            cpu: cpu.map(str::to_owned),
            memory: memory.map(str::to_owned),
        };
        Self { requests: amounts(requests), limits: amounts(limits) }
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("additionalProperties" = false))]
pub(super) struct PodsFile {
    /// Where its pods may be.
    pub(super) placement: Option<PlacementFile>,
    /// What its container takes. Each amount that is given here replaces the default.
    pub(super) resources: Option<ResourcesFile>,
    /// Annotations of its pods.
    pub(super) pod_annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PlacementFile {
    /// Labels that a node has to have.
    pub(super) node_selector: Option<BTreeMap<String, String>>,
    /// Taints that the pods tolerate.
    pub(super) tolerations: Option<Vec<TolerationFile>>,
    /// Affinity of the pods, as Kubernetes has it (`spec.affinity` of a pod).
    pub(super) affinity: Option<Map<String, Value>>,
    /// The pods' priority class.
    pub(super) priority_class_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NodePodsFile {
    /// Where its pods may be. They are on no Fargate node in any case.
    pub(super) placement: Option<NodePlacementFile>,
    /// What the agent's container takes. Each amount that is given here replaces the default.
    pub(super) resources: Option<ResourcesFile>,
    /// Annotations of its pods.
    pub(super) pod_annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NodePlacementFile {
    /// Labels that a node has to have.
    pub(super) node_selector: Option<BTreeMap<String, String>>,
    /// Taints that the pods tolerate. Default: all.
    pub(super) tolerations: Option<Vec<TolerationFile>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ResourcesFile {
    /// What is kept free for it on its node.
    pub(super) requests: Option<AmountsFile>,
    /// The most that it gets.
    pub(super) limits: Option<AmountsFile>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AmountsFile {
    /// Of processors, such as `500m` or `2`.
    pub(super) cpu: Option<String>,
    /// Of memory, such as `512Mi`.
    pub(super) memory: Option<String>,
}

/// A toleration as Kubernetes has it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TolerationFile {
    /// Key of the taint. Without one, and with `operator: Exists`, all taints.
    pub(super) key: Option<String>,
    /// How the taint's value is compared.
    #[schemars(extend("default" = "Equal"))]
    pub(super) operator: Option<TolerationOperator>,
    /// Value of the taint.
    pub(super) value: Option<String>,
    /// Effect of the taint. Default: every effect.
    pub(super) effect: Option<TaintEffect>,
    /// How long a pod stays on a node that gets the taint. Default: for ever.
    pub(super) toleration_seconds: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(super) enum TolerationOperator {
    Equal,
    Exists,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(super) enum TaintEffect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

/// The two maps that say something of a workload's pods, a cluster's own first, each with the place of the workload's map.
pub(super) struct Layers<'a, T> {
    layers: [(Option<&'a T>, Path); 2],
}

impl<'a, T> Layers<'a, T> {
    pub(super) fn new(own: (Option<&'a T>, Path), defaults: (Option<&'a T>, Path)) -> Self {
        Self { layers: [own, defaults] }
    }

    /// Finds a key in a cluster's own map, else in that for all clusters, and the place of it.
    fn find<V: ?Sized>(&self, keys: &[&str], get: impl Fn(&'a T) -> Option<&'a V>) -> Option<(&'a V, Path)> {
        self.layers.iter().find_map(|(file, path)| {
            let below = keys.iter().map(|&key| Step::Key(key.to_owned()));
            Some((get((*file)?)?, path.iter().cloned().chain(below).collect()))
        })
    }
}

/// Returns what is said of a workload's pods, over the amounts that they take by default.
pub(super) fn resolve(
    layers: &Layers<'_, PodsFile>,
    default: &Resources,
    findings: &mut Findings,
) -> Option<Pods> {
    let selector = layers.find(&["placement", "nodeSelector"], |file| {
        file.placement.as_ref().and_then(|placement| placement.node_selector.as_ref())
    });
    let tolerated = layers.find(&["placement", "tolerations"], |file| {
        file.placement.as_ref().and_then(|placement| placement.tolerations.as_deref())
    });
    let wanted = layers.find(&["placement", "affinity"], |file| {
        file.placement.as_ref().and_then(|placement| placement.affinity.as_ref())
    });
    let class = layers.find(&["placement", "priorityClassName"], |file| {
        file.placement.as_ref().and_then(|placement| placement.priority_class_name.as_ref())
    });
    let annotated = layers.find(&["podAnnotations"], |file| file.pod_annotations.as_ref());
    let node_selector = node_selector(selector, findings);
    let tolerations = tolerations(tolerated, findings);
    let affinity = wanted.map(|(map, path)| affinity(map, &path, findings));
    let priority_class = class.map(|(name, path)| checked(values::dns_name(name), path, findings));
    let resources = resources(layers, |file| file.resources.as_ref(), default, findings);
    let annotations = annotations(annotated, findings);
    Some(Pods {
        placement: Placement {
            node_selector: node_selector?,
            tolerations: tolerations?,
            affinity: transposed(affinity)?,
            priority_class: transposed(priority_class)?,
        },
        resources: resources?,
        annotations: annotations?,
    })
}

/// Returns what is said of the pods that are on every node, over the amounts that they take by default.
pub(super) fn resolve_on_nodes(
    layers: &Layers<'_, NodePodsFile>,
    default: &Resources,
    findings: &mut Findings,
) -> Option<NodePods> {
    let selector = layers.find(&["placement", "nodeSelector"], |file| {
        file.placement.as_ref().and_then(|placement| placement.node_selector.as_ref())
    });
    let tolerated = layers.find(&["placement", "tolerations"], |file| {
        file.placement.as_ref().and_then(|placement| placement.tolerations.as_deref())
    });
    let annotated = layers.find(&["podAnnotations"], |file| file.pod_annotations.as_ref());
    let node_selector = node_selector(selector, findings);
    let tolerations = tolerations(tolerated, findings);
    let resources = resources(layers, |file| file.resources.as_ref(), default, findings);
    let annotations = annotations(annotated, findings);
    Some(NodePods {
        node_selector: node_selector?,
        tolerations: tolerations?,
        resources: resources?,
        annotations: annotations?,
    })
}

fn node_selector(
    given: Option<(&BTreeMap<String, String>, Path)>,
    findings: &mut Findings,
) -> Option<BTreeMap<String, String>> {
    let Some((labels, path)) = given else { return Some(BTreeMap::new()) };
    let mut valid = true;
    for (key, value) in labels {
        let of_label = values::qualified_name(key).and_then(|_| values::label_text(value));
        valid &= checked(of_label, below(&path, Step::Key(key.clone())), findings).is_some();
    }
    valid.then(|| labels.clone())
}

fn annotations(
    given: Option<(&BTreeMap<String, String>, Path)>,
    findings: &mut Findings,
) -> Option<BTreeMap<String, String>> {
    let Some((annotations, path)) = given else { return Some(BTreeMap::new()) };
    let mut valid = true;
    for key in annotations.keys() {
        let name = if key.starts_with(OWN_ANNOTATIONS) {
            Err(format!("annotations with `{OWN_ANNOTATIONS}` are set by these plugins only"))
        } else {
            values::qualified_name(key)
        };
        valid &= checked(name, below(&path, Step::Key(key.clone())), findings).is_some();
    }
    valid.then(|| annotations.clone())
}

/// Returns the taints that are tolerated. The outer option is whether they are right, the inner whether they are given.
#[expect(clippy::option_option, reason = "as for the other keys")]
fn tolerations(
    given: Option<(&[TolerationFile], Path)>,
    findings: &mut Findings,
) -> Option<Option<Vec<Toleration>>> {
    let Some((tolerations, path)) = given else { return Some(None) };
    let mut found = Vec::with_capacity(tolerations.len());
    for (index, file) in tolerations.iter().enumerate() {
        found.push(checked(toleration(file), below(&path, Step::Index(index)), findings));
    }
    found.into_iter().collect::<Option<Vec<_>>>().map(Some)
}

/// Checks what the API server checks (Kubernetes, `ValidateTolerations` in `pkg/apis/core/validation/validation.go`), before anything is changed.
fn toleration(file: &TolerationFile) -> Result<Toleration, String> {
    let exists = file.operator == Some(TolerationOperator::Exists);
    let key = file.key.as_ref().filter(|key| !key.is_empty());
    if let Some(key) = key {
        values::qualified_name(key)?;
    } else if !exists {
        return Err("a toleration without `key` needs `operator: Exists`".to_owned());
    }
    if exists && file.value.as_ref().is_some_and(|value| !value.is_empty()) {
        return Err("a toleration with `operator: Exists` has no `value`".to_owned());
    }
    if let Some(value) = &file.value {
        values::label_text(value)?;
    }
    if file.toleration_seconds.is_some() && file.effect != Some(TaintEffect::NoExecute) {
        return Err("`tolerationSeconds` is used with `effect: NoExecute` only".to_owned());
    }
    let operator = file.operator.map(|operator| match operator {
        TolerationOperator::Equal => "Equal",
        TolerationOperator::Exists => "Exists",
    });
    let effect = file.effect.map(|effect| match effect {
        TaintEffect::NoSchedule => "NoSchedule",
        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        TaintEffect::NoExecute => "NoExecute",
    });
    Ok(Toleration {
        key: key.cloned(),
        operator: operator.map(str::to_owned),
        value: file.value.clone(),
        effect: effect.map(str::to_owned),
        toleration_seconds: file.toleration_seconds,
    })
}

/// Reads an affinity as its type in Kubernetes' API. What that type does not have, or has to have, is found by writing it again.
fn affinity(map: &Map<String, Value>, path: &Path, findings: &mut Findings) -> Option<Affinity> {
    let given = Value::Object(map.clone());
    let affinity: Affinity = checked(
        serde_json::from_value(given.clone())
            .map_err(|error| format!("`affinity` is not one of Kubernetes: {}", escape(&error.to_string()))),
        path.clone(),
        findings,
    )?;
    let written = serde_json::to_value(&affinity).unwrap_or_default();
    let mut compared = Findings::default();
    compare(&given, &written, path, &mut compared);
    let is_right = compared.is_empty();
    findings.extend(compared);
    is_right.then_some(affinity)
}

/// Holds a value against the same one as its type writes it.
fn compare(given: &Value, written: &Value, path: &Path, findings: &mut Findings) {
    match (given, written) {
        (Value::Object(given), Value::Object(written)) => {
            for (key, value) in given {
                let at = below(path, Step::Key(key.clone()));
                match written.get(key) {
                    Some(written) => compare(value, written, &at, findings),
                    None => findings.add_with(
                        format!("unknown key `{}` in an affinity of Kubernetes", escape(key)),
                        Where::Key(at),
                        None,
                    ),
                }
            }
            for key in written.keys().filter(|key| !given.contains_key(*key)) {
                findings.add(format!("key `{key}` is missing"), path.clone());
            }
            if let Some(Value::String(operator)) = given.get("operator")
                && !["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"].contains(&operator.as_str())
            {
                let message = format!(
                    "`operator` must be one of `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`, not `{}`",
                    escape(operator)
                );
                findings.add(message, below(path, Step::Key("operator".to_owned())));
            }
        }
        (Value::Array(given), Value::Array(written)) => {
            for (index, (given, written)) in given.iter().zip(written).enumerate() {
                compare(given, written, &below(path, Step::Index(index)), findings);
            }
        }
        _ => {}
    }
}

/// Returns the amounts that a container takes, each from the nearest map that gives it.
fn resources<T>(
    layers: &Layers<'_, T>,
    of: impl Fn(&T) -> Option<&ResourcesFile>,
    default: &Resources,
    findings: &mut Findings,
) -> Option<Resources> {
    type Part = fn(&ResourcesFile) -> Option<&AmountsFile>;
    type Amount = fn(&AmountsFile) -> Option<&String>;
    type Check = fn(&str) -> Result<String, String>;
    let parts: [(&str, Part); 2] =
        [("requests", |file| file.requests.as_ref()), ("limits", |file| file.limits.as_ref())];
    let amounts: [(&str, Amount, Check); 2] = [
        ("cpu", |file| file.cpu.as_ref(), values::processors),
        ("memory", |file| file.memory.as_ref(), values::bytes),
    ];
    let mut valid = true;
    let mut places = Vec::new();
    let [mut requests, mut limits] = parts.map(|(part, get_part)| {
        amounts.map(|(amount, get_amount, check)| {
            let (text, path) = layers.find(&["resources", part, amount], |file| {
                of(file).and_then(get_part).and_then(get_amount)
            })?;
            let text = checked(check(text), path.clone(), findings);
            valid &= text.is_some();
            places.push(path);
            text
        })
    });
    let fill = |[cpu, memory]: &mut [Option<String>; 2], default: &Amounts| {
        let cpu = cpu.take().or_else(|| default.cpu.clone());
        Amounts { cpu, memory: memory.take().or_else(|| default.memory.clone()) }
    };
    let resources = Resources {
        requests: fill(&mut requests, &default.requests),
        limits: fill(&mut limits, &default.limits),
    };
    for (name, request) in resources.requests.given() {
        let Some((_, limit)) = resources.limits.given().find(|(other, _)| *other == name) else { continue };
        if values::amount(request) > values::amount(limit)
            && let Some(place) = places.iter().find(|path| path.last() == Some(&Step::Key(name.to_owned())))
        {
            findings.add(
                format!("`requests.{name}` is {request}, which is more than `limits.{name}`, {limit}"),
                place.clone(),
            );
            valid = false;
        }
    }
    valid.then_some(resources)
}

fn below(path: &[Step], step: Step) -> Path {
    [path, &[step]].concat()
}
