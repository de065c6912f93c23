//! istiod's CA where cert-manager issues it: whether it can be had, and that it is there before istiod starts.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;

use crate::fleet::{Member, Need, ReadError, RequestError};
use crate::hint::{Advice, Command, Hint, Plugin};
use crate::istio::ca::{
    CA_SECRET, CertificateIssuer, CertificateV1, ROOT_CONFIG_MAP, SecretError, issuer_root, published_roots,
    read_secret, same,
};
use crate::istio::{ISTIOD, NAMESPACE};
use crate::manifest::wait::until;
use crate::manifest::{Deadline, Poll, WaitError};
use crate::mesh::{CaCertificate, CertManagerIssuer, IstioCa};
use crate::spire::upstream::{IssuerRef, IssuerState, issuer};
use crate::trust::svid::Certificate;

/// Why istiod cannot have the CA that the mesh file names. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// cert-manager is not there.
    #[error(
        "the API server knows no {} of {}: cert-manager is not installed, or not what has this issuer", .0.kind, .0.group
    )]
    NoCertManager(Box<IssuerRef>),
    /// The issuer is not there.
    #[error("{issuer} does not exist, so nobody would sign istiod's CA certificate")]
    NoIssuer {
        /// The issuer of the mesh file.
        issuer: Box<IssuerRef>,
        /// Kubeconfig context of the cluster.
        context: String,
    },
    /// The issuer does not sign.
    #[error("{issuer} is not ready, so nobody would sign istiod's CA certificate: {why}")]
    IssuerNotReady {
        /// The issuer of the mesh file.
        issuer: Box<IssuerRef>,
        /// What it says of itself.
        why: String,
        /// Kubeconfig context of the cluster.
        context: String,
    },
    /// Somebody has given istiod a CA by hand.
    #[error(
        "Secret {NAMESPACE}/{CA_SECRET} is there already, and not of cert-manager's Certificate {CA_SECRET}"
    )]
    ForeignSecret {
        /// Kubeconfig context of the cluster.
        context: String,
    },
    /// istiod runs, and its root is another one.
    #[error(
        "istiod runs with the root {root} already, and not with that of Secret {CA_SECRET}: it would go over to it with whichever start \
         comes next, and with it every proxy at the same moment"
    )]
    OtherRoot {
        /// Subject and serial number of the root that proxies have.
        root: String,
        /// Kubeconfig context of the cluster.
        context: String,
    },
    /// The mesh file has another issuer now, and that one has another root.
    #[error(
        "{issuer} signs with the root {root}, and not with the one that proxies trust: that is a change of the root, which `up` does not make"
    )]
    NewRoot {
        /// Kind and name of the issuer of the mesh file.
        issuer: String,
        /// Subject and serial number of its root.
        root: String,
        /// Name of the cluster.
        cluster: String,
    },
    /// The Secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The issuer could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Something could not be read from the API server.
    #[error("cannot read {what}")]
    Request {
        /// What was to be read.
        what: String,
        /// What the API server said.
        source: RequestError,
    },
}

impl Hint for CaError {
    fn hint(&self) -> Option<Advice> {
        Some(match self {
            Self::NoCertManager(issuer) => Advice::from("install it, or see what there is: ").then(issuer.resources()),
            Self::NoIssuer { issuer, context } => {
                let text = "make it, or name another one as istio.ca in the mesh file; see what there is: ";
                Advice::from(text).then(issuer.list().at(context))
            }
            Self::IssuerNotReady { issuer, context, .. } => issuer.describe().at(context).into(),
            Self::ForeignSecret { context } => {
                let describe = Command::kubectl(["-n", NAMESPACE, "describe", "secret", CA_SECRET]);
                Advice::from("leave istio.ca out of the mesh file to go on with it; see whose it is: ")
                    .then(describe.at(context))
            }
            Self::OtherRoot { .. } => Advice::from(
                "leave istio.ca out of the mesh file to go on as it is; for another root take Istio away and bring it up again, while no \
                 pod needs it: ",
            )
            .then(Plugin::MeshInstall.command(["down"]))
            .then(", then ")
            .then(Plugin::MeshInstall.up()),
            Self::NewRoot { cluster, .. } => Advice::from("it takes steps, so that no proxy loses istiod: ")
                .then(Plugin::MeshInstall.command(["rotate-ca", "--root", cluster])),
            Self::Read(error) => return error.hint(),
            Self::Secret(_) | Self::Request { .. } => return None,
        })
    }
}

/// Returns the rights that it takes to look at what has to be there.
pub(super) fn needs(member: &Member) -> Vec<Need> {
    let IstioCa::CertManager(CaCertificate { issuer, .. }) = &member.cluster.istio.ca else {
        return Vec::new();
    };
    vec![
        IssuerRef::from(issuer).need(),
        Need::new("get", "", "configmaps", Some(NAMESPACE)),
        Need::new("get", "apps", "deployments", Some(NAMESPACE)),
    ]
}

/// Checks that an issuer is there, and can sign.
pub(super) async fn issuer_is_ready(member: &Member, wanted: &CertManagerIssuer) -> Result<(), CaError> {
    let context = || member.cluster.context.clone();
    let wanted = Box::new(IssuerRef::from(wanted));
    match issuer(member, &wanted).await?.state {
        IssuerState::Ready => Ok(()),
        IssuerState::UnknownKind => Err(CaError::NoCertManager(wanted)),
        IssuerState::Absent => Err(CaError::NoIssuer { issuer: wanted, context: context() }),
        IssuerState::NotReady(why) => {
            Err(CaError::IssuerNotReady { issuer: wanted, why, context: context() })
        }
    }
}

/// Checks that the issuer of the mesh file can sign, and that istiod does not run with another root.
pub(super) async fn can_be_had(member: &Member) -> Result<(), CaError> {
    let IstioCa::CertManager(wanted) = &member.cluster.istio.ca else { return Ok(()) };
    let context = || member.cluster.context.clone();
    issuer_is_ready(member, &wanted.issuer).await?;
    let running = running_roots(member).await?;
    let secret = match read_secret(member).await {
        // cert-manager is still at it, or its issuer gives no root, which is waited for.
        Err(SecretError::Incomplete(_)) if running.is_empty() => None,
        secret => secret?,
    };
    if secret.as_ref().is_some_and(|secret| secret.certificate.as_deref() != Some(CA_SECRET)) {
        return Err(CaError::ForeignSecret { context: context() });
    }
    let roots = secret.map(|secret| secret.roots).unwrap_or_default();
    match running.first() {
        Some(root) if !same(&running, &roots) => Err(CaError::OtherRoot {
            root: format!("{} ({})", root.subject, root.serial),
            context: context(),
        }),
        Some(_) => keeps_root(member, &CertificateIssuer::from(&wanted.issuer), &running).await,
        None => Ok(()),
    }
}

/// Refuses another issuer whose root is not the one that istiod runs with. That of the present one is no business of ours: the Secret that
/// tells it has the key of the root, too.
async fn keeps_root(
    member: &Member,
    wanted: &CertificateIssuer,
    running: &[Certificate],
) -> Result<(), CaError> {
    let certificates: Api<CertificateV1> = Api::namespaced(member.client().clone(), NAMESPACE);
    let present = certificates.get_opt(CA_SECRET).await.map_err(|error| CaError::Request {
        what: format!("Certificate {NAMESPACE}/{CA_SECRET}"),
        source: error.into(),
    })?;
    if present.is_none_or(|present| present.spec.issuer_ref.is_same(wanted)) {
        return Ok(());
    }
    let root = issuer_root(member, wanted)
        .await
        .map_err(|source| CaError::Request { what: format!("the root of {wanted}"), source })?;
    match root {
        Some(root) if !same(running, std::slice::from_ref(&root)) => Err(CaError::NewRoot {
            issuer: wanted.to_string(),
            root: format!("{} ({})", root.subject, root.serial),
            cluster: member.name().to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Returns the roots that istiod gives to proxies; none where there is no istiod.
async fn running_roots(member: &Member) -> Result<Vec<Certificate>, CaError> {
    let unread =
        |what: &str, error: kube::Error| CaError::Request { what: what.to_owned(), source: error.into() };
    let deployments: Api<Deployment> = Api::namespaced(member.client().clone(), NAMESPACE);
    let istiod = deployments.get_metadata_opt(ISTIOD).await;
    if istiod.map_err(|error| unread("Deployment istiod", error))?.is_none() {
        return Ok(Vec::new());
    }
    let maps: Api<ConfigMap> = Api::namespaced(member.client().clone(), NAMESPACE);
    let map = maps.get_opt(ROOT_CONFIG_MAP).await.map_err(|error| unread(ROOT_CONFIG_MAP, error))?;
    Ok(map.as_ref().map(published_roots).unwrap_or_default())
}

/// Waits until the CA certificate is issued and the Secret complete.
pub(super) async fn issued(member: &Member, deadline: Deadline<'_>) -> Result<(), WaitError> {
    let certificates: Api<CertificateV1> = Api::namespaced(member.client().clone(), NAMESPACE);
    until(deadline, "cert-manager to issue istiod's CA", || async {
        let certificate = match certificates.get_opt(CA_SECRET).await.map_err(RequestError::from) {
            Ok(Some(certificate)) => certificate,
            Ok(None) => return Poll::Pending(format!("there is no Certificate {CA_SECRET}")),
            Err(error) => return error.into(),
        };
        if !certificate.is_ready() {
            return Poll::Pending(certificate.says());
        }
        match read_secret(member).await {
            Ok(Some(_)) => Poll::Ready(()),
            Ok(None) => Poll::Pending(format!("there is no Secret {CA_SECRET}")),
            Err(SecretError::Request(error)) => error.into(),
            // Not every issuer knows its root, and istiod does not start without one.
            Err(error @ SecretError::Incomplete("ca.crt")) => {
                Poll::Never(format!("{error}: this issuer does not say which root it signs with"))
            }
            Err(error) => Poll::Pending(error.to_string()),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::fake::FakeServer;
    use crate::istio::ca::sample::Ca;
    use crate::mesh::IssuerKind;

    #[test]
    fn what_keeps_istiod_from_its_ca_is_said_with_what_to_do() {
        let issuer = || {
            Box::new(IssuerRef::from(&CertManagerIssuer {
                name: "istio-ca".to_owned(),
                kind: IssuerKind::Issuer,
                group: "cert-manager.io".to_owned(),
                namespace: NAMESPACE.to_owned(),
            }))
        };
        let context = || "foo".to_owned();
        let errors = [
            CaError::NoCertManager(issuer()),
            CaError::NoIssuer { issuer: issuer(), context: context() },
            CaError::IssuerNotReady { issuer: issuer(), why: "ErrGetKeyPair".to_owned(), context: context() },
            CaError::ForeignSecret { context: context() },
            CaError::OtherRoot { root: "O=foo.com (4e29)".to_owned(), context: context() },
            CaError::NewRoot {
                issuer: "Issuer next-ca".to_owned(),
                root: "CN=istio root (5a01)".to_owned(),
                cluster: "foo-eks-cluster".to_owned(),
            },
        ];
        let told = errors.map(|error| format!("{error}\n  hint: {}", error.hint().unwrap_or_default()));
        insta::assert_snapshot!(told.join("\n"));
    }

    const SYSTEM: &str = "namespaces/istio-system";
    const LATE: &str = "2026-11-25T11:00:00Z";

    fn encoded(text: &str) -> String {
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text)
    }

    /// A cluster in which cert-manager has an issuer that is ready, and the member whose mesh file names it.
    fn with_issuer() -> (FakeServer, Member) {
        let server = FakeServer::default();
        let group = json!({"name": "cert-manager.io", "versions": [{"groupVersion": "cert-manager.io/v1", "version": "v1"}],
            "preferredVersion": {"groupVersion": "cert-manager.io/v1", "version": "v1"}});
        server.put_raw("/apis", json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}));
        let issuers = json!({"name": "issuers", "singularName": "issuer", "namespaced": true, "kind": "Issuer", "verbs": ["get", "list"]});
        server.put_raw(
            "/apis/cert-manager.io/v1",
            json!({"kind": "APIResourceList", "groupVersion": "cert-manager.io/v1", "resources": [issuers]}),
        );
        server.put(
            &format!("/apis/cert-manager.io/v1/{SYSTEM}/issuers/istio-ca"),
            json!({"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "spec": {"ca": {"secretName": "root-key"}}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
        );
        let text = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: devup}\nspec:\n  istio: {ca: {certManager: {issuer: istio-ca}}}\n  clusters:\n  \
             - {name: foo, trustDomain: foo.com}\n  - {name: bar, trustDomain: bar.com}\n  - {name: baz, trustDomain: baz.com}\n";
        let mesh = crate::mesh::Mesh::parse(text, "test").unwrap();
        let member = server.member("baz");
        let member = Member::new(mesh.clusters[2].clone(), (*member).clone());
        (server, member)
    }

    fn put_secret(server: &FakeServer, ca: &Ca, root: &Ca, of: Option<&str>) {
        let annotations = of.map(|of| json!({"cert-manager.io/certificate-name": of}));
        let data =
            json!({"tls.crt": encoded(&ca.pem), "tls.key": encoded("k"), "ca.crt": encoded(&root.pem)});
        server.put(
            &format!("/api/v1/{SYSTEM}/secrets/cacerts"),
            json!({"metadata": {"annotations": annotations, "creationTimestamp": LATE}, "data": data}),
        );
    }

    fn put_istiod(server: &FakeServer, root: &Ca) {
        server.put(
            &format!("/apis/apps/v1/{SYSTEM}/deployments/istiod"),
            json!({"apiVersion": "apps/v1", "kind": "Deployment"}),
        );
        server.put(
            &format!("/api/v1/{SYSTEM}/configmaps/istio-ca-root-cert"),
            json!({"data": {"root-cert.pem": root.pem}}),
        );
    }

    async fn told(member: &Member, roots: &[(&Ca, &str)]) -> String {
        let told = match can_be_had(member).await {
            Ok(()) => "fine".to_owned(),
            Err(error) => error.to_string(),
        };
        roots.iter().fold(told, |told, (root, name)| told.replace(&root.certificate().serial, name))
    }

    #[tokio::test]
    async fn a_ca_of_cert_manager_can_be_had_where_its_issuer_is_ready_and_nothing_else_is_there() {
        let (server, member) = with_issuer();
        assert_eq!(told(&member, &[]).await, "fine");
        let plain = FakeServer::default().member("baz");
        assert_eq!(told(&plain, &[]).await, "fine", "istiod makes its own");
        assert!(needs(&plain).is_empty() && needs(&member).len() == 3);
        let issuer = format!("/apis/cert-manager.io/v1/{SYSTEM}/issuers/istio-ca");
        let mut waits = server.object(&issuer).unwrap();
        waits["status"]["conditions"][0] =
            json!({"type": "Ready", "status": "False", "reason": "ErrGetKeyPair"});
        server.put(&issuer, waits);
        insta::assert_snapshot!(told(&member, &[]).await, @"Issuer istio-ca in namespace istio-system is not ready, so nobody would sign istiod's CA certificate: ErrGetKeyPair");
        let (server, member) = with_issuer();
        server.refuse(&issuer, 404);
        insta::assert_snapshot!(told(&member, &[]).await, @"Issuer istio-ca in namespace istio-system does not exist, so nobody would sign istiod's CA certificate");
        let (server, member) = with_issuer();
        server.put_raw("/apis", json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}));
        insta::assert_snapshot!(told(&member, &[]).await, @"the API server knows no Issuer of cert-manager.io: cert-manager is not installed, or not what has this issuer");
    }

    #[tokio::test]
    async fn an_istiod_that_runs_keeps_its_root() {
        let (root, other) = (Ca::root("root"), Ca::root("other"));
        let ca = root.intermediate("ca");
        let named = [(&root, "ROOT"), (&other, "OTHER")];
        let (server, member) = with_issuer();
        put_secret(&server, &ca, &root, Some("cacerts"));
        assert_eq!(told(&member, &named).await, "fine");
        put_istiod(&server, &root);
        assert_eq!(told(&member, &named).await, "fine");
        put_istiod(&server, &other);
        insta::assert_snapshot!(told(&member, &named).await, @"istiod runs with the root CN=other (OTHER) already, and not with that of Secret cacerts: it would go over to it with whichever start comes next, and with it every proxy at the same moment");
        for foreign in [None, Some("another")] {
            put_secret(&server, &ca, &root, foreign);
            assert!(told(&member, &named).await.contains("is there already"), "{foreign:?}");
        }
        let (server, member) = with_issuer();
        put_istiod(&server, &root);
        assert!(
            told(&member, &named).await.contains("istiod runs with the root CN=root"),
            "it has one of its own"
        );
    }

    #[tokio::test]
    async fn a_secret_that_is_being_filled_is_waited_for_unless_istiod_runs() {
        let root = Ca::root("root");
        let (server, member) = with_issuer();
        let path = format!("/api/v1/{SYSTEM}/secrets/cacerts");
        server.put(&path, json!({"data": {"tls.key": encoded("k"), "tls.crt": ""}}));
        assert_eq!(told(&member, &[]).await, "fine");
        put_istiod(&server, &root);
        insta::assert_snapshot!(told(&member, &[]).await, @"Secret istio-system/cacerts has no tls.crt");
    }

    #[tokio::test]
    async fn another_issuer_with_another_root_is_a_change_of_the_root() {
        let (root, other) = (Ca::root("root"), Ca::root("other"));
        let ca = root.intermediate("ca");
        let named = [(&root, "ROOT"), (&other, "OTHER")];
        let (server, member) = with_issuer();
        put_secret(&server, &ca, &root, Some("cacerts"));
        put_istiod(&server, &root);
        let certificate = |issuer: &str| {
            let path = format!("/apis/cert-manager.io/v1/{SYSTEM}/certificates/cacerts");
            server.put(&path, json!({"spec": {"secretName": "cacerts", "issuerRef": {"name": issuer}}}));
        };
        let signs = |root: &Ca| {
            server.put(
                &format!("/api/v1/{SYSTEM}/secrets/root-key"),
                json!({"data": {"tls.crt": encoded(&root.pem)}}),
            );
        };
        certificate("before");
        assert_eq!(told(&member, &named).await, "fine", "its root is not known");
        signs(&root);
        assert_eq!(told(&member, &named).await, "fine");
        signs(&other);
        insta::assert_snapshot!(told(&member, &named).await, @"Issuer istio-ca signs with the root CN=other (OTHER), and not with the one that proxies trust: that is a change of the root, which `up` does not make");
        certificate("istio-ca");
        assert_eq!(
            told(&member, &named).await,
            "fine",
            "the issuer is the same, and its root is no business of ours"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_ca_is_issued_when_certificate_and_secret_say_so() {
        let root = Ca::root("root");
        let ca = root.intermediate("ca");
        let (server, member) = with_issuer();
        let told = || async {
            let deadline = Deadline::after(std::time::Duration::from_secs(5));
            issued(&member, deadline).await.map_err(|error| error.to_string())
        };
        let path = format!("/apis/cert-manager.io/v1/{SYSTEM}/certificates/cacerts");
        let certificate = |ready: &str| {
            let ready = json!({"type": "Ready", "status": ready, "message": "it waits"});
            server.put(&path, json!({"spec": {"secretName": "cacerts"}, "status": {"conditions": [ready]}}));
        };
        insta::assert_snapshot!(told().await.unwrap_err(), @"timed out after 5s waiting for cert-manager to issue istiod's CA; last seen: there is no Certificate cacerts");
        certificate("False");
        insta::assert_snapshot!(told().await.unwrap_err(), @"timed out after 5s waiting for cert-manager to issue istiod's CA; last seen: it waits");
        certificate("True");
        insta::assert_snapshot!(told().await.unwrap_err(), @"timed out after 5s waiting for cert-manager to issue istiod's CA; last seen: there is no Secret cacerts");
        server.put(
            &format!("/api/v1/{SYSTEM}/secrets/cacerts"),
            json!({"data": {"tls.crt": encoded(&ca.pem), "tls.key": encoded("k")}}),
        );
        insta::assert_snapshot!(told().await.unwrap_err(), @"cannot wait for cert-manager to issue istiod's CA: Secret istio-system/cacerts has no ca.crt: this issuer does not say which root it signs with");
        server.put(
            &format!("/api/v1/{SYSTEM}/secrets/cacerts"),
            json!({"data": {"tls.crt": encoded(&ca.pem)}}),
        );
        insta::assert_snapshot!(told().await.unwrap_err(), @"timed out after 5s waiting for cert-manager to issue istiod's CA; last seen: Secret istio-system/cacerts has no tls.key");
        put_secret(&server, &ca, &root, None);
        told().await.unwrap();
    }
}
