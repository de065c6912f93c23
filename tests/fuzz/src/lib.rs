//! Random bytes for every parser of what comes from outside: certificates, answers of programs and servers, files.
//!
//! A target gives bytes to a parser and panics where something does not hold that always should. It never looks at whether a parser
//! accepts the bytes. `cargo lab fuzz` runs the targets with libFuzzer; the test of this crate gives them the corpus.

mod invariant;
mod targets;

use std::env;
use std::sync::LazyLock;

/// The environment variable that says which target the program runs.
pub const CHOICE: &str = "SPIRE_MESH_FUZZ_TARGET";

/// One parser, or several that take the same bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its folder in `corpus` too.
    pub name: &'static str,
    check: fn(&[u8]),
}

/// Every target, by name.
pub const TARGETS: [Target; 21] = [
    target("bundle_json", targets::bundle_json::check),
    target("bundle_pem", targets::bundle_pem::check),
    target("certificate", targets::certificate::check),
    target("chain_pem", targets::chain_pem::check),
    target("der_sequence", targets::der_sequence::check),
    target("envoy_hosts", targets::envoy_hosts::check),
    target("envoy_inbound", targets::envoy_inbound::check),
    target("envoy_outbound", targets::envoy_outbound::check),
    target("envoy_secrets", targets::envoy_secrets::check),
    target("istioctl", targets::istioctl::check),
    target("istiod", targets::istiod::check),
    target("kubeconfig", targets::kubeconfig::check),
    target("logs", targets::logs::check),
    target("manifests", targets::manifests::check),
    target("mesh_file", targets::mesh_file::check),
    target("spiffe_id", targets::spiffe_id::check),
    target("spire_config", targets::spire_config::check),
    target("spire_server", targets::spire_server::check),
    target("trustchain", targets::trustchain::check),
    target("verify", targets::verify::check),
    target("workload_api", targets::workload_api::check),
];

const fn target(name: &'static str, check: fn(&[u8])) -> Target {
    Target { name, check }
}

impl Target {
    /// Gives bytes to the parser.
    ///
    /// # Panics
    /// When something does not hold that always should.
    pub fn run(&self, bytes: &[u8]) {
        (self.check)(bytes);
    }
}

/// Returns the target that the environment names.
///
/// # Panics
/// When it names none.
#[must_use]
pub fn chosen() -> Target {
    static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
        let name = env::var(CHOICE).unwrap_or_default();
        let found = TARGETS.into_iter().find(|target| target.name == name);
        found.unwrap_or_else(|| panic!("{CHOICE} is {name:?}, which is no target"))
    });
    *CHOSEN
}
