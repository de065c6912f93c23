//! The Go toolchain and its commands.

use std::path::Path;
use std::process::{Command, Stdio};

use super::super::Error;
use super::GoProgram;

/// Flags of every Go command: reproducible paths, no version control, module requirements exactly as written down, and no
/// debug information, which the linker would take out again.
pub(in super::super) const GOFLAGS: &str =
    "-buildvcs=false -trimpath -mod=readonly -gcflags=all=-dwarf=false";
/// How much the compiler's memory may grow before it is tidied up, in per cent: it ends before that pays.
const GOGC: &str = "400";

/// The installed Go toolchain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Toolchain {
    /// What `go version` says: version, operating system and architecture.
    pub(in super::super) version: String,
}

impl Toolchain {
    /// Asks the installed toolchain for its version.
    pub(in super::super) fn detect() -> Result<Self, Error> {
        let output = Command::new("go")
            .arg("version")
            .env("GOTOOLCHAIN", "local")
            .stdin(Stdio::null())
            .output()
            .map_err(|e| Error::NoGo { reason: e.to_string() })?;
        if !output.status.success() {
            return Err(Error::NoGo { reason: String::from_utf8_lossy(&output.stderr).trim().to_owned() });
        }
        Ok(Self { version: String::from_utf8_lossy(&output.stdout).trim().to_owned() })
    }
}

/// The command that builds one program.
pub(super) fn build(dir: &Path, cgo: bool, program: &GoProgram, output: &Path) -> Command {
    let mut command = for_program(dir, cgo, program, "build");
    command.arg("-ldflags").arg(&program.ldflags).arg("-o").arg(output).arg(program.package);
    command
}

/// The command that lists the packages that a program is made of, and downloads them for that: exactly those, where
/// `go mod download` would take every module that is named anywhere.
pub(super) fn list_dependencies(dir: &Path, cgo: bool, program: &GoProgram) -> Command {
    let mut command = for_program(dir, cgo, program, "list");
    command.arg("-deps").arg(program.package);
    command
}

fn for_program(dir: &Path, cgo: bool, program: &GoProgram, verb: &str) -> Command {
    let mut command = go(dir);
    command.env("CGO_ENABLED", if cgo { "1" } else { "0" }).arg(verb);
    if !program.tags.is_empty() {
        command.arg("-tags").arg(program.tags.join(","));
    }
    command
}

/// The command that prints the directory of a module, or an empty line when the module is not downloaded.
pub(super) fn module_dir(dir: &Path, module: &str) -> Command {
    let mut command = go(dir);
    command.args(["list", "-m", "-f", "{{.Dir}}", module]);
    command
}

/// The command that downloads a module.
pub(super) fn download(dir: &Path, module: &str) -> Command {
    let mut command = go(dir);
    command.args(["mod", "download", module]);
    command
}

/// A Go command in a component's directory. The toolchain must not replace itself: its version is part of the keys.
fn go(dir: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(dir).env("GOFLAGS", GOFLAGS).env("GOGC", GOGC);
    command.env("GOTOOLCHAIN", "local").env("GOWORK", "off");
    command
}
