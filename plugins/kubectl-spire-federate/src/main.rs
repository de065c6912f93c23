//! `kubectl spire-federate`: SPIRE on several clusters, federated and proven.

mod bundle;
mod cli;
mod down;
mod init;
mod join;
mod leave;
mod plan;
mod render;
mod rotate;
mod run;
mod status;
mod up;
mod verify;

fn main() -> std::process::ExitCode {
    spire_mesh::entry::main(run::run)
}
