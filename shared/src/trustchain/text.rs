//! A certificate as `openssl x509 -noout -text` shows it.

/// Placeholder.
#[must_use]
pub fn text(certificate: &crate::trust::svid::Certificate) -> String {
    certificate.subject.clone()
}
