//! What is in a cluster right now. Somebody waits at a command line: it is there at once, or not at all.

use std::time::Duration;

use futures::join;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};

use crate::fleet::{Connection, KubeSettings, Kubeconfig};
use crate::workload::{Workload, WorkloadKind};

/// A workload, and where it is.
pub(super) struct Found {
    pub(super) namespace: String,
    pub(super) workload: Workload,
}

/// A cluster, and how long somebody waits for it.
pub(super) struct Cluster<'a> {
    pub(super) kubeconfig: &'a Kubeconfig,
    pub(super) context: &'a str,
    pub(super) settings: &'a KubeSettings,
    /// Connecting and the credential command included.
    pub(super) patience: Duration,
}

/// Lists its namespaces, sorted; none where that is not known in time.
pub(super) fn namespaces(cluster: &Cluster<'_>) -> Vec<String> {
    let mut found = ask(cluster, async |connection| {
        let api: Api<Namespace> = Api::all(connection.client().clone());
        names(api).await.into_iter().map(|(_, name)| name).collect()
    });
    found.sort();
    found
}

/// Lists the deployments, stateful sets and daemon sets of a namespace, or of all, sorted; none where that is not known in time.
pub(super) fn workloads(cluster: &Cluster<'_>, namespace: Option<&str>) -> Vec<Found> {
    let mut found = ask(cluster, async |connection| {
        let (deployments, stateful, daemons) = join!(
            names(apis::<Deployment>(&connection, namespace)),
            names(apis::<StatefulSet>(&connection, namespace)),
            names(apis::<DaemonSet>(&connection, namespace)),
        );
        let kinds = [
            (WorkloadKind::Deployment, deployments),
            (WorkloadKind::StatefulSet, stateful),
            (WorkloadKind::DaemonSet, daemons),
        ];
        let found = kinds.into_iter().flat_map(|(kind, names)| {
            names
                .into_iter()
                .map(move |(namespace, name)| Found { namespace, workload: Workload { kind, name } })
        });
        found.collect()
    });
    found.sort_by(|a, b| (&a.workload.name, &a.namespace).cmp(&(&b.workload.name, &b.namespace)));
    found
}

fn apis<K>(connection: &Connection, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let client = connection.client().clone();
    match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

/// Lists namespaces and names of one kind, from the API server's cache and without what is in them. None where that is refused.
async fn names<K>(api: Api<K>) -> Vec<(String, String)>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let listed = api.list_metadata(&ListParams::default().match_any()).await;
    let objects = listed.map(|list| list.items).unwrap_or_default();
    objects.iter().map(|object| (object.namespace().unwrap_or_default(), object.name_any())).collect()
}

/// Asks a cluster, for as long as somebody at a command line waits.
fn ask<T>(cluster: &Cluster<'_>, question: impl AsyncFnOnce(Connection) -> Vec<T>) -> Vec<T> {
    let Cluster { kubeconfig, context, settings, patience } = *cluster;
    // Fails only when a provider is installed already, and then there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let timeout = settings.request_timeout.map_or(patience, |timeout| timeout.min(patience));
    let settings = KubeSettings { request_timeout: Some(timeout), ..settings.clone() };
    let answered = async {
        let connection = kubeconfig.connect_to(context, context, &settings).await.ok()?;
        Some(question(connection).await)
    };
    let found = runtime.block_on(async { tokio::time::timeout(patience, answered).await });
    // A credential command that still runs would otherwise hold the process.
    runtime.shutdown_background();
    found.ok().flatten().unwrap_or_default()
}
