//! Finds the SPIRE agents of a cluster by what they run, as servers are found.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec, Toleration};
use kube::ResourceExt;

use super::settings::Settings;
use super::workload::{files, is_program, runs};
use super::{DiscoveryError, config_maps, list};
use crate::fleet::{Member, ReadError};
use crate::spire::desired::AGENT_NAME;

const AGENT: &str = "spire-agent";
/// Path of the binary in SPIRE's own image (`Dockerfile`, stage `spire-agent`).
const BINARY: &str = "/opt/spire/bin/spire-agent";
/// Where the socket is when the configuration says nothing (SPIRE, `doc/spire_agent.md`).
const DEFAULT_SOCKET: &str = "/tmp/spire-agent/public/api.sock";

/// Agents as they were found.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundAgents {
    /// Their namespace.
    pub namespace: String,
    /// Name of their `DaemonSet`.
    pub name: String,
    /// How many of them there should be.
    pub desired: usize,
    /// Labels that select their pods: `a=b,c=d`.
    pub selector: String,
    /// Name of the agent's container.
    pub container: String,
    /// Path of the agent's binary in it.
    pub binary: String,
    /// Path of the socket of its Workload API in it.
    pub socket_path: String,
    /// Taints that they tolerate.
    pub tolerations: Vec<Toleration>,
    /// The names under which they serve bundles to Envoy; `None` where their configuration was not found.
    pub sds: Option<SdsNames>,
}

/// `sds` of an agent's configuration, with SPIRE's defaults where it says nothing (SPIRE, `doc/spire_agent.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdsNames {
    /// `default_bundle_name`: the bundle of the agent's own trust domain.
    pub bundle: String,
    /// `default_all_bundles_name`: the bundles of all trust domains.
    pub all_bundles: String,
}

/// Looks for the agents of a cluster, or of one namespace of it, that somebody else installed.
///
/// # Errors
/// [`DiscoveryError`] when something cannot be read, or there are several sets of them.
pub async fn find_agents(
    member: &Member,
    namespace: Option<&str>,
) -> Result<Option<FoundAgents>, DiscoveryError> {
    let sets = list::<DaemonSet>(member, namespace).await?;
    match only_one(sets)? {
        Some(set) => Ok(Some(look_closer(member, &set).await?)),
        None => Ok(None),
    }
}

/// Returns the agents that these plugins install in this namespace.
///
/// # Errors
/// [`ReadError`] when something cannot be read.
pub async fn installed_agents(member: &Member, namespace: &str) -> Result<Option<FoundAgents>, ReadError> {
    let sets = list::<DaemonSet>(member, Some(namespace)).await?;
    match sets.iter().find(|set| set.name_any() == AGENT_NAME && pod(set).is_some_and(runs_agent)) {
        Some(set) => look_closer(member, set).await.map(Some),
        None => Ok(None),
    }
}

/// Takes the one set of agents that there is.
fn only_one(sets: Vec<DaemonSet>) -> Result<Option<DaemonSet>, DiscoveryError> {
    let mut agents: Vec<DaemonSet> =
        sets.into_iter().filter(|set| pod(set).is_some_and(runs_agent)).collect();
    if agents.len() > 1 {
        let place =
            |set: &DaemonSet| format!("{}/DaemonSet/{}", set.namespace().unwrap_or_default(), set.name_any());
        let mut sets: Vec<String> = agents.iter().map(place).collect();
        sets.sort();
        return Err(DiscoveryError::SeveralAgents { sets });
    }
    Ok(agents.pop())
}

async fn look_closer(member: &Member, set: &DaemonSet) -> Result<FoundAgents, ReadError> {
    let namespace = set.namespace().unwrap_or_default();
    let maps = config_maps(member, &namespace, pod(set).map(mounted).unwrap_or_default()).await?;
    Ok(describe(set, namespace, &maps))
}

fn pod(set: &DaemonSet) -> Option<&PodSpec> {
    set.spec.as_ref()?.template.spec.as_ref()
}

fn runs_agent(pod: &PodSpec) -> bool {
    pod.containers.iter().any(|container| runs(container, AGENT))
}

/// Returns the names of the config maps that a pod mounts.
fn mounted(pod: &PodSpec) -> BTreeSet<String> {
    let volumes = pod.volumes.iter().flatten();
    volumes.filter_map(|volume| Some(volume.config_map.as_ref()?.name.clone())).collect()
}

fn describe(set: &DaemonSet, namespace: String, maps: &[ConfigMap]) -> FoundAgents {
    let labels = set.spec.as_ref().and_then(|spec| spec.selector.match_labels.clone()).unwrap_or_default();
    let selector: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let desired = set.status.as_ref().map_or(0, |status| status.desired_number_scheduled);
    let container = pod(set).and_then(|pod| pod.containers.iter().find(|container| runs(container, AGENT)));
    let command = container.and_then(|container| container.command.as_ref()?.first());
    FoundAgents {
        namespace,
        name: set.name_any(),
        desired: usize::try_from(desired).unwrap_or_default(),
        selector: selector.join(","),
        container: container.map(|container| container.name.clone()).unwrap_or_default(),
        binary: command
            .filter(|path| is_program(path, AGENT))
            .map_or_else(|| BINARY.to_owned(), Clone::clone),
        socket_path: files(maps)
            .find_map(|text| Settings::parse(text).get("agent.socket_path").map(str::to_owned))
            .unwrap_or_else(|| DEFAULT_SOCKET.to_owned()),
        tolerations: pod(set).and_then(|pod| pod.tolerations.clone()).unwrap_or_default(),
        sds: files(maps).find_map(|text| sds(text)),
    }
}

/// Reads the names from a configuration file; `None` where it is not that of an agent.
fn sds(text: &str) -> Option<SdsNames> {
    let settings = Settings::parse(text);
    if !settings.has("agent") {
        return None;
    }
    let name =
        |key: &str, default: &str| settings.get(&format!("agent.sds.{key}")).unwrap_or(default).to_owned();
    Some(SdsNames {
        bundle: name("default_bundle_name", "ROOTCA"),
        all_bundles: name("default_all_bundles_name", "ALL"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_hcl_and_json_and_have_defaults() {
        let names = |bundle: &str, all: &str| {
            Some(SdsNames { bundle: bundle.to_owned(), all_bundles: all.to_owned() })
        };
        let hcl = r#"agent { sds { default_bundle_name = "null" default_all_bundles_name = "ROOTCA" } }"#;
        assert_eq!(sds(hcl), names("null", "ROOTCA"));
        assert_eq!(sds(r#"{"agent": {"sds": {"default_all_bundles_name": "X"}}}"#), names("ROOTCA", "X"));
        assert_eq!(sds("agent { trust_domain = \"foo.com\" }"), names("ROOTCA", "ALL"));
        assert_eq!(sds("server { }"), None);
    }
}
