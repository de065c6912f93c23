//! One thing is wrong in the third cluster, or with the last of several; what is said of all others stays as it is.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Taint;
use serde_json::json;

use super::*;
use crate::federation::examined::FailedFetch;
use crate::federation::sample::{Ca, WEEK, bundle_of, forbidden};
use crate::spire::crd::ClusterFederatedTrustDomain;
use crate::spire::server::RefreshCause;
use crate::trust::AuthorityDigest;

/// What a check comes to about everything of the mesh, where baz was changed.
fn all_of(id: &str, change: impl FnOnce(&mut Seen, &mut Details)) -> Vec<String> {
    let mut examined = examined();
    change_in(&mut examined, "baz", change);
    lines(&alone(&examined, id))
}

fn lines(results: &[CheckResult]) -> Vec<String> {
    results.iter().map(|result| format!("{} {}", result.scope, result.status)).collect()
}

/// Those of the lines that tell of something else than a pass.
fn bad(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().filter(|line| !line.ends_with(" pass")).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "it stands where what was read does")]
fn fetch_failed() -> Read<Result<(), FailedFetch>> {
    Ok(Err(FailedFetch {
        cause: RefreshCause::Refused,
        message: "refused".to_owned(),
        new_load_balancer: None,
    }))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

#[test]
fn a_ca_is_late_when_its_next_one_should_have_been_made_or_used_ten_minutes_ago() {
    let status = |now: i64, has_next: bool| {
        let mut examined = examined();
        examined.observed.at = at(now);
        change_in(&mut examined, "baz", |seen, _| {
            let authorities = &mut asked(seen).authorities;
            authorities.prepared = has_next.then(|| Ca::of("baz").local());
        });
        let result = alone(&examined, "ca-lifetime").pop().unwrap();
        (result.status, result.cause.unwrap_or_default())
    };
    let (middle, last_sixth, late) = (WEEK / 2, WEEK * 5 / 6, 600);
    let made = "the server should have made its next CA at 1970-01-04T12:00:00Z".to_owned();
    let gone_on = "the server should have gone on with its next CA at 1970-01-06T20:00:00Z".to_owned();
    let expired = "the server's CA has expired, so it signs nothing that anybody accepts".to_owned();
    let pass = || (Status::Pass, String::new());
    assert_eq!(status(middle + late, false), pass());
    assert_eq!(status(middle + late + 1, false), (Status::Warn, made));
    assert_eq!(status(middle + late + 1, true), pass());
    assert_eq!(status(last_sixth + late, true), pass());
    assert_eq!(status(last_sixth + late + 1, true), (Status::Warn, gone_on.clone()));
    assert_eq!(status(WEEK - 1, false), (Status::Warn, gone_on));
    assert_eq!(status(WEEK, true), (Status::Fail, expired));
}

#[test]
fn clocks_are_compared_two_by_two() {
    let apart =
        all_of("clocks", |_, details| details.clock.as_mut().unwrap().as_mut().unwrap().ahead_seconds = 30);
    assert_eq!(apart, ["foo→bar pass", "foo→baz fail", "bar→baz fail"]);
    let unknown = all_of("clocks", |_, details| details.clock = Ok(None));
    assert_eq!(unknown, ["foo→bar pass"]);
}

#[test]
fn every_cluster_that_has_the_trust_domain_of_another_is_named() {
    let twins = all_of("trust-domain", |seen, _| asked(seen).bundle = bundle("foo"));
    assert_eq!(bad(twins), ["foo fail", "baz fail"]);
}

#[test]
fn a_relationship_is_judged_by_the_object_for_the_same_peer() {
    let of_baz = |change: &dyn Fn(&mut Vec<ClusterFederatedTrustDomain>)| {
        bad(all_of("relationship", |seen, _| change(seen.relationship_objects.as_mut().unwrap())))
    };
    assert_eq!(of_baz(&|_| ()), [""; 0]);
    let last_carries = of_baz(&|objects| objects[1].spec.trust_domain_bundle = Some("{}".to_owned()));
    assert_eq!(last_carries, ["baz→bar warn"]);
    let first_carries = of_baz(&|objects| objects[0].spec.trust_domain_bundle = Some("{}".to_owned()));
    assert_eq!(first_carries, ["baz→foo warn"]);
    assert_eq!(of_baz(&|objects| drop(objects.pop())), ["baz→bar fail"]);
    assert_eq!(of_baz(&|objects| drop(objects.remove(0))), ["baz→foo fail"]);
}

#[test]
fn a_relationship_of_another_peer_does_not_make_up_for_one_that_is_missing() {
    let told = |change: &dyn Fn(&mut Seen)| {
        let mut examined = examined();
        change_in(&mut examined, "baz", |seen, _| change(seen));
        change_in(&mut examined, "bar", |seen, _| {
            asked(seen).relationships.retain(|known| known.trust_domain != domain("baz"));
        });
        result(&examined, "relationship", &Scope::pair("baz", "bar")).cause.unwrap_or_default()
    };
    // Then bar has none with baz either: nobody can say that trust goes one way.
    let neither = |seen: &mut Seen| {
        asked(seen).relationships.pop();
        seen.relationship_objects.as_mut().unwrap().pop();
    };
    assert_eq!(told(&neither), "baz has no relationship with bar");
    let ignored = |seen: &mut Seen| {
        asked(seen).relationships.pop();
        seen.relationship_objects.as_mut().unwrap()[1].spec.class_name = None;
    };
    assert_eq!(
        told(&ignored),
        "the relationship object is ignored: its className is none, that of the controller-manager is `spire-mgmt-spire`"
    );
}

#[test]
fn what_is_wrong_with_one_relationship_is_not_said_of_another() {
    let of_baz = |change: &dyn Fn(&mut Seen)| bad(all_of("relationship", |seen, _| change(seen)));
    let last = |seen: &mut Seen| asked(seen).relationships.pop().unwrap();
    let with = |seen: &mut Seen, change: fn(&mut Relationship)| {
        let mut known = last(seen);
        change(&mut known);
        asked(seen).relationships.push(known);
    };
    assert_eq!(of_baz(&|seen| with(seen, |known| known.profile = Profile::Other)), ["baz→bar fail"]);
    assert_eq!(of_baz(&|seen| with(seen, |known| known.url = url("old"))), ["baz→bar fail"]);
    assert_eq!(of_baz(&|seen| with(seen, |known| known.url.push('/'))), [""; 0]);
    assert_eq!(of_baz(&|seen| found(seen).static_federation = vec!["bar.com".to_owned()]), ["baz→bar warn"]);
    // Without a controller-manager nobody takes a relationship away for which there is no object.
    let by_hand = |seen: &mut Seen| {
        found(seen).controller_manager = None;
        seen.relationship_objects = Ok(Vec::new());
    };
    assert_eq!(of_baz(&by_hand), [""; 0]);
    assert_eq!(of_baz(&|seen| seen.relationship_objects = unread()), ["baz→foo skip", "baz→bar skip"]);
    let endpoint = bad(all_of("relationship", |seen, _| seen.endpoint = unread()));
    assert_eq!(endpoint, [""; 0], "where its endpoint is is not known");
}

/// What `bundle-stored` comes to about foo's bundle of baz, where baz holds the authorities of `live` and signs with the last, and foo
/// holds those of `stored`.
fn stored(live: &[&Ca], stored: &[&Ca], fetched: Option<Read<Result<(), FailedFetch>>>) -> CheckResult {
    let mut examined = examined();
    change_in(&mut examined, "baz", |seen, _| {
        asked(seen).bundle = bundle_of("baz", live);
        asked(seen).authorities.active = live.last().map(|ca| ca.local());
    });
    change_in(&mut examined, "foo", |seen, _| {
        asked(seen).stored.retain(|bundle| bundle.trust_domain() != &domain("baz"));
        asked(seen).stored.push(bundle_of("baz", stored));
    });
    let pair = ("foo".to_owned(), "baz".to_owned());
    examined.fetched.remove(&pair);
    examined.fetched.extend(fetched.map(|fetched| (pair, fetched)));
    let results = alone(&examined, "bundle-stored");
    let others: Vec<String> = bad(lines(&results));
    assert!(others.iter().all(|line| line.ends_with("→baz fail")), "{others:?}");
    results.into_iter().find(|result| result.scope == Scope::pair("foo", "baz")).unwrap()
}

#[test]
fn a_peer_that_signs_with_what_is_not_held_locks_out_though_another_authority_is_common() {
    let (old, new) = (Ca::of("baz"), Ca::of("baz"));
    let cause = |result: CheckResult| result.cause.unwrap_or_default();
    insta::assert_snapshot!(cause(stored(&[&old, &new], &[&old], Some(fetch_failed()))), @"baz signs with a new CA (made at 1970-01-01T00:00:00Z) that foo did not get in time; it cannot fetch it, because the endpoint presents it too");
    insta::assert_snapshot!(cause(stored(&[&new], &[&old], Some(fetch_failed()))), @"foo holds none of the authorities of baz; it cannot fetch them, because it no longer trusts the endpoint");
    // It lacks what baz does not sign with any more.
    let lacks_old = stored(&[&old, &new], &[&new], Some(fetch_failed()));
    assert_eq!(lacks_old.status, Status::Pass);
    assert_eq!(lacks_old.evidence, ["it holds what the peer signs with; the next fetch brings the rest"]);
    let same = stored(&[&old, &new], &[&new, &old], Some(fetch_failed()));
    assert_eq!(same.evidence, ["the same 2 authorities on both sides"]);
}

#[test]
fn the_authorities_of_both_sides_are_shown_where_they_do_not_agree() {
    let (old, kept, new) = (Ca::of("baz"), Ca::of("baz"), Ca::of("baz"));
    let shorts = |cas: &[&Ca]| {
        let bundle = bundle_of("baz", cas);
        bundle.authorities().keys().map(AuthorityDigest::short).collect::<Vec<_>>().join(", ")
    };
    let result = stored(&[&kept, &new], &[&old, &kept], Some(fetch_failed()));
    assert_eq!(result.evidence[0], format!("stored: {}", shorts(&[&old, &kept])));
    assert_eq!(result.evidence[1], format!("live: {}", shorts(&[&kept, &new])));
}

#[test]
fn only_a_fetch_that_worked_brings_what_was_lacking() {
    let (old, new) = (Ca::of("baz"), Ca::of("baz"));
    let with = |fetched| stored(&[&old, &new], &[&old], fetched).status;
    assert_eq!(with(Some(Ok(Ok(())))), Status::Pass);
    assert_eq!(with(Some(fetch_failed())), Status::Fail);
    assert_eq!(with(Some(unread())), Status::Fail);
    assert_eq!(with(None), Status::Fail);
}

#[test]
fn a_bundle_that_its_relationship_object_carries_is_told_apart_from_one_that_is_too_old() {
    let (old, other, new) = (Ca::of("baz"), Ca::of("baz"), Ca::of("baz"));
    let told = |carried: &Ca| {
        let mut examined = examined();
        let keys = json!({"keys": [{"use": "x509-svid", "x5c": [carried.base64()]}]}).to_string();
        change_in(&mut examined, "foo", |seen, _| {
            asked(seen).stored.retain(|bundle| bundle.trust_domain() != &domain("baz"));
            asked(seen).stored.push(bundle_of("baz", &[&old]));
            let objects = seen.relationship_objects.as_mut().unwrap();
            objects[0].spec.trust_domain_bundle = Some("{}".to_owned());
            objects[1].spec.trust_domain_bundle = Some(keys);
        });
        change_in(&mut examined, "baz", |seen, _| {
            asked(seen).bundle = bundle_of("baz", &[&new]);
            asked(seen).authorities.active = Some(new.local());
        });
        examined.fetched.clear();
        let results = alone(&examined, "bundle-stored");
        let result = results.into_iter().find(|result| result.scope == Scope::pair("foo", "baz")).unwrap();
        (result.cause.unwrap(), result.fix)
    };
    let fix = Some("carry the bundle of baz to foo over the Kubernetes API".to_owned());
    let (cause, repaired) = told(&old);
    insta::assert_snapshot!(cause, @"foo holds the old bundle of baz that its relationship object still carries: a change of the object has set it again");
    assert_eq!(repaired, fix);
    assert!(told(&other).0.starts_with("foo holds none of the authorities of baz"));
}

#[test]
fn a_fetch_that_was_not_tried_or_not_seen_is_skipped() {
    let with = |fetched: Option<Read<Result<(), FailedFetch>>>| {
        let mut examined = examined();
        let pair = ("baz".to_owned(), "bar".to_owned());
        examined.fetched.remove(&pair);
        examined.fetched.extend(fetched.map(|fetched| (pair, fetched)));
        bad(lines(&alone(&examined, "bundle-fetched")))
    };
    assert_eq!(with(None), ["baz→bar skip"]);
    assert_eq!(with(Some(unread())), ["baz→bar skip"]);
    assert_eq!(with(Some(fetch_failed())), ["baz→bar fail"]);
}

#[test]
fn the_newest_svid_of_a_nodes_agent_counts() {
    let with = |change: &dyn Fn(&mut SeenServer)| bad(all_of("agents", |seen, _| change(asked(seen))));
    let older = |expires_at: i64, banned: bool| crate::spire::server::Agent {
        expires_at,
        banned,
        ..attested("baz", "u2")
    };
    assert_eq!(with(&|server| server.agents.push(older(-1, false))), [""; 0]);
    assert_eq!(with(&|server| server.agents.push(older(1, true))), [""; 0]);
    assert_eq!(with(&|server| server.agents.push(older(7200, true))), ["baz: Node node-2 fail"]);
    assert_eq!(with(&|server| server.agents[1].expires_at = 1), [""; 0]);
    assert_eq!(with(&|server| server.agents[1].expires_at = 0), ["baz: Node node-2 fail"]);
    assert_eq!(with(&|server| drop(server.agents.pop())), ["baz: Node node-2 fail"]);
}

#[test]
fn a_node_needs_an_agent_only_for_pods_that_wait_on_it() {
    let with = |change: &dyn Fn(&mut Seen, &mut Details)| {
        let mut examined = examined();
        change_in(&mut examined, "baz", |seen, details| {
            agents(seen).pods.pop();
            change(seen, details);
        });
        alone(&examined, "agents").pop().unwrap()
    };
    let waits = with(&|_, _| ());
    assert_eq!(waits.status, Status::Fail);
    assert_eq!(waits.evidence, ["waiting for an identity: Pod bank/teller, Pod shop/client"]);
    let elsewhere = with(&|_, details| {
        details.workloads.as_mut().unwrap().retain(|pod| pod.node.as_deref() == Some("node-1"));
    });
    assert_eq!(elsewhere.status, Status::Pass);
    let taint = |effect: &str| Taint { key: "gpu".to_owned(), effect: effect.to_owned(), ..Taint::default() };
    let tainted = with(&|seen, _| {
        seen.nodes.as_mut().unwrap()[1].taints = ["PreferNoSchedule", "NoSchedule"].map(taint).into();
    });
    insta::assert_snapshot!(tainted.cause.unwrap(), @"the node has pods that need an identity, and no agent: DaemonSet spire-system/spire-agent does not tolerate gpu:NoSchedule");
    let preferred = with(&|seen, _| seen.nodes.as_mut().unwrap()[1].taints = vec![taint("PreferNoSchedule")]);
    assert_eq!(preferred.cause.unwrap(), "the node has pods that need an identity, and no agent");
    let not_ready = with(&|seen, _| seen.nodes.as_mut().unwrap()[1].state = not_ready());
    assert_eq!(not_ready.status, Status::Warn);
}

#[test]
fn a_third_node_that_can_have_no_agent_is_told_as_what_it_is_and_fails_nothing() {
    let with = |state: NodeState| {
        let mut examined = examined();
        change_in(&mut examined, "baz", |seen, _| {
            let nodes = seen.nodes.as_mut().unwrap();
            let third =
                SeenNode { name: "node-3".to_owned(), uid: "u3".to_owned(), state, ..nodes[1].clone() };
            nodes.push(third);
            // As with somebody else's SPIRE, whose agents wait for every node.
            let waits = Some("unschedulable".to_owned());
            let pod = SeenAgentPod {
                name: "spire-agent-3".to_owned(),
                node: Some("node-3".to_owned()),
                created: None,
                trouble: waits,
            };
            agents(seen).pods.push(pod);
        });
        let verification = verify(&examined);
        let of_node = |id: &str| {
            let all = verification.results().iter().filter(|result| result.id.0 == id);
            all.filter(|result| result.scope.to_string().contains("node-3"))
                .map(CheckResult::told)
                .collect::<String>()
        };
        let failed: Vec<String> = verification.failed_in("baz").iter().map(|result| result.told()).collect();
        assert_eq!(failed, [""; 0]);
        assert_eq!(of_node("csi-driver"), "", "it is not asked for the driver");
        of_node("agents")
    };
    insta::assert_snapshot!("third_node", with(NodeState::Fargate) + &with(not_ready()));
}

#[test]
fn agents_of_a_server_that_lost_its_data_are_started_again_on_every_node() {
    let repairs = |created: [Option<i64>; 2], knows_one: bool| {
        let mut examined = examined();
        change_in(&mut examined, "baz", |seen, _| {
            asked(seen).agents.truncate(usize::from(knows_one));
            for (pod, created) in agents(seen).pods.iter_mut().zip(created) {
                pod.created = created.map(at);
            }
        });
        let verification = verify(&examined);
        verification.repairs().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let one = |number: usize| format!("baz: start the agents again: spire-agent-{number}");
    assert_eq!(repairs([Some(-60), Some(-60)], false), [one(1), one(2)]);
    // The CA began ten seconds before it was made.
    assert_eq!(repairs([Some(9), Some(10)], false), [one(1)]);
    assert_eq!(repairs([None, Some(9)], false), [one(2)]);
    assert_eq!(repairs([Some(-60), Some(-60)], true), [""; 0]);
    let mut examined = examined();
    change_in(&mut examined, "baz", |seen, _| {
        asked(seen).agents.clear();
        for pod in &mut agents(seen).pods {
            pod.created = Some(at(-60));
        }
        agents(seen).pods[1].trouble = Some("CrashLoopBackOff".to_owned());
    });
    let told: Vec<String> = alone(&examined, "agents").iter().skip(4).map(CheckResult::told).collect();
    insta::assert_snapshot!(told.concat(), @r"
    fail: the server has lost its data: its CA is new since 1970-01-01T00:00:10Z, and no agent has attested to it
    seen: the agent runs since 1969-12-31T23:59:00Z
    seen: pod spire-agent-1
    next: kubectl spire-federate
    fail: the server has lost its data: its CA is new since 1970-01-01T00:00:10Z, and no agent has attested to it
    seen: the agent runs since 1969-12-31T23:59:00Z
    seen: pod spire-agent-2: CrashLoopBackOff
    next: kubectl spire-federate
    ");
}

/// What is said of the last agent and of the servers of baz, where a volume of a second server is left and the agent runs since a time.
fn left(created: i64, change: &dyn Fn(&mut Seen, &mut Details)) -> String {
    let mut examined = examined();
    change_in(&mut examined, "baz", |seen, details| {
        let servers = details.servers.as_mut().unwrap().as_mut().unwrap();
        servers.left_claims = Ok(vec!["data-spire-server-1".to_owned()]);
        agents(seen).pods[1].created = Some(at(created));
        change(seen, details);
    });
    let told = ["one-server", "agents"].map(|id| alone(&examined, id).pop().unwrap().told());
    told.concat()
}

#[test]
fn a_second_server_is_named_until_nothing_of_it_is_left() {
    let with = |change: &dyn Fn(&mut Seen, &mut Details)| {
        let mut examined = examined();
        change_in(&mut examined, "baz", change);
        alone(&examined, "one-server").pop().unwrap().told()
    };
    insta::assert_snapshot!(with(&|_, details| {
        let servers = details.servers.as_mut().unwrap().as_mut().unwrap();
        servers.pods.push("spire-server-1".to_owned());
    }));
    assert!(with(&|_, details| details.servers = Ok(None)).starts_with("pass"), "it is somebody else's");
    let unread = with(&|_, details| {
        details.servers.as_mut().unwrap().as_mut().unwrap().left_claims = forbidden("claims");
    });
    assert!(unread.starts_with("pass"), "for want of that right nothing else is passed over: {unread}");
    // The sample's SVIDs end an hour after 1970 began, and live for one.
    let given = 0;
    insta::assert_snapshot!("agent_of_a_second_server", left(given + 60, &|_, _| ()));
    let told = left(given + 60, &|_, details| details.published_bundle = Ok(Some(bundle("baz"))));
    insta::assert_snapshot!("agent_of_a_second_server_before_the_bundle", told);
    insta::assert_snapshot!("volume_of_a_second_server", left(given + 59, &|_, _| ()));
    let with = |change: &dyn Fn(&mut Seen)| {
        left(given + 60, &|seen, _| change(seen)).contains("attested to a second")
    };
    assert!(!with(&|seen| found(seen).agent_ttl = None), "it is not known when an SVID was given");
    let short = |seen: &mut Seen| asked(seen).authorities.active.as_mut().unwrap().expires_at = 3600;
    assert!(!with(&short), "an SVID that ends with its CA lived shorter");
}

#[test]
fn an_agent_that_has_the_identity_of_an_old_node_object_is_started_again() {
    let with = |node: i64, agent: i64, trouble: Option<&str>| {
        let mut examined = examined();
        change_in(&mut examined, "baz", |seen, _| {
            let node = at(node);
            seen.nodes.as_mut().unwrap()[1].created = Some(node);
            seen.nodes.as_mut().unwrap()[1].uid = "u3".to_owned();
            let pod = &mut agents(seen).pods[1];
            (pod.created, pod.trouble) = (Some(at(agent)), trouble.map(str::to_owned));
        });
        let repairs: Vec<String> = verify(&examined).repairs().iter().map(ToString::to_string).collect();
        (alone(&examined, "agents").pop().unwrap().told(), repairs)
    };
    let (told, repairs) = with(61, 60, None);
    insta::assert_snapshot!("agent_of_an_old_node_object", told);
    assert_eq!(repairs, ["baz: start the agents again: spire-agent-2"]);
    let (told, _) = with(61, 60, Some("container spire-agent runs and is not ready"));
    assert!(told.starts_with("fail: the Node object was made anew at 1970-01-01T00:01:01Z"), "{told}");
    let (told, _) = with(60, 60, None);
    assert!(told.starts_with("fail: its agent is not known to the server"), "{told}");
}

#[test]
fn a_driver_is_needed_where_agents_or_pods_are() {
    let known = |nodes: &[&str]| {
        let nodes: Vec<String> = nodes.iter().map(|name| (*name).to_owned()).collect();
        bad(all_of("csi-driver", |_, details| details.csi_nodes = Ok(nodes)))
    };
    assert_eq!(known(&["node-1"]), ["baz: Node node-2 fail"]);
    assert_eq!(known(&["node-2", "node-3"]), ["baz: Node node-1 fail"]);
    let only_pods = bad(all_of("csi-driver", |seen, details| {
        seen.agents = Ok(None);
        details.csi_nodes = Ok(Vec::new());
    }));
    assert_eq!(only_pods, ["baz: Node node-1 fail", "baz: Node node-2 fail"]);
    let only_agents = bad(all_of("csi-driver", |_, details| {
        details.workloads = Ok(Vec::new());
        details.csi_nodes = Ok(Vec::new());
    }));
    assert_eq!(only_agents, ["baz: Node node-1 fail", "baz: Node node-2 fail"]);
}

#[test]
fn an_identity_object_is_told_by_what_is_worst_about_it() {
    let cause = |stats: &serde_json::Value, federates_with: &[&str]| {
        let spec = json!({"federatesWith": federates_with});
        let mut examined = examined();
        change_in(&mut examined, "baz", |_, details| {
            details.identity_objects.as_mut().unwrap().push(identity_object("web", &spec, stats));
        });
        let mut results = alone(&examined, "identity-objects");
        let last = results.pop().unwrap();
        assert_eq!(bad(lines(&results)), [""; 0]);
        last.cause.unwrap_or_else(|| last.status.to_string())
    };
    let all = json!({"podEntryRenderFailures": 1, "entryFailures": 1, "entriesMasked": 1});
    assert_eq!(cause(&all, &[]), "its spiffeIDTemplate gives no valid SPIFFE ID for some pods");
    let refused = json!({"entryFailures": 1, "entriesMasked": 1});
    assert_eq!(cause(&refused, &[]), "the server refuses some of its entries");
    assert_eq!(
        cause(&json!({"entriesMasked": 1}), &[]),
        "another ClusterSPIFFEID gives some of its pods the same entry"
    );
    assert_eq!(cause(&json!({"podsSelected": 3, "entriesToSet": 3}), &["foo.com", "bar.com"]), "pass");
    insta::assert_snapshot!(cause(&all, &["foo.com", "qux.com"]), @"its pods get no entry at all, because the server holds no bundle of qux.com, which federatesWith names");
}

#[test]
fn an_object_waits_for_the_bundle_that_it_names_and_not_for_another() {
    let with = |federates_with: &[&str]| {
        let spec = json!({"federatesWith": federates_with});
        let mut examined = examined();
        change_in(&mut examined, "baz", |seen, details| {
            asked(seen).stored.pop();
            details.identity_objects = Ok(vec![identity_object("web", &spec, &json!({}))]);
        });
        let result = alone(&examined, "identity-objects").pop().unwrap();
        result.cause.unwrap_or_else(|| result.status.to_string())
    };
    assert_eq!(with(&["foo.com", "bar.com"]), "bundle-stored of baz→bar comes first");
    assert_eq!(with(&["foo.com"]), "pass");
}

#[test]
fn an_entry_has_to_have_every_peer_and_each_that_it_lacks_is_named() {
    let with = |peers: &[&str]| {
        let result = changed("baz", "entries", &Scope::object("baz", "Pod shop/client"), |_, details| {
            set_entries(details, vec![entry("baz", peers)]);
        });
        result.cause.unwrap_or_else(|| result.status.to_string())
    };
    assert_eq!(with(&["bar", "foo"]), "pass");
    insta::assert_snapshot!(with(&[]), @"its entry does not federate with foo.com, bar.com, so it does not get that bundle: ClusterSPIFFEID others says so, and the controller-manager has not done it yet");
    insta::assert_snapshot!(with(&["foo"]), @"its entry does not federate with bar.com, so it does not get that bundle: ClusterSPIFFEID others says so, and the controller-manager has not done it yet");
}

#[test]
fn an_entry_is_blamed_on_its_object_unless_that_names_every_peer_which_it_lacks() {
    let with = |federates_with: &[&str]| {
        let spec = json!({"federatesWith": federates_with});
        changed("baz", "entries", &Scope::object("baz", "Pod shop/client"), |_, details| {
            set_entries(details, vec![entry("baz", &[])]);
            details.identity_objects = Ok(vec![identity_object("web", &spec, &json!({}))]);
        })
        .told()
    };
    assert!(with(&["foo.com", "bar.com"]).contains("the controller-manager has not done it yet"));
    assert!(with(&["foo.com"]).contains("ClusterSPIFFEID web lacks it in federatesWith"));
}

#[test]
fn only_a_pod_with_a_proxy_has_to_be_called_as_istio_expects() {
    let with = |parts: Parts, service_account: &str| {
        changed("baz", "entries", &Scope::object("baz", "Pod shop/client"), |_, details| {
            set_pod(details, SeenWorkload { service_account: service_account.to_owned(), ..pod(parts) });
        })
        .status
    };
    assert_eq!(with(Parts::Volume, "web"), Status::Pass);
    assert_eq!(with(Parts::ProxyAndVolume, "web"), Status::Fail);
    assert_eq!(with(Parts::Proxy, "web"), Status::Fail);
    assert_eq!(with(Parts::ProxyAndVolume, "default"), Status::Pass);
}

#[test]
fn a_pod_without_an_entry_is_told_why() {
    let cause = |change: &dyn Fn(&mut Seen, &mut Details)| {
        let result = changed("baz", "entries", &Scope::object("baz", "Pod shop/client"), |seen, details| {
            set_entries(details, Vec::new());
            change(seen, details);
        });
        format!("{}: {}", result.status, result.cause.unwrap_or_default())
    };
    let created = |age: i64| {
        cause(&|_, details| {
            let created = Timestamp::UNIX_EPOCH.checked_sub(SignedDuration::from_secs(age)).ok();
            set_pod(details, SeenWorkload { created, ..pod(Parts::Volume) });
        })
    };
    assert_eq!(created(14), "skip: it has only just been made, and its entry may still come");
    assert_eq!(
        created(15),
        "fail: it waits for an identity: ClusterSPIFFEID others selects it, and there is no entry"
    );
    let ignored = cause(&|seen, _| {
        let manager = found(seen).controller_manager.as_mut().unwrap();
        manager.ignore_namespaces = vec!["^bank$".to_owned(), "[".to_owned(), "^shop$".to_owned()];
    });
    insta::assert_snapshot!(ignored, @"fail: it waits for an identity: the controller-manager ignores its namespace (`^shop$` in ignoreNamespaces)");
    let elsewhere = cause(&|seen, _| {
        let manager = found(seen).controller_manager.as_mut().unwrap();
        manager.ignore_namespaces = vec!["^bank$".to_owned()];
    });
    assert!(elsewhere.ends_with("ClusterSPIFFEID others selects it, and there is no entry"), "{elsewhere}");
    let unheld = cause(&|seen, _| drop(asked(seen).stored.pop()));
    assert_eq!(unheld, "skip: identity-objects of ClusterSPIFFEID others comes first");
    let of_another_class = cause(&|_, details| {
        details.identity_objects.as_mut().unwrap()[1].spec.class_name = Some("other".to_owned());
    });
    assert_eq!(of_another_class, "fail: it waits for an identity: no ClusterSPIFFEID selects it");
}

#[test]
fn a_pod_is_selected_where_both_selectors_accept_it() {
    let selected = |spec: serde_json::Value| {
        let result = changed("baz", "entries", &Scope::object("baz", "Pod shop/client"), |_, details| {
            set_entries(details, Vec::new());
            details.identity_objects = Ok(vec![identity_object("web", &spec, &json!({}))]);
        });
        (result.cause.unwrap().contains("web selects it"), result.evidence)
    };
    let labels = |key: &str, value: &str| json!({"matchLabels": {key: value}});
    assert!(selected(json!({})).0);
    assert!(
        selected(json!({"podSelector": labels("proxy", "no"), "namespaceSelector": labels("name", "shop")}))
            .0
    );
    let other_pods =
        selected(json!({"podSelector": labels("proxy", "yes"), "namespaceSelector": labels("name", "shop")}));
    assert_eq!(
        other_pods,
        (false, vec!["ClusterSPIFFEID web: its podSelector excludes the pod: proxy=yes".to_owned()])
    );
    let other_namespace = selected(json!({"namespaceSelector": labels("name", "bank")}));
    assert_eq!(
        other_namespace,
        (false, vec!["ClusterSPIFFEID web: its namespaceSelector excludes namespace shop".to_owned()])
    );
    let broken = json!({"podSelector": {"matchExpressions": [{"key": "proxy", "operator": "Like"}]}});
    assert!(!selected(broken).0);
}

#[test]
fn only_proxies_have_to_get_their_certificate_from_spire() {
    let all = all_of("pods-on-spire", |_, details| set_pod(details, pod(Parts::Proxy)));
    assert_eq!(bad(all.clone()), ["baz: Pod shop/client fail"]);
    assert_eq!(all.len(), 7, "{all:?}");
}

#[test]
fn agents_that_start_from_a_part_of_the_bundle_are_named() {
    let (old, new) = (Ca::of("baz"), Ca::of("baz"));
    let with = |published: &[&Ca]| {
        all_of("bootstrap-bundle", |seen, details| {
            asked(seen).bundle = bundle_of("baz", &[&old, &new]);
            details.published_bundle = Ok(Some(bundle_of("baz", published)));
        })
    };
    assert_eq!(with(&[&new, &old]), ["foo pass", "bar skip", "baz pass"]);
    assert_eq!(with(&[&old]), ["foo pass", "bar skip", "baz fail"]);
    let none = all_of("bootstrap-bundle", |_, details| details.published_bundle = Ok(None));
    assert_eq!(none, ["foo pass", "bar skip", "baz fail"]);
}
