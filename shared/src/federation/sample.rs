//! A mesh for tests with which nothing is wrong: three clusters that trust each other, each with two nodes, agents on both, and
//! workloads in two namespaces. SPIRE is ours in foo and baz; that of bar was installed by somebody else.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use serde_json::{Value, json};

use super::examined::{Clock, Details, Examined, Parts, SeenServers, SeenWorkload};
use super::observed::{Observed, ObservedCluster, Seen, SeenAgentPod, SeenAgents, SeenNode, SeenServer};
use crate::fleet::{Read, Unread};
use crate::manifest::NodeState;
use crate::mesh::Mesh;
use crate::spire::crd::{ClusterFederatedTrustDomain, ClusterSPIFFEID};
use crate::spire::discovery::sample::foreign;
use crate::spire::discovery::{FoundAgents, FoundControllerManager, FoundSpire, SdsNames};
use crate::spire::endpoint::Endpoint;
use crate::spire::polls::Polls;
use crate::spire::presented::Presented;
use crate::spire::server::{Agent, Entry, LocalAuthorities, LocalAuthority, Profile, Relationship, Selector};
use crate::trust::{TrustBundle, TrustDomain, hex};

/// Names of the clusters, in the order of the mesh file.
pub(crate) const NAMES: [&str; 3] = ["foo", "bar", "baz"];

const MESH: &str = "\
apiVersion: spire-mesh/v1alpha1
kind: Mesh
metadata: {name: example}
spec:
  clusters:
    - {name: foo, trustDomain: foo.com}
    - {name: bar, trustDomain: bar.com, spire: {managed: false}}
    - {name: baz, trustDomain: baz.com}
";

/// The class of every controller-manager.
pub(crate) const CLASS: &str = "spire-mgmt-spire";

/// What is known of the mesh. All of it was read when 1970 began.
pub(crate) fn examined() -> Examined {
    static HEALTHY: LazyLock<Examined> = LazyLock::new(healthy);
    HEALTHY.clone()
}

/// What a status shows of it.
pub(crate) fn observed() -> Observed {
    examined().observed
}

/// What the mesh file says.
pub(crate) fn mesh() -> Mesh {
    Mesh::parse(MESH, "spire-mesh.yaml").unwrap()
}

/// The trust domain of a cluster.
pub(crate) fn domain(name: &str) -> TrustDomain {
    format!("{name}.com").parse().unwrap()
}

/// The other clusters.
pub(crate) fn peers(own: &str) -> Vec<&'static str> {
    NAMES.into_iter().filter(|name| *name != own).collect()
}

/// The address of a cluster's bundle endpoint.
pub(crate) fn url(name: &str) -> String {
    format!("https://{name}.example:8443")
}

/// What could not be read for want of a right.
pub(crate) fn forbidden<T>(resource: &str) -> Read<T> {
    let need = crate::fleet::Need::new("list", "", resource, None);
    Err(Unread { why: format!("you may not {need}"), need: Some(Box::new(need)), hint: None })
}

/// What could not be read for another reason.
pub(crate) fn unread<T>() -> Read<T> {
    Err(Unread::because("it is not part of this test"))
}

/// The CA certificate of a cluster's server, with what it takes to sign.
pub(crate) struct Ca {
    /// Its subject key identifier.
    pub(crate) id: String,
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// Makes one that is valid for the first week of 1970.
    pub(crate) fn of(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = valid(&format!("spiffe://{name}.com"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let id = hex(&params.key_identifier(&key));
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { id, der, issuer: Issuer::new(params, key) }
    }

    /// Names it as a server does.
    pub(crate) fn local(&self) -> LocalAuthority {
        LocalAuthority { id: self.id.clone(), expires_at: WEEK, upstream_id: String::new() }
    }

    /// Its certificate, as bundles carry it.
    pub(crate) fn base64(&self) -> String {
        STANDARD.encode(&self.der)
    }

    /// Presents the server's SVID.
    fn presented(&self, name: &str) -> Presented {
        let mut params = valid(&format!("spiffe://{name}.com/spire/server"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let svid = params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap();
        Presented::of(vec![svid.der().to_vec()]).unwrap()
    }
}

/// When the CA certificates end, in seconds since 1970.
pub(crate) const WEEK: i64 = 7 * 24 * 3600;

fn valid(id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date_time_ymd(1970, 1, 1), date_time_ymd(1970, 1, 8));
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    params.use_authority_key_identifier_extension = true;
    params
}

/// A bundle with these authorities.
pub(crate) fn bundle_of(name: &str, cas: &[&Ca]) -> TrustBundle {
    let texts: Vec<String> = cas.iter().map(|ca| ca.base64()).collect();
    TrustBundle::from_base64_der(domain(name), texts.iter().map(String::as_str)).unwrap()
}

/// A bundle that no server of the mesh has.
pub(crate) fn bundle(name: &str) -> TrustBundle {
    bundle_of(name, &[&Ca::of(name)])
}

fn healthy() -> Examined {
    let cas: BTreeMap<&str, Ca> = NAMES.map(|name| (name, Ca::of(name))).into();
    let mesh = mesh();
    let clusters = mesh
        .clusters
        .iter()
        .map(|cluster| ObservedCluster { cluster: cluster.clone(), seen: Ok(seen(&cluster.name, &cas)) });
    let observed = Observed { clusters: clusters.collect(), mesh: mesh.clone(), at: Timestamp::UNIX_EPOCH };
    let fetched = NAMES.into_iter().flat_map(|from| {
        peers(from).into_iter().map(move |to| ((from.to_owned(), to.to_owned()), Ok(Ok(()))))
    });
    Examined {
        fetched: fetched.collect(),
        details: cas.iter().map(|(name, ca)| ((*name).to_owned(), details(name, ca))).collect(),
        observed,
    }
}

fn seen(name: &str, cas: &BTreeMap<&str, Ca>) -> Seen {
    let manager = FoundControllerManager {
        class_name: Some(CLASS.to_owned()),
        trust_domain: Some(domain(name)),
        ..FoundControllerManager::default()
    };
    let found =
        FoundSpire { trust_domain: Some(domain(name)), controller_manager: Some(manager), ..foreign() };
    Seen {
        spire: Ok(Some(found)),
        server_trouble: Ok(None),
        server: Ok(server(name, cas)),
        endpoint: Ok(Endpoint::Ready(url(name).parse().unwrap())),
        polls: Ok(Polls::default()),
        agents: Ok(Some(agents())),
        nodes: Ok(NODES.map(node).into()),
        relationship_objects: Ok(peers(name)
            .into_iter()
            .map(|peer| relationship_object(peer, CLASS))
            .collect()),
    }
}

fn server(name: &str, cas: &BTreeMap<&str, Ca>) -> SeenServer {
    let relationship = |peer: &str| Relationship {
        trust_domain: domain(peer),
        url: url(peer),
        profile: Profile::HttpsSpiffe(domain(peer).server_id()),
    };
    SeenServer {
        pod: "spire-server/spire-server-0".to_owned(),
        version: "1.15.3".to_owned(),
        bundle: bundle_of(name, &[&cas[name]]),
        authorities: LocalAuthorities { active: Some(cas[name].local()), ..LocalAuthorities::default() },
        stored: peers(name).into_iter().map(|peer| bundle_of(peer, &[&cas[peer]])).collect(),
        relationships: peers(name).into_iter().map(relationship).collect(),
        agents: NODES.map(|(_, uid)| attested(name, uid)).into(),
        entry_count: 4,
    }
}

/// Names and UIDs of each cluster's nodes.
const NODES: [(&str, &str); 2] = [("node-1", "u1"), ("node-2", "u2")];

fn node((name, uid): (&str, &str)) -> SeenNode {
    let (name, uid) = (name.to_owned(), uid.to_owned());
    SeenNode { name, uid, created: None, state: NodeState::Ready, taints: Vec::new() }
}

/// The agent of the node with this UID, as the server knows it.
pub(crate) fn attested(own: &str, uid: &str) -> Agent {
    Agent {
        id: format!("spiffe://{own}.com/spire/agent/k8s_psat/{own}/{uid}").parse().unwrap(),
        attestation_type: "k8s_psat".to_owned(),
        expires_at: 3600,
        serial: "1".to_owned(),
        banned: false,
        version: None,
    }
}

/// The agents' pods are `spire-agent-1` and `spire-agent-2`.
fn agents() -> SeenAgents {
    let pod = |number: usize| SeenAgentPod {
        name: format!("spire-agent-{number}"),
        node: Some(format!("node-{number}")),
        created: None,
        trouble: None,
    };
    SeenAgents {
        found: FoundAgents {
            namespace: "spire-system".to_owned(),
            name: "spire-agent".to_owned(),
            desired: 2,
            selector: "app.kubernetes.io/name=agent".to_owned(),
            tolerations: Vec::new(),
            sds: Some(SdsNames { bundle: "null".to_owned(), all_bundles: "ROOTCA".to_owned() }),
            container: "spire-agent".to_owned(),
            binary: "/opt/spire/bin/spire-agent".to_owned(),
            socket_path: "/run/spire/agent-sockets/spire-agent.sock".to_owned(),
        },
        pods: vec![pod(1), pod(2)],
    }
}

fn details(name: &str, ca: &Ca) -> Details {
    let published = if name == "bar" { None } else { Some(bundle_of(name, &[ca])) };
    let peers = peers(name);
    let federates_with: Vec<String> = peers.iter().map(|peer| format!("{peer}.com")).collect();
    let selecting = |proxy: &str| json!({"podSelector": {"matchLabels": {"proxy": proxy}}, "federatesWith": federates_with});
    let stats = json!({"podsSelected": 2, "entriesToSet": 2});
    let workloads = workloads();
    Details {
        clock: Ok(Some(Clock { ahead_seconds: 0, round_trip: Duration::from_millis(40) })),
        admission: Ok(Ok(())),
        identity_objects: Ok(vec![
            identity_object("proxies", &selecting("yes"), &stats),
            identity_object("others", &selecting("no"), &stats),
        ]),
        entries: Ok(workloads.iter().map(|workload| entry(name, workload, &peers)).collect()),
        csi_nodes: Ok(NODES.map(|(node, _)| node.to_owned()).into()),
        published_bundle: Ok(published),
        presented: Ok(ca.presented(name)),
        workloads: Ok(workloads),
        istio_trust_domain: Ok(Some(format!("{name}.com"))),
        rotation: Ok(None),
        upstream: None,
        servers: Ok((name != "bar")
            .then(|| SeenServers { pods: vec!["spire-server-0".to_owned()], left_claims: Ok(Vec::new()) })),
    }
}

/// Pods with and without a proxy, on both nodes. Only `bank/teller` is not called as Istio would have it.
fn workloads() -> Vec<SeenWorkload> {
    let workload = |namespace: &str, name: &str, node: &str, parts: Parts| SeenWorkload {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        created: None,
        uid: format!("uid-of-{name}"),
        node: Some(node.to_owned()),
        service_account: "default".to_owned(),
        labels: [("proxy".to_owned(), if parts == Parts::Volume { "no" } else { "yes" }.to_owned())].into(),
        namespace_labels: [("name".to_owned(), namespace.to_owned())].into(),
        parts,
    };
    vec![
        workload("bank", "ledger", "node-1", Parts::ProxyAndVolume),
        workload("bank", "teller", "node-2", Parts::Volume),
        workload("shop", "cart", "node-1", Parts::ProxyAndVolume),
        workload("shop", "client", "node-2", Parts::Volume),
    ]
}

/// The entry of a pod, with the bundles of these peers.
pub(crate) fn entry(own: &str, workload: &SeenWorkload, peers: &[&str]) -> Entry {
    let id = |path: &str| format!("spiffe://{own}.com{path}").parse().unwrap();
    let path = match workload.name.as_str() {
        "teller" => "/teller".to_owned(),
        _ => format!("/ns/{}/sa/default", workload.namespace),
    };
    Entry {
        id: "1".to_owned(),
        spiffe_id: id(&path),
        parent_id: id(&format!("/spire/agent/k8s_psat/{own}/u1")),
        selectors: vec![Selector { kind: "k8s".to_owned(), value: format!("pod-uid:{}", workload.uid) }],
        federates_with: peers.iter().map(|peer| domain(peer)).collect(),
    }
}

/// An object that gives pods their identity, with these keys in its `spec`.
pub(crate) fn identity_object(name: &str, spec: &Value, stats: &Value) -> ClusterSPIFFEID {
    let mut object = json!({
        "apiVersion": "spire.spiffe.io/v1alpha1",
        "kind": "ClusterSPIFFEID",
        "metadata": {"name": name},
        "spec": {"spiffeIDTemplate": "spiffe://x", "className": CLASS},
        "status": {"stats": stats},
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

/// The object with which a server is told of a peer.
pub(crate) fn relationship_object(peer: &str, class: &str) -> ClusterFederatedTrustDomain {
    serde_json::from_value(json!({
        "apiVersion": "spire.spiffe.io/v1alpha1",
        "kind": "ClusterFederatedTrustDomain",
        "metadata": {"name": format!("{peer}-com")},
        "spec": {
            "trustDomain": format!("{peer}.com"),
            "bundleEndpointURL": url(peer),
            "bundleEndpointProfile":
                {"type": "https_spiffe", "endpointSPIFFEID": format!("spiffe://{peer}.com/spire/server")},
            "className": class,
        },
    }))
    .unwrap()
}
