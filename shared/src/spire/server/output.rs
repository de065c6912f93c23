//! Parsers of what `spire-server … -output json` writes: protobuf's JSON, so 64-bit numbers are strings.
//!
//! Pure functions on bytes that never panic; fields that later versions add are ignored.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use crate::trust::{
    BundleError, SpiffeId, SpiffeIdError, TrustBundle, TrustDomain, TrustDomainError, words_of_json,
};

/// Why output of the server cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// Not UTF-8.
    #[error("it is not text")]
    Text,
    /// Not the JSON that is expected.
    #[error("it is not the expected JSON: {0}")]
    Json(String),
    /// A trust domain in it is not valid.
    #[error(transparent)]
    TrustDomain(#[from] TrustDomainError),
    /// A SPIFFE ID in it is not valid.
    #[error(transparent)]
    SpiffeId(#[from] SpiffeIdError),
    /// A bundle in it is not valid.
    #[error("the bundle of {trust_domain} is not valid")]
    Bundle {
        /// Whose bundle.
        trust_domain: TrustDomain,
        /// What is wrong.
        source: BundleError,
    },
    /// The server refused, and said so in its answer.
    #[error("the server refused: {message} (code {code})")]
    Refused {
        /// gRPC status code.
        code: i32,
        /// The server's words.
        message: String,
    },
}

/// A dynamic federation relationship as the server holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Relationship {
    /// The trust domain that is trusted.
    pub trust_domain: TrustDomain,
    /// Address of its bundle endpoint.
    pub url: String,
    /// How the endpoint proves who it is.
    pub profile: Profile,
}

/// How a bundle endpoint proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// By an X.509-SVID with this SPIFFE ID.
    HttpsSpiffe(SpiffeId),
    /// By a certificate of a public CA.
    HttpsWeb,
    /// By something that this version does not know.
    Other,
}

/// An agent that has attested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// `spiffe://TRUST-DOMAIN/spire/agent/k8s_psat/CLUSTER/NODE-UID`.
    pub id: SpiffeId,
    /// How it attested: `k8s_psat`.
    pub attestation_type: String,
    /// End of its SVID, in seconds since 1970 (UTC).
    pub expires_at: i64,
    /// Serial number of its SVID, in decimal; another one after every renewal.
    pub serial: String,
    /// It may not come back.
    pub banned: bool,
    /// Its version; from SPIRE 1.14.3 on.
    pub version: Option<String>,
}

/// A registration entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// ID of the entry.
    pub id: String,
    /// The identity that it gives.
    pub spiffe_id: SpiffeId,
    /// The agent whose workloads may have it.
    pub parent_id: SpiffeId,
    /// What a workload has to be.
    pub selectors: Vec<Selector>,
    /// The trust domains whose bundles come with it.
    pub federates_with: Vec<TrustDomain>,
}

impl Entry {
    /// Returns the UID of the pod that it selects, as the controller-manager's entries do.
    #[must_use]
    pub fn pod_uid(&self) -> Option<&str> {
        let selectors = self.selectors.iter().filter(|selector| selector.kind == "k8s");
        selectors.map(|selector| &selector.value).find_map(|value| value.strip_prefix("pod-uid:"))
    }
}

/// One property that a workload has to have: `k8s:pod-uid:…`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selector {
    /// Name of the attestor: `k8s`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it found: `pod-uid:…`.
    pub value: String,
}

/// The server's own CA certificates. A certificate that is not there is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LocalAuthorities {
    /// The one that signs.
    pub active: Option<LocalAuthority>,
    /// The one that will.
    pub prepared: Option<LocalAuthority>,
    /// The one that did.
    pub old: Option<LocalAuthority>,
}

/// One of the server's own CA certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalAuthority {
    /// Subject key identifier, as hex: the authority key identifier of what it signed.
    #[serde(rename = "authority_id")]
    pub id: String,
    /// End of validity, in seconds since 1970 (UTC).
    #[serde(deserialize_with = "int64")]
    pub expires_at: i64,
    /// Subject key identifier of the CA above it; empty where it signed itself.
    #[serde(rename = "upstream_authority_subject_key_id", default)]
    pub upstream_id: String,
}

#[derive(Deserialize)]
struct RawBundle {
    trust_domain: String,
    #[serde(default)]
    x509_authorities: Vec<RawAuthority>,
}

#[derive(Deserialize)]
struct RawAuthority {
    asn1: String,
}

#[derive(Deserialize)]
struct RawId {
    trust_domain: String,
    #[serde(default)]
    path: String,
}

/// Parses `bundle show`.
pub fn parse_bundle(json: &[u8]) -> Result<TrustBundle, OutputError> {
    parse::<RawBundle>(json)?.bundle()
}

/// Parses `bundle list`.
pub fn parse_bundles(json: &[u8]) -> Result<Vec<TrustBundle>, OutputError> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(default)]
        bundles: Vec<RawBundle>,
    }
    parse::<Raw>(json)?.bundles.into_iter().map(RawBundle::bundle).collect()
}

/// Parses `bundle set` and `bundle delete`, whose exit code is 0 even when the server refused.
pub fn parse_set_results(json: &[u8]) -> Result<(), OutputError> {
    #[derive(Deserialize)]
    struct Raw {
        results: Vec<RawResult>,
    }
    #[derive(Deserialize)]
    struct RawResult {
        status: RawStatus,
    }
    #[derive(Deserialize)]
    struct RawStatus {
        #[serde(default)]
        code: i32,
        #[serde(default)]
        message: String,
    }
    let results = parse::<Raw>(json)?.results;
    if results.is_empty() {
        return Err(OutputError::Json("no result".to_owned()));
    }
    match results.into_iter().map(|result| result.status).find(|status| status.code != 0) {
        Some(RawStatus { code, message }) => Err(OutputError::Refused { code, message }),
        None => Ok(()),
    }
}

/// Parses `federation list`.
pub fn parse_relationships(json: &[u8]) -> Result<Vec<Relationship>, OutputError> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(default)]
        federation_relationships: Vec<RawRelationship>,
    }
    #[derive(Deserialize)]
    struct RawRelationship {
        trust_domain: String,
        #[serde(default)]
        bundle_endpoint_url: String,
        https_spiffe: Option<RawSpiffe>,
        https_web: Option<serde::de::IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct RawSpiffe {
        endpoint_spiffe_id: String,
    }
    let relationship = |raw: RawRelationship| {
        let profile = match (raw.https_spiffe, raw.https_web) {
            (Some(spiffe), _) => Profile::HttpsSpiffe(spiffe.endpoint_spiffe_id.parse()?),
            (None, Some(_)) => Profile::HttpsWeb,
            (None, None) => Profile::Other,
        };
        Ok(Relationship { trust_domain: raw.trust_domain.parse()?, url: raw.bundle_endpoint_url, profile })
    };
    parse::<Raw>(json)?.federation_relationships.into_iter().map(relationship).collect()
}

/// Parses `agent list`.
pub fn parse_agents(json: &[u8]) -> Result<Vec<Agent>, OutputError> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(default)]
        agents: Vec<RawAgent>,
    }
    #[derive(Deserialize)]
    struct RawAgent {
        id: RawId,
        #[serde(default)]
        attestation_type: String,
        #[serde(deserialize_with = "int64")]
        x509svid_expires_at: i64,
        #[serde(default)]
        x509svid_serial_number: String,
        #[serde(default)]
        banned: bool,
        #[serde(default)]
        agent_version: String,
    }
    let agent = |raw: RawAgent| {
        Ok(Agent {
            id: raw.id.spiffe_id()?,
            attestation_type: raw.attestation_type,
            expires_at: raw.x509svid_expires_at,
            serial: raw.x509svid_serial_number,
            banned: raw.banned,
            version: Some(raw.agent_version).filter(|version| !version.is_empty()),
        })
    };
    parse::<Raw>(json)?.agents.into_iter().map(agent).collect()
}

/// Parses `entry show`.
pub fn parse_entries(json: &[u8]) -> Result<Vec<Entry>, OutputError> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(default)]
        entries: Vec<RawEntry>,
    }
    #[derive(Deserialize)]
    struct RawEntry {
        #[serde(default)]
        id: String,
        spiffe_id: RawId,
        parent_id: RawId,
        #[serde(default)]
        selectors: Vec<Selector>,
        #[serde(default)]
        federates_with: Vec<String>,
    }
    let entry = |raw: RawEntry| {
        Ok(Entry {
            id: raw.id,
            spiffe_id: raw.spiffe_id.spiffe_id()?,
            parent_id: raw.parent_id.spiffe_id()?,
            selectors: raw.selectors,
            federates_with: raw
                .federates_with
                .iter()
                .map(|name| Ok(name.parse()?))
                .collect::<Result<_, OutputError>>()?,
        })
    };
    parse::<Raw>(json)?.entries.into_iter().map(entry).collect()
}

/// Parses `entry count` and `agent count`.
pub fn parse_count(json: &[u8]) -> Result<u64, OutputError> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(default)]
        count: u64,
    }
    Ok(parse::<Raw>(json)?.count)
}

/// Parses `localauthority x509 show`.
pub fn parse_authorities(json: &[u8]) -> Result<LocalAuthorities, OutputError> {
    parse(json)
}

/// Parses `localauthority x509 prepare`.
pub fn parse_prepared(json: &[u8]) -> Result<LocalAuthority, OutputError> {
    #[derive(Deserialize)]
    struct Raw {
        prepared_authority: LocalAuthority,
    }
    Ok(parse::<Raw>(json)?.prepared_authority)
}

impl RawBundle {
    fn bundle(self) -> Result<TrustBundle, OutputError> {
        let trust_domain: TrustDomain = self.trust_domain.parse()?;
        TrustBundle::from_base64_der(
            trust_domain.clone(),
            self.x509_authorities.iter().map(|authority| authority.asn1.as_str()),
        )
        .map_err(|source| OutputError::Bundle { trust_domain, source })
    }
}

impl RawId {
    fn spiffe_id(&self) -> Result<SpiffeId, OutputError> {
        Ok(format!("spiffe://{}{}", self.trust_domain, self.path).parse()?)
    }
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, OutputError> {
    serde_json::from_slice(json).map_err(|error| OutputError::Json(words_of_json(&error)))
}

/// Reads a 64-bit number, which protobuf writes as a string.
fn int64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Text(String),
        Number(i64),
    }
    match Raw::deserialize(deserializer)? {
        Raw::Text(text) => text.parse().map_err(D::Error::custom),
        Raw::Number(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests;
