//! Bundles in SPIFFE's JSON (SPIFFE Trust Domain and Bundle, section 4): one alone, which does not say of which trust domain it is, and several
//! by trust domain (gRPC, proposal A87; Envoy, `SPIFFECertValidatorConfig.trust_bundles`).

use serde::Deserialize;

use crate::envoy::{AtMost, Key as PrivateKey};
use crate::trust::svid::Certificate;

use super::error::{NotEnough, SourceError};
use super::notation::Document;
use super::spire::{ByName, Collected, domain};
use super::{Bundles, KEY_NOTE, LONGEST_CERTIFICATES, MOST_CERTIFICATES, Source, SourceKind, der, once};

/// What the keys of authorities are for (SPIFFE Trust Domain and Bundle, section 4.2.2).
const AUTHORITY: &str = "x509-svid";

/// Reads a bundle alone. Keys of JWTs are counted.
///
/// # Errors
/// [`SourceError`] where one of its authorities is no certificate, or it has none.
pub(super) fn read(document: Document<'_>) -> Result<Source, SourceError> {
    let kind = SourceKind::SpiffeBundle;
    let keys: Keys = document.read(kind)?;
    let Authorities { certificates, key_was_shown, for_tokens, for_others } = keys.authorities()?;
    if certificates.is_empty() {
        return Err(NotEnough::NoAuthority { keys: for_tokens + for_others }.into());
    }
    let mut notes = Vec::new();
    if key_was_shown {
        notes.push(KEY_NOTE.to_owned());
    }
    let certificates = once(certificates, "bundle", &mut notes);
    let mut others = Vec::new();
    for (count, what) in [(for_tokens, "for JWT-SVIDs"), (for_others, "for something else")] {
        match count {
            0 => (),
            1 => others.push(format!("1 key {what}")),
            count => others.push(format!("{count} keys {what}")),
        }
    }
    Ok(Source {
        kind,
        chain: None,
        issuers: Vec::new(),
        bundles: Bundles::Unnamed(certificates),
        key_was_shown,
        others,
        notes,
    })
}

/// Reads bundles by trust domain.
///
/// # Errors
/// [`SourceError`] where one is not whole, or there is none.
pub(super) fn read_map(document: Document<'_>) -> Result<Source, SourceError> {
    #[derive(Deserialize)]
    struct Map {
        trust_domains: ByName<Keys>,
    }
    let map: Map = document.read(SourceKind::BundleMap)?;
    let bundles = map.trust_domains.all()?;
    let mut collected = Collected::default();
    for (index, (name, keys)) in bundles.into_iter().enumerate() {
        let trust_domain = domain(&name, index + 1)?;
        let authorities = keys.authorities().map_err(|source| source.of_bundle(&trust_domain))?;
        collected.key_was_shown |= authorities.key_was_shown;
        collected.add(trust_domain, authorities.certificates)?;
    }
    collected.source(SourceKind::BundleMap)
}

/// Reads a bundle of a trust domain that is named elsewhere.
///
/// # Errors
/// [`SourceError`] where it is not whole.
pub(super) fn authorities(document: Document<'_>) -> Result<Authorities, SourceError> {
    document.read::<Keys>(SourceKind::SpiffeBundle)?.authorities()
}

/// What a set of keys says.
pub(super) struct Authorities {
    /// The certificates of X.509 authorities.
    pub(super) certificates: Vec<Certificate>,
    /// Whether the private part of a key was among them. It was dropped.
    pub(super) key_was_shown: bool,
    for_tokens: usize,
    for_others: usize,
}

impl Keys {
    /// Takes the certificates out.
    fn authorities(self) -> Result<Authorities, SourceError> {
        let keys =
            self.keys.all().map_err(|_| SourceError::TooManyCertificates { most: MOST_CERTIFICATES })?;
        let key_was_shown = keys.iter().any(|key| [key.d, key.k].contains(&Some(PrivateKey::Shown)));
        let (authorities, rest): (Vec<Key>, Vec<Key>) =
            keys.into_iter().partition(|key| key.purpose.as_deref() == Some(AUTHORITY));
        let mut certificates = Vec::new();
        let mut length = 0;
        for (index, key) in authorities.into_iter().enumerate() {
            let place = format!("key {} of those for {AUTHORITY}", index + 1);
            // One, and none that signed it: SPIRE refuses the bundle else (SPIFFE Trust Domain and Bundle, section 4.2.2).
            let mut encoded = key.x5c.all().unwrap_or_else(|count| vec![String::new(); count.min(2)]);
            let count = encoded.len();
            let encoded = match (encoded.pop(), count) {
                (Some(encoded), 1) => encoded,
                (None, _) => return Err(SourceError::KeyWithoutCertificate { place }),
                _ => return Err(SourceError::SeveralCertificates { place }),
            };
            length += encoded.len();
            if length > LONGEST_CERTIFICATES {
                return Err(SourceError::CertificatesTooLong);
            }
            certificates.push(der::of_base64(&encoded, certificates.len() + 1, || place.clone())?);
        }
        let for_tokens = rest.iter().filter(|key| key.purpose.as_deref() == Some("jwt-svid")).count();
        Ok(Authorities { certificates, key_was_shown, for_tokens, for_others: rest.len() - for_tokens })
    }
}

/// A set of keys.
#[derive(Deserialize)]
struct Keys {
    keys: AtMost<Key, MOST_CERTIFICATES>,
}

#[derive(Deserialize)]
struct Key {
    #[serde(rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    x5c: AtMost<String, MOST_CERTIFICATES>,
    /// The private part of a key (RFC 7518, sections 6.2.2 and 6.3.2).
    d: Option<PrivateKey>,
    /// A key that has no public part (RFC 7518, section 6.4).
    k: Option<PrivateKey>,
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::super::notation::Notation;
    use super::*;
    use crate::trustchain::judge::tests::ca;

    fn of_text(text: &str) -> Result<Source, SourceError> {
        read(Document::within(Notation::Json, text.as_bytes(), 0..text.len()))
    }

    fn look(keys: &[Value]) -> Result<Source, SourceError> {
        of_text(&json!({"keys": keys}).to_string())
    }

    fn authority() -> Value {
        json!({"use": "x509-svid", "x5c": [STANDARD.encode(ca(&[]).der())]})
    }

    #[test]
    fn keys_for_other_things_are_counted_and_authorities_are_not() {
        let (token, other) = (json!({"use": "jwt-svid"}), json!({"use": "sig"}));
        let others = |keys: &[&Value]| {
            let keys: Vec<Value> =
                [authority(), authority()].into_iter().chain(keys.iter().map(|key| (*key).clone())).collect();
            let source = look(&keys).unwrap();
            let Bundles::Unnamed(authorities) = &source.bundles else { panic!("{source:?}") };
            assert_eq!((authorities.len(), source.key_was_shown, source.notes.len()), (2, false, 0));
            source.others.join(", ")
        };
        assert_eq!(others(&[]), "");
        assert_eq!(others(&[&token]), "1 key for JWT-SVIDs");
        assert_eq!(others(&[&other]), "1 key for something else");
        assert_eq!(others(&[&token, &other, &token]), "2 keys for JWT-SVIDs, 1 key for something else");
        assert_eq!(others(&[&other, &token, &json!({})]), "1 key for JWT-SVIDs, 2 keys for something else");
        assert_eq!(look(&[token, other]), Err(NotEnough::NoAuthority { keys: 2 }.into()));
    }

    #[test]
    fn an_authority_that_is_none_is_named_by_its_place() {
        let broken = json!({"use": "x509-svid", "x5c": ["%"]});
        let token = json!({"use": "jwt-svid"});
        let error = look(&[authority(), token.clone(), authority(), broken]).unwrap_err();
        let SourceError::Certificate { position: 3, place, .. } = error else { panic!("{error:?}") };
        assert_eq!(place, "key 3 of those for x509-svid");
        let without = look(&[authority(), token, json!({"use": "x509-svid"})]);
        let place = "key 2 of those for x509-svid".to_owned();
        assert_eq!(without, Err(SourceError::KeyWithoutCertificate { place }));
        let mut several = authority();
        for count in [2, 3, MOST_CERTIFICATES + 1] {
            several["x5c"] = vec![several["x5c"][0].clone(); count].into();
            let place = "key 1 of those for x509-svid".to_owned();
            assert_eq!(look(&[several.clone()]), Err(SourceError::SeveralCertificates { place }), "{count}");
        }
    }

    #[test]
    fn a_private_part_is_seen_in_any_key() {
        for part in ["d", "k"] {
            let mut token = json!({"use": "jwt-svid"});
            token[part] = "hunter2".into();
            let source = look(&[authority(), token]).unwrap();
            assert!(source.key_was_shown && source.notes == [KEY_NOTE], "{part}");
        }
    }

    #[test]
    fn all_authorities_together_have_a_longest() {
        let first = authority();
        let length = first["x5c"][0].as_str().unwrap().len();
        // Written by hand: serde writes a long text letter by letter, and tests are not optimised.
        let look = |total: usize| {
            let second = "%".repeat(total - length);
            let keys = format!(r#"{{"keys": [{first}, {{"use": "x509-svid", "x5c": ["{second}"]}}]}}"#);
            of_text(&keys).unwrap_err()
        };
        assert_eq!(look(LONGEST_CERTIFICATES + 1), SourceError::CertificatesTooLong);
        assert!(matches!(look(LONGEST_CERTIFICATES), SourceError::Certificate { position: 2, .. }));
    }
}
