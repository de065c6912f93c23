use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;
use crate::manifest::{Tool, to_yaml};
use crate::mesh::Mesh;
use crate::trust::svid::Certificate;

/// A CA for tests: its certificate, and what signs with it.
struct Ca {
    pem: String,
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str, is_ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
}

impl Ca {
    fn root(name: &str) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), params(name, true));
        let made = params.self_signed(&key).unwrap();
        Self { pem: made.pem(), der: made.der().to_vec(), issuer: Issuer::new(params, key) }
    }

    fn intermediate(&self, name: &str) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), params(name, true));
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Self { pem: made.pem(), der: made.der().to_vec(), issuer: Issuer::new(params, key) }
    }

    fn certificate(&self) -> Certificate {
        Certificate::from_der(self.der.clone()).unwrap()
    }

    /// Returns what istiod presents that signs with this CA: its own certificate, that of the CA, and the root.
    fn presented(&self, root: &Self) -> Vec<Certificate> {
        let key = KeyPair::generate().unwrap();
        let leaf = params("istiod", false).signed_by(&key, &self.issuer).unwrap();
        let leaf = Certificate::from_der(leaf.der().to_vec()).unwrap();
        vec![leaf, self.certificate(), root.certificate()]
    }
}

fn secret(ca: &Ca, root: &Ca, created: &str) -> CaSecret {
    let data = [("tls.crt", ca.pem.as_str()), ("tls.key", "a key"), ("ca.crt", root.pem.as_str())];
    let mut secret = Secret {
        data: Some(data.map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec()))).into()),
        ..Secret::default()
    };
    secret.metadata.creation_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(created.parse().unwrap()));
    CaSecret::of(&secret).unwrap()
}

fn istiod(started: &str, presented: Vec<Certificate>) -> SeenIstiod {
    SeenIstiod {
        pod: "istiod-1".to_owned(),
        started: Some(started.parse().unwrap()),
        presented,
        log: CaLog::default(),
    }
}

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
