//! How a server's regular fetches of other trust domains' bundles went, read from its log: SPIRE keeps no record of them.
//!
//! A fetch that fails is logged each time, one that brings a new bundle too; one that brings the known bundle is not (SPIRE 1.15.3,
//! `pkg/server/bundle/client/manager.go`). So a log without a failure, longer than the time between two fetches, shows that they work.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};

use super::discovery::FoundSpire;
use crate::fleet::{Member, RequestError};
use crate::trust::TrustDomain;

/// How far back the log is read.
const WINDOW: Duration = Duration::from_mins(15);
/// How much of the log is read at most, in lines from its end.
const MOST_LINES: usize = 5000;
/// The longest message that is kept, in characters.
pub(super) const LONGEST_MESSAGE: usize = 500;

/// What a server's log says of its fetches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polls {
    /// From when on the log was read; `None` where that is not known.
    pub from: Option<Timestamp>,
    /// The newest failure and the newest change for each trust domain of which the log tells one.
    pub of: BTreeMap<TrustDomain, Polled>,
}

/// What a server's log says of its fetches of one trust domain's bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// The newest fetch that failed, and why.
    pub failed: Option<(Timestamp, String)>,
    /// The newest fetch that brought a new bundle.
    pub changed: Option<Timestamp>,
}

/// Reads the last quarter of an hour of a server's log.
///
/// # Errors
/// [`RequestError`] when it cannot be read.
pub async fn polls(member: &Member, found: &FoundSpire) -> Result<Polls, RequestError> {
    let Some(name) = &found.pod else { return Ok(Polls::default()) };
    let pods: Api<Pod> = Api::namespaced(member.client().clone(), &found.namespace);
    let asked = Timestamp::now();
    let (log, pod) = try_join(pods.logs(name, &recent(&found.container)), pods.get(name)).await?;
    let mut polls = parse(&log);
    if log.lines().count() < MOST_LINES {
        // Nothing was cut off, so it begins with the window or with the container.
        polls.from = started(&pod, &found.container).max(asked.checked_sub(WINDOW).ok());
    }
    Ok(polls)
}

/// Asks for the last quarter of an hour of a container's log, with the kubelet's timestamps.
pub(super) fn recent(container: &str) -> LogParams {
    LogParams {
        container: Some(container.to_owned()),
        since_seconds: i64::try_from(WINDOW.as_secs()).ok(),
        tail_lines: i64::try_from(MOST_LINES).ok(),
        timestamps: true,
        ..LogParams::default()
    }
}

fn started(pod: &Pod, container: &str) -> Option<Timestamp> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let status = statuses.iter().find(|status| status.name == container)?;
    status.state.as_ref()?.running.as_ref()?.started_at.as_ref().map(|time| time.0)
}

/// Reads a log whose lines begin with the kubelet's timestamps, in either of SPIRE's formats.
#[must_use]
pub fn parse(log: &str) -> Polls {
    let mut polls = Polls::default();
    for line in log.lines() {
        let Some((stamp, line)) = line.split_once(' ') else { continue };
        let Ok(at) = stamp.parse::<Timestamp>() else { continue };
        polls.from.get_or_insert(at);
        let fields = fields(line);
        let of = |name: &str| fields.get(name).map(String::as_str);
        if of("subsystem_name") != Some("bundle_client") {
            continue;
        }
        let Some(Ok(domain)) = of("trust_domain").map(str::parse::<TrustDomain>) else { continue };
        let polled = polls.of.entry(domain).or_default();
        match of("msg") {
            Some("Error updating bundle") => {
                let why = of("error").unwrap_or("no reason given").chars().take(LONGEST_MESSAGE).collect();
                polled.failed = Some((at, why));
            }
            Some("Bundle refreshed") => polled.changed = Some(at),
            _ => {}
        }
    }
    polls
}

/// Reads the fields of a line of logrus, as JSON or as `key=value` with quoted values.
pub(super) fn fields(line: &str) -> BTreeMap<String, String> {
    if line.starts_with('{') {
        let fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).unwrap_or_default();
        let text = |value: serde_json::Value| value.as_str().map(str::to_owned);
        return fields.into_iter().filter_map(|(key, value)| Some((key, text(value)?))).collect();
    }
    let mut found = BTreeMap::new();
    let mut rest = line;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.rsplit(' ').next().unwrap_or_default().to_owned();
        let (value, after) = after.strip_prefix('"').map_or_else(|| unquoted(after), unquote);
        found.insert(key, value);
        rest = after;
    }
    found
}

/// Reads to the next space, and returns the text and what follows.
fn unquoted(text: &str) -> (String, &str) {
    let (value, after) = text.split_once(' ').unwrap_or((text, ""));
    (value.to_owned(), after)
}

/// Reads to the closing quote, and returns the text and what follows.
fn unquote(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return (text, &quoted[index + 1..]),
            '\\' => text.extend(chars.next().map(|(_, c)| c)),
            c => text.push(c),
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"
2026-11-24T10:00:00.5Z time="2026-11-24T10:00:00Z" level=info msg="Serving bundle endpoint" addr="0.0.0.0:8443" subsystem_name=endpoints
2026-11-24T10:01:00.5Z time="2026-11-24T10:01:00Z" level=info msg="Bundle refreshed" subsystem_name=bundle_client trust_domain=bar.com
2026-11-24T10:02:15.5Z time="2026-11-24T10:02:15Z" level=error msg="Error updating bundle" error="failed to fetch: Get \"https://10.3.0.10:30010\": unexpected ID" subsystem_name=bundle_client trust_domain=bar.com
2026-11-24T10:03:00.5Z {"error":"i/o timeout","level":"error","msg":"Error updating bundle","subsystem_name":"bundle_client","trust_domain":"baz.com"}
2026-11-24T10:04:00.5Z {"level":"error","msg":"Error updating bundle","subsystem_name":"somebody_else","trust_domain":"qux.com"}
nonsense
"#;

    #[test]
    fn failures_and_changes_are_read_from_both_formats() {
        let polls = parse(LOG.trim_start());
        assert_eq!(polls.from, Some("2026-11-24T10:00:00.5Z".parse().unwrap()));
        let of = |name: &str| polls.of.get(&name.parse().unwrap()).cloned();
        let bar = of("bar.com").unwrap();
        assert_eq!(bar.changed, Some("2026-11-24T10:01:00.5Z".parse().unwrap()));
        insta::assert_snapshot!(bar.failed.unwrap().1, @r#"failed to fetch: Get "https://10.3.0.10:30010": unexpected ID"#);
        assert_eq!(of("baz.com").unwrap().failed.unwrap().1, "i/o timeout");
        assert_eq!(of("qux.com"), None);
    }

    #[test]
    fn what_is_no_log_of_spire_gives_nothing_and_does_not_panic() {
        for log in
            ["", "=", "2026-11-24T10:00:00Z =\"", "2026-11-24T10:00:00Z {", "2026-11-24T10:00:00Z a=\"\\"]
        {
            assert!(parse(log).of.is_empty(), "{log}");
        }
    }
}
