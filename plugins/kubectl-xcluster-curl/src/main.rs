//! `kubectl xcluster-curl`: requests across the clusters of a mesh, counted by who answered.

mod ask;
mod cli;
mod clients;
mod failover;
mod output;
mod plaintext;
mod restore;
mod run;
mod wanted;

fn main() -> std::process::ExitCode {
    spire_mesh::entry::main(run::run)
}
