//! Whether two workloads accept each other, and what decides it.
//!
//! A connection of the mesh needs five things, each asked of the side that decides it: both proxies hold a bundle that the other's
//! chain leads to, the server lets the client's name in, the client expects the server's name, both speak mutual TLS, and no
//! `AuthorizationPolicy` forbids it. All is read from the proxies themselves, except for policies.

mod policy;

use std::collections::BTreeSet;

use futures::future::{join, join_all, join3};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::Serialize;

use self::policy::{Outcome, Policy, decide};
use crate::envoy::{InboundRules, NameRule, OutboundRules, Proxy, ProxySecrets};
use crate::fleet::{Connection, Need, Read, RequestError, Unread};
use crate::trust::{SpiffeId, svid};
use crate::workload::{ProxyState, WorkloadPod};

/// One of the two workloads, and what its proxy has.
#[derive(Clone, Debug)]
pub struct Party<'c> {
    connection: &'c Connection,
    pod: WorkloadPod,
    secrets: Read<ProxySecrets>,
    inbound: Read<Option<InboundRules>>,
    /// Host names of the services that select the pod.
    hosts: Read<Vec<String>>,
    policies: Read<Vec<Policy>>,
}

/// What has to be so for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// The server's proxy verifies the client's chain.
    ServerVerifiesClient,
    /// The client's proxy verifies the server's chain.
    ClientVerifiesServer,
    /// The server's proxy admits the client's SPIFFE ID.
    ServerAdmitsName,
    /// The client's proxy expects the server's SPIFFE ID behind the server's services.
    ClientExpectsName,
    /// Both speak mutual TLS with each other.
    MutualTls,
    /// No `AuthorizationPolicy` forbids it.
    Authorization,
}

impl Question {
    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServerVerifiesClient => "server-verifies-client",
            Self::ClientVerifiesServer => "client-verifies-server",
            Self::ServerAdmitsName => "server-admits-name",
            Self::ClientExpectsName => "client-expects-name",
            Self::MutualTls => "mutual-tls",
            Self::Authorization => "authorization",
        }
    }
}

/// What a question came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Acceptance {
    /// It is so.
    Yes,
    /// It is not.
    No,
    /// It is for some requests, and not for others.
    Depends,
    /// It could not be read.
    Unknown,
}

impl Acceptance {
    /// Returns the word that reports print.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Depends => "depends",
            Self::Unknown => "unknown",
        }
    }
}

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// What it came to.
    pub answer: Acceptance,
    /// What was read.
    pub reason: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// Whether one workload can call another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Direction {
    /// Who calls: cluster, namespace and pod.
    pub from: String,
    /// Who is called.
    pub to: String,
    /// Whether it can: the worst of the answers.
    pub accepted: Acceptance,
    /// What it was made of.
    pub answers: Vec<Answer>,
}

impl Party<'_> {
    /// Returns how it is called in reports.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.connection.name(), self.pod.namespace, self.pod.name)
    }

    fn id(&self) -> Option<SpiffeId> {
        self.secrets.as_ref().ok()?.chain()?.leaf.spiffe_id()?.ok()
    }
}

/// Reads what the proxy of a pod has that decides whom it accepts.
pub async fn party<'c>(connection: &'c Connection, pod: &WorkloadPod) -> Party<'c> {
    let proxy = Proxy::of_pod(connection, &pod.namespace, &pod.name);
    let runs = pod.proxy == ProxyState::Runs;
    let no_proxy = || {
        let why =
            if pod.proxy == ProxyState::Absent { "the pod has no proxy" } else { "its proxy does not run" };
        Unread::because(why)
    };
    let secrets = async {
        if !runs {
            return Err(no_proxy());
        }
        proxy.secrets().await.map_err(|error| Unread::error(&error))
    };
    let inbound = async {
        if !runs {
            return Err(no_proxy());
        }
        proxy.inbound_rules().await.map_err(|error| Unread::error(&error))
    };
    let others = join(hosts(connection, pod), policy::of_pod(connection, pod));
    let (secrets, inbound, (hosts, policies)) = join3(secrets, inbound, others).await;
    Party { connection, pod: pod.clone(), secrets, inbound, hosts, policies }
}

/// Names the services that select a pod.
async fn hosts(connection: &Connection, pod: &WorkloadPod) -> Read<Vec<String>> {
    let need = Need::new("list", "", "services", Some(&pod.namespace));
    let services: Api<Service> = Api::namespaced(connection.client().clone(), &pod.namespace);
    let listed = services
        .list(&ListParams::default())
        .await
        .map_err(|error| Unread::request(&need, &RequestError::from(error)))?;
    let selects = |service: &&Service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| {
            !selector.is_empty() && selector.iter().all(|(name, value)| pod.labels.get(name) == Some(value))
        })
    };
    let host = |service: &Service| format!("{}.{}.svc.cluster.local", service.name_any(), pod.namespace);
    Ok(listed.items.iter().filter(selects).map(host).collect())
}

/// Asks in both directions, at a time.
pub async fn accepts(one: &Party<'_>, other: &Party<'_>, at: Timestamp) -> [Direction; 2] {
    let (there, back) = join(direction(one, other, at), direction(other, one, at)).await;
    [there, back]
}

async fn direction(client: &Party<'_>, server: &Party<'_>, at: Timestamp) -> Direction {
    let outbound = outbound(client, server).await;
    let answers = vec![
        verifies(Question::ServerVerifiesClient, server, client, at),
        verifies(Question::ClientVerifiesServer, client, server, at),
        admits(client, server),
        expects(server, &outbound),
        mutual_tls(server, &outbound),
        authorization(client, server),
    ];
    let worst = |wanted| answers.iter().any(|answer| answer.answer == wanted);
    let accepted = [Acceptance::No, Acceptance::Unknown, Acceptance::Depends]
        .into_iter()
        .find(|answer| worst(*answer))
        .unwrap_or(Acceptance::Yes);
    Direction { from: client.name(), to: server.name(), accepted, answers }
}

/// Reads whom the client expects behind each of the server's services.
async fn outbound(client: &Party<'_>, server: &Party<'_>) -> Read<Vec<(String, OutboundRules)>> {
    let hosts = server.hosts.clone()?;
    client.secrets.as_ref().map_err(Clone::clone)?;
    let proxy = Proxy::of_pod(client.connection, &client.pod.namespace, &client.pod.name);
    let read = hosts.into_iter().map(|host| {
        let proxy = proxy.clone();
        async move {
            let rules = proxy.outbound_rules_to(&host).await.map_err(|error| Unread::error(&error))?;
            Ok::<_, Unread>((host, rules))
        }
    });
    join_all(read).await.into_iter().collect()
}

fn unknown(question: Question, unread: &Unread) -> Answer {
    let (reason, fix) = (unread.why.clone(), unread.hint.clone());
    Answer { question, answer: Acceptance::Unknown, reason, fix }
}

fn answer(question: Question, answer: Acceptance, reason: impl Into<String>) -> Answer {
    Answer { question, answer, reason: reason.into(), fix: None }
}

impl Answer {
    fn with_fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

/// Asks whether the verifier's bundle of the other's trust domain holds the authority that the other's chain leads to.
fn verifies(question: Question, verifier: &Party<'_>, presenter: &Party<'_>, at: Timestamp) -> Answer {
    let (own, others) = match (&verifier.secrets, &presenter.secrets) {
        (Ok(own), Ok(others)) => (own, others),
        (Err(unread), _) | (_, Err(unread)) => return unknown(question, unread),
    };
    let Some(chain) = others.chain() else {
        return answer(question, Acceptance::No, format!("{} has no certificate", presenter.name()))
            .with_fix(format!("kubectl trustchain {}", reference(presenter)));
    };
    let Some(id) = presenter.id() else {
        return answer(question, Acceptance::No, format!("{} presents no SPIFFE ID", presenter.name()))
            .with_fix(format!("kubectl trustchain {}", reference(presenter)));
    };
    let domain = id.trust_domain();
    let Some(bundle) = own.bundle(domain) else {
        return answer(
            question,
            Acceptance::No,
            format!("{} has no bundle of trust domain {domain}", verifier.name()),
        )
        .with_fix("kubectl spire-federate verify");
    };
    let verdict = svid::verify(chain, bundle, at);
    match verdict.broken.first() {
        None => {
            let authority = svid::authority_of(chain, bundle, at);
            let authority = authority.map(|(digest, _)| digest.short()).unwrap_or_default();
            answer(question, Acceptance::Yes, format!("authority {authority} of {domain} is in the bundle"))
        }
        Some(broken) => {
            answer(question, Acceptance::No, broken.to_string()).with_fix("kubectl spire-federate verify")
        }
    }
}

fn reference(party: &Party<'_>) -> String {
    format!("{}/{}/pod/{}", party.connection.name(), party.pod.namespace, party.pod.name)
}

fn admits(client: &Party<'_>, server: &Party<'_>) -> Answer {
    let question = Question::ServerAdmitsName;
    let rules = match &server.inbound {
        Ok(Some(rules)) => rules,
        Ok(None) => {
            return answer(
                question,
                Acceptance::Depends,
                "it is a gateway: what it lets in is its own configuration",
            );
        }
        Err(unread) => return unknown(question, unread),
    };
    let Some(id) = client.id() else {
        return answer(question, Acceptance::No, format!("{} presents no SPIFFE ID", client.name()));
    };
    let names = rules.names();
    let names = if names.is_empty() { "every name".to_owned() } else { listed(names) };
    if rules.admits(&id) {
        return answer(question, Acceptance::Yes, format!("it admits {names}"));
    }
    answer(question, Acceptance::No, format!("it admits {names}, and the client is {id}")).with_fix(
        "istiod has to know the client's trust domain: kubectl mesh-install verify names the setting",
    )
}

fn listed<'r>(names: impl IntoIterator<Item = &'r NameRule>) -> String {
    names.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn expects(server: &Party<'_>, outbound: &Read<Vec<(String, OutboundRules)>>) -> Answer {
    let question = Question::ClientExpectsName;
    let outbound = match outbound {
        Ok(outbound) => outbound,
        Err(unread) => return unknown(question, unread),
    };
    if outbound.is_empty() {
        return answer(question, Acceptance::Yes, "no service selects it, so that nobody expects a name");
    }
    let Some(id) = server.id() else {
        return answer(question, Acceptance::No, format!("{} presents no SPIFFE ID", server.name()));
    };
    let mut expected = BTreeSet::new();
    for (host, rules) in outbound {
        if rules.clusters.is_empty() {
            return answer(question, Acceptance::No, format!("the client's proxy does not know {host}"))
                .with_fix("kubectl mesh-install verify");
        }
        for rule in rules.clusters.values().filter(|rule| rule.mutual) {
            if !rule.names.is_empty() && !rule.names.iter().any(|name| name.admits(&id)) {
                let names = listed(&rule.names);
                return answer(
                    question,
                    Acceptance::No,
                    format!("behind {host} it expects {names}, and the server is {id}"),
                )
                .with_fix("istiod has read another trust domain for that cluster: kubectl mesh-install verify --fix");
            }
            expected.extend(rule.names.iter().cloned());
        }
    }
    let names = if expected.is_empty() { "every name".to_owned() } else { listed(&expected) };
    answer(question, Acceptance::Yes, format!("it expects {names}"))
}

fn mutual_tls(server: &Party<'_>, outbound: &Read<Vec<(String, OutboundRules)>>) -> Answer {
    let question = Question::MutualTls;
    let inbound = match (&server.inbound, outbound) {
        (Ok(Some(inbound)), Ok(_)) => inbound,
        (Ok(None), _) => {
            return answer(
                question,
                Acceptance::Depends,
                "it is a gateway: what it speaks is its own configuration",
            );
        }
        (Err(unread), _) | (_, Err(unread)) => return unknown(question, unread),
    };
    let rules = outbound.iter().flatten().flat_map(|(_, rules)| rules.clusters.iter());
    let plain: Vec<&str> =
        rules.filter(|(_, rule)| !rule.mutual).map(|(cluster, _)| cluster.as_str()).collect();
    let permissive = inbound.accepts_plaintext();
    match (plain.first(), permissive) {
        (Some(cluster), false) => answer(
            question,
            Acceptance::No,
            format!("the client shows no certificate for {cluster}, and the server takes nobody without one"),
        )
        .with_fix("a DestinationRule turns TLS off: kubectl get destinationrules -A"),
        (Some(cluster), true) => answer(
            question,
            Acceptance::Depends,
            format!("the client shows no certificate for {cluster}, and the server takes plaintext too"),
        ),
        (None, true) => answer(
            question,
            Acceptance::Yes,
            "the server takes plaintext too (PeerAuthentication PERMISSIVE)",
        ),
        (None, false) => {
            answer(question, Acceptance::Yes, "the server takes nobody without a certificate (STRICT)")
        }
    }
}

fn authorization(client: &Party<'_>, server: &Party<'_>) -> Answer {
    let question = Question::Authorization;
    let policies = match &server.policies {
        Ok(policies) => policies,
        Err(unread) => return unknown(question, unread),
    };
    let Some(id) = client.id() else {
        return answer(question, Acceptance::No, format!("{} presents no SPIFFE ID", client.name()));
    };
    match decide(policies, &id) {
        Outcome::Nothing => answer(question, Acceptance::Yes, "no AuthorizationPolicy is about it"),
        Outcome::Allowed(policy) => {
            answer(question, Acceptance::Yes, format!("AuthorizationPolicy {policy} allows it"))
        }
        Outcome::Depends(policy) => answer(
            question,
            Acceptance::Depends,
            format!("AuthorizationPolicy {policy} looks at more than who calls"),
        ),
        Outcome::Denied(policy) => {
            answer(question, Acceptance::No, format!("AuthorizationPolicy {policy} denies it"))
                .with_fix(format!("kubectl get authorizationpolicy -n {} -o yaml", namespace_of(&policy)))
        }
        Outcome::NotAllowed(policy) => answer(
            question,
            Acceptance::No,
            format!("AuthorizationPolicy {policy} allows others, and none allows {id}"),
        )
        .with_fix(format!("kubectl get authorizationpolicy -n {} -o yaml", namespace_of(&policy))),
    }
}

fn namespace_of(policy: &str) -> &str {
    policy.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::envoy::{parse_inbound, parse_outbound, parse_secrets};
    use crate::trustchain::judge::tests::at;
    use crate::workload::{Workload, WorkloadKind};

    const SECRETS: &[u8] = include_bytes!("../../../tests/fixtures/envoy/secrets.json");
    const NOTHING: &[u8] = include_bytes!("../../../tests/fixtures/envoy/nothing.json");
    const INBOUND: &[u8] = include_bytes!("../../../tests/fixtures/envoy/virtual-inbound.json");
    const OUTBOUND: &[u8] = include_bytes!("../../../tests/fixtures/envoy/outbound.json");

    /// A connection to nobody: what is read of it is given.
    fn connection() -> Connection {
        let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("nobody is asked"))
        });
        Connection::of("foo", kube::Client::new(nobody, "default"))
    }

    /// The sidecar of `sleep` in foo.com, as it was read.
    fn sleep(connection: &Connection) -> Party<'_> {
        let pod = WorkloadPod {
            namespace: "sample".to_owned(),
            name: "sleep-0".to_owned(),
            workload: Workload { kind: WorkloadKind::Deployment, name: "sleep".to_owned() },
            service_account: "sleep".to_owned(),
            labels: BTreeMap::new(),
            proxy: ProxyState::Runs,
            is_gateway: false,
            trouble: None,
        };
        Party {
            connection,
            pod,
            secrets: Ok(parse_secrets(SECRETS, NOTHING).expect("secrets")),
            inbound: Ok(parse_inbound(INBOUND).expect("an inbound listener")),
            hosts: Ok(Vec::new()),
            policies: Ok(Vec::new()),
        }
    }

    fn said(answer: &Answer) -> String {
        format!("{}: {}", answer.answer.as_str(), answer.reason)
    }

    #[tokio::test]
    async fn a_chain_is_verified_by_the_bundle_of_its_own_domain_only() {
        let connection = connection();
        let (one, mut other) = (sleep(&connection), sleep(&connection));
        let asked = |verifier: &Party<'_>| verifies(Question::ServerVerifiesClient, verifier, &one, at());
        insta::assert_snapshot!(said(&asked(&other)), @"yes: authority 88a44fb6dec3db95 of foo.com is in the bundle");
        // Only the bundle of another domain is left.
        let without = String::from_utf8_lossy(SECRETS).replace("\"foo.com\"", "\"baz.com\"");
        other.secrets = Ok(parse_secrets(without.as_bytes(), NOTHING).expect("secrets"));
        insta::assert_snapshot!(said(&asked(&other)), @"no: foo/sample/sleep-0 has no bundle of trust domain foo.com");
        other.secrets = Err(Unread::because("the pod has no proxy"));
        insta::assert_snapshot!(said(&asked(&other)), @"unknown: the pod has no proxy");
    }

    #[tokio::test]
    async fn names_are_admitted_and_expected_by_what_the_proxies_have() {
        let connection = connection();
        let (client, mut server) = (sleep(&connection), sleep(&connection));
        assert_eq!(admits(&client, &server).answer, Acceptance::Yes);
        let others = String::from_utf8_lossy(INBOUND).replace("spiffe://foo.com/", "spiffe://baz.com/");
        server.inbound = Ok(parse_inbound(others.as_bytes()).expect("an inbound listener"));
        let refused = admits(&client, &server);
        assert_eq!(refused.answer, Acceptance::No);
        assert!(
            refused.reason.contains("the client is spiffe://foo.com/ns/sample/sa/sleep"),
            "{}",
            refused.reason
        );

        // Behind helloworld, nobody expects sleep.
        let rules = parse_outbound(OUTBOUND).expect("clusters");
        let behind = |host: &str| {
            let mut rules = rules.clone();
            rules.clusters.retain(|cluster, _| cluster.ends_with(&format!("|{host}")));
            Ok(vec![(host.to_owned(), rules)])
        };
        let expected = expects(&server, &behind("helloworld.sample.svc.cluster.local"));
        assert_eq!(expected.answer, Acceptance::No, "{}", expected.reason);
        let unknown = expects(&server, &behind("nothing.sample.svc.cluster.local"));
        insta::assert_snapshot!(said(&unknown), @"no: the client's proxy does not know nothing.sample.svc.cluster.local");
        insta::assert_snapshot!(said(&expects(&server, &Ok(Vec::new()))), @"yes: no service selects it, so that nobody expects a name");
    }

    #[tokio::test]
    async fn the_worst_answer_is_that_of_the_whole() {
        let connection = connection();
        let (client, mut server) = (sleep(&connection), sleep(&connection));
        assert_eq!(direction(&client, &server, at()).await.accepted, Acceptance::Yes);
        server.policies = Err(Unread::because("you may not list authorizationpolicies"));
        assert_eq!(direction(&client, &server, at()).await.accepted, Acceptance::Unknown);
        server.inbound = Ok(None);
        server.policies = Ok(Vec::new());
        assert_eq!(direction(&client, &server, at()).await.accepted, Acceptance::Depends);
    }
}
