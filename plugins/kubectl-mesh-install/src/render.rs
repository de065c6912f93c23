//! `render`: the manifests that `up` would apply.

use spire_mesh::command::{Asked, write_manifests};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::manifest::to_yaml;

use crate::cli::RenderArgs;
use crate::plan::render;

pub(crate) async fn run(asked: &Asked, args: &RenderArgs) -> Result<Outcome, Failure> {
    let mesh = asked.load()?;
    for rendered in render(&mesh).await? {
        let Some(cluster) = mesh.clusters.iter().find(|cluster| cluster.name == rendered.cluster) else {
            continue;
        };
        write_manifests(asked, args.to.as_deref(), cluster, &to_yaml(&rendered.objects))?;
    }
    asked.printer.note(&format!(
        "remote secrets are not part of the manifests, because they hold tokens; this writes them: {}",
        asked.plugin.up()
    ));
    Ok(Outcome::Done)
}
