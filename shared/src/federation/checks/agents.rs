//! Checks on agents and the CSI driver.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::server::unfound;
use super::{Findings, Reached, Repair, of_each, up};
use crate::check::{Fault, Finding};
use crate::federation::examined::{Examined, Parts, SeenWorkload};
use crate::federation::lost::Lost;
use crate::federation::observed::{SeenAgentPod, SeenAgents, SeenNode, SeenServer};
use crate::federation::status::{is_on, text};
use crate::mesh::Spire;
use crate::spire::server::Agent;
use crate::trust::AuthorityDigest;

/// The name under which Istio's proxies ask for the bundles of all trust domains (Istio, `pkg/security/security.go`).
const ISTIO_BUNDLES: &str = "ROOTCA";

pub(super) fn bootstrap_bundle(examined: &Examined) -> Findings {
    of_each(examined, |reached| {
        let scope = reached.scope();
        let Ok(server) = &reached.seen.server else {
            return vec![Finding::skip(scope, "its server could not be asked")];
        };
        let published = match &reached.details.published_bundle {
            Ok(Some(published)) => published,
            Ok(None) if matches!(reached.cluster.cluster.spire, Spire::Existing(_)) => {
                return vec![Finding::skip(
                    scope,
                    "it is not known what the agents of somebody else's SPIRE start from",
                )];
            }
            Ok(None) => {
                let cause = "the server has not published its bundle, so no agent can start";
                return vec![Finding::fail(scope, Fault::new(cause, server_log(&reached, server)))];
            }
            Err(unread) => return vec![Finding::skip(scope, &unread.why)],
        };
        if published.same_authorities(&server.bundle) {
            return vec![Finding::pass(scope, format!("{} authorities", published.authorities().len()))];
        }
        let digests = |authorities: Vec<&AuthorityDigest>| {
            authorities.iter().map(|digest| digest.short()).collect::<Vec<_>>().join(", ")
        };
        let cause = "agents start from another bundle than the server has; new ones may not attest";
        let fault = Fault::new(cause, server_log(&reached, server))
            .seen(format!("published: {}", digests(published.authorities().keys().collect())))
            .seen(format!("the server's: {}", digests(server.bundle.authorities().keys().collect())));
        vec![Finding::fail(scope, fault)]
    })
}

fn server_log(reached: &Reached<'_>, server: &SeenServer) -> String {
    let (namespace, pod) = server.pod.split_once('/').unwrap_or(("spire-server", &server.pod));
    format!("{} -n {namespace} logs {pod} --all-containers", reached.kubectl())
}

pub(super) fn on_nodes(examined: &Examined) -> Findings {
    of_each(examined, |reached| {
        let (Ok(server), Ok(nodes)) = (&reached.seen.server, &reached.seen.nodes) else {
            return vec![Finding::skip(reached.scope(), "its server or its nodes could not be read")];
        };
        let agents = match &reached.seen.agents {
            Ok(Some(agents)) => agents,
            Ok(None) => {
                let hint = reached.next(format!(
                    "run spire-agent in a DaemonSet; this shows what there is: {} get daemonsets -A",
                    reached.kubectl()
                ));
                return vec![Finding::fail(reached.scope(), Fault::new("there are no SPIRE agents", hint))];
            }
            Err(unread) => {
                let look = format!("{} get daemonsets -A", reached.kubectl());
                return vec![unfound(&reached, unread, look)];
            }
        };
        let workloads = reached.details.workloads.as_deref().unwrap_or_default();
        let of_node =
            |node| OfNode { node, agents, server, workloads, reached, now: examined.observed.at }.check();
        nodes.iter().map(of_node).collect()
    })
}

/// A node, with what is held against it.
struct OfNode<'e> {
    node: &'e SeenNode,
    agents: &'e SeenAgents,
    server: &'e SeenServer,
    workloads: &'e [SeenWorkload],
    reached: Reached<'e>,
    now: Timestamp,
}

impl OfNode<'_> {
    fn check(&self) -> Finding<Repair> {
        let scope = self.reached.object(format!("Node {}", self.node.name));
        if !self.node.ready {
            return Finding::skip(scope, "the node is not ready");
        }
        let pod = self.agents.pods.iter().find(|pod| pod.node.as_ref() == Some(&self.node.name));
        let Some(pod) = pod else {
            return match self.without_agent() {
                Some(fault) => Finding::fail(scope, fault),
                None => Finding::pass(scope, "no agent, and no pod that needs one"),
            };
        };
        let attested = self
            .server
            .agents
            .iter()
            .filter(|agent| is_on(agent, self.node))
            .max_by_key(|agent| agent.expires_at);
        // Before anything else: a banned agent ends, and is started again and again.
        if let Some(banned) = attested.filter(|agent| agent.banned) {
            return Finding::fail(scope, self.banned(banned, pod));
        }
        if let Some(trouble) = &pod.trouble {
            let fault = Fault::new("its agent is not ready", self.describe(pod));
            return Finding::fail(
                scope,
                self.lost(pod).unwrap_or(fault).seen(format!("pod {}: {trouble}", pod.name)),
            );
        }
        let Some(agent) = attested else {
            let fault = Fault::new("its agent is not known to the server", self.logs(pod));
            return Finding::fail(scope, self.lost(pod).unwrap_or(fault).seen(format!("pod {}", pod.name)));
        };
        let end = Timestamp::from_second(agent.expires_at).unwrap_or(Timestamp::MAX);
        let known = format!("pod {}, SVID until {}", pod.name, text(end));
        if end <= self.now {
            let fault = Fault::new("its agent's SVID has expired", self.logs(pod));
            return Finding::fail(scope, fault.seen(known));
        }
        Finding::pass(scope, known)
    }

    fn banned(&self, agent: &Agent, pod: &SeenAgentPod) -> Fault<Repair> {
        let hint = format!(
            "{}, then: {}",
            self.reached.spire_server(&format!("agent evict -spiffeID {}", agent.id)),
            self.delete(pod)
        );
        let state = pod.trouble.as_deref().unwrap_or("still ready");
        Fault::new("its agent is banned from the server", hint).seen(format!("pod {}: {state}", pod.name))
    }

    /// Says why a node has no agent; `None` where no pod on it needs one.
    fn without_agent(&self) -> Option<Fault<Repair>> {
        let here = |workload: &&SeenWorkload| workload.node.as_ref() == Some(&self.node.name);
        let waiting: Vec<String> = self.workloads.iter().filter(here).map(SeenWorkload::object).collect();
        if waiting.is_empty() {
            return None;
        }
        let pods = format!("waiting for an identity: {}", waiting.join(", "));
        let keeps_away = |taint: &&Taint| {
            taint.effect != "PreferNoSchedule" && !is_tolerated(taint, &self.agents.found.tolerations)
        };
        let taints: Vec<String> = self.node.taints.iter().filter(keeps_away).map(written).collect();
        let set = format!("{}/{}", self.agents.found.namespace, self.agents.found.name);
        let fault = if taints.is_empty() {
            let hint = format!(
                "{} -n {} describe daemonset {}",
                self.reached.kubectl(),
                self.agents.found.namespace,
                self.agents.found.name
            );
            Fault::new("the node has pods that need an identity, and no agent", hint)
        } else {
            let hint = self.reached.next(format!(
                "add a toleration of it: {} -n {} edit daemonset {}",
                self.reached.kubectl(),
                self.agents.found.namespace,
                self.agents.found.name
            ));
            let cause = format!(
                "the node has pods that need an identity, and no agent: DaemonSet {set} does not tolerate {}",
                taints.join(", ")
            );
            Fault::new(cause, hint)
        };
        Some(fault.seen(pods))
    }

    /// Says that the server has lost its data, where that is why the agent is not known.
    fn lost(&self, pod: &SeenAgentPod) -> Option<Fault<Repair>> {
        let nodes = self.reached.seen.nodes.as_deref().unwrap_or_default();
        let lost = Lost::find(&self.server.bundle, &self.server.agents, self.agents, nodes)?;
        lost.pods.iter().find(|lost| lost.name == pod.name)?;
        let since = text(lost.since);
        let cause = format!(
            "the server has lost its data: its CA is new since {since}, and no agent has attested to it"
        );
        let repair = Repair::RestartAgents {
            cluster: self.reached.name().to_owned(),
            namespace: self.agents.found.namespace.clone(),
            pods: vec![pod.name.clone()],
        };
        let created = pod.created.map(text).unwrap_or_default();
        Some(Fault::new(cause, up()).seen(format!("the agent runs since {created}")).repaired_by(repair))
    }

    fn describe(&self, pod: &SeenAgentPod) -> String {
        format!("{} -n {} describe pod {}", self.reached.kubectl(), self.agents.found.namespace, pod.name)
    }

    fn delete(&self, pod: &SeenAgentPod) -> String {
        format!("{} -n {} delete pod {}", self.reached.kubectl(), self.agents.found.namespace, pod.name)
    }

    fn logs(&self, pod: &SeenAgentPod) -> String {
        format!("{} -n {} logs {}", self.reached.kubectl(), self.agents.found.namespace, pod.name)
    }
}

/// Tells whether a taint is tolerated (Kubernetes, `k8s.io/api/core/v1/toleration.go`).
fn is_tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|toleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let exists = toleration.operator.as_deref() == Some("Exists");
        let same_value =
            toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
        toleration.effect.as_ref().is_none_or(|effect| effect.is_empty() || *effect == taint.effect)
            && (key == taint.key || key.is_empty() && exists)
            && (exists || same_value)
    })
}

fn written(taint: &Taint) -> String {
    let value = taint.value.as_ref().filter(|value| !value.is_empty()).map(|value| format!("={value}"));
    format!("{}{}:{}", taint.key, value.unwrap_or_default(), taint.effect)
}

pub(super) fn bundle_names(examined: &Examined) -> Findings {
    of_each(examined, |reached| {
        let scope = reached.scope();
        let agents = match &reached.seen.agents {
            Ok(Some(agents)) => agents,
            Ok(None) => return vec![Finding::skip(scope, "no agents were found")],
            Err(unread) => return vec![Finding::skip(scope, &unread.why)],
        };
        let Some(sds) = &agents.found.sds else {
            return vec![Finding::skip(scope, "the agents' configuration was not found")];
        };
        if sds.all_bundles == ISTIO_BUNDLES && sds.bundle != ISTIO_BUNDLES {
            return vec![Finding::pass(scope, format!("default_all_bundles_name is {ISTIO_BUNDLES}"))];
        }
        if matches!(reached.cluster.cluster.spire, Spire::Existing(_)) && has_no_proxy(&reached) {
            // How somebody else configures his agents is his, as long as nobody asks them under these names.
            return vec![Finding::skip(
                scope,
                "no pod has an Istio proxy, and only these ask under the names",
            )];
        }
        let hint = reached.next(format!(
                "set sds {{default_bundle_name = \"null\", default_all_bundles_name = \"{ISTIO_BUNDLES}\"}} in agent.conf, and restart the agents"
            ));
        let cause = format!(
            "agents serve only their own trust domain's bundle as {ISTIO_BUNDLES}, so Istio's proxies trust no other domain"
        );
        let fault = Fault::new(cause, hint).seen(format!(
            "agent.conf: default_bundle_name \"{}\", default_all_bundles_name \"{}\"",
            sds.bundle, sds.all_bundles
        ));
        vec![Finding::fail(scope, fault)]
    })
}

/// Tells whether it is known that no pod has an Istio proxy.
fn has_no_proxy(reached: &Reached<'_>) -> bool {
    let is_proxy = |workload: &SeenWorkload| matches!(workload.parts, Parts::Proxy | Parts::ProxyAndVolume);
    reached.details.workloads.as_ref().is_ok_and(|workloads| !workloads.iter().any(is_proxy))
}

pub(super) fn csi_driver(examined: &Examined) -> Findings {
    of_each(examined, |reached| {
        let (known, workloads) = match (&reached.details.csi_nodes, &reached.details.workloads) {
            (Ok(known), Ok(workloads)) => (known, workloads),
            (Err(unread), _) | (_, Err(unread)) => return vec![Finding::skip(reached.scope(), &unread.why)],
        };
        let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
        let agents = reached.seen.agents.as_ref().ok().and_then(Option::as_ref);
        let with_agents =
            agents.into_iter().flat_map(|agents| &agents.pods).filter_map(|pod| pod.node.as_deref());
        let with_workloads = workloads.iter().filter_map(|workload| workload.node.as_deref());
        let nodes: BTreeSet<&str> = with_agents.chain(with_workloads).collect();
        let of_node = |node: &str| {
            let scope = reached.object(format!("Node {node}"));
            if known.contains(node) {
                return Finding::pass(scope, "csi.spiffe.io is in CSINode.spec.drivers");
            }
            let hint =
                format!("{} get pods -A -o wide --field-selector spec.nodeName={node}", reached.kubectl());
            let cause = "the node's kubelet does not know the SPIFFE CSI driver, so pods that mount it cannot start there";
            Finding::fail(scope, Fault::new(cause, hint).seen("csi.spiffe.io is not in CSINode.spec.drivers"))
        };
        nodes.into_iter().map(of_node).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_tolerated_as_kubernetes_does() {
        let taint = Taint {
            key: "gpu".to_owned(),
            value: Some("yes".to_owned()),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        let toleration = |key: &str, operator: &str, value: &str, effect: &str| {
            let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            [Toleration {
                key: some(key),
                operator: some(operator),
                value: some(value),
                effect: some(effect),
                ..Toleration::default()
            }]
        };
        assert!(is_tolerated(&taint, &toleration("", "Exists", "", "")));
        assert!(is_tolerated(&taint, &toleration("gpu", "Exists", "", "NoSchedule")));
        assert!(is_tolerated(&taint, &toleration("gpu", "", "yes", "")));
        assert!(!is_tolerated(&taint, &toleration("gpu", "Equal", "no", "")));
        assert!(!is_tolerated(&taint, &toleration("gpu", "Exists", "", "NoExecute")));
        assert!(!is_tolerated(&taint, &toleration("other", "Exists", "", "")));
        assert!(!is_tolerated(&taint, &[]));
        assert_eq!(written(&taint), "gpu=yes:NoSchedule");
    }
}
