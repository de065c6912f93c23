mod existing;
mod removal;
mod skew;
#[cfg(test)]
mod tests;
mod upstream;

use std::collections::BTreeSet;

use futures::future::try_join3;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};
use semver::Version;

pub use removal::{preflight_down, preflight_removal};

use super::locate::meant;
use crate::fleet::{ClusterErrors, Member, Need, RequestError, ask_for, each, listed, missing};
use crate::hint::{Advice, Command, Hint, Plugin};
use crate::lease;
use crate::manifest::{Kind, Scope};
use crate::mesh::{Cluster, Exposure, ManagedSpire, Mesh, Spire, UpstreamAuthority};
use crate::spire::desired::{OLDEST_KUBERNETES, agent_objects, server_objects};
use crate::spire::discovery::{DiscoveryError, FoundSpire, FoundUpstream, servers};
use crate::spire::upstream::IssuerRef;
use crate::trust::TrustDomain;

/// The annotation that makes a storage class the default.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// Why a cluster cannot take part as the mesh file has it. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// Rights are missing.
    #[error("you may not {}", listed(.0))]
    MissingRights(Vec<Need>),
    /// Somebody else installed SPIRE here.
    #[error("there is a SPIRE already that this tool did not install: {}", describe(.0))]
    ForeignSpire(Box<FoundSpire>),
    /// It has the labels of this mesh, and stands where this mesh has none.
    #[error("a SPIRE with the labels of this mesh is not where the mesh file has it, in namespace {namespace}: {}", describe(.found))]
    Elsewhere {
        /// Where the mesh file has the server.
        namespace: String,
        /// What was found.
        found: Box<FoundSpire>,
    },
    /// SPIRE was installed by these plugins for another mesh.
    #[error("its SPIRE ({}) belongs to mesh {mesh}", describe(.found))]
    OtherMesh {
        /// Name of that mesh.
        mesh: String,
        /// What was found.
        found: Box<FoundSpire>,
    },
    /// `managed: false`, and nothing passes relationships on to the server.
    #[error("its SPIRE ({}) has no spire-controller-manager in its pod, so nothing passes relationships on to the server", describe(.0))]
    NoControllerManager(Box<FoundSpire>),
    /// `managed: false`, and the controller-manager passes over relationships.
    #[error("the spire-controller-manager of its SPIRE ({}) passes over relationships: its configuration has {setting}", describe(.found))]
    PassedOver {
        /// What its configuration says.
        setting: String,
        /// What was found.
        found: Box<FoundSpire>,
    },
    /// `managed: false`, and the bundle endpoint presents a web certificate, which peers do not ask for.
    #[error("the bundle endpoint of its SPIRE ({}) presents a web certificate, and peers ask for the server's SVID: its configuration has profile `https_web`", describe(.0))]
    WebCertificate(Box<FoundSpire>),
    /// `managed: false`, and the server's configuration has relationships of its own with clusters of the mesh.
    #[error("its SPIRE ({}) has static relationships, which win over those that are made here: its configuration has `federates_with` for {}", describe(.found), names(.peers))]
    StaticRelationships {
        /// The trust domains of the mesh that it names.
        peers: Vec<TrustDomain>,
        /// What was found.
        found: Box<FoundSpire>,
    },
    /// `managed: false`, and other clusters cannot reach the bundle endpoint.
    #[error("other clusters cannot reach the bundle endpoint of its SPIRE: {reason}")]
    Unexposed {
        /// Why.
        reason: String,
    },
    /// No storage class is the default, and the mesh file names none.
    #[error("no storage class is the default{}, so the SPIRE server would get no volume", available(.0))]
    NoDefaultStorageClass(Vec<String>),
    /// The storage class that the mesh file names does not exist.
    #[error("storage class {name} does not exist{}", available(.known))]
    NoStorageClass {
        /// The name in the mesh file.
        name: String,
        /// The classes that there are.
        known: Vec<String>,
    },
    /// Kubernetes is too old.
    #[error("Kubernetes is {version}; {}.{} is the oldest that works", OLDEST_KUBERNETES.0, OLDEST_KUBERNETES.1)]
    OldKubernetes {
        /// The version that the API server gave.
        version: String,
    },
    /// The server that runs is more than one minor version away from the mesh file's.
    #[error(
        "its SPIRE server is of version {running}, and that of the mesh file of {wanted}: SPIRE goes by one minor version at a time"
    )]
    Leap {
        /// The version that runs.
        running: Version,
        /// That of the mesh file.
        wanted: Version,
    },
    /// The mesh file has agents that are newer than their server.
    #[error(
        "the mesh file has agents of version {agent}, and a server of {server}: agents may not be newer than their server"
    )]
    AgentsNewer {
        /// The version of the server.
        server: Version,
        /// That of the agents.
        agent: Version,
    },
    /// The issuer that the mesh file names is of a kind that the API server does not know.
    #[error("the API server knows no {} of {}: cert-manager is not installed, or not what has this issuer", .0.kind, .0.group)]
    NoCertManager(Box<IssuerRef>),
    /// The issuer that the mesh file names does not exist.
    #[error("{issuer} does not exist, so nobody would sign the server's CA certificate")]
    NoIssuer {
        /// The issuer in the mesh file.
        issuer: Box<IssuerRef>,
        /// Kubeconfig context of the cluster.
        context: String,
    },
    /// The issuer that the mesh file names is not ready.
    #[error("{issuer} is not ready, so nobody would sign the server's CA certificate: {why}")]
    IssuerNotReady {
        /// The issuer in the mesh file.
        issuer: Box<IssuerRef>,
        /// What its condition says.
        why: String,
        /// Kubeconfig context of the cluster.
        context: String,
    },
    /// The namespace in which certificates are to be requested does not exist.
    #[error("namespace {namespace}, in which the server is to request its CA certificate, does not exist")]
    NoRequestNamespace {
        /// The namespace in the mesh file.
        namespace: String,
        /// Kubeconfig context of the cluster.
        context: String,
    },
    /// The server that runs has an upstream authority, and the mesh file does not name it any more.
    #[error(
        "{} signs the server's CA certificate, and the mesh file has no `upstreamAuthority`: the server would sign with a new CA \
         at once, and no peer has it", signer(.0)
    )]
    UpstreamRemoved(Box<FoundUpstream>),
    /// SPIRE could not be looked for.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The API server could not be asked.
    #[error("cannot read {what}")]
    Request {
        /// What was to be read.
        what: &'static str,
        /// What the API server said.
        source: RequestError,
    },
}

fn available(names: &[String]) -> String {
    if names.is_empty() {
        " (there is none at all)".to_owned()
    } else {
        format!(" (there is {})", names.join(", "))
    }
}

fn names(domains: &[TrustDomain]) -> String {
    domains.iter().map(TrustDomain::as_str).collect::<Vec<_>>().join(", ")
}

fn describe(found: &FoundSpire) -> String {
    let place = format!("{} in namespace {}", found.workload, found.namespace);
    let version = found.version.as_ref().map(|version| format!("SPIRE {version}"));
    let domain = found.trust_domain.as_ref().map(|domain| format!("trust domain {domain}"));
    [Some(place), version, domain].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn signer(upstream: &FoundUpstream) -> String {
    upstream.issuer.as_ref().map_or_else(|| format!("plugin {}", upstream.plugin), ToString::to_string)
}

impl Hint for PreflightError {
    fn hint(&self) -> Option<Advice> {
        Some(match self {
            Self::MissingRights(needs) => return ask_for(needs),
            Self::ForeignSpire(_) => {
                "set `spire: {managed: false}` for this cluster in the mesh file: it is then federated as it is".into()
            }
            Self::Elsewhere { .. } => {
                "find out who made it, and delete it if it was none of you; if you changed spire.serverNamespace of this cluster, change it back"
                    .into()
            }
            Self::OtherMesh { mesh, .. } => {
                Advice::from(format!("use the mesh file of {mesh}, or take that mesh down first: "))
                    .then(Plugin::SpireFederate.command(["down"]).mesh("ITS_FILE"))
            }
            Self::NoControllerManager(_) => {
                "run spire-controller-manager in the server's pod; in the Helm chart: spire-server.controllerManager.enabled: true"
                    .into()
            }
            Self::PassedOver { .. } => {
                "set `reconcile: {clusterFederatedTrustDomains: true}` in its configuration, without staticManifestPath, and restart the server's pod; in the Helm chart: spire-server.controllerManager.reconcile.clusterFederatedTrustDomains: true"
                    .into()
            }
            Self::WebCertificate(_) => {
                "set profile `https_spiffe` in federation.bundle_endpoint of server.conf, and restart the server; in the Helm chart: spire-server.federation.tls.spire.enabled: true"
                    .into()
            }
            Self::StaticRelationships { .. } => {
                "take these out of federation.federates_with of server.conf, and restart the server; the bundles stay, and the relationships are made here"
                    .into()
            }
            Self::Unexposed { .. } => {
                "make a service for it that other clusters reach, or set spire.bundleEndpoint.url of this cluster in the mesh file; in the Helm chart: spire-server.federation.enabled: true and spire-server.service.type: LoadBalancer"
                    .into()
            }
            Self::NoDefaultStorageClass(known) => match known.first() {
                Some(name) => format!("set spire.storage.class in the mesh file, for example {name}").into(),
                None => "install a storage driver; on EKS: the aws-ebs-csi-driver add-on and a StorageClass".into(),
            },
            Self::NoStorageClass { .. } => Command::kubectl(["get", "storageclass"]).into(),
            Self::OldKubernetes { .. } => "upgrade the cluster".into(),
            Self::Leap { running, wanted } => {
                let minor = if running < wanted { running.minor + 1 } else { running.minor.saturating_sub(1) };
                format!(
                    "set spire.images.server and spire.images.agent in the mesh file to images of {}.{minor} first",
                    running.major
                )
                .into()
            }
            Self::AgentsNewer { server, .. } => {
                format!("set spire.images.agent in the mesh file to an image of {server}").into()
            }
            Self::NoCertManager(issuer) => {
                Advice::from("install it, or see what there is: ").then(issuer.resources())
            }
            Self::NoIssuer { issuer, context } => {
                let text = "make it, or name another one; see what there is: ";
                Advice::from(text).then(issuer.list().at(context))
            }
            Self::IssuerNotReady { issuer, context, .. } => issuer.describe().at(context).into(),
            Self::NoRequestNamespace { namespace, context } => {
                Command::kubectl(["create", "namespace", namespace]).at(context).into()
            }
            Self::UpstreamRemoved(_) => Advice::from(
                "put `upstreamAuthority` back. Another issuer may stand there: the server goes over to it while its peers get the \
                 new root. For a server that signs itself, take the mesh down first: ",
            )
            .then(Plugin::SpireFederate.command(["down"])),
            Self::Discovery(error) => return error.hint(),
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
    scope: Scope,
) -> Result<(), ClusterErrors<PreflightError>> {
    each(members, |member| check(mesh, member, scope)).await.into_all().map(drop)
}

async fn check(mesh: &Mesh, member: &Member, scope: Scope) -> Result<(), PreflightError> {
    match &member.cluster.spire {
        Spire::Managed(spire) => {
            // First: without rights the rest could only be refused.
            rights(member, with_lease(mesh, managed_needs(&member.cluster, spire, scope))).await?;
            let looked =
                (own_spire(mesh, member, spire), storage(member, spire), upstream::can_sign(member, spire));
            let (own, (), ()) = try_join3(looked.0, looked.1, looked.2).await?;
            let found = own.as_ref().and_then(|own| own.upstream.as_ref());
            upstream::stays(found, &spire.upstream_authority)?;
            skew::may_follow(own.as_ref(), spire)?;
            version(member.version())
        }
        Spire::Existing(existing) => {
            rights(member, with_lease(mesh, existing_needs())).await?;
            match meant(member).await? {
                Some(found) => {
                    existing::can_be_federated(mesh, &member.cluster, &found)?;
                    existing::can_be_reached(member, existing, &found).await
                }
                // The plan says so.
                None => Ok(()),
            }
        }
    }
}

async fn rights(member: &Member, needs: Vec<Need>) -> Result<(), PreflightError> {
    let missing = missing(member, &needs)
        .await
        .map_err(|source| PreflightError::Request { what: "your rights", source })?;
    if missing.is_empty() { Ok(()) } else { Err(PreflightError::MissingRights(missing)) }
}

/// Adds what it takes to keep other runs away meanwhile.
fn with_lease(mesh: &Mesh, needs: Vec<Need>) -> Vec<Need> {
    needs.into_iter().chain(lease::needs(&mesh.name)).collect()
}

/// The kinds of what a managed SPIRE consists of, beside relationships and identities, and where they are.
fn managed_places(cluster: &Cluster, spire: &ManagedSpire) -> BTreeSet<(Kind, Option<String>)> {
    let objects = server_objects(cluster, spire).into_iter().chain(agent_objects(cluster, spire));
    objects.map(|object| (object.key().kind, object.key().namespace.clone())).collect()
}

/// What it takes to install SPIRE, or to federate one that others have applied.
fn managed_needs(cluster: &Cluster, spire: &ManagedSpire, scope: Scope) -> Vec<Need> {
    let places = managed_places(cluster, spire);
    let of_rendered = |(kind, namespace): &(Kind, Option<String>)| {
        let applied = applied(*kind, namespace.as_deref());
        match scope {
            Scope::Everything => applied.to_vec(),
            // Only whether it is there.
            Scope::Live => applied.into_iter().filter(|need| need.verb == "get").collect(),
        }
    };
    let mut needs: Vec<Need> = places.iter().flat_map(of_rendered).collect();
    needs.extend(applied(Kind::ClusterSPIFFEID, None));
    if matches!(spire.bundle_endpoint.exposure, Exposure::NodePort { .. }) {
        // Peers are given the address of one.
        needs.push(Need::new("list", "", "nodes", None));
    }
    needs.push(Need::new("list", "storage.k8s.io", "storageclasses", None));
    if let UpstreamAuthority::CertManager(issuer) = &spire.upstream_authority {
        needs.push(IssuerRef::from(issuer).need());
    }
    needs.extend(existing_needs());
    needs
}

/// What it takes to find a SPIRE and to federate it.
fn existing_needs() -> Vec<Need> {
    let mut needs = vec![
        Need::new("list", "apps", "statefulsets", None),
        Need::new("list", "apps", "deployments", None),
        Need::new("list", "", "pods", None),
        Need::new("list", "", "services", None),
        Need::exec(None),
    ];
    needs.extend(applied(Kind::ClusterFederatedTrustDomain, None));
    needs
}

/// What it takes to apply objects of a kind: server-side apply of a new one is a patch and a create.
fn applied(kind: Kind, namespace: Option<&str>) -> [Need; 3] {
    ["get", "create", "patch"].map(|verb| Need::new(verb, kind.group(), kind.plural(), namespace))
}

/// Returns the SPIRE of this mesh that is there already.
async fn own_spire(
    mesh: &Mesh,
    member: &Member,
    spire: &ManagedSpire,
) -> Result<Option<FoundSpire>, PreflightError> {
    let servers = servers(member, None).await.map_err(DiscoveryError::from)?;
    own_of(mesh, &spire.server_namespace, servers)
}

/// Takes the SPIRE of this mesh among those of a cluster: the one that stands where the mesh file says. Once it is there, another one is nothing
/// to it: whoever may make objects in some other namespace must not be able to stop this tool. Before, there must be none.
fn own_of(
    mesh: &Mesh,
    namespace: &str,
    servers: Vec<FoundSpire>,
) -> Result<Option<FoundSpire>, PreflightError> {
    let (mut here, mut elsewhere): (Vec<FoundSpire>, Vec<FoundSpire>) =
        servers.into_iter().partition(|found| found.is_installed_in(namespace));
    match here.pop() {
        Some(found) if found.mesh.as_ref() == Some(&mesh.name) => Ok(Some(found)),
        Some(found) => Err(not_ours(found)),
        None if elsewhere.is_empty() => Ok(None),
        None => {
            let found = elsewhere.swap_remove(0);
            if found.mesh.as_ref() == Some(&mesh.name) {
                let (namespace, found) = (namespace.to_owned(), Box::new(found));
                return Err(PreflightError::Elsewhere { namespace, found });
            }
            Err(not_ours(found))
        }
    }
}

fn not_ours(found: FoundSpire) -> PreflightError {
    let found = Box::new(found);
    match found.mesh.clone() {
        Some(mesh) => PreflightError::OtherMesh { mesh, found },
        None => PreflightError::ForeignSpire(found),
    }
}

async fn storage(member: &Member, spire: &ManagedSpire) -> Result<(), PreflightError> {
    let classes: Api<StorageClass> = Api::all(member.client().clone());
    let list = classes.list(&ListParams::default()).await.map_err(|error| PreflightError::Request {
        what: "storage classes",
        source: RequestError::from(&error),
    })?;
    let known: Vec<String> = list.items.iter().map(ResourceExt::name_any).collect();
    let is_default = |class: &StorageClass| {
        class
            .meta()
            .annotations
            .as_ref()
            .and_then(|all| all.get(DEFAULT_CLASS))
            .is_some_and(|value| value == "true")
    };
    match &spire.storage.class {
        Some(name) if !known.contains(name) => {
            Err(PreflightError::NoStorageClass { name: name.clone(), known })
        }
        None if !list.items.iter().any(is_default) => Err(PreflightError::NoDefaultStorageClass(known)),
        _ => Ok(()),
    }
}

fn version(text: &str) -> Result<(), PreflightError> {
    // `v1.34.2-eks-abc`; what cannot be read is not held against the cluster.
    let mut parts = text.trim_start_matches('v').split('.').map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST_KUBERNETES => {
            Err(PreflightError::OldKubernetes { version: text.to_owned() })
        }
        _ => Ok(()),
    }
}
