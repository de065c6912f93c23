//! Manifests on standard output, or in a folder.

use std::path::Path;

use anyhow::Context as _;

use super::Asked;
use crate::entry::Failure;
use crate::mesh::Cluster;
use crate::report::write_file;

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
    write_file(file, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::AtInterrupt;
    use crate::fleet::KubeSettings;
    use crate::hint::Plugin;
    use crate::report::{Format, Printer};

    #[test]
    fn manifests_are_printed_with_whose_they_are_or_written_to_a_file_of_each_cluster() {
        let (printer, captured) = Printer::captured(Format::Table);
        let (mesh, kube) = (None, KubeSettings::default());
        let at_interrupt = AtInterrupt::default();
        let asked = Asked { mesh, kube, printer, plugin: Plugin::SpireFederate, at_interrupt };
        let cluster = Cluster { context: "me@foo".to_owned(), ..Cluster::example("foo", "foo.com") };
        write_manifests(&asked, None, &cluster, "a: b\n").unwrap();
        assert_eq!(
            (captured.stdout().as_str(), captured.stderr().as_str()),
            ("# foo (context me@foo)\na: b\n", "")
        );

        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("x/y");
        write_manifests(&asked, Some(&below), &cluster, "a: c\n").unwrap();
        assert_eq!(std::fs::read_to_string(below.join("foo.yaml")).unwrap(), "a: c\n");
        assert_eq!(captured.stderr(), format!("wrote {}\n", below.join("foo.yaml").display()));
        assert_eq!(captured.stdout(), "# foo (context me@foo)\na: b\n");

        let file = below.join("foo.yaml");
        let failure = write_manifests(&asked, Some(&file), &cluster, "a: d\n").unwrap_err();
        assert!(failure.one_line().starts_with("cannot write "), "{}", failure.one_line());
    }
}
