//! From a failure to its cause: what the client was told, held against what the client's sidecar has.

use std::collections::{BTreeMap, BTreeSet};

use super::failure::FailureKind;
use crate::check::CheckId;
use crate::hint::{Advice, Command, Plugin};

const ISTIOD_SYNCED: CheckId = CheckId("istiod-synced");
const WAY_OPEN: CheckId = CheckId("way-open");
const ENDPOINT_IDENTITIES: CheckId = CheckId("endpoint-identities");
const PROXY_EXPECTS: CheckId = CheckId("proxy-expects");
const PROXY_BUNDLES: CheckId = CheckId("proxy-bundles");
const PROXY_ADMITS: CheckId = CheckId("proxy-admits");
const MUTUAL_TLS: CheckId = CheckId("mutual-tls");
const BUNDLE_STORED: CheckId = CheckId("bundle-stored");
const PROXY_IDENTITY: CheckId = CheckId("proxy-identity");

/// The command that finds out more, whatever it is.
fn verify() -> Command {
    Plugin::MeshInstall.command(["verify"])
}

/// What was read after a failure. Whatever could not be read is absent, and nothing follows from that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Why connections to the service failed lately, in the words of the client's proxy (its access log).
    pub reasons: BTreeSet<String>,
    /// How many hosts the client's proxy knows for the service, by the cluster that they are in or lead to.
    pub hosts: Option<BTreeMap<String, usize>>,
    /// Connections that failed during the run, by cluster.
    pub broken: BTreeMap<String, u64>,
    /// Clusters with pods of the service that are ready, and their trust domains.
    pub ready: BTreeMap<String, String>,
    /// Trust domains of the mesh that the client's proxy has no bundle of; `None` where that could not be read.
    pub without_bundle: Option<BTreeSet<String>>,
    /// Trust domains of clusters with ready pods whose identity the client's proxy does not accept from the service.
    pub not_expected: Option<BTreeSet<String>>,
    /// Trust domains whose clients the pods of the service let in, by cluster.
    pub not_admitted: BTreeSet<String>,
    /// Clusters whose pods of the service take no mutual TLS.
    pub plaintext_only: BTreeSet<String>,
    /// Whether the client's proxy shows no certificate to the service's hosts.
    pub without_certificate: bool,
    /// The workload whose pods were taken away on purpose while requests were sent.
    pub taken_away: Option<String>,
    /// The client's own trust domain.
    pub own: String,
    /// The client's context of the kubeconfig.
    pub context: String,
}

/// Why something failed, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The cause, in words; what is likely where it is not certain.
    pub cause: String,
    /// The check that would find it, where there is one.
    pub check: Option<CheckId>,
    /// The next step: a sentence, or a command that can be pasted.
    pub next: String,
}

impl Explanation {
    fn of(check: CheckId, cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), check: Some(check), next: verify().into() }
    }

    fn other(cause: impl Into<String>, next: impl Into<String>) -> Self {
        Self { cause: cause.into(), check: None, next: next.into() }
    }
}

impl Evidence {
    /// Writes a command for the client's cluster.
    fn kubectl<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Command {
        let command = Command::kubectl(words);
        // A client that is in no cluster has no context.
        if self.context.is_empty() { command } else { command.at(&self.context) }
    }

    /// Writes the command that looks for a service of this name.
    fn services(&self, host: &str) -> Command {
        let selector = format!("metadata.name={}", service(host));
        self.kubectl(["get", "services", "--all-namespaces", "--field-selector", &selector])
    }

    /// The client's `DestinationRule`, where that is why nothing arrives.
    fn no_certificate(&self) -> Option<Explanation> {
        let cause = "the client's sidecar sends without mutual TLS, which a DestinationRule of this service can turn off: pods of the mesh take \
                     nothing without it, and gateways let nothing through";
        self.without_certificate.then(|| Explanation {
            check: Some(MUTUAL_TLS),
            cause: cause.to_owned(),
            next: self.kubectl(["get", "destinationrules.networking.istio.io", "--all-namespaces"]).into(),
        })
    }
}

/// Returns the name of the service of a host.
fn service(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}

/// Explains failures of one kind. `sample` is what one of them was told; `host` the host that was asked.
#[must_use]
pub fn explain(kind: FailureKind, sample: &str, host: &str, evidence: &Evidence) -> Explanation {
    match kind {
        FailureKind::ConnectFailed | FailureKind::Reset => connection(kind, sample, evidence),
        FailureKind::NoEndpoints => no_endpoints(host, evidence),
        FailureKind::Denied => Explanation::other(
            format!(
                "an AuthorizationPolicy does not let the client in; principals of other clusters begin with their own trust domain, and the \
                 client's is {}",
                named(&evidence.own)
            ),
            evidence.kubectl(["get", "authorizationpolicies.security.istio.io", "--all-namespaces"]),
        ),
        FailureKind::NoRoute => Explanation::other(
            format!(
                "the client's sidecar knows no service {host} at this port: it has to exist in the client's own cluster, too"
            ),
            evidence.services(host),
        ),
        FailureKind::NoAddress => Explanation::other(
            format!(
                "the name {host} has no address in the client's cluster: a Service of that name has to be there, even without pods"
            ),
            evidence.services(host),
        ),
        FailureKind::Refused => {
            Explanation::other("nobody listens at this address and port", "look at host and port of the URL")
        }
        FailureKind::TimedOut => Explanation::other(
            "no whole answer came in time: the server hangs or drips, or packets get lost on the way",
            Advice::from("give it more time (--request-max-time), or: ").then(verify()),
        ),
        FailureKind::UpstreamTimeout => Explanation::other(
            "Envoy got no answer within the timeout of its route",
            "look at `timeout` in the VirtualService of this service",
        ),
        FailureKind::Endless => {
            Explanation::other("the body did not end; it was cut off at 4 MiB", "ask for something smaller")
        }
        FailureKind::Overflow => Explanation::other(
            "a circuit breaker let no more requests through",
            "look at `connectionPool` in the DestinationRule of this service, or send more slowly (--rate)",
        ),
        FailureKind::NoAnswer => Explanation::other(
            "the connection ended before there was an answer; behind a gateway or without a sidecar that is how mutual TLS refuses plain \
             requests",
            verify(),
        ),
        FailureKind::Tls => Explanation::other(
            "TLS between curl and the server failed; within the mesh use http, the sidecars make TLS of it",
            "ask for http:// instead of https://",
        ),
        FailureKind::Status(404) => Explanation::other(
            "there is no such path, or no route for this host",
            "look at the path of the URL",
        ),
        FailureKind::Status(status) => Explanation::other(
            format!("the application, or a proxy before it, answered with status {status}"),
            "look at its log",
        ),
        FailureKind::Grpc(code) => Explanation::other(
            format!("the application, or a proxy before it, answered with grpc-status {code}"),
            "look at its log",
        ),
        FailureKind::NoGrpc => Explanation::other(
            "the answer is none of gRPC: it has no grpc-status, neither in a header nor in a trailer",
            "look at host, port and path of the URL: the path of gRPC is /PACKAGE.SERVICE/METHOD",
        ),
        FailureKind::Curl(exit) => Explanation::other(
            format!("curl ended with exit code {exit}"),
            "look for this code in `man curl`",
        ),
    }
}

/// Explains connections that did not come about, or ended at once. The proxy's own words come first, then what it has.
fn connection(kind: FailureKind, sample: &str, evidence: &Evidence) -> Explanation {
    // Envoy's access log writes `_` for spaces.
    let said = |text: &str| {
        let says = |words: &str| words.replace('_', " ").contains(text);
        says(sample) || evidence.reasons.iter().any(|reason| says(reason))
    };
    if said("no trust bundle store") {
        let domains = evidence.without_bundle.as_ref().map(listed).filter(|text| !text.is_empty());
        let of = domains.unwrap_or_else(|| "the server's trust domain".to_owned());
        return Explanation::of(
            PROXY_BUNDLES,
            format!("the client's sidecar has no trust bundle of {of}, so it cannot verify the server"),
        );
    }
    if said("unable to get local issuer certificate") || said("certificate signed by unknown authority") {
        return Explanation::of(
            BUNDLE_STORED,
            "the trust bundle that the client's sidecar has is an old one: the server's certificate is of an authority that is not in it",
        );
    }
    if said("certificate has expired") || said("certificate is not yet valid") {
        return Explanation::of(
            PROXY_IDENTITY,
            "a certificate has expired, or is not valid yet: look at the clocks, too",
        );
    }
    if said("SAN match") {
        return match &evidence.not_expected {
            Some(domains) if !domains.is_empty() => Explanation::of(
                ENDPOINT_IDENTITIES,
                format!(
                    "the client's sidecar expects no identity of {} from this service: its istiod takes those pods for others' than they are",
                    listed(domains)
                ),
            ),
            _ => Explanation::of(
                PROXY_EXPECTS,
                "the server's certificate has another SPIFFE ID than the client's sidecar expects from this service",
            ),
        };
    }
    if said("Connection refused") {
        return Explanation::of(WAY_OPEN, format!("{} refuses connections", gateways(evidence)));
    }
    if said("Connection reset by peer") || !evidence.plaintext_only.is_empty() {
        return Explanation::of(
            MUTUAL_TLS,
            match listed(&evidence.plaintext_only) {
                clusters if clusters.is_empty() => {
                    "the server ended the TLS handshake: its PeerAuthentication may take no mutual TLS"
                        .to_owned()
                }
                clusters => {
                    format!("the pods in {clusters} take no mutual TLS (PeerAuthentication of mode DISABLE)")
                }
            },
        );
    }
    // What the proxy has, where it has said nothing.
    if let Some(explanation) = evidence.no_certificate() {
        return explanation;
    }
    if let Some(domains) = evidence.without_bundle.as_ref().filter(|domains| !domains.is_empty()) {
        return Explanation::of(
            PROXY_BUNDLES,
            format!("the client's sidecar has no trust bundle of {}", listed(domains)),
        );
    }
    if let Some(domains) = evidence.not_expected.as_ref().filter(|domains| !domains.is_empty()) {
        return Explanation::of(
            ENDPOINT_IDENTITIES,
            format!("the client's sidecar expects no identity of {} from this service", listed(domains)),
        );
    }
    if let Some(workload) = evidence.taken_away.as_ref().filter(|_| evidence.not_admitted.is_empty()) {
        return Explanation::other(
            format!(
                "the pods of {workload} ended while they were asked, or were chosen before the client's sidecar knew that they were gone"
            ),
            "let pods end more slowly (a preStop hook), or let the VirtualService of this service retry",
        );
    }
    if !evidence.not_admitted.is_empty() || kind == FailureKind::Reset {
        let cause = match listed(&evidence.not_admitted) {
            clusters if clusters.is_empty() => {
                format!(
                    "the server's sidecar ended the connection; that is how it refuses a client whose trust domain it does not know ({})",
                    named(&evidence.own)
                )
            }
            clusters => {
                format!("the sidecars in {clusters} let nobody of trust domain {} in", named(&evidence.own))
            }
        };
        return Explanation::of(PROXY_ADMITS, cause);
    }
    let mut cause = format!("the client's sidecar gets no connection through {}", gateways(evidence));
    cause.push_str("; its access log would say why (meshConfig.accessLogFile: /dev/stdout)");
    Explanation::of(WAY_OPEN, cause)
}

fn no_endpoints(host: &str, evidence: &Evidence) -> Explanation {
    let known = |cluster: &&String| evidence.hosts.as_ref().is_some_and(|hosts| hosts.contains_key(*cluster));
    let missing: BTreeSet<String> =
        evidence.ready.keys().filter(|cluster| !known(cluster)).cloned().collect();
    if evidence.ready.is_empty() {
        return Explanation::other(
            format!("no pod of {host} is ready in any cluster"),
            evidence.kubectl([
                "get",
                "endpointslices",
                "--all-namespaces",
                "-l",
                &format!("kubernetes.io/service-name={}", service(host)),
            ]),
        );
    }
    if let Some(explanation) = evidence.no_certificate() {
        return explanation;
    }
    if evidence.hosts.is_none() {
        let cause = format!(
            "the client's sidecar knows no endpoint that works, and pods are ready in {}",
            listed(&missing)
        );
        return Explanation::of(ISTIOD_SYNCED, cause);
    }
    if missing.is_empty() {
        return Explanation::other(
            "the client's sidecar knows endpoints, and has ejected all of them for now (outlier detection)",
            "wait for `baseEjectionTime`, or look at the DestinationRule of this service",
        );
    }
    Explanation::of(
        ISTIOD_SYNCED,
        format!(
            "pods are ready in {}, and the client's sidecar knows none of them: its istiod does not read that cluster (remote secret), or does \
             not know the gateway of its network",
            listed(&missing)
        ),
    )
}

fn gateways(evidence: &Evidence) -> String {
    let clusters: BTreeSet<String> = evidence.broken.keys().cloned().collect();
    match listed(&clusters) {
        clusters if clusters.is_empty() => "the way to the server".to_owned(),
        clusters => format!("the way to {clusters}"),
    }
}

fn listed(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(" and ")
}

fn named(domain: &str) -> &str {
    if domain.is_empty() { "unknown" } else { domain }
}

/// Takes the reason of a failure out of a line of Envoy's access log in Istio's default format: the text that begins with `TLS_error`, or the
/// details of the response. `None` where the line is no failure of this service.
#[must_use]
pub fn reason_of_log_line(line: &str, host: &str) -> Option<String> {
    let is_of_host = line.contains(&format!("|{host}")) || line.contains(&format!("\"{host}"));
    if !is_of_host
        || !(line.contains(" UF") || line.contains("URX") || line.contains(" UC ") || line.contains(" UH "))
    {
        return None;
    }
    let quoted = line.split('"').find(|part| {
        ["TLS_error", "CERTIFICATE", "delayed_connect_error", "connection_error"]
            .iter()
            .any(|word| part.contains(word))
    });
    let words = quoted.map(str::to_owned).or_else(|| {
        let start = line.find("upstream_reset_before_response_started{")?;
        line[start..].split_whitespace().next().map(str::to_owned)
    })?;
    Some(crate::report::one_line(&words.chars().take(300).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{federation, multicluster};

    const U: &str = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure";

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn evidence() -> Evidence {
        Evidence {
            ready: [("bar".to_owned(), "bar.com".to_owned())].into(),
            hosts: Some([("bar".to_owned(), 1)].into()),
            broken: [("bar".to_owned(), 14)].into(),
            without_bundle: Some(BTreeSet::new()),
            not_expected: Some(BTreeSet::new()),
            own: "foo.com".to_owned(),
            ..Evidence::default()
        }
    }

    fn logged(reason: &str) -> Evidence {
        Evidence { reasons: set(&[reason]), ..evidence() }
    }

    fn explained(kind: FailureKind, evidence: &Evidence) -> String {
        let found = explain(kind, U, "helloworld.helloworld", evidence);
        format!("{}: {} -> {}", found.check.map_or("-", |check| check.0), found.cause, found.next)
    }

    // The words are those that were seen of Envoy when each was made to fail.
    #[test]
    fn what_the_proxy_logs_names_the_cause() {
        let connect = |reason: &str| explained(FailureKind::ConnectFailed, &logged(reason));
        insta::assert_snapshot!(connect("CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_no_trust_bundle_store"), @"proxy-bundles: the client's sidecar has no trust bundle of the server's trust domain, so it cannot verify the server -> kubectl mesh-install verify");
        insta::assert_snapshot!(connect("CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_SAN_match"), @"proxy-expects: the server's certificate has another SPIFFE ID than the client's sidecar expects from this service -> kubectl mesh-install verify");
        insta::assert_snapshot!(connect("X509_verify_cert:_certificate_verification_error_at_depth_0:_unable_to_get_local_issuer_certificate"), @"bundle-stored: the trust bundle that the client's sidecar has is an old one: the server's certificate is of an authority that is not in it -> kubectl mesh-install verify");
        insta::assert_snapshot!(connect("delayed_connect_error:_Connection_refused"), @"way-open: the way to bar refuses connections -> kubectl mesh-install verify");
        insta::assert_snapshot!(connect("TLS_error:|33554536:system_library:OPENSSL_internal:Connection_reset_by_peer:TLS_error_end"), @"mutual-tls: the server ended the TLS handshake: its PeerAuthentication may take no mutual TLS -> kubectl mesh-install verify");
    }

    #[test]
    fn without_a_log_the_cause_is_found_in_what_the_proxy_has() {
        let connect = |evidence: &Evidence| explained(FailureKind::ConnectFailed, evidence);
        let without = Evidence { without_bundle: Some(set(&["bar.com"])), ..evidence() };
        insta::assert_snapshot!(connect(&without), @"proxy-bundles: the client's sidecar has no trust bundle of bar.com -> kubectl mesh-install verify");
        let unexpected = Evidence { not_expected: Some(set(&["bar.com"])), ..evidence() };
        insta::assert_snapshot!(connect(&unexpected), @"endpoint-identities: the client's sidecar expects no identity of bar.com from this service -> kubectl mesh-install verify");
        let plain = Evidence { plaintext_only: set(&["bar"]), ..evidence() };
        insta::assert_snapshot!(connect(&plain), @"mutual-tls: the pods in bar take no mutual TLS (PeerAuthentication of mode DISABLE) -> kubectl mesh-install verify");
        let refused = Evidence { not_admitted: set(&["bar"]), ..evidence() };
        insta::assert_snapshot!(explained(FailureKind::Reset, &refused), @"proxy-admits: the sidecars in bar let nobody of trust domain foo.com in -> kubectl mesh-install verify");
        insta::assert_snapshot!(connect(&evidence()), @"way-open: the client's sidecar gets no connection through the way to bar; its access log would say why (meshConfig.accessLogFile: /dev/stdout) -> kubectl mesh-install verify");
    }

    #[test]
    fn endpoints_that_are_missing_are_told_from_pods_that_are() {
        let none = |evidence: &Evidence| explained(FailureKind::NoEndpoints, evidence);
        let unread = Evidence { hosts: Some(BTreeMap::new()), ..evidence() };
        insta::assert_snapshot!(none(&unread), @"istiod-synced: pods are ready in bar, and the client's sidecar knows none of them: its istiod does not read that cluster (remote secret), or does not know the gateway of its network -> kubectl mesh-install verify");
        insta::assert_snapshot!(none(&Evidence::default()), @"-: no pod of helloworld.helloworld is ready in any cluster -> kubectl --context CONTEXT get endpointslices --all-namespaces -l kubernetes.io/service-name=helloworld");
        insta::assert_snapshot!(none(&evidence()), @"-: the client's sidecar knows endpoints, and has ejected all of them for now (outlier detection) -> wait for `baseEjectionTime`, or look at the DestinationRule of this service");
    }

    #[test]
    fn pods_that_were_taken_away_are_the_cause_where_nothing_else_is() {
        let taken = |evidence| Evidence { taken_away: Some("foo/a/b".to_owned()), ..evidence };
        let lost = explained(FailureKind::ConnectFailed, &taken(evidence()));
        insta::assert_snapshot!(lost, @"-: the pods of foo/a/b ended while they were asked, or were chosen before the client's sidecar knew that they were gone -> let pods end more slowly (a preStop hook), or let the VirtualService of this service retry");
        assert_eq!(explained(FailureKind::Reset, &taken(evidence())), lost);
        let refused = Evidence { not_admitted: set(&["bar"]), ..evidence() };
        assert_eq!(
            explained(FailureKind::Reset, &taken(refused.clone())),
            explained(FailureKind::Reset, &refused)
        );
    }

    // With a DestinationRule of TLS mode DISABLE, remote endpoints go away and pods nearby end the connection.
    #[test]
    fn a_client_without_mutual_tls_is_told_whatever_the_failure_looks_like() {
        let plain =
            Evidence { without_certificate: true, context: "foo-eks".to_owned(), hosts: None, ..evidence() };
        insta::assert_snapshot!(explained(FailureKind::NoEndpoints, &plain), @"mutual-tls: the client's sidecar sends without mutual TLS, which a DestinationRule of this service can turn off: pods of the mesh take nothing without it, and gateways let nothing through -> kubectl --context foo-eks get destinationrules.networking.istio.io --all-namespaces");
        assert_eq!(explained(FailureKind::Reset, &plain), explained(FailureKind::NoEndpoints, &plain));
    }

    #[test]
    fn reasons_are_read_from_istios_access_log() {
        let line = r#"[2026-11-27T20:00:00.000Z] "GET /hello HTTP/1.1" 503 URX,UF upstream_reset_before_response_started{remote_connection_failure|TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_SAN_match:TLS_error_end} - "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_SAN_match:TLS_error_end" 0 127 5 - "-" "curl/8" "id" "helloworld.helloworld:5000" "10.3.0.129:15443" outbound|5000||helloworld.helloworld.svc.cluster.local - 10.1.0.1:5000 10.12.0.5:1 - default"#;
        let reason = reason_of_log_line(line, "helloworld.helloworld.svc.cluster.local").unwrap();
        assert!(reason.contains("SAN_match"), "{reason}");
        assert_eq!(reason_of_log_line(line, "other.other.svc.cluster.local"), None);
        assert_eq!(
            reason_of_log_line(&line.replace("URX,UF", "-"), "helloworld.helloworld.svc.cluster.local"),
            None
        );
        assert_eq!(reason_of_log_line("", ""), None);
    }

    #[test]
    fn every_check_that_is_named_is_in_a_catalogue() {
        let spire = federation::checks::CATALOGUE.iter().map(|check| check.id);
        let known: Vec<CheckId> =
            spire.chain(multicluster::checks::CATALOGUE.iter().map(|check| check.id)).collect();
        for id in [
            ISTIOD_SYNCED,
            WAY_OPEN,
            ENDPOINT_IDENTITIES,
            PROXY_EXPECTS,
            PROXY_BUNDLES,
            PROXY_ADMITS,
            MUTUAL_TLS,
            BUNDLE_STORED,
            PROXY_IDENTITY,
        ] {
            assert!(known.contains(&id), "{id}");
        }
    }

    #[test]
    fn every_kind_of_failure_has_its_cause_and_what_is_next() {
        use FailureKind::{
            Curl, Denied, Endless, NoAddress, NoAnswer, NoRoute, Overflow, Refused, Status, TimedOut, Tls,
            UpstreamTimeout,
        };
        let with = Evidence { context: "foo-eks".to_owned(), ..evidence() };
        let kinds = [
            Denied,
            NoRoute,
            NoAddress,
            Refused,
            TimedOut,
            UpstreamTimeout,
            Endless,
            Overflow,
            NoAnswer,
            Tls,
            Status(404),
            Status(500),
            Curl(99),
        ];
        let told = kinds.map(|kind| format!("{kind} {}", explained(kind, &with)));
        insta::assert_snapshot!(told.join("\n"));
        assert!(explained(Denied, &Evidence::default()).contains("the client's is unknown"));
    }

    #[test]
    fn more_of_what_the_proxy_says_names_the_cause() {
        let connect = |reason: &str, change: fn(&mut Evidence)| {
            let mut evidence = logged(reason);
            change(&mut evidence);
            explained(FailureKind::ConnectFailed, &evidence)
        };
        let domains = |evidence: &mut Evidence| {
            evidence.without_bundle = Some(set(&["bar.com", "baz.com"]));
            evidence.not_expected = Some(set(&["bar.com", "baz.com"]));
            evidence.plaintext_only = set(&["bar", "baz"]);
            evidence.broken = [("bar".to_owned(), 1), ("baz".to_owned(), 1)].into();
        };
        let nothing = |evidence: &mut Evidence| {
            evidence.without_bundle = None;
            evidence.not_expected = None;
            evidence.broken.clear();
        };
        let reasons = [
            "no_trust_bundle_store",
            "certificate_signed_by_unknown_authority",
            "certificate has expired",
            "certificate_is_not_yet_valid",
            "SAN_match",
            "Connection_refused",
            "Connection_reset_by_peer",
        ];
        let told =
            reasons.map(|reason| format!("{}\n{}", connect(reason, domains), connect(reason, nothing)));
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_connection_that_ended_is_a_refusal_and_one_that_never_was_is_the_way() {
        let of = |kind, change: fn(&mut Evidence)| {
            let mut evidence = Evidence { broken: BTreeMap::new(), ..evidence() };
            change(&mut evidence);
            explained(kind, &evidence)
        };
        insta::assert_snapshot!(of(FailureKind::Reset, |_| ()), @"proxy-admits: the server's sidecar ended the connection; that is how it refuses a client whose trust domain it does not know (foo.com) -> kubectl mesh-install verify");
        insta::assert_snapshot!(of(FailureKind::ConnectFailed, |evidence| evidence.not_admitted = set(&["bar", "baz"])), @"proxy-admits: the sidecars in bar and baz let nobody of trust domain foo.com in -> kubectl mesh-install verify");
        insta::assert_snapshot!(of(FailureKind::ConnectFailed, |_| ()), @"way-open: the client's sidecar gets no connection through the way to the server; its access log would say why (meshConfig.accessLogFile: /dev/stdout) -> kubectl mesh-install verify");
        insta::assert_snapshot!(of(FailureKind::ConnectFailed, |evidence| evidence.without_certificate = true), @"mutual-tls: the client's sidecar sends without mutual TLS, which a DestinationRule of this service can turn off: pods of the mesh take nothing without it, and gateways let nothing through -> kubectl --context CONTEXT get destinationrules.networking.istio.io --all-namespaces");
        insta::assert_snapshot!(of(FailureKind::Reset, |evidence| evidence.plaintext_only = set(&["bar"])), @"mutual-tls: the pods in bar take no mutual TLS (PeerAuthentication of mode DISABLE) -> kubectl mesh-install verify");
        insta::assert_snapshot!(of(FailureKind::NoEndpoints, |evidence| evidence.hosts = None), @"istiod-synced: the client's sidecar knows no endpoint that works, and pods are ready in bar -> kubectl mesh-install verify");
        insta::assert_snapshot!(of(FailureKind::NoEndpoints, |evidence| {
            evidence.ready.extend([("baz".to_owned(), "baz.com".to_owned()), ("qux".to_owned(), "qux.com".to_owned())]);
        }), @"istiod-synced: pods are ready in baz and qux, and the client's sidecar knows none of them: its istiod does not read that cluster (remote secret), or does not know the gateway of its network -> kubectl mesh-install verify");
    }

    #[test]
    fn a_line_of_the_log_is_one_of_a_failure_of_this_service() {
        let line = |host: &str, flags: &str, words: &str| {
            format!("[t] \"GET / HTTP/1.1\" 503 {flags} {words} - \"{host}:5000\" x")
        };
        let reset = "upstream_reset_before_response_started{connection_termination} more";
        let of = |flags: &str, words: &str| reason_of_log_line(&line("a.b", flags, words), "a.b");
        for flags in ["UF", "URX", "UC ", "UH "] {
            assert_eq!(
                of(flags, reset).as_deref(),
                Some("upstream_reset_before_response_started{connection_termination}"),
                "{flags}"
            );
        }
        assert_eq!((of("-", reset), of("UAEX", reset)), (None, None));
        assert_eq!(of("UF", "nothing"), None);
        for word in ["TLS_error: x", "CERTIFICATE_VERIFY", "delayed_connect_error: 111", "a connection_error"]
        {
            assert_eq!(of("UF", &format!("\"{word}\" {reset}")).as_deref(), Some(word));
        }
        let long = of("UF", &format!("\"TLS_error{}\"", "x".repeat(400))).unwrap();
        assert_eq!(long.len(), 300);
        let by_cluster = "503 UF upstream_reset_before_response_started{x} outbound|5000||a.b.svc";
        assert!(
            reason_of_log_line(by_cluster, "a.b.svc").is_some()
                && reason_of_log_line(by_cluster, "b.svc").is_none()
        );
    }
}
