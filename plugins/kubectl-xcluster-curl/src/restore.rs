//! `restore`: what an interrupted failover left without pods.

use serde::Serialize;
use spire_mesh::command::Asked;
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::fleet::each;
use spire_mesh::hint::{Advice, Command};
use spire_mesh::report::{Cell, Report, Table};
use spire_mesh::traffic::{self, TakenAway};

use crate::cli::RestoreArgs;

pub(crate) async fn run(asked: &Asked, args: RestoreArgs) -> Result<Outcome, Failure> {
    let (_, members) = asked.reach_all().await?;
    let found = each(&members, traffic::taken_away).await.into_all()?;
    let report = RestoreReport { workloads: found.into_iter().flatten().collect() };
    asked.printer.report(&report)?;
    if args.dry_run || report.workloads.is_empty() {
        return Ok(Outcome::Done);
    }
    let question = format!("Scale {} workloads back?", report.workloads.len());
    if !asked.printer.confirm(&question, args.yes).await? {
        asked.printer.note("nothing was changed");
        return Ok(Outcome::Done);
    }
    let mut failed = Vec::new();
    for workload in &report.workloads {
        let TakenAway { cluster, namespace, name, .. } = workload;
        let Some(member) = members.iter().find(|member| member.name() == cluster) else { continue };
        match traffic::bring_back(member, namespace, name).await {
            Ok(Some(replicas)) => {
                asked.printer.note(&format!("{cluster}/{namespace}/{name}: scaled to {replicas}"));
            }
            Ok(None) => {
                failed.push((member.place(), without_record(namespace, name)));
            }
            Err(error) => failed.push((member.place(), error.into())),
        }
    }
    if failed.is_empty() { Ok(Outcome::Done) } else { Err(Failure::clusters(members.len(), failed)) }
}

/// Says what to do about a workload of which nobody knows how many pods it had.
fn without_record(namespace: &str, name: &str) -> Failure {
    let error = anyhow::anyhow!("{namespace}/{name} has no record of how many pods it had");
    let scale = Command::kubectl(["-n", namespace, "scale", "deployment", name, "--replicas=1"]);
    let then = format!(", then take the annotation {} away", traffic::RECORD);
    Failure::from(error).with_hint(Advice::from(scale).then(then))
}

/// What there is to bring back. The shape of its JSON is a promise.
#[derive(Serialize)]
struct RestoreReport {
    workloads: Vec<TakenAway>,
}

impl Report for RestoreReport {
    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(["CLUSTER", "NAMESPACE", "NAME", "PODS"])
            .when_empty("no failover left anything without pods");
        for workload in &self.workloads {
            table.row([
                Cell::from(&workload.cluster),
                (&workload.namespace).into(),
                (&workload.name).into(),
                workload.replicas.map(|replicas| replicas.to_string()).into(),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use spire_mesh::hint::Place;
    use spire_mesh::report::{Format, Printer};

    use super::*;

    fn printed(format: Format, workloads: &[(&str, &str, &str, Option<i32>)]) -> String {
        let (printer, captured) = Printer::captured(format);
        let workloads = workloads.iter().map(|(cluster, namespace, name, replicas)| TakenAway {
            cluster: (*cluster).to_owned(),
            namespace: (*namespace).to_owned(),
            name: (*name).to_owned(),
            replicas: *replicas,
        });
        printer.report(&RestoreReport { workloads: workloads.collect() }).unwrap();
        captured.stdout() + &captured.stderr()
    }

    #[test]
    fn what_is_without_pods_is_listed_with_how_many_it_had() {
        let workloads = [("foo", "shop", "cart", Some(3)), ("bar", "helloworld", "helloworld-v2", None)];
        insta::assert_snapshot!(printed(Format::Table, &workloads), @r"
        CLUSTER   NAMESPACE    NAME            PODS
        foo       shop         cart            3
        bar       helloworld   helloworld-v2   <none>
        ");
        insta::assert_snapshot!(printed(Format::Json, &workloads[1..]), @r#"
        {
          "workloads": [
            {
              "cluster": "bar",
              "namespace": "helloworld",
              "name": "helloworld-v2",
              "replicas": null
            }
          ]
        }
        "#);
        assert_eq!(printed(Format::Table, &[]), "no failover left anything without pods\n");
    }

    #[test]
    fn a_workload_without_a_record_is_brought_back_by_hand() {
        let (printer, captured) = Printer::captured(Format::Table);
        let place = Place::new("foo", "foo-context");
        without_record("shop", "cart").at(&place).print(&printer);
        insta::assert_snapshot!(captured.stderr(), @r"
        error: shop/cart has no record of how many pods it had
        hint: kubectl --context foo-context -n shop scale deployment cart --replicas=1, then take the annotation spire-mesh.dev/replicas-before-failover away
        ");
    }
}
