//! The fourth stage: does the policy in force for the service send with mutual TLS?

use super::observed::Observed;
use super::verdict::{Verdict, edit, listed};
use crate::envoy::{ClusterName, IstioObject};
use crate::hint::{Advice, Plugin};

pub(super) fn policy(observed: &Observed) -> Verdict {
    let proxy = match observed.proxy() {
        Ok(proxy) => proxy,
        Err(unread) => return Verdict::unread(&unread),
    };
    let (policies, rules) = match (&proxy.policies, &proxy.rules) {
        (Ok(policies), Ok(rules)) => (policies, rules),
        (Err(unread), _) | (_, Err(unread)) => return Verdict::unread(unread),
    };
    let followed = observed.followed();
    let object = |name: &String| policies.get(name).and_then(|policy| policy.object.as_ref());
    let bare: Vec<&String> =
        followed.iter().filter(|name| rules.clusters.get(*name).is_some_and(|rule| !rule.mutual)).collect();
    if !followed.is_empty() && bare.len() == followed.len() {
        let rule = bare.iter().find_map(|name| object(name));
        return without_mutual(observed, rule);
    }
    let mut parts: Vec<String> = Vec::new();
    let mut names: Vec<String> = followed.iter().filter_map(object).map(ToString::to_string).collect();
    names.dedup();
    parts.push(match names.as_slice() {
        [] => "no DestinationRule is in force; requests are sent with mutual TLS".to_owned(),
        names => format!(
            "{} is in force; requests are sent with mutual TLS",
            listed(names.iter().map(String::as_str))
        ),
    });
    for name in bare {
        let subset = ClusterName::parse(name).map_or("", |name| name.subset);
        parts.push(format!("but those to subset {subset} are not"));
    }
    for policy in followed.iter().filter_map(|name| policies.get(name)) {
        let limits: Vec<String> =
            policy.limits.iter().map(|(name, limit)| format!("{name} {limit}")).collect();
        if !limits.is_empty() {
            parts.push(format!("it limits what is sent at the same time ({})", limits.join(", ")));
        }
    }
    Verdict::Passes(parts.join("; "))
}

fn without_mutual(observed: &Observed, rule: Option<&IstioObject>) -> Verdict {
    let cause = "the client's sidecar sends without the mesh's mutual TLS: workloads of the mesh take nothing without it, and gateways of other \
                 networks let nothing through";
    match rule {
        Some(rule) => {
            let kind = format!("{}.networking.istio.io", rule.kind);
            let next: Advice = edit(observed.context(), &rule.namespace, &kind, &rule.name).into();
            Verdict::stops(format!("{rule}: {cause}"), next)
                .at(rule.to_string(), "spec.trafficPolicy.tls.mode")
                .found_by("mutual-tls")
        }
        // `enableAutoMtls: false`, or endpoints that istiod takes for others than sidecars'.
        None => Verdict::stops(
            format!(
                "{cause}; no DestinationRule says so, so `enableAutoMtls` of the mesh configuration does"
            ),
            Plugin::MeshInstall.command(["verify"]),
        ),
    }
}
