//! Checks on one server's trust in another.

use jiff::Timestamp;

use super::{Findings, Reached, Repair, fix, reached, up};
use crate::check::{Fault, Finding, Scope};
use crate::federation::examined::Examined;
use crate::federation::observed::{ObservedCluster, SeenServer};
use crate::federation::status::{digests, text};
use crate::spire::crd::ClusterFederatedTrustDomain;
use crate::spire::endpoint::Endpoint;
use crate::spire::schedule::anchor_id;
use crate::spire::server::{Profile, Relationship};
use crate::trust::{AuthorityDigest, TrustBundle};

/// Goes through every ordered pair of clusters whose first one can be reached.
pub(super) fn of_pairs(
    examined: &Examined,
    check: impl Fn(Scope, Reached<'_>, &ObservedCluster) -> Finding<Repair>,
) -> Findings {
    examined
        .observed
        .pairs()
        .map(|(from, to)| {
            let scope = Scope::pair(from.name(), to.name());
            match reached(examined).find(|reached| reached.name() == from.name()) {
                Some(own) => check(scope, own, to),
                None => Finding::skip(scope, format!("{} cannot be reached", from.name())),
            }
        })
        .collect()
}

pub(super) fn relationship(examined: &Examined) -> Findings {
    of_pairs(examined, |scope, own, peer| {
        let Ok(server) = &own.seen.server else {
            return Finding::skip(scope, "its server could not be asked");
        };
        let objects = match &own.seen.relationship_objects {
            Ok(objects) => objects.as_slice(),
            Err(unread) => return Finding::skip(scope, &unread.why),
        };
        if own.cluster.spire().is_some_and(|found| found.is_static(peer.trust_domain())) {
            return Finding::warn(scope, is_static(&own, peer));
        }
        let object = objects.iter().find(|object| object.spec.trust_domain == peer.trust_domain().as_str());
        match server.relationship(peer.trust_domain()) {
            None => Finding::fail(scope, missing(&own, peer, object)),
            Some(known) => match (wrong(&own, peer, known, object), object) {
                (Some(fault), _) => Finding::fail(scope, fault),
                (None, Some(object)) if object.spec.trust_domain_bundle.is_some() => {
                    Finding::warn(scope, carries_a_bundle(&own, peer))
                }
                (None, _) => Finding::pass(scope, format!("fetches from {}", known.url)),
            },
        }
    })
}

/// Warns of a relationship in the server's configuration: nobody sees or changes it over SPIRE's API.
fn is_static(own: &Reached<'_>, peer: &ObservedCluster) -> Fault<Repair> {
    let (from, to, domain) = (own.name(), peer.name(), peer.trust_domain());
    let cause = format!(
        "the configuration of {from}'s server has a relationship with {to} of its own, which wins over the one that is made here"
    );
    let hint =
        format!("take federates_with \"{domain}\" out of server.conf, restart the server, and run: {}", up());
    Fault::new(cause, hint)
        .seen(format!("`federates_with` has {domain}; `federation list` does not show static relationships"))
}

/// Says that nobody passes relationships on to the server; `None` where a controller-manager does.
fn nobody_passes_on(own: &Reached<'_>, peer: &ObservedCluster) -> Option<Fault<Repair>> {
    let (from, to, found) = (own.name(), peer.name(), own.cluster.spire()?);
    let (why, hint) = match found.controller_manager.as_ref() {
        None => (
            "there is no spire-controller-manager in the server's pod, which would pass one on".to_owned(),
            "run spire-controller-manager in the server's pod",
        ),
        Some(manager) => (
            format!(
                "the spire-controller-manager passes over them ({})",
                manager.passes_over_relationships.as_ref()?
            ),
            "set `reconcile: {clusterFederatedTrustDomains: true}` in the controller-manager's configuration, without staticManifestPath",
        ),
    };
    let hint = own.next(format!("{hint}, then run: {}", up()));
    let fault = Fault::new(format!("{from} has no relationship with {to}: {why}"), hint);
    Some(fault.seen(format!("{} in namespace {}", found.workload, found.namespace)))
}

/// Says why the server does not know the peer.
fn missing(
    own: &Reached<'_>,
    peer: &ObservedCluster,
    object: Option<&ClusterFederatedTrustDomain>,
) -> Fault<Repair> {
    let (from, to, domain) = (own.name(), peer.name(), peer.trust_domain());
    if let Some(fault) = nobody_passes_on(own, peer) {
        return fault;
    }
    let Some(object) = object else {
        let other_way =
            peer.server().is_some_and(|peer| peer.relationship(own.cluster.trust_domain()).is_some());
        let cause = if other_way {
            format!(
                "trust goes one way only: {from} has no relationship with {to}, which has one with {from}"
            )
        } else {
            format!("{from} has no relationship with {to}")
        };
        return Fault::new(cause, up()).seen(format!("there is no ClusterFederatedTrustDomain for {domain}"));
    };
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let seen =
        format!("ClusterFederatedTrustDomain {name} exists, and `federation list` does not have {domain}");
    let manager = own.cluster.spire().and_then(|found| found.controller_manager.as_ref());
    match manager {
        Some(manager) if !manager.acts_on(object.spec.class_name.as_deref()) => {
            let class =
                |class: Option<&str>| class.map_or_else(|| "none".to_owned(), |class| format!("`{class}`"));
            let cause = format!(
                "the relationship object is ignored: its className is {}, that of the controller-manager is {}",
                class(object.spec.class_name.as_deref()),
                class(manager.class_name.as_deref())
            );
            Fault::new(cause, up()).seen(seen)
        }
        _ => {
            let (namespace, pod) =
                own.cluster.server().and_then(|server| server.pod.split_once('/')).unwrap_or_default();
            let hint = format!("{} -n {namespace} logs {pod} -c spire-controller-manager", own.kubectl());
            Fault::new("the controller-manager has not passed the relationship on to the server", hint)
                .seen(seen)
        }
    }
}

/// Warns of a bundle in the relationship object: the controller-manager sets it when another field changes
/// (`FederationRelationship.Equal` in spire-controller-manager 0.6.3, `pkg/spireapi/types.go`).
fn carries_a_bundle(own: &Reached<'_>, peer: &ObservedCluster) -> Fault<Repair> {
    let cause = "the relationship object carries a bundle: the next change of the object sets it again, however old it is by then";
    let carry = Repair::CarryBundle { from: own.name().to_owned(), to: peer.name().to_owned() };
    Fault::new(cause, fix())
        .seen(format!("trustDomainBundle of the ClusterFederatedTrustDomain for {}", peer.trust_domain()))
        .repaired_by(carry)
}

/// Says what is wrong with a relationship that the server has.
fn wrong(
    own: &Reached<'_>,
    peer: &ObservedCluster,
    known: &Relationship,
    object: Option<&ClusterFederatedTrustDomain>,
) -> Option<Fault<Repair>> {
    let expected = peer.trust_domain().server_id();
    match &known.profile {
        Profile::HttpsSpiffe(id) if *id != expected => {
            let cause = format!(
                "the relationship expects the SPIFFE ID {id}, the peer's bundle endpoint presents {expected}"
            );
            return Some(
                Fault::new(cause, up())
                    .seen(format!("relationship with {}: {}", known.trust_domain, known.url)),
            );
        }
        Profile::HttpsSpiffe(_) => {}
        Profile::HttpsWeb | Profile::Other => {
            let cause =
                "the relationship expects a web certificate, the peer's bundle endpoint presents its SVID";
            return Some(
                Fault::new(cause, up())
                    .seen(format!("relationship with {}: {}", known.trust_domain, known.url)),
            );
        }
    }
    if let Ok(Endpoint::Ready(url)) = &peer.seen.as_ref().ok()?.endpoint
        && url.as_str().trim_end_matches('/') != known.url.trim_end_matches('/')
    {
        let cause = format!("the server fetches from {}, the peer's bundle endpoint is {url}", known.url);
        return Some(Fault::new(cause, up()).seen(format!("`federation list` of {}", own.name())));
    }
    if object.is_none() && own.cluster.spire().is_some_and(|found| found.controller_manager.is_some()) {
        let cause = "the server has a relationship for which there is no object: the controller-manager will take it away";
        return Some(
            Fault::new(cause, up())
                .seen(format!("there is no ClusterFederatedTrustDomain for {}", known.trust_domain)),
        );
    }
    None
}

pub(super) fn bundle_stored(examined: &Examined) -> Findings {
    of_pairs(examined, |scope, own, peer| {
        let (Some(server), Some(live)) = (own.cluster.server(), peer.server()) else {
            return Finding::skip(scope, "one of the two servers could not be asked");
        };
        let carry = Repair::CarryBundle { from: own.name().to_owned(), to: peer.name().to_owned() };
        let Some(stored) = server.stored_bundle(peer.trust_domain()) else {
            let cause = format!(
                "{} never got a first bundle of {}, so it can neither verify its SVIDs nor fetch its bundle",
                own.name(),
                peer.name()
            );
            let fault =
                Fault::new(cause, fix()).seen(format!("`bundle list` does not have {}", peer.trust_domain()));
            return Finding::fail(scope, fault.repaired_by(carry));
        };
        let lists = [
            format!("stored: {}", listed(&digests(stored))),
            format!("live: {}", listed(&digests(&live.bundle))),
        ];
        let key = (own.name().to_owned(), peer.name().to_owned());
        // Then it holds by now what it lacked when it was read.
        let has_fetched = matches!(examined.fetched.get(&key), Some(Ok(Ok(()))));
        let Some(cause) = locked_out(&own, peer, stored, live).filter(|_| !has_fetched) else {
            let what = if stored.same_authorities(&live.bundle) {
                format!("the same {} authorities on both sides", stored.authorities().len())
            } else {
                "it holds what the peer signs with; the next fetch brings the rest".to_owned()
            };
            return Finding::pass(scope, what);
        };
        let [stored, live] = lists;
        Finding::fail(scope, Fault::new(cause, fix()).seen(stored).seen(live).repaired_by(carry))
    })
}

fn listed(digests: &[AuthorityDigest]) -> String {
    digests.iter().map(AuthorityDigest::short).collect::<Vec<_>>().join(", ")
}

/// Says why a server cannot verify what its peer signs now, and cannot recover by itself; `None` where it can.
fn locked_out(
    own: &Reached<'_>,
    peer: &ObservedCluster,
    stored: &TrustBundle,
    live: &SeenServer,
) -> Option<String> {
    let common = |digest: &AuthorityDigest| stored.authorities().contains_key(digest);
    let signing = live.authorities.active.as_ref().map(anchor_id);
    let signing = signing.and_then(|id| Some((id, live.bundle.with_key_id(id)?.1)));
    let (from, to) = (own.name(), peer.name());
    let lacks_all = !live.bundle.authorities().keys().any(common);
    // By its key: an upstream authority may have been renewed with the same one.
    let lacks_signing = signing.is_some_and(|(id, _)| stored.with_key_id(id).is_none());
    if !(lacks_all || lacks_signing) {
        return None;
    }
    if holds(own, peer, stored) {
        return Some(format!(
            "{from} holds the old bundle of {to} that its relationship object still carries: a change of the object has set it again"
        ));
    }
    if lacks_all {
        return Some(format!(
            "{from} holds none of the authorities of {to}; it cannot fetch them, because it no longer trusts the endpoint"
        ));
    }
    let since = signing.and_then(|(_, authority)| Timestamp::from_second(authority.not_before()).ok());
    let since = since.map(|since| format!(" (made at {})", text(since))).unwrap_or_default();
    Some(format!(
        "{to} signs with a new CA{since} that {from} did not get in time; it cannot fetch it, because the endpoint presents it too"
    ))
}

/// Tells whether the stored bundle is the one that the relationship object carries.
fn holds(own: &Reached<'_>, peer: &ObservedCluster, stored: &TrustBundle) -> bool {
    let objects = own.seen.relationship_objects.as_deref().unwrap_or_default();
    let carried = objects
        .iter()
        .filter(|object| object.spec.trust_domain == peer.trust_domain().as_str())
        .find_map(|object| object.spec.trust_domain_bundle.as_ref());
    let bundle =
        carried.and_then(|text| TrustBundle::from_spiffe_json(peer.trust_domain().clone(), text).ok());
    bundle.is_some_and(|bundle| bundle.same_authorities(stored))
}
