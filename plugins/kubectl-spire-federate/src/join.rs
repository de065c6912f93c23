//! `join`: a cluster more in the mesh file, and then what `up` does.

use spire_mesh::cli::ConfirmArgs;
use spire_mesh::command::{Asked, refuse_declared, refuse_unchecked, summary, taking};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::fleet::Member;
use spire_mesh::manifest::{Deadline, Scope, Tool};
use spire_mesh::mesh::{Cluster, Mesh, MeshText, NewCluster};

use crate::cli::{JoinArgs, UpArgs};
use crate::plan::{check, planned};
use crate::up;

pub(crate) async fn run(asked: &Asked, args: JoinArgs) -> Result<Outcome, Failure> {
    let JoinArgs { cluster: new, confirm, wait } = args;
    let before = asked.text()?;
    let file = before.path().display().to_string();
    if let Some(cluster) = already_there(&before.mesh()?, &new) {
        let name = &cluster.name;
        asked.printer.note(&format!("{name} is in {file} already, with this context and trust domain"));
        return up::run(asked, UpArgs { confirm, wait }).await;
    }
    let after = before.with_cluster(&new).map_err(Failure::usage)?;
    if !confirm.dry_run {
        before.can_be_replaced()?;
    }
    let deadline = Deadline::after(wait.timeout);
    let (mesh, members) = asked.reach_those_of(after.mesh()?).await?.all(&asked.printer)?;
    refuse_unchecked(&members)?;
    check(&mesh, &members, Scope::Everything).await?;
    let work = add(asked, confirm, (&before, &after), (&mesh, &members), deadline);
    asked.exclusively("join", taking(confirm), &mesh, &members, work).await
}

/// Plans with the new cluster, asks, and does it. The mesh file is written first.
async fn add(
    asked: &Asked,
    confirm: ConfirmArgs,
    (before, after): (&MeshText, &MeshText),
    (mesh, members): (&Mesh, &[Member]),
    deadline: Deadline<'_>,
) -> Result<Outcome, Failure> {
    let file = before.path().display().to_string();
    let plan = planned(mesh, members, Scope::Everything).await?;
    if let Some(Cluster { name, context, trust_domain, .. }) = mesh.clusters.last() {
        let joins =
            format!("{name} (context {context}, trust domain {trust_domain}) joins mesh {}", mesh.name);
        asked.printer.note(&joins);
    }
    if confirm.dry_run {
        return asked.show(&plan);
    }
    refuse_declared(members, &plan, Tool::SpireFederate)?;
    asked.printer.note(&summary(&plan));
    if !asked.printer.confirm(&format!("Write {file} and go on?"), confirm.yes).await? {
        asked.printer.note("nothing was changed");
        return Ok(Outcome::Done);
    }
    before.replace_by(after)?;
    asked.printer.note(&format!("wrote {file}; if this is interrupted, go on with: {}", asked.plugin.up()));
    up::federate(asked, mesh, members, &plan, deadline).await
}

/// Returns the cluster of the mesh that is the new one.
fn already_there<'m>(mesh: &'m Mesh, new: &NewCluster) -> Option<&'m Cluster> {
    mesh.clusters
        .iter()
        .find(|cluster| cluster.context == new.context && cluster.trust_domain == new.trust_domain)
}
