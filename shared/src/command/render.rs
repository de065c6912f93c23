//! Manifests on standard output, or in a folder.

use std::path::Path;

use anyhow::Context as _;

use super::Asked;
use crate::entry::Failure;
use crate::mesh::Cluster;

/// Writes a cluster's manifests to `CLUSTER.yaml` in a folder, or prints them where there is none.
///
/// # Errors
/// When the file cannot be written.
pub fn write_manifests(
    asked: &Asked,
    folder: Option<&Path>,
    cluster: &Cluster,
    yaml: &str,
) -> Result<(), Failure> {
    let Some(folder) = folder else {
        asked.printer.data(&format!("# {} (context {})\n{yaml}", cluster.name, cluster.context))?;
        return Ok(());
    };
    let file = folder.join(format!("{}.yaml", cluster.name));
    save(folder, &file, yaml).with_context(|| format!("cannot write {}", file.display()))?;
    asked.printer.note(&format!("wrote {}", file.display()));
    Ok(())
}

fn save(folder: &Path, file: &Path, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(file, text)
}
