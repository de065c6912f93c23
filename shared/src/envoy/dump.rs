//! The parts of Envoy's configuration that are read, as it prints them.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::name::NameRule;
use crate::report::escape;

#[derive(Deserialize)]
pub(super) struct Configs<T> {
    /// Absent where there is none: the answer is then `{}`.
    #[serde(default = "Vec::new")]
    pub(super) configs: Vec<T>,
}

#[derive(Deserialize)]
pub(super) struct DynamicListener {
    pub(super) active_state: Option<ListenerState>,
}

#[derive(Deserialize)]
pub(super) struct ListenerState {
    pub(super) listener: Option<Listener>,
}

#[derive(Deserialize)]
pub(super) struct Listener {
    pub(super) address: Option<Address>,
    #[serde(default)]
    pub(super) filter_chains: Vec<FilterChain>,
    pub(super) default_filter_chain: Option<FilterChain>,
}

#[derive(Deserialize)]
pub(super) struct Address {
    pub(super) socket_address: Option<SocketAddress>,
}

#[derive(Deserialize)]
pub(super) struct SocketAddress {
    #[serde(default)]
    pub(super) address: String,
    pub(super) port_value: Option<u16>,
}

#[derive(Deserialize)]
pub(super) struct FilterChain {
    #[serde(default)]
    pub(super) name: String,
    #[serde(rename = "filter_chain_match")]
    pub(super) matched: Option<FilterChainMatch>,
    pub(super) transport_socket: Option<TransportSocket>,
}

#[derive(Deserialize, Default)]
pub(super) struct FilterChainMatch {
    pub(super) destination_port: Option<u16>,
    pub(super) transport_protocol: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct DynamicCluster {
    pub(super) cluster: Option<Cluster>,
}

#[derive(Deserialize)]
pub(super) struct Cluster {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) transport_socket_matches: Vec<SocketMatch>,
    pub(super) transport_socket: Option<TransportSocket>,
}

#[derive(Deserialize)]
pub(super) struct SocketMatch {
    pub(super) transport_socket: Option<TransportSocket>,
}

#[derive(Deserialize)]
pub(super) struct TransportSocket {
    #[serde(default)]
    name: String,
    typed_config: Option<TlsContext>,
}

impl TransportSocket {
    /// Returns the TLS settings of a socket that has any.
    pub(super) fn tls(self) -> Option<TlsContext> {
        let config = self.typed_config?;
        // The name is free text; the type is not.
        let tls = config.kind.ends_with("TlsContext") || self.name == "envoy.transport_sockets.tls";
        tls.then_some(config)
    }
}

#[derive(Deserialize)]
pub(super) struct TlsContext {
    #[serde(rename = "@type", default)]
    kind: String,
    #[serde(default)]
    pub(super) require_client_certificate: bool,
    #[serde(rename = "common_tls_context")]
    common: Option<CommonTlsContext>,
}

#[derive(Deserialize)]
struct CommonTlsContext {
    #[serde(default)]
    tls_certificate_sds_secret_configs: Vec<IgnoredAny>,
    #[serde(default)]
    tls_certificates: Vec<IgnoredAny>,
    combined_validation_context: Option<CombinedValidationContext>,
    validation_context: Option<ValidationContext>,
}

#[derive(Deserialize)]
struct CombinedValidationContext {
    default_validation_context: Option<ValidationContext>,
}

#[derive(Deserialize)]
pub(super) struct ValidationContext {
    /// What Istio writes (seen with its main branch of August 2026), although Envoy calls it deprecated.
    #[serde(default)]
    match_subject_alt_names: Vec<StringMatcher>,
    /// What Envoy would rather have.
    #[serde(default)]
    match_typed_subject_alt_names: Vec<TypedMatcher>,
}

#[derive(Deserialize)]
struct TypedMatcher {
    #[serde(default)]
    san_type: String,
    matcher: StringMatcher,
}

#[derive(Deserialize)]
struct StringMatcher {
    exact: Option<String>,
    prefix: Option<String>,
    suffix: Option<String>,
    contains: Option<String>,
    safe_regex: Option<Regex>,
}

#[derive(Deserialize)]
struct Regex {
    #[serde(default)]
    regex: String,
}

impl TlsContext {
    /// Tells whether this side shows a certificate.
    pub(super) fn has_certificate(&self) -> bool {
        self.common.as_ref().is_some_and(|common| {
            !common.tls_certificate_sds_secret_configs.is_empty() || !common.tls_certificates.is_empty()
        })
    }

    pub(super) fn validation_contexts(&self) -> impl Iterator<Item = &ValidationContext> {
        let common = self.common.iter();
        common.flat_map(|common| {
            let combined = common.combined_validation_context.as_ref();
            let default = combined.and_then(|combined| combined.default_validation_context.as_ref());
            default.into_iter().chain(&common.validation_context)
        })
    }
}

impl ValidationContext {
    pub(super) fn names(&self) -> impl Iterator<Item = NameRule> {
        let plain = self.match_subject_alt_names.iter().map(StringMatcher::rule);
        let typed = self.match_typed_subject_alt_names.iter().map(|typed| match typed.san_type.as_str() {
            "URI" => typed.matcher.rule(),
            kind => NameRule::Other(escape(&format!("{kind} {}", typed.matcher.rule())).into_owned()),
        });
        plain.chain(typed)
    }
}

impl StringMatcher {
    fn rule(&self) -> NameRule {
        let text = |text: &str| escape(text).into_owned();
        if let Some(name) = &self.exact {
            NameRule::Exact(text(name))
        } else if let Some(prefix) = &self.prefix {
            NameRule::Prefix(text(prefix))
        } else if let Some(suffix) = &self.suffix {
            NameRule::Other(format!("*{}", text(suffix)))
        } else if let Some(part) = &self.contains {
            NameRule::Other(format!("*{}*", text(part)))
        } else if let Some(regex) = &self.safe_regex {
            NameRule::Other(format!("regular expression {}", text(&regex.regex)))
        } else {
            NameRule::Other("unknown".to_owned())
        }
    }
}
