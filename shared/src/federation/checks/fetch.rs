//! The check that lets a server fetch its peer's bundle.

use super::pairs::of_pairs;
use super::{Findings, Reached, Repair, fix, kubectl, up};
use crate::check::{Fault, Finding};
use crate::federation::examined::{Examined, FailedFetch};
use crate::federation::observed::ObservedCluster;
use crate::hint::Plugin;
use crate::spire::server::RefreshCause;

pub(super) fn fetched(examined: &Examined) -> Findings {
    of_pairs(examined, |scope, own, peer| {
        let key = (own.name().to_owned(), peer.name().to_owned());
        match examined.fetched.get(&key) {
            None => Finding::skip(scope, "there is no relationship, so nothing is fetched"),
            Some(Err(unread)) => Finding::skip(scope, &unread.why),
            Some(Ok(Ok(()))) => Finding::pass(scope, "it has just fetched it"),
            Some(Ok(Err(failed))) => Finding::fail(scope, fault(examined, &own, peer, failed)),
        }
    })
}

fn fault(
    examined: &Examined,
    own: &Reached<'_>,
    peer: &ObservedCluster,
    failed: &FailedFetch,
) -> Fault<Repair> {
    let known = own.cluster.server().and_then(|server| server.relationship(peer.trust_domain()));
    let url = known.map_or("the bundle endpoint", |known| known.url.as_str());
    let host = url.trim_start_matches("https://");
    let (cause, hint) = match failed.cause {
        RefreshCause::NameNotFound => (
            format!("the name in {url} does not resolve"),
            format!("give {} an address that resolves in {}: spire.bundleEndpoint in the mesh file", peer.name(), own.name()),
        ),
        RefreshCause::Refused => (
            format!("nothing listens at {host}: the connection is refused"),
            format!("{} -n {} get services,endpoints", kubectl(peer), namespace(peer)),
        ),
        RefreshCause::TimedOut | RefreshCause::Unreachable => (
            format!("packets to {host} get no answer: a firewall or security group drops them, or there is no route"),
            format!("let TCP from the nodes and pods of {} to {host} through, and add a route", own.name()),
        ),
        RefreshCause::Reset => (
            format!("something on the way to {host} ends the connection"),
            format!("let TCP from the nodes and pods of {} to {host} through, with nothing in between that ends TLS", own.name()),
        ),
        RefreshCause::NotFound => (
            format!("there is no bundle at {url}"),
            "leave the path out of spire.bundleEndpoint.url in the mesh file".to_owned(),
        ),
        RefreshCause::NotBootstrapped => (
            "the server says that it has no bundle of the peer".to_owned(),
            fix().into(),
        ),
        // What the endpoint presents in its own pod is right, or this check would have been skipped.
        RefreshCause::UnknownAuthority
        | RefreshCause::NoSpiffeId
        | RefreshCause::NotTls
        | RefreshCause::UnexpectedId
        | RefreshCause::OtherTrustDomain => (
            format!("what answers at {host} is not the peer's SPIRE server: something on the way ends TLS, or the address is another's"),
            "pass TCP through to the SPIRE server, without ending TLS (a network load balancer, not an HTTP one)".to_owned(),
        ),
        RefreshCause::Expired | RefreshCause::NotYetValid => (
            "the certificate that the peer's endpoint presents is not valid at this cluster's time".to_owned(),
            format!("set the clocks of the nodes of {} and {} by NTP", own.name(), peer.name()),
        ),
        RefreshCause::NoRelationship | RefreshCause::ProfileMismatch => {
            ("the server's relationship is not what its object says".to_owned(), up().into())
        }
        RefreshCause::Other => (
            "the server cannot fetch the bundle".to_owned(),
            format!("{} -n {} logs {}", own.kubectl(), namespace(own.cluster), pod(own.cluster)),
        ),
    };
    let new = failed.new_load_balancer.filter(|_| failed.cause.may_pass());
    let fault = match new {
        Some(new) => {
            let look_again = Plugin::SpireFederate.command(["verify"]);
            Fault::new(format!("{cause}; {new}"), new.advice(look_again)).under_way()
        }
        None => Fault::new(cause, hint),
    };
    let mut fault = fault.seen(format!(
        "tried from pod {} of {}: {}",
        own.cluster.server().map_or("", |server| server.pod.as_str()),
        own.name(),
        failed.message
    ));
    if let Some(Ok(presented)) = examined.details(peer.name()).map(|details| &details.presented) {
        fault = fault.seen(format!("the peer's own pod presents: {}", presented.names));
    }
    fault
}

fn namespace(cluster: &ObservedCluster) -> &str {
    cluster
        .server()
        .and_then(|server| server.pod.split_once('/'))
        .map_or("spire-server", |(namespace, _)| namespace)
}

fn pod(cluster: &ObservedCluster) -> &str {
    cluster.server().and_then(|server| server.pod.split_once('/')).map_or("spire-server-0", |(_, pod)| pod)
}
