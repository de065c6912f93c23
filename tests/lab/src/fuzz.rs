//! Runs the fuzz targets of `tests/fuzz` with libFuzzer.
//!
//! Stable Rust can do it: the compiler's own pass puts the counters in (`-C passes=sancov-module`), and `libfuzzer-sys` brings the
//! engine. cargo-fuzz would pass the same flags, but would have to be installed first, and asks for a nightly compiler unless it is
//! told not to. There is no address sanitizer: it is not in stable Rust, and all unsafe code that it could watch is a few calls of AWS-LC in
//! `shared/x509`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::plugins::{cargo, run as passes, target_folder, workspace};
use crate::steps::Say;

/// How the code is instrumented: counters for edges, and the values that are compared.
const FLAGS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// Separates flags in `CARGO_ENCODED_RUSTFLAGS`.
const BETWEEN_FLAGS: &str = "\u{1f}";
/// The environment variable that tells the program which target it is.
const CHOICE: &str = "SPIRE_MESH_FUZZ_TARGET";
/// The most memory in MiB, the most time for one input in seconds, and the longest input in bytes.
const LIMITS: [&str; 3] = ["-rss_limit_mb=512", "-timeout=5", "-max_len=1048576"];

/// The longest input that is put into the corpus, in bytes. What is found is rarely longer, and the corpus is part of the repository.
const LONGEST_KEPT: u64 = 4096;
/// Takes as few inputs as reach everything, however often they do.
const FEWEST: [&str; 3] = ["-merge=1", "-set_cover_merge=1", "-use_counters=0"];

/// What is done with the targets.
#[derive(Debug)]
pub enum What {
    /// New inputs are looked for, for this long in all.
    Search(Duration),
    /// One input is tried.
    Input(PathBuf),
    /// What was found is put into the corpus, where it reaches what nothing there does.
    Keep,
}

/// Returns the targets that are meant: one, or all of them.
///
/// # Errors
/// When there is no such target.
pub fn targets(name: Option<&str>) -> Result<Vec<String>> {
    let folder = corpus();
    let entries = fs::read_dir(&folder).map_err(Error::io("read", &folder))?;
    let mut all: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    all.sort();
    match name {
        None => Ok(all),
        Some(name) if all.iter().any(|target| target == name) => Ok(vec![name.to_owned()]),
        Some(name) => {
            Err(Error::Unknown { kind: "target to fuzz", name: name.to_owned(), known: all.join(", ") })
        }
    }
}

/// Builds the program with all targets.
///
/// # Errors
/// When it does not build.
pub fn build() -> Result<()> {
    passes(&mut instrumented("build", &target_folder()?.join("fuzz")))
}

/// Runs targets, one after the other.
///
/// # Errors
/// When one of them breaks. The error before it, of libFuzzer, names the file with the input.
pub fn run(targets: &[String], what: &What, say: Say<'_>) -> Result<()> {
    let folder = target_folder()?.join("fuzz");
    let count = u32::try_from(targets.len()).unwrap_or(u32::MAX).max(1);
    for target in targets {
        let (found, broken) = (folder.join("found").join(target), folder.join("broken").join(target));
        for folder in [&found, &broken] {
            fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
        }
        say(&format!("-- {target}"));
        let corpus = corpus().join(target);
        let mut program = instrumented("run", &folder);
        program.arg("--").args(LIMITS).args(["-verbosity=0", "-print_funcs=0"]).env(CHOICE, target);
        // The last slash makes it a folder for libFuzzer.
        program.arg(format!("-artifact_prefix={}/", broken.display()));
        match what {
            // libFuzzer writes to the first folder only.
            What::Search(time) => {
                let seconds = (*time / count).as_secs().max(1);
                passes(program.arg(format!("-max_total_time={seconds}")).args([&found, &corpus]))?;
            }
            What::Input(file) => passes(program.arg(absolute(file)?))?,
            What::Keep => {
                let short = folder.join("short").join(target);
                copy_short(&found, &short)?;
                passes(program.args(FEWEST).args([&corpus, &short]))?;
            }
        }
    }
    Ok(())
}

/// Makes a folder with the inputs of another one that are not too long.
fn copy_short(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).map_err(Error::io("empty", to))?;
    }
    fs::create_dir_all(to).map_err(Error::io("make", to))?;
    for entry in fs::read_dir(from).map_err(Error::io("read", from))? {
        let path = entry.map_err(Error::io("read", from))?.path();
        let length = path.metadata().map_err(Error::io("read", &path))?.len();
        if let Some(name) = path.file_name().filter(|_| length <= LONGEST_KEPT) {
            fs::copy(&path, to.join(name)).map_err(Error::io("copy", &path))?;
        }
    }
    Ok(())
}

/// Returns cargo, about to do something with the program. Only what is built for the target is instrumented, and not build scripts and
/// macros, because the target is named.
fn instrumented(verb: &str, folder: &Path) -> Command {
    let mut cargo = cargo();
    cargo
        .args([verb, "--quiet", "--locked", "--profile", "fuzz", "--package", "spire-mesh-fuzz"])
        .args(["--features", "libfuzzer", "--bin", "fuzz", "--target", "host-tuple", "--target-dir"])
        .arg(folder)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join(BETWEEN_FLAGS));
    cargo
}

fn corpus() -> PathBuf {
    workspace().join("tests/fuzz/corpus")
}

/// The program is run in the workspace, which need not be where the file was named.
fn absolute(file: &Path) -> Result<PathBuf> {
    std::path::absolute(file).map_err(Error::io("find", file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_none_is_refused_with_those_that_there_are() {
        assert_eq!(targets(Some("certificate")).expect("a target"), ["certificate"]);
        assert!(targets(None).expect("targets").len() > 10);
        let error = targets(Some("x")).expect_err("no target").to_string();
        assert!(error.starts_with("there is no target to fuzz \"x\"; there is bundle_json, "), "{error}");
    }
}
