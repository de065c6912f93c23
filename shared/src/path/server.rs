//! The stages at the other end: the gateway, the server's sidecar, its policies, and the application.

use super::observed::{Observed, SeenCluster, SeenServer};
use super::rbac::{Call, Ruling, Server, ruling};
use super::verdict::{Verdict, edit, listed};
use crate::envoy::{NameRule, ProxySecrets, Validation};
use crate::hint::{Command, Plugin};
use crate::istio::{EAST_WEST_GATEWAY, EAST_WEST_PORT, NAMESPACE};
use crate::trust::{SpiffeId, TrustDomain};

/// The gateway of the cluster's network; nothing where the client is in the same one.
pub(super) fn gateway(observed: &Observed, cluster: &SeenCluster) -> Option<Verdict> {
    let gateway = match cluster.gateway.as_ref()? {
        Ok(gateway) => gateway,
        Err(unread) => return Some(Verdict::unread(unread)),
    };
    let name = &cluster.name;
    let Some(pod) = &gateway.pod else {
        return Some(
            Verdict::stops(
                format!("no pod of {EAST_WEST_GATEWAY} in {name} is ready"),
                Command::kubectl(["-n", NAMESPACE, "describe", "deployment", EAST_WEST_GATEWAY])
                    .at(&cluster.context),
            )
            .at(format!("Deployment {NAMESPACE}/{EAST_WEST_GATEWAY}"), ""),
        );
    };
    if !gateway.listens {
        return Some(
            Verdict::stops(
                format!(
                    "{EAST_WEST_GATEWAY} in {name} does not listen at {EAST_WEST_PORT}: no Gateway object that selects it has this port"
                ),
                Plugin::MeshInstall.up(),
            )
            .at(format!("Gateway {NAMESPACE}/cross-network-gateway"), "")
            .seen(format!("pod {pod} has no listener at {EAST_WEST_PORT}")),
        );
    }
    let service = observed.service.host();
    if gateway.hosts == 0 {
        return Some(
            Verdict::stops(
                format!(
                    "{EAST_WEST_GATEWAY} in {name} knows no pod of {service} at port {}: its Gateway object does not have this host, or \
                     its istiod gives it none",
                    observed.port()
                ),
                edit(&cluster.context, NAMESPACE, "gateway.networking.istio.io", "cross-network-gateway"),
            )
            .at(format!("Gateway {NAMESPACE}/cross-network-gateway"), "spec.servers[].hosts")
            .seen(format!("pod {pod} has no host for it")),
        );
    }
    Some(Verdict::Passes(format!(
        "it listens at {EAST_WEST_PORT} and leads to the service (hosts: {})",
        gateway.hosts
    )))
}

fn id(secrets: &ProxySecrets) -> Option<SpiffeId> {
    secrets.chain()?.leaf.uris.first()?.parse().ok()
}

/// Tells whether a proxy verifies SVIDs of a trust domain; nothing where it has no bundles by trust domain.
fn verifies(secrets: &ProxySecrets, domain: &TrustDomain) -> Option<bool> {
    match secrets.validation.as_ref()?.value.as_ref()? {
        Validation::Spiffe(bundles) => Some(bundles.contains_key(domain)),
        Validation::Pooled(_) => None,
    }
}

pub(super) fn server(observed: &Observed, cluster: &SeenCluster) -> Option<Verdict> {
    let Some(server) = &cluster.server else {
        return Some(Verdict::Unknown("no pod of the service with a sidecar could be asked".to_owned()));
    };
    let (proxy, secrets, inbound) = match (observed.proxy(), &server.secrets, &server.inbound) {
        (Ok(proxy), Ok(secrets), Ok(inbound)) => (proxy, secrets, inbound),
        (Err(unread), ..) => return Some(Verdict::unread(&unread)),
        (_, Err(unread), _) | (.., Err(unread)) => return Some(Verdict::unread(unread)),
    };
    let of_client = match &proxy.secrets {
        Ok(of_client) => of_client,
        Err(unread) => return Some(Verdict::unread(unread)),
    };
    let domain = &cluster.trust_domain;
    if verifies(of_client, domain) == Some(false) {
        return Some(
            Verdict::stops(
                format!(
                    "the client's sidecar has no trust bundle of {domain}, so it cannot verify the server"
                ),
                verify(),
            )
            .found_by("proxy-bundles"),
        );
    }
    if let (Some(server_id), Ok(rules)) = (id(secrets), &proxy.rules) {
        let followed = observed.followed();
        let names: Vec<&NameRule> = followed
            .iter()
            .filter_map(|name| rules.clusters.get(name))
            .flat_map(|rule| &rule.names)
            .collect();
        if !names.is_empty() && !names.iter().any(|name| name.admits(&server_id)) {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let policies = proxy.policies.as_ref().ok();
            let rule =
                policies.and_then(|all| followed.iter().find_map(|name| all.get(name)?.object.as_ref()));
            let rule = rule.map_or_else(|| "no DestinationRule".to_owned(), ToString::to_string);
            return Some(
                Verdict::stops(
                    format!("the client's sidecar does not accept {server_id} as a server of this service"),
                    verify(),
                )
                .found_by("endpoint-identities")
                .seen(format!("it accepts {}", listed(names.iter().map(String::as_str))))
                .seen(format!("{rule} is in force (subjectAltNames)")),
            );
        }
    }
    if let Some(inbound) = inbound
        && inbound.takes_no_mutual_tls()
    {
        let name = &observed.service;
        return Some(
            Verdict::stops(
                format!("the pods in {} take no mutual TLS, and nothing else comes through the mesh: a PeerAuthentication turns it off", cluster.name),
                Command::kubectl(["get", "peerauthentications.security.istio.io", "--all-namespaces"]).at(&cluster.context),
            ).found_by("mutual-tls")
            .at(format!("PeerAuthentication of namespace {} or {NAMESPACE}", name.namespace), "spec.mtls.mode")
            .seen(format!("pod {} has no filter chain with mutual TLS", server.pod)),
        );
    }
    let client_id = id(of_client)?;
    if verifies(secrets, client_id.trust_domain()) == Some(false) {
        return Some(
            Verdict::stops(
                format!(
                    "the sidecars in {} have no trust bundle of {}, so they cannot verify the client",
                    cluster.name,
                    client_id.trust_domain()
                ),
                verify(),
            )
            .found_by("proxy-bundles"),
        );
    }
    if let Some(inbound) = inbound
        && !inbound.admits(&client_id)
    {
        return Some(
            Verdict::stops(
                format!(
                    "the sidecars in {} let nobody of trust domain {} in",
                    cluster.name,
                    client_id.trust_domain()
                ),
                verify(),
            )
            .found_by("proxy-admits"),
        );
    }
    Some(Verdict::Passes(format!("pod {} takes mutual TLS of {client_id}", server.pod)))
}

pub(super) fn authorization(observed: &Observed, cluster: &SeenCluster) -> Option<Verdict> {
    let server = cluster.server.as_ref()?;
    let policies = match &cluster.policies {
        Ok(policies) => policies,
        Err(unread) => return Some(Verdict::unread(unread)),
    };
    let client = observed.client.proxy.as_ref().and_then(|proxy| id(proxy.secrets.as_ref().ok()?));
    let asked = Server {
        namespace: &observed.service.namespace,
        labels: &server.labels,
        trust_domain: &cluster.trust_domain,
    };
    let call = Call {
        id: client.as_ref(),
        asked: &observed.question.asked,
        port: server.port.unwrap_or(observed.question.port),
    };
    let who = client.as_ref().map_or_else(|| "a client without identity".to_owned(), ToString::to_string);
    let kind = "authorizationpolicy.security.istio.io";
    let change = |namespace: &str, name: &str| edit(&cluster.context, namespace, kind, name);
    Some(match ruling(policies, &asked, &call) {
        Ruling::Allowed(0) => Verdict::Passes("no AuthorizationPolicy is in its way".to_owned()),
        Ruling::Allowed(count) => {
            Verdict::Passes(format!("{count} AuthorizationPolicy objects let {who} in"))
        }
        Ruling::Perhaps(policy) => Verdict::Unknown(format!(
            "AuthorizationPolicy {}/{} depends on something that is not judged here",
            policy.namespace, policy.name
        )),
        Ruling::Denied(policy) => {
            let object = format!("AuthorizationPolicy {}/{}", policy.namespace, policy.name);
            Verdict::stops(
                format!("{object} of {} refuses {who}", cluster.name),
                change(&policy.namespace, &policy.name),
            )
            .at(object, "spec.rules")
            .seen("its action is DENY, and one of its rules matches")
        }
        Ruling::NotAllowed(policies) => {
            let names: Vec<String> = policies
                .iter()
                .map(|policy| format!("AuthorizationPolicy {}/{}", policy.namespace, policy.name))
                .collect();
            let all = listed(names.iter().map(String::as_str));
            let verb = if names.len() == 1 { "does" } else { "do" };
            let next = policies.first().map_or_else(verify, |policy| change(&policy.namespace, &policy.name));
            let mut verdict =
                Verdict::stops(format!("{all} of {} {verb} not let {who} in", cluster.name), next)
                    .at(all, "spec.rules[].from[].source");
            for policy in policies {
                let principals = principals(&policy.spec);
                if !principals.is_empty() {
                    verdict = verdict.seen(format!("principals of {}: {}", policy.name, listed(principals)));
                }
            }
            verdict
        }
    })
}

fn verify() -> Command {
    Plugin::MeshInstall.command(["verify"])
}

fn principals(spec: &serde_json::Value) -> Vec<&str> {
    let rules = spec["rules"].as_array().into_iter().flatten();
    let sources = rules.flat_map(|rule| rule["from"].as_array().into_iter().flatten());
    sources
        .flat_map(|from| from["source"]["principals"].as_array().into_iter().flatten())
        .filter_map(serde_json::Value::as_str)
        .take(20)
        .collect()
}

pub(super) fn application(observed: &Observed, cluster: &SeenCluster) -> Option<Verdict> {
    let server: &SeenServer = cluster.server.as_ref()?;
    let port = server.port?;
    let name = &observed.service;
    Some(match server.listens.as_ref()? {
        Ok(true) => {
            Verdict::Passes(format!("somebody listens at port {port} of pod {} (localhost)", server.pod))
        }
        Ok(false) => Verdict::stops(
            format!(
                "nobody listens at port {port} of pod {} in {}, to which Service {name} sends",
                server.pod, cluster.name
            ),
            edit(&cluster.context, &name.namespace, "service", &name.name),
        )
        .at(format!("Service {name}"), "spec.ports[].targetPort")
        .seen(format!("a connection to localhost:{port} in the pod was refused")),
        Err(unread) => Verdict::unread(unread),
    })
}
