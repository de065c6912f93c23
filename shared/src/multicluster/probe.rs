//! Whether one cluster's gateway can be reached from a pod of another cluster.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use crate::fleet::{ExecError, ExecProblem, ExecTarget, Member, RequestError};
use crate::istio::{EAST_WEST_GATEWAY, NAMESPACE};
use crate::report::one_line;

/// How long the command may take: it gives up by itself before.
const DEADLINE: Duration = Duration::from_secs(15);

/// What became of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It was made. What is behind it did not like the request, which is its right.
    Open,
    /// It was not made, for this reason.
    Closed(String),
}

/// Tries a TCP connection from this cluster's east-west gateway to `address`, a host and port.
///
/// `pilot-agent wait` is the one program in every image of Istio's proxy, the distroless one included, that makes a connection to an
/// address of our choice. A gateway that passes TLS through by its server name resets a connection without one: that it was reset is
/// the proof that it was reached.
pub(super) async fn way(member: &Member, address: &str) -> Result<Way, ExecError> {
    let Some(pod) = gateway_pod(member).await? else {
        return Ok(Way::Closed("no pod of the east-west gateway runs here to try it from".to_owned()));
    };
    let target = ExecTarget { namespace: NAMESPACE.to_owned(), pod, container: "istio-proxy".to_owned() };
    let url = format!("https://{address}/");
    let command = [
        "pilot-agent",
        "wait",
        "--url",
        &url,
        "--timeoutSeconds",
        "1",
        "--requestTimeoutMillis",
        "900",
        "--periodMillis",
        "100",
    ];
    let output = member.exec(&target, &command, None, DEADLINE).await?;
    Ok(if output.exit == 0 { Way::Open } else { judge(&String::from_utf8_lossy(&output.stderr)) })
}

/// Tells from what `pilot-agent wait` says last whether there was a connection.
fn judge(said: &str) -> Way {
    let line = said.lines().rev().find(|line| line.contains("Last error:")).unwrap_or(said);
    let error = line.rsplit_once("Last error:").map_or(line, |(_, error)| error).trim();
    // Go's words for a connection that was made, and then ended or was spoken to in another way.
    let made = ["connection reset by peer", "EOF", "tls:", "x509:", "malformed HTTP response"];
    if made.iter().any(|text| error.contains(text)) {
        return Way::Open;
    }
    let reason = if error.contains("connection refused") {
        "the connection is refused".to_owned()
    } else if error.contains("no such host") {
        "its name does not resolve in this cluster".to_owned()
    } else if error.contains("no route to host") || error.contains("network is unreachable") {
        "there is no route to it".to_owned()
    } else if ["deadline exceeded", "i/o timeout", "Client.Timeout"].iter().any(|text| error.contains(text)) {
        "packets get no answer".to_owned()
    } else {
        one_line(&error.chars().take(200).collect::<String>())
    };
    Way::Closed(reason)
}

async fn gateway_pod(member: &Member) -> Result<Option<String>, ExecError> {
    let pods: Api<Pod> = Api::namespaced(member.client().clone(), NAMESPACE);
    let params = ListParams::default().labels(&format!("app={EAST_WEST_GATEWAY}"));
    let list = pods.list(&params).await.map_err(|error| ExecError {
        at: ExecTarget {
            namespace: NAMESPACE.to_owned(),
            pod: EAST_WEST_GATEWAY.to_owned(),
            container: "istio-proxy".to_owned(),
        },
        program: "pilot-agent".to_owned(),
        context: member.cluster.context.clone(),
        problem: ExecProblem::Request(RequestError::from(error)),
    })?;
    let runs = |pod: &&Pod| {
        pod.metadata.deletion_timestamp.is_none()
            && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
    };
    Ok(list.items.iter().find(runs).map(ResourceExt::name_any))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(error: &str) -> String {
        match judge(&format!(
            "info x\nError: timeout waiting for Envoy proxy to become ready. Last error: Get \"https://10.3.0.129:15443/\": {error}\n"
        )) {
            Way::Open => "open".to_owned(),
            Way::Closed(reason) => reason,
        }
    }

    #[test]
    fn what_came_of_a_connection_is_told_from_gos_words() {
        assert_eq!(
            closed("read tcp 10.12.0.11:45906->10.3.0.129:15443: read: connection reset by peer"),
            "open"
        );
        assert_eq!(closed("EOF"), "open");
        assert_eq!(
            closed("dial tcp 10.3.0.129:15443: connect: connection refused"),
            "the connection is refused"
        );
        assert_eq!(
            closed("context deadline exceeded (Client.Timeout exceeded while awaiting headers)"),
            "packets get no answer"
        );
        assert_eq!(
            closed("dial tcp: lookup nlb.example: no such host"),
            "its name does not resolve in this cluster"
        );
        assert_eq!(closed("dial tcp 10.9.0.1:15443: connect: no route to host"), "there is no route to it");
    }

    #[test]
    fn what_gos_words_are_not_known_is_said_as_it_is() {
        for made in ["remote error: tls: bad", "x509: no", "malformed HTTP response"] {
            assert_eq!(closed(made), "open", "{made}");
        }
        assert_eq!(closed("connect: network is unreachable"), "there is no route to it");
        for silent in ["context deadline exceeded", "read: i/o timeout", "(Client.Timeout exceeded)"] {
            assert_eq!(closed(silent), "packets get no answer", "{silent}");
        }
        assert_eq!(
            closed("something else\u{1b}"),
            r#"Get "https://10.3.0.129:15443/": something else\u{1b}"#
        );
        assert_eq!(judge("command not found"), Way::Closed("command not found".to_owned()));
        let twice = "Last error: EOF\nLast error: connect: connection refused\nbye";
        assert_eq!(judge(twice), Way::Closed("the connection is refused".to_owned()));
        assert_eq!(judge(&"x".repeat(500)), Way::Closed("x".repeat(200)));
    }

    #[tokio::test]
    async fn the_way_is_tried_from_a_gateway_that_runs() {
        let server = crate::fleet::fake::FakeServer::default();
        let member = server.member("baz");
        let put = |name: &str, app: &str, phase: &str, deleted: Option<&str>| {
            server.put(
                &format!("/api/v1/namespaces/istio-system/pods/{name}"),
                serde_json::json!({"metadata": {"labels": {"app": app}, "deletionTimestamp": deleted}, "status": {"phase": phase}}),
            );
        };
        put("a-istiod", "istiod", "Running", None);
        put("b-waits", EAST_WEST_GATEWAY, "Pending", None);
        put("c-ends", EAST_WEST_GATEWAY, "Running", Some("2026-11-25T10:00:00Z"));
        assert_eq!(gateway_pod(&member).await.unwrap(), None);
        let closed = way(&member, "10.0.0.1:15443").await.unwrap();
        assert_eq!(
            closed,
            Way::Closed("no pod of the east-west gateway runs here to try it from".to_owned())
        );
        put("d-runs", EAST_WEST_GATEWAY, "Running", None);
        assert_eq!(gateway_pod(&member).await.unwrap().as_deref(), Some("d-runs"));
    }
}
