//! `rotate-ca`: the next CA for istiod, in a cluster or in all of them.

use serde::Serialize;
use spire_mesh::command::{Asked, Shown, each_cluster, named, refuse_unchecked, taking};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::fleet::{Member, each};
use spire_mesh::manifest::Deadline;
use spire_mesh::multicluster::{self, CaRotationPlan, NextCaStep, RotateCaError, RotatedCa};
use spire_mesh::report::{Cell, Report, Table};

use crate::cli::RotateCaArgs;

pub(crate) async fn run(asked: &Asked, args: &RotateCaArgs) -> Result<Outcome, Failure> {
    let (mesh, members) = asked.reach_all().await?;
    refuse_unchecked(&members)?;
    let work = Box::pin(one_by_one(asked, args, &members));
    asked.exclusively("rotate-ca", taking(args.confirm), &mesh, &members, work).await
}

async fn one_by_one(asked: &Asked, args: &RotateCaArgs, members: &[Member]) -> Result<Outcome, Failure> {
    let chosen: Vec<Member> = match &args.cluster {
        Some(name) => vec![named(members, name)?.clone()],
        None => members.to_vec(),
    };
    let next = args.next();
    let plans = each(&chosen, |member| multicluster::ca_rotation_plan(member, next)).await;
    let plans =
        plans.into_all().map_err(|errors| each_cluster(&chosen, errors).with_hint("nothing was changed"))?;
    if args.confirm.dry_run {
        asked.printer.report(&PlanReport { clusters: &plans })?;
        return Ok(Outcome::Done);
    }
    for plan in &plans {
        asked.printer.note(&begins_with(plan));
    }
    let to_do = chosen.into_iter().zip(&plans).filter(|(_, plan)| plan.next != NextCaStep::Nothing);
    let chosen: Vec<Member> = to_do.map(|(member, _)| member).collect();
    if chosen.is_empty() {
        asked.printer.note("nothing was changed");
        return Ok(Outcome::Done);
    }
    if !asked.printer.confirm("Rotate?", args.confirm.yes).await? {
        asked.printer.note("nothing was changed");
        return Ok(Outcome::Done);
    }
    let mut rotated: Vec<RotatedCa> = Vec::new();
    for member in &chosen {
        let result = {
            let shown = Shown::of(&asked.printer, std::slice::from_ref(member));
            let deadline = Deadline::after(args.wait.timeout);
            multicluster::rotate_ca(members, member, next, deadline, &shown).await
        };
        match result {
            Ok(done) => {
                let is_unnoticed = done.is_unnoticed();
                rotated.push(done);
                if !is_unnoticed {
                    break;
                }
            }
            Err(error) => {
                // What is done is worth knowing, all the more when the rest is not.
                asked.printer.report(&RotatedReport { clusters: &rotated })?;
                return Err(Failure::clusters(chosen.len(), vec![(member.place(), failure(error))]));
            }
        }
    }
    asked.printer.report(&RotatedReport { clusters: &rotated })?;
    for plan in plans.iter().filter(|plan| rotated.iter().any(|done| done.cluster == plan.cluster)) {
        if let Some(duration) = &plan.new_duration {
            asked.printer.hint(format!(
                "write it to the mesh file, or the next `up` sets it back: istio.ca.duration of {}: {duration}",
                plan.cluster
            ));
        }
    }
    if rotated.iter().all(RotatedCa::is_unnoticed) {
        return Ok(Outcome::Done);
    }
    for member in chosen.iter().skip(rotated.len()) {
        asked.printer.note(&format!("{}: not rotated, because of what was found before", member.name()));
    }
    Ok(Outcome::Findings)
}

fn begins_with(plan: &CaRotationPlan) -> String {
    let CaRotationPlan { cluster, issuer, new_issuer, root, new_root, ca, new_duration, next } = plan;
    let issuer = new_issuer.as_ref().unwrap_or(issuer);
    let root = match new_root {
        Some(new) => format!(" with the root {new}, which proxies are to trust instead of {root}"),
        None => String::new(),
    };
    let next = match next {
        NextCaStep::Nothing => return format!("{cluster}: istiod's CA is of the root of {issuer} already"),
        NextCaStep::TrustBoth | NextCaStep::Issue => format!("{issuer} signs the next CA of istiod{root}"),
        NextCaStep::AwaitTrust => {
            format!("goes on: istiod is to take both roots; then {issuer} signs its next CA{root}")
        }
        NextCaStep::AwaitIssue => {
            format!("goes on: {issuer} is asked already for the next CA of istiod{root}")
        }
        NextCaStep::AwaitReload => format!("goes on: istiod is to take its next CA{root}; it is there"),
    };
    let duration = new_duration.as_ref().map(|duration| format!(", for {duration}")).unwrap_or_default();
    format!("{cluster}: {next}{duration}; the one to go is {} (until {})", ca.serial, ca.not_after)
}

/// Gives time that ran out its own exit code.
fn failure(error: RotateCaError) -> Failure {
    if error.is_timeout() { Failure::timed_out(error) } else { error.into() }
}

/// What would be done. The shape of its JSON is a promise.
#[derive(Serialize)]
struct PlanReport<'p> {
    clusters: &'p [CaRotationPlan],
}

impl Report for PlanReport<'_> {
    fn table(&self, _wide: bool) -> Table {
        let headers = ["CLUSTER", "ISSUER", "CA", "EXPIRES", "REVISION", "DURATION", "NEXT STEP"];
        let mut table = Table::new(headers);
        for plan in self.clusters {
            let duration = plan.ca.duration.as_deref().unwrap_or("-");
            let duration = match &plan.new_duration {
                Some(new) => format!("{duration} -> {new}"),
                None => duration.to_owned(),
            };
            let issuer = match &plan.new_issuer {
                Some(new) => format!("{} -> {new}", plan.issuer),
                None => plan.issuer.clone(),
            };
            let next = match plan.next {
                NextCaStep::Nothing => "-",
                NextCaStep::TrustBoth => "trust both roots",
                NextCaStep::AwaitTrust => "await trust",
                NextCaStep::Issue => "issue",
                NextCaStep::AwaitIssue => "await issue",
                NextCaStep::AwaitReload => "await reload",
            };
            table.row([
                Cell::from(&plan.cluster),
                issuer.into(),
                Cell::from(&plan.ca.serial),
                Cell::from(&plan.ca.not_after),
                number(plan.ca.revision).into(),
                duration.into(),
                next.into(),
            ]);
            if let Some(new) = &plan.new_root {
                table.note(format!("{}: root {} -> {new}", plan.cluster, plan.root));
            }
        }
        table
    }
}

/// What was done. The shape of its JSON is a promise.
#[derive(Serialize)]
struct RotatedReport<'r> {
    clusters: &'r [RotatedCa],
}

impl Report for RotatedReport<'_> {
    fn table(&self, wide: bool) -> Table {
        let mut headers = vec![
            "CLUSTER",
            "OLD CA",
            "NEW CA",
            "EXPIRES",
            "REVISION",
            "PROXIES",
            "SVIDS UNCHANGED",
            "REQUESTS",
            "FAILED",
        ];
        if wide {
            headers.extend(["ROOT", "SVIDS RENEWED", "FROM"]);
        }
        let mut table = Table::new(headers).when_empty("no CA was rotated to the end");
        for done in self.clusters {
            table.row(row(done, wide));
            if done.load.is_empty() {
                table.note(format!(
                    "{}: no requests were measured: the demos sleep and helloworld do not run in the mesh",
                    done.cluster
                ));
            }
            if let Some(before) = &done.root_before {
                table.note(format!("{}: root {before} -> {}", done.cluster, done.root));
            }
            if done.svids.renewed > 0 {
                table.note(format!(
                    "{}: SPIRE renewed {} meanwhile, as it does in the middle of their life",
                    done.cluster,
                    number_of(done.svids.renewed, "SVID", "SVIDs")
                ));
            }
            if done.svids.of_istiod > 0 {
                table.note(format!(
                    "{}: {} with a certificate that istiod's CA signed, and no identity from SPIRE",
                    done.cluster,
                    number_of(done.svids.of_istiod, "proxy", "proxies")
                ));
            }
            if done.svids.unread > 0 {
                table.note(format!(
                    "{}: the certificate of {} could not be read",
                    done.cluster,
                    number_of(done.svids.unread, "proxy", "proxies")
                ));
            }
            let interruptions: usize = done.load.iter().map(|load| load.interruptions).sum();
            if interruptions > 0 {
                let times = number_of(interruptions, "time", "times");
                table.note(format!("{}: sending was interrupted {times}", done.cluster));
            }
        }
        table
    }
}

fn number_of(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

fn number(revision: Option<i64>) -> String {
    revision.map_or_else(|| "?".to_owned(), |revision| revision.to_string())
}

fn row(done: &RotatedCa, wide: bool) -> Vec<Cell> {
    let judged = |text: String, good: bool| if good { Cell::good(text) } else { Cell::bad(text) };
    let sent: usize = done.load.iter().map(|load| load.sent).sum();
    let failed: usize = done.load.iter().map(|load| load.failed).sum();
    let (requests, failed) = if done.load.is_empty() {
        (Cell::from("-"), Cell::from("-"))
    } else {
        (sent.to_string().into(), judged(failed.to_string(), failed == 0))
    };
    let svids = &done.svids;
    let mut row = vec![
        Cell::from(&done.cluster),
        Cell::from(&done.before.serial),
        Cell::good(&done.after.serial),
        Cell::from(&done.after.not_after),
        format!("{} -> {}", number(done.before.revision), number(done.after.revision)).into(),
        format!("{} of {}", done.proxies.after, done.proxies.before).into(),
        judged(
            format!("{} of {}", svids.unchanged, svids.proxies),
            svids.unchanged + svids.renewed == svids.proxies,
        ),
        requests,
        failed,
    ];
    if wide {
        let from: Vec<String> =
            done.load.iter().map(|load| format!("{}: {}", load.cluster, load.sent)).collect();
        row.extend([Cell::from(&done.root), svids.renewed.to_string().into(), from.join(", ").into()]);
    }
    row
}

#[cfg(test)]
mod tests {
    use spire_mesh::multicluster::{CaIssue, Connected, Load, Svids};
    use spire_mesh::report::{Format, Printer};

    use super::*;

    fn issue(serial: &str, revision: i64, duration: &str) -> CaIssue {
        CaIssue {
            serial: serial.to_owned(),
            not_after: "2027-01-24T10:00:00Z".to_owned(),
            revision: Some(revision),
            duration: Some(duration.to_owned()),
        }
    }

    fn plan(next: NextCaStep, new_duration: Option<&str>) -> CaRotationPlan {
        CaRotationPlan {
            cluster: "foo-eks-cluster".to_owned(),
            issuer: "ClusterIssuer istio-ca".to_owned(),
            new_issuer: None,
            root: "CN=istio root".to_owned(),
            new_root: None,
            ca: issue("00c1f7", 1, "1440h"),
            new_duration: new_duration.map(str::to_owned),
            next,
        }
    }

    fn rotated() -> RotatedCa {
        let load = |cluster: &str| Load { cluster: cluster.to_owned(), sent: 900, ..Load::default() };
        RotatedCa {
            cluster: "foo-eks-cluster".to_owned(),
            before: issue("00c1f7", 1, "1440h"),
            after: issue("5b20aa", 2, "720h"),
            root_before: None,
            root: "CN=istio root".to_owned(),
            istiods: 1,
            proxies: Connected { before: 10, after: 10 },
            svids: Svids { proxies: 10, unchanged: 10, ..Svids::default() },
            load: vec![load("foo-eks-cluster"), load("bar-eks-cluster")],
        }
    }

    fn printed(format: Format, report: &impl Report) -> String {
        let (printer, captured) = Printer::captured(format);
        printer.report(report).unwrap();
        captured.stdout()
    }

    #[test]
    fn the_plan_says_what_would_be_asked_for_and_where_a_rotation_goes_on() {
        let clusters = [
            plan(NextCaStep::Issue, Some("720h")),
            plan(NextCaStep::AwaitIssue, None),
            CaRotationPlan {
                ca: CaIssue { revision: None, duration: None, ..issue("00c1f7", 1, "1440h") },
                ..plan(NextCaStep::AwaitReload, None)
            },
        ];
        insta::assert_snapshot!(printed(Format::Table, &PlanReport { clusters: &clusters }));
        insta::assert_snapshot!(printed(Format::Json, &PlanReport { clusters: &clusters[..1] }));
        insta::assert_snapshot!(clusters.each_ref().map(begins_with).join("\n"));
    }

    #[test]
    fn a_change_of_the_root_says_from_which_to_which() {
        let to_another = |next| CaRotationPlan {
            new_issuer: Some("ClusterIssuer next-ca".to_owned()),
            new_root: Some("CN=next root".to_owned()),
            ..plan(next, None)
        };
        let clusters = [
            NextCaStep::TrustBoth,
            NextCaStep::AwaitTrust,
            NextCaStep::Issue,
            NextCaStep::AwaitIssue,
            NextCaStep::AwaitReload,
            NextCaStep::Nothing,
        ]
        .map(to_another);
        insta::assert_snapshot!(clusters.each_ref().map(begins_with).join("\n"));
        insta::assert_snapshot!(printed(Format::Table, &PlanReport { clusters: &clusters[..1] }));
        insta::assert_snapshot!(printed(Format::Json, &PlanReport { clusters: &clusters[..1] }));
        let changed = RotatedCa {
            root_before: Some("CN=istio root".to_owned()),
            root: "CN=next root".to_owned(),
            ..rotated()
        };
        insta::assert_snapshot!(printed(Format::Table, &RotatedReport { clusters: &[changed] }));
    }

    #[test]
    fn what_was_rotated_is_printed() {
        let clusters = [rotated()];
        insta::assert_snapshot!(printed(Format::Table, &RotatedReport { clusters: &clusters }));
        insta::assert_snapshot!(printed(Format::Wide, &RotatedReport { clusters: &clusters }));
        insta::assert_snapshot!(printed(Format::Json, &RotatedReport { clusters: &clusters }));
    }

    #[test]
    fn what_somebody_may_have_noticed_is_said() {
        let mut lossy = rotated();
        lossy.load[1].failed = 2;
        lossy.load[1].failures = [("503".to_owned(), 2)].into();
        lossy.load[0].interruptions = 1;
        lossy.svids = Svids { proxies: 10, unchanged: 6, renewed: 1, of_istiod: 1, unread: 2 };
        assert!(!lossy.is_unnoticed());
        let unmeasured = RotatedCa { load: Vec::new(), ..rotated() };
        assert!(unmeasured.is_unnoticed());
        let clusters = [lossy, unmeasured];
        insta::assert_snapshot!(printed(Format::Table, &RotatedReport { clusters: &clusters }));
        insta::assert_snapshot!(printed(Format::Json, &RotatedReport { clusters: &clusters }));
    }
}
