//! CAs, Secrets and pods of istiod, for tests.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;
use crate::trust::svid::Certificate;

/// A CA for tests: its certificate, and what signs with it.
pub(crate) struct Ca {
    pub(crate) pem: String,
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str, is_ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
}

impl Ca {
    pub(crate) fn root(name: &str) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), params(name, true));
        let made = params.self_signed(&key).unwrap();
        Self { pem: made.pem(), der: made.der().to_vec(), issuer: Issuer::new(params, key) }
    }

    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), params(name, true));
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Self { pem: made.pem(), der: made.der().to_vec(), issuer: Issuer::new(params, key) }
    }

    pub(crate) fn certificate(&self) -> Certificate {
        Certificate::from_der(self.der.clone()).unwrap()
    }

    /// Returns what an istiod presents that signs with this CA: its own certificate, that of the CA, and the root.
    pub(crate) fn presented(&self, root: &Self) -> Vec<Certificate> {
        let key = KeyPair::generate().unwrap();
        let leaf = params("istiod", false).signed_by(&key, &self.issuer).unwrap();
        let leaf = Certificate::from_der(leaf.der().to_vec()).unwrap();
        vec![leaf, self.certificate(), root.certificate()]
    }
}

/// The Secret of a CA, as cert-manager fills it.
pub(crate) fn secret(ca: &Ca, root: &Ca, created: &str) -> CaSecret {
    let data = [("tls.crt", ca.pem.as_str()), ("tls.key", "a key"), ("ca.crt", root.pem.as_str())];
    let mut secret = Secret {
        data: Some(data.map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec()))).into()),
        ..Secret::default()
    };
    secret.metadata.creation_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(created.parse().unwrap()));
    CaSecret::of(&secret).unwrap()
}

/// A pod of istiod that has said nothing.
pub(crate) fn istiod(started: &str, presented: Vec<Certificate>) -> SeenIstiod {
    SeenIstiod {
        pod: "istiod-1".to_owned(),
        started: Some(started.parse().unwrap()),
        presented,
        log: CaLog::default(),
    }
}
