use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::sample::{Ca, istiod, secret};
use super::*;
use crate::fleet::fake::FakeServer;
use crate::manifest::{Tool, to_yaml};
use crate::mesh::Mesh;
use crate::trust::svid::Certificate;

const EARLY: &str = "2026-11-25T10:00:00Z";
const LATE: &str = "2026-11-25T11:00:00Z";

fn state(secret: Option<&CaSecret>, root: &Ca, istiods: &[SeenIstiod]) -> CaState {
    ca_state(&CaFacts { secret, published: &[root.certificate()], istiods })
}

fn told(state: &CaState) -> String {
    format!("{state}\n  hint: {}", state.hint("foo").unwrap_or_default())
}

#[test]
fn an_istiod_that_presents_a_certificate_of_the_ca_in_the_secret_is_as_it_should_be() {
    let root = Ca::root("root");
    let ca = root.intermediate("istiod CA");
    let secret = secret(&ca, &root, EARLY);
    assert_eq!(state(Some(&secret), &root, &[istiod(LATE, ca.presented(&root))]), CaState::InForce);
    assert_eq!(state(None, &root, &[istiod(LATE, ca.presented(&root))]), CaState::SelfSigned);
}

#[test]
fn an_istiod_with_an_earlier_ca_of_the_same_root_is_behind() {
    let root = Ca::root("root");
    let (old, new) = (root.intermediate("istiod CA"), root.intermediate("istiod CA"));
    let secret = secret(&new, &root, EARLY);
    let pods = [istiod(LATE, new.presented(&root)), istiod(LATE, old.presented(&root))];
    let state = state(Some(&secret), &root, &pods);
    assert!(matches!(state, CaState::Behind { .. }));
    insta::assert_snapshot!(told(&state));
}

#[test]
fn an_istiod_that_started_before_the_secret_was_there_signs_with_its_own_ca() {
    let (own, root) = (Ca::root("O=foo.com"), Ca::root("root"));
    let ca = root.intermediate("istiod CA");
    let secret = secret(&ca, &root, LATE);
    let state = state(Some(&secret), &own, &[istiod(EARLY, own.presented(&own))]);
    assert!(matches!(state, CaState::StartedBefore { .. }));
    insta::assert_snapshot!(told(&state));
}

#[test]
fn another_root_in_the_secret_is_found_and_whether_istiod_has_refused_it() {
    let (old_root, new_root) = (Ca::root("root"), Ca::root("root"));
    let (old, new) = (old_root.intermediate("istiod CA"), new_root.intermediate("istiod CA"));
    let secret = secret(&new, &new_root, EARLY);
    let mut pod = istiod(LATE, old.presented(&old_root));
    let unsaid = state(Some(&secret), &old_root, std::slice::from_ref(&pod));
    assert!(matches!(unsaid, CaState::OtherRoot { refused: false, .. }));
    pod.log.reloaded = Some(EARLY.parse().unwrap());
    pod.log.refused_root = Some(LATE.parse().unwrap());
    let said = state(Some(&secret), &old_root, &[pod]);
    insta::assert_snapshot!(format!("{}\n{}", told(&unsaid), told(&said)));
}

#[test]
fn a_root_more_or_less_is_on_its_way_until_istiod_refuses_it() {
    let (old_root, new_root) = (Ca::root("root"), Ca::root("next root"));
    let (old, new) = (old_root.intermediate("istiod CA"), new_root.intermediate("istiod CA"));
    let (old_alone, new_alone) = (vec![old_root.certificate()], vec![new_root.certificate()]);
    let both = [old_alone.clone(), new_alone.clone()].concat();
    let of =
        |ca: &Ca, roots: &[Certificate]| CaSecret { roots: roots.to_vec(), ..secret(ca, &old_root, EARLY) };
    let state = |secret: &CaSecret, published: &[Certificate], pod: &SeenIstiod| {
        ca_state(&CaFacts { secret: Some(secret), published, istiods: std::slice::from_ref(pod) })
    };
    let mut with_old = istiod(LATE, old.presented(&old_root));
    assert!(matches!(state(&of(&old, &both), &old_alone, &with_old), CaState::Behind { .. }), "added");
    assert_eq!(state(&of(&old, &both), &both, &with_old), CaState::InForce);
    assert!(matches!(state(&of(&new, &new_alone), &both, &with_old), CaState::Behind { .. }), "taken away");
    let with_new = istiod(LATE, new.presented(&new_root));
    assert_eq!(state(&of(&new, &new_alone), &new_alone, &with_new), CaState::InForce);
    with_old.log.refused_root = Some(LATE.parse().unwrap());
    assert!(matches!(
        state(&of(&old, &both), &old_alone, &with_old),
        CaState::OtherRoot { refused: true, .. }
    ));
}

#[test]
fn an_istiod_that_has_started_with_another_root_than_proxies_have_is_found() {
    let (old_root, new_root) = (Ca::root("root"), Ca::root("root"));
    let ca = new_root.intermediate("istiod CA");
    let secret = secret(&ca, &new_root, EARLY);
    let state = state(Some(&secret), &old_root, &[istiod(LATE, ca.presented(&new_root))]);
    assert!(matches!(state, CaState::OtherRoot { .. }));
}

#[test]
fn an_incomplete_secret_is_refused_and_debug_shows_no_key() {
    let root = Ca::root("root");
    let complete = secret(&root, &root, EARLY);
    assert!(!format!("{complete:?}").contains("a key"));
    let with = |keys: &[&str]| {
        let data = keys.iter().map(|key| ((*key).to_owned(), ByteString(root.pem.clone().into_bytes())));
        let secret = Secret { data: Some(data.collect()), ..Secret::default() };
        CaSecret::of(&secret).map(drop).unwrap_err().to_string()
    };
    insta::assert_snapshot!(with(&["tls.crt", "tls.key"]), @"Secret istio-system/cacerts has no ca.crt");
    insta::assert_snapshot!(with(&["tls.crt"]), @"Secret istio-system/cacerts has no tls.key");
    insta::assert_snapshot!(with(&[]), @"Secret istio-system/cacerts has no ca-key.pem");
}

fn mesh(ca: &str) -> Mesh {
    let text = format!(
        "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {{name: devup}}\nspec:\n  istio: {{ca: {ca}}}\n  clusters:\n  \
         - {{name: foo, trustDomain: foo.com}}\n  - {{name: bar, trustDomain: bar.com}}\n"
    );
    Mesh::parse(&text, "test").unwrap()
}

#[test]
fn the_certificate_names_the_issuer_and_no_trust_domain() {
    let mesh =
        mesh("{certManager: {issuer: istio-root, kind: ClusterIssuer}, duration: 720h, renewBefore: 240h}");
    let owner = Owner::new(Tool::MeshInstall, "devup");
    let text = to_yaml(&owner.stamped(certificate(&mesh.clusters[0], &owner).into_iter().collect()));
    assert!(!text.contains("foo.com") && !text.contains("spiffe"));
    insta::assert_snapshot!(text);
}

#[test]
fn an_istiod_that_signs_itself_needs_no_certificate() {
    let cluster = Cluster::example("foo", "foo.com");
    assert!(certificate(&cluster, &Owner::new(Tool::MeshInstall, "devup")).is_none());
}

#[test]
fn an_istiod_that_presents_its_own_certificate_alone_or_nothing_is_judged_by_that() {
    let root = Ca::root("root");
    let (ca, other) = (root.intermediate("istiod CA"), root.intermediate("istiod CA"));
    let secret = secret(&ca, &root, EARLY);
    let alone = |of: &Ca| vec![of.presented(&root).swap_remove(0)];
    assert_eq!(state(Some(&secret), &root, &[istiod(LATE, alone(&ca))]), CaState::InForce);
    assert!(matches!(state(Some(&secret), &root, &[istiod(LATE, alone(&other))]), CaState::Behind { .. }));
    assert!(matches!(state(Some(&secret), &root, &[istiod(LATE, Vec::new())]), CaState::Behind { .. }));
    assert_eq!(state(Some(&secret), &root, &[]), CaState::InForce, "nobody is behind where nobody is");
}

#[test]
fn without_published_roots_what_is_presented_tells_which_is_in_force() {
    let (root, elsewhere) = (Ca::root("root"), Ca::root("root"));
    let (ca, old, own) = (root.intermediate("ca"), root.intermediate("ca"), elsewhere.intermediate("ca"));
    let secret = secret(&ca, &root, LATE);
    let state = |started: &str, presented: Vec<Certificate>| {
        ca_state(&CaFacts { secret: Some(&secret), published: &[], istiods: &[istiod(started, presented)] })
    };
    assert_eq!(state(EARLY, ca.presented(&root)), CaState::InForce);
    assert!(matches!(state(EARLY, old.presented(&root)), CaState::Behind { .. }));
    assert!(matches!(state(EARLY, own.presented(&elsewhere)), CaState::StartedBefore { .. }));
    assert!(matches!(
        state("2026-11-25T12:00:00Z", own.presented(&elsewhere)),
        CaState::OtherRoot { refused: false, .. }
    ));
    assert!(
        matches!(state(LATE, own.presented(&elsewhere)), CaState::OtherRoot { .. }),
        "at the same moment it was there"
    );
}

#[test]
fn the_first_pod_that_is_not_as_it_should_be_tells() {
    let root = Ca::root("root");
    let (ca, old) = (root.intermediate("ca"), root.intermediate("ca"));
    let secret = secret(&ca, &root, EARLY);
    let named = |pod: &str, of: &Ca| SeenIstiod { pod: pod.to_owned(), ..istiod(LATE, of.presented(&root)) };
    let pods = [named("istiod-1", &ca), named("istiod-2", &old), named("istiod-3", &old)];
    assert_eq!(state(Some(&secret), &root, &pods), CaState::Behind { pod: "istiod-2".to_owned() });
}

#[test]
fn a_refusal_counts_until_something_else_was_taken() {
    let (old_root, new_root) = (Ca::root("root"), Ca::root("root"));
    let (old, new) = (old_root.intermediate("ca"), new_root.intermediate("ca"));
    let secret = secret(&new, &new_root, EARLY);
    let refused = |refused: &str, reloaded: Option<&str>| {
        let mut pod = istiod(LATE, old.presented(&old_root));
        pod.log.refused_root = Some(refused.parse().unwrap());
        pod.log.reloaded = reloaded.map(|at| at.parse().unwrap());
        matches!(state(Some(&secret), &old_root, &[pod]), CaState::OtherRoot { refused: true, .. })
    };
    assert!(refused(EARLY, None) && refused(LATE, Some(EARLY)));
    assert!(!refused(EARLY, Some(LATE)) && !refused(LATE, Some(LATE)));
}

#[test]
fn proxies_are_between_roots_where_cert_manager_gave_one_of_two() {
    let (root, next) = (Ca::root("root"), Ca::root("next"));
    let ca = root.intermediate("ca");
    let seen = |published: &[&Ca], certificate: Option<&str>| {
        let secret = CaSecret { certificate: certificate.map(str::to_owned), ..secret(&ca, &root, EARLY) };
        let published = published.iter().map(|root| root.certificate()).collect();
        SeenCa { secret: Some(secret), published, istiods: Vec::new() }
    };
    assert!(seen(&[&root, &next], Some("cacerts")).is_between_roots());
    assert!(
        !seen(&[&root], Some("cacerts")).is_between_roots()
            && !seen(&[&root, &next], None).is_between_roots()
    );
    assert!(!SeenCa { secret: None, ..seen(&[&root, &next], None) }.is_between_roots());
}

#[test]
fn what_may_pass_is_asked_again() {
    let status = |code: u16| {
        let status = kube::core::Status { code, ..kube::core::Status::default() };
        crate::fleet::RequestError::from(kube::Error::Api(Box::new(status)))
    };
    let of_secret = |code| CaUnread::Secret(SecretError::Request(status(code))).may_pass();
    let of_request = |code| CaUnread::Request { what: "x".to_owned(), source: status(code) }.may_pass();
    assert!(of_secret(503) && of_request(503) && !of_secret(403) && !of_request(403));
    assert!(!CaUnread::Secret(SecretError::Incomplete("ca.crt")).may_pass());
    let not_ready = || crate::istio::istiod::IstiodError::NotReady { context: "foo".to_owned() };
    assert!(CaUnread::Istiod(not_ready()).may_pass());
    assert!(crate::hint::Hint::hint(&CaUnread::Istiod(not_ready())).is_some());
    assert!(crate::hint::Hint::hint(&CaUnread::Secret(SecretError::Incomplete("ca.crt"))).is_none());
}

#[test]
fn lists_of_certificates_are_compared_whatever_their_order() {
    let all = ["a", "b", "c"].map(|name| Ca::root(name).certificate());
    let [a, b, c] = all;
    let of = |held: &[&Certificate]| held.iter().map(|held| (*held).clone()).collect::<Vec<_>>();
    assert!(same(&of(&[&a, &b]), &of(&[&b, &a])) && same(&[], &[]));
    assert!(
        !same(&of(&[&a, &b]), &of(&[&a]))
            && !same(&of(&[&a]), &of(&[&a, &b]))
            && !same(&of(&[&a, &b]), &of(&[&a, &c]))
    );
}

#[test]
fn who_signed_is_told_by_keys_and_by_names_where_there_are_none() {
    let (one, other) = (Ca::root("same name"), Ca::root("same name"));
    let mut leaf = one.presented(&one).swap_remove(0);
    assert!(is_signed_by(&leaf, &one.certificate()) && !is_signed_by(&leaf, &other.certificate()));
    leaf.authority_key_id = None;
    assert!(is_signed_by(&leaf, &other.certificate()), "the names are the same");
    assert!(!is_signed_by(&leaf, &Ca::root("another name").certificate()));
}

#[test]
fn a_secret_may_have_the_keys_of_istio_and_has_to_hold_certificates() {
    let root = Ca::root("root");
    let of = |data: &[(&str, &str)]| {
        let data = data.iter().map(|(key, text)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec())));
        CaSecret::of(&Secret { data: Some(data.collect()), ..Secret::default() })
            .map_err(|error| error.to_string())
    };
    let pem = root.pem.as_str();
    let read = of(&[("ca-cert.pem", pem), ("ca-key.pem", "k"), ("root-cert.pem", pem)]).unwrap();
    assert_eq!((read.ca, read.roots, read.certificate), (root.certificate(), vec![root.certificate()], None));
    assert_eq!(
        of(&[("tls.crt", "x"), ("tls.key", "k"), ("ca.crt", pem)]).unwrap_err(),
        "tls.crt of Secret istio-system/cacerts holds no certificate"
    );
    assert_eq!(
        of(&[("tls.crt", pem), ("tls.key", "k"), ("ca.crt", "x")]).unwrap_err(),
        "ca.crt of Secret istio-system/cacerts holds no certificate"
    );
    assert_eq!(
        of(&[("tls.crt", pem), ("tls.key", ""), ("ca.crt", pem)]).unwrap_err(),
        "Secret istio-system/cacerts has no tls.key"
    );
}

#[tokio::test]
async fn the_root_of_an_issuer_is_the_last_certificate_of_its_secret() {
    let (root, ca) = (Ca::root("root"), Ca::root("ca"));
    let chain =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{}{}", ca.pem, root.pem));
    let issuer = |kind: &str, group: &str| CertificateIssuer {
        name: "istio-ca".to_owned(),
        kind: Some(kind.to_owned()),
        group: Some(group.to_owned()),
    };
    let server = FakeServer::default();
    let member = server.member("baz");
    let secret = serde_json::json!({"data": {"tls.crt": chain}});
    let spec = serde_json::json!({"spec": {"ca": {"secretName": "root-key"}}});
    let api = "/apis/cert-manager.io/v1";
    let found = |issuer: CertificateIssuer| {
        let member = &member;
        async move { issuer_root(member, &issuer).await.unwrap() }
    };
    assert_eq!(found(issuer("Issuer", "cert-manager.io")).await, None);
    server.put(&format!("{api}/namespaces/istio-system/issuers/istio-ca"), spec.clone());
    assert_eq!(found(issuer("Issuer", "cert-manager.io")).await, None, "its Secret is not there");
    server.put("/api/v1/namespaces/istio-system/secrets/root-key", secret.clone());
    assert_eq!(found(issuer("Issuer", "cert-manager.io")).await, Some(root.certificate()));
    assert_eq!(found(issuer("ClusterIssuer", "cert-manager.io")).await, None);
    server.put(&format!("{api}/clusterissuers/istio-ca"), spec);
    server.put("/api/v1/namespaces/cert-manager/secrets/root-key", secret);
    assert_eq!(found(issuer("ClusterIssuer", "cert-manager.io")).await, Some(root.certificate()));
    assert_eq!(found(issuer("Issuer", "awspca.cert-manager.io")).await, None);
    assert_eq!(found(issuer("VaultIssuer", "cert-manager.io")).await, None);
    server.refuse("/api/v1/namespaces/istio-system/secrets/root-key", 403);
    assert_eq!(found(issuer("Issuer", "cert-manager.io")).await, None, "what may not be read is not known");
    server.refuse("/api/v1/namespaces/istio-system/secrets/root-key", 500);
    assert!(issuer_root(&member, &issuer("Issuer", "cert-manager.io")).await.is_err());
}
