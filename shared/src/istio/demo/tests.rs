use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Service, ServiceAccount};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;
use crate::manifest::{MANAGED_BY_LABEL, MESH_LABEL, to_yaml};

const MESH: &str = "\
apiVersion: spire-mesh/v1alpha1
kind: Mesh
metadata: {name: shop}
spec:
  clusters:
    - {name: foo, trustDomain: foo.com}
    - {name: bar, trustDomain: bar.com}
    - {name: baz, trustDomain: baz.com}
";
const IMAGES: [(&str, &str); 9] = [
    ("helloworldV1", "helloworld-v1"),
    ("helloworldV2", "helloworld-v2"),
    ("sleep", "sleep"),
    ("productpage", "productpage-v1"),
    ("details", "details-v1"),
    ("ratings", "ratings-v1"),
    ("reviewsV1", "reviews-v1"),
    ("reviewsV2", "reviews-v2"),
    ("reviewsV3", "reviews-v3"),
];

fn mesh() -> Mesh {
    Mesh::parse(MESH, "spire-mesh.yaml").unwrap()
}

/// A mesh whose images are named after their keys.
fn mesh_with_images() -> Mesh {
    let images: Vec<String> = IMAGES.map(|(key, _)| format!("{key}: r.example/{key}:1")).into();
    let text = MESH.replace("spec:\n", &format!("spec:\n  demo: {{images: {{{}}}}}\n", images.join(", ")));
    Mesh::parse(&text, "spire-mesh.yaml").unwrap()
}

/// The demo in the cluster at this place in the mesh file.
fn rendered(demo: Demo, cluster: usize) -> String {
    let mesh = mesh();
    to_yaml(&objects(demo, &mesh, &mesh.clusters[cluster]))
}

/// The deployments of every demo in every cluster: helloworld and sleep in three clusters, bookinfo in the first.
fn deployments(mesh: &Mesh) -> Vec<(Demo, Role, Object)> {
    let pairs =
        Demo::ALL.into_iter().flat_map(|demo| mesh.clusters.iter().map(move |cluster| (demo, cluster)));
    let found: Vec<_> = pairs
        .flat_map(|(demo, cluster)| {
            let objects = objects(demo, mesh, cluster).into_iter();
            objects.map(move |object| (demo, Role::of(mesh, cluster), object))
        })
        .filter(|(_, _, object)| object.key().kind == Kind::Deployment)
        .collect();
    assert_eq!(found.len(), 3 + 3 + 6);
    found
}

#[test]
fn helloworld_is_v1_in_the_first_cluster_and_v2_in_the_others() {
    insta::assert_snapshot!("helloworld_first", rendered(Demo::Helloworld, 0));
    insta::assert_snapshot!("helloworld_other", rendered(Demo::Helloworld, 1));
    assert_eq!(rendered(Demo::Helloworld, 1), rendered(Demo::Helloworld, 2));
}

#[test]
fn sleep_is_the_same_in_every_cluster() {
    insta::assert_snapshot!("sleep", rendered(Demo::Sleep, 0));
    assert_eq!(rendered(Demo::Sleep, 0), rendered(Demo::Sleep, 1));
}

#[test]
fn bookinfo_is_in_the_first_cluster_only() {
    insta::assert_snapshot!("bookinfo", rendered(Demo::Bookinfo, 0));
    assert_eq!(rendered(Demo::Bookinfo, 1), "");
}

#[test]
fn every_manifest_has_kinds_that_are_known_and_defaults_that_are_those_of_the_mesh_file() {
    let defaults: BTreeSet<String> =
        deployments(&mesh()).iter().map(|(_, _, object)| image(object)).collect();
    let mut plain = BTreeSet::new();
    let mut namespaces = BTreeSet::new();
    for demo in Demo::ALL {
        for object in demo.files().iter().flat_map(|file| parse_yaml(file).unwrap()) {
            let key = object.key();
            namespaces.insert(key.namespace.clone().unwrap_or_else(|| key.name.clone()));
            assert!(Tool::MeshInstall.kinds().any(|kind| kind == key.kind), "nobody would find {key} again");
            if key.kind == Kind::Deployment {
                plain.insert(image(&object));
            }
        }
    }
    assert_eq!(plain, defaults);
    assert_eq!(namespaces, Demo::ALL.map(|demo| demo.name().to_owned()).into());
}

#[test]
fn no_field_of_a_manifest_is_one_that_kubernetes_does_not_know() {
    fn read_and_written<T: DeserializeOwned + Serialize>(object: &Object) -> Object {
        Object::of(&object.to_typed::<T>().unwrap()).unwrap()
    }
    let mut count = 0;
    for object in Demo::ALL.into_iter().flat_map(Demo::files).flat_map(|file| parse_yaml(file).unwrap()) {
        let known = match object.key().kind {
            Kind::Namespace => read_and_written::<Namespace>(&object),
            Kind::ServiceAccount => read_and_written::<ServiceAccount>(&object),
            Kind::Service => read_and_written::<Service>(&object),
            Kind::Deployment => read_and_written::<Deployment>(&object),
            // Of Istio.
            _ => continue,
        };
        assert_eq!(known.to_value(), object.to_value());
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn images_of_the_mesh_file_are_in_the_pods() {
    let found: BTreeSet<(String, String)> = deployments(&mesh_with_images())
        .iter()
        .map(|(_, _, object)| (object.key().name.clone(), image(object)))
        .collect();
    let expected = IMAGES.map(|(key, name)| (name.to_owned(), format!("r.example/{key}:1")));
    assert_eq!(found, expected.into());
}

#[test]
fn what_is_waited_for_is_what_is_there() {
    let mesh = mesh();
    for demo in Demo::ALL {
        for role in [Role::First, Role::Other] {
            let there: BTreeSet<_> = deployments(&mesh)
                .iter()
                .filter(|(of, at, _)| (*of, *at) == (demo, role))
                .map(|(_, _, object)| (object.key().namespace.clone().unwrap(), object.key().name.clone()))
                .collect();
            let waited_for: BTreeSet<_> = workloads(demo, role)
                .into_iter()
                .map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
                .collect();
            assert_eq!(there, waited_for, "{demo} {role:?}");
        }
    }
}

#[test]
fn every_object_says_whose_it_is_and_of_which_demo() {
    let mesh = mesh();
    for demo in Demo::ALL {
        let objects = objects(demo, &mesh, &mesh.clusters[0]);
        assert!(objects.len() >= 3 && objects.iter().map(Object::key).is_sorted());
        for object in objects {
            let labels = [MANAGED_BY_LABEL, MESH_LABEL, DEMO_LABEL].map(|label| object.label(label).unwrap());
            assert_eq!(labels, ["mesh-install", "shop", demo.name()]);
        }
    }
}

#[test]
fn demos_are_named_as_on_the_command_line() {
    for demo in Demo::ALL {
        assert_eq!(Demo::from_str(demo.name(), false), Ok(demo));
        assert_eq!(serde_json::to_value(demo).unwrap(), demo.name());
    }
}

#[test]
fn no_pod_runs_as_root_or_may_become_it() {
    for (_, _, object) in deployments(&mesh()) {
        let context = container(&object)["securityContext"].clone();
        let value = |field: &str| context[field].clone();
        assert_eq!((value("runAsNonRoot"), value("allowPrivilegeEscalation")), (true.into(), false.into()));
        assert_eq!(context["capabilities"]["drop"][0], "ALL", "{object:?}");
    }
}

fn container(object: &Object) -> Value {
    let value = object.to_value();
    let containers = value.pointer("/spec/template/spec/containers").unwrap().as_array().unwrap();
    assert_eq!(containers.len(), 1, "{object:?}");
    containers[0].clone()
}

fn image(object: &Object) -> String {
    container(object)["image"].as_str().unwrap().to_owned()
}
