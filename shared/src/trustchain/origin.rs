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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::trust::svid::Certificate;
    use crate::trustchain::judge::tests::ca;
    use crate::trustchain::{AuthorityFound, Listed, Subject};
    use crate::workload::served;

    /// Something whose path ends at an authority.
    fn inspected(issued_by: Issuer, authority: &Certificate) -> Inspected {
        let mut inspected = Inspected::unread(Subject::default(), "nothing", None);
        inspected.issued_by = issued_by;
        let certificate = Listed(authority.clone());
        inspected.authority = Some(AuthorityFound { certificate, origin: Origin::Unknown });
        inspected
    }

    fn request(ca: &[&Certificate], kind: Option<&str>, name: &str) -> Value {
        let pem: String = ca.iter().map(|certificate| certificate.to_pem()).collect();
        let mut issuer = json!({"name": name});
        if let Some(kind) = kind {
            issuer["kind"] = kind.into();
        }
        json!({"metadata": {"name": "a"}, "spec": {"issuerRef": issuer}, "status": {"ca": STANDARD.encode(pem)}})
    }

    fn authorities() -> [Certificate; 3] {
        [(); 3].map(|()| Certificate::from_der(ca(&[]).der().to_vec()).unwrap())
    }

    #[test]
    fn an_issuer_is_behind_a_root_that_it_answered_with() {
        let [own, other, third] = authorities();
        let answered = |request: &Value| answered_with(request, own.sha256).map(|origin| origin.to_string());
        let whole = request(&[&other, &own, &third], Some("ClusterIssuer"), "root");
        assert_eq!(answered(&whole).as_deref(), Some("cert-manager, ClusterIssuer root"));
        let without_kind = request(&[&own], None, "a\u{1b}");
        assert_eq!(answered(&without_kind).as_deref(), Some(r"cert-manager, Issuer a\u{1b}"));
        assert_eq!(answered(&request(&[&other, &third], None, "root")), None);
        assert_eq!(answered(&request(&[], None, "root")), None);
        assert_eq!(answered(&json!({"spec": {"issuerRef": {"name": "root"}}})), None);
    }

    #[tokio::test]
    async fn who_made_an_authority_is_read_from_what_is_public() {
        let [own, other, third] = authorities();
        let requests = |of: &Certificate, name: &str| {
            served::list(&[request(&[&third], None, "another"), request(&[of], None, name)])
        };
        let published = |of: &Certificate| json!({"metadata": {"name": "istio-ca-root-cert"}, "data": {"root-cert.pem": third.to_pem() + &of.to_pem()}});
        let map = "/api/v1/namespaces/istio-system/configmaps/istio-ca-root-cert";
        let of_istio = "/apis/cert-manager.io/v1/namespaces/istio-system/certificaterequests";
        let of_spire = "/apis/cert-manager.io/v1/namespaces/spire/certificaterequests";
        let found = async |issued_by, answers: &[(&str, Value)]| {
            let connection = served::connection(answers);
            let inspected = with_origin(&connection, inspected(issued_by, &own), "spire").await;
            inspected.authority.unwrap().origin.to_string()
        };
        let all = [
            (map, published(&own)),
            (of_istio, requests(&own, "istio")),
            (of_spire, requests(&own, "spire")),
        ];
        assert_eq!(found(Issuer::Spire, &all).await, "cert-manager, Issuer spire");
        assert_eq!(found(Issuer::Istiod, &all).await, "cert-manager, Issuer istio");
        assert_eq!(found(Issuer::Unknown, &all).await, "unknown");
        assert_eq!(found(Issuer::Spire, &all[..2]).await, "unknown");
        assert_eq!(found(Issuer::Istiod, &all[..1]).await, "istiod");
        // What istiod does not publish is not known to be its own.
        assert_eq!(found(Issuer::Istiod, &all[1..]).await, "unknown");
        assert_eq!(found(Issuer::Istiod, &[(map, published(&other))]).await, "unknown");
        assert_eq!(
            found(Issuer::Istiod, &[(map, published(&own)), (of_istio, requests(&other, "a"))]).await,
            "istiod"
        );
        // What is known already is not asked for, and where there is nothing there is nothing to find.
        let mut known = inspected(Issuer::Spire, &own);
        known.authority.as_mut().unwrap().origin = Origin::SpireServer;
        assert_eq!(with_origin(&served::connection(&all), known.clone(), "spire").await, known);
        known.authority = None;
        assert_eq!(with_origin(&served::connection(&all), known.clone(), "spire").await, known);
    }
}
