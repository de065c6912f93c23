use std::fmt;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};

use super::{CertificateIssuer, certificates};
use crate::fleet::{Cause, Member, RequestError};
use crate::istio::NAMESPACE;
use crate::mesh::CertManagerIssuer;
use crate::trust::svid::Certificate;

/// The API group of cert-manager's own issuers.
const GROUP: &str = "cert-manager.io";

impl CertificateIssuer {
    fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("Issuer")
    }

    fn group(&self) -> &str {
        self.group.as_deref().unwrap_or(GROUP)
    }

    /// Tells whether the other one means the same issuer, whatever of it is left to the defaults.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.name, self.kind(), self.group()) == (&other.name, other.kind(), other.group())
    }
}

impl From<&CertManagerIssuer> for CertificateIssuer {
    fn from(issuer: &CertManagerIssuer) -> Self {
        Self {
            name: issuer.name.clone(),
            kind: Some(issuer.kind.as_str().to_owned()),
            group: Some(issuer.group.clone()),
        }
    }
}

impl fmt::Display for CertificateIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name)
    }
}

/// Reads with which root an issuer signs; `None` where that is known only once it has signed, or its Secret may not be read. Of a `CA` issuer it
/// is the last certificate of the chain in the issuer's Secret (cert-manager 1.11, `pkg/issuer/ca` and `pkg/util/pki/parse.go`).
///
/// # Errors
/// [`RequestError`] when the API server gives no answer.
pub async fn issuer_root(
    member: &Member,
    issuer: &CertificateIssuer,
) -> Result<Option<Certificate>, RequestError> {
    let (kind, plural, namespace) = match (issuer.group(), issuer.kind()) {
        (GROUP, "Issuer") => ("Issuer", "issuers", NAMESPACE),
        // Where cert-manager looks for the Secrets of issuers without a namespace, unless it is told otherwise.
        (GROUP, "ClusterIssuer") => ("ClusterIssuer", "clusterissuers", "cert-manager"),
        _ => return Ok(None),
    };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1", kind), plural);
    let client = member.client().clone();
    let issuers: Api<DynamicObject> = match kind {
        "Issuer" => Api::namespaced_with(client.clone(), namespace, &resource),
        _ => Api::all_with(client.clone(), &resource),
    };
    let found = if_allowed(issuers.get_opt(&issuer.name).await)?;
    let name = found.as_ref().and_then(|found| found.data.pointer("/spec/ca/secretName")?.as_str());
    let Some(name) = name else { return Ok(None) };
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    let data = if_allowed(secrets.get_opt(name).await)?.and_then(|secret| secret.data).unwrap_or_default();
    let chain = data.get("tls.crt").map(|text| certificates(&text.0)).unwrap_or_default();
    Ok(chain.into_iter().next_back())
}

/// Takes what may not be read, and kinds that are not known, for something that is not there.
fn if_allowed<T>(read: kube::Result<Option<T>>) -> Result<Option<T>, RequestError> {
    match read.map_err(RequestError::from) {
        Err(error) if error.is_not_found() || error.cause() == Cause::Forbidden => Ok(None),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_the_default() {
        let issuer = |kind: Option<&str>, group: Option<&str>| CertificateIssuer {
            name: "istio-ca".to_owned(),
            kind: kind.map(str::to_owned),
            group: group.map(str::to_owned),
        };
        let bare = issuer(None, None);
        assert_eq!(bare.to_string(), "Issuer istio-ca");
        assert_eq!(issuer(Some("ClusterIssuer"), None).to_string(), "ClusterIssuer istio-ca");
        assert!(bare.is_same(&issuer(Some("Issuer"), Some(GROUP))));
        assert!(!bare.is_same(&issuer(Some("ClusterIssuer"), None)));
        assert!(!bare.is_same(&issuer(None, Some("awspca.cert-manager.io"))));
        assert!(!bare.is_same(&CertificateIssuer { name: "another".to_owned(), ..bare.clone() }));
    }
}
