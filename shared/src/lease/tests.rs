use std::cell::Cell;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::object::{Holder, name};
use super::*;
use crate::fleet::Member;
use crate::fleet::fake::FakeServer;
use crate::hint::Hint;

const LIST: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/spire-mesh-example";

/// An API server whose clock stands at ten.
fn server() -> FakeServer {
    FakeServer::default().dated("Mon, 30 Nov 2026 10:00:00 GMT")
}

fn servers() -> ([FakeServer; 3], Vec<Member>) {
    let servers = [server(), server(), server()];
    let members = servers.iter().zip(["foo", "bar", "baz"]).map(|(server, name)| server.member(name));
    let members = members.collect();
    (servers, members)
}

fn claim(who: &str) -> Claim {
    Claim::of("example", who.to_owned(), "2026-11-30T09:59:00.1234567Z".parse().unwrap())
}

/// A Lease of somebody else, renewed at this time of the same day.
fn theirs(renewed: &str) -> Value {
    json!({
        "metadata": {"resourceVersion": "before"},
        "spec": {
            "holderIdentity": "ann@desk (process 7, kubectl mesh-install rotate-ca)",
            "acquireTime": "2026-11-30T09:30:00.000000Z",
            "renewTime": format!("2026-11-30T{renewed}.000000Z"),
            "leaseDurationSeconds": 60,
            "leaseTransitions": 4,
        },
    })
}

fn holder(server: &FakeServer) -> Option<String> {
    Some(server.object(LEASE)?["spec"]["holderIdentity"].as_str().unwrap().to_owned())
}

/// Says which clusters refuse, and what to do.
fn told(errors: &crate::fleet::ClusterErrors<LeaseError>) -> String {
    let hint = errors.hint().unwrap_or_default();
    format!("{errors}\nhint: {hint}")
}

async fn taken<'m>(members: &'m [Member], claim: &Claim) -> Held<'m> {
    take(members, claim, Taking::Free).await.unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn a_mesh_has_one_lease_whoever_takes_it_and_its_name_is_short_enough() {
    let both = ["kubectl spire-federate rotate", "kubectl mesh-install rotate-ca"];
    let names = both.map(|command| Claim::new("example", command).name);
    assert_eq!(names, ["spire-mesh-example", "spire-mesh-example"]);
    assert_ne!(name("other"), name("example"));
    assert!(name(&"m".repeat(63)).len() <= 253);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_taken_in_every_cluster_says_who_holds_it_and_is_given_back() {
    let (servers, members) = servers();
    let own = Claim::new("example", "kubectl spire-federate up");
    let held = taken(&members, &own).await;
    assert_eq!(held.taken_over().count(), 0);
    for server in &servers {
        let spec = server.object(LEASE).unwrap()["spec"].clone();
        let who = spec["holderIdentity"].as_str().unwrap();
        let process = format!("(process {}, kubectl spire-federate up)", std::process::id());
        assert!(who.contains('@') && who.ends_with(&process), "{who}");
        assert!(
            spec["renewTime"].as_str().unwrap().starts_with("2026-11-30T10:00:0"),
            "the server's clock: {spec}"
        );
        assert_eq!(spec["leaseDurationSeconds"], 60);
    }
    let worked = held.during(async { 7 }).await.unwrap();
    assert_eq!(worked, 7);
    release(&members, &own).await.into_all().unwrap();
    for server in &servers {
        assert_eq!(server.object(LEASE), None);
        assert_eq!(server.writes(), [format!("POST {LIST}"), format!("DELETE {LEASE}")]);
    }
    assert!(release(&members, &own).await.into_all().is_ok(), "it was given back already");
}

#[tokio::test]
async fn where_others_are_at_work_all_of_them_are_named_and_what_was_taken_is_given_back() {
    let (servers, members) = servers();
    servers[0].put(LEASE, theirs("09:59:30"));
    servers[2].put(LEASE, theirs("09:59:01"));
    let Err(errors) = take(&members, &claim("me"), Taking::Free).await else { panic!("it was free") };
    insta::assert_snapshot!(told(&errors));
    assert_eq!(servers[1].object(LEASE), None);
    for server in [&servers[0], &servers[2]] {
        assert_eq!(server.writes(), [""; 0], "the Lease of somebody else is left alone");
    }
}

#[tokio::test]
async fn a_lease_has_run_out_by_the_clock_of_its_api_server_and_is_taken_over_then() {
    for (renewed, has_run_out) in
        [("09:58:59", true), ("09:59:00", true), ("09:59:03", false), ("10:00:30", false)]
    {
        let server = server();
        server.put(LEASE, theirs(renewed));
        let members = [server.member("baz")];
        let own = claim("me");
        match take(&members, &own, Taking::Free).await {
            Ok(held) => {
                assert!(has_run_out, "{renewed}");
                let from: Vec<_> =
                    held.taken_over().map(|(cluster, holder)| (cluster, holder.who.clone())).collect();
                assert_eq!(
                    from,
                    [("baz", "ann@desk (process 7, kubectl mesh-install rotate-ca)".to_owned())]
                );
                assert_eq!(holder(&server).as_deref(), Some("me"));
                assert_eq!(server.object(LEASE).unwrap()["spec"]["leaseTransitions"], 5);
            }
            Err(errors) => assert!(!has_run_out, "{renewed}: {errors}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_as_long_as_the_work_takes() {
    let (servers, members) = servers();
    let own = claim("me");
    let held = taken(&members, &own).await;
    held.during(sleep(Duration::from_secs(100))).await.unwrap();
    for server in &servers {
        let renewals = server.writes().iter().filter(|write| write.starts_with("PUT")).count();
        assert_eq!(renewals, 6);
        assert_eq!(holder(server).as_deref(), Some("me"));
    }
}

#[tokio::test(start_paused = true)]
async fn who_breaks_a_lease_takes_it_and_who_held_it_stops_and_says_who_it_was() {
    let (servers, members) = servers();
    let (ann, bob) = (claim("ann"), claim("bob"));
    let held = taken(&members, &ann).await;
    let done = Cell::new(false);
    let work = async {
        sleep(Duration::from_secs(20)).await;
        let held =
            take(&members[1..2], &bob, Taking::Anybodys).await.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(held.taken_over().next().unwrap().1.who, "ann");
        sleep(Duration::from_secs(20)).await;
        done.set(true);
    };
    let (cluster, lost) = held.during(work).await.unwrap_err();
    assert_eq!(cluster, "bar");
    insta::assert_snapshot!(format!("{lost}\nhint: {}", lost.hint().unwrap()), @r"
    stopped: Lease kube-system/spire-mesh-example was taken over by bob
    hint: what is done stays; when the other run has ended, run the same command again to go on
    ");
    assert!(!done.get(), "the work went on");
    release(&members, &ann).await.into_all().unwrap();
    assert_eq!(servers.each_ref().map(holder), [None, Some("bob".to_owned()), None]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_gone_ends_the_work_too() {
    let (servers, members) = servers();
    let own = claim("me");
    let held = taken(&members, &own).await;
    release(&members[2..], &own).await.into_all().unwrap();
    let (cluster, lost) = held.during(sleep(Duration::from_mins(2))).await.unwrap_err();
    assert_eq!((cluster.as_str(), &lost), ("baz", &Lost::Deleted { lease: "spire-mesh-example".to_owned() }));
    insta::assert_snapshot!(lost, @"stopped: Lease kube-system/spire-mesh-example was deleted; somebody deleted it, or took it over and has finished");
    assert_eq!(servers[2].object(LEASE), None, "it is not made again");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_for_a_while_is_kept_and_one_that_ran_out_stops_the_work_before_others_may_begin()
 {
    let (servers, members) = servers();
    let own = claim("me");
    let held = taken(&members, &own).await;
    let seconds = Cell::new(0);
    let work = async {
        loop {
            sleep(Duration::from_secs(1)).await;
            seconds.set(seconds.get() + 1);
            match seconds.get() {
                20 | 100 => servers[1].refuse(LEASE, 503),
                60 => servers[1].allow(LEASE),
                _ => {}
            }
        }
    };
    let stopped: Result<(), _> = held.during(work).await;
    let (cluster, lost) = stopped.unwrap_err();
    assert_eq!(cluster, "bar");
    insta::assert_snapshot!(lost, @"stopped: Lease kube-system/spire-mesh-example could not be renewed before it ran out");
    assert!((145..=160).contains(&seconds.get()), "{} s", seconds.get());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_was_lost_is_recognized_as_ones_own() {
    let (servers, members) = servers();
    let own = claim("me");
    let held = taken(&members, &own).await;
    let work = async {
        let mut lease = servers[0].object(LEASE).unwrap();
        lease["metadata"]["resourceVersion"] = json!("of the lost answer");
        servers[0].put(LEASE, lease);
        sleep(Duration::from_mins(2)).await;
    };
    held.during(work).await.unwrap();
}

#[tokio::test]
async fn a_missing_right_is_named_and_any_other_refusal_is_told() {
    let server = server();
    let members = [server.member("baz")];
    server.refuse(LIST, 409);
    let refused = |server: FakeServer| async move {
        let members = [server.member("baz")];
        told(&take(&members, &claim("me"), Taking::Free).await.err().expect("refused"))
    };
    insta::assert_snapshot!(refused(server.clone()).await, @r"
    baz: Lease kube-system/spire-mesh-example changed each time that it was to be taken
    hint: run the same command again in a moment
    ");
    server.refuse(LIST, 403);
    insta::assert_snapshot!(refused(server.clone()).await, @r"
    baz: cannot take Lease kube-system/spire-mesh-example: Forbidden
    hint:
    ");
    server.forbid("create leases");
    server.forbid("delete leases");
    insta::assert_snapshot!(refused(server.clone()).await);
    server.refuse(LEASE, 403);
    assert!(release(&members, &claim("me")).await.into_all().is_err());
}

#[test]
fn what_others_wrote_into_a_lease_is_understood_as_far_as_it_goes_and_made_harmless() {
    let of = |lease: Value| Holder::of(&serde_json::from_value(lease).unwrap());
    assert_eq!(of(json!({"metadata": {}})), None);
    assert_eq!(of(json!({"metadata": {}, "spec": {"holderIdentity": "  "}})), None);
    let until = |lease: Value| of(lease).unwrap().until.map(|until| until.to_string());
    let (made, renewed) = ("2026-11-30T08:00:00Z", "2026-11-30T09:00:00.000000Z");
    let spec = |extra: Value| {
        let mut spec = json!({"holderIdentity": "a", "renewTime": renewed});
        for (key, value) in extra.as_object().unwrap() {
            spec[key.as_str()] = value.clone();
        }
        json!({"metadata": {"creationTimestamp": made}, "spec": spec})
    };
    assert_eq!(until(spec(json!({}))).as_deref(), Some("2026-11-30T09:01:00Z"));
    assert_eq!(until(spec(json!({"leaseDurationSeconds": 3600}))).as_deref(), Some("2026-11-30T10:00:00Z"));
    assert_eq!(until(spec(json!({"leaseDurationSeconds": -5}))).as_deref(), Some("2026-11-30T09:00:00Z"));
    assert_eq!(until(spec(json!({"renewTime": null}))).as_deref(), Some("2026-11-30T08:01:00Z"));
    assert_eq!(until(json!({"metadata": {}, "spec": {"holderIdentity": "a"}})), None);
    let loud = of(spec(json!({"holderIdentity": format!("\u{1b}[2Jann\n{}", "x".repeat(500))}))).unwrap();
    assert!(!loud.who.contains(['\u{1b}', '\n']) && loud.who.chars().count() == 201, "{}", loud.who);
}
