//! `verify`: what is wrong, why, and what to do about it.

use spire_mesh::check::{Patience, Verification};
use spire_mesh::command::{Asked, Reached, Repairs, Shown, conclude, refuse_unchecked};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::federation::{self, Repair};
use spire_mesh::manifest::Deadline;

use crate::cli::VerifyArgs;

pub(crate) async fn run(asked: &Asked, args: &VerifyArgs) -> Result<Outcome, Failure> {
    let deadline = Deadline::after(args.wait.timeout);
    let asked_for = if args.fix { Repairs::Asked } else { Repairs::NotAsked };
    let reached = asked.reach().await?;
    if args.fix {
        refuse_unchecked(&reached.members)?;
    }
    let verification = look(&reached).await;
    if !args.fix || verification.repairs().is_empty() {
        return conclude(asked, &verification, asked_for);
    }
    let repairs = federation::merged(verification.repairs());
    for repair in &repairs {
        asked.printer.note(&format!("to be repaired: {repair}"));
    }
    if !asked.printer.confirm("Repair this?", args.yes).await? {
        asked.printer.note("nothing was repaired");
        return conclude(asked, &verification, asked_for);
    }
    let (failed, repaired) = {
        let shown = Shown::of(&asked.printer, &reached.members);
        let failed = federation::repair(&reached.members, &repairs, deadline, &shown).await;
        let patience = if failed.is_empty() { Patience::Some } else { Patience::None };
        let (_, verification) = federation::settle(
            &reached.mesh,
            &reached.members,
            &reached.reasons(),
            patience,
            deadline,
            &shown,
        )
        .await;
        (failed, verification)
    };
    for (cluster, error) in &failed {
        asked.printer.warn(&format!("{cluster}: not repaired: {error}"));
    }
    conclude(asked, &repaired, asked_for)
}

async fn look(reached: &Reached) -> Verification<Repair> {
    federation::verify(&federation::examine(&reached.mesh, &reached.members, &reached.reasons()).await)
}
