use std::collections::BTreeMap;

use super::FederationError;
use super::locate::meant;
use crate::fleet::{ClusterErrors, Member, each};
use crate::manifest::{self, ClusterPlan, Kind, Later, MeshPlan, Object, ObjectKey, Owner, Scope, Tool};
use crate::mesh::{Cluster, EndpointUrl, ExistingSpire, Exposure, Mesh, Spire};
use crate::spire::desired::{
    CLASS_NAME, agent_objects, relationship, relationship_name, server_objects, workload_ids,
};
use crate::spire::endpoint::{Endpoint, bundle_endpoint};
use crate::trust::TrustDomain;

/// Everything that there has to be in one cluster.
#[derive(Clone, Debug, PartialEq)]
struct Desired {
    /// What the mesh file alone says, in the order in which to apply it.
    rendered: Vec<Object>,
    /// What depends on what is in the clusters, in the order in which to apply it. It comes after the rest.
    live: Vec<Object>,
    /// Of that, what is not known yet.
    later: Vec<Later>,
}

/// What the mesh file alone says of one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The objects, in the order in which to apply them.
    pub objects: Vec<Object>,
    /// The objects that depend on what is in the clusters, and on what.
    pub later: Vec<Later>,
}

/// Returns the owner of everything that is made here.
pub(super) fn owner(mesh: &Mesh) -> Owner {
    Owner::new(Tool::SpireFederate, mesh.name.clone())
}

/// Where the bundle endpoint of each trust domain is, or why that is not known yet.
type Endpoints = BTreeMap<TrustDomain, Result<EndpointUrl, String>>;

/// Returns the address of a cluster's bundle endpoint where the mesh file gives it.
fn given(cluster: &Cluster) -> Option<&EndpointUrl> {
    match &cluster.spire {
        Spire::Managed(spire) => match &spire.bundle_endpoint.exposure {
            Exposure::Url(url) => Some(url),
            _ => None,
        },
        Spire::Existing(existing) => existing.bundle_endpoint_url.as_ref(),
    }
}

/// Tells whether the mesh file alone says what a cluster's relationship with a peer is: where the peer's bundle endpoint is, and of which
/// class the cluster's controller-manager is.
pub(super) fn is_rendered(own: &Cluster, peer: &Cluster) -> bool {
    matches!(own.spire, Spire::Managed(_)) && given(peer).is_some()
}

/// Reads the addresses of all bundle endpoints from the clusters.
///
/// # Errors
/// Every cluster that cannot be read.
async fn endpoints(members: &[Member]) -> Result<Endpoints, ClusterErrors<FederationError>> {
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
fn desired(mesh: &Mesh, cluster: &Cluster, class_name: Option<&str>, endpoints: &Endpoints) -> Desired {
    let (mut rendered, mut live, mut later) = (Vec::new(), Vec::new(), Vec::new());
    if let Spire::Managed(spire) = &cluster.spire {
        rendered.extend(server_objects(cluster, spire));
        rendered.extend(agent_objects(cluster, spire));
    }
    let peers = mesh.clusters.iter().filter(|peer| peer.trust_domain != cluster.trust_domain);
    for peer in peers.clone() {
        let domain = &peer.trust_domain;
        match endpoints.get(domain) {
            Some(Ok(url)) => {
                let part = if is_rendered(cluster, peer) { &mut rendered } else { &mut live };
                part.push(relationship(class_name, domain, url));
            }
            unknown => later.push(Later {
                key: ObjectKey::new(Kind::ClusterFederatedTrustDomain, None, &relationship_name(domain)),
                reason: match unknown {
                    Some(Err(reason)) => reason.clone(),
                    _ => format!("the bundle endpoint of {domain} is not known"),
                },
            }),
        }
    }
    if let Spire::Managed(spire) = &cluster.spire {
        let peers: Vec<TrustDomain> = peers.map(|peer| peer.trust_domain.clone()).collect();
        live.extend(workload_ids(spire, &peers));
    }
    let owner = owner(mesh);
    Desired { rendered: owner.stamped(rendered), live: owner.stamped(live), later }
}

/// Returns what the mesh file alone says of a cluster, and what is left out of it: nothing is rendered with a value that would have to be
/// read, or at a time at which it would do harm. Asks no cluster.
#[must_use]
pub fn render(mesh: &Mesh, cluster: &Cluster) -> Rendered {
    let address = |cluster: &Cluster| {
        given(cluster).cloned().ok_or_else(|| {
            format!("the address of the bundle endpoint of {} is read from that cluster", cluster.name)
        })
    };
    let given = mesh.clusters.iter().map(|cluster| (cluster.trust_domain.clone(), address(cluster)));
    let class_name = matches!(cluster.spire, Spire::Managed(_)).then_some(CLASS_NAME);
    let Desired { rendered, live, mut later } = desired(mesh, cluster, class_name, &given.collect());
    later.extend(live.iter().map(|object| {
        let key = object.key().clone();
        let reason = match key.kind {
            Kind::ClusterSPIFFEID => {
                "pods get no identity from it while the server lacks the bundle of a peer, so the bundles come first"
            }
            _ => "the class of its spire-controller-manager is read from the cluster",
        };
        Later { key, reason: reason.to_owned() }
    }));
    Rendered { objects: rendered, later }
}

/// Returns the class of a cluster's controller-manager: ours, or that of the one that is there.
///
/// # Errors
/// When SPIRE cannot be looked for.
async fn class_name(member: &Member) -> Result<Option<String>, FederationError> {
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
/// Every cluster that cannot be read, or would refuse an object; with [`Scope::Live`] also those in which what [`render`] gives is not there.
pub async fn plan(
    mesh: &Mesh,
    members: &[Member],
    scope: Scope,
) -> Result<MeshPlan, ClusterErrors<FederationError>> {
    let endpoints = &endpoints(members).await?;
    let clusters = each(members, |member| async move {
        let class_name = class_name(member).await?;
        let Desired { rendered, live, later } =
            desired(mesh, &member.cluster, class_name.as_deref(), endpoints);
        let objects = match scope {
            Scope::Everything => [rendered, live].concat(),
            Scope::Live => {
                manifest::expect_applied(member.client(), &rendered).await?;
                live
            }
        };
        let plan = manifest::plan(member.client(), &objects).await?;
        let stale = Vec::new();
        Ok::<_, FederationError>(ClusterPlan { cluster: member.name().to_owned(), plan, later, stale })
    });
    Ok(MeshPlan { mesh: mesh.name.clone(), scope, clusters: clusters.await.into_all()? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::federation::sample::{domain, mesh, url};
    use crate::fleet::fake::FakeServer;

    fn told(desired: &Desired) -> Vec<String> {
        let of_peers = |object: &&Object| {
            matches!(object.key().kind, Kind::ClusterFederatedTrustDomain | Kind::ClusterSPIFFEID)
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
        let objects = desired.rendered.iter().chain(&desired.live).filter(of_peers).map(object);
        objects.chain(desired.later.iter().map(later)).collect()
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
            assert!(desired.rendered.iter().chain(&desired.live).all(labels));
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

    /// The mesh of the sample, in which the file gives the addresses of foo and bar.
    fn with_addresses() -> Mesh {
        let mut mesh = mesh();
        if let Spire::Managed(spire) = &mut mesh.clusters[0].spire {
            spire.bundle_endpoint.exposure = Exposure::Url(url("foo").parse().unwrap());
        }
        if let Spire::Existing(existing) = &mut mesh.clusters[1].spire {
            existing.bundle_endpoint_url = Some(url("bar").parse().unwrap());
        }
        mesh
    }

    #[test]
    fn what_the_mesh_file_says_is_rendered_and_the_rest_says_what_it_depends_on() {
        let told = |mesh: &Mesh, index: usize| {
            let Rendered { objects, later } = render(mesh, &mesh.clusters[index]);
            let written: Vec<String> = objects
                .iter()
                .filter(|object| object.key().kind.group() == "spire.spiffe.io")
                .map(|object| format!("{}: {}", object.key(), object.to_value()["spec"]["bundleEndpointURL"]))
                .collect();
            let later = later.iter().map(|later| format!("{} later: {}", later.key, later.reason));
            let count = format!("{} objects of {}", objects.len(), mesh.clusters[index].name);
            std::iter::once(count).chain(written).chain(later).collect::<Vec<_>>().join("\n")
        };
        let (plain, given) = (mesh(), with_addresses());
        let all = [told(&plain, 0), told(&given, 0), told(&given, 1), told(&given, 2)];
        insta::assert_snapshot!(all.join("\n\n"));
    }

    #[tokio::test]
    async fn of_what_is_rendered_nothing_is_planned_where_somebody_else_applies_it_and_all_of_it_is_missed() {
        let mesh = with_addresses();
        let servers = [(); 3].map(|()| FakeServer::default());
        put_foreign(&servers[1]);
        let members = [0, 1, 2].map(|index: usize| servers[index].member_of(&mesh.clusters[index]));
        let errors = plan(&mesh, &members, Scope::Live).await.unwrap_err();
        insta::assert_snapshot!(errors.to_string());

        for (server, cluster) in servers.iter().zip(&mesh.clusters) {
            for object in render(&mesh, cluster).objects {
                server.put(&path(object.key()), object.to_value());
            }
        }
        let mut service = servers[2].object(SERVICE).unwrap();
        service["status"] = json!({"loadBalancer": {"ingress": [{"hostname": "baz.example"}]}});
        servers[2].put(SERVICE, service);
        let plan = plan(&mesh, &members, Scope::Live).await.unwrap();
        let told: Vec<String> = plan
            .clusters
            .iter()
            .flat_map(|cluster| {
                cluster.plan.objects.iter().map(|planned| format!("{}: {}", cluster.cluster, planned.key))
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
        assert!(plan.clusters.iter().all(|cluster| cluster.later.is_empty()));
        assert!(servers.iter().all(|server| server.writes().is_empty()), "a plan changes nothing");
    }

    /// Where the API server has an object.
    fn path(key: &ObjectKey) -> String {
        let api = if key.kind.group().is_empty() { "/api" } else { "/apis" };
        let api = format!("{api}/{}", key.kind.api_version());
        let namespace = key.namespace.as_ref().map(|name| format!("/namespaces/{name}")).unwrap_or_default();
        format!("{api}{namespace}/{}/{}", key.kind.plural(), key.name)
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
        let plan = plan(&mesh, &members, Scope::Everything).await.unwrap();
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
