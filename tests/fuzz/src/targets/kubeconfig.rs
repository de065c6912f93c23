//! Kubeconfigs: the one of the user, and those that remote secrets hold.

use std::fs;
use std::sync::LazyLock;

use spire_mesh::fleet::{KubeSettings, Kubeconfig};
use spire_mesh::istio::remote::Access;
use tempfile::TempPath;

use crate::invariant;

/// Where the bytes are put, because a kubeconfig is read from a file.
static FILE: LazyLock<TempPath> =
    LazyLock::new(|| tempfile::NamedTempFile::new().expect("a temporary file").into_temp_path());

pub(crate) fn check(bytes: &[u8]) {
    fs::write(&*FILE, bytes).expect("a temporary file can be written");
    let settings = KubeSettings { kubeconfig: Some(FILE.to_path_buf()), ..KubeSettings::default() };
    match Kubeconfig::read(&settings) {
        Ok(kubeconfig) => {
            let current = kubeconfig.current_context().and_then(|context| kubeconfig.server(context));
            let _ = (current, kubeconfig.contexts());
        }
        Err(error) => invariant::harmless_error(&error),
    }
    if let Ok(access) = Access::parse(bytes) {
        // Neither the token nor anything else of the text.
        assert_eq!(format!("{access:?}"), format!("Access {{ server: {:?}, .. }}", access.server));
    }
}
