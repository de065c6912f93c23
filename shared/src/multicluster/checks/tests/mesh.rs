//! A healthy mesh of three clusters, as it is read: two pods of istiod in each, and proxies in three namespaces. What the first sidecar of
//! foo has is what Envoy said in the lab; the others have the same of their own cluster.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::json;

use crate::envoy::{
    self, InboundRules, NameRule, OutboundRules, Protection, ProxySecrets, Received, State, Validation,
};
use crate::federation::examined as spire;
use crate::federation::observed::{self, Observed, ObservedCluster, SeenServer};
use crate::fleet::{Read, Unread};
use crate::istio::ca::SeenCa;
use crate::istio::gateway::FoundGateway;
use crate::istio::injector::Asks;
use crate::istio::injector::tests::{labels, of_istioctl};
use crate::istio::istiod::{KnownCluster, NetworkGateway};
use crate::istio::remote::{Access, FoundRemoteSecret};
use crate::manifest::{HostPort, ServiceAddress};
use crate::mesh::Mesh;
use crate::multicluster::examined::{
    AskingNamespace, Examined, Seen, SeenInjection, SeenInjector, SeenIstiod, SeenPeerAuthentication,
    SeenProxy, SeenRemoteSecret, SeenSidecars, SeenWorkload, ServerAuthority,
};
use crate::multicluster::probe::Way;
use crate::spire::server::LocalAuthorities;
use crate::trust::svid::{Certificate, Chain};
use crate::trust::{TrustBundle, TrustDomain};

const MESH: &str = "\
apiVersion: spire-mesh/v1alpha1
kind: Mesh
metadata: {name: example}
spec:
  clusters:
    - {name: foo, trustDomain: foo.com}
    - {name: bar, trustDomain: bar.com}
    - {name: baz, trustDomain: baz.com}
";
pub(super) const NAMES: [&str; 3] = ["foo", "bar", "baz"];
const SECRETS: &[u8] = include_bytes!("../../../../../tests/fixtures/envoy/secrets.json");
const NOTHING: &[u8] = include_bytes!("../../../../../tests/fixtures/envoy/nothing.json");
const INBOUND: &[u8] = include_bytes!("../../../../../tests/fixtures/envoy/virtual-inbound.json");
const OUTBOUND: &[u8] = include_bytes!("../../../../../tests/fixtures/envoy/outbound.json");

/// A moment at which all certificates here are valid, those of Envoy's answers too.
const AT: &str = "2026-11-25T18:00:00Z";
pub(super) const HELLOWORLD: &str = "helloworld.sample.svc.cluster.local";
const ISTIOD: &str = "istiod.istio-system.svc.cluster.local";

static HEALTHY: LazyLock<Examined> = LazyLock::new(make);

/// Returns the mesh, in which nothing is wrong.
pub(super) fn examined() -> Examined {
    HEALTHY.clone()
}

fn make() -> Examined {
    let mesh = Mesh::parse(MESH, "spire-mesh.yaml").unwrap();
    let authorities = NAMES.map(authority);
    let of_envoy = envoy::parse_secrets(SECRETS, NOTHING).unwrap();
    let bundles: Bundles =
        authorities.iter().zip(NAMES).map(|(own, name)| bundle(name, own, &of_envoy)).collect();
    let clusters = mesh.clusters.iter().map(|cluster| ObservedCluster {
        cluster: cluster.clone(),
        seen: Ok(of_spire(&bundles[&cluster.trust_domain])),
    });
    let observed = Observed { clusters: clusters.collect(), mesh: mesh.clone(), at: AT.parse().unwrap() };
    let seen = authorities.iter().zip(NAMES).map(|(authority, name)| {
        let mut seen = of_istio(name);
        let mut proxies = proxies(name, authority, &bundles);
        if name == "foo" {
            let of_envoy = ProxySecrets {
                validation: Some(received(Validation::Spiffe(bundles.clone()))),
                ..of_envoy.clone()
            };
            proxies[1].secrets = Ok(of_envoy);
        }
        seen.proxies = Ok(proxies);
        (name.to_owned(), seen)
    });
    Examined {
        spire: spire::Examined { observed, details: BTreeMap::new(), fetched: BTreeMap::new() },
        clusters: seen.collect(),
        ways: NAMES.iter().flat_map(|from| others(from).map(|to| (pair(from, to), Ok(Way::Open)))).collect(),
    }
}

type Bundles = BTreeMap<TrustDomain, TrustBundle>;
type Authority = CertifiedIssuer<'static, KeyPair>;

/// Goes through the other clusters, in the order of the mesh file.
pub(super) fn others(own: &str) -> impl Iterator<Item = &'static str> + use<'_> {
    NAMES.into_iter().filter(move |name| *name != own)
}

pub(super) fn pair(from: &str, to: &str) -> (String, String) {
    (from.to_owned(), to.to_owned())
}

fn domain(name: &str) -> TrustDomain {
    format!("{name}.com").parse().unwrap()
}

fn params(name: &str, uri: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (date_time_ymd(2026, 11, 25), date_time_ymd(2026, 11, 26));
    params
}

/// Makes a CA of SPIRE's.
pub(super) fn authority(name: &str) -> Authority {
    let mut params = params(&format!("{name}.com"), &format!("spiffe://{name}.com"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Joins a cluster's authority with those that its bundle had in the lab.
fn bundle(name: &str, own: &Authority, of_envoy: &ProxySecrets) -> (TrustDomain, TrustBundle) {
    let had = of_envoy.bundle(&domain(name)).into_iter().flat_map(|bundle| bundle.authorities().values());
    let mut der: Vec<u8> = had.flat_map(|authority| authority.der().to_vec()).collect();
    der.extend_from_slice(own.der());
    (domain(name), TrustBundle::from_der_sequence(domain(name), &der).unwrap())
}

fn received<T>(value: T) -> Received<T> {
    Received { state: State::Active, version: "1".to_owned(), last_updated: None, value: Some(value) }
}

/// Returns what a proxy has whose SVID is of `authority`.
fn secrets(id: &str, authority: &Authority, bundles: &Bundles) -> ProxySecrets {
    let mut leaf = params("workload", id);
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), authority).unwrap();
    ProxySecrets {
        identity: Some(received(Chain::from_ders([leaf.der().to_vec()]).unwrap())),
        validation: Some(received(Validation::Spiffe(bundles.clone()))),
        ..ProxySecrets::default()
    }
}

/// Makes the proxies of a cluster: a gateway, and sidecars in two namespaces.
fn proxies(own: &str, authority: &Authority, bundles: &Bundles) -> Vec<SeenProxy> {
    let of = |namespace: &str, pod: &str, service_account: &str| {
        let is_gateway = namespace == "istio-system";
        let id = format!("spiffe://{own}.com/ns/{namespace}/sa/{service_account}");
        SeenProxy {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            service_account: service_account.to_owned(),
            is_gateway,
            trouble: None,
            ends: None,
            secrets: Ok(secrets(&id, authority, bundles)),
            inbound: Ok((!is_gateway).then(inbound)),
        }
    };
    vec![
        of("istio-system", "istio-eastwestgateway-0", "istio-eastwestgateway-service-account"),
        of("sample", "sleep-0", "sleep"),
        of("shop", "cart-0", "cart"),
    ]
}

fn inbound() -> InboundRules {
    let mut rules = envoy::parse_inbound(INBOUND).unwrap().unwrap();
    for chain in &mut rules.chains {
        if let Protection::Mutual(names) = &mut chain.protection {
            names.insert(NameRule::Prefix("spiffe://baz.com/".to_owned()));
        }
    }
    rules
}

fn outbound() -> OutboundRules {
    let mut rules = envoy::parse_outbound(OUTBOUND).unwrap();
    for rule in rules.clusters.values_mut() {
        let of_bar = rule.names.iter().find_map(|name| match name {
            NameRule::Exact(name) => Some(name.strip_prefix("spiffe://bar.com/")?.to_owned()),
            _ => None,
        });
        rule.names.extend(of_bar.map(|path| NameRule::Exact(format!("spiffe://baz.com/{path}"))));
    }
    rules
}

fn of_spire(bundle: &TrustBundle) -> observed::Seen {
    fn unread<T>() -> Read<T> {
        Err(Unread::because("it is not part of this test"))
    }
    observed::Seen {
        spire: unread(),
        server_trouble: unread(),
        server: Ok(SeenServer {
            pod: "spire-server/spire-server-0".to_owned(),
            version: "1.15.3".to_owned(),
            bundle: bundle.clone(),
            authorities: LocalAuthorities { active: None, prepared: None, old: None },
            stored: Vec::new(),
            relationships: Vec::new(),
            agents: Vec::new(),
            entry_count: 1,
        }),
        endpoint: unread(),
        polls: unread(),
        agents: unread(),
        nodes: unread(),
        relationship_objects: unread(),
    }
}

fn workload(name: &str) -> SeenWorkload {
    SeenWorkload { name: name.to_owned(), wanted: 2, ready: 2, trouble: None, version: None }
}

fn istiod(own: &str, pod: &str) -> SeenIstiod {
    let known = |id: &str| KnownCluster {
        id: id.to_owned(),
        secret_name: String::new(),
        sync_status: "synced".to_owned(),
    };
    let gateway = |network: &str| NetworkGateway {
        network: network.to_owned(),
        cluster: network.to_owned(),
        addr: "10.0.0.1".to_owned(),
        port: 15443,
    };
    let identities = |service: &str, path: &str| {
        let of = |name: &str| (name.to_owned(), [format!("spiffe://{name}.com/{path}")].into());
        (service.to_owned(), NAMES.map(of).into())
    };
    SeenIstiod {
        pod: pod.to_owned(),
        version: "1.31.0".parse().ok(),
        clusters: Ok(NAMES.map(known).into()),
        networks: Ok(NAMES.map(gateway).into()),
        identities: Ok([
            identities(ISTIOD, "ns/istio-system/sa/istiod"),
            identities(HELLOWORLD, "ns/sample/sa/helloworld"),
        ]
        .into()),
        mesh_config: Ok(json!({
            "trustDomain": format!("{own}.com"),
            "caCertificates": [{"trustDomains": ["foo.com"]}, {"trustDomains": ["bar.com", "baz.com"]}],
        })),
    }
}

fn access(server: &str) -> Access {
    let kubeconfig = json!({
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    });
    Access::parse(kubeconfig.to_string().as_bytes()).unwrap()
}

/// A remote secret for a cluster, whose token some clusters take.
pub(super) fn remote_secret(cluster: &str, taken_by: &[&str]) -> SeenRemoteSecret {
    let found = FoundRemoteSecret {
        name: format!("istio-remote-secret-{cluster}"),
        made: None,
        clusters: vec![(cluster.to_owned(), Ok(access(&format!("https://{cluster}.example:6443"))))],
    };
    let taken_by = taken_by.iter().map(|name| (*name).to_owned()).collect();
    SeenRemoteSecret {
        found,
        accepted_by: [(cluster.to_owned(), Ok(taken_by))].into(),
        authority: [(cluster.to_owned(), Ok(ServerAuthority::Own))].into(),
    }
}

pub(super) fn rule(namespace: &str, mode: &str) -> SeenPeerAuthentication {
    SeenPeerAuthentication {
        namespace: namespace.to_owned(),
        name: "default".to_owned(),
        selects: false,
        mode: mode.to_owned(),
        ports: BTreeMap::new(),
    }
}

/// The root of istiod's CA, which is the same in all clusters here.
fn root() -> Certificate {
    static ROOT: LazyLock<Certificate> =
        LazyLock::new(|| Certificate::from_der(authority("istiod").der().to_vec()).unwrap());
    ROOT.clone()
}

fn injector() -> SeenInjector {
    let mut webhooks = of_istioctl("", "2026-11-25T10:00:00Z");
    for webhook in &mut webhooks {
        webhook.authorities = vec![root()];
    }
    let ready = webhooks.iter().map(|webhook| (webhook.target.clone(), 2)).collect();
    SeenInjector { ready, webhooks, asked: Ok(Ok(())) }
}

fn asking(name: &str) -> (String, AskingNamespace) {
    let labels = labels(&[("istio-injection", "enabled")]);
    (name.to_owned(), AskingNamespace { asks: Asks::Namespace, labels, with: 1 })
}

fn of_istio(own: &str) -> Seen {
    Seen {
        workloads: Ok(["istiod", "istio-ingressgateway", "istio-eastwestgateway"].map(workload).into()),
        istiods: Ok(["istiod-1", "istiod-2"].map(|pod| istiod(own, pod)).into()),
        network: Ok(Some(own.to_owned())),
        gateway: Ok(ServiceAddress::Ready(HostPort::new(&format!("{own}.example"), 15443).unwrap())),
        new_load_balancer: None,
        gateway_objects: Ok(vec![FoundGateway { name: "cross-network-gateway".to_owned(), problem: None }]),
        remote_secrets: Ok(others(own).map(|peer| remote_secret(peer, &[peer])).collect()),
        peer_authentications: Ok(vec![
            rule("istio-system", "STRICT"),
            rule("sample", "UNSET"),
            rule("shop", "STRICT"),
        ]),
        injection: Ok(SeenInjection {
            template: Some("spec: {initContainers: []}".to_owned()),
            default_templates: vec!["sidecar".to_owned(), "spire".to_owned()],
            native: true,
            why: "istiod is 1.31.0 and every kubelet is 1.36".to_owned(),
        }),
        injector: Ok(injector()),
        sidecars: Ok(SeenSidecars { namespaces: ["sample", "shop"].map(asking).into(), without: Vec::new() }),
        stuck: Ok(Vec::new()),
        ca: Ok(SeenCa { secret: None, published: vec![root()], istiods: Vec::new() }),
        proxies: Ok(Vec::new()),
        outbound: Ok(Some(("sample/sleep-0".to_owned(), outbound()))),
    }
}
