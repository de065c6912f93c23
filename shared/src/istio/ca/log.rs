use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};

use crate::fleet::{Member, RequestError};
use crate::istio::NAMESPACE;
use crate::istio::istiod::CONTAINER;
use crate::report::one_line;

/// How far back a log is read.
const WINDOW: Duration = Duration::from_mins(30);
/// The most of a log that is read, in bytes.
const MOST: i64 = 16 << 20;

/// What istiod's log says of its CA: when each thing was said last, by the kubelet's clock
/// (Istio 1.31, `pilot/pkg/bootstrap/istio_ca.go` and `certcontroller.go`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaLog {
    /// It presents a certificate that it has just made.
    pub reloaded: Option<Timestamp>,
    /// It does not take a CA with another root.
    pub refused_root: Option<Timestamp>,
    /// It cannot use what is in `cacerts`, and why.
    pub failed: Option<(Timestamp, String)>,
}

/// Reads the last half an hour of what a pod of istiod says of its CA.
///
/// # Errors
/// [`RequestError`] when it cannot be read.
pub async fn ca_log(member: &Member, pod: &str) -> Result<CaLog, RequestError> {
    let pods: Api<Pod> = Api::namespaced(member.client().clone(), NAMESPACE);
    let params = LogParams {
        container: Some(CONTAINER.to_owned()),
        since_seconds: i64::try_from(WINDOW.as_secs()).ok(),
        limit_bytes: Some(MOST),
        timestamps: true,
        ..LogParams::default()
    };
    Ok(parse_ca_log(&pods.logs(pod, &params).await?))
}

/// Reads a log whose lines begin with the kubelet's timestamps. The words are the same in text and in JSON.
#[must_use]
pub fn parse_ca_log(log: &str) -> CaLog {
    let mut found = CaLog::default();
    for line in log.lines() {
        let Some((stamp, line)) = line.split_once(' ') else { continue };
        let Ok(at) = stamp.parse::<Timestamp>() else { continue };
        if line.contains("Istiod certificates are reloaded") {
            found.reloaded = Some(at);
        } else if line.contains("updating new ROOT-CA not supported")
            || line.contains("Updating new ROOT-CA not supported")
        {
            found.refused_root = Some(at);
        } else if let Some(start) = line.find("Failed to update new Plug-in CA certs") {
            let words: String = line[start..].chars().take(300).collect();
            found.failed = Some((at, one_line(&words)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_line_counts() {
        let log = "\
2026-11-25T18:25:51.900000000Z 2026-11-25T18:25:51.847279Z\tinfo\tIstiod certificates are reloaded
2026-11-25T18:40:00.100000000Z 2026-11-25T18:40:00.000001Z\tinfo\tUpdate Istiod cacerts
2026-11-25T18:40:00.200000000Z 2026-11-25T18:40:00.000002Z\twarn\tMulti root is disabled, updating new ROOT-CA not supported
2026-11-25T18:41:00.000000000Z {\"level\":\"error\",\"msg\":\"Failed to update new Plug-in CA certs: cannot verify\"}
2026-11-25T18:42:00.300000000Z 2026-11-25T18:42:00.000003Z\tinfo\tIstiod certificates are reloaded
not a line of a log
";
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let found = parse_ca_log(log);
        assert_eq!(found.reloaded, Some(at("2026-11-25T18:42:00.3Z")));
        assert_eq!(found.refused_root, Some(at("2026-11-25T18:40:00.2Z")));
        let (when, words) = found.failed.unwrap();
        assert_eq!(when, at("2026-11-25T18:41:00Z"));
        insta::assert_snapshot!(words, @r#"Failed to update new Plug-in CA certs: cannot verify"}"#);
    }

    #[test]
    fn a_root_is_refused_in_either_spelling_and_long_words_are_cut() {
        let stamp = "2026-11-25T18:25:51.9Z";
        for words in ["updating new ROOT-CA not supported", "Updating new ROOT-CA not supported"] {
            assert!(parse_ca_log(&format!("{stamp} x {words}")).refused_root.is_some());
        }
        assert_eq!(parse_ca_log("yesterday Istiod certificates are reloaded"), CaLog::default());
        assert_eq!(parse_ca_log(&format!("{stamp} nothing of interest")), CaLog::default());
        let long =
            parse_ca_log(&format!("{stamp} x Failed to update new Plug-in CA certs: {}", "y".repeat(400)));
        assert_eq!(long.failed.unwrap().1.len(), 300);
    }
}
