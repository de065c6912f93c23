//! The bundles that the servers of a mesh hold, of themselves and of each other.

use serde::Serialize;

use super::FederationError;
use super::locate::{Located, locate};
use super::status::text;
use crate::fleet::Member;
use crate::trust::{Authority, AuthorityDigest, BundleDocument, TrustBundle, TrustDomain};

/// The bundles that a server holds.
#[derive(Clone, Debug)]
pub struct HeldBundles {
    /// Of its own trust domain.
    pub own: TrustBundle,
    /// Of others.
    pub stored: Vec<TrustBundle>,
}

impl HeldBundles {
    /// Returns the bundle of a trust domain, its own or another one's.
    #[must_use]
    pub fn of(&self, domain: &TrustDomain) -> Option<&TrustBundle> {
        std::iter::once(&self.own).chain(&self.stored).find(|bundle| bundle.trust_domain() == domain)
    }
}

/// Reads the bundles that a cluster's server holds.
///
/// # Errors
/// [`FederationError`] when the server cannot be found or asked.
pub async fn held_bundles(member: &Member) -> Result<HeldBundles, FederationError> {
    let Located { server, own, .. } = locate(member).await?;
    Ok(HeldBundles { own, stored: server.stored_bundles().await? })
}

/// Reads one bundle that a cluster's server holds, in SPIFFE's JSON. `None` where it holds none of that trust domain.
///
/// # Errors
/// [`FederationError`] when the server cannot be found or asked.
pub async fn bundle_document(
    member: &Member,
    domain: &TrustDomain,
) -> Result<Option<BundleDocument>, FederationError> {
    let located = locate(member).await?;
    if located.own.trust_domain() == domain {
        return Ok(Some(located.document().await?));
    }
    let server = located.server;
    if !server.stored_bundles().await?.iter().any(|bundle| bundle.trust_domain() == domain) {
        return Ok(None);
    }
    Ok(Some(server.stored_document(domain).await?))
}

/// An authority of a bundle, for people and programs. Times are RFC 3339, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityInfo {
    /// SHA-256 of the certificate.
    pub sha256: AuthorityDigest,
    /// Subject key identifier, in hexadecimal: SPIRE's ID of the authority. Absent where the certificate has none.
    pub id: Option<String>,
    /// Start of its validity.
    pub not_before: Option<String>,
    /// End of its validity.
    pub not_after: Option<String>,
}

impl AuthorityInfo {
    /// Lists the authorities of a bundle, the oldest first.
    #[must_use]
    pub fn of(bundle: &TrustBundle) -> Vec<Self> {
        let mut authorities: Vec<(&AuthorityDigest, &Authority)> = bundle.authorities().iter().collect();
        authorities.sort_by_key(|(digest, authority)| (authority.not_before(), **digest));
        let time = |seconds| jiff::Timestamp::from_second(seconds).ok().map(text);
        let info = |(digest, authority): (&AuthorityDigest, &Authority)| Self {
            sha256: *digest,
            id: authority.key_id().map(str::to_owned),
            not_before: time(authority.not_before()),
            not_after: time(authority.not_after()),
        };
        authorities.into_iter().map(info).collect()
    }
}

/// An authority that one cluster holds for another, or should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleDifference {
    /// Name of the cluster that trusts.
    pub from: String,
    /// Name of the cluster that is trusted.
    pub to: String,
    /// The authority.
    #[serde(flatten)]
    pub authority: AuthorityInfo,
    /// Where it is.
    pub side: Side,
}

/// On which side of a pair an authority is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Both hold it.
    Both,
    /// Only the cluster that is trusted: what it signs is refused.
    LiveOnly,
    /// Only the cluster that trusts: it trusts what the other one has given up.
    StoredOnly,
}

impl Side {
    /// Returns the words for tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::LiveOnly => "only live",
            Self::StoredOnly => "only stored",
        }
    }
}

/// Holds what `from` has stored for `to` against what `to` itself holds, authority by authority.
#[must_use]
pub fn bundle_difference(
    (from, stored): (&str, Option<&TrustBundle>),
    (to, live): (&str, &TrustBundle),
) -> Vec<BundleDifference> {
    let holds = |bundle: &TrustBundle, info: &AuthorityInfo| bundle.authorities().contains_key(&info.sha256);
    let difference =
        |side, authority| BundleDifference { from: from.to_owned(), to: to.to_owned(), authority, side };
    let of_live = AuthorityInfo::of(live).into_iter().map(|info| {
        let both = stored.is_some_and(|stored| holds(stored, &info));
        difference(if both { Side::Both } else { Side::LiveOnly }, info)
    });
    let of_stored = stored.map(AuthorityInfo::of).unwrap_or_default().into_iter();
    let only_stored =
        of_stored.filter(|info| !holds(live, info)).map(|info| difference(Side::StoredOnly, info));
    of_live.chain(only_stored).collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn certificate() -> String {
        let params = CertificateParams::default();
        STANDARD.encode(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    }

    fn bundle(certificates: &[&String]) -> TrustBundle {
        let texts = certificates.iter().map(|text| text.as_str());
        TrustBundle::from_base64_der("bar.com".parse().unwrap(), texts).unwrap()
    }

    #[test]
    fn the_bundle_of_a_trust_domain_is_found_among_its_own_and_the_stored_ones() {
        let of = |name: &str| {
            TrustBundle::from_base64_der(name.parse().unwrap(), [certificate().as_str()]).unwrap()
        };
        let held = HeldBundles { own: of("foo.com"), stored: vec![of("bar.com"), of("baz.com")] };
        for name in ["foo.com", "bar.com", "baz.com"] {
            assert_eq!(held.of(&name.parse().unwrap()).unwrap().trust_domain().as_str(), name);
        }
        assert!(held.of(&"qux.com".parse().unwrap()).is_none());
    }

    #[test]
    fn every_authority_of_either_side_is_there_once() {
        let (old, kept, new) = (certificate(), certificate(), certificate());
        let sides = |stored: Option<&TrustBundle>, live: &TrustBundle| {
            let mut sides: Vec<&str> = bundle_difference(("foo", stored), ("bar", live))
                .iter()
                .map(|difference| difference.side.as_str())
                .collect();
            sides.sort_unstable();
            sides
        };
        let live = bundle(&[&kept, &new]);
        assert_eq!(sides(Some(&bundle(&[&old, &kept])), &live), ["both", "only live", "only stored"]);
        assert_eq!(sides(Some(&live), &live), ["both", "both"]);
        assert_eq!(sides(None, &live), ["only live", "only live"]);
    }
}
