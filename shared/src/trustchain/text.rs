//! A certificate as `openssl x509 -noout -text` shows it.
