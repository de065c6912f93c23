//! Reading what the proxies of a cluster have.

use futures::future::join;
use futures::stream::{self, StreamExt};

use super::examined::SeenProxy;
use crate::envoy::{OutboundRules, Proxy};
use crate::fleet::{Connection, Need, Read, Unread};
use crate::workload::{self, ProxyState, Scope, WorkloadPod};

/// How many proxies of a cluster are asked at the same time.
const PROXIES_AT_ONCE: usize = 16;

/// Lists the pods with a proxy that are not at their end.
pub(super) async fn meshed_pods(connection: &Connection) -> Read<Vec<WorkloadPod>> {
    let need = Need::new("list", "", "pods", None);
    let listed = workload::list(connection, &Scope::default()).await;
    let mut pods = listed.map_err(|error| Unread::request(&need, &error))?;
    pods.retain(|pod| pod.proxy != ProxyState::Absent);
    Ok(pods)
}

fn proxy<'c>(connection: &'c Connection, pod: &WorkloadPod) -> Read<Proxy<'c>> {
    match pod.proxy {
        ProxyState::Runs => Ok(Proxy::of_pod(connection, &pod.namespace, &pod.name)),
        ProxyState::NotRunning | ProxyState::Absent => Err(Unread::because("its proxy does not run yet")),
    }
}

pub(super) async fn proxies(connection: &Connection, pods: &[WorkloadPod]) -> Vec<SeenProxy> {
    stream::iter(pods.iter().map(|pod| see_proxy(connection, pod))).buffered(PROXIES_AT_ONCE).collect().await
}

async fn see_proxy(connection: &Connection, pod: &WorkloadPod) -> SeenProxy {
    let (secrets, inbound) = match proxy(connection, pod) {
        Ok(proxy) => {
            let (secrets, inbound) = join(proxy.secrets(), proxy.inbound_rules()).await;
            (secrets.map_err(|error| Unread::error(&error)), inbound.map_err(|error| Unread::error(&error)))
        }
        Err(unread) => (Err(unread.clone()), Err(unread)),
    };
    SeenProxy {
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        service_account: pod.service_account.clone(),
        is_gateway: pod.is_gateway,
        trouble: pod.trouble.clone(),
        secrets,
        inbound,
    }
}

pub(super) async fn outbound(
    connection: &Connection,
    proxies: &Read<Vec<SeenProxy>>,
) -> Read<Option<(String, OutboundRules)>> {
    let sidecars = proxies.as_ref().map_err(Clone::clone)?.iter();
    let Some(sidecar) = sidecars
        .filter(|proxy| !proxy.is_gateway && proxy.secrets.is_ok())
        .min_by_key(|proxy| proxy.object())
    else {
        return Ok(None);
    };
    let proxy = Proxy::of_pod(connection, &sidecar.namespace, &sidecar.pod);
    let rules = proxy.outbound_rules().await.map_err(|error| Unread::error(&error))?;
    Ok(Some((format!("{}/{}", sidecar.namespace, sidecar.pod), rules)))
}
