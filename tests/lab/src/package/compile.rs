//! Building the plugins so that the programs say nothing about the machine that built them.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memchr::memmem;

use super::Platform;
use crate::command;
use crate::error::{Error, Result};
use crate::package;
use crate::plugins::{Plugin, cargo, run, target_folder, workspace};

/// Separates flags in `CARGO_ENCODED_RUSTFLAGS`.
const BETWEEN_FLAGS: &str = "\u{1f}";
/// How long cargo may take to download sources.
const LIMIT: Duration = Duration::from_mins(10);

/// Builds every plugin for a platform, and returns the folder with the programs, which have the names of their packages.
pub(super) fn compile(platform: Platform) -> Result<PathBuf> {
    // A folder of its own: other flags would have cargo build everything anew each time.
    let folder = target_folder()?.join("package-build");
    let renamed = renamed_folders(platform)?;
    let flags: Vec<String> =
        renamed.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect();
    let mut build = cargo();
    build
        .args(["build", "--release", "--locked", "--target", platform.triple(), "--target-dir"])
        .arg(&folder);
    for plugin in Plugin::all() {
        build.args(["--package", plugin.package()]);
    }
    // In place of whatever flags the user has set for other things: they would be part of the programs.
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join(BETWEEN_FLAGS));
    if let Some(linker) = platform.cross_linker() {
        let triple = platform.triple().replace('-', "_").to_uppercase();
        let variable = format!("CARGO_TARGET_{triple}_LINKER");
        if env::var_os(&variable).is_none() {
            build.env(variable, linker);
        }
    }
    run(&mut build)?;
    let programs = folder.join(platform.triple()).join("release");
    for plugin in Plugin::all() {
        let program = programs.join(plugin.package());
        let content = fs::read(&program).map_err(Error::io("read", &program))?;
        if let Some(folder) = trace(&content, renamed.iter().map(|(folder, _)| folder.as_path())) {
            return Err(package::Error::Traces { program, folder: folder.to_path_buf() }.into());
        }
    }
    Ok(programs)
}

/// Finds the first of these folders whose name is in a program.
fn trace<'f>(program: &[u8], mut folders: impl Iterator<Item = &'f Path>) -> Option<&'f Path> {
    folders.find(|folder| memmem::find(program, folder.as_os_str().as_encoded_bytes()).is_some())
}

/// Folders of this machine whose names the compiler would write into the programs, each with what it writes instead. Of those that
/// fit, it takes the last one.
fn renamed_folders(platform: Platform) -> Result<Vec<(PathBuf, String)>> {
    let mut folders = vec![(workspace(), "/spire-mesh".to_owned())];
    folders.push((target_folder()?, "/spire-mesh/target".to_owned()));
    folders.extend(sources_of_crates(platform)?.into_iter().map(|folder| (folder, "/crates".to_owned())));
    // What the compiler itself writes for the standard library, unless its sources are installed.
    let compiler = ask("rustc", &["--version", "--verbose"])?;
    let commit = compiler.lines().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or_default();
    let library = Path::new(ask("rustc", &["--print", "sysroot"])?.trim()).join("lib/rustlib/src/rust");
    folders.push((library, format!("/rustc/{commit}")));
    Ok(folders)
}

/// The folders that hold the unpacked sources of crates from registries.
fn sources_of_crates(platform: Platform) -> Result<BTreeSet<PathBuf>> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(serde::Deserialize)]
    struct Package {
        source: Option<String>,
        manifest_path: PathBuf,
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut metadata = std::process::Command::new(cargo);
    metadata.current_dir(workspace()).args(["metadata", "--format-version", "1", "--locked"]);
    metadata.args(["--filter-platform", platform.triple()]);
    let text = command::output(&mut metadata, None, LIMIT)?;
    let metadata: Metadata = serde_json::from_str(&text).map_err(|error| Error::Invalid {
        what: "answer of cargo",
        value: "metadata".to_owned(),
        why: error.to_string(),
    })?;
    let foreign = metadata.packages.into_iter().filter(|package| package.source.is_some());
    Ok(foreign
        .filter_map(|package| package.manifest_path.ancestors().nth(2).map(Path::to_path_buf))
        .collect())
}

fn ask(program: &str, arguments: &[&str]) -> Result<String> {
    let mut question = command::command(program);
    // rustup takes the toolchain of the folder.
    command::output(question.current_dir(workspace()).args(arguments), None, LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_the_machine_in_a_program_is_found() {
        let folders = ["/home/me/spire-mesh", "/home/me/.cargo/registry/src/x"].map(Path::new);
        let find = |program: &[u8]| trace(program, folders.into_iter());
        assert_eq!(find(b"\0/home/me/.cargo/registry/src/x/kube-5.0.0/src/lib.rs\0"), Some(folders[1]));
        assert_eq!(find(b"\0/crates/kube-5.0.0/src/lib.rs\0/home/me\0"), None);
    }

    #[test]
    fn crates_the_workspace_and_the_standard_library_get_other_names() {
        let own = Platform::of_this_machine().expect("tests run where the plugins do");
        let folders = renamed_folders(own).expect("cargo and rustc answer");
        let renamed = |path: &Path| {
            let fits = folders.iter().rev().find(|(from, _)| path.starts_with(from));
            fits.map(|(_, to)| to.as_str())
        };
        assert_eq!(renamed(&workspace().join("shared/src/lib.rs")), Some("/spire-mesh"));
        assert_eq!(renamed(&target_folder().unwrap().join("x/out/y.rs")), Some("/spire-mesh/target"));
        assert!(folders.iter().any(|(from, to)| to == "/crates" && !from.join("Cargo.toml").exists()));
        let (_, library) = folders.last().expect("folders");
        let commit = library.strip_prefix("/rustc/").expect("the compiler's own name");
        assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
    }
}
