//! What lets other clusters' istiods read a cluster: a token of `spire-mesh-remote-reader` for each of them, and remote secrets made of these.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};

use super::NAMESPACE;
use super::ca::certificates;
use crate::fleet::{Member, RequestError};
use crate::manifest::{Kind, Object, ObjectKey, Owner};
use crate::mesh::EndpointUrl;
use crate::trust::svid::Certificate;

/// Name of the service account that other clusters' istiods are in a cluster.
pub const READER: &str = "spire-mesh-remote-reader";
/// Label of the Secrets that hold a token of it.
const TOKEN_LABEL: &str = "spire-mesh.dev/remote-reader-token";
/// Label by which istiod finds remote secrets (`MultiClusterSecretLabel` in Istio's `pkg/kube/multicluster`).
pub const REMOTE_SECRET_LABEL: &str = "istio/multiCluster";
/// Annotation with the name of the cluster that a remote secret is for.
const CLUSTER_ANNOTATION: &str = "networking.istio.io/cluster";

/// Which of two names the Secret of a reader's token has. A new token gets the other one, so that the old one goes on working until it is no
/// longer used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The name ends with `-a`.
    A,
    /// The name ends with `-b`.
    B,
}

impl Slot {
    /// Returns the other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// The Secret of a token with which one other cluster reads a cluster: each reader has a token of its own, which can be taken back without the
/// others noticing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenSecret {
    /// Name of the cluster that reads.
    pub reader: String,
    /// Which of the two names the Secret has.
    pub slot: Slot,
}

impl TokenSecret {
    /// Returns the Secret of a reader.
    #[must_use]
    pub fn of(reader: &str, slot: Slot) -> Self {
        Self { reader: reader.to_owned(), slot }
    }

    /// Returns the other one of the same reader.
    #[must_use]
    pub fn other(&self) -> Self {
        Self::of(&self.reader, self.slot.other())
    }

    /// Returns its name: `spire-mesh-remote-reader-foo-a`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{READER}-{}-{}", self.reader, self.slot.letter())
    }

    /// Reads a name.
    fn named(name: &str) -> Option<Self> {
        let (reader, letter) = name.strip_prefix(READER)?.strip_prefix('-')?.rsplit_once('-')?;
        let slot = [Slot::A, Slot::B].into_iter().find(|slot| slot.letter() == letter)?;
        (!reader.is_empty()).then(|| Self::of(reader, slot))
    }

    /// Returns which object it is.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(Kind::Secret, Some(NAMESPACE), &self.name())
    }

    /// Returns the Secret into which the API server writes a token.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "the object is written here")]
    pub fn object(&self) -> Object {
        Object::from_value(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self.name(),
                "namespace": NAMESPACE,
                "labels": {TOKEN_LABEL: "true"},
                "annotations": {"kubernetes.io/service-account.name": READER},
            },
            "type": "kubernetes.io/service-account-token",
        }))
        .expect("it is an object")
    }
}

/// A token with which a cluster can be read, and the CA of its API server. Debug shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct ReaderToken {
    /// Whose it is, and where it is kept.
    pub secret: TokenSecret,
    /// When its Secret was made.
    pub made: Option<Timestamp>,
    token: String,
    authority: Vec<u8>,
}

impl fmt::Debug for ReaderToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderToken")
            .field("secret", &self.secret)
            .field("made", &self.made)
            .finish_non_exhaustive()
    }
}

/// The tokens that a cluster has for its readers, the older one first. A Secret that has no token yet is left out.
///
/// # Errors
/// When the Secrets cannot be listed.
pub async fn reader_tokens(member: &Member) -> Result<Vec<ReaderToken>, RequestError> {
    let secrets: Api<Secret> = Api::namespaced(member.client().clone(), NAMESPACE);
    let list = secrets.list(&ListParams::default().labels(&format!("{TOKEN_LABEL}=true"))).await;
    let list = match list.map_err(RequestError::from) {
        Ok(list) => list.items,
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut tokens: Vec<ReaderToken> = list.into_iter().filter_map(reader_token).collect();
    tokens.sort_by_cached_key(|token| (token.made, token.secret.clone()));
    Ok(tokens)
}

fn reader_token(secret: Secret) -> Option<ReaderToken> {
    let of = TokenSecret::named(&secret.name_any())?;
    if secret.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let made = secret.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let mut data = secret.data?;
    let token = String::from_utf8(data.remove("token")?.0).ok().filter(|token| !token.is_empty())?;
    let authority = data.remove("ca.crt")?.0;
    Some(ReaderToken { secret: of, made, token, authority })
}

/// Returns the remote secret with which other clusters' istiods read `cluster` at `server`.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "the object is written here")]
pub fn remote_secret(cluster: &str, server: &EndpointUrl, token: &ReaderToken) -> Object {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {
            "server": server.as_str(),
            "certificate-authority-data": BASE64.encode(&token.authority),
        }}],
        "users": [{"name": cluster, "user": {"token": token.token}}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": cluster}}],
        "current-context": cluster,
    });
    let key = remote_secret_key(cluster);
    Object::from_value(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": key.name,
            "namespace": NAMESPACE,
            "labels": {REMOTE_SECRET_LABEL: "true"},
            "annotations": {CLUSTER_ANNOTATION: cluster},
        },
        "type": "Opaque",
        "data": {cluster: BASE64.encode(kubeconfig.to_string())},
    }))
    .expect("it is an object")
}

/// Returns which object the remote secret for a cluster is.
#[must_use]
pub fn remote_secret_key(cluster: &str) -> ObjectKey {
    ObjectKey::new(Kind::Secret, Some(NAMESPACE), &format!("istio-remote-secret-{cluster}"))
}

/// A remote secret as it is there, without its token.
#[derive(Clone, PartialEq, Eq)]
pub struct FoundRemoteSecret {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub made: Option<Timestamp>,
    /// The clusters that it is for, with what it says about each.
    pub clusters: Vec<(String, Result<Access, AccessProblem>)>,
}

/// How a remote secret says that a cluster is reached. Debug does not show the token.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// Address of the API server.
    pub server: String,
    /// The CA's certificates, PEM.
    authority: Vec<u8>,
    token: String,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("server", &self.server).finish_non_exhaustive()
    }
}

impl fmt::Debug for FoundRemoteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FoundRemoteSecret")
            .field("name", &self.name)
            .field("clusters", &self.clusters)
            .finish_non_exhaustive()
    }
}

/// Why a remote secret cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessProblem {
    /// It is no kubeconfig.
    #[error("it holds no kubeconfig")]
    Malformed,
    /// istiod refuses to run programs.
    #[error("its kubeconfig runs a program for its credentials, which istiod refuses")]
    Exec,
    /// It says nothing with which istiod could prove who it is.
    #[error("its kubeconfig has no token")]
    NoToken,
}

impl Access {
    /// Reads a kubeconfig as istiod does: the current context's cluster and user.
    ///
    /// # Errors
    /// [`AccessProblem`] with what istiod could not use.
    pub fn parse(kubeconfig: &[u8]) -> Result<Self, AccessProblem> {
        let text = std::str::from_utf8(kubeconfig).map_err(|_| AccessProblem::Malformed)?;
        let value: Value = serde_saphyr::from_str(text).map_err(|_| AccessProblem::Malformed)?;
        let named = |list: &str, name: &Value| {
            let items = value[list].as_array()?;
            items.iter().find(|item| item["name"] == *name).cloned()
        };
        let context = named("contexts", &value["current-context"]).ok_or(AccessProblem::Malformed)?;
        let cluster =
            named("clusters", &context["context"]["cluster"]).ok_or(AccessProblem::Malformed)?["cluster"]
                .clone();
        let user = named("users", &context["context"]["user"]).ok_or(AccessProblem::NoToken)?["user"].clone();
        if user.get("exec").is_some_and(|exec| !exec.is_null()) {
            return Err(AccessProblem::Exec);
        }
        let token = user["token"].as_str().filter(|token| !token.is_empty()).ok_or(AccessProblem::NoToken)?;
        let server = cluster["server"].as_str().ok_or(AccessProblem::Malformed)?;
        let authority = cluster["certificate-authority-data"].as_str().unwrap_or_default();
        let authority = BASE64.decode(authority).map_err(|_| AccessProblem::Malformed)?;
        Ok(Self { server: server.to_owned(), authority, token: token.to_owned() })
    }

    /// Returns the CA certificates by which the API server is verified; none where it says none.
    #[must_use]
    pub fn authorities(&self) -> Vec<Certificate> {
        certificates(&self.authority)
    }

    /// Tells whether this is the access that a token gives.
    #[must_use]
    pub fn is_with(&self, token: &ReaderToken) -> bool {
        self.token == token.token
    }

    /// Asks a cluster whether the token is one of its own, and still in force (`TokenReview`).
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn is_accepted_by(&self, member: &Member) -> Result<bool, RequestError> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(self.token.clone()), ..TokenReviewSpec::default() },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(member.client().clone());
        let answer = reviews.create(&PostParams::default(), &review).await.map_err(RequestError::from)?;
        Ok(answer.status.and_then(|status| status.authenticated).unwrap_or(false))
    }
}

/// Reads the remote secrets that are in a cluster.
///
/// # Errors
/// When the Secrets cannot be listed.
pub async fn found_remote_secrets(member: &Member) -> Result<Vec<FoundRemoteSecret>, RequestError> {
    let secrets: Api<Secret> = Api::namespaced(member.client().clone(), NAMESPACE);
    let params = ListParams::default().labels(&format!("{REMOTE_SECRET_LABEL}=true"));
    match secrets.list(&params).await.map_err(RequestError::from) {
        Ok(list) => Ok(list.items.into_iter().map(found).collect()),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Lists the remote secrets of an owner that are in a cluster. Nothing but their names is read.
///
/// # Errors
/// When the Secrets cannot be listed.
pub async fn owned_remote_secrets(member: &Member, owner: &Owner) -> Result<Vec<ObjectKey>, RequestError> {
    let names = owned(member, owner, REMOTE_SECRET_LABEL).await?;
    Ok(names.iter().map(|name| ObjectKey::new(Kind::Secret, Some(NAMESPACE), name)).collect())
}

/// Lists the Secrets of an owner's tokens for readers that are in a cluster, with the reader of each; one that is for all of them, as an earlier
/// version made it, has none. Nothing but their names is read.
///
/// # Errors
/// When the Secrets cannot be listed.
pub async fn owned_tokens(
    member: &Member,
    owner: &Owner,
) -> Result<Vec<(ObjectKey, Option<String>)>, RequestError> {
    let names = owned(member, owner, TOKEN_LABEL).await?;
    let reader = |name: &str| TokenSecret::named(name).map(|secret| secret.reader);
    let key = |name: &str| ObjectKey::new(Kind::Secret, Some(NAMESPACE), name);
    Ok(names.iter().map(|name| (key(name), reader(name))).collect())
}

/// Tells whether this is the Secret of a token that all readers of a cluster share, as an earlier version made it.
#[must_use]
pub fn is_shared_token(key: &ObjectKey) -> bool {
    let in_place = key.kind == Kind::Secret && key.namespace.as_deref() == Some(NAMESPACE);
    in_place && [Slot::A, Slot::B].iter().any(|slot| key.name == format!("{READER}-{}", slot.letter()))
}

/// Lists the names of an owner's Secrets with a label.
async fn owned(member: &Member, owner: &Owner, label: &str) -> Result<Vec<String>, RequestError> {
    let secrets: Api<Secret> = Api::namespaced(member.client().clone(), NAMESPACE);
    let params = ListParams::default().labels(&format!("{label}=true,{}", owner.selector()));
    match secrets.list_metadata(&params).await.map_err(RequestError::from) {
        Ok(list) => Ok(list.items.iter().map(ResourceExt::name_any).collect()),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn found(secret: Secret) -> FoundRemoteSecret {
    let made = secret.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let name = secret.name_any();
    let clusters = secret.data.unwrap_or_default();
    let clusters = clusters.into_iter().map(|(cluster, data)| (cluster, Access::parse(&data.0))).collect();
    FoundRemoteSecret { name, made, clusters }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fake::FakeServer;

    fn token() -> ReaderToken {
        ReaderToken {
            secret: TokenSecret::of("bar", Slot::A),
            made: None,
            token: "very-secret".to_owned(),
            authority: b"-----BEGIN CERTIFICATE-----".to_vec(),
        }
    }

    fn data(object: &Object) -> Vec<u8> {
        BASE64.decode(object.to_value()["data"]["foo"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn a_remote_secret_is_read_as_it_was_written() {
        let object = remote_secret("foo", &"https://10.2.0.10:6443".parse().unwrap(), &token());
        assert_eq!(object.label(REMOTE_SECRET_LABEL), Some("true"));
        let access = Access::parse(&data(&object)).unwrap();
        assert_eq!(access.server, "https://10.2.0.10:6443");
        assert!(access.is_with(&token()));
        assert!(!access.is_with(&ReaderToken { token: "another".to_owned(), ..token() }));
    }

    #[test]
    fn tokens_are_never_shown() {
        let object = remote_secret("foo", &"https://10.2.0.10:6443".parse().unwrap(), &token());
        let shown = format!("{:?} {:?} {:?}", token(), object, Access::parse(&data(&object)).unwrap());
        assert!(!shown.contains("very-secret") && !shown.contains("CERTIFICATE"), "{shown}");
    }

    #[test]
    fn what_istiod_cannot_use_is_told_apart() {
        let problem = |text: &str| Access::parse(text.as_bytes()).unwrap_err().to_string();
        insta::assert_snapshot!(problem("{"), @"it holds no kubeconfig");
        insta::assert_snapshot!(problem("current-context: a"), @"it holds no kubeconfig");
        let with = |user: &str| {
            problem(&format!(
                "current-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\nclusters: [{{name: a, cluster: {{server: 'https://a'}}}}]\n\
                 users: [{{name: a, user: {user}}}]\n"
            ))
        };
        insta::assert_snapshot!(with("{exec: {command: aws}}"), @"its kubeconfig runs a program for its credentials, which istiod refuses");
        insta::assert_snapshot!(with("{}"), @"its kubeconfig has no token");
    }

    const SECRETS: &str = "/api/v1/namespaces/istio-system/secrets";

    fn put_token(server: &FakeServer, name: &str, made: &str, data: &Value) {
        server.put(
            &format!("{SECRETS}/{name}"),
            json!({"metadata": {"labels": {TOKEN_LABEL: "true"}, "creationTimestamp": made}, "data": data}),
        );
    }

    #[tokio::test]
    async fn tokens_are_read_the_older_one_first_and_only_whole_ones() {
        let whole = || json!({"token": "dG9rZW4=", "ca.crt": "Y2E="});
        let (early, late) = ("2026-11-25T10:00:00Z", "2026-11-25T11:00:00Z");
        let slots =
            |tokens: Vec<ReaderToken>| tokens.into_iter().map(|token| token.secret.slot).collect::<Vec<_>>();
        let server = FakeServer::default();
        let member = server.member("baz");
        put_token(&server, "spire-mesh-remote-reader-foo-a", late, &whole());
        put_token(&server, "spire-mesh-remote-reader-foo-b", early, &whole());
        put_token(&server, "of-somebody", early, &whole());
        put_token(&server, "spire-mesh-remote-reader-a", early, &whole());
        assert_eq!(slots(reader_tokens(&member).await.unwrap()), [Slot::B, Slot::A]);
        put_token(&server, "spire-mesh-remote-reader-foo-b", late, &whole());
        assert_eq!(slots(reader_tokens(&member).await.unwrap()), [Slot::A, Slot::B]);
        for data in [
            Value::Null,
            json!({"ca.crt": "Y2E="}),
            json!({"token": "", "ca.crt": "Y2E="}),
            json!({"token": "dG9rZW4="}),
        ] {
            put_token(&server, "spire-mesh-remote-reader-foo-b", late, &data);
            assert_eq!(slots(reader_tokens(&member).await.unwrap()), [Slot::A]);
        }
        put_token(&server, "spire-mesh-remote-reader-foo-b", late, &whole());
        let path = format!("{SECRETS}/spire-mesh-remote-reader-foo-b");
        let mut deleted = server.object(&path).unwrap();
        deleted["metadata"]["deletionTimestamp"] = json!(late);
        server.put(&path, deleted);
        assert_eq!(slots(reader_tokens(&member).await.unwrap()), [Slot::A], "it is about to go");
    }

    #[tokio::test]
    async fn who_may_not_read_secrets_learns_that_and_without_a_namespace_there_are_none() {
        let server = FakeServer::default();
        let member = server.member("baz");
        let owner = Owner::new(crate::manifest::Tool::MeshInstall, "devup");
        server.refuse(SECRETS, 404);
        assert_eq!(reader_tokens(&member).await.unwrap(), []);
        assert!(found_remote_secrets(&member).await.unwrap().is_empty());
        assert_eq!(owned_remote_secrets(&member, &owner).await.unwrap(), []);
        server.refuse(SECRETS, 403);
        assert!(reader_tokens(&member).await.is_err() && found_remote_secrets(&member).await.is_err());
        assert!(owned_remote_secrets(&member, &owner).await.is_err());
    }

    #[tokio::test]
    async fn remote_secrets_are_those_with_istios_label_and_ours_those_with_our_mark() {
        let server = FakeServer::default();
        let put = |name: &str, labels: Value| {
            server.put(
                &format!("{SECRETS}/{name}"),
                json!({"metadata": {"labels": labels}, "data": {"foo": "e30="}}),
            );
        };
        let ours = json!({
            REMOTE_SECRET_LABEL: "true", "app.kubernetes.io/managed-by": "mesh-install", "spire-mesh.dev/mesh": "devup",
        });
        put("istio-remote-secret-foo", ours.clone());
        put("of-somebody", json!({REMOTE_SECRET_LABEL: "true"}));
        put(
            "no-remote-secret",
            json!({"app.kubernetes.io/managed-by": "mesh-install", "spire-mesh.dev/mesh": "devup"}),
        );
        let member = server.member("baz");
        let found = found_remote_secrets(&member).await.unwrap();
        let names: Vec<_> = found.iter().map(|secret| secret.name.as_str()).collect();
        assert_eq!(names, ["istio-remote-secret-foo", "of-somebody"]);
        assert_eq!(found[0].clusters, [("foo".to_owned(), Err(AccessProblem::Malformed))]);
        let owner = Owner::new(crate::manifest::Tool::MeshInstall, "devup");
        assert_eq!(owned_remote_secrets(&member, &owner).await.unwrap(), [remote_secret_key("foo")]);
        assert!(format!("{:?}", found[0]).contains("istio-remote-secret-foo"));
    }

    #[tokio::test]
    async fn a_cluster_says_whether_a_token_is_one_of_its_own() {
        let server = FakeServer::default();
        let member = server.member("baz");
        let object = remote_secret("foo", &"https://10.2.0.10:6443".parse().unwrap(), &token());
        let access = Access::parse(&data(&object)).unwrap();
        assert!(!access.is_accepted_by(&member).await.unwrap());
        server.accept("very-secret");
        assert!(access.is_accepted_by(&member).await.unwrap());
    }

    #[test]
    fn every_reader_has_two_names_that_take_turns() {
        let secret = TokenSecret::of("foo-eks-1", Slot::B);
        assert_eq!(
            secret.key().to_string(),
            "Secret/spire-mesh-remote-reader-foo-eks-1-b in namespace istio-system"
        );
        assert_eq!(secret.object().key(), &secret.key());
        assert_eq!(secret.other(), TokenSecret::of("foo-eks-1", Slot::A));
        assert_eq!(secret.other().other(), secret);
        assert_eq!(TokenSecret::named(&secret.name()), Some(secret));
        // The last is that of all readers, as an earlier version made it.
        for name in [
            "spire-mesh-remote-reader-foo-c",
            "istio-remote-secret-foo-a",
            "spire-mesh-remote-reader--a",
            "spire-mesh-remote-reader-a",
        ] {
            assert_eq!(TokenSecret::named(name), None, "{name}");
        }
    }

    #[tokio::test]
    async fn tokens_of_ours_are_found_with_their_readers() {
        let server = FakeServer::default();
        let owner = Owner::new(crate::manifest::Tool::MeshInstall, "devup");
        let put = |name: &str, mesh: &str| {
            let labels = json!({
                TOKEN_LABEL: "true", "app.kubernetes.io/managed-by": "mesh-install", "spire-mesh.dev/mesh": mesh,
            });
            server.put(&format!("{SECRETS}/{name}"), json!({"metadata": {"labels": labels}}));
        };
        put("spire-mesh-remote-reader-foo-a", "devup");
        put("spire-mesh-remote-reader-b", "devup");
        put("spire-mesh-remote-reader-bar-b", "other");
        let found = owned_tokens(&server.member("baz"), &owner).await.unwrap();
        let found: Vec<_> =
            found.iter().map(|(key, reader)| (key.name.as_str(), reader.as_deref())).collect();
        assert_eq!(
            found,
            [("spire-mesh-remote-reader-b", None), ("spire-mesh-remote-reader-foo-a", Some("foo"))]
        );
    }

    #[test]
    fn a_kubeconfig_is_read_by_its_current_context() {
        let text = "current-context: b\ncontexts: [{name: a, context: {cluster: a, user: a}}, {name: b, context: {cluster: c, user: u}}]\n\
            clusters: [{name: a, cluster: {server: 'https://a'}}, {name: c, cluster: {server: 'https://c'}}]\n\
            users: [{name: a, user: {token: of-a}}, {name: u, user: {token: of-u, exec: null}}]\n";
        let access = Access::parse(text.as_bytes()).unwrap();
        assert_eq!((access.server.as_str(), access.token.as_str()), ("https://c", "of-u"));
        let problem = |from: &str, to: &str| Access::parse(text.replace(from, to).as_bytes()).unwrap_err();
        assert_eq!(problem("token: of-u", "token: ''"), AccessProblem::NoToken);
        assert_eq!(problem("user: u}", "user: nobody}"), AccessProblem::NoToken);
        assert_eq!(problem("cluster: c,", "cluster: none,"), AccessProblem::Malformed);
        assert_eq!(
            problem("{server: 'https://c'}", "{certificate-authority-data: ''}"),
            AccessProblem::Malformed
        );
        assert_eq!(
            problem("'https://c'", "'https://c', certificate-authority-data: '%'"),
            AccessProblem::Malformed
        );
    }
}
