//! Checks on a cluster and its server.

use jiff::{SignedDuration, Timestamp};

use super::{Findings, Reached, kubectl, of_each, reached};
use crate::check::{Fault, Finding, Scope};
use crate::federation::BegunRotation;
use crate::federation::examined::{Clock, Examined};
use crate::federation::observed::{ObservedCluster, Seen, SeenServer, Trouble};
use crate::federation::status::text;
use crate::fleet::{Need, Unread};
use crate::hint::{Advice, Command, Plugin};
use crate::mesh::Spire;
use crate::spire::endpoint::Endpoint;
use crate::spire::schedule::{prepared_at, replaced_at};

/// By how much clocks may differ, in seconds, before certificates of one cluster are not valid yet in the other. SPIRE dates them
/// back by ten (`NotBeforeCushion` in SPIRE's `pkg/server/credtemplate/builder.go`).
const MOST_SKEW: i64 = 10;
/// From which difference on it is worth a word, in seconds.
const NOTABLE_SKEW: i64 = 5;
/// How late the server may be with its own schedule: it looks every ten seconds, and may have been restarted.
const LATE: SignedDuration = SignedDuration::from_mins(10);

pub(super) fn reachable(examined: &Examined) -> Findings {
    let answer = |cluster: &ObservedCluster| match &cluster.seen {
        Ok(_) => Finding::pass(Scope::cluster(cluster.name()), "its API server answers"),
        Err(unread) => {
            let fault =
                Fault::new("its API server cannot be reached", format!("{} version", kubectl(cluster)));
            Finding::fail(Scope::cluster(cluster.name()), fault.seen(&unread.why))
        }
    };
    examined.observed.clusters.iter().map(answer).collect()
}

/// Names every right that something could not be read without.
pub(super) fn rights(examined: &Examined) -> Findings {
    of_each(examined, |reached| {
        vec![missing_rights(reached.scope(), &reached.kubectl(), &unread(examined, &reached))]
    })
}

/// Names the rights for lack of which something could not be read. `kubectl` begins a command for the cluster.
pub(crate) fn missing_rights<R>(scope: Scope, kubectl: &str, unread: &[Unread]) -> Finding<R> {
    let mut needs: Vec<&Need> = unread.iter().filter_map(|unread| unread.need.as_deref()).collect();
    needs.sort();
    needs.dedup();
    let Some(first) = needs.first() else {
        return Finding::pass(scope, "everything could be read");
    };
    let namespace = first.namespace.as_ref().map(|name| format!(" -n {name}")).unwrap_or_default();
    let group = if first.group.is_empty() { String::new() } else { format!(".{}", first.group) };
    let check = format!("{kubectl} auth can-i {} {}{group}{namespace}", first.verb, first.resource);
    let fault = Fault::new("rights are missing, so not everything can be checked", check);
    Finding::warn(scope, needs.iter().fold(fault, |fault, need| fault.seen(format!("you may not {need}"))))
}

/// Gathers what could not be read of a cluster.
fn unread(examined: &Examined, reached: &Reached<'_>) -> Vec<Unread> {
    let (seen, details) = (reached.seen, reached.details);
    let fetched = examined.fetched.iter().filter(|((from, _), _)| from == reached.name());
    let parts = [
        seen.spire.as_ref().err(),
        seen.server_trouble.as_ref().err(),
        seen.server.as_ref().err(),
        seen.endpoint.as_ref().err(),
        seen.polls.as_ref().err(),
        seen.agents.as_ref().err(),
        seen.nodes.as_ref().err(),
        seen.relationship_objects.as_ref().err(),
        details.clock.as_ref().err(),
        details.admission.as_ref().err(),
        details.identity_objects.as_ref().err(),
        details.entries.as_ref().err(),
        details.csi_nodes.as_ref().err(),
        details.published_bundle.as_ref().err(),
        details.presented.as_ref().err(),
        details.workloads.as_ref().err(),
        details.istio_trust_domain.as_ref().err(),
        details.rotation.as_ref().err(),
        details.servers.as_ref().err(),
        details.servers.as_ref().ok().and_then(|servers| servers.as_ref()?.left_claims.as_ref().err()),
        details.upstream.as_ref().and_then(|upstream| upstream.issuer.as_ref().err()),
        details.upstream.as_ref().and_then(|upstream| upstream.requests.as_ref().err()),
        details.upstream.as_ref().and_then(|upstream| upstream.log.as_ref().err()),
    ];
    parts
        .into_iter()
        .flatten()
        .chain(fetched.filter_map(|(_, fetched)| fetched.as_ref().err()))
        .cloned()
        .collect()
}

/// Warns of a rotation that stopped half-way: both CAs are trusted, and the one that was to go still is.
pub(super) fn rotation(examined: &Examined) -> Findings {
    of_each(examined, |reached| {
        vec![match &reached.details.rotation {
            Ok(None) => Finding::pass(reached.scope(), "there is no record of one"),
            Ok(Some(BegunRotation { from, to })) => {
                let next = Plugin::SpireFederate.command(["rotate", reached.name()]);
                let fault = Fault::new(
                    "the rotation of its CA was begun and not finished, so that the old one is still trusted",
                    next,
                );
                Finding::warn(reached.scope(), fault.seen(format!("CA {to} is to follow {from}")))
            }
            Err(Unread { why, need: None, hint: Some(hint) }) => {
                let fault = Fault::new("the record of a rotation of its CA is not understood", hint.clone());
                Finding::warn(reached.scope(), fault.seen(why))
            }
            Err(unread) => Finding::skip(reached.scope(), &unread.why),
        }]
    })
}

pub(super) fn clocks(examined: &Examined) -> Findings {
    let known: Vec<(Reached<'_>, Clock)> = reached(examined)
        .filter_map(|reached| Some((reached, *reached.details.clock.as_ref().ok()?.as_ref()?)))
        .collect();
    let mut findings = Vec::new();
    for (index, (first, clock)) in known.iter().enumerate() {
        for (second, other) in &known[index + 1..] {
            findings.push(compared((first.name(), *clock), (second.name(), *other)));
        }
    }
    findings
}

fn compared((first, clock): (&str, Clock), (second, other): (&str, Clock)) -> Finding<super::Repair> {
    let scope = Scope::pair(first, second);
    let apart = (clock.ahead_seconds - other.ahead_seconds).abs();
    // A date is cut to the second, and the answer took its time.
    let error = 1 + i64::try_from(clock.round_trip.max(other.round_trip).as_secs()).unwrap_or(i64::MAX);
    let sure = apart.saturating_sub(error).max(0);
    let (ahead, behind) =
        if clock.ahead_seconds > other.ahead_seconds { (first, second) } else { (second, first) };
    let fault = || {
        let cause = format!(
            "the clock of {ahead} is {apart} s ahead of that of {behind}; certificates that it makes are not valid yet there"
        );
        Fault::new(cause, format!("set the clocks of the nodes of {ahead} and {behind} by NTP")).seen(
            format!("dates of the API servers' answers, good to {error} s; SPIRE dates certificates back by {MOST_SKEW} s"),
        )
    };
    match sure {
        sure if sure >= MOST_SKEW => Finding::fail(scope, fault()),
        sure if sure >= NOTABLE_SKEW => Finding::warn(scope, fault()),
        _ => Finding::pass(scope, format!("{apart} s apart, good to {error} s")),
    }
}

pub(super) fn found(examined: &Examined) -> Findings {
    of_each(examined, |reached| {
        let scope = reached.scope();
        vec![match &reached.seen.spire {
            Ok(Some(found)) => {
                Finding::pass(scope, format!("{} in namespace {}", found.workload, found.namespace))
            }
            Ok(None) => {
                let hint = reached.next(format!("{} get statefulsets,deployments -A", reached.kubectl()));
                Finding::fail(scope, Fault::new("there is no SPIRE server as the mesh file means it", hint))
            }
            Err(unread) => {
                unfound(&reached, unread, format!("{} get statefulsets,deployments -A", reached.kubectl()))
            }
        }]
    })
}

/// Says that what runs of SPIRE could not be found out: for lack of rights, which another check names, or because it is not clear which is
/// meant, or the cluster did not answer. `look` shows what there is.
pub(super) fn unfound(reached: &Reached<'_>, unread: &Unread, look: String) -> Finding<super::Repair> {
    let scope = reached.scope();
    match unread {
        Unread { need: Some(_), why, .. } => Finding::skip(scope, why),
        Unread { why, hint, .. } => {
            let hint = hint.clone().map_or(look, |hint| reached.told(hint));
            Finding::fail(scope, Fault::new(why, hint))
        }
    }
}

pub(super) fn ready(examined: &Examined) -> Findings {
    of_each(examined, |reached| {
        let scope = reached.scope();
        let seen = reached.seen;
        vec![match (&seen.server, &seen.server_trouble) {
            (_, Ok(Some(trouble))) => Finding::fail(scope, down(&reached, trouble, examined.observed.at)),
            (Ok(server), _) => Finding::pass(scope, format!("pod {}, SPIRE {}", server.pod, server.version)),
            (Err(Unread { need: Some(_), why, .. }), _) => Finding::skip(scope, why),
            (Err(unread), _) => {
                let hint = unread.hint.clone().map_or_else(|| describe(&reached), |hint| reached.told(hint));
                Finding::fail(scope, Fault::new("the server does not answer", hint).seen(&unread.why))
            }
        }]
    })
}

fn describe(reached: &Reached<'_>) -> String {
    let (namespace, workload) = match &reached.seen.spire {
        Ok(Some(found)) => (found.namespace.as_str(), found.workload.to_lowercase()),
        _ => ("spire-server", "pods".to_owned()),
    };
    format!("{} -n {namespace} describe {workload}", reached.kubectl())
}

/// Says what stops working while a server is down, and when.
fn down(reached: &Reached<'_>, trouble: &Trouble, now: Timestamp) -> Fault<super::Repair> {
    let mut fault = Fault::new(
        "the server is down: running workloads keep their SVIDs until these end, new pods get none",
        describe(reached),
    )
    .seen(&trouble.why);
    if let Spire::Managed(spire) = &reached.cluster.cluster.spire {
        // Agents renew at half of the life, so the oldest SVID had half of it left when the server went down.
        let since = trouble.since.unwrap_or(now);
        let first = since.checked_add(spire.svid_ttl / 2).unwrap_or(since);
        let known = if trouble.since.is_some() { "down since" } else { "down at" };
        fault = fault.seen(format!(
            "{known} {}; the first SVIDs end at {} at the earliest",
            text(since),
            text(first)
        ));
    }
    fault
}

/// Looks for a second server: where each has a database of its own, they are two SPIREs of one name.
pub(super) fn alone(examined: &Examined) -> Findings {
    of_each(examined, |reached| {
        let scope = reached.scope();
        let servers = match &reached.details.servers {
            Ok(Some(servers)) => servers,
            Ok(None) => {
                let whose = "it is somebody else's, who may have one database for several";
                return vec![Finding::pass(scope, whose)];
            }
            Err(unread) => return vec![Finding::skip(scope, &unread.why)],
        };
        let (namespace, set) = reached.cluster.spire().map_or(("spire-server", "spire-server"), |found| {
            (
                found.namespace.as_str(),
                found.workload.split_once('/').map_or("spire-server", |(_, name)| name),
            )
        });
        let context = &reached.cluster.cluster.context;
        if servers.pods.len() > 1 {
            let cause = format!(
                "{} SPIRE servers run, each with a CA and a database of its own: agents and peers get what the one knows that happens to answer",
                servers.pods.len()
            );
            let scale = Command::kubectl(["-n", namespace, "scale", "statefulset", set, "--replicas=1"]);
            let hint = Advice::from(scale)
                .then(", and see what is left to do: ")
                .then(Plugin::SpireFederate.command(["verify"]))
                .at(context);
            let fault = Fault::new(cause, hint).seen(format!("pods {}", servers.pods.join(", ")));
            return vec![Finding::fail(scope, fault)];
        }
        let left = servers.left_claims.as_deref().unwrap_or_default();
        if left.is_empty() {
            return vec![Finding::pass(scope, servers.pods.join(", "))];
        }
        let cause = "a second server was here, and the volume with its CA and database is left: it comes back with the next one";
        let delete = Command::kubectl(["-n", namespace, "delete", "persistentvolumeclaim"]);
        let hint = Advice::from("once the checks bootstrap-bundle and agents pass: ")
            .then(delete.and(left.iter().map(String::as_str)))
            .at(context);
        let fault = Fault::new(cause, hint).seen(format!("PersistentVolumeClaim {}", left.join(", ")));
        vec![Finding::warn(scope, fault)]
    })
}

pub(super) fn trust_domain(examined: &Examined) -> Findings {
    let servers: Vec<(&str, &SeenServer)> = examined
        .observed
        .clusters
        .iter()
        .filter_map(|cluster| Some((cluster.name(), cluster.server()?)))
        .collect();
    of_each(examined, |reached| {
        let scope = reached.scope();
        let Ok(server) = &reached.seen.server else {
            return vec![Finding::skip(scope, "its server could not be asked")];
        };
        let own = server.bundle.trust_domain();
        let wanted = reached.cluster.trust_domain();
        let twin = servers
            .iter()
            .find(|(name, other)| *name != reached.name() && other.bundle.trust_domain() == own);
        let manager = reached.cluster.spire().and_then(|found| found.controller_manager.as_ref());
        let manager =
            manager.and_then(|manager| manager.trust_domain.as_ref()).filter(|domain| *domain != own);
        let istio = match &reached.details.istio_trust_domain {
            Ok(Some(domain)) if domain != own.as_str() => Some(domain),
            _ => None,
        };
        let fault = if own != wanted {
            Fault::new(
                format!("its server is of trust domain {own}, the mesh file says {wanted}"),
                format!(
                    "find out whose server it is; only if it is the cluster's own, write `trustDomain: {own}` in the mesh file (a trust domain cannot be renamed while its SPIRE runs)"
                ),
            )
        } else if let Some((twin, _)) = twin {
            Fault::new(
                format!("{twin} has the same trust domain, so its SVIDs pass for this cluster's"),
                "set up one of the two with a trust domain of its own",
            )
        } else if let Some(domain) = manager {
            let hint = reached.next(format!(
                    "set trustDomain: {own} in the controller-manager's configuration, and start the server's pod again"
                ));
            let cause = format!(
                "its controller-manager is configured for trust domain {domain}, its server for {own}"
            );
            Fault::new(cause, hint).seen(format!("trustDomain of the controller-manager is {domain}"))
        } else if let Some(domain) = istio {
            Fault::new(
                format!("Istio is configured for trust domain {domain}, SPIRE for {own}"),
                format!("set meshConfig.trustDomain: {own} in Istio, and restart its workloads"),
            )
            .seen("ConfigMap istio-system/istio, key mesh")
        } else {
            return vec![Finding::pass(scope, own.to_string())];
        };
        vec![Finding::fail(scope, fault.seen(format!("the bundle of pod {} is that of {own}", server.pod)))]
    })
}

pub(super) fn ca_lifetime(examined: &Examined) -> Findings {
    let now = examined.observed.at;
    of_each(examined, |reached| {
        let scope = reached.scope();
        let Ok(server) = &reached.seen.server else {
            return vec![Finding::skip(scope, "its server could not be asked")];
        };
        let logs = format!("{} -n {} logs {}", reached.kubectl(), namespace(server), pod(server));
        let Some(active) = &server.authorities.active else {
            let fault = Fault::new("the server has no CA, so it signs nothing", logs);
            return vec![Finding::fail(scope, fault.seen("`localauthority x509 show` names no active one"))];
        };
        let end = Timestamp::from_second(active.expires_at).unwrap_or(Timestamp::MAX);
        let expires = format!("CA {} ends at {}", active.id, text(end));
        if end <= now {
            let cause = "the server's CA has expired, so it signs nothing that anybody accepts";
            return vec![Finding::fail(scope, Fault::new(cause, logs).seen(expires))];
        }
        // Where an upstream authority signed it, it is not in the bundle, and the endpoint sends it along.
        let sent = reached.details.presented.as_ref().ok().and_then(|sent| sent.authority(&active.id));
        let own = server.bundle.with_key_id(&active.id).map(|(_, own)| own).or(sent.as_ref());
        let Some(own) = own else {
            return vec![Finding::pass(scope, expires)];
        };
        let is_late = |at: Timestamp| at.checked_add(LATE).is_ok_and(|at| at < now);
        let fault = if is_late(replaced_at(own)) {
            let cause =
                format!("the server should have gone on with its next CA at {}", text(replaced_at(own)));
            Fault::new(cause, logs)
        } else if server.authorities.prepared.is_none() && is_late(prepared_at(own)) {
            let cause = format!("the server should have made its next CA at {}", text(prepared_at(own)));
            Fault::new(cause, logs)
        } else {
            return vec![Finding::pass(scope, expires)];
        };
        vec![Finding::warn(scope, fault.seen(expires))]
    })
}

fn namespace(server: &SeenServer) -> &str {
    server.pod.split_once('/').map_or("", |(namespace, _)| namespace)
}

fn pod(server: &SeenServer) -> &str {
    server.pod.split_once('/').map_or(server.pod.as_str(), |(_, pod)| pod)
}

pub(super) fn webhook(examined: &Examined) -> Findings {
    of_each(examined, |reached| {
        let scope = reached.scope();
        let Seen { server: Ok(server), .. } = reached.seen else {
            return vec![Finding::skip(scope, "its server could not be asked")];
        };
        let restart = format!("{} -n {} delete pod {}", reached.kubectl(), namespace(server), pod(server));
        vec![match &reached.details.admission {
            Ok(Ok(())) => Finding::pass(scope, "a ClusterSPIFFEID passes a dry run"),
            Ok(Err(refusal)) if refusal.contains("x509: ") => {
                let cause = "its own webhook refuses every change of SPIRE's objects: the webhook's certificate is of a CA that was revoked";
                Finding::fail(scope, Fault::new(cause, restart).seen(refusal))
            }
            Ok(Err(refusal)) => {
                let cause = "its own webhook lets no change of SPIRE's objects through";
                let hint = format!(
                    "{} -n {} logs {} -c spire-controller-manager",
                    reached.kubectl(),
                    namespace(server),
                    pod(server)
                );
                Finding::fail(scope, Fault::new(cause, hint).seen(refusal))
            }
            Err(unread) => Finding::skip(scope, &unread.why),
        }]
    })
}

pub(super) fn bundle_endpoint(examined: &Examined) -> Findings {
    let now = examined.observed.at;
    of_each(examined, |reached| {
        let scope = reached.scope();
        match &reached.seen.endpoint {
            Ok(Endpoint::Ready(_)) => {}
            Ok(Endpoint::Pending(why) | Endpoint::Unexposed(why)) => {
                let services = reached.cluster.spire().map_or("spire-server", |found| &found.namespace);
                let hint = format!("{} -n {services} describe services", reached.kubectl());
                let cause = "the bundle endpoint has no address that other clusters can reach";
                return vec![Finding::fail(scope, Fault::new(cause, hint).seen(why))];
            }
            Err(unread) => return vec![Finding::skip(scope, &unread.why)],
        }
        let Ok(server) = &reached.seen.server else {
            return vec![Finding::skip(scope, "its server could not be asked")];
        };
        let found = reached.cluster.spire().and_then(|found| found.bundle_endpoint.as_ref());
        if found.is_some_and(|endpoint| endpoint.https_web) {
            let cause = "its bundle endpoint presents a web certificate, and peers ask for the server's SVID";
            let hint = "set profile `https_spiffe` in federation.bundle_endpoint of server.conf, and restart the server";
            let fault = Fault::new(cause, hint).seen("its configuration has profile `https_web`");
            return vec![Finding::fail(scope, fault)];
        }
        let presented = match &reached.details.presented {
            Ok(presented) => presented,
            Err(unread) => return vec![Finding::skip(scope, &unread.why)],
        };
        let wanted = server.bundle.trust_domain().server_id();
        let restart = format!("{} -n {} delete pod {}", reached.kubectl(), namespace(server), pod(server));
        let broken = presented.broken(&server.bundle, now);
        let fault = if presented.id.as_ref() != Some(&wanted) {
            Fault::new(format!("its bundle endpoint does not present {wanted}"), restart)
        } else if broken.is_empty() {
            return vec![Finding::pass(scope, format!("pod {} presents {wanted}", server.pod))];
        } else {
            let cause = "its bundle endpoint presents a certificate that its own bundle does not verify";
            broken.into_iter().fold(Fault::new(cause, restart), Fault::seen)
        };
        vec![Finding::fail(scope, fault.seen(format!("pod {} presents: {}", server.pod, presented.names)))]
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::Verdict;

    fn compare(first: (i64, u64), second: (i64, u64)) -> Verdict<super::super::Repair> {
        let clock = |(ahead_seconds, round_trip)| Clock {
            ahead_seconds,
            round_trip: Duration::from_secs(round_trip),
        };
        compared(("foo", clock(first)), ("bar", clock(second))).verdict
    }

    fn apart(first: i64, second: i64, round_trip: u64) -> Verdict<super::super::Repair> {
        compare((first, round_trip), (second, round_trip))
    }

    #[test]
    fn clocks_that_differ_by_more_than_what_spire_dates_back_are_a_failure() {
        let Verdict::Fail(fault) = apart(-3, 40, 0) else { panic!("43 seconds apart") };
        insta::assert_snapshot!(fault.cause, @"the clock of bar is 43 s ahead of that of foo; certificates that it makes are not valid yet there");
        let Verdict::Warn(fault) = apart(7, 0, 0) else { panic!("7 seconds apart") };
        assert!(fault.cause.starts_with("the clock of foo is 7 s ahead of that of bar;"), "{}", fault.cause);
        assert!(matches!(apart(2, 0, 0), Verdict::Pass(_)));
    }

    #[test]
    fn of_a_difference_counts_what_is_sure() {
        // A second of it may be what the date was cut by.
        assert!(matches!(apart(0, 11, 0), Verdict::Fail(_)));
        assert!(matches!(apart(0, 10, 0), Verdict::Warn(_)));
        assert!(matches!(apart(0, 6, 0), Verdict::Warn(_)));
        assert!(matches!(apart(0, 5, 0), Verdict::Pass(_)));
        let Verdict::Pass(seen) = apart(0, 0, 0) else { panic!("not apart") };
        assert_eq!(seen, ["0 s apart, good to 1 s"]);
    }

    #[test]
    fn the_slower_of_two_answers_says_how_good_a_difference_is() {
        for (first, second) in [((11, 6), (0, 0)), ((11, 0), (0, 6))] {
            let Verdict::Pass(seen) = compare(first, second) else { panic!("{first:?} {second:?}") };
            assert_eq!(seen, ["11 s apart, good to 7 s"]);
        }
        assert!(matches!(compare((12, 6), (0, 0)), Verdict::Warn(_)));
    }

    #[test]
    fn a_difference_that_the_time_of_the_answer_explains_is_none() {
        assert!(matches!(apart(11, 0, 8), Verdict::Pass(_)));
    }
}
