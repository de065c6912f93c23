//! What istiod knows, from its debug endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::Deserialize;
use serde_json::Value;

use super::version::IstioVersion;
use super::{ISTIOD, NAMESPACE};
use crate::fleet::{Connection, ForwardError, PodPort, RequestError};
use crate::hint::{Advice, Command, Hint};
use crate::manifest::pod_is_ready;
use crate::report::{cut, one_line};

/// How long one question may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// The port at which it answers questions about itself, from its own pod without further ado (Istio, `pilot/pkg/xds/debug.go`). `pilot-discovery
/// request` asks there too, but a program that is started in the pod for every question takes twenty times as long.
const MONITORING: u16 = 15014;
/// The most characters of a refusal that are repeated.
const MOST_SAID: usize = 300;
/// Name of its container.
pub(super) const CONTAINER: &str = "discovery";

/// One pod of istiod.
#[derive(Clone, Debug)]
pub struct Istiod<'m> {
    connection: &'m Connection,
    at: PodPort,
    /// When its container started.
    pub started: Option<Timestamp>,
}

/// Why istiod could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum IstiodError {
    /// The pods could not be listed.
    #[error("cannot list the pods of istiod")]
    List(#[source] RequestError),
    /// No pod of it is ready.
    #[error("no pod of istiod in namespace {NAMESPACE} is ready")]
    NotReady {
        /// Kubeconfig context of the cluster.
        context: String,
    },
    /// The question could not be put.
    #[error(transparent)]
    Forward(Box<ForwardError>),
    /// It refused to answer.
    #[error("istiod does not answer {path} (status {status}): {said}")]
    Refused {
        /// What was asked for.
        path: &'static str,
        /// Status of HTTP.
        status: u16,
        /// What was said.
        said: String,
    },
    /// Its answer has another form than expected.
    #[error("cannot read what istiod answers to {path}")]
    Answer {
        /// What was asked for.
        path: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl From<ForwardError> for IstiodError {
    fn from(error: ForwardError) -> Self {
        Self::Forward(Box::new(error))
    }
}

impl Hint for IstiodError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::NotReady { context } => {
                let words = ["-n", NAMESPACE, "describe", "pods", "-l", &format!("app={ISTIOD}")];
                Some(Command::kubectl(words).at(context).into())
            }
            Self::Forward(error) => error.hint(),
            Self::Answer { .. } => Some("its version may be one that is not known here".into()),
            Self::List(_) | Self::Refused { .. } => None,
        }
    }
}

/// A cluster as istiod knows it (`/debug/clusterz`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownCluster {
    /// Its name.
    pub id: String,
    /// Namespace and name of its remote secret; empty for istiod's own cluster.
    #[serde(default)]
    pub secret_name: String,
    /// `synced`, `syncing`, `timeout` or `closed`.
    pub sync_status: String,
}

impl KnownCluster {
    /// Tells whether istiod has read the whole cluster.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.sync_status == "synced"
    }

    /// Tells whether istiod has given the cluster up: it reads it no more before its next start. That of Istio 1.29.2 does so when the remote
    /// secret changes.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sync_status == "closed"
    }
}

/// A way into a network as istiod knows it (`/debug/networkz`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkGateway {
    /// The network.
    pub network: String,
    /// The cluster that the gateway is in.
    pub cluster: String,
    /// Its address.
    pub addr: String,
    /// Its port.
    pub port: u16,
}

/// The identities that istiod expects behind a service, by the cluster that its endpoints are in (`/debug/endpointShardz`).
pub type ServiceIdentities = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

#[derive(Deserialize)]
struct NamespaceShards {
    #[serde(rename = "Shards", default)]
    shards: Option<BTreeMap<String, Option<Vec<ShardEndpoint>>>>,
}

#[derive(Deserialize)]
struct ShardEndpoint {
    #[serde(rename = "ServiceAccount", default)]
    service_account: String,
}

impl<'m> Istiod<'m> {
    /// Finds the pods of istiod that are ready.
    ///
    /// # Errors
    /// [`IstiodError`] when there is none, or pods cannot be listed.
    pub async fn find(connection: &'m Connection) -> Result<Vec<Self>, IstiodError> {
        let pods: Api<Pod> = Api::namespaced(connection.client().clone(), NAMESPACE);
        let list = pods
            .list(&ListParams::default().labels(&format!("app={ISTIOD}")))
            .await
            .map_err(|error| IstiodError::List(error.into()))?;
        let ready = list.items.into_iter().filter(pod_is_ready);
        let found: Vec<Self> = ready
            .map(|pod| Self {
                connection,
                started: started(&pod),
                at: PodPort { namespace: NAMESPACE.to_owned(), pod: pod.name_any(), port: MONITORING },
            })
            .collect();
        if found.is_empty() {
            return Err(IstiodError::NotReady { context: connection.context().to_owned() });
        }
        Ok(found)
    }

    /// Returns the name of the pod.
    #[must_use]
    pub fn pod(&self) -> &str {
        &self.at.pod
    }

    /// Returns the clusters that it knows, its own among them.
    ///
    /// # Errors
    /// [`IstiodError`] when it does not answer.
    pub async fn clusters(&self) -> Result<Vec<KnownCluster>, IstiodError> {
        self.ask("/debug/clusterz", parse_clusters).await
    }

    /// Returns the gateways of all networks that it knows.
    ///
    /// # Errors
    /// [`IstiodError`] when it does not answer.
    pub async fn networks(&self) -> Result<Vec<NetworkGateway>, IstiodError> {
        self.ask("/debug/networkz", parse_networks).await
    }

    /// Returns the identities that it expects behind every service.
    ///
    /// # Errors
    /// [`IstiodError`] when it does not answer.
    pub async fn identities(&self) -> Result<ServiceIdentities, IstiodError> {
        self.ask("/debug/endpointShardz", parse_identities).await
    }

    /// Returns the mesh configuration that is in force.
    ///
    /// # Errors
    /// [`IstiodError`] when it does not answer.
    pub async fn mesh_config(&self) -> Result<Value, IstiodError> {
        self.ask("/debug/mesh", |answer| serde_json::from_slice(answer)).await
    }

    /// Returns the version that it says it is of; `None` where that is no version, as of builds of one's own.
    ///
    /// # Errors
    /// [`IstiodError`] when it does not answer.
    pub async fn version(&self) -> Result<Option<IstioVersion>, IstiodError> {
        Ok(String::from_utf8_lossy(&self.get("/version").await?).parse().ok())
    }

    /// Returns the proxies that are connected to it and have taken their clusters, each as `POD.NAMESPACE`.
    ///
    /// # Errors
    /// [`IstiodError`] when it does not answer.
    pub async fn proxies(&self) -> Result<BTreeSet<String>, IstiodError> {
        self.ask("/debug/syncz", parse_proxies).await
    }

    async fn ask<T>(
        &self,
        path: &'static str,
        parse: impl FnOnce(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, IstiodError> {
        parse(&self.get(path).await?).map_err(|source| IstiodError::Answer { path, source })
    }

    async fn get(&self, path: &'static str) -> Result<Vec<u8>, IstiodError> {
        let mut session = self.connection.open(&self.at, DEADLINE).await?;
        let answer = session.get(path).await?;
        if answer.status != 200 {
            let said = cut(one_line(&String::from_utf8_lossy(&answer.body)), MOST_SAID);
            return Err(IstiodError::Refused { path, status: answer.status, said });
        }
        Ok(answer.body)
    }
}

/// Parses the answer to `/debug/clusterz`.
///
/// # Errors
/// When it is no such answer.
pub fn parse_clusters(answer: &[u8]) -> serde_json::Result<Vec<KnownCluster>> {
    serde_json::from_slice(answer)
}

/// Parses the answer to `/debug/networkz`; `null` where there is no gateway.
///
/// # Errors
/// When it is no such answer.
pub fn parse_networks(answer: &[u8]) -> serde_json::Result<Vec<NetworkGateway>> {
    Ok(serde_json::from_slice::<Option<_>>(answer)?.unwrap_or_default())
}

/// Parses the answer to `/debug/syncz`: the connected proxies that have taken their clusters, each as `POD.NAMESPACE`.
///
/// # Errors
/// When it is no such answer.
pub fn parse_proxies(answer: &[u8]) -> serde_json::Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Connected {
        proxy: String,
        #[serde(default)]
        cluster_acked: String,
    }
    let connected = serde_json::from_slice::<Option<Vec<Connected>>>(answer)?.unwrap_or_default();
    let served = connected.into_iter().filter(|connected| !connected.cluster_acked.is_empty());
    Ok(served.map(|connected| connected.proxy).collect())
}

/// Lists the proxies that any pod of istiod serves.
///
/// # Errors
/// [`IstiodError`] when there is no pod of it, or one cannot be asked.
pub async fn served_proxies(connection: &Connection) -> Result<BTreeSet<String>, IstiodError> {
    let mut served = BTreeSet::new();
    for istiod in Istiod::find(connection).await? {
        served.extend(istiod.proxies().await?);
    }
    Ok(served)
}

/// Parses the answer to `/debug/endpointShardz`.
///
/// # Errors
/// When it is no such answer.
pub fn parse_identities(answer: &[u8]) -> serde_json::Result<ServiceIdentities> {
    let services: BTreeMap<String, BTreeMap<String, NamespaceShards>> = serde_json::from_slice(answer)?;
    let mut found = ServiceIdentities::new();
    for (service, namespaces) in services {
        for (shard, endpoints) in
            namespaces.into_values().flat_map(|shards| shards.shards.unwrap_or_default())
        {
            // `Kubernetes/CLUSTER`; other registries, such as ServiceEntries, are not of a cluster's pods.
            let Some(cluster) = shard.strip_prefix("Kubernetes/") else { continue };
            let accounts = endpoints.unwrap_or_default().into_iter().map(|endpoint| endpoint.service_account);
            let accounts: BTreeSet<String> = accounts.filter(|account| !account.is_empty()).collect();
            if !accounts.is_empty() {
                let of = found.entry(service.clone()).or_default().entry(cluster.to_owned()).or_default();
                of.extend(accounts);
            }
        }
    }
    Ok(found)
}

fn started(pod: &Pod) -> Option<Timestamp> {
    let mut statuses = pod.status.as_ref()?.container_statuses.iter().flatten();
    let status = statuses.find(|status| status.name == CONTAINER)?;
    status.state.as_ref()?.running.as_ref()?.started_at.as_ref().map(|time| time.0)
}

/// Reads the version from an image's tag, `…/pilot:1.31.0-distroless`; `None` where the tag is none.
#[must_use]
pub fn image_version(image: &str) -> Option<IstioVersion> {
    image.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_sorted_by_service_and_cluster() {
        let shards = r#"{
            "helloworld.sample.svc.cluster.local": {"sample": {"Shards": {
                "Kubernetes/bar": [{"ServiceAccount": "spiffe://bar.com/ns/sample/sa/helloworld"}],
                "Kubernetes/foo": [{"ServiceAccount": "spiffe://foo.com/ns/sample/sa/helloworld"}, {"ServiceAccount": ""}],
                "External/x": [{"ServiceAccount": "spiffe://x"}]
            }, "ServiceAccounts": {}}},
            "empty.sample.svc.cluster.local": {"sample": {"Shards": {"Kubernetes/foo": null}}}
        }"#;
        let found = parse_identities(shards.as_bytes()).unwrap();
        insta::assert_json_snapshot!(found);
    }

    #[test]
    fn clusters_and_networks_are_read_as_istiod_writes_them() {
        let clusters = parse_clusters(
            br#"[{"id":"foo","secretName":"","syncStatus":"synced"},{"id":"bar","secretName":"istio-system/x","syncStatus":"timeout"}]"#,
        )
        .unwrap();
        assert!(clusters[0].is_synced() && !clusters[1].is_synced());
        let networks = parse_networks(
            br#"[{"Network":"foo","Cluster":"foo","Addr":"10.2.0.129","Port":15443,"HBONEPort":0,"ServiceAccount":{"Namespace":"","Name":""}}]"#,
        )
        .unwrap();
        assert_eq!((networks[0].addr.as_str(), networks[0].port), ("10.2.0.129", 15443));
        assert_eq!(parse_networks(b"null").unwrap(), []);
        let proxies = parse_proxies(
            br#"[{"proxy":"sleep-1.sample","proxy_type":"sidecar","cluster_acked":"a"},{"proxy":"new-1.sample"}]"#,
        )
        .unwrap();
        assert_eq!(Vec::from_iter(proxies), ["sleep-1.sample"]);
    }

    #[test]
    fn a_cluster_that_istiod_has_closed_is_neither_synced_nor_being_read() {
        let is = |status: &str| {
            let known = KnownCluster {
                id: "foo".to_owned(),
                secret_name: String::new(),
                sync_status: status.to_owned(),
            };
            (known.is_synced(), known.is_closed())
        };
        assert_eq!(
            (is("synced"), is("closed"), is("syncing")),
            ((true, false), (false, true), (false, false))
        );
    }

    #[test]
    fn accounts_of_all_namespaces_of_a_service_are_joined_and_those_of_nobody_are_none() {
        let shards = r#"{"a": {
            "x": {"Shards": {"Kubernetes/foo": [{"ServiceAccount": "1"}, {"ServiceAccount": "2"}], "Kubernetes/bar": [{"ServiceAccount": ""}]}},
            "y": {"Shards": {"Kubernetes/foo": [{"ServiceAccount": "3"}, {}]}},
            "z": {"Shards": null}
        }}"#;
        let found = parse_identities(shards.as_bytes()).unwrap();
        let wanted: ServiceIdentities =
            [("a".to_owned(), [("foo".to_owned(), ["1", "2", "3"].map(str::to_owned).into())].into())].into();
        assert_eq!(found, wanted);
    }

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_pod_that_is_about_to_end_is_not_ready() {
        let with = |ready: &str, deleted: Option<&str>| {
            pod_is_ready(&pod(serde_json::json!({
                "metadata": {"deletionTimestamp": deleted},
                "status": {"conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready}]},
            })))
        };
        assert!(with("True", None));
        assert!(
            !with("False", None)
                && !with("True", Some("2026-11-25T10:00:00Z"))
                && !pod_is_ready(&Pod::default())
        );
    }

    #[test]
    fn istiod_has_started_when_its_own_container_did() {
        let with = |name: &str, state: serde_json::Value| {
            let status = |name: &str, state: &serde_json::Value| serde_json::json!({"name": name, "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state});
            let other = serde_json::json!({"running": {"startedAt": "2026-11-25T09:00:00Z"}});
            started(&pod(
                serde_json::json!({"status": {"containerStatuses": [status("other", &other), status(name, &state)]}}),
            ))
        };
        let running = || serde_json::json!({"running": {"startedAt": "2026-11-25T10:00:00Z"}});
        assert_eq!(with("discovery", running()), "2026-11-25T10:00:00Z".parse().ok());
        assert_eq!(
            (with("third", running()), with("discovery", serde_json::json!({"waiting": {}}))),
            (None, None)
        );
    }

    #[test]
    fn the_version_of_an_image_is_its_tag() {
        let of = |image: &str| image_version(image).map(|version| version.to_string());
        assert_eq!(of("docker.io/istio/pilot:1.31.0-distroless").as_deref(), Some("1.31.0"));
        assert_eq!(of("registry:5000/pilot:1.29.2").as_deref(), Some("1.29.2"));
        assert_eq!((of("pilot"), of("pilot:latest"), of("pilot@sha256:abc")), (None, None, None));
    }

    #[tokio::test]
    async fn the_pods_of_istiod_that_are_ready_are_asked() {
        let server = crate::fleet::fake::FakeServer::default();
        let member = server.member("baz");
        let put = |name: &str, app: &str, ready: &str| {
            let path = format!("/api/v1/namespaces/istio-system/pods/{name}");
            server.put(
                &path,
                serde_json::json!({
                    "metadata": {"labels": {"app": app}},
                    "status": {"conditions": [{"type": "Ready", "status": ready}]},
                }),
            );
        };
        put("gateway-1", "istio-eastwestgateway", "True");
        put("istiod-1", "istiod", "False");
        let none = Istiod::find(&member).await.unwrap_err();
        insta::assert_snapshot!(format!("{none}\n{}", none.hint().unwrap()), @r"
        no pod of istiod in namespace istio-system is ready
        kubectl --context baz -n istio-system describe pods -l app=istiod
        ");
        put("istiod-2", "istiod", "True");
        put("istiod-3", "istiod", "True");
        let found = Istiod::find(&member).await.unwrap();
        assert_eq!(found.iter().map(Istiod::pod).collect::<Vec<_>>(), ["istiod-2", "istiod-3"]);
        server.refuse("/api/v1/namespaces/istio-system/pods", 403);
        assert!(matches!(Istiod::find(&member).await, Err(IstiodError::List(_))));
    }
}
