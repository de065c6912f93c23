//! From a client and a request to a report.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures::future::join3;
use tokio::time::Instant;

use super::attribution::{Counted, Gateways, Places, counted, reconcile};
use super::client::Client;
use super::error::TrafficError;
use super::evidence;
use super::expectation::Expectation;
use super::explain::{Evidence, Explanation, explain};
use super::failover::Failover;
use super::failure::FailureKind;
use super::followed::{self, followed};
use super::load::{Amount, Load};
use super::report::{Parts, TrafficReport};
use super::request::Request;
use super::send::{Course, Sent, send};
use super::service::{Behind, behind, gateways};
use super::tally::{Failures, Recorder, Tally};
use crate::envoy::{Host, ProxyHosts};
use crate::fleet::Member;
use crate::path::Path;
use crate::path::ServiceName;
use crate::watch::{Ended, Stage, Watch};

/// How often is told how far it is.
const TELL: Duration = Duration::from_millis(100);

/// What a client is busy with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is found out who may answer.
    Looking,
    /// Requests are being sent.
    Sending {
        /// How many have ended.
        done: usize,
        /// How many there will be; `None` where the time counts.
        of: Option<u32>,
        /// How many of them failed.
        failed: usize,
    },
    /// The causes of failures are being looked for.
    Explaining,
    /// Something else, in words.
    Doing(String),
    /// All is done.
    Done {
        /// How many requests succeeded.
        succeeded: u64,
        /// How many there were.
        of: u64,
    },
    /// It went no further.
    Failed(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Looking => f.write_str("looking for who may answer"),
            Self::Sending { done, of, failed } => {
                match of {
                    Some(of) => write!(f, "{done} of {of} requests answered")?,
                    None => write!(f, "{done} requests answered")?,
                }
                if *failed > 0 { write!(f, ", {failed} failed") } else { Ok(()) }
            }
            Self::Explaining => f.write_str("looking for the cause"),
            Self::Doing(what) => f.write_str(what),
            Self::Done { succeeded, of } => write!(f, "{succeeded} of {of} requests succeeded"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl Stage for Step {
    fn ended(&self) -> Option<Ended> {
        match self {
            Self::Done { .. } => Some(Ended::Done),
            Self::Failed(_) => Some(Ended::Failed),
            _ => None,
        }
    }

    fn is_fleeting(&self) -> bool {
        matches!(self, Self::Sending { .. })
    }
}

/// What is known of a service before and after it is asked.
#[derive(Debug)]
pub struct Known {
    /// Its name; `None` where the host is none of the mesh.
    pub service: Option<ServiceName>,
    /// Its pods.
    pub behind: Behind,
    /// All pods that were ever seen behind it.
    pub places: Places,
    /// The gateways of networks.
    pub gateways: Gateways,
    /// The hosts that the client's sidecar knows; `None` where it has none or cannot be asked.
    pub hosts: Option<Vec<Host>>,
    /// What could not be read.
    pub remarks: Vec<String>,
}

impl Known {
    /// Looks at the pods behind a URL, at the ways into networks, and at the sidecar's counters.
    pub async fn look(client: &Client<'_>, request: &Request, members: &[Member]) -> Self {
        let mut known = Self {
            service: ServiceName::of_host(request.url.host(), &client.target.namespace),
            behind: Behind::default(),
            places: Places::default(),
            gateways: Gateways::default(),
            hosts: None,
            remarks: Vec::new(),
        };
        let Some(service) = known.service.clone() else { return known };
        let (behind, gateways, hosts) = join3(
            behind(members, &service, &client.viewpoint().cluster.network),
            gateways(client.viewpoint(), members),
            hosts(client, request, &service),
        )
        .await;
        known.remarks.extend(behind.remarks.iter().cloned());
        known.see(behind);
        match gateways {
            Ok(gateways) => known.gateways = gateways,
            Err(why) => known.remarks.push(format!("the gateways of other networks are not known: {why}")),
        }
        match hosts {
            Ok(hosts) => known.hosts = Some(hosts),
            Err(why) => known.remarks.push(format!("who answers is known from answers only: {why}")),
        }
        known
    }

    /// Takes in who is behind the service now. Pods that are gone stay known: they may have answered.
    fn see(&mut self, behind: Behind) {
        self.places.learn(behind.places.iter().cloned());
        self.behind = behind;
    }

    /// Looks again after requests were sent: at the counters, and where `again` at the pods, which may be new ones.
    pub async fn count(
        &mut self,
        client: &Client<'_>,
        request: &Request,
        members: &[Member],
        again: bool,
    ) -> Option<Counted> {
        let service = self.service.clone()?;
        if again {
            self.see(behind(members, &service, &client.viewpoint().cluster.network).await);
        }
        // Without a first look there is nothing to compare with.
        self.hosts.as_ref()?;
        let after = hosts(client, request, &service).await;
        self.compare(after)
    }

    /// Compares the counters at the second look with those at the first.
    fn compare(&mut self, after: Result<Vec<Host>, String>) -> Option<Counted> {
        let before = self.hosts.as_ref()?;
        match after {
            Ok(after) => Some(counted(before, &after, &self.places, &self.gateways)),
            Err(why) => {
                self.remarks.push(format!("who answered is known from answers only: {why}"));
                None
            }
        }
    }

    /// Reads what may explain failures.
    pub async fn evidence(
        &self,
        client: &Client<'_>,
        members: &[Member],
        counted: Option<&Counted>,
    ) -> Evidence {
        match &self.service {
            Some(service) => evidence::gather(client, service, &self.behind, members, counted).await,
            None => Evidence::default(),
        }
    }
}

async fn hosts(client: &Client<'_>, request: &Request, service: &ServiceName) -> Result<Vec<Host>, String> {
    let proxy = client.proxy().ok_or_else(|| "the client has no sidecar".to_owned())?;
    let host = service.host();
    let known = proxy.hosts_of(&host).await.map_err(|error| error.to_string())?;
    Ok(of_port(&known, &host, request.url.port()))
}

/// Returns the hosts of a service at one port. Subsets have the same hosts, each with counters of its own: all of them count.
fn of_port(known: &ProxyHosts, host: &str, port: u16) -> Vec<Host> {
    let of_port = known.of_service(host).filter(|(name, _)| name.port == port);
    let mut hosts: Vec<Host> = Vec::new();
    for host in of_port.flat_map(|(_, hosts)| hosts) {
        match hosts.iter_mut().find(|known| known.address == host.address) {
            Some(known) => {
                known.counters.requests = known.counters.requests.saturating_add(host.counters.requests);
                known.counters.connect_failures =
                    known.counters.connect_failures.saturating_add(host.counters.connect_failures);
            }
            None => hosts.push(host.clone()),
        }
    }
    hosts
}

/// What is asked, how often, and what has to come of it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The request.
    pub request: &'q Request,
    /// How often.
    pub load: &'q Load,
    /// What has to come of it.
    pub expectations: &'q [Expectation],
    /// How long everything may take.
    pub timeout: Duration,
}

/// Sends requests from one pod and returns what became of them, and whether time ran out before all were sent.
///
/// # Errors
/// [`TrafficError`] when not one request could be sent.
pub async fn ask(
    client: &Client<'_>,
    question: Question<'_>,
    members: &[Member],
    watch: &dyn Watch<Step>,
) -> Result<(TrafficReport, bool), TrafficError> {
    let name = client.member.name();
    watch.step(name, &Step::Looking);
    let mut known = Known::look(client, question.request, members).await;
    let started = Instant::now();
    let told = Teller::new(name, watch, question.load);
    let course = Course {
        started,
        until: started + question.timeout,
        enough: &|| false,
        tell: &|recorder| told.tell(recorder),
    };
    let sent = send(client, question.request, question.load, &known.places, course).await;
    let sent = sent.inspect_err(|error| watch.step(name, &Step::Failed(error.to_string())))?;
    let timed_out = sent.timed_out;
    let report = conclude(client, question, members, watch, &mut known, sent, None).await;
    Ok((report, timed_out))
}

/// Judges a failover by the answers.
pub(super) type Judge<'j> = dyn Fn(&Recorder, &Places) -> Failover + 'j;

/// Counts what was sent, finds out why some of it failed, and makes the report.
pub(super) async fn conclude(
    client: &Client<'_>,
    question: Question<'_>,
    members: &[Member],
    watch: &dyn Watch<Step>,
    known: &mut Known,
    sent: Sent,
    failover: Option<&Judge<'_>>,
) -> TrafficReport {
    let name = client.member.name();
    let again = sent.recorder.tally(&known.places).unnamed > 0;
    let counted = known.count(client, question.request, members, again || failover.is_some()).await;
    let tally = sent.recorder.tally(&known.places);
    let failover = failover.map(|judge| judge(&sent.recorder, &known.places));
    let mut evidence = if tally.failures.keys().any(|kind| kind.is_of_the_mesh()) {
        watch.step(name, &Step::Explaining);
        known.evidence(client, members, counted.as_ref()).await
    } else {
        Evidence::default()
    };
    let is_followed = tally.failures.keys().any(|kind| kind.is_on_the_path());
    let path = if is_followed { followed(client, question.request, members).await } else { None };
    evidence.context.clone_from(&client.viewpoint().cluster.context);
    evidence.taken_away = failover.as_ref().map(|failover| failover.workload.clone());
    let explanations = explanations(&tally, question.request.url.host(), &evidence, path.as_ref());
    // Hosts that go away take their counters with them: after a failover there is nothing to compare with.
    let comparable = counted.as_ref().filter(|_| failover.is_none());
    let attribution = reconcile(&tally.by_cluster, tally.unnamed, tally.errors, comparable);
    let by_pod = comparable.map(|counted| by_pod(counted, &known.places)).unwrap_or_default();
    let clusters: Vec<String> = members.iter().map(|member| member.name().to_owned()).collect();
    let mut remarks = std::mem::take(&mut known.remarks);
    remarks.extend(sent.remarks);
    let mut report = TrafficReport::new(Parts {
        url: question.request.url.to_string(),
        from: client.sender(),
        clusters: &clusters,
        tally: &tally,
        attribution,
        by_pod,
        remarks,
        explanations,
        expectations: question.expectations,
        failover,
    });
    // Nothing failed, and yet somebody was expected to answer who did not.
    if report.failed == 0 && report.expectations.iter().any(|judged| !judged.met) {
        watch.step(name, &Step::Explaining);
        if let Some(path) = followed(client, question.request, members).await {
            let answered = report.by_cluster.keys().cloned().collect();
            report.remarks.extend(followed::silent(&path, &answered));
        }
    }
    watch.step(name, &Step::Done { succeeded: report.succeeded, of: report.requests });
    report
}

/// Explains each kind of failure.
fn explanations(
    tally: &Tally,
    host: &str,
    evidence: &Evidence,
    path: Option<&Path>,
) -> BTreeMap<FailureKind, Explanation> {
    // Pods that were taken away on purpose are why, whatever else is on the path.
    let path = path.filter(|_| evidence.taken_away.is_none());
    let explained = |kind: FailureKind, failures: &Failures| {
        let by_path = path.and_then(|path| followed::explanation(path, kind));
        by_path.unwrap_or_else(|| explain(kind, &failures.sample, host, evidence))
    };
    tally.failures.iter().map(|(kind, failures)| (*kind, explained(*kind, failures))).collect()
}

/// Returns how many requests went to each pod that is reached without a gateway, by its name.
fn by_pod(counted: &Counted, places: &Places) -> BTreeMap<String, u64> {
    let of_pod = |(number, count): (&usize, &u64)| Some((places.get(*number)?.pod.clone(), *count));
    counted.by_place.iter().filter_map(of_pod).collect()
}

/// Tells how far sending is, not more often than somebody can read it.
pub(super) struct Teller<'t> {
    name: &'t str,
    watch: &'t dyn Watch<Step>,
    of: Option<u32>,
    last: Cell<Option<Instant>>,
}

impl<'t> Teller<'t> {
    pub(super) fn new(name: &'t str, watch: &'t dyn Watch<Step>, load: &Load) -> Self {
        let of = match load.amount {
            Amount::Requests(requests) => Some(requests),
            Amount::For(_) => None,
        };
        Self { name, watch, of, last: Cell::new(None) }
    }

    pub(super) fn tell(&self, recorder: &Recorder) {
        let now = Instant::now();
        if self.last.get().is_some_and(|last| now - last < TELL) {
            return;
        }
        self.last.set(Some(now));
        let step = Step::Sending { done: recorder.len(), of: self.of, failed: recorder.failed() };
        self.watch.step(self.name, &step);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::envoy::{Counters, HostAddress};
    use crate::fleet::fake::FakeServer;
    use crate::traffic::answer::Answer;
    use crate::traffic::attribution::{Place, Source};
    use crate::traffic::failover::Done;

    fn host(address: &str, requests: u64, connect_failures: u64) -> Host {
        Host {
            address: HostAddress::Socket { address: address.to_owned(), port: 5000 },
            region: String::new(),
            zone: String::new(),
            health: "HEALTHY".to_owned(),
            failures: Vec::new(),
            weight: 1,
            counters: Counters { connect_failures, requests, ..Counters::default() },
        }
    }

    #[test]
    fn hosts_of_all_subsets_of_one_port_are_counted_together() {
        let of = |name: &str, hosts: &[Host]| (name.to_owned(), hosts.to_vec());
        let known = ProxyHosts {
            clusters: [
                of("outbound|5000||a.b.svc.cluster.local", &[host("10.0.0.1", 1, 0), host("10.0.0.2", 2, 1)]),
                of(
                    "outbound|5000|v1|a.b.svc.cluster.local",
                    &[host("10.0.0.2", 4, 2), host("10.0.0.3", 8, 0)],
                ),
                of("outbound|80||a.b.svc.cluster.local", &[host("10.0.0.1", 100, 0)]),
                of("outbound|5000||other.b.svc.cluster.local", &[host("10.0.0.1", 100, 0)]),
                of("inbound|5000||a.b.svc.cluster.local", &[host("10.0.0.1", 100, 0)]),
            ]
            .into(),
        };
        let mut found = of_port(&known, "a.b.svc.cluster.local", 5000);
        found.sort_by_key(|host| host.address.clone());
        assert_eq!(found, [host("10.0.0.1", 1, 0), host("10.0.0.2", 6, 3), host("10.0.0.3", 8, 0)]);
    }

    #[test]
    fn steps_are_said_in_words_and_only_the_last_ones_end() {
        let sending = |of, failed| Step::Sending { done: 3, of, failed };
        let steps = [
            Step::Looking,
            sending(Some(10), 0),
            sending(Some(10), 1),
            sending(None, 2),
            Step::Explaining,
            Step::Doing("waiting".to_owned()),
            Step::Done { succeeded: 9, of: 10 },
            Step::Failed("no curl".to_owned()),
        ];
        let told = steps.each_ref().map(|step| format!("{step} | {:?} {}", step.ended(), step.is_fleeting()));
        insta::assert_snapshot!(told.join("\n"), @r"
        looking for who may answer | None false
        3 of 10 requests answered | None true
        3 of 10 requests answered, 1 failed | None true
        3 requests answered, 2 failed | None true
        looking for the cause | None false
        waiting | None false
        9 of 10 requests succeeded | Some(Done) false
        no curl | Some(Failed) false
        ");
    }

    struct Told(std::sync::Mutex<Vec<Step>>);

    impl Watch<Step> for Told {
        fn step(&self, _: &str, step: &Step) {
            self.0.lock().unwrap().push(step.clone());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn how_far_sending_is_is_told_once_in_a_while() {
        let told = Told(std::sync::Mutex::default());
        let recorder = Recorder::default();
        let teller = Teller::new("foo", &told, &Load::of(10));
        teller.tell(&recorder);
        teller.tell(&recorder);
        tokio::time::advance(TELL.checked_sub(Duration::from_millis(1)).unwrap()).await;
        teller.tell(&recorder);
        assert_eq!(told.0.lock().unwrap().len(), 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        teller.tell(&recorder);
        assert_eq!(
            *told.0.lock().unwrap(),
            [(); 2].map(|()| Step::Sending { done: 0, of: Some(10), failed: 0 })
        );
        let endless = Load { amount: Amount::For(Duration::from_secs(1)), ..Load::of(1) };
        Teller::new("foo", &told, &endless).tell(&recorder);
        assert_eq!(told.0.lock().unwrap()[2], Step::Sending { done: 0, of: None, failed: 0 });
    }

    /// Three clusters with one pod of `shop/cart` each.
    fn shops() -> ([FakeServer; 3], [Member; 3]) {
        let names = ["foo", "bar", "baz"];
        let servers = names.map(|name| {
            let server = FakeServer::default();
            server
                .put("/api/v1/namespaces/shop/services/cart", json!({"spec": {"selector": {"app": "cart"}}}));
            put_pod(&server, &format!("cart-{name}"));
            server
        });
        let members = [0, 1, 2].map(|index: usize| servers[index].member(names[index]));
        (servers, members)
    }

    fn put_pod(server: &FakeServer, name: &str) {
        server.put(
            &format!("/api/v1/namespaces/shop/pods/{name}"),
            json!({
                "metadata": {"labels": {"app": "cart"}},
                "status": {"conditions": [{"type": "Ready", "status": "True"}], "podIPs": [{"ip": "10.0.0.1"}]},
            }),
        );
    }

    fn get(url: &str) -> Request {
        Request::get(url.parse().unwrap())
    }

    fn pods(known: &Known) -> Vec<&str> {
        known.places.iter().map(|place| place.pod.as_str()).collect()
    }

    #[tokio::test]
    async fn pods_that_come_while_requests_are_sent_are_known_beside_those_that_went() {
        let (servers, members) = shops();
        servers[1].refuse("/api/v1/namespaces/shop/services/cart", 403);
        let client = Client::here(&members[2], "shop");
        let request = get("http://cart:5000/");
        let mut known = Known::look(&client, &request, &members).await;
        assert_eq!(pods(&known), ["cart-foo", "cart-baz"]);
        assert_eq!(known.behind.ready.len(), 2);
        insta::assert_snapshot!(known.remarks.join("\n"), @r"
        the pods behind the service in bar are not known: Forbidden
        the gateways of other networks are not known: no pod of istiod in namespace istio-system is ready
        who answers is known from answers only: the client has no sidecar
        ");
        put_pod(&servers[0], "cart-new");
        assert_eq!(known.count(&client, &request, &members, false).await, None);
        assert_eq!(pods(&known), ["cart-foo", "cart-baz"]);
        assert_eq!(known.count(&client, &request, &members, true).await, None);
        assert_eq!(pods(&known), ["cart-foo", "cart-baz", "cart-new"]);
        assert_eq!(known.behind.ready["foo"], 2);
        assert_eq!(known.remarks.len(), 3, "that the client has no sidecar is said once");
        known.hosts = Some(Vec::new());
        assert_eq!(known.count(&client, &request, &members, false).await, None);
        assert_eq!(known.remarks[3], "who answered is known from answers only: the client has no sidecar");
    }

    #[tokio::test]
    async fn nothing_is_known_of_a_host_outside_the_mesh() {
        let (_, members) = shops();
        let client = Client::here(&members[2], "shop");
        let request = get("https://www.example.com/");
        let mut known = Known::look(&client, &request, &members).await;
        assert_eq!((pods(&known), known.remarks.len()), (Vec::new(), 0));
        assert_eq!(known.count(&client, &request, &members, true).await, None);
        assert_eq!(known.evidence(&client, &members, None).await.ready, BTreeMap::new());
    }

    #[tokio::test]
    async fn counters_are_compared_with_those_of_the_first_look() {
        let (_, members) = shops();
        let client = Client::here(&members[2], "shop");
        let mut known = Known::look(&client, &get("http://cart:5000/"), &members).await;
        assert_eq!(known.compare(Ok(vec![host("10.0.0.1", 9, 0)])), None);
        known.hosts = Some(vec![host("10.0.0.1", 2, 0)]);
        let counted = known.compare(Ok(vec![host("10.0.0.1", 9, 0)])).unwrap();
        assert_eq!(counted.by_cluster, [("baz".to_owned(), 7)].into());
        assert_eq!(by_pod(&counted, &known.places), [("cart-baz".to_owned(), 7)].into());
    }

    fn answer(at: u64, status: u16, body: &str) -> Answer {
        Answer {
            at: Duration::from_millis(at),
            status: Some(status),
            exit: 0,
            took: Duration::from_millis(5),
            pod_header: Vec::new(),
            body: body.as_bytes().to_vec(),
            complaint: String::new(),
            grpc: None,
        }
    }

    fn sent(answers: &[Answer], known: &Known) -> Sent {
        let mut sent = Sent { remarks: vec!["a stream broke off".to_owned()], ..Sent::default() };
        for answer in answers {
            sent.recorder.take(answer, &known.places);
        }
        sent
    }

    /// What is reported of these answers to a client without a sidecar in baz, with the steps that were told.
    async fn concluded(
        answers: &[Answer],
        failover: Option<&Judge<'_>>,
        meanwhile: impl FnOnce(&[FakeServer; 3]),
    ) -> (TrafficReport, Vec<Step>) {
        let (servers, members) = shops();
        let client = Client::here(&members[2], "shop");
        let request = get("http://cart:5000/");
        let question = Question {
            request: &request,
            load: &Load::of(3),
            expectations: &[],
            timeout: Duration::from_mins(1),
        };
        let mut known = Known::look(&client, &request, &members).await;
        let sent = sent(answers, &known);
        meanwhile(&servers);
        let told = Told(std::sync::Mutex::default());
        let report = conclude(&client, question, &members, &told, &mut known, sent, failover).await;
        (report, told.0.into_inner().unwrap())
    }

    #[tokio::test]
    async fn answers_of_pods_that_are_known_are_counted_by_what_they_say() {
        let answers = ["cart-foo", "cart-bar", "cart-baz"].map(|pod| answer(0, 200, pod));
        let (report, steps) = concluded(&answers, None, |_| ()).await;
        assert_eq!(report.by_cluster, ["foo", "bar", "baz"].map(|name| (name.to_owned(), 1)).into());
        assert_eq!((report.requests, report.attribution, report.errors.len()), (3, Source::Answers, 0));
        assert_eq!(report.remarks.last().unwrap(), "a stream broke off");
        assert_eq!(steps, [Step::Done { succeeded: 3, of: 3 }]);
    }

    #[tokio::test]
    async fn pods_are_looked_at_again_where_an_answer_names_none_that_is_known_or_some_were_sent_away() {
        let new_pod = |servers: &[FakeServer; 3]| put_pod(&servers[0], "cart-new");
        let (report, _) = concluded(&[answer(0, 200, "cart-new")], None, new_pod).await;
        assert_eq!(report.by_cluster, [("foo".to_owned(), 1)].into());

        let judge: &Judge<'_> = &|recorder, places| {
            assert_eq!(recorder.len(), 1);
            let new = places.iter().any(|place: &Place| place.pod == "cart-new");
            let done = Done { scaled: Duration::ZERO, gone: None, restored: Duration::from_secs(1) };
            let workload = if new { "Deployment/cart" } else { "nobody looked again" };
            Failover::judge(workload.to_owned(), "baz", 1, done, &[])
        };
        let (report, _) = concluded(&[answer(0, 200, "cart-foo")], Some(judge), new_pod).await;
        assert_eq!(report.failover.unwrap().workload, "Deployment/cart");
        let (report, _) = concluded(&[answer(0, 200, "cart-foo")], None, new_pod).await;
        assert_eq!(report.failover, None);
    }

    #[tokio::test]
    async fn evidence_is_gathered_only_for_failures_that_can_be_of_the_mesh() {
        let (report, steps) = concluded(&[answer(0, 500, "broken")], None, |_| ()).await;
        assert_eq!(steps, [Step::Done { succeeded: 0, of: 1 }]);
        assert_eq!(report.errors[0].kind.to_string(), "http-500");

        let answers = [answer(0, 503, "no healthy upstream"), answer(1, 200, "cart-foo")];
        let (report, steps) = concluded(&answers, None, |_| ()).await;
        assert_eq!(steps, [Step::Explaining, Step::Done { succeeded: 1, of: 2 }]);
        let failed = &report.errors[0];
        assert_eq!((failed.kind.to_string().as_str(), failed.count), ("no-endpoints", 1));
        assert_eq!(failed.sample, "no healthy upstream");

        let (report, _) = concluded(&[answer(0, 403, "RBAC: access denied")], None, |_| ()).await;
        let denied = &report.errors[0];
        assert!(denied.cause.ends_with("the client's is baz.com"), "{}", denied.cause);
        assert!(denied.next.contains("--context baz"), "{}", denied.next);
    }
}
