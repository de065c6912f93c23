//! `render`: the manifests that `up` would apply.

use spire_mesh::command::{Asked, write_manifests};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::multicluster::not_rendered;

use crate::cli::RenderArgs;
use crate::plan::render;

pub(crate) async fn run(asked: &Asked, args: &RenderArgs) -> Result<Outcome, Failure> {
    let mesh = asked.load()?;
    for rendered in render(&mesh).await? {
        let Some(cluster) = mesh.clusters.iter().find(|cluster| cluster.name == rendered.cluster) else {
            continue;
        };
        let later = not_rendered(&mesh, cluster);
        write_manifests(asked, args.to.as_deref(), cluster, (&rendered.objects, &later))?;
    }
    asked.printer.note(&format!(
        "not part of the manifests are tokens and the remote secrets that hold them; once the manifests were applied: {}",
        asked.plugin.command(["connect"])
    ));
    Ok(Outcome::Done)
}
