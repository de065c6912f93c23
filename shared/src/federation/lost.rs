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
        let pods: Vec<&SeenAgentPod> = agents.pods.iter().filter(is_older).collect();
        (!knows_any && !pods.is_empty()).then_some(Self { since, pods })
    }
}
