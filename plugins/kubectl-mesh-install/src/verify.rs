//! `verify`: what is wrong, why, and what to do about it.

use spire_mesh::check::{Patience, Verification};
use spire_mesh::command::{Asked, Reached, Repairs, Shown, conclude, refuse_unchecked};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::lease::Taking;
use spire_mesh::manifest::Deadline;
use spire_mesh::multicluster::{self, Istiods, Repair};

use crate::cli::VerifyArgs;

pub(crate) async fn run(asked: &Asked, args: &VerifyArgs) -> Result<Outcome, Failure> {
    let deadline = Deadline::after(args.wait.timeout);
    let reached = asked.reach().await?;
    if !args.fix {
        return conclude(asked, &look(&reached).await, Repairs::NotAsked);
    }
    refuse_unchecked(&reached.members)?;
    let taking = if args.break_lock { Taking::Anybodys } else { Taking::Free };
    let work = fix(asked, args, &reached, deadline);
    asked.exclusively("verify --fix", Some(taking), &reached.mesh, &reached.members, work).await
}

/// Looks, asks, repairs, and looks again.
async fn fix(
    asked: &Asked,
    args: &VerifyArgs,
    reached: &Reached,
    deadline: Deadline<'_>,
) -> Result<Outcome, Failure> {
    let verification = look(reached).await;
    if verification.repairs().is_empty() {
        return conclude(asked, &verification, Repairs::Asked);
    }
    for repair in verification.repairs() {
        asked.printer.note(&format!("to be repaired: {repair}"));
    }
    if !asked.printer.confirm("Repair this?", args.yes).await? {
        asked.printer.note("nothing was repaired");
        return conclude(asked, &verification, Repairs::Asked);
    }
    let (failed, repaired) = {
        let shown = Shown::of(&asked.printer, &reached.members);
        let failed = Box::pin(multicluster::repair(
            &reached.mesh,
            &reached.members,
            verification.repairs(),
            deadline,
            &shown,
        ))
        .await;
        let patience = if failed.is_empty() { Patience::Some } else { Patience::None };
        let (_, verification) = Box::pin(multicluster::settle(
            &reached.mesh,
            &reached.members,
            &reached.reasons(),
            patience,
            Istiods::StayUp,
            deadline,
            &shown,
        ))
        .await;
        (failed, verification)
    };
    for (cluster, error) in &failed {
        asked.printer.warn(&format!("{cluster}: not repaired: {error}"));
    }
    conclude(asked, &repaired, Repairs::Asked)
}

async fn look(reached: &Reached) -> Verification<Repair> {
    multicluster::verify(
        &Box::pin(multicluster::examine(&reached.mesh, &reached.members, &reached.reasons())).await,
    )
}
