//! Checks on what proxies really have: their certificates, their bundles, and whom they let in.

use std::collections::BTreeSet;

use super::{Findings, Reached, Repair, of_each, up};
use crate::check::{Fault, Finding};
use crate::envoy::{InboundRules, Issuer, NameRule, ProxySecrets, Validation};
use crate::hint::Command;
use crate::multicluster::examined::{Examined, SeenProxy};
use crate::trust::svid::{accepts, verify};
use crate::trust::{AuthorityDigest, SpiffeId, TrustBundle, TrustDomain};

/// Asks something of every proxy.
fn of_proxies(
    examined: &Examined,
    check: impl Fn(&Reached<'_>, &SeenProxy) -> Option<Finding<Repair>>,
) -> Findings {
    of_each(examined, |own| match &own.seen.proxies {
        Ok(proxies) => proxies.iter().filter_map(|proxy| check(&own, proxy)).collect(),
        Err(unread) => vec![Finding::skip(own.scope(), &unread.why)],
    })
}

pub(super) fn identity(examined: &Examined) -> Findings {
    of_proxies(examined, |own, proxy| Some(one_identity(own, proxy)))
}

fn one_identity(own: &Reached<'_>, proxy: &SeenProxy) -> Finding<Repair> {
    let scope = own.object(proxy.object());
    if let Some(ends) = &proxy.ends {
        let cause = "its proxy ends again and again, so that nothing reaches the pod and it reaches nobody";
        let name = [proxy.pod.as_str(), "-c", "istio-proxy", "--previous"];
        let logs = Command::kubectl(["-n", &proxy.namespace, "logs"]).and(name);
        let fault = Fault::new(cause, logs.at(&own.cluster.context));
        return Finding::fail(scope, ends.iter().fold(fault, |fault, line| fault.seen(line.as_str())));
    }
    let secrets = match &proxy.secrets {
        Ok(secrets) => secrets,
        Err(unread) => return Finding::skip(scope, &unread.why),
    };
    let restart = format!("{} -n {} delete pod {}", own.kubectl(), proxy.namespace, proxy.pod);
    if secrets.issuer() == Issuer::Istiod {
        let cause = "its certificate is from istiod, not from SPIRE: the pod was made without SPIRE's socket";
        let hint = format!("make the pod anew once the check injection-form passes: {restart}");
        let fault = Fault::new(cause, hint)
            .seen("Envoy verifies peers with one pool of CA certificates, as Istio's own agent serves it");
        return Finding::fail(scope, presented(secrets).into_iter().fold(fault, Fault::seen));
    }
    let Some(chain) = secrets.chain() else {
        let cause = "it has no certificate: SPIRE has given it none";
        let hint = format!(
            "see the check entries, and the agent's answer: {} -n {} logs {} -c istio-proxy",
            own.kubectl(),
            proxy.namespace,
            proxy.pod
        );
        let fault = Fault::new(cause, hint);
        return Finding::fail(
            scope,
            proxy.trouble.iter().fold(fault, |fault, trouble| fault.seen(trouble.as_str())),
        );
    };
    let wanted =
        format!("spiffe://{}/ns/{}/sa/{}", own.cluster.trust_domain, proxy.namespace, proxy.service_account);
    let found = chain.leaf.uris.join(", ");
    if chain.leaf.uris.as_slice() != [wanted.as_str()] {
        let cause = format!("it presents {found}, and Istio expects {wanted}");
        let hint = format!("see which ClusterSPIFFEID names it so: {} get clusterspiffeids", own.kubectl());
        return Finding::fail(
            scope,
            Fault::new(cause, hint).seen(format!("SPIFFE ID of the certificate: {found}")),
        );
    }
    let Some(bundle) = secrets.bundle(&own.cluster.trust_domain) else {
        let cause = format!("it has no bundle of its own trust domain {}", own.cluster.trust_domain);
        return Finding::fail(scope, held(secrets).into_iter().fold(Fault::new(cause, restart), Fault::seen));
    };
    let verdict = verify(chain, bundle, own.all.spire.observed.at);
    match verdict.broken.first() {
        Some(broken) => {
            let what = match accepts(chain, bundle, own.all.spire.observed.at) {
                Ok(()) => "breaks a rule of SPIFFE",
                Err(_) => "is not accepted by its own trust domain",
            };
            let cause = format!("its certificate {what}: {}", broken.why);
            let next = format!("see the check agents; where it passes, make the pod anew: {restart}");
            Finding::fail(scope, Fault::new(cause, next).seen(broken.to_string()))
        }
        None => Finding::pass(scope, format!("{wanted}, until {}", chain.leaf.not_after)),
    }
}

fn presented(secrets: &ProxySecrets) -> Option<String> {
    let leaf = &secrets.chain()?.leaf;
    Some(format!("it presents {}, issued by {}", leaf.uris.join(", "), leaf.issuer))
}

/// Says whose bundles a proxy has.
fn held(secrets: &ProxySecrets) -> Option<String> {
    match secrets.validation.as_ref()?.value.as_ref()? {
        Validation::Spiffe(bundles) => {
            let held: Vec<&str> = bundles.keys().map(TrustDomain::as_str).collect();
            Some(format!("ROOTCA holds {}", held.join(", ")))
        }
        Validation::Pooled(_) => None,
    }
}

pub(super) fn bundles(examined: &Examined) -> Findings {
    of_proxies(examined, |own, proxy| {
        let Some(Validation::Spiffe(found)) =
            proxy.secrets.as_ref().ok()?.validation.as_ref().and_then(|received| received.value.as_ref())
        else {
            return None;
        };
        let scope = own.object(proxy.object());
        let missing: Vec<&str> = own
            .mesh()
            .clusters
            .iter()
            .map(|cluster| &cluster.trust_domain)
            .filter(|domain| !found.contains_key(*domain))
            .map(TrustDomain::as_str)
            .collect();
        if !missing.is_empty() {
            let cause =
                format!("it has no bundle of {}: it refuses everybody from there", missing.join(", "));
            let hint = "see the checks entries, bundle-stored and agent-bundle-names; where they pass, the agent has not served it yet";
            let held = proxy.secrets.as_ref().ok().and_then(held);
            return Some(Finding::fail(scope, held.into_iter().fold(Fault::new(cause, hint), Fault::seen)));
        }
        for cluster in &own.mesh().clusters {
            let (Some(held), Some(live)) =
                (found.get(&cluster.trust_domain), live(own, &cluster.trust_domain))
            else {
                continue;
            };
            let lacking: Vec<String> = live
                .authorities()
                .keys()
                .filter(|digest| !held.authorities().contains_key(*digest))
                .map(AuthorityDigest::short)
                .collect();
            if !lacking.is_empty() {
                let cause =
                    format!("its bundle of {} lacks authorities that the server has", cluster.trust_domain);
                let fault = Fault::new(
                    cause,
                    "wait for the next fetch and sync, a minute or two; then see the check bundle-fetched",
                )
                .seen(format!("it lacks {}", lacking.join(", ")));
                return Some(Finding::warn(scope, fault));
            }
        }
        Some(Finding::pass(scope, format!("the bundles of {} trust domains", found.len())))
    })
}

/// Returns the bundle that the server of a trust domain publishes now.
fn live<'e>(own: &Reached<'e>, domain: &TrustDomain) -> Option<&'e TrustBundle> {
    let clusters = own.all.spire.observed.clusters.iter();
    clusters
        .filter(|cluster| cluster.trust_domain() == domain)
        .find_map(|cluster| Some(&cluster.server()?.bundle))
}

pub(super) fn admits(examined: &Examined) -> Findings {
    of_proxies(examined, |own, proxy| {
        let rules = proxy.inbound.as_ref().ok()?.as_ref()?;
        Some(one_admits(own, proxy, rules))
    })
}

fn one_admits(own: &Reached<'_>, proxy: &SeenProxy, rules: &InboundRules) -> Finding<Repair> {
    let scope = own.object(proxy.object());
    let rules_text = || {
        let names: Vec<String> = rules.names().iter().map(ToString::to_string).collect();
        format!("its inbound listener admits {}", names.join(", "))
    };
    let refused: Vec<&str> = own
        .mesh()
        .clusters
        .iter()
        .map(|cluster| &cluster.trust_domain)
        .filter(|domain| someone(domain).is_none_or(|id| !rules.admits(&id)))
        .map(TrustDomain::as_str)
        .collect();
    if !refused.is_empty() && rules.names().is_empty() && rules.without_names().next().is_none() {
        return Finding::skip(scope, "it has no rule on mutual TLS; see the check mutual-tls");
    }
    if !refused.is_empty() {
        let cause = format!(
            "it does not admit {}: connections from there end without a word at the client",
            refused.join(", ")
        );
        let hint = format!(
            "{}; where mesh-trust-domains passes, make the pod anew: {} -n {} delete pod {}",
            up(),
            own.kubectl(),
            proxy.namespace,
            proxy.pod
        );
        return Finding::fail(scope, Fault::new(cause, hint).seen(rules_text()));
    }
    let known: BTreeSet<String> =
        own.mesh().clusters.iter().map(|cluster| format!("spiffe://{}/", cluster.trust_domain)).collect();
    let strange: Vec<String> = rules
        .names()
        .into_iter()
        .filter(|rule| !matches!(rule, NameRule::Prefix(prefix) if known.contains(prefix)))
        .map(ToString::to_string)
        .collect();
    if strange.is_empty() {
        return Finding::pass(scope, format!("{} trust domains", known.len()));
    }
    let cause = format!("it admits others than the mesh's own: {}", strange.join(", "));
    Finding::warn(scope, Fault::new(cause, "see meshConfig.caCertificates and meshConfig.trustDomainAliases, in the mesh file under istio.meshConfig").seen(rules_text()))
}

/// Returns some workload of a trust domain.
fn someone(domain: &TrustDomain) -> Option<SpiffeId> {
    format!("spiffe://{domain}/ns/a/sa/b").parse().ok()
}
