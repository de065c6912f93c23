//! The certificates of a cluster: one authority, and one ECDSA certificate for each component.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use crate::cluster::kubeconfig::{Entry, Kubeconfig};
use crate::error::{Error, Result};
use crate::state::{ClusterDir, StateDir, write, write_secret};
use crate::topology::Cluster;

/// The user of a cluster who may do everything.
pub const ADMIN: &str = "admin";

/// Makes everything that a cluster needs to trust itself, unless it is there.
pub fn ensure(state: &StateDir, cluster: Cluster) -> Result<()> {
    let dir = state.cluster(cluster);
    let done = dir.pki().join("complete");
    if done.exists() {
        return Ok(());
    }
    let authority = Authority::new(cluster)?;
    authority.issue_all(&dir)?;
    write(&done, "")
}

/// Name of the kubelet's user of a node.
#[must_use]
pub fn kubelet_user(node: &str) -> String {
    format!("kubelet-{node}")
}

struct Authority {
    cluster: Cluster,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Who a certificate is for.
struct Subject<'a> {
    name: &'a str,
    organization: Option<&'a str>,
    addresses: Vec<String>,
}

impl Authority {
    fn new(cluster: Cluster) -> Result<Self> {
        let name = format!("{}-ca", cluster.context());
        let failed = certificate(&name);
        let mut params = params(&name, None, Vec::new()).map_err(&failed)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(&failed)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(&failed)?;
        Ok(Self { cluster, issuer })
    }

    fn issue_all(&self, dir: &ClusterDir) -> Result<()> {
        let pki = dir.pki();
        write(&pki.join("ca.crt"), self.issuer.pem())?;
        write_secret(&pki.join("ca.key"), self.issuer.key().serialize_pem())?;
        self.issue_service_account_key(&pki)?;
        self.issue_apiserver(&pki)?;
        // The lab's own machinery is not what is under test: it may do everything, like the administrator.
        let masters = Some("system:masters");
        let users = [
            (ADMIN, "admin", masters),
            ("cloud-controller-manager", "lab:cloud-controller-manager", masters),
            ("volume-provisioner", "lab:volume-provisioner", masters),
            ("kube-controller-manager", "system:kube-controller-manager", None),
            ("kube-scheduler", "system:kube-scheduler", None),
            ("kube-proxy", "system:kube-proxy", None),
        ];
        for (user, name, organization) in users {
            self.issue_user(dir, user, &Subject { name, organization, addresses: Vec::new() })?;
        }
        for node in self.cluster.nodes() {
            let (name, user) = (node.name(), kubelet_user(&node.name()));
            let addresses = vec![name.clone(), node.address().to_string(), "127.0.0.1".to_owned()];
            let subject = &Subject {
                name: &format!("system:node:{name}"),
                organization: Some("system:nodes"),
                addresses,
            };
            // The same certificate serves and asks.
            self.issue_user(dir, &user, subject)?;
        }
        Ok(())
    }

    fn issue_apiserver(&self, pki: &Path) -> Result<()> {
        let short = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1"];
        let mut addresses = short.map(str::to_owned).to_vec();
        addresses.push("kubernetes.default.svc.cluster.local".to_owned());
        addresses.push(self.cluster.api_service().to_string());
        addresses.push(self.cluster.first_node().address().to_string());
        addresses.push(self.cluster.first_node().name());
        self.issue(
            pki,
            "kube-apiserver",
            &Subject { name: "kube-apiserver", organization: None, addresses },
        )?;
        let client = Subject { name: "lab:kubelet-client", organization: None, addresses: Vec::new() };
        self.issue(pki, "kubelet-client", &client).map(drop)
    }

    fn issue_service_account_key(&self, pki: &Path) -> Result<()> {
        let key = KeyPair::generate()
            .map_err(certificate(&format!("service accounts of {}", self.cluster.name())))?;
        write_secret(&pki.join("service-account.key"), key.serialize_pem())?;
        write(&pki.join("service-account.pub"), key.public_key_pem())
    }

    fn issue(&self, pki: &Path, file: &str, subject: &Subject<'_>) -> Result<(String, String)> {
        let failed = certificate(subject.name);
        let mut params =
            params(subject.name, subject.organization, subject.addresses.clone()).map_err(&failed)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(&failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(&failed)?.pem();
        let key = key.serialize_pem();
        write(&pki.join(format!("{file}.crt")), &certificate)?;
        write_secret(&pki.join(format!("{file}.key")), &key)?;
        Ok((certificate, key))
    }

    fn issue_user(&self, dir: &ClusterDir, user: &str, subject: &Subject<'_>) -> Result<()> {
        let (certificate, key) = self.issue(&dir.pki(), user, subject)?;
        let entry = Entry {
            context: self.cluster.context(),
            server: self.cluster.server(),
            authority: STANDARD.encode(self.issuer.pem()),
            user: format!("{}-{user}", self.cluster.name()),
            certificate: STANDARD.encode(certificate),
            key: STANDARD.encode(key),
        };
        Kubeconfig::new([entry]).write(&dir.kubeconfig(user))
    }
}

fn certificate(name: &str) -> impl Fn(rcgen::Error) -> Error {
    let name = name.to_owned();
    move |source| Error::Certificate { name: name.clone(), source }
}

fn params(
    name: &str,
    organization: Option<&str>,
    addresses: Vec<String>,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(addresses)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Shape;

    #[test]
    fn a_cluster_gets_its_certificates_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir::new(dir.path());
        let cluster = Shape::default().cluster("foo").expect("it exists");
        ensure(&state, cluster).expect("issued");
        let ca = state.cluster(cluster).pki().join("ca.crt");
        let first = std::fs::read(&ca).expect("readable");
        ensure(&state, cluster).expect("there");
        assert_eq!(std::fs::read(&ca).expect("readable"), first);

        let mut files: Vec<String> = std::fs::read_dir(state.cluster(cluster).pki())
            .expect("readable")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        files.sort();
        insta::assert_snapshot!(files.join("\n"));
    }
}
