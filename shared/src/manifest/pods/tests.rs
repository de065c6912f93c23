use serde_json::{Value, json};

use super::*;

fn pod(status: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "spire-server-0"}, "spec": {"nodeName": "n", "containers": []}, "status": status,
    }))
    .unwrap()
}

fn container(state: &Value, last: &Value) -> Value {
    json!({"name": "server", "image": "i", "imageID": "", "ready": false, "restartCount": 4, "state": state, "lastState": last})
}

fn failing(status: &Value) -> String {
    match state(&pod(status)) {
        PodState::Failing(text) | PodState::Unscheduled(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_image_that_cannot_be_pulled_is_named() {
    let waiting =
        json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"x:1\""}});
    insta::assert_snapshot!(failing(&json!({"containerStatuses": [container(&waiting, &json!({}))]})), @r#"container server: ImagePullBackOff: Back-off pulling image "x:1""#);
}

#[test]
fn a_container_that_crashes_shows_its_last_exit_code_and_words() {
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting"}});
    let last =
        json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "line one\n line two\n"}});
    insta::assert_snapshot!(failing(&json!({"initContainerStatuses": [container(&waiting, &last)]})), @"container server: CrashLoopBackOff, last exit code 137 (OOMKilled), 4 restarts: line one line two");
}

#[test]
fn a_pod_that_no_node_takes_shows_the_schedulers_words() {
    let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"});
    insta::assert_snapshot!(failing(&json!({"phase": "Pending", "conditions": [condition]})), @"unschedulable: 0/3 nodes are available");
}

#[test]
fn a_pod_that_is_only_starting_is_not_called_failing() {
    let waiting = json!({"waiting": {"reason": "ContainerCreating"}});
    let starting =
        state(&pod(&json!({"phase": "Pending", "containerStatuses": [container(&waiting, &json!({}))]})));
    assert_eq!(starting, PodState::Settling("starting".to_owned()));
    let running =
        state(&pod(&json!({"containerStatuses": [container(&json!({"running": {}}), &json!({}))]})));
    assert_eq!(running, PodState::Settling("container server runs and is not ready".to_owned()));
    assert_eq!(state(&pod(&json!({"conditions": [{"type": "Ready", "status": "True"}]}))), PodState::Ready);
}

#[test]
fn the_newest_warning_comes_before_newer_notices() {
    let event = |kind: &str, reason: &str, time: &str| -> Event {
        serde_json::from_value(json!({
            "metadata": {}, "involvedObject": {}, "type": kind, "reason": reason, "message": "m", "lastTimestamp": time,
        }))
        .unwrap()
    };
    let events = [
        event("Warning", "Old", "2026-01-01T00:00:00Z"),
        event("Warning", "New", "2026-01-01T00:00:01Z"),
        event("Normal", "Notice", "2026-01-01T00:00:02Z"),
    ];
    assert_eq!(newest(&events, true).as_deref(), Some("New: m"));
    assert_eq!(newest(&events[2..], true), None);
    assert_eq!(newest(&events[2..], false).as_deref(), Some("Notice: m"));
}
