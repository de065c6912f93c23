use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;

use super::CERT_MANAGER_PLUGIN;
use crate::fleet::{Member, RequestError};
use crate::spire::discovery::FoundSpire;
use crate::spire::polls::{LONGEST_MESSAGE, fields, recent};

/// What a server's log says of its attempts to get a CA certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SigningLog {
    /// The newest attempt, where it failed, and why.
    pub failed: Option<(Timestamp, String)>,
}

/// Reads the last quarter of an hour of a server's log.
///
/// # Errors
/// [`RequestError`] when it cannot be read.
pub async fn signing_log(member: &Member, found: &FoundSpire) -> Result<SigningLog, RequestError> {
    let Some(name) = &found.pod else { return Ok(SigningLog::default()) };
    let pods: Api<Pod> = Api::namespaced(member.client().clone(), &found.namespace);
    Ok(parse_signing_log(&pods.logs(name, &recent(&found.container)).await?))
}

/// Reads a log whose lines begin with the kubelet's timestamps. A server that fails tries again every ten seconds (SPIRE 1.15.3,
/// `pkg/server/ca/rotator/rotator.go`); the plugin says in lines of its own why a request was not signed.
#[must_use]
pub fn parse_signing_log(log: &str) -> SigningLog {
    let mut found = SigningLog::default();
    let mut detail = None;
    for line in log.lines() {
        let Some((stamp, line)) = line.split_once(' ') else { continue };
        let Ok(at) = stamp.parse::<Timestamp>() else { continue };
        let fields = fields(line);
        let of = |name: &str| fields.get(name).map(String::as_str);
        match of("msg") {
            Some("X509 CA prepared") => (found.failed, detail) = (None, None),
            Some("Unable to rotate X509 CA") => {
                let error = of("error").unwrap_or("no reason given").to_owned();
                let why = match detail.take() {
                    Some(detail) => format!("{error}: {detail}"),
                    None => error,
                };
                found.failed = Some((at, why.chars().take(LONGEST_MESSAGE).collect()));
            }
            Some(message)
                if of("plugin_name") == Some(CERT_MANAGER_PLUGIN) && of("level") == Some("error") =>
            {
                detail = Some(of_plugin(message, &fields));
            }
            _ => {}
        }
    }
    found
}

/// Says in one line what the plugin logged: which request, and the words of its condition.
fn of_plugin(message: &str, fields: &BTreeMap<String, String>) -> String {
    let said = ["reason", "message"].into_iter().filter_map(|key| fields.get(key)).cloned();
    let name = fields.get("name").map(|name| format!("{message} ({name})"));
    [name.unwrap_or_else(|| message.to_owned())].into_iter().chain(said).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: &str = r#"
2026-11-24T10:00:00.1Z time="2026-11-24T10:00:00Z" level=info msg="Waiting for certificaterequest to be signed" name=spiffe-ca-x namespace=pki plugin_name=cert-manager plugin_type=UpstreamAuthority
2026-11-24T10:00:00.5Z time="2026-11-24T10:00:00Z" level=error msg="Created CertificateRequest has been denied" message="no CA for you" name=spiffe-ca-x namespace=pki plugin_name=cert-manager plugin_type=UpstreamAuthority reason=policy.example.com
2026-11-24T10:00:00.6Z time="2026-11-24T10:00:00Z" level=error msg="Unable to rotate X509 CA" error="rpc error: code = PermissionDenied desc = upstreamauthority(cert-manager): request has been denied" subsystem_name=ca_manager
"#;
    const PREPARED: &str = r#"
2026-11-24T10:00:10.6Z time="2026-11-24T10:00:10Z" level=info msg="X509 CA prepared" self_signed=false slot=B subsystem_name=ca_manager
"#;

    #[test]
    fn a_failed_attempt_comes_with_the_words_of_the_request() {
        let (at, why) = parse_signing_log(DENIED).failed.unwrap();
        assert_eq!(at, "2026-11-24T10:00:00.6Z".parse().unwrap());
        insta::assert_snapshot!(why, @"rpc error: code = PermissionDenied desc = upstreamauthority(cert-manager): request has been denied: Created CertificateRequest has been denied (spiffe-ca-x): policy.example.com: no CA for you");
    }

    #[test]
    fn an_attempt_that_succeeds_makes_an_earlier_failure_forgotten() {
        assert_eq!(parse_signing_log(&format!("{DENIED}{PREPARED}")).failed, None);
        assert!(parse_signing_log(&format!("{PREPARED}{DENIED}")).failed.is_some());
    }

    #[test]
    fn a_request_that_could_not_be_made_is_told_without_a_detail() {
        let log = r#"2026-11-24T10:00:00Z level=error msg="Unable to rotate X509 CA" error="failed to create object: forbidden""#;
        assert_eq!(parse_signing_log(log).failed.unwrap().1, "failed to create object: forbidden");
        assert_eq!(parse_signing_log("nonsense\n").failed, None);
    }
}
