//! The second stage: does the client's sidecar know the host and port?

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use serde_json::Value;

use super::observed::{Observed, SeenCluster, SeenObject};
use super::selector::{is_discovered, selects};
use super::verdict::{Verdict, edit, listed};
use crate::hint::{Command, Plugin};
use crate::istio::NAMESPACE;

/// The annotation of a service that says which namespaces may know it.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

pub(super) fn name(observed: &Observed) -> Verdict {
    let question = &observed.question;
    let Some(own) = observed.own() else {
        return Verdict::Unknown(format!("{} could not be read", observed.client.cluster));
    };
    let service = match &own.service {
        Ok(Some(service)) => service,
        Ok(None) => return missing(observed, own),
        Err(unread) => return Verdict::unread(unread),
    };
    if let Some(verdict) = without_port(observed, own, service) {
        return verdict;
    }
    let proxy = match observed.proxy() {
        Ok(proxy) => proxy,
        Err(unread) => return Verdict::unread(&unread),
    };
    let endpoints = match &proxy.endpoints {
        Ok(endpoints) => endpoints,
        Err(unread) => return Verdict::unread(unread),
    };
    let wanted = format!("outbound|{}||{}", question.port, question.service.host());
    if endpoints.contains_key(&wanted) {
        return Verdict::Passes(format!("its sidecar knows {}:{}", question.service.host(), question.port));
    }
    unknown(observed, own, service)
}

/// The service is not in the client's cluster.
fn missing(observed: &Observed, own: &SeenCluster) -> Verdict {
    let service = &observed.question.service;
    let elsewhere: Vec<&str> = observed
        .clusters
        .iter()
        .filter(|cluster| matches!(cluster.service, Ok(Some(_))))
        .map(|cluster| cluster.name.as_str())
        .collect();
    let object = format!("Service {service}");
    let field = format!("metadata.name={}", service.name);
    let look = Command::kubectl(["get", "services", "--all-namespaces", "--field-selector", &field])
        .at(&own.context);
    let verdict = if elsewhere.is_empty() {
        Verdict::stops(format!("there is no Service {service} in any cluster"), look)
    } else {
        Verdict::stops(
            format!(
                "there is no Service {service} in {}, so the name has no address for its pods; it has to be there too, even without pods",
                own.name
            ),
            look,
        )
        .seen(format!("it is in {}", listed(elsewhere)))
    };
    verdict.at(object, "")
}

fn without_port(observed: &Observed, cluster: &SeenCluster, service: &Service) -> Option<Verdict> {
    let wanted = observed.question.port;
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let ports: Vec<String> = ports.map(|port| port.port.to_string()).collect();
    if ports.contains(&wanted.to_string()) {
        return None;
    }
    let name = &observed.question.service;
    let next = edit(&cluster.context, &name.namespace, "service", &name.name);
    Some(
        Verdict::stops(format!("Service {name} in {} has no port {wanted}", cluster.name), next)
            .at(format!("Service {name}"), "spec.ports")
            .seen(format!("its ports: {}", listed(ports.iter().map(String::as_str)))),
    )
}

/// The service is there, and the sidecar does not know it.
fn unknown(observed: &Observed, own: &SeenCluster, service: &Service) -> Verdict {
    let question = &observed.question;
    let from = client_namespace(observed);
    if let Some(export) = service.annotations().get(EXPORT_TO)
        && !exports(export, &question.service.namespace, &from)
    {
        let name = &question.service;
        return Verdict::stops(
            format!("Service {name} is not for namespace {from}: its annotation says who may know it"),
            edit(&own.context, &name.namespace, "service", &name.name),
        )
        .at(format!("Service {name}"), format!("metadata.annotations[{EXPORT_TO}]"))
        .seen(format!("{EXPORT_TO}: {export:?}"));
    }
    if let Some(verdict) = left_out_by_sidecar(observed, &from) {
        return verdict;
    }
    if let Some(verdict) = undiscovered(observed, own) {
        return verdict;
    }
    Verdict::stops(
        format!(
            "the client's sidecar does not know {}:{}, although its cluster has the service: istiod has not sent it",
            question.service.host(),
            question.port
        ),
        Plugin::MeshInstall.command(["verify"]),
    )
}

/// istiod leaves the service's namespace out (`discoverySelectors`).
pub(super) fn undiscovered(observed: &Observed, cluster: &SeenCluster) -> Option<Verdict> {
    let config = observed.client.mesh_config.as_ref().ok()?;
    let namespace = cluster.namespace.as_ref().ok()?.as_ref()?;
    if is_discovered(config, namespace.labels()) {
        return None;
    }
    let client = &observed.client.cluster;
    let name = namespace.name_any();
    Some(
        Verdict::stops(
            format!(
                "istiod of {client} leaves namespace {name} of {} out: none of its discoverySelectors selects the namespace's labels",
                cluster.name
            ),
            edit(observed.context(), NAMESPACE, "configmap", "istio"),
        )
        .at(format!("ConfigMap {NAMESPACE}/istio of {client}"), "data.mesh: discoverySelectors")
        .seen(format!("discoverySelectors: {}", config["discoverySelectors"])),
    )
}

fn client_namespace(observed: &Observed) -> String {
    observed.client.pod.as_ref().ok().and_then(ResourceExt::namespace).unwrap_or_default()
}

/// Tells whether a service's annotation lets a namespace know it.
fn exports(annotation: &str, own: &str, from: &str) -> bool {
    annotation.split(',').map(str::trim).any(|to| match to {
        "*" | "" => true,
        "." => own == from,
        name => name == from,
    })
}

/// Finds the `Sidecar` object in force for the client, and whether it leaves the service out.
fn left_out_by_sidecar(observed: &Observed, from: &str) -> Option<Verdict> {
    let sidecars = observed.client.sidecars.as_ref().ok()?;
    let no_labels = BTreeMap::new();
    let labels = observed.client.pod.as_ref().map_or(&no_labels, ResourceExt::labels);
    let force = in_force(sidecars, from, labels)?;
    let egress = force.spec["egress"].as_array().filter(|egress| !egress.is_empty())?;
    let hosts: Vec<&str> = egress
        .iter()
        .flat_map(|one| one["hosts"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect();
    let service = &observed.question.service;
    if hosts.iter().any(|host| covers(host, from, &service.namespace, &service.host())) {
        return None;
    }
    let object = format!("Sidecar {}/{}", force.namespace, force.name);
    Some(
        Verdict::stops(
            format!(
                "{object} leaves {} out: the client's sidecar is given only the hosts that it lists",
                service.host()
            ),
            edit(observed.context(), &force.namespace, "sidecar.networking.istio.io", &force.name),
        )
        .at(object, "spec.egress[].hosts")
        .seen(format!("its hosts: {}", listed(hosts))),
    )
}

/// One that selects the pod counts before one for its namespace, and that before one of Istio's namespace.
fn in_force<'s>(
    sidecars: &'s [SeenObject],
    from: &str,
    labels: &BTreeMap<String, String>,
) -> Option<&'s SeenObject> {
    let selector = |sidecar: &SeenObject| {
        sidecar.spec.get("workloadSelector").and_then(|selector| selector.get("labels")).cloned()
    };
    let of_namespace = |sidecar: &&SeenObject| sidecar.namespace == from;
    let selecting = sidecars.iter().filter(of_namespace).find(|sidecar| {
        selector(sidecar).is_some_and(|wanted| selects(&serde_json::json!({"matchLabels": wanted}), labels))
    });
    let without = |namespace: &str| {
        sidecars.iter().find(|sidecar| sidecar.namespace == namespace && selector(sidecar).is_none())
    };
    selecting.or_else(|| without(from)).or_else(|| without(NAMESPACE))
}

/// Tells whether a host of a `Sidecar`, `NAMESPACE/NAME`, covers a service.
fn covers(pattern: &str, from: &str, namespace: &str, host: &str) -> bool {
    let (spaces, name) = pattern.split_once('/').unwrap_or(("*", pattern));
    let of_namespace = match spaces {
        "*" => true,
        "." => from == namespace,
        "~" => false,
        other => other == namespace,
    };
    let of_name = match name.strip_prefix('*') {
        Some(end) => host.ends_with(end),
        None => name == host,
    };
    of_namespace && of_name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_names_namespaces_its_own_or_all() {
        assert!(
            exports("*", "shop", "sleep")
                && exports("", "shop", "sleep")
                && exports("a, sleep", "shop", "sleep")
        );
        assert!(exports(".", "shop", "shop") && !exports(".", "shop", "sleep"));
        assert!(!exports("~", "shop", "sleep") && !exports("a,b", "shop", "sleep"));
    }

    #[test]
    fn a_host_of_a_sidecar_is_of_a_namespace_and_a_name() {
        let of = |pattern: &str| covers(pattern, "sleep", "shop", "cart.shop.svc.cluster.local");
        for pattern in ["*/*", "shop/*", "*/*.svc.cluster.local", "shop/cart.shop.svc.cluster.local", "*"] {
            assert!(of(pattern), "{pattern}");
        }
        for pattern in
            ["./*", "~/*", "istio-system/*", "shop/other.shop.svc.cluster.local", "*/*.example.com"]
        {
            assert!(!of(pattern), "{pattern}");
        }
        assert!(covers("./*", "shop", "shop", "cart.shop.svc.cluster.local"));
    }

    #[test]
    fn the_most_special_sidecar_is_in_force() {
        let sidecar = |namespace: &str, name: &str, spec: Value| SeenObject {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            spec,
        };
        let all = [
            sidecar(NAMESPACE, "root", serde_json::json!({})),
            sidecar("sleep", "own", serde_json::json!({})),
            sidecar(
                "sleep",
                "special",
                serde_json::json!({"workloadSelector": {"labels": {"app": "sleep"}}}),
            ),
            sidecar("shop", "other", serde_json::json!({})),
        ];
        let labels = |app: &str| [("app".to_owned(), app.to_owned())].into();
        let of = |sidecars: &[SeenObject], app: &str| {
            in_force(sidecars, "sleep", &labels(app)).map(|found| found.name.clone())
        };
        assert_eq!(of(&all, "sleep").as_deref(), Some("special"));
        assert_eq!(of(&all, "other").as_deref(), Some("own"));
        assert_eq!(of(&all[..1], "sleep").as_deref(), Some("root"));
        assert_eq!(of(&all[3..], "sleep"), None);
    }
}
