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

#[test]
fn a_pod_that_has_failed_or_a_container_that_has_ended_badly_says_how() {
    let failed = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on  memory"});
    assert_eq!(failing(&failed), "Evicted: The node was low on memory");
    assert_eq!(failing(&json!({"phase": "Failed"})), "failed");
    let ended = |code: i32, reason: &str| {
        let ended = json!({"terminated": {"exitCode": code, "reason": reason, "message": "no\nroom"}});
        state(&pod(&json!({"containerStatuses": [container(&ended, &json!({}))]})))
    };
    let told = "container server: OOMKilled, exit code 137: no room".to_owned();
    assert_eq!(ended(137, "OOMKilled"), PodState::Failing(told));
    assert_eq!(ended(0, "Completed"), PodState::Settling("starting".to_owned()));
    let unnamed = json!({"terminated": {"exitCode": 1}});
    let unnamed = json!({"containerStatuses": [container(&unnamed, &json!({}))]});
    assert_eq!(failing(&unnamed), "container server: Error, exit code 1");
}

#[test]
fn what_a_container_does_at_first_is_no_failure_and_the_second_one_is_looked_at_too() {
    let waits = |reason: Value| {
        let mut second = container(&json!({"waiting": {"reason": reason}}), &json!({}));
        second["name"] = json!("sidecar");
        let first = container(&json!({"waiting": {"reason": "PodInitializing"}}), &json!({}));
        state(&pod(&json!({"containerStatuses": [first, second]})))
    };
    for reason in [json!(""), json!(null), json!("ContainerCreating"), json!("PodInitializing")] {
        assert_eq!(waits(reason), PodState::Settling("starting".to_owned()));
    }
    let bad = "container sidecar: CreateContainerConfigError".to_owned();
    assert_eq!(waits(json!("CreateContainerConfigError")), PodState::Failing(bad));
}

#[test]
fn an_exit_that_has_no_reason_of_its_own_is_told_by_its_code() {
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}});
    let told = |last: Value| failing(&json!({"containerStatuses": [container(&waiting, &last)]}));
    assert_eq!(
        told(json!({"terminated": {"exitCode": 1, "reason": "Error"}})),
        "container server: CrashLoopBackOff, last exit code 1, 4 restarts"
    );
    assert_eq!(told(json!({})), "container server: CrashLoopBackOff: back-off");
}

#[test]
fn a_pod_without_a_node_waits_for_a_scheduler() {
    let unplaced = |status: Value| -> Pod {
        let metadata = json!({"name": "p"});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"containers": []}, "status": status}))
            .unwrap()
    };
    let nobody = PodState::Unscheduled("no scheduler has looked at it yet".to_owned());
    assert_eq!(state(&unplaced(json!({"phase": "Pending"}))), nobody);
    let condition = |status: &str, reason: Value| json!({"conditions": [{"type": "PodScheduled", "status": status, "reason": reason}]});
    assert_eq!(state(&unplaced(condition("True", json!(null)))), nobody);
    let gated = PodState::Unscheduled("SchedulingGated".to_owned());
    assert_eq!(state(&unplaced(condition("False", json!("SchedulingGated")))), gated);
    let unschedulable = PodState::Unscheduled("unschedulable".to_owned());
    assert_eq!(state(&unplaced(condition("False", json!(null)))), unschedulable);
    let mut new = unplaced(json!({}));
    new.status = None;
    assert_eq!(state(&new), PodState::Settling("just created".to_owned()));
}

#[test]
fn a_pod_is_ready_only_when_its_condition_says_so() {
    let with = |kind: &str, status: &str| pod(&json!({"conditions": [{"type": kind, "status": status}]}));
    assert_eq!(pod_trouble(&with("Ready", "True")), None);
    assert_eq!(pod_trouble(&with("Ready", "False")).as_deref(), Some("starting"));
    assert_eq!(pod_trouble(&with("Initialized", "True")).as_deref(), Some("starting"));
    let mut ending = with("Ready", "False");
    ending.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    assert_eq!(pod_trouble(&ending).as_deref(), Some("being deleted"));
    let mut ready = container(&json!({"running": {}}), &json!({}));
    ready["ready"] = json!(true);
    assert_eq!(pod_trouble(&pod(&json!({"containerStatuses": [ready]}))).as_deref(), Some("starting"));
}

#[test]
fn a_long_message_is_cut_and_one_of_the_longest_length_is_not() {
    assert_eq!(with_message("a", None), "a");
    assert_eq!(with_message("a", Some(" \n ")), "a");
    assert_eq!(with_message("a", Some("b\n  c")), "a: b c");
    let longest = "é".repeat(LONGEST_MESSAGE);
    assert_eq!(with_message("a", Some(&longest)), format!("a: {longest}"));
    assert_eq!(with_message("a", Some(&format!("{longest}x"))), format!("a: {longest}…"));
}

#[test]
fn an_event_is_as_new_as_the_last_time_that_it_was_seen() {
    let event = |times: Value| -> Event {
        let mut event = json!({"metadata": {}, "involvedObject": {}});
        for (key, value) in times.as_object().unwrap() {
            event[key] = value.clone();
        }
        serde_json::from_value(event).unwrap()
    };
    let at = |second: u8| format!("2026-01-01T00:00:0{second}Z");
    let time = |times: Value| time(&event(times)).as_ref().map(ToString::to_string);
    let micro = |second: u8| format!("2026-01-01T00:00:0{second}.000000Z");
    assert_eq!(
        time(
            json!({"series": {"lastObservedTime": micro(3)}, "lastTimestamp": at(2), "eventTime": micro(1)})
        ),
        Some(at(3))
    );
    assert_eq!(time(json!({"lastTimestamp": at(2), "eventTime": micro(1)})), Some(at(2)));
    assert_eq!(time(json!({"lastTimestamp": at(1), "eventTime": micro(2)})), Some(at(2)));
    assert_eq!(
        time(json!({"eventTime": micro(1), "metadata": {"creationTimestamp": at(4)}})),
        Some(at(1)),
        "when it was made counts only where nothing else is said"
    );
    assert_eq!(time(json!({"metadata": {"creationTimestamp": at(4)}})), Some(at(4)));
    assert_eq!(time(json!({})), None);
}

#[test]
fn a_claim_that_waits_for_its_pod_is_not_the_reason() {
    assert!(waits_for_its_pod("WaitForFirstConsumer: waiting for first consumer"));
    assert!(waits_for_its_pod("WaitForPodScheduled: x"));
    assert!(!waits_for_its_pod("ProvisioningFailed: WaitForFirstConsumer"));
}
