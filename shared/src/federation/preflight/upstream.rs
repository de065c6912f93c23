//! Whether the issuer that is to sign a server's CA certificate can do so, and goes on doing so.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;

use super::PreflightError;
use crate::fleet::{Member, RequestError};
use crate::mesh::{ManagedSpire, UpstreamAuthority};
use crate::spire::discovery::{DiscoveryError, FoundUpstream};
use crate::spire::upstream::{IssuerRef, IssuerState, issuer};

/// Checks that the issuer of the mesh file can sign, and that its requests have a place.
pub(super) async fn can_sign(member: &Member, spire: &ManagedSpire) -> Result<(), PreflightError> {
    let UpstreamAuthority::CertManager(wanted) = &spire.upstream_authority else { return Ok(()) };
    let context = || member.cluster.context.clone();
    let wanted = Box::new(IssuerRef::from(wanted));
    match issuer(member, &wanted).await.map_err(DiscoveryError::Read)?.state {
        IssuerState::Ready => {}
        IssuerState::UnknownKind => return Err(PreflightError::NoCertManager(wanted)),
        IssuerState::Absent => return Err(PreflightError::NoIssuer { issuer: wanted, context: context() }),
        IssuerState::NotReady(why) => {
            return Err(PreflightError::IssuerNotReady { issuer: wanted, why, context: context() });
        }
    }
    let namespace = wanted.namespace;
    if [&spire.server_namespace, &spire.agent_namespace].contains(&&namespace) {
        return Ok(());
    }
    let namespaces: Api<Namespace> = Api::all(member.client().clone());
    match namespaces.get_metadata_opt(&namespace).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(PreflightError::NoRequestNamespace { namespace, context: context() }),
        Err(error) => Err(PreflightError::Request { what: "namespaces", source: RequestError::from(error) }),
    }
}

/// Refuses to take the upstream authority of a running server away.
///
/// A server that gets one, or another one, keeps the CA certificate that it has until it is time for the next. One that loses
/// it does not: at its start it throws away what is not in its own bundle (`filterInvalidEntries` in SPIRE 1.15.3,
/// `pkg/server/ca/manager/slot.go`), which no CA certificate is that somebody else signed.
pub(super) fn stays(found: Option<&FoundUpstream>, wanted: &UpstreamAuthority) -> Result<(), PreflightError> {
    match (found, wanted) {
        (Some(found), UpstreamAuthority::SelfSigned) => {
            Err(PreflightError::UpstreamRemoved(Box::new(found.clone())))
        }
        (Some(_), UpstreamAuthority::CertManager(_)) | (None, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::federation::preflight::managed_needs;
    use crate::fleet::Need;
    use crate::fleet::fake::FakeServer;
    use crate::fleet::listed;
    use crate::hint::Hint;
    use crate::manifest::Scope;
    use crate::mesh::{CertManagerIssuer, IssuerKind, Mesh, Spire};

    fn issuer(kind: IssuerKind) -> CertManagerIssuer {
        CertManagerIssuer {
            name: "spire-ca".to_owned(),
            kind,
            group: "cert-manager.io".to_owned(),
            namespace: "pki".to_owned(),
        }
    }

    fn found(name: &str) -> FoundUpstream {
        let wanted = CertManagerIssuer { name: name.to_owned(), ..issuer(IssuerKind::Issuer) };
        FoundUpstream { plugin: "cert-manager".to_owned(), issuer: Some(IssuerRef::from(&wanted)) }
    }

    fn told(error: &PreflightError) -> String {
        format!("{error}\nhint: {}", error.hint().unwrap_or_default())
    }

    #[test]
    fn an_upstream_authority_may_come_and_change_and_not_go() {
        let wanted = UpstreamAuthority::CertManager(issuer(IssuerKind::Issuer));
        assert!(stays(None, &UpstreamAuthority::SelfSigned).is_ok());
        assert!(stays(None, &wanted).is_ok());
        assert!(stays(Some(&found("spire-ca")), &wanted).is_ok());
        assert!(stays(Some(&found("another")), &wanted).is_ok());
        let error = stays(Some(&found("spire-ca")), &UpstreamAuthority::SelfSigned).unwrap_err();
        insta::assert_snapshot!(told(&error), @r"
        Issuer spire-ca in namespace pki signs the server's CA certificate, and the mesh file has no `upstreamAuthority`: the server would sign with a new CA at once, and no peer has it
        hint: put `upstreamAuthority` back. Another issuer may stand there: the server goes over to it while its peers get the new root. For a server that signs itself, take the mesh down first: kubectl spire-federate down
        ");
    }

    #[test]
    fn what_an_issuer_lacks_is_said_with_the_command_to_look() {
        let wanted = || Box::new(IssuerRef::from(&issuer(IssuerKind::Issuer)));
        let context = || "bar".to_owned();
        insta::assert_snapshot!(told(&PreflightError::NoCertManager(wanted())), @r"
        the API server knows no Issuer of cert-manager.io: cert-manager is not installed, or not what has this issuer
        hint: install it, or see what there is: kubectl --context CONTEXT api-resources --api-group=cert-manager.io
        ");
        insta::assert_snapshot!(told(&PreflightError::NoIssuer { issuer: wanted(), context: context() }), @r"
        Issuer spire-ca in namespace pki does not exist, so nobody would sign the server's CA certificate
        hint: make it, or name another one; see what there is: kubectl --context bar -n pki get issuers.cert-manager.io
        ");
        let why = "ErrGetKeyPair: secret \"spire-root\" not found".to_owned();
        insta::assert_snapshot!(told(&PreflightError::IssuerNotReady { issuer: wanted(), why, context: context() }), @r#"
        Issuer spire-ca in namespace pki is not ready, so nobody would sign the server's CA certificate: ErrGetKeyPair: secret "spire-root" not found
        hint: kubectl --context bar -n pki describe issuers.cert-manager.io spire-ca
        "#);
        insta::assert_snapshot!(told(&PreflightError::NoRequestNamespace { namespace: "pki".to_owned(), context: context() }), @r"
        namespace pki, in which the server is to request its CA certificate, does not exist
        hint: kubectl --context bar create namespace pki
        ");
    }

    #[test]
    fn the_rights_for_an_issuer_are_those_to_look_at_it_and_to_let_the_server_ask() {
        let mesh = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec:\n  clusters:\n    \
                    - {name: foo, trustDomain: foo.com}\n    - {name: bar, trustDomain: bar.com}\n";
        let mesh = Mesh::parse(mesh, "m.yaml").unwrap();
        let cluster = &mesh.clusters[0];
        let Spire::Managed(spire) = &cluster.spire else { panic!("it is managed") };
        let more = |kind| {
            let upstream_authority = UpstreamAuthority::CertManager(issuer(kind));
            let with = ManagedSpire { upstream_authority, ..spire.as_ref().clone() };
            let without = managed_needs(cluster, spire, Scope::Everything);
            let needs = managed_needs(cluster, &with, Scope::Everything)
                .into_iter()
                .filter(|need| !without.contains(need));
            listed(&needs.collect::<Vec<Need>>())
        };
        insta::assert_snapshot!(more(IssuerKind::Issuer), @"get/create/patch roles.rbac.authorization.k8s.io in namespace pki, get/create/patch rolebindings.rbac.authorization.k8s.io in namespace pki, get issuers.cert-manager.io in namespace pki");
        insta::assert_snapshot!(more(IssuerKind::ClusterIssuer), @"get/create/patch roles.rbac.authorization.k8s.io in namespace pki, get/create/patch rolebindings.rbac.authorization.k8s.io in namespace pki, get clusterissuers.cert-manager.io");
    }

    /// A cluster with cert-manager, in which its issuer of this name says this about being ready.
    fn with_issuer(name: &str, ready: &str) -> FakeServer {
        let server = FakeServer::default();
        let version = json!({"groupVersion": "cert-manager.io/v1", "version": "v1"});
        let group = json!({"name": "cert-manager.io", "versions": [version], "preferredVersion": version});
        server.put_raw("/apis", json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}));
        let kind: Value = json!({"name": "issuers", "singularName": "issuer", "namespaced": true, "kind": "Issuer", "verbs": ["get"]});
        server.put_raw(
            "/apis/cert-manager.io/v1",
            json!({"kind": "APIResourceList", "groupVersion": "cert-manager.io/v1", "resources": [kind]}),
        );
        server.put(
            &format!("/apis/cert-manager.io/v1/namespaces/pki/issuers/{name}"),
            json!({"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "status": {"conditions": [{"type": "Ready", "status": ready}]}}),
        );
        server
    }

    #[tokio::test]
    async fn an_issuer_can_sign_where_it_is_ready_and_its_requests_have_a_namespace() {
        let cluster = crate::mesh::Cluster::example("baz", "baz.com");
        let Spire::Managed(spire) = &cluster.spire else { panic!("it is managed") };
        let upstream_authority = UpstreamAuthority::CertManager(issuer(IssuerKind::Issuer));
        let wanted = ManagedSpire { upstream_authority, ..spire.as_ref().clone() };
        let refused = async |server: &FakeServer, spire: &ManagedSpire| {
            can_sign(&server.member("baz"), spire).await.map_err(|error| error.to_string()).err()
        };
        let ready = with_issuer("spire-ca", "True");
        let no_namespace = refused(&ready, &wanted).await.unwrap();
        assert!(no_namespace.starts_with("namespace pki, in which"), "{no_namespace}");
        ready.put("/api/v1/namespaces/pki", json!({}));
        assert_eq!(refused(&ready, &wanted).await, None);
        let namespace = with_issuer("spire-ca", "True");
        let in_pki = ManagedSpire { server_namespace: "pki".to_owned(), ..wanted.clone() };
        assert_eq!(refused(&namespace, &in_pki).await, None, "the server's namespace is made anyway");
        for (server, why) in [
            (FakeServer::default(), None),
            (with_issuer("another", "True"), Some("Issuer spire-ca in namespace pki does not exist")),
            (with_issuer("spire-ca", "False"), Some("Issuer spire-ca in namespace pki is not ready")),
        ] {
            let told = refused(&server, &wanted).await.unwrap();
            assert!(told.starts_with(why.unwrap_or_default()), "{told}");
            assert_eq!(refused(&server, spire).await, None, "it signs itself");
        }
    }
}
