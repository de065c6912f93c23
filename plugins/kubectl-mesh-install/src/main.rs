//! `kubectl mesh-install`: Istio over several clusters, with every identity from SPIRE.

mod addresses;
mod cli;
mod demo;
mod down;
mod endpoints;
mod plan;
mod remote_secret;
mod render;
mod rotate_ca;
mod run;
mod status;
mod up;
mod verify;

fn main() -> std::process::ExitCode {
    spire_mesh::entry::main(run::run)
}
