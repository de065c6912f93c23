//! `up`, and the bare command: SPIRE on every cluster, federated and proven. And `connect`, which does it without what others have applied.

use spire_mesh::cli::{ConfirmArgs, WaitArgs};
use spire_mesh::command::{
    Asked, Reasons, Shown, place, refuse_declared, refuse_unchecked, summary, taking, tell,
};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::federation::{self, FederationError};
use spire_mesh::fleet::Member;
use spire_mesh::hint::Place;
use spire_mesh::manifest::{Deadline, MeshPlan, Scope, Tool};
use spire_mesh::mesh::Mesh;

use crate::cli::UpArgs;
use crate::plan::{check, planned};
use crate::status::{StatusReport, problems};

pub(crate) async fn run(asked: &Asked, UpArgs { confirm, wait }: UpArgs) -> Result<Outcome, Failure> {
    bring_up(asked, "up", Scope::Everything, confirm, wait).await
}

pub(crate) async fn connect(asked: &Asked, confirm: ConfirmArgs, wait: WaitArgs) -> Result<Outcome, Failure> {
    bring_up(asked, "connect", Scope::Live, confirm, wait).await
}

async fn bring_up(
    asked: &Asked,
    verb: &str,
    scope: Scope,
    confirm: ConfirmArgs,
    wait: WaitArgs,
) -> Result<Outcome, Failure> {
    let deadline = Deadline::after(wait.timeout);
    let (mesh, members) = asked.reach_all().await?;
    refuse_unchecked(&members)?;
    check(&mesh, &members, scope).await?;
    let work = install(asked, scope, confirm, (&mesh, &members), deadline);
    asked.exclusively(verb, taking(confirm), &mesh, &members, work).await
}

async fn install(
    asked: &Asked,
    scope: Scope,
    confirm: ConfirmArgs,
    (mesh, members): (&Mesh, &[Member]),
    deadline: Deadline<'_>,
) -> Result<Outcome, Failure> {
    let plan = planned(mesh, members, scope).await?;
    if confirm.dry_run {
        return asked.show(&plan);
    }
    refuse_declared(members, &plan, Tool::SpireFederate)?;
    if plan.is_unchanged() {
        asked.printer.note("nothing to change; checking that every server still fetches its peers' bundles");
    } else {
        asked.printer.note(&summary(&plan));
        if !asked.printer.confirm("Go on?", confirm.yes).await? {
            asked.printer.note("nothing was changed");
            return Ok(Outcome::Done);
        }
    }
    federate(asked, mesh, members, &plan, deadline).await
}

/// Does what was planned, and prints the status that it came to.
pub(crate) async fn federate(
    asked: &Asked,
    mesh: &Mesh,
    members: &[Member],
    plan: &MeshPlan,
    deadline: Deadline<'_>,
) -> Result<Outcome, Failure> {
    let federated = {
        let shown = Shown::of(&asked.printer, members);
        federation::up(mesh, members, plan, deadline, &shown).await
    };
    let federation::Federated { clusters, verification, status } = federated;
    let failed: Vec<(Place, Failure)> = clusters
        .into_iter()
        .flat_map(|(cluster, _, errors)| {
            let place = place(members, &cluster);
            errors.into_iter().map(move |error| (place.clone(), failure(error)))
        })
        .collect();
    asked.printer.report(&StatusReport(&status))?;
    if !failed.is_empty() {
        return Err(Failure::clusters(members.len(), failed));
    }
    problems(&asked.printer, &status, &Reasons::new());
    let found = tell(asked, &verification);
    Ok(if status.is_healthy() { found } else { Outcome::Findings })
}

/// Gives time that ran out its own exit code.
pub(crate) fn failure(error: FederationError) -> Failure {
    if error.is_timeout() { Failure::timed_out(error) } else { error.into() }
}
