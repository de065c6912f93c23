use std::collections::BTreeMap;

use super::FederationError;
use super::locate::meant;
use crate::fleet::{ClusterErrors, Member, each};
use crate::manifest::{self, ClusterPlan, Later, MeshPlan, Object, ObjectKey, Owner, Tool};
use crate::mesh::{Cluster, EndpointUrl, ExistingSpire, Mesh, Spire};
use crate::spire::desired::{
    CLASS_NAME, agent_objects, relationship, relationship_name, server_objects, workload_ids,
};
use crate::spire::endpoint::{Endpoint, bundle_endpoint};
use crate::trust::TrustDomain;

/// Everything that there has to be in one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// The objects, in the order in which to apply them.
    pub objects: Vec<Object>,
    /// Those that cannot be rendered yet.
    pub later: Vec<Later>,
}

/// Returns the owner of everything that is made here.
pub(super) fn owner(mesh: &Mesh) -> Owner {
    Owner::new(Tool::SpireFederate, mesh.name.clone())
}

/// Where the bundle endpoint of each trust domain is, or why that is not known yet.
pub type Endpoints = BTreeMap<TrustDomain, Result<EndpointUrl, String>>;

/// Returns the addresses that the mesh file gives; of all others it says that they are not known.
#[must_use]
pub fn given_endpoints(mesh: &Mesh) -> Endpoints {
    let given = |cluster: &Cluster| {
        let url = match &cluster.spire {
            Spire::Managed(spire) => match &spire.bundle_endpoint.exposure {
                crate::mesh::Exposure::Url(url) => Some(url),
                _ => None,
            },
            Spire::Existing(existing) => existing.bundle_endpoint_url.as_ref(),
        };
        url.cloned().ok_or_else(|| format!("the bundle endpoint of {} has no address yet", cluster.name))
    };
    mesh.clusters.iter().map(|cluster| (cluster.trust_domain.clone(), given(cluster))).collect()
}

/// Reads the addresses of all bundle endpoints from the clusters.
///
/// # Errors
/// Every cluster that cannot be read.
pub async fn endpoints(members: &[Member]) -> Result<Endpoints, ClusterErrors<FederationError>> {
    let found = each(members, |member| async move {
        let endpoint = match &member.cluster.spire {
            Spire::Managed(spire) => bundle_endpoint(member, spire).await?,
            Spire::Existing(ExistingSpire { bundle_endpoint_url: Some(url), .. }) => {
                Endpoint::Ready(url.clone())
            }
            Spire::Existing(_) => match meant(member).await? {
                Some(found) => found.endpoint(member).await?,
                None => Endpoint::Unexposed("no SPIRE server was found".to_owned()),
            },
        };
        Ok::<_, FederationError>((
            member.cluster.trust_domain.clone(),
            match endpoint {
                Endpoint::Ready(url) => Ok(url),
                Endpoint::Pending(reason) | Endpoint::Unexposed(reason) => {
                    Err(format!("{}: {reason}", member.name()))
                }
            },
        ))
    });
    Ok(found.await.into_all()?.into_iter().collect())
}

/// Returns everything that there has to be in a cluster, with the labels of the mesh. `class_name` is that of the
/// cluster's controller-manager.
#[must_use]
pub fn desired(mesh: &Mesh, cluster: &Cluster, class_name: Option<&str>, endpoints: &Endpoints) -> Desired {
    let mut objects = Vec::new();
    let mut later = Vec::new();
    if let Spire::Managed(spire) = &cluster.spire {
        objects.extend(server_objects(cluster, spire));
        objects.extend(agent_objects(cluster, spire));
    }
    let peers: Vec<TrustDomain> = mesh
        .clusters
        .iter()
        .map(|peer| peer.trust_domain.clone())
        .filter(|domain| *domain != cluster.trust_domain)
        .collect();
    for peer in &peers {
        match endpoints.get(peer) {
            Some(Ok(url)) => objects.push(relationship(class_name, peer, url)),
            unknown => later.push(Later {
                key: ObjectKey::new(
                    manifest::Kind::ClusterFederatedTrustDomain,
                    None,
                    &relationship_name(peer),
                ),
                reason: match unknown {
                    Some(Err(reason)) => reason.clone(),
                    _ => format!("the bundle endpoint of {peer} is not known"),
                },
            }),
        }
    }
    if let Spire::Managed(spire) = &cluster.spire {
        objects.extend(workload_ids(spire, &peers));
    }
    Desired { objects: owner(mesh).stamped(objects), later }
}

/// Returns the class of a cluster's controller-manager: ours, or that of the one that is there.
///
/// # Errors
/// When SPIRE cannot be looked for.
pub async fn class_name(member: &Member) -> Result<Option<String>, FederationError> {
    match &member.cluster.spire {
        Spire::Managed(_) => Ok(Some(CLASS_NAME.to_owned())),
        Spire::Existing(existing) => match meant(member).await? {
            Some(found) => Ok(found.class_name().map(str::to_owned)),
            None => Err(FederationError::NoServer { namespace: existing.server_namespace.clone() }),
        },
    }
}

/// Holds what there has to be against what there is, on all clusters at the same time. Changes nothing.
///
/// # Errors
/// Every cluster that cannot be read, or would refuse an object.
pub async fn plan(mesh: &Mesh, members: &[Member]) -> Result<MeshPlan, ClusterErrors<FederationError>> {
    let endpoints = &endpoints(members).await?;
    let clusters = each(members, |member| async move {
        let class_name = class_name(member).await?;
        let Desired { objects, later } = desired(mesh, &member.cluster, class_name.as_deref(), endpoints);
        let plan = manifest::plan(member.client(), &objects).await?;
        let stale = Vec::new();
        Ok::<_, FederationError>(ClusterPlan { cluster: member.name().to_owned(), plan, later, stale })
    });
    Ok(MeshPlan { mesh: mesh.name.clone(), clusters: clusters.await.into_all()? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::federation::sample::{domain, mesh, url};
    use crate::fleet::fake::FakeServer;

    fn told(desired: &Desired) -> Vec<String> {
        let of_peers = |object: &&Object| {
            matches!(
                object.key().kind,
                manifest::Kind::ClusterFederatedTrustDomain | manifest::Kind::ClusterSPIFFEID
            )
        };
        let object = |object: &Object| {
            let spec = &object.to_value()["spec"];
            format!(
                "{}: {} {} {}",
                object.key(),
                spec["className"],
                spec["bundleEndpointURL"],
                spec["federatesWith"]
            )
        };
        let later = |later: &Later| format!("{} later: {}", later.key, later.reason);
        desired.objects.iter().filter(of_peers).map(object).chain(desired.later.iter().map(later)).collect()
    }

    #[test]
    fn every_cluster_is_told_of_every_other_one() {
        let mesh = mesh();
        let endpoints: Endpoints = [
            (domain("foo"), Ok(url("foo").parse().unwrap())),
            (domain("baz"), Err("baz: its service has no address yet".to_owned())),
        ]
        .into();
        let of = |index: usize, class: &str| {
            let desired = desired(&mesh, &mesh.clusters[index], Some(class), &endpoints);
            let labels =
                |object: &Object| object.to_value()["metadata"]["labels"]["spire-mesh.dev/mesh"] == "example";
            assert!(desired.objects.iter().all(labels));
            told(&desired).join("\n")
        };
        insta::assert_snapshot!(of(0, "spire-mesh"), @r#"
        ClusterSPIFFEID/mesh-workloads: "spire-mesh" null ["bar.com","baz.com"]
        ClusterSPIFFEID/labelled-workloads: "spire-mesh" null ["bar.com","baz.com"]
        ClusterSPIFFEID/agents: "spire-mesh" null ["bar.com","baz.com"]
        ClusterFederatedTrustDomain/bar.com later: the bundle endpoint of bar.com is not known
        ClusterFederatedTrustDomain/baz.com later: baz: its service has no address yet
        "#);
        insta::assert_snapshot!(of(1, "theirs"), @r#"
        ClusterFederatedTrustDomain/foo.com: "theirs" "https://foo.example:8443" null
        ClusterFederatedTrustDomain/baz.com later: baz: its service has no address yet
        "#);
        insta::assert_snapshot!(of(2, "spire-mesh"), @r#"
        ClusterFederatedTrustDomain/foo.com: "spire-mesh" "https://foo.example:8443" null
        ClusterSPIFFEID/mesh-workloads: "spire-mesh" null ["bar.com","foo.com"]
        ClusterSPIFFEID/labelled-workloads: "spire-mesh" null ["bar.com","foo.com"]
        ClusterSPIFFEID/agents: "spire-mesh" null ["bar.com","foo.com"]
        ClusterFederatedTrustDomain/bar.com later: the bundle endpoint of bar.com is not known
        "#);
    }

    #[test]
    fn what_the_mesh_file_gives_is_known_before_anybody_is_asked() {
        let mut mesh = mesh();
        if let Spire::Managed(spire) = &mut mesh.clusters[0].spire {
            spire.bundle_endpoint.exposure = crate::mesh::Exposure::Url(url("foo").parse().unwrap());
        }
        if let Spire::Existing(existing) = &mut mesh.clusters[1].spire {
            existing.bundle_endpoint_url = Some(url("bar").parse().unwrap());
        }
        let given = given_endpoints(&mesh);
        let of = |name: &str| given[&domain(name)].clone().map(|url| url.to_string());
        assert_eq!(of("foo"), Ok(url("foo")));
        assert_eq!(of("bar"), Ok(url("bar")));
        assert_eq!(of("baz"), Err("the bundle endpoint of baz has no address yet".to_owned()));
        assert_eq!(given.len(), 3);
    }

    const SERVICE: &str = "/api/v1/namespaces/spire-server/services/spire-server-bundle";

    /// Puts the service of a bundle endpoint that has an address.
    fn put_service(server: &FakeServer, host: &str) {
        let service = json!({
            "spec": {"type": "LoadBalancer", "ports": [{"port": 8443}]},
            "status": {"loadBalancer": {"ingress": [{"hostname": host}]}},
        });
        server.put(SERVICE, service);
    }

    /// Puts a server that somebody else installed, with a controller-manager of a class of its own.
    fn put_foreign(server: &FakeServer) {
        let containers = json!([{"name": "a", "image": "spire-server:1.15.3"}, {"name": "b", "image": "spire-controller-manager:1"}]);
        server.put(
            "/apis/apps/v1/namespaces/theirs/statefulsets/spire",
            json!({"spec": {
                "serviceName": "spire",
                "selector": {},
                "template": {"spec": {
                    "containers": containers,
                    "volumes": [{"name": "c", "configMap": {"name": "conf"}}],
                }},
            }}),
        );
        server.put(
            "/api/v1/namespaces/theirs/configmaps/conf",
            json!({"data": {"a": "kind: ControllerManagerConfig\nclassName: theirs\n"}}),
        );
    }

    #[tokio::test]
    async fn addresses_are_read_from_every_cluster_and_one_that_is_given_is_believed() {
        let mut mesh = mesh();
        let servers = [(); 3].map(|()| FakeServer::default());
        put_service(&servers[0], "foo.example");
        let members =
            |mesh: &Mesh| [0, 1, 2].map(|index: usize| servers[index].member_of(&mesh.clusters[index]));
        let found = endpoints(&members(&mesh)).await.unwrap();
        assert_eq!(found[&domain("foo")], Ok("https://foo.example:8443".parse().unwrap()));
        assert_eq!(found[&domain("bar")], Err("bar: no SPIRE server was found".to_owned()));
        let waits = "baz: Service spire-server/spire-server-bundle does not exist yet";
        assert_eq!(found[&domain("baz")], Err(waits.to_owned()));
        if let Spire::Existing(existing) = &mut mesh.clusters[1].spire {
            existing.bundle_endpoint_url = Some(url("bar").parse().unwrap());
        }
        let found = endpoints(&members(&mesh)).await.unwrap();
        assert_eq!(found[&domain("bar")], Ok(url("bar").parse().unwrap()));
    }

    #[tokio::test]
    async fn the_class_is_ours_or_that_of_the_controller_manager_that_is_there() {
        let mesh = mesh();
        let class = async |index: usize, server: &FakeServer| {
            class_name(&server.member_of(&mesh.clusters[index])).await
        };
        let nothing = FakeServer::default();
        assert_eq!(class(2, &nothing).await.unwrap().as_deref(), Some("spire-mesh"));
        assert!(matches!(class(1, &nothing).await, Err(FederationError::NoServer { namespace: None })));
        let server = FakeServer::default();
        put_foreign(&server);
        assert_eq!(class(1, &server).await.unwrap().as_deref(), Some("theirs"));
    }

    #[tokio::test]
    async fn a_plan_has_every_cluster_with_what_would_change_and_what_waits_for_an_address() {
        let mesh = mesh();
        let servers = [(); 3].map(|()| FakeServer::default());
        put_service(&servers[0], "foo.example");
        put_service(&servers[2], "baz.example");
        put_foreign(&servers[1]);
        let members = [0, 1, 2].map(|index: usize| servers[index].member_of(&mesh.clusters[index]));
        let plan = plan(&mesh, &members).await.unwrap();
        assert_eq!(plan.mesh, "example");
        let told: Vec<String> = plan
            .clusters
            .iter()
            .map(|cluster| {
                let relationships = cluster.plan.objects.iter().map(|planned| planned.key.to_string());
                let relationships =
                    relationships.filter(|key| key.starts_with("ClusterFederatedTrustDomain"));
                let later = cluster.later.iter().map(|later| format!("{} later", later.key));
                format!("{}: {}", cluster.cluster, relationships.chain(later).collect::<Vec<_>>().join(", "))
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        foo: ClusterFederatedTrustDomain/baz.com, ClusterFederatedTrustDomain/bar.com later
        bar: ClusterFederatedTrustDomain/foo.com, ClusterFederatedTrustDomain/baz.com
        baz: ClusterFederatedTrustDomain/foo.com, ClusterFederatedTrustDomain/bar.com later
        ");
        assert!(servers.iter().all(|server| server.writes().is_empty()), "a plan changes nothing");
    }
}
