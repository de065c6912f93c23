//! `cargo lab`: see `cargo lab --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    spire_mesh_lab::cli::main()
}
