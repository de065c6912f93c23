use futures::stream::{self, StreamExt};
use jiff::Timestamp;

use super::inspected::{Inspected, Subject};
use super::judge::{Evidence, Expected, judge};
use crate::envoy::Proxy;
use crate::fleet::{Connection, Unread};
use crate::hint::Plugin;
use crate::trust::TrustDomain;
use crate::workload::{ProxyState, WorkloadPod};

/// How many proxies of a cluster are asked at the same time.
pub const AT_ONCE: usize = 16;

/// Reads what the proxy of a pod has, and judges it. What cannot be read is a result too. `trust_domain` is the cluster's, where
/// it is known.
pub async fn inspect_pod(
    connection: &Connection,
    pod: &WorkloadPod,
    trust_domain: Option<&TrustDomain>,
    at: Timestamp,
) -> Inspected {
    let subject = subject(connection, pod);
    match pod.proxy {
        ProxyState::Absent => {
            let fix = Plugin::MeshInstall.command(["verify"]);
            let why = "the pod has no proxy: it is not part of the mesh";
            return Inspected::unread(subject, why, Some(fix.into()));
        }
        ProxyState::NotRunning => {
            let trouble = pod.trouble.as_deref().unwrap_or("its container has not started");
            return Inspected::unread(subject, format!("its proxy does not run: {trouble}"), None);
        }
        ProxyState::Runs => {}
    }
    match Proxy::of_pod(connection, &pod.namespace, &pod.name).secrets().await {
        Ok(secrets) => judge(Evidence::of_proxy(subject, expected(pod, trust_domain), secrets), at)
            .in_context(connection.context()),
        Err(error) => {
            let unread = Unread::error(&error);
            Inspected::unread(subject, unread.why, unread.hint)
        }
    }
}

/// Inspects pods as [`inspect_pod`] does, many at the same time, in their order. What is known of a pod is dropped with its turn.
pub async fn inspect_pods(
    connection: &Connection,
    pods: Vec<WorkloadPod>,
    trust_domain: Option<&TrustDomain>,
    at: Timestamp,
) -> Vec<Inspected> {
    let each =
        pods.into_iter().map(|pod| async move { inspect_pod(connection, &pod, trust_domain, at).await });
    stream::iter(each).buffered(AT_ONCE).collect().await
}

fn subject(connection: &Connection, pod: &WorkloadPod) -> Subject {
    Subject {
        cluster: Some(connection.name().to_owned()),
        namespace: Some(pod.namespace.clone()),
        workload: Some(pod.workload.clone()),
        pod: Some(pod.name.clone()),
        source: None,
    }
}

fn expected(pod: &WorkloadPod, trust_domain: Option<&TrustDomain>) -> Expected {
    match trust_domain.and_then(|domain| pod.expected_id(domain)) {
        Some(id) => Expected::Id(id),
        None => Expected::Path(format!("/ns/{}/sa/{}", pod.namespace, pod.service_account)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Workload, WorkloadKind, served};

    fn pod(name: &str, proxy: ProxyState, trouble: Option<&str>) -> WorkloadPod {
        WorkloadPod {
            namespace: "sample".to_owned(),
            name: name.to_owned(),
            workload: Workload { kind: WorkloadKind::Deployment, name: "sleep".to_owned() },
            service_account: "sleep".to_owned(),
            labels: std::collections::BTreeMap::new(),
            proxy,
            is_gateway: false,
            trouble: trouble.map(str::to_owned),
        }
    }

    #[tokio::test]
    async fn a_pod_whose_proxy_cannot_be_asked_has_its_row_in_its_place() {
        let connection = served::connection(&[]);
        let pods = [
            pod("a", ProxyState::Absent, None),
            pod("b", ProxyState::NotRunning, None),
            pod("c", ProxyState::NotRunning, Some("CrashLoopBackOff")),
        ];
        let at = "2026-11-25T18:00:00Z".parse().unwrap();
        let inspected = inspect_pods(&connection, pods.to_vec(), None, at).await;
        let lines = inspected.iter().map(|one| {
            let reason = &one.verdict.reasons[0];
            format!("{}: {} {:?}", one.subject, reason.message, reason.fix.as_ref().map(ToString::to_string))
        });
        insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r#"
        foo/sample/a: the pod has no proxy: it is not part of the mesh Some("kubectl mesh-install verify")
        foo/sample/b: its proxy does not run: its container has not started None
        foo/sample/c: its proxy does not run: CrashLoopBackOff None
        "#);
        assert_eq!(inspected[0].subject.workload, Some(pods[0].workload.clone()));
    }

    #[test]
    fn without_a_trust_domain_the_path_is_expected_alone() {
        let pod = pod("a", ProxyState::Runs, None);
        let domain = "foo.com".parse().unwrap();
        let id = "spiffe://foo.com/ns/sample/sa/sleep".parse().unwrap();
        assert_eq!(expected(&pod, Some(&domain)), Expected::Id(id));
        assert_eq!(expected(&pod, None), Expected::Path("/ns/sample/sa/sleep".to_owned()));
    }
}
