//! What an Istio proxy really has: Envoy's own account of its secrets, of whom it lets in, of whom it accepts as a
//! server, and of the hosts that it knows.
//!
//! Asked at its admin port, forwarded by the API server: no program runs in the pod, so a distroless image will do, and so does
//! the right to forward ports. A configuration that istiod accepted is no proof that Envoy has it, so checks look here.

mod dump;
mod endpoints;
mod error;
mod hosts;
mod json;
mod name;
mod object;
mod policies;
mod routes;
mod rules;
mod secrets;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};

pub use endpoints::{Endpoint, parse_endpoints};
pub use error::ProxyError;
pub use hosts::{ClusterName, Counters, Host, HostAddress, ProxyHosts, parse_hosts};
pub use json::AnswerError;
pub(crate) use json::AtMost;
pub use name::NameRule;
pub use object::IstioObject;
pub use policies::{Policy, parse_policies};
pub use routes::{Asked, Fault, HostRoutes, MILLION, Route, RouteAction, RouteMatch, Takes, parse_routes};
pub use rules::{
    InboundChain, InboundRules, OutboundRule, OutboundRules, Protection, parse_inbound, parse_outbound,
};
pub(crate) use secrets::WholeDump;
pub use secrets::{Issuer, ProxySecrets, Received, State, Validation, parse_secrets};
pub(crate) use source::Key;

use crate::fleet::{Connection, ForwardError, PodPort, RequestError, Session};
use crate::report::one_line;

/// Name of the proxy's container, in sidecars and in gateways.
pub const CONTAINER: &str = "istio-proxy";
/// How long a proxy may take to answer.
const DEADLINE: Duration = Duration::from_secs(15);
/// The most characters of a refusal that are repeated.
const MOST_SAID: usize = 500;
/// The most bytes of a log that are read.
const MOST_LOG: i64 = 1 << 20;
/// Envoy's admin port in Istio's proxies, on `localhost`.
const ADMIN: u16 = 15000;

// What else was tried, on Envoy of August 2026 (bytes of the answer, sidecar in a mesh of 15 services; every call took
// 0.2 s, whatever its size, so the sizes matter for large meshes only):
// - `config_dump` 324 000; `config_dump?mask=dynamic_listeners` 116 000.
// - `&mask=name,secret.tls_certificate.certificate_chain,secret.validation_context` for secrets: 4 200 instead of 4 450,
//   without versions and times.
// - `name_regex` has to match the whole name: `virtualIn` finds nothing, and the answer is `{}`.
// - A mask goes through one `Any` only: `mask=active_state.listener.filter_chains` is refused (400), as is any field that
//   the message does not have; `mask=active_state.listener` saves nothing.
// - A mask of clusters must start with `cluster.`: 41 000 instead of 58 000 bytes.
const ACTIVE_SECRETS: &str = "/config_dump?resource=dynamic_active_secrets";
const WARMING_SECRETS: &str = "/config_dump?resource=dynamic_warming_secrets";
/// The answer of a proxy that has nothing of what it was asked for.
const NONE: &[u8] = b"{}";
/// 25 000 bytes instead of 111 000 for all listeners.
const INBOUND: &str = "/config_dump?resource=dynamic_listeners&name_regex=virtualInbound";
/// What is read of a cluster.
const OUTBOUND_MASK: &str = "mask=cluster.name,cluster.transport_socket,cluster.transport_socket_matches";
/// What is read of a cluster's policy.
const POLICY_MASK: &str = "mask=cluster.name,cluster.metadata,cluster.circuit_breakers";
const HOSTS: &str = "/clusters?format=json";

/// The proxy of one pod: a sidecar, or a gateway.
#[derive(Clone, Debug)]
pub struct Proxy<'a> {
    connection: &'a Connection,
    at: PodPort,
}

impl<'a> Proxy<'a> {
    /// Returns the proxy of a pod.
    #[must_use]
    pub fn of_pod(connection: &'a Connection, namespace: &str, pod: &str) -> Self {
        let at = PodPort { namespace: namespace.to_owned(), pod: pod.to_owned(), port: ADMIN };
        Self { connection, at }
    }

    /// Returns the last lines of the proxy's log, of this many seconds at most; it is bounded to 1 MiB.
    ///
    /// # Errors
    /// [`RequestError`] when it cannot be read.
    pub async fn log(&self, lines: i64, seconds: i64) -> Result<String, RequestError> {
        let pods: Api<Pod> = Api::namespaced(self.connection.client().clone(), &self.at.namespace);
        let parameters = LogParams {
            container: Some(CONTAINER.to_owned()),
            tail_lines: Some(lines),
            since_seconds: Some(seconds),
            limit_bytes: Some(MOST_LOG),
            ..LogParams::default()
        };
        Ok(pods.logs(&self.at.pod, &parameters).await?)
    }

    /// Returns the certificates that the proxy presents, and those that it verifies peers with.
    pub async fn secrets(&self) -> Result<ProxySecrets, ProxyError> {
        let mut session = self.open().await?;
        let active = self.get(&mut session, ACTIVE_SECRETS).await?;
        let unusable = |error| self.unusable(ACTIVE_SECRETS, error);
        let secrets = parse_secrets(&active, NONE).map_err(unusable)?;
        // Envoy writes its whole configuration down for each question, whatever it then leaves out: 3 ms of its processor time.
        if secrets.identity.is_some() && secrets.validation.is_some() {
            return Ok(secrets);
        }
        let warming = self.get(&mut session, WARMING_SECRETS).await?;
        parse_secrets(&active, &warming).map_err(unusable)
    }

    /// Returns whom the proxy lets in. `None` for gateways, which have no inbound listener.
    pub async fn inbound_rules(&self) -> Result<Option<InboundRules>, ProxyError> {
        let answer = self.get(&mut self.open().await?, INBOUND).await?;
        parse_inbound(&answer).map_err(|error| self.unusable(INBOUND, error))
    }

    /// Returns whom the proxy accepts as servers of every service that it knows.
    pub async fn outbound_rules(&self) -> Result<OutboundRules, ProxyError> {
        self.outbound("outbound.*").await
    }

    /// Returns whom the proxy accepts as servers of one service (`helloworld.sample.svc.cluster.local`): a few kB, however
    /// large the mesh is.
    pub async fn outbound_rules_to(&self, host: &str) -> Result<OutboundRules, ProxyError> {
        self.outbound(&format!("outbound.*{}", literally(&format!("|{host}")))).await
    }

    /// Returns what the proxy does with requests to a host and port (`helloworld.sample.svc.cluster.local`); `None` where it has no
    /// route for them: it treats the port as plain TCP, or does not know the service.
    pub async fn routes_to(&self, host: &str, port: u16) -> Result<Option<HostRoutes>, ProxyError> {
        // A port of HTTP has a configuration of its number; one whose protocol is found out by looking, one for each service.
        let request = format!("/config_dump?resource=dynamic_route_configs&name_regex=(.*%3A)%3F{port}");
        let answer = self.get(&mut self.open().await?, &request).await?;
        parse_routes(&answer, host, port).map_err(|error| self.unusable(&request, error))
    }

    /// Returns how the proxy treats a service (`helloworld.sample.svc.cluster.local`), by name of Envoy's cluster.
    pub async fn policies_to(&self, host: &str) -> Result<BTreeMap<String, Policy>, ProxyError> {
        let service = literally(&format!("|{host}"));
        let request = format!(
            "/config_dump?resource=dynamic_active_clusters&name_regex=outbound.*{service}&{POLICY_MASK}"
        );
        let answer = self.get(&mut self.open().await?, &request).await?;
        parse_policies(&answer).map_err(|error| self.unusable(&request, error))
    }

    /// Returns the endpoints of a service (`helloworld.sample.svc.cluster.local`) as istiod gave them to the proxy, by name of Envoy's
    /// cluster.
    pub async fn endpoints_of(&self, host: &str) -> Result<BTreeMap<String, Vec<Endpoint>>, ProxyError> {
        let service = literally(&format!("|{host}"));
        let request = format!(
            "/config_dump?include_eds&resource=dynamic_endpoint_configs&name_regex=outbound.*{service}"
        );
        let answer = self.get(&mut self.open().await?, &request).await?;
        parse_endpoints(&answer).map_err(|error| self.unusable(&request, error))
    }

    /// Tells whether the proxy has a listener at a port, for whatever address.
    pub async fn listens_at(&self, port: u16) -> Result<bool, ProxyError> {
        let request = format!("/config_dump?resource=dynamic_listeners&name_regex=.*_{port}&mask=name");
        let answer = self.get(&mut self.open().await?, &request).await?;
        let found: dump::Configs<serde::de::IgnoredAny> =
            json::parse(&answer).map_err(|error| self.unusable(&request, error))?;
        Ok(!found.configs.is_empty())
    }

    /// Returns the hosts that the proxy knows, and what it counted of each.
    pub async fn hosts(&self) -> Result<ProxyHosts, ProxyError> {
        self.hosts_at(HOSTS).await
    }

    /// Returns the hosts of one service (`helloworld.sample.svc.cluster.local`) that the proxy knows, and what it counted of
    /// each.
    pub async fn hosts_of(&self, host: &str) -> Result<ProxyHosts, ProxyError> {
        // Not anchored, unlike `name_regex`.
        self.hosts_at(&format!("{HOSTS}&filter={}$", literally(&format!("|{host}")))).await
    }

    /// Returns the hosts to which a gateway between networks leads for a service.
    pub async fn hosts_behind(&self, host: &str) -> Result<ProxyHosts, ProxyError> {
        self.hosts_at(&format!("{HOSTS}&filter={}$", literally(&format!("_.{host}")))).await
    }

    async fn hosts_at(&self, request: &str) -> Result<ProxyHosts, ProxyError> {
        let answer = self.get(&mut self.open().await?, request).await?;
        parse_hosts(&answer).map_err(|error| self.unusable(request, error))
    }

    async fn outbound(&self, names: &str) -> Result<OutboundRules, ProxyError> {
        let request =
            format!("/config_dump?resource=dynamic_active_clusters&name_regex={names}&{OUTBOUND_MASK}");
        let answer = self.get(&mut self.open().await?, &request).await?;
        parse_outbound(&answer).map_err(|error| self.unusable(&request, error))
    }

    async fn open(&self) -> Result<Session, ProxyError> {
        self.connection.open(&self.at, DEADLINE).await.map_err(|error| self.unanswered(error))
    }

    /// Asks for one page. What comes back may hold secrets: it goes to a parser and nowhere else.
    async fn get(&self, session: &mut Session, request: &str) -> Result<Vec<u8>, ProxyError> {
        tracing::debug!(cluster = self.connection.name(), pod = %self.at.pod, request, "asking Envoy");
        let answer = session.get(request).await.map_err(|error| self.unanswered(error))?;
        if answer.status == 200 {
            return Ok(answer.body);
        }
        let said = one_line(&String::from_utf8_lossy(&answer.body));
        Err(ProxyError::Refused {
            cluster: self.connection.name().to_owned(),
            context: self.connection.context().to_owned(),
            namespace: self.at.namespace.clone(),
            pod: self.at.pod.clone(),
            request: request.to_owned(),
            status: answer.status,
            said: said.chars().take(MOST_SAID).collect(),
        })
    }

    fn unanswered(&self, source: ForwardError) -> ProxyError {
        ProxyError::Unanswered {
            cluster: self.connection.name().to_owned(),
            namespace: self.at.namespace.clone(),
            pod: self.at.pod.clone(),
            source: Box::new(source),
        }
    }

    fn unusable(&self, request: &str, source: AnswerError) -> ProxyError {
        ProxyError::Answer {
            cluster: self.connection.name().to_owned(),
            namespace: self.at.namespace.clone(),
            pod: self.at.pod.clone(),
            request: request.to_owned(),
            source,
        }
    }
}

/// Writes a text as a regular expression that matches just that (RE2), percent-encoded for a query, which Envoy decodes.
fn literally(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut query, byte| {
        // Writing to a String cannot fail.
        let _ = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => write!(query, "{}", char::from(byte)),
            // A backslash, and the character.
            byte if byte.is_ascii_punctuation() => write!(query, "%5C%{byte:02X}"),
            byte => write!(query, "%{byte:02X}"),
        };
        query
    })
}
