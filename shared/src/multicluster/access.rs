//! The access that clusters give each other: remote secrets, how old their tokens are, and replacing them.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join_all};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::Api;
use serde::Serialize;

use super::identities::wrong_identity;
use super::plan::{READERS_TOKENS, owner};
use super::restart::restart_istiod;
use super::{ApiServers, InstallError, Step};
use crate::fleet::{Member, RequestError};
use crate::istio::NAMESPACE;
use crate::istio::istiod::{Istiod, IstiodError, KnownCluster, ServiceIdentities};
use crate::istio::remote::{
    ReaderToken, Slot, TokenSecret, found_remote_secrets, reader_tokens, remote_secret,
};
use crate::manifest::wait::until;
use crate::manifest::{self, Deadline, Poll};
use crate::mesh::{Cluster, Mesh};
use crate::watch::Watch;

/// What the API server writes on a token's Secret when the token is used (Kubernetes, `LegacyServiceAccountTokenTracking`, 1.28).
const LAST_USED_LABEL: &str = "kubernetes.io/legacy-token-last-used";

/// A remote secret as it is shown. The shape of its JSON is a promise.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteSecretStatus {
    /// The cluster whose istiod reads with it.
    pub from: String,
    /// The cluster that is read.
    pub to: String,
    /// Name of the Secret.
    pub secret: String,
    /// The address of the API server in it.
    pub server: Option<String>,
    /// When the token was made, RFC 3339; absent where it is not the one that this tool has made.
    pub token_made: Option<String>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// Lists the remote secrets of all clusters.
///
/// # Errors
/// Every cluster that cannot be read.
pub async fn remote_secret_list(
    members: &[Member],
) -> Result<Vec<RemoteSecretStatus>, crate::fleet::ClusterErrors<InstallError>> {
    let tokens = super::plan::tokens(members).await?;
    let listed = crate::fleet::each(members, |member| async {
        let found = found_remote_secrets(member)
            .await
            .map_err(|source| InstallError::Request { what: "remote secrets".to_owned(), source })?;
        let entries =
            found.iter().flat_map(|secret| secret.clusters.iter().map(move |entry| (secret, entry)));
        let shown = entries.map(|(secret, (to, access))| {
            let token = access
                .as_ref()
                .ok()
                .and_then(|access| tokens.get(to)?.iter().find(|token| access.is_with(token)));
            let of_ours = tokens.get(to).is_some_and(|tokens| !tokens.is_empty());
            let problem = match access {
                Err(problem) => Some(problem.to_string()),
                Ok(_) if of_ours && token.is_none() => {
                    Some("its token is none of those that the cluster has".to_owned())
                }
                Ok(_) if token.is_some_and(|token| token.secret.reader != member.name()) => {
                    Some("its token is that of another cluster's istiod".to_owned())
                }
                Ok(_) if !members.iter().any(|member| member.name() == to) => {
                    Some("the mesh file has no such cluster".to_owned())
                }
                Ok(_) => None,
            };
            RemoteSecretStatus {
                from: member.name().to_owned(),
                to: to.clone(),
                secret: secret.name.clone(),
                server: access.as_ref().ok().map(|access| access.server.clone()),
                token_made: token.and_then(|token| token.made).map(|made| format!("{made:.0}")),
                problem,
            }
        });
        Ok::<_, InstallError>(shown.collect::<Vec<_>>())
    });
    Ok(listed.await.into_all()?.into_iter().flatten().collect())
}

/// What replacing the tokens with which a cluster is read came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RotatedToken {
    /// The cluster that is read with them.
    pub cluster: String,
    /// When the newest of the new tokens was made, RFC 3339.
    pub made: Option<String>,
    /// The clusters whose istiod reads with a new token of its own now.
    pub readers: Vec<String>,
    /// Those of them whose istiod had lost endpoints, and was started again.
    pub restarted: Vec<String>,
}

/// Replaces the tokens with which the other clusters read `member`, one for each: a reader's old one goes when its new one is in use.
///
/// Safe to drop at any await and to run again: it goes on with the newest tokens that there are.
///
/// # Errors
/// [`InstallError`] for the first thing that does not work. The old token of that reader then still works.
pub async fn rotate_token(
    mesh: &Mesh,
    members: &[Member],
    member: &Member,
    servers: &ApiServers,
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> Result<RotatedToken, InstallError> {
    watch.step(member.name(), &Step::MakingToken);
    let peers: Vec<&Member> = members.iter().filter(|peer| peer.name() != member.name()).collect();
    let Some(server) = servers.get(member.name()) else {
        return Err(InstallError::PeerMissing { peer: member.name().to_owned() });
    };
    let tokens = try_join_all(peers.iter().map(|peer| newest(mesh, member, peer.name(), deadline))).await?;
    watch.step(member.name(), &Step::GivingAccess);
    let before = join_all(peers.iter().map(|peer| identities(peer))).await;
    try_join_all(peers.iter().zip(&tokens).map(|(peer, token)| async {
        let secret = owner(mesh).stamped(vec![remote_secret(member.name(), server, token)]);
        let applied = manifest::apply(peer.client(), &secret, deadline, &|_, _| {}).await;
        applied.map_err(|error| InstallError::In { place: peer.place(), source: Box::new(error.into()) })
    }))
    .await?;
    watch.step(member.name(), &Step::WaitingForReaders);
    let read = peers.iter().zip(&tokens).zip(&before).map(|((peer, token), before)| async {
        // Not an error yet: an istiod that has closed the cluster with its old secret (seen with 1.29.2) asks nothing before it is started
        // again.
        drop(used(member, token, deadline.at_most(SETTLES_WITHIN)).await);
        read_again(member, peer, before.as_ref().ok(), &mesh.clusters, (deadline, watch)).await
    });
    let restarted = try_join_all(read).await?;
    try_join_all(tokens.iter().map(|token| retire(member, token, deadline, watch))).await?;
    let names = |wanted: bool| {
        let chosen = peers.iter().zip(&restarted).filter(move |(_, restarted)| !wanted || **restarted);
        chosen.map(|(peer, _)| peer.name().to_owned()).collect::<Vec<_>>()
    };
    let rotated = RotatedToken {
        cluster: member.name().to_owned(),
        made: tokens.iter().filter_map(|token| token.made).max().map(|made| format!("{made:.0}")),
        readers: names(false),
        restarted: names(true),
    };
    let readers = rotated.readers.join(", ");
    watch.step(member.name(), &Step::Done(format!("read with a new token each by {readers}")));
    Ok(rotated)
}

/// Returns the token of a reader to go on with: a new one, or the newer one of two.
async fn newest(
    mesh: &Mesh,
    member: &Member,
    reader: &str,
    deadline: Deadline<'_>,
) -> Result<ReaderToken, InstallError> {
    let tokens = || async {
        reader_tokens(member)
            .await
            .map_err(|source| InstallError::Request { what: READERS_TOKENS.to_owned(), source })
    };
    let there = tokens().await?.into_iter().filter(|token| token.secret.reader == reader);
    let secret = match there.collect::<Vec<_>>().as_slice() {
        [] => TokenSecret::of(reader, Slot::A),
        [only] => only.secret.other(),
        [.., newest] => return Ok(newest.clone()),
    };
    let objects = owner(mesh).stamped(vec![secret.object()]);
    manifest::apply(member.client(), &objects, deadline, &|_, _| {}).await?;
    let made = until(deadline, "the new token", || async {
        match reader_tokens(member).await {
            Ok(tokens) => match tokens.into_iter().find(|token| token.secret == secret) {
                Some(token) => Poll::Ready(token),
                None => Poll::Pending(format!("{} has no token yet", secret.key())),
            },
            Err(error) => error.into(),
        }
    });
    Ok(made.await?)
}

/// Deletes the token that `token` has replaced, and only that, once its reader has read the cluster with the new one.
async fn retire(
    member: &Member,
    token: &ReaderToken,
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> Result<(), InstallError> {
    used(member, token, deadline).await?;
    watch.step(member.name(), &Step::DeletingToken);
    manifest::delete(member.client(), &[token.secret.other().key()], deadline, &|_, _| {}).await?;
    Ok(())
}

/// Waits until its reader has read the cluster with the token: nobody else has it.
async fn used(member: &Member, token: &ReaderToken, deadline: Deadline<'_>) -> Result<(), InstallError> {
    let secrets: Api<Secret> = Api::namespaced(member.client().clone(), NAMESPACE);
    let (name, reader) = (token.secret.name(), &token.secret.reader);
    until(deadline, &format!("{reader} to read it with its new token"), || async {
        match secrets.get_metadata(&name).await {
            Ok(secret) if secret.labels().contains_key(LAST_USED_LABEL) => Poll::Ready(()),
            Ok(_) => Poll::Pending(format!("{reader} has not used it yet")),
            Err(error) => RequestError::from(error).into(),
        }
    })
    .await?;
    Ok(())
}

/// Returns the services with endpoints in each cluster that the peer's istiod knows.
async fn identities(peer: &Member) -> Result<ServiceIdentities, IstiodError> {
    let mut all = ServiceIdentities::new();
    for istiod in Istiod::find(peer).await? {
        all.extend(istiod.identities().await?);
    }
    Ok(all)
}

/// Waits until the peer's istiods have read `member`, with every service that they knew before. An istiod that has lost endpoints is started
/// again: before Istio's fix of issue 61043, replacing a remote secret could wipe them for good. So is one that has read the trust domain of
/// `member` too late, and takes its workloads for its own. Tells whether that was needed.
async fn read_again(
    member: &Member,
    peer: &Member,
    before: Option<&ServiceIdentities>,
    clusters: &[Cluster],
    (deadline, watch): (Deadline<'_>, &dyn Watch<Step>),
) -> Result<bool, InstallError> {
    let wait = |deadline| async move {
        let what = format!("{} to have read {}", peer.name(), member.name());
        until(deadline, &what, || async {
            match lacking(member, peer, before).await {
                Ok(None) => Poll::Ready(()),
                Ok(Some(lacking)) => Poll::Pending(lacking),
                Err(error) => Poll::Pending(error.to_string()),
            }
        })
        .await
    };
    if wait(deadline.at_most(SETTLES_WITHIN)).await.is_ok() {
        return Ok(false);
    }
    restart_istiod(peer, clusters, deadline, watch).await?;
    wait(deadline).await?;
    Ok(true)
}

/// How long istiod may take to read a cluster anew.
pub(super) const SETTLES_WITHIN: std::time::Duration = std::time::Duration::from_secs(40);

async fn lacking(
    member: &Member,
    peer: &Member,
    before: Option<&ServiceIdentities>,
) -> Result<Option<String>, IstiodError> {
    for istiod in Istiod::find(peer).await? {
        let known = istiod.clusters().await?;
        let lacking = match unread(&member.cluster, &known) {
            Some(lacking) => Some(lacking),
            None => unlike(&member.cluster, before, &istiod.identities().await?),
        };
        if let Some(lacking) = lacking {
            return Ok(Some(format!("{}{lacking}", istiod.pod())));
        }
    }
    Ok(None)
}

/// Says why an istiod that knows these clusters has not read one of them.
fn unread(cluster: &Cluster, known: &[KnownCluster]) -> Option<String> {
    match known.iter().find(|known| known.id == cluster.name) {
        Some(known) if known.is_synced() => None,
        Some(known) => Some(format!(": {} is {}", cluster.name, known.sync_status)),
        None => Some(format!(" does not know {}", cluster.name)),
    }
}

/// Says what an istiod has of a cluster that is not as it should be, or was there `before`.
fn unlike(cluster: &Cluster, before: Option<&ServiceIdentities>, now: &ServiceIdentities) -> Option<String> {
    let name = &cluster.name;
    if wrong_identity(std::slice::from_ref(cluster), now).is_some() {
        return Some(format!(" takes the workloads of {name} for those of another trust domain"));
    }
    let has = |all: &ServiceIdentities, service: &str| {
        all.get(service).is_some_and(|clusters: &BTreeMap<String, _>| clusters.contains_key(name))
    };
    let before = before?;
    let lost = before.keys().find(|service| has(before, service) && !has(now, service))?;
    Some(format!(" has lost the endpoints of {lost} in {name}"))
}

/// Tells how old something is, for people: `3d`, `5h`, `12m`.
#[must_use]
pub fn age(made: Option<&str>, now: Timestamp) -> Option<String> {
    let made: Timestamp = made?.parse().ok()?;
    let seconds = now.as_second().saturating_sub(made.as_second()).max(0);
    Some(match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    })
}

/// Returns the clusters of which a reader has two tokens: of a rotation that was interrupted.
///
/// # Errors
/// Every cluster that cannot be read.
pub async fn half_rotated(
    members: &[Member],
) -> Result<Vec<String>, crate::fleet::ClusterErrors<InstallError>> {
    let tokens = super::plan::tokens(members).await?;
    let is_half = |tokens: &[ReaderToken]| {
        tokens.iter().any(|one| tokens.iter().any(|token| token.secret == one.secret.other()))
    };
    Ok(tokens.into_iter().filter(|(_, tokens)| is_half(tokens)).map(|(cluster, _)| cluster).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::fleet::fake::FakeServer;

    const SECRETS: &str = "/api/v1/namespaces/istio-system/secrets";

    fn path(name: &str) -> String {
        format!("{SECRETS}/{name}")
    }

    fn reader(slot: &str) -> String {
        path(&format!("spire-mesh-remote-reader-foo-{slot}"))
    }

    /// Gives a cluster a token for foo, which says its slot.
    fn put_token(server: &FakeServer, slot: &str, made: &str) {
        put_token_at(server, &reader(slot), slot, made);
    }

    fn put_token_at(server: &FakeServer, path: &str, token: &str, made: &str) {
        let token = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, token);
        server.put(
            path,
            json!({
                "metadata": {"labels": {"spire-mesh.dev/remote-reader-token": "true"}, "creationTimestamp": made},
                "type": "kubernetes.io/service-account-token",
                "data": {"token": token, "ca.crt": "Y2E="},
            }),
        );
    }

    fn mesh() -> Mesh {
        let text = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: devup}\nspec:\n  clusters:\n  \
             - {name: foo, trustDomain: foo.com}\n  - {name: bar, trustDomain: bar.com}\n  - {name: baz, trustDomain: baz.com}\n";
        Mesh::parse(text, "test").unwrap()
    }

    fn soon() -> Deadline<'static> {
        Deadline::after(Duration::from_mins(1))
    }

    async fn token(member: &Member, slot: Slot) -> ReaderToken {
        let tokens = reader_tokens(member).await.unwrap();
        tokens.into_iter().find(|token| token.secret.slot == slot).unwrap()
    }

    #[derive(Default)]
    struct Steps(Mutex<Vec<Step>>);

    impl Watch<Step> for Steps {
        fn step(&self, _: &str, step: &Step) {
            self.0.lock().unwrap().push(step.clone());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_old_token_and_only_it_goes_once_the_new_one_was_used() {
        for (new, old, slot) in [("b", "a", Slot::B), ("a", "b", Slot::A)] {
            let server = FakeServer::default();
            let member = server.member("baz");
            put_token(&server, old, "2026-11-25T10:00:00Z");
            put_token(&server, new, "2026-11-25T11:00:00Z");
            let token = token(&member, slot).await;
            let steps = Steps::default();
            let unused = retire(&member, &token, soon(), &steps).await.unwrap_err();
            assert!(unused.to_string().contains("foo has not used it yet"), "{unused}");
            assert_eq!((server.writes(), steps.0.lock().unwrap().len()), (Vec::new(), 0));
            let mut used = server.object(&reader(new)).unwrap();
            used["metadata"]["labels"][LAST_USED_LABEL] = json!("2026-11-25");
            server.put(&reader(new), used);
            retire(&member, &token, soon(), &steps).await.unwrap();
            assert!(server.object(&reader(old)).is_none() && server.object(&reader(new)).is_some());
            assert_eq!(*steps.0.lock().unwrap(), [Step::DeletingToken]);
        }
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_looked_at_was_not_used() {
        let server = FakeServer::default();
        let member = server.member("baz");
        put_token(&server, "a", "2026-11-25T10:00:00Z");
        put_token(&server, "b", "2026-11-25T11:00:00Z");
        let token = token(&member, Slot::B).await;
        server.refuse(&reader("b"), 403);
        assert!(retire(&member, &token, soon(), &Steps::default()).await.is_err());
        assert_eq!(server.writes(), [""; 0]);
    }

    #[tokio::test]
    async fn a_rotation_makes_the_token_that_is_not_there_or_goes_on_with_the_newer_of_two() {
        let slot = |old: &'static [(&'static str, &'static str)]| async move {
            let server = FakeServer::default();
            let member = server.member("baz");
            for (slot, made) in old {
                put_token(&server, slot, made);
            }
            let token = newest(&mesh(), &member, "foo", soon()).await.unwrap();
            (token.secret.slot, server.writes().len())
        };
        assert_eq!(slot(&[]).await, (Slot::A, 1));
        assert_eq!(slot(&[("a", "2026-11-25T10:00:00Z")]).await, (Slot::B, 1));
        assert_eq!(slot(&[("b", "2026-11-25T10:00:00Z")]).await, (Slot::A, 1));
        assert_eq!(slot(&[("a", "2026-11-25T10:00:00Z"), ("b", "2026-11-25T11:00:00Z")]).await, (Slot::B, 0));
        assert_eq!(slot(&[("a", "2026-11-25T11:00:00Z"), ("b", "2026-11-25T10:00:00Z")]).await, (Slot::A, 0));
        let server = FakeServer::default();
        put_token(&server, "a", "2026-11-25T10:00:00Z");
        let token = newest(&mesh(), &server.member("baz"), "bar", soon()).await.unwrap();
        assert_eq!(token.secret, TokenSecret::of("bar", Slot::A), "the token of foo is nothing to bar");
    }

    #[tokio::test]
    async fn a_rotation_that_was_interrupted_is_where_there_are_two_tokens() {
        let servers = ["foo", "bar", "baz"].map(|name| (name, FakeServer::default()));
        put_token(&servers[1].1, "b", "2026-11-25T10:00:00Z");
        put_token(&servers[2].1, "a", "2026-11-25T10:00:00Z");
        put_token(&servers[2].1, "b", "2026-11-25T11:00:00Z");
        // One each, of two readers.
        put_token(&servers[0].1, "a", "2026-11-25T10:00:00Z");
        put_token_at(
            &servers[0].1,
            &path("spire-mesh-remote-reader-baz-b"),
            "of-baz",
            "2026-11-25T11:00:00Z",
        );
        let members = servers.map(|(name, server)| server.member(name));
        assert_eq!(half_rotated(&members).await.unwrap(), ["baz"]);
    }

    fn kubeconfig(token: &str) -> String {
        let text = json!({
            "clusters": [{"name": "c", "cluster": {"server": "https://api.example:6443"}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        });
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text.to_string())
    }

    #[tokio::test]
    async fn every_remote_secret_is_listed_with_what_is_wrong_with_it() {
        let servers = ["foo", "bar", "baz"].map(|name| (name, FakeServer::default()));
        put_token(&servers[1].1, "a", "2026-11-25T10:00:00Z");
        put_token_at(
            &servers[1].1,
            &path("spire-mesh-remote-reader-baz-b"),
            "of-baz",
            "2026-11-25T11:00:00Z",
        );
        let put = |name: &str, cluster: &str, data: String| {
            let labels = json!({"istio/multiCluster": "true"});
            let secret = json!({"metadata": {"labels": labels}, "data": {cluster: data}});
            servers[2].1.put(&path(name), secret);
        };
        put("istio-remote-secret-bar", "bar", kubeconfig("of-baz"));
        put("istio-remote-secret-bar-of-foo", "bar", kubeconfig("a"));
        put("istio-remote-secret-bar-old", "bar", kubeconfig("elsewhere"));
        put("istio-remote-secret-foo", "foo", kubeconfig("of-somebody"));
        put("istio-remote-secret-qux", "qux", kubeconfig("x"));
        put("istio-remote-secret-broken", "foo", "e30=".to_owned());
        let members = servers.map(|(name, server)| server.member(name));
        let listed = remote_secret_list(&members).await.unwrap();
        insta::assert_json_snapshot!(listed);
    }

    #[test]
    fn a_cluster_is_read_again_when_it_is_synced_and_nothing_of_it_was_lost() {
        let baz = Cluster::example("baz", "baz.com");
        let known = |statuses: &[(&str, &str)]| -> Vec<KnownCluster> {
            let known = statuses.iter().map(|(id, status)| KnownCluster {
                id: (*id).to_owned(),
                secret_name: String::new(),
                sync_status: (*status).to_owned(),
            });
            known.collect()
        };
        let others = [("foo", "synced"), ("bar", "synced")];
        assert_eq!(unread(&baz, &known(&others)).unwrap(), " does not know baz");
        assert_eq!(unread(&baz, &known(&[others[0], ("baz", "syncing")])).unwrap(), ": baz is syncing");
        assert_eq!(unread(&baz, &known(&[("foo", "closed"), ("baz", "synced")])), None);

        let identities = |of: &[(&str, &str, &str)]| -> ServiceIdentities {
            let mut all = ServiceIdentities::new();
            for (service, cluster, domain) in of {
                let ids = [format!("spiffe://{domain}/ns/a/sa/b")].into();
                all.entry((*service).to_owned()).or_default().insert((*cluster).to_owned(), ids);
            }
            all
        };
        let before = identities(&[
            ("a", "foo", "foo.com"),
            ("a", "baz", "baz.com"),
            ("b", "baz", "baz.com"),
            ("c", "foo", "foo.com"),
        ]);
        assert_eq!(unlike(&baz, Some(&before), &before), None);
        let fewer = identities(&[("a", "baz", "baz.com"), ("b", "foo", "foo.com")]);
        assert_eq!(unlike(&baz, Some(&before), &fewer).unwrap(), " has lost the endpoints of b in baz");
        assert_eq!(unlike(&baz, None, &fewer), None, "what was there before is not known");
        let without_c = identities(&[("a", "baz", "baz.com"), ("b", "baz", "baz.com")]);
        assert_eq!(
            unlike(&baz, Some(&before), &without_c),
            None,
            "what was lost of another cluster is not of this one"
        );
        let wrong = identities(&[("a", "baz", "foo.com"), ("b", "baz", "baz.com")]);
        assert_eq!(
            unlike(&baz, Some(&before), &wrong).unwrap(),
            " takes the workloads of baz for those of another trust domain"
        );
    }

    #[test]
    fn ages_are_told_in_the_largest_unit_that_fits() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let of = |seconds: i64| {
            let made = Timestamp::from_second(now.as_second() - seconds).unwrap().to_string();
            age(Some(&made), now).unwrap()
        };
        let told = [
            (-5, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3599, "59m"),
            (3600, "1h"),
            (172_799, "47h"),
            (172_800, "2d"),
        ];
        for (seconds, text) in told {
            assert_eq!(of(seconds), text);
        }
        assert_eq!((age(None, now), age(Some("yesterday"), now)), (None, None));
    }
}
