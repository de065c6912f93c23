//! One world for each cause: a server with an issuer of cert-manager, and what is wrong with it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

use super::super::verify;
use super::*;
use crate::check::{CheckResult, Status};
use crate::federation::examined::Details;
use crate::federation::observed::{Observed, Seen};
use crate::fleet::{Read, Unread};
use crate::mesh::{Cluster, IssuerKind, Mesh};
use crate::spire::discovery::sample::foreign;
use crate::spire::discovery::{FoundSpire, FoundUpstream};
use crate::spire::presented::Presented;
use crate::spire::server::LocalAuthorities;
use crate::spire::upstream::{SeenIssuer, SigningLog};
use crate::trust::{TrustBundle, hex};

const NOW: &str = "2026-06-01T10:00:00Z";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn none<T>() -> Read<T> {
    Err(Unread::because("not part of this test"))
}

/// A CA, with what it takes to sign.
struct Ca {
    der: Vec<u8>,
    id: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Days of 2026: month and day.
type Day = (u8, u8);

fn params(from: Day, until: Day) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2026, from.0, from.1);
    params.not_after = date_time_ymd(2026, until.0, until.1);
    params.use_authority_key_identifier_extension = true;
    params
}

/// Makes a CA that another one signed; a root without one.
fn ca(signer: Option<&Ca>, from: Day, until: Day) -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut params = params(from, until);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let id = hex(&params.key_identifier(&key));
    let certificate = match signer {
        Some(signer) => params.signed_by(&key, &signer.issuer),
        None => params.self_signed(&key),
    };
    Ca { der: certificate.unwrap().der().to_vec(), id, issuer: Issuer::new(params, key) }
}

/// Makes an upstream root that ends on a day.
fn root_until(until: Day) -> Ca {
    ca(None, (1, 1), until)
}

/// What the endpoint presents with an SVID of the last of these CAs, the last one first.
fn presented(chain: &[&Ca]) -> Presented {
    let key = KeyPair::generate().unwrap();
    let signer = chain.last().unwrap();
    let svid = params((6, 1), (6, 2)).signed_by(&key, &signer.issuer).unwrap();
    let sent = chain.iter().rev().map(|ca| ca.der.clone());
    Presented::of([svid.der().to_vec()].into_iter().chain(sent).collect()).unwrap()
}

/// A cluster whose server has an issuer of cert-manager.
struct World {
    in_file: Option<&'static str>,
    in_server: Option<&'static str>,
    state: Read<IssuerState>,
    is_cluster_wide: bool,
    requests: Vec<SeenRequest>,
    log: SigningLog,
    root: Ca,
    /// ID of the CA certificate in use.
    active: String,
    /// ID of the authority that signed it; empty where the server did itself.
    signed_by: String,
    presented: Read<Presented>,
    kind: IssuerKind,
}

impl World {
    fn healthy() -> Self {
        Self::under(root_until((12, 1)))
    }

    /// A world whose issuer signs with this root itself.
    fn under(root: Ca) -> Self {
        Self {
            in_file: Some("spire-ca"),
            in_server: Some("spire-ca"),
            state: Ok(IssuerState::Ready),
            is_cluster_wide: false,
            requests: Vec::new(),
            log: SigningLog::default(),
            active: "5d6e".to_owned(),
            signed_by: root.id.clone(),
            presented: none(),
            kind: IssuerKind::Issuer,
            root,
        }
    }

    fn issuer(&self, name: &str) -> CertManagerIssuer {
        CertManagerIssuer {
            name: name.to_owned(),
            kind: self.kind.clone(),
            group: "cert-manager.io".to_owned(),
            namespace: "pki".to_owned(),
        }
    }

    fn mesh(&self) -> Mesh {
        let text = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec:\n  clusters:\n    \
                    - {name: foo, trustDomain: foo.com}\n    - {name: bar, trustDomain: bar.com}\n";
        let mut mesh = Mesh::parse(text, "m.yaml").unwrap();
        if let Spire::Managed(spire) = &mut mesh.clusters[0].spire {
            spire.upstream_authority = self.in_file.map_or(UpstreamAuthority::SelfSigned, |name| {
                UpstreamAuthority::CertManager(self.issuer(name))
            });
        }
        mesh
    }

    fn found(&self) -> FoundSpire {
        FoundSpire {
            mesh: Some("m".to_owned()),
            upstream: self.in_server.map(|name| FoundUpstream {
                plugin: "cert-manager".to_owned(),
                issuer: Some(IssuerRef::from(&self.issuer(name))),
            }),
            ..foreign()
        }
    }

    fn server(&self) -> SeenServer {
        let active = LocalAuthority {
            id: self.active.clone(),
            expires_at: time("2026-06-05T10:00:00Z").as_second(),
            upstream_id: self.signed_by.clone(),
        };
        SeenServer {
            pod: "spire-server/spire-server-0".to_owned(),
            version: "1.15.3".to_owned(),
            bundle: TrustBundle::from_base64_der(
                "foo.com".parse().unwrap(),
                [STANDARD.encode(&self.root.der).as_str()],
            )
            .unwrap(),
            authorities: LocalAuthorities { active: Some(active), ..LocalAuthorities::default() },
            stored: Vec::new(),
            relationships: Vec::new(),
            agents: Vec::new(),
            entry_count: 0,
        }
    }

    fn details(&self) -> Details {
        Details {
            clock: none(),
            admission: none(),
            identity_objects: none(),
            entries: none(),
            csi_nodes: none(),
            published_bundle: none(),
            presented: self.presented.clone(),
            workloads: none(),
            istio_trust_domain: none(),
            rotation: none(),
            servers: Ok(None),
            upstream: self.in_server.map(|name| SeenUpstream {
                issuer_ref: IssuerRef::from(&self.issuer(name)),
                issuer: self
                    .state
                    .clone()
                    .map(|state| SeenIssuer { state, is_cluster_wide: self.is_cluster_wide }),
                requests: Ok(self.requests.clone()),
                log: Ok(self.log.clone()),
            }),
        }
    }

    fn examined(&self) -> Examined {
        let mesh = self.mesh();
        let seen = Seen {
            spire: Ok(Some(self.found())),
            server_trouble: Ok(None),
            server: Ok(self.server()),
            endpoint: none(),
            polls: none(),
            agents: none(),
            nodes: none(),
            relationship_objects: none(),
        };
        let clusters: Vec<Cluster> = mesh.clusters.clone();
        let observed = |(cluster, seen)| ObservedCluster { cluster, seen };
        Examined {
            observed: Observed {
                mesh,
                clusters: clusters.into_iter().zip([Ok(seen), none()]).map(observed).collect(),
                at: time(NOW),
            },
            details: [("foo".to_owned(), self.details())].into(),
            fetched: BTreeMap::new(),
        }
    }

    /// What the checks of this file come to, and the one on the life of the CA certificate.
    fn results(&self) -> Vec<CheckResult> {
        let is_meant = |result: &CheckResult| {
            result.id.0.starts_with("upstream-")
                || result.id.0 == "ca-lifetime" && result.scope == Scope::cluster("foo")
        };
        verify(&self.examined()).results().iter().filter(|result| is_meant(result)).cloned().collect()
    }

    /// All that is wrong, in words.
    fn findings(&self) -> String {
        let is_wrong = |result: &&CheckResult| matches!(result.status, Status::Warn | Status::Fail);
        let told = |result: &CheckResult| {
            let seen: Vec<String> = result.evidence.iter().map(|seen| format!("seen: {seen}\n")).collect();
            let (cause, hint) = (result.cause.as_deref(), result.hint.as_deref());
            format!(
                "{} {}: {}\n{}next: {}",
                result.id,
                result.status,
                cause.unwrap_or_default(),
                seen.concat(),
                hint.unwrap_or_default()
            )
        };
        self.results().iter().filter(is_wrong).map(told).collect::<Vec<_>>().join("\n")
    }
}

fn request(state: RequestState, created: &str) -> SeenRequest {
    SeenRequest {
        namespace: "pki".to_owned(),
        name: "spiffe-ca-x7k2p".to_owned(),
        created: Some(time(created)),
        state,
        message: "the words of its condition".to_owned(),
    }
}

#[test]
fn a_healthy_issuer_passes_and_a_server_that_signs_itself_is_not_talked_about() {
    let statuses: Vec<(String, Status)> =
        World::healthy().results().iter().map(|result| (result.id.to_string(), result.status)).collect();
    let pass = |id: &str| (id.to_owned(), Status::Pass);
    let all = ["upstream-issuer", "upstream-request", "ca-lifetime", "upstream-root"];
    assert_eq!(statuses, all.map(pass));
    let without = World { in_file: None, in_server: None, ..World::healthy() };
    let ids: Vec<&str> = without.results().iter().map(|result| result.id.0).collect();
    assert_eq!(ids, ["ca-lifetime"]);
}

#[test]
fn an_issuer_that_is_gone_or_not_ready_is_named_and_hides_what_follows_from_it() {
    let requests = vec![request(RequestState::Pending, "2026-06-01T09:00:00Z")];
    let with = |state| World { state: Ok(state), requests: requests.clone(), ..World::healthy() };
    insta::assert_snapshot!(with(IssuerState::Absent).findings(), @r"
    upstream-issuer fail: Issuer spire-ca in namespace pki does not exist, so nobody signs the server's next CA certificate
    seen: its newest CA certificate ends at 2026-06-05T10:00:00Z
    next: kubectl --context foo -n pki get issuers.cert-manager.io
    ");
    insta::assert_snapshot!(with(IssuerState::NotReady("ErrGetKeyPair: secret \"spire-root\" not found".to_owned())).findings(), @r#"
    upstream-issuer fail: Issuer spire-ca in namespace pki is not ready, so nobody signs the server's next CA certificate
    seen: ErrGetKeyPair: secret "spire-root" not found
    seen: its newest CA certificate ends at 2026-06-05T10:00:00Z
    next: kubectl --context foo -n pki describe issuers.cert-manager.io spire-ca
    "#);
    insta::assert_snapshot!(with(IssuerState::UnknownKind).findings(), @r"
    upstream-issuer fail: the API server knows no Issuer of cert-manager.io, so nobody signs the server's next CA certificate
    seen: its newest CA certificate ends at 2026-06-05T10:00:00Z
    next: kubectl --context foo api-resources --api-group=cert-manager.io
    ");
    let unread = World { state: none(), ..World::healthy() };
    assert!(unread.findings().is_empty());
    assert!(unread.results().iter().any(|result| result.status == Status::Skip));
}

#[test]
fn it_is_said_from_when_on_a_server_does_not_run_without_its_issuer() {
    let root = root_until((12, 1));
    let own = ca(Some(&root), (5, 29), (6, 5));
    let presented = Ok(presented(&[&own]));
    let state = Ok(IssuerState::Absent);
    let world = World { active: own.id.clone(), state, presented, ..World::under(root) };
    insta::assert_snapshot!(world.findings(), @r"
    upstream-issuer fail: Issuer spire-ca in namespace pki does not exist, so nobody signs the server's next CA certificate
    seen: its newest CA certificate ends at 2026-06-05T10:00:00Z
    seen: the server asks for the next one from 2026-06-01T12:00:00Z on, and does not run without it for long
    next: kubectl --context foo -n pki get issuers.cert-manager.io
    ");
}

#[test]
fn an_issuer_that_anybody_can_use_is_warned_of() {
    let world = World { is_cluster_wide: true, kind: IssuerKind::ClusterIssuer, ..World::healthy() };
    insta::assert_snapshot!(world.findings(), @r"
    upstream-issuer warn: whoever may create CertificateRequests in any namespace can have certificates signed for every SPIFFE ID of the trust domain
    seen: ClusterIssuer spire-ca
    next: name an Issuer in a namespace where nobody else may create CertificateRequests: the server goes over to it on its schedule
    ");
}

#[test]
fn a_server_that_is_configured_for_another_issuer_than_the_mesh_file_names_is_warned_of() {
    let with = |in_file, in_server| World { in_file, in_server, ..World::healthy() }.findings();
    insta::assert_snapshot!(with(Some("spire-ca"), None), @r"
    upstream-issuer warn: the server signs its CA certificate itself, the mesh file names Issuer spire-ca in namespace pki
    seen: server.conf has no UpstreamAuthority
    next: kubectl spire-federate
    ");
    insta::assert_snapshot!(with(None, Some("spire-ca")), @r"
    upstream-issuer warn: Issuer spire-ca in namespace pki signs the server's CA certificate, the mesh file names no upstream authority
    seen: UpstreamAuthority in server.conf
    next: write `upstreamAuthority: {certManager: {issuer: spire-ca, kind: Issuer, namespace: pki}}` in the mesh file
    ");
    insta::assert_snapshot!(with(Some("spire-ca"), Some("another")), @r"
    upstream-issuer warn: Issuer another in namespace pki signs the server's CA certificate, the mesh file names Issuer spire-ca in namespace pki
    seen: UpstreamAuthority in server.conf
    next: kubectl spire-federate
    ");
}

#[test]
fn a_request_that_is_denied_failed_or_waits_too_long_is_named() {
    let with = |state, created| World { requests: vec![request(state, created)], ..World::healthy() };
    let early = "2026-06-01T09:00:00Z";
    insta::assert_snapshot!(with(RequestState::Denied, early).findings(), @r"
    upstream-request fail: the server's request for a CA certificate was denied
    seen: CertificateRequest pki/spiffe-ca-x7k2p: the words of its condition
    seen: its newest CA certificate ends at 2026-06-05T10:00:00Z
    next: kubectl --context foo -n pki describe certificaterequest spiffe-ca-x7k2p
    ");
    insta::assert_snapshot!(with(RequestState::Failed, early).findings(), @r"
    upstream-request fail: the issuer failed to sign the server's CA certificate
    seen: CertificateRequest pki/spiffe-ca-x7k2p: the words of its condition
    seen: its newest CA certificate ends at 2026-06-05T10:00:00Z
    next: kubectl --context foo -n pki describe certificaterequest spiffe-ca-x7k2p
    ");
    insta::assert_snapshot!(with(RequestState::Pending, early).findings(), @r"
    upstream-request fail: the server's request for a CA certificate has had no answer since 2026-06-01T09:00:00Z
    seen: CertificateRequest pki/spiffe-ca-x7k2p: the words of its condition
    seen: its newest CA certificate ends at 2026-06-05T10:00:00Z
    next: kubectl --context foo -n pki describe certificaterequest spiffe-ca-x7k2p
    ");
    assert_eq!(with(RequestState::Pending, "2026-06-01T09:58:41Z").findings(), "");
    assert_ne!(with(RequestState::Pending, "2026-06-01T09:58:40Z").findings(), "");
    assert_eq!(with(RequestState::Signed, early).findings(), "");
}

#[test]
fn a_failure_that_only_the_servers_log_tells_of_is_named() {
    let failed = Some((time("2026-06-01T09:59:50Z"), "request has been denied: no CA for you".to_owned()));
    let world = World { log: SigningLog { failed }, ..World::healthy() };
    insta::assert_snapshot!(world.findings(), @r"
    upstream-request fail: Issuer spire-ca in namespace pki gives the server no CA certificate
    seen: the server's log at 2026-06-01T09:59:50Z: request has been denied: no CA for you
    seen: its newest CA certificate ends at 2026-06-05T10:00:00Z
    next: kubectl --context foo -n spire-server logs spire-server-0 -c spire-server
    ");
}

#[test]
fn an_issuer_that_gives_an_intermediate_as_its_root_is_refused() {
    let root = root_until((12, 1));
    let intermediate = ca(Some(&root), (1, 1), (11, 1));
    let world = World::under(intermediate);
    let findings = world.findings();
    assert!(findings.contains("did not sign itself, and the CA that signed it is not there"), "{findings}");
    assert!(findings.contains("tls.crt") && findings.contains("localauthority x509 prepare"), "{findings}");
}

#[test]
fn an_issuer_that_signs_with_an_intermediate_is_known_by_the_chain_that_the_endpoint_presents() {
    let root = root_until((12, 1));
    let between = ca(Some(&root), (1, 1), (11, 1));
    let own = ca(Some(&between), (5, 29), (6, 5));
    let presented = presented(&[&between, &own]);
    let (active, signed_by) = (own.id.clone(), between.id.clone());
    let world = World { active, signed_by, presented: Ok(presented), ..World::under(root) };
    assert_eq!(world.findings(), "");
    let unread = World { presented: none(), ..world };
    assert_eq!(unread.findings(), "");
    let skipped: Vec<CheckResult> =
        unread.results().into_iter().filter(|result| result.status == Status::Skip).collect();
    assert_eq!(skipped.iter().map(|result| result.id.0).collect::<Vec<_>>(), ["upstream-root"]);
}

#[test]
fn a_bundle_without_the_authority_that_signed_is_a_failure() {
    let stranger = root_until((12, 1));
    let own = ca(Some(&stranger), (5, 29), (6, 5));
    let presented = presented(&[&own]);
    let (active, signed_by) = (own.id.clone(), stranger.id.clone());
    let world = World { active, signed_by, presented: Ok(presented), ..World::healthy() };
    insta::assert_snapshot!(world.findings().replace(&stranger.id, "ID"), @r"
    upstream-root fail: the server's bundle does not hold the authority that signed its CA certificate, so nobody verifies what it signs
    seen: signed by ID; not in `bundle show`
    seen: the bundle endpoint presents: subject CN=rcgen self signed cert, issuer CN=rcgen self signed cert
    next: kubectl --context foo -n spire-server exec spire-server-0 -c spire-server -- /opt/spire/bin/spire-server localauthority x509 prepare
    ");
}

#[test]
fn an_upstream_authority_that_ends_too_early_is_warned_of_and_one_that_has_ended_is_a_failure() {
    let told = |until| {
        let world = World::under(root_until(until));
        world.findings().replace(&world.root.id, "ID")
    };
    insta::assert_snapshot!(told((5, 31)), @r"
    upstream-root fail: the upstream authority has ended, so nobody accepts what the server signs
    seen: authority ID ends at 2026-05-31T00:00:00Z
    seen: the CA certificate in use ends at 2026-06-05T10:00:00Z
    next: renew the CA certificate of Issuer spire-ca in namespace pki; the server takes the new authority over with its next CA certificate
    ");
    insta::assert_snapshot!(told((6, 4)), @r"
    upstream-root warn: the upstream authority ends before the CA certificate that it signed; from then on nobody accepts what the server signs
    seen: authority ID ends at 2026-06-04T00:00:00Z
    seen: the CA certificate in use ends at 2026-06-05T10:00:00Z
    next: renew the CA certificate of Issuer spire-ca in namespace pki; the server takes the new authority over with its next CA certificate
    ");
    // The CA certificate in use ends on the 5th; one that is made now would on the 8th.
    insta::assert_snapshot!(told((6, 7)), @r"
    upstream-root warn: the upstream authority ends before the server's next CA certificate would
    seen: authority ID ends at 2026-06-07T00:00:00Z
    seen: the CA certificate in use ends at 2026-06-05T10:00:00Z
    next: renew the CA certificate of Issuer spire-ca in namespace pki; the server takes the new authority over with its next CA certificate
    ");
    assert_eq!(told((6, 9)), "");
}

#[test]
fn the_schedule_of_a_ca_certificate_that_is_not_in_the_bundle_is_that_of_the_one_which_the_endpoint_presents()
{
    let with_life_from = |from| {
        let root = root_until((12, 1));
        let own = ca(Some(&root), from, (6, 5));
        let presented = Ok(presented(&[&own]));
        let world = World { active: own.id.clone(), presented, ..World::under(root) };
        world.findings().replace(&own.id, "ID")
    };
    insta::assert_snapshot!(with_life_from((5, 22)), @r"
    ca-lifetime warn: the server should have made its next CA at 2026-05-29T00:00:00Z
    seen: CA ID ends at 2026-06-05T10:00:00Z
    next: kubectl --context foo -n spire-server logs spire-server-0
    ");
    assert_eq!(with_life_from((5, 29)), "");
}

#[test]
fn a_server_that_has_not_gone_over_yet_still_signs_with_its_own() {
    let world = World { signed_by: String::new(), ..World::healthy() };
    assert_eq!(world.findings(), "");
    let root = world.results().into_iter().find(|result| result.id.0 == "upstream-root").unwrap();
    assert_eq!(root.evidence, ["the server still signs with a CA certificate of its own"]);
    // Of one that is in its bundle it is known when the server replaces it.
    let own = World { active: world.root.id.clone(), ..world };
    let root = own.results().into_iter().find(|result| result.id.0 == "upstream-root").unwrap();
    assert_eq!(
        root.evidence,
        ["the server still signs with a CA certificate of its own, until 2026-11-24T00:00:00Z"]
    );
}

#[test]
fn an_upstream_authority_is_held_against_the_moments_at_which_it_is_needed() {
    let root = |examined: &Examined| {
        let results = verify(examined).results().to_vec();
        results.iter().find(|result| result.id.0 == "upstream-root").unwrap().status
    };
    let at = |now: &str| {
        let mut examined = World::under(root_until((6, 8))).examined();
        examined.observed.at = time(now);
        root(&examined)
    };
    // The next CA certificate lasts for a week, and the root until the 8th.
    assert_eq!(at("2026-06-01T00:00:00Z"), Status::Pass);
    assert_eq!(at("2026-06-01T00:00:01Z"), Status::Warn);
    let in_use_until = |end: &str| {
        let mut examined = World::under(root_until((6, 5))).examined();
        let server = examined.observed.clusters[0].seen.as_mut().unwrap().server.as_mut().unwrap();
        server.authorities.active.as_mut().unwrap().expires_at = time(end).as_second();
        examined.observed.at = time("2026-05-20T00:00:00Z");
        root(&examined)
    };
    assert_eq!(in_use_until("2026-06-05T00:00:00Z"), Status::Pass);
    assert_eq!(in_use_until("2026-06-05T00:00:01Z"), Status::Warn);
}
