use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use super::inspected::{Inspected, Origin};
use crate::envoy::Issuer;
use crate::fleet::Connection;
use crate::istio::NAMESPACE;
use crate::istio::ca::{ROOT_CONFIG_MAP, certificates};
use crate::report::escape;
use crate::trust::AuthorityDigest;

/// Finds out who made the authority at the end of a chain, from what is public in the cluster: no Secret is read.
///
/// `spire_namespace` is the SPIRE server's. What cannot be read proves nothing: the origin is then unknown.
pub async fn with_origin(
    connection: &Connection,
    mut inspected: Inspected,
    spire_namespace: &str,
) -> Inspected {
    let origin = find(connection, &inspected, spire_namespace).await;
    if let Some(authority) = &mut inspected.authority {
        authority.origin = origin;
    }
    inspected
}

async fn find(connection: &Connection, inspected: &Inspected, spire_namespace: &str) -> Origin {
    let Some(authority) = &inspected.authority else { return Origin::Unknown };
    if authority.origin != Origin::Unknown {
        return authority.origin.clone();
    }
    let root = authority.certificate.0.sha256;
    match inspected.issued_by {
        Issuer::Spire => requested(connection, spire_namespace, root).await.unwrap_or(Origin::Unknown),
        Issuer::Istiod if published(connection, root).await => {
            requested(connection, NAMESPACE, root).await.unwrap_or(Origin::Istiod)
        }
        Issuer::Istiod | Issuer::Unknown => Origin::Unknown,
    }
}

/// Tells whether istiod publishes a root.
async fn published(connection: &Connection, root: AuthorityDigest) -> bool {
    let maps: Api<ConfigMap> = Api::namespaced(connection.client().clone(), NAMESPACE);
    let Ok(Some(map)) = maps.get_opt(ROOT_CONFIG_MAP).await else { return false };
    let text = map.data.and_then(|mut data| data.remove("root-cert.pem")).unwrap_or_default();
    certificates(text.as_bytes()).iter().any(|certificate| certificate.sha256 == root)
}

/// Finds the issuer of cert-manager that answered a request of this namespace with a certificate of this root.
async fn requested(connection: &Connection, namespace: &str, root: AuthorityDigest) -> Option<Origin> {
    let kind = GroupVersionKind::gvk("cert-manager.io", "v1", "CertificateRequest");
    let resource = ApiResource::from_gvk(&kind);
    let requests: Api<DynamicObject> =
        Api::namespaced_with(connection.client().clone(), namespace, &resource);
    let listed = requests.list(&ListParams::default()).await.ok()?;
    listed.items.iter().find_map(|request| answered_with(&request.data, root))
}

fn answered_with(request: &Value, root: AuthorityDigest) -> Option<Origin> {
    let pem = STANDARD.decode(request.pointer("/status/ca")?.as_str()?).ok()?;
    if !certificates(&pem).iter().any(|certificate| certificate.sha256 == root) {
        return None;
    }
    let text = |path| request.pointer(path).and_then(Value::as_str);
    let name = text("/spec/issuerRef/name")?;
    let kind = text("/spec/issuerRef/kind").unwrap_or("Issuer");
    Some(Origin::CertManager(format!("{} {}", escape(kind), escape(name))))
}
