//! `plan`: what `up` would change.

use spire_mesh::cli::PlanArgs;
use spire_mesh::command::{Asked, each_cluster, refuse_foreign};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::federation::{self, PreflightError};
use spire_mesh::fleet::Member;
use spire_mesh::manifest::{MeshPlan, Scope};
use spire_mesh::mesh::Mesh;

pub(crate) async fn run(asked: &Asked, args: PlanArgs) -> Result<Outcome, Failure> {
    let (mesh, members) = asked.reach_all().await?;
    check(&mesh, &members, Scope::Everything).await?;
    asked.show_as_asked(&planned(&mesh, &members, Scope::Everything).await?, args)
}

/// Checks that every cluster can take part. Changes nothing.
pub(crate) async fn check(mesh: &Mesh, members: &[Member], scope: Scope) -> Result<(), Failure> {
    federation::preflight(mesh, members, scope)
        .await
        .map_err(|errors| each_cluster::<PreflightError>(members, errors))
}

/// Plans. Changes nothing.
pub(crate) async fn planned(mesh: &Mesh, members: &[Member], scope: Scope) -> Result<MeshPlan, Failure> {
    let plan =
        federation::plan(mesh, members, scope).await.map_err(|errors| each_cluster(members, errors))?;
    refuse_foreign(members, plan)
}
