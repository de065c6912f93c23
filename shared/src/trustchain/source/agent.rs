//! What an agent of SPIRE serves to a workload, as its client prints it: `spire-agent api fetch x509 -output json`. It has the key of every
//! SVID in it, which is dropped while it is read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::envoy::{AtMost, Key};
use crate::trust::SpiffeId;
use crate::trust::svid::{Certificate, Chain};

use super::error::{NotEnough, SourceError};
use super::notation::{Document, MOST_PARTS};
use super::spire::{ByName, Collected, domain};
use super::{LONGEST_CERTIFICATES, MOST_OF_A_CHAIN, Part, Source, SourceKind, der, short};

/// Reads the SVIDs, each with its bundle and those of other trust domains.
///
/// # Errors
/// [`SourceError`] where one is not whole, or there is none.
pub(super) fn read(document: Document<'_>) -> Result<Vec<Part>, SourceError> {
    let served: Served = document.read(SourceKind::AgentSvids)?;
    let federated = served.federated_bundles.all()?;
    let svids = served.svids.all().map_err(|_| SourceError::TooManyParts)?;
    let total = svids.len();
    let mut parts = Vec::new();
    let mut collected = Collected::default();
    for (index, svid) in svids.into_iter().enumerate() {
        let name = (total > 1).then(|| svid.name(index + 1));
        collected = collected.another();
        parts.push(Part { name, source: Ok(svid.read(index + 1, &federated, &mut collected)?) });
    }
    if parts.is_empty() { Err(NotEnough::NoSvid.into()) } else { Ok(parts) }
}

/// `X509SVIDResponse` of the Workload API, in protobuf's JSON (SPIFFE Workload API, section 5).
#[derive(Deserialize)]
struct Served {
    svids: AtMost<Svid, MOST_PARTS>,
    #[serde(default, alias = "federatedBundles")]
    federated_bundles: ByName<String>,
}

#[derive(Deserialize)]
struct Svid {
    #[serde(default, alias = "spiffeId")]
    spiffe_id: String,
    #[serde(rename = "x509_svid", alias = "x509Svid")]
    chain: Option<String>,
    #[serde(rename = "x509_svid_key", alias = "x509SvidKey")]
    key: Option<Key>,
    #[serde(default)]
    bundle: String,
    #[serde(default)]
    hint: String,
}

impl Svid {
    fn name(&self, position: usize) -> String {
        match self.hint.as_str() {
            "" => format!("SVID {position}"),
            hint => format!("SVID {position} ({})", short(hint)),
        }
    }

    fn read(
        self,
        position: usize,
        federated: &[(String, String)],
        collected: &mut Collected,
    ) -> Result<Source, SourceError> {
        // The one of a JWT has another field, which is not read: it is a credential.
        let Some(encoded) = self.chain else { return Err(NotEnough::NoX509Svid.into()) };
        let id: SpiffeId =
            self.spiffe_id.parse().map_err(|source| SourceError::SvidOfNobody { position, source })?;
        let chain = sequence(&encoded, || format!("SVID {position}"))?;
        if chain.len() > MOST_OF_A_CHAIN {
            return Err(SourceError::TooManyCertificates { most: MOST_OF_A_CHAIN });
        }
        let mut chain = chain.into_iter();
        let leaf = chain.next().ok_or(NotEnough::NoSvid)?;
        let own = id.trust_domain().clone();
        let certificates = sequence(&self.bundle, || format!("the bundle of {own}"))?;
        collected.add(own, certificates)?;
        for (index, (name, encoded)) in federated.iter().enumerate() {
            let other = domain(name, index + 1)?;
            let certificates = sequence(encoded, || format!("the bundle of {other}"))?;
            collected.add(other, certificates)?;
        }
        collected.key_was_shown = self.key == Some(Key::Shown);
        let chain = Some(Chain { leaf, intermediates: chain.collect() });
        Ok(Source { chain, ..collected.take(SourceKind::AgentSvids) })
    }
}

/// Reads certificates that follow each other from base64 (SPIFFE Workload API, section 5.2.1).
fn sequence(encoded: &str, place: impl Fn() -> String) -> Result<Vec<Certificate>, SourceError> {
    if encoded.len() > 2 * LONGEST_CERTIFICATES {
        return Err(SourceError::CertificatesTooLong);
    }
    let ders = STANDARD.decode(encoded).map_err(|_| SourceError::NotBase64 { place: place() })?;
    der::read(&ders).map_err(|source| SourceError::Within { place: place(), source: Box::new(source) })
}
