//! `status`: how the mesh is.

use serde::Serialize;
use spire_mesh::command::{Reached, Reasons, Status};
use spire_mesh::multicluster::{self, Counted, MeshStatus, PairState};
use spire_mesh::report::{Cell, OutputError, Printer, Report, Table};

/// How the mesh was at one time.
pub(crate) struct Seen(MeshStatus);

impl Status for Seen {
    async fn look(reached: &Reached, reasons: &Reasons) -> Self {
        Self(multicluster::status(&reached.mesh, &reached.members, reasons).await)
    }

    fn is_healthy(&self) -> bool {
        self.0.is_healthy()
    }

    fn is_same(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn show(&self, printer: &Printer, reasons: &Reasons) -> Result<(), OutputError> {
        printer.report(&StatusReport(&self.0))?;
        problems(printer, &self.0, reasons);
        Ok(())
    }
}

/// Says what has no place in the table. The error that ends the command says why clusters are `unreachable`.
pub(crate) fn problems(printer: &Printer, status: &MeshStatus, unreachable: &Reasons) {
    for cluster in status.clusters.iter().filter(|cluster| !unreachable.contains_key(&cluster.cluster)) {
        for problem in &cluster.problems {
            printer.warn(&format!("{}: {problem}", cluster.cluster));
        }
    }
}

/// A status as it is printed.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct StatusReport<'s>(pub(crate) &'s MeshStatus);

fn counted(counted: Counted) -> Cell {
    if counted.is_complete() { Cell::from(counted.to_string()) } else { Cell::bad(counted.to_string()) }
}

impl Report for StatusReport<'_> {
    fn table(&self, wide: bool) -> Table {
        let narrow =
            ["CLUSTER", "TRUST DOMAIN", "ISTIO", "ISTIOD", "GATEWAYS", "EAST-WEST ADDRESS", "PROXIES"];
        let more: &[&'static str] = if wide { &["NETWORK", "CONTEXT"] } else { &[] };
        let mut table = Table::new(narrow.iter().chain(more).copied());
        for cluster in &self.0.clusters {
            let mut row = vec![Cell::from(cluster.cluster.as_str()), cluster.trust_domain.as_str().into()];
            match &cluster.istio {
                Some(istio) => row.extend([
                    Cell::from(istio.version.clone()),
                    counted(istio.istiod),
                    counted(istio.gateways),
                    istio.east_west_address.clone().into(),
                    counted(istio.proxies),
                ]),
                None => row.extend(std::iter::repeat_n(Cell::bad("unknown"), 5)),
            }
            if wide {
                row.extend([Cell::from(cluster.network.as_str()), cluster.context.as_str().into()]);
            }
            table.row(row);
        }
        table
    }

    /// One row for each ordered pair.
    fn more_tables(&self, _wide: bool) -> Vec<Table> {
        let mut pairs = Table::new(["FROM", "TO", "ISTIOD HAS READ IT", "REMOTE SECRET MADE"]);
        for pair in &self.0.pairs {
            let state = pair.state.as_str();
            pairs.row([
                Cell::from(pair.from.as_str()),
                pair.to.as_str().into(),
                if pair.state == PairState::Synced { Cell::good(state) } else { Cell::bad(state) },
                pair.remote_secret_made.clone().into(),
            ]);
        }
        vec![pairs]
    }
}

#[cfg(test)]
mod tests {
    use spire_mesh::multicluster::{ClusterStatus, IstioStatus, PairStatus};
    use spire_mesh::report::Format;

    use super::*;

    fn mesh() -> MeshStatus {
        let cluster = |name: &str, domain: &str, istio, problems: &[&str]| ClusterStatus {
            cluster: name.to_owned(),
            context: format!("{name}-context"),
            trust_domain: domain.parse().expect("a trust domain"),
            network: name.to_owned(),
            istio,
            problems: problems.iter().map(|problem| (*problem).to_owned()).collect(),
        };
        let istio = IstioStatus {
            version: Some("1.31.0".to_owned()),
            istiod: Counted { ready: 1, total: 1 },
            gateways: Counted { ready: 1, total: 2 },
            east_west_address: Some("10.2.0.129:15443".to_owned()),
            proxies: Counted { ready: 8, total: 8 },
        };
        let pair = |from: &str, to: &str, state| PairStatus {
            from: from.to_owned(),
            to: to.to_owned(),
            state,
            remote_secret_made: Some("2026-11-25T18:00:00Z".to_owned()),
        };
        MeshStatus {
            mesh: "example".to_owned(),
            clusters: vec![
                cluster("foo", "foo.com", Some(istio), &["1 of 2 pods of istio-ingressgateway are ready"]),
                cluster("bar", "bar.com", None, &["there is no istiod"]),
            ],
            pairs: vec![pair("foo", "bar", PairState::Failed), pair("bar", "foo", PairState::Unknown)],
        }
    }

    fn printed(format: Format) -> String {
        let (printer, captured) = Printer::captured(format);
        printer.report(&StatusReport(&mesh())).expect("a report");
        captured.stdout()
    }

    #[test]
    fn a_status_is_one_row_for_each_cluster_and_one_for_each_pair() {
        insta::assert_snapshot!(printed(Format::Table));
        insta::assert_snapshot!(printed(Format::Wide));
    }

    #[test]
    fn the_json_of_a_status_is_a_promise() {
        insta::assert_snapshot!(printed(Format::Json));
    }

    #[test]
    fn problems_are_said_in_a_line_each() {
        let (printer, captured) = Printer::captured(Format::Table);
        problems(&printer, &mesh(), &Reasons::new());
        insta::assert_snapshot!(captured.stderr());
    }
}
