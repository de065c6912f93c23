//! Whole files: what is accepted, what is refused, and how.

mod accepted;
mod endpoint;
mod files;
mod pods;
mod shapes;
mod values;

use super::*;

const HEAD: &str = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: devup-mesh}\nspec:\n";
const THREE: &str = "  clusters:\n    - {name: foo, trustDomain: foo.com}\n    - {name: bar, trustDomain: bar.com}\n    - {name: baz, trustDomain: baz.com}\n";

fn parse(text: &str) -> Mesh {
    Mesh::parse(text, "spire-mesh.yaml").unwrap()
}

fn refused(text: &str) -> String {
    Mesh::parse(text, "spire-mesh.yaml").unwrap_err().to_string()
}

/// A file with these `spire` keys for all clusters.
fn refused_defaults(spire: &str) -> String {
    refused(&format!("{HEAD}  spire: {spire}\n{THREE}"))
}

/// A file whose first cluster has these `spire` keys.
fn with_cluster(spire: &str) -> String {
    format!(
        "{HEAD}  clusters:\n    - name: foo\n      trustDomain: foo.com\n      spire: {spire}\n    - {{name: bar, trustDomain: bar.com}}\n"
    )
}

fn managed(cluster: &Cluster) -> &ManagedSpire {
    match &cluster.spire {
        Spire::Managed(managed) => managed,
        Spire::Existing(_) => panic!("{} is not managed", cluster.name),
    }
}
