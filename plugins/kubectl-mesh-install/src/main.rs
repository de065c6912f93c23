//! `kubectl mesh-install`: Istio over several clusters, with every identity from SPIRE.

mod addresses;
mod cli;
mod demo;
mod down;
mod plan;
mod render;
mod rotate_ca;
mod run;
mod up;
mod verify;

fn main() -> std::process::ExitCode {
    spire_mesh::entry::main(run::run)
}
