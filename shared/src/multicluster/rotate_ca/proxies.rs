//! The certificates in the proxies of a cluster.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::report::Svids;
use crate::envoy::{CONTAINER, Proxy};
use crate::fleet::{Member, RequestError};
use crate::istio::ca::is_signed_by;
use crate::trust::svid::Certificate;

/// How many proxies are asked at the same time.
const AT_A_TIME: usize = 8;

/// The certificate in each proxy, by namespace and name of the pod; `None` where it could not be read.
pub(super) type InProxies = BTreeMap<String, Option<Certificate>>;

/// Tells whether a pod runs, and is not about to end.
pub(super) fn runs(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

fn has_proxy(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    containers.any(|container| container.name == CONTAINER)
}

/// Reads the certificate that every proxy of a cluster shows to others.
pub(super) async fn read(member: &Member) -> Result<InProxies, RequestError> {
    let pods: Api<Pod> = Api::all(member.client().clone());
    let list = pods.list(&ListParams::default()).await?;
    let proxies = list.items.into_iter().filter(|pod| runs(pod) && has_proxy(pod));
    let read = proxies.map(|pod| async move {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let secrets = Proxy::of_pod(member, &namespace, &name).secrets().await.ok();
        let leaf = secrets.and_then(|secrets| secrets.chain().map(|chain| chain.leaf.clone()));
        (format!("{namespace}/{name}"), leaf)
    });
    Ok(stream::iter(read).buffer_unordered(AT_A_TIME).collect().await)
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
