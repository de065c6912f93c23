//! Checks on agents and the CSI driver.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::server::unfound;
use super::{Findings, Reached, Repair, of_each, up};
use crate::check::{Fault, Finding, Scope};
use crate::federation::examined::{Examined, Parts, SeenWorkload};
use crate::federation::lost::Lost;
use crate::federation::observed::{SeenAgentPod, SeenAgents, SeenNode, SeenServer};
use crate::federation::status::{is_on, text};
use crate::hint::{Advice, Command};
use crate::manifest::NodeState;
use crate::mesh::Spire;
use crate::spire::server::Agent;
use crate::trust::AuthorityDigest;

/// The name under which Istio's proxies ask for the bundles of all trust domains (Istio, `pkg/security/security.go`).
const ISTIO_BUNDLES: &str = "ROOTCA";

/// By how much the clocks of an API server and a SPIRE server may differ before times of both are held against each other.
const CLOCKS: SignedDuration = SignedDuration::from_mins(1);

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
        let hint = match &reached.cluster.cluster.spire {
            Spire::Managed(_) => {
                let (namespace, pod) = place(server);
                Advice::from("start the server again, which then publishes its own within half a minute: ")
                    .then(Command::kubectl(["-n", namespace, "delete", "pod", pod]))
                    .at(&reached.cluster.cluster.context)
                    .into()
            }
            Spire::Existing(_) => server_log(&reached, server),
        };
        let fault = Fault::new(cause, hint)
            .seen(format!("published: {}", digests(published.authorities().keys().collect())))
            .seen(format!("the server's: {}", digests(server.bundle.authorities().keys().collect())));
        vec![Finding::fail(scope, fault)]
    })
}

fn server_log(reached: &Reached<'_>, server: &SeenServer) -> String {
    let (namespace, pod) = place(server);
    format!("{} -n {namespace} logs {pod} --all-containers", reached.kubectl())
}

/// Returns namespace and name of a server's pod.
fn place(server: &SeenServer) -> (&str, &str) {
    server.pod.split_once('/').unwrap_or(("spire-server", &server.pod))
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
        match &self.node.state {
            NodeState::Ready => {}
            NodeState::NotReady { said } => {
                let describe = Advice::from(Command::kubectl(["describe", "node", &self.node.name]));
                let cause =
                    "the node is not ready: nobody waits for its agent, and nothing on it was checked";
                let fault = Fault::new(cause, describe.at(&self.reached.cluster.cluster.context));
                return Finding::warn(scope, fault.seen(said.as_str()));
            }
            NodeState::Fargate => return self.of_fargate(scope),
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
                self.of_old_node(pod, attested)
                    .or_else(|| self.lost(pod))
                    .unwrap_or(fault)
                    .seen(format!("pod {}: {trouble}", pod.name)),
            );
        }
        let Some(agent) = attested else {
            let fault = Fault::new("its agent is not known to the server", self.logs(pod));
            let known = self.of_old_node(pod, attested).or_else(|| self.lost(pod));
            return Finding::fail(scope, known.unwrap_or(fault).seen(format!("pod {}", pod.name)));
        };
        let end = Timestamp::from_second(agent.expires_at).unwrap_or(Timestamp::MAX);
        let known = format!("pod {}, SVID until {}", pod.name, text(end));
        if end <= self.now {
            let fault = Fault::new("its agent's SVID has expired", self.logs(pod));
            return Finding::fail(scope, fault.seen(known));
        }
        match self.elsewhere(pod, agent) {
            Some(fault) => Finding::fail(scope, fault.seen(known)),
            None => Finding::pass(scope, known),
        }
    }

    /// Says that the node's object was made anew under a running agent, whose identity has the UID of the old one.
    fn of_old_node(&self, pod: &SeenAgentPod, attested: Option<&Agent>) -> Option<Fault<Repair>> {
        let (node, agent) = (self.node.created?, pod.created?);
        if attested.is_some() || node <= agent {
            return None;
        }
        let cause = format!(
            "the Node object was made anew at {}, and its agent still has the identity of the old one, for which there are no entries",
            text(node)
        );
        let fault = Fault::new(cause, self.delete(pod)).repaired_by(self.restart(pod));
        Some(fault.seen(format!(
            "the agent runs since {}, and the node has UID {}",
            text(agent),
            self.node.uid
        )))
    }

    /// Says that an agent has attested to another server: this one has not given it an SVID since it runs, and it would have got one before it
    /// was ready.
    fn elsewhere(&self, pod: &SeenAgentPod, agent: &Agent) -> Option<Fault<Repair>> {
        // One of somebody else's may keep its SVID on the node, and attest no more.
        let Spire::Managed(_) = &self.reached.cluster.cluster.spire else { return None };
        let lifetime = self.reached.cluster.spire()?.agent_ttl?;
        let given = Timestamp::from_second(agent.expires_at).ok()?.checked_sub(lifetime).ok()?;
        let created = pod.created?;
        // An SVID that would outlive its CA ends with it, and does not tell when it was given.
        let authorities = &self.server.authorities;
        let mut authorities =
            [&authorities.active, &authorities.prepared, &authorities.old].into_iter().flatten();
        if created.duration_since(given) < CLOCKS || authorities.any(|ca| ca.expires_at == agent.expires_at) {
            return None;
        }
        let cause =
            "its agent has attested to a second server, and gives workloads identities that nobody trusts";
        let hint = format!("once the check bootstrap-bundle passes: {}", self.delete(pod));
        let published = self.reached.details.published_bundle.as_ref().ok()?.as_ref();
        let fault = Fault::new(cause, hint).seen(format!(
            "the agent runs since {}, and the last SVID that this server gave it is of {}",
            text(created),
            text(given)
        ));
        let starts_from_it = published.is_some_and(|bundle| bundle.same_authorities(&self.server.bundle));
        Some(if starts_from_it { fault.repaired_by(self.restart(pod)) } else { fault })
    }

    fn restart(&self, pod: &SeenAgentPod) -> Repair {
        Repair::RestartAgents {
            cluster: self.reached.name().to_owned(),
            namespace: self.agents.found.namespace.clone(),
            pods: vec![pod.name.clone()],
        }
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

    /// Judges a node of AWS Fargate, on which no pod can have an identity.
    fn of_fargate(&self, scope: Scope) -> Finding<Repair> {
        let waiting = self.waiting();
        if waiting.is_empty() {
            return Finding::pass(
                scope,
                "a node of AWS Fargate, which can have no agent, and no pod that needs one",
            );
        }
        let cause = "AWS Fargate runs no DaemonSet, so that the pods on its nodes get no identity from SPIRE";
        let hint = "change the Fargate profile that selects them, and delete them: they are made anew on other nodes";
        let fault = Fault::new(cause, hint);
        Finding::fail(scope, fault.seen(format!("waiting for an identity: {}", waiting.join(", "))))
    }

    /// Names the pods on the node that need an identity.
    fn waiting(&self) -> Vec<String> {
        let here = |workload: &&SeenWorkload| workload.node.as_ref() == Some(&self.node.name);
        self.workloads.iter().filter(here).map(SeenWorkload::object).collect()
    }

    /// Says why a node has no agent; `None` where no pod on it needs one.
    fn without_agent(&self) -> Option<Fault<Repair>> {
        let waiting = self.waiting();
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
        let created = pod.created.map(text).unwrap_or_default();
        Some(
            Fault::new(cause, up())
                .seen(format!("the agent runs since {created}"))
                .repaired_by(self.restart(pod)),
        )
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
        let passed_over = |name: &str| {
            let mut nodes = reached.seen.nodes.iter().flatten();
            nodes.any(|node| node.name == name && node.is_passed_over())
        };
        let nodes: BTreeSet<&str> =
            with_agents.chain(with_workloads).filter(|node| !passed_over(node)).collect();
        let of_node = |node: &str| {
            let scope = reached.object(format!("Node {node}"));
            if known.contains(node) {
                return Finding::pass(scope, "csi.spiffe.io is in CSINode.spec.drivers");
            }
            let hint = driver_hint(&reached, node);
            let cause = "the node's kubelet does not know the SPIFFE CSI driver, so pods that mount it cannot start there";
            Finding::fail(scope, Fault::new(cause, hint).seen("csi.spiffe.io is not in CSINode.spec.drivers"))
        };
        nodes.into_iter().map(of_node).collect()
    })
}

/// Says how a kubelet gets to know the driver: the driver's pod tells it when it starts, and only then.
fn driver_hint(reached: &Reached<'_>, node: &str) -> Advice {
    let on_node = format!("spec.nodeName={node}");
    let see = Command::kubectl(["get", "pods", "-A", "-o", "wide", "--field-selector", &on_node]);
    let hint = match &reached.cluster.cluster.spire {
        Spire::Managed(spire) => {
            let delete = [
                "-n",
                &spire.agent_namespace,
                "delete",
                "pod",
                "-l",
                "app.kubernetes.io/name=spiffe-csi-driver",
            ];
            let delete = Command::kubectl(delete).and(["--field-selector", &on_node]);
            Advice::from("start the driver's pod there again, which tells the kubelet: ")
                .then(delete)
                .then("; where there is none, see what runs: ")
                .then(see)
        }
        Spire::Existing(_) => see.into(),
    };
    hint.at(&reached.cluster.cluster.context)
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
