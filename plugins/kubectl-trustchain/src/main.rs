//! `kubectl trustchain`: a workload's certificate chain and trust bundles, and who would accept it.

mod accepts;
mod cli;
mod clusters;
mod elsewhere;
mod inspect;
mod render;
mod run;
mod save;
mod watch;

fn main() -> std::process::ExitCode {
    spire_mesh::entry::main(run::run)
}
