//! Reading what the proxies of a cluster have.

use futures::future::join;
use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::examine::unread;
use super::examined::SeenProxy;
use crate::envoy::{CONTAINER, OutboundRules, Proxy, ProxySecrets};
use crate::federation::observed::{Read, Unread};
use crate::fleet::{Member, Need};
use crate::manifest::pod_trouble;

/// How many proxies of a cluster are asked at the same time.
const PROXIES_AT_ONCE: usize = 16;

/// Lists the pods with a proxy that are not at their end.
pub(super) async fn meshed_pods(member: &Member) -> Read<Vec<Pod>> {
    let need = Need::new("list", "", "pods", None);
    let api: Api<Pod> = Api::all(member.client().clone());
    let list = api.list(&ListParams::default()).await.map_err(|error| unread(&need, error))?;
    let has_proxy = |pod: &Pod| {
        let ended = matches!(
            pod.status.as_ref().and_then(|status| status.phase.as_deref()),
            Some("Succeeded" | "Failed")
        );
        let spec = pod.spec.as_ref();
        let mut containers = spec
            .into_iter()
            .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
        !ended
            && pod.metadata.deletion_timestamp.is_none()
            && containers.any(|container| container.name == CONTAINER)
    };
    Ok(list.items.into_iter().filter(has_proxy).collect())
}

/// The identity of a pod's proxy.
pub(super) struct ProxyIdentity {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) service_account: String,
    pub(super) secrets: Read<ProxySecrets>,
}

/// Reads the certificates and bundles of all proxies.
pub(super) async fn proxy_secrets(member: &Member) -> Read<Vec<ProxyIdentity>> {
    let pods = meshed_pods(member).await?;
    let read = pods.iter().map(|pod| async {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let secrets = if runs(pod) {
            let proxy = Proxy::of_pod(member, &namespace, &name);
            proxy.secrets().await.map_err(|error| Unread::error(&error))
        } else {
            Err(Unread::because("its proxy does not run yet"))
        };
        ProxyIdentity { namespace, pod: name, service_account: service_account(pod), secrets }
    });
    Ok(stream::iter(read).buffered(PROXIES_AT_ONCE).collect().await)
}

fn service_account(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_else(|| "default".to_owned())
}

pub(super) async fn proxies(member: &Member, pods: &[Pod]) -> Vec<SeenProxy> {
    stream::iter(pods.iter().map(|pod| see_proxy(member, pod))).buffered(PROXIES_AT_ONCE).collect().await
}

async fn see_proxy(member: &Member, pod: &Pod) -> SeenProxy {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let proxy = Proxy::of_pod(member, &namespace, &name);
    let (secrets, inbound) = if runs(pod) {
        let (secrets, inbound) = join(proxy.secrets(), proxy.inbound_rules()).await;
        (secrets.map_err(|error| Unread::error(&error)), inbound.map_err(|error| Unread::error(&error)))
    } else {
        let waiting = || Unread::because("its proxy does not run yet");
        (Err(waiting()), Err(waiting()))
    };
    SeenProxy {
        is_gateway: pod.labels().get("gateway.istio.io/managed").is_some()
            || pod.labels().get("istio").is_some_and(|value| value.ends_with("gateway")),
        service_account: service_account(pod),
        trouble: pod_trouble(pod),
        namespace,
        pod: name,
        secrets,
        inbound,
    }
}

/// Tells whether the proxy's container runs, ready or not: without an identity it never gets ready, and that is what is asked about.
fn runs(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let mut statuses = status.into_iter().flat_map(|status| {
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
    });
    statuses.any(|status| {
        status.name == CONTAINER && status.state.as_ref().is_some_and(|state| state.running.is_some())
    })
}

pub(super) async fn outbound(
    member: &Member,
    proxies: &Read<Vec<SeenProxy>>,
) -> Read<Option<(String, OutboundRules)>> {
    let sidecars = proxies.as_ref().map_err(Clone::clone)?.iter();
    let Some(sidecar) = sidecars
        .filter(|proxy| !proxy.is_gateway && proxy.secrets.is_ok())
        .min_by_key(|proxy| proxy.object())
    else {
        return Ok(None);
    };
    let proxy = Proxy::of_pod(member, &sidecar.namespace, &sidecar.pod);
    let rules = proxy.outbound_rules().await.map_err(|error| Unread::error(&error))?;
    Ok(Some((format!("{}/{}", sidecar.namespace, sidecar.pod), rules)))
}
