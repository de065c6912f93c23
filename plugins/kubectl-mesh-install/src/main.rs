//! `kubectl mesh-install`: Istio over several clusters, with every identity from SPIRE.

mod addresses;
mod cli;
mod demo;
mod down;
mod plan;
mod render;
mod run;
mod up;

fn main() -> std::process::ExitCode {
    spire_mesh::entry::main(run::run)
}
