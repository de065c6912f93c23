//! The path of a request from a client, and what it says about failures and clusters that did not answer.

use std::collections::BTreeSet;

use serde::Serialize;

use super::ServiceName;
use super::client::Client;
use super::explain::Explanation;
use super::failure::FailureKind;
use super::report::Sender;
use super::request::Request;
use crate::envoy::Asked;
use crate::fleet::Member;
use crate::hint::Advice;
use crate::path::{Path, Question, Stage, Stop, Verdict, follow, observe};
use crate::report::{Cell, Report, Table};

/// Follows a request from a client's pod, without sending it. `None` where the client is no pod of the mesh, or the host no service of it.
pub async fn followed(client: &Client<'_>, request: &Request, members: &[Member]) -> Option<Path> {
    // What an ingress gateway does with a request stands in its own routes, by the host that it was asked for.
    if client.is_here || client.via.is_some() {
        return None;
    }
    let service = ServiceName::of_host(request.url.host(), &client.target.namespace)?;
    let question = Question { service, port: request.url.port(), asked: asked(request) };
    let observed =
        Box::pin(observe(members, client.member, &client.target.namespace, &client.target.pod, question))
            .await;
    Some(follow(&observed))
}

fn asked(request: &Request) -> Asked {
    let url = request.url.as_str();
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find(['/', '?', '#']).map_or("/", |start| &rest[start..]);
    let path = path.split('#').next().unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let header =
        |header: &super::request::Header| (header.name().to_ascii_lowercase(), header.value().to_owned());
    Asked {
        method: request.method.as_str().to_owned(),
        path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
        headers: request.headers.iter().map(header).collect(),
    }
}

/// The stages that can be the cause of a failure of this kind.
fn stages(kind: FailureKind) -> &'static [Stage] {
    use Stage::{Application, Authorization, Endpoints, Gateway, Name, Policy, Route, Server};
    match kind {
        // Endpoints that failed for any reason are left out after a while.
        FailureKind::NoEndpoints => &[Policy, Endpoints, Gateway, Server, Application],
        FailureKind::ConnectFailed | FailureKind::Reset => &[Policy, Gateway, Server, Application],
        FailureKind::Denied => &[Authorization],
        FailureKind::NoRoute | FailureKind::NoAddress => &[Name, Route],
        FailureKind::Status(_) => &[Route],
        FailureKind::TimedOut | FailureKind::UpstreamTimeout => &[Gateway, Application],
        _ => &[],
    }
}

/// Explains failures of one kind by what stops requests on their path; `None` where nothing on it does.
pub(super) fn explanation(path: &Path, kind: FailureKind) -> Option<Explanation> {
    let stages = stages(kind);
    let shared = path.stop().map(|(_, stop)| (None, stop));
    let each = path.stops().filter(|(stage, cluster, _)| cluster.is_some() && stages.contains(stage));
    let all: Vec<(Option<&str>, &Stop)> = match shared {
        Some(shared) => vec![shared],
        None => each.map(|(_, cluster, stop)| (cluster, stop)).collect(),
    };
    let (_, first) = all.first()?;
    let mut causes: Vec<&str> = Vec::new();
    for (_, stop) in &all {
        if !causes.contains(&stop.cause.as_str()) {
            causes.push(&stop.cause);
        }
    }
    let mut cause = causes.join("; ");
    if let Some(field) = first.field.as_ref().filter(|_| causes.len() == 1) {
        cause = format!("{cause} ({field})");
    }
    Some(Explanation { cause, check: first.check, next: first.next.to_string() })
}

/// Says of clusters why they answer nothing, one sentence each. `answered` are those that did.
pub(super) fn silent(path: &Path, answered: &BTreeSet<String>) -> Vec<String> {
    let clusters: BTreeSet<&str> = path.legs.iter().filter_map(|leg| leg.cluster.as_deref()).collect();
    if let Some((stage, stop)) = path.stop() {
        return vec![told(None, stage, stop)];
    }
    let silent = clusters.into_iter().filter(|cluster| !answered.contains(*cluster));
    silent
        .filter_map(|cluster| path.stop_to(cluster).map(|(stage, stop)| told(Some(cluster), stage, stop)))
        .collect()
}

fn told(cluster: Option<&str>, stage: Stage, stop: &Stop) -> String {
    let who =
        cluster.map_or_else(|| "nobody answers".to_owned(), |cluster| format!("{cluster} answers nothing"));
    format!("{who}: stopped at stage {stage}: {}; next: {}", stop.cause, stop.next)
}

/// Says why no other cluster than `cluster` would answer; nothing where one would.
pub(super) fn obstacles(path: &Path, cluster: &str) -> Vec<String> {
    // What could not be judged is no reason to refuse.
    if path.reached().iter().chain(&path.unproven()).any(|reached| *reached != cluster) {
        return Vec::new();
    }
    if let Some((stage, stop)) = path.stop() {
        return vec![told(None, stage, stop)];
    }
    let others: BTreeSet<&str> =
        path.legs.iter().filter_map(|leg| leg.cluster.as_deref()).filter(|other| *other != cluster).collect();
    if others.is_empty() {
        return vec!["no pod of the service is ready in another cluster: nobody could take over".to_owned()];
    }
    let why = |other: &str| {
        path.stop_to(other).map(|(_, stop)| format!("{other} could not take over: {}", stop.cause))
    };
    others.into_iter().filter_map(why).collect()
}

/// The path of a request, stage by stage. The shape of its JSON is a promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathReport {
    /// What would be asked for.
    pub url: String,
    /// Who would ask.
    pub from: Sender,
    /// The clusters that requests reach: every stage lets them through.
    pub reached: Vec<String>,
    /// The clusters that they may reach: nothing stops them, and a stage could not be judged.
    pub unproven: Vec<String>,
    /// Clusters that have nothing of the service.
    pub without: Vec<String>,
    /// The stages, in the order in which they are taken; what comes after one that stops the request is left out.
    pub stages: Vec<StageReport>,
}

/// One stage of a request's path. The shape of its JSON is a promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StageReport {
    /// The stage.
    pub stage: Stage,
    /// The cluster that the request is on its way to; null for what comes before one is chosen.
    pub cluster: Option<String>,
    /// What the stage does with the request.
    pub verdict: Word,
    /// What was seen, or the cause.
    pub what: String,
    /// The object that is to be changed; null where nothing is, or it is no object.
    pub object: Option<String>,
    /// The field of it; null where there is none.
    pub field: Option<String>,
    /// What was read.
    pub evidence: Vec<String>,
    /// The next step: a sentence, or a command that can be pasted; null where nothing has to be done.
    pub next: Option<String>,
}

/// What a stage does with a request, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Word {
    /// It lets it through.
    Passes,
    /// It stops it.
    Stops,
    /// It could not be found out.
    Unknown,
}

impl Word {
    fn cell(self) -> Cell {
        match self {
            Self::Passes => Cell::good("passes"),
            Self::Stops => Cell::bad("stops"),
            Self::Unknown => Cell::attention("unknown"),
        }
    }
}

impl PathReport {
    /// Makes the report.
    #[must_use]
    pub fn new(url: String, from: Sender, path: &Path) -> Self {
        let owned = |clusters: BTreeSet<&str>| clusters.into_iter().map(str::to_owned).collect();
        let stages = path.legs.iter().map(|leg| {
            let (verdict, what, stop) = match &leg.verdict {
                Verdict::Passes(what) => (Word::Passes, what, None),
                Verdict::Unknown(why) => (Word::Unknown, why, None),
                Verdict::Stops(stop) => (Word::Stops, &stop.cause, Some(stop)),
            };
            StageReport {
                stage: leg.stage,
                cluster: leg.cluster.clone(),
                verdict,
                what: what.clone(),
                object: stop.and_then(|stop| stop.object.clone()),
                field: stop.and_then(|stop| stop.field.clone()),
                evidence: stop.map(|stop| stop.evidence.clone()).unwrap_or_default(),
                next: stop.map(|stop| Advice::to_string(&stop.next)),
            }
        });
        Self {
            url,
            from,
            reached: owned(path.reached()),
            unproven: owned(path.unproven()),
            without: path.without.iter().cloned().collect(),
            stages: stages.collect(),
        }
    }

    /// Tells whether requests reach a cluster, and nothing stops them on their way to another one.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.reached.is_empty() && self.stages.iter().all(|stage| stage.verdict != Word::Stops)
    }
}

impl Report for PathReport {
    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(["FROM", "URL", "REACHES"]);
        let reached = self.reached.join(", ");
        table.row([
            Cell::from(self.from.to_string()),
            self.url.as_str().into(),
            if reached.is_empty() { Cell::bad("nobody") } else { Cell::from(reached) },
        ]);
        if !self.unproven.is_empty() {
            table.note(format!(
                "not known, because a stage could not be judged: {}",
                self.unproven.join(", ")
            ));
        }
        if !self.without.is_empty() {
            table.note(format!("nothing of the service is in {}", self.without.join(", ")));
        }
        table
    }

    fn more_tables(&self, _wide: bool) -> Vec<Table> {
        let mut table = Table::new(["STAGE", "TO", "VERDICT", "WHAT"]);
        for stage in &self.stages {
            table.row([
                Cell::from(stage.stage.to_string()),
                stage.cluster.as_deref().into(),
                stage.verdict.cell(),
                stage.what.as_str().into(),
            ]);
            match (&stage.object, &stage.field) {
                (Some(object), Some(field)) => table.note(format!("object: {object}, field {field}")),
                (Some(object), None) => table.note(format!("object: {object}")),
                _ => {}
            }
            stage.evidence.iter().for_each(|seen| table.note(format!("seen: {seen}")));
            if let Some(next) = &stage.next {
                table.note(format!("next: {next}"));
            }
        }
        vec![table]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::CheckId;
    use crate::hint::Command;
    use crate::path::Leg;
    use crate::report::{Format, Printer};

    fn leg(stage: Stage, cluster: Option<&str>, verdict: Verdict) -> Leg {
        Leg { stage, cluster: cluster.map(str::to_owned), verdict }
    }

    fn passes() -> Verdict {
        Verdict::Passes("seen".to_owned())
    }

    fn stops(cause: &str) -> Verdict {
        Verdict::Stops(Box::new(Stop {
            cause: cause.to_owned(),
            object: Some("Service shop/cart".to_owned()),
            field: Some("spec.ports".to_owned()),
            evidence: vec!["its ports: 80".to_owned()],
            next: Command::kubectl(["-n", "shop", "edit", "service", "cart"]).at("bar").into(),
            check: Some(CheckId("istiod-synced")),
        }))
    }

    /// A path to foo, bar and baz, with these verdicts of a stage.
    fn path(stage: Stage, verdicts: [Verdict; 3]) -> Path {
        let each = ["foo", "bar", "baz"].into_iter().zip(verdicts);
        let legs = each.map(|(cluster, verdict)| leg(stage, Some(cluster), verdict));
        let legs = [leg(Stage::Route, None, passes())].into_iter().chain(legs).collect();
        Path { legs, without: ["qux".to_owned()].into() }
    }

    fn shared(stage: Stage, cause: &str) -> Path {
        Path { legs: vec![leg(stage, None, stops(cause))], without: BTreeSet::new() }
    }

    fn caused(path: &Path, kind: FailureKind) -> Option<String> {
        explanation(path, kind).map(|found| found.cause)
    }

    #[test]
    fn a_request_is_followed_by_its_method_path_and_headers() {
        let of = |url: &str| {
            let headers = vec!["X-Team: a".parse().unwrap()];
            asked(&Request::new(url.parse().unwrap(), Some("PUT".parse().unwrap()), headers, None).unwrap())
        };
        let found = of("http://a:80/b/c?d=/e#f");
        assert_eq!((found.method.as_str(), found.path.as_str()), ("PUT", "/b/c"));
        assert_eq!(found.headers, [("x-team".to_owned(), "a".to_owned())]);
        assert_eq!([of("http://a").path, of("http://a?b=/c").path], ["/", "/"]);
    }

    #[test]
    fn a_failure_is_explained_by_a_stage_that_can_be_why() {
        let three = || path(Stage::Server, [stops("no bundle"), passes(), stops("no name")]);
        assert_eq!(caused(&three(), FailureKind::ConnectFailed).as_deref(), Some("no bundle; no name"));
        assert_eq!(caused(&three(), FailureKind::Denied), None);
        let same = path(Stage::Server, [stops("no bundle"), passes(), stops("no bundle")]);
        assert_eq!(caused(&same, FailureKind::Reset).as_deref(), Some("no bundle (spec.ports)"));
        let denied = path(Stage::Authorization, [passes(), passes(), stops("a policy")]);
        assert_eq!(caused(&denied, FailureKind::Denied).as_deref(), Some("a policy (spec.ports)"));
        assert_eq!(caused(&denied, FailureKind::NoEndpoints), None);
        // What stops all requests explains whatever they were told.
        assert_eq!(
            caused(&shared(Stage::Client, "no sidecar"), FailureKind::NoAnswer).as_deref(),
            Some("no sidecar (spec.ports)")
        );
        assert_eq!(caused(&path(Stage::Server, [passes(), passes(), passes()]), FailureKind::Reset), None);
        let found = explanation(&three(), FailureKind::ConnectFailed).unwrap();
        assert_eq!(
            (found.check, found.next.as_str()),
            (Some(CheckId("istiod-synced")), "kubectl --context bar -n shop edit service cart")
        );
    }

    #[test]
    fn of_clusters_that_did_not_answer_those_are_explained_that_cannot() {
        let answered = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let path = path(Stage::Endpoints, [passes(), stops("no pod"), stops("no port")]);
        insta::assert_snapshot!(silent(&path, &answered(&["foo"])).join("\n"), @r"
        bar answers nothing: stopped at stage endpoints: no pod; next: kubectl --context bar -n shop edit service cart
        baz answers nothing: stopped at stage endpoints: no port; next: kubectl --context bar -n shop edit service cart
        ");
        assert_eq!(silent(&path, &answered(&["foo", "bar", "baz"])), [""; 0]);
        insta::assert_snapshot!(silent(&shared(Stage::Name, "no service"), &answered(&[])).join("\n"), @"nobody answers: stopped at stage name: no service; next: kubectl --context bar -n shop edit service cart");
    }

    #[test]
    fn a_failover_needs_another_cluster_that_nothing_stops() {
        let unknown = || Verdict::Unknown("you may not".to_owned());
        let of = |verdicts| obstacles(&path(Stage::Server, verdicts), "foo");
        assert_eq!(of([passes(), stops("a"), passes()]), [""; 0]);
        assert_eq!(of([passes(), stops("a"), unknown()]), [""; 0]);
        assert_eq!(
            of([passes(), stops("a"), stops("b")]),
            ["bar could not take over: a", "baz could not take over: b"]
        );
        let alone =
            Path { legs: vec![leg(Stage::Endpoints, Some("foo"), passes())], without: BTreeSet::new() };
        assert_eq!(
            obstacles(&alone, "foo"),
            ["no pod of the service is ready in another cluster: nobody could take over"]
        );
        assert_eq!(obstacles(&shared(Stage::Route, "a route"), "foo").len(), 1);
    }

    fn report(path: &Path) -> PathReport {
        let from =
            Sender { cluster: "foo".to_owned(), namespace: "sleep".to_owned(), pod: "sleep-1".to_owned() };
        PathReport::new("http://cart.shop/".to_owned(), from, path)
    }

    #[test]
    fn a_report_has_every_stage_and_claims_no_more_than_was_seen() {
        let (printer, captured) = Printer::captured(Format::Table);
        let unknown = Verdict::Unknown("you may not list pods".to_owned());
        let found = report(&path(Stage::Server, [passes(), stops("no port"), unknown.clone()]));
        printer.report(&found).unwrap();
        insta::assert_snapshot!(captured.stdout());
        insta::assert_json_snapshot!(found);
        let is_open = |verdicts| report(&path(Stage::Server, verdicts)).is_open();
        assert!(is_open([passes(), passes(), passes()]) && is_open([passes(), passes(), unknown.clone()]));
        assert!(!is_open([passes(), passes(), stops("no port")]));
        // What nobody could judge is not proven.
        assert!(!is_open([unknown.clone(), unknown.clone(), unknown]));
        assert!(!report(&shared(Stage::Client, "no sidecar")).is_open());
    }
}
