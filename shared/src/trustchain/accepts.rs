//! Whether two workloads accept each other, and what decides it.
//!
//! A connection of the mesh needs five things, each asked of the side that decides it: both proxies hold a bundle that the other's
//! chain leads to, the server lets the client's name in, the client expects the server's name, both speak mutual TLS, and no
//! `AuthorizationPolicy` forbids it. All is read from the proxies themselves, except for policies.

mod policy;

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join, join_all, join3};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::Serialize;

use self::policy::{Outcome, Policy, decide};
use crate::envoy::{InboundRules, NameRule, OutboundRules, Proxy, ProxySecrets};
use crate::fleet::{Connection, Need, Read, RequestError, Unread};
use crate::hint::{Advice, Command, Plugin};
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
    let secrets = async {
        runs(pod.proxy)?;
        proxy.secrets().await.map_err(|error| Unread::error(&error))
    };
    let inbound = async {
        runs(pod.proxy)?;
        proxy.inbound_rules().await.map_err(|error| Unread::error(&error))
    };
    let others = join(hosts(connection, pod), policy::of_pod(connection, pod));
    let (secrets, inbound, (hosts, policies)) = join3(secrets, inbound, others).await;
    Party { connection, pod: pod.clone(), secrets, inbound, hosts, policies }
}

/// Says why a proxy cannot be asked, where it cannot.
fn runs(proxy: ProxyState) -> Read<()> {
    match proxy {
        ProxyState::Runs => Ok(()),
        ProxyState::NotRunning => Err(Unread::because("its proxy does not run")),
        ProxyState::Absent => Err(Unread::because("the pod has no proxy")),
    }
}

/// Names the services that select a pod.
async fn hosts(connection: &Connection, pod: &WorkloadPod) -> Read<Vec<String>> {
    let need = Need::new("list", "", "services", Some(&pod.namespace));
    let services: Api<Service> = Api::namespaced(connection.client().clone(), &pod.namespace);
    let listed = services
        .list(&ListParams::default())
        .await
        .map_err(|error| Unread::request(&need, &RequestError::from(error)))?;
    let host = |service: &Service| format!("{}.{}.svc.cluster.local", service.name_any(), pod.namespace);
    Ok(listed.items.iter().filter(|service| selects(service, &pod.labels)).map(host).collect())
}

/// Tells whether a service selects a pod with these labels. One without a selector selects nobody.
fn selects(service: &Service, labels: &BTreeMap<String, String>) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
    })
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
        mutual_tls(client, server, &outbound),
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
    let (reason, fix) = (unread.why.clone(), unread.hint.clone().map(String::from));
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
            .with_fix(Plugin::Trustchain.command([reference(presenter)]));
    };
    let Some(id) = presenter.id() else {
        return answer(question, Acceptance::No, format!("{} presents no SPIFFE ID", presenter.name()))
            .with_fix(Plugin::Trustchain.command([reference(presenter)]));
    };
    let domain = id.trust_domain();
    let Some(bundle) = own.bundle(domain) else {
        return answer(
            question,
            Acceptance::No,
            format!("{} has no bundle of trust domain {domain}", verifier.name()),
        )
        .with_fix(Plugin::SpireFederate.command(["verify"]));
    };
    let broken = svid::verify(chain, bundle, at).broken.into_iter().next();
    match svid::accepts(chain, bundle, at) {
        Ok(()) => {
            let authority = svid::authority_of(chain, bundle, at);
            let authority = authority.map(|(digest, _)| digest.short()).unwrap_or_default();
            let but = broken.map(|broken| format!("; {broken}")).unwrap_or_default();
            answer(
                question,
                Acceptance::Yes,
                format!("authority {authority} of {domain} is in the bundle{but}"),
            )
        }
        Err(refused) => {
            let why = broken.map_or_else(|| refused.to_string(), |broken| broken.to_string());
            answer(question, Acceptance::No, why).with_fix(Plugin::SpireFederate.command(["verify"]))
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
    let fix = Advice::from("istiod has to know the client's trust domain; this names the setting: ");
    answer(question, Acceptance::No, format!("it admits {names}, and the client is {id}"))
        .with_fix(fix.then(Plugin::MeshInstall.command(["verify"])))
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
                .with_fix(Plugin::MeshInstall.command(["verify"]));
        }
        for rule in rules.clusters.values().filter(|rule| rule.mutual) {
            if !rule.names.is_empty() && !rule.names.iter().any(|name| name.admits(&id)) {
                let names = listed(&rule.names);
                return answer(
                    question,
                    Acceptance::No,
                    format!("behind {host} it expects {names}, and the server is {id}"),
                )
                .with_fix(
                    Advice::from("istiod has read another trust domain for that cluster: ")
                        .then(Plugin::MeshInstall.command(["verify", "--fix"])),
                );
            }
            expected.extend(rule.names.iter().cloned());
        }
    }
    let names = if expected.is_empty() { "every name".to_owned() } else { listed(&expected) };
    answer(question, Acceptance::Yes, format!("it expects {names}"))
}

fn mutual_tls(
    client: &Party<'_>,
    server: &Party<'_>,
    outbound: &Read<Vec<(String, OutboundRules)>>,
) -> Answer {
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
        .with_fix(
            Advice::from("a DestinationRule turns TLS off: ")
                .then(Command::kubectl(["get", "destinationrules", "-A"]).at(client.connection.context())),
        ),
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
                .with_fix(policy_of(server, &policy))
        }
        Outcome::NotAllowed(policy) => answer(
            question,
            Acceptance::No,
            format!("AuthorizationPolicy {policy} allows others, and none allows {id}"),
        )
        .with_fix(policy_of(server, &policy)),
    }
}

/// Returns the command that shows the policies beside this one, `namespace/name`.
fn policy_of(server: &Party<'_>, policy: &str) -> Command {
    let namespace = policy.split('/').next().unwrap_or_default();
    Command::kubectl(["get", "authorizationpolicy", "-n", namespace, "-o", "yaml"])
        .at(server.connection.context())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::envoy::{
        InboundChain, OutboundRule, Protection, parse_inbound, parse_outbound, parse_secrets,
    };
    use crate::trustchain::judge::tests::at;
    use crate::workload::{Workload, WorkloadKind, served};

    const SECRETS: &[u8] = include_bytes!("../../../tests/fixtures/envoy/secrets.json");
    const NOTHING: &[u8] = include_bytes!("../../../tests/fixtures/envoy/nothing.json");
    const INBOUND: &[u8] = include_bytes!("../../../tests/fixtures/envoy/virtual-inbound.json");
    const OUTBOUND: &[u8] = include_bytes!("../../../tests/fixtures/envoy/outbound.json");

    /// A connection to nobody: what is read of it is given.
    fn connection() -> Connection {
        connection_to("foo")
    }

    fn connection_to(name: &str) -> Connection {
        let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("nobody is asked"))
        });
        Connection::of(name, kube::Client::new(nobody, "default"))
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

    /// The secrets of the proxy, changed.
    #[expect(clippy::unnecessary_wraps, reason = "it stands where what was read does")]
    fn secrets(change: impl FnOnce(&mut Value)) -> Read<ProxySecrets> {
        let mut value: Value = serde_json::from_slice(SECRETS).expect("a fixture");
        change(&mut value);
        Ok(parse_secrets(&serde_json::to_vec(&value).expect("JSON"), NOTHING).expect("secrets"))
    }

    /// Secrets without the bundle of foo.com.
    #[expect(clippy::unnecessary_wraps, reason = "it stands where what was read does")]
    fn without_foo() -> Read<ProxySecrets> {
        let without = String::from_utf8_lossy(SECRETS).replace("\"foo.com\"", "\"baz.com\"");
        Ok(parse_secrets(without.as_bytes(), NOTHING).expect("secrets"))
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands where what was read does")]
    fn policies(spec: Value) -> Read<Vec<Policy>> {
        let spec = serde_json::from_value(spec).expect("a policy");
        Ok(vec![Policy { name: "sample/one".to_owned(), spec }])
    }

    /// Whom a client expects behind a host, in clusters that each are called with or without a certificate.
    fn behind(host: &str, clusters: &[(&str, bool, &[NameRule])]) -> (String, OutboundRules) {
        let rule = |(name, mutual, names): &(&str, bool, &[NameRule])| {
            let names = names.iter().cloned().collect();
            ((*name).to_owned(), OutboundRule { mutual: *mutual, names, plaintext: false })
        };
        (host.to_owned(), OutboundRules { clusters: clusters.iter().map(rule).collect() })
    }

    #[test]
    fn a_service_selects_who_has_all_its_labels_and_without_labels_nobody() {
        let labels = [("app", "sleep"), ("version", "v1")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let selected = |selector: Value| {
            let service = json!({"metadata": {"name": "sleep"}, "spec": {"selector": selector}});
            selects(&serde_json::from_value(service).expect("a service"), &labels)
        };
        assert!(selected(json!({"app": "sleep"})));
        assert!(selected(json!({"app": "sleep", "version": "v1"})));
        assert!(!selected(json!({"app": "sleep", "version": "v2"})));
        assert!(!selected(json!({"app": "sleep", "tier": "v1"})));
        assert!(!selected(json!({})));
        assert!(!selected(Value::Null));
        assert!(!selects(&Service::default(), &labels));
    }

    #[tokio::test]
    async fn of_a_pod_without_a_proxy_services_and_policies_are_read_all_the_same() {
        let service = |name: &str, selector: Value| json!({"metadata": {"name": name, "namespace": "sample"}, "spec": {"selector": selector}});
        let services = served::list(&[
            service("other", json!({"app": "other"})),
            service("headless", json!({})),
            service("sleep", json!({"app": "sleep"})),
            service("all", json!({"app": "sleep", "version": "v1"})),
        ]);
        let connection = served::connection(&[("/api/v1/namespaces/sample/services", services)]);
        let mut pod = sleep(&connection).pod;
        pod.labels = [("app", "sleep"), ("version", "v1")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        for (state, why) in
            [(ProxyState::Absent, "the pod has no proxy"), (ProxyState::NotRunning, "its proxy does not run")]
        {
            pod.proxy = state;
            let party = party(&connection, &pod).await;
            assert_eq!(party.name(), "foo/sample/sleep-0");
            assert_eq!(party.secrets, Err(Unread::because(why)));
            assert_eq!(party.inbound, Err(Unread::because(why)));
            let hosts = ["sleep.sample.svc.cluster.local", "all.sample.svc.cluster.local"];
            assert_eq!(party.hosts.expect("hosts"), hosts);
            assert_eq!(party.policies.expect("policies").len(), 0);
        }
        assert_eq!(runs(ProxyState::Runs), Ok(()));
        let refused = served::connection(&[("/api/v1/namespaces/sample/services", json!(403))]);
        let unread = hosts(&refused, &pod).await.expect_err("it is refused");
        assert_eq!(unread.why, "you may not list services in namespace sample");
    }

    #[tokio::test]
    async fn each_question_is_asked_of_the_side_that_decides_it() {
        let connection = connection();
        let (mut one, mut other) = (sleep(&connection), sleep(&connection));
        // All that is wrong is wrong with the other.
        other.pod.name = "helloworld-0".to_owned();
        other.secrets = without_foo();
        let others = String::from_utf8_lossy(INBOUND).replace("spiffe://foo.com/", "spiffe://baz.com/");
        other.inbound = Ok(parse_inbound(others.as_bytes()).expect("an inbound listener"));
        other.policies = policies(json!({"action": "DENY", "rules": [{}]}));
        one.policies = policies(json!({"rules": [{}]}));
        let told = |direction: &Direction| {
            let answers = direction.answers.iter().map(|answer| {
                let fix = answer.fix.as_deref().map(|fix| format!(" [{fix}]")).unwrap_or_default();
                format!("\n{} {}{fix}", answer.question.as_str(), said(answer))
            });
            let answers: String = answers.collect();
            format!("{} to {}: {}{answers}", direction.from, direction.to, direction.accepted.as_str())
        };
        let both = accepts(&one, &other, at()).await;
        insta::assert_snapshot!(both.iter().map(told).collect::<Vec<_>>().join("\n\n"));
    }

    #[tokio::test]
    async fn whom_a_client_expects_is_asked_for_every_host_and_only_where_it_can_be() {
        let connection = connection();
        let (mut client, mut server) = (sleep(&connection), sleep(&connection));
        assert_eq!(outbound(&client, &server).await, Ok(vec![]));
        server.hosts = Ok(vec!["sleep.sample.svc.cluster.local".to_owned()]);
        let unread = outbound(&client, &server).await.expect_err("nobody answers");
        assert!(unread.why.starts_with("cannot ask the proxy of pod sample/sleep-0"), "{}", unread.why);
        client.secrets = Err(Unread::because("its proxy does not run"));
        assert_eq!(outbound(&client, &server).await, Err(Unread::because("its proxy does not run")));
        server.hosts = Err(Unread::because("you may not list services"));
        assert_eq!(outbound(&client, &server).await, Err(Unread::because("you may not list services")));
    }

    #[tokio::test]
    async fn who_presents_nothing_that_can_be_verified_is_accepted_by_nobody() {
        let connection = connection();
        let (one, mut other) = (sleep(&connection), sleep(&connection));
        let question = Question::ClientVerifiesServer;
        other.secrets = secrets(|secrets| drop(secrets["configs"].as_array_mut().expect("a list").remove(0)));
        let answers = [
            verifies(question, &one, &other, at()),
            admits(&other, &one),
            expects(&other, &Ok(vec![behind("a", &[("a", true, &[])])])),
            authorization(&other, &one),
        ];
        insta::assert_snapshot!(answers.iter().map(said).collect::<Vec<_>>().join("\n"), @r"
        no: foo/sample/sleep-0 has no certificate
        no: foo/sample/sleep-0 presents no SPIFFE ID
        no: foo/sample/sleep-0 presents no SPIFFE ID
        no: foo/sample/sleep-0 presents no SPIFFE ID
        ");
        assert_eq!(answers[0].fix.as_deref(), Some("kubectl trustchain foo/sample/pod/sleep-0"));
        // The other way round it is the verifier's bundle that counts, which is still there.
        assert_eq!(verifies(question, &other, &one, at()).answer, Acceptance::Yes);
        // Each bundle under the other's name.
        other.secrets = secrets(|secrets| {
            let domains =
                "/configs/1/secret/validation_context/custom_validator_config/typed_config/trust_domains";
            let domains = secrets.pointer_mut(domains).expect("domains");
            let names = [0, 1].map(|index: usize| domains[index]["name"].clone());
            let [first, second] = names;
            (domains[0]["name"], domains[1]["name"]) = (second, first);
        });
        let refused = verifies(question, &other, &one, at());
        assert_eq!(refused.answer, Acceptance::No);
        assert!(refused.reason.contains("path-to-authority"), "{}", refused.reason);
        assert_eq!(verifies(question, &one, &other, at()).answer, Acceptance::Yes);
    }

    #[tokio::test]
    async fn the_name_of_a_server_is_looked_for_behind_each_of_its_services() {
        let connection = connection();
        let server = sleep(&connection);
        let own = NameRule::Exact("spiffe://foo.com/ns/sample/sa/sleep".to_owned());
        let other = NameRule::Exact("spiffe://foo.com/ns/sample/sa/other".to_owned());
        let told = |outbound: &[(String, OutboundRules)]| said(&expects(&server, &Ok(outbound.to_vec())));
        let fine = behind("a", &[("a1", true, &[own.clone(), other.clone()]), ("a2", true, &[])]);
        let any = behind("b", &[("b1", true, &[])]);
        // Without a certificate nobody's name is looked at.
        let plain = behind("c", &[("c1", false, std::slice::from_ref(&other))]);
        let wrong = behind(
            "d",
            &[("d1", true, std::slice::from_ref(&own)), ("d2", true, std::slice::from_ref(&other))],
        );
        let unknown = behind("e", &[]);
        insta::assert_snapshot!(told(&[fine.clone(), any.clone(), plain.clone()]), @"yes: it expects spiffe://foo.com/ns/sample/sa/other, spiffe://foo.com/ns/sample/sa/sleep");
        insta::assert_snapshot!(told(&[any.clone(), plain.clone()]), @"yes: it expects every name");
        insta::assert_snapshot!(told(&[fine.clone(), any.clone(), wrong]), @"no: behind d it expects spiffe://foo.com/ns/sample/sa/other, and the server is spiffe://foo.com/ns/sample/sa/sleep");
        insta::assert_snapshot!(told(&[fine, any, unknown]), @"no: the client's proxy does not know e");
        let unread = expects(&server, &Err(Unread::because("its proxy does not run")));
        insta::assert_snapshot!(said(&unread), @"unknown: its proxy does not run");
    }

    #[tokio::test]
    async fn mutual_tls_takes_both_sides() {
        let connection = connection();
        let (strict, mut permissive) = (sleep(&connection), sleep(&connection));
        let plaintext = InboundChain { name: "a".to_owned(), port: None, protection: Protection::Plaintext };
        let inbound = permissive.inbound.as_mut().expect("an inbound listener").as_mut();
        inbound.expect("a sidecar").chains.push(plaintext);
        let mut gateway = sleep(&connection);
        gateway.inbound = Ok(None);
        let client = sleep(&connection);
        let mutual = Ok(vec![behind("a", &[("a1", true, &[])]), behind("b", &[("b1", true, &[])])]);
        let plain = Ok(vec![
            behind("a", &[("a1", true, &[])]),
            behind("b", &[("b1", true, &[]), ("b2", false, &[])]),
        ]);
        let unread = Err(Unread::because("its proxy does not run"));
        let told: Vec<String> = [
            (&strict, &mutual),
            (&strict, &plain),
            (&permissive, &mutual),
            (&permissive, &plain),
            (&gateway, &mutual),
            (&strict, &unread),
        ]
        .map(|(server, outbound)| said(&mutual_tls(&client, server, outbound)))
        .into();
        insta::assert_snapshot!(told.join("\n"), @r"
        yes: the server takes nobody without a certificate (STRICT)
        no: the client shows no certificate for b2, and the server takes nobody without one
        yes: the server takes plaintext too (PeerAuthentication PERMISSIVE)
        depends: the client shows no certificate for b2, and the server takes plaintext too
        depends: it is a gateway: what it speaks is its own configuration
        unknown: its proxy does not run
        ");
    }

    #[tokio::test]
    async fn what_to_look_at_is_in_the_cluster_whose_istiod_read_it() {
        let (foo, bar) = (connection_to("foo"), connection_to("bar"));
        let (client, mut server) = (sleep(&foo), sleep(&bar));
        let plain = Ok(vec![behind("a", &[("a1", false, &[])])]);
        let rules = mutual_tls(&client, &server, &plain).fix.expect("a fix");
        assert!(rules.ends_with(": kubectl --context foo get destinationrules -A"), "{rules}");
        server.policies = policies(json!({"action": "DENY", "rules": [{}]}));
        let policy = authorization(&client, &server).fix.expect("a fix");
        assert_eq!(policy, "kubectl --context bar get authorizationpolicy -n sample -o yaml");
    }

    #[tokio::test]
    async fn what_the_policies_come_to_is_said_with_the_policy() {
        let connection = connection();
        let (client, mut server) = (sleep(&connection), sleep(&connection));
        let mut told = |policies: Read<Vec<Policy>>| {
            server.policies = policies;
            let answer = authorization(&client, &server);
            format!("{} {}", said(&answer), answer.fix.unwrap_or_default()).trim_end().to_owned()
        };
        let source = |principal: &str| json!([{"from": [{"source": {"principals": [principal]}}]}]);
        let lines = [
            told(Ok(Vec::new())),
            told(policies(json!({"rules": source("foo.com/*")}))),
            told(policies(json!({"rules": source("bar.com/*")}))),
            told(policies(json!({"action": "DENY", "rules": source("foo.com/*")}))),
            told(policies(json!({"rules": [{"to": [{}]}]}))),
            told(Err(Unread::because("you may not list authorizationpolicies"))),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r"
        yes: no AuthorizationPolicy is about it
        yes: AuthorizationPolicy sample/one allows it
        no: AuthorizationPolicy sample/one allows others, and none allows spiffe://foo.com/ns/sample/sa/sleep kubectl --context foo get authorizationpolicy -n sample -o yaml
        no: AuthorizationPolicy sample/one denies it kubectl --context foo get authorizationpolicy -n sample -o yaml
        depends: AuthorizationPolicy sample/one looks at more than who calls
        unknown: you may not list authorizationpolicies
        ");
    }

    #[tokio::test]
    async fn what_a_server_lets_in_is_said_whatever_it_is() {
        let connection = connection();
        let (client, mut server) = (sleep(&connection), sleep(&connection));
        insta::assert_snapshot!(said(&admits(&client, &server)), @"yes: it admits spiffe://bar.com/*, spiffe://foo.com/*");
        server.inbound = Ok(Some(InboundRules { chains: Vec::new() }));
        insta::assert_snapshot!(said(&admits(&client, &server)), @"no: it admits every name, and the client is spiffe://foo.com/ns/sample/sa/sleep");
        server.inbound = Ok(None);
        insta::assert_snapshot!(said(&admits(&client, &server)), @"depends: it is a gateway: what it lets in is its own configuration");
        server.inbound = Err(Unread::because("its proxy does not run"));
        insta::assert_snapshot!(said(&admits(&client, &server)), @"unknown: its proxy does not run");
    }

    #[tokio::test]
    async fn a_chain_is_verified_by_the_bundle_of_its_own_domain_only() {
        let connection = connection();
        let (one, mut other) = (sleep(&connection), sleep(&connection));
        let asked = |verifier: &Party<'_>| verifies(Question::ServerVerifiesClient, verifier, &one, at());
        insta::assert_snapshot!(said(&asked(&other)), @"yes: authority 88a44fb6dec3db95 of foo.com is in the bundle");
        // Only the bundle of another domain is left.
        other.secrets = without_foo();
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
