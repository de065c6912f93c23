//! `status`: how the mesh is.

use std::collections::BTreeMap;

use serde::Serialize;
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::federation::{self, ClusterStatus, MeshStatus, RelationshipState, SpireStatus};
use spire_mesh::report::{Cell, Printer, Report, Table};

use crate::connect::{Asked, Reached};

pub(crate) async fn run(asked: &Asked) -> Result<Outcome, Failure> {
    let Reached { mesh, members, unreachable } = asked.reach().await?;
    let reasons: BTreeMap<String, String> =
        unreachable.iter().map(|(cluster, failure)| (cluster.clone(), failure.one_line())).collect();
    let status = federation::observe(&mesh, &members, &reasons).await;
    asked.printer.report(&StatusReport(&status))?;
    problems(&asked.printer, &status, &reasons);
    if !unreachable.is_empty() {
        return Err(Failure::clusters(mesh.clusters.len(), unreachable));
    }
    Ok(if status.is_healthy() { Outcome::Done } else { Outcome::Findings })
}

/// Says what is wrong, one line for each problem that has no place in the table. The error that ends the command says why
/// clusters are `unreachable`.
pub(crate) fn problems(printer: &Printer, status: &MeshStatus, unreachable: &BTreeMap<String, String>) {
    for cluster in status.clusters.iter().filter(|cluster| !unreachable.contains_key(&cluster.cluster)) {
        for problem in &cluster.problems {
            printer.warn(&format!("{}: {problem}", cluster.cluster));
        }
    }
    let reached =
        |name: &str| status.clusters.iter().any(|cluster| cluster.cluster == name && cluster.spire.is_some());
    for pair in &status.relationships {
        let (from, to) = (&pair.from, &pair.to);
        let problem = match pair.state {
            RelationshipState::Current => continue,
            RelationshipState::Unknown if !(reached(from) && reached(to)) => continue,
            RelationshipState::Unknown => "it is not known how it is",
            RelationshipState::Behind => "the stored bundle lacks authorities; the next refresh brings them",
            RelationshipState::LockedOut => {
                "none of the stored authorities is live, so no refresh can succeed; run: kubectl spire-federate"
            }
            RelationshipState::NoBundle => "there is no first bundle; run: kubectl spire-federate",
            RelationshipState::NoRelationship => {
                "there is a bundle, but nothing keeps it up to date; run: kubectl spire-federate"
            }
            RelationshipState::Absent => "there is no federation; run: kubectl spire-federate",
        };
        printer.warn(&format!("{from} → {to}: {problem}"));
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

impl Report for StatusReport<'_> {
    fn table(&self, wide: bool) -> Table {
        let narrow =
            ["CLUSTER", "TRUST DOMAIN", "SERVER", "AGENTS", "ENTRIES", "CA EXPIRES", "FEDERATES WITH"];
        let more: &[&'static str] = if wide { &["VERSION", "SERVER POD", "BUNDLE ENDPOINT"] } else { &[] };
        let mut table = Table::new(narrow.iter().chain(more).copied());
        for cluster in &self.0.clusters {
            let mut row = vec![Cell::from(cluster.cluster.as_str()), cluster.trust_domain.as_str().into()];
            if let Some(spire) = &cluster.spire {
                row.push(Cell::good("ready"));
                row.push(agents(spire));
                row.push(Cell::from(spire.entries.to_string()));
                row.push(Cell::from(spire.ca_expires.clone()));
            } else {
                row.push(Cell::bad("unknown"));
                row.extend(["unknown", "unknown", "unknown"].map(Cell::from));
            }
            row.push(self.federates_with(cluster));
            if let (true, Some(spire)) = (wide, &cluster.spire) {
                row.push(Cell::from(spire.server_version.as_str()));
                row.push(Cell::from(spire.server_pod.as_str()));
                row.push(Cell::from(spire.bundle_endpoint.clone()));
            }
            table.row(row);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use spire_mesh::federation::{Counted, RelationshipStatus};
    use spire_mesh::report::Format;
    use spire_mesh::trust::AuthorityDigest;

    use super::*;

    fn mesh() -> MeshStatus {
        let digest = |seed: &str| AuthorityDigest::of(seed.as_bytes());
        let spire = |seed, ready| SpireStatus {
            server_version: "1.15.3".to_owned(),
            server_pod: "spire-server/spire-server-0".to_owned(),
            agents: Some(Counted { ready, desired: 3 }),
            entries: 12,
            ca_expires: Some("2026-12-01T00:47:17Z".to_owned()),
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
        let pair = |from: &str, to: &str, state, stored: &[&str], live: Option<&str>| RelationshipStatus {
            from: from.to_owned(),
            to: to.to_owned(),
            state,
            stored_authorities: stored.iter().map(|seed| digest(seed)).collect(),
            live_authorities: live.map(|seed| vec![digest(seed)]),
        };
        MeshStatus {
            mesh: "example".to_owned(),
            clusters: vec![
                cluster("foo", "foo.com", Some(spire("foo", 3)), None),
                cluster("bar", "bar.com", Some(spire("bar", 2)), Some("2 of 3 agents are ready")),
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
    fn every_problem_is_said_once_and_what_follows_from_it_is_not() {
        let (printer, captured) = Printer::captured(Format::Table);
        problems(&printer, &mesh(), &BTreeMap::new());
        insta::assert_snapshot!(captured.stderr());
    }
}
