use super::*;
use crate::federation::observed::{SeenAgentPod, Trouble};
use crate::federation::sample::{Ca, WEEK, attested, bundle, bundle_of, domain, observed, unread, url};
use crate::fleet::Unread;
use crate::spire::discovery::FoundUpstream;

const NOW: &str = "2026-11-25T10:00:00Z";

fn refresh(log_from: &str, failed: Option<&str>, changed: Option<&str>) -> (RefreshState, Option<String>) {
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let polls = Polls { from: Some(time(log_from)), ..Polls::default() };
    let polled =
        Polled { failed: failed.map(|at| (time(at), "i/o timeout".to_owned())), changed: changed.map(time) };
    let refresh = of_log(&polls, &polled, Duration::from_secs(75), time(NOW));
    (refresh.state, refresh.not_before)
}

#[test]
fn without_a_failure_in_two_rounds_the_last_fetch_succeeded() {
    let works = (RefreshState::Works, Some("2026-11-25T09:58:45Z".to_owned()));
    assert_eq!(refresh("2026-11-25T09:50:00Z", None, None), works);
    assert_eq!(refresh("2026-11-25T09:50:00Z", Some("2026-11-25T09:55:00Z"), None), works);
    assert_eq!(refresh("2026-11-25T09:59:00Z", None, None), (RefreshState::Unknown, None));
}

#[test]
fn a_failure_counts_until_a_bundle_came_after_it() {
    let (failed, before, after) = ("2026-11-25T09:59:00Z", "2026-11-25T09:58:00Z", "2026-11-25T09:59:30Z");
    let log = "2026-11-25T09:50:00Z";
    assert_eq!(refresh(log, Some(failed), Some(before)), (RefreshState::Fails, Some(before.to_owned())));
    assert_eq!(refresh(log, Some(failed), Some(after)), (RefreshState::Works, Some(after.to_owned())));
}

#[test]
fn a_bundle_that_came_two_rounds_ago_shows_that_fetches_work_and_an_older_one_does_not() {
    let short = "2026-11-25T09:59:00Z";
    let (just, before) = ("2026-11-25T09:57:30Z", "2026-11-25T09:57:29Z");
    assert_eq!(refresh(short, None, Some(just)), (RefreshState::Works, Some(just.to_owned())));
    assert_eq!(refresh(short, None, Some(before)), (RefreshState::Unknown, Some(before.to_owned())));
    assert_eq!(refresh(short, Some(just), None), (RefreshState::Fails, None));
    assert_eq!(refresh(short, Some(before), None), (RefreshState::Unknown, None));
    assert_eq!(refresh(just, None, None).0, RefreshState::Works);
    assert_eq!(refresh("2026-11-25T09:57:31Z", None, None).0, RefreshState::Unknown);
    // A fetch that failed in the moment in which another one brought a bundle.
    assert_eq!(refresh(short, Some(short), Some(short)), (RefreshState::Works, Some(short.to_owned())));
}

/// The status of the mesh of three after a change in one of its clusters.
fn changed(name: &str, change: impl FnOnce(&mut ObservedCluster)) -> MeshStatus {
    let mut observed = observed();
    change(observed.clusters.iter_mut().find(|cluster| cluster.name() == name).unwrap());
    MeshStatus::of(&observed)
}

/// As `changed`, where the cluster could be reached.
fn with(name: &str, change: impl FnOnce(&mut Seen)) -> MeshStatus {
    changed(name, |cluster| change(cluster.seen.as_mut().unwrap()))
}

fn server(seen: &mut Seen) -> &mut SeenServer {
    seen.server.as_mut().unwrap()
}

/// The pairs that are not `current`.
fn pairs(status: &MeshStatus) -> String {
    let wrong = |pair: &&RelationshipStatus| pair.state != RelationshipState::Current;
    let line = |pair: &RelationshipStatus| format!("{}→{} {}", pair.from, pair.to, pair.state.as_str());
    status.relationships.iter().filter(wrong).map(line).collect::<Vec<_>>().join(", ")
}

/// What is wrong in baz; nothing is in the others.
fn problems_of_baz(change: impl FnOnce(&mut Seen)) -> String {
    let status = with("baz", change);
    assert!(status.clusters[..2].iter().all(ClusterStatus::is_healthy));
    assert_eq!(status.is_healthy(), status.clusters[2].problems.is_empty());
    status.clusters[2].problems.join("; ")
}

#[test]
fn a_mesh_with_which_nothing_is_wrong_is_healthy_and_all_of_it_is_told() {
    let observed = observed();
    let status = MeshStatus::of(&observed);
    assert!(status.is_healthy());
    let mut text = serde_json::to_string_pretty(&status).unwrap();
    for cluster in &observed.clusters {
        let bundle = &cluster.server().unwrap().bundle;
        for (digest, authority) in bundle.authorities() {
            text = text.replace(&digest.to_string(), &format!("the authority of {}", cluster.name()));
            text = text.replace(authority.key_id().unwrap(), &format!("the CA of {}", cluster.name()));
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn one_pair_that_is_not_current_makes_a_mesh_unhealthy() {
    assert_eq!(pairs(&MeshStatus::of(&observed())), "");
    let forgotten = with("baz", |seen| drop(server(seen).relationships.pop()));
    assert_eq!(pairs(&forgotten), "baz→bar no-relationship");
    assert!(!forgotten.is_healthy());
    let mutual =
        |status: &MeshStatus| status.relationships.iter().map(|pair| pair.mutual).collect::<Vec<_>>();
    let all = [Some(true); 6];
    assert_eq!(mutual(&MeshStatus::of(&observed())), all);
    // bar→baz is the fourth.
    assert_eq!(mutual(&forgotten), [all[0], all[1], all[2], Some(false), all[4], all[5]]);
    let lost = with("baz", |seen| drop(server(seen).stored.pop()));
    assert_eq!(pairs(&lost), "baz→bar no-bundle");
    assert!(!lost.is_healthy());
}

#[test]
fn a_pair_of_which_one_could_not_be_asked_is_unknown_and_not_healthy() {
    let unasked = with("baz", |seen| seen.server = unread());
    assert_eq!(pairs(&unasked), "foo→baz unknown, bar→baz unknown, baz→foo unknown, baz→bar unknown");
    assert!(!unasked.is_healthy());
    // Even if nothing else is wrong.
    let mut status = MeshStatus::of(&observed());
    status.relationships[5].state = RelationshipState::Unknown;
    assert!(!status.is_healthy());
    let mut status = MeshStatus::of(&observed());
    status.clusters[2].spire = None;
    assert!(!status.is_healthy(), "nothing was read of the third");
    let mut status = MeshStatus::of(&observed());
    status.clusters[2].problems.push("a problem".to_owned());
    assert!(!status.is_healthy());
}

#[test]
fn a_cluster_that_cannot_be_reached_says_why() {
    let status = changed("baz", |cluster| cluster.seen = Err(Unread::because("connection refused")));
    assert_eq!(status.clusters[2].problems, ["connection refused"]);
    assert_eq!(status.clusters[2].spire, None);
    let known =
        |pair: &RelationshipStatus| (pair.url.is_some(), pair.mutual, pair.live_authorities.is_some());
    assert_eq!(known(&status.relationships[1]), (true, None, false));
    assert_eq!(known(&status.relationships[4]), (false, Some(true), true));
    assert_eq!(status.relationships[4].refresh.known_from, "connection refused");
}

/// How foo stands to baz, which signs with the first of `live`, where foo holds `stored` of it.
fn held(live: &[&Ca], stored: &[&Ca]) -> (RelationshipState, Option<String>) {
    let mut observed = observed();
    let of_baz = server(observed.clusters[2].seen.as_mut().unwrap());
    of_baz.bundle = bundle_of("baz", live);
    of_baz.authorities.active = Some(live[0].local());
    let of_foo = server(observed.clusters[0].seen.as_mut().unwrap());
    of_foo.stored[1] = bundle_of("baz", stored);
    let pair = MeshStatus::of(&observed).relationships.remove(1);
    (pair.state, pair.locked_out_after)
}

#[test]
fn a_pair_that_is_behind_is_locked_out_once_the_peer_signs_with_what_is_not_held() {
    let (first, second) = (Ca::of("baz"), Ca::of("baz"));
    // A sixth of the week before its end.
    let last_sixth = Some("1970-01-06T20:00:00Z".to_owned());
    assert_eq!(held(&[&first, &second], &[&first]), (RelationshipState::Behind, last_sixth.clone()));
    let began = Some("1970-01-01T00:00:00Z".to_owned());
    assert_eq!(held(&[&second, &first], &[&first]), (RelationshipState::LockedOut, began));
    assert_eq!(held(&[&first], &[&first]), (RelationshipState::Current, last_sixth));
    assert_eq!(held(&[&first], &[&second]).0, RelationshipState::LockedOut);
}

#[test]
fn each_node_shows_its_own_agent_with_its_newest_svid() {
    let status = with("baz", |seen| {
        let older = Agent { expires_at: 60, ..attested("baz", "u2") };
        server(seen).agents.push(older);
        let agents = seen.agents.as_mut().unwrap().as_mut().unwrap();
        agents.pods[1].trouble = Some("CrashLoopBackOff".to_owned());
    });
    let node = |name: &str, agent: &str, trouble: Option<&str>| NodeStatus {
        node: name.to_owned(),
        agent: Some(agent.to_owned()),
        state: NodeState::Ready,
        trouble: trouble.map(str::to_owned),
        svid_expires: Some("1970-01-01T01:00:00Z".to_owned()),
    };
    let nodes = status.clusters[2].spire.as_ref().unwrap().nodes.clone();
    assert_eq!(
        nodes,
        [node("node-1", "spire-agent-1", None), node("node-2", "spire-agent-2", Some("CrashLoopBackOff"))]
    );
    assert_eq!(status.clusters[2].spire.as_ref().unwrap().agents, Some(Counted { ready: 1, desired: 2 }));
    let gone = with("baz", |seen| {
        server(seen).agents.pop();
        seen.agents.as_mut().unwrap().as_mut().unwrap().pods.pop();
    });
    let last = gone.clusters[2].spire.as_ref().unwrap().nodes[1].clone();
    assert_eq!((last.agent, last.svid_expires), (None, None));
    assert_eq!(gone.clusters[2].spire.as_ref().unwrap().agents, Some(Counted { ready: 1, desired: 2 }));
}

#[test]
fn a_third_node_that_can_have_no_agent_is_named_and_counts_for_nothing() {
    let status = |state: NodeState, trouble: Option<&str>| {
        with("baz", |seen| {
            let nodes = seen.nodes.as_mut().unwrap();
            nodes.push(SeenNode {
                name: "node-3".to_owned(),
                uid: "u3".to_owned(),
                state,
                ..nodes[1].clone()
            });
            let agents = seen.agents.as_mut().unwrap().as_mut().unwrap();
            agents.found.desired = 3;
            let node = Some("node-3".to_owned());
            let trouble = trouble.map(str::to_owned);
            agents.pods.push(SeenAgentPod { name: "a".to_owned(), node, created: None, trouble });
        })
        .clusters
        .remove(2)
    };
    let said = "Ready is Unknown: Kubelet stopped posting node status.".to_owned();
    for state in [NodeState::Fargate, NodeState::NotReady { said }] {
        let cluster = status(state.clone(), Some("it waits"));
        assert!(cluster.is_healthy(), "{:?}", cluster.problems);
        let spire = cluster.spire.unwrap();
        assert_eq!(spire.agents, Some(Counted { ready: 2, desired: 2 }));
        assert_eq!((spire.nodes[2].node.as_str(), &spire.nodes[2].state), ("node-3", &state));
        let not_ready = "the node is not ready: Ready is Unknown: Kubelet stopped posting node status.";
        let trouble = if state == NodeState::Fargate { "it waits" } else { not_ready };
        assert_eq!(spire.nodes[2].trouble.as_deref(), Some(trouble));
        // One that still runs counts.
        assert_eq!(status(state, None).spire.unwrap().agents, Some(Counted { ready: 3, desired: 3 }));
    }
    let waits = status(NodeState::Ready, Some("it waits"));
    assert_eq!(waits.problems, ["2 of 3 agents are ready"]);
    let none = with("baz", |seen| {
        let said = String::new();
        for node in seen.nodes.as_mut().unwrap() {
            node.state = NodeState::NotReady { said: said.clone() };
        }
        for pod in &mut seen.agents.as_mut().unwrap().as_mut().unwrap().pods {
            pod.trouble = Some("it waits".to_owned());
        }
    });
    assert_eq!(none.clusters[2].problems, ["0 of 1 agents are ready"], "one is wanted in any case");
}

#[test]
fn an_agent_is_on_the_node_with_which_its_id_ends() {
    let node = |uid: &str| SeenNode {
        created: None,
        name: "node".to_owned(),
        uid: uid.to_owned(),
        state: NodeState::Ready,
        taints: Vec::new(),
    };
    let agent = attested("baz", "u2");
    assert!(is_on(&agent, &node("u2")));
    assert!(!is_on(&agent, &node("u1")) && !is_on(&agent, &node("baz")) && !is_on(&agent, &node("2")));
}

#[test]
fn every_problem_of_a_cluster_is_named() {
    assert_eq!(problems_of_baz(|_| ()), "");
    let without = problems_of_baz(|seen| {
        seen.spire = Ok(None);
        seen.server = unread();
        seen.endpoint = unread();
    });
    assert_eq!(without, "no SPIRE server was found");
    let trouble = Trouble { why: "ImagePullBackOff".to_owned(), since: None };
    assert_eq!(
        problems_of_baz(|seen| seen.server_trouble = Ok(Some(trouble))),
        "the SPIRE server is not ready: ImagePullBackOff"
    );
    assert_eq!(
        problems_of_baz(|seen| seen.server = Err(Unread::because("no answer within 15s"))),
        "no answer within 15s"
    );
    assert_eq!(
        problems_of_baz(|seen| server(seen).bundle = bundle("qux")),
        "its SPIRE server is of trust domain qux.com, the mesh file says baz.com"
    );
    assert_eq!(
        problems_of_baz(|seen| {
            seen.agents = Err(Unread::because("no agents"));
            seen.nodes = Err(Unread::because("no nodes"));
            seen.endpoint = unread();
        }),
        "no agents; no nodes"
    );
    assert_eq!(
        problems_of_baz(|seen| seen.endpoint = unread()),
        "the bundle endpoint's address could not be read"
    );
    for endpoint in [Endpoint::Pending("it waits".to_owned()), Endpoint::Unexposed("it waits".to_owned())] {
        assert_eq!(
            problems_of_baz(|seen| seen.endpoint = Ok(endpoint)),
            "the bundle endpoint has no address that other clusters can reach: it waits"
        );
    }
    assert_eq!(
        problems_of_baz(|seen| seen.agents.as_mut().unwrap().as_mut().unwrap().found.desired = 3),
        "2 of 3 agents are ready"
    );
    assert_eq!(
        problems_of_baz(|seen| server(seen).authorities.active = None),
        "the server has no active CA certificate"
    );
}

#[test]
fn a_ca_is_told_with_the_one_that_follows_and_the_one_above() {
    let next = Ca::of("baz");
    let status = with("baz", |seen| {
        server(seen).authorities.prepared = Some(next.local());
        let active = server(seen).authorities.active.as_mut().unwrap();
        (active.id, active.upstream_id) = ("0a".to_owned(), "0b".to_owned());
        let upstream = FoundUpstream { plugin: "cert-manager".to_owned(), issuer: None };
        seen.spire.as_mut().unwrap().as_mut().unwrap().upstream = Some(upstream);
    });
    let spire = status.clusters[2].spire.clone().unwrap();
    assert_eq!(spire.upstream_authority.as_deref(), Some("cert-manager"));
    let ca = CaStatus {
        id: "0a".to_owned(),
        since: None,
        expires: text(Timestamp::from_second(WEEK).unwrap()),
        replaced: None,
        prepared: Some(next.id),
        upstream: Some("0b".to_owned()),
    };
    assert_eq!(spire.ca, Some(ca));
}

#[test]
fn fetches_are_told_for_each_pair_from_the_log_of_the_one_that_fetches() {
    let now = Timestamp::UNIX_EPOCH;
    let status = with("baz", |seen| {
        let failed = Polled { failed: Some((now, "i/o timeout".to_owned())), changed: None };
        seen.polls = Ok(Polls { from: Some(Timestamp::MIN), of: [(domain("bar"), failed)].into() });
        server(seen).relationships[0].url = url("elsewhere");
    });
    let fetches: Vec<RefreshState> = status.relationships.iter().map(|pair| pair.refresh.state).collect();
    let unknown = RefreshState::Unknown;
    assert_eq!(fetches, [unknown, unknown, unknown, unknown, RefreshState::Works, RefreshState::Fails]);
    assert_eq!(status.relationships[4].url, Some(url("elsewhere")));
    insta::assert_snapshot!(status.relationships[4].refresh.known_from, @"the server's log: no fetch failed since 1969-12-31T23:57:30Z, and the server fetches every 75 s");
    let forgotten = with("baz", |seen| {
        seen.polls = Ok(Polls { from: Some(Timestamp::MIN), ..Polls::default() });
        server(seen).relationships.pop();
    });
    assert_eq!(forgotten.relationships[4].refresh.state, RefreshState::Works);
    assert_eq!(
        forgotten.relationships[5].refresh.known_from,
        "there is no relationship, so nothing is fetched"
    );
}

#[test]
fn times_that_go_on_by_themselves_are_no_change() {
    let before = MeshStatus::of(&observed());
    let mut later = before.clone();
    for pair in &mut later.relationships {
        pair.refresh.not_before = Some("2026-01-01T00:00:00Z".to_owned());
        pair.refresh.known_from.push_str(" still");
    }
    for cluster in &mut later.clusters {
        cluster.spire.as_mut().unwrap().nodes[1].svid_expires = Some("2026-01-01T00:00:00Z".to_owned());
    }
    assert!(before.is_same(&later));
    let mut other = before.clone();
    other.relationships[5].refresh.state = RefreshState::Fails;
    assert!(!before.is_same(&other));
    let mut other = before.clone();
    other.clusters[2].spire.as_mut().unwrap().nodes[1].trouble = Some("it ended".to_owned());
    assert!(!before.is_same(&other));
}

#[test]
fn every_state_has_its_word() {
    use RelationshipState::{Absent, Behind, Current, LockedOut, NoBundle, NoRelationship, Unknown};
    for state in [Current, Behind, LockedOut, NoBundle, NoRelationship, Absent, Unknown] {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
}
