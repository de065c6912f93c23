//! A curl where there is none: a pod of our own, or a container that is put into somebody's pod.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::error::TrafficError;
use super::script::Mark;
use crate::fleet::{ExecProblem, ExecTarget, Member, Need, RequestError};
use crate::manifest::{pod_is_ready, pod_trouble};

/// Name of the container that is put into a pod, and of that of our own pods; the beginning of their names.
const NAME: &str = "xcluster-curl";
/// How long our own pods live at most, in seconds: whoever starts one may not be there to remove it.
const LIFE: i64 = 3600;
/// How long a pod or container is waited for.
const START: Duration = Duration::from_mins(2);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(500);

/// Starts a pod with curl, with a sidecar or without, and waits until it is ready. Where it does not get ready it is removed again.
///
/// # Errors
/// [`TrafficError`] when it cannot be made, or does not get ready.
pub async fn deploy<'m>(
    member: &'m Member,
    namespace: &str,
    image: &str,
    sidecar: bool,
) -> Result<Client<'m>, TrafficError> {
    let name = new_name();
    let api: Api<Pod> = Api::namespaced(member.client().clone(), namespace);
    let pod = pod(&name, image, sidecar);
    api.create(&PostParams::default(), &pod).await.map_err(|error| {
        TrafficError::request(member.name(), Need::new("create", "", "pods", Some(namespace)), error)
    })?;
    let ready = wait(&api, &name, pod_is_ready, |pod| {
        let why = pod_trouble(pod).unwrap_or_else(|| "it is still starting".to_owned());
        format!("pod {namespace}/{name} in {} does not get ready: {why}", member.name())
    });
    if let Err(error) = ready.await {
        let _ = remove(member, namespace, &name).await;
        return Err(error);
    }
    let target = ExecTarget { namespace: namespace.to_owned(), pod: name, container: NAME.to_owned() };
    Ok(Client { member, target, has_sidecar: sidecar, via: None, is_here: false })
}

/// Removes a pod of our own.
///
/// # Errors
/// [`TrafficError`] when it cannot be deleted.
pub async fn remove(member: &Member, namespace: &str, pod: &str) -> Result<(), TrafficError> {
    let api: Api<Pod> = Api::namespaced(member.client().clone(), namespace);
    match api.delete(pod, &DeleteParams::default().grace_period(0)).await {
        Err(error) if !RequestError::from(&error).is_not_found() => {
            Err(TrafficError::request(member.name(), Need::new("delete", "", "pods", Some(namespace)), error))
        }
        _ => Ok(()),
    }
}

/// Tells whether a client's pod has curl: in its container, or in one that was put there before, which sends from now on.
///
/// # Errors
/// [`TrafficError`] when nothing can be run in it, or it cannot be read.
pub async fn finds_curl(client: &mut Client<'_>) -> Result<bool, TrafficError> {
    let run = client.member.exec(&client.target, &["curl", "--version"], None, Duration::from_secs(15)).await;
    match run {
        Ok(output) if output.exit == 0 => return Ok(true),
        Err(error) if !matches!(error.problem, ExecProblem::NotStarted(_)) => return Err(error.into()),
        Ok(_) | Err(_) => {}
    }
    let ExecTarget { namespace, pod, .. } = &client.target;
    let api: Api<Pod> = Api::namespaced(client.member.client().clone(), namespace);
    let found = api.get(pod).await.map_err(|error| {
        TrafficError::request(client.member.name(), Need::new("get", "", "pods", Some(namespace)), error)
    })?;
    let is_there = runs(&found);
    if is_there {
        NAME.clone_into(&mut client.target.container);
    }
    Ok(is_there)
}

/// Puts a container with curl into the client's pod, and makes it the one that sends. Kubernetes has no way to take it out again: it stays
/// until the pod ends, and [`finds_curl`] finds it.
///
/// # Errors
/// [`TrafficError`] when it cannot be added, or does not start.
pub async fn add_curl(client: &mut Client<'_>, image: &str) -> Result<(), TrafficError> {
    let ExecTarget { namespace, pod, .. } = client.target.clone();
    let name = client.member.name();
    let api: Api<Pod> = Api::namespaced(client.member.client().clone(), &namespace);
    let container = json!({"name": NAME, "image": image, "command": ["/bin/sleep", "infinity"], "securityContext": security()});
    let patch = json!({"spec": {"ephemeralContainers": [container]}});
    api.patch_ephemeral_containers(&pod, &PatchParams::default(), &Patch::Strategic(patch)).await.map_err(
        |error| {
            let need = Need::new("patch", "", "pods/ephemeralcontainers", Some(&namespace));
            TrafficError::request(name, need, error)
        },
    )?;
    wait(&api, &pod, runs, |_| format!("container {NAME} of pod {namespace}/{pod} in {name} does not start"))
        .await?;
    NAME.clone_into(&mut client.target.container);
    Ok(())
}

fn runs(pod: &Pod) -> bool {
    let mut statuses =
        pod.status.iter().flat_map(|status| status.ephemeral_container_statuses.iter().flatten());
    statuses.any(|status| {
        status.name == NAME && status.state.as_ref().is_some_and(|state| state.running.is_some())
    })
}

async fn wait(
    api: &Api<Pod>,
    name: &str,
    done: fn(&Pod) -> bool,
    why: impl Fn(&Pod) -> String,
) -> Result<(), TrafficError> {
    let begin = Instant::now();
    loop {
        let pod = api.get(name).await;
        if pod.as_ref().is_ok_and(done) {
            return Ok(());
        }
        if begin.elapsed() >= START {
            return Err(TrafficError::NotReady(
                pod.map_or_else(|error| RequestError::from(error).to_string(), |pod| why(&pod)),
            ));
        }
        sleep(LOOK).await;
    }
}

fn new_name() -> String {
    let word = Mark::random().end();
    let digits: String = word.chars().filter(char::is_ascii_hexdigit).take(10).collect();
    format!("{NAME}-{digits}")
}

fn security() -> serde_json::Value {
    json!({
        "runAsNonRoot": true, "runAsUser": 100, "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    })
}

fn pod(name: &str, image: &str, sidecar: bool) -> Pod {
    let pod = json!({
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/name": NAME, "sidecar.istio.io/inject": sidecar.to_string()},
        },
        "spec": {
            "activeDeadlineSeconds": LIFE,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": sidecar,
            "containers": [{
                "name": NAME,
                "image": image,
                "command": ["/bin/sleep", LIFE.to_string()],
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                "securityContext": security(),
            }],
        },
    });
    serde_json::from_value(pod).expect("our own pod is one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fake::FakeServer;

    #[test]
    fn our_own_pod_ends_by_itself_and_may_do_nothing() {
        let of = |sidecar| pod("xcluster-curl-0", "curl:1", sidecar);
        let spec = of(false).spec.unwrap();
        assert_eq!(
            (spec.active_deadline_seconds, spec.automount_service_account_token),
            (Some(LIFE), Some(false))
        );
        let inject = |pod: Pod| pod.metadata.labels.unwrap()["sidecar.istio.io/inject"].clone();
        assert_eq!((inject(of(true)), inject(of(false))), ("true".to_owned(), "false".to_owned()));
    }

    #[test]
    fn names_of_our_pods_differ_and_are_names() {
        let (one, other) = (new_name(), new_name());
        assert_ne!(one, other);
        assert!(
            one.len() == NAME.len() + 11
                && one.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
            "{one}"
        );
    }

    #[test]
    fn a_container_that_was_put_into_a_pod_is_found_again() {
        let put = |state: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"status": {"ephemeralContainerStatuses": [
                {"name": NAME, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]}}))
            .unwrap()
        };
        assert!(runs(&put(json!({"running": {}}))));
        assert!(!runs(&put(json!({"waiting": {"reason": "ImagePullBackOff"}}))));
        assert!(!runs(&Pod::default()));
    }

    #[test]
    fn a_container_of_another_name_is_not_ours() {
        let pod: Pod = serde_json::from_value(json!({"status": {"ephemeralContainerStatuses": [
            {"name": "debugger", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"running": {}}}]}}))
        .unwrap();
        assert!(!runs(&pod));
    }

    #[test]
    fn what_our_own_pod_may_do_is_as_little_as_can_be() {
        insta::assert_json_snapshot!(pod("xcluster-curl-0", "curl:1", true));
    }

    #[tokio::test]
    async fn a_pod_that_is_gone_already_is_removed() {
        let server = FakeServer::default();
        let path = "/api/v1/namespaces/shop/pods/xcluster-curl-0";
        server.put(path, json!({}));
        let member = server.member("baz");
        remove(&member, "shop", "xcluster-curl-0").await.unwrap();
        remove(&member, "shop", "xcluster-curl-0").await.unwrap();
        assert!(server.object(path).is_none());
        server.refuse(path, 403);
        let error = remove(&member, "shop", "xcluster-curl-0").await.unwrap_err();
        insta::assert_snapshot!(error.to_string(), @"cannot delete pods in namespace shop in baz");
    }
}
