//! What comes of the whole catalogue: what passes, and what is skipped for something that failed.

use super::*;
use crate::federation::sample::forbidden;

/// Everything that did not pass, one line each.
fn not_passed(examined: &Examined) -> Vec<String> {
    let verification = verify(examined);
    let results = verification.results().iter().filter(|result| result.status != Status::Pass);
    let line = |result: &CheckResult| {
        let cause = result.cause.as_deref().unwrap_or_default();
        format!("{} of {} {}: {cause}", result.id, result.scope, result.status)
    };
    results.map(line).collect()
}

/// What does not pass because of a change in a cluster, one line each.
fn fallen(name: &str, change: impl FnOnce(&mut Seen, &mut Details)) -> String {
    let mut examined = examined();
    let before = not_passed(&examined);
    change_in(&mut examined, name, change);
    not_passed(&examined).into_iter().filter(|line| !before.contains(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_check_looks_at_every_cluster_pair_and_object() {
    let verification = verify(&examined());
    let of = |check: &Check<Examined, Repair>| {
        let results = verification.results().iter().filter(|result| result.id == check.id);
        let passed: Vec<String> = results
            .filter(|result| result.status == Status::Pass)
            .map(|result| result.scope.to_string())
            .collect();
        format!("{}: {}", check.id, passed.join(", "))
    };
    insta::assert_snapshot!("everything_passes", CATALOGUE.iter().map(of).collect::<Vec<_>>().join("\n"));
    insta::assert_snapshot!(not_passed(&examined()).join("\n"), @"bootstrap-bundle of bar skip: it is not known what the agents of somebody else's SPIRE start from");
    assert_eq!(verification.repairs(), []);
}

#[test]
fn a_cluster_that_cannot_be_reached_hides_only_what_is_in_it() {
    let mut examined = examined();
    examined.observed.clusters[2].seen = Err(Unread::because("connection refused"));
    examined.details.remove("baz");
    examined.fetched.retain(|(from, _), _| from != "baz");
    insta::assert_snapshot!("cluster_unreachable", not_passed(&examined).join("\n"));
}

#[test]
fn what_stands_on_a_server_waits_for_it() {
    insta::assert_snapshot!("no_spire", fallen("baz", |seen, _| seen.spire = Ok(None)));
    let mute = |seen: &mut Seen, _: &mut Details| seen.server = Err(Unread::because("no answer"));
    insta::assert_snapshot!("server_that_is_mute", fallen("baz", mute));
}

#[test]
fn what_two_servers_disagree_about_waits_for_one() {
    let two = |_: &mut Seen, details: &mut Details| {
        let servers = details.servers.as_mut().unwrap().as_mut().unwrap();
        servers.pods.push("spire-server-1".to_owned());
        servers.left_claims = Ok(vec!["data-spire-server-1".to_owned()]);
    };
    insta::assert_snapshot!("two_servers", fallen("baz", two));
}

#[test]
fn what_stands_on_a_trust_domain_waits_for_it() {
    let other = |seen: &mut Seen, _: &mut Details| {
        found(seen).controller_manager.as_mut().unwrap().trust_domain = Some(domain("qux"));
    };
    insta::assert_snapshot!("trust_domain_of_another", fallen("baz", other));
}

#[test]
fn a_bundle_is_fetched_only_where_relationship_bundle_and_endpoint_are_right() {
    let endpoint =
        |seen: &mut Seen, _: &mut Details| seen.endpoint = Ok(Endpoint::Pending("soon".to_owned()));
    insta::assert_snapshot!(fallen("baz", endpoint), @r"
    bundle-endpoint of baz fail: the bundle endpoint has no address that other clusters can reach
    bundle-fetched of foo→baz skip: bundle-endpoint of baz comes first
    bundle-fetched of bar→baz skip: bundle-endpoint of baz comes first
    bundle-fetched of baz→foo skip: bundle-endpoint of baz comes first
    bundle-fetched of baz→bar skip: bundle-endpoint of baz comes first
    ");
    let forgotten = |seen: &mut Seen, _: &mut Details| {
        asked(seen).relationships.pop();
    };
    insta::assert_snapshot!(fallen("baz", forgotten), @r"
    relationship of baz→bar fail: the controller-manager has not passed the relationship on to the server
    bundle-fetched of baz→bar skip: relationship of baz→bar comes first
    ");
    let lost = |seen: &mut Seen, _: &mut Details| {
        asked(seen).stored.pop();
    };
    insta::assert_snapshot!(fallen("baz", lost), @r"
    bundle-stored of baz→bar fail: baz never got a first bundle of bar, so it can neither verify its SVIDs nor fetch its bundle
    bundle-fetched of baz→bar skip: bundle-stored of baz→bar comes first
    identity-objects of baz: ClusterSPIFFEID proxies skip: bundle-stored of baz→bar comes first
    identity-objects of baz: ClusterSPIFFEID others skip: bundle-stored of baz→bar comes first
    ");
}

#[test]
fn every_right_that_something_could_not_be_read_without_is_named() {
    let mut examined = examined();
    examined.fetched.insert(("baz".to_owned(), "bar".to_owned()), forbidden("baz-to-bar"));
    examined.fetched.insert(("foo".to_owned(), "baz".to_owned()), forbidden("foo-to-baz"));
    change_in(&mut examined, "baz", |seen, details| {
        *seen = Seen {
            spire: forbidden("spire"),
            server_trouble: forbidden("server-trouble"),
            server: forbidden("server"),
            endpoint: forbidden("endpoint"),
            polls: forbidden("polls"),
            agents: forbidden("agents"),
            nodes: forbidden("nodes"),
            relationship_objects: forbidden("relationship-objects"),
        };
        *details = Details {
            clock: forbidden("clock"),
            admission: forbidden("admission"),
            identity_objects: forbidden("identity-objects"),
            entries: forbidden("entries"),
            csi_nodes: forbidden("csi-nodes"),
            published_bundle: forbidden("published-bundle"),
            presented: forbidden("presented"),
            workloads: forbidden("workloads"),
            istio_trust_domain: forbidden("istio-trust-domain"),
            rotation: forbidden("rotation"),
            servers: Ok(Some(crate::federation::examined::SeenServers {
                pods: Vec::new(),
                left_claims: forbidden("left-claims"),
            })),
            upstream: Some(crate::federation::examined::SeenUpstream {
                issuer_ref: crate::spire::upstream::IssuerRef {
                    name: "ca".to_owned(),
                    kind: "Issuer".to_owned(),
                    group: "cert-manager.io".to_owned(),
                    namespace: "pki".to_owned(),
                },
                issuer: forbidden("issuer"),
                requests: forbidden("requests"),
                log: forbidden("log"),
            }),
        };
    });
    let told: Vec<String> = alone(&examined, "rights").iter().map(CheckResult::told).collect();
    insta::assert_snapshot!(told.concat());
    // Nothing of it is said to be wrong.
    let verification = verify(&examined);
    let of_baz =
        |result: &&CheckResult| result.status == Status::Fail && result.scope.to_string().contains("baz");
    assert_eq!(
        verification.results().iter().filter(of_baz).map(CheckResult::told).collect::<Vec<_>>(),
        [""; 0]
    );
}

#[test]
fn repairs_say_what_they_do() {
    let carry = Repair::CarryBundle { from: "foo".to_owned(), to: "bar".to_owned() };
    assert_eq!(carry.to_string(), "carry the bundle of bar to foo over the Kubernetes API");
    let restart = Repair::RestartAgents {
        cluster: "baz".to_owned(),
        namespace: "spire-system".to_owned(),
        pods: vec!["a".to_owned(), "b".to_owned()],
    };
    assert_eq!(restart.to_string(), "baz: start the agents again: a, b");
}
