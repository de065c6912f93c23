//! Proof that two clusters trust each other, without a line of the product: Kubernetes' and SPIRE's own clients only.
//!
//! In each cluster a pod with nothing but SPIRE's agent binary mounts the Workload API through the CSI driver, and asks it for
//! its X.509-SVID and for the bundles of other trust domains. The authorities that it gets for a peer have to be, byte for
//! byte, those that the peer's own server shows.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::cluster::Kubectl;
use crate::command::wait_until;
use crate::error::{Error, Result};
use crate::target::Target;

const POD: &str = include_str!("../manifests/proof.yaml");
const NAMESPACE: &str = "spire-mesh-proof";
const SOCKET: &str = "/spiffe-workload-api/spire-agent.sock";
const PATIENCE: Duration = Duration::from_secs(90);

/// A cluster whose pods are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Kubeconfig context.
    pub context: String,
    /// Trust domain of its SPIRE.
    pub trust_domain: String,
    /// Namespace, pod and container of its SPIRE server.
    pub server: ServerPod,
}

/// Where a SPIRE server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPod {
    /// Namespace.
    pub namespace: String,
    /// Pod.
    pub pod: String,
    /// Container.
    pub container: String,
}

impl ServerPod {
    /// Where `kubectl spire-federate` puts it.
    #[must_use]
    pub fn managed() -> Self {
        Self {
            namespace: "spire-server".to_owned(),
            pod: "spire-server-0".to_owned(),
            container: "spire-server".to_owned(),
        }
    }
}

/// What the Workload API gave a pod, as `spire-agent api fetch x509 -output json` prints it.
#[derive(Debug, Deserialize)]
struct Fetched {
    svids: Vec<Svid>,
    #[serde(default)]
    federated_bundles: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Svid {
    spiffe_id: String,
}

/// What a server shows, as `spire-server bundle show -output json` prints it.
#[derive(Debug, Deserialize)]
struct Shown {
    x509_authorities: Vec<ShownAuthority>,
}

#[derive(Debug, Deserialize)]
struct ShownAuthority {
    asn1: String,
}

/// Makes the proof for every ordered pair, and says each thing that was proven. The pods are removed afterwards.
///
/// # Errors
/// The first thing that is not so.
pub fn prove(target: &Target, members: &[Member], say: &dyn Fn(&str)) -> Result<()> {
    let result = prove_all(target, members, say);
    for member in members {
        let kubectl = target.kubectl(&member.context).limit(PATIENCE);
        let removed = kubectl.run(["delete", "namespace", NAMESPACE, "--ignore-not-found"]);
        // A failed proof is what matters then.
        if result.is_ok() {
            removed?;
        }
    }
    result
}

fn prove_all(target: &Target, members: &[Member], say: &dyn Fn(&str)) -> Result<()> {
    for member in members {
        start(&target.kubectl(&member.context))?;
    }
    for member in members {
        let kubectl = target.kubectl(&member.context);
        ready(&kubectl)?;
        let peers: Vec<&Member> = members.iter().filter(|peer| peer.context != member.context).collect();
        let fetched = fetch(&kubectl, &peers)?;
        let id = format!("spiffe://{}/ns/{NAMESPACE}/sa/default", member.trust_domain);
        match fetched.svids.as_slice() {
            [svid] if svid.spiffe_id == id => {}
            other => {
                return Err(wrong(member, "SVIDs of the pod", &format!("expected only {id}, got {other:?}")));
            }
        }
        say(&format!("{}: the Workload API gave a pod {id}", member.context));
        for peer in peers {
            let authorities = authorities(&target.kubectl(&peer.context), peer)?;
            let bundle = fetched.federated_bundles.get(&format!("spiffe://{}", peer.trust_domain));
            let bundle = decode(member, bundle.map_or("", String::as_str))?;
            same(member, peer, &bundle, &authorities)?;
            say(&format!(
                "{}: and the bundle of {}, byte for byte what the server in {} shows ({} bytes)",
                member.context,
                peer.trust_domain,
                peer.context,
                bundle.len()
            ));
        }
    }
    Ok(())
}

/// Starts the pod. The namespace's service account is made by a controller, which takes a moment where it has just started itself.
fn start(kubectl: &Kubectl) -> Result<()> {
    let mut last = None;
    let what = "the pod of the proof to be accepted";
    let waited =
        wait_until(what, "see the events of its namespace", PATIENCE, Duration::from_millis(500), || {
            last = kubectl.apply(POD).err();
            Ok(last.is_none())
        });
    match last {
        Some(error) => Err(error),
        None => waited,
    }
}

fn ready(kubectl: &Kubectl) -> Result<()> {
    let arguments = ["-n", NAMESPACE, "wait", "pod/client", "--for=condition=Ready", "--timeout=90s"];
    kubectl.clone().limit(PATIENCE + Duration::from_secs(5)).run(arguments).map(drop)
}

/// Asks the Workload API until it knows every peer: registration takes a few seconds.
fn fetch(kubectl: &Kubectl, peers: &[&Member]) -> Result<Fetched> {
    let mut last = String::new();
    let mut fetched = None;
    let waited = wait_until(
        "an SVID and the bundles of all peers for a pod",
        "see the log of the spire-agent pods",
        PATIENCE,
        Duration::from_millis(500),
        || {
            let spire = [
                "/opt/spire/bin/spire-agent",
                "api",
                "fetch",
                "x509",
                "-socketPath",
                SOCKET,
                "-output",
                "json",
            ];
            let arguments = ["-n", NAMESPACE, "exec", "client", "--"].into_iter().chain(spire);
            match kubectl.run(arguments) {
                Ok(text) => {
                    let parsed: Fetched = serde_json::from_str(&text).map_err(|error| Error::Invalid {
                        what: "answer of spire-agent",
                        value: text.chars().take(200).collect(),
                        why: error.to_string(),
                    })?;
                    let knows = |peer: &&Member| {
                        parsed.federated_bundles.contains_key(&format!("spiffe://{}", peer.trust_domain))
                    };
                    let complete = peers.iter().all(knows);
                    last = format!("bundles of {:?}", parsed.federated_bundles.keys().collect::<Vec<_>>());
                    fetched = Some(parsed);
                    Ok(complete)
                }
                Err(error) => {
                    last = error.to_string();
                    Ok(false)
                }
            }
        },
    );
    match (waited, fetched) {
        (Ok(()), Some(fetched)) => Ok(fetched),
        (Err(Error::Timeout { what, limit, next }), _) => {
            Err(Error::Timeout { what, limit, next: format!("last seen: {last}; {next}") })
        }
        (Err(error), _) => Err(error),
        (Ok(()), None) => {
            Err(Error::Invalid { what: "answer of spire-agent", value: last, why: "empty".to_owned() })
        }
    }
}

/// Reads the authorities of a server's own bundle, in DER.
fn authorities(kubectl: &Kubectl, member: &Member) -> Result<Vec<Vec<u8>>> {
    let ServerPod { namespace, pod, container } = &member.server;
    let spire = ["/opt/spire/bin/spire-server", "bundle", "show", "-output", "json"];
    let arguments = ["-n", namespace, "exec", pod, "-c", container, "--"].into_iter().chain(spire);
    let text = kubectl.run(arguments)?;
    let shown: Shown =
        serde_json::from_str(&text).map_err(|error| wrong(member, "bundle", &error.to_string()))?;
    shown.x509_authorities.iter().map(|authority| decode(member, &authority.asn1)).collect()
}

/// The Workload API gives a bundle as its certificates one after the other (SPIFFE Workload API, section 5.2.1).
fn same(member: &Member, peer: &Member, bundle: &[u8], authorities: &[Vec<u8>]) -> Result<()> {
    let length: usize = authorities.iter().map(Vec::len).sum();
    let holds =
        |authority: &Vec<u8>| bundle.windows(authority.len()).any(|window| window == authority.as_slice());
    if !authorities.is_empty() && bundle.len() == length && authorities.iter().all(holds) {
        return Ok(());
    }
    let why = format!(
        "{} bytes, while the server in {} shows {} authorities of {length} bytes",
        bundle.len(),
        peer.context,
        authorities.len()
    );
    Err(wrong(member, "bundle that the pod got", &why))
}

fn decode(member: &Member, text: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|error| wrong(member, "bundle", &error.to_string()))
}

fn wrong(member: &Member, what: &'static str, why: &str) -> Error {
    Error::Invalid { what, value: member.trust_domain.clone(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(domain: &str) -> Member {
        Member { context: domain.to_owned(), trust_domain: domain.to_owned(), server: ServerPod::managed() }
    }

    #[test]
    fn only_exactly_the_authorities_of_the_peer_are_the_same() {
        let check = |bundle: &[u8], authorities: &[&[u8]]| {
            let authorities: Vec<Vec<u8>> = authorities.iter().map(|bytes| bytes.to_vec()).collect();
            same(&member("foo.com"), &member("bar.com"), bundle, &authorities).is_ok()
        };
        assert!(check(b"aaabb", &[b"aaa", b"bb"]));
        assert!(check(b"bbaaa", &[b"aaa", b"bb"]));
        assert!(!check(b"aaab", &[b"aaa", b"bb"]));
        assert!(!check(b"aaabbc", &[b"aaa", b"bb"]));
        assert!(!check(b"aaacc", &[b"aaa", b"bb"]));
        assert!(!check(b"", &[]));
    }
}
