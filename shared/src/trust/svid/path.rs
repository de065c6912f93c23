use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};

use crate::trust::{Authority, TrustBundle};

/// Finds a path from a certificate to an authority of a bundle, at a time in seconds since 1970 (UTC).
///
/// Only authorities that are valid then are taken: webpki does not look at the dates of what it is told to trust, while
/// Envoy (`BoringSSL`) and SPIRE (Go) do.
///
/// # Errors
/// What webpki says of the path that came furthest.
pub(crate) fn find<'a>(
    leaf: &[u8],
    intermediates: impl IntoIterator<Item = &'a [u8]>,
    bundle: &TrustBundle,
    at: u64,
) -> Result<(), webpki::Error> {
    find_among(leaf, intermediates, bundle.authorities().values(), at)
}

/// Finds a path as [`find`] does, to one of these authorities.
pub(super) fn find_among<'a, 'b>(
    leaf: &[u8],
    intermediates: impl IntoIterator<Item = &'a [u8]>,
    authorities: impl IntoIterator<Item = &'b Authority>,
    at: u64,
) -> Result<(), webpki::Error> {
    let now = i64::try_from(at).unwrap_or(i64::MAX);
    let authorities = authorities.into_iter();
    let authorities: Vec<CertificateDer<'_>> = authorities
        .filter(|authority| (authority.not_before()..=authority.not_after()).contains(&now))
        .map(|authority| CertificateDer::from(authority.der()))
        .collect();
    let anchors: Vec<_> =
        authorities.iter().filter_map(|der| webpki::anchor_from_trusted_cert(der).ok()).collect();
    let intermediates: Vec<_> = intermediates.into_iter().map(CertificateDer::from).collect();
    let leaf = CertificateDer::from(leaf);
    webpki::EndEntityCert::try_from(&leaf)?
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &intermediates,
            UnixTime::since_unix_epoch(Duration::from_secs(at)),
            webpki::KeyUsage::server_auth(),
            None,
            None,
        )
        .map(drop)
}
