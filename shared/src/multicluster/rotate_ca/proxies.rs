//! The certificates in the proxies of a cluster.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};

use super::report::Svids;
use crate::envoy::Proxy;
use crate::fleet::{Connection, RequestError};
use crate::istio::ca::is_signed_by;
use crate::trust::svid::Certificate;
use crate::workload::{self, ProxyState, Scope};

/// How many proxies are asked at the same time.
const AT_A_TIME: usize = 8;

/// The certificate in each proxy, by namespace and name of the pod; `None` where it could not be read.
pub(super) type InProxies = BTreeMap<String, Option<Certificate>>;

/// Reads the certificate that every proxy of a cluster shows to others.
pub(super) async fn read(connection: &Connection) -> Result<InProxies, RequestError> {
    let pods = workload::list(connection, &Scope::default()).await?;
    let proxies = pods.into_iter().filter(|pod| pod.proxy == ProxyState::Runs);
    let read = proxies.map(|pod| async move {
        let secrets = Proxy::of_pod(connection, &pod.namespace, &pod.name).secrets().await.ok();
        let leaf = secrets.and_then(|secrets| secrets.chain().map(|chain| chain.leaf.clone()));
        (format!("{}/{}", pod.namespace, pod.name), leaf)
    });
    Ok(stream::iter(read).buffer_unordered(AT_A_TIME).collect().await)
}

/// Returns the proxies, as `NAMESPACE/POD`, whose certificate one of `cas` signed.
pub(super) fn signed_by(proxies: &InProxies, cas: &[&Certificate]) -> Vec<String> {
    let is_signed = |has: &Option<Certificate>| {
        has.as_ref().is_some_and(|has| cas.iter().any(|ca| is_signed_by(has, ca)))
    };
    proxies.iter().filter(|(_, has)| is_signed(has)).map(|(pod, _)| pod.clone()).collect()
}

/// Compares what proxies have with what they had. `cas` are istiod's CAs.
pub(super) fn compare(before: &InProxies, after: &InProxies, cas: &[&Certificate]) -> Svids {
    let mut svids = Svids::default();
    for (pod, now) in after {
        let Some(then) = before.get(pod) else { continue };
        svids.proxies += 1;
        match (then, now) {
            (_, Some(now)) if cas.iter().any(|ca| is_signed_by(now, ca)) => svids.of_istiod += 1,
            (Some(then), Some(now)) if then == now => svids.unchanged += 1,
            (Some(_), Some(_)) => svids.renewed += 1,
            (None, _) | (_, None) => svids.unread += 1,
        }
    }
    svids
}
