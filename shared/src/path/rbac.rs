//! Which `AuthorizationPolicy` refuses a client, as Istio evaluates them: DENY first, then ALLOW, of which one has to match where there is any.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::observed::SeenObject;
use super::selector::selects;
use crate::envoy::{Asked, Takes};
use crate::istio::NAMESPACE;
use crate::trust::{SpiffeId, TrustDomain};

/// The trust domain that in policies stands for the server's own.
const OWN: &str = "cluster.local/";

/// A request, as policies of the server look at it.
pub(super) struct Call<'c> {
    /// The client's identity; `None` where it shows none.
    pub(super) id: Option<&'c SpiffeId>,
    /// The request.
    pub(super) asked: &'c Asked,
    /// The port at the server.
    pub(super) port: u16,
}

/// A workload that is asked.
pub(super) struct Server<'c> {
    pub(super) namespace: &'c str,
    pub(super) labels: &'c BTreeMap<String, String>,
    pub(super) trust_domain: &'c TrustDomain,
}

/// What the policies say of a request.
#[derive(Debug, PartialEq)]
pub(super) enum Ruling<'p> {
    /// None refuses it; how many concern the server.
    Allowed(usize),
    /// A DENY policy matches.
    Denied(&'p SeenObject),
    /// There are ALLOW policies, and none matches.
    NotAllowed(Vec<&'p SeenObject>),
    /// It depends on something that is not judged here.
    Perhaps(&'p SeenObject),
}

/// Judges a request.
pub(super) fn ruling<'p>(policies: &'p [SeenObject], server: &Server<'_>, call: &Call<'_>) -> Ruling<'p> {
    let concerning: Vec<&SeenObject> = policies.iter().filter(|policy| concerns(policy, server)).collect();
    let of = |action: &'static str| {
        concerning
            .iter()
            .copied()
            .filter(move |policy| policy.spec["action"].as_str().unwrap_or("ALLOW") == action)
    };
    let mut perhaps = of("CUSTOM").next();
    for policy in of("DENY") {
        match matches(&policy.spec, server, call) {
            Takes::Yes => return Ruling::Denied(policy),
            Takes::Perhaps => perhaps = perhaps.or(Some(policy)),
            Takes::No => {}
        }
    }
    let allowing: Vec<&SeenObject> = of("ALLOW").collect();
    let verdicts: Vec<Takes> = allowing.iter().map(|policy| matches(&policy.spec, server, call)).collect();
    if !allowing.is_empty() && !verdicts.contains(&Takes::Yes) {
        match allowing.iter().zip(&verdicts).find(|(_, verdict)| **verdict == Takes::Perhaps) {
            Some((policy, _)) => perhaps = perhaps.or(Some(policy)),
            None => return Ruling::NotAllowed(allowing),
        }
    }
    match perhaps {
        Some(policy) => Ruling::Perhaps(policy),
        None => Ruling::Allowed(concerning.len()),
    }
}

fn concerns(policy: &SeenObject, server: &Server<'_>) -> bool {
    let of_place = policy.namespace == server.namespace || policy.namespace == NAMESPACE;
    // Those with a target are for gateways and waypoints.
    let targets = ["targetRef", "targetRefs"].iter().any(|field| policy.spec.get(*field).is_some());
    let labels = policy.spec["selector"].get("matchLabels");
    of_place
        && !targets
        && labels.is_none_or(|labels| selects(&json!({"matchLabels": labels}), server.labels))
}

/// Tells whether one of a policy's rules matches. Without rules none does.
fn matches(spec: &Value, server: &Server<'_>, call: &Call<'_>) -> Takes {
    let rules = spec["rules"].as_array().into_iter().flatten();
    rules.map(|rule| matches_rule(rule, server, call)).fold(Takes::No, Takes::or)
}

fn matches_rule(rule: &Value, server: &Server<'_>, call: &Call<'_>) -> Takes {
    let any = |field: &str, part: &str, judge: &dyn Fn(&Value) -> Takes| match rule[field].as_array() {
        Some(all) if !all.is_empty() => all.iter().map(|one| judge(&one[part])).fold(Takes::No, Takes::or),
        _ => Takes::Yes,
    };
    let from = any("from", "source", &|source| matches_source(source, server, call));
    let to = any("to", "operation", &|operation| matches_operation(operation, call));
    let when = rule["when"].as_array().is_some_and(|when| !when.is_empty());
    let when = if when { Takes::Perhaps } else { Takes::Yes };
    from.and(to).and(when)
}

fn matches_source(source: &Value, server: &Server<'_>, call: &Call<'_>) -> Takes {
    let principal = call.id.map(|id| id.to_string()["spiffe://".len()..].to_owned());
    let parts = principal.as_deref().and_then(|principal| {
        let mut parts = principal.split('/');
        let (_, ns, namespace, sa, account) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        (ns == "ns" && sa == "sa").then(|| (namespace.to_owned(), format!("{namespace}/{account}")))
    });
    let (namespace, account) =
        parts.map_or((None, None), |(namespace, account)| (Some(namespace), Some(account)));
    let fields = source.as_object().into_iter().flatten();
    fields
        .map(|(field, patterns)| match field.as_str() {
            "principals" => one_of(patterns, principal.as_deref(), server),
            "notPrincipals" => not(one_of(patterns, principal.as_deref(), server)),
            "namespaces" => one_of(patterns, namespace.as_deref(), server),
            "notNamespaces" => not(one_of(patterns, namespace.as_deref(), server)),
            "serviceAccounts" => one_of_accounts(patterns, account.as_deref(), server),
            "notServiceAccounts" => not(one_of_accounts(patterns, account.as_deref(), server)),
            // Addresses and tokens are not known here.
            _ => Takes::Perhaps,
        })
        .fold(Takes::Yes, Takes::and)
}

fn matches_operation(operation: &Value, call: &Call<'_>) -> Takes {
    let port = call.port.to_string();
    let fields = operation.as_object().into_iter().flatten();
    fields
        .map(|(field, patterns)| match field.as_str() {
            "ports" => any_of(patterns, Some(&port)),
            "notPorts" => not(any_of(patterns, Some(&port))),
            "methods" => any_of(patterns, Some(&call.asked.method)),
            "notMethods" => not(any_of(patterns, Some(&call.asked.method))),
            "paths" => any_of(patterns, Some(&call.asked.path)),
            "notPaths" => not(any_of(patterns, Some(&call.asked.path))),
            _ => Takes::Perhaps,
        })
        .fold(Takes::Yes, Takes::and)
}

fn not(takes: Takes) -> Takes {
    match takes {
        Takes::Yes => Takes::No,
        Takes::No => Takes::Yes,
        Takes::Perhaps => Takes::Perhaps,
    }
}

fn texts(patterns: &Value) -> impl Iterator<Item = &str> {
    patterns.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn any_of(patterns: &Value, value: Option<&str>) -> Takes {
    texts(patterns).map(|pattern| fits(pattern, value)).fold(Takes::No, Takes::or)
}

/// As [`any_of`], where `cluster.local` stands for the server's own trust domain.
fn one_of(patterns: &Value, value: Option<&str>, server: &Server<'_>) -> Takes {
    let own = |pattern: &str| pattern.strip_prefix(OWN).map(|rest| format!("{}/{rest}", server.trust_domain));
    texts(patterns)
        .map(|pattern| match own(pattern) {
            Some(own) => fits(pattern, value).or(fits(&own, value)),
            None => fits(pattern, value),
        })
        .fold(Takes::No, Takes::or)
}

/// Service accounts without a namespace are of the policy's own, which is the server's here.
fn one_of_accounts(patterns: &Value, value: Option<&str>, server: &Server<'_>) -> Takes {
    let whole = |pattern: &str| {
        if pattern.contains('/') { pattern.to_owned() } else { format!("{}/{pattern}", server.namespace) }
    };
    texts(patterns).map(|pattern| fits(&whole(pattern), value)).fold(Takes::No, Takes::or)
}

/// Matches as Istio does: `*` alone wants any value, at an end it stands for anything.
fn fits(pattern: &str, value: Option<&str>) -> Takes {
    // Templates of paths (`{*}`) are not judged here.
    if pattern.contains('{') {
        return Takes::Perhaps;
    }
    let Some(value) = value else { return Takes::No };
    let fits = match (pattern, pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        ("*", ..) => !value.is_empty(),
        (_, Some(end), _) => value.ends_with(end),
        (_, None, Some(start)) => value.starts_with(start),
        _ => value == pattern,
    };
    if fits { Takes::Yes } else { Takes::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, spec: Value) -> SeenObject {
        SeenObject { namespace: "shop".to_owned(), name: name.to_owned(), spec }
    }

    fn asked(policies: &[SeenObject], client: Option<&str>) -> String {
        let id: Option<SpiffeId> = client.map(|client| client.parse().unwrap());
        let request = Asked { method: "GET".to_owned(), path: "/hello".to_owned(), ..Asked::default() };
        let labels = [("app".to_owned(), "cart".to_owned())].into();
        let domain: TrustDomain = "bar.com".parse().unwrap();
        let server = Server { namespace: "shop", labels: &labels, trust_domain: &domain };
        let call = Call { id: id.as_ref(), asked: &request, port: 5000 };
        match ruling(policies, &server, &call) {
            Ruling::Allowed(count) => format!("allowed by {count}"),
            Ruling::Denied(policy) => format!("denied by {}", policy.name),
            Ruling::NotAllowed(policies) => format!("not allowed by {}", policies.len()),
            Ruling::Perhaps(policy) => format!("perhaps {}", policy.name),
        }
    }

    const FOO: Option<&str> = Some("spiffe://foo.com/ns/sleep/sa/sleep");
    const BAR: Option<&str> = Some("spiffe://bar.com/ns/sleep/sa/sleep");

    fn allow(source: &Value) -> SeenObject {
        policy("a", json!({"rules": [{"from": [{"source": source}]}]}))
    }

    #[test]
    fn without_a_policy_everybody_may_and_an_empty_one_lets_nobody_in() {
        assert_eq!(asked(&[], FOO), "allowed by 0");
        assert_eq!(asked(&[policy("nothing", json!({}))], FOO), "not allowed by 1");
        assert_eq!(asked(&[policy("all", json!({"rules": [{}]}))], None), "allowed by 1");
        assert_eq!(asked(&[policy("d", json!({"action": "DENY"}))], FOO), "allowed by 1");
        assert_eq!(asked(&[policy("d", json!({"action": "DENY", "rules": [{}]}))], FOO), "denied by d");
    }

    #[test]
    fn principals_have_a_trust_domain_and_clusters_own_stands_for_the_servers() {
        let of = |principal: &str, client| asked(&[allow(&json!({"principals": [principal]}))], client);
        assert_eq!(of("foo.com/ns/sleep/sa/sleep", FOO), "allowed by 1");
        assert_eq!(of("bar.com/ns/sleep/sa/sleep", FOO), "not allowed by 1");
        assert_eq!(of("cluster.local/ns/sleep/sa/sleep", FOO), "not allowed by 1");
        assert_eq!(of("cluster.local/ns/sleep/sa/sleep", BAR), "allowed by 1");
        assert_eq!([of("*/sa/sleep", FOO), of("foo.com/*", FOO), of("*", FOO)], ["allowed by 1"; 3]);
        assert_eq!(of("*", None), "not allowed by 1");
    }

    #[test]
    fn namespaces_accounts_and_their_opposites_are_looked_at() {
        let of = |source: Value| asked(&[allow(&source)], FOO);
        assert_eq!(of(json!({"namespaces": ["sleep"]})), "allowed by 1");
        assert_eq!(of(json!({"notNamespaces": ["sleep"]})), "not allowed by 1");
        assert_eq!(of(json!({"serviceAccounts": ["sleep/sleep"]})), "allowed by 1");
        assert_eq!(of(json!({"serviceAccounts": ["sleep"]})), "not allowed by 1");
        assert_eq!(of(json!({"namespaces": ["sleep"], "notPrincipals": ["foo.com/*"]})), "not allowed by 1");
        assert_eq!(of(json!({"ipBlocks": ["10.0.0.0/8"]})), "perhaps a");
        assert_eq!(of(json!({"namespaces": ["other"], "ipBlocks": ["10.0.0.0/8"]})), "not allowed by 1");
    }

    #[test]
    fn operations_and_conditions_are_looked_at() {
        let of = |operation: Value| {
            asked(&[policy("a", json!({"rules": [{"to": [{"operation": operation}]}]}))], FOO)
        };
        assert_eq!(of(json!({"methods": ["GET"], "paths": ["/hel*"], "ports": ["5000"]})), "allowed by 1");
        assert_eq!(of(json!({"methods": ["POST"]})), "not allowed by 1");
        assert_eq!(of(json!({"notPaths": ["/hello"]})), "not allowed by 1");
        assert_eq!(of(json!({"ports": ["80"]})), "not allowed by 1");
        assert_eq!([of(json!({"hosts": ["x"]})), of(json!({"paths": ["/{*}"]}))], ["perhaps a"; 2]);
        let when =
            policy("w", json!({"rules": [{"when": [{"key": "request.headers[x]", "values": ["y"]}]}]}));
        assert_eq!(asked(&[when], FOO), "perhaps w");
    }

    #[test]
    fn only_policies_of_the_servers_namespace_and_istios_that_select_it_count() {
        let deny = |namespace: &str, more: Value| {
            let mut spec = json!({"action": "DENY", "rules": [{}]});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            SeenObject { namespace: namespace.to_owned(), ..policy("d", spec) }
        };
        assert_eq!(asked(&[deny(NAMESPACE, json!({}))], FOO), "denied by d");
        assert_eq!(asked(&[deny("other", json!({}))], FOO), "allowed by 0");
        assert_eq!(
            asked(&[deny("shop", json!({"selector": {"matchLabels": {"app": "cart"}}}))], FOO),
            "denied by d"
        );
        assert_eq!(
            asked(&[deny("shop", json!({"selector": {"matchLabels": {"app": "x"}}}))], FOO),
            "allowed by 0"
        );
        assert_eq!(asked(&[deny("shop", json!({"targetRefs": [{}]}))], FOO), "allowed by 0");
        let custom = policy("c", json!({"action": "CUSTOM", "rules": [{}]}));
        assert_eq!(asked(&[custom], FOO), "perhaps c");
    }
}
