//! What is said about each cause: foo is managed, and the SPIRE of bar is somebody else's, who has to be told other things.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Taint;
use serde_json::json;

use super::*;
use crate::federation::examined::{Clock, FailedFetch};
use crate::federation::observed::Trouble;
use crate::manifest::NewLoadBalancer;
use crate::spire::discovery::DiscoveryError;
use crate::spire::presented::Presented;
use crate::spire::server::{LocalAuthority, RefreshCause};

/// What is said of a cluster when it was changed.
fn of(name: &str, id: &str, scope: &Scope, change: impl FnOnce(&mut Seen, &mut Details)) -> String {
    changed(name, id, scope, change).told()
}

/// What is said of both clusters when each was changed alike.
fn of_both(id: &str, change: impl Fn(&mut Seen, &mut Details)) -> String {
    ["foo", "bar"].map(|name| of(name, id, &Scope::cluster(name), &change)).concat()
}

fn on_node() -> Scope {
    Scope::object("bar", "Node node-2")
}

#[test]
fn a_cluster_that_cannot_be_reached_is_named_with_what_came_instead() {
    let mut examined = examined();
    examined.observed.clusters[2].seen = Err(Unread::because("connection refused"));
    examined.details.remove("baz");
    let verification = verify(&examined);
    let results = verification.results().iter();
    let failed: Vec<String> =
        results.filter(|result| result.status == Status::Fail).map(CheckResult::told).collect();
    insta::assert_snapshot!(failed[0]);
}

#[test]
fn clocks_that_are_apart_are_named() {
    let mut examined = examined();
    for (name, ahead_seconds) in [("foo", -2), ("bar", -2), ("baz", 41)] {
        let clock = Clock { ahead_seconds, round_trip: Duration::from_millis(40) };
        examined.details.get_mut(name).unwrap().clock = Ok(Some(clock));
    }
    let verification = verify(&examined);
    let clocks = verification.results().iter().filter(|result| result.id.0 == "clocks");
    insta::assert_snapshot!(clocks.map(CheckResult::told).collect::<String>());
}

#[test]
fn which_spire_is_meant_is_not_clear_or_could_not_be_read() {
    let several = DiscoveryError::SeveralServers {
        servers: ["apps/StatefulSet/spire-server", "spire/Deployment/server"].map(str::to_owned).into(),
    };
    insta::assert_snapshot!(
        "several_servers",
        of("bar", "spire-found", &Scope::cluster("bar"), |seen, _| seen.spire = Err(Unread::error(&several)))
    );
    let several = DiscoveryError::SeveralAgents {
        sets: ["apps/DaemonSet/spire-agent", "spire/DaemonSet/agent"].map(str::to_owned).into(),
    };
    insta::assert_snapshot!(
        "several_agents",
        of("bar", "agents", &Scope::cluster("bar"), |seen, _| seen.agents = Err(Unread::error(&several)))
    );
    let mute = || Unread::because("the connection was closed");
    insta::assert_snapshot!(
        "agents_unread",
        of("bar", "agents", &Scope::cluster("bar"), |seen, _| seen.agents = Err(mute()))
    );
}

#[test]
fn a_server_that_is_missing_down_or_mute() {
    insta::assert_snapshot!("server_missing", of_both("spire-found", |seen, _| seen.spire = Ok(None)));
    let trouble =
        Trouble { why: "spire-server-0: the node is gone".to_owned(), since: Some(Timestamp::UNIX_EPOCH) };
    insta::assert_snapshot!(
        "server_down",
        of_both("server-ready", |seen, _| seen.server_trouble = Ok(Some(trouble.clone())))
    );
    let mute = Unread::because("no answer within 10s");
    insta::assert_snapshot!(
        "server_mute",
        of_both("server-ready", |seen, _| seen.server = Err(mute.clone()))
    );
}

#[test]
fn trust_domains_that_are_not_what_somebody_else_takes_them_for() {
    let cluster = Scope::cluster("bar");
    let of_bar = |change: &dyn Fn(&mut Seen, &mut Details)| of("bar", "trust-domain", &cluster, change);
    insta::assert_snapshot!("domain_of_the_server", of_bar(&|seen, _| asked(seen).bundle = bundle("qux")));
    insta::assert_snapshot!(
        "domain_of_the_manager",
        of_bar(&|seen, _| {
            found(seen).controller_manager.as_mut().unwrap().trust_domain = Some(domain("qux"));
        })
    );
    insta::assert_snapshot!(
        "domain_of_istio",
        of_bar(&|_, details| details.istio_trust_domain = Ok(Some("cluster.local".to_owned())))
    );
    let mut examined = examined();
    let bar = examined.observed.clusters[1].seen.as_mut().unwrap();
    asked(bar).bundle = bundle("foo");
    insta::assert_snapshot!("domain_twice", result(&examined, "trust-domain", &Scope::cluster("foo")).told());
}

#[test]
fn a_ca_that_is_missing_or_over() {
    let cluster = Scope::cluster("bar");
    let with = |active: Option<LocalAuthority>| {
        of("bar", "ca-lifetime", &cluster, |seen, _| asked(seen).authorities.active = active)
    };
    insta::assert_snapshot!("ca_none", with(None));
    let over = LocalAuthority { id: "0a0b".to_owned(), expires_at: 0, upstream_id: String::new() };
    insta::assert_snapshot!("ca_over", with(Some(over)));
}

#[test]
fn a_webhook_that_refuses_for_a_revoked_ca_is_told_apart_from_any_other() {
    let refuses = |text: &str| {
        of("bar", "webhook", &Scope::cluster("bar"), |_, details| {
            details.admission = Ok(Err(text.to_owned()));
        })
    };
    insta::assert_snapshot!("webhook_revoked", refuses("x509: certificate signed by unknown authority"));
    insta::assert_snapshot!("webhook_other", refuses("no endpoints available for service"));
}

#[test]
fn a_bundle_endpoint_without_an_address_or_with_the_certificate_of_another() {
    let with = |change: &dyn Fn(&mut Seen, &mut Details)| {
        of("bar", "bundle-endpoint", &Scope::cluster("bar"), change)
    };
    let pending = "Service spire-server/spire-server waits for its load balancer".to_owned();
    let pending = with(&|seen, _| seen.endpoint = Ok(Endpoint::Pending(pending.clone())));
    insta::assert_snapshot!("endpoint_without_address", pending);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI("spiffe://qux.com/spire/server".try_into().unwrap())];
    let other = params.self_signed(&key).unwrap().der().to_vec();
    let presents = with(&|_, details| details.presented = Ok(Presented::of(vec![other.clone()]).unwrap()));
    insta::assert_snapshot!("endpoint_of_another", presents);
    let mut params = params.clone();
    params.subject_alt_names = vec![rcgen::SanType::URI("spiffe://bar.com/spire/server".try_into().unwrap())];
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    let unknown = params.self_signed(&key).unwrap().der().to_vec();
    let presents = with(&|_, details| details.presented = Ok(Presented::of(vec![unknown.clone()]).unwrap()));
    insta::assert_snapshot!("endpoint_that_its_bundle_does_not_verify", presents);
}

#[test]
fn what_agents_start_from() {
    let none = of_both("bootstrap-bundle", |_, details| details.published_bundle = Ok(None));
    insta::assert_snapshot!("bootstrap_none", none);
    let mut told = of("bar", "bootstrap-bundle", &Scope::cluster("bar"), |_, details| {
        details.published_bundle = Ok(Some(bundle("bar")));
    });
    // Digests are of keys that were made for this test.
    for line in ["seen: published: ", "seen: the server's: "] {
        let start = told.find(line).unwrap() + line.len();
        let end = start + told[start..].find('\n').unwrap();
        told.replace_range(start..end, "DIGEST");
    }
    insta::assert_snapshot!("bootstrap_other", told);
}

#[test]
fn a_node_without_a_working_agent_is_told_why() {
    let with = |name: &'static str, change: &dyn Fn(&mut Seen, &mut Details)| {
        of(name, "agents", &Scope::object(name, "Node node-2"), change)
    };
    let bar = |change: &dyn Fn(&mut Seen, &mut Details)| with("bar", change);
    assert!(bar(&|_, _| ()).starts_with("pass"));
    let not_ready = bar(&|seen, _| seen.nodes.as_mut().unwrap()[1].state = not_ready());
    insta::assert_snapshot!("agent_on_node_not_ready", not_ready);
    let fargate = bar(&|seen, _| seen.nodes.as_mut().unwrap()[1].state = NodeState::Fargate);
    insta::assert_snapshot!("agent_on_fargate", fargate);
    let ends = |seen: &mut Seen| agents(seen).pods[1].trouble = Some("CrashLoopBackOff".to_owned());
    insta::assert_snapshot!("agent_not_ready", bar(&|seen, _| ends(seen)));
    let unknown = bar(&|seen, _| drop(asked(seen).agents.pop()));
    insta::assert_snapshot!("agent_unknown", unknown);
    let ban = |seen: &mut Seen| asked(seen).agents[1].banned = true;
    insta::assert_snapshot!("agent_banned", bar(&|seen, _| ban(seen)));
    let ended = bar(&|seen, _| {
        ban(seen);
        ends(seen);
    });
    insta::assert_snapshot!("agent_banned_and_ended", ended);
    let hostile = bar(&|seen, _| {
        ban(seen);
        found(seen).socket_path = Some("/tmp/$(id).sock".to_owned());
    });
    assert!(hostile.contains("-socketPath '/tmp/$(id).sock'"), "{hostile}");
    insta::assert_snapshot!("agent_expired", bar(&|seen, _| asked(seen).agents[1].expires_at = -1));
    let none = bar(&|seen, _| drop(agents(seen).pods.pop()));
    insta::assert_snapshot!("agent_none", none);
    let tainted = |seen: &mut Seen, _: &mut Details| {
        agents(seen).pods.pop();
        let taint = Taint { key: "gpu".to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
        seen.nodes.as_mut().unwrap()[1].taints = vec![taint];
    };
    insta::assert_snapshot!("agent_kept_away", with("foo", &tainted) + &bar(&tainted));
    let no_set = of("bar", "agents", &Scope::cluster("bar"), |seen, _| seen.agents = Ok(None));
    insta::assert_snapshot!("agents_missing", no_set);
}

#[test]
fn agents_that_serve_bundles_under_another_name_and_nodes_without_the_driver() {
    let names = |seen: &mut Seen, _: &mut Details| set_names(seen, "ROOTCA", "ALL");
    insta::assert_snapshot!("bundle_names", of_both("agent-bundle-names", names));
    let without = of("bar", "csi-driver", &on_node(), |_, details| {
        details.csi_nodes.as_mut().unwrap().pop();
    });
    insta::assert_snapshot!("driver_missing", without);
}

#[test]
fn relationships_that_are_missing_ignored_or_wrong() {
    let with = |change: &dyn Fn(&mut Seen)| {
        of("bar", "relationship", &bar_to_foo(), |seen, _| {
            change(seen);
        })
    };
    assert!(with(&|_| ()).starts_with("pass"), "{}", with(&|_| ()));
    let forgotten = |seen: &mut Seen| asked(seen).relationships.clear();
    insta::assert_snapshot!("relationship_not_passed_on", with(&forgotten));
    let one_way = |seen: &mut Seen| {
        forgotten(seen);
        seen.relationship_objects = Ok(Vec::new());
    };
    insta::assert_snapshot!("relationship_one_way", with(&one_way));
    let other_class = |seen: &mut Seen| {
        forgotten(seen);
        seen.relationship_objects = Ok(vec![relationship_object("foo", "other")]);
    };
    insta::assert_snapshot!("relationship_ignored", with(&other_class));
    let carries = |seen: &mut Seen| {
        let mut object = relationship_object("foo", CLASS);
        object.spec.trust_domain_bundle = Some("{}".to_owned());
        seen.relationship_objects = Ok(vec![object]);
    };
    insta::assert_snapshot!("relationship_carries_a_bundle", with(&carries));
    let of_bar = |change: fn(&mut Relationship)| with(&|seen| change(&mut asked(seen).relationships[0]));
    let other_id = |known: &mut Relationship| {
        known.profile = Profile::HttpsSpiffe("spiffe://foo.com/other".parse().unwrap());
    };
    insta::assert_snapshot!("relationship_other_id", of_bar(other_id));
    insta::assert_snapshot!("relationship_web", of_bar(|known| known.profile = Profile::HttpsWeb));
    let elsewhere = |known: &mut Relationship| "https://old.example:8443".clone_into(&mut known.url);
    insta::assert_snapshot!("relationship_elsewhere", of_bar(elsewhere));
    let orphan = with(&|seen| seen.relationship_objects = Ok(Vec::new()));
    insta::assert_snapshot!("relationship_without_object", orphan);
}

#[test]
fn bundles_that_are_missing_or_of_no_use() {
    let stored = |change: &dyn Fn(&mut Vec<TrustBundle>)| {
        let mut examined = examined();
        examined.fetched.clear();
        change_in(&mut examined, "bar", |seen, _| change(&mut asked(seen).stored));
        result(&examined, "bundle-stored", &bar_to_foo()).told()
    };
    insta::assert_snapshot!("bundle_never", stored(&Vec::clear));
    let none_in_common = stored(&|stored| *stored = vec![bundle("foo")]);
    insta::assert_snapshot!("bundle_of_nothing", none_in_common.lines().next().unwrap());
}

#[test]
fn fetches_that_fail_are_told_by_where_they_end() {
    let all = [
        RefreshCause::NameNotFound,
        RefreshCause::Refused,
        RefreshCause::TimedOut,
        RefreshCause::Unreachable,
        RefreshCause::Reset,
        RefreshCause::NotFound,
        RefreshCause::NotBootstrapped,
        RefreshCause::UnknownAuthority,
        RefreshCause::NoSpiffeId,
        RefreshCause::NotTls,
        RefreshCause::UnexpectedId,
        RefreshCause::OtherTrustDomain,
        RefreshCause::Expired,
        RefreshCause::NotYetValid,
        RefreshCause::NoRelationship,
        RefreshCause::ProfileMismatch,
        RefreshCause::Other,
    ];
    let told = all.map(|cause| {
        let mut examined = examined();
        let failed = FailedFetch { cause, message: "the server's words".to_owned(), new_load_balancer: None };
        let pair = ("bar".to_owned(), "foo".to_owned());
        examined.fetched.insert(pair, Ok(Err(failed)));
        examined.details.get_mut("foo").unwrap().presented = unread();
        // Only this check: what it stands on was not read here.
        let results = alone(&examined, "bundle-fetched");
        let told = results.iter().find(|result| result.scope == bar_to_foo()).unwrap().told();
        format!("{cause:?}: {told}")
    });
    insta::assert_snapshot!(told.concat());
}

#[test]
fn a_load_balancer_that_is_still_being_made_is_waited_for() {
    let told = [RefreshCause::NameNotFound, RefreshCause::UnknownAuthority].map(|cause| {
        let mut examined = examined();
        let new_load_balancer = Some(NewLoadBalancer::sample());
        let failed = FailedFetch { cause, message: "the server's words".to_owned(), new_load_balancer };
        examined.fetched.insert(("bar".to_owned(), "foo".to_owned()), Ok(Err(failed)));
        let results = alone(&examined, "bundle-fetched");
        results.iter().find(|result| result.scope == bar_to_foo()).unwrap().told()
    });
    insta::assert_snapshot!(told.concat());
}

#[test]
fn an_identity_object_that_was_just_made_is_waited_for() {
    let made = |before: i64| {
        let scope = Scope::object("bar", "ClusterSPIFFEID web");
        let mut object = identity_object("web", &json!({}), &json!({}));
        object.status = None;
        let made = examined().observed.at - jiff::SignedDuration::from_secs(before);
        object.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(made));
        of("bar", "identity-objects", &scope, |_, details| details.identity_objects = Ok(vec![object]))
    };
    insta::assert_snapshot!("object_not_acted_on", made(14));
    assert!(made(15).starts_with("pass"), "one that selects nothing may have no status");
}

#[test]
fn identity_objects_that_do_not_do_what_they_say() {
    let with = |spec: serde_json::Value, stats: serde_json::Value| {
        let scope = Scope::object("bar", "ClusterSPIFFEID web");
        of("bar", "identity-objects", &scope, |_, details| {
            details.identity_objects = Ok(vec![identity_object("web", &spec, &stats)]);
        })
    };
    assert!(with(json!({}), json!({"podsSelected": 1})).starts_with("pass"));
    insta::assert_snapshot!("object_ignored", with(json!({"className": "other"}), json!({})));
    insta::assert_snapshot!("object_of_a_stranger", with(json!({"federatesWith": ["qux.com"]}), json!({})));
    insta::assert_snapshot!("object_template", with(json!({}), json!({"podEntryRenderFailures": 1})));
    insta::assert_snapshot!("object_refused", with(json!({}), json!({"entryFailures": 2})));
    insta::assert_snapshot!("object_masked", with(json!({}), json!({"entriesMasked": 3})));
}

#[test]
fn pods_without_an_entry_or_with_the_wrong_one() {
    let with = |change: &dyn Fn(&mut Seen, &mut Details)| {
        of("bar", "entries", &pod_of_bar(), |seen, details| {
            details.identity_objects = Ok(vec![identity_object("web", &json!({}), &json!({}))]);
            change(seen, details);
        })
    };
    let no_entry = |details: &mut Details| set_entries(details, Vec::new());
    insta::assert_snapshot!("entry_not_made", with(&|_, details| no_entry(details)));
    let ignored = with(&|seen, details| {
        no_entry(details);
        let manager = found(seen).controller_manager.as_mut().unwrap();
        manager.ignore_namespaces = vec!["^shop$".to_owned()];
    });
    insta::assert_snapshot!("entry_namespace_ignored", ignored);
    let twice = with(&|_, details| {
        set_entries(details, vec![entry("bar", &["foo", "baz"]), entry("bar", &["foo", "baz"])]);
    });
    insta::assert_snapshot!("entry_twice", twice);
    let unselected = |_: &mut Seen, details: &mut Details| {
        no_entry(details);
        let labels = json!({"podSelector": {"matchLabels": {"app": "web"}}});
        let other_namespace = json!({"namespaceSelector": {"matchLabels": {"team": "a"}}});
        let objects = [("web", labels), ("team", other_namespace)];
        details.identity_objects =
            Ok(objects.map(|(name, spec)| identity_object(name, &spec, &json!({}))).into());
    };
    insta::assert_snapshot!("entry_not_selected", with(&unselected));
    let of_a_proxy = with(&|_, details| {
        let other = SeenWorkload { service_account: "web".to_owned(), ..pod(Parts::ProxyAndVolume) };
        set_pod(details, other);
    });
    insta::assert_snapshot!("entry_other_identity", of_a_proxy);
    let lacks = with(&|_, details| set_entries(details, vec![entry("bar", &[])]));
    insta::assert_snapshot!("entry_without_peer", lacks);
    let by_hand = |details: &mut Details| details.identity_objects = Ok(Vec::new());
    let lacks = with(&|_, details| {
        by_hand(details);
        set_entries(details, vec![entry("bar", &[])]);
    });
    insta::assert_snapshot!("entry_by_hand_without_peer", lacks);
    let objects = with(&|_, details| {
        set_entries(details, vec![entry("bar", &["foo", "baz"]), entry("bar", &["foo", "baz"])]);
        let both = ["web", "all"].map(|name| identity_object(name, &json!({}), &json!({})));
        details.identity_objects = Ok(both.into());
    });
    insta::assert_snapshot!("entry_of_two_objects", objects);
    let not_yet = with(&|_, details| {
        details.identity_objects =
            Ok(vec![identity_object("web", &json!({"federatesWith": ["foo.com", "baz.com"]}), &json!({}))]);
        set_entries(details, vec![entry("bar", &[])]);
    });
    insta::assert_snapshot!("entry_not_yet_with_peer", not_yet);
    let young = with(&|_, details| {
        no_entry(details);
        set_pod(details, SeenWorkload { created: Some(Timestamp::UNIX_EPOCH), ..pod(Parts::Volume) });
    });
    insta::assert_snapshot!(young, @"skip: it has only just been made, and its entry may still come");
    let without_volume = of("bar", "pods-on-spire", &pod_of_bar(), |_, details| {
        set_pod(details, pod(Parts::Proxy));
    });
    insta::assert_snapshot!("pod_without_volume", without_volume);
}
