//! The other side: what a person's script does without the plugin, one step after the other, with kubectl and SPIRE's own command
//! line in the servers' pods. No step is done that a script would not need, and none is done at the same time as another.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::exact;
use super::parts::Parts;
use crate::error::{Error, Result};
use crate::proof::{Member, ServerPod};
use crate::target::Target;

/// How long one step may take.
const LIMIT: Duration = Duration::from_mins(3);
/// How long a step that has to be tried again is tried, and how long a script sleeps in between.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_secs(1);
const BINARY: &str = "/opt/spire/bin/spire-server";
const IDENTITIES: &str = include_str!("../../../../manifests/spire/federation/workload-ids.yaml");
const AGENT_NAMESPACE: &str = "spire-system";

/// The script, for some clusters.
pub(super) struct Hand {
    target: Target,
    members: Vec<Member>,
    work: PathBuf,
}

/// What a person looks at in one cluster.
struct Seen {
    /// `bundle show`: the server's own bundle.
    own: String,
    /// `bundle list`: those of its peers.
    held: String,
}

/// A bundle, as `bundle show` and `bundle list` print it with `-output json`.
#[derive(Deserialize)]
struct Bundle {
    trust_domain: String,
    #[serde(default)]
    x509_authorities: Vec<Authority>,
}

#[derive(Deserialize)]
struct Authority {
    asn1: String,
}

impl Hand {
    /// `work` is a folder for the manifests that are applied.
    pub(super) fn new(target: Target, members: &[Member], work: PathBuf) -> Self {
        Self { target, members: members.to_vec(), work }
    }

    /// Sorts rendered manifests into the parts in which they are applied.
    pub(super) fn prepare(&self, rendered: &Path) -> Result<()> {
        for member in &self.members {
            let file = rendered.join(format!("{}.yaml", member.context));
            let parts = Parts::of(&fs::read_to_string(&file).map_err(Error::io("read", &file))?);
            let peers = self.members.iter().filter(|peer| peer.context != member.context);
            let identities = identities(peers.map(|peer| peer.trust_domain.as_str()));
            for (part, yaml) in [("server", parts.server), ("nodes", parts.nodes), ("identities", identities)]
            {
                let file = self.part(member, part);
                fs::write(&file, yaml).map_err(Error::io("write", &file))?;
            }
        }
        Ok(())
    }

    /// Installs SPIRE on all clusters and federates every pair.
    pub(super) fn up(&self) -> Result<()> {
        self.install()?;
        let addresses = self.each(|member| self.address(member))?;
        let bundles = self.each(|member| self.server(member, &["bundle", "show", "-format", "spiffe"]))?;
        for (from, to) in self.pairs() {
            self.give(from, &self.members[to], &bundles[to])?;
        }
        for (from, to) in self.pairs() {
            let relationship = relationship(&self.members[to], &addresses[to]);
            // The webhook needs a moment after the pod is ready.
            again(|| self.kubectl_with(&self.members[from], &["apply", "-f", "-"], &relationship))?;
        }
        for member in &self.members {
            self.apply(member, "identities")?;
        }
        for (from, to) in self.pairs() {
            // The controller-manager needs a moment to pass the relationship on.
            again(|| self.refresh(from, to))?;
        }
        Ok(())
    }

    /// Shows how all clusters are, and compares what each server holds with what its peers hold.
    pub(super) fn status(&self) -> Result<()> {
        let seen = self.each(|member| self.look(member))?;
        self.compare(&seen)
    }

    /// Shows how all clusters are, lets every server fetch, compares, and shows which pods have an identity.
    pub(super) fn verify(&self) -> Result<()> {
        let seen = self.each(|member| self.look(member))?;
        for (from, to) in self.pairs() {
            self.refresh(from, to)?;
        }
        self.compare(&seen)?;
        for member in &self.members {
            self.kubectl(member, &["get", "clusterspiffeids", "-o", "json"])?;
            self.server(member, &["entry", "show", "-output", "json"])?;
        }
        Ok(())
    }

    /// Everything is applied everywhere before anything is waited for, as a script that is in a hurry does.
    fn install(&self) -> Result<()> {
        for member in &self.members {
            self.apply(member, "server")?;
        }
        for member in &self.members {
            self.rolled_out(member, &member.server.namespace, "statefulset/spire-server")?;
        }
        for member in &self.members {
            self.apply(member, "nodes")?;
        }
        for member in &self.members {
            for object in ["daemonset/spire-agent", "daemonset/spiffe-csi-driver"] {
                self.rolled_out(member, AGENT_NAMESPACE, object)?;
            }
        }
        Ok(())
    }

    fn rolled_out(&self, member: &Member, namespace: &str, object: &str) -> Result<()> {
        let rollout = ["-n", namespace, "rollout", "status", object, "--timeout=120s"];
        self.kubectl(member, &rollout).map(drop)
    }

    /// Waits for the load balancer of a cluster's bundle endpoint, and returns its address.
    fn address(&self, member: &Member) -> Result<String> {
        let (namespace, service) = (member.server.namespace.as_str(), "service/spire-server-bundle");
        let has_one = "--for=jsonpath={.status.loadBalancer.ingress}";
        self.kubectl(member, &["-n", namespace, "wait", has_one, service, "--timeout=120s"])?;
        let ingress =
            "jsonpath={.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}";
        self.kubectl(member, &["-n", namespace, "get", service, "-o", ingress])
    }

    fn give(&self, from: usize, peer: &Member, bundle: &str) -> Result<()> {
        let own = &self.members[from];
        let id = format!("spiffe://{}", peer.trust_domain);
        let command = exec(&own.server, &["-i"], &["bundle", "set", "-id", &id, "-format", "spiffe"]);
        self.kubectl_with(own, &command, bundle).map(drop)
    }

    fn refresh(&self, from: usize, to: usize) -> Result<String> {
        let id = format!("spiffe://{}", self.members[to].trust_domain);
        self.server(&self.members[from], &["federation", "refresh", "-id", &id])
    }

    fn look(&self, member: &Member) -> Result<Seen> {
        let spires = "app.kubernetes.io/part-of=spire-mesh";
        self.kubectl(member, &["get", "pods", "-A", "-l", spires, "-o", "wide"])?;
        self.kubectl(member, &["get", "nodes", "-o", "wide"])?;
        let own = self.server(member, &["bundle", "show", "-output", "json"])?;
        let held = self.server(member, &["bundle", "list", "-output", "json"])?;
        self.server(member, &["federation", "list", "-output", "json"])?;
        self.server(member, &["agent", "list", "-output", "json"])?;
        self.server(member, &["entry", "count", "-output", "json"])?;
        self.server(member, &["localauthority", "x509", "show", "-output", "json"])?;
        Ok(Seen { own, held })
    }

    fn compare(&self, seen: &[Seen]) -> Result<()> {
        self.pairs().try_for_each(|(from, to)| same(&seen[from].held, &seen[to].own))
    }

    fn each<T>(&self, step: impl Fn(&Member) -> Result<T>) -> Result<Vec<T>> {
        self.members.iter().map(step).collect()
    }

    /// Indices of every ordered pair.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let all = 0..self.members.len();
        all.clone().flat_map(move |from| all.clone().filter(move |to| *to != from).map(move |to| (from, to)))
    }

    fn part(&self, member: &Member, part: &str) -> PathBuf {
        self.work.join(format!("{}-{part}.yaml", member.context))
    }

    fn apply(&self, member: &Member, part: &str) -> Result<()> {
        self.kubectl(member, &["apply", "-f", &self.part(member, part).to_string_lossy()]).map(drop)
    }

    /// Runs SPIRE's own command line in a cluster's server.
    fn server(&self, member: &Member, words: &[&str]) -> Result<String> {
        self.kubectl(member, &exec(&member.server, &[], words))
    }

    fn kubectl(&self, member: &Member, words: &[&str]) -> Result<String> {
        let mut kubectl = self.target.kubectl(&member.context).command(words.iter().copied());
        exact::output(&mut kubectl, None, LIMIT)
    }

    fn kubectl_with(&self, member: &Member, words: &[&str], input: &str) -> Result<String> {
        let mut kubectl = self.target.kubectl(&member.context).command(words.iter().copied());
        exact::output(&mut kubectl, Some(input), LIMIT)
    }
}

fn exec<'w>(server: &'w ServerPod, flags: &[&'w str], words: &[&'w str]) -> Vec<&'w str> {
    let mut command = vec!["-n", &server.namespace, "exec"];
    command.extend(flags);
    command.extend([&server.pod, "-c", &server.container, "--", BINARY]);
    command.extend(words);
    command
}

/// Does something until it works, as a script does in a loop with `sleep 1`.
fn again<T>(mut step: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match step() {
            Err(_) if Instant::now() < end => thread::sleep(PAUSE),
            done => return done,
        }
    }
}

/// Which pods get which identity, with the bundles of these trust domains: SPIRE takes them only when it holds the bundles. They have the labels
/// by which `down` finds them afterwards.
fn identities<'p>(peers: impl Iterator<Item = &'p str>) -> String {
    let labels = "metadata:\n  labels:\n    app.kubernetes.io/managed-by: spire-federate\n    spire-mesh.dev/mesh: spire-mesh\n";
    let peers = peers.collect::<Vec<_>>().join(", ");
    IDENTITIES.replace("metadata:\n", labels).replace("[example.com]", &format!("[{peers}]"))
}

/// What is written when the address of the peer is known. It has the labels by which `down` finds it afterwards.
fn relationship(peer: &Member, address: &str) -> String {
    let domain = &peer.trust_domain;
    format!(
        "apiVersion: spire.spiffe.io/v1alpha1\nkind: ClusterFederatedTrustDomain\nmetadata:\n  name: {domain}\n  labels:\n    \
         app.kubernetes.io/managed-by: spire-federate\n    spire-mesh.dev/mesh: spire-mesh\nspec:\n  className: spire-mesh\n  \
         trustDomain: {domain}\n  bundleEndpointURL: https://{address}:8443\n  bundleEndpointProfile:\n    type: https_spiffe\n    \
         endpointSPIFFEID: spiffe://{domain}/spire/server\n"
    )
}

/// Asserts that among the bundles that a server holds is one with exactly the authorities of `own`, that of its peer.
fn same(held: &str, own: &str) -> Result<()> {
    #[derive(Deserialize)]
    struct List {
        bundles: Vec<Bundle>,
    }
    let invalid = |text: &str, why: String| Error::Invalid {
        what: "answer of spire-server",
        value: text.chars().take(200).collect(),
        why,
    };
    let own: Bundle = serde_json::from_str(own).map_err(|error| invalid(own, error.to_string()))?;
    let list: List = serde_json::from_str(held).map_err(|error| invalid(held, error.to_string()))?;
    let domain = |bundle: &Bundle| bundle.trust_domain.trim_start_matches("spiffe://").to_owned();
    let stored = list.bundles.iter().find(|bundle| domain(bundle) == domain(&own));
    match stored {
        Some(stored) if authorities(stored) == authorities(&own) => Ok(()),
        Some(_) => {
            Err(invalid(held, format!("it holds other authorities of {} than that server", domain(&own))))
        }
        None => Err(invalid(held, format!("it holds no bundle of {}", domain(&own)))),
    }
}

fn authorities(bundle: &Bundle) -> BTreeSet<&str> {
    bundle.x509_authorities.iter().map(|authority| authority.asn1.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn bundle(domain: &str, authorities: &[&str]) -> Value {
        let authorities: Vec<Value> =
            authorities.iter().map(|asn1| serde_json::json!({"asn1": asn1, "tainted": false})).collect();
        serde_json::json!({"trust_domain": domain, "x509_authorities": authorities})
    }

    #[test]
    fn only_exactly_the_authorities_of_the_peer_are_the_same() {
        let check = |held: &[Value]| {
            let held = serde_json::json!({"bundles": held, "next_page_token": ""}).to_string();
            same(&held, &bundle("bar.com", &["a", "b"]).to_string()).is_ok()
        };
        assert!(check(&[bundle("foo.com", &["c"]), bundle("bar.com", &["b", "a"])]));
        assert!(!check(&[bundle("bar.com", &["a"])]));
        assert!(!check(&[bundle("foo.com", &["a", "b"])]));
        assert!(!check(&[]));
    }

    #[test]
    fn identities_name_every_peer_and_carry_the_labels() {
        let text = identities(["bar.com", "baz.com"].into_iter());
        for line in ["  federatesWith: [bar.com, baz.com]", "    spire-mesh.dev/mesh: spire-mesh"] {
            assert_eq!(text.lines().filter(|known| *known == line).count(), 3, "{text}");
        }
    }

    #[test]
    fn commands_are_lists_of_words() {
        let server = ServerPod::managed();
        let words = exec(&server, &["-i"], &["bundle", "show"]);
        assert_eq!(
            words.join(" "),
            "-n spire-server exec -i spire-server-0 -c spire-server -- /opt/spire/bin/spire-server bundle show"
        );
    }
}
