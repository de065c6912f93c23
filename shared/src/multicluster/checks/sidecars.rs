//! Checks on what gives pods their sidecar, and on pods that ask for one and have none.

use std::collections::{BTreeMap, BTreeSet};

use super::{Findings, Reached, Repair, of_each, up};
use crate::check::{Fault, Finding};
use crate::hint::{Advice, Command};
use crate::istio::ca::ROOT_CONFIG_MAP;
use crate::istio::injector::{
    Asks, INJECTION_LABEL, Labels, REVISION_LABEL, Target, WEBHOOK_SUFFIX, Webhook,
};
use crate::istio::{ISTIOD, NAMESPACE};
use crate::manifest::UncalledWebhook;
use crate::multicluster::examined::{Examined, SeenBarePod, SeenInjector, SeenSidecars, StuckWorkload};
use crate::workload::{Workload, WorkloadKind};

/// How many workloads are named as evidence.
const MOST_NAMED: usize = 10;

/// Looks whether the API server asks istiod about new pods, and believes what it says.
pub(super) fn webhook(examined: &Examined) -> Findings {
    of_each(examined, |own| {
        let injector = match &own.seen.injector {
            Ok(injector) => injector,
            Err(unread) => return vec![Finding::skip(own.scope(), &unread.why)],
        };
        let Some(first) = injector.webhooks.first() else {
            return vec![Finding::fail(own.scope(), no_webhook(&own))];
        };
        if let Some(fault) = without_pods(&own, injector) {
            return vec![Finding::fail(own.scope(), fault)];
        }
        if let Ok(Err(uncalled)) = &injector.asked
            && uncalled.is_unanswered()
        {
            return vec![Finding::fail(own.scope(), unanswered(&own, uncalled))];
        }
        let ca = match &own.seen.ca {
            Ok(ca) => ca,
            Err(unread) => return vec![Finding::skip(own.scope(), &unread.why)],
        };
        let distrusts = |webhook: &&Webhook| {
            !ca.published.is_empty()
                && !webhook.authorities.iter().any(|authority| ca.published.contains(authority))
        };
        if let Some(webhook) = injector.webhooks.iter().find(distrusts) {
            return vec![Finding::fail(own.scope(), distrusted(&own, webhook))];
        }
        vec![Finding::pass(own.scope(), format!("MutatingWebhookConfiguration {}", first.configuration))]
    })
}

fn no_webhook(own: &Reached<'_>) -> Fault<Repair> {
    let cause = "nobody gives new pods their sidecar: istiod's webhook is gone, and pods start without one";
    let fault = Fault::new(cause, up())
        .seen(format!("no MutatingWebhookConfiguration has a webhook whose name ends with {WEBHOOK_SUFFIX}"));
    match own.seen.sidecars.as_ref().map(|sidecars| named(&sidecars.without.iter().collect::<Vec<_>>())) {
        Ok(without) if !without.is_empty() => fault.seen(format!("without a sidecar already: {without}")),
        _ => fault,
    }
}

/// Says which Service has nobody behind it.
fn without_pods(own: &Reached<'_>, injector: &SeenInjector) -> Option<Fault<Repair>> {
    let empty = injector.ready.iter().find(|(_, ready)| **ready == 0);
    let (Target::Service { namespace, name }, _) = empty? else { return None };
    let configuration = injector.webhooks.iter().find(|webhook| {
        matches!(&webhook.target, Target::Service { namespace: in_namespace, name: called } if in_namespace == namespace && called == name)
    })?;
    let cause = format!(
        "the webhook that gives pods their sidecar leads to Service {namespace}/{name}, and no pod that is ready is behind it: no pod can be made that asks for a sidecar"
    );
    let hint = if (namespace.as_str(), name.as_str()) == (NAMESPACE, ISTIOD) {
        Advice::from(up())
    } else {
        let describe = Command::kubectl(["-n", namespace, "describe", "service", name]);
        let delete =
            Command::kubectl(["delete", "mutatingwebhookconfiguration", &configuration.configuration]);
        Advice::from(describe)
            .then(", and where it is what another istiod has left: ")
            .then(delete)
            .at(&own.cluster.context)
    };
    Some(
        Fault::new(cause, hint).seen(format!("MutatingWebhookConfiguration {}", configuration.configuration)),
    )
}

fn unanswered(own: &Reached<'_>, uncalled: &UncalledWebhook) -> Fault<Repair> {
    let cause = "the API server gets no answer from istiod: no pod can be made that asks for a sidecar, and no object of Istio changed";
    Fault::new(cause, uncalled.advice().at(&own.cluster.context))
        .seen(format!("a dry run ended at {uncalled}"))
}

fn distrusted(own: &Reached<'_>, webhook: &Webhook) -> Fault<Repair> {
    let cause = "the API server does not trust istiod: the CA in its webhook is another one, and no pod can be made that asks for a sidecar";
    let restart = Command::kubectl(["-n", NAMESPACE, "rollout", "restart", "deployment", ISTIOD]);
    let hint = Advice::from("start istiod again, which writes its CA there: ").then(restart);
    let held = webhook.authorities.iter().map(|held| held.subject.clone()).collect::<Vec<_>>();
    let held = if held.is_empty() { "no certificate".to_owned() } else { held.join(", ") };
    Fault::new(cause, hint.at(&own.cluster.context))
        .seen(format!("caBundle of MutatingWebhookConfiguration {}: {held}", webhook.configuration))
        .seen(format!("istiod's CA is in ConfigMap {NAMESPACE}/{ROOT_CONFIG_MAP}"))
}

/// Looks for pods that ask for a sidecar and have none, and for namespaces whose new pods would get none.
pub(super) fn sidecars(examined: &Examined) -> Findings {
    of_each(examined, |own| {
        let (sidecars, injector) = match (&own.seen.sidecars, &own.seen.injector) {
            (Ok(sidecars), Ok(injector)) => (sidecars, injector),
            (Err(unread), _) | (_, Err(unread)) => return vec![Finding::skip(own.scope(), &unread.why)],
        };
        Asking { own, sidecars, injector }.findings()
    })
}

/// Who asks for a sidecar in a cluster, and who serves them.
struct Asking<'e> {
    own: Reached<'e>,
    sidecars: &'e SeenSidecars,
    injector: &'e SeenInjector,
}

/// Why pods have no sidecar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// No webhook is for them.
    Unserved(Asks),
    /// They were made before the webhook was.
    OlderThanWebhook,
    /// They were made before their namespace asked for sidecars, or when the webhook was not there.
    Older,
}

impl Asking<'_> {
    fn findings(&self) -> Findings {
        let mut by_reason: BTreeMap<(&str, Why), Vec<&SeenBarePod>> = BTreeMap::new();
        for (name, namespace) in &self.sidecars.namespaces {
            // Pods that run may have a sidecar from before the label was changed.
            if !self.is_served(&namespace.labels, &Labels::new()) {
                by_reason.entry((name, Why::Unserved(namespace.asks.clone()))).or_default();
            }
        }
        for pod in &self.sidecars.without {
            by_reason.entry((&pod.namespace, self.why(pod))).or_default().push(pod);
        }
        let failed: BTreeSet<&str> = by_reason.keys().map(|(namespace, _)| *namespace).collect();
        let others = self.sidecars.namespaces.iter().filter(|(name, _)| !failed.contains(name.as_str()));
        let mut findings: Findings = others
            .map(|(name, namespace)| {
                let scope = self.own.object(format!("Namespace {name}"));
                match namespace.labels.get(REVISION_LABEL) {
                    Some(revision) if namespace.asks == Asks::Namespace => {
                        Finding::warn(scope, self.passed_over(name, revision))
                    }
                    _ => Finding::pass(
                        scope,
                        format!("{}; pods with a sidecar: {}", namespace.asks, namespace.with),
                    ),
                }
            })
            .collect();
        findings.extend(by_reason.into_iter().map(|((namespace, why), pods)| {
            let fault = self.fault(namespace, &why, &pods);
            let names = named(&pods);
            let fault =
                if names.is_empty() { fault } else { fault.seen(format!("without a sidecar: {names}")) };
            Finding::fail(self.own.object(format!("Namespace {namespace}")), fault)
        }));
        if findings.is_empty() {
            findings.push(Finding::pass(self.own.scope(), "nobody asks for a sidecar"));
        }
        findings
    }

    fn is_served(&self, namespace: &Labels, pod: &Labels) -> bool {
        self.injector.webhooks.iter().any(|webhook| webhook.takes(namespace, pod))
    }

    fn why(&self, pod: &SeenBarePod) -> Why {
        let taking =
            self.injector.webhooks.iter().find(|webhook| webhook.takes(&pod.namespace_labels, &pod.labels));
        match taking {
            None => Why::Unserved(pod.asks.clone()),
            Some(webhook) if pod.created < webhook.made => Why::OlderThanWebhook,
            Some(_) => Why::Older,
        }
    }

    fn fault(&self, namespace: &str, why: &Why, pods: &[&SeenBarePod]) -> Fault<Repair> {
        let none = format!("pods of namespace {namespace} get no sidecar");
        let restart = restart(namespace, pods);
        let and_restart = |advice: Advice| match restart.clone() {
            Some(restart) => advice.then(", then: ").then(restart),
            None => advice,
        };
        let label = |changes: &[&str]| {
            Command::kubectl(["label", "namespace", namespace]).and(changes.iter().copied())
        };
        let enabled = format!("{INJECTION_LABEL}=enabled");
        let not_revision = format!("{REVISION_LABEL}-");
        let (cause, advice) = match why {
            Why::Unserved(Asks::NamespaceRevision(revision)) => {
                let cause = format!("{none}: it asks for those of revision {revision}, which nobody serves");
                (cause, and_restart(label(&[&not_revision, &enabled]).into()))
            }
            Why::Unserved(Asks::Conflict(revision)) => {
                let cause = format!(
                    "{none}: its labels contradict each other, one refuses them and one asks for those of revision {revision}"
                );
                let advice = Advice::from(label(&[&not_revision, &enabled, "--overwrite"]))
                    .then(", or where it is to have none: ")
                    .then(label(&[&not_revision]));
                (cause, and_restart(advice))
            }
            Why::Unserved(Asks::PodRevision(revision)) => {
                let cause = format!("{none}: they ask for those of revision {revision}, which nobody serves");
                (cause, format!("take the label {REVISION_LABEL} off the pod templates, or set it to one that is served").into())
            }
            Why::Unserved(Asks::Namespace | Asks::Pod) => {
                (format!("{none}: no webhook of istiod is for them"), and_restart(up().into()))
            }
            Why::OlderThanWebhook => {
                let cause = format!(
                    "pods of namespace {namespace} have no sidecar: they are older than istiod's webhook"
                );
                (cause, restart.clone().unwrap_or_default())
            }
            Why::Older => {
                let cause = format!(
                    "pods of namespace {namespace} have no sidecar: they were made before it asked for sidecars, or while istiod's webhook was not there"
                );
                (cause, restart.clone().unwrap_or_default())
            }
        };
        let fault = Fault::new(cause, advice.at(&self.own.cluster.context));
        match why {
            Why::Unserved(asks) => fault.seen(format!("it has {asks}")).seen(self.served()),
            Why::OlderThanWebhook | Why::Older => fault,
        }
    }

    /// Says which revisions there are.
    fn served(&self) -> String {
        let revisions: BTreeSet<&str> = self.injector.webhooks.iter().flat_map(Webhook::revisions).collect();
        let revisions: Vec<&str> = revisions.into_iter().collect();
        format!(
            "revisions and tags that are served: {}",
            if revisions.is_empty() { "none".to_owned() } else { revisions.join(", ") }
        )
    }

    fn passed_over(&self, namespace: &str, revision: &str) -> Fault<Repair> {
        let cause = format!(
            "namespace {namespace} asks for sidecars with two labels, and that for revision {revision} is passed over"
        );
        let hint = Command::kubectl(["label", "namespace", namespace, &format!("{REVISION_LABEL}-")]);
        Fault::new(cause, hint.at(&self.own.cluster.context))
            .seen(format!("it has {INJECTION_LABEL}=enabled and {REVISION_LABEL}={revision}"))
    }
}

/// Says what makes the pods anew.
fn restart(namespace: &str, pods: &[&SeenBarePod]) -> Option<Advice> {
    let workloads: BTreeSet<&Workload> = pods.iter().map(|pod| &pod.workload).collect();
    let (again, by_hand): (Vec<&Workload>, Vec<&Workload>) = workloads.into_iter().partition(|workload| {
        matches!(
            workload.kind,
            WorkloadKind::Deployment | WorkloadKind::StatefulSet | WorkloadKind::DaemonSet
        )
    });
    let restart = (!again.is_empty()).then(|| {
        let names = again.iter().map(ToString::to_string);
        Advice::from(Command::kubectl(["-n", namespace, "rollout", "restart"]).and(names))
    });
    let by_hand = (!by_hand.is_empty()).then(|| {
        let names: Vec<String> = by_hand.iter().take(MOST_NAMED).map(ToString::to_string).collect();
        Advice::from(format!("delete the pods of {} and make them again", names.join(", ")))
    });
    Advice::joined(restart.into_iter().chain(by_hand), ", and ")
}

/// Names the workloads of pods, with the namespaces that they are in.
fn named(pods: &[&SeenBarePod]) -> String {
    let all: BTreeSet<String> =
        pods.iter().map(|pod| format!("{} in {}", pod.workload, pod.namespace)).collect();
    let more = all.len().saturating_sub(MOST_NAMED);
    let first: Vec<String> = all.into_iter().take(MOST_NAMED).collect();
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    format!("{}{more}", first.join(", "))
}

/// Names the workloads that ask for sidecars and whose pods the API server refuses.
pub(super) fn pods_made(examined: &Examined) -> Findings {
    of_each(examined, |own| match &own.seen.stuck {
        Ok(stuck) if stuck.is_empty() => {
            vec![Finding::pass(own.scope(), "no Deployment says that its pods are refused")]
        }
        Ok(stuck) => stuck.iter().map(|stuck| refused(&own, stuck)).collect(),
        Err(unread) => vec![Finding::skip(own.scope(), &unread.why)],
    })
}

fn refused(own: &Reached<'_>, stuck: &StuckWorkload) -> Finding<Repair> {
    let StuckWorkload { namespace, workload, why } = stuck;
    let cause = format!("the API server refuses the pods of {workload} in namespace {namespace}: {why}");
    let events = ["-n", namespace, "get", "events", "--field-selector", "reason=FailedCreate"];
    let hint = Command::kubectl(events).at(&own.cluster.context);
    let fault = Fault::new(cause, hint).seen(format!("condition ReplicaFailure of {workload}"));
    Finding::fail(own.object(format!("{workload} in {namespace}")), fault)
}
