//! Why pods are not ready, in words: from their status, the events about them, and the volumes that they wait for.

use std::fmt::Write;

use k8s_openapi::api::core::v1::{ContainerStatus, Event, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use kube::core::Selector;

use crate::fleet::RequestError;

/// The longest text that is taken over from a message, in characters.
const LONGEST_MESSAGE: usize = 400;

/// How a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PodState {
    Ready,
    /// Nothing is wrong as far as its status tells; events may know more.
    Settling(String),
    /// It waits for a node, or for the volumes that it needs before it gets one.
    Unscheduled(String),
    /// It does not work, for this reason.
    Failing(String),
}

/// Finds the reason why pods of a workload (its kind and name) are not ready; `None` while there is nothing to tell.
///
/// # Errors
/// [`RequestError`] when the pods cannot be listed.
pub async fn trouble(
    client: &kube::Client,
    namespace: &str,
    selector: &LabelSelector,
    workload: (&str, &str),
) -> Result<Option<String>, RequestError> {
    let Ok(selector) = Selector::try_from(selector.clone()) else { return Ok(None) };
    let list = Api::<Pod>::namespaced(client.clone(), namespace);
    let pods = list.list(&ListParams::default().labels_from(&selector)).await?.items;
    if pods.is_empty() {
        let (kind, name) = workload;
        return Ok(newest_event(client, namespace, kind, name)
            .await?
            .map(|event| format!("no pods: {event}")));
    }
    let unready: Vec<_> =
        pods.iter().map(|pod| (pod, state(pod))).filter(|(_, state)| *state != PodState::Ready).collect();
    // A pod that fails tells more than one that is starting.
    let weight = |state: &PodState| match state {
        PodState::Failing(_) => 0,
        PodState::Unscheduled(_) => 1,
        PodState::Settling(_) | PodState::Ready => 2,
    };
    let Some((pod, state)) = unready.iter().min_by_key(|(_, state)| weight(state)) else { return Ok(None) };
    let name = pod.name_any();
    let text = match state {
        PodState::Ready => return Ok(None),
        PodState::Failing(text) => text.clone(),
        PodState::Unscheduled(text) => match pending_claim(client, namespace, pod).await? {
            Some(claim) => claim,
            None => text.clone(),
        },
        PodState::Settling(text) => match newest_warning(client, namespace, "Pod", &name).await? {
            Some(event) => format!("{text}; {event}"),
            None => text.clone(),
        },
    };
    let more = match unready.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    Ok(Some(format!("pod {name}: {text}{more}")))
}

/// Says why a pod is not ready, as far as its own status tells; `None` where it is.
#[must_use]
pub fn pod_trouble(pod: &Pod) -> Option<String> {
    match state(pod) {
        PodState::Ready => None,
        PodState::Settling(text) | PodState::Unscheduled(text) | PodState::Failing(text) => Some(text),
    }
}

/// Reads the state of a pod from its status.
fn state(pod: &Pod) -> PodState {
    let Some(status) = &pod.status else { return PodState::Settling("just created".to_owned()) };
    let conditions = status.conditions.as_deref().unwrap_or_default();
    if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        return PodState::Ready;
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    if let Some(failing) = containers.clone().find_map(failure) {
        return PodState::Failing(failing);
    }
    if status.phase.as_deref() == Some("Failed") {
        let reason = status.reason.as_deref().unwrap_or("failed");
        return PodState::Failing(with_message(reason, status.message.as_deref()));
    }
    let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled");
    if let Some(condition) = scheduled.filter(|condition| condition.status == "False") {
        let reason = match condition.reason.as_deref() {
            Some("Unschedulable") | None => "unschedulable",
            Some(other) => other,
        };
        return PodState::Unscheduled(with_message(reason, condition.message.as_deref()));
    }
    let placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    if !placed {
        return PodState::Unscheduled("no scheduler has looked at it yet".to_owned());
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return PodState::Settling("being deleted".to_owned());
    }
    let waiting = containers.clone().find(|container| {
        !container.ready && container.state.as_ref().is_some_and(|state| state.running.is_some())
    });
    PodState::Settling(match waiting {
        Some(container) => format!("container {} runs and is not ready", container.name),
        None => "starting".to_owned(),
    })
}

/// Says why a container does not run; `None` while it may still come up by itself.
fn failure(container: &ContainerStatus) -> Option<String> {
    let name = &container.name;
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        // What a container does at first, too.
        if matches!(reason, "" | "ContainerCreating" | "PodInitializing") {
            return None;
        }
        let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        if reason == "CrashLoopBackOff"
            && let Some(last) = last
        {
            let mut text = format!("container {name}: CrashLoopBackOff, last exit code {}", last.exit_code);
            if let Some(reason) = last.reason.as_deref().filter(|reason| *reason != "Error") {
                let _ = write!(text, " ({reason})");
            }
            let _ = write!(text, ", {} restarts", container.restart_count);
            return Some(with_message(&text, last.message.as_deref()));
        }
        return Some(with_message(&format!("container {name}: {reason}"), waiting.message.as_deref()));
    }
    let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    let reason = ended.reason.as_deref().unwrap_or("Error");
    Some(with_message(
        &format!("container {name}: {reason}, exit code {}", ended.exit_code),
        ended.message.as_deref(),
    ))
}

fn with_message(text: &str, message: Option<&str>) -> String {
    let message = message.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    if message.is_empty() {
        return text.to_owned();
    }
    let short: String = message.chars().take(LONGEST_MESSAGE).collect();
    let dots = if short.len() < message.len() { "…" } else { "" };
    format!("{text}: {short}{dots}")
}

/// Finds a claim of the pod that is not bound, and what its newest event says.
async fn pending_claim(
    client: &kube::Client,
    namespace: &str,
    pod: &Pod,
) -> Result<Option<String>, RequestError> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let names =
        volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone()));
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace);
    for name in names {
        let claim = claims.get_opt(&name).await?;
        let bound = claim.and_then(|claim| claim.status?.phase).is_some_and(|phase| phase == "Bound");
        if bound {
            continue;
        }
        let events = events(client, namespace, "PersistentVolumeClaim", &name).await?;
        match newest(&events, true).or_else(|| newest(&events, false)) {
            Some(event) if waits_for_its_pod(&event) => {}
            Some(event) => return Ok(Some(format!("PersistentVolumeClaim {name} is pending: {event}"))),
            None => {
                let text = "is pending: no provisioner has taken notice of it";
                return Ok(Some(format!("PersistentVolumeClaim {name} {text}")));
            }
        }
    }
    Ok(None)
}

/// Whether a claim only waits until its pod has a node: then the pod's own trouble is the reason, and the claim's event would
/// hide it (volume binding mode `WaitForFirstConsumer`).
fn waits_for_its_pod(event: &str) -> bool {
    ["WaitForFirstConsumer", "WaitForPodScheduled"].iter().any(|reason| event.starts_with(reason))
}

/// Returns the newest event about an object, warnings first: `FailedCreate: pods "x" is forbidden …`.
pub async fn newest_event(
    client: &kube::Client,
    namespace: &str,
    kind: &str,
    name: &str,
) -> Result<Option<String>, RequestError> {
    let events = events(client, namespace, kind, name).await?;
    Ok(newest(&events, true).or_else(|| newest(&events, false)))
}

async fn newest_warning(
    client: &kube::Client,
    namespace: &str,
    kind: &str,
    name: &str,
) -> Result<Option<String>, RequestError> {
    Ok(newest(&events(client, namespace, kind, name).await?, true))
}

async fn events(
    client: &kube::Client,
    namespace: &str,
    kind: &str,
    name: &str,
) -> Result<Vec<Event>, RequestError> {
    let about = format!("involvedObject.kind={kind},involvedObject.name={name}");
    let api = Api::<Event>::namespaced(client.clone(), namespace);
    Ok(api.list(&ListParams::default().fields(&about)).await?.items)
}

fn newest(events: &[Event], warnings: bool) -> Option<String> {
    let fitting = events.iter().filter(|event| !warnings || event.type_.as_deref() == Some("Warning"));
    let event = fitting.max_by_key(|event| time(event))?;
    Some(with_message(event.reason.as_deref().unwrap_or("event"), event.message.as_deref()))
}

fn time(event: &Event) -> Option<Timestamp> {
    let series =
        event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let single = event.last_timestamp.as_ref().map(|time| time.0);
    let first = event.event_time.as_ref().map(|time| time.0);
    series.max(single).max(first).or_else(|| event.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

/// Tells whether a pod is ready, and not about to end.
pub(crate) fn pod_is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .filter(|condition| condition.type_ == "Ready")
            .any(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests;
