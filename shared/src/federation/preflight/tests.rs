use serde_json::json;

use super::*;
use crate::fleet::fake::FakeServer;
use crate::spire::discovery::FoundControllerManager;
use crate::spire::discovery::sample::foreign;

const MESH: &str = "\
apiVersion: spire-mesh/v1alpha1
kind: Mesh
metadata: {name: example}
spec:
  clusters:
    - {name: foo, trustDomain: foo.com, spire: {bundleEndpoint: {expose: NodePort}}}
    - {name: bar, trustDomain: bar.com, spire: {managed: false}}
    - {name: baz, trustDomain: baz.com}
";

pub(super) fn mesh() -> Mesh {
    Mesh::parse(MESH, "spire-mesh.yaml").unwrap()
}

fn judged(change: impl FnOnce(&mut FoundSpire)) -> Result<(), PreflightError> {
    let (mesh, mut found) = (mesh(), foreign());
    change(&mut found);
    existing::can_be_federated(&mesh, &mesh.clusters[1], &found)
}

/// What is printed of a refusal.
fn refused(change: impl FnOnce(&mut FoundSpire)) -> String {
    told(&judged(change).unwrap_err())
}

pub(super) fn told(error: &PreflightError) -> String {
    format!("error: {error}\nhint: {}", error.hint().unwrap_or_default())
}

#[test]
fn a_spire_that_can_be_federated_is_not_refused() {
    assert!(judged(|_| ()).is_ok());
    // A configuration that lies in no config map is not known, and not held against it.
    let unknown = |found: &mut FoundSpire| {
        found.trust_domain = None;
        found.bundle_endpoint = None;
        found.controller_manager = Some(FoundControllerManager::default());
    };
    assert!(judged(unknown).is_ok());
}

#[test]
fn a_server_without_controller_manager_is_refused() {
    insta::assert_snapshot!(refused(|found| found.controller_manager = None));
}

#[test]
fn a_controller_manager_that_passes_over_relationships_is_refused() {
    insta::assert_snapshot!(refused(|found| {
        found.controller_manager.as_mut().unwrap().passes_over_relationships =
            Some("`reconcile` without `clusterFederatedTrustDomains: true`".to_owned());
    }));
}

#[test]
fn a_bundle_endpoint_with_a_web_certificate_is_refused() {
    insta::assert_snapshot!(refused(|found| found.bundle_endpoint.as_mut().unwrap().https_web = true));
}

#[test]
fn static_relationships_are_refused_where_they_are_with_the_mesh() {
    let with = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    assert!(judged(|found| found.static_federation = with(&["elsewhere.org", "bar.com"])).is_ok());
    insta::assert_snapshot!(refused(|found| {
        found.static_federation = with(&["baz.com", "elsewhere.org", "foo.com"]);
    }));
}

#[test]
fn a_bundle_endpoint_that_nobody_reaches_is_refused() {
    let reason =
        "Service spire-server/spire-server of type ClusterIP cannot be reached from outside its cluster";
    insta::assert_snapshot!(told(&PreflightError::Unexposed { reason: reason.to_owned() }));
}

#[test]
fn nodes_are_listed_only_where_peers_are_given_the_address_of_one() {
    let mesh = mesh();
    let lists_nodes = |index: usize| {
        let cluster = &mesh.clusters[index];
        let Spire::Managed(spire) = &cluster.spire else { panic!("cluster {index} is managed") };
        managed_needs(cluster, spire, Scope::Everything).contains(&Need::new("list", "", "nodes", None))
    };
    assert!(lists_nodes(0));
    assert!(!lists_nodes(2));
}

#[test]
fn rights_to_take_a_mesh_down_are_named_together() {
    let mesh = mesh();
    let needs = |index: usize| {
        let cluster = &mesh.clusters[index];
        let needs = removal::reading(&cluster.spire).into_iter().chain(removal::made_by_up(cluster));
        told(&PreflightError::MissingRights(needs.collect()))
    };
    insta::assert_snapshot!("rights_to_remove_managed", needs(0));
    insta::assert_snapshot!("rights_to_remove_existing", needs(1));
}

#[test]
fn only_a_kubernetes_that_is_known_to_be_too_old_is_refused() {
    let (major, minor) = OLDEST_KUBERNETES;
    let taken = |text: String| version(&text).is_ok();
    assert!(taken(format!("v{major}.{minor}.0")) && taken(format!("v{major}.{}.2-eks-abc", minor + 1)));
    assert!(taken(format!("v{}.0.0", major + 1)) && taken("unknown".to_owned()) && taken(String::new()));
    let refused = version(&format!("v{major}.{}.9", minor - 1)).unwrap_err().to_string();
    assert_eq!(
        refused,
        format!("Kubernetes is v{major}.{}.9; {major}.{minor} is the oldest that works", minor - 1)
    );
}

#[test]
fn storage_classes_that_there_are_are_listed() {
    let told = |known: &[&str]| {
        let known: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
        PreflightError::NoStorageClass { name: "fast".to_owned(), known }.to_string()
    };
    insta::assert_snapshot!(told(&[]), @"storage class fast does not exist (there is none at all)");
    insta::assert_snapshot!(told(&["gp2", "gp3"]), @"storage class fast does not exist (there is gp2, gp3)");
}

/// What is said of the SPIREs that are there before or after the first `up`: each by namespace, workload and the mesh of its labels.
fn own(there: &[(&str, &str, Option<&str>)]) -> Result<Option<String>, String> {
    let servers = there.iter().map(|(namespace, workload, mesh)| FoundSpire {
        namespace: (*namespace).to_owned(),
        workload: (*workload).to_owned(),
        mesh: mesh.map(str::to_owned),
        ..foreign()
    });
    let own = own_of(&mesh(), "spire-server", servers.collect());
    own.map(|found| found.map(|found| found.place())).map_err(|error| told(&error))
}

#[test]
fn only_what_stands_where_the_mesh_file_says_is_the_spire_of_this_mesh() {
    let (place, ours) = ("spire-server/StatefulSet/spire-server", Some("example"));
    let here = ("spire-server", "StatefulSet/spire-server", ours);
    assert_eq!(own(&[]), Ok(None));
    assert_eq!(own(&[here]), Ok(Some(place.to_owned())));
    // Whoever may make objects in `apps` neither passes for it nor stops it.
    let impostor = ("apps", "StatefulSet/spire-server", ours);
    assert_eq!(own(&[impostor, here]), Ok(Some(place.to_owned())));
    assert_eq!(own(&[("apps", "Deployment/server", None), here]), Ok(Some(place.to_owned())));
}

#[test]
fn before_the_first_up_there_must_be_no_spire() {
    let ours = Some("example");
    insta::assert_snapshot!(own(&[("apps", "StatefulSet/spire-server", ours)]).unwrap_err());
    insta::assert_snapshot!(own(&[("spire-server", "Deployment/spire-server", ours)]).unwrap_err());
    insta::assert_snapshot!(own(&[("spire-server", "StatefulSet/spire-server", None)]).unwrap_err());
    insta::assert_snapshot!(own(&[("apps", "Deployment/server", None)]).unwrap_err());
    insta::assert_snapshot!(own(&[("elsewhere", "StatefulSet/spire-server", Some("other"))]).unwrap_err());
}

fn put_class(server: &FakeServer, name: &str, default: Option<&str>) {
    let annotations = default.map(|value| json!({DEFAULT_CLASS: value}));
    server.put(
        &format!("/apis/storage.k8s.io/v1/storageclasses/{name}"),
        json!({"metadata": {"annotations": annotations}, "provisioner": "ebs.csi.aws.com"}),
    );
}

/// A cluster in which SPIRE gets a volume.
fn with_storage() -> FakeServer {
    let server = FakeServer::default();
    put_class(&server, "gp3", Some("true"));
    server
}

/// What stands in the way in foo, bar or baz.
async fn refusals(server: &FakeServer, index: usize) -> String {
    let mesh = mesh();
    match preflight(&mesh, &[server.member_of(&mesh.clusters[index])], Scope::Everything).await {
        Ok(()) => "nothing".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

#[tokio::test]
async fn a_volume_comes_from_the_class_that_is_named_or_from_a_default_one() {
    let server = FakeServer::default();
    let mesh = mesh();
    let member = server.member_of(&mesh.clusters[2]);
    let Spire::Managed(spire) = &mesh.clusters[2].spire else { panic!("baz is managed") };
    let mut named = spire.as_ref().clone();
    named.storage.class = Some("gp2".to_owned());
    let told = async |spire: &ManagedSpire| storage(&member, spire).await.map_err(|error| told(&error));
    insta::assert_snapshot!(told(spire).await.unwrap_err(), @r"
    error: no storage class is the default (there is none at all), so the SPIRE server would get no volume
    hint: install a storage driver; on EKS: the aws-ebs-csi-driver add-on and a StorageClass
    ");
    put_class(&server, "gp3", Some("false"));
    put_class(&server, "io2", None);
    insta::assert_snapshot!(told(spire).await.unwrap_err(), @r"
    error: no storage class is the default (there is gp3, io2), so the SPIRE server would get no volume
    hint: set spire.storage.class in the mesh file, for example gp3
    ");
    insta::assert_snapshot!(told(&named).await.unwrap_err(), @r"
    error: storage class gp2 does not exist (there is gp3, io2)
    hint: kubectl --context CONTEXT get storageclass
    ");
    put_class(&server, "gp2", None);
    assert_eq!(told(&named).await, Ok(()));
    assert!(told(spire).await.is_err());
    put_class(&server, "st1", Some("true"));
    assert_eq!(told(spire).await, Ok(()));
}

fn put_spire(server: &FakeServer, labels: &serde_json::Value) {
    server.put(
        "/apis/apps/v1/namespaces/spire-server/statefulsets/spire-server",
        json!({
            "metadata": {"labels": labels},
            "spec": {
                "serviceName": "spire",
                "selector": {},
                "template": {"spec": {"containers": [{"name": "a", "image": "spire-server:1.15.3"}]}},
            },
        }),
    );
}

#[tokio::test]
async fn a_cluster_is_looked_at_for_all_that_it_lacks() {
    assert_eq!(refusals(&with_storage(), 2).await, "nothing");
    let denied = with_storage();
    denied.forbid("create statefulsets");
    denied.forbid("list storageclasses");
    assert_eq!(
        refusals(&denied, 2).await,
        "baz: you may not create statefulsets.apps in namespace spire-server, list storageclasses.storage.k8s.io"
    );
    assert!(refusals(&FakeServer::default(), 2).await.starts_with("baz: no storage class is the default"));
    let blind = FakeServer::default();
    blind.refuse("/apis/storage.k8s.io/v1/storageclasses", 403);
    assert!(refusals(&blind, 2).await.starts_with("baz: cannot read storage classes"));
    assert_eq!(refusals(&FakeServer::default(), 1).await, "nothing", "the plan says that there is no SPIRE");
    let denied = FakeServer::default();
    denied.forbid("get pods/exec");
    assert_eq!(refusals(&denied, 1).await, "bar: you may not get pods/exec");
}

#[tokio::test]
async fn a_spire_of_another_mesh_or_of_somebody_else_is_refused_where_ours_is_wanted() {
    let labels =
        |mesh: &str| json!({"app.kubernetes.io/managed-by": "spire-federate", "spire-mesh.dev/mesh": mesh});
    let of = async |labels: &serde_json::Value, index: usize| {
        let server = with_storage();
        put_spire(&server, labels);
        refusals(&server, index).await
    };
    assert_eq!(of(&labels("example"), 2).await, "nothing");
    insta::assert_snapshot!(of(&labels("other"), 2).await, @"baz: its SPIRE (StatefulSet/spire-server in namespace spire-server, SPIRE 1.15.3) belongs to mesh other");
    insta::assert_snapshot!(of(&json!({}), 2).await, @"baz: there is a SPIRE already that this tool did not install: StatefulSet/spire-server in namespace spire-server, SPIRE 1.15.3");
    insta::assert_snapshot!(of(&json!({}), 1).await, @"bar: its SPIRE (StatefulSet/spire-server in namespace spire-server, SPIRE 1.15.3) has no spire-controller-manager in its pod, so nothing passes relationships on to the server");
}

#[test]
fn what_it_takes_to_federate_is_asked_for_all_at_once() {
    let mesh = mesh();
    let Spire::Managed(spire) = &mesh.clusters[2].spire else { panic!("baz is managed") };
    let needs = managed_needs(&mesh.clusters[2], spire, Scope::Everything);
    insta::assert_snapshot!(listed(&existing_needs()).replace(", ", "\n"), @r"
    list statefulsets.apps
    list deployments.apps
    list pods
    list services
    get pods/exec
    get/create/patch clusterfederatedtrustdomains.spire.spiffe.io
    ");
    assert!(existing_needs().iter().all(|need| needs.contains(need)));
    for kind in [Kind::StatefulSet, Kind::DaemonSet, Kind::ClusterSPIFFEID] {
        let is_asked_for = |verb: &&str| {
            needs.iter().any(|need| {
                need.verb == *verb && need.resource == kind.plural() && need.group == kind.group()
            })
        };
        assert!(["get", "create", "patch"].iter().all(is_asked_for), "{kind:?}");
    }
    // What others have applied is looked at only.
    let live = managed_needs(&mesh.clusters[2], spire, Scope::Live);
    assert!(live.iter().all(|need| needs.contains(need)));
    let changed = live.iter().filter(|need| ["create", "patch"].contains(&need.verb.as_str()));
    let mut changed: Vec<&str> = changed.map(|need| need.resource.as_str()).collect();
    changed.dedup();
    assert_eq!(changed, ["clusterspiffeids", "clusterfederatedtrustdomains"]);
    assert!(live.contains(&Need::new("get", "apps", "statefulsets", Some("spire-server"))));
}

#[tokio::test]
async fn rights_to_take_a_mesh_down_are_asked_for_where_something_is_there() {
    let mesh = mesh();
    let told = async |server: &FakeServer, removals: &[crate::federation::Removal]| {
        let members = [server.member_of(&mesh.clusters[2])];
        let down = preflight_down(removals, &members, crate::federation::CaVolume::Keep).await;
        let read = preflight_removal(&members, &crate::lease::needs(&mesh.name)).await;
        [down, read].map(|result| result.err().map(|errors| errors.to_string()).unwrap_or_default())
    };
    let removal = |cluster: &str| crate::federation::Removal {
        cluster: cluster.to_owned(),
        objects: vec![crate::manifest::ObjectKey::new(Kind::Namespace, None, "spire-server")],
        mounted_by: Vec::new(),
        ca_volume: None,
        leftovers: Vec::new(),
        lost: Vec::new(),
        bundles: Vec::new(),
    };
    let both = [removal("foo"), removal("baz")];
    assert_eq!(told(&FakeServer::default(), &both).await, ["", ""]);
    let denied = FakeServer::default();
    denied.forbid("delete namespaces");
    assert_eq!(told(&denied, &both).await, ["baz: you may not delete namespaces", ""]);
    assert_eq!(told(&denied, &both[..1]).await, ["", ""], "nothing is there to be deleted in baz");
    denied.forbid("update leases");
    let [_, read] = told(&denied, &[]).await;
    assert_eq!(
        read,
        "baz: you may not delete namespaces, update leases.coordination.k8s.io/spire-mesh-example in namespace kube-system"
    );
    denied.forbid("list pods");
    let [_, read] = told(&denied, &[]).await;
    assert!(read.starts_with("baz: you may not list pods, delete namespaces, update leases"), "{read}");
}
