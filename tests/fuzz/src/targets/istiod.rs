//! Answers of istiod's debug endpoints.

use spire_mesh::istio::istiod::{parse_clusters, parse_identities, parse_networks, parse_proxies};

pub(crate) fn check(bytes: &[u8]) {
    if let Ok(identities) = parse_identities(bytes) {
        let mut sets = identities.values().flat_map(|clusters| clusters.values());
        assert!(sets.all(|accounts| !accounts.is_empty() && !accounts.contains("")));
    }
    let _ = (parse_clusters(bytes), parse_networks(bytes), parse_proxies(bytes));
}
