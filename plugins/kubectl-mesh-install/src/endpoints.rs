//! `endpoints`: where the API server of each cluster is for the istiods of the others.

use serde::Serialize;
use spire_mesh::command::Asked;
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::fleet::Kubeconfig;
use spire_mesh::report::{Cell, Report, Table};

use crate::addresses::{Address, addresses};

pub(crate) async fn run(asked: &Asked) -> Result<Outcome, Failure> {
    let mesh = asked.load()?;
    let kubeconfig = Kubeconfig::read(&asked.kube)?;
    let addresses = addresses(&mesh, &kubeconfig).await?;
    asked.printer.report(&EndpointsReport { endpoints: &addresses })?;
    for address in &addresses {
        for warning in &address.warnings {
            asked.printer.warn(&format!("{}: {warning}", address.cluster));
        }
    }
    Ok(Outcome::Done)
}

/// What `endpoints` prints. The shape of its JSON is a promise.
#[derive(Serialize)]
struct EndpointsReport<'a> {
    endpoints: &'a [Address],
}

impl Report for EndpointsReport<'_> {
    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(["CLUSTER", "API SERVER", "FROM"]);
        for address in self.endpoints {
            table.row([
                Cell::from(address.cluster.as_str()),
                address.server.as_str().into(),
                address.source.to_string().into(),
            ]);
            if let Some(reached) = &address.reached {
                table.note(format!("from another VPC: {reached}"));
            }
            if let Some(command) = &address.let_in {
                table.note(format!("to let it in: {command}"));
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use spire_mesh::report::{Format, Printer};

    use super::*;
    use crate::addresses::Source;

    fn printed(format: Format) -> String {
        let address = |cluster: &str, server: &str, source| Address {
            cluster: cluster.to_owned(),
            server: server.parse().expect("an address"),
            source,
            reached: None,
            let_in: None,
            warnings: Vec::new(),
        };
        let private = Address {
            reached: Some("private endpoint only".to_owned()),
            let_in: Some("aws ec2 authorize-security-group-ingress".to_owned()),
            ..address("foo", "https://abc.gr7.eu-west-1.eks.amazonaws.com", Source::Eks)
        };
        let endpoints = [private, address("bar", "https://10.3.0.10:6443", Source::Kubeconfig)];
        let (printer, captured) = Printer::captured(format);
        printer.report(&EndpointsReport { endpoints: &endpoints }).expect("a report");
        captured.stdout()
    }

    #[test]
    fn endpoints_say_where_they_come_from_and_what_it_takes_to_reach_them() {
        insta::assert_snapshot!(printed(Format::Table));
        insta::assert_snapshot!(printed(Format::Json));
    }
}
