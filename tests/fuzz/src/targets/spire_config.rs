//! Configuration files of SPIRE, in HCL or JSON.

use spire_mesh::spire::discovery::Settings;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let settings = Settings::parse(text);
    for block in ["server", "server.federation", "plugins", "plugins.UpstreamAuthority"] {
        for name in settings.names(block) {
            // Names may hold dots, and such a one cannot be asked for.
            assert!(name.contains('.') || settings.has(&format!("{block}.{name}")), "{block} {name:?}");
        }
    }
}
