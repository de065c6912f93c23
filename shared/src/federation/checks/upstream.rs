//! Checks on the issuer of cert-manager that signs a server's CA certificate. A cluster whose server signs itself has none.

use jiff::{SignedDuration, Timestamp};

use super::{Findings, Reached, Repair, reached, up};
use crate::check::{Fault, Finding, Scope};
use crate::federation::examined::{Examined, SeenUpstream};
use crate::federation::observed::{ObservedCluster, SeenServer};
use crate::federation::status::text;
use crate::mesh::{CertManagerIssuer, Spire, UpstreamAuthority};
use crate::spire::presented::Presented;
use crate::spire::schedule::{prepared_at, replaced_at};
use crate::spire::server::LocalAuthority;
use crate::spire::upstream::{IssuerRef, IssuerState, RequestState, SeenRequest};
use crate::trust::svid;

/// How long a request may be without an answer: SPIRE waits for 75 seconds (SPIRE 1.15.3,
/// `pkg/server/plugin/upstreamauthority/certmanager/certmanager.go`).
const PATIENCE: SignedDuration = SignedDuration::from_secs(80);

/// Asks something of every cluster whose server has an issuer of cert-manager.
fn of_each_upstream(
    examined: &Examined,
    check: impl Fn(&Reached<'_>, &SeenUpstream) -> Finding<Repair>,
) -> Findings {
    let of_cluster = |reached: Reached<'_>| Some(check(&reached, reached.details.upstream.as_ref()?));
    unreachable(examined).chain(reached(examined).filter_map(of_cluster)).collect()
}

/// Goes through the clusters that cannot be reached and of which the mesh file says that they have an upstream authority.
fn unreachable(examined: &Examined) -> impl Iterator<Item = Finding<Repair>> + use<'_> {
    examined.observed.clusters.iter().filter_map(|cluster| {
        let unread = cluster.seen.as_ref().err()?;
        wanted(cluster).map(|_| Finding::skip(Scope::cluster(cluster.name()), &unread.why))
    })
}

/// Returns the issuer that the mesh file names for a cluster.
fn wanted(cluster: &ObservedCluster) -> Option<&CertManagerIssuer> {
    match &cluster.cluster.spire {
        Spire::Managed(spire) => match &spire.upstream_authority {
            UpstreamAuthority::CertManager(issuer) => Some(issuer),
            UpstreamAuthority::SelfSigned => None,
        },
        Spire::Existing(_) => None,
    }
}

pub(super) fn issuer(examined: &Examined) -> Findings {
    let of_cluster = |reached: Reached<'_>| match (&reached.details.upstream, wanted(reached.cluster)) {
        (Some(upstream), _) => Some(judge(&reached, upstream)),
        // Only a server that is there can be configured for something else.
        (None, Some(wanted)) => reached.cluster.spire().map(|_| {
            let wanted = IssuerRef::from(wanted);
            let cause = format!("the server signs its CA certificate itself, the mesh file names {wanted}");
            Finding::warn(
                reached.scope(),
                Fault::new(cause, up()).seen("server.conf has no UpstreamAuthority"),
            )
        }),
        (None, None) => None,
    };
    unreachable(examined).chain(reached(examined).filter_map(of_cluster)).collect()
}

fn judge(reached: &Reached<'_>, upstream: &SeenUpstream) -> Finding<Repair> {
    let scope = reached.scope();
    let issuer = &upstream.issuer_ref;
    let seen = match &upstream.issuer {
        Ok(seen) => seen,
        Err(unread) => return Finding::skip(scope, &unread.why),
    };
    let context = &reached.cluster.cluster.context;
    let describe = issuer.describe().at(context);
    let fault = match &seen.state {
        IssuerState::UnknownKind => {
            let cause = format!(
                "the API server knows no {} of {}, so nobody signs the server's next CA certificate",
                issuer.kind, issuer.group
            );
            Fault::new(cause, issuer.resources().at(context))
        }
        IssuerState::Absent => {
            let cause = format!("{issuer} does not exist, so nobody signs the server's next CA certificate");
            Fault::new(cause, issuer.list().at(context))
        }
        IssuerState::NotReady(why) => {
            let cause = format!("{issuer} is not ready, so nobody signs the server's next CA certificate");
            Fault::new(cause, describe).seen(why)
        }
        IssuerState::Ready => return ready(reached, issuer, seen.is_cluster_wide),
    };
    Finding::fail(scope, lasting(reached, fault))
}

/// Adds until when the server runs without an issuer. From the middle of its CA certificate's life on it asks for the next one; after
/// ten attempts that failed it is neither ready nor live, and without one it does not start again (SPIRE 1.15.3,
/// `pkg/server/ca/rotator`), though the CA certificate in use has not ended.
fn lasting(reached: &Reached<'_>, fault: Fault<Repair>) -> Fault<Repair> {
    let Some(authorities) = reached.cluster.server().map(|server| &server.authorities) else { return fault };
    let newest = authorities.prepared.as_ref().or(authorities.active.as_ref());
    let Some(newest) = newest else { return fault };
    let sent = reached.details.presented.as_ref().ok().and_then(|sent| sent.authority(&newest.id));
    let fault = fault.seen(format!("its newest CA certificate ends at {}", text(end(newest))));
    match sent {
        Some(authority) => fault.seen(format!(
            "the server asks for the next one from {} on, and does not run without it for long",
            text(prepared_at(&authority))
        )),
        None => fault,
    }
}

/// Judges an issuer that signs: is it the one that is meant, and who else can use it?
fn ready(reached: &Reached<'_>, issuer: &IssuerRef, is_cluster_wide: bool) -> Finding<Repair> {
    let scope = reached.scope();
    if matches!(reached.cluster.cluster.spire, Spire::Managed(_)) {
        match wanted(reached.cluster).map(IssuerRef::from) {
            Some(wanted) if wanted == *issuer => {}
            Some(wanted) => {
                let cause =
                    format!("{issuer} signs the server's CA certificate, the mesh file names {wanted}");
                return Finding::warn(
                    scope,
                    Fault::new(cause, up()).seen("UpstreamAuthority in server.conf"),
                );
            }
            None => {
                let cause = format!(
                    "{issuer} signs the server's CA certificate, the mesh file names no upstream authority"
                );
                let hint = format!(
                    "write `upstreamAuthority: {{certManager: {{issuer: {}, kind: {}, namespace: {}}}}}` in the mesh file",
                    issuer.name, issuer.kind, issuer.namespace
                );
                return Finding::warn(
                    scope,
                    Fault::new(cause, hint).seen("UpstreamAuthority in server.conf"),
                );
            }
        }
    }
    if is_cluster_wide {
        let cause = "whoever may create CertificateRequests in any namespace can have certificates signed for every SPIFFE ID of the trust domain";
        let hint = "name an Issuer in a namespace where nobody else may create CertificateRequests: the server goes over to it on its schedule";
        return Finding::warn(scope, Fault::new(cause, hint).seen(issuer.to_string()));
    }
    Finding::pass(scope, format!("{issuer} is ready"))
}

pub(super) fn request(examined: &Examined) -> Findings {
    let now = examined.observed.at;
    of_each_upstream(examined, |reached, upstream| {
        let scope = reached.scope();
        let newest = match &upstream.requests {
            Ok(requests) => requests.first(),
            Err(unread) => return Finding::skip(scope, &unread.why),
        };
        if let Some(fault) = newest.and_then(|request| unanswered(reached, request, now)) {
            return Finding::fail(scope, lasting(reached, fault));
        }
        match &upstream.log {
            Err(unread) => Finding::skip(scope, &unread.why),
            Ok(log) => match &log.failed {
                Some((at, why)) => {
                    let cause = format!("{} gives the server no CA certificate", upstream.issuer_ref);
                    let fault = Fault::new(cause, logs(reached))
                        .seen(format!("the server's log at {}: {why}", text(*at)));
                    Finding::fail(scope, lasting(reached, fault))
                }
                None => Finding::pass(
                    scope,
                    newest.map_or_else(
                        || "no request waits, and the server's log tells of none that failed".to_owned(),
                        |request| format!("{}: {}", object(request), request.message),
                    ),
                ),
            },
        }
    })
}

/// Says why the server did not get what it asked for; `None` where it did, or still waits for it.
fn unanswered(reached: &Reached<'_>, request: &SeenRequest, now: Timestamp) -> Option<Fault<Repair>> {
    let waits_since = request.created.unwrap_or(now);
    let cause = match request.state {
        RequestState::Signed => return None,
        RequestState::Pending if waits_since.checked_add(PATIENCE).is_ok_and(|until| now < until) => {
            return None;
        }
        RequestState::Pending => {
            format!("the server's request for a CA certificate has had no answer since {}", text(waits_since))
        }
        RequestState::Denied => "the server's request for a CA certificate was denied".to_owned(),
        RequestState::Failed => "the issuer failed to sign the server's CA certificate".to_owned(),
    };
    let hint = format!(
        "{} -n {} describe certificaterequest {}",
        reached.kubectl(),
        request.namespace,
        request.name
    );
    Some(Fault::new(cause, hint).seen(format!("{}: {}", object(request), request.message)))
}

fn object(request: &SeenRequest) -> String {
    format!("CertificateRequest {}/{}", request.namespace, request.name)
}

fn logs(reached: &Reached<'_>) -> String {
    let kubectl = reached.kubectl();
    match reached.cluster.spire() {
        Some(found) => {
            let workload = found.workload.to_lowercase();
            let pod = found.pod.as_deref().unwrap_or(&workload);
            format!("{kubectl} -n {} logs {pod} -c {}", found.namespace, found.container)
        }
        None => format!("{kubectl} get statefulsets,deployments -A"),
    }
}

pub(super) fn root(examined: &Examined) -> Findings {
    let now = examined.observed.at;
    of_each_upstream(examined, |reached, upstream| {
        let scope = reached.scope();
        let Ok(server) = &reached.seen.server else {
            return Finding::skip(scope, "its server could not be asked");
        };
        let Some(active) = &server.authorities.active else {
            return Finding::skip(scope, "the server has no CA certificate");
        };
        if active.upstream_id.is_empty() {
            return Finding::pass(scope, still_its_own(server, active));
        }
        let Some((id, root_end)) = signer(reached, server, active) else {
            let presented = match &reached.details.presented {
                Ok(presented) => presented,
                Err(unread) => return Finding::skip(scope, &unread.why),
            };
            let cause = "the server's bundle does not hold the authority that signed its CA certificate, so nobody verifies what it signs";
            let fault = Fault::new(cause, prepare(reached))
                .seen(format!("signed by {}; not in `bundle show`", active.upstream_id))
                .seen(format!("the bundle endpoint presents: {}", presented.names));
            return Finding::fail(scope, fault);
        };
        if let Some(fault) = no_root(reached, upstream, server) {
            return Finding::fail(scope, fault);
        }
        let known = format!("authority {id} ends at {}", text(root_end));
        match ends_early(reached, active, root_end, now) {
            None => Finding::pass(scope, known),
            Some(cause) => {
                let hint = format!(
                    "renew the CA certificate of {}; the server takes the new authority over with its next CA certificate",
                    upstream.issuer_ref
                );
                let fault = Fault::new(cause, hint)
                    .seen(known)
                    .seen(format!("the CA certificate in use ends at {}", text(end(active))));
                if root_end <= now { Finding::fail(scope, fault) } else { Finding::warn(scope, fault) }
            }
        }
    })
}

/// Says that an authority of the server's bundle ends no path: its issuer gave an intermediate CA as the root. That of a CA certificate which the
/// server has prepared is in the bundle already, before anything is signed with it.
fn no_root(reached: &Reached<'_>, upstream: &SeenUpstream, server: &SeenServer) -> Option<Fault<Repair>> {
    let domain = &reached.cluster.cluster.trust_domain;
    let (id, authority) =
        server.bundle.in_order().find(|(_, authority)| !svid::ends_paths(authority, &server.bundle))?;
    let cause = format!(
        "an authority in the bundle of {domain} did not sign itself, and the CA that signed it is not there: no proxy accepts what it signs"
    );
    let hint = format!(
        "have {} give the root, too: with an issuer of kind CA, write the certificates above it, the root last, behind its own in tls.crt of its \
         Secret; then let the server get a CA certificate: {}",
        upstream.issuer_ref,
        prepare(reached)
    );
    let key_id = authority.key_id().unwrap_or("no key identifier");
    let described = svid::Certificate::from_der(authority.der().to_vec());
    let described =
        described.map_or_else(|_| id.short(), |ca| format!("{}, signed by {}", ca.subject, ca.issuer));
    Some(Fault::new(cause, hint).seen(format!("authority {key_id}: {described}")))
}

/// Returns the command that has a CA certificate signed now, with which the server takes the authority over that signed it.
fn prepare(reached: &Reached<'_>) -> String {
    let Some(found) = reached.cluster.spire() else { return logs(reached) };
    let pod = found.pod.as_deref().unwrap_or(&found.workload);
    format!(
        "{} -n {} exec {pod} -c {} -- {} localauthority x509 prepare",
        reached.kubectl(),
        found.namespace,
        found.container,
        found.binary
    )
}

/// Says that a server which got an upstream authority while it ran has not gone over yet.
fn still_its_own(server: &SeenServer, active: &LocalAuthority) -> String {
    match server.bundle.with_key_id(&active.id) {
        Some((_, own)) => format!(
            "the server still signs with a CA certificate of its own, until {}",
            text(replaced_at(own))
        ),
        None => "the server still signs with a CA certificate of its own".to_owned(),
    }
}

/// Returns ID and end of the authority in the server's bundle that signed its CA certificate: itself, or through intermediates, which
/// the bundle endpoint sends along.
fn signer(
    reached: &Reached<'_>,
    server: &SeenServer,
    active: &LocalAuthority,
) -> Option<(String, Timestamp)> {
    let sent = reached.details.presented.as_ref().map(Presented::signers).unwrap_or_default();
    let ids = [active.upstream_id.clone()].into_iter().chain(sent);
    ids.into_iter().find_map(|id| {
        let end = Timestamp::from_second(server.bundle.end_of(&id)?).unwrap_or(Timestamp::MAX);
        Some((id, end))
    })
}

/// Says what an upstream authority that ends at `root_end` cuts short; `None` where it outlives the next CA certificate too.
fn ends_early(
    reached: &Reached<'_>,
    active: &LocalAuthority,
    root_end: Timestamp,
    now: Timestamp,
) -> Option<String> {
    let next_end = match &reached.cluster.cluster.spire {
        Spire::Managed(spire) => now.checked_add(spire.ca_ttl).ok(),
        Spire::Existing(_) => None,
    };
    if root_end <= now {
        Some("the upstream authority has ended, so nobody accepts what the server signs".to_owned())
    } else if root_end < end(active) {
        Some("the upstream authority ends before the CA certificate that it signed; from then on nobody accepts what the server signs".to_owned())
    } else if next_end.is_some_and(|next_end| root_end < next_end) {
        Some("the upstream authority ends before the server's next CA certificate would".to_owned())
    } else {
        None
    }
}

fn end(authority: &LocalAuthority) -> Timestamp {
    Timestamp::from_second(authority.expires_at).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
