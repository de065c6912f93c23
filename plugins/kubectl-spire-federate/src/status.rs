//! `status`: how the mesh is.

use serde::Serialize;
use spire_mesh::command::{Reached, Reasons, Status};
use spire_mesh::federation::{self, ClusterStatus, MeshStatus, RefreshState, RelationshipState, SpireStatus};
use spire_mesh::hint::Plugin;
use spire_mesh::manifest::NodeState;
use spire_mesh::report::{Cell, OutputError, Printer, Report, Table};

/// How the mesh was at one time.
pub(crate) struct Seen(MeshStatus);

impl Status for Seen {
    async fn look(reached: &Reached, reasons: &Reasons) -> Self {
        Self(MeshStatus::of(&federation::observe(&reached.mesh, &reached.members, reasons).await))
    }

    fn is_healthy(&self) -> bool {
        self.0.is_healthy()
    }

    fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
    }

    fn show(&self, printer: &Printer, reasons: &Reasons) -> Result<(), OutputError> {
        printer.report(&StatusReport(&self.0))?;
        problems(printer, &self.0, reasons);
        Ok(())
    }
}

/// Says what is wrong, one line for each problem that has no place in the table. The error that ends the command says why
/// clusters are `unreachable`.
pub(crate) fn problems(printer: &Printer, status: &MeshStatus, unreachable: &Reasons) {
    for cluster in status.clusters.iter().filter(|cluster| !unreachable.contains_key(&cluster.cluster)) {
        for problem in &cluster.problems {
            printer.warn(&format!("{}: {problem}", cluster.cluster));
        }
    }
    for cluster in &status.clusters {
        let nodes = cluster.spire.iter().flat_map(|spire| &spire.nodes);
        for node in nodes.filter(|node| matches!(node.state, NodeState::NotReady { .. })) {
            let why = node.trouble.as_deref().unwrap_or_default();
            printer
                .warn(&format!("{}: node {}: {why}; its agent is not counted", cluster.cluster, node.node));
        }
    }
    let reached =
        |name: &str| status.clusters.iter().any(|cluster| cluster.cluster == name && cluster.spire.is_some());
    for pair in &status.relationships {
        let (from, to) = (&pair.from, &pair.to);
        let up = Plugin::SpireFederate.up();
        let (problem, run) = match pair.state {
            RelationshipState::Current => continue,
            RelationshipState::Unknown if !(reached(from) && reached(to)) => continue,
            RelationshipState::Unknown => ("it is not known how it is", None),
            RelationshipState::Behind => {
                ("the stored bundle lacks authorities; the next refresh brings them", None)
            }
            RelationshipState::LockedOut => (
                "the stored bundle lacks the authority that the peer signs with, so no fetch can succeed",
                Some(up),
            ),
            RelationshipState::NoBundle => ("there is no first bundle", Some(up)),
            RelationshipState::NoRelationship => {
                ("there is a bundle, but nothing keeps it up to date", Some(up))
            }
            RelationshipState::Absent => ("there is no federation", Some(up)),
        };
        let run = run.map(|command| format!("; run: {command}")).unwrap_or_default();
        printer.warn(&format!("{from} → {to}: {problem}{run}"));
    }
}

/// A status as it is printed.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct StatusReport<'s>(pub(crate) &'s MeshStatus);

impl StatusReport<'_> {
    /// Names the trust domains that a cluster's server trusts, with the state of those that are not current.
    fn federates_with(&self, cluster: &ClusterStatus) -> Cell {
        let of_peer = |name: &str| {
            self.0.clusters.iter().find(|peer| peer.cluster == name).map(|peer| peer.trust_domain.to_string())
        };
        let pairs: Vec<_> = self.0.relationships.iter().filter(|pair| pair.from == cluster.cluster).collect();
        let texts: Vec<String> = pairs
            .iter()
            .map(|pair| {
                let domain = of_peer(&pair.to).unwrap_or_default();
                match pair.state {
                    RelationshipState::Current => domain,
                    state => format!("{domain} ({})", state.as_str()),
                }
            })
            .collect();
        let text = texts.join(", ");
        let is_current = pairs.iter().all(|pair| pair.state == RelationshipState::Current);
        if is_current { Cell::good(text) } else { Cell::bad(text) }
    }
}

fn agents(spire: &SpireStatus) -> Cell {
    match spire.agents {
        Some(agents) if agents.ready < agents.desired => {
            Cell::bad(format!("{}/{}", agents.ready, agents.desired))
        }
        Some(agents) => Cell::from(format!("{}/{}", agents.ready, agents.desired)),
        None => Cell::from("unknown"),
    }
}

/// Names the plugin that has the CA certificate signed, and the authority that signed the one in use.
fn upstream(spire: &SpireStatus) -> Option<String> {
    let id = spire.ca.as_ref().and_then(|ca| ca.upstream.clone());
    let words: Vec<String> = spire.upstream_authority.clone().into_iter().chain(id).collect();
    Some(words.join(" ")).filter(|text| !text.is_empty())
}

impl Report for StatusReport<'_> {
    fn table(&self, wide: bool) -> Table {
        let narrow =
            ["CLUSTER", "TRUST DOMAIN", "SERVER", "AGENTS", "ENTRIES", "CA EXPIRES", "FEDERATES WITH"];
        let more: &[&'static str] =
            if wide { &["VERSION", "SERVER POD", "BUNDLE ENDPOINT", "CA SINCE", "UPSTREAM"] } else { &[] };
        let mut table = Table::new(narrow.iter().chain(more).copied());
        for cluster in &self.0.clusters {
            let mut row = vec![Cell::from(cluster.cluster.as_str()), cluster.trust_domain.as_str().into()];
            if let Some(spire) = &cluster.spire {
                row.push(Cell::good("ready"));
                row.push(agents(spire));
                row.push(Cell::from(spire.entries.to_string()));
                row.push(Cell::from(spire.ca.as_ref().map(|ca| ca.expires.clone())));
            } else {
                row.push(Cell::bad("unknown"));
                row.extend(["unknown", "unknown", "unknown"].map(Cell::from));
            }
            row.push(self.federates_with(cluster));
            if let (true, Some(spire)) = (wide, &cluster.spire) {
                row.push(Cell::from(spire.server_version.as_str()));
                row.push(Cell::from(spire.server_pod.as_str()));
                row.push(Cell::from(spire.bundle_endpoint.clone()));
                row.push(Cell::from(spire.ca.as_ref().and_then(|ca| ca.since.clone())));
                row.push(Cell::from(upstream(spire)));
            }
            table.row(row);
        }
        table
    }

    /// One row for each ordered pair, and with `wide` one for each node's agent.
    fn more_tables(&self, wide: bool) -> Vec<Table> {
        let narrow = ["FROM", "TO", "BUNDLE", "FETCHES", "LOCKED OUT AFTER"];
        let more: &[&'static str] = if wide { &["MUTUAL", "URL", "KNOWN FROM"] } else { &[] };
        let mut pairs = Table::new(narrow.iter().chain(more).copied());
        for pair in &self.0.relationships {
            let state = pair.state.as_str();
            let fetches = match pair.refresh.state {
                RefreshState::Works => Cell::good("work"),
                RefreshState::Fails => Cell::bad("fail"),
                RefreshState::Unknown => Cell::from("unknown"),
            };
            let mut row = vec![
                Cell::from(pair.from.as_str()),
                pair.to.as_str().into(),
                if pair.state == RelationshipState::Current { Cell::good(state) } else { Cell::bad(state) },
                fetches,
                pair.locked_out_after.clone().into(),
            ];
            if wide {
                let mutual = pair.mutual.map_or("unknown", |mutual| if mutual { "yes" } else { "no" });
                row.extend([
                    mutual.into(),
                    pair.url.clone().into(),
                    Cell::from(pair.refresh.known_from.as_str()),
                ]);
            }
            pairs.row(row);
        }
        if !wide {
            return vec![pairs];
        }
        let mut nodes = Table::new(["CLUSTER", "NODE", "AGENT", "STATE", "SVID EXPIRES"]);
        for cluster in &self.0.clusters {
            for node in cluster.spire.iter().flat_map(|spire| &spire.nodes) {
                let state = match (&node.state, &node.agent, &node.trouble) {
                    (NodeState::Fargate, ..) => Cell::from("AWS Fargate, which runs no agent"),
                    (NodeState::NotReady { .. }, _, trouble) => {
                        Cell::attention(trouble.as_deref().unwrap_or("the node is not ready"))
                    }
                    (NodeState::Ready, None, _) => Cell::attention("no agent"),
                    (NodeState::Ready, Some(_), Some(trouble)) => Cell::bad(trouble),
                    (NodeState::Ready, Some(_), None) => Cell::good("ready"),
                };
                let (cluster, name) = (cluster.cluster.as_str(), node.node.as_str());
                nodes.row([
                    cluster.into(),
                    name.into(),
                    node.agent.clone().into(),
                    state,
                    node.svid_expires.clone().into(),
                ]);
            }
        }
        vec![pairs, nodes]
    }
}

#[cfg(test)]
mod tests {
    use spire_mesh::federation::{CaStatus, Counted, NodeStatus, Refresh, RelationshipStatus};
    use spire_mesh::report::Format;
    use spire_mesh::trust::AuthorityDigest;

    use super::*;

    fn mesh() -> MeshStatus {
        let digest = |seed: &str| AuthorityDigest::of(seed.as_bytes());
        let spire = |seed, ready, upstream: Option<&str>| SpireStatus {
            server_version: "1.15.3".to_owned(),
            server_pod: "spire-server/spire-server-0".to_owned(),
            agents: Some(Counted { ready, desired: 3 }),
            nodes: vec![
                NodeStatus {
                    node: "node-1".to_owned(),
                    agent: Some("spire-agent-x7k2p".to_owned()),
                    state: NodeState::Ready,
                    trouble: None,
                    svid_expires: Some("2026-11-25T03:47:17Z".to_owned()),
                },
                NodeStatus {
                    node: "node-2".to_owned(),
                    agent: None,
                    state: NodeState::Ready,
                    trouble: None,
                    svid_expires: None,
                },
            ],
            entries: 12,
            ca: Some(CaStatus {
                id: "5d6e2b1f".to_owned(),
                since: Some("2026-11-24T00:47:07Z".to_owned()),
                expires: "2026-12-01T00:47:17Z".to_owned(),
                replaced: Some("2026-11-29T20:47:17Z".to_owned()),
                prepared: None,
                upstream: upstream.map(|_| "6d1e9c0a".to_owned()),
            }),
            upstream_authority: upstream.map(str::to_owned),
            authorities: vec![digest(seed)],
            bundle_endpoint: Some("https://10.2.0.128:8443".to_owned()),
        };
        let cluster = |name: &str, domain: &str, spire, problem: Option<&str>| ClusterStatus {
            cluster: name.to_owned(),
            context: name.to_owned(),
            trust_domain: domain.parse().unwrap(),
            managed: true,
            spire,
            problems: problem.map(str::to_owned).into_iter().collect(),
        };
        let pair = |from: &str, to: &str, state, stored: &[&str], live: Option<&str>| {
            RelationshipStatus {
            from: from.to_owned(),
            to: to.to_owned(),
            state,
            url: Some(format!("https://{to}:8443")),
            mutual: live.map(|_| true),
            stored_authorities: stored.iter().map(|seed| digest(seed)).collect(),
            live_authorities: live.map(|seed| vec![digest(seed)]),
            refresh: Refresh {
                state: RefreshState::Works,
                not_before: Some("2026-11-25T00:46:02Z".to_owned()),
                known_from: "the server's log: no fetch failed since 2026-11-25T00:44:47Z, and the server fetches every 75 s".to_owned(),
            },
            locked_out_after: live.map(|_| "2026-11-29T20:47:17Z".to_owned()),
        }
        };
        MeshStatus {
            mesh: "example".to_owned(),
            clusters: vec![
                cluster("foo", "foo.com", Some(spire("foo", 3, None)), None),
                cluster(
                    "bar",
                    "bar.com",
                    Some(spire("bar", 2, Some("cert-manager"))),
                    Some("2 of 3 agents are ready"),
                ),
                cluster("baz", "baz.com", None, Some("cannot reach https://10.4.0.10:6443")),
            ],
            relationships: vec![
                pair("foo", "bar", RelationshipState::Current, &["bar"], Some("bar")),
                pair("foo", "baz", RelationshipState::Unknown, &["baz"], None),
                pair("bar", "foo", RelationshipState::LockedOut, &["old"], Some("foo")),
                pair("bar", "baz", RelationshipState::Unknown, &[], None),
                pair("baz", "foo", RelationshipState::Unknown, &[], Some("foo")),
                pair("baz", "bar", RelationshipState::Unknown, &[], Some("bar")),
            ],
        }
    }

    fn printed(format: Format) -> String {
        let (printer, captured) = Printer::captured(format);
        printer.report(&StatusReport(&mesh())).unwrap();
        captured.stdout()
    }

    #[test]
    fn a_status_is_one_row_for_each_cluster() {
        insta::assert_snapshot!(printed(Format::Table));
        insta::assert_snapshot!(printed(Format::Wide));
    }

    #[test]
    fn the_json_of_a_status_is_a_promise() {
        insta::assert_snapshot!(printed(Format::Json));
    }

    #[test]
    fn nodes_without_an_agent_are_named_as_what_they_are() {
        let mut mesh = mesh();
        let nodes = &mut mesh.clusters[0].spire.as_mut().unwrap().nodes;
        let said = "Ready is Unknown: NodeStatusUnknown".to_owned();
        nodes[0].trouble = Some(format!("the node is not ready: {said}"));
        nodes[0].state = NodeState::NotReady { said };
        nodes[1].state = NodeState::Fargate;
        let (printer, captured) = Printer::captured(Format::Wide);
        printer.report(&StatusReport(&mesh)).unwrap();
        let last = captured.stdout();
        let (_, nodes) = last.rsplit_once("\n\n").unwrap();
        insta::assert_snapshot!(nodes);
        mesh.clusters.truncate(1);
        mesh.relationships.clear();
        let (printer, captured) = Printer::captured(Format::Table);
        problems(&printer, &mesh, &Reasons::new());
        insta::assert_snapshot!(captured.stderr());
    }

    #[test]
    fn every_problem_is_said_once_and_what_follows_from_it_is_not() {
        let (printer, captured) = Printer::captured(Format::Table);
        problems(&printer, &mesh(), &Reasons::new());
        insta::assert_snapshot!(captured.stderr());
    }
}
