//! What an agent serves to workloads, asked in its own pod with SPIRE's own client.
//!
//! The agents' pods have an identity for this (`manifests/spire/federation/workload-ids.yaml`): the Workload API answers nobody
//! else. It hands out the key of that identity too, which is dropped where the answer is parsed.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use super::discovery::FoundAgents;
use super::server::OutputError;
use crate::fleet::{ExecError, ExecTarget, Member};
use crate::trust::{BundleError, SpiffeId, TrustBundle, TrustDomain, hex, words_of_json};

/// How long an agent may take to answer.
const DEADLINE: Duration = Duration::from_secs(15);

/// What an agent serves to a workload of its own trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Authority key identifier of the X.509-SVID, in hexadecimal: the ID of the CA that signed it.
    pub issuer: Option<String>,
    /// The bundle of the agent's own trust domain, and those of the others.
    pub bundles: Vec<TrustBundle>,
}

impl Served {
    /// Returns the bundle of a trust domain.
    #[must_use]
    pub fn bundle(&self, domain: &TrustDomain) -> Option<&TrustBundle> {
        self.bundles.iter().find(|bundle| bundle.trust_domain() == domain)
    }
}

/// How an agent answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With an SVID and bundles.
    Served(Box<Served>),
    /// That its pod has no identity, so that it may not ask.
    NoIdentity,
}

/// Why an agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It could not be asked.
    #[error("cannot ask the agent in pod {namespace}/{pod}")]
    Exec {
        /// Namespace of its pod.
        namespace: String,
        /// Name of its pod.
        pod: String,
        /// What went wrong.
        source: Box<ExecError>,
    },
    /// It did not answer.
    #[error("the agent in pod {namespace}/{pod} did not answer: {stderr}")]
    Failed {
        /// Namespace of its pod.
        namespace: String,
        /// Name of its pod.
        pod: String,
        /// The first line that its client wrote to stderr.
        stderr: String,
    },
    /// Its answer is not one.
    #[error("the agent in pod {namespace}/{pod} gave no usable answer")]
    Output {
        /// Namespace of its pod.
        namespace: String,
        /// Name of its pod.
        pod: String,
        /// What is wrong with it.
        source: OutputError,
    },
}

/// Asks the agent in a pod what it serves.
///
/// # Errors
/// [`AgentError`] when it cannot be asked or does not answer.
pub async fn ask(member: &Member, agents: &FoundAgents, pod: &str) -> Result<Answer, AgentError> {
    let target = ExecTarget {
        namespace: agents.namespace.clone(),
        pod: pod.to_owned(),
        container: agents.container.clone(),
    };
    let command: [&str; 8] =
        [&agents.binary, "api", "fetch", "x509", "-socketPath", &agents.socket_path, "-output", "json"];
    let (namespace, pod) = (target.namespace.clone(), target.pod.clone());
    let output = match member.exec(&target, &command, None, DEADLINE).await {
        Ok(output) => output,
        Err(source) => return Err(AgentError::Exec { namespace, pod, source: Box::new(source) }),
    };
    if output.exit == 0 {
        let served = parse_served(&output.stdout);
        return served.map(|served| Answer::Served(Box::new(served))).map_err(|source| AgentError::Output {
            namespace,
            pod,
            source,
        });
    }
    // Never a word of its standard output, which is where keys would be.
    let stderr = super::server::first_lines(&output.stderr);
    // SPIRE 1.15.3, `pkg/agent/endpoints/workload/handler.go`.
    if stderr.contains("no identity issued") {
        return Ok(Answer::NoIdentity);
    }
    Err(AgentError::Failed { namespace, pod, stderr })
}

/// Parses what `spire-agent api fetch x509 -output json` writes, without its keys.
pub fn parse_served(json: &[u8]) -> Result<Served, OutputError> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(default)]
        svids: Vec<RawSvid>,
        #[serde(default)]
        federated_bundles: std::collections::BTreeMap<String, String>,
    }
    #[derive(Deserialize)]
    struct RawSvid {
        spiffe_id: String,
        x509_svid: String,
        bundle: String,
    }
    let raw: Raw = serde_json::from_slice(json).map_err(|error| OutputError::Json(words_of_json(&error)))?;
    let svid = raw.svids.into_iter().next().ok_or_else(|| OutputError::Json("no SVID".to_owned()))?;
    let id: SpiffeId = svid.spiffe_id.parse()?;
    let own = id.trust_domain().clone();
    let mut bundles = vec![bundle(&own, &svid.bundle)?];
    for (name, text) in &raw.federated_bundles {
        let domain: TrustDomain = name.strip_prefix("spiffe://").unwrap_or(name).parse()?;
        bundles.push(bundle(&domain, text)?);
    }
    Ok(Served { issuer: issuer(&svid.x509_svid)?, bundles })
}

fn bundle(trust_domain: &TrustDomain, text: &str) -> Result<TrustBundle, OutputError> {
    let invalid = |source| OutputError::Bundle { trust_domain: trust_domain.clone(), source };
    let der = STANDARD.decode(text).map_err(|error| invalid(BundleError::Base64(error.to_string())))?;
    TrustBundle::from_der_sequence(trust_domain.clone(), &der).map_err(invalid)
}

/// Reads the authority key identifier of the first certificate of a chain.
fn issuer(chain: &str) -> Result<Option<String>, OutputError> {
    let invalid = |message: String| OutputError::Json(format!("the SVID is no certificate: {message}"));
    let der = STANDARD.decode(chain).map_err(|error| invalid(error.to_string()))?;
    let (_, leaf) = X509Certificate::from_der(&der).map_err(|error| invalid(error.to_string()))?;
    let id = leaf.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| hex(id.0)),
        _ => None,
    });
    Ok(id)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    };

    use super::*;

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()).unwrap()
    }

    #[test]
    fn an_answer_holds_the_issuer_and_the_bundles_of_every_domain() {
        let (own, peer) = (authority(), authority());
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &own).unwrap();
        let json = serde_json::json!({
            "svids": [{
                "spiffe_id": "spiffe://foo.com/ns/spire-system/sa/spire-agent",
                "x509_svid": STANDARD.encode(leaf.der()),
                "x509_svid_key": "never looked at",
                "bundle": STANDARD.encode(own.der()),
            }],
            "federated_bundles": {"spiffe://bar.com": STANDARD.encode(peer.der())},
        });
        let served = parse_served(json.to_string().as_bytes()).unwrap();
        let domain = |name: &str| -> TrustDomain { name.parse().unwrap() };
        let own_bundle = served.bundle(&domain("foo.com")).unwrap();
        assert!(own_bundle.with_key_id(served.issuer.as_deref().unwrap()).is_some());
        let peer_bundle = served.bundle(&domain("bar.com")).unwrap();
        assert!(peer_bundle.with_key_id(served.issuer.as_deref().unwrap()).is_none());
        assert!(served.bundle(&domain("baz.com")).is_none());
    }

    #[test]
    fn an_answer_without_an_svid_is_none() {
        for json in
            ["", "{}", r#"{"svids":[]}"#, r#"{"svids":[{"spiffe_id":"x","x509_svid":"","bundle":""}]}"#]
        {
            assert!(parse_served(json.as_bytes()).is_err(), "{json}");
        }
    }
}
