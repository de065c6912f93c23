//! The first stage: does the client send through a sidecar?

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::observed::Observed;
use super::verdict::{Verdict, edit};
use crate::hint::{Advice, Command, Plugin};
use crate::istio::injector::{Asks, INJECT_LABEL, INJECTION_LABEL, Labels};
use crate::workload::{Workload, WorkloadPod};

/// Annotations that take requests past the sidecar, each with what it says.
const PORTS_OUT: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
const INTERFACES_OUT: &str = "traffic.sidecar.istio.io/excludeInterfaces";
const ADDRESSES_OUT: &str = "traffic.sidecar.istio.io/excludeOutboundIPRanges";
const ADDRESSES_IN: &str = "traffic.sidecar.istio.io/includeOutboundIPRanges";
pub(super) fn client(observed: &Observed) -> Verdict {
    let pod = match &observed.client.pod {
        Ok(pod) => pod,
        Err(unread) => return Verdict::unread(unread),
    };
    let namespace = pod.namespace().unwrap_or_default();
    let owner = WorkloadPod::of(pod).map(|pod| pod.workload);
    if observed.client.proxy.is_none() {
        return without_sidecar(observed, pod, &namespace, owner.as_ref());
    }
    let annotations = pod.annotations();
    let port = observed.question.port.to_string();
    let object = format!("Pod {namespace}/{}", pod.name_any());
    let past = |annotation: &str| {
        let value = annotations.get(annotation).map(String::as_str).unwrap_or_default();
        Verdict::stops(
            "the request leaves the pod past its sidecar, and nothing outside the mesh gets an answer: the pod's annotation says so",
            change(observed.context(), &namespace, owner.as_ref()),
        )
        .at(&object, format!("metadata.annotations[{annotation}]"))
        .seen(format!("{annotation}: {value:?}"))
    };
    if annotations.get(PORTS_OUT).is_some_and(|ports| lists(ports, &port)) {
        return past(PORTS_OUT);
    }
    let address =
        observed.own().and_then(|own| own.service.as_ref().ok()?.as_ref()?.spec.as_ref()?.cluster_ip.clone());
    let covers = |ranges: &String| address.as_ref().is_some_and(|address| covers(ranges, address));
    if annotations.get(ADDRESSES_OUT).is_some_and(covers) {
        return past(ADDRESSES_OUT);
    }
    if annotations
        .get(ADDRESSES_IN)
        .is_some_and(|ranges| address.is_some() && ranges != "*" && !covers(ranges))
    {
        return past(ADDRESSES_IN);
    }
    if annotations.get(INTERFACES_OUT).is_some_and(|interfaces| lists(interfaces, "eth0")) {
        return past(INTERFACES_OUT);
    }
    Verdict::Passes("its sidecar takes the request".to_owned())
}

fn without_sidecar(observed: &Observed, pod: &Pod, namespace: &str, owner: Option<&Workload>) -> Verdict {
    let context = observed.context();
    let object = format!("Pod {namespace}/{}", pod.name_any());
    let cause = |why: &str| {
        format!("the client has no sidecar, and nobody without one gets an answer in the mesh: {why}")
    };
    if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
        let next = change(context, namespace, owner);
        return Verdict::stops(cause("its pod is in the node's network, where Istio injects none"), next)
            .at(object, "spec.hostNetwork");
    }
    let decided = pod.labels().get(INJECT_LABEL).map(|value| ("labels", value));
    let decided = decided.or_else(|| pod.annotations().get(INJECT_LABEL).map(|value| ("annotations", value)));
    if let Some((place, value)) = decided.filter(|(_, value)| *value == "false") {
        let next = change(context, namespace, owner);
        return Verdict::stops(cause("its pod asks for none"), next)
            .at(object, format!("metadata.{place}[{INJECT_LABEL}]"))
            .seen(format!("{INJECT_LABEL}: {value:?}"));
    }
    let labels = match &observed.client.namespace {
        Ok(found) => found.as_ref().map(|found| found.labels().clone()).unwrap_or_default(),
        Err(unread) => return Verdict::unread(unread),
    };
    let Some(asks) = Asks::of_pod(namespace, &labels, pod.labels()) else {
        let enabled = format!("{INJECTION_LABEL}=enabled");
        let label = Command::kubectl(["label", "namespace", namespace, &enabled, "--overwrite"]);
        let next = Advice::from(label.at(context)).then(", then ").then(restart(context, namespace, owner));
        let turned_off = labels.contains_key(INJECTION_LABEL);
        let why = if turned_off {
            "its namespace turns injection off"
        } else {
            "its namespace does not ask for one"
        };
        return Verdict::stops(cause(why), next)
            .at(format!("Namespace {namespace}"), "metadata.labels")
            .seen(format!("its labels: {}", written(&labels)));
    };
    if let Asks::Conflict(_) = asks {
        let label = Command::kubectl(["label", "namespace", namespace, &format!("{INJECTION_LABEL}-")]);
        let next = Advice::from(label.at(context)).then(", then ").then(restart(context, namespace, owner));
        return Verdict::stops(
            cause("two labels of its namespace contradict each other, and istiod injects none"),
            next,
        )
        .at(format!("Namespace {namespace}"), "metadata.labels")
        .found_by("sidecars")
        .seen(format!("its labels: {}", written(&labels)));
    }
    let next = Advice::from("find out whether istiod injects any: ")
        .then(Plugin::MeshInstall.command(["verify"]))
        .then(", and then: ")
        .then(restart(context, namespace, owner));
    Verdict::stops(
        cause("it asks for one, so the pod is older than that, or no webhook gave it one when it was made"),
        next,
    )
    .at(object, "")
    .found_by("sidecars")
    .seen(format!("it asks for one by {asks}"))
}

fn written(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .filter(|(key, _)| key.starts_with("istio"))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if pairs.is_empty() { "none of Istio's".to_owned() } else { pairs.join(", ") }
}

/// Writes the command that changes the template of a pod, or says that it has none.
fn change(context: &str, namespace: &str, owner: Option<&Workload>) -> Advice {
    match owner {
        Some(owner) => edit(context, namespace, owner.kind.as_str(), &owner.name).into(),
        None => "delete the pod, and have it made again without it".into(),
    }
}

fn restart(context: &str, namespace: &str, owner: Option<&Workload>) -> Advice {
    use crate::workload::WorkloadKind::{DaemonSet, Deployment, StatefulSet};
    match owner {
        Some(owner) if matches!(owner.kind, Deployment | StatefulSet | DaemonSet) => {
            let object = format!("{}/{}", owner.kind.as_str(), owner.name);
            Command::kubectl(["-n", namespace, "rollout", "restart", &object]).at(context).into()
        }
        _ => "delete the pod, and have it made again".into(),
    }
}

fn lists(text: &str, wanted: &str) -> bool {
    text.split(',').any(|part| part.trim() == wanted)
}

/// Tells whether one of the ranges (`10.0.0.0/8,10.1.2.3/32`) has an address.
fn covers(ranges: &str, address: &str) -> bool {
    let Ok(address) = address.parse::<std::net::IpAddr>() else { return false };
    ranges.split(',').map(str::trim).any(|range| {
        range == "*" || range.parse::<ipnet::IpNet>().is_ok_and(|range| range.contains(&address))
    })
}
