//! Checks on one cluster's istiod, its configuration and the gateways.

use serde_json::Value;

use super::{Findings, Reached, of_each, up};
use crate::check::{Fault, Finding};
use crate::federation::checks::missing_rights;
use crate::fleet::Unread;
use crate::hint::{Advice, Plugin};
use crate::istio::ca::CaState;
use crate::istio::gateway::CROSS_NETWORK_GATEWAY;
use crate::istio::version::{IstioVersion, OLDEST};
use crate::istio::{EAST_WEST_GATEWAY, EAST_WEST_PORT, INGRESS_GATEWAY, ISTIOD, NAMESPACE, NETWORK_LABEL};
use crate::manifest::ServiceAddress;
use crate::multicluster::examined::{Examined, SeenIstiod};
use crate::multicluster::preflight::reinstall;
use crate::trust::TrustDomain;

/// The template that gives sidecars SPIRE's socket.
const TEMPLATE: &str = "spire";

/// Names the rights for lack of which something of Istio could not be read.
pub(super) fn rights(examined: &Examined) -> Findings {
    of_each(examined, |own| {
        let seen = own.seen;
        let proxies = seen.proxies.as_ref().ok().into_iter().flatten();
        let parts = [
            seen.workloads.as_ref().err(),
            seen.istiods.as_ref().err(),
            seen.network.as_ref().err(),
            seen.gateway.as_ref().err(),
            seen.gateway_objects.as_ref().err(),
            seen.remote_secrets.as_ref().err(),
            seen.peer_authentications.as_ref().err(),
            seen.injection.as_ref().err(),
            seen.injector.as_ref().err(),
            seen.injector.as_ref().ok().and_then(|injector| injector.asked.as_ref().err()),
            seen.sidecars.as_ref().err(),
            seen.stuck.as_ref().err(),
            seen.ca.as_ref().err(),
            seen.proxies.as_ref().err(),
        ];
        let of_proxies =
            proxies.flat_map(|proxy| [proxy.secrets.as_ref().err(), proxy.inbound.as_ref().err()]);
        let unread: Vec<Unread> = parts.into_iter().chain(of_proxies).flatten().cloned().collect();
        vec![missing_rights(own.scope(), &own.kubectl(), &unread)]
    })
}

pub(super) fn ready(examined: &Examined) -> Findings {
    of_each(examined, |own| {
        let workloads = match &own.seen.workloads {
            Ok(workloads) => workloads,
            Err(unread) => return vec![Finding::skip(own.scope(), &unread.why)],
        };
        let Some(istiod) = workloads.iter().find(|workload| workload.name == ISTIOD) else {
            return vec![missing(&own, ISTIOD)];
        };
        let describe = format!("{} -n {NAMESPACE} describe deployment {ISTIOD}", own.kubectl());
        let counted = format!("{} of {} pods ready", istiod.ready, istiod.wanted);
        let fault = |cause: &str| {
            let fault = Fault::new(cause, describe.as_str()).seen(counted.as_str());
            istiod.trouble.iter().fold(fault, |fault, trouble| fault.seen(trouble.as_str()))
        };
        vec![match &own.seen.istiods {
            Err(unread) => {
                Finding::fail(own.scope(), fault("no pod of istiod answers").seen(unread.why.as_str()))
            }
            Ok(_) if istiod.ready < istiod.wanted => {
                Finding::warn(own.scope(), fault("not every pod of istiod is ready"))
            }
            Ok(pods) => Finding::pass(
                own.scope(),
                pods.iter().map(|pod| pod.pod.as_str()).collect::<Vec<_>>().join(", "),
            ),
        }]
    })
}

fn missing(own: &Reached<'_>, deployment: &str) -> Finding<super::Repair> {
    let fault = Fault::new(format!("there is no {deployment}"), up());
    Finding::fail(own.scope(), fault.seen(format!("Deployment {NAMESPACE}/{deployment} does not exist")))
}

pub(super) fn versions(examined: &Examined) -> Findings {
    let version = |own: &Reached<'_>| -> Option<IstioVersion> {
        own.seen.istiods.as_ref().ok()?.iter().find_map(|istiod| istiod.version)
    };
    of_each(examined, |own| {
        let Some(mine) = version(&own) else {
            return vec![Finding::skip(own.scope(), "istiod does not say which version it is")];
        };
        if mine < OLDEST {
            let cause = format!("istiod is of version {mine}, and {OLDEST} is the oldest that works");
            return vec![Finding::fail(own.scope(), Fault::new(cause, reinstall(own.name())))];
        }
        let others = super::reached(examined).filter_map(|peer| Some((peer.name(), version(&peer)?)));
        // One that is too old is named on its own side.
        let apart = others.into_iter().find(|(_, other)| *other >= OLDEST && !mine.works_with(*other));
        if let Some((peer, other)) = apart {
            let cause = format!(
                "Istio is {mine} here and {other} in {peer}: one minor version of difference is supported"
            );
            let hint = Advice::from(
                "set istio.istioctl of the older one in the mesh file to a newer istioctl, then: ",
            );
            let hint = hint.then(up());
            return vec![Finding::fail(own.scope(), Fault::new(cause, hint))];
        }
        vec![Finding::pass(own.scope(), mine.to_string())]
    })
}

/// Holds the trust domains in istiod's configuration against those of the mesh.
pub(super) fn trust_domains(examined: &Examined) -> Findings {
    of_each(examined, |own| {
        of_configuration(&own, |istiod, config| {
            let wanted = own.cluster.trust_domain.as_str();
            let found = config["trustDomain"].as_str().unwrap_or("cluster.local");
            if found != wanted {
                let cause = format!(
                    "istiod takes its own workloads for those of {found}, and SPIRE makes them {wanted}"
                );
                return Some(
                    Fault::new(cause, up())
                        .seen(format!("{}: meshConfig.trustDomain is {found}", istiod.pod)),
                );
            }
            let admitted = admitted(config);
            let missing: Vec<&str> = own
                .peers()
                .map(|peer| peer.trust_domain.as_str())
                .filter(|domain| !admitted.iter().any(|admitted| admitted == domain))
                .collect();
            if missing.is_empty() {
                return None;
            }
            let cause = format!(
                "istiod does not know {}: sidecars refuse what comes from there, whatever bundles they have",
                missing.join(", ")
            );
            Some(Fault::new(cause, up()).seen(format!(
                "{}: meshConfig admits {}",
                istiod.pod,
                if admitted.is_empty() { "no other trust domain".to_owned() } else { admitted.join(", ") }
            )))
        })
    })
}

pub(super) fn aliases(examined: &Examined) -> Findings {
    of_each(examined, |own| {
        of_configuration(&own, |istiod, config| {
            let aliases = texts(&config["trustDomainAliases"]);
            if aliases.is_empty() {
                return None;
            }
            let cause = format!(
                "{} has aliases ({}): an AuthorizationPolicy for a workload of one admits that of the others",
                own.cluster.trust_domain,
                aliases.join(", ")
            );
            Some(Fault::new(cause, up()).seen(format!("{}: meshConfig.trustDomainAliases", istiod.pod)))
        })
        .into_iter()
        .map(|finding| match finding.verdict {
            crate::check::Verdict::Fail(fault) => Finding::warn(finding.scope, fault),
            _ => finding,
        })
        .collect()
    })
}

/// Asks something of the configuration of every pod of istiod: the first fault counts.
fn of_configuration(
    own: &Reached<'_>,
    ask: impl Fn(&SeenIstiod, &Value) -> Option<Fault<super::Repair>>,
) -> Findings {
    let Ok(istiods) = &own.seen.istiods else {
        return vec![Finding::skip(own.scope(), "istiod does not answer")];
    };
    for istiod in istiods {
        match &istiod.mesh_config {
            Ok(config) => {
                if let Some(fault) = ask(istiod, config) {
                    return vec![Finding::fail(own.scope(), fault)];
                }
            }
            Err(unread) => return vec![Finding::skip(own.scope(), &unread.why)],
        }
    }
    vec![Finding::pass(own.scope(), format!("of {} pods of istiod", istiods.len()))]
}

/// Returns the trust domains that a configuration admits beside its own.
fn admitted(config: &Value) -> Vec<String> {
    let certificates = config["caCertificates"].as_array().into_iter().flatten();
    let mut all: Vec<String> =
        certificates.flat_map(|certificate| texts(&certificate["trustDomains"])).collect();
    all.extend(texts(&config["trustDomainAliases"]));
    all.sort();
    all.dedup();
    all
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    // What is no trust domain is not repeated: it is foreign text.
    texts.filter(|text| text.parse::<TrustDomain>().is_ok()).map(str::to_owned).collect()
}

/// Holds the injection template against the form of sidecar that istiod makes.
pub(super) fn injection(examined: &Examined) -> Findings {
    of_each(examined, |own| {
        let injection = match &own.seen.injection {
            Ok(injection) => injection,
            Err(unread) => return vec![Finding::skip(own.scope(), &unread.why)],
        };
        let place = "ConfigMap istio-sidecar-injector in namespace istio-system";
        let Some(template) = &injection.template else {
            let fault = Fault::new(
                "sidecars get their certificates from istiod: there is no injection template for SPIRE's socket",
                up(),
            );
            return vec![Finding::fail(
                own.scope(),
                fault.seen(format!("{place} has no template `{TEMPLATE}`")),
            )];
        };
        if !injection.default_templates.iter().any(|name| name == TEMPLATE) {
            let cause = "pods get SPIRE's socket only where they ask for it: the injection template is not a default one";
            let seen = format!("{place}: defaultTemplates is {}", injection.default_templates.join(", "));
            return vec![Finding::fail(own.scope(), Fault::new(cause, up()).seen(seen))];
        }
        let branches = template.contains("NativeSidecars");
        let form = if template.contains("initContainers:") { "initContainers" } else { "containers" };
        let needed = if injection.native { "initContainers" } else { "containers" };
        if !branches && form != needed {
            let cause = format!(
                "the injection template changes `{form}`, and istiod puts the sidecar among `{needed}` here: pods are refused, or start without an identity"
            );
            return vec![Finding::fail(
                own.scope(),
                Fault::new(cause, up())
                    .seen(injection.why.as_str())
                    .seen(format!("{place}: template `{TEMPLATE}`")),
            )];
        }
        vec![Finding::pass(own.scope(), format!("sidecars are among `{needed}`: {}", injection.why))]
    })
}

pub(super) fn network_label(examined: &Examined) -> Findings {
    of_each(examined, |own| {
        let wanted = &own.cluster.network;
        vec![match &own.seen.network {
            Err(unread) => Finding::skip(own.scope(), &unread.why),
            Ok(Some(found)) if found == wanted => {
                Finding::pass(own.scope(), format!("{NETWORK_LABEL}={found}"))
            }
            Ok(found) => {
                let cause = match found {
                    Some(found) => format!(
                        "istiod takes the cluster for one of network {found}, and the mesh file says {wanted}"
                    ),
                    None => format!(
                        "istiod does not know that the cluster is in network {wanted}: it takes every pod of the mesh for one that is reached directly"
                    ),
                };
                Finding::fail(
                    own.scope(),
                    Fault::new(cause, up())
                        .seen(format!("namespace {NAMESPACE} has no label {NETWORK_LABEL}={wanted}")),
                )
            }
        }]
    })
}

pub(super) fn gateways(examined: &Examined) -> Findings {
    of_each(examined, |own| {
        let workloads = match &own.seen.workloads {
            Ok(workloads) => workloads,
            Err(unread) => return vec![Finding::skip(own.scope(), &unread.why)],
        };
        let ingress = own.cluster.istio.ingress_gateway.as_ref().map(|_| INGRESS_GATEWAY);
        let mut incomplete = None;
        for name in ingress.into_iter().chain([EAST_WEST_GATEWAY]) {
            let Some(gateway) = workloads.iter().find(|workload| workload.name == name) else {
                return vec![missing(&own, name)];
            };
            let fault = |cause: String, hint: String| {
                let counted = format!("{} of {} pods ready", gateway.ready, gateway.wanted);
                let fault = Fault::new(cause, hint).seen(counted);
                gateway.trouble.iter().fold(fault, |fault, trouble| fault.seen(trouble.as_str()))
            };
            let describe = format!("{} -n {NAMESPACE} describe deployment {name}", own.kubectl());
            if gateway.ready == 0 {
                let scale = format!("{} -n {NAMESPACE} scale deployment {name} --replicas=1", own.kubectl());
                let hint = if gateway.wanted == 0 { scale } else { describe };
                return vec![Finding::fail(own.scope(), fault(format!("no pod of {name} is ready"), hint))];
            }
            if gateway.ready < gateway.wanted && incomplete.is_none() {
                incomplete = Some(fault(format!("not every pod of {name} is ready"), describe));
            }
        }
        let describe = format!("{} -n {NAMESPACE} describe service {EAST_WEST_GATEWAY}", own.kubectl());
        vec![match &own.seen.gateway {
            Err(unread) => Finding::skip(own.scope(), &unread.why),
            Ok(ServiceAddress::Ready(address)) => match incomplete {
                Some(fault) => Finding::warn(own.scope(), fault),
                None => Finding::pass(own.scope(), address.to_string()),
            },
            Ok(ServiceAddress::Pending(reason) | ServiceAddress::Unreachable(reason)) => {
                let cause = "other networks have no address at which they could come in";
                Finding::fail(own.scope(), Fault::new(cause, describe).seen(reason.as_str()))
            }
        }]
    })
}

/// Looks for a `Gateway` object that has the east-west gateway listen for other networks.
pub(super) fn listener(examined: &Examined) -> Findings {
    of_each(examined, |own| {
        if own.other_networks().next().is_none() {
            return vec![Finding::skip(own.scope(), "all clusters are of its network")];
        }
        let objects = match &own.seen.gateway_objects {
            Ok(objects) => objects,
            Err(unread) => return vec![Finding::skip(own.scope(), &unread.why)],
        };
        if let Some(listens) = objects.iter().find(|object| object.problem.is_none()) {
            return vec![Finding::pass(own.scope(), format!("Gateway {NAMESPACE}/{}", listens.name))];
        }
        let object = format!("Gateway {NAMESPACE}/{CROSS_NETWORK_GATEWAY}");
        let nobody = format!(
            "{EAST_WEST_GATEWAY} does not listen at port {EAST_WEST_PORT}, so that no other network comes in"
        );
        let changed = objects.iter().find(|object| object.name == CROSS_NETWORK_GATEWAY);
        let fault = match changed.and_then(|object| object.problem.as_deref()) {
            Some(problem) => Fault::new(format!("{nobody}: {object} was changed"), up())
                .seen(format!("{object}: {problem}")),
            None => Fault::new(format!("{nobody}: {object} is missing"), up())
                .seen(format!("{object} does not exist")),
        };
        vec![Finding::fail(own.scope(), fault)]
    })
}

/// Holds the CA that istiod signs with against the one in its Secret.
pub(super) fn authority(examined: &Examined) -> Findings {
    of_each(examined, |own| {
        let seen = match &own.seen.ca {
            Ok(seen) => seen,
            Err(unread) => return vec![Finding::skip(own.scope(), &unread.why)],
        };
        let state = seen.state();
        let fault = || {
            let hint = state.hint(&own.cluster.context).unwrap_or_default();
            let presented =
                seen.istiods.iter().filter_map(|istiod| Some((istiod, istiod.presented.first()?)));
            let fault = Fault::new(state.to_string(), hint);
            presented.fold(fault, |fault, (istiod, leaf)| {
                fault.seen(format!("{} presents a certificate of {}", istiod.pod, leaf.issuer))
            })
        };
        vec![match &state {
            CaState::InForce if seen.is_between_roots() => {
                let cause = "proxies trust two roots of istiod's CA: a change of the root was begun, and has not ended";
                let next = Plugin::MeshInstall.command(["rotate-ca", "--root", own.name()]);
                let roots = seen.published.iter();
                let fault = roots.fold(Fault::new(cause, next), |fault, root| {
                    fault.seen(format!("root {}", root.subject))
                });
                Finding::warn(own.scope(), fault)
            }
            CaState::SelfSigned | CaState::InForce => Finding::pass(own.scope(), state.to_string()),
            CaState::Behind { .. } => Finding::warn(own.scope(), fault()),
            CaState::StartedBefore { .. } | CaState::OtherRoot { .. } => Finding::fail(own.scope(), fault()),
        }]
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn trust_domains_are_admitted_by_certificates_and_by_aliases() {
        let config = json!({
            "trustDomain": "foo.com",
            "caCertificates": [{"trustDomains": ["bar.com", "baz.com"]}, {"pem": "x"}],
            "trustDomainAliases": ["bar.com", "\u{1b}[31m"],
        });
        assert_eq!(admitted(&config), ["bar.com", "baz.com"]);
        assert_eq!(admitted(&json!({})), [""; 0]);
    }
}
