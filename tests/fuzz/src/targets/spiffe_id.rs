//! SPIFFE IDs and names of trust domains.

use spire_mesh::trust::{SpiffeId, TrustDomain};

use crate::invariant;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match text.parse::<SpiffeId>() {
        Ok(id) => {
            assert_eq!(id.to_string(), text);
            invariant::spiffe_id(&id);
        }
        Err(error) => invariant::harmless_error(&error),
    }
    match text.parse::<TrustDomain>() {
        Ok(domain) => {
            assert_eq!(domain.as_str(), text);
            invariant::trust_domain(&domain);
            invariant::spiffe_id(&domain.server_id());
        }
        Err(error) => invariant::harmless_error(&error),
    }
}
