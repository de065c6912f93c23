//! Mesh files, and their edits.

use spire_mesh::mesh::{Mesh, with_cluster, without_cluster};

use crate::invariant;

const FILE: &str = "spire-mesh.yaml";
/// The longest text that is edited too, in bytes: an edit reads it several times.
const LONGEST_EDITED: usize = 64 << 10;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mesh = match Mesh::parse(text, FILE) {
        Ok(mesh) => mesh,
        Err(error) => return invariant::harmless_error(&error),
    };
    assert!(mesh.clusters.len() >= 2);
    mesh.clusters.iter().for_each(|cluster| invariant::trust_domain(&cluster.trust_domain));
    if text.len() > LONGEST_EDITED {
        return;
    }
    let new = "fuzz-context=fuzz.example".parse().expect("a new cluster");
    if let Ok(longer) = with_cluster(text, FILE, &new) {
        let with = Mesh::parse(&longer, FILE).expect("an edited file is valid");
        let (added, others) = with.clusters.split_last().expect("clusters");
        assert_eq!(others, mesh.clusters);
        if let Ok(shorter) = without_cluster(&longer, FILE, &added.name) {
            assert_eq!(Mesh::parse(&shorter, FILE).as_ref().ok(), Some(&mesh));
        }
    }
    if let Ok(shorter) = without_cluster(text, FILE, &mesh.clusters[0].name) {
        let without = Mesh::parse(&shorter, FILE).expect("an edited file is valid");
        assert_eq!(without.clusters, mesh.clusters[1..]);
    }
}
