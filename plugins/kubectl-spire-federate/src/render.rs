//! `render`: the manifests that the mesh file alone decides.

use spire_mesh::command::{Asked, write_manifests};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::federation::{self, Rendered};

use crate::cli::RenderArgs;

pub(crate) fn run(asked: &Asked, args: &RenderArgs) -> Result<Outcome, Failure> {
    let mesh = asked.load()?;
    for cluster in &mesh.clusters {
        let Rendered { objects, later } = federation::render(&mesh, cluster);
        write_manifests(asked, args.to.as_deref(), cluster, (&objects, &later))?;
    }
    let connect = asked.plugin.command(["connect"]);
    asked.printer.note(&format!(
        "not part of the manifests are the first bundles, and what depends on the clusters; once the manifests were applied: {connect}"
    ));
    Ok(Outcome::Done)
}
