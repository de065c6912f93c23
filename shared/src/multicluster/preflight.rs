//! Whether every cluster can take part, asked before anything is changed.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join3;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::plan::owner;
use super::stale;
use super::{ApiServers, CaError, Rendered, ca};
use crate::federation::{self, MeshStatus};
use crate::fleet::{ClusterErrors, Member, Need, RequestError, ask_for, each, list_pages, listed, missing};
use crate::hint::{Advice, Command, Hint, Plugin};
use crate::istio::istiod::image_version;
use crate::istio::version::{IstioVersion, OLDEST};
use crate::istio::{ISTIOD, NAMESPACE, NETWORK_LABEL};
use crate::lease;
use crate::manifest::{Kind, MANAGED_BY_LABEL, MESH_LABEL, NewLoadBalancer, Scope, Tool};
use crate::mesh::Mesh;

/// Why a cluster cannot take part as the mesh file has it. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// Rights are missing.
    #[error("you may not {}", listed(.0))]
    MissingRights(Vec<Need>),
    /// SPIRE is not at work, or not federated.
    #[error("its SPIRE is not ready for a mesh: {}", .0.join("; "))]
    Spire(Vec<String>),
    /// Somebody else installed Istio here.
    #[error(
        "there is an Istio already that this tool did not install: Deployment/{name} in namespace {namespace} ({by})"
    )]
    ForeignIstio {
        /// Namespace of its istiod.
        namespace: String,
        /// Name of its istiod.
        name: String,
        /// Who installed it.
        by: String,
        /// Kubeconfig context of the cluster.
        context: String,
    },
    /// The namespace is somebody else's, and says another network or none.
    #[error(
        "namespace {NAMESPACE} is somebody else's and has {} instead of {NETWORK_LABEL}={wanted}", found.as_deref().unwrap_or("no network label")
    )]
    OtherNetwork {
        /// The label that there is.
        found: Option<String>,
        /// The network in the mesh file.
        wanted: String,
        /// Kubeconfig context of the cluster.
        context: String,
    },
    /// istiod is too old to be replaced.
    #[error("istiod is of version {running}, and {OLDEST} is the oldest that works")]
    TooOld {
        /// What runs.
        running: IstioVersion,
        /// Name of the cluster.
        cluster: String,
    },
    /// istiod is newer than `istioctl`.
    #[error("istiod is of version {running}, and istioctl of {wanted}: that would be a downgrade")]
    Downgrade {
        /// What runs.
        running: IstioVersion,
        /// The version of `istioctl`.
        wanted: IstioVersion,
    },
    /// istiod is too old to be replaced in one step.
    #[error(
        "istiod is of version {running}, and istioctl of {wanted}: Istio is upgraded one minor version at a time"
    )]
    Leap {
        /// What runs.
        running: IstioVersion,
        /// The version of `istioctl`.
        wanted: IstioVersion,
    },
    /// Two clusters would get versions that do not work together.
    #[error(
        "it would get Istio {own}, and {peer} {other}: Istio supports one minor version of difference in a mesh"
    )]
    Apart {
        /// The cluster's version.
        own: IstioVersion,
        /// The other cluster.
        peer: String,
        /// Its version.
        other: IstioVersion,
    },
    /// istiod cannot have the CA that the mesh file names.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// Other clusters cannot reach the API server at the address in the kubeconfig.
    #[error(
        "the istiods of the other clusters cannot reach its API server at {server}: that address is of this machine only"
    )]
    Loopback {
        /// The address.
        server: String,
    },
    /// Services of type `LoadBalancer` get no address.
    #[error("no load balancer has an address here: {} waits for one since {since}", service)]
    NoLoadBalancer {
        /// Namespace and name of a service that waits.
        service: String,
        /// Since when.
        since: String,
    },
    /// The API server could not be asked.
    #[error("cannot read {what}")]
    Request {
        /// What was to be read.
        what: &'static str,
        /// What the API server said.
        source: RequestError,
    },
}

impl Hint for PreflightError {
    fn hint(&self) -> Option<Advice> {
        Some(match self {
            Self::MissingRights(needs) => return ask_for(needs),
            Self::Spire(_) => Advice::from(Plugin::SpireFederate.up())
                .then(", or see what is wrong: ")
                .then(Plugin::SpireFederate.command(["verify"])),
            Self::ForeignIstio { context, .. } => Advice::from(
                "an Istio that gets its identities from istiod is not taken over, and taking it away is an outage for every workload with a \
                 sidecar: leave this cluster out of the mesh file until its workloads can be without a mesh; see which they are: ",
            )
            .then(Command::istioctl(["proxy-status"]).at(context)),
            Self::OtherNetwork { wanted, context, .. } => {
                let label = format!("{NETWORK_LABEL}={wanted}");
                Command::kubectl(["label", "namespace", NAMESPACE, &label, "--overwrite"]).at(context).into()
            }
            Self::TooOld { cluster, .. } => reinstall(cluster),
            Self::Downgrade { .. } => {
                "set istio.istioctl in the mesh file to an istioctl of this version or newer".into()
            }
            Self::Leap { running, .. } => {
                format!("go by way of {}.{}: set istio.istioctl in the mesh file to its istioctl first", running.major, running.minor + 1).into()
            }
            Self::Apart { .. } => "use istioctls that are at most one minor version apart".into(),
            Self::Loopback { .. } => {
                "set endpoint.server of this cluster in the mesh file to an address that the other clusters' pods reach".into()
            }
            Self::NoLoadBalancer { service, .. } => {
                let (namespace, name) = service.split_once('/').unwrap_or(("default", service));
                Advice::from("install a load balancer controller (on EKS: the AWS Load Balancer Controller), and see: ")
                    .then(Command::kubectl(["-n", namespace, "describe", "service", name]))
            }
            Self::Ca(error) => return error.hint(),
            Self::Request { .. } => return None,
        })
    }
}

/// Checks on all clusters at the same time that they can take part, and changes nothing.
///
/// # Errors
/// Every cluster that cannot, with the reason.
pub async fn preflight(
    mesh: &Mesh,
    members: &[Member],
    (rendered, servers): (&[Rendered], &ApiServers),
    scope: Scope,
) -> Result<(), ClusterErrors<PreflightError>> {
    // First: without rights the rest could only be refused.
    each(members, |member| rights(mesh, member, rendered, scope)).await.into_all()?;
    let status = &MeshStatus::of(&federation::observe(mesh, members, &BTreeMap::new()).await);
    each(members, |member| async move {
        spire(status, member.name())?;
        versions(member.name(), rendered)?;
        let address = servers.get(member.name()).map(|url| url.as_str().to_owned()).unwrap_or_default();
        if is_loopback(&address) {
            return Err(PreflightError::Loopback { server: address });
        }
        let looked = (existing(mesh, member, rendered), network(mesh, member), load_balancers(member));
        try_join3(looked.0, looked.1, looked.2).await?;
        Ok(ca::can_be_had(member).await?)
    })
    .await
    .into_all()
    .map(drop)
}

/// What applying objects takes: server-side apply of a new one is a patch and a create.
const APPLIED: [&str; 3] = ["get", "create", "patch"];

async fn rights(
    mesh: &Mesh,
    member: &Member,
    rendered: &[Rendered],
    scope: Scope,
) -> Result<(), PreflightError> {
    let objects = rendered.iter().filter(|rendered| rendered.cluster == member.name());
    let places: BTreeSet<(Kind, Option<String>)> = objects
        .flat_map(|rendered| &rendered.objects)
        .map(|object| (object.key().kind, object.key().namespace.clone()))
        .collect();
    let needed = |verbs: &[&str], kind: Kind, namespace: Option<&str>| -> Vec<Need> {
        verbs.iter().map(|verb| Need::new(verb, kind.group(), kind.plural(), namespace)).collect()
    };
    let (of_rendered, listed): (&[&str], Vec<Kind>) = match scope {
        // What is no longer wanted is found by listing everything that there may be.
        Scope::Everything => (&APPLIED, stale::kinds().collect()),
        Scope::Live => (&["get"], Vec::new()),
    };
    // An istiod that expects the wrong identities is started again.
    let restarted = Need::new("patch", "apps", "deployments", Some(NAMESPACE));
    let mut needs: Vec<Need> = places
        .iter()
        .flat_map(|(kind, namespace)| needed(of_rendered, *kind, namespace.as_deref()))
        .collect();
    needs.extend(needed(&APPLIED, Kind::Secret, Some(NAMESPACE)));
    needs.extend(listed.into_iter().flat_map(|kind| needed(&["list"], kind, None)));
    needs.extend([
        restarted,
        Need::new("list", "", "pods", None),
        Need::new("list", "", "secrets", Some(NAMESPACE)),
        // The way is tried by a command in the east-west gateway; istiod and proxies are asked at their own ports.
        Need::exec(Some(NAMESPACE)),
        Need::forward(None),
    ]);
    needs.extend(ca::needs(member));
    needs.extend(lease::needs(&mesh.name));
    have(member, &needs).await
}

pub(super) async fn have(member: &Member, needs: &[Need]) -> Result<(), PreflightError> {
    let missing = missing(member, needs)
        .await
        .map_err(|source| PreflightError::Request { what: "your rights", source })?;
    if missing.is_empty() { Ok(()) } else { Err(PreflightError::MissingRights(missing)) }
}

/// Refuses a cluster whose SPIRE would leave sidecars without an identity or without a peer's bundle.
fn spire(status: &MeshStatus, name: &str) -> Result<(), PreflightError> {
    let own = status.clusters.iter().filter(|cluster| cluster.cluster == name);
    let mut problems: Vec<String> = own
        .flat_map(|cluster| match &cluster.spire {
            None if cluster.problems.is_empty() => vec!["there is no SPIRE server".to_owned()],
            _ => cluster.problems.clone(),
        })
        .collect();
    let pairs = status.relationships.iter().filter(|pair| pair.from == name);
    let broken = pairs.filter(|pair| pair.state != federation::RelationshipState::Current);
    problems.extend(broken.map(|pair| format!("its trust in {} is {}", pair.to, pair.state.as_str())));
    if problems.is_empty() { Ok(()) } else { Err(PreflightError::Spire(problems)) }
}

/// Returns how an Istio goes that cannot be replaced in place.
pub(super) fn reinstall(cluster: &str) -> Advice {
    Advice::from("remove it, and install it again: ")
        .then(Plugin::MeshInstall.command(["down", cluster]))
        .then(", then: ")
        .then(Plugin::MeshInstall.up())
}

fn versions(name: &str, rendered: &[Rendered]) -> Result<(), PreflightError> {
    let Some(own) = rendered.iter().find(|rendered| rendered.cluster == name) else { return Ok(()) };
    match rendered.iter().find(|other| !own.version.works_with(other.version)) {
        Some(other) => {
            Err(PreflightError::Apart { own: own.version, peer: other.cluster.clone(), other: other.version })
        }
        None => Ok(()),
    }
}

fn is_loopback(server: &str) -> bool {
    let host = server.trim_start_matches("https://");
    let host = host.split('/').next().unwrap_or_default();
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.split(']').next())
        .unwrap_or_else(|| host.split(':').next().unwrap_or_default());
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Refuses an Istio of somebody else's, and versions that cannot follow on what runs.
async fn existing(mesh: &Mesh, member: &Member, rendered: &[Rendered]) -> Result<(), PreflightError> {
    let deployments: Api<Deployment> = Api::all(member.client().clone());
    let params = ListParams::default().labels(&format!("app={ISTIOD}"));
    let list = deployments
        .list(&params)
        .await
        .map_err(|error| PreflightError::Request { what: "deployments of istiod", source: error.into() })?;
    let owner = owner(mesh);
    for deployment in &list.items {
        let label = |name: &str| deployment.labels().get(name).map(String::as_str);
        let ours = label(MANAGED_BY_LABEL) == Some(owner.tool.name());
        if !ours || label(MESH_LABEL) != Some(&owner.mesh) {
            let by = match (ours, label(MESH_LABEL), label(MANAGED_BY_LABEL)) {
                (true, Some(other), _) => format!("{} for mesh {other}", Tool::MeshInstall.name()),
                (_, _, Some(manager)) => manager.to_owned(),
                _ => "somebody else".to_owned(),
            };
            return Err(PreflightError::ForeignIstio {
                namespace: deployment.namespace().unwrap_or_default(),
                name: deployment.name_any(),
                by,
                context: member.cluster.context.clone(),
            });
        }
        let wanted = rendered.iter().find(|rendered| rendered.cluster == member.name());
        if let (Some(running), Some(wanted)) = (version(deployment), wanted.map(|wanted| wanted.version)) {
            follows(member.name(), running, wanted)?;
        }
    }
    Ok(())
}

fn follows(cluster: &str, running: IstioVersion, wanted: IstioVersion) -> Result<(), PreflightError> {
    if running < OLDEST {
        return Err(PreflightError::TooOld { running, cluster: cluster.to_owned() });
    }
    if wanted < running {
        return Err(PreflightError::Downgrade { running, wanted });
    }
    if running.works_with(wanted) { Ok(()) } else { Err(PreflightError::Leap { running, wanted }) }
}

fn version(deployment: &Deployment) -> Option<IstioVersion> {
    let containers = &deployment.spec.as_ref()?.template.spec.as_ref()?.containers;
    containers.iter().filter_map(|container| container.image.as_deref()).find_map(image_version)
}

/// A namespace of somebody else's is used as it is, so it has to say the right network.
async fn network(mesh: &Mesh, member: &Member) -> Result<(), PreflightError> {
    let namespaces: Api<Namespace> = Api::all(member.client().clone());
    let found = namespaces
        .get_opt(NAMESPACE)
        .await
        .map_err(|error| PreflightError::Request { what: "namespace istio-system", source: error.into() })?;
    let Some(namespace) = found else { return Ok(()) };
    let label = |name: &str| namespace.labels().get(name).map(String::as_str);
    let owner = owner(mesh);
    if label(MANAGED_BY_LABEL) == Some(owner.tool.name()) && label(MESH_LABEL) == Some(&owner.mesh) {
        return Ok(());
    }
    let wanted = &member.cluster.network;
    match label(NETWORK_LABEL) {
        Some(found) if found == wanted => Ok(()),
        found => Err(PreflightError::OtherNetwork {
            found: found.map(|found| format!("{NETWORK_LABEL}={found}")),
            wanted: wanted.clone(),
            context: member.cluster.context.clone(),
        }),
    }
}

/// Refuses a cluster in which services of type `LoadBalancer` wait, and none has got an address. Where there is no such service,
/// nothing is known.
async fn load_balancers(member: &Member) -> Result<(), PreflightError> {
    let services: Api<Service> = Api::all(member.client().clone());
    let balanced = |service: Service| {
        let kind = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
        (kind == Some("LoadBalancer")).then_some(service)
    };
    let balanced = list_pages(&services, &ListParams::default(), balanced)
        .await
        .map_err(|error| PreflightError::Request { what: "services", source: error.into() })?;
    let (served, waiting): (Vec<&Service>, Vec<&Service>) =
        balanced.iter().partition(|service| has_address(service));
    let is_late = |service: &&&Service| NewLoadBalancer::of(service, Timestamp::now()).is_none();
    let oldest = waiting
        .iter()
        .filter(is_late)
        .min_by_key(|service| service.metadata.creation_timestamp.as_ref().map(|time| time.0));
    match (served.is_empty(), oldest) {
        (true, Some(service)) => Err(PreflightError::NoLoadBalancer {
            service: format!("{}/{}", service.namespace().unwrap_or_default(), service.name_any()),
            since: service
                .metadata
                .creation_timestamp
                .as_ref()
                .map(|time| time.0.to_string())
                .unwrap_or_default(),
        }),
        _ => Ok(()),
    }
}

fn has_address(service: &Service) -> bool {
    let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    ingress.is_some_and(|ingress| !ingress.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fleet::fake::FakeServer;

    #[test]
    fn an_address_of_this_machine_is_told_from_others() {
        for server in ["https://127.0.0.1:6443", "https://localhost:6443/", "https://[::1]:6443"] {
            assert!(is_loopback(server), "{server}");
        }
        for server in ["https://10.2.0.10:6443", "https://x.eks.amazonaws.com", "https://[fd00::1]:1", ""] {
            assert!(!is_loopback(server), "{server}");
        }
    }

    #[test]
    fn istio_is_upgraded_one_minor_version_at_a_time() {
        let follow = |running: &str, wanted: &str| {
            follows("foo", running.parse().unwrap(), wanted.parse().unwrap())
                .map_err(|error| error.to_string())
        };
        assert!(follow("1.30.2", "1.31.0").is_ok() && follow("1.31.0", "1.31.0").is_ok());
        insta::assert_snapshot!(follow("1.31.0", "1.30.2").unwrap_err(), @"istiod is of version 1.31.0, and istioctl of 1.30.2: that would be a downgrade");
        insta::assert_snapshot!(follow("1.28.4", "1.29.2").unwrap_err(), @"istiod is of version 1.28.4, and 1.29.0 is the oldest that works");
        insta::assert_snapshot!(follow("1.29.0", "1.31.0").unwrap_err(), @"istiod is of version 1.29.0, and istioctl of 1.31.0: Istio is upgraded one minor version at a time");
    }

    fn rendered(cluster: &str, version: &str) -> Rendered {
        Rendered { cluster: cluster.to_owned(), version: version.parse().unwrap(), objects: Vec::new() }
    }

    fn mesh() -> Mesh {
        let text = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: devup}\nspec:\n  clusters:\n  \
             - {name: foo, trustDomain: foo.com}\n  - {name: bar, trustDomain: bar.com}\n  - {name: baz, trustDomain: baz.com}\n";
        Mesh::parse(text, "test").unwrap()
    }

    fn told<T>(result: Result<T, PreflightError>) -> String {
        result.map_or_else(
            |error| format!("{error}\n  hint: {}", error.hint().unwrap_or_default()),
            |_| "fine".to_owned(),
        )
    }

    #[test]
    fn versions_have_to_work_together_with_those_of_every_other_cluster() {
        let all = [rendered("foo", "1.31.0"), rendered("bar", "1.30.4"), rendered("baz", "1.29.2")];
        insta::assert_snapshot!(told(versions("foo", &all)), @r"
        it would get Istio 1.31.0, and baz 1.29.2: Istio supports one minor version of difference in a mesh
          hint: use istioctls that are at most one minor version apart
        ");
        insta::assert_snapshot!(told(versions("bar", &all)), @"fine");
        insta::assert_snapshot!(told(versions("baz", &all)), @r"
        it would get Istio 1.29.2, and foo 1.31.0: Istio supports one minor version of difference in a mesh
          hint: use istioctls that are at most one minor version apart
        ");
        assert!(versions("foo", &all[..2]).is_ok() && versions("qux", &all).is_ok());
    }

    fn spire_of(name: &str, problems: &[&str], has_spire: bool) -> federation::ClusterStatus {
        federation::ClusterStatus {
            cluster: name.to_owned(),
            context: name.to_owned(),
            trust_domain: format!("{name}.com").parse().unwrap(),
            managed: true,
            spire: has_spire.then(|| federation::SpireStatus {
                server_version: String::new(),
                server_pod: String::new(),
                agents: None,
                nodes: Vec::new(),
                entries: 0,
                ca: None,
                upstream_authority: None,
                authorities: Vec::new(),
                bundle_endpoint: None,
            }),
            problems: problems.iter().map(|problem| (*problem).to_owned()).collect(),
        }
    }

    fn trust(from: &str, to: &str, state: federation::RelationshipState) -> federation::RelationshipStatus {
        federation::RelationshipStatus {
            from: from.to_owned(),
            to: to.to_owned(),
            state,
            url: None,
            mutual: None,
            stored_authorities: Vec::new(),
            live_authorities: None,
            refresh: federation::Refresh {
                state: federation::RefreshState::Works,
                not_before: None,
                known_from: String::new(),
            },
            locked_out_after: None,
        }
    }

    #[test]
    fn a_cluster_takes_part_where_its_own_spire_is_at_work_and_trusts_every_peer() {
        use federation::RelationshipState::{Behind, Current};
        let status = |baz: federation::ClusterStatus, state| MeshStatus {
            mesh: "devup".to_owned(),
            clusters: vec![spire_of("foo", &["its agents are gone"], true), spire_of("bar", &[], true), baz],
            relationships: vec![
                trust("foo", "bar", Behind),
                trust("baz", "foo", Current),
                trust("baz", "bar", state),
            ],
        };
        let of = |baz, state| told(spire(&status(baz, state), "baz"));
        assert_eq!(of(spire_of("baz", &[], true), Current), "fine");
        insta::assert_snapshot!(of(spire_of("baz", &[], true), Behind), @r"
        its SPIRE is not ready for a mesh: its trust in bar is behind
          hint: kubectl spire-federate, or see what is wrong: kubectl spire-federate verify
        ");
        insta::assert_snapshot!(of(spire_of("baz", &[], false), Current), @r"
        its SPIRE is not ready for a mesh: there is no SPIRE server
          hint: kubectl spire-federate, or see what is wrong: kubectl spire-federate verify
        ");
        insta::assert_snapshot!(of(spire_of("baz", &["no route"], false), Current), @r"
        its SPIRE is not ready for a mesh: no route
          hint: kubectl spire-federate, or see what is wrong: kubectl spire-federate verify
        ");
        insta::assert_snapshot!(of(spire_of("baz", &["the server waits", "an agent waits"], true), Behind), @r"
        its SPIRE is not ready for a mesh: the server waits; an agent waits; its trust in bar is behind
          hint: kubectl spire-federate, or see what is wrong: kubectl spire-federate verify
        ");
    }

    fn istiod(labels: &Value, image: &str) -> Value {
        let mut all = json!({"app": "istiod"});
        all.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
        json!({
            "metadata": {"labels": all},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "a"}, {"name": "discovery", "image": image}]}}},
        })
    }

    #[tokio::test]
    async fn an_istio_of_somebody_else_and_one_that_cannot_be_followed_are_refused() {
        let found = |deployment: Option<Value>| async move {
            let server = FakeServer::default();
            server.put(
                "/apis/apps/v1/namespaces/shop/deployments/cart",
                json!({"metadata": {"labels": {"app": "cart"}}}),
            );
            if let Some(deployment) = deployment {
                server.put("/apis/apps/v1/namespaces/istio-system/deployments/istiod", deployment);
            }
            let wanted = [rendered("foo", "1.27.0"), rendered("baz", "1.31.0")];
            told(existing(&mesh(), &server.member("baz"), &wanted).await)
        };
        let ours = json!({"app.kubernetes.io/managed-by": "mesh-install", "spire-mesh.dev/mesh": "devup"});
        assert_eq!(found(None).await, "fine");
        assert_eq!(found(Some(istiod(&ours, "pilot:1.30.0"))).await, "fine");
        assert_eq!(found(Some(istiod(&ours, "pilot:latest"))).await, "fine");
        insta::assert_snapshot!(found(Some(istiod(&ours, "pilot:1.29.0"))).await, @r"
        istiod is of version 1.29.0, and istioctl of 1.31.0: Istio is upgraded one minor version at a time
          hint: go by way of 1.30: set istio.istioctl in the mesh file to its istioctl first
        ");
        insta::assert_snapshot!(found(Some(istiod(&json!({}), "pilot:1.31.0"))).await, @r"
        there is an Istio already that this tool did not install: Deployment/istiod in namespace istio-system (somebody else)
          hint: an Istio that gets its identities from istiod is not taken over, and taking it away is an outage for every workload with a sidecar: leave this cluster out of the mesh file until its workloads can be without a mesh; see which they are: istioctl --context baz proxy-status
        ");
        let helm = json!({"app.kubernetes.io/managed-by": "Helm", "spire-mesh.dev/mesh": "devup"});
        insta::assert_snapshot!(found(Some(istiod(&helm, "pilot:1.31.0"))).await, @r"
        there is an Istio already that this tool did not install: Deployment/istiod in namespace istio-system (Helm)
          hint: an Istio that gets its identities from istiod is not taken over, and taking it away is an outage for every workload with a sidecar: leave this cluster out of the mesh file until its workloads can be without a mesh; see which they are: istioctl --context baz proxy-status
        ");
        let other = json!({"app.kubernetes.io/managed-by": "mesh-install", "spire-mesh.dev/mesh": "other"});
        insta::assert_snapshot!(found(Some(istiod(&other, "pilot:1.31.0"))).await, @r"
        there is an Istio already that this tool did not install: Deployment/istiod in namespace istio-system (mesh-install for mesh other)
          hint: an Istio that gets its identities from istiod is not taken over, and taking it away is an outage for every workload with a sidecar: leave this cluster out of the mesh file until its workloads can be without a mesh; see which they are: istioctl --context baz proxy-status
        ");
    }

    #[tokio::test]
    async fn a_namespace_of_somebody_else_has_to_say_the_network() {
        let found = |labels: Option<Value>| async move {
            let server = FakeServer::default();
            if let Some(labels) = labels {
                server.put("/api/v1/namespaces/istio-system", json!({"metadata": {"labels": labels}}));
            }
            told(network(&mesh(), &server.member("baz")).await)
        };
        assert_eq!(found(None).await, "fine");
        assert_eq!(found(Some(json!({"topology.istio.io/network": "baz"}))).await, "fine");
        let ours = json!({"app.kubernetes.io/managed-by": "mesh-install", "spire-mesh.dev/mesh": "devup"});
        assert_eq!(found(Some(ours)).await, "fine");
        insta::assert_snapshot!(found(Some(json!({"app.kubernetes.io/managed-by": "mesh-install"}))).await, @r"
        namespace istio-system is somebody else's and has no network label instead of topology.istio.io/network=baz
          hint: kubectl --context baz label namespace istio-system topology.istio.io/network=baz --overwrite
        ");
        insta::assert_snapshot!(found(Some(json!({"spire-mesh.dev/mesh": "devup", "topology.istio.io/network": "vpc"}))).await, @r"
        namespace istio-system is somebody else's and has topology.istio.io/network=vpc instead of topology.istio.io/network=baz
          hint: kubectl --context baz label namespace istio-system topology.istio.io/network=baz --overwrite
        ");
    }

    #[tokio::test]
    async fn load_balancers_that_all_wait_get_no_address() {
        let service = |kind: &str, made: &str, ingress: Value| {
            json!({
                "metadata": {"creationTimestamp": made},
                "spec": {"type": kind}, "status": {"loadBalancer": {"ingress": ingress}},
            })
        };
        let found = |services: Vec<(&'static str, Value)>| async move {
            let server = FakeServer::default();
            for (name, service) in services {
                server.put(&format!("/api/v1/namespaces/shop/services/{name}"), service);
            }
            told(load_balancers(&server.member("baz")).await)
        };
        let (early, late) = ("2026-11-25T10:00:00Z", "2026-11-25T11:00:00Z");
        let waits = |made| service("LoadBalancer", made, Value::Null);
        let served = || service("LoadBalancer", early, json!([{"ip": "10.0.0.1"}]));
        let plain = || service("ClusterIP", early, Value::Null);
        assert_eq!(found(vec![]).await, "fine");
        assert_eq!(found(vec![("a", plain())]).await, "fine");
        let just_now = Timestamp::now().to_string();
        assert_eq!(found(vec![("a", waits(&just_now))]).await, "fine", "it may still come");
        assert_eq!(found(vec![("a", waits(early)), ("b", served())]).await, "fine");
        insta::assert_snapshot!(found(vec![("a", waits(late)), ("b", waits(early)), ("c", plain())]).await, @r"
        no load balancer has an address here: shop/b waits for one since 2026-11-25T10:00:00Z
          hint: install a load balancer controller (on EKS: the AWS Load Balancer Controller), and see: kubectl --context CONTEXT -n shop describe service b
        ");
        assert_ne!(found(vec![("a", service("LoadBalancer", early, json!([])))]).await, "fine");
    }

    #[tokio::test]
    async fn every_right_that_an_installation_takes_is_asked_for() {
        let refused_of = |right: &'static str, scope: Scope| async move {
            let server = FakeServer::default();
            server.forbid(right);
            let object = |cluster: &str, kind: &str| {
                let value =
                    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", "namespace": "x"}});
                let objects = vec![crate::manifest::Object::from_value(value).unwrap()];
                Rendered { objects, ..rendered(cluster, "1.31.0") }
            };
            let all = [object("foo", "ConfigMap"), object("baz", "ServiceAccount")];
            told(rights(&mesh(), &server.member("baz"), &all, scope).await)
        };
        let refused = |right: &'static str| refused_of(right, Scope::Everything);
        assert_eq!(refused("x").await, "fine");
        for right in [
            "create secrets",
            "patch serviceaccounts",
            "get serviceaccounts",
            "list configmaps",
            "list pods",
            "list secrets",
            "get pods/exec",
            "get pods/portforward",
            "create leases",
            "update leases",
        ] {
            assert_ne!(refused(right).await, "fine", "{right}");
        }
        assert_eq!(refused("patch configmaps").await, "fine", "it is of another cluster");
        // What others have applied is looked at only.
        for right in ["patch serviceaccounts", "list configmaps"] {
            assert_eq!(refused_of(right, Scope::Live).await, "fine", "{right}");
        }
        for right in [
            "create secrets",
            "patch secrets",
            "patch deployments",
            "get serviceaccounts",
            "list secrets",
            "create leases",
        ] {
            assert_ne!(refused_of(right, Scope::Live).await, "fine", "{right}");
        }
    }
}
