use super::*;
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

fn mesh() -> Mesh {
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

fn told(error: &PreflightError) -> String {
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
        managed_needs(cluster, spire).contains(&Need::new("list", "", "nodes", None))
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
