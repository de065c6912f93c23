//! Reading what the proxies of a cluster have.

use futures::future::join;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams, LogParams};

use super::examined::SeenProxy;
use crate::envoy::{CONTAINER, OutboundRules, Proxy};
use crate::fleet::{Connection, Need, Read, RequestError, Unread, list_pages};
use crate::istio::injector::{INJECT_LABEL, Labels};
use crate::report::{cut, one_line};
use crate::workload::{ProxyState, Workload, WorkloadPod};

/// How many proxies of a cluster are asked at the same time.
const PROXIES_AT_ONCE: usize = 16;
/// How many lines of the log of a proxy that ends are read.
const LOG_LINES: i64 = 40;
/// The longest of them that is repeated, in characters.
const LONGEST_LINE: usize = 400;

/// The pods of a cluster that are not at their end.
#[derive(Clone, Debug, Default)]
pub(super) struct Pods {
    /// Those with a proxy.
    pub(super) meshed: Vec<MeshedPod>,
    /// Those without one, where it is not themselves who refuse it.
    pub(super) bare: Vec<BarePod>,
}

/// A pod with a proxy.
#[derive(Clone, Debug)]
pub(super) struct MeshedPod {
    pub(super) pod: WorkloadPod,
    /// How its proxy ended, where that ends again and again.
    ended: Option<String>,
}

/// A pod without a proxy.
#[derive(Clone, Debug)]
pub(super) struct BarePod {
    pub(super) namespace: String,
    pub(super) workload: Workload,
    pub(super) labels: Labels,
    pub(super) created: Option<Timestamp>,
}

/// Lists the pods that are not at their end.
pub(super) async fn pods(connection: &Connection) -> Read<Pods> {
    let need = Need::new("list", "", "pods", None);
    let api: Api<Pod> = Api::all(connection.client().clone());
    let mut pods = Pods::default();
    let sort = |pod: Pod| -> Option<()> {
        let of = WorkloadPod::of(&pod)?;
        if of.proxy != ProxyState::Absent {
            pods.meshed.push(MeshedPod { ended: ended(&pod), pod: of });
        } else if !refuses(&pod) {
            let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            let WorkloadPod { namespace, workload, labels, .. } = of;
            pods.bare.push(BarePod { namespace, workload, labels, created });
        }
        None
    };
    let listed = list_pages(&api, &ListParams::default(), sort).await.map_err(RequestError::from);
    listed.map_err(|error| Unread::request(&need, &error))?;
    pods.meshed.sort_by(|a, b| (&a.pod.namespace, &a.pod.name).cmp(&(&b.pod.namespace, &b.pod.name)));
    Ok(pods)
}

/// Tells whether a pod gets no sidecar whatever labels say: it is in the network of its node, or its annotation refuses one.
fn refuses(pod: &Pod) -> bool {
    let in_network_of_node = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let annotated = pod.annotations().get(INJECT_LABEL).is_some_and(|inject| inject == "false");
    in_network_of_node || annotated && !pod.labels().contains_key(INJECT_LABEL)
}

/// Lists the pods with a proxy that are not at their end.
pub(super) async fn meshed_pods(connection: &Connection) -> Read<Vec<WorkloadPod>> {
    Ok(pods(connection).await?.meshed.into_iter().map(|meshed| meshed.pod).collect())
}

/// Says how the proxy of a pod ended, where it ends again and again. Istio's agent may end without an error code.
fn ended(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let mut statuses =
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    let status = statuses.find(|status| status.name == CONTAINER)?;
    let state = status.state.as_ref()?;
    let waits =
        state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref()) == Some("CrashLoopBackOff");
    let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    let code = state.terminated.as_ref().or(last.filter(|_| waits)).map(|ended| ended.exit_code);
    let is_again = waits || code.is_some_and(|code| code != 0) || code.is_some() && status.restart_count > 0;
    is_again.then(|| {
        let code = code.map(|code| format!(", exit code {code}")).unwrap_or_default();
        format!("container {CONTAINER} ended{code}, {} restarts", status.restart_count)
    })
}

fn proxy<'c>(connection: &'c Connection, pod: &WorkloadPod) -> Read<Proxy<'c>> {
    match pod.proxy {
        ProxyState::Runs => Ok(Proxy::of_pod(connection, &pod.namespace, &pod.name)),
        ProxyState::NotRunning | ProxyState::Absent => Err(Unread::because("its proxy does not run yet")),
    }
}

pub(super) async fn proxies(connection: &Connection, pods: &[MeshedPod]) -> Vec<SeenProxy> {
    stream::iter(pods.iter().map(|pod| see_proxy(connection, pod))).buffered(PROXIES_AT_ONCE).collect().await
}

async fn see_proxy(connection: &Connection, MeshedPod { pod, ended }: &MeshedPod) -> SeenProxy {
    let ends = match ended {
        Some(ended) => Some([vec![ended.clone()], last_words(connection, pod).await].concat()),
        None => None,
    };
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
        ends,
        secrets,
        inbound,
    }
}

/// Reads what a proxy that has ended wrote last about why; nothing where that cannot be read.
async fn last_words(connection: &Connection, pod: &WorkloadPod) -> Vec<String> {
    let pods: Api<Pod> = Api::namespaced(connection.client().clone(), &pod.namespace);
    let log = |previous: bool| {
        let parameters = LogParams {
            container: Some(CONTAINER.to_owned()),
            previous,
            tail_lines: Some(LOG_LINES),
            ..LogParams::default()
        };
        let pods = pods.clone();
        async move { pods.logs(&pod.name, &parameters).await.ok().filter(|log| !log.trim().is_empty()) }
    };
    // Between two starts the container that ended is the one that there is.
    let log = match log(true).await {
        Some(log) => log,
        None => log(false).await.unwrap_or_default(),
    };
    telling(&log).map(|line| cut(one_line(line), LONGEST_LINE)).into_iter().collect()
}

/// Returns the line of a log that says why: the last one that speaks of an error, or the last one.
fn telling(log: &str) -> Option<&str> {
    let lines = || log.lines().rev().filter(|line| !line.trim().is_empty());
    let mut errors = lines().filter(|line| {
        let line = line.to_ascii_lowercase();
        ["error", "fatal", "panic"].iter().any(|word| line.contains(word))
    });
    errors.next().or_else(|| lines().next())
}

/// Returns the sidecar that is asked whom it accepts: the first that answers, always the same one as long as it is there.
fn to_ask(proxies: &[SeenProxy]) -> Option<&SeenProxy> {
    let sidecars = proxies.iter().filter(|proxy| !proxy.is_gateway && proxy.secrets.is_ok());
    sidecars.min_by_key(|proxy| proxy.object())
}

pub(super) async fn outbound(
    connection: &Connection,
    proxies: &Read<Vec<SeenProxy>>,
) -> Read<Option<(String, OutboundRules)>> {
    let Some(sidecar) = to_ask(proxies.as_ref().map_err(Clone::clone)?) else { return Ok(None) };
    let proxy = Proxy::of_pod(connection, &sidecar.namespace, &sidecar.pod);
    let rules = proxy.outbound_rules().await.map_err(|error| Unread::error(&error))?;
    Ok(Some((format!("{}/{}", sidecar.namespace, sidecar.pod), rules)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::envoy::ProxySecrets;
    use crate::fleet::fake::FakeServer;

    fn put(server: &FakeServer, pod: &str, containers: &[&str], runs: bool) {
        let statuses = containers.iter().map(|name| {
            let state = if runs { json!({"running": {}}) } else { json!({"waiting": {"reason": "PodInitializing"}}) };
            json!({"name": name, "image": "", "imageID": "", "ready": runs, "restartCount": 0, "state": state})
        });
        let containers: Vec<Value> = containers.iter().map(|name| json!({"name": name})).collect();
        server.put(
            &format!("/api/v1/namespaces/shop/pods/{pod}"),
            json!({
                "spec": {"containers": containers, "serviceAccountName": "cart"},
                "status": {"phase": "Running", "containerStatuses": statuses.collect::<Vec<_>>()},
            }),
        );
    }

    fn seen(namespace: &str, pod: &str, is_gateway: bool, answers: bool) -> SeenProxy {
        let unread = || Unread::because("its proxy does not answer");
        let secrets =
            ProxySecrets { identity: None, validation: None, others: Vec::new(), key_was_shown: false };
        SeenProxy {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            service_account: "default".to_owned(),
            is_gateway,
            trouble: None,
            ends: None,
            secrets: if answers { Ok(secrets) } else { Err(unread()) },
            inbound: Err(unread()),
        }
    }

    #[test]
    fn the_first_sidecar_that_answers_is_asked_whom_it_accepts() {
        let all = [
            seen("shop", "cart", false, true),
            seen("bank", "teller", false, true),
            seen("bank", "ledger", false, false),
            seen("a", "gateway", true, true),
        ];
        assert_eq!(to_ask(&all).map(|proxy| proxy.pod.as_str()), Some("teller"));
        assert!(to_ask(&all[2..]).is_none());
        assert!(to_ask(&[]).is_none());
    }

    #[test]
    fn of_a_log_the_line_that_says_why_is_repeated() {
        let log = "info starting\nError: agent configured for non-default SDS socket path, but no socket found\nUsage:\n\n";
        insta::assert_snapshot!(telling(log).unwrap(), @"Error: agent configured for non-default SDS socket path, but no socket found");
        assert_eq!(telling("info a\ninfo b\n\n"), Some("info b"));
        assert_eq!(telling("\n"), None);
    }

    #[test]
    fn a_proxy_that_ends_is_told_from_one_that_comes() {
        let with = |restarts: u8, state: Value| {
            let status = json!({"name": "istio-proxy", "image": "", "imageID": "", "ready": false, "restartCount": restarts,
                "state": state, "lastState": {"terminated": {"exitCode": 2}}});
            let pod = json!({"spec": {"containers": []}, "status": {"initContainerStatuses": [status]}});
            ended(&serde_json::from_value(pod).unwrap()).unwrap_or_default()
        };
        let told = [
            with(3, json!({"waiting": {"reason": "CrashLoopBackOff"}})),
            with(0, json!({"terminated": {"exitCode": 1}})),
            with(1, json!({"terminated": {"exitCode": 0}})),
        ];
        insta::assert_snapshot!(told.join("\n"), @"
        container istio-proxy ended, exit code 2, 3 restarts
        container istio-proxy ended, exit code 1, 0 restarts
        container istio-proxy ended, exit code 0, 1 restarts
        ");
        assert_eq!(with(0, json!({"terminated": {"exitCode": 0}})), "", "its pod may be at its end");
        assert_eq!(with(3, json!({"waiting": {"reason": "PodInitializing"}})), "");
        assert_eq!(with(3, json!({"running": {}})), "");
    }

    #[tokio::test]
    async fn pods_with_a_proxy_are_looked_at_and_those_whose_proxy_does_not_run_say_so() {
        let server = FakeServer::default();
        put(&server, "plain", &["app"], true);
        put(&server, "starting", &["app", "istio-proxy"], false);
        let member = server.member("baz");
        let meshed = pods(&member).await.unwrap().meshed;
        let pods = meshed_pods(&member).await.unwrap();
        assert_eq!(pods.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["starting"]);
        let seen = proxies(&member, &meshed).await;
        assert_eq!(seen.len(), 1);
        assert_eq!(
            (seen[0].object().as_str(), seen[0].service_account.as_str()),
            ("Pod shop/starting", "cart")
        );
        assert_eq!(seen[0].secrets.as_ref().unwrap_err().why, "its proxy does not run yet");
        assert_eq!(seen[0].inbound.as_ref().unwrap_err().why, "its proxy does not run yet");
        assert_eq!(
            outbound(&member, &Ok(seen)).await.unwrap(),
            None,
            "there is no sidecar that could be asked"
        );
        let unread = || Unread::because("you may not list pods");
        assert_eq!(outbound(&member, &Err(unread())).await, Err(unread()));
        server.refuse("/api/v1/pods", 403);
        assert_eq!(meshed_pods(&member).await.unwrap_err().why, "you may not list pods");
    }
}
