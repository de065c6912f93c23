//! Versions, as `istioctl`, istiod and names of images tell them.

use spire_mesh::istio::istioctl::parse_version;
use spire_mesh::istio::istiod::image_version;
use spire_mesh::istio::version::IstioVersion;

use crate::invariant;

pub(crate) fn check(bytes: &[u8]) {
    if let Err(error) = parse_version(bytes) {
        invariant::harmless_error(&error);
    }
    let Ok(text) = str::from_utf8(bytes) else { return };
    let versions =
        [text.parse::<IstioVersion>(), text.parse().or_else(|error| image_version(text).ok_or(error))];
    for version in versions {
        match version {
            Ok(version) => {
                assert_eq!(version.to_string().parse(), Ok(version));
                assert!(version.works_with(version));
            }
            Err(error) => invariant::harmless_error(&error),
        }
    }
}
