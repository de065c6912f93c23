use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::json::{self, AnswerError, AtMost};
use super::source::{DataSource, Key};
use crate::report::escape;
use crate::trust::svid::{Certificate, Chain, certificates_of_pem};
use crate::trust::{BundleError, SpiffeKeys, TrustBundle, TrustDomain};

/// Name of the secret with the certificate of the workload (Istio, `pkg/security`, `WorkloadKeyCertResourceName`).
const IDENTITY: &str = "default";
/// Name of the secret with what peers are verified with (Istio, `pkg/security`, `RootCertReqResourceName`).
const VALIDATION: &str = "ROOTCA";
/// Name of Envoy's validator that keeps the bundles of trust domains apart.
const SPIFFE_VALIDATOR: &str = "envoy.tls.cert_validator.spiffe";
/// The version of a secret that never came (Envoy, `SdsApi`).
const NEVER_CAME: &str = "uninitialized";
/// The most secrets that are looked at. A gateway has one for every host name that it serves.
const MOST_SECRETS: usize = 10_000;
/// The most trust domains that a proxy verifies.
const MOST_TRUST_DOMAINS: usize = 1000;

/// What a proxy got from whoever serves its secrets: an agent of SPIRE, or Istio's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxySecrets {
    /// The certificate that it presents. `None` where the proxy has not even asked for one.
    pub identity: Option<Received<Chain>>,
    /// What it verifies peers with. `None` where the proxy has not even asked for it.
    pub validation: Option<Received<Validation>>,
    /// Names of its other secrets: certificates of gateways, for example.
    pub others: Vec<String>,
    /// Whether Envoy handed out a key instead of `[redacted]`. It was dropped while it was read; that it was shown at all is
    /// worth a report to the maintainers of Envoy.
    pub key_was_shown: bool,
}

/// A secret as Envoy has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Received<T> {
    /// Whether Envoy uses it, or still waits.
    pub state: State,
    /// The version that its server gave it; `uninitialized` while none came.
    pub version: String,
    /// When it came last, where that is known.
    pub last_updated: Option<Timestamp>,
    /// What it says. `None` while none came.
    pub value: Option<T>,
}

/// Whether Envoy uses a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// In use.
    Active,
    /// Asked for, and not there yet. A proxy whose secrets are warming has no working listener.
    Warming,
}

/// What a proxy verifies peers with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Validation {
    /// The bundle of every trust domain for itself, as SPIRE serves them.
    Spiffe(#[serde(serialize_with = "digests_of_bundles")] BTreeMap<TrustDomain, TrustBundle>),
    /// One pool of CA certificates for everybody, as Istio's own agent serves istiod's.
    Pooled(Vec<Certificate>),
}

/// Who serves a proxy's secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Issuer {
    /// SPIRE: the proxy has Envoy's SPIFFE validator.
    Spire,
    /// Istio's own agent, so that istiod signed: the proxy has a plain pool of CA certificates, which SPIRE serves only
    /// where its SPIFFE validation was turned off.
    Istiod,
    /// Nothing has come yet.
    Unknown,
}

impl ProxySecrets {
    /// Returns who serves the proxy's secrets.
    #[must_use]
    pub fn issuer(&self) -> Issuer {
        match self.validation.as_ref().and_then(|received| received.value.as_ref()) {
            Some(Validation::Spiffe(_)) => Issuer::Spire,
            Some(Validation::Pooled(_)) => Issuer::Istiod,
            None => Issuer::Unknown,
        }
    }

    /// Returns the chain that the proxy presents, once it has one.
    #[must_use]
    pub fn chain(&self) -> Option<&Chain> {
        self.identity.as_ref()?.value.as_ref()
    }

    /// Returns the bundle that the proxy verifies SVIDs of a trust domain with.
    #[must_use]
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Option<&TrustBundle> {
        match self.validation.as_ref()?.value.as_ref()? {
            Validation::Spiffe(bundles) => bundles.get(trust_domain),
            Validation::Pooled(_) => None,
        }
    }
}

fn digests_of_bundles<S: Serializer>(
    bundles: &BTreeMap<TrustDomain, TrustBundle>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        bundles.iter().map(|(domain, bundle)| (domain, bundle.authorities().keys().collect::<Vec<_>>())),
    )
}

/// Parses the answers to `config_dump?resource=dynamic_active_secrets` and `…dynamic_warming_secrets`.
///
/// # Errors
/// [`AnswerError`] when one of them is no such answer, or a secret in it is not whole.
pub fn parse_secrets(active: &[u8], warming: &[u8]) -> Result<ProxySecrets, AnswerError> {
    let mut secrets = ProxySecrets::default();
    for (state, answer) in [(State::Active, active), (State::Warming, warming)] {
        let dump: Dump = json::parse(answer)?;
        secrets.add_all(state, dump.configs)?;
    }
    Ok(secrets.sorted())
}

impl ProxySecrets {
    /// Tells whether the proxy has not asked for any secret.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.identity.is_none() && self.validation.is_none() && self.others.is_empty()
    }

    fn add_all(&mut self, state: State, entries: AtMost<Entry, MOST_SECRETS>) -> Result<(), AnswerError> {
        let entries = entries.all().map_err(AnswerError::TooMany)?;
        entries.into_iter().try_for_each(|entry| self.add(state, entry))
    }

    fn sorted(mut self) -> Self {
        self.others.sort();
        self.others.dedup();
        self
    }

    fn add(&mut self, state: State, entry: Entry) -> Result<(), AnswerError> {
        let secret = entry.secret.unwrap_or_default();
        let certificate = secret.tls_certificate.unwrap_or_default();
        let keys = [
            certificate.private_key,
            certificate.pkcs12,
            certificate.password,
            secret.generic,
            secret.session_ticket_keys,
        ];
        self.key_was_shown |= keys.contains(&Some(Key::Shown));
        let version = escape(&entry.version_info).into_owned();
        let last_updated = entry.last_updated;
        match entry.name.as_str() {
            // What is in use is what counts; the active ones come first.
            IDENTITY if self.identity.is_none() => {
                let value =
                    certificate.certificate_chain.map(|source| chain(IDENTITY, &source)).transpose()?;
                self.identity = Some(Received { state, version, last_updated, value });
            }
            VALIDATION if self.validation.is_none() => {
                let value = secret.validation_context.map(validation).transpose()?.flatten();
                self.validation = Some(Received { state, version, last_updated, value });
            }
            IDENTITY | VALIDATION => (),
            other => self.others.push(escape(other).into_owned()),
        }
        Ok(())
    }
}

fn chain(secret: &str, source: &DataSource) -> Result<Chain, AnswerError> {
    let text = source.text(secret)?;
    Chain::from_pem(&text).map_err(|source| AnswerError::Chain { secret: secret.to_owned(), source })
}

fn validation(context: ValidationContext) -> Result<Option<Validation>, AnswerError> {
    let custom = context.custom_validator_config.filter(|custom| custom.name == SPIFFE_VALIDATOR);
    if let Some(custom) = custom {
        return custom.typed_config.bundles().map(Validation::Spiffe).map(Some);
    }
    let Some(pool) = context.trusted_ca else { return Ok(None) };
    let chain = chain(VALIDATION, &pool)?;
    Ok(Some(Validation::Pooled(std::iter::once(chain.leaf).chain(chain.intermediates).collect())))
}

/// Everything that Envoy says of itself, as far as it is about secrets, in one of three forms:
/// - `config_dump`: the secrets are a section of it;
/// - `config_dump?resource=dynamic_active_secrets`: the list is one of secrets;
/// - `istioctl proxy-config secret -o json`: the section alone, with the names of protobuf's JSON.
///
/// Keys are dropped while it is read.
#[derive(Deserialize)]
pub(crate) struct WholeDump {
    #[serde(default)]
    configs: AtMost<Config, MOST_SECRETS>,
    #[serde(default, alias = "dynamicActiveSecrets")]
    dynamic_active_secrets: AtMost<Entry, MOST_SECRETS>,
    #[serde(default, alias = "dynamicWarmingSecrets")]
    dynamic_warming_secrets: AtMost<Entry, MOST_SECRETS>,
    #[serde(default, alias = "staticSecrets")]
    static_secrets: AtMost<Entry, MOST_SECRETS>,
}

impl WholeDump {
    /// Returns the secrets in it; of one that is active and warming the active one.
    ///
    /// # Errors
    /// [`AnswerError`] when a secret in it is not whole, or there are more than anybody has.
    pub(crate) fn secrets(self) -> Result<ProxySecrets, AnswerError> {
        let mut secrets = ProxySecrets::default();
        let mut warming = vec![self.dynamic_warming_secrets];
        secrets.add_all(State::Active, self.dynamic_active_secrets)?;
        secrets.add_all(State::Active, self.static_secrets)?;
        for config in self.configs.all().map_err(AnswerError::TooMany)? {
            secrets.add_all(State::Active, config.dynamic_active_secrets)?;
            secrets.add_all(State::Active, config.static_secrets)?;
            warming.push(config.dynamic_warming_secrets);
            let is_secret = config.kind.ends_with("Secret") || config.secret.is_some();
            if let Some(name) = config.name.filter(|_| is_secret) {
                let Config { version_info, last_updated, secret, .. } = config;
                // Which of both lists was asked for is not said.
                let state = if version_info == NEVER_CAME { State::Warming } else { State::Active };
                secrets.add(state, Entry { name, version_info, last_updated, secret })?;
            }
        }
        for entries in warming {
            secrets.add_all(State::Warming, entries)?;
        }
        Ok(secrets.sorted())
    }
}

/// A section of a dump, or a secret.
#[derive(Deserialize)]
struct Config {
    #[serde(rename = "@type", default)]
    kind: String,
    #[serde(default, alias = "dynamicActiveSecrets")]
    dynamic_active_secrets: AtMost<Entry, MOST_SECRETS>,
    #[serde(default, alias = "dynamicWarmingSecrets")]
    dynamic_warming_secrets: AtMost<Entry, MOST_SECRETS>,
    #[serde(default, alias = "staticSecrets")]
    static_secrets: AtMost<Entry, MOST_SECRETS>,
    name: Option<String>,
    #[serde(default, alias = "versionInfo")]
    version_info: String,
    #[serde(alias = "lastUpdated")]
    last_updated: Option<Timestamp>,
    secret: Option<Secret>,
}

#[derive(Deserialize)]
struct Dump {
    /// Absent where there is none: the answer is then `{}`.
    #[serde(default)]
    configs: AtMost<Entry, MOST_SECRETS>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    #[serde(default, alias = "versionInfo")]
    version_info: String,
    #[serde(alias = "lastUpdated")]
    last_updated: Option<Timestamp>,
    secret: Option<Secret>,
}

#[derive(Deserialize, Default)]
struct Secret {
    #[serde(alias = "tlsCertificate")]
    tls_certificate: Option<TlsCertificate>,
    #[serde(alias = "validationContext")]
    validation_context: Option<ValidationContext>,
    #[serde(rename = "generic_secret", alias = "genericSecret")]
    generic: Option<Key>,
    #[serde(alias = "sessionTicketKeys")]
    session_ticket_keys: Option<Key>,
}

#[derive(Deserialize, Default)]
struct TlsCertificate {
    #[serde(alias = "certificateChain")]
    certificate_chain: Option<DataSource>,
    #[serde(alias = "privateKey")]
    private_key: Option<Key>,
    pkcs12: Option<Key>,
    password: Option<Key>,
}

#[derive(Deserialize)]
struct ValidationContext {
    #[serde(alias = "customValidatorConfig")]
    custom_validator_config: Option<CustomValidator>,
    #[serde(alias = "trustedCa")]
    trusted_ca: Option<DataSource>,
}

#[derive(Deserialize)]
struct CustomValidator {
    name: String,
    #[serde(default, alias = "typedConfig")]
    typed_config: SpiffeValidator,
}

#[derive(Deserialize, Default)]
struct SpiffeValidator {
    #[serde(default, alias = "trustDomains")]
    trust_domains: AtMost<DomainBundle, MOST_TRUST_DOMAINS>,
    /// The bundles of all trust domains in SPIFFE's JSON, which is used in the place of the other where it is there (Envoy,
    /// `SPIFFECertValidatorConfig`). SPIRE does not send it.
    #[serde(alias = "trustBundles")]
    trust_bundles: Option<DataSource>,
}

impl SpiffeValidator {
    fn bundles(self) -> Result<BTreeMap<TrustDomain, TrustBundle>, AnswerError> {
        let mut bundles = BTreeMap::new();
        if let Some(map) = self.trust_bundles {
            let map: BundleMap = json::parse(map.text(VALIDATION)?.as_bytes())?;
            for (name, keys) in map.trust_domains {
                let name = trust_domain(&name)?;
                let bundle = keys.bundle_of(name.clone()).map_err(|source| no_bundle(&name, source))?;
                bundles.insert(name, bundle);
            }
            return Ok(bundles);
        }
        for domain in self.trust_domains.all().map_err(AnswerError::TooMany)? {
            let name = trust_domain(&domain.name)?;
            let text = domain.trust_bundle.text(VALIDATION)?;
            // All blocks: a trust domain whose CA is being rotated has several.
            let ders = certificates_of_pem(&text)
                .map_err(|source| AnswerError::Chain { secret: VALIDATION.to_owned(), source })?;
            let bundle = TrustBundle::from_der_sequence(name.clone(), &ders.concat());
            let bundle = bundle.map_err(|source| no_bundle(&name, source))?;
            bundles.insert(name, bundle);
        }
        Ok(bundles)
    }
}

fn trust_domain(name: &str) -> Result<TrustDomain, AnswerError> {
    name.parse().map_err(|source| AnswerError::TrustDomain { secret: VALIDATION.to_owned(), source })
}

fn no_bundle(trust_domain: &TrustDomain, source: BundleError) -> AnswerError {
    AnswerError::Bundle { secret: VALIDATION.to_owned(), trust_domain: trust_domain.to_string(), source }
}

/// Several bundles in SPIFFE's JSON, by trust domain (Envoy, `SPIFFEValidator`, `parseTrustBundles`).
#[derive(Deserialize)]
struct BundleMap {
    trust_domains: BTreeMap<String, SpiffeKeys>,
}

#[derive(Deserialize)]
struct DomainBundle {
    name: String,
    #[serde(alias = "trustBundle")]
    trust_bundle: DataSource,
}
