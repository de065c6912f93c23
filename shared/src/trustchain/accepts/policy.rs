//! `AuthorizationPolicy`, as far as it is about who calls (Istio, `security/v1/authorization_policy.proto`).

use std::collections::BTreeMap;

use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde::Deserialize;

use crate::fleet::{Connection, Need, Read, RequestError, Unread};
use crate::istio::NAMESPACE;
use crate::trust::SpiffeId;
use crate::workload::WorkloadPod;

/// One policy about a pod.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// Namespace and name.
    pub(super) name: String,
    pub(super) spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    selector: Option<Selector>,
    target_refs: Option<Vec<serde_json::Value>>,
    target_ref: Option<serde_json::Value>,
    action: Option<String>,
    rules: Option<Vec<Rule>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selector {
    match_labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Rule {
    from: Option<Vec<From>>,
    to: Option<Vec<serde_json::Value>>,
    when: Option<Vec<serde_json::Value>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct From {
    source: Source,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Source {
    principals: Vec<String>,
    not_principals: Vec<String>,
    namespaces: Vec<String>,
    not_namespaces: Vec<String>,
    /// What cannot be told from who calls: addresses and tokens.
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

/// What the policies about a pod come to for a caller. Each names a policy as `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is none.
    Nothing,
    /// One allows every request.
    Allowed(String),
    /// One looks at the request too.
    Depends(String),
    /// One denies every request.
    Denied(String),
    /// There are some that allow, and none of them this caller.
    NotAllowed(String),
}

/// How far a rule is about a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    No,
    Sometimes,
    Always,
}

/// Reads the policies about a pod: those of its namespace and of the root namespace whose selector fits.
pub(super) async fn of_pod(connection: &Connection, pod: &WorkloadPod) -> Read<Vec<Policy>> {
    let mut policies = Vec::new();
    let mut namespaces = vec![pod.namespace.as_str()];
    if pod.namespace != NAMESPACE {
        namespaces.push(NAMESPACE);
    }
    let kind = GroupVersionKind::gvk("security.istio.io", "v1", "AuthorizationPolicy");
    let resource = ApiResource::from_gvk_with_plural(&kind, "authorizationpolicies");
    for namespace in namespaces {
        let need = Need::new("list", "security.istio.io", "authorizationpolicies", Some(namespace));
        let api: Api<DynamicObject> = Api::namespaced_with(connection.client().clone(), namespace, &resource);
        let listed = match api.list(&ListParams::default()).await.map_err(RequestError::from) {
            Ok(listed) => listed,
            // Without Istio its kinds are not known.
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(Unread::request(&need, &error)),
        };
        for object in listed.items {
            let name = format!("{namespace}/{}", object.metadata.name.unwrap_or_default());
            let spec = object.data.get("spec").cloned().unwrap_or_else(|| serde_json::json!({}));
            let spec: Spec = serde_json::from_value(spec).map_err(|error| {
                Unread::because(format!("AuthorizationPolicy {name} cannot be read: {error}"))
            })?;
            let policy = Policy { name, spec };
            if policy.is_about(pod) {
                policies.push(policy);
            }
        }
    }
    Ok(policies)
}

impl Policy {
    fn is_about(&self, pod: &WorkloadPod) -> bool {
        // Those with targets are for waypoints and gateways of the Gateway API.
        if self.spec.target_ref.is_some()
            || self.spec.target_refs.as_ref().is_some_and(|refs| !refs.is_empty())
        {
            return false;
        }
        self.spec.selector.as_ref().is_none_or(|selector| {
            selector.match_labels.iter().all(|(name, value)| pod.labels.get(name) == Some(value))
        })
    }

    fn matches(&self, caller: &SpiffeId) -> Match {
        let rules = self.spec.rules.iter().flatten();
        rules.map(|rule| rule.matches(caller)).max().unwrap_or(Match::No)
    }
}

/// Decides as Istio does: what denies comes first; where something allows, everything else is forbidden.
pub(super) fn decide(policies: &[Policy], caller: &SpiffeId) -> Outcome {
    let of_action = |wanted: &'static str| {
        policies.iter().filter(move |policy| policy.spec.action.as_deref().unwrap_or("ALLOW") == wanted)
    };
    let mut depends = of_action("CUSTOM").map(|policy| policy.name.clone()).next();
    for policy in of_action("DENY") {
        match policy.matches(caller) {
            Match::Always => return Outcome::Denied(policy.name.clone()),
            Match::Sometimes => depends = depends.or_else(|| Some(policy.name.clone())),
            Match::No => {}
        }
    }
    let mut allowing = of_action("ALLOW").peekable();
    let first = allowing.peek().map(|policy| policy.name.clone());
    let best = allowing.map(|policy| (policy.matches(caller), policy)).max_by_key(|(matches, _)| *matches);
    match (best, depends) {
        (Some((Match::No, _)), _) => Outcome::NotAllowed(first.unwrap_or_default()),
        (Some((Match::Sometimes, policy)), _) => Outcome::Depends(policy.name.clone()),
        (_, Some(depends)) => Outcome::Depends(depends),
        (Some((Match::Always, policy)), None) => Outcome::Allowed(policy.name.clone()),
        (None, None) => Outcome::Nothing,
    }
}

impl Rule {
    fn matches(&self, caller: &SpiffeId) -> Match {
        let conditional = self.to.as_ref().is_some_and(|to| !to.is_empty())
            || self.when.as_ref().is_some_and(|when| !when.is_empty());
        let from = match self.from.as_deref() {
            None | Some([]) => Match::Always,
            Some(from) => from.iter().map(|from| from.source.matches(caller)).max().unwrap_or(Match::No),
        };
        if conditional { from.min(Match::Sometimes) } else { from }
    }
}

impl Source {
    fn matches(&self, caller: &SpiffeId) -> Match {
        let principal = caller.to_string();
        let principal = principal.strip_prefix("spiffe://").unwrap_or(&principal);
        let namespace = caller.workload().map(|workload| workload.namespace).unwrap_or_default();
        let one_of = |patterns: &[String], text: &str| patterns.iter().any(|pattern| fits(pattern, text));
        let excluded = !self.principals.is_empty() && !one_of(&self.principals, principal)
            || one_of(&self.not_principals, principal)
            || !self.namespaces.is_empty() && !one_of(&self.namespaces, namespace)
            || one_of(&self.not_namespaces, namespace);
        match (excluded, self.others.is_empty()) {
            (true, _) => Match::No,
            (false, true) => Match::Always,
            (false, false) => Match::Sometimes,
        }
    }
}

/// Compares as Istio does: exactly, by prefix `a*`, by suffix `*a`, or `*` for all that is there.
fn fits(pattern: &str, text: &str) -> bool {
    if pattern == "*" {
        return !text.is_empty();
    }
    match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(prefix), _) => text.starts_with(prefix),
        (_, Some(suffix)) => text.ends_with(suffix),
        (None, None) => pattern == text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::workload::{ProxyState, Workload, WorkloadKind, served};

    fn decided(policies: &[(&str, serde_json::Value)]) -> Outcome {
        let policies: Vec<Policy> = policies
            .iter()
            .map(|(name, spec)| Policy {
                name: format!("sample/{name}"),
                spec: serde_json::from_value(spec.clone()).expect("a policy"),
            })
            .collect();
        decide(&policies, &"spiffe://foo.com/ns/sleep/sa/sleep".parse().expect("an ID"))
    }

    fn pod(namespace: &str) -> WorkloadPod {
        WorkloadPod {
            namespace: namespace.to_owned(),
            name: "sleep-0".to_owned(),
            workload: Workload { kind: WorkloadKind::Deployment, name: "sleep".to_owned() },
            service_account: "sleep".to_owned(),
            labels: [("app", "sleep"), ("version", "v1")].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
            proxy: ProxyState::Runs,
            is_gateway: false,
            trouble: None,
        }
    }

    #[test]
    fn a_policy_is_about_the_pods_that_its_selector_fits_and_never_has_a_target() {
        let is_about = |spec: Value| {
            let spec = serde_json::from_value(spec).expect("a policy");
            Policy { name: "sample/one".to_owned(), spec }.is_about(&pod("sample"))
        };
        assert!(is_about(json!({})));
        assert!(is_about(json!({"selector": {}})));
        assert!(is_about(json!({"selector": {"matchLabels": {"app": "sleep"}}, "targetRefs": []})));
        assert!(is_about(json!({"selector": {"matchLabels": {"app": "sleep", "version": "v1"}}})));
        assert!(!is_about(json!({"selector": {"matchLabels": {"app": "sleep", "version": "v2"}}})));
        assert!(!is_about(json!({"selector": {"matchLabels": {"tier": "sleep"}}})));
        let gateway = json!({"kind": "Gateway", "name": "waypoint"});
        assert!(!is_about(json!({"targetRef": gateway})));
        assert!(!is_about(json!({"targetRefs": [gateway]})));
        assert!(!is_about(json!({"targetRef": gateway, "selector": {"matchLabels": {"app": "sleep"}}})));
    }

    #[tokio::test]
    async fn policies_are_those_of_the_pods_namespace_and_of_the_whole_mesh() {
        let at = |namespace: &str| {
            format!("/apis/security.istio.io/v1/namespaces/{namespace}/authorizationpolicies")
        };
        let policy = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
        let others = json!({"selector": {"matchLabels": {"app": "other"}}});
        let own = served::list(&[
            policy("first", json!({})),
            policy("others", others),
            json!({"metadata": {"name": "bare"}}),
        ]);
        let root = served::list(&[policy("root", json!({"action": "DENY"}))]);
        let read = async |answers: &[(&str, Value)], namespace: &str| {
            let policies = of_pod(&served::connection(answers), &pod(namespace)).await;
            policies.map(|policies| policies.into_iter().map(|policy| policy.name).collect::<Vec<_>>())
        };
        let (sample, mesh) = (at("sample"), at("istio-system"));
        let both = [(&*sample, own.clone()), (&*mesh, root)];
        let names = read(&both, "sample").await.expect("policies");
        assert_eq!(names, ["sample/first", "sample/bare", "istio-system/root"]);
        // Once where they are the same.
        assert_eq!(read(&both, "istio-system").await.expect("policies"), ["istio-system/root"]);
        // Without Istio nobody knows the kind.
        assert_eq!(read(&both[..1], "sample").await.expect("policies"), ["sample/first", "sample/bare"]);
        assert_eq!(read(&both[1..], "sample").await.expect("policies"), ["istio-system/root"]);
        let refused = [(&*sample, own), (&*mesh, json!(403))];
        let why = read(&refused, "sample").await.expect_err("it is refused").why;
        insta::assert_snapshot!(why, @"you may not list authorizationpolicies.security.istio.io in namespace istio-system");
        let broken = [(&*sample, served::list(&[policy("broken", json!({"rules": 1}))]))];
        let why = read(&broken, "sample").await.expect_err("it cannot be read").why;
        assert!(why.starts_with("AuthorizationPolicy sample/broken cannot be read: "), "{why}");
    }

    #[test]
    fn names_are_compared_as_istio_does() {
        let cases = [
            ("*", "a", true),
            ("*", "", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
            ("foo.com/*", "foo.com/ns/a", true),
            ("foo.com/*", "foo.com.evil/ns/a", false),
            ("foo.com/*", "x/foo.com/ns", false),
            ("*/sa/sleep", "foo.com/ns/a/sa/sleep", true),
            ("*/sa/sleep", "foo.com/ns/a/sa/sleep2", false),
        ];
        for (pattern, text, fit) in cases {
            assert_eq!(fits(pattern, text), fit, "{pattern} {text}");
        }
    }

    #[test]
    fn a_source_has_to_fit_in_all_that_it_says() {
        let caller = "spiffe://foo.com/ns/sleep/sa/sleep".parse().expect("an ID");
        let fit =
            |source: Value| serde_json::from_value::<Source>(source).expect("a source").matches(&caller);
        let (own, other) = (["foo.com/ns/sleep/sa/sleep"], ["bar.com/*"]);
        assert_eq!(fit(json!({})), Match::Always);
        assert_eq!(fit(json!({"principals": own, "namespaces": ["sleep"]})), Match::Always);
        assert_eq!(fit(json!({"principals": ["bar.com/*", "foo.com/*"]})), Match::Always);
        assert_eq!(fit(json!({"principals": own, "namespaces": ["other"]})), Match::No);
        assert_eq!(fit(json!({"principals": other, "namespaces": ["sleep"]})), Match::No);
        assert_eq!(fit(json!({"notPrincipals": own})), Match::No);
        assert_eq!(fit(json!({"notNamespaces": ["sleep"]})), Match::No);
        let nobody = json!({"notPrincipals": other, "notNamespaces": ["other"]});
        assert_eq!(fit(nobody), Match::Always);
        assert_eq!(fit(json!({"namespaces": ["sleep"], "ipBlocks": ["10.0.0.0/8"]})), Match::Sometimes);
        assert_eq!(fit(json!({"namespaces": ["other"], "ipBlocks": ["10.0.0.0/8"]})), Match::No);
        // Who has no namespace is in none.
        let server = "spiffe://foo.com/spire/server".parse().expect("an ID");
        let source: Source = serde_json::from_value(json!({"namespaces": ["*"]})).expect("a source");
        assert_eq!(source.matches(&server), Match::No);
    }

    #[test]
    fn a_rule_fits_when_one_of_its_sources_does_and_its_conditions_make_it_sometimes() {
        let caller = "spiffe://foo.com/ns/sleep/sa/sleep".parse().expect("an ID");
        let fit = |rule: Value| serde_json::from_value::<Rule>(rule).expect("a rule").matches(&caller);
        let source = |namespace: &str| json!({"source": {"namespaces": [namespace]}});
        let (own, other) = (source("sleep"), source("other"));
        assert_eq!(fit(json!({})), Match::Always);
        assert_eq!(fit(json!({"from": [], "to": [], "when": []})), Match::Always);
        assert_eq!(fit(json!({"from": [other, own]})), Match::Always);
        assert_eq!(fit(json!({"from": [other]})), Match::No);
        assert_eq!(fit(json!({"from": [own], "to": [{}]})), Match::Sometimes);
        assert_eq!(fit(json!({"from": [own], "when": [{}]})), Match::Sometimes);
        assert_eq!(fit(json!({"from": [other], "to": [{}], "when": [{}]})), Match::No);
    }

    #[test]
    fn of_several_policies_the_strictest_decides() {
        let namespaces = |namespace: &str| from(&json!({"namespaces": [namespace]}));
        let path = json!({"rules": [{"to": [{"operation": {"paths": ["/hello"]}}]}]});
        let own = json!({"rules": namespaces("sleep")});
        let deny = |rules: &Value| json!({"action": "DENY", "rules": rules});
        // One that sometimes denies leaves open what another allows, and one that allows nothing of it is still no.
        let sometimes = deny(&path["rules"]);
        let outcome = decided(&[("own", own.clone()), ("sometimes", sometimes.clone())]);
        assert_eq!(outcome, Outcome::Depends("sample/sometimes".to_owned()));
        let others = json!({"rules": namespaces("other")});
        let outcome = decided(&[("sometimes", sometimes.clone()), ("others", others)]);
        assert_eq!(outcome, Outcome::NotAllowed("sample/others".to_owned()));
        let outcome = decided(&[("sometimes", sometimes), ("never", deny(&namespaces("sleep")))]);
        assert_eq!(outcome, Outcome::Denied("sample/never".to_owned()));
        // What always allows is better than what sometimes does, wherever it stands.
        for policies in [[("path", path.clone()), ("own", own.clone())], [("own", own), ("path", path)]] {
            assert_eq!(decided(&policies), Outcome::Allowed("sample/own".to_owned()));
        }
        let audit = json!({"action": "AUDIT", "rules": [{}]});
        assert_eq!(decided(&[("audit", audit)]), Outcome::Nothing);
    }

    fn from(source: &serde_json::Value) -> serde_json::Value {
        json!([{"from": [{"source": source}]}])
    }

    #[test]
    fn without_a_policy_everybody_may_and_with_one_that_allows_only_its_own() {
        assert_eq!(decided(&[]), Outcome::Nothing);
        let others = json!({"rules": from(&json!({"principals": ["foo.com/ns/other/sa/*"]}))});
        assert_eq!(decided(&[("others", others.clone())]), Outcome::NotAllowed("sample/others".to_owned()));
        let own = json!({"rules": from(&json!({"principals": ["foo.com/ns/sleep/sa/*"]}))});
        let both = decided(&[("others", others), ("own", own)]);
        assert_eq!(both, Outcome::Allowed("sample/own".to_owned()));
        assert_eq!(decided(&[("nothing", json!({}))]), Outcome::NotAllowed("sample/nothing".to_owned()));
        let all = json!({"rules": [{}]});
        assert_eq!(decided(&[("all", all)]), Outcome::Allowed("sample/all".to_owned()));
    }

    #[test]
    fn what_denies_comes_first() {
        let all = json!({"rules": [{}]});
        let deny = json!({"action": "DENY", "rules": from(&json!({"namespaces": ["sleep"]}))});
        assert_eq!(
            decided(&[("all", all.clone()), ("deny", deny)]),
            Outcome::Denied("sample/deny".to_owned())
        );
        let deny = json!({"action": "DENY", "rules": from(&json!({"notPrincipals": ["*/sa/sleep"]}))});
        assert_eq!(decided(&[("all", all), ("deny", deny)]), Outcome::Allowed("sample/all".to_owned()));
    }

    #[test]
    fn a_policy_that_looks_at_the_request_decides_nothing_beforehand() {
        let path = json!({"rules": [{"to": [{"operation": {"paths": ["/hello"]}}]}]});
        assert_eq!(decided(&[("path", path)]), Outcome::Depends("sample/path".to_owned()));
        let address = json!({"rules": from(&json!({"ipBlocks": ["10.0.0.0/8"]}))});
        assert_eq!(decided(&[("address", address)]), Outcome::Depends("sample/address".to_owned()));
        let custom = json!({"action": "CUSTOM", "rules": [{}]});
        assert_eq!(decided(&[("custom", custom)]), Outcome::Depends("sample/custom".to_owned()));
    }

    #[test]
    fn a_caller_of_another_trust_domain_is_another_one() {
        let own = json!({"rules": from(&json!({"principals": ["bar.com/ns/sleep/sa/sleep"]}))});
        assert_eq!(decided(&[("own", own)]), Outcome::NotAllowed("sample/own".to_owned()));
    }
}
