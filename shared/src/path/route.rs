//! The third stage: which route takes the request, and where does it lead?

use std::fmt::Write as _;

use super::observed::{Observed, SeenProxy};
use super::verdict::{Verdict, edit, listed};
use crate::envoy::{ClusterName, IstioObject, MILLION, Route, RouteAction};
use crate::hint::Advice;

pub(super) fn route(observed: &Observed) -> Verdict {
    let proxy = match observed.proxy() {
        Ok(proxy) => proxy,
        Err(unread) => return Verdict::unread(&unread),
    };
    let routes = match &proxy.routes {
        Ok(Some(routes)) => routes,
        Ok(None) => return Verdict::Passes("no route of HTTP is in its way".to_owned()),
        Err(unread) => return Verdict::unread(unread),
    };
    let (route, perhaps) = routes.of(&observed.question.asked);
    let verdict = if let Some(route) = route {
        judge(observed, proxy, route)
    } else {
        let object = routes.routes.iter().find_map(|route| route.object.as_ref());
        let cause = "no route of it takes a request with this method, path and headers: Envoy answers 404";
        by(observed, object, cause, "spec.http[].match")
    };
    match verdict {
        Verdict::Passes(text) if !perhaps.is_empty() => {
            let names: Vec<String> = perhaps.iter().map(|route| called(route)).collect();
            Verdict::Passes(format!(
                "{text}; unless {} takes it, which is not judged here",
                listed(names.iter().map(String::as_str))
            ))
        }
        verdict => verdict,
    }
}

fn called(route: &Route) -> String {
    let object = route.object.as_ref().map_or_else(|| "Istio's own route".to_owned(), ToString::to_string);
    if route.name.is_empty() { object } else { format!("{object} ({})", route.name) }
}

/// A stop that a `VirtualService` makes.
fn by(observed: &Observed, object: Option<&IstioObject>, cause: &str, field: &str) -> Verdict {
    match object {
        Some(object) => {
            let kind = format!("{}.networking.istio.io", object.kind);
            let next: Advice = edit(observed.context(), &object.namespace, &kind, &object.name).into();
            Verdict::stops(format!("{object}: {cause}"), next).at(object.to_string(), field)
        }
        None => Verdict::stops(
            format!("the client's sidecar: {cause}"),
            crate::hint::Plugin::MeshInstall.command(["verify"]),
        ),
    }
}

fn judge(observed: &Observed, proxy: &SeenProxy, route: &Route) -> Verdict {
    let object = route.object.as_ref();
    let clusters = match &route.action {
        RouteAction::Forward(clusters) => clusters,
        RouteAction::Answer(status) => {
            return by(
                observed,
                object,
                &format!("the client's sidecar answers {status} itself, and sends nothing on"),
                "spec.http[].directResponse",
            );
        }
        RouteAction::Redirect => {
            return by(
                observed,
                object,
                "the client's sidecar sends the client elsewhere, and nothing on",
                "spec.http[].redirect",
            );
        }
        RouteAction::Other => {
            return Verdict::Unknown(format!("{} does something that is not judged here", called(route)));
        }
    };
    if let Some((status, share)) = route.fault.and_then(|fault| fault.abort)
        && share >= MILLION
    {
        return by(
            observed,
            object,
            &format!("it answers every request with {status} on purpose"),
            "spec.http[].fault.abort",
        );
    }
    // Endpoints are there for every cluster of Envoy of the service that is followed, with none or more in them.
    let known = proxy.endpoints.as_ref().ok();
    let is_missing = |name: &str| {
        let of_followed = ClusterName::parse(name).is_some_and(|name| name.host == observed.service.host());
        of_followed && known.is_some_and(|known| !known.contains_key(name))
    };
    let missing: Vec<&str> =
        clusters.iter().map(|(name, _)| name.as_str()).filter(|name| is_missing(name)).collect();
    if missing.len() == clusters.len() {
        return nowhere(observed, object, &missing);
    }
    let mut text = match object {
        Some(object) => format!("{object} leads to {}", led_to(clusters)),
        None => format!("Istio's own route leads to {}", led_to(clusters)),
    };
    // Writing to a String cannot fail.
    if !missing.is_empty() {
        let _ = write!(text, ", of which {} is nowhere", listed(missing.iter().copied().map(subset)));
    }
    let fault = route.fault.unwrap_or_default();
    if let Some((status, share)) = fault.abort {
        let _ = write!(text, "; it answers {} of the requests with {status} on purpose", percent(share));
    }
    if let Some((delay, share)) = fault.delay {
        let _ = write!(
            text,
            "; it holds {} of the requests for {} on purpose",
            percent(share),
            humantime::format_duration(delay)
        );
    }
    if let Some(timeout) = route.timeout {
        let _ = write!(text, "; the answer may take {}", humantime::format_duration(timeout));
    }
    Verdict::Passes(text)
}

/// Where the route leads, nothing is defined.
fn nowhere(observed: &Observed, object: Option<&IstioObject>, missing: &[&str]) -> Verdict {
    let subsets: Vec<&str> = missing
        .iter()
        .filter_map(|name| ClusterName::parse(name))
        .map(|name| name.subset)
        .filter(|subset| !subset.is_empty())
        .collect();
    if subsets.is_empty() {
        return by(
            observed,
            object,
            "it leads to a port that the service does not have: Envoy answers 503",
            "spec.http[].route[].destination.port",
        )
        .seen(format!("destinations: {}", listed(missing.iter().copied())));
    }
    let names = listed(subsets);
    by(
        observed,
        object,
        &format!("it leads to subset {names}, which no DestinationRule in force for the client defines: Envoy answers 503"),
        "spec.http[].route[].destination.subset",
    )
    .seen(format!("destinations: {}", listed(missing.iter().copied())))
}

fn subset(name: &str) -> &str {
    ClusterName::parse(name).map_or(name, |name| name.subset)
}

/// Writes where requests go, each with its share.
fn led_to(clusters: &[(String, u32)]) -> String {
    let all: u32 = clusters.iter().map(|(_, weight)| weight).sum();
    let one = |(name, weight): &(String, u32)| {
        let place = match ClusterName::parse(name) {
            Some(name) if name.subset.is_empty() => format!("{}:{}", name.host, name.port),
            Some(name) => format!("subset {} of {}:{}", name.subset, name.host, name.port),
            None => name.clone(),
        };
        if clusters.len() > 1 { format!("{place} ({weight} of {all})") } else { place }
    };
    let places: Vec<String> = clusters.iter().map(one).collect();
    if places.is_empty() { "nothing".to_owned() } else { places.join(", ") }
}

fn percent(share: u32) -> String {
    format!("{}%", f64::from(share) / f64::from(MILLION) * 100.0)
}
