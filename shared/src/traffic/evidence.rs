//! What is read after requests failed: what the client's sidecar has and has said, and whom the servers' sidecars let in.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join_all, join3};

use super::attribution::Counted;
use super::client::Client;
use super::explain::{Evidence, reason_of_log_line};
use super::service::Behind;
use crate::envoy::{NameRule, OutboundRules, Proxy, Validation};
use crate::fleet::Member;
use crate::path::ServiceName;
use crate::trust::{SpiffeId, TrustDomain};

/// How many lines of the access log are read.
const LOG_LINES: i64 = 300;
/// How old they may be, in seconds.
const LOG_AGE: i64 = 600;

/// Reads what may explain failures. What cannot be read is left out.
pub(super) async fn gather(
    client: &Client<'_>,
    service: &ServiceName,
    behind: &Behind,
    members: &[Member],
    counted: Option<&Counted>,
) -> Evidence {
    let of_ready = || members.iter().filter(|member| behind.ready.contains_key(member.name()));
    let ready: BTreeMap<String, String> = of_ready()
        .map(|member| (member.name().to_owned(), member.cluster.trust_domain.to_string()))
        .collect();
    let mut evidence = Evidence {
        own: client.viewpoint().cluster.trust_domain.to_string(),
        hosts: counted.map(|counted| counted.hosts.clone()),
        broken: counted.map(|counted| counted.broken.clone()).unwrap_or_default(),
        ready,
        ..Evidence::default()
    };
    let Some(proxy) = client.proxy() else { return evidence };
    let host = service.host();
    let (secrets, outbound, reasons) =
        join3(proxy.secrets(), proxy.outbound_rules_to(&host), reasons(client, &host)).await;
    evidence.reasons = reasons;
    let domains = || of_ready().map(|member| &member.cluster.trust_domain);
    let mut own_id = None;
    if let Ok(secrets) = secrets {
        let validation = secrets.validation.as_ref().and_then(|received| received.value.as_ref());
        if let Some(Validation::Spiffe(bundles)) = validation {
            let without = domains().filter(|domain| !bundles.contains_key(*domain));
            evidence.without_bundle = Some(without.map(ToString::to_string).collect());
        }
        own_id = secrets
            .chain()
            .and_then(|chain| chain.leaf.uris.first())
            .and_then(|uri| uri.parse::<SpiffeId>().ok());
    }
    if let Ok(rules) = outbound {
        evidence.not_expected = Some(not_expected(&rules, domains()));
        evidence.without_certificate = shows_no_certificate(&rules);
    }
    let inbound = join_all(behind.sample.iter().filter_map(|(cluster, pod)| {
        let member = members.iter().find(|member| member.name() == cluster)?;
        let proxy = Proxy::of_pod(member, &service.namespace, pod);
        Some(async move { (cluster, proxy.inbound_rules().await.ok().flatten()) })
    }));
    for (cluster, rules) in inbound.await {
        let Some(rules) = rules else { continue };
        if rules.takes_no_mutual_tls() {
            evidence.plaintext_only.insert(cluster.clone());
        } else if own_id.as_ref().is_some_and(|id| !rules.admits(id)) {
            evidence.not_admitted.insert(cluster.clone());
        }
    }
    evidence
}

/// Returns the trust domains of which no name is accepted from the service.
fn not_expected<'d>(
    rules: &OutboundRules,
    domains: impl Iterator<Item = &'d TrustDomain>,
) -> BTreeSet<String> {
    let names: Vec<&NameRule> = rules.clusters.values().flat_map(|rule| &rule.names).collect();
    // Without any name, every name is accepted; without any rule, nothing is known of the service.
    if names.is_empty() {
        return BTreeSet::new();
    }
    let expects = |domain: &TrustDomain| {
        let prefix = format!("spiffe://{domain}/");
        names.iter().any(|rule| match rule {
            NameRule::Exact(name) => name.starts_with(&prefix),
            NameRule::Prefix(start) => start.starts_with(&prefix) || prefix.starts_with(start.as_str()),
            NameRule::Other(_) => true,
        })
    };
    domains.filter(|domain| !expects(domain)).map(ToString::to_string).collect()
}

fn shows_no_certificate(rules: &OutboundRules) -> bool {
    !rules.clusters.is_empty() && rules.clusters.values().all(|rule| !rule.mutual)
}

/// Reads the reasons of late failures from the access log of the client's proxy, which need not have one.
async fn reasons(client: &Client<'_>, host: &str) -> BTreeSet<String> {
    let Some(proxy) = client.proxy() else { return BTreeSet::new() };
    let log = proxy.log(LOG_LINES, LOG_AGE).await.unwrap_or_default();
    log.lines().filter_map(|line| reason_of_log_line(line, host)).take(50).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::{InboundChain, InboundRules, OutboundRule, Protection};

    fn rules(names: &[NameRule]) -> OutboundRules {
        let rule = OutboundRule { names: names.iter().cloned().collect(), ..OutboundRule::default() };
        OutboundRules { clusters: [("outbound|5000||a".to_owned(), rule)].into() }
    }

    #[test]
    fn a_domain_is_expected_where_a_name_of_it_is() {
        let domains: Vec<TrustDomain> = ["foo.com", "bar.com"].map(|name| name.parse().unwrap()).into();
        let missing =
            |names: &[NameRule]| not_expected(&rules(names), domains.iter()).into_iter().collect::<Vec<_>>();
        let exact = |name: &str| NameRule::Exact(name.to_owned());
        assert_eq!(missing(&[exact("spiffe://foo.com/ns/a/sa/b")]), ["bar.com"]);
        assert_eq!(
            missing(&[exact("spiffe://foo.com/ns/a/sa/b"), NameRule::Prefix("spiffe://bar.com/".to_owned())]),
            [""; 0]
        );
        assert_eq!(missing(&[exact("spiffe://foo.com.evil/ns/a/sa/b")]), ["bar.com", "foo.com"]);
        assert_eq!(missing(&[]), [""; 0]);
    }

    #[test]
    fn a_certificate_for_one_port_of_a_service_is_one() {
        let of = |mutual: &[bool]| {
            let rule = |(port, mutual): (usize, &bool)| {
                (format!("outbound|{port}||a"), OutboundRule { mutual: *mutual, ..OutboundRule::default() })
            };
            shows_no_certificate(&OutboundRules { clusters: mutual.iter().enumerate().map(rule).collect() })
        };
        assert!(of(&[false, false]));
        assert!(!of(&[false, true]));
        assert!(!of(&[]));
    }

    #[test]
    fn a_listener_without_mutual_tls_takes_none() {
        let chain = |protection| InboundChain { name: String::new(), port: None, protection };
        let of = |protections: Vec<Protection>| {
            InboundRules { chains: protections.into_iter().map(chain).collect() }.takes_no_mutual_tls()
        };
        assert!(of(vec![Protection::Plaintext]));
        assert!(!of(vec![Protection::Plaintext, Protection::Mutual(BTreeSet::new())]));
        assert!(!of(vec![]));
    }

    #[test]
    fn a_prefix_admits_what_it_begins_and_what_is_not_understood_may_admit_all() {
        let domains: Vec<TrustDomain> =
            ["foo.com", "bar.com", "baz.com"].map(|name| name.parse().unwrap()).into();
        let missing =
            |names: &[NameRule]| not_expected(&rules(names), domains.iter()).into_iter().collect::<Vec<_>>();
        let prefix = |name: &str| NameRule::Prefix(name.to_owned());
        assert_eq!(missing(&[prefix("spiffe://")]), [""; 0]);
        assert_eq!(missing(&[prefix("spiffe://baz.com/ns/a")]), ["bar.com", "foo.com"]);
        assert_eq!(missing(&[NameRule::Other("regex".to_owned())]), [""; 0]);
        assert_eq!(missing(&[prefix("spiffe://ba")]), ["foo.com"]);
    }
}
