//! How a test says that it leaves because something is missing on this machine. Crates whose tests do have this as a module.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;
use std::{env, process, thread};

/// The variable with the folder in which `cargo lab test` finds what was left out.
const FOLDER: &str = "SPIRE_MESH_LEFT_OUT";

/// Says that the test that runs here is left out, and why. `cargo lab test` says it again at its end.
pub(crate) fn left_out(why: &str) {
    let thread = thread::current();
    let line = format!("{} {}: {why}\n", env!("CARGO_PKG_NAME"), thread.name().unwrap_or("a test"));
    // What `eprintln!` says of a test that passes is shown to nobody.
    let _ = io::stderr().write_all(format!("left out: {line}").as_bytes());
    if let Some(folder) = env::var_os(FOLDER) {
        // Several processes may write at the same time.
        let file = Path::new(&folder).join(process::id().to_string());
        let written = OpenOptions::new().create(true).append(true).open(file);
        written.and_then(|mut file| file.write_all(line.as_bytes())).expect("what is left out can be noted");
    }
}
