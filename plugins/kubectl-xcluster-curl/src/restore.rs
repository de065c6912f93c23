//! `restore`: what an interrupted failover left without pods.

use serde::Serialize;
use spire_mesh::command::Asked;
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::fleet::each;
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
                let error = anyhow::anyhow!("{namespace}/{name} has no record of how many pods it had");
                let hint = format!(
                    "kubectl --context {} -n {namespace} scale deployment {name} --replicas=1, then take the annotation {} away",
                    member.cluster.context,
                    traffic::RECORD
                );
                failed.push((cluster.clone(), Failure::from(error).with_hint(hint)));
            }
            Err(error) => failed.push((cluster.clone(), error.into())),
        }
    }
    if failed.is_empty() { Ok(Outcome::Done) } else { Err(Failure::clusters(members.len(), failed)) }
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
