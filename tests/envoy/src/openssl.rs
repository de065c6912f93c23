//! OpenSSL, which people compare with.

use std::io;
use std::process::Command;

use spire_mesh_chains::{Case, Says};

use crate::config::pem_of;

/// Asks `openssl verify` about a chain that a server presents; `None` where there is no `openssl` on the PATH.
///
/// # Errors
/// When its files cannot be written.
pub fn openssl(case: &Case) -> io::Result<Option<Says>> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, ders: &[Vec<u8>]| {
        let path = folder.path().join(name);
        let text: String = ders.iter().map(|der| pem_of(der)).collect();
        std::fs::write(&path, text).map(|()| path)
    };
    let leaf = file("leaf", std::slice::from_ref(&case.leaf))?;
    let (authorities, sent) = (file("authorities", &case.authorities)?, file("sent", &case.sent)?);
    let mut command = Command::new("openssl");
    command
        .args(["verify", "-no-CApath", "-no-CAstore", "-purpose", "sslserver", "-CAfile"])
        .arg(&authorities);
    if !case.sent.is_empty() {
        command.arg("-untrusted").arg(&sent);
    }
    match command.arg(&leaf).output() {
        Ok(output) if output.status.success() => Ok(Some(Says::Accepts)),
        Ok(_) => Ok(Some(Says::Refuses)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
