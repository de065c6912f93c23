//! The demo applications, which are Istio's samples: the plain YAML in `manifests/demo` with the images of the mesh file, and of
//! it what belongs in a cluster.
//!
//! helloworld and sleep are in every cluster, helloworld as v1 in the first and as v2 in the others, so that an answer tells
//! where it comes from. bookinfo is in the first cluster only.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use crate::manifest::{DeleteError, Kind, Object, ObjectKey, Owner, Tool, owned_with, parse_yaml};
use crate::mesh::{Cluster, DemoImages, Mesh};

/// The label that tells which demo an object belongs to; its value is [`Demo::name`].
pub const DEMO_LABEL: &str = "spire-mesh.dev/demo";

const HELLOWORLD_FILES: [&str; 2] = [
    include_str!("../../../../manifests/demo/helloworld.yaml"),
    include_str!("../../../../manifests/demo/helloworld-ingress.yaml"),
];
const SLEEP_FILES: [&str; 1] = [include_str!("../../../../manifests/demo/sleep.yaml")];
const BOOKINFO_FILES: [&str; 2] = [
    include_str!("../../../../manifests/demo/bookinfo.yaml"),
    include_str!("../../../../manifests/demo/bookinfo-ingress.yaml"),
];

/// A demo application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Demo {
    /// A service that answers with its version, in every cluster, and its route through the ingress gateway.
    Helloworld,
    /// A pod with curl in every cluster, to call from.
    Sleep,
    /// A bookshop of four services in the first cluster, and its route through the ingress gateway.
    Bookinfo,
}

impl Demo {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Helloworld, Self::Sleep, Self::Bookinfo];

    /// Returns the demo's name, which is that of its namespace, too.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Helloworld => "helloworld",
            Self::Sleep => "sleep",
            Self::Bookinfo => "bookinfo",
        }
    }

    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Helloworld => &HELLOWORLD_FILES,
            Self::Sleep => &SLEEP_FILES,
            Self::Bookinfo => &BOOKINFO_FILES,
        }
    }
}

impl fmt::Display for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A cluster's part in the demos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The first cluster of the mesh file.
    First,
    /// Every other.
    Other,
}

impl Role {
    /// Returns a cluster's part in the demos of its mesh.
    #[must_use]
    pub fn of(mesh: &Mesh, cluster: &Cluster) -> Self {
        match mesh.clusters.first() {
            Some(first) if first.name == cluster.name => Self::First,
            _ => Self::Other,
        }
    }
}

/// Returns namespace and name of the deployments that a demo has in a cluster: those to wait for.
#[must_use]
pub fn workloads(demo: Demo, role: Role) -> Vec<(&'static str, &'static str)> {
    let names: &[&str] = match (demo, role) {
        (Demo::Helloworld, Role::First) => &["helloworld-v1"],
        (Demo::Helloworld, Role::Other) => &["helloworld-v2"],
        (Demo::Sleep, _) => &["sleep"],
        (Demo::Bookinfo, Role::First) => {
            &["details-v1", "productpage-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3"]
        }
        (Demo::Bookinfo, Role::Other) => &[],
    };
    names.iter().map(|name| (demo.name(), *name)).collect()
}

/// Returns everything of a demo that has to be in a cluster, in the order in which to apply it, marked as the mesh's and as the
/// demo's. Empty where the demo has no part.
#[must_use]
pub fn objects(demo: Demo, mesh: &Mesh, cluster: &Cluster) -> Vec<Object> {
    let workloads = workloads(demo, Role::of(mesh, cluster));
    if workloads.is_empty() {
        return Vec::new();
    }
    let wanted = |object: &Object| {
        object.key().kind != Kind::Deployment || workloads.iter().any(|(_, name)| *name == object.key().name)
    };
    let mut objects: Vec<Object> = demo
        .files()
        .iter()
        .flat_map(|file| embedded(file))
        .filter(wanted)
        .map(|object| with_image(object, &mesh.demo))
        .collect();
    for object in &mut objects {
        object.labels_mut().insert(DEMO_LABEL.to_owned(), demo.name().to_owned());
    }
    objects.sort_by(|one, other| one.key().cmp(other.key()));
    Owner::new(Tool::MeshInstall, &mesh.name).stamped(objects)
}

/// Lists what there is of a demo in a cluster, by its labels: also what the mesh file no longer asks for.
///
/// # Errors
/// As [`owned_with`].
pub async fn installed(
    client: &kube::Client,
    mesh: &Mesh,
    demo: Demo,
) -> Result<Vec<ObjectKey>, DeleteError> {
    owned_with(client, &Owner::new(Tool::MeshInstall, &mesh.name), DEMO_LABEL, demo.name()).await
}

/// Puts the mesh file's image into a deployment. Each has one container.
fn with_image(object: Object, images: &DemoImages) -> Object {
    let image = match object.key().name.as_str() {
        _ if object.key().kind != Kind::Deployment => return object,
        "helloworld-v1" => &images.helloworld_v1,
        "helloworld-v2" => &images.helloworld_v2,
        "sleep" => &images.sleep,
        "productpage-v1" => &images.productpage,
        "details-v1" => &images.details,
        "ratings-v1" => &images.ratings,
        "reviews-v1" => &images.reviews_v1,
        "reviews-v2" => &images.reviews_v2,
        "reviews-v3" => &images.reviews_v3,
        _ => return object,
    };
    let mut value = object.to_value();
    if let Some(slot) = value.pointer_mut("/spec/template/spec/containers/0/image") {
        *slot = image.as_str().into();
    }
    Object::from_value(value).expect("another image does not make an object invalid")
}

fn embedded(file: &str) -> Vec<Object> {
    parse_yaml(file).expect("the embedded manifests are valid YAML")
}

#[cfg(test)]
mod tests;
