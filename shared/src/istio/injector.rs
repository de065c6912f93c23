//! What gives new pods their sidecar: the webhooks through which an API server asks istiod, and the pods that they are for.
//!
//! Which pods ask for a sidecar is said by labels (Istio 1.31, `pkg/kube/inject/inject.go` and `pkg/config/analysis/analyzers/injection`):
//! that of the namespace comes first, and where it has none, that of the pod.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

use super::ca::certificates;
use crate::trust::svid::Certificate;

/// How the names of istiod's webhooks end, those of revisions and of their tags too.
pub const WEBHOOK_SUFFIX: &str = "sidecar-injector.istio.io";
/// The label of a namespace that asks for sidecars, or for none.
pub const INJECTION_LABEL: &str = "istio-injection";
/// The label of a namespace or a pod that asks for the sidecar of a revision, or of a tag.
pub const REVISION_LABEL: &str = "istio.io/rev";
/// The label of a pod that asks for a sidecar, or for none.
pub const INJECT_LABEL: &str = "sidecar.istio.io/inject";

/// Namespaces whose pods never get a sidecar (Istio, `pkg/kube/inject/webhook.go`, `IgnoredNamespaces`).
const IGNORED: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

/// Labels of a namespace or a pod.
pub type Labels = BTreeMap<String, String>;

/// A webhook of istiod that gives pods their sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The `MutatingWebhookConfiguration` that it is in.
    pub configuration: String,
    /// When that was made.
    pub made: Option<Timestamp>,
    /// Where it leads.
    pub target: Target,
    /// The CA certificates that istiod's has to be of.
    pub authorities: Vec<Certificate>,
    revisions: BTreeSet<String>,
    namespaces: Selector,
    objects: Selector,
}

/// Where a webhook leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// To a Service of the cluster.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Out of the cluster.
    Url,
}

impl Webhook {
    /// Reads those of istiod among the webhooks of a configuration. One whose selectors cannot be read selects nothing.
    #[must_use]
    pub fn of(configuration: &MutatingWebhookConfiguration) -> Vec<Self> {
        let webhooks = configuration.webhooks.iter().flatten();
        let made = configuration.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let name = configuration.name_any();
        webhooks
            .filter(|webhook| webhook.name.ends_with(WEBHOOK_SUFFIX))
            .filter_map(|webhook| Self::read(&name, made, webhook))
            .collect()
    }

    fn read(configuration: &str, made: Option<Timestamp>, webhook: &MutatingWebhook) -> Option<Self> {
        let selector =
            |selector: &Option<LabelSelector>| Selector::try_from(selector.clone().unwrap_or_default()).ok();
        let target = match &webhook.client_config.service {
            Some(service) => {
                Target::Service { namespace: service.namespace.clone(), name: service.name.clone() }
            }
            None => Target::Url,
        };
        let pem = webhook.client_config.ca_bundle.as_ref();
        let served = [&webhook.namespace_selector, &webhook.object_selector];
        let served = served.into_iter().flatten().flat_map(|selector| {
            let listed = selector.match_expressions.iter().flatten();
            let listed = listed.filter(|one| one.key == REVISION_LABEL && one.operator == "In");
            let named = selector.match_labels.iter().flatten().filter(|(key, _)| *key == REVISION_LABEL);
            let named = named.map(|(_, value)| value.clone());
            listed.flat_map(|one| one.values.iter().flatten().cloned()).chain(named)
        });
        Some(Self {
            configuration: configuration.to_owned(),
            made,
            target,
            authorities: pem.map(|pem| certificates(&pem.0)).unwrap_or_default(),
            revisions: served.collect(),
            namespaces: selector(&webhook.namespace_selector)?,
            objects: selector(&webhook.object_selector)?,
        })
    }

    /// Tells whether a pod with these labels is sent to it, in a namespace with those.
    #[must_use]
    pub fn takes(&self, namespace: &Labels, pod: &Labels) -> bool {
        self.namespaces.matches(namespace) && self.objects.matches(pod)
    }

    /// Returns the revisions and tags that it is for.
    pub fn revisions(&self) -> impl Iterator<Item = &str> {
        self.revisions.iter().map(String::as_str)
    }
}

/// How a pod asks for a sidecar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asks {
    /// By the label `istio-injection=enabled` of its namespace.
    Namespace,
    /// By the label `istio.io/rev` of its namespace, for that revision or tag.
    NamespaceRevision(String),
    /// By both labels of its namespace, which do not go together: the first says that there are to be no sidecars, the second of which
    /// revision.
    Conflict(String),
    /// By its own label `sidecar.istio.io/inject=true`.
    Pod,
    /// By its own label `istio.io/rev`, for that revision or tag.
    PodRevision(String),
}

impl fmt::Display for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace => write!(f, "{INJECTION_LABEL}=enabled"),
            Self::NamespaceRevision(revision) | Self::PodRevision(revision) => {
                write!(f, "{REVISION_LABEL}={revision}")
            }
            Self::Conflict(revision) => {
                write!(f, "{INJECTION_LABEL}=disabled and {REVISION_LABEL}={revision}")
            }
            Self::Pod => write!(f, "{INJECT_LABEL}=true"),
        }
    }
}

impl Asks {
    /// Tells how the pods of a namespace ask for a sidecar by its labels; `None` where they do not.
    #[must_use]
    pub fn of_namespace(name: &str, labels: &Labels) -> Option<Self> {
        if IGNORED.contains(&name) {
            return None;
        }
        let injection = labels.get(INJECTION_LABEL).map(String::as_str);
        let revision = labels.get(REVISION_LABEL).filter(|revision| !revision.is_empty());
        match (injection, revision) {
            (Some("enabled"), _) => Some(Self::Namespace),
            (Some(_), Some(revision)) => Some(Self::Conflict(revision.clone())),
            (None, Some(revision)) => Some(Self::NamespaceRevision(revision.clone())),
            (Some(_) | None, None) => None,
        }
    }

    /// Tells how a pod asks for a sidecar; `None` where it does not, or where it refuses one.
    #[must_use]
    pub fn of_pod(namespace: &str, namespace_labels: &Labels, labels: &Labels) -> Option<Self> {
        let inject = labels.get(INJECT_LABEL).map(String::as_str);
        if inject == Some("false") || IGNORED.contains(&namespace) {
            return None;
        }
        if let Some(asks) = Self::of_namespace(namespace, namespace_labels) {
            return Some(asks);
        }
        if namespace_labels.contains_key(INJECTION_LABEL) {
            // It says that there are to be none, and no label of a pod is looked at.
            return None;
        }
        let revision = labels.get(REVISION_LABEL).filter(|revision| !revision.is_empty());
        match (revision, inject) {
            (Some(revision), _) => Some(Self::PodRevision(revision.clone())),
            (None, Some("true")) => Some(Self::Pod),
            (None, _) => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// The webhooks that istioctl writes for the revision `default`, with the CA of a cluster.
    pub(crate) fn of_istioctl(authority: &str, made: &str) -> Vec<Webhook> {
        let no = json!({"key": INJECT_LABEL, "operator": "NotIn", "values": ["false"]});
        let has = |key: &str, value: &str| json!({"key": key, "operator": "In", "values": [value]});
        let lacks = |key: &str| json!({"key": key, "operator": "DoesNotExist"});
        let webhook = |name: &str, namespaces: Vec<serde_json::Value>, objects: Vec<serde_json::Value>| {
            json!({
                "name": format!("{name}.{WEBHOOK_SUFFIX}"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": {
                    "service": {"namespace": "istio-system", "name": "istiod"},
                    "caBundle": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, authority),
                },
                "namespaceSelector": {"matchExpressions": namespaces},
                "objectSelector": {"matchExpressions": objects},
            })
        };
        let configuration = json!({
            "metadata": {"name": "istio-sidecar-injector", "creationTimestamp": made},
            "webhooks": [
                webhook("rev.namespace", vec![has(REVISION_LABEL, "default"), lacks(INJECTION_LABEL)], vec![no.clone()]),
                webhook(
                    "rev.object",
                    vec![lacks(REVISION_LABEL), lacks(INJECTION_LABEL)],
                    vec![no.clone(), has(REVISION_LABEL, "default")],
                ),
                webhook("namespace", vec![has(INJECTION_LABEL, "enabled")], vec![no]),
                webhook(
                    "object",
                    vec![lacks(INJECTION_LABEL), lacks(REVISION_LABEL)],
                    vec![has(INJECT_LABEL, "true"), lacks(REVISION_LABEL)],
                ),
                {"name": "other.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {}},
            ],
        });
        Webhook::of(&serde_json::from_value(configuration).unwrap())
    }

    pub(crate) fn labels(all: &[(&str, &str)]) -> Labels {
        all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// Tells how a pod asks, and whether some webhook takes it.
    fn asked(namespace: &[(&str, &str)], pod: &[(&str, &str)]) -> (Option<String>, bool) {
        let (namespace, pod) = (labels(namespace), labels(pod));
        let webhooks = of_istioctl("", "2026-11-25T10:00:00Z");
        assert_eq!(webhooks.len(), 4, "those of istiod");
        let taken = webhooks.iter().any(|webhook| webhook.takes(&namespace, &pod));
        (Asks::of_pod("shop", &namespace, &pod).map(|asks| asks.to_string()), taken)
    }

    #[test]
    fn who_asks_for_a_sidecar_is_taken_where_somebody_serves_it() {
        let some = |asks: &str| Some(asks.to_owned());
        let enabled = (INJECTION_LABEL, "enabled");
        assert_eq!(asked(&[enabled], &[]), (some("istio-injection=enabled"), true));
        assert_eq!(asked(&[(REVISION_LABEL, "default")], &[]), (some("istio.io/rev=default"), true));
        assert_eq!(asked(&[(REVISION_LABEL, "1-30")], &[]), (some("istio.io/rev=1-30"), false));
        let pod = (INJECT_LABEL, "true");
        assert_eq!(asked(&[], &[pod]), (some("sidecar.istio.io/inject=true"), true));
        assert_eq!(asked(&[], &[pod, (REVISION_LABEL, "1-30")]), (some("istio.io/rev=1-30"), false));
        // The label of the namespace that Istio had first comes before the other one.
        assert_eq!(asked(&[enabled, (REVISION_LABEL, "1-30")], &[]), (some("istio-injection=enabled"), true));
        let disabled = (INJECTION_LABEL, "disabled");
        let both = some("istio-injection=disabled and istio.io/rev=default");
        assert_eq!(asked(&[disabled, (REVISION_LABEL, "default")], &[]), (both, false));
    }

    #[test]
    fn who_asks_for_none_is_not_missed() {
        let enabled = (INJECTION_LABEL, "enabled");
        for (namespace, pod) in [
            (&[][..], &[][..]),
            (&[enabled], &[(INJECT_LABEL, "false")]),
            (&[(REVISION_LABEL, "default")], &[(INJECT_LABEL, "false")]),
            (&[(INJECTION_LABEL, "disabled")], &[(INJECT_LABEL, "true")]),
        ] {
            assert_eq!(asked(namespace, pod), (None, false), "{namespace:?} {pod:?}");
        }
        assert_eq!(Asks::of_pod("kube-system", &labels(&[enabled]), &labels(&[])), None);
        assert_eq!(Asks::of_namespace("kube-system", &labels(&[enabled])), None);
    }

    #[test]
    fn a_webhook_says_where_it_leads_and_which_revisions_it_is_for() {
        let webhooks = of_istioctl("no certificate", "2026-11-25T10:00:00Z");
        let first = &webhooks[0];
        assert_eq!(first.revisions().collect::<Vec<_>>(), ["default"]);
        assert_eq!(webhooks[2].revisions().count(), 0);
        let service = Target::Service { namespace: "istio-system".to_owned(), name: "istiod".to_owned() };
        assert_eq!((&first.target, first.authorities.len()), (&service, 0));
        assert_eq!(first.made, Some("2026-11-25T10:00:00Z".parse().unwrap()));
    }
}
