//! Logs of SPIRE's server and of istiod.

use spire_mesh::istio::ca::parse_ca_log;
use spire_mesh::spire::polls;
use spire_mesh::spire::upstream::parse_signing_log;

use crate::invariant;

pub(crate) fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for (domain, polled) in polls::parse(&text).of {
        invariant::trust_domain(&domain);
        assert!(polled.failed.is_none_or(|(_, why)| why.chars().count() <= 500));
    }
    assert!(parse_signing_log(&text).failed.is_none_or(|(_, why)| why.chars().count() <= 500));
    if let Some((_, words)) = parse_ca_log(&text).failed {
        invariant::harmless(&words);
    }
}
