//! A server that has lost its data, seen from its agents: its CA is newer than they are, and it knows none of them.

use jiff::Timestamp;

use super::observed::{SeenAgentPod, SeenAgents, SeenNode};
use super::status::is_on;
use crate::spire::server::Agent;
use crate::trust::TrustBundle;

/// By how many seconds SPIRE dates its certificates back (`NotBeforeCushion` in SPIRE 1.15.3, `pkg/server/credtemplate/builder.go`).
const BACKDATED: i64 = 10;

/// Agents that trust the CA of a server whose data is lost. They start from the new one only when they are started again:
/// SPIRE's own `rebootstrap_mode` waits ten minutes first (`rebootstrap_delay`; SPIRE, `doc/spire_agent.md`).
#[derive(Clone, Debug)]
pub(super) struct Lost<'a> {
    /// Since when the server has its new CA.
    pub(super) since: Timestamp,
    /// The agents' pods.
    pub(super) pods: Vec<&'a SeenAgentPod>,
}

impl<'a> Lost<'a> {
    /// Tells whether that is what has happened; `None` where it is not. `bundle` and `attested` are what the server shows.
    pub(super) fn find(
        bundle: &TrustBundle,
        attested: &[Agent],
        agents: &'a SeenAgents,
        nodes: &[SeenNode],
    ) -> Option<Self> {
        let oldest = bundle.authorities().values().map(crate::trust::Authority::not_before).min()?;
        let since = Timestamp::from_second(oldest + BACKDATED).ok()?;
        let knows_any = nodes.iter().any(|node| attested.iter().any(|agent| is_on(agent, node)));
        let is_older = |pod: &&SeenAgentPod| pod.created.is_some_and(|created| created < since);
        // A pod on a node that is not ready does not end, and is made anew when the node is back.
        let ends = |pod: &&SeenAgentPod| {
            let mut passed_over = nodes.iter().filter(|node| node.is_passed_over());
            passed_over.all(|node| pod.node.as_ref() != Some(&node.name))
        };
        let pods: Vec<&SeenAgentPod> = agents.pods.iter().filter(is_older).filter(ends).collect();
        (!knows_any && !pods.is_empty()).then_some(Self { since, pods })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::sample::observed;
    use crate::manifest::NodeState;

    #[test]
    fn an_agent_on_a_node_that_is_not_ready_is_not_started_again() {
        let mut baz = observed().clusters.remove(2).seen.unwrap();
        let (server, mut agents) = (baz.server.unwrap(), baz.agents.unwrap().unwrap());
        for pod in &mut agents.pods {
            pod.created = Some(Timestamp::MIN);
        }
        let names = |nodes: &[SeenNode]| {
            let lost = Lost::find(&server.bundle, &[], &agents, nodes);
            lost.map(|lost| lost.pods.iter().map(|pod| pod.name.clone()).collect::<Vec<_>>())
        };
        let nodes = baz.nodes.as_mut().unwrap();
        assert_eq!(names(nodes).unwrap(), ["spire-agent-1", "spire-agent-2"]);
        nodes[0].state = NodeState::NotReady { said: String::new() };
        assert_eq!(names(nodes).unwrap(), ["spire-agent-2"]);
        nodes[1].state = NodeState::Fargate;
        assert_eq!(names(nodes), None);
    }
}
