//! `up`, and the bare command: Istio on every cluster, connected and proven. And `connect`, which does it without what others have applied.

use spire_mesh::cli::{ConfirmArgs, WaitArgs};
use spire_mesh::command::{Asked, Reasons, Shown, place, refuse_declared, summary, taking, tell};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::hint::Place;
use spire_mesh::manifest::{Deadline, Scope, Tool};
use spire_mesh::multicluster::{self, InstallError};

use crate::cli::UpArgs;
use crate::plan::{Prepared, prepare};
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
    let prepared = prepare(asked, scope).await?;
    let work = install(asked, confirm, &prepared, deadline);
    asked.exclusively(verb, taking(confirm), &prepared.mesh, &prepared.members, work).await
}

async fn install(
    asked: &Asked,
    confirm: ConfirmArgs,
    prepared: &Prepared,
    deadline: Deadline<'_>,
) -> Result<Outcome, Failure> {
    let plan = &prepared.plan().await?;
    if confirm.dry_run {
        return asked.show(plan);
    }
    refuse_declared(&prepared.members, plan, Tool::MeshInstall)?;
    if plan.is_unchanged() {
        asked.printer.note("nothing to change; checking that the clusters are still one mesh");
    } else {
        asked.printer.note(&summary(plan));
        if !asked.printer.confirm("Go on?", confirm.yes).await? {
            asked.printer.note("nothing was changed");
            return Ok(Outcome::Done);
        }
    }
    let Prepared { mesh, members, rendered, servers, .. } = prepared;
    let installed = {
        let shown = Shown::of(&asked.printer, members);
        multicluster::up(mesh, members, (rendered, servers, plan), deadline, &shown).await
    };
    let multicluster::Installed { clusters, verification, status } = installed;
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
pub(crate) fn failure(error: InstallError) -> Failure {
    if error.is_timeout() { Failure::timed_out(error) } else { error.into() }
}
