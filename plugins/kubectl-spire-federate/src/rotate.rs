//! `rotate`: a new CA for a server, or for all of them.

use serde::Serialize;
use spire_mesh::command::{Asked, Shown, each_cluster, named, refuse_unchecked, taking};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::federation::{self, NextStep, RotateError, Rotated, RotationPlan, StillTrusted};
use spire_mesh::fleet::{Member, each};
use spire_mesh::manifest::Deadline;
use spire_mesh::mesh::Mesh;
use spire_mesh::report::{Cell, Report, Table};

use crate::cli::RotateArgs;

pub(crate) async fn run(asked: &Asked, args: &RotateArgs) -> Result<Outcome, Failure> {
    let deadline = Deadline::after(args.wait.timeout);
    let (mesh, members) = asked.reach_all().await?;
    refuse_unchecked(&members)?;
    let work = Box::pin(one_by_one(asked, args, &mesh, &members, deadline));
    asked.exclusively("rotate", taking(args.confirm), &mesh, &members, work).await
}

async fn one_by_one(
    asked: &Asked,
    args: &RotateArgs,
    mesh: &Mesh,
    members: &[Member],
    deadline: Deadline<'_>,
) -> Result<Outcome, Failure> {
    let chosen: Vec<Member> = match &args.cluster {
        Some(name) => vec![named(members, name)?.clone()],
        None => members.to_vec(),
    };
    let plans = each(&chosen, |member| federation::rotation_plan(mesh, member, deadline)).await;
    let plans = plans.into_all().map_err(|errors| each_cluster(&chosen, errors))?;
    if args.confirm.dry_run {
        plans.iter().filter_map(still_trusted).for_each(|note| asked.printer.note(&note));
        asked.printer.report(&PlanReport { clusters: &plans })?;
        return Ok(Outcome::Done);
    }
    for plan in &plans {
        asked.printer.note(&begins_with(plan));
        if let Some(note) = still_trusted(plan) {
            asked.printer.note(&note);
        }
    }
    if !asked.printer.confirm("Rotate?", args.confirm.yes).await? {
        asked.printer.note("nothing was changed");
        return Ok(Outcome::Done);
    }
    let mut rotated = Vec::new();
    for member in &chosen {
        let result = {
            let shown = Shown::of(&asked.printer, members);
            federation::rotate(mesh, members, member, deadline, &shown).await
        };
        match result {
            Ok(done) => rotated.push(done),
            Err(error) => {
                // What is done is worth knowing, all the more when the rest is not.
                asked.printer.report(&RotatedReport { clusters: &rotated })?;
                return Err(Failure::clusters(chosen.len(), vec![(member.place(), failure(error))]));
            }
        }
    }
    asked.printer.report(&RotatedReport { clusters: &rotated })?;
    Ok(Outcome::Done)
}

fn begins_with(plan: &RotationPlan) -> String {
    let RotationPlan { cluster, trust_domain, from, next, .. } = plan;
    let next = match next {
        NextStep::Prepare => "gets a new CA",
        NextStep::Activate => "goes on with the CA that is prepared",
        NextStep::Taint => "goes on: the new CA signs, the old one is to be tainted",
        NextStep::Revoke => "goes on: the old CA is tainted, and is to be revoked",
        NextStep::Finish => "goes on: the old CA is revoked, and everybody is to forget it",
    };
    format!("{cluster}: {trust_domain} {next}; the one to go is {from}")
}

/// Says what an earlier rotation has left, and nothing can take away.
fn still_trusted(plan: &RotationPlan) -> Option<String> {
    let StillTrusted { id, until } = plan.still_trusted.as_ref()?;
    Some(format!(
        "{}: the CA {id} of an earlier rotation can no longer be revoked: SPIRE has prepared the next one in its place; it stays trusted until {until}",
        plan.cluster
    ))
}

/// Gives time that ran out its own exit code.
fn failure(error: RotateError) -> Failure {
    if error.is_timeout() { Failure::timed_out(error) } else { error.into() }
}

/// What would be done.
#[derive(Serialize)]
struct PlanReport<'p> {
    clusters: &'p [RotationPlan],
}

impl Report for PlanReport<'_> {
    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(["CLUSTER", "TRUST DOMAIN", "CA", "EXPIRES", "NEXT STEP"]);
        for plan in self.clusters {
            table.row([
                Cell::from(&plan.cluster),
                plan.trust_domain.as_str().into(),
                Cell::from(&plan.from),
                plan.expires.as_ref().into(),
                plan.next.as_str().into(),
            ]);
        }
        table
    }
}

/// What was done. The shape of its JSON is a promise.
#[derive(Serialize)]
struct RotatedReport<'r> {
    clusters: &'r [Rotated],
}

impl Report for RotatedReport<'_> {
    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(["CLUSTER", "TRUST DOMAIN", "OLD CA", "NEW CA", "PEERS"])
            .when_empty("no CA was rotated to the end");
        for done in self.clusters {
            table.row([
                Cell::from(&done.cluster),
                done.trust_domain.as_str().into(),
                Cell::from(&done.from),
                Cell::good(&done.to),
                done.peers.to_string().into(),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use spire_mesh::report::{Format, Printer};

    use super::*;

    fn plan(next: NextStep) -> RotationPlan {
        RotationPlan {
            cluster: "foo-eks-cluster".to_owned(),
            trust_domain: "foo.com".parse().unwrap(),
            from: "10aa7b1280f3d925cb4ca7ad7668cc01ad5d8d23".to_owned(),
            expires: Some("2026-12-02T10:00:00Z".to_owned()),
            next,
            still_trusted: None,
        }
    }

    fn printed(format: Format, report: &impl Report) -> String {
        let (printer, captured) = Printer::captured(format);
        printer.report(report).unwrap();
        captured.stdout()
    }

    #[test]
    fn the_plan_says_where_a_rotation_goes_on() {
        let clusters = [plan(NextStep::Prepare), plan(NextStep::Revoke)];
        insta::assert_snapshot!(printed(Format::Table, &PlanReport { clusters: &clusters }));
        let said: Vec<String> =
            [NextStep::Prepare, NextStep::Activate, NextStep::Taint, NextStep::Revoke, NextStep::Finish]
                .map(|next| begins_with(&plan(next)))
                .into();
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn what_can_no_longer_be_revoked_is_said() {
        let mut plan = plan(NextStep::Activate);
        assert_eq!(still_trusted(&plan), None);
        let (id, until) = ("0a1b".to_owned(), "2026-12-02T10:00:00Z".to_owned());
        plan.still_trusted = Some(StillTrusted { id, until });
        insta::assert_snapshot!(still_trusted(&plan).unwrap(), @"foo-eks-cluster: the CA 0a1b of an earlier rotation can no longer be revoked: SPIRE has prepared the next one in its place; it stays trusted until 2026-12-02T10:00:00Z");
    }

    #[test]
    fn what_was_rotated_is_printed() {
        let clusters = [Rotated {
            cluster: "foo-eks-cluster".to_owned(),
            trust_domain: "foo.com".parse().unwrap(),
            from: "10aa7b1280f3d925cb4ca7ad7668cc01ad5d8d23".to_owned(),
            to: "6e0d40224abea9f2bc1a05ad4e38a5d59d8e3b55".to_owned(),
            peers: 1,
        }];
        insta::assert_snapshot!(printed(Format::Table, &RotatedReport { clusters: &clusters }));
        insta::assert_snapshot!(printed(Format::Json, &RotatedReport { clusters: &clusters }));
    }
}
