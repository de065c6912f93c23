use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::dump::{self, Listener, SocketMatch, TlsContext, TransportSocket, ValidationContext};
use super::json::{self, AnswerError};
use super::name::NameRule;
use crate::report::escape;
use crate::trust::SpiffeId;

/// Whom a sidecar lets in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InboundRules {
    /// The filter chains of its inbound listener that application traffic can take.
    pub chains: Vec<InboundChain>,
}

/// One filter chain of a sidecar's inbound listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InboundChain {
    /// Its name; those of one listener may share it.
    pub name: String,
    /// The port of the application that it is for; `None` for all that have no chain of their own.
    pub port: Option<u16>,
    /// How it is protected.
    pub protection: Protection,
}

/// How a filter chain is protected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Protection {
    /// By TLS with a certificate of the client, which has to meet one of these rules. An empty set admits everybody whom the
    /// authorities vouch for.
    Mutual(BTreeSet<NameRule>),
    /// By TLS without a certificate of the client.
    ServerOnly,
    /// The proxy passes TLS on to the application without looking into it.
    PassedOn,
    /// Not at all.
    Plaintext,
}

impl InboundRules {
    /// Returns what names are admitted by at least one chain with mutual TLS.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&NameRule> {
        self.mutual().flat_map(|(_, rules)| rules).collect()
    }

    /// Returns the chains with mutual TLS that admit every name.
    pub fn without_names(&self) -> impl Iterator<Item = &InboundChain> {
        self.mutual().filter(|(_, rules)| rules.is_empty()).map(|(chain, _)| chain)
    }

    /// Tells whether all chains with mutual TLS admit the same names, as Istio configures it.
    #[must_use]
    pub fn agree(&self) -> bool {
        let mut sets = self.mutual().map(|(_, rules)| rules);
        let first = sets.next();
        sets.all(|set| Some(set) == first)
    }

    /// Tells whether every chain with mutual TLS admits a SPIFFE ID, and there is one.
    #[must_use]
    pub fn admits(&self, id: &SpiffeId) -> bool {
        let admits =
            |rules: &BTreeSet<NameRule>| rules.is_empty() || rules.iter().any(|rule| rule.admits(id));
        self.mutual().next().is_some() && self.mutual().all(|(_, rules)| admits(rules))
    }

    /// Tells whether application traffic without TLS is accepted (`PeerAuthentication` of mode PERMISSIVE or DISABLE).
    #[must_use]
    pub fn accepts_plaintext(&self) -> bool {
        self.chains.iter().any(|chain| chain.protection == Protection::Plaintext)
    }

    /// Tells whether no chain takes mutual TLS (`PeerAuthentication` of mode DISABLE). Without chains nothing is known.
    #[must_use]
    pub fn takes_no_mutual_tls(&self) -> bool {
        !self.chains.is_empty() && self.mutual().next().is_none()
    }

    fn mutual(&self) -> impl Iterator<Item = (&InboundChain, &BTreeSet<NameRule>)> {
        self.chains.iter().filter_map(|chain| match &chain.protection {
            Protection::Mutual(rules) => Some((chain, rules)),
            _ => None,
        })
    }
}

/// Parses the answer to `config_dump?resource=dynamic_listeners&name_regex=virtualInbound`. `None` where there is no such
/// listener: gateways have none.
///
/// # Errors
/// [`AnswerError`] when it is no such answer.
pub fn parse_inbound(answer: &[u8]) -> Result<Option<InboundRules>, AnswerError> {
    let dump: dump::Configs<dump::DynamicListener> = json::parse(answer)?;
    let listeners = dump.configs.into_iter().filter_map(|entry| entry.active_state?.listener);
    let Some(listener) = listeners.into_iter().next() else { return Ok(None) };
    Ok(Some(InboundRules { chains: inbound_chains(listener) }))
}

fn inbound_chains(listener: Listener) -> Vec<InboundChain> {
    let own_port = listener.address.and_then(|address| address.socket_address?.port_value);
    let default = listener.default_filter_chain;
    let chains = listener.filter_chains.into_iter().chain(default).filter_map(|chain| {
        let matched = chain.matched.unwrap_or_default();
        // What is sent to the port of the listener itself ends in a black hole, lest it be called in circles.
        if matched.destination_port.is_some() && matched.destination_port == own_port {
            return None;
        }
        let protection = match chain.transport_socket.and_then(TransportSocket::tls) {
            Some(tls) if tls.require_client_certificate => Protection::Mutual(names(&tls)),
            Some(_) => Protection::ServerOnly,
            None if matched.transport_protocol.as_deref() == Some("tls") => Protection::PassedOn,
            None => Protection::Plaintext,
        };
        Some(InboundChain {
            name: escape(&chain.name).into_owned(),
            port: matched.destination_port,
            protection,
        })
    });
    chains.collect()
}

/// Whom a proxy accepts as servers, by name of Envoy's cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OutboundRules {
    /// The rules by name of the cluster, `outbound|5000||helloworld.sample.svc.cluster.local`.
    pub clusters: BTreeMap<String, OutboundRule>,
}

/// Whom a proxy accepts as servers of one of Envoy's clusters.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboundRule {
    /// Whether it shows a certificate of its own to some of the hosts: to those of the mesh, where Istio decides.
    pub mutual: bool,
    /// What the certificate of a host has to say. With `mutual`, an empty set accepts every name.
    pub names: BTreeSet<NameRule>,
    /// Whether some of the hosts are called without TLS: those outside the mesh, where Istio decides.
    pub plaintext: bool,
}

/// Parses the answer to `config_dump?resource=dynamic_active_clusters…`, with or without a mask.
///
/// # Errors
/// [`AnswerError`] when it is no such answer.
pub fn parse_outbound(answer: &[u8]) -> Result<OutboundRules, AnswerError> {
    let dump: dump::Configs<dump::DynamicCluster> = json::parse(answer)?;
    let mut clusters = BTreeMap::new();
    for cluster in dump.configs.into_iter().filter_map(|entry| entry.cluster) {
        let mut rule = OutboundRule::default();
        let by_host = cluster
            .transport_socket_matches
            .into_iter()
            .map(|SocketMatch { transport_socket }| transport_socket);
        let sockets: Vec<_> = by_host.chain(cluster.transport_socket.map(Some)).collect();
        rule.plaintext = sockets.is_empty();
        for socket in sockets {
            match socket.and_then(TransportSocket::tls) {
                Some(tls) => {
                    rule.mutual |= tls.has_certificate();
                    rule.names.extend(names(&tls));
                }
                None => rule.plaintext = true,
            }
        }
        clusters.insert(escape(&cluster.name).into_owned(), rule);
    }
    Ok(OutboundRules { clusters })
}

fn names(tls: &TlsContext) -> BTreeSet<NameRule> {
    let contexts = tls.validation_contexts();
    contexts.flat_map(ValidationContext::names).collect()
}
