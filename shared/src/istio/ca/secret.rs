use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

use super::{CA_SECRET, certificates};
use crate::fleet::{Member, RequestError};
use crate::istio::NAMESPACE;
use crate::trust::svid::Certificate;

/// The certificates of the Secret `cacerts`. Its key is looked at only to tell whether it is there.
#[derive(Clone, PartialEq, Eq)]
pub struct CaSecret {
    /// The CA's own certificate.
    pub ca: Certificate,
    /// The roots that istiod gives to proxies.
    pub roots: Vec<Certificate>,
    /// When the Secret was made.
    pub created: Option<Timestamp>,
    /// The name of the `Certificate` that fills it; `None` where cert-manager does not.
    pub certificate: Option<String>,
}

impl fmt::Debug for CaSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaSecret({} of {})", self.ca.serial, self.ca.issuer)
    }
}

/// Why the Secret cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It could not be read.
    #[error("cannot read Secret {NAMESPACE}/{CA_SECRET}")]
    Request(#[from] RequestError),
    /// Something in it is missing, and istiod does not start with it.
    #[error("Secret {NAMESPACE}/{CA_SECRET} has no {0}")]
    Incomplete(&'static str),
    /// Something in it is no certificate.
    #[error("{0} of Secret {NAMESPACE}/{CA_SECRET} holds no certificate")]
    NoCertificate(&'static str),
}

impl CaSecret {
    /// Takes the certificates out of a Secret: with the keys of `kubernetes.io/tls`, or with those of Istio.
    ///
    /// # Errors
    /// [`SecretError`] when it is not complete.
    pub fn of(secret: &Secret) -> Result<Self, SecretError> {
        let data = secret.data.clone().unwrap_or_default();
        let (ca, key, root) = if data.contains_key("tls.crt") {
            ("tls.crt", "tls.key", "ca.crt")
        } else {
            ("ca-cert.pem", "ca-key.pem", "root-cert.pem")
        };
        let of = |name: &'static str| match data.get(name).filter(|bytes| !bytes.0.is_empty()) {
            Some(bytes) => Ok(bytes.0.as_slice()),
            None => Err(SecretError::Incomplete(name)),
        };
        of(key)?;
        let (ca_text, root_text) = (of(ca)?, of(root)?);
        let own = certificates(ca_text).into_iter().next().ok_or(SecretError::NoCertificate(ca))?;
        let roots = certificates(root_text);
        if roots.is_empty() {
            return Err(SecretError::NoCertificate(root));
        }
        let annotations = secret.metadata.annotations.as_ref();
        Ok(Self {
            ca: own,
            roots,
            created: secret.metadata.creation_timestamp.as_ref().map(|time| time.0),
            certificate: annotations.and_then(|all| all.get("cert-manager.io/certificate-name").cloned()),
        })
    }
}

/// Reads the Secret; `None` where there is none.
///
/// # Errors
/// [`SecretError`] when it cannot be read or is not complete.
pub async fn read_secret(member: &Member) -> Result<Option<CaSecret>, SecretError> {
    let secrets: Api<Secret> = Api::namespaced(member.client().clone(), NAMESPACE);
    let found = secrets.get_opt(CA_SECRET).await.map_err(RequestError::from)?;
    found.map(|secret| CaSecret::of(&secret)).transpose()
}
