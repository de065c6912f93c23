//! Envoy's configuration.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use spire_mesh_chains::{Case, TRUST_DOMAIN};

use crate::tls::OwnCertificate;
use crate::{Ports, server_name};

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.";
const NETWORK: &str = "type.googleapis.com/envoy.extensions.filters.network.";

pub(crate) fn of(cases: &[Case], ports: Ports, certificate: &OwnCertificate) -> Value {
    let numbered = || cases.iter().enumerate();
    let clusters: Vec<Value> = numbered().map(|(index, case)| cluster(index, case, ports.upstream)).collect();
    let routes: Vec<Value> = numbered()
        .map(|(index, _)| {
            json!({"match": {"prefix": format!("/{index}/")}, "route": {"cluster": server_name(index)}})
        })
        .collect();
    let chains: Vec<Value> = numbered().map(|(index, case)| filter_chain(index, case, certificate)).collect();
    json!({"static_resources": {
        "clusters": clusters,
        "listeners": [
            {
                "name": "client",
                "address": address(ports.client),
                "filter_chains": [{"filters": [http("client", &routes)]}],
            },
            {
                "name": "server",
                "address": address(ports.server),
                "listener_filters": [{"name": "tls_inspector", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
                }}],
                "filter_chains": chains,
            },
        ],
    }})
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

fn http(name: &str, routes: &[Value]) -> Value {
    json!({"name": "http", "typed_config": {
        "@type": format!("{NETWORK}http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        }}],
    }})
}

/// Envoy as the client: one server, which has to present the chain.
fn cluster(index: usize, case: &Case, port: u16) -> Value {
    let name = server_name(index);
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": address(port)}},
        ]}]},
        "transport_socket": {"name": "tls", "typed_config": {
            "@type": format!("{TLS}UpstreamTlsContext"),
            "sni": name,
            "common_tls_context": {"tls_params": versions(), "validation_context": validator(case)},
        }},
    })
}

/// Envoy as the server: one name, for whose clients the bundle holds.
fn filter_chain(index: usize, case: &Case, certificate: &OwnCertificate) -> Value {
    json!({
        "name": server_name(index),
        "filter_chain_match": {"server_names": [server_name(index)]},
        "filters": [http("server", &[json!({
            "match": {"prefix": "/"},
            "direct_response": {"status": 200},
        })])],
        "transport_socket": {"name": "tls", "typed_config": {
            "@type": format!("{TLS}DownstreamTlsContext"),
            "require_client_certificate": true,
            "common_tls_context": {
                "tls_params": versions(),
                "tls_certificates": [{
                    "certificate_chain": {"inline_string": certificate.chain},
                    "private_key": {"inline_string": certificate.key},
                }],
                "validation_context": validator(case),
            },
        }},
    })
}

/// What Istio allows on both sides; Envoy by itself has a client end at TLS 1.2.
fn versions() -> Value {
    json!({"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"})
}

/// The validator as SPIRE's agent gives it to Envoy: a bundle for each trust domain.
fn validator(case: &Case) -> Value {
    let bundle: String = case.authorities.iter().map(|der| pem_of(der)).collect();
    json!({"custom_validator_config": {"name": "envoy.tls.cert_validator.spiffe", "typed_config": {
        "@type": format!("{TLS}SPIFFECertValidatorConfig"),
        "trust_domains": [{
            "name": TRUST_DOMAIN,
            "trust_bundle": {"inline_bytes": STANDARD.encode(bundle)},
        }],
    }}})
}

pub(crate) fn pem_of(der: &[u8]) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", der))
}
