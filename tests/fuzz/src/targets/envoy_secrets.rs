//! Envoy's secrets: two answers, with a zero byte between them, which JSON cannot hold.

use spire_mesh::envoy::{Validation, parse_secrets};

use crate::invariant;

pub(crate) fn check(bytes: &[u8]) {
    let mut answers = bytes.splitn(2, |byte| *byte == 0);
    let mut next = || answers.next().unwrap_or(b"{}");
    let secrets = match parse_secrets(next(), next()) {
        Ok(secrets) => secrets,
        Err(error) => return invariant::harmless_error(&error),
    };
    invariant::harmless_report(&secrets);
    secrets.chain().into_iter().for_each(invariant::chain);
    assert!(secrets.others.is_sorted());
    match secrets.validation.as_ref().and_then(|received| received.value.as_ref()) {
        Some(Validation::Spiffe(bundles)) => {
            for (domain, bundle) in bundles {
                assert_eq!(domain, bundle.trust_domain());
                invariant::bundle(bundle);
            }
        }
        Some(Validation::Pooled(authorities)) => authorities.iter().for_each(invariant::certificate),
        None => (),
    }
}
