//! Manifests on standard output, or in a folder.

use std::path::Path;

use anyhow::Context as _;

use super::Asked;
use crate::entry::Failure;
use crate::hint::Plugin;
use crate::manifest::{Later, Object, to_yaml};
use crate::mesh::Cluster;
use crate::report::{one_line, write_file};

/// Writes a cluster's manifests to `CLUSTER.yaml` in a folder, or prints them where there is none. They begin with a comment that names
/// what comes later.
///
/// # Errors
/// When the file cannot be written.
pub fn write_manifests(
    asked: &Asked,
    folder: Option<&Path>,
    cluster: &Cluster,
    (objects, later): (&[Object], &[Later]),
) -> Result<(), Failure> {
    let yaml = format!("{}{}", left_out(asked.plugin, later), to_yaml(objects));
    let Some(folder) = folder else {
        asked.printer.data(&format!("# {} (context {})\n{yaml}", cluster.name, cluster.context))?;
        return Ok(());
    };
    let file = folder.join(format!("{}.yaml", cluster.name));
    save(folder, &file, &yaml).with_context(|| format!("cannot write {}", file.display()))?;
    asked.printer.note(&format!("wrote {}", file.display()));
    Ok(())
}

/// Says in a comment what manifests leave out. It names no file and no flag, so that whoever renders writes the same.
fn left_out(plugin: Plugin, later: &[Later]) -> String {
    if later.is_empty() {
        return String::new();
    }
    let head = format!("# Not in this file, and made later by the verb `connect` of {plugin}:\n");
    let line =
        |Later { key, reason }: &Later| format!("# - {}: {}\n", one_line(&key.to_string()), one_line(reason));
    std::iter::once(head).chain(later.iter().map(line)).collect()
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
    use crate::manifest::{Kind, ObjectKey};
    use crate::report::{Format, Printer};

    #[test]
    fn manifests_are_printed_with_whose_they_are_or_written_to_a_file_of_each_cluster() {
        let (printer, captured) = Printer::captured(Format::Table);
        let (mesh, kube) = (None, KubeSettings::default());
        let at_interrupt = AtInterrupt::default();
        let asked = Asked { mesh, kube, printer, plugin: Plugin::SpireFederate, at_interrupt };
        let cluster = Cluster { context: "me@foo".to_owned(), ..Cluster::example("foo", "foo.com") };
        let object = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
        let objects = [Object::from_value(object).unwrap()];
        write_manifests(&asked, None, &cluster, (&objects, &[])).unwrap();
        insta::assert_snapshot!(captured.stdout());
        assert_eq!(captured.stderr(), "");

        let later = |name: &str| Later {
            key: ObjectKey::new(Kind::Secret, Some("istio-system"), name),
            reason: "it holds a token\nof bar".to_owned(),
        };
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("x/y");
        let later = [later("b"), later("c")];
        write_manifests(&asked, Some(&below), &cluster, (&objects, &later)).unwrap();
        insta::assert_snapshot!(std::fs::read_to_string(below.join("foo.yaml")).unwrap());
        assert_eq!(captured.stderr(), format!("wrote {}\n", below.join("foo.yaml").display()));

        let file = below.join("foo.yaml");
        let failure = write_manifests(&asked, Some(&file), &cluster, (&objects, &[])).unwrap_err();
        assert!(failure.one_line().starts_with("cannot write "), "{}", failure.one_line());
    }
}
