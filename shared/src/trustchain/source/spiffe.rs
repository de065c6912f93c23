//! A bundle in SPIFFE's JSON (SPIFFE Trust Domain and Bundle, section 4), which does not say of which trust domain it is.

use serde::Deserialize;

use crate::envoy::{AtMost, Key as PrivateKey};

use super::error::{NotEnough, SourceError};
use super::notation::Notation;
use super::{Bundles, KEY_NOTE, LONGEST_CERTIFICATES, MOST_CERTIFICATES, Source, SourceKind, der, once};

/// What the keys of authorities are for (SPIFFE Trust Domain and Bundle, section 4.2.2).
const AUTHORITY: &str = "x509-svid";

/// Reads a bundle. Keys of JWTs are counted.
///
/// # Errors
/// [`SourceError`] where one of its authorities is no certificate, or it has none.
pub(super) fn read(notation: Notation, text: &[u8]) -> Result<Source, SourceError> {
    let kind = SourceKind::SpiffeBundle;
    let document: Document = notation.read(text, kind)?;
    let keys =
        document.keys.all().map_err(|_| SourceError::TooManyCertificates { most: MOST_CERTIFICATES })?;
    let key_was_shown = keys.iter().any(|key| [key.d, key.k].contains(&Some(PrivateKey::Shown)));
    let (authorities, rest): (Vec<Key>, Vec<Key>) =
        keys.into_iter().partition(|key| key.purpose.as_deref() == Some(AUTHORITY));
    let mut certificates = Vec::new();
    let mut length = 0;
    for (index, key) in authorities.into_iter().enumerate() {
        let place = format!("key {} of those for {AUTHORITY}", index + 1);
        // The first is the authority; what may follow are those that signed it (RFC 7517, section 4.7).
        let encoded = key.x5c.all().ok().and_then(|mut chain| {
            chain.truncate(1);
            chain.pop()
        });
        let Some(encoded) = encoded else { return Err(SourceError::KeyWithoutCertificate { place }) };
        length += encoded.len();
        if length > LONGEST_CERTIFICATES {
            return Err(SourceError::CertificatesTooLong);
        }
        certificates.push(der::of_base64(&encoded, certificates.len() + 1, || place.clone())?);
    }
    let for_tokens = rest.iter().filter(|key| key.purpose.as_deref() == Some("jwt-svid")).count();
    if certificates.is_empty() {
        return Err(NotEnough::NoAuthority { keys: rest.len() }.into());
    }
    let mut notes = Vec::new();
    if key_was_shown {
        notes.push(KEY_NOTE.to_owned());
    }
    let certificates = once(certificates, "bundle", &mut notes);
    let mut others = Vec::new();
    for (count, what) in [(for_tokens, "for JWT-SVIDs"), (rest.len() - for_tokens, "for something else")] {
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

#[derive(Deserialize)]
struct Document {
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

    use super::*;
    use crate::trustchain::judge::tests::ca;

    fn look(keys: &[Value]) -> Result<Source, SourceError> {
        read(Notation::Json, json!({"keys": keys}).to_string().as_bytes())
    }

    fn authority() -> Value {
        json!({"use": "x509-svid", "x5c": [STANDARD.encode(ca(&[]).der()), "not looked at"]})
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
            read(Notation::Json, keys.as_bytes()).unwrap_err()
        };
        assert_eq!(look(LONGEST_CERTIFICATES + 1), SourceError::CertificatesTooLong);
        assert!(matches!(look(LONGEST_CERTIFICATES), SourceError::Certificate { position: 2, .. }));
    }
}
