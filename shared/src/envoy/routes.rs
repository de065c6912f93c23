use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::dump::Configs;
use super::json::{self, AnswerError};
use super::object::IstioObject;
use crate::report::escape;

/// The most routes that are kept of one host.
const MOST_ROUTES: usize = 10_000;

/// What a proxy does with requests to one host, in the order in which it looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostRoutes {
    /// The routes: the first that takes a request counts.
    pub routes: Vec<Route>,
}

/// One way that requests to a host can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The name that its object gives it; empty where it has none.
    pub name: String,
    /// The `VirtualService` that it comes from; `None` for what Istio does by itself.
    pub object: Option<IstioObject>,
    /// Which requests it takes.
    pub takes: RouteMatch,
    /// What becomes of them.
    pub action: RouteAction,
    /// How long the answer may take; `None` without a limit.
    pub timeout: Option<Duration>,
    /// Faults that are made on purpose.
    pub fault: Option<Fault>,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAction {
    /// It is sent to one of these clusters of Envoy, each with its share.
    Forward(Vec<(String, u32)>),
    /// The proxy answers it itself, with this status.
    Answer(u16),
    /// The proxy sends the client elsewhere.
    Redirect,
    /// Something that is not understood here.
    Other,
}

/// Faults that are made on purpose (`fault` of a `VirtualService`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// The status that requests are answered with, and how many of a million.
    pub abort: Option<(u16, u32)>,
    /// How long requests are held, and how many of a million.
    pub delay: Option<(Duration, u32)>,
}

/// How many of a million are all.
pub const MILLION: u32 = 1_000_000;

/// A request, as far as routes look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// Its headers: names in lower case, and values.
    pub headers: Vec<(String, String)>,
}

/// Whether a route takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It depends on something that is not judged here, such as a regular expression.
    Perhaps,
}

impl Takes {
    fn when(met: bool) -> Self {
        if met { Self::Yes } else { Self::No }
    }

    /// Both have to hold.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Perhaps,
        }
    }

    /// One of them has to hold.
    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::No, Self::No) => Self::No,
            _ => Self::Perhaps,
        }
    }

    fn inverted(self, inverted: bool) -> Self {
        match self {
            Self::Yes if inverted => Self::No,
            Self::No if inverted => Self::Yes,
            same => same,
        }
    }
}

/// Which requests a route takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteMatch {
    path: PathMatch,
    headers: Vec<HeaderMatch>,
    /// Whether it looks at more than path and headers.
    more: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum PathMatch {
    Prefix(String),
    Exact(String),
    #[default]
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct HeaderMatch {
    name: String,
    value: ValueMatch,
    inverted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ValueMatch {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Present(bool),
    Other,
}

impl HostRoutes {
    /// Returns the route that a request takes, and those before it that may take it.
    #[must_use]
    pub fn of(&self, asked: &Asked) -> (Option<&Route>, Vec<&Route>) {
        let mut perhaps = Vec::new();
        for route in &self.routes {
            match route.takes.takes(asked) {
                Takes::Yes => return (Some(route), perhaps),
                Takes::Perhaps => perhaps.push(route),
                Takes::No => {}
            }
        }
        (None, perhaps)
    }
}

impl RouteMatch {
    /// Tells whether it takes a request.
    #[must_use]
    pub fn takes(&self, asked: &Asked) -> Takes {
        let path = match &self.path {
            PathMatch::Prefix(prefix) => Takes::when(asked.path.starts_with(prefix.as_str())),
            PathMatch::Exact(path) => Takes::when(asked.path == *path),
            PathMatch::Other => Takes::Perhaps,
        };
        let more = if self.more { Takes::Perhaps } else { Takes::Yes };
        self.headers.iter().map(|header| header.takes(asked)).fold(path.and(more), Takes::and)
    }
}

impl HeaderMatch {
    fn takes(&self, asked: &Asked) -> Takes {
        let value = match self.name.as_str() {
            ":method" => Some(asked.method.as_str()),
            ":path" => Some(asked.path.as_str()),
            // What Envoy or curl add by themselves is not known here.
            name if name.starts_with(':')
                || name.starts_with("x-") && !asked.has(name) && is_of_envoy(name) =>
            {
                return Takes::Perhaps;
            }
            name => asked.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()),
        };
        let met = match (&self.value, value) {
            (ValueMatch::Other, _) => return Takes::Perhaps,
            (ValueMatch::Present(present), value) => value.is_some() == *present,
            (_, None) => false,
            (ValueMatch::Exact(wanted), Some(value)) => value == wanted,
            (ValueMatch::Prefix(wanted), Some(value)) => value.starts_with(wanted.as_str()),
            (ValueMatch::Suffix(wanted), Some(value)) => value.ends_with(wanted.as_str()),
            (ValueMatch::Contains(wanted), Some(value)) => value.contains(wanted.as_str()),
        };
        Takes::when(met).inverted(self.inverted)
    }
}

impl Asked {
    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known == name)
    }
}

/// Tells whether a header is one that Envoy sets by itself.
fn is_of_envoy(name: &str) -> bool {
    ["x-envoy-", "x-forwarded-", "x-request-id"].iter().any(|start| name.starts_with(start))
}

/// Parses the answer to `config_dump?resource=dynamic_route_configs…`: what becomes of requests to a host and port. `None` where the
/// proxy has no route configuration with that host.
///
/// # Errors
/// [`AnswerError`] when it is no such answer.
pub fn parse_routes(answer: &[u8], host: &str, port: u16) -> Result<Option<HostRoutes>, AnswerError> {
    let dump: Configs<RawRouteConfig> = json::parse(answer)?;
    let with_port = format!("{host}:{port}");
    let is_of_host = |raw: &RawHost| raw.domains.iter().any(|domain| *domain == host || *domain == with_port);
    let hosts = dump
        .configs
        .into_iter()
        .filter_map(|config| config.route_config)
        .flat_map(|config| config.virtual_hosts);
    let mut hosts: Vec<RawHost> = hosts.filter(is_of_host).collect();
    // Where the port's configuration and one of the service alone both have it, they say the same.
    let Some(found) = hosts.pop() else { return Ok(None) };
    if found.routes.len() > MOST_ROUTES {
        return Err(AnswerError::TooMany(found.routes.len()));
    }
    Ok(Some(HostRoutes { routes: found.routes.into_iter().map(Route::from).collect() }))
}

#[derive(Deserialize)]
struct RawRouteConfig {
    route_config: Option<RawConfig>,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    virtual_hosts: Vec<RawHost>,
}

#[derive(Deserialize)]
struct RawHost {
    #[serde(default)]
    domains: Vec<String>,
    #[serde(default)]
    routes: Vec<RawRoute>,
}

#[derive(Deserialize)]
struct RawRoute {
    #[serde(default)]
    name: String,
    #[serde(rename = "match", default)]
    matched: Value,
    #[serde(default)]
    metadata: Value,
    route: Option<RawForward>,
    direct_response: Option<RawAnswer>,
    redirect: Option<Value>,
    #[serde(default)]
    typed_per_filter_config: Value,
}

#[derive(Deserialize)]
struct RawForward {
    cluster: Option<String>,
    weighted_clusters: Option<RawWeighted>,
    timeout: Option<String>,
}

#[derive(Deserialize)]
struct RawWeighted {
    #[serde(default)]
    clusters: Vec<RawWeight>,
}

#[derive(Deserialize)]
struct RawWeight {
    #[serde(default)]
    name: String,
    #[serde(default)]
    weight: u32,
}

#[derive(Deserialize)]
struct RawAnswer {
    #[serde(default)]
    status: u16,
}

impl From<RawRoute> for Route {
    fn from(raw: RawRoute) -> Self {
        let text = |text: String| escape(&text).into_owned();
        let timeout = raw.route.as_ref().and_then(|route| seconds(route.timeout.as_deref()?));
        let action = match (raw.route, raw.direct_response, raw.redirect) {
            (Some(RawForward { weighted_clusters: Some(weighted), .. }), ..) => RouteAction::Forward(
                weighted
                    .clusters
                    .into_iter()
                    .filter(|one| one.weight > 0)
                    .map(|one| (text(one.name), one.weight))
                    .collect(),
            ),
            (Some(RawForward { cluster: Some(cluster), .. }), ..) => {
                RouteAction::Forward(vec![(text(cluster), 1)])
            }
            (None, Some(answer), _) => RouteAction::Answer(answer.status),
            (None, None, Some(_)) => RouteAction::Redirect,
            _ => RouteAction::Other,
        };
        Self {
            name: text(raw.name),
            object: IstioObject::of_metadata(&raw.metadata),
            takes: RouteMatch::of(&raw.matched),
            action,
            // 0 is none.
            timeout: timeout.filter(|timeout| !timeout.is_zero()),
            fault: fault(&raw.typed_per_filter_config),
        }
    }
}

impl RouteMatch {
    fn of(raw: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let path = match (text(&raw["prefix"]), text(&raw["path"])) {
            _ if raw["case_sensitive"] == false => PathMatch::Other,
            (Some(prefix), _) => PathMatch::Prefix(prefix),
            (None, Some(path)) => PathMatch::Exact(path),
            (None, None) => PathMatch::Other,
        };
        let headers = raw["headers"].as_array().into_iter().flatten().map(HeaderMatch::of).collect();
        let known = ["prefix", "path", "safe_regex", "path_separated_prefix", "case_sensitive", "headers"];
        let more =
            raw.as_object().is_some_and(|fields| fields.keys().any(|field| !known.contains(&field.as_str())));
        Self { path, headers, more }
    }
}

impl HeaderMatch {
    fn of(raw: &Value) -> Self {
        let text = |field: &str| raw["string_match"][field].as_str().map(str::to_owned);
        let value = if raw["string_match"]["ignore_case"] == true {
            ValueMatch::Other
        } else if let Some(exact) = text("exact") {
            ValueMatch::Exact(exact)
        } else if let Some(prefix) = text("prefix") {
            ValueMatch::Prefix(prefix)
        } else if let Some(suffix) = text("suffix") {
            ValueMatch::Suffix(suffix)
        } else if let Some(part) = text("contains") {
            ValueMatch::Contains(part)
        } else if let Some(present) = raw["present_match"].as_bool() {
            ValueMatch::Present(present)
        } else {
            ValueMatch::Other
        };
        let name = raw["name"].as_str().unwrap_or_default().to_ascii_lowercase();
        Self { name, value, inverted: raw["invert_match"] == true }
    }
}

fn fault(filters: &Value) -> Option<Fault> {
    let fault = filters.get("envoy.filters.http.fault")?;
    let share = |part: &Value| {
        let numerator = part["percentage"]["numerator"].as_u64().unwrap_or(0);
        let denominator = match part["percentage"]["denominator"].as_str() {
            Some("MILLION") => u64::from(MILLION),
            Some("TEN_THOUSAND") => 10_000,
            _ => 100,
        };
        u32::try_from(numerator.saturating_mul(u64::from(MILLION)) / denominator)
            .unwrap_or(MILLION)
            .min(MILLION)
    };
    let abort = fault
        .get("abort")
        .and_then(|abort| Some((u16::try_from(abort["http_status"].as_u64()?).ok()?, share(abort))));
    let delay =
        fault.get("delay").and_then(|delay| Some((seconds(delay["fixed_delay"].as_str()?)?, share(delay))));
    Some(Fault { abort: abort.filter(|(_, share)| *share > 0), delay: delay.filter(|(_, share)| *share > 0) })
}

/// Reads a duration as protobuf's JSON writes it: `1.5s`.
fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &[u8] = include_bytes!("../../../tests/fixtures/envoy/routes.json");
    const RATINGS: &str = "ratings.bookinfo.svc.cluster.local";

    fn routes() -> HostRoutes {
        parse_routes(ROUTES, RATINGS, 9080).unwrap().unwrap()
    }

    fn asked(path: &str, headers: &[(&str, &str)]) -> Asked {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Asked {
            method: "GET".to_owned(),
            path: path.to_owned(),
            headers: headers.iter().map(owned).collect(),
        }
    }

    #[test]
    fn routes_are_read_with_the_object_that_they_come_from() {
        insta::assert_debug_snapshot!(routes());
    }

    #[test]
    fn a_host_that_the_proxy_does_not_know_has_no_routes() {
        assert_eq!(parse_routes(ROUTES, "nobody.bookinfo.svc.cluster.local", 9080), Ok(None));
        assert_eq!(parse_routes(b"{}", RATINGS, 9080), Ok(None));
        assert!(parse_routes(ROUTES, "details.bookinfo.svc.cluster.local", 9080).unwrap().is_some());
        assert!(parse_routes(b"1", RATINGS, 9080).is_err());
    }

    #[test]
    fn the_first_route_that_takes_a_request_counts() {
        let routes = routes();
        let of = |asked: &Asked| {
            let (route, perhaps) = routes.of(asked);
            (route.map(|route| route.action.clone()), perhaps.len())
        };
        assert_eq!(of(&asked("/old/x", &[])).0, Some(RouteAction::Redirect));
        assert_eq!(of(&asked("/direct", &[])), (Some(RouteAction::Answer(418)), 1));
        let subset = RouteAction::Forward(vec![(format!("outbound|9080|v9|{RATINGS}"), 1)]);
        assert_eq!(of(&asked("/ratings", &[("x", "yes")])), (Some(subset), 1));
        let split = of(&asked("/ratings", &[("x", "no")])).0.unwrap();
        let RouteAction::Forward(clusters) = split else { panic!("{split:?}") };
        assert_eq!(clusters.iter().map(|(_, weight)| *weight).collect::<Vec<_>>(), [90, 10]);
        // The regular expression also wants GET, which this is not.
        assert_eq!(of(&Asked { method: "POST".to_owned(), ..asked("/direct", &[]) }).1, 0);
    }

    #[test]
    fn a_header_is_met_by_its_value_and_what_is_not_known_may_be() {
        let of = |raw: Value, headers: &[(&str, &str)]| HeaderMatch::of(&raw).takes(&asked("/", headers));
        let exact = || serde_json::json!({"name": "X", "string_match": {"exact": "a"}});
        assert_eq!(of(exact(), &[("x", "a")]), Takes::Yes);
        assert_eq!((of(exact(), &[("x", "b")]), of(exact(), &[])), (Takes::No, Takes::No));
        let mut inverted = exact();
        inverted["invert_match"] = true.into();
        assert_eq!(
            (of(inverted.clone(), &[("x", "b")]), of(inverted, &[("x", "a")])),
            (Takes::Yes, Takes::No)
        );
        let with = |matcher: &str| serde_json::json!({"name": "x", "string_match": {matcher: "b"}});
        assert_eq!(
            [of(with("prefix"), &[("x", "bc")]), of(with("prefix"), &[("x", "cb")])],
            [Takes::Yes, Takes::No]
        );
        assert_eq!(
            [of(with("suffix"), &[("x", "cb")]), of(with("suffix"), &[("x", "bc")])],
            [Takes::Yes, Takes::No]
        );
        assert_eq!(
            [of(with("contains"), &[("x", "abc")]), of(with("contains"), &[("x", "ac")])],
            [Takes::Yes, Takes::No]
        );
        let present = |is: bool| serde_json::json!({"name": "x", "present_match": is});
        assert_eq!([of(present(true), &[("x", "")]), of(present(true), &[])], [Takes::Yes, Takes::No]);
        assert_eq!(of(present(false), &[]), Takes::Yes);
        assert_eq!(of(with("safe_regex"), &[("x", "b")]), Takes::Perhaps);
        assert_eq!(
            of(serde_json::json!({"name": ":authority", "string_match": {"exact": "a"}}), &[]),
            Takes::Perhaps
        );
        assert_eq!(
            of(serde_json::json!({"name": "x-request-id", "present_match": true}), &[]),
            Takes::Perhaps
        );
    }

    #[test]
    fn shares_of_faults_are_of_a_million() {
        let of = |denominator: &str, numerator: u64| {
            let percentage = serde_json::json!({"numerator": numerator, "denominator": denominator});
            let filters = serde_json::json!({"envoy.filters.http.fault": {
                "abort": {"http_status": 503, "percentage": percentage},
                "delay": {"fixed_delay": "1.5s", "percentage": percentage},
            }});
            fault(&filters).unwrap()
        };
        let half = Fault { abort: Some((503, 500_000)), delay: Some((Duration::from_millis(1500), 500_000)) };
        assert_eq!([of("HUNDRED", 50), of("TEN_THOUSAND", 5_000), of("MILLION", 500_000)], [half; 3]);
        assert_eq!(of("MILLION", 0), Fault::default());
        assert_eq!(of("HUNDRED", u64::MAX).abort, Some((503, MILLION)));
        assert_eq!(fault(&Value::Null), None);
    }
}
